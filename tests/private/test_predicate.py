"""Who may see a file, asked of Django's request with real sessions and users, on real servers."""

import time
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from ..support.client import Response
from ..support.site import Browser, Site
from .support import BOTH, Lookout, browser_of, on

DATA = bytes(range(256)) * 40
SECRET = b"SECRET: not for just anybody"


def check(response: Response) -> None:
    """What each answer about a file that may be seen has."""
    assert "Cookie" in response.all("vary")
    assert response["x-content-type-options"] == "nosniff"
    if response.status in (200, 206, 304):
        assert response["cache-control"] == "private, no-cache"
    else:
        assert response["cache-control"] == "no-store"
        assert "etag" not in response


def check_django(response: Response, title: bytes = b"") -> None:
    """What each answer that Django gives instead has: its own, and nothing of the file's."""
    assert response["x-content-type-options"] == "nosniff"
    assert response["content-type"] == "text/html; charset=utf-8"
    assert not {"etag", "accept-ranges", "cache-control"} & {name for name, _ in response.headers}
    assert title in response.body


@on(*BOTH)
def test_members_only(site: Site) -> None:
    """Sync: ``request.user``, lazily from the session and the database."""
    site.put("asked/alice/own.bin", DATA)
    with Lookout(site.root / "asked/alice") as lookout:
        stranger, bob, alice = Browser(site), browser_of(site, "bob"), browser_of(site, "alice")
        out = browser_of(site, "alice")
        kept = dict(out.cookies)
        out.get("/log-out/", method="POST")
        out.cookies = kept  # who keeps the cookie has no session any more
        forged = Browser(site)
        forged.cookies = {"sessionid": "x" * 32}
        for browser in (stranger, bob, out, forged):
            for fields in ([], [("Range", "bytes=0-9")], [("If-None-Match", "*")]):
                for method in ("GET", "HEAD"):
                    response = browser.get("/members/alice/own.bin", *fields, method=method)
                    assert response.status == 403
                    check_django(response, b"<title>403 Forbidden" if method == "GET" else b"")
        assert not lookout.opened
        whole = alice.get("/members/alice/own.bin")
        assert (whole.status, whole.body) == (200, DATA)
        assert lookout.opened == {"own.bin"}
        etag = whole["etag"]
        part = alice.get("/members/alice/own.bin", ("Range", "bytes=10-19"))
        assert (part.status, part.body) == (206, DATA[10:20])
        unchanged = alice.get("/members/alice/own.bin", ("If-None-Match", etag))
        assert unchanged.status == 304
        head = alice.get("/members/alice/own.bin", method="HEAD")
        assert head.length == len(DATA)
        failed = alice.get("/members/alice/own.bin", ("If-Match", '"other"'))
        assert failed.status == 412
        beyond = alice.get("/members/alice/own.bin", ("Range", "bytes=999999-"))
        assert beyond.status == 416
        missing = alice.get("/members/alice/missing.bin")
        assert missing.status == 404
        for response in (whole, part, unchanged, failed, beyond, missing):
            check(response)
    # What isn't there and what isn't theirs look the same to a stranger.
    assert (
        stranger.get("/members/alice/missing.bin").headers[2:]
        == (stranger.get("/members/alice/own.bin").headers[2:])
    )


@on(*BOTH)
def test_readers_only(site: Site) -> None:
    """Async: ``request.auser()``, and a query of its own."""
    site.put("asked/staff.bin", DATA)
    with Lookout(site.root / "asked") as lookout:
        for name in ("", "alice", "sue"):
            assert browser_of(site, name).get("/staff/staff.bin").status == 403
        assert not lookout.opened
        response = browser_of(site, "rita").get("/staff/staff.bin", ("Range", "bytes=0-9"))
        assert (response.status, response.body) == (206, DATA[:10])
        check(response)


@on(*BOTH)
@pytest.mark.parametrize("kind", ["object", "object-later", "partial", "partial-later"])
def test_any_callable(site: Site, kind: str) -> None:
    site.put(f"asked/{kind}.bin", DATA)
    assert site.get(f"/{kind}/{kind}.bin?word=open").body == DATA
    refused = site.get(f"/{kind}/{kind}.bin?word=shut")
    assert refused.status == 403
    check_django(refused)


@on(*BOTH)
def test_what_it_is_given(site: Site) -> None:
    for path, told in [
        ("a.txt", "a.txt"),
        ("folder/a%20b%C3%BC.txt", "folder/a bü.txt"),
        ("..%2Fa.txt", "../a.txt"),  # which is never opened, whatever it says
        ("%FF.txt", "\udcff.txt"),
    ]:
        target = f"/telling/{path}?q=1"
        response = site.get(target, ("Cookie", "a=b"))
        assert response.status == 500
        assert b"told" not in response.body
        line = site.logged(f"told {[told, 'GET']!r}"[:-1])
        assert line.endswith("?q=1', 'b']")
    for name in ("alice", "rita"):  # never of a method that no file has
        assert browser_of(site, name).get("/telling/a.txt", method="POST").status == 405


@on(*BOTH)
def test_an_exception(site: Site) -> None:
    for location, line in (
        ("failing", "the predicate fails for failing.txt"),
        ("failing-later", "the async predicate fails for failing.txt"),
    ):
        site.put("asked/failing.txt", SECRET)
        with Lookout(site.root / "asked") as lookout:
            response = browser_of(site, "alice").get(f"/{location}/failing.txt")
            assert response.status == 500
            check_django(response, b"<title>Server Error (500)")
            assert not lookout.opened
        assert "RuntimeError" in site.logged(line)


