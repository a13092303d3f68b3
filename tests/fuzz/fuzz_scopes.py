"""Scopes with keys that are missing, empty or odd, as some server or middleware may make them."""

import itertools
from collections.abc import Iterator
from typing import Any

import atheris
from harness import fuzz, targets

TARGETS = targets()
PREFIXES = ["/media/", "/through/", "/any/", "/media/vip/", "/protected/", "/signed/", "/members/"]
FILES = ["a.txt", "sub/b.svg", "big.bin", "\udcff\udcfe.bin", "\ufffd\ufffd.bin", "\ud800", ".env"]
METHODS = ["GET", "GET", "HEAD", "get", "OPTIONS", ""]
NAMES = [
    b"range",
    b"Range",
    b"IF-NONE-MATCH",
    b"If-Range",
    b"X-Member",
    b"Service-Worker",
    b"Origin",
    b"Host",
    b"",
    b"\xff\x00",
]
VALUES = [b"bytes=0-1", b"bytes=0-0,2-2", b"*", b"yes", b"script", b"https://app.example", b""]


def lines(data: Any) -> list[tuple[bytes, bytes]]:
    return [
        (data.PickValueInList(NAMES), data.PickValueInList(VALUES) + data.ConsumeBytes(2))
        for _ in range(data.ConsumeIntInRange(0, 4))
    ]


def iterable(data: Any) -> Any:
    """The header lines as ASGI lets them be: any iterable, of pairs that are any iterable."""
    pairs = lines(data)
    kinds: list[Any] = [
        pairs,
        tuple(pairs),
        [list(pair) for pair in pairs],
        (pair for pair in pairs),
        iter(pairs),
        map(tuple, pairs),
        Once(pairs),
        itertools.chain(pairs, ()),
        dict(pairs).items(),
    ]
    return data.PickValueInList(kinds)


class Once:
    """No list, but something that can be walked over."""

    def __init__(self, pairs: list[tuple[bytes, bytes]]) -> None:
        self._pairs = pairs

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return iter(self._pairs)


def odd(data: Any) -> dict[str, Any]:
    path = data.PickValueInList(PREFIXES) + data.PickValueInList([*FILES, data.ConsumeUnicode(20)])
    root_path = data.PickValueInList(["", "/app", "/", "/media", None, data.ConsumeUnicode(4)])
    if data.ConsumeBool():
        path = (root_path or "") + path
    scope: dict[str, Any] = {
        "type": "http",
        "method": data.PickValueInList(
            ["GET", "HEAD", "get", "OPTIONS", "", data.ConsumeString(4)]
        ),
        "path": path,
    }
    for key, values in {
        "raw_path": [None, b"", data.ConsumeBytes(10), path.encode("utf-8", "surrogateescape")]
        if path.isascii()
        else [None, b"", b"/media/%ff%fe.bin", b"/media/%ff%fe.bin?x"],
        "root_path": [root_path],
        "query_string": [b"", None, data.ConsumeBytes(20), b"media-expires=1&media-signature=x"],
        "scheme": ["http", "https", None, ""],
        "http_version": ["1.1", "2", None, ""],
        "client": [None, ("127.0.0.1", 1), ["", None], ("/socket", None), ()],
        "server": [None, ("127.0.0.1", 2), ["", None], ("/socket", None), ()],
        "extensions": [None, {}, {"http.response.trailers": {}}, {"tls": None}],
        "state": [{}],
        "asgi": [{"version": "3.0"}, {}],
        "headers": [iterable(data)],
    }.items():
        if data.ConsumeIntInRange(0, 3):
            scope[key] = data.PickValueInList(values)
    return scope


def one(data: bytes) -> None:
    for one in TARGETS:
        one.ask(odd(atheris.FuzzedDataProvider(data)))


if __name__ == "__main__":
    fuzz(one, [bytes([step] * 40) for step in range(0, 256, 5)])
