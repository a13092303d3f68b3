"""The threads that wait for a disk: what is refused, dropped or given up never runs."""

import asyncio
import errno
import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from media_asgi import Location, MediaMiddleware
from media_asgi.sources import local_file, workers
from media_asgi.sources.base import WHOLE, SourceBusyError
from media_asgi.sources.descriptor import Descriptor
from media_asgi.sources.local import LocalSource
from media_asgi.sources.openat2 import KERNEL
from media_asgi.sources.workers import Workers, in_worker

from ..support import Clock, Failing, Gate, answer_of, asked, idle, opened_files

pytestmark = pytest.mark.anyio


class NoThreads:
    """``Thread.start`` as at a container's limit of processes, while ``full``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = True
        self.refused = 0
        start = threading.Thread.start

        def limited(thread: threading.Thread) -> None:
            if self.full and thread.name.startswith("media-asgi"):
                self.refused += 1
                raise RuntimeError("can't start new thread")
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", limited)


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> NoThreads:
    return NoThreads(monkeypatch)


@pytest.fixture
def pool() -> Iterator[Workers]:
    with Workers(2, "/srv/media") as pool:
        yield pool


@pytest.fixture
def media(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text("hello")
    (tmp_path / "b.txt").write_text("world")
    return tmp_path


def becomes(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.005)
    return condition()


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


# --- No thread can be started -------------------------------------------------------------------


def test_a_refused_call_never_runs(pool: Workers, no_threads: NoThreads) -> None:
    ran: list[str] = []
    for _ in range(3):
        with pytest.raises(OSError, match="can't start new thread"):
            pool.submit(ran.append, "refused")
    no_threads.full = False
    pool.submit(ran.append, "taken").result(10)
    idle(pool, 2)
    assert ran == ["taken"]


def test_a_call_waits_for_the_one_thread_that_there_is(
    pool: Workers, no_threads: NoThreads
) -> None:
    no_threads.full = False
    gate = Gate(int)
    first = pool.submit(gate)
    assert gate.reached.wait(10)
    no_threads.full = True
    second = pool.submit(threading.current_thread)
    assert no_threads.refused == 1
    assert not second.done()
    gate.open.set()
    first.result(10)
    assert second.result(10).name == "media-asgi"


async def test_a_refused_call_works_on_no_descriptor(pool: Workers, no_threads: NoThreads) -> None:
    fd = os.open(os.devnull, os.O_RDONLY)
    descriptor = Descriptor(fd)
    seen: list[int] = []

    with pytest.raises(OSError, match="can't start new thread"):
        await in_worker(pool, (descriptor,), seen.append, fd)
    assert is_open(fd)
    descriptor.close()
    assert not is_open(fd)
    no_threads.full = False
    await in_worker(pool, (), int)
    await asyncio.to_thread(idle, pool, 2)
    assert seen == []


@pytest.mark.parametrize("turns", range(4))
async def test_a_call_given_up_before_it_is_refused(
    turns: int, pool: Workers, no_threads: NoThreads
) -> None:
    descriptor = Descriptor(fd := os.open(os.devnull, os.O_RDONLY))
    seen: list[int] = []

    call = in_worker(pool, (descriptor,), seen.append, fd)
    for _ in range(turns):
        await asyncio.sleep(0)
    call.cancel()
    descriptor.close()
    for _ in range(3):
        await asyncio.sleep(0)
    assert not is_open(fd)
    no_threads.full = False
    await asyncio.to_thread(idle, pool, 2)
    assert seen == []


@pytest.mark.parametrize("call", ["open", "read"])
async def test_where_no_thread_can_be_started_the_answer_is_503(
    call: str,
    media: Path,
    no_threads: NoThreads,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And what was refused does not open, read or send anything later."""
    calls: list[Any] = []

    def noted(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            calls.append(args)
            return original(*args)

        return call

    if call == "read":
        # What was opened on the loop is not in the page cache.
        monkeypatch.setattr(os, "preadv", Failing(errno.EAGAIN))
        monkeypatch.setattr(LocalSource, "open_nowait", lambda root, name, _: root._open(name)[0])
        monkeypatch.setattr(os, "pread", noted(os.pread))
    else:
        monkeypatch.setattr(LocalSource, "_open", noted(LocalSource._open))
    application = MediaMiddleware(lambda *_: None, Location(url="/media/", root=media))  # type: ignore[arg-type]

    for _ in range(3):
        answer = await asked(application, "/media/a.txt")
        assert answer.status == 503
        assert answer.headers["retry-after"] == "1"
    no_threads.full = False
    assert (await asked(application, "/media/b.txt")).body == b"world"
    assert await asyncio.to_thread(becomes, lambda: opened_files(media) == [])
    assert len(calls) == 1
    assert caplog.text.count("'/media/a.txt' can't be read") == 3
    assert "can't start new thread" in caplog.text


# --- The disk hangs -----------------------------------------------------------------------------


async def test_a_call_that_nobody_waits_for_is_dropped(pool: Workers) -> None:
    gates = [Gate(int) for _ in range(2)]
    seen: list[int] = []

    async def main() -> None:
        for gate in gates:
            pool.submit(gate)
        descriptor = Descriptor(fd := os.open(os.devnull, os.O_RDONLY))
        calls = [in_worker(pool, (descriptor,), seen.append, fd) for _ in range(50)]
        await asyncio.sleep(0.01)
        assert len(pool._pool._calls) == 50
        descriptor.close()
        assert is_open(fd)
        for call in calls:
            call.cancel()
        await asyncio.sleep(0.01)
        # Nothing piles up while the disk hangs.
        assert not pool._pool._calls
        assert not is_open(fd)

    try:
        await main()
    finally:
        for gate in gates:
            gate.open.set()
    await asyncio.to_thread(idle, pool, 2)
    assert seen == []


async def test_nobody_waits_longer_than_the_time_limit(media: Path, caplog: Any) -> None:
    pool = Workers(1, str(media), timeout=0.05)
    gate = Gate(os.fstat)
    seen: list[bool] = []

    async def main() -> None:
        descriptor = Descriptor(fd := os.open(os.devnull, os.O_RDONLY))
        with pytest.raises(SourceBusyError, match=r"has not answered for 0\.05 s") as hung:
            await in_worker(pool, (descriptor,), gate, fd)
        seen.append(hung.value.is_news)
        descriptor.close()
        assert is_open(fd)  # the call may still use it
        with pytest.raises(SourceBusyError) as hung:
            await LocalSource(str(media), pool).open(b"a.txt", WHOLE)
        seen.append(hung.value.is_news)
        gate.open.set()
        assert await asyncio.to_thread(becomes, lambda: not is_open(fd))

    try:
        await main()
    finally:
        gate.open.set()
    assert seen == [True, False]
    await asyncio.to_thread(idle, pool, 1)
    assert opened_files(media) == []


async def test_an_open_that_ends_after_the_time_limit_leaves_nothing_open(
    media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Workers(1, str(media), timeout=0.05)
    root = LocalSource(str(media), pool)
    gate = Gate(root._open)
    monkeypatch.setattr(root, "_open", gate)

    with pytest.raises(SourceBusyError):
        await root.open(b"a.txt", WHOLE)
    gate.open.set()
    await asyncio.to_thread(idle, pool, 1)
    assert opened_files(media) == []


def test_a_disk_that_hangs_is_told_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(workers, "time", clock)
    pool, other = Workers(1, "/srv/a"), Workers(1, "/srv/b")
    told = []
    for _ in range(150):
        told.append(pool.hung().is_news)
        clock.moment += 1
    assert [number for number, is_news in enumerate(told) if is_news] == [0, 60, 120]
    assert other.hung().is_news


async def test_a_disk_that_says_itself_that_it_is_late(pool: Workers) -> None:
    """ETIMEDOUT, as NFS has it, is an answer."""

    with pytest.raises(TimeoutError, match="timed out"):
        await in_worker(pool, (), Failing(errno.ETIMEDOUT))


async def test_503_where_the_disk_hangs_and_other_locations_go_on(
    media: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (media / "hangs").mkdir()
    (media / "hangs" / "a.txt").write_text("hello")
    opening = LocalSource._open
    gate = Gate(opening)
    monkeypatch.setattr(
        LocalSource,
        "_open",
        lambda root, name: (gate if root.path.endswith(b"/hangs") else opening)(root, name),
    )
    application = MediaMiddleware(
        lambda *_: None,  # type: ignore[arg-type]
        Location(url="/hangs/", root=media / "hangs"),
        Location(url="/media/", root=media),
        threads=2,
        disk_timeout=1,
    )

    async def main() -> None:
        hanging = [asyncio.ensure_future(asked(application, "/hangs/a.txt")) for _ in range(8)]
        assert await asyncio.to_thread(gate.reached.wait, 60)
        assert (await asked(application, "/media/a.txt")).body == b"hello"
        for each in hanging:
            answer = await each
            assert answer.status == 503
            assert answer.headers["retry-after"] == "1"
        gate.open.set()

    try:
        await main()
    finally:
        gate.open.set()
    assert caplog.text.count("has not answered") == 1
    assert "'/hangs/a.txt'" in caplog.text


async def test_a_download_is_cut_where_the_disk_hangs_in_the_middle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "large").write_bytes(bytes(8192))
    pread = os.pread
    gate = Gate(pread)
    monkeypatch.setattr(os, "preadv", Failing(errno.EAGAIN))
    monkeypatch.setattr(os, "pread", lambda *args: (pread if args[2] < 4096 else gate)(*args))
    application = MediaMiddleware(
        lambda *_: None,  # type: ignore[arg-type]
        Location(url="/media/", root=tmp_path),
        chunk_size=1024,
        disk_timeout=0.1,
    )
    messages: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        messages.append(message)

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def main() -> None:
        scope = {"type": "http", "method": "GET", "path": "/media/large", "headers": []}
        async with asyncio.timeout(10):
            await application(scope, receive, send)  # type: ignore[arg-type]

    try:
        await main()
    finally:
        gate.open.set()
    answer = answer_of(messages)
    assert not answer.ended
    assert len(answer.body) == 4096
    assert caplog.text.count("'/media/large' cut off: the disk of") == 1


# --- The end ------------------------------------------------------------------------------------


def test_threads_end_with_their_location() -> None:
    pool = Workers(2)
    idle(pool, 2)
    threads = pool._pool.threads
    assert [thread.is_alive() for thread in threads] == [True, True]
    assert all(thread.daemon for thread in threads)
    del pool
    assert becomes(lambda: not any(thread.is_alive() for thread in threads))


def test_what_was_queued_before_the_end_is_done() -> None:
    pool = Workers(1)
    done: list[int] = []
    gate = Gate(int)
    pool.submit(gate)
    for number in range(3):
        pool.submit(done.append, number)
    pool.shutdown(wait=False)
    gate.open.set()
    pool.shutdown()
    assert done == [0, 1, 2]
    with pytest.raises(RuntimeError):
        pool.submit(int)


# --- close(2) waits on some file systems --------------------------------------------------------


@pytest.mark.parametrize("used", [False, True])
async def test_a_file_of_a_distant_file_system_is_not_closed_on_the_loop(
    used: bool, media: Path, pool: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KERNEL, "is_local", lambda fd: False)
    closing: list[str] = []
    close = os.close

    file = await LocalSource(str(media), pool).open(b"a.txt", WHOLE)

    def watching(fd: int) -> None:
        if fd == file.fd:
            closing.append(threading.current_thread().name)
        close(fd)

    monkeypatch.setattr(os, "close", watching)
    if used:
        assert await file._read(0, 5) == b"hello"
    file.close()
    await asyncio.to_thread(idle, pool, 2)
    assert await asyncio.to_thread(becomes, lambda: opened_files(media) == [])
    assert closing == ["media-asgi"]


async def test_a_file_is_closed_though_no_thread_is_left(
    media: Path, pool: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KERNEL, "is_local", lambda fd: False)
    file = await LocalSource(str(media), pool).open(b"a.txt", WHOLE)
    assert isinstance(file, local_file.DistantFile)
    pool.shutdown()
    file.close()
    assert opened_files(media) == []
