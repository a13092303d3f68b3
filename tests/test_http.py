"""The HTTP of it, on each server, over real sockets: written from RFC 9110, not from the code."""

import contextlib
import email
import email.policy
import hashlib
import itertools
import json
import os
import random
import re
import shutil
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_from_bytes

import pytest
from websockets.sync.client import connect as connect_websocket

from .client import HTTP2, Connection, Response, Truncated, head
from .programs import need_unprivileged
from .servers import Server, media

HOUR = 3600
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


class Media:
    """A served folder, and all that is asked of it."""

    def __init__(self, server: Server, base: Path) -> None:
        self.server = server
        self.base = base
        self.root = base / "media"

    def put(self, name: str | bytes, data: bytes, *, age: float = HOUR) -> str:
        """Makes a file, modified so many seconds ago, and tells its URL."""
        path = os.path.join(os.fsencode(self.root), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
        modified = time.time() - age
        os.utime(path, (modified, modified))
        return "/media/" + quote_from_bytes(os.fsencode(name))

    def get(
        self,
        target: str | bytes,
        headers: Sequence[tuple[str, str]] = (),
        *,
        method: str = "GET",
        body: bytes = b"",
    ) -> Response:
        """The answer of the middleware. A second request right behind it proves that its end is
        where its head says: not a byte short, not a byte too many."""
        response = self.ask(target, headers, method=method, body=body)
        check(response, method)
        return response

    def ask(
        self,
        target: str | bytes,
        headers: Sequence[tuple[str, str]] = (),
        *,
        method: str = "GET",
        body: bytes = b"",
    ) -> Response:
        """An answer, of the middleware or of the application behind it."""
        with Connection(self.server) as client:
            client.request(target, headers, method=method, body=body)
            client.request("/behind", [("Connection", "close")])
            response = client.response(method)
            behind = client.response()
            assert json.loads(behind.body)["path"].endswith("/behind")
            assert client.ended()
        return response

    def status(self, target: str | bytes, headers: Sequence[tuple[str, str]] = ()) -> int:
        return self.get(target, headers).status

    def passed_on(self, target: str | bytes, **options: Any) -> dict[str, Any]:
        """What the application behind the middleware was asked."""
        response = self.ask(target, **options)
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


@pytest.fixture(
    scope="session",
    params=[*grouped([*QUICK, "portable"]), *grouped(WAYS, pytest.mark.slow)],
)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Media]:
    with running(request.param, tmp_path_factory.mktemp(request.param)) as media:
        yield media


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


# Whole files -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 1000, 65536, 65537, 262144, 262145, (3 << 20) + 7])
def test_a_file_arrives_byte_for_byte(served: Media, size: int) -> None:
    data = noise(size)
    response = served.get(served.put(f"whole/{size}.bin", data))
    assert response.status == 200
    assert response.body == data
    assert response["content-type"] == "application/octet-stream"
    assert response["accept-ranges"] == "bytes"
    assert response["cache-control"] == "no-cache"


@pytest.mark.parametrize("size", [0, 1000, 300_000])
def test_head_is_get_without_its_body(served: Media, size: int) -> None:
    url = served.put(f"head/{size}.bin", noise(size))
    etag = served.get(url)["etag"]
    for target, headers in [
        (url, []),
        (url, [("If-None-Match", etag)]),
        (url, [("If-Match", '"other"')]),
        (url + ".missing", []),
        ("/media/head", []),
    ]:
        get = served.get(target, headers)
        other = served.get(target, headers, method="HEAD")
        assert other.status == get.status
        assert other.body == b""
        assert sorted(other.headers) == sorted(
            [(name, other["date"] if name == "date" else value) for name, value in get.headers]
        )


def test_a_range_is_for_get_alone(served: Media) -> None:
    url = served.put("range/head.bin", noise(1000))
    for value in ("bytes=0-9", "bytes=5000-"):
        response = served.get(url, [("Range", value)], method="HEAD")
        assert response.status == 200
        assert response.length == 1000


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
def test_other_methods_are_not_allowed(served: Media, method: str) -> None:
    bodies = [b"", b"x" * 100_000]
    if served.server.tls and served.server.name in ("hypercorn", "granian"):
        # They close before they have read it all, and over TLS the answer can be lost with it.
        bodies = [b""]
    for url in (served.put("method.txt", b"as it was"), "/media/missing.txt"):
        for body in bodies:
            with Connection(served.server) as client:
                client.request(url, method=method, body=body)
                response = client.response(method)
                check(response, method)
                assert response.status == 405
                assert {m.strip() for m in response["allow"].split(",")} == {"GET", "HEAD"}
    assert served.get("/media/method.txt").body == b"as it was"


def test_the_query_is_no_part_of_the_name(served: Media) -> None:
    url = served.put("query.txt", b"here")
    assert served.get(url + "?v=2&x=../../secret.txt").body == b"here"


def test_the_validators_of_a_file(served: Media) -> None:
    url = served.put("validators.txt", b"x")
    os.utime(served.root / "validators.txt", (784111777, 784111777))
    response = served.get(url)
    assert response["last-modified"] == "Sun, 06 Nov 1994 08:49:37 GMT"
    assert response["etag"].startswith('"')


def test_versions_within_one_second_differ(served: Media) -> None:
    url = served.put("versions.txt", b"one")
    path = served.root / "versions.txt"
    tags: list[str] = []
    for nanosecond in (0, 1_000, 5_000_000):
        path.write_bytes(b"%03d" % len(tags))
        os.utime(path, ns=(0, 1_700_000_000_000_000_000 + nanosecond))
        tags.append(served.get(url)["etag"])
    path.write_bytes(b"longer")
    os.utime(path, ns=(0, 1_700_000_000_000_000_000))
    tags.append(served.get(url)["etag"])
    assert len(set(tags)) == 4


def test_a_replaced_file_has_another_tag_at_once(served: Media) -> None:
    url = served.put("replaced.txt", b"one", age=0)
    first = served.get(url)
    path = served.root / "replaced.txt"
    before = path.stat().st_mtime_ns
    while path.stat().st_mtime_ns == before:  # the file system's tick, some milliseconds
        (served.root / "replaced.new").write_bytes(b"two")
        (served.root / "replaced.new").rename(path)
    second = served.get(url, [("If-None-Match", first["etag"])])
    assert second.status == 200
    assert second.body == b"two"
    assert second["etag"] != first["etag"]


def test_a_copy_on_another_replica_has_the_same_tag(served: Media) -> None:
    urls = [served.put("replica/a.txt", b"same"), served.put("replica/b.txt", b"same")]
    for name in "ab":
        os.utime(served.root / f"replica/{name}.txt", ns=(0, 1_700_000_000_123_456_789))
    assert len({served.get(url)["etag"] for url in urls}) == 1


