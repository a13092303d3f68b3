"""
The objects of a bucket: S3 and what speaks like it, Google Cloud Storage, Azure.

One round trip for a whole object or one range: the response to a GET holds size, tag and date, too.
Every later GET of the same answer is bound to the tag of the first one, so that no answer holds
bytes of two versions.
"""

import asyncio
import logging
import os
import re
import secrets
from collections.abc import AsyncGenerator, Callable, Hashable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..http.representation import FileInfo
from .base import (
    FileMissingError,
    FileReadError,
    SourceBusyError,
    SourceError,
    SourceTimeoutError,
    SourceUnreachableError,
    TruncatedFileError,
    Wanted,
)
from .object_clients import BaseError, config_of, enter_process, obstore, patient
from .object_errors import (
    ChangedError,
    DeniedError,
    NoAnswerError,
    NoRangesError,
    RangeError,
    translated,
)

if TYPE_CHECKING:
    from obstore import GetResult
    from obstore.store import ObjectStore

logger = logging.getLogger("media_asgi")

# After no answer, or one that says to come again, wait so long before each try. Seconds.
_RETRIES = (0.1, 0.3)

# No answer takes longer: tries, waits between them and new credentials included. Seconds.
_PATIENCE = 90.0

# After a drop in the middle of an object, wait so long before each try to go on. Seconds.
_RESUMES = (0.1, 0.5, 2.0)

# A GET that goes on holds up to 2 MiB. So it ends if its client takes longer for what obstore gives
# at once, and the next chunk has a GET of its own. Seconds.
_SLOW = 1.0

# The one after it is so many times larger, as long as the client would take it in that time, too.
_GROWTH = 4

# S3, Google Cloud Storage and Azure have no longer keys.
_LONGEST_KEY = 1024

# So many objects are known to be given as a whole alone.
_MAX_KNOWN = 1024

# What the stores' clients count with.
_MOST = 2**63 - 1

# What tells two buckets of one name apart: of a store's configuration, and of the environment,
# which obstore reads too. (China's and the government's regions of AWS have names of their own.)
_PLACE = ("account_name", "endpoint", "endpoint_url_s3", "base_url", "region")
_READ = (
    *("AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"),
    *("AWS_REGION", "AWS_DEFAULT_REGION"),
    *("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT", "GOOGLE_BASE_URL"),
)

_OPAQUE = re.compile(rb"[\x21\x23-\x7e]*")
# Azure takes a backslash in a name for a slash.
_SEPARATOR = re.compile(r"[/\\]")


class ObjectSource:
    """The objects of a store whose keys begin with ``prefix`` and a slash.

    ``store``: one of obstore's, or a callable without arguments that makes one. It is called at the
    first request, in the process that serves.

    A store's own ``retry_config`` is kept. Then obstore resumes a dropped answer too, and compares
    the tags alone: of a store that gives two versions one tag, an answer may hold both.
    """

    def __init__(self, store: "ObjectStore | Callable[[], ObjectStore]", prefix: str = "") -> None:
        if not callable(store):
            config_of(store)
        self._given = store
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._has_told = False
        self.without_ranges: dict[str, None] = {}
        """Keys of which the store gives no part, so that whole objects are asked for."""

    @cached_property
    def _store(self) -> "ObjectStore":
        """Raises ``SourceError``."""
        given = self._given
        try:
            return patient(given() if callable(given) else given)
        except Exception as error:
            raise translated(error) from error

    def place(self) -> tuple[Hashable, str]:
        """The name of the bucket, and the prefix of the keys in it. Raises ``SourceError``."""
        config = config_of(self._store)
        bucket = config.get("bucket") or config.get("container_name")
        if not bucket:  # a store in memory is itself alone
            return id(self._store), self._prefix
        store: Any = self._store
        own = (store.prefix or "").strip("/")
        return bucket, f"{own}/{self._prefix}" if own else self._prefix

    @cached_property
    def identity(self) -> str:
        """The bucket and the prefix. No other source has the same. Raises ``SourceError``."""
        config = config_of(self._store)
        if not config:
            return secrets.token_hex()
        where = [config.get(name) for name in _PLACE], [os.environ.get(name) for name in _READ]
        return repr((type(self._store).__name__, self.place(), where))

    def version_nowait(self, name: bytes) -> None:
        return None

    def open_nowait(self, name: bytes, wanted: Wanted) -> None:
        return None

    async def open(self, name: bytes, wanted: Wanted) -> "ObjectFile":
        key = self._key(name)
        try:
            result, is_head = await self._look(key, wanted)
        except DeniedError as error:
            self._tell_of_denied(key, error)
            raise FileMissingError from None
        except ChangedError as error:
            raise SourceBusyError(str(error)) from error
        return ObjectFile(self, key, result, None if is_head else result)

    async def get(self, key: str, **options: Any) -> "GetResult":
        """Raises ``SourceError``."""
        enter_process()
        try:
            async with asyncio.timeout(_PATIENCE):
                for pause in _RETRIES:
                    try:
                        return await self._get(key, options)
                    except (NoAnswerError, SourceBusyError):
                        await asyncio.sleep(pause)
                return await self._get(key, options)
        except TimeoutError:
            raise SourceTimeoutError(f"the store has not answered for {_PATIENCE:g} s") from None
        except NoAnswerError as error:
            raise SourceUnreachableError(str(error)) from error
        except NoRangesError:
            self.without_ranges[key] = None
            if len(self.without_ranges) > _MAX_KNOWN:
                del self.without_ranges[next(iter(self.without_ranges))]
            raise

    async def _get(self, key: str, options: Any) -> "GetResult":
        store = self._store
        try:
            return await obstore.get_async(store, key, options=options)
        except Exception as error:
            raise translated(error) from error

    async def _look(self, key: str, wanted: Wanted) -> "tuple[GetResult, bool]":
        """A response, and whether it is one without a body."""
        options = _options(wanted)
        if options is not None:
            try:
                return await self.get(key, **options), False
            except RangeError:
                pass  # the size is needed to say so, or the range in another form
        try:
            return await self.get(key, head=True), True
        except DeniedError as error:
            if error.code:
                raise
        # A HEAD has no body that says why (RFC 9110 section 9.3.2).
        return await self.get(key), False

    def _key(self, name: bytes) -> str:
        try:
            key = self._prefix + name.decode()
        except UnicodeDecodeError:
            raise FileMissingError from None
        if len(key) > _LONGEST_KEY:
            raise FileMissingError
        # The empty key is the bucket's listing. A client drops an empty or a dot segment, or goes
        # up by it, out of the prefix.
        if not {"", ".", ".."}.isdisjoint(_SEPARATOR.split(key)):
            raise FileMissingError
        return key

    def _tell_of_denied(self, key: str, error: SourceError) -> None:
        if not self._has_told:
            self._has_told = True
            logger.warning(
                "%r: answered 404, since the store denies access, as it does for a missing object "
                "too where the credentials may not list the bucket. If it is there, let them read "
                "it. The log says so once. %s",
                key,
                error,
            )


