"""An object source against a store that answers as it is told."""

import asyncio
import gzip
import itertools
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import aclosing
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from obstore.store import MemoryStore, S3Store

from media_asgi.sources import object_clients, object_file, objects
from media_asgi.sources.base import (
    NOTHING,
    WHOLE,
    FileMissingError,
    FileReadError,
    SourceBusyError,
    SourceError,
    SourceFile,
    SourceTimeoutError,
    SourceUnreachableError,
    Wanted,
)
from media_asgi.sources.gunzip import GunzipSource
from media_asgi.sources.objects import ObjectSource

from ...objects.raw import (
    TAG,
    Answerer,
    RawStore,
    Request,
    head,
    raw_store,
    refuse,
    reset,
    send_object,
)
from ...support.servers import ROOT

DATA = bytes(itertools.islice(itertools.cycle(range(251)), 1_000_000))
GZIP: Any = {"Content_Encoding": "gzip"}


@pytest.fixture
def start() -> Iterator[Callable[[Answerer], RawStore]]:
    stores = []

    def started(answer: Answerer) -> RawStore:
        store = RawStore(answer)
        stores.append(store)
        return store

    yield started
    for store in stores:
        store.__exit__()


def source(raw: RawStore, *, prefix: str = "", read_timeout: str = "20s") -> GunzipSource:
    store = S3Store(
        "media",
        **raw.config(),
        client_options={"allow_http": True, "read_timeout": read_timeout},
    )
    return GunzipSource(ObjectSource(store, prefix))


async def read(file: SourceFile, start: int = 0, stop: int | None = None) -> bytes:
    stop = file.info.size if stop is None else stop
    async with aclosing(file.stream(start, stop, lambda: 65536)) as chunks:
        return b"".join([chunk async for chunk in chunks])


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(60):
            return await coroutine

    return asyncio.run(bounded())


def opened(raw: RawStore, name: bytes = b"a.txt", wanted: Wanted = WHOLE, **options: Any) -> bytes:
    async def opened_and_read() -> bytes:
        file = await source(raw, **options).open(name, wanted)
        try:
            return await read(file)
        finally:
            file.close()

    body: bytes = run(opened_and_read())
    return body


def whole(client: socket.socket, request: Request) -> None:
    send_object(client, request, DATA)


Start = Callable[[Answerer], RawStore]


@pytest.fixture(autouse=True)
def _quick_resumes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_file, "_RESUMES", (0.01, 0.02, 0.03))
    monkeypatch.setattr(objects, "_RETRIES", (0.01, 0.02))


# Round trips


@pytest.mark.parametrize("prefix", ["a/../b", "..", "./a", "a//b", "a\\..\\b"])
def test_a_prefix_that_no_key_can_have_is_refused(prefix: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="prefix of a bucket"):
        ObjectSource(MemoryStore(), prefix)


def test_a_whole_object_is_one_get(start: Start) -> None:
    raw = start(whole)
    assert opened(raw, b"folder/a b.txt", prefix="/pre/") == DATA
    assert [(one.method, one.path) for one in raw.requests] == [
        ("GET", "/media/pre/folder/a%20b.txt")
    ]
    assert "range" not in raw.requests[0].headers


@pytest.mark.parametrize(
    ("wanted", "asked", "start_", "stop"),
    [
        (Wanted(10, 20), "bytes=10-19", 10, 20),
        (Wanted(999_990, None), "bytes=999990-", 999_990, 1_000_000),
        (Wanted(None, 10), "bytes=-10", 999_990, 1_000_000),
        (Wanted(0, 5_000_000), "bytes=0-4999999", 0, 1_000_000),
        (Wanted(5, 10**30), "bytes=5-9223372036854775806", 5, 1_000_000),
    ],
)
def test_one_range_is_one_get(
    start: Start, wanted: Wanted, asked: str, start_: int, stop: int
) -> None:
    raw = start(whole)

    async def part() -> None:
        file = await source(raw).open(b"a", wanted)
        assert file.info.size == len(DATA)
        assert await read(file, start_, stop) == DATA[start_:stop]
        file.close()

    run(part())
    assert [(one.method, one.headers["range"]) for one in raw.requests] == [("GET", asked)]


