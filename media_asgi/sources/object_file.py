"""
An object of a bucket, opened: what the store says of it, and its bytes.

A drop in the middle is resumed. A client that is slow holds no GET of the store.
"""

import asyncio
import re
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Container
from typing import TYPE_CHECKING, Any

from ..http.representation import FileInfo
from .base import (
    FileMissingError,
    FileReadError,
    SourceError,
    SourceTimeoutError,
    TruncatedFileError,
)
from .object_clients import BaseError
from .object_errors import ChangedError, DeniedError, NoRangesError, RangeError, translated

if TYPE_CHECKING:
    from obstore import GetResult, ObjectMeta

# After a drop in the middle of an object, wait so long before each try to go on. Seconds.
_RESUMES = (0.1, 0.5, 2.0)

# A GET that goes on holds up to 2 MiB. So it ends if its client takes longer for what obstore gives
# at once, and the next chunk has a GET of its own. Seconds.
_SLOW = 1.0

# The one after it is so many times larger, as long as the client would take it in that time, too.
_GROWTH = 4

_OPAQUE = re.compile(rb"[\x21\x23-\x7e]*")


class ObjectFile:
    """An object as it was when it was opened."""

    def __init__(
        self,
        get: "Callable[..., Awaitable[GetResult]]",
        key: str,
        head: "GetResult",
        body: "GetResult | None",
        without_ranges: Container[str],
    ) -> None:
        """``get`` asks for it again. ``without_ranges``: keys of which the store gives no part."""
        self._ask = get
        self._key = key
        self._without_ranges = without_ranges
        self._body = body
        meta, attributes = head.meta, head.attributes
        self._identity = _identity(meta)
        tag = meta["e_tag"]
        # obstore says 1970 where the store says nothing.
        modified = int(meta["last_modified"].timestamp() * 1e9) or None
        headers = []
        for field in ("Content-Disposition", "Content-Language", "Content-Encoding"):
            if value := attributes.get(field):
                headers.append((field.lower().encode("ascii"), value.encode("latin-1", "replace")))
        if "Content-Encoding" in attributes:
            headers.append((b"vary", b"Accept-Encoding"))
        etag = _etag(tag, modified)
        has_ranges = self._has_ranges
        self.info = FileInfo(
            size=meta["size"],
            modified=modified,
            version=(self._identity, meta["version"], etag, has_ranges),
            changed=0 if tag else modified or 0,
            etag=etag,
            headers=headers,
            has_ranges=has_ranges,
        )

    @property
    def _has_ranges(self) -> bool:
        return self._key not in self._without_ranges

    def read_nowait(self, start: int, size: int) -> None:
        return None

    def region(self, start: int, stop: int) -> None:
        return None

    def close(self) -> None:
        body, self._body = self._body, None
        if body is not None:
            _end(body)

    async def stream(
        self, start: int, stop: int, chunk_size: Callable[[], int]
    ) -> AsyncGenerator[bytes, None]:
        resumes = iter(_RESUMES)
        loop = asyncio.get_running_loop()
        position, span = start, stop - start
        while position < stop:
            size = chunk_size()
            end = min(stop, position + span)
            chunks = await self._chunks(position, end, size)
            get = _Get(chunks, end - position, ends_early=self._has_ranges)
            taken = 0.0
            failure: SourceError | None = None
            try:
                while position < end and not get.is_slow:
                    data = (await get.read(chunk_size()))[: end - position]
                    position += len(data)
                    began = loop.time()
                    yield data
                    taken += loop.time() - began
            except StopAsyncIteration:
                failure = TruncatedFileError(position)
            except BaseError as error:
                failure = translated(error)
            finally:
                get.end()
            if failure is None:
                if get.is_slow:
                    span = size
                elif taken * _GROWTH < _SLOW:
                    span *= _GROWTH
                continue
            pause = next(resumes, None)
            if pause is None or isinstance(failure, SourceTimeoutError):
                raise failure
            await asyncio.sleep(pause)

    async def _chunks(self, start: int, stop: int, size: int) -> Any:
        """The bytes from ``start`` on, of the GET that has opened the file where it has them."""
        body = self._body
        if body is None or body.range[0] != start or body.range[1] < stop:
            self.close()
            body = await self._get(start, stop)
        self._body = None
        return body.stream(min_chunk_size=min(size, stop - start))

    async def _get(self, start: int, stop: int) -> "GetResult":
        tag = self._identity[0]
        options: dict[str, Any] = {}
        if start or self._has_ranges:
            options["range"] = (start, stop)
        if tag and not tag.startswith("W/"):  # a weak one matches nothing (RFC 9110 13.1.1)
            options["if_match"] = tag
        try:
            result = await self._ask(self._key, **options)
        except NoRangesError as error:
            raise FileReadError(str(error)) from error
        except (ChangedError, RangeError, DeniedError, FileMissingError) as error:
            raise FileReadError(f"the object changed or went before byte {start}") from error
        if _identity(result.meta) != self._identity:
            _end(result)
            raise FileReadError(f"the object changed before byte {start}")
        return result


class _Get:
    """A GET of ``length`` bytes. With ``ends_early`` it ends if its client is slow."""

    is_slow = False

    def __init__(self, chunks: Any, length: int, *, ends_early: bool) -> None:
        self._chunks = chunks
        self._left = length
        self._ends_early = ends_early
        self._data = b""
        self._position = 0
        self._timer: asyncio.TimerHandle | None = None

    async def read(self, size: int) -> bytes:
        """Up to twice ``size`` bytes. Raises ``StopAsyncIteration``, and obstore's errors.

        obstore gives 408 KiB at once, which is as much as its HTTP client reads.
        """
        if not self._data:
            if self._timer is not None:
                self._timer.cancel()
            self._data = await anext(self._chunks)
            self._left -= len(self._data)
            if self._ends_early and self._left > 0:
                self._timer = asyncio.get_running_loop().call_later(_SLOW, self._give_up)
        start, stop = self._position, len(self._data)
        if stop - start > 2 * size:
            stop = start + size
        piece = self._data[start:stop]
        self._position = stop
        if stop == len(self._data):
            self._data, self._position = b"", 0
        return piece

    def _give_up(self) -> None:
        self.is_slow = True
        self.end()

    def end(self) -> None:
        self._chunks, self._data = None, b""
        if self._timer is not None:
            self._timer.cancel()


def _end(result: "GetResult") -> None:
    """End its GET, which goes on as long as the response or its stream is referred to.

    One of obstore's threads may have referred to the response (to its future) when it had no GIL.
    pyo3 then drops that reference only when Python calls obstore again. So the stream is taken out
    of the response, and dropped.
    """
    result.stream()


def _identity(meta: "ObjectMeta") -> tuple[str | None, int, float]:
    return meta["e_tag"], meta["size"], meta["last_modified"].timestamp()


def _etag(tag: str | None, modified: int | None) -> bytes | None:
    """The store's tag as a strong entity tag (RFC 9110 section 8.8.3).

    ``None`` for a weak one, with which no two ranges may be put together: date and size count then.
    Without a date each answer has a tag of its own.
    """
    opaque = (tag or "").strip('"').encode()
    if opaque and _OPAQUE.fullmatch(opaque) and not opaque.startswith(b"W/"):
        return b'"%s"' % opaque
    return None if modified else b'"%s"' % secrets.token_hex(16).encode("ascii")
