"""Who wants a turn of the loop gets one, in order, and few share it."""

import asyncio
import gc
import weakref

import pytest

from media_asgi.servers.turns import next_turn

KIB = 1024


class Loop:
    """Counts the turns, beside the downloads."""

    def __init__(self, size: int = 256 * KIB) -> None:
        self.turn = 0
        self.size = size
        self.had: list[tuple[int, str]] = []

    async def count(self) -> None:
        while True:
            self.turn += 1
            await asyncio.sleep(0)

    async def download(self, name: str, chunks: int) -> None:
        for _ in range(chunks):
            await next_turn(self.size)
            self.had.append((self.turn, name))


def chunks_by_turn(*downloads: tuple[str, int], size: int = 256 * KIB) -> list[list[str]]:
    async def main() -> list[list[str]]:
        loop = Loop(size)
        counting = asyncio.ensure_future(loop.count())
        await asyncio.gather(*(loop.download(*each) for each in downloads))
        counting.cancel()
        seen = sorted({turn for turn, _ in loop.had})
        assert seen == list(range(seen[0], seen[0] + len(seen))), "no turn is wasted"
        return [[name for turn, name in loop.had if turn == each] for each in seen]

    return asyncio.run(main())


def test_one_download_has_a_chunk_in_each_turn() -> None:
    assert chunks_by_turn(("a", 5)) == [["a"]] * 5


def test_a_few_downloads_share_each_turn() -> None:
    assert chunks_by_turn(("a", 3), ("b", 3)) == [["a", "b"]] * 3


@pytest.mark.parametrize(
    ("size", "chunks"), [(1, 4), (64 * KIB, 4), (256 * KIB, 4), (512 * KIB, 2), (4096 * KIB, 1)]
)
def test_of_many_downloads_each_has_as_many_chunks_and_no_turn_has_many(
    size: int, chunks: int
) -> None:
    had = chunks_by_turn(*((f"{number}", 5) for number in range(32)), size=size)
    assert all(len(names) == chunks for names in had)
    flat = [name for names in had for name in names]
    for begin in range(0, len(flat), 32):
        assert len(set(flat[begin : begin + 32])) == 32


@pytest.mark.parametrize("later", [0, 1, 2])
def test_a_cancelled_download_takes_nobodys_turn(later: int) -> None:
    async def main() -> None:
        loop = Loop()
        tasks = [asyncio.ensure_future(loop.download(str(number), 3)) for number in range(20)]
        for _ in range(1 + later):
            await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.wait_for(asyncio.gather(*tasks[1::2]), 5)
        await asyncio.wait_for(loop.download("later", 3), 5)

    asyncio.run(main())


def test_a_loop_that_has_ended_is_forgotten() -> None:
    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []

    async def main() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        counts = Loop()
        # It ends while they wait for their turns.
        tasks = [asyncio.ensure_future(counts.download(str(number), 100)) for number in range(10)]
        await asyncio.sleep(0)
        assert len(tasks) == 10

    asyncio.run(main())
    gc.collect()
    assert loops[0]() is None
