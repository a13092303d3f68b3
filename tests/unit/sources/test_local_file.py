"""Reading a file: at once, in a worker, in chunks."""

import asyncio
import contextlib
import ctypes
import errno
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from media_asgi.sources import local_file
from media_asgi.sources.base import (
    WHOLE,
    FileReadError,
    TruncatedFileError,
)
from media_asgi.sources.descriptor import Descriptor
from media_asgi.sources.local import LocalSource
from media_asgi.sources.local_file import LocalFile
from media_asgi.sources.openat2 import KERNEL
from media_asgi.sources.workers import Workers

from ..support import Failing
from .support import _read, drop

pytestmark = pytest.mark.anyio


def test_read_nowait_gives_what_is_cached(file: LocalFile, monkeypatch: pytest.MonkeyPatch) -> None:
    if file.read_nowait(0, 1) is None:
        pytest.skip("this file system has no RWF_NOWAIT")
    first = file.read_nowait(0, 4)
    assert first == b"0123"
    assert file.read_nowait(4, 3) == b"456"
    assert file.read_nowait(8, 100) == b"89"
    assert file.read_nowait(8, 100_000) == b"89"
    assert file.read_nowait(10, 5) == b""
    assert file.read_nowait(1000, 5) == b""
    assert first == b"0123"  # what was read stays what it was


async def test_spans_of_every_size(media: Path, executor: Workers) -> None:
    content = os.urandom(600_000)
    (media / "large").write_bytes(content)
    file = await LocalSource(str(media), executor).open(b"large", WHOLE)
    try:
        got = {}
        for count in (1, 4096, 16 * 1024, 16 * 1024 + 1, 100_000, 256 * 1024, 500_000, 5):
            got[count] = file.read_nowait(7, count)
        for count, data in got.items():
            if data is None:
                pytest.skip("this file system has no RWF_NOWAIT")
            assert data == content[7 : 7 + len(data)]
            assert 0 < len(data) <= count
    finally:
        file.close()


