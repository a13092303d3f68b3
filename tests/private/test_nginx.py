"""The same views behind nginx, which serves what they hand over: what is alike, and what is not."""

import random
from collections.abc import Callable, Iterator
from typing import NamedTuple
from urllib.parse import quote

import pytest

from ..support.client import Connection, Response
from ..support.nginx import Nginx
from ..support.servers import Server
from ..support.site import Site, with_query

DATA = random.Random(8).randbytes(5000)
LATIN, BEYOND = "ü.pdf", "日本.pdf"
NAMES = ["a.pdf", "a b.pdf", "100%.pdf", "%41.pdf", "a?b#c.pdf", "a+b&c.pdf", LATIN, BEYOND]
NAMES += ["=?utf-8?b?YQ==?=", "folder/a.pdf", "back\\slash.pdf", 'quote".pdf']

# What nginx keeps of the application's headers, and what it and we take from the file.
KEPT = (
    "content-type",
    "content-disposition",
    "cache-control",
    "expires",
    "set-cookie",
    "content-length",
    "content-range",
    "content-encoding",
    "last-modified",
)
# Nothing is left to chance: a type that was chosen, and a Cache-Control.
CHOSEN = ["Content-Type: application/x-chosen", "Cache-Control: private, max-age=7"]


class Both(NamedTuple):
    ours: Site
    nginx: Nginx

    def ask(
        self, target: str, *fields: tuple[str, str], method: str = "GET", **query: str | list[str]
    ) -> tuple[Response, Response]:
        answers = []
        for server in (self.ours.server, self.nginx):
            with Connection(server) as client:
                client.request(with_query(target, **query), fields, method=method)
                answers.append(client.response(method))
        return answers[0], answers[1]

    def hand_over(
        self, path: str, *fields: tuple[str, str], method: str = "GET", **query: str | list[str]
    ) -> tuple[Response, Response]:
        headers = [f"X-Accel-Redirect: {path}", *query.pop("header", CHOSEN)]
        return self.ask("/sync/answer/", *fields, method=method, header=headers, **query)


@pytest.fixture(scope="module")
def both(start: Callable[[str], Site]) -> Iterator[Both]:
    site = start("uvicorn")
    for name in NAMES:
        site.put(f"protected/{name}", DATA)
    site.put("protected/empty.pdf", b"")
    site.put("protected/code.tar.gz", DATA)
    env = {
        "DJANGO_SETTINGS_MODULE": "tests.private.project.settings",
        "PRIVATE_DATA": str(site.root),
    }
    with Server("daphne", "tests.private.project.asgi:bare", env=env) as behind:
        with Nginx(behind.port, site.root) as nginx:
            yield Both(site, nginx)


pytestmark = pytest.mark.xdist_group("private-uvicorn")


def check_alike(ours: Response, nginx: Response) -> None:
    assert ours.status == nginx.status
    # What an error says, and of which type it is, is everyone's own.
    if ours.status < 400:
        assert ours.body == nginx.body
        for name in KEPT:
            if ours.status == 304 and name in ("content-disposition", "last-modified"):
                continue
            if name == "cache-control" and name not in nginx:  # and so not in the application's
                assert ours[name] == "private, no-cache"
                continue
            assert ours.all(name) == nginx.all(name), name
    if ours.status == 416:
        assert ours["content-range"] == nginx["content-range"]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_served_as_by_nginx(both: Both, name: str) -> None:
    ours, nginx = both.hand_over("/protected/" + quote(name))
    assert ours.status == 200
    assert ours.body == DATA
    check_alike(ours, nginx)
    if "\\" not in name:
        check_alike(*both.ask("/sync/sendfile/", path=name, type="application/x-a", attachment="1"))


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [("Range", "bytes=0-9")],
        [("Range", "bytes=-5")],
        [("Range", "bytes=-99999")],
        [("Range", "bytes=4990-")],
        [("Range", "bytes=4990-99999")],
        [("Range", "bytes=5000-")],
        [("Range", "items=0-9")],
        [("Range", "bytes=0-9"), ("If-Range", '"other"')],
        [("Range", "bytes=0-9"), ("If-Range", "Thu, 01 Jan 1970 00:00:00 GMT")],
        [("If-None-Match", "*")],
        [("If-None-Match", '"other"')],
        [("If-Match", '"other"')],
        [("If-Match", "*")],
        [("If-Modified-Since", "LAST-MODIFIED")],
        [("If-Modified-Since", "Thu, 01 Jan 1970 00:00:00 GMT")],
        [("If-Unmodified-Since", "Thu, 01 Jan 1970 00:00:00 GMT")],
        [("If-Unmodified-Since", "LAST-MODIFIED")],
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_conditions_and_ranges(both: Both, method: str, fields: list[tuple[str, str]]) -> None:
    if method == "HEAD" and fields and fields[0][0] == "Range":
        fields = fields[1:]  # RFC 9110 section 14.2: only GET has ranges; nginx answers HEAD, too
    modified = both.hand_over("/protected/a.pdf")[0]["last-modified"]
    sent = [(name, value.replace("LAST-MODIFIED", modified)) for name, value in fields]
    check_alike(*both.hand_over("/protected/a.pdf", *sent, method=method))