def test_a_tag_stays_while_the_file_does(served: Media) -> None:
    # DuckDB, nginx's slice module and download managers give up where it changes.
    url = served.put("fresh.txt", b"fresh", age=0)
    tag = served.get(url)["etag"]
    assert re.fullmatch(r'"[\x21\x23-\x7e]*"', tag)
    assert served.status(url, [("If-Match", tag)]) == 200
    assert served.status(url, [("If-None-Match", tag)]) == 304
    assert served.status(url, [("Range", "bytes=0-0")]) == 206
    modified = (served.root / "fresh.txt").stat().st_mtime
    while time.time() < modified + 2.1:
        time.sleep(0.1)
    assert served.get(url)["etag"] == tag
    assert served.status(url, [("Range", "bytes=0-1"), ("If-Range", tag)]) == 206


def test_a_file_whose_time_lies_ahead(served: Media) -> None:
    url = served.put("ahead.txt", b"x", age=-HOUR)
    response = served.get(url)
    for validator, status in ((response["etag"], 206), (response["last-modified"], 200)):
        assert served.status(url, [("Range", "bytes=0-0"), ("If-Range", validator)]) == status


def test_a_file_whose_time_a_builder_set(served: Media) -> None:
    url = served.put("built.txt", b"built")
    os.utime(served.root / "built.txt", (1, 1))
    response = served.get(url)
    assert "last-modified" not in response
    assert served.status(url, [("If-None-Match", response["etag"])]) == 304
    assert served.status(url, [("If-Modified-Since", "Sat, 01 Jan 2050 00:00:00 GMT")]) == 200


# Preconditions ---------------------------------------------------------------------------------

# TAG and TIME are those of the file; TIME-1 is a second before.
CONDITIONS: list[tuple[list[tuple[str, str]], int]] = [
    ([("If-Match", "TAG")], 200),
    ([("If-Match", "*")], 200),
    ([("If-Match", '"other"')], 412),
    ([("If-Match", "W/TAG")], 412),
    ([("If-Match", '"a,b", TAG')], 200),
    ([("If-Match", ' , "a" ,TAG,, ')], 200),
    ([("If-Match", '"a"'), ("If-Match", "TAG")], 200),
    ([("If-Match", "TAG"), ("If-Match", '"a"')], 200),
    ([("If-Match", '"a"'), ("If-Match", '"b"')], 412),
    ([("If-Unmodified-Since", "TIME")], 200),
    ([("If-Unmodified-Since", "TIME+1")], 200),
    ([("If-Unmodified-Since", "TIME-1")], 412),
    ([("If-Unmodified-Since", "yesterday")], 200),
    ([("If-Match", "TAG"), ("If-Unmodified-Since", "TIME-1")], 200),
    ([("If-Match", '"other"'), ("If-Unmodified-Since", "TIME")], 412),
    ([("If-None-Match", "TAG")], 304),
    ([("If-None-Match", "W/TAG")], 304),
    ([("If-None-Match", "*")], 304),
    ([("If-None-Match", '"other"')], 200),
    ([("If-None-Match", '"a,b", W/"c", TAG')], 304),
    ([("If-None-Match", '"a,TAG"')], 200),
    ([("If-None-Match", '"a"'), ("If-None-Match", "TAG")], 304),
    ([("If-None-Match", "TAG"), ("If-None-Match", '"a"')], 304),
    ([("If-Modified-Since", "TIME")], 304),
    ([("If-Modified-Since", "TIME+1")], 304),
    ([("If-Modified-Since", "TIME-1")], 200),
    ([("If-Modified-Since", "tomorrow")], 200),
    ([("If-Modified-Since", "")], 200),
    ([("If-None-Match", '"other"'), ("If-Modified-Since", "TIME")], 200),
    ([("If-None-Match", "TAG"), ("If-Modified-Since", "TIME-1")], 304),
    ([("If-Match", '"other"'), ("If-None-Match", "TAG")], 412),
    ([("If-Match", "TAG"), ("If-None-Match", "TAG")], 304),
    ([("If-Unmodified-Since", "TIME-1"), ("If-None-Match", "TAG")], 412),
    ([("If-Unmodified-Since", "TIME"), ("If-Modified-Since", "TIME")], 304),
    ([("Range", "bytes=0-9"), ("If-None-Match", "TAG")], 304),
    ([("Range", "bytes=0-9"), ("If-Match", '"other"')], 412),
    ([("Range", "bytes=0-9"), ("If-Match", "TAG")], 206),
    ([("Range", "bytes=9999-"), ("If-None-Match", "TAG")], 304),
    ([("Range", "bytes=9999-"), ("If-Match", '"other"')], 412),
    ([("Range", "bytes=9999-")], 416),
    ([("Range", "bytes=0-9"), ("If-Range", "TAG")], 206),
    ([("Range", "bytes=0-9"), ("If-Range", "W/TAG")], 200),
    ([("Range", "bytes=0-9"), ("If-Range", '"other"')], 200),
    ([("Range", "bytes=0-9"), ("If-Range", "TIME")], 206),
    ([("Range", "bytes=0-9"), ("If-Range", "TIME+1")], 200),
    ([("Range", "bytes=0-9"), ("If-Range", "TIME-1")], 200),
    ([("Range", "bytes=0-9"), ("If-Range", "garbage")], 200),
    ([("Range", "bytes=9999-"), ("If-Range", "TAG")], 416),
    ([("Range", "bytes=9999-"), ("If-Range", '"other"')], 200),
    ([("Range", "bytes=0-9"), ("If-Match", "TAG"), ("If-Range", "TAG")], 206),
    ([("If-Range", "TAG")], 200),
    ([("If-Range", '"other"')], 200),
]


def test_preconditions_in_the_order_of_the_rfc(served: Media) -> None:
    data = noise(1000)
    url = served.put("conditions.bin", data)
    whole = served.get(url)
    modified = parsedate_to_datetime(whole["last-modified"]).timestamp()

    def meant(value: str) -> str:
        for word, shift in (("TIME+1", 1), ("TIME-1", -1), ("TIME", 0)):
            value = value.replace(word, formatdate(modified + shift, usegmt=True))
        return value.replace("TAG", whole["etag"])

    for conditions, status in CONDITIONS:
        headers = [
            # Inside a longer tag the quotes of ours would end it.
            (name, meant(value) if value != '"a,TAG"' else f'"a,{whole["etag"][1:-1]}"')
            for name, value in conditions
        ]
        assert served.get(url, headers).status == status, headers
        at_head = {206: 200, 416: 200}.get(status, status)
        assert served.get(url, headers, method="HEAD").status == at_head, headers


