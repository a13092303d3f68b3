"""
A source that unpacks files stored with gzip, for clients that don't take it.

Their size is known only after they were unpacked, so that is done once more for each version: to
count. A file of some kilobytes may take minutes, whoever asks for it, and whether or not the client
still waits. The memory stays flat.
"""

import asyncio
import zlib
from collections.abc import AsyncGenerator, Callable, Hashable
from contextlib import aclosing
from weakref import WeakValueDictionary

from ..http.codings import is_accepted
from ..http.representation import FileInfo
from .base import Source, SourceFile, TruncatedFileError, Wanted

# Bytes that are unpacked in one go: what a packed file of a few bytes unpacks to has no bound.
_STEP = 64 * 1024

# So many files are known by their size.
_MAX_KNOWN = 4096


class GunzipSource:
    """``source``, whose files may have the Content-Encoding gzip."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._sizes: dict[Hashable, int | None] = {}
        """By version. ``None``: it isn't gzip."""
        self._counting: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()

    def version_nowait(self, name: bytes) -> Hashable | None:
        return self._source.version_nowait(name)

    def open_nowait(self, name: bytes, wanted: Wanted) -> SourceFile | None:
        file = self._source.open_nowait(name, wanted)
        if file is not None and _is_gzipped(file.info):
            file.close()
            return None  # to unpack it takes its time
        return file

    async def open(self, name: bytes, wanted: Wanted) -> SourceFile:
        file = await self._source.open(name, wanted)
        if not _is_gzipped(file.info) or is_accepted(wanted.accept_encoding, b"gzip"):
            return file
        try:
            size, content = await self._counted(file)
        except BaseException:
            file.close()
            raise
        return file if size is None else GunzippedFile(file, size, content)

    async def _counted(self, file: SourceFile) -> tuple[int | None, bytes | None]:
        """Its size, and its content if that was small and nobody had counted it before."""
        info, sizes = file.info, self._sizes
        # One counts, and the others wait.
        lock = self._counting.setdefault(info.version, asyncio.Lock())
        async with lock:
            if info.version in sizes:
                return sizes[info.version], None
            size, content = await _count(file)
            if info.etag is not None:  # else a file of the same date may be another one
                sizes[info.version] = size
                if len(sizes) > _MAX_KNOWN:
                    del sizes[next(iter(sizes))]
            return size, content


class GunzippedFile:
    def __init__(self, file: SourceFile, size: int, content: bytes | None) -> None:
        self._file = file
        self._content = content
        """All of it, if it is small."""
        info = file.info
        headers = [pair for pair in info.headers if pair[0] != b"content-encoding"]
        self.info = info._replace(
            size=size,
            version=(info.version, "gunzip"),
            etag=info.etag and info.etag[:-1] + b';gunzip"',
            headers=headers,
            has_ranges=False,
        )

    def read_nowait(self, start: int, size: int) -> bytes | None:
        return None if self._content is None else self._content[start : start + size]

    def region(self, start: int, stop: int) -> None:
        return None

    def close(self) -> None:
        self._file.close()

    async def stream(
        self, start: int, stop: int, chunk_size: Callable[[], int]
    ) -> AsyncGenerator[bytes, None]:
        position = 0
        async with aclosing(_gunzip(self._file, chunk_size)) as pieces:
            async for piece in pieces:
                part = piece[max(0, start - position) : stop - position]
                position += len(piece)
                if part:
                    yield part
                if position >= stop:
                    return
        if position < stop:
            raise TruncatedFileError(position)


async def _count(file: SourceFile) -> tuple[int | None, bytes | None]:
    """The size of the file unpacked, ``None`` if it isn't gzip; and the content if it is small.

    Raises ``SourceError``.
    """
    size, content = 0, b""
    try:
        async with aclosing(_gunzip(file, lambda: _STEP)) as pieces:
            async for piece in pieces:
                size += len(piece)
                if size <= _STEP:
                    content += piece
                await asyncio.sleep(0)
    except zlib.error:
        return None, None
    return size, content if size <= _STEP else None


def _is_gzipped(info: FileInfo) -> bool:
    return any(
        name == b"content-encoding" and value.strip().lower() in (b"gzip", b"x-gzip")
        for name, value in info.headers
    )


async def _gunzip(file: SourceFile, chunk_size: Callable[[], int]) -> AsyncGenerator[bytes, None]:
    """Raises ``SourceError``, and ``zlib.error`` for what isn't gzip."""
    unpack = zlib.decompressobj(wbits=31)
    async with aclosing(file.stream(0, file.info.size, chunk_size)) as chunks:
        async for data in chunks:
            while True:
                if unpack.eof:  # a file of several members (RFC 1952 section 2.2)
                    unpack = zlib.decompressobj(wbits=31)
                piece = unpack.decompress(data, _STEP)
                if piece:
                    yield piece
                data = unpack.unused_data if unpack.eof else unpack.unconsumed_tail
                # Without input left there may be output left.
                if not data and (unpack.eof or len(piece) < _STEP):
                    break
    if not unpack.eof:
        raise zlib.error("the end is missing")
