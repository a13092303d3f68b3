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
    if there[0] == 304:
        there = (*there[:2], {})
        here = (*here[:2], {})
    assert here == there


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
