"""
Turns of the loop, given to all downloads in order.

A chunk takes some tenths of a millisecond. With a chunk of every download in each turn of the loop,
dozens of downloads would hold a page up for as many times that, and again at each of its own steps.
So each turn of the loop has a few chunks.
"""

import asyncio
import contextlib
from collections import deque
from weakref import WeakKeyDictionary

# With more in a turn pages wait longer. With fewer a few fast downloads cost more: each turn asks
# the kernel for events.
_CHUNKS = 2


class _Turns:
    """The turns of one loop, to which nothing here refers once it has ended."""

    def __init__(self) -> None:
        self._left = _CHUNKS  # chunks that the next turn may still have
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def next(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._left:
            self._take(loop)
            await asyncio.sleep(0)
            return
        future = loop.create_future()
        self._waiting.append(future)
        try:
            await future
        except asyncio.CancelledError:
            with contextlib.suppress(ValueError):  # its turn has come
                self._waiting.remove(future)
            raise

    def _take(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._left == _CHUNKS:
            loop.call_soon(self._begin, loop)
        self._left -= 1

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """A turn has begun. Choose those who have a chunk in the one after it."""
        self._left = _CHUNKS
        while self._waiting and self._left:
            future = self._waiting.popleft()
            if not future.done():  # else its task was cancelled
                future.set_result(None)
                self._take(loop)


_loops: "WeakKeyDictionary[asyncio.AbstractEventLoop, _Turns]" = WeakKeyDictionary()


async def next_turn() -> None:
    """Wait for a turn of the loop that has room for one more chunk."""
    loop = asyncio.get_running_loop()
    turns = _loops.get(loop)
    if turns is None:
        turns = _loops[loop] = _Turns()
    await turns.next(loop)