@pytest.mark.parametrize(
    "form",
    ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"],
    ids=["imf-fixdate", "rfc850", "asctime"],
)
def test_each_form_of_a_date(served: Media, form: str) -> None:
    url = served.put("dated.txt", b"x")
    os.utime(served.root / "dated.txt", (784111777, 784111777))
    date = parsedate_to_datetime("Sun, 06 Nov 1994 08:49:37 GMT")
    earlier = date.replace(second=36)
    assert served.status(url, [("If-Modified-Since", date.strftime(form))]) == 304
    assert served.status(url, [("If-Modified-Since", earlier.strftime(form))]) == 200
    assert served.status(url, [("If-Unmodified-Since", date.strftime(form))]) == 200
    assert served.status(url, [("If-Unmodified-Since", earlier.strftime(form))]) == 412


def test_an_error_has_no_precondition(served: Media) -> None:
    # RFC 9110 section 13.2.1: they count only where the answer without them is a success.
    for headers in ([("If-None-Match", "*")], [("If-Match", "*")], [("Range", "bytes=0-1")]):
        assert served.status("/media/missing.txt", headers) == 404
        assert served.get("/media/missing.txt", headers, method="POST").status == 405


# Ranges ----------------------------------------------------------------------------------------

N = 1000
GIGANTIC = "9" * 40
RANGES: list[tuple[str, list[tuple[int, int]] | int]] = [
    ("bytes=0-0", [(0, 1)]),
    ("bytes=0-", [(0, N)]),
    ("bytes=5-9", [(5, 10)]),
    ("bytes=005-009", [(5, 10)]),
    ("bytes=999-", [(999, N)]),
    ("bytes=990-5000", [(990, N)]),
    (f"bytes=990-{GIGANTIC}", [(990, N)]),
    ("bytes=-1", [(999, N)]),
    ("bytes=-1000", [(0, N)]),
    ("bytes=-5000", [(0, N)]),
    (f"bytes=-{GIGANTIC}", [(0, N)]),
    ("BYTES=0-9", [(0, 10)]),
    ("bytes=,0-9", [(0, 10)]),
    ("bytes=0-1,5-6", [(0, 2), (5, 7)]),
    ("bytes=0-1 ,\t5-6", [(0, 2), (5, 7)]),
    ("bytes=5-6,0-1", [(5, 7), (0, 2)]),
    ("bytes=-5,0-4,500-509", [(995, N), (0, 5), (500, 510)]),
    ("bytes=0-1,2000-2001,5-6", [(0, 2), (5, 7)]),
    ("bytes=2000-,5-6", [(5, 7)]),
    ("bytes=0-1,-0", [(0, 2)]),
    ("bytes=0-9,5-19", [(0, 20)]),
    ("bytes=5-19,100-109,0-9", [(0, 20), (100, 110)]),
    ("bytes=0-999,0-999", 200),  # more bytes than there are
    ("bytes=0-,-1", 200),
    ("bytes=1000-", 416),
    ("bytes=1000-2000", 416),
    (f"bytes={GIGANTIC}-", 416),
    ("bytes=-0", 416),
    ("bytes=1000-,2000-3000", 416),
    ("bytes=5-4", 200),
    ("bytes=0-1,5-4", 200),
    ("bytes=", 200),
    ("bytes", 200),
    ("bytes=-", 200),
    ("bytes=a-b", 200),
    ("bytes=0-1,x", 200),
    ("bytes=0x1-5", 200),
    ("bytes=+1-5", 200),
    ("bytes=1_0-20", 200),
    ("bytes=1.0-5", 200),
    ("bytes=1-2-3", 200),
    ("bytes=--1", 200),
    ("bytes=0 - 5", 200),
    ("bytes 0-5", 200),
    ("bytes=0-1;5-6", 200),
    ("bytes=0-1, bytes=5-6", 200),
    ("bytes:0-5", 200),
    ("items=0-5", 200),
    ("=0-5", 200),
    ("0-5", 200),
    ("", 200),
]


def parts(response: Response) -> list[tuple[int, int, bytes]]:
    """The start, the stop and the bytes of each range of a 206, its framing taken apart by hand."""
    kind = response["content-type"]
    if not kind.startswith("multipart/byteranges"):
        return [(*content_range(response["content-range"]), response.body)]
    assert "content-range" not in response  # RFC 9110 section 15.3.7.2
    match = re.fullmatch(
        r"multipart/byteranges; ?boundary=\"?([A-Za-z0-9'()+_,./:=? -]{1,70})\"?", kind
    )
    assert match
    delimiter = b"\r\n--" + match[1].encode()
    first, *pieces, last = (b"\r\n" + response.body).split(delimiter)
    assert first in (b"", b"\r\n")
    assert last in (b"--", b"--\r\n")
    found = []
    for piece in pieces:
        start, _, data = piece.partition(b"\r\n\r\n")
        blank, *lines = start.split(b"\r\n")
        assert blank == b""
        fields = dict(line.decode().split(": ", 1) for line in lines)
        fields = {name.lower(): value for name, value in fields.items()}
        assert fields["content-type"] == "application/octet-stream"
        found.append((*content_range(fields["content-range"]), data))
    return found


def content_range(value: str) -> tuple[int, int]:
    match = re.fullmatch(r"bytes (0|[1-9]\d*)-(0|[1-9]\d*)/(\d+)", value)
    assert match
    start, last, size = map(int, match.groups())
    assert start <= last < size == N
    return start, last + 1


def test_ranges(served: Media) -> None:
    data = noise(N, seed=1)
    url = served.put("ranges.bin", data)
    whole = served.get(url)
    for value, expected in RANGES:
        response = served.get(url, [("Range", value)])
        if expected == 416:
            assert response.status == 416, value
            assert response["content-range"] == f"bytes */{N}"
        elif expected == 200:
            assert response.status == 200, value
            assert response.body == data
        else:
            assert response.status == 206, value
            found = parts(response)
            assert [(start, stop) for start, stop, _ in found] == expected, value
            assert all(piece == data[start:stop] for start, stop, piece in found)
            assert response["etag"] == whole["etag"]


def test_one_range_is_never_a_multipart(served: Media) -> None:
    # RFC 9110 section 15.3.7.2: a client that asked for one may not know the type.
    url = served.put("one.bin", noise(N))
    response = served.get(url, [("Range", "bytes=10-19")])
    assert response["content-type"] == "application/octet-stream"
    assert response.length == 10


