"""
A source that unpacks files stored with gzip, for clients that don't take it.

Their size is known only after they were unpacked once, so that is done twice: to count, and to
send. The memory stays flat.
"""

import asyncio
import zlib
from collections.abc import AsyncGenerator, Callable, Hashable
from contextlib import aclosing

from ..http.codings import is_accepted
from ..http.representation import FileInfo
from .base import Source, SourceFile, TruncatedFileError, Wanted

# Bytes that are unpacked in one go: what a packed file of a few bytes unpacks to has no bound.
_STEP = 64 * 1024


class GunzipSource:
    """``source``, whose files may have the Content-Encoding gzip."""

    def __init__(self, source: Source) -> None:
        self._source = source

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
        if not _is_gzipped(file.info):
            return file
        if is_accepted(wanted.accept_encoding, b"gzip"):
            return file
        try:
            return await _gunzipped(file)
        except BaseException:
            file.close()
            raise


class GunzippedFile:
    def __init__(self, file: SourceFile, size: int, content: bytes | None) -> None:
        self._file = file
        self._content = content
        """All of it, if it is small."""
        info = file.info
        headers = [pair for pair in info.headers if pair[0] != b"content-encoding"]
        self._info = info._replace(
            size=size,
            version=(info.version, "gunzip"),
            etag=info.etag and info.etag[:-1] + b';gunzip"',
            headers=headers,
            has_ranges=False,
        )

    @property
    def info(self) -> FileInfo:
        return self._info

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


async def _gunzipped(file: SourceFile) -> SourceFile:
    """The same file unpacked; as it is, if it isn't gzip. Raises ``SourceError``."""
    size, content = 0, b""
    try:
        async with aclosing(_gunzip(file, lambda: _STEP)) as pieces:
            async for piece in pieces:
                size += len(piece)
                if size <= _STEP:
                    content += piece
                await asyncio.sleep(0)
    except zlib.error:
        return file
    return GunzippedFile(file, size, content if size <= _STEP else None)


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