@on(*BOTH)
@pytest.mark.parametrize("word", ["none", "one", "zero", "text", "user"])
def test_neither_true_nor_false(site: Site, word: str) -> None:
    """Truth is not enough: what a query set or a user is worth is a matter of chance."""
    site.put("asked/vague.txt", SECRET)
    with Lookout(site.root / "asked") as lookout:
        response = browser_of(site, "alice").get(f"/vague/vague.txt?word={word}")
        assert response.status == 500
        assert SECRET not in response.body
        check_django(response)
        assert not lookout.opened
    site.logged("It must return True, False or an HttpResponse.")


@on(*BOTH, "daphne-forced", "daphne-mounted", slow=["uvicorn-mounted"])
def test_a_redirect_to_where_one_logs_in(site: Site) -> None:
    site.put("asked/alice/ü own.bin", DATA)
    mount = "" if site.kind in BOTH else "/app"
    for location, stranger, refused in (
        ("redirecting", "", "bob"),
        ("redirecting-later", "", "sue"),
    ):
        with Lookout(site.root / "asked/alice") as lookout:
            target = f"/{location}/alice/%C3%BC%20own.bin?page=1&b=%26"
            response = browser_of(site, stranger).get(target)
            assert response.status == 302
            check_django(response)
            url = urlsplit(response["location"])
            # LOGIN_URL is the name of a view, and its URL is beneath the script name.
            assert url.path == f"{mount}/log-in/"
            (back,) = parse_qs(url.query)["next"]
            # As Django's own views have it: the path as the server gives it.
            assert unquote(back).endswith(unquote(target))
            # Logging in again would not help.
            response = browser_of(site, refused).get(target)
            assert response.status == 403
            check_django(response)
            assert not lookout.opened
    assert browser_of(site, "alice").get("/redirecting/alice/%C3%BC%20own.bin").body == DATA
    assert browser_of(site, "rita").get("/redirecting-later/alice/%C3%BC%20own.bin").body == DATA
    assert Browser(site).get("/members/alice/%C3%BC%20own.bin").status == 403


@on(*BOTH)
def test_nothing_is_loaded_for_a_location_that_does_not_ask(site: Site) -> None:
    """Without its database a public file is served, and an asked one is not."""
    site.put("media/unasked.txt", b"public")
    site.put("asked/alice/asked.txt", SECRET)
    alice = browser_of(site, "alice")
    assert alice.get("/members/alice/asked.txt").body == SECRET
    database = site.root / "db.sqlite3"
    database.rename(site.root / "away")
    try:
        public = alice.get("/media/unasked.txt")
        assert (public.status, public.body) == (200, b"public")
        assert "vary" not in public
        asked = alice.get("/members/alice/asked.txt")
        assert asked.status == 500
        assert SECRET not in asked.body
    finally:
        database.unlink(missing_ok=True)
        (site.root / "away").rename(database)
    assert alice.get("/members/alice/asked.txt").body == SECRET


@on(*BOTH)
def test_no_connection_to_the_database_is_left(site: Site) -> None:
    site.put("asked/alice/leaking.bin", DATA)
    alice, stranger = browser_of(site, "alice"), Browser(site)

    def held() -> list[str]:
        return [path for path in site.server.descriptors() if "db.sqlite3" in path]

    def ask() -> None:
        assert alice.get("/members/alice/leaking.bin").status == 200
        assert alice.get("/members/bob/leaking.bin").status == 403
        assert alice.get("/staff/alice/leaking.bin").status == 403
        assert alice.get("/redirecting/bob/leaking.bin").status == 403
        assert alice.get("/redirecting-later/a").status == 403
        assert alice.get("/failing-later/a").status == 500
        assert alice.get("/vague/a?word=user").status == 500
        assert stranger.get("/redirecting/alice/leaking.bin").status == 302

    ask()
    threads = site.server.threads()
    for _ in range(10):
        ask()
    deadline = time.monotonic() + 60
    while held() or site.server.threads() > threads + 2:
        assert time.monotonic() < deadline, (held(), site.server.threads(), threads)
        time.sleep(0.05)


@on(*BOTH)
def test_a_request_whose_content_type_django_cannot_read(site: Site) -> None:
    site.put("asked/alice/typed.bin", DATA)
    site.put("asked/object.bin", DATA)
    alice = browser_of(site, "alice")
    for value in (
        "x" * 10_001,
        "text/plain; " + "a=b; " * 2000,
        "a; b*=x'y'%ff",
        "text/x; a*=b",
        ";",
    ):
        for method in ("GET", "HEAD"):
            fields = ("Content-Type", value)
            answer = alice.get("/members/alice/typed.bin", fields, method=method)
            assert (value[:20], answer.status) == (value[:20], 200)
            assert site.get("/members/alice/typed.bin", fields, method=method).status == 403
    # Nor does its charset say how the query is read.
    charset = ("Content-Type", "text/plain; charset=utf-16")
    assert site.get("/object/object.bin?word=open", charset).body == DATA


@on(*BOTH)
def test_a_query_that_django_does_not_take(site: Site) -> None:
    site.put("asked/object.bin", DATA)
    many = "&".join(f"a{number}=1" for number in range(1001))
    for location in ("object", "object-later"):
        response = site.get(f"/{location}/object.bin?{many}&word=open")
        assert response.status == 400
        check_django(response, b"<title>Bad Request (400)")


@on(*BOTH)
def test_other_methods_are_refused_without_asking(site: Site) -> None:
    site.put("asked/methods.bin", DATA)
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"):
        response = site.get("/failing/methods.bin", method=method)
        assert response.status == 405
        assert response["allow"] == "GET, HEAD"
