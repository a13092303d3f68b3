"""Counting and limiting, on a loop whose time passes only while it waits."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from media_asgi.servers.tracked import TrackedWriter

KIB = 1 << 10


class _Selector(selectors.SelectSelector):
    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        self.now += timeout or 0
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.selector = _Selector()
        super().__init__(self.selector)

    def time(self) -> float:
        return self.selector.now


def run(main: Coroutine[Any, Any, Any]) -> None:
    with asyncio.Runner(loop_factory=_Loop) as runner:
        runner.run(main)


class Writer:
    """Writes down when how many bytes came."""

    is_cut = False

    def __init__(self, *, zero_copy: bool = False) -> None:
        self.scope: Any = {"path": "/"}
        self.zero_copy = zero_copy
        self.came: list[tuple[float, int]] = []
        self.calls: list[str] = []

    def _note(self, count: int) -> None:
        self.came.append((asyncio.get_running_loop().time(), count))

    async def start(self, status: int, headers: Any) -> None:
        self.calls.append("start")

    def chunk_size(self, size: int) -> int:
        return min(size, 256 * KIB)

    async def write(self, data: bytes) -> None:
        self._note(len(data))

    async def send_region(self, region: Any) -> int:
        if not self.zero_copy or region.stop - region.start < 128 * KIB:
            return 0
        offset = region.start
        while offset < region.stop:
            offset += await region.sendfile(None, offset, min(region.stop - offset, 1024 * KIB))
        self._note(region.stop - region.start)
        return int(region.stop - region.start)

    async def send(self, status: int, headers: Any, body: bytes) -> Any:
        raise NotImplementedError

    async def finish(self) -> None:
        self.calls.append("finish")

    async def abort(self) -> None:
        self.calls.append("abort")

    def close(self) -> None:
        self.calls.append("close")


class Region:
    def __init__(self, size: int) -> None:
        self.start, self.stop, self.is_whole_file = 0, size, True

    def fileno(self) -> int:
        return -1

    async def sendfile(self, peer: object, offset: int, count: int) -> int:
        return count


async def by_chunks(tracked: TrackedWriter, size: int) -> None:
    left = size
    while left:
        count = tracked.chunk_size(left)
        await tracked.write(bytes(count))
        left -= count


async def by_sendfile(tracked: TrackedWriter, size: int) -> None:
    sent = await tracked.send_region(Region(size))
    await by_chunks(tracked, size - sent)


@pytest.mark.parametrize("rate", [10, 1_000, 1_000_000, 20_000_000])
@pytest.mark.parametrize("after", [0, 300_000])
@pytest.mark.parametrize("way", [by_chunks, by_sendfile])
def test_the_rate_holds_at_every_moment(
    way: Callable[[TrackedWriter, int], Coroutine[Any, Any, None]], rate: int, after: int
) -> None:
    async def main() -> None:
        writer = Writer(zero_copy=way is by_sendfile)
        await way(TrackedWriter(writer, rate, after), after + 10 * rate)
        sent = 0
        for moment, count in writer.came:
            sent += count
            # No more than an eighth of a second ahead, whose bytes may be less than one.
            assert sent - after <= rate * (moment + 1 / 8) + 1
        assert sent == after + 10 * rate
        assert 9.8 <= asyncio.get_running_loop().time() <= 10

    run(main())


def test_without_a_rate_nothing_waits_and_regions_stay_whole() -> None:
    async def main() -> None:
        writer = Writer(zero_copy=True)
        tracked = TrackedWriter(writer)
        assert await tracked.send_region(Region(10**9)) == 10**9
        assert writer.came == [(0.0, 10**9)]
        assert tracked.sent == 10**9

    run(main())


def test_the_bytes_of_a_region_that_fails_are_counted() -> None:
    class Failing(Region):
        async def sendfile(self, peer: object, offset: int, count: int) -> int:
            if offset:
                raise ConnectionResetError
            return 1000

    async def main() -> None:
        tracked = TrackedWriter(Writer(zero_copy=True))
        with pytest.raises(ConnectionResetError):
            await tracked.send_region(Failing(10**9))
        assert tracked.sent == 1000

    run(main())