def test_adjacent_ranges_lose_and_double_nothing(served: Media) -> None:
    data = noise(N, seed=2)
    url = served.put("adjacent.bin", data)
    found = parts(served.get(url, [("Range", "bytes=0-4,5-9,10-19")]))
    assert b"".join(piece for _, _, piece in found) == data[:20]


def test_a_multipart_as_a_library_reads_it(served: Media) -> None:
    # Data that looks like framing.
    data = (b"\r\n--\r\nContent-Range: bytes 0-1/2\r\n\r\n" * N)[:N]
    url = served.put("framing.bin", data)
    response = served.get(url, [("Range", "bytes=1-100,300-399,200-209")])
    message = email.message_from_bytes(
        f"Content-Type: {response['content-type']}\r\n\r\n".encode() + response.body,
        policy=email.policy.HTTP,
    )
    assert not message.defects
    assert message.get_content_type() == "multipart/byteranges"
    assert [
        (part["Content-Range"], part.get_payload(decode=True)) for part in message.iter_parts()
    ] == [
        (f"bytes 1-100/{N}", data[1:101]),
        (f"bytes 300-399/{N}", data[300:400]),
        (f"bytes 200-209/{N}", data[200:210]),
    ]


@pytest.mark.parametrize(
    "value",
    [
        "bytes=" + ",".join(["0-"] * 5),
        "bytes=" + ",".join(["0-999"] * 1000),
        "bytes=" + ",".join(f"{i}-{i}" for i in range(0, 240, 2)),
        "bytes=" + ",".join(f"{i}-{i}" for i in range(0, 1000, 2)),
        "bytes=" + ",".join(f"{i}-" for i in range(1000)),
        "bytes=" + ",".join(f"-{i}" for i in range(1, 1000)),
        "bytes=" + "," * 4000 + "0-1",
    ],
)
def test_no_set_of_ranges_amplifies(served: Media, value: str) -> None:
    data = noise(N, seed=3)
    response = served.get(served.put("amplify.bin", data), [("Range", value)])
    if response.status == 200:
        assert response.body == data
    else:
        found = parts(response)
        assert sum(len(piece) for _, _, piece in found) <= N
        assert len(found) <= 100
        assert all(piece == data[start:stop] for start, stop, piece in found)
    assert len(response.body) <= N + 100 * 200


@pytest.mark.parametrize("value", ["bytes=0-", "bytes=0-0", "bytes=-1", "bytes=5-6,7-8", "x=1-2"])
def test_an_empty_file_has_no_ranges(served: Media, value: str) -> None:
    response = served.get(served.put("empty.bin", b""), [("Range", value)])
    assert response.status == 200
    assert response.body == b""


def test_ranges_far_into_a_file_larger_than_4_gib(served: Media) -> None:
    url = served.put("huge.bin", b"")
    marks = {0: b"start", (1 << 31) - 2: b"2GiB", (1 << 32) - 2: b"4GiB", (5 << 30) - 3: b"end"}
    with open(served.root / "huge.bin", "r+b") as file:
        file.truncate(5 << 30)
        for offset, mark in marks.items():
            os.pwrite(file.fileno(), mark, offset)
    for offset, mark in marks.items():
        last = offset + len(mark) - 1
        response = served.get(url, [("Range", f"bytes={offset}-{last}")])
        assert response.body == mark
        assert response["content-range"] == f"bytes {offset}-{last}/{5 << 30}"
    assert served.get(url, method="HEAD").length == 5 << 30


# Types -----------------------------------------------------------------------------------------

TYPES = {
    "a.txt": "text/plain; charset=utf-8",
    "a.html": "text/html; charset=utf-8",
    "a.css": "text/css; charset=utf-8",
    "a.csv": "text/csv; charset=utf-8",
    "a.js": "text/javascript; charset=utf-8",
    "a.vtt": "text/vtt; charset=utf-8",
    "a.jpg": "image/jpeg",
    "A.JPG": "image/jpeg",
    "a.png": "image/png",
    "a.gif": "image/gif",
    "a.svg": "image/svg+xml",
    "a.webp": "image/webp",
    "a.avif": "image/avif",
    "a.heic": "image/heic",
    "a.jxl": "image/jxl",
    "a.woff2": "font/woff2",
    "a.flac": "audio/flac",
    "a.m4a": "audio/mp4",
    "a.mp3": "audio/mpeg",
    "a.mp4": "video/mp4",
    "a.webm": "video/webm",
    "a.m3u8": "application/vnd.apple.mpegurl",
    "a.mpd": "application/dash+xml",
    "a.glb": "model/gltf-binary",
    "a.wasm": "application/wasm",
    "a.pdf": "application/pdf",
    "a.json": "application/json",
    "a.zip": "application/zip",
    "a.unknown": "application/octet-stream",
    "noending": "application/octet-stream",
    "a.tar.gz": "application/gzip",
    "a.svgz": "application/gzip",
}


def test_content_types(served: Media) -> None:
    for name, expected in TYPES.items():
        assert served.get(served.put(f"types/{name}", b"x"))["content-type"] == expected, name


# Names -----------------------------------------------------------------------------------------

NAMES: list[str | bytes] = [
    "plain.txt",
    "with  space.txt",
    " leading and trailing ",
    "ünïcödé.txt",
    "u\u0308nicode, decomposed.txt",
    "日本語.txt",
    "emoji 😀.txt",
    "\u202egnp.exe",
    "100%.txt",
    "%41.txt",
    "%2e%2e",
    "%00",
    "what?.txt",
    "#hash.txt",
    "a+b.txt",
    "semi;colon=1.txt",
    "a&b=c.txt",
    "'single'.txt",
    '"double".txt',
    "new\nline.txt",
    "carriage\rreturn\r\n.txt",
    "tab\t.txt",
    "\x01\x7f.txt",
    "back\\slash.txt",
    "<b>(round)[square]{curly}.txt",
    "C:drive.txt",
    "CON",
    "~tilde@at!bang$*.txt",
    "-dash",
    "dots...",
    "a" * 255,
    b"\xff\xfe.txt",
    b"latin-1 \xe9.txt",
    b"\xc0\xae\xc0\xae",
    b"half \xe6\x97.txt",
]


