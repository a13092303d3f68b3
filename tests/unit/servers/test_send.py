"""How an answer is sent: in chunks, in turns, to clients that go."""

import asyncio
import contextlib
import errno
import os
from pathlib import Path
from typing import Any

import pytest

from ..support import (
    LARGE,
    Answer,
    Failing,
    Serve,
    ask,
    asked,
    left_open,
)

pytestmark = pytest.mark.anyio


def bodies(answer: Answer) -> list[bytes]:
    return [message["body"] for message in answer.messages[1:]]


@pytest.mark.parametrize("chunk_size", [1, 8, 13, 14])
def test_an_error_is_sent_though_its_text_is_longer_than_a_chunk(
    chunk_size: int, serve: Serve
) -> None:
    answer = ask(serve(chunk_size=chunk_size), "/media/missing.txt")
    assert (answer.status, answer.body) == (404, b"404 Not Found\n")


@pytest.mark.parametrize("chunk_size", [1, 100, 1024, 10_239, 10_240, 10_241, 1_000_000])
def test_a_file_is_sent_in_chunks(chunk_size: int, serve: Serve, media: Path, cache: str) -> None:
    if chunk_size == 1:
        (media / "large.bin").write_bytes(LARGE[:50])
    size = (media / "large.bin").stat().st_size
    answer = ask(serve(chunk_size=chunk_size), "/media/large.bin")
    assert (answer.status, answer.ended) == (200, True)
    assert answer.body == LARGE[:size]
    assert answer.headers["content-length"] == str(size)
    assert max(map(len, bodies(answer))) <= chunk_size
    assert left_open(media) == []


def test_ranges_of_several_spans(serve: Serve, media: Path, cache: str) -> None:
    answer = ask(serve(), "/media/large.bin", headers=[(b"range", b"bytes=100-5000")])
    assert (answer.status, answer.ended) == (206, True)
    assert answer.body == LARGE[100:5001]
    headers = [(b"range", b"bytes=5000-8999, 0-3999")]
    answer = ask(serve(), "/media/large.bin", headers=headers)
    assert (answer.status, answer.ended) == (206, True)
    assert len(answer.body) == int(answer.headers["content-length"])
    boundary = answer.headers["content-type"].partition("boundary=")[2].encode()
    _, one, other, _ = answer.body.split(b"\r\n--" + boundary)
    assert one.partition(b"\r\n\r\n")[2] == LARGE[5000:9000]
    assert other.partition(b"\r\n\r\n")[2] == LARGE[:4000]
    assert max(map(len, bodies(answer))) <= 1024
    again = ask(serve(), "/media/large.bin", headers=headers)
    assert again.headers["content-type"] != answer.headers["content-type"]
    assert left_open(media) == []