class ObjectFile:
    """An object as it was when it was opened."""

    def __init__(
        self, source: ObjectSource, key: str, head: "GetResult", body: "GetResult | None"
    ) -> None:
        self._source = source
        self._key = key
        self._identity = _identity(head)
        self._body = body
        meta, attributes = head.meta, head.attributes
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
        self._info = FileInfo(
            size=meta["size"],
            modified=modified,
            version=(self._identity, meta["version"], etag, has_ranges),
            changed=0 if tag else modified or 0,
            etag=etag,
            headers=headers,
            has_ranges=has_ranges,
        )

    @property
    def info(self) -> FileInfo:
        return self._info

    @property
    def _has_ranges(self) -> bool:
        return self._key not in self._source.without_ranges

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
            get = _Get(await self._chunks(position, end, size), ends_early=self._has_ranges)
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
        body, self._body = self._body, None
        if body is None or body.range[0] != start or body.range[1] < stop:
            if body is not None:
                _end(body)
            body = await self._get(start, stop)
        return body.stream(min_chunk_size=min(size, stop - start))

    async def _get(self, start: int, stop: int) -> "GetResult":
        tag = self._identity[0]
        options: dict[str, Any] = {}
        if start or self._has_ranges:
            options["range"] = (start, stop)
        if tag and not tag.startswith("W/"):  # a weak one matches nothing (RFC 9110 13.1.1)
            options["if_match"] = tag
        try:
            result = await self._source.get(self._key, **options)
        except NoRangesError as error:
            raise FileReadError(str(error)) from error
        except (ChangedError, RangeError, DeniedError, FileMissingError) as error:
            raise FileReadError(f"the object changed or went before byte {start}") from error
        if _identity(result) != self._identity:
            _end(result)
            raise FileReadError(f"the object changed before byte {start}")
        return result


class _Get:
    """A GET that goes on. With ``ends_early`` it ends if its client is slow."""

    is_slow = False

    def __init__(self, chunks: Any, *, ends_early: bool) -> None:
        self._chunks = chunks
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
            if self._ends_early:
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


def _options(wanted: Wanted) -> dict[str, Any] | None:
    """Those of a GET; ``None`` if a HEAD is to come first."""
    start, stop = wanted.start, wanted.stop
    if start is None:
        return {"range": {"suffix": stop}} if stop and stop <= _MOST else None
    if stop is None:
        return {"range": {"offset": start}} if 0 < start <= _MOST else {} if not start else None
    return {"range": (start, min(stop, _MOST))} if start < min(stop, _MOST) else None


def _identity(result: "GetResult") -> tuple[str | None, int, float]:
    meta = result.meta
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
