"""
A source that keeps the content of small files in memory for half a second.

To see that a file is still the same takes half as long as to read it.
"""

import time
from collections.abc import AsyncGenerator, Callable

from ..http.representation import FileInfo, is_settled
from .base import NOTHING, WHOLE, Source, SourceFile, Wanted

# One change has no time stamp: a store through a mapping, into a page that has not been written to
# the disk yet. So content is kept for no longer. Seconds.
_LIFETIME = 0.5

# Bytes that one source keeps.
_CAPACITY = 4 * 1024 * 1024


class MemoryFile:
    """The content of a file."""

    __slots__ = ("content", "info", "until")

    def __init__(self, info: FileInfo, content: bytes) -> None:
        self.info = info
        self.content = content
        self.until = time.monotonic() + _LIFETIME

    def read_nowait(self, start: int, size: int) -> bytes:
        if not start and size >= len(self.content):
            return self.content
        return self.content[start : start + size]

    async def stream(
        self, start: int, stop: int, chunk_size: Callable[[], int]
    ) -> AsyncGenerator[bytes, None]:
        while start < stop:
            data = self.content[start : min(stop, start + chunk_size())]
            yield data
            start += len(data)

    def region(self, start: int, stop: int) -> None:
        return None

    def close(self) -> None:
        """Nothing is open."""


class MemoryCache:
    """``source``, with the content of files of up to ``max_file`` bytes kept.

    A file that is asked for is compared with the source, each time. Content is kept only if a
    change would give the file another version, and only if no waiting was needed to get it: on a
    network file system the version may be an old one.
    """

    def __init__(self, source: Source, *, max_file: int) -> None:
        self._source = source
        self.version_nowait = source.version_nowait
        self._max_file = min(max_file, _CAPACITY)
        self._files: dict[bytes, MemoryFile] = {}
        self._size = 0

    def open_nowait(self, name: bytes, wanted: Wanted) -> SourceFile | None:
        if (wanted is WHOLE or wanted is NOTHING) and (kept := self.kept_nowait(name)) is not None:
            return kept
        file = self._source.open_nowait(name, wanted)
        if file is not None and wanted is WHOLE and file.info.size <= self._max_file:
            return self._read(name, file)
        return file

    def kept_nowait(self, name: bytes) -> MemoryFile | None:
        """The file, if its content is kept and is the same as in the source."""
        kept = self._files.get(name)
        if kept is None or time.monotonic() > kept.until:
            return None
        if self.version_nowait(name) != kept.info.version:
            self._evict(name)
            return None
        return kept

    async def open(self, name: bytes, wanted: Wanted) -> SourceFile:
        return await self._source.open(name, wanted)

    def _read(self, name: bytes, file: SourceFile) -> SourceFile:
        info = file.info
        try:
            content = file.read_nowait(0, info.size)
        except BaseException:
            file.close()
            raise
        if content is None or len(content) != info.size:
            return file
        file.close()
        read = MemoryFile(info, content)
        if is_settled(info.changed, time.time()):
            self._put(name, read)
        return read

    def _put(self, name: bytes, file: MemoryFile) -> None:
        self._evict(name)
        self._files[name] = file
        self._size += file.info.size
        while self._size > _CAPACITY:
            self._evict(next(iter(self._files)))

    def _evict(self, name: bytes) -> None:
        file = self._files.pop(name, None)
        if file is not None:
            self._size -= file.info.size
