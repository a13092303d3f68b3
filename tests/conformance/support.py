"""What the conformance tests share: a served folder, and what holds for each answer."""

import contextlib
import json
import random
import re
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from ..support.client import Connection, Response
from ..support.servers import Server, media
from ..support.site import Site, with_query

SECRET = b"SECRET: nobody outside may read this"


NAMED = re.compile(r"[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT")


# What each status must carry, and what it must not (RFC 9110 sections 15.3.1 to 15.5.17). Every
# answer has a Date besides, and every one but 304 a Content-Length.
MUST = {
    200: {"content-type", "etag", "last-modified", "accept-ranges", "cache-control"},
    206: {"content-type", "etag", "cache-control"},
    304: {"etag", "cache-control"},
    403: {"content-type"},
    404: {"content-type", "cache-control"},
    405: {"content-type", "cache-control", "allow"},
    412: {"content-type"},
    416: {"content-type", "content-range"},
}


OF_A_FILE = {"etag", "last-modified"}


MUST_NOT = {
    200: {"content-range", "allow"},
    206: {"allow"},
    304: {"content-type", "content-length", "content-range", "last-modified", "allow"},
    403: {"content-range", "allow", *OF_A_FILE},
    404: {"content-range", "allow", *OF_A_FILE},
    405: {"content-range", *OF_A_FILE},
    412: {"content-range", "allow"},
    416: {"allow", *OF_A_FILE},
}


def check(response: Response, method: str = "GET") -> None:
    """What holds for each answer of the middleware, whatever was asked."""
    names = [name for name, _ in response.headers]
    assert len(names) == len(set(names)), f"a field twice: {response.headers}"
    must = MUST[response.status]
    if re.fullmatch('"[0-9a-f]{32}"', dict(response.headers).get("etag", "")):
        must = must - {"last-modified"}  # of a file whose time says nothing
    assert must <= set(names)
    assert not MUST_NOT[response.status] & set(names)
    assert not {"transfer-encoding", "content-encoding", "set-cookie", "x-inner"} & set(names)
    assert NAMED.fullmatch(response["date"])
    assert abs(parsedate_to_datetime(response["date"]).timestamp() - time.time()) < 60
    if "last-modified" in response:
        assert NAMED.fullmatch(response["last-modified"])
        modified = parsedate_to_datetime(response["last-modified"])
        assert modified.timestamp() <= time.time()
        if response.all("server") == ["daphne"]:
            # Here the Date is ours; uvicorn's, for one, may be more than a second old.
            assert modified <= parsedate_to_datetime(response["date"])
    if "etag" in response:
        assert re.fullmatch(r'"[\x21\x23-\x7e]*"', response["etag"])
    if response.status != 304:
        assert response.length is not None
        assert len(response.body) == (0 if method == "HEAD" else response.length)
    if response.status >= 400:
        assert response["content-type"].startswith("text/plain")
        assert response.length is not None
        assert 0 < response.length < 200
    if response.status in (404, 405):
        assert response["cache-control"] == "no-store"


class Media(Site):
    """A served folder whose answers are all checked; `base` has the folders beside it, too."""

    def __init__(self, server: Server, base: Path) -> None:
        super().__init__(server, base / "media")
        self.base = base

    def get(
        self,
        target: str | bytes,
        *headers: tuple[str, str],
        method: str = "GET",
        body: bytes = b"",
        **query: str | Sequence[str],
    ) -> Response:
        """The answer of the middleware. A second request right behind it proves that its end is
        where its head says: not a byte short, not a byte too many."""
        response = self.exchange(target, *headers, method=method, body=body, **query)
        check(response, method)
        return response

    def exchange(
        self,
        target: str | bytes,
        *headers: tuple[str, str],
        method: str = "GET",
        body: bytes = b"",
        **query: str | Sequence[str],
    ) -> Response:
        """An answer, of the middleware or of the application behind it."""
        with Connection(self.server) as client:
            client.request(with_query(target, **query), headers, method=method, body=body)
            client.request("/behind", [("Connection", "close")])
            response = client.response(method)
            behind = client.response()
            assert json.loads(behind.body)["path"].endswith("/behind")
            assert client.ended()
        return response

    def status(self, target: str | bytes, *headers: tuple[str, str]) -> int:
        return self.get(target, *headers).status

    def passed_on(
        self, target: str | bytes, *headers: tuple[str, str], **options: Any
    ) -> dict[str, Any]:
        """What the application behind the middleware was asked."""
        response = self.exchange(target, *headers, **options)
        assert response["x-inner"] == "1"
        told: dict[str, Any] = json.loads(response.body)
        return told