def test_every_name_is_served_under_its_encoded_url(served: Media) -> None:
    for number, name in enumerate(NAMES):
        data = b"file %d" % number
        raw = os.fsencode(name)
        if raw.startswith(b"."):
            continue
        if served.server.name == "anycorn" and isinstance(name, bytes):
            continue  # it refuses each path that is no UTF-8 by itself
        served.put(b"names/" + raw, data)
        for safe in ("", "!$&'()*+,;=:@"):
            encoded = quote_from_bytes(raw, safe=safe)
            assert served.get(f"/media/names/{encoded}").body == data, name
            lower = re.sub("%..", lambda match: match[0].lower(), encoded)
            assert served.get(f"/media/names/{lower}").body == data, name
        everything = "".join(f"%{byte:02X}" for byte in raw)
        assert served.get(f"/media/names/{everything}").body == data, name


def test_a_deep_folder(served: Media) -> None:
    assert served.get(served.put("d/" * 60 + "deep.txt", b"deep")).body == b"deep"


def test_what_can_be_no_name(served: Media) -> None:
    served.put("plain.txt", b"x")
    served.put("sub/plain.txt", b"x")
    for target in [
        "/media/",
        "/media/sub",
        "/media/sub/",
        "/media/plain.txt/",
        "/media/plain.txt/more",
        "/media/plain.txt//",
        "/media//./plain.txt",
        "/media/./plain.txt",
        "/media/sub/../plain.txt",
        "/media/%2e/plain.txt",
        "/media/plain.txt%00",
        "/media/plain%00.txt",
        "/media/%00",
        "/media/" + "a" * 256,
        "/media/" + quote("ü" * 128),
        "/media/" + "/".join(["a" * 200] * 25),
        "/media/" + "a/" * 4000,
        "/media/" + "%61" * 5000,
    ]:
        assert served.status(target) == 404, target


def test_runs_of_slashes_are_one(served: Media) -> None:
    served.put("sub/slashes.txt", b"merged")
    for path in (
        "/media//sub/slashes.txt",
        "/media/sub//slashes.txt",
        "/media///sub////slashes.txt",
        "/media/%2fsub%2F/slashes.txt",
    ):
        assert served.get(path).body == b"merged", path


# The root's border -----------------------------------------------------------------------------

DOTS = ["..", "%2e%2e", ".%2E", "%252e%252e", "%c0%ae%c0%ae", "%e0%80%ae%e0%80%ae", "..%00"]
DOTS += ["..;", "..%20", "%20..", "....", "%EF%BC%8E%EF%BC%8E", "%u002e%u002e"]
SLASHES = ["/", "%2f", "%5c", "//", "%252f", "%c0%af", "/./", "%EF%BC%8F"]
STARTS = ["", "sub/", "sub/../", "./", "%2e/", "/"]
CLIMBS = [
    f"/media/{start}{(dots + slash) * depth}secret.txt"
    for start, dots, slash, depth in itertools.product(STARTS, DOTS, SLASHES, (1, 2))
]
TWINS = [
    "/media-secret/secret.txt",
    "/media%2dsecret/secret.txt",
    "/media../secret.txt",
    "/media..%2fsecret.txt",
    "/media%2e%2e/secret.txt",
    "/media%2f../secret.txt",
    "/media%2f%2e%2e%2fsecret.txt",
    "/media%5c..%5csecret.txt",
    "/media;/../secret.txt",
    "/media/..%2fmedia-secret%2fsecret.txt",
    "/media/../media-secret/secret.txt",
    "//media/../secret.txt",
    "/./media/../secret.txt",
    "/x/../media/../secret.txt",
    "/medi%61/../secret.txt",
    "/media//etc/passwd",
    "/media/%2fetc/passwd",
    "/media/%2fetc%2fpasswd",
    "/media/%2f%2fetc/passwd",
    "/media/file:///etc/passwd",
    "/media/file:%2f%2f%2fetc%2fpasswd",
    "/media/../../../../../../../../etc/passwd",
    "/media/" + "%2e%2e/" * 20 + "etc/passwd",
    "/media/inside/../../secret.txt",
    "/media/inside/..%2f..%2fsecret.txt",
]


def test_nothing_outside_the_root_is_ever_served(served: Media) -> None:
    served.put("sub/inside.txt", b"x")
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(Connection(served.server))
        for target in [*CLIMBS, *TWINS]:
            try:
                response = client.get(target)
            except (Truncated, ConnectionResetError, BrokenPipeError):
                # Some servers end the connection after a request that they refused.
                client = stack.enter_context(Connection(served.server))
                response = client.get(target)
            assert b"SECRET" not in response.body, target
            assert b"root:" not in response.body, target
            if "x-inner" in response:
                assert not target.startswith("/media/") or "%2f" in target.lower(), target
            elif response.status != 400:
                assert response.status == 404, target
                check(response)


def test_a_location_is_its_prefix_and_no_more(served: Media) -> None:
    served.put("a.txt", b"a")
    for target in (
        "/",
        "/media",
        "/mediax",
        "/media-secret/secret.txt",
        "/Media/a.txt",
        "/x/media/a.txt",
    ):
        told = served.passed_on(target, method="POST", body=b"x" * 70_000)
        assert told["path"] == target
        assert told["method"] == "POST"
        assert told["body"] == 70_000
    assert served.get("/%6dedia/a.txt").body == b"a"


def test_the_longest_prefix_wins(served: Media) -> None:
    served.put("inside/a.txt", b"of the shorter one")
    (served.base / "other" / "a.txt").write_bytes(b"of the longer one")
    assert served.get("/media/inside/a.txt").body == b"of the longer one"


def test_links(served: Media) -> None:
    served.put("links/a.txt", b"below")
    served.put("links/sub/b.txt", b"below")
    links = served.root / "links"
    for name, target in {
        "good.txt": "a.txt",
        "into.txt": "sub/b.txt",
        "folder": "sub",
        "sub/up.txt": "../a.txt",
        "sub/zigzag.txt": "../sub/../a.txt",
        "chain1": "chain2",
        "chain2": "chain3",
        "chain3": "a.txt",
        "absolute.txt": str(links / "a.txt"),
        "absolute": str(links / "sub"),
        "absolute but as if below.txt": "/sub/b.txt",
        "climbing.txt": "../../secret.txt",
        "climbing and back.txt": "../../media/links/a.txt",
        "outside": "../..",
        "etc": "/etc",
        "process": "/proc/self",
        "dangling.txt": "nothing.txt",
        "self": "self",
        "loop1": "loop2",
        "loop2": "loop1",
        "null": "/dev/null",
        "empty-ish": "sub/",
    }.items():
        (links / name).symlink_to(target)
    for target in (
        "good.txt",
        "into.txt",
        "folder/b.txt",
        "folder/up.txt",
        "sub/up.txt",
        "sub/zigzag.txt",
        "chain1",
        "absolute.txt",
        "absolute/b.txt",
    ):
        assert served.get(f"/media/links/{target}").body == b"below", target
    outside = [
        "absolute%20but%20as%20if%20below.txt",
        "climbing.txt",
        "climbing%20and%20back.txt",
        "outside/secret.txt",
    ]
    outside += [
        "outside/media/links/a.txt",
        "etc/passwd",
        "process/environ",
        "process/root/etc/passwd",
    ]
    nothing = ["dangling.txt", "self", "loop1", "loop2/x", "null", "empty-ish", "outside", "folder"]
    for target in [*outside, *nothing]:
        assert served.status(f"/media/links/{target}") == 404, target
    assert served.get("/links/links/climbing.txt").body == SECRET
    assert served.get("/links/links/absolute/b.txt").body == b"below"
    assert served.get("/links/links/good.txt").body == b"below"
    for target in nothing:
        assert served.status(f"/links/links/{target}") == 404, target


