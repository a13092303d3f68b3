"""The same folder behind WhiteNoise and behind a location: what differs is told here."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from whitenoise import WhiteNoise

from media_asgi import Location, MediaMiddleware

from .support import ask

JS = b"console.log('hello')\n" * 50
BR, GZIP = b"brotli" * 3, b"gzip" * 5

Seen = tuple[int, bytes, dict[str, str]]
"""Status, body, and the headers that both make."""

COMPARED = {
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "access-control-allow-origin",
    "etag",
    "last-modified",
}


@pytest.fixture
def both(tmp_path: Path) -> Callable[..., tuple[Seen, Seen]]:
    root = tmp_path / "static"
    (root / "sub").mkdir(parents=True)
    (root / "docs").mkdir()
    for name, content in {
        "app.js": JS,
        "app.js.br": BR,
        "app.js.gz": GZIP,
        "sub/é.txt": b"accent",
        "docs/index.html": b"<p>docs",
        "plain.txt": b"0123456789" * 10,
    }.items():
        (root / name).write_bytes(content)
        os.utime(root / name, (1_700_000_000, 1_700_000_000))
    whitenoise = WhiteNoise(missing, root=str(root), prefix="s/", index_file=True)
    location = Location(
        url="/s/", root=root, precompressed=True, sandbox=False, cors="*", index="index.html"
    )
    ours = MediaMiddleware(none, location)

    def both(name: str, method: str = "GET", **fields: str) -> tuple[Seen, Seen]:
        environ = {
            "REQUEST_METHOD": method,
            "PATH_INFO": f"/s/{name}".encode().decode("latin-1"),
            "wsgi.input": io.BytesIO(),
            **{f"HTTP_{field.upper()}": value for field, value in fields.items()},
        }
        told: list[Any] = []
        pieces = whitenoise(environ, lambda status, headers: told.append((status, headers)))
        body = b"".join(pieces)
        getattr(pieces, "close", int)()
        status, headers = told[0]
        there = int(status[:3]), body, seen(headers)
        asked = [(field.replace("_", "-").encode(), v.encode()) for field, v in fields.items()]
        answer = ask(ours, f"/s/{name}", method, asked)
        return there, (answer.status or 0, answer.body, seen(answer.headers.items()))

    return both


def missing(environ: Any, start_response: Any) -> list[bytes]:
    start_response("404 Not Found", [])
    return [b""]


async def none(scope: Any, receive: Any, send: Any) -> None:
    raise NotImplementedError


def seen(headers: Any) -> dict[str, str]:
    named = {name.lower(): value for name, value in headers}
    if "content-type" in named:
        named["content-type"] = named["content-type"].replace('"', "")
    return {name: value for name, value in named.items() if name in COMPARED}


@pytest.mark.parametrize("name", ["app.js", "sub/é.txt", "docs/", "plain.txt"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"accept_encoding": ""},
        {"accept_encoding": "*"},
        {"accept_encoding": "gzip"},
        {"accept_encoding": "gzip, deflate"},
        {"accept_encoding": "gzip, br"},
        {"accept_encoding": "br;q=1.0, gzip;q=0.8"},
        {"if_modified_since": "Tue, 14 Nov 2023 22:13:20 GMT"},
        {"if_modified_since": "Fri, 11 Apr 2100 11:47:06 GMT"},
        {"if_modified_since": "Fri, 11 Apr 2001 11:47:06 GMT"},
        {"if_modified_since": "Fri, 16 Jul 2021 09:09:1626426577S GMT"},
        {"if_none_match": '"594bd1d1-36"'},
        {"if_none_match": '"594bd1d1-36"', "if_modified_since": "Fri, 11 Apr 2100 11:47:06 GMT"},
        {"range": "bytes=0-3"},
        {"range": "bytes=-3"},
        {"range": "bytes=2-100000"},
        {"range": "bytes=-100000"},
        {"range": "bytes=x"},
        {"range": "bytes=3-8", "accept_encoding": "gzip"},
    ],
    ids=str,
)
def test_whitenoise_and_a_location_give_the_same(
    both: Callable[..., tuple[Seen, Seen]], name: str, method: str, fields: dict[str, str]
) -> None:
    if method == "HEAD":
        # Of a HEAD WhiteNoise answers a range, which is for GET alone (RFC 9110 section 14.2).
        fields = {name: value for name, value in fields.items() if name != "range"}
    there, here = both(name, method, **fields)
    for answer in (there, here):
        answer[2].pop("etag", None)  # see below
    if there[0] == 304:
        assert "content-type" not in here[2]
        there = (*there[:2], {})
        here = (*here[:2], {})
    assert here == there


@pytest.mark.parametrize(
    "name",
    [
        *("missing.js", "sub", "sub/", "app.js/", "test☺", "../static/app.js", "sub/../app.js"),
        *("C:/Windows/System.ini", "/etc/passwd", "\\etc\\passwd", "blah/" * 1000, "é" * 300),
    ],
)
def test_neither_has_a_file_that_is_not_there(
    both: Callable[..., tuple[Seen, Seen]], name: str
) -> None:
    there, here = both(name)
    assert (there[0], here[0]) == (404, 404)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_both_allow_no_other_method(both: Callable[..., tuple[Seen, Seen]], method: str) -> None:
    there, here = both("app.js", method)
    assert (there[0], here[0]) == (405, 405)


def test_a_range_beyond_the_end_is_416_with_the_size(
    both: Callable[..., tuple[Seen, Seen]],
) -> None:
    there, here = both("plain.txt", range="bytes=10000-11000")
    assert (there[0], here[0]) == (416, 416)
    assert here[2]["content-range"] == there[2]["content-range"] == "bytes */100"


def test_what_differs_from_whitenoise(both: Callable[..., tuple[Seen, Seen]]) -> None:
    # A coding that the client refuses.
    there, here = both("app.js", accept_encoding="gzip;q=0")
    assert (there[1], here[1]) == (GZIP, JS)
    # The client's order counts before the size.
    there, here = both("app.js", accept_encoding="gzip, br;q=0.1")
    assert (there[1], here[1]) == (BR, GZIP)
    # A variant has a tag of its own, which a file that both have would share.
    # By its own name a variant is a file, as before.
    there, here = both("app.js.gz")
    assert (there[0], here[0], here[1]) == (404, 200, GZIP)
    # An index has two URLs, as behind nginx, and the redirect to the slash is 301.
    there, here = both("docs/index.html")
    assert (there[0], here[0]) == (302, 200)
    there, here = both("docs")
    assert (there[0], here[0]) == (302, 301)
    # A part that is one byte.
    there, here = both("plain.txt", range="bytes=0-0")
    assert (there[0], here[0], here[1]) == (416, 206, b"0")
    # A part of the file that the client had before.
    there, here = both("plain.txt", range="bytes=2-3", if_range='"old"')
    assert (there[0], here[0], here[1]) == (206, 200, b"0123456789" * 10)
    # Several parts.
    there, here = both("plain.txt", range="bytes=0-1,50-51")
    assert (there[0], here[0]) == (200, 206)
    # The files as they are now.
    there, here = both("plain.txt", if_match='"old"')
    assert (there[0], here[0]) == (200, 412)


@pytest.mark.parametrize("form", ['"other", {}', "W/{}"], ids=["list", "weak"])
def test_whitenoise_knows_one_form_of_a_tag(
    both: Callable[..., tuple[Seen, Seen]], form: str
) -> None:
    """A proxy that compresses makes a tag weak."""
    tags = [answer[2]["etag"] for answer in both("app.js")]
    statuses = [both("app.js", if_none_match=tag)[i][0] for i, tag in enumerate(tags)]
    assert statuses == [304, 304]
    asked = [both("app.js", if_none_match=form.format(tag)) for tag in tags]
    assert [asked[i][i][0] for i in range(2)] == [200, 304]


def test_a_file_that_changes_after_the_start(
    both: Callable[..., tuple[Seen, Seen]], tmp_path: Path
) -> None:
    path = tmp_path / "static" / "plain.txt"
    path.write_bytes(b"short")
    (path.parent / "new.txt").write_bytes(b"new")
    there, here = both("plain.txt")
    assert (there[1], there[2]["content-length"]) == (b"short", "100")
    assert (here[1], here[2]["content-length"]) == (b"short", "5")
    there, here = both("new.txt")
    assert (there[0], here[0]) == (404, 200)
