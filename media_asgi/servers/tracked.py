"""
``TrackedWriter``: a response whose bytes are counted, and that may have a limit on its rate.

It is put around another writer only where one of the two is wanted.
"""

import asyncio

from ..sources.base import FileRegion
from ..sources.descriptor import Descriptor
from ..types import Headers, Scope
from .base import Ending, ResponseWriter

# With a limit, the bytes of this many parts of a second are sent at once.
_PARTS = 8


class TrackedWriter:
    """A writer around another one. ``rate``: bytes a second, after the first ``after`` bytes."""

    def __init__(self, writer: ResponseWriter, rate: int = 0, after: int = 0) -> None:
        self.scope: Scope = writer.scope
        self.sent = 0
        """Bytes of the body that the server or the kernel has taken."""
        self.start = writer.start
        self.finish = writer.finish
        self.abort = writer.abort
        self.close = writer.close
        self._writer = writer
        self._rate = rate
        self._after = after
        self._begin = asyncio.get_running_loop().time()

    @property
    def is_cut(self) -> bool:
        return self._writer.is_cut

    @is_cut.setter
    def is_cut(self, value: bool) -> None:
        self._writer.is_cut = value

    @property
    def is_limited(self) -> bool:
        return self._rate > 0

    @property
    def seconds(self) -> float:
        return asyncio.get_running_loop().time() - self._begin

    async def send(self, status: int, headers: Headers, body: bytes) -> Ending:
        ending = await self._writer.send(status, headers, body)
        if ending == "complete":
            self.sent = len(body)
        return ending

    def chunk_size(self, size: int) -> int:
        return min(self._writer.chunk_size(size), self._at_once(size))

    async def write(self, data: bytes) -> None:
        await self._pause()
        await self._writer.write(data)
        self.sent += len(data)

    async def send_region(self, region: FileRegion) -> int:
        start, stop = region.start, region.stop
        while start < stop:
            await self._pause()
            part = _Part(self, region, start, min(stop, start + self._at_once(stop - start)))
            before = self.sent
            count = await self._writer.send_region(part)
            self.sent = before + count
            start += count
            if start < part.stop:
                break
        return start - region.start

    def _at_once(self, size: int) -> int:
        """How many bytes of ``size`` may go out before the next pause."""
        if not self._rate:
            return size
        return min(size, max(self._after - self.sent, self._rate // _PARTS, 1))

    async def _pause(self) -> None:
        """Wait until as many bytes are due as have been sent. Nothing waits for the client."""
        if self._rate and self.sent > self._after:
            early = (self.sent - self._after) / self._rate - self.seconds
            if early > 0:
                await asyncio.sleep(early)


class _Part:
    """A part of a region, which counts its bytes: an abort may come before its end."""

    def __init__(self, writer: TrackedWriter, region: FileRegion, start: int, stop: int) -> None:
        self.start = start
        self.stop = stop
        self.is_whole_file = region.is_whole_file and stop - start == region.stop - region.start
        self._writer = writer
        self._region = region

    def fileno(self) -> int:
        return self._region.fileno()

    async def sendfile(self, peer: Descriptor, offset: int, count: int) -> int:
        sent = await self._region.sendfile(peer, offset, count)
        self._writer.sent += sent
        return sent