def test_a_folder_that_becomes_a_link_during_the_request(served: Media) -> None:
    url = served.put("race/secret.txt", b"inside")
    race, folder, link = (served.root / name for name in ("race", "race folder", "race link"))
    link.symlink_to("..")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            race.rename(folder)
            link.rename(race)
            race.rename(link)
            folder.rename(race)

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        with Connection(served.server) as client:
            answers = [client.get(url) for _ in range(400)]
    finally:
        stop.set()
        swapping.join()
    assert {answer.status for answer in answers} <= {200, 404}
    assert {answer.body for answer in answers if answer.status == 200} <= {b"inside"}
    assert served.get(url).body == b"inside"


def test_what_is_no_regular_file(served: Media) -> None:
    special = served.root / "special"
    special.mkdir()
    os.mkfifo(special / "fifo")
    names = ["fifo", "socket", "."]
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{short}/s")  # its path may have 107 bytes only
        listener.listen()
        shutil.move(f"{short}/s", special / "socket")
        if os.geteuid() == 0:
            for name, minor in (("null", 3), ("zero", 5)):
                os.mknod(special / name, stat.S_IFCHR | 0o666, os.makedev(1, minor))
                names.append(name)
        for name in names:
            for headers in ([], [("Range", "bytes=0-9")]):
                assert served.status(f"/media/special/{name}", headers) == 404
                assert served.status(f"/links/special/{name}", headers) == 404


def test_dotfiles(served: Media) -> None:
    names = [".env", ".git/config", "a/.hidden", "...", "..a", "a/.b/c.txt"]
    for name in names:
        served.put(name, b"hidden")
        assert served.status(f"/media/{name}") == 404, name
        assert served.get(f"/dots/{name}").body == b"hidden", name
    assert served.status("/dots/../secret.txt") == 404
    assert served.status("/dots/a/./.hidden") == 404


def test_an_unreadable_file_is_forbidden(served: Media) -> None:
    need_unprivileged()
    url = served.put("unreadable.txt", b"x")
    (served.root / "unreadable.txt").chmod(0)
    for method in ("GET", "HEAD"):
        assert served.get(url, method=method).status == 403
    (served.root / "unreadable.txt").chmod(0o644)
    assert served.get(url).body == b"x"


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


def test_roots_that_come_and_go(served: Media) -> None:
    base = served.base
    late, swapped, linked = "/late/a.txt", "/swapped/a.txt", "/linked/a.txt"
    soon(served, {late: None, swapped: None, linked: None})

    for name in ("late", "swapped", "release1", "release2", "next"):
        (base / name).mkdir()
        (base / name / "a.txt").write_bytes(name.encode())
    (base / "swapped" / "old.txt").write_bytes(b"old")
    (base / "linked").symlink_to("release1")
    soon(
        served,
        {late: b"late", swapped: b"swapped", "/swapped/old.txt": b"old", linked: b"release1"},
    )

    (base / "swapped").rename(base / "before")
    (base / "next").rename(base / "swapped")
    (base / "new link").symlink_to("release2")
    (base / "new link").rename(base / "linked")
    shutil.rmtree(base / "late")
    soon(served, {late: None, swapped: b"next", "/swapped/old.txt": None, linked: b"release2"})

    (base / "late").mkdir()
    (base / "late" / "a.txt").write_bytes(b"again")
    (base / "linked").unlink()
    soon(served, {late: b"again", linked: None})


def test_an_upload_is_served_at_once(served: Media) -> None:
    for number in range(20):
        url = f"/media/uploads/{number}.txt"
        assert served.status(url) == 404
        served.put(f"uploads/{number}.txt", b"here", age=0)
        assert served.get(url).body == b"here"
        (served.root / f"uploads/{number}.txt").unlink()
        assert served.status(url) == 404


# Options ---------------------------------------------------------------------------------------


def test_options_of_a_location(served: Media) -> None:
    for name in ("a.txt", "app.0123456789ab.js", "b.own", "B.OWN"):
        served.put(f"own/{name}", b"x")
    plain = served.get("/own/own/a.txt")
    assert plain["cache-control"] == "public, max-age=60"
    assert plain["content-type"] == "text/x-own"
    assert plain["x-own"] == "yes"
    for name in ("b.own", "B.OWN"):
        assert served.get(f"/own/own/{name}")["content-type"] == "application/x-own"
    forever = served.get("/own/own/app.0123456789ab.js")["cache-control"]
    assert "immutable" in forever
    assert "max-age=31536000" in forever
    again = served.get("/own/own/a.txt", [("If-None-Match", plain["etag"])])
    assert again.status == 304
    assert again["cache-control"] == "public, max-age=60"
    assert "x-own" not in served.get("/media/own/a.txt")


def test_fallthrough(served: Media) -> None:
    served.put("there.txt", b"there")
    assert served.get("/fall/there.txt").body == b"there"
    told = served.passed_on("/fall/missing.txt?x=1")
    assert told["path"] == "/fall/missing.txt"
    assert served.passed_on("/fall/", method="POST", body=b"abc")["body"] == 3


def test_websockets_pass(served: Media) -> None:
    for path in ("/ws", "/media/a.txt"):
        connected = served.server.connect()
        with connect_websocket(f"ws://site.test{path}", sock=connected, proxy=None) as websocket:
            assert websocket.recv(timeout=60) == path


# Connections -----------------------------------------------------------------------------------