def test_the_head_of_a_large_file_reads_nothing(
    serve: Serve, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pread", "preadv", "read"):
        monkeypatch.setattr(os, name, Failing(errno.EIO))
    answer = ask(serve(), "/media/large.bin", "HEAD")
    assert (answer.status, answer.body, answer.ended) == (200, b"", True)
    assert answer.headers["content-length"] == str(len(LARGE))
    assert left_open(media) == []


async def test_others_get_their_turn(serve: Serve) -> None:
    async def main() -> None:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        answer = await asked(serve(), "/media/large.bin")
        counting.cancel()
        assert turns >= len(answer.messages) - 2

    await main()


async def test_many_requests_at_once(serve: Serve, media: Path, cache: str) -> None:
    application = serve(threads=2)
    names = ["a.txt", "large.bin", "nope", "none.bin"] * 25
    answers = await asyncio.gather(*[asked(application, f"/media/{name}") for name in names])
    contents = {"a.txt": b"hello", "large.bin": LARGE, "nope": b"404 Not Found\n"}
    for name, answer in zip(names, answers, strict=True):
        assert answer.ended
        assert answer.body == contents.get(name, b"")
    assert await asyncio.to_thread(left_open, media) == []


def test_a_file_that_shrinks_before_it_is_sent(
    serve: Serve, media: Path, cache: str, caplog: pytest.LogCaptureFixture
) -> None:
    def shrink(path: str) -> dict[str, str]:
        os.truncate(media / path, 3)
        return {}

    answer = ask(serve(headers=shrink), "/media/a.txt")
    # Nothing was sent, so that it can be said; and never with the validators of the file.
    assert (answer.status, answer.ended) == (500, True)
    assert answer.headers["cache-control"] == "no-store"
    assert "etag" not in answer.headers
    assert "/media/a.txt" in caplog.text
    assert left_open(media) == []


def test_a_file_that_shrinks_while_it_is_sent(
    serve: Serve, media: Path, cache: str, caplog: pytest.LogCaptureFixture
) -> None:
    def shrink(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body":
            with contextlib.suppress(FileNotFoundError):
                os.truncate(media / "large.bin", 3000)

    application = serve()
    answer = ask(application, "/media/large.bin", on_message=shrink)
    # Never a body that seems to be all: the server ends the connection.
    assert answer.status == 200
    assert not answer.ended
    assert len(answer.body) < len(LARGE)
    assert LARGE.startswith(answer.body)
    assert "/media/large.bin" in caplog.text
    assert left_open(media) == []
    assert ask(application, "/media/a.txt").body == b"hello"


@pytest.mark.parametrize("change", ["grows", "is replaced", "is removed"])
def test_a_file_that_changes_while_it_is_sent(
    change: str, serve: Serve, media: Path, cache: str
) -> None:
    path = media / "large.bin"

    def touch(message: dict[str, Any]) -> None:
        if message["type"] != "http.response.start":
            return
        if change == "grows":
            with open(path, "ab") as file:
                file.write(b"more" * 1000)
        elif change == "is replaced":
            (media / "new").write_bytes(b"new" * 10_000)
            (media / "new").rename(path)
        else:
            path.unlink()

    answer = ask(serve(), "/media/large.bin", on_message=touch)
    assert answer.ended
    assert answer.body == LARGE


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_disk_that_fails_before_the_start(
    method: str,
    serve: Serve,
    media: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    application = serve(fallthrough=True)
    for name in ("pread", "preadv"):
        monkeypatch.setattr(os, name, Failing(errno.EIO))
    answer = ask(application, "/media/a.txt", method)
    if method == "HEAD":
        assert answer.status == 200  # nothing is read
    else:
        assert (answer.status, answer.ended) == (500, True)
        assert answer.body == b"500 Internal Server Error\n"
        assert answer.headers["cache-control"] == "no-store"
        assert "/media/a.txt" in caplog.text
    monkeypatch.undo()
    assert left_open(media) == []
    assert ask(application, "/media/a.txt").body == b"hello"


def test_a_disk_that_fails_after_the_start(
    serve: Serve,
    media: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(os, "preadv", Failing(errno.EAGAIN))
    pread = os.pread

    def pread_some(fd: int, count: int, offset: int) -> bytes:
        if offset >= 3000:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return pread(fd, count, offset)

    monkeypatch.setattr(os, "pread", pread_some)
    answer = ask(serve(), "/media/large.bin")
    assert answer.status == 200
    assert not answer.ended
    assert LARGE.startswith(answer.body)
    assert 2000 < len(answer.body) < 5000
    assert "/media/large.bin" in caplog.text
    assert "Input/output" in caplog.text
    assert left_open(media) == []


@pytest.mark.parametrize("path", ["a.txt", "large.bin"])
def test_a_client_that_has_gone(path: str, serve: Serve, media: Path, cache: str) -> None:
    # ASGI 2.4: send() raises OSError.
    for step in ("http.response.start", "http.response.body"):

        def gone(message: dict[str, Any], step: str = step) -> None:
            if message["type"] == step:
                raise ConnectionResetError("gone")

        messages = ask(serve(), f"/media/{path}", on_message=gone).messages
        assert len(messages) <= 2
        assert left_open(media) == []


@pytest.mark.parametrize("path", ["a.txt", "large.bin"])
def test_a_server_that_fails(path: str, serve: Serve, media: Path, cache: str) -> None:
    def broken(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body":
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ask(serve(), f"/media/{path}", on_message=broken)
    assert left_open(media) == []


async def test_a_disconnect_ends_the_reading(serve: Serve, media: Path, cache: str) -> None:
    async def main() -> Answer:
        gone = asyncio.Event()
        sent = []

        def count(message: Any) -> None:
            sent.append(message)
            if len(sent) == 3:
                gone.set()

        async def receive() -> dict[str, Any]:
            await gone.wait()
            return {"type": "http.disconnect"}

        return await asked(
            serve(chunk_size=100), "/media/large.bin", receive=receive, on_message=count
        )

    answer = await main()
    assert not answer.ended
    assert 3 <= len(answer.messages) < 20
    assert await asyncio.to_thread(left_open, media) == []


def test_the_body_of_a_request_is_no_disconnect(serve: Serve) -> None:
    parts = iter([{"type": "http.request", "body": b"x", "more_body": False}])

    async def receive() -> dict[str, Any]:
        for part in parts:
            return part
        await asyncio.Event().wait()
        raise AssertionError

    answer = ask(serve(chunk_size=100), "/media/large.bin", receive=receive)
    assert answer.ended
    assert answer.body == LARGE