async def test_read_gives_all_that_was_asked_for(
    file: LocalFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        assert await file._read(2, 3) == b"234"
        assert await file._read(8, 100) == b"89"
        assert await file._read(10, 1) == b""

    async def many() -> None:
        assert await asyncio.gather(*[file._read(n, 1) for n in range(10)]) == [
            b"%d" % n for n in range(10)
        ]

    await main()
    await many()
    # Where there is no positional read, one reads after the other.
    monkeypatch.delattr(os, "pread")
    await main()


async def test_the_kernel_is_told_what_comes_next(
    file: LocalFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    advice = []
    if not hasattr(os, "posix_fadvise"):
        pytest.skip("no posix_fadvise")
    monkeypatch.setattr(os, "posix_fadvise", lambda *args: advice.append(args))
    assert await _read(file, 2, 3) == b"234"
    assert advice == [(file.fd, 5, 1024 * 1024, os.POSIX_FADV_WILLNEED)]
    # It is advice only.
    monkeypatch.setattr(os, "posix_fadvise", Failing(errno.EINVAL))
    assert await _read(file, 2, 3) == b"234"


async def _stream(file: LocalFile, start: int, stop: int, size: int = 2) -> list[bytes]:
    async with contextlib.aclosing(file.stream(start, stop, lambda: size)) as chunks:
        return [chunk async for chunk in chunks]


@pytest.mark.parametrize("is_cached", [True, False])
async def test_a_file_is_streamed_in_chunks(
    is_cached: bool, file: LocalFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_cached:
        monkeypatch.setattr(os, "preadv", Failing(errno.EAGAIN))
    assert await _stream(file, 1, 8, 3) == [b"123", b"456", b"7"]
    assert await _stream(file, 4, 4) == []
    with pytest.raises(TruncatedFileError, match="the file ends at byte 10"):
        await _stream(file, 8, 12)


@pytest.mark.parametrize("error", [errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EPERM])
async def test_where_there_is_no_rwf_nowait(
    error: int, file: LocalFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_file, "_refusing_nowait", set())
    preadv = Failing(error)
    monkeypatch.setattr(os, "preadv", preadv)
    for _ in range(3):
        assert file.read_nowait(0, 5) is None
    assert preadv.calls == 1  # asked once, and then no more
    assert await _read(file, 0, 5) == b"01234"


def test_read_now_that_would_wait(file: LocalFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_file, "_refusing_nowait", set())
    preadv = Failing(errno.EAGAIN)
    monkeypatch.setattr(os, "preadv", preadv)
    for _ in range(3):
        assert file.read_nowait(0, 5) is None
    assert preadv.calls == 3  # the next time it may be there


async def test_read_now_that_fails(file: LocalFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "preadv", Failing(errno.EIO))
    with pytest.raises(FileReadError, match="Input/output error at byte 3"):
        file.read_nowait(3, 5)
    monkeypatch.setattr(os, "preadv", Failing(errno.EAGAIN))
    monkeypatch.setattr(os, "pread", Failing(errno.EIO))
    with pytest.raises(FileReadError, match="Input/output error at byte 3"):
        await _stream(file, 3, 5)


def test_no_rwf_nowait_at_all(file: LocalFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_file, "_RWF_NOWAIT", 0)
    monkeypatch.setattr(os, "preadv", Failing(errno.EIO))
    assert file.read_nowait(0, 5) is None


async def test_is_cached_tells_of_the_page_cache(cold: Path, executor: Workers) -> None:
    file = await LocalSource(str(cold.parent), executor).open(b"cold", WHOLE)
    try:
        size = file.info.size
        assert not file.is_cached(0, size)
        os.pread(file.fd, size, 0)
        if KERNEL.cached_pages(file.fd, 0, 1) is None:
            pytest.skip("no cachestat")
        assert file.is_cached(0, size)
        assert file.is_cached(size - 1, 1)
        assert not file.is_cached(size - 1, 2)  # there is no such byte
        drop(cold)
        assert not file.is_cached(0, size)
    finally:
        file.close()


def test_without_cachestat_nothing_is_cached(
    file: LocalFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(error: int) -> Callable[..., int]:
        def call(*args: Any) -> int:
            ctypes.set_errno(error)
            calls.append(error)
            return -1

        return call

    calls: list[int] = []
    monkeypatch.setattr(KERNEL, "cachestat", True)
    # Of this file only: another may be ours.
    monkeypatch.setattr(KERNEL, "_cachestat", refuse(errno.EPERM), raising=False)
    assert not file.is_cached(0, 10)
    assert not file.is_cached(0, 10)
    assert calls == [errno.EPERM] * 2
    # No such call.
    monkeypatch.setattr(KERNEL, "_cachestat", refuse(errno.ENOSYS))
    assert not file.is_cached(0, 10)
    assert not file.is_cached(0, 10)
    assert calls == [errno.EPERM] * 2 + [errno.ENOSYS]


@pytest.mark.skipif(not hasattr(os, "sendfile"), reason="this system has no sendfile")
@pytest.mark.parametrize(("seconds", "calls"), [(0.0, 4), (0.002, 1)], ids=["warm", "cold"])
async def test_a_worker_sends_several_parts_unless_the_disk_is_slow(
    seconds: float, calls: int, tmp_path: Path, executor: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the kernel doesn't tell what it has: the file of another user, or an old kernel."""
    mib = 1024 * 1024
    (tmp_path / "file").write_bytes(b"x" * (8 * mib))
    sent: list[tuple[int, int]] = []

    def sendfile(_peer: int, _fd: int, offset: int, count: int) -> int:
        time.sleep(seconds)
        sent.append((offset, count))
        return count

    monkeypatch.setattr(os, "sendfile", sendfile)
    monkeypatch.setattr(KERNEL, "cached_pages", lambda *_: None)
    monkeypatch.setattr(local_file, "_QUICK", 0.001 if seconds else 60.0)
    file = await LocalSource(str(tmp_path), executor).open(b"file", WHOLE)
    peer = Descriptor(os.open(os.devnull, os.O_WRONLY))
    try:
        assert await file.region(0, 8 * mib).sendfile(peer, mib, 7 * mib) == calls * mib
        assert sent == [((1 + n) * mib, mib) for n in range(calls)]
        sent.clear()
        assert await file.region(0, 8 * mib).sendfile(peer, 7 * mib, 5) == 5
        assert sent == [(7 * mib, 5)]
    finally:
        file.close()
        peer.close()


@pytest.mark.skipif(not hasattr(os, "sendfile"), reason="this system has no sendfile")
async def test_a_full_socket_is_told_by_the_call_after_the_last_byte(
    tmp_path: Path, executor: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"x" * (8 << 20))
    monkeypatch.setattr(KERNEL, "cached_pages", lambda *_: None)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    file = await LocalSource(str(tmp_path), executor).open(b"file", WHOLE)
    peer, region = Descriptor(os.dup(ours.fileno())), file.region(0, 8 << 20)
    try:
        offset = await region.sendfile(peer, 0, region.stop)
        assert 0 < offset < region.stop
        with pytest.raises(BlockingIOError):
            await region.sendfile(peer, offset, region.stop - offset)
        theirs.setblocking(False)
        received = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                received += len(theirs.recv(1 << 20))
        assert received == offset
    finally:
        file.close()
        peer.close()
        ours.close()
        theirs.close()
