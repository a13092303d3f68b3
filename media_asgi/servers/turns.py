"""
Turns of the loop, given to all downloads in order.

A chunk takes some tenths of a millisecond. With a chunk of every download in each turn of the loop,
dozens of downloads would hold a page up for as many times that, and again at each of its own steps.
So each turn of the loop has a few chunks: four of the usual size.
"""

import asyncio
import contextlib
from collections import deque
from weakref import WeakKeyDictionary

# Bytes of a turn. With more, pages wait longer. With fewer, a few fast downloads cost more: in each
# turn the loop asks the kernel for events.
_BYTES = 1024 * 1024

# A smaller chunk takes about as long as one of so many bytes.
_SMALLEST = 256 * 1024


class _Turns:
    """The turns of one loop, to which nothing here refers once it has ended."""

    def __init__(self) -> None:
        self._left = _BYTES  # that the next turn may still have; less than 0 after a large chunk
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()

    async def next(self, loop: asyncio.AbstractEventLoop, size: int) -> None:
        if self._left > 0:
            self._take(loop, size)
            await asyncio.sleep(0)
            return
        waiting = loop.create_future(), size
        self._waiting.append(waiting)
        try:
            await waiting[0]
        except asyncio.CancelledError:
            with contextlib.suppress(ValueError):  # its turn has come
                self._waiting.remove(waiting)
            raise

    def _take(self, loop: asyncio.AbstractEventLoop, size: int) -> None:
        if self._left == _BYTES:
            loop.call_soon(self._begin, loop)
        self._left -= max(size, _SMALLEST)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """A turn has begun. Choose those who have a chunk in the one after it."""
        self._left = _BYTES
        while self._waiting and self._left > 0:
            future, size = self._waiting.popleft()
            if not future.done():  # else its task was cancelled
                future.set_result(None)
                self._take(loop, size)


_loops: "WeakKeyDictionary[asyncio.AbstractEventLoop, _Turns]" = WeakKeyDictionary()


async def next_turn(size: int) -> None:
    """Wait for a turn of the loop that has room for one more chunk, of ``size`` bytes."""
    loop = asyncio.get_running_loop()
    turns = _loops.get(loop)
    if turns is None:
        turns = _loops[loop] = _Turns()
    await turns.next(loop, size)