@pytest.mark.parametrize(
    "wanted", [NOTHING, Wanted(None, 0), Wanted(10**30, None), Wanted(None, 10**30), Wanted(9, 9)]
)
def test_what_needs_no_byte_at_first_is_a_head(start: Start, wanted: Wanted) -> None:
    raw = start(whole)

    async def parts() -> None:
        file = await source(raw).open(b"a", wanted)
        assert file.info.size == len(DATA)
        assert await read(file, 5, 9) == DATA[5:9]
        assert await read(file, 50, 90) == DATA[50:90]
        file.close()

    run(parts())
    assert [one.method for one in raw.requests] == ["HEAD", "GET", "GET"]
    assert [one.headers.get("if-match") for one in raw.requests] == [None, TAG, TAG]


def test_a_range_that_the_store_refuses_is_answered_with_the_size(start: Start) -> None:
    def answer(client: socket.socket, request: Request) -> None:
        if request.method == "HEAD":
            send_object(client, request, DATA)
        else:
            refuse(client, "416 Range Not Satisfiable", "InvalidRange")

    raw = start(answer)

    async def size() -> int:
        return (await source(raw).open(b"a", Wanted(5_000_000, None))).info.size

    assert run(size()) == len(DATA)
    assert [one.method for one in raw.requests] == ["GET", "HEAD"]


def test_a_store_without_ranges_gives_whole_objects(start: Start) -> None:
    def answer(client: socket.socket, request: Request) -> None:
        send_object(client, request._replace(headers={}), DATA)

    raw = start(answer)

    async def ask() -> None:
        objects_ = source(raw)
        for number, wanted in enumerate((Wanted(5, 9), Wanted(None, 3), NOTHING, WHOLE)):
            file = await objects_.open(b"a", wanted)
            assert not file.info.has_ranges, number
            assert await read(file) == DATA
            file.close()
        # Of one that said nothing of ranges, and was opened before this was known.
        objects_ = source(raw)
        opened_before = await objects_.open(b"a", NOTHING)
        with pytest.raises(FileReadError, match="non-partial"):
            await read(opened_before, 5, 9)
        known = await objects_.open(b"a", NOTHING)
        assert known.info.version != opened_before.info.version
        assert (await objects_.open(b"b", NOTHING)).info.has_ranges  # that is about one object

    run(ask())


# What is known of an object


@pytest.mark.parametrize(
    ("tag", "etag"),
    [
        ('"abc-1"', b'"abc-1"'),
        ("0x8DC0FFEE", b'"0x8DC0FFEE"'),
        ('W/"abc"', None),
        ('"a b"', None),
        ("", None),
    ],
)
def test_a_tag_is_strong_and_well_formed_or_none(
    start: Start, tag: str, etag: bytes | None
) -> None:
    raw = start(lambda client, request: send_object(client, request, DATA, ETag=tag))

    async def parts() -> bytes | None:
        file = await source(raw).open(b"a", NOTHING)
        assert await read(file, 5, 9) == DATA[5:9]
        return file.info.etag

    assert run(parts()) == etag


def test_the_fields_that_belong_to_the_bytes_are_kept(start: Start) -> None:
    fields: Any = {
        "Content_Disposition": 'attachment; filename="a.txt"',
        "Content_Encoding": "br",
        "Content_Language": "de",
        "Content_Type": "text/html",
        "Cache_Control": "max-age=1",
        "x_amz_meta_secret": "secret",
    }
    raw = start(lambda client, request: send_object(client, request, DATA, **fields))

    async def info() -> Any:
        return (await source(raw).open(b"a", WHOLE)).info

    info_ = run(info())
    assert dict(info_.headers) == {
        b"content-disposition": b'attachment; filename="a.txt"',
        b"content-encoding": b"br",
        b"vary": b"Accept-Encoding",
        b"content-language": b"de",
    }
    assert info_.modified == 1_793_613_600 * 10**9
    assert info_.has_ranges