def test_a_connection_is_kept_after_each_answer(served: Media) -> None:
    data = noise(300_000)
    url = served.put("kept.bin", data)
    etag = served.get(url)["etag"]
    with Connection(served.server) as client:
        for _ in range(3):
            for method, target, headers, status in [
                ("GET", url, [], 200),
                ("HEAD", url, [], 200),
                ("GET", url, [("Range", "bytes=5-9")], 206),
                ("GET", url, [("Range", "bytes=5-9,20-29")], 206),
                ("GET", url, [("Range", "bytes=300000-")], 416),
                ("GET", url, [("If-None-Match", etag)], 304),
                ("GET", url, [("If-Match", '"other"')], 412),
                ("GET", "/media/missing", [], 404),
                ("HEAD", "/media/missing", [], 404),
                ("DELETE", url, [], 405),
                ("GET", "/inner", [], 200),
            ]:
                response = client.get(target, headers, method=method)
                assert response.status == status
                if (method, target, status) == ("GET", url, 200):
                    assert response.body == data
        assert client.surplus() == b""


def test_asked_again_the_answer_is_the_same_until_the_file_is_another(served: Media) -> None:
    """What is remembered of a file is no less than what was found at first."""

    def told(response: Response) -> tuple[int, bytes, set[tuple[str, str]]]:
        check(response)
        of_the_connection = {"date", "connection", "keep-alive"}
        headers = {pair for pair in response.headers if pair[0] not in of_the_connection}
        return response.status, response.body, headers

    small = served.put("small.bin", noise(1000))
    for size in (100_000, 90_000):
        data = noise(size)
        url = served.put("again.bin", data, age=HOUR + size)
        first = served.get(url)
        again, before = ("If-None-Match", first["etag"]), ("If-Modified-Since", "yesterday")
        requests: list[tuple[list[tuple[str, str]], int, bytes]] = [
            ([], 200, data),
            ([again], 304, b""),
            ([again, before], 304, b""),
            ([again, ("Range", "bytes=0-9")], 304, b""),
            ([("If-None-Match", '"other"'), before], 200, data),
            ([("If-Modified-Since", first["last-modified"])], 304, b""),
            ([("Range", "bytes=0-")], 206, data),
            ([("Range", "bytes=5-9")], 206, data[5:10]),
            ([("Range", "bytes=-7")], 206, data[-7:]),
            ([("Range", "bytes=95000-")], *((206, data[95_000:]) if size > 95_000 else (416, b""))),
        ]
        answers = [told(served.get(url, headers)) for headers, _, _ in requests]
        for (_, status, body), answer in zip(requests, answers, strict=True):
            assert answer[0] == status
            assert answer[1] == body or status == 416
        with Connection(served.server) as client:
            for _ in range(2):
                for (headers, _, _), answer in zip(requests, answers, strict=True):
                    assert told(client.get(url, headers)) == answer
        for (headers, _, _), answer in zip(requests, answers, strict=True):
            with Connection(served.server) as client:
                assert told(client.get(url, [*headers, ("Connection", "close")])) == answer
                assert client.ended()
    # Only the time goes on.
    date = served.get(url)["date"]
    until = time.monotonic() + 60
    while served.get(url)["date"] == date:
        assert time.monotonic() < until
        time.sleep(0.1)
    # A small file is at hand by now.
    with Connection(served.server) as client:
        for seed in range(3):
            for _ in range(3):
                assert client.get(small).body == noise(1000, seed=seed)
            status = os.stat(served.root / "small.bin")
            with open(served.root / "small.bin", "r+b") as file:
                file.write(noise(1000, seed=seed + 1))
            os.utime(served.root / "small.bin", ns=(status.st_atime_ns, status.st_mtime_ns))


def test_pipelined_requests_are_answered_in_order(served: Media) -> None:
    files = [noise(size, seed=size) for size in (10, 0, 1000, 300_000, 5, 70_000, 1, 262_144, 9, 2)]
    urls = [served.put(f"pipe/{number}.bin", data) for number, data in enumerate(files)]
    with Connection(served.server) as client:
        client.send(b"".join(map(head, urls)))  # one segment
        for data in files:
            response = client.response()
            check(response)
            assert response.body == data
        assert client.surplus() == b""


def test_pipelined_requests_of_every_kind(served: Media) -> None:
    data = noise(1000)
    url = served.put("pipe/kinds.bin", data)
    with Connection(served.server) as client:
        client.send(
            head(url, method="HEAD")
            + head("/media/missing")
            + head(url, [("Range", "bytes=0-9,20-29")])
            + head("/inner")
            + head(url, [("If-None-Match", "*")])
            + head(url, [("Connection", "close")])
        )
        answers = [client.response("HEAD")] + [client.response() for _ in range(5)]
        assert [answer.status for answer in answers] == [200, 404, 206, 200, 304, 200]
        assert answers[-1].body == data
        assert client.ended()


def test_http_1_0(served: Media) -> None:
    data = noise(300_000)
    url = served.put("one-point-zero.bin", data)
    with Connection(served.server) as client:
        client.send(head(url, version="1.0"))
        response = client.response()
        check(response)
        assert response.body == data
        assert client.ended()


def test_many_clients_at_once(served: Media) -> None:
    data = noise(2 << 20)
    url = served.put("many.bin", data)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Connection(served.server)) for _ in range(16)]
        bodies = []
        for client in clients:
            client.request(url)
        for client in clients:
            bodies.append(client.body(client.head(), size=50_000))
        digests = [hashlib.sha256() for _ in clients]
        for pieces in itertools.zip_longest(*bodies, fillvalue=b""):
            for digest, piece in zip(digests, pieces, strict=True):
                digest.update(piece)
    assert {digest.digest() for digest in digests} == {hashlib.sha256(data).digest()}


def unhurried(server: Server, url: str, data: bytes) -> None:
    """A client that is slower than the file, with a buffer that holds little of it."""
    with Connection(server, rcvbuf=64 << 10) as client:
        client.request(url)
        response = client.head()
        time.sleep(0.3)
        assert b"".join(client.body(response, size=128 << 10, pause=0.001)) == data
        assert client.get("/inner").status == 200


def test_a_slow_client_gets_every_byte(served: Media) -> None:
    data = noise(12_000_000)
    unhurried(served.server, served.put("slow.bin", data), data)


def test_two_hundred_megabytes_byte_for_byte(served: Media) -> None:
    size = 200_000_003
    url = served.put("large.bin", b"")
    dice = random.Random(4)
    path = served.root / "large.bin"
    with open(path, "r+b") as file:
        file.truncate(size)
        for offset in [0, size - 100, *(dice.randrange(size - 100) for _ in range(2000))]:
            os.pwrite(file.fileno(), dice.randbytes(100), offset)
    with Connection(served.server) as client, open(path, "rb") as file:
        client.request(url)
        response = client.head()
        assert response.length == size
        for piece in client.body(response, size=1 << 20):
            assert piece == file.read(len(piece))
        assert file.read(1) == b""
        assert client.get("/inner").status == 200
    path.unlink()


