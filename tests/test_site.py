"""The demonstration site, end to end: a browser's way through it, on each server."""

import fcntl
import html
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from .support.client import Response
from .support.servers import ROOT, Server
from .support.site import Browser, Site

HERE = ROOT / "tests" / "site"

# Around the router and inside its "http", and with plain Django.
COMPOSITIONS = [
    ("daphne", "demo_site.asgi:application"),
    ("daphne", "demo_site.asgi_channels:application"),
    ("daphne", "demo_site.asgi_channels:inside"),
    ("uvicorn", "demo_site.asgi_channels:application"),
    ("hypercorn", "demo_site.asgi_channels:inside"),
    ("granian", "demo_site.asgi_channels:application"),
]
# Each takes seconds to start.
SLOW = COMPOSITIONS[2:]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of a prepared site, made once for all workers of the test run."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    data = shared / "prepared site"
    with open(shared / "preparing", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not data.exists():
            subprocess.run(
                [sys.executable, "manage.py", "prepare", "--no-video"],
                cwd=HERE,
                env={**os.environ, "SITE_DATA": str(shared / "half"), "PYTHONPATH": str(ROOT)},
                check=True,
            )
            (shared / "half").rename(data)
    return data


@pytest.fixture(
    scope="session",
    params=[
        pytest.param(
            composition,
            id="-".join(composition).replace("demo_site.", ""),
            marks=[
                pytest.mark.xdist_group(f"site-{composition[0] == 'daphne'}"),
                *[pytest.mark.slow] * (composition in SLOW),
            ],
        )
        for composition in COMPOSITIONS
    ],
)
def site(
    request: pytest.FixtureRequest, prepared: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    name, application = request.param
    data = tmp_path_factory.mktemp("data") / "data"
    shutil.copytree(prepared, data)
    with Server(name, application, cwd=HERE, env={"SITE_DATA": str(data)}) as server:
        yield Site(server, data / "media", kind=application)


@pytest.fixture
def browser(site: Site) -> Browser:
    return Browser(site)


def media_of(page: Response, prefix: str = "/media/") -> set[str]:
    """The addresses of all media that a page shows or links to."""
    return {
        html.unescape(url)
        for url in re.findall(rf'(?:src|href)="({prefix}[^"]+)"', page.body.decode())
    }


def check_file(browser: Browser, url: str, data: bytes) -> None:
    whole = browser.get(url)
    assert whole.status == 200
    assert whole.body == data
    assert len(whole.all("date")) == 1
    head = browser.get(url, method="HEAD")
    assert head.length == len(data)
    part = browser.get(url, ("Range", "bytes=10-19"))
    assert part.status == 206
    assert part.body == data[10:20]
    assert part["content-range"] == f"bytes 10-19/{len(data)}"
    assert browser.get(url, ("If-None-Match", whole["etag"])).status == 304


def test_upload_through_the_form(browser: Browser) -> None:
    data = random.Random(1).randbytes(300_000)
    before = media_of(browser.get("/"))
    answer = browser.submit("/", {"title": "Mine"}, ("ünï cödé (1) 100%.bin", data))
    assert answer.status == 302
    (url,) = media_of(browser.get(answer["location"])) - before
    assert unquote(url).startswith("/media/uploads/")
    check_file(browser, url, data)


def test_upload_through_the_admin(browser: Browser) -> None:
    data = random.Random(2).randbytes(100_000)
    browser.log_in()
    before = media_of(browser.get("/"))
    answer = browser.submit(
        "/admin/gallery/upload/add/", {"title": "From the admin"}, ("a.bin", data)
    )
    assert answer.status == 302, answer.body.decode()
    (url,) = media_of(browser.get("/")) - before
    check_file(browser, url, data)
    assert "From the admin" in browser.get("/admin/gallery/upload/").body.decode()


def test_every_sample_is_served(site: Site, browser: Browser) -> None:
    urls = {url for url in media_of(browser.get("/")) if url.startswith("/media/samples/")}
    assert len(urls) > 3
    for url in urls:
        data = (site.root / unquote(url.removeprefix("/media/"))).read_bytes()
        check_file(browser, url, data)


def test_static_files_by_whitenoise(browser: Browser) -> None:
    page = browser.get("/").body.decode()
    urls = set(re.findall(r'(?:src|href)="(/static/[^"]+)"', page))
    assert len(urls) >= 3
    for url in urls:
        response = browser.get(url)
        assert response.status == 200
        assert "immutable" in response["cache-control"]


def test_pages_by_django(browser: Browser) -> None:
    login = browser.get("/admin/", ("Accept", "text/html"))
    assert login.status == 302
    assert b"csrfmiddlewaretoken" in browser.get(login["location"]).body
    for path in ("/nothing/here", "/media", "/mediathek/", "/media-secret/a.txt"):
        missing = browser.get(path)
        assert missing.status == 404
        assert missing["content-type"].startswith("text/html")
    missing = browser.get("/media/nothing.jpg")
    assert missing.status == 404
    assert missing["content-type"].startswith("text/plain")
    outside = browser.get("/media/../db.sqlite3")
    assert outside.status == 404


def serves_private_files(site: Site) -> bool:
    return site.kind != "demo_site.asgi:application"


def test_documents_are_for_their_owner_and_staff(site: Site, browser: Browser) -> None:
    data = random.Random(3).randbytes(100_000)
    page = browser.get("/documents/")
    assert page.status == 302
    assert page["location"] == "/login/?next=/documents/"
    browser.log_in("ann", page["location"])
    before = media_of(browser.get("/documents/"), "/protected/")
    answer = browser.submit("/documents/", {"title": "Mine"}, ("ünï cödé (1).bin", data))
    assert answer.status == 302
    new = media_of(browser.get("/documents/"), "/protected/") - before
    url, download = sorted(new, key=len)
    assert download == f"{url}?download"
    if not serves_private_files(site):
        # Without its internal location the header is of no use, and harmless.
        assert browser.get(url).body == b""
        return
    check_file(browser, url, data)
    response = browser.get(download)
    assert response.body == data
    # Django's storage makes names plain: no spaces, no brackets.
    name = response["content-disposition"].partition("filename*=utf-8''")[2]
    assert unquote(name).startswith("ünï_cödé_1")
    for document in before:
        assert browser.get(document).status == 200

    assert browser.send("/logout/", {}, page="/documents/").status == 302
    for document in (url, download, *before):
        assert browser.get(document).status == 302
    for name, status in (("ben", 403), ("admin", 200)):
        other = Browser(site)
        other.log_in(name, "/login/?next=/documents/")
        for document in (url, download, *before):
            assert other.get(document).status == status
        seen = media_of(other.get("/documents/"), "/protected/")
        assert bool(seen & {url, *before}) == (status == 200)
    missing = browser.get("/protected/samples/nothing.pdf")
    assert missing.status == 302


def test_links_are_for_who_has_them(site: Site, browser: Browser) -> None:
    assert media_of(browser.get("/links/"), "/shared/")
    urls = media_of(browser.get("/links/?seconds=10"), "/shared/")
    if not serves_private_files(site):
        assert {browser.get(url).status for url in urls} == {404}
        return
    assert len(urls) >= 6
    for url in urls:
        path = url.partition("?")[0]
        data = (site.root.parent / unquote(path)[1:]).read_bytes()
        check_file(browser, url, data)
        assert browser.get(url)["cache-control"].startswith("private, max-age=")
        assert browser.get(url)["referrer-policy"] == "no-referrer"
        assert browser.get(path).status == 403
        page = browser.get(path, ("Accept", "text/html"))
        assert page.status == 403
        assert b"You may not see this" in page.body
        assert browser.get(url.replace("media-expires=1", "media-expires=2")).status == 403
    downloads = {url for url in urls if "media-download=" in url}
    assert len(downloads) == len(urls) / 2
    for url in urls:
        disposition = ["attachment"] if url in downloads else []
        assert browser.get(url).all("content-disposition") == disposition


def test_the_websocket_of_the_demonstration(site: Site, browser: Browser) -> None:
    origin = Origin(f"http://127.0.0.1:{site.server.port}")
    address = origin.replace("http", "ws") + "/ws/live/"
    if site.kind == "demo_site.asgi:application":
        with pytest.raises(InvalidStatus), connect(address, origin=origin, proxy=None):
            pass  # plain Django has none
        return
    browser.log_in()
    session = f"sessionid={browser.cookies['sessionid']}"
    for headers, user in (({"Cookie": ""}, "anonymous"), ({"Cookie": session}, "admin")):
        with connect(address, origin=origin, additional_headers=headers, proxy=None) as websocket:
            assert json.loads(websocket.recv(timeout=60)) == {"user": user}
            websocket.send("hello")
            assert any(
                json.loads(websocket.recv(timeout=60)) == {"echo": "hello"} for _ in range(5)
            )