def test_each_by_its_own_validators(both: Both) -> None:
    for number, answer in enumerate(both.hand_over("/protected/a.pdf")):
        unchanged = both.hand_over("/protected/a.pdf", ("If-None-Match", answer["etag"]))
        assert unchanged[number].status == 304
        fields = [("Range", "bytes=0-9"), ("If-Range", answer["etag"])]
        assert both.hand_over("/protected/a.pdf", *fields)[number].status == 206


def test_a_form_that_is_answered_with_a_file(both: Both) -> None:
    check_alike(*both.hand_over("/protected/a.pdf", method="POST"))


def test_several_ranges(both: Both) -> None:
    """Alike but for the boundary."""
    answers = both.hand_over("/protected/a.pdf", ("Range", "bytes=0-0,50-59"))
    bodies = []
    for answer in answers:
        assert answer.status == 206
        boundary = answer["content-type"].partition("boundary=")[2]
        bodies.append(answer.body.replace(boundary.encode(), b"X"))
    assert bodies[0] == bodies[1]


@pytest.mark.parametrize(
    "header",
    [
        'Content-Disposition: attachment; filename="b.pdf"',
        "Cache-Control: public, max-age=3600",
        "Expires: Thu, 01 Jan 2032 00:00:00 GMT",
        "Content-Type: text/html",
        "Content-Length: 3",
        'ETag: "the empty body"',
        "Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT",
        "Content-Encoding: gzip",
        "Content-Range: bytes 0-2/3",
        "Accept-Ranges: none",
        "X-Accel-Buffering: no",
        "X-Accel-Charset: utf-8",
        "X-Accel-Limit-Rate: 1000000",
    ],
)
def test_headers_are_those_of_nginx(both: Both, header: str) -> None:
    own = [*CHOSEN, header]
    for fields in ((), (("Range", "bytes=0-9"),)):
        ours, nginx = both.hand_over("/protected/a.pdf", *fields, header=own, cookie="1")
        check_alike(ours, nginx)
        assert len(ours.all("set-cookie")) == 2
        for answer in (ours, nginx):
            assert not [name for name, _ in answer.headers if name.startswith("x-accel")]


def test_x_accel_expires_is_for_clients_and_not_for_a_cache_of_nginx(both: Both) -> None:
    header = ["X-Accel-Expires: 60"]
    ours, nginx = both.hand_over("/protected/a.pdf", header=header)
    assert (ours.status, ours.body) == (nginx.status, nginx.body)
    assert ours["cache-control"] == "private, max-age=60"
    assert "cache-control" not in nginx


@pytest.mark.parametrize("status", ["200", "201", "206", "299"])
def test_statuses_are_those_of_nginx(both: Both, status: str) -> None:
    check_alike(*both.hand_over("/protected/a.pdf", status=status))


@pytest.mark.parametrize(
    "target",
    [
        "/protected/missing.pdf",
        "/protected/../db.sqlite3",
        "/protected/%2e%2e/db.sqlite3",
        "/protected/folder/../a.pdf",
        "/protected/a%00.pdf",
        "/protected/a.pdf#fragment",
        "/protected/" + "x" * 300,
        "/protected/empty.pdf",
        "/protected//a.pdf",
        "/protected/folder//a.pdf",
        "/protected/a.pdf?a=b",
        "/media/documents/not-there.pdf",
    ],
)
def test_targets_are_taken_as_by_nginx(both: Both, target: str) -> None:
    check_alike(*both.hand_over(target))


def test_clients_get_nothing_of_an_internal_location(both: Both) -> None:
    both.ours.put("media/documents/a.pdf", DATA)
    for target in (
        "/protected/a.pdf",
        "/media/documents/a.pdf",
        "/media//documents/a.pdf",
        "/media/%2fdocuments/a.pdf",
        "/media/documents%2fa.pdf",
        "/media/../media/documents/a.pdf",
    ):
        for answer in both.ask(target):
            assert answer.status == 404
            assert DATA[:10] not in answer.body
    check_alike(*both.hand_over("/media/documents/a.pdf"))


# -- What differs, ours first. The README lists it.


def differ(ours_and_nginx: tuple[Response, Response], ours: object, nginx: object) -> None:
    assert [answer.status for answer in ours_and_nginx] == [ours, nginx]


