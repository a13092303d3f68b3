"""A descriptor is closed once, and after the last call that uses it."""

import asyncio
import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from media_asgi.sources.base import (
    WHOLE,
)
from media_asgi.sources.descriptor import Descriptor
from media_asgi.sources.local import LocalSource
from media_asgi.sources.workers import Workers, in_worker

from ..support import Failing, Gate, idle, opened_files
from .support import THREADS, _read, becomes

pytestmark = pytest.mark.anyio


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def closes(fd: int) -> bool:
    """A thread that has no more to do may still have its last callback to call."""
    return becomes(lambda: not is_open(fd))


@pytest.fixture
def descriptor(monkeypatch: pytest.MonkeyPatch) -> Iterator[Descriptor]:
    """One that must be closed exactly once."""
    fd = os.open(os.devnull, os.O_RDONLY)
    close = os.close
    closed = []

    def closing(number: int) -> None:
        if number == fd:
            closed.append(number)
            if len(closed) > 1:
                return
        close(number)

    monkeypatch.setattr(os, "close", closing)
    yield Descriptor(fd)
    assert closed == [fd]


def test_a_descriptor_that_nobody_uses(descriptor: Descriptor) -> None:
    assert is_open(descriptor.fd)
    descriptor.close()
    assert closes(descriptor.fd)


async def test_a_descriptor_that_is_in_use(descriptor: Descriptor, executor: Workers) -> None:
    gate = Gate(os.fstat)

    call = in_worker(executor, (descriptor,), gate, descriptor.fd)
    assert await asyncio.to_thread(gate.reached.wait, 60)
    descriptor.close()
    assert is_open(descriptor.fd)
    gate.open.set()
    assert (await call).st_rdev == os.stat(os.devnull).st_rdev
    await asyncio.to_thread(idle, executor, THREADS)
    assert await asyncio.to_thread(closes, descriptor.fd)
    assert gate.threads[0].startswith("media-asgi")


async def test_a_call_that_nobody_waits_for_any_more(
    descriptor: Descriptor, executor: Workers
) -> None:
    gate = Gate(os.fstat)

    async def wait() -> None:
        try:
            await in_worker(executor, (descriptor,), gate, descriptor.fd)
        finally:
            descriptor.close()

    waiting = asyncio.create_task(wait())
    assert await asyncio.to_thread(gate.reached.wait, 60)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert is_open(descriptor.fd)
    assert is_open(descriptor.fd)  # even now that the loop is closed
    gate.open.set()
    await asyncio.to_thread(idle, executor, THREADS)
    assert await asyncio.to_thread(closes, descriptor.fd)


async def test_a_call_given_up_before_it_began(descriptor: Descriptor, executor: Workers) -> None:
    seen: list[Any] = []

    call = in_worker(executor, (descriptor,), lambda: seen.append(is_open(descriptor.fd)))
    call.cancel()
    descriptor.close()
    for _ in range(5):
        await asyncio.sleep(0)
    await asyncio.to_thread(idle, executor, THREADS)
    assert seen in ([], [True])  # if it is made at all, then on an open one
    assert await asyncio.to_thread(closes, descriptor.fd)


@pytest.mark.parametrize("turns", range(5))
async def test_a_read_given_up_leaves_the_next_owner_of_its_number_alone(
    turns: int, media: Path, executor: Workers
) -> None:
    async def main() -> int:
        file = await LocalSource(str(media), executor).open(b"a.txt", WHOLE)
        reading = asyncio.create_task(_read(file, 0, 10))
        for _ in range(turns):
            await asyncio.sleep(0)
        reading.cancel()
        file.close()
        with contextlib.suppress(asyncio.CancelledError):
            await reading
        return os.open(os.devnull, os.O_RDONLY)  # likely to get the number

    other = await main()
    await asyncio.to_thread(idle, executor, THREADS)
    assert is_open(other)
    os.close(other)
    assert opened_files(media) == []


async def test_a_call_that_fails(descriptor: Descriptor, executor: Workers) -> None:
    with pytest.raises(OSError, match="Input/output"):
        await in_worker(executor, (descriptor,), Failing(errno.EIO))
    assert is_open(descriptor.fd)
    descriptor.close()
    await asyncio.to_thread(idle, executor, THREADS)
    assert await asyncio.to_thread(closes, descriptor.fd)


async def test_an_executor_that_takes_no_more(descriptor: Descriptor) -> None:
    executor = Workers(1)
    executor.shutdown()

    with pytest.raises(RuntimeError):
        await in_worker(executor, (descriptor,), os.fstat, descriptor.fd)
    assert is_open(descriptor.fd)
    descriptor.close()
    assert await asyncio.to_thread(closes, descriptor.fd)


async def test_an_executor_that_drops_what_it_took(descriptor: Descriptor) -> None:
    executor = Workers(1)
    gate = Gate(int)
    seen: list[Any] = []

    async def main() -> None:
        executor.submit(gate)
        call = in_worker(executor, (descriptor,), seen.append, True)
        await asyncio.sleep(0.01)
        descriptor.close()
        assert is_open(descriptor.fd)
        executor.shutdown(wait=False, cancel_futures=True)
        with pytest.raises(asyncio.CancelledError):
            await call

    try:
        await main()
    finally:
        gate.open.set()
        executor.shutdown()
    assert seen == []
    assert await asyncio.to_thread(closes, descriptor.fd)


async def test_a_descriptor_of_many_users_is_closed_after_the_last(
    descriptor: Descriptor, executor: Workers
) -> None:
    calls = [in_worker(executor, (descriptor,), os.fstat, descriptor.fd) for _ in range(200)]
    descriptor.close()
    assert len({(await call).st_ino for call in calls}) == 1
    await asyncio.to_thread(idle, executor, THREADS)
    assert await asyncio.to_thread(closes, descriptor.fd)


@pytest.mark.parametrize("used", [False, True])
async def test_a_file_is_closed_once(used: bool, media: Path, executor: Workers) -> None:
    file = await LocalSource(str(media), executor).open(b"a.txt", WHOLE)
    if used:
        await _read(file, 0, 1)
        await asyncio.to_thread(idle, executor, THREADS)
    assert opened_files(media) == ["a.txt"]
    file.close()
    assert opened_files(media) == []


@pytest.mark.parametrize("name", [b"a.txt", b"nope"])
async def test_an_open_that_nobody_waits_for_any_more(
    name: bytes,
    media: Path,
    resolver: str,
    executor: Workers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = LocalSource(str(media), executor)
    gate = Gate(root._open)
    monkeypatch.setattr(root, "_open", gate)

    opening = asyncio.create_task(root.open(name, WHOLE))
    assert await asyncio.to_thread(gate.reached.wait, 60)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    gate.open.set()
    await asyncio.to_thread(idle, executor, THREADS)
    assert opened_files(media) == []


@pytest.mark.parametrize("turns", range(4))
async def test_an_open_given_up_once_it_has_ended(
    turns: int, media: Path, resolver: str, executor: Workers
) -> None:
    # It has, in its thread; and the loop may or may not have heard of it.
    opening = asyncio.create_task(LocalSource(str(media), executor).open(b"a.txt", WHOLE))
    await asyncio.sleep(0)
    await asyncio.to_thread(idle, executor, THREADS)
    for _ in range(turns):
        await asyncio.sleep(0)
    opening.cancel()
    try:
        file = await opening
    except asyncio.CancelledError:
        pass
    else:
        file.close()
    await asyncio.to_thread(idle, executor, THREADS)
    assert opened_files(media) == []