def made(base: Path) -> dict[str, str]:
    """The folders beneath `base`, and the environment that serves them."""
    base.mkdir(exist_ok=True)
    for name in ("media", "media-secret", "other"):
        (base / name).mkdir()
    (base / "secret.txt").write_bytes(SECRET)
    (base / "media-secret" / "secret.txt").write_bytes(SECRET)
    root = base / "media"
    return media(
        {"url": "/media/", "root": root},
        {"url": "/late/", "root": base / "late"},
        {"url": "/swapped/", "root": base / "swapped"},
        {"url": "/linked/", "root": base / "linked"},
        {"url": "/media/inside/", "root": base / "other"},
        {"url": "/fall/", "root": root, "fallthrough": True},
        {"url": "/dots/", "root": root, "dotfiles": True},
        {"url": "/links/", "root": root, "follow_symlinks": True},
        {
            "url": "/own/",
            "root": root,
            "cache_control": "public, max-age=60",
            "immutable": r"\.[0-9a-f]{12}\.",
            "headers": {"X-Own": "yes"},
            "content_types": {".own": "application/x-own", ".txt": "text/x-own"},
        },
    )


# How each server is run. The quick ones are asked everything each time, the others with the slow
# tests.
QUICK: dict[str, tuple[str, dict[str, Any]]] = {
    "daphne": ("daphne", {}),
    "uvicorn": ("uvicorn", {}),
    "hypercorn": ("hypercorn", {}),
    "granian": ("granian", {}),
}


WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "daphne-unix": ("daphne", {"unix": True}),
    "daphne-tls": ("daphne", {"tls": True}),
    "uvicorn-h11": ("uvicorn", {"options": ["--http", "h11", "--loop", "asyncio"]}),
    "uvicorn-asyncio": ("uvicorn", {"options": ["--loop", "asyncio"]}),
    "uvicorn-tls": ("uvicorn", {"tls": True}),
    "hypercorn-tls": ("hypercorn", {"tls": True}),
    "granian-tls": ("granian", {"tls": True}),
    "anycorn": ("anycorn", {}),
    "gunicorn": ("gunicorn", {}),
}


@contextlib.contextmanager
def running(name: str, base: Path) -> Iterator[Media]:
    module = "portable" if name == "portable" else "media"
    server, options = ("uvicorn", {}) if name == "portable" else (QUICK | WAYS)[name]
    with tempfile.TemporaryDirectory() as short:  # a socket's path may have 107 bytes only
        if "unix" in options:
            options = {"unix": Path(short) / "socket"}
        application = f"tests.apps.{module}:application"
        with Server(server, application, env=made(base), **options) as served:
            yield Media(served, base)


def grouped(names: Iterable[str], *marks: pytest.MarkDecorator) -> list[Any]:
    """Each of them, so that it is run by one process, which starts its server once."""
    return [pytest.param(name, marks=[pytest.mark.xdist_group(name), *marks]) for name in names]


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def soon(media: Media, expected: dict[str, bytes | None]) -> None:
    """Each URL gives those bytes, or 404 for None, sooner or later."""
    deadline = time.monotonic() + 30
    while True:
        found = {}
        for url in expected:
            response = media.get(url)
            assert response.status in (200, 404)
            found[url] = response.body if response.status == 200 else None
        if found == expected:
            return
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def unhurried(server: Server, url: str, data: bytes) -> None:
    """A client that is slower than the file, with a buffer that holds little of it."""
    with Connection(server, rcvbuf=64 << 10) as client:
        client.request(url)
        response = client.head()
        time.sleep(0.3)
        assert b"".join(client.body(response, size=128 << 10, pause=0.001)) == data
        assert client.get("/inner").status == 200