def test_every_file_is_closed_again(served: Media) -> None:
    # More would be lent to granian, for a stated time.
    size = 200_000 if served.server.name == "granian" else 300_000
    url = served.put("closed.bin", noise(size))
    etag = served.get(url)["etag"]
    for method in ("GET", "HEAD", "POST"):
        for headers in (
            [],
            [("Range", "bytes=5-9,20-29")],
            [("Range", f"bytes={size}-")],
            [("If-None-Match", etag)],
            [("If-Match", '"other"')],
        ):
            served.get(url, headers, method=method)
    for name in ("missing", "closed.bin/x", "", "sub", "special/fifo", "links/climbing.txt"):
        served.status(f"/media/{name}")
    # To granian the larger files of other tests are still lent, for 10 s.
    ours = served.root / "closed.bin" if served.server.name == "granian" else f"{served.base}/"
    deadline = time.monotonic() + 60
    while opened := [
        target
        for target in served.server.descriptors()
        if target.startswith(str(ours)) and not os.path.isdir(target)
    ]:
        assert time.monotonic() < deadline, opened
        time.sleep(0.02)


# Prefixes that a proxy or Django's settings add ------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [*grouped(["daphne", "uvicorn"]), *grouped(["hypercorn", "granian"], pytest.mark.slow)],
)
def test_a_root_path(name: str, tmp_path: Path) -> None:
    with Server(name, env=made(tmp_path), root_path="/behind/proxy") as server:
        served = Media(server, tmp_path)
        url = served.put("a.txt", b"stripped or not")
        (tmp_path / "secret.txt").write_bytes(SECRET)
        assert served.get(url).body == b"stripped or not"
        assert served.status("/media/missing") == 404
        if name != "uvicorn":
            # Uvicorn puts the root path before every path itself: behind a proxy that doesn't strip
            # it, Django's URLs don't match either.
            assert served.get("/behind/proxy" + url).body == b"stripped or not"
            assert served.status("/behind/proxy/media/../secret.txt") == 404
        assert served.passed_on("/behind/proxyx" + url)
        assert served.passed_on("/other")["root_path"] == "/behind/proxy"


@pytest.mark.xdist_group("uvicorn")
@pytest.mark.parametrize(
    ("settings", "urls"),
    [
        ({"MEDIA_URL": "media/"}, ["/media/"]),
        pytest.param({"MEDIA_URL": "/up%20loads/"}, ["/up%20loads/"], marks=pytest.mark.slow),
        pytest.param(
            {"MEDIA_URL": "https://cdn.example.com/pulled/media/"},
            ["/pulled/media/"],
            marks=pytest.mark.slow,
        ),
        ({"MEDIA_URL": "media/", "FORCE_SCRIPT_NAME": "/app"}, ["/app/media/", "/media/"]),
        ({"MEDIA_URL": "/app/media/", "FORCE_SCRIPT_NAME": "/app"}, ["/app/media/", "/media/"]),
    ],
)
def test_settings(settings: dict[str, str], urls: list[str], tmp_path: Path) -> None:
    root = tmp_path / "uploaded"  # not there yet
    told = json.dumps({"MEDIA_ROOT": str(root), **settings})
    with Server(
        "uvicorn", "tests.apps.configured:application", env={"MEDIA_SETTINGS": told}
    ) as server:
        served = Media(server, tmp_path)
        assert served.get(urls[0] + "a.txt").status == 404
        root.mkdir()
        (root / "a.txt").write_bytes(b"of the settings")
        for url in urls:
            soon(served, {url + "a.txt": b"of the settings"})
        assert served.passed_on("/elsewhere/a.txt")


# Other servers, and other ways of running them -------------------------------------------------


def ways(*names: str, slow: Sequence[str] = ()) -> pytest.MarkDecorator:
    params = [*grouped(names), *grouped(slow, pytest.mark.slow)]
    return pytest.mark.parametrize("way", params, indirect=True)


@pytest.fixture(scope="session")
def way(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Media]:
    with running(request.param, tmp_path_factory.mktemp(request.param)) as media:
        yield media


# What another process manager or loop serves is one of the four servers, or its twin.
@ways(
    *("daphne-unix", "daphne-tls", "uvicorn-h11", "uvicorn-tls", "hypercorn-tls", "granian-tls"),
    slow=("uvicorn-asyncio", "anycorn", "gunicorn"),
)
def test_other_ways(way: Media) -> None:
    data = noise(12_000_000)
    unhurried(way.server, way.put("slow.bin", data), data)
    data = noise(3_000_000)
    url = way.put("a.bin", data)
    whole = way.get(url)
    assert whole.body == data
    assert way.get(url, method="HEAD").length == len(data)
    assert way.get(url, [("Range", "bytes=-70000")]).body == data[-70000:]
    assert way.status(url, [("Range", "bytes=1-2,5-6")]) == 206
    assert way.status(url, [("If-None-Match", whole["etag"])]) == 304
    assert way.status(url, [("Range", "bytes=3000000-")]) == 416
    assert way.status("/media/../secret.txt") == 404
    assert way.get(url, method="POST").status == 405
    assert way.passed_on("/other")["path"] == "/other"
    with Connection(way.server) as client:
        client.send(head(url) * 4)
        for _ in range(4):
            assert client.response().body == data
        assert client.surplus() == b""


@ways("daphne-tls", "hypercorn-tls", "granian-tls")
def test_http_2(way: Media) -> None:
    files = [noise(size, seed=size) for size in (0, 10, 70_000, 3_000_000)]
    urls = [way.put(f"{len(data)}.bin", data) for data in files]
    with HTTP2(way.server) as client:
        for url, data in zip(urls, files, strict=True):
            whole = client.get(url)
            check(whole)
            assert whole.status == 200
            assert whole.body == data
            assert client.get(url, method="HEAD").length == len(data)
        # Several streams at once.
        streams = [
            (client.request(url), data) for url, data in [*zip(urls, files, strict=True)] * 2
        ]
        for number, data in streams:
            assert client.response(number).body == data
        part = client.get(urls[3], [("Range", "bytes=5-9")])
        assert (part.status, part.body) == (206, files[3][5:10])
        for target, headers, status in [
            (urls[3], [("If-None-Match", whole["etag"])], 304),
            (urls[3], [("Range", "bytes=3000000-")], 416),
            (urls[3], [("If-Match", '"other"')], 412),
            ("/media/missing", [], 404),
            ("/media/../secret.txt", [], 404),
        ]:
            response = client.get(target, headers)
            check(response)
            assert response.status == status
        assert client.get("/inner")["x-inner"] == "1"
