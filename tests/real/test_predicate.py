"""A predicate is a Django view: seen in a project with all the middleware that real ones have."""

import contextlib
import fcntl
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import sync_playwright

from ..support.client import Connection, Response
from ..support.programs import program
from ..support.servers import ROOT, Server
from ..support.site import Browser, Site
from .asked import settings

DATA = bytes(range(256)) * 40


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's data, made once for all workers of the test run."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    data, half = shared / "asked", shared / "half asked"
    with open(shared / "preparing asked", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not data.exists():
            half.mkdir()
            subprocess.run(
                [sys.executable, "-m", "tests.real.asked.prepare"],
                cwd=ROOT,
                env={**os.environ, "ASKED_DATA": str(half), "PYTHONPATH": str(ROOT)},
                check=True,
            )
            half.rename(data)
    return data


Start = Callable[..., contextlib.AbstractContextManager[Site]]


@pytest.fixture(scope="session")
def run(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Start:
    """Runs the project, with other settings or another application."""

    @contextlib.contextmanager
    def run(
        name: str,
        *,
        data: Path | None = None,
        application: str = "application",
        options: Any = (),
        root_path: str = "",
        **changes: Any,
    ) -> Iterator[Site]:
        if data is None:
            data = tmp_path_factory.mktemp("asked") / "data"
            shutil.copytree(prepared, data)
        env = {
            "DJANGO_SETTINGS_MODULE": "tests.real.asked.settings",
            "ASKED_DATA": str(data),
            "ASKED_SETTINGS": json.dumps(changes),
        }
        with Server(
            name,
            f"tests.real.asked.asgi:{application}",
            env=env,
            options=options,
            root_path=root_path,
        ) as server:
            yield Site(server, data, kind=name, url="/")

    return run


@pytest.fixture(scope="session")
def sites(run: Start) -> Iterator[Callable[[str], Site]]:
    """Starts each server once."""
    started: dict[str, Site] = {}
    with contextlib.ExitStack() as stack:

        def site(name: str) -> Site:
            if name not in started:
                started[name] = stack.enter_context(run(name))
            return started[name]

        yield site


@pytest.fixture(
    params=[
        pytest.param("daphne", marks=pytest.mark.xdist_group("asked-daphne")),
        pytest.param("uvicorn", marks=[pytest.mark.xdist_group("asked-uvicorn"), pytest.mark.slow]),
    ]
)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def site(name: str, sites: Callable[[str], Site]) -> Site:
    return sites(name)


def logged_in(site: Site, user: str, **query: Any) -> Browser:
    browser = Browser(site)
    assert browser.get("/en/log-in/", name=user, **query).status == 204
    return browser


def sessions(site: Site) -> int:
    with contextlib.closing(sqlite3.connect(site.root / "db.sqlite3")) as database:
        (count,) = database.execute("SELECT COUNT(*) FROM django_session").fetchone()
    return int(count)


def is_file(response: Response, data: bytes = DATA) -> bool:
    """Is this the whole file, with its own headers and none of the empty response's?"""
    if response.status != 200 or response.body != data:
        return False
    assert response["content-type"] == "application/octet-stream"
    assert response.length == len(data)
    assert response["cache-control"] == "private, no-cache"
    assert response["accept-ranges"] == "bytes"
    assert response["etag"].startswith('"')
    assert response["last-modified"]
    names = {name for name, _ in response.headers}
    assert not {"content-encoding", "content-language", "expires", "pragma"} & names
    return True


# --- What a view may raise and answer ------------------------------------------------------------


def test_get_object_or_404_is_a_predicate(site: Site) -> None:
    for url in ("/docs/", "/docs-later/"):
        assert is_file(site.get(f"{url}known.bin"))
        unknown = site.get(f"{url}tenant-a/a")
        assert unknown.status == 404
        assert json.loads(unknown.body)["handler404"].startswith("No Doc matches")
        for path in ("%FF.bin", "a%00b", "%ED%A0%80"):  # which no column can hold
            assert site.get(url + path).status == 404
        missing = site.get(f"{url}absent.bin")  # the predicate allows it
        assert (missing.status, missing.body) == (404, b"404 Not Found\n")
        assert missing["cache-control"] == "no-store"


def test_what_a_predicate_raises_reaches_the_project_s_error_handlers(site: Site) -> None:
    for url in ("/raising/", "/raising-later/"):
        assert json.loads(site.get(f"{url}404").body) == {
            "handler404": "not here",
            "path": f"{url}404",
        }
        forbidden = site.get(f"{url}403")
        assert (forbidden.status, forbidden.body) == (403, b"own 403 not yours")
        odd = site.get(f"{url}400")
        assert (odd.status, json.loads(odd.body)) == (400, {"handler400": "odd"})
        site.logged("django.security.SuspiciousOperation: odd")
        failed = site.get(f"{url}500")
        assert (failed.status, json.loads(failed.body)) == (500, {"handler500": f"{url}500"})
        site.logged(f"django.request: Internal Server Error: {url}500")
        site.logged("RuntimeError: the predicate fails")
        for path in ("404", "403", "400", "500"):
            assert site.get(url + path, method="HEAD").body == b""


def test_a_response_of_a_predicate_reaches_the_client_as_it_is(site: Site) -> None:
    for url in ("/answering/", "/answering-later/"):
        redirect = site.get(f"{url}redirect")
        assert (redirect.status, redirect["location"]) == (302, f"/password/?next={url}redirect")
        page = site.get(f"{url}page", ("Accept-Encoding", "gzip"))
        assert (page.status, page["content-encoding"]) == (200, "gzip")
        template = site.get(f"{url}template")
        assert (template.status, template.body) == (418, b"own 403 ")
        for response in (redirect, page, template):
            assert "accept-ranges" not in response
            assert response["x-frame-options"] == "DENY"


def test_a_file_that_a_predicate_answers_with_is_sent_as_an_application_s_is(site: Site) -> None:
    for url in ("/answering/", "/answering-later/"):
        for path in ("hand-over", "file"):
            part = site.get(f"{url}{path}", ("Range", "bytes=5-14"))
            assert (part.status, part.body) == (206, DATA[5:15])
            assert "x-accel-redirect" not in part
            etag = site.get(f"{url}{path}")["etag"]
            assert site.get(f"{url}{path}", ("If-None-Match", etag)).status == 304


def test_a_predicate_s_answer_that_fails_in_the_middle_is_cut_off(site: Site) -> None:
    with Connection(site.server, timeout=30) as client:
        client.request("/answering-later/failing")
        with pytest.raises(ConnectionError):
            client.response()
    assert "the answer of a predicate ended early" in site.server.log


def test_conditions_and_ranges_are_the_file_s_alone(site: Site) -> None:
    """The stand-in has no ETag, and what the predicate answers itself isn't cut to a range."""
    fields = [
        ("Range", "bytes=0-1"),
        ("If-None-Match", "*"),
        ("If-Modified-Since", "Sun, 06 Nov 2094 08:49:37 GMT"),
        ("If-Range", '"a"'),
        ("If-Match", '"a"'),
        ("If-Unmodified-Since", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("Content-Type", "text/plain"),
        ("X-Other", "1"),
    ]
    response = site.get("/answering/headers", *fields)
    told = json.loads(response.body)
    assert told["X-Other"] == "1"
    names = {name for name, _ in fields} - {"X-Other"}
    assert response.status == 200
    assert not names & told.keys()
    whole = site.get("/docs/known.bin")
    assert site.get("/docs/known.bin", ("If-None-Match", whole["etag"])).status == 304
    unchanged = ("If-Modified-Since", whole["last-modified"])
    assert site.get("/docs/known.bin", unchanged).status == 304
    part = site.get("/docs/known.bin", ("Range", "bytes=10-19"), ("If-Range", whole["etag"]))
    assert (part.status, part.body) == (206, DATA[10:20])
    head = site.get("/docs/known.bin", method="HEAD")
    assert (head.status, head.length, head.body) == (200, len(DATA), b"")
    assert site.get("/docs/known.bin", ("If-Match", '"other"')).status == 412
    assert site.get("/docs/known.bin", ("Range", "bytes=999999-")).status == 416


def test_the_middleware_s_headers_are_on_every_answer_about_the_file(site: Site) -> None:
    alice = logged_in(site, "alice")
    etag = site.get("/docs/known.bin")["etag"]
    for path, status, fields in (
        ("known.bin", 200, []),
        ("known.bin", 206, [("Range", "bytes=0-0")]),
        ("known.bin", 304, [("If-None-Match", etag)]),
        ("known.bin", 416, [("Range", "bytes=999999-")]),
        ("absent.bin", 404, []),
    ):
        # The session is looked at, so that the stand-in varies on Cookie, too.
        response = alice.get(f"/authenticated/{path}", *fields, ("Accept-Encoding", "gzip"))
        assert response.status == status
        assert response["x-counted"] == "1"
        assert response["x-frame-options"] == "SAMEORIGIN"  # as for what a view hands over
        assert response["x-content-type-options"] == "nosniff"
        assert response["referrer-policy"] == "same-origin"
        assert ("content-disposition" in response) == (status in (200, 206))
        assert "content-encoding" not in response
        assert not [value for value in response.all("vary") if "Accept-Encoding" in value]
        varies = [field.strip() for value in response.all("vary") for field in value.split(",")]
        assert sorted({"Cookie", "origin"} & set(varies)) == ["Cookie", "origin"]
        assert len(varies) == len(set(varies))
        names = [name for name, _ in response.headers]
        assert len(set(names) - {"vary"}) == len([name for name in names if name != "vary"])
    page = site.get("/open-to-all/page.html")
    assert "sandbox" in page["content-security-policy"]


def test_the_location_s_own_headers_come_before_the_middleware_s(site: Site) -> None:
    response = site.get("/shared/known.bin", ("Origin", "https://shared.example"))
    assert response["x-counted"] == "location"
    assert response["access-control-allow-origin"] == "https://shared.example"


def test_with_debug_on_the_technical_pages_are_django_s(name: str, run: Start) -> None:
    with run(name, DEBUG=True) as site:
        for url in ("/raising/", "/raising-later/"):
            unknown, failed = site.get(f"{url}404"), site.get(f"{url}500")
            assert (unknown.status, failed.status) == (404, 500)
            assert b"not here" in unknown.body
            assert b"the predicate fails" in failed.body
            assert b"raising" in failed.body  # the predicate's own frame
        assert is_file(site.get("/docs/known.bin"))


# --- Only the grant of this request counts -------------------------------------------------------


@pytest.mark.parametrize(
    ("instead", "status", "body"),
    [("page", 503, b"down"), ("copy", 200, b""), ("body", 200, b"paid"), ("status", 402, b"")],
)
def test_without_its_own_stand_in_nothing_is_served(
    site: Site, instead: str, status: int, body: bytes
) -> None:
    response = site.get(f"/docs/known.bin?instead={instead}")
    assert response.status == status
    assert response.body[:4] == body
    assert "accept-ranges" not in response


def test_no_request_s_header_and_no_cached_response_is_a_grant(site: Site) -> None:
    alice = logged_in(site, "alice")
    for _ in range(2):  # the per-site cache is in the middleware
        assert is_file(alice.get("/authenticated/known.bin"))
        claims = [("X-Accel-Redirect", "/authenticated/known.bin"), ("Media-Asgi-Grant", "1")]
        assert site.get("/authenticated/known.bin", *claims).status == 403
    for method in ("POST", "PUT", "DELETE", "PROPFIND"):
        refused = alice.get("/raising/500", method=method)
        assert (refused.status, refused["allow"]) == (405, "GET, HEAD")


def test_the_application_hands_no_file_of_a_predicate_over(site: Site) -> None:
    handed = site.get("/sends/", to="/internal/known.bin")
    assert (handed.status, handed.body) == (200, DATA)
    for to in ("/authenticated/known.bin", "/open-to-all/known.bin"):
        assert site.get("/sends/", to=to).status == 500


# --- Middleware of all kinds ---------------------------------------------------------------------


def test_the_login_redirect_is_login_required_s(site: Site) -> None:
    view = site.get("/en/page/")
    assert view["location"].startswith("/en/log-in/?next=")
    for url in ("/login-authenticated/", "/login-members/"):
        for language, prefix in (("en", "/en"), ("de", "/de")):
            target = f"{url}known.bin?a=1&b=%26"
            redirect = site.get(target, ("Accept-Language", language))
            assert redirect.status == 302
            login = urlsplit(redirect["location"])
            assert login.path == f"{prefix}/log-in/"
            assert parse_qs(login.query)["next"] == [target]
            assert site.get(login.path).body == b"the form"
        assert is_file(logged_in(site, "alice").get(f"{url}known.bin"))


def test_a_second_factor(site: Site) -> None:
    assert logged_in(site, "bob").get("/verified/known.bin").status == 403
    assert is_file(logged_in(site, "bob", verified="1").get("/verified/known.bin"))


def test_a_user_whom_a_proxy_has_logged_in(site: Site) -> None:
    response = site.get("/authenticated/known.bin", ("X-Remote-User", "alice"))
    assert is_file(response)
    # With which the next request goes on.
    assert any(value.startswith("sessionid=") for value in response.all("set-cookie"))
    browser = Browser(site)
    browser.get("/authenticated/known.bin", ("X-Remote-User", "alice"))
    assert is_file(browser.get("/authenticated/known.bin"))


def test_a_tenant_with_urls_of_its_own(site: Site) -> None:
    def of(host: str, path: str) -> Response:
        with Connection(site.server) as client:
            client.send(
                f"GET {path} HTTP/1.1\r\nHost: {host}.example\r\nConnection: close\r\n\r\n".encode()
            )
            return client.response()

    assert is_file(of("tenant-a", "/tenants/tenant-a/a"))
    assert is_file(of("tenant-b", "/tenants/tenant-b/a"))
    assert of("tenant-a", "/tenants/tenant-b/a").status == 403
    # Its URLconf has the error handlers and the login.
    assert of("tenant-b", "/docs/unknown").body == b"tenant b's own 404"
    redirect = of("tenant-b", "/login-members/known.bin")
    assert redirect["location"] == "/b/log-in/?next=/login-members/known.bin"


def test_the_current_site_and_a_token(site: Site) -> None:
    assert is_file(site.get("/sites/site.example/a"))
    assert site.get("/sites/known.bin").status == 403
    assert site.get("/tokens/known.bin").status == 403
    assert is_file(site.get("/tokens/known.bin", ("Authorization", "Token bobs-token")))


def test_a_session_that_a_predicate_writes_is_saved(site: Site) -> None:
    browser = Browser(site)
    assert [browser.get("/seen/known.bin").status for _ in range(5)] == [200] * 3 + [403] * 2
    other = Browser(site)
    whole = other.get("/seen/known.bin")
    assert is_file(whole)
    assert "sessionid=" in whole["set-cookie"]


def test_a_decorator_of_django_s_guards_a_predicate(site: Site) -> None:
    refused = logged_in(site, "alice").get("/permitted/known.bin")
    assert (refused.status, refused.body) == (403, b"own 403 ")


def test_a_catch_all_pattern_redirects_no_file(site: Site) -> None:
    """CommonMiddleware has APPEND_SLASH, and both it and LocaleMiddleware look at a 404."""
    assert site.get("/some/page/").body == b"cms: some/page"
    assert site.get("/some/page")["location"] == "/some/page/"
    for path in ("/docs/unknown.bin", "/docs/unknown", "/docs-later/a/b", "/raising/404"):
        assert site.get(path).status == 404
    assert is_file(site.get("/docs/known.bin"))


def test_the_resolver_match(site: Site) -> None:
    assert json.loads(site.get("/answering/match").body) == {
        "route": "answering/<path:path>",
        "kwargs": {"path": "match"},
        "path": "/answering/match",
        "script": "",
    }


def test_cross_origin_requests_with_credentials(site: Site) -> None:
    origin = ("Origin", "https://app.example")
    preflight = site.get(
        "/tokens/known.bin",
        origin,
        ("Access-Control-Request-Method", "GET"),
        ("Access-Control-Request-Headers", "authorization"),
        method="OPTIONS",
    )
    assert preflight.status == 200
    assert "authorization" in preflight["access-control-allow-headers"]
    for fields, status in (([("Authorization", "Token bobs-token")], 200), ([], 403)):
        response = site.get("/tokens/known.bin", origin, *fields)
        assert response.status == status
        for answer in (preflight, response):
            assert answer["access-control-allow-origin"] == "https://app.example"
            assert answer["access-control-allow-credentials"] == "true"
    other = site.get("/docs/known.bin", ("Origin", "https://evil.example"))
    assert is_file(other)
    assert "access-control-allow-origin" not in other
    plain = site.get("/docs/known.bin", method="OPTIONS")
    assert (plain.status, plain["allow"]) == (405, "GET, HEAD")


def test_a_location_falls_through_where_a_file_is_missing(site: Site) -> None:
    assert is_file(site.get("/through/known.bin"))
    assert site.get("/through/absent.bin")["location"] == "/through/absent.bin/"  # APPEND_SLASH
    assert json.loads(site.get("/through/unknown").body)["handler404"].startswith("No Doc")
    # What the predicate's handler has read of the body is there for the application.
    for size in (0, 100, 300_000):
        assert site.get("/through/absent.bin", body=b"x" * size).status == 301
    assert site.get("/docs/known.bin", body=b"x" * 300_000).body == DATA


def test_where_a_location_falls_through_the_application_answers_options(site: Site) -> None:
    alice = logged_in(site, "alice")
    answer = alice.get("/who/", method="OPTIONS")
    assert (answer.status, answer.body) == (200, b"alice")
    assert alice.get("/authenticated/known.bin", method="OPTIONS").status == 405


def test_where_a_location_falls_through_the_application_sends_files_as_ever(site: Site) -> None:
    handed = site.get("/sends/through/", to="/internal/known.bin")
    assert (handed.status, handed.body) == (200, DATA)
    assert handed["set-cookie"].startswith("sessionid=")  # that of the predicate
    assert "has wrapped Daphne's send" not in site.server.log


def test_the_script_name_is_the_server_s(name: str, run: Start) -> None:
    with run(name, root_path="/app") as site:
        told = json.loads(site.get("/answering/match", ("Daphne-Root-Path", "/evil")).body)
        assert told["script"] == "/app"
        redirect = site.get("/login-members/known.bin")
        assert redirect["location"].startswith("/app/en/log-in/?next=")


# --- A site that requires a login ----------------------------------------------------------------


def test_a_site_that_requires_a_login(name: str, run: Start) -> None:
    middleware = [*settings.MIDDLEWARE]
    middleware.insert(
        middleware.index("django_otp.middleware.OTPMiddleware"),
        "django.contrib.auth.middleware.LoginRequiredMiddleware",
    )
    with run(name, MIDDLEWARE=middleware) as site:
        view = site.get("/whoami/")
        assert view["location"] == "/en/log-in/?next=/whoami/"
        for path in ("/docs/known.bin", "/members/known.bin", "/raising/500", "/docs/none"):
            redirect = site.get(path)
            assert (redirect.status, redirect["location"]) == (302, f"/en/log-in/?next={path}")
        assert is_file(site.get("/open-to-all/known.bin"))  # is marked login_not_required
        assert site.get("/media/a.txt").body == b"public"
        alice = logged_in(site, "alice")
        for path in ("/docs/known.bin", "/members/known.bin", "/authenticated/known.bin"):
            assert is_file(alice.get(path))


# --- What is kept --------------------------------------------------------------------------------


def test_a_new_secret_key_logs_nobody_out(name: str, run: Start) -> None:
    """Django gives a session that the old key vouches for another name, and tells the client."""
    with run(name) as site:
        alices = [logged_in(site, "alice") for _ in range(4)]
    rotated = {"SECRET_KEY": "another", "SECRET_KEY_FALLBACKS": [settings.SECRET_KEY]}
    with run(name, data=site.root, **rotated) as after:
        etag = after.get("/docs/known.bin")["etag"]
        for alice, fields, path, status in zip(
            alices,
            ([], [("If-None-Match", etag)], [], []),
            ("authenticated/known.bin", "authenticated/known.bin", "authenticated/none", "who/"),
            (200, 304, 404, 200),
            strict=True,
        ):
            alice.site = after
            before = alice.cookies["sessionid"]
            response = alice.get(f"/{path}", *fields)
            assert response.status == status
            assert path != "who/" or response.body == b"alice"
            assert alice.cookies["sessionid"] != before
            assert "HttpOnly" in response["set-cookie"]
            assert alice.get("/whoami/").body == b"alice"
            assert is_file(alice.get("/authenticated/known.bin"))


def test_the_middleware_is_made_once_and_at_the_first_question(name: str, run: Start) -> None:
    def made(site: Site) -> int:
        return site.server.log.count("middleware is made")

    with run(name) as site:
        assert site.get("/media/a.txt").body == b"public"
        assert made(site) == 1  # by Django's own handler
        with ThreadPoolExecutor(20) as pool:
            urls = ["/docs/known.bin", "/docs-later/known.bin"] * 10
            assert all(map(is_file, pool.map(site.get, urls)))
        assert made(site) == 2


def until(holds: Callable[[], object], wait: float = 60) -> None:
    deadline = time.monotonic() + wait
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("url", ["/slow/", "/slow-later/"])
def test_a_slow_predicate_delays_only_its_own_request(name: str, run: Start, url: str) -> None:
    options = ["--application-close-timeout", "1"] if name == "daphne" else []
    with run(name, options=options) as site, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Connection(site.server)) for _ in range(6)]
        for number, client in enumerate(clients):
            client.request(f"{url}known.bin?id={number}")
        asking = site.root / "asking"
        until(lambda: len(os.listdir(asking)) == 6)
        assert is_file(site.get("/docs/known.bin"))
        for client in clients[3:]:
            client.reset()
        if url == "/slow-later/":  # as an async view of Django's
            until(lambda: site.server.log.count("a predicate is cancelled") == 3)
        deadline = time.monotonic() + 3  # longer than Daphne waits before it cancels
        while time.monotonic() < deadline:
            assert is_file(site.get("/docs/known.bin"))
            assert site.get("/media/a.txt").body == b"public"
            time.sleep(0.1)
        (site.root / "go").touch()
        for client in clients[:3]:
            assert is_file(client.response())


@pytest.mark.slow
def test_nothing_is_left_after_a_thousand_requests(name: str, run: Start) -> None:
    options = ["--application-close-timeout", "1"] if name == "daphne" else []
    with run(name, options=options) as site:
        (site.root / "go").touch()
        (site.root / "files/large.bin").write_bytes(bytes(20 << 20))
        alice = logged_in(site, "alice")
        cookie = ("Cookie", f"sessionid={alice.cookies['sessionid']}")

        def held() -> list[str]:
            return [path for path in site.server.descriptors() if str(site.root) in path]

        def ask(number: int) -> None:
            if number % 10:
                paths = "docs/known.bin", "members/known.bin", "docs-later/none", "seen/none"
                assert site.get(f"/{paths[number % 4]}", cookie).status in (200, 403, 404)
                return
            with Connection(site.server) as client:  # cut off: asked, asking, or sending
                kind = ("slow/known.bin?id=a", "slow-later/known.bin?id=b", "members/large.bin")
                client.request(f"/{kind[number // 10 % 3]}", [cookie])
                if number % 4:
                    client.socket.recv(1)
                client.reset()

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(ask, range(100)))
            count = sessions(site)
            time.sleep(0.5)
            threads = site.server.threads()
            list(pool.map(ask, range(1000)))
        until(lambda: not [path for path in held() if not path.endswith(("files", "media"))])
        until(lambda: site.server.threads() <= threads + 2)
        assert sessions(site) == count
        assert alice.get("/whoami/").body == b"alice"