def test_difference_in_types(both: Both) -> None:
    """Nginx takes Django's default for the file's type, and calls a PDF a page."""
    ours, nginx = both.hand_over("/protected/a.pdf", header=[])
    assert ours["content-type"] == "application/pdf"
    assert nginx["content-type"] == "text/html; charset=utf-8"
    # And so django-sendfile2 and django-downloadview name it themselves.
    for answer in both.ask("/sync/sendfile/", path="a.pdf"):
        assert answer["content-type"] == "application/pdf"


def test_difference_in_headers(both: Both) -> None:
    """Nginx keeps a handful of the application's headers, and adds none."""
    own = ["X-Own: 1", "Vary: Cookie", "Link: </a>", "Pragma: no-cache"]
    own += ["X-Frame-Options: SAMEORIGIN", "Content-Security-Policy: default-src 'self'"]
    ours, nginx = both.hand_over("/protected/a.pdf", header=own)
    for header in own:
        name, _, value = header.partition(": ")
        assert value in ours.all(name)
        assert name not in nginx
    # Of a page, and not of the file, say Django's middlewares:
    pages = ["X-Frame-Options: DENY", "Content-Language: de"]
    framed = both.hand_over("/protected/a.pdf", header=pages)
    assert framed[0]["x-frame-options"] == "SAMEORIGIN"
    assert "x-frame-options" not in framed[1]
    assert not [answer for answer in framed if "content-language" in answer]
    assert ours["cache-control"] == "private, no-cache"
    assert ours["x-content-type-options"] == "nosniff"
    assert "cache-control" not in nginx
    assert "x-content-type-options" not in nginx
    # On a 304 nginx has Last-Modified and the application's Content-Disposition, too.
    disposition = ["Content-Disposition: attachment"]
    ours, nginx = both.hand_over("/protected/a.pdf", ("If-None-Match", "*"), header=disposition)
    for name in ("content-disposition", "last-modified"):
        assert name not in ours
        assert name in nginx
    # On an error, cookies and the rest.
    ours, nginx = both.hand_over("/protected/missing.pdf", cookie="1")
    assert not ours.all("set-cookie")
    assert len(nginx.all("set-cookie")) == 2
    assert (ours["cache-control"], nginx["cache-control"]) == ("no-store", "private, max-age=7")


def test_difference_in_statuses(both: Both) -> None:
    """Nginx serves the file whatever the application's status says."""
    for status in (302, 304, 403, 404, 500):
        differ(both.hand_over("/protected/a.pdf", status=str(status)), status, 200)


def test_difference_in_methods(both: Both) -> None:
    """To nginx a POST that is answered by a file is a GET, with its ranges and conditions."""
    for fields, status in ((("Range", "bytes=0-9"), 206), (("If-None-Match", "*"), 304)):
        differ(both.hand_over("/protected/a.pdf", fields, method="POST"), 200, status)
    ranged = both.hand_over("/protected/a.pdf", ("Range", "bytes=0-9"), method="HEAD")
    differ(ranged, 200, 206)


def test_difference_in_ranges(both: Both) -> None:
    """A range that is none is none to us (RFC 9110 section 14.2), and an error to nginx."""
    for value in ("bytes=x", "bytes=9-0"):
        differ(both.hand_over("/protected/a.pdf", ("Range", value)), 200, 416)


def test_difference_in_names_that_are_not_escaped(both: Both) -> None:
    """Beyond ASCII, nginx finds only what is percent-encoded."""
    for name in (LATIN, BEYOND, "100%.pdf"):
        differ(both.hand_over(f"/protected/{name}"), 200, 404)
        differ(both.ask("/downloadview/nginx/", path=name), 200, 404)


def test_difference_in_paths(both: Both) -> None:
    """Nginx serves dotfiles, follows links, and redirects to folders."""
    both.ours.put("protected/.hidden", DATA)
    both.ours.put("outside.txt", DATA)
    link = both.ours.root / "protected" / "to-outside.txt"
    link.unlink(missing_ok=True)
    link.symlink_to("../outside.txt")
    differ(both.hand_over("/protected/.hidden"), 404, 200)
    differ(both.hand_over("/protected/to-outside.txt"), 404, 200)
    differ(both.hand_over("/protected/folder"), 404, 301)
    differ(both.hand_over("/protected/folder/"), 404, 403)


def test_difference_in_locations(both: Both) -> None:
    """Nginx goes to any location, the application's own included."""
    both.ours.put("media/public.txt", DATA)
    differ(both.hand_over("/media/public.txt"), 500, 200)
    differ(both.hand_over("/elsewhere/a.pdf"), 500, 404)
    ours, nginx = both.hand_over("/sync/answer/")
    assert (ours.status, nginx.status) == (500, 200)
    assert nginx.body == b"the application's own body"