def test_a_store_without_dates_gives_none(start: Start) -> None:
    raw = start(lambda client, request: send_object(client, request, DATA, Last_Modified=""))

    async def modified() -> Any:
        return (await source(raw).open(b"a", WHOLE)).info.modified

    assert run(modified()) is None


def test_without_a_tag_and_a_date_each_answer_is_a_version_of_its_own(start: Start) -> None:
    """Else what is remembered of a version would give two of them one tag."""
    raw = start(
        lambda client, request: send_object(client, request, DATA, ETag="", Last_Modified="")
    )

    async def versions() -> Any:
        objects_ = source(raw)
        infos = [(await objects_.open(b"a", WHOLE)).info for _ in range(2)]
        return {(info.etag, info.version) for info in infos}, {info.version for info in infos}

    assert [len(one) for one in run(versions())] == [2, 2]


# Names


@pytest.mark.parametrize(
    "name",
    [
        *(b"", b"/", b"a/", b"/a", b"a//b", b".", b"..", b"a/../b", b"a/./b", b"../a"),
        *(b"a\\..\\..\\b", b"..\\a", b"\xff", b"a\x00b", b"a\nb", b"x" * 1025),
        "ü".encode() * 513,
    ],
)
def test_what_is_no_key_is_missing_and_not_asked_for(start: Start, name: bytes) -> None:
    raw = start(whole)
    with pytest.raises(FileMissingError):
        opened(raw, name, prefix="pre")
    assert not raw.requests


# Errors before the start


REFUSALS = [
    ("404 Not Found", "NoSuchKey", FileMissingError),
    ("404 Not Found", "NoSuchBucket", SourceUnreachableError),
    ("403 Forbidden", "AccessDenied", FileMissingError),
    ("403 Forbidden", "InvalidAccessKeyId", SourceUnreachableError),
    ("403 Forbidden", "SignatureDoesNotMatch", SourceUnreachableError),
    ("401 Unauthorized", "AccessDenied", SourceUnreachableError),
    ("400 Bad Request", "ExpiredToken", SourceUnreachableError),
    ("301 Moved", "PermanentRedirect", SourceUnreachableError),
    ("412 Precondition Failed", "PreconditionFailed", SourceBusyError),
    ("429 Too Many Requests", "SlowDown", SourceBusyError),
    ("500 Internal Server Error", "InternalError", SourceBusyError),
    ("503 Slow Down", "SlowDown", SourceBusyError),
]


@pytest.mark.parametrize("wanted", [WHOLE, Wanted(1, 5), NOTHING], ids=["whole", "range", "head"])
@pytest.mark.parametrize(("status", "code", "error"), REFUSALS, ids=lambda value: str(value)[:30])
def test_a_refusal_is_the_error_that_it_means(
    start: Start, wanted: Wanted, status: str, code: str, error: type[SourceError]
) -> None:
    def answer(client: socket.socket, request: Request) -> None:
        if request.method == "HEAD":
            client.sendall(head(status, 0, ETag=""))
        else:
            refuse(client, status, code)

    if wanted == NOTHING and code == "NoSuchBucket":
        error = FileMissingError  # a HEAD doesn't tell
    with pytest.raises(SourceError) as caught:
        opened(start(answer), wanted=wanted)
    assert type(caught.value) is error