# --- A script of another origin, in Chromium -----------------------------------------------------

FETCH = """async ([url, options]) => {
    try {
        const response = await fetch(url, options)
        const body = await response.arrayBuffer()
        return [response.status, body.byteLength, response.headers.get("X-Counted")]
    } catch (error) {
        return [error.name, 0, null]
    }
}"""


class Page(BaseHTTPRequestHandler):
    """The front end: an empty page on an origin of its own."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def front_end() -> Iterator[int]:
    """Its port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.slow
def test_a_script_of_another_origin_with_a_cookie_or_a_token(
    name: str, run: Start, front_end: int, tmp_path: Path
) -> None:
    changes = {
        "CORS_ALLOWED_ORIGINS": [f"http://127.0.0.1:{front_end}"],
        "CORS_EXPOSE_HEADERS": ["X-Counted"],
    }
    with contextlib.ExitStack() as stack:
        site = stack.enter_context(run(name, **changes))
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch_persistent_context(
            tmp_path / "profile",
            executable_path=program("chromium"),
            args=["--no-sandbox", "--disable-gpu"],
        )
        stack.callback(browser.close)
        session = logged_in(site, "alice").cookies["sessionid"]
        browser.add_cookies(
            [{"name": "sessionid", "value": session, "domain": "127.0.0.1", "path": "/"}]
        )
        page = browser.pages[0]

        def fetch(path: str, **options: Any) -> Any:
            url = f"http://127.0.0.1:{site.server.port}{path}"
            return page.evaluate(FETCH, [url, options])

        token = {"Authorization": "Token bobs-token"}
        page.goto(f"http://127.0.0.1:{front_end}/")
        with_cookie = {"credentials": "include"}
        for path in ("/authenticated/known.bin", "/members/known.bin"):
            assert fetch(path, **with_cookie) == [200, len(DATA), "1"]
            assert fetch(path, **with_cookie, headers={"Range": "bytes=0-9"}) == [206, 10, "1"]
            assert fetch(path)[0] == 403
        assert fetch("/docs/unknown.bin", **with_cookie)[0] == 404
        assert fetch("/tokens/known.bin", headers=token) == [200, len(DATA), "1"]
        assert fetch("/tokens/known.bin", method="HEAD", headers=token) == [200, 0, "1"]
        assert fetch("/tokens/known.bin")[0] == 403
        page.goto(f"http://localhost:{front_end}/")  # of an origin that isn't allowed
        assert fetch("/docs/known.bin")[0] == "TypeError"
        assert fetch("/tokens/known.bin", headers=token)[0] == "TypeError"