def test_denied_access_is_told_once(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    raw = start(lambda client, request: refuse(client, "403 Forbidden", "AccessDenied"))
    objects_ = source(raw)
    for name in (b"a", b"b"):
        with pytest.raises(FileMissingError) as caught:
            run(objects_.open(name, WHOLE))
        assert "secret" not in str(caught.value)
    [record] = caplog.records
    assert "'a': answered 404" in record.getMessage()
    assert "AccessDenied" in record.getMessage()
    assert "\n" not in record.getMessage()


def test_a_text_of_the_store_tells_no_query(start: Start) -> None:
    from media_asgi.sources.object_errors import translated

    error = translated(
        ValueError("GET http://a/b?sig=very+secret in 1 ms failed\n\nDebug source: x")
    )
    assert type(error) is SourceUnreachableError
    assert str(error) == "the store: GET http://a/b in 1 ms failed"


def test_a_refused_connection_is_unreachable() -> None:
    with raw_store(whole) as raw:
        pass
    with pytest.raises(SourceError) as caught:
        opened(raw)
    assert type(caught.value) is SourceUnreachableError  # which has a status


def test_a_store_that_says_nothing_is_a_timeout(start: Start) -> None:
    raw = start(lambda client, request: time.sleep(3))
    with pytest.raises(SourceTimeoutError):
        opened(raw, read_timeout="300ms")


@pytest.mark.parametrize(
    ("fail", "requests"),
    [
        (lambda client, request: refuse(client, "503 Slow Down", "SlowDown"), 3),
        (lambda client, request: refuse(client, "500 Internal Server Error"), 3),
        (lambda client, request: reset(client), 3),
        (lambda client, request: refuse(client, "404 Not Found", "NoSuchKey"), 1),
        (lambda client, request: refuse(client, "403 Forbidden", "InvalidAccessKeyId"), 1),
    ],
    ids=["503", "500", "reset", "404", "403"],
)
@pytest.mark.parametrize("failures", [2, 3])
def test_a_store_that_does_not_answer_now_is_asked_three_times(
    start: Start, fail: Answerer, requests: int, failures: int
) -> None:
    raw = start(
        lambda client, request: (fail if request.number < failures else whole)(client, request)
    )
    if requests > failures:
        assert opened(raw) == DATA
    else:
        with pytest.raises(SourceError):
            opened(raw)
    assert len(raw.requests) == requests


# Errors in the middle


def once_cut(after: Answerer, stop: int = 300_000) -> Answerer:
    """The first answer ends in the middle; the others are ``after``'s."""

    def answer(client: socket.socket, request: Request) -> None:
        if request.number:
            after(client, request)
        else:
            send_object(client, request, DATA, stop=stop)
            client.shutdown(socket.SHUT_RDWR)

    return answer


def test_a_drop_in_the_middle_is_resumed_by_range_and_tag(start: Start) -> None:
    raw = start(once_cut(whole))
    assert opened(raw) == DATA
    second = raw.requests[1]
    assert second.headers["if-match"] == TAG
    # What didn't fill a chunk is asked for again.
    first, stop = second.range(len(DATA)) or (0, 0)
    assert 0 < first <= 300_000
    assert stop == len(DATA)


def test_a_store_that_drops_again_and_again_is_given_up(start: Start) -> None:
    def answer(client: socket.socket, request: Request) -> None:
        first = (request.range(len(DATA)) or (0, 0))[0]
        send_object(client, request, DATA, stop=first + 1000)
        reset(client)

    raw = start(answer)
    with pytest.raises(SourceError):
        opened(raw)
    assert len(raw.requests) == 4


@pytest.mark.parametrize(
    "after",
    [
        lambda client, request: send_object(client, request, b"x" * len(DATA), ETag='"other"'),
        lambda client, request: send_object(client, request, b"x" * (len(DATA) + 1)),
        lambda client, request: send_object(
            client, request, b"x" * len(DATA), Last_Modified="Tue, 03 Nov 2026 10:00:00 GMT"
        ),
        lambda client, request: refuse(client, "412 Precondition Failed", "PreconditionFailed"),
        lambda client, request: refuse(client, "404 Not Found", "NoSuchKey"),
        lambda client, request: refuse(client, "416 Range Not Satisfiable", "InvalidRange"),
        lambda client, request: refuse(client, "403 Forbidden", "AccessDenied"),
    ],
    ids=["tag", "size-of-the-same-tag", "date-of-the-same-tag", "412", "404", "416", "403"],
)
def test_an_object_that_changes_in_the_middle_ends_its_answer(
    start: Start, after: Answerer
) -> None:
    raw = start(once_cut(after))
    received = []

    async def stream() -> None:
        file = await source(raw).open(b"a", WHOLE)
        async with aclosing(file.stream(0, len(DATA), lambda: 65536)) as chunks:
            async for chunk in chunks:
                received.append(chunk)

    with pytest.raises(FileReadError):
        run(stream())
    assert 0 < len(body := b"".join(received)) <= 300_000
    assert DATA.startswith(body)
    assert len(raw.requests) == 2


@pytest.mark.parametrize("status", ["503 Slow Down", "500 Internal Server Error"])
def test_a_store_that_is_busy_in_the_middle_ends_its_answer(start: Start, status: str) -> None:
    raw = start(once_cut(lambda client, request: refuse(client, status, "SlowDown")))
    with pytest.raises(SourceBusyError):
        opened(raw)


def test_a_part_that_is_too_short_ends_its_answer(start: Start) -> None:
    def answer(client: socket.socket, request: Request) -> None:
        first = (request.range(len(DATA)) or (0, 0))[0]
        if first == 0:
            send_object(client, request, DATA, stop=300_000)
            client.shutdown(socket.SHUT_RDWR)
        else:  # a partial answer that is right in itself, and holds less
            span = f"bytes {first}-{first + 9}/{len(DATA)}"
            client.sendall(head("206 Partial", 10, Content_Range=span) + DATA[first : first + 10])

    with pytest.raises(SourceError):
        opened(start(answer))


def test_a_stall_in_the_middle_is_a_timeout_and_not_resumed(start: Start) -> None:
    def answer(client: socket.socket, request: Request) -> None:
        send_object(client, request, DATA, stop=1000)
        client.recv(1)

    raw = start(answer)
    with pytest.raises(SourceTimeoutError):
        opened(raw, read_timeout="300ms")
    assert len(raw.requests) == 1


# What is held


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("way", ["unread", "closed", "stalled", "cancelled"])
def test_a_get_ends_with_its_client(start: Start, way: str) -> None:
    def answer(client: socket.socket, request: Request) -> None:
        stop = 300_000 if way in ("stalled", "cancelled") else None
        send_object(client, request, b"x" * 30_000_000, stop=stop)
        client.recv(1)

    raw = start(answer)

    async def leave() -> None:
        file = await source(raw).open(b"a", WHOLE)
        assert raw.open == 1
        if way == "unread":
            file.close()
        elif way == "closed":
            chunks = file.stream(0, 30_000_000, lambda: 1000)
            await anext(chunks)
            await chunks.aclose()
        else:
            reading = asyncio.ensure_future(read(file))
            await asyncio.sleep(0.2)
            reading.cancel()
            await asyncio.wait([reading])
            del reading
        await until(lambda: raw.open == 0)

    run(leave())


def test_a_store_is_held_back_by_its_client(start: Start) -> None:
    sent = []

    def answer(client: socket.socket, request: Request) -> None:
        client.sendall(head("200 OK", 200_000_000))
        for _ in range(200):
            client.sendall(b"x" * 1_000_000)
            sent.append(1)

    raw = start(answer)

    async def slow() -> None:
        file = await source(raw).open(b"a", WHOLE)
        chunks = file.stream(0, 200_000_000, lambda: 65536)
        await anext(chunks)
        before = -1
        while before != len(sent):  # until the buffers between are full
            before = len(sent)
            await asyncio.sleep(0.5)
        assert before < 50
        await chunks.aclose()

    run(slow())


def test_a_client_that_is_slow_holds_no_get(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_file, "_SLOW", 0.05)
    raw = start(whole)

    async def slow() -> None:
        file = await source(raw).open(b"a", WHOLE)
        body = b""
        async with aclosing(file.stream(0, len(DATA), lambda: 65536)) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(raw.requests) < 3:
                    await asyncio.sleep(0.2)
                    assert not raw.requests[1:] or len(chunk) == 65536
        file.close()
        assert body == DATA

    run(slow())
    assert "range" not in raw.requests[0].headers
    later = [request.range(len(DATA)) or (0, 0) for request in raw.requests[1:]]
    sizes = [stop - start for start, stop in later]
    # Each chunk by a GET of its own, and larger ones for a client that reads on. Nothing twice.
    assert sizes[:2] == [65536, 65536]
    assert sizes[2:] == [4 * 65536, len(DATA) - later[-1][0]]
    assert [stop for _, stop in later] == [*(start for start, _ in later[1:]), len(DATA)]
    assert {request.headers["if-match"] for request in raw.requests[1:]} == {TAG}


def test_a_chunk_is_as_large_as_its_client_takes(start: Start) -> None:
    raw = start(whole)

    async def sizes() -> list[tuple[int, int]]:
        file = await source(raw).open(b"a", WHOLE)
        wanted, found = 10_000, []
        async with aclosing(file.stream(0, len(DATA), lambda: wanted)) as chunks:
            async for chunk in chunks:
                found.append((len(chunk), wanted))
                wanted = 10_000 if len(found) < 20 else 300_000
        return found

    found = run(sizes())
    assert all(size <= 2 * wanted for size, wanted in found)
    assert sum(size for size, _ in found) == len(DATA)
    assert len(raw.requests) == 1


@pytest.mark.parametrize("way", ["unread", "changed"])
def test_a_get_ends_though_its_response_is_referred_to(
    start: Start, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a thread of obstore's, which forgets it when obstore is called again."""
    kept = []
    get_async = object_clients.obstore.get_async

    async def get(*arguments: Any, **options: Any) -> Any:
        kept.append(await get_async(*arguments, **options))
        return kept[-1]

    def answer(client: socket.socket, request: Request) -> None:
        tag = f'"{request.number}"'
        client.settimeout(60)
        send_object(client, request, b"x" * 30_000_000, ETag=tag)
        client.recv(1)

    monkeypatch.setattr(object_clients.obstore, "get_async", get)
    raw = start(answer)

    async def leave() -> None:
        file = await source(raw).open(b"a", WHOLE)
        assert raw.open == 1
        if way == "changed":
            with pytest.raises(FileReadError):
                await anext(file.stream(5, 30_000_000, lambda: 1000))
        file.close()
        await until(lambda: raw.open == 0)

    run(leave())
    assert kept


# gzip


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 5_000_000])
@pytest.mark.parametrize("members", [1, 2])
def test_gzip_is_undone_for_who_does_not_take_it(start: Start, size: int, members: int) -> None:
    text = bytes(itertools.islice(itertools.cycle(b"media\n"), size))
    stored = gzip.compress(text) * members
    raw = start(lambda client, request: send_object(client, request, stored, **GZIP))

    async def unpacked() -> None:
        file = await source(raw).open(b"a.css", Wanted(5, 10))
        assert file.info.size == size * members
        assert file.info.etag == b'"0123456789abcdef;gunzip"'
        assert not file.info.has_ranges
        assert dict(file.info.headers) == {b"vary": b"Accept-Encoding"}
        assert await read(file) == text * members
        assert await read(file, size // 2, size) == text[size // 2 :]
        if size < 10_000:
            assert file.read_nowait(0, size * members) == text * members
        file.close()

    run(unpacked())


def test_gzip_is_passed_on_to_who_takes_it(start: Start) -> None:
    stored = gzip.compress(DATA)
    raw = start(lambda client, request: send_object(client, request, stored, **GZIP))

    async def info() -> None:
        file = await source(raw).open(b"a.css", WHOLE._replace(accept_encoding=b"br, gzip"))
        assert file.info.has_ranges
        assert file.info.headers == [
            (b"content-encoding", b"gzip"),
            (b"vary", b"Accept-Encoding"),
        ]
        assert await read(file) == stored

    run(info())
    assert len(raw.requests) == 1


@pytest.mark.parametrize("stored", [gzip.compress(bytes(9_000_000)), DATA], ids=["gzip", "plain"])
def test_a_file_is_unpacked_once_to_be_counted_whoever_asks(start: Start, stored: bytes) -> None:
    raw = start(lambda client, request: send_object(client, request, stored, **GZIP))

    async def ask() -> None:
        objects_ = source(raw)
        first = asyncio.ensure_future(objects_.open(b"a", NOTHING))
        waiting = [asyncio.ensure_future(objects_.open(b"a", NOTHING)) for _ in range(4)]
        await until(lambda: len(raw.requests) > 5)
        first.cancel()  # then another one counts
        files = [*await asyncio.gather(*waiting), await objects_.open(b"a", NOTHING)]
        assert {file.info.size for file in files} in ({9_000_000}, {len(stored)})
        assert sum(request.method == "GET" for request in raw.requests) <= 2
        for file in files:
            file.close()

    run(ask())


def test_a_file_without_a_tag_is_counted_each_time(start: Start) -> None:
    sizes = (71_000, 72_000)
    stored = [gzip.compress(bytes(size)) for size in sizes]
    assert len(stored[0]) == len(stored[1])  # so that nothing else tells them apart

    def answer(client: socket.socket, request: Request) -> None:
        send_object(client, request, stored[request.number], ETag="", **GZIP)

    raw = start(answer)

    async def ask() -> None:
        objects_ = source(raw)
        for size in sizes:
            file = await objects_.open(b"a", WHOLE)
            assert file.info.size == size
            file.close()

    run(ask())


@pytest.mark.parametrize(
    "stored",
    [DATA, gzip.compress(DATA)[:-9], gzip.compress(DATA) + b"junk"],
    ids=["plain", "cut", "followed"],
)
def test_what_is_not_gzip_is_passed_on_as_it_is(start: Start, stored: bytes) -> None:
    raw = start(lambda client, request: send_object(client, request, stored, **GZIP))
    assert opened(raw) == stored


# Processes


CHILD = """
import asyncio, os, sys
from django.core.exceptions import ImproperlyConfigured
from obstore.store import MemoryStore, S3Store
from media_asgi.sources.base import SourceError, WHOLE
from media_asgi.sources.objects import ObjectSource

source = ObjectSource(S3Store("media", endpoint=sys.argv[1], access_key_id="a",
                              secret_access_key="b", client_options={"allow_http": True}))

async def read():
    file = await source.open(b"a", WHOLE)
    return sum([len(chunk) async for chunk in file.stream(0, file.info.size, lambda: 65536)])

if sys.argv[2] == "used":
    asyncio.run(read())
if sys.argv[2] != "ends" and os.fork() == 0:
    try:
        print(asyncio.run(read()))
    except SourceError as error:
        print(error)
    sys.stdout.flush()
    os._exit(0)
elif sys.argv[2] == "ends":
    print(asyncio.run(read()))
else:
    os.wait()
"""


def child(raw: RawStore, way: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", CHILD, raw.url, way],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_source_that_was_made_before_a_fork_works_after_it(start: Start) -> None:
    assert child(start(whole), "made").stdout == "1000000\n"


def test_a_source_that_was_used_before_a_fork_says_so(start: Start) -> None:
    assert "before this process was forked" in child(start(whole), "used").stdout


def test_a_process_that_ends_right_after_a_call_ends_well(start: Start) -> None:
    raw = start(whole)
    for _ in range(8):
        ended = child(raw, "ends")
        assert (ended.returncode, ended.stdout) == (0, "1000000\n"), ended.stderr


def test_a_store_of_the_project_gets_the_time_outs_that_it_lacks() -> None:
    patient: Any = object_clients.patient
    store: Any = patient(S3Store("media", client_options={"read_timeout": "7s"}, prefix="a"))
    assert {name: str(value) for name, value in store.client_options.items()} == {
        **object_clients.CLIENT_OPTIONS,
        "read_timeout": "7s",
    }
    assert store.prefix == "a"
    assert store.retry_config["max_retries"] == 0
    store = patient(S3Store("media", retry_config={"max_retries": 7}))
    assert store.retry_config["max_retries"] == 7
    assert store.config["bucket"] == "media"
    endpoint: Any = {"aws_endpoint_url_s3": "https://store.example", "skip_signature": "true"}
    given = S3Store("media", config=endpoint)
    assert patient(given).config == given.config
    assert patient(store) is store
