"""
A source that keeps the objects of a store as files of the local disk.

An object is fresh for some time after the store was asked for it. Then it is asked for its
information, once for all who wait, and the file is used if the bytes are still the same. A miss is
answered by the store, and stored in the background by a request of its own.
"""

import asyncio
import logging
import math
import os
import time
from collections.abc import Awaitable, Callable, Hashable
from concurrent.futures import Future
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

from django.core.exceptions import ImproperlyConfigured

from ..http.representation import FileInfo
from .base import (
    NOTHING,
    WHOLE,
    FileMissingError,
    Source,
    SourceBusyError,
    SourceError,
    SourceFile,
    SourceTimeoutError,
    SourceUnreachableError,
    Wanted,
)
from .cache_folder import BusyError, CacheFolder, data_name, object_name, with_version
from .local import LocalSource
from .local_file import LocalFile
from .workers import Workers, in_worker

T = TypeVar("T")

logger = logging.getLogger("media_asgi")

_UNUSABLE = "The cache %s can't be used, and the store is asked instead: %s"
_STALE = "Files of the cache %s are served stale, since the store can't be asked: %s"

# So many objects are stored at a time, by one process.
_MAX_FILLS = 4

_CHUNK = 1024 * 1024

# What is known of so many objects is in memory.
_MAX_ENTRIES = 4096

# An object that is used again and again is marked as used once in so long. Seconds.
_TOUCH = 60.0

# After an error of the disk nothing is stored for so long, and what is logged once is not logged
# again. Seconds.
_PAUSE = 60.0

# A store that can't be asked is asked again in so long. Seconds.
_RETRY = 1.0

# A cache that takes longer is slower than the store. Seconds.
_PATIENCE = 2.0


@dataclass(frozen=True)
class DiskCache:
    """A folder of the local disk that keeps objects of a store. Servers' processes may share it.

    ``path``: an absolute path. The folder is created. ``max_size``: bytes that its files may take.

    ``fresh``: seconds for which an object is served without asking the store. A replaced or deleted
    one is served for so long.

    ``max_object``: larger objects are not kept. ``stale_if_error``: seconds for which a kept object
    is served beyond that while the store can't be asked.
    """

    path: str | os.PathLike[str]
    max_size: float
    fresh: float = 1.0
    max_object: float = 64 * 2**20
    stale_if_error: float = 0

    def __post_init__(self) -> None:
        if os.name == "nt" or not os.path.isabs(self.path):
            raise ImproperlyConfigured(
                f"path of DiskCache is {self.path!r}. Give an absolute path, such as "
                "BASE_DIR / 'cache'. On Windows use no DiskCache."
            )
        for name in ("max_size", "max_object", "fresh", "stale_if_error"):
            value, least = getattr(self, name), int(name.startswith("max"))
            if isinstance(value, bool) or not isinstance(value, int | float) or not value >= least:
                raise ImproperlyConfigured(
                    f"{name} of DiskCache is {value!r}. Give a number, {least} or more."
                )


class IdentifiedSource(Source, Protocol):
    @property
    def identity(self) -> str:
        """The store and the part of it that this is. No other source has the same."""


class _Entry(NamedTuple):
    """What is known of an object in the cache."""

    info: FileInfo
    data: str
    """The name of its file."""
    checked: float
    """When the store was asked for it. By the clock."""
    fresh_until: float = -math.inf
    """By the monotonic clock, as the next."""
    touch_at: float = -math.inf
    """When it is to be marked as used, so that it isn't evicted. Not after ``fresh_until``."""


class DiskCacheSource:
    """``source``, whose objects are kept in a folder.

    ``is_immutable``: does the object of this name never change?
    """

    def __init__(
        self,
        source: IdentifiedSource,
        options: DiskCache,
        workers: Workers,
        is_immutable: Callable[[bytes], bool] = lambda name: False,
    ) -> None:
        self._source = source
        self._options = options
        self._workers = workers
        self._is_immutable = is_immutable
        path = os.fspath(options.path)
        self._folder = CacheFolder(path, options.max_size)
        self._files = LocalSource(path, workers, warns=False)
        self._fillers = Workers(_MAX_FILLS, path)
        self._entries: dict[bytes, _Entry] = {}
        self._asking: dict[bytes, asyncio.Task[_Entry | None]] = {}
        self._fills: dict[bytes, asyncio.Task[None]] = {}
        self._is_store_down = False
        self._no_look_until = self._no_fill_until = -math.inf
        self._logged: dict[str, float] = {}

    def version_nowait(self, name: bytes) -> Hashable | None:
        entry = self._entries.get(name)
        return entry.info.version if entry and time.monotonic() < entry.touch_at else None

    def open_nowait(self, name: bytes, wanted: Wanted) -> LocalFile | None:
        entry = self._entries.get(name)
        if entry is None or time.monotonic() >= entry.touch_at:
            return None
        try:
            file = self._files.open_nowait(entry.data.encode(), WHOLE)
        except SourceError:  # it was evicted: open finds out
            return None
        return file and _with_info(file, entry)

    async def open(self, name: bytes, wanted: Wanted) -> SourceFile:
        if time.monotonic() >= self._no_look_until:
            entry = await self._known(name)
            if entry is not None:
                kept = await self._patiently(self._open_kept(name, entry))
                if kept is not None:
                    return kept
        file = await self._source.open(name, wanted)
        self._is_store_down = False
        self._begin_fill(name, file.info)
        return file

    async def _open_kept(self, name: bytes, entry: _Entry) -> LocalFile | None:
        data = entry.data.encode()
        try:
            file = self._files.open_nowait(data, WHOLE) or await self._files.open(data, WHOLE)
            kept = _with_info(file, entry)
        except FileMissingError:
            kept = None
        if kept is None:
            self._entries.pop(name, None)
        elif time.monotonic() >= entry.touch_at:
            self._put(name, entry)
            self._later(self._folder.touch, entry.data)
        return kept

    async def _known(self, name: bytes) -> _Entry | None:
        """What is in the cache and may be served. Raises ``SourceError`` of the store."""
        entry = self._entries.get(name) or await self._patiently(self._read(name))
        if entry is None or time.monotonic() < entry.fresh_until:
            return entry
        asking = self._asking.get(name)
        if asking is None:
            asking = self._asking[name] = asyncio.ensure_future(self._ask(name, entry))
            asking.add_done_callback(lambda _: self._asking.pop(name))
            # Who waited may have left.
            asking.add_done_callback(lambda asked: asked.cancelled() or asked.exception())
        if self._is_store_down and self._stale_for(entry) > 0:
            return entry  # nobody waits for a store that doesn't answer
        return await asyncio.shield(asking)

    async def _read(self, name: bytes) -> _Entry | None:
        object_ = object_name(self._source.identity, name)
        found = await in_worker(self._workers, (), self._folder.read, object_)
        if found is None:
            return None
        info, checked = found
        until = math.inf if self._is_immutable(name) else -math.inf
        return _Entry(info, data_name(object_, info), checked, until)

    async def _ask(self, name: bytes, entry: _Entry) -> _Entry | None:
        """Is it still so? ``None`` if it has changed."""
        began, clock = time.monotonic(), time.time()
        try:
            file = await self._source.open(name, NOTHING)
        except (SourceBusyError, SourceTimeoutError, SourceUnreachableError) as error:
            self._is_store_down = True
            if self._stale_for(entry) <= 0:
                raise
            self._log(_STALE, error)
            return self._put(name, entry._replace(fresh_until=time.monotonic() + _RETRY))
        except FileMissingError:
            self._is_store_down = False
            self._forget(name, entry)
            raise
        file.close()
        self._is_store_down = False
        info, known = with_version(file.info), entry.info
        if (info.etag, info.size) != (known.etag, known.size):
            self._forget(name, entry)
            return None
        object_ = entry.data[:64]
        if info != known:
            self._later(self._folder.describe, object_, info)
        self._later(self._folder.touch, entry.data, object_)
        return self._put(name, _Entry(info, entry.data, clock, began + self._options.fresh))

    def _stale_for(self, entry: _Entry) -> float:
        """Seconds for which it may be served without the store."""
        options = self._options
        return entry.checked + options.fresh + options.stale_if_error - time.time()

    def _put(self, name: bytes, entry: _Entry) -> _Entry:
        self._entries.pop(name, None)
        touch_at = min(entry.fresh_until, time.monotonic() + _TOUCH)
        self._entries[name] = entry = entry._replace(touch_at=touch_at)
        if len(self._entries) > _MAX_ENTRIES:
            del self._entries[next(iter(self._entries))]
        return entry

    def _forget(self, name: bytes, entry: _Entry) -> None:
        self._entries.pop(name, None)
        self._later(self._folder.discard, entry.data)

    def _begin_fill(self, name: bytes, info: FileInfo) -> None:
        if (
            name not in self._fills
            and len(self._fills) < _MAX_FILLS
            and time.monotonic() >= self._no_fill_until
            and self._is_kept(info)
        ):
            self._fills[name] = asyncio.ensure_future(self._fill(name, info))
            self._fills[name].add_done_callback(lambda _: self._fills.pop(name))

    def _is_kept(self, info: FileInfo) -> bool:
        return (
            info.size <= min(self._options.max_object, self._options.max_size)
            and info.etag is not None
            and not info.etag.startswith(b"W/")  # of other bytes, too
            and all(name != b"vary" for name, _ in info.headers)  # of other requests
        )

    async def _fill(self, name: bytes, expected: FileInfo) -> None:
        object_ = object_name(self._source.identity, name)
        fill = self._folder.fill(object_, expected)
        step: Future[None] | None = None

        def run(call: Callable[..., None], *args: Any) -> "asyncio.Future[None]":
            nonlocal step
            step = self._fillers.submit(call, *args)
            return asyncio.wrap_future(step)

        try:
            await run(next, fill)
            began, clock = time.monotonic(), time.time()
            file = await self._source.open(name, WHOLE)
            try:
                info = with_version(file.info)
                if not self._is_kept(info):
                    return
                await run(fill.send, info)
                async with aclosing(file.stream(0, info.size, lambda: _CHUNK)) as chunks:
                    async for chunk in chunks:
                        await run(fill.send, chunk)
                await run(fill.send, b"")
            finally:
                file.close()
            until = math.inf if self._is_immutable(name) else began + self._options.fresh
            self._put(name, _Entry(info, data_name(object_, info), clock, until))
        except (BusyError, SourceError):
            pass  # the next miss tries again
        except OSError as error:
            self._no_fill_until = time.monotonic() + _PAUSE
            self._log(_UNUSABLE, error)
        finally:
            if step is not None:  # a step can't be cancelled: it may still run
                step.add_done_callback(lambda _: self._fillers.submit(fill.close))

    async def _patiently(self, work: Awaitable[T]) -> T | None:
        """``None`` if the disk fails or is late."""
        try:
            async with asyncio.timeout(_PATIENCE):
                return await work
        except (SourceError, OSError) as error:
            if isinstance(error, TimeoutError):
                self._no_look_until = self._no_fill_until = time.monotonic() + _PAUSE
            self._log(_UNUSABLE, error)
            return None

    def _later(self, call: Callable[..., None], *args: Any) -> None:
        """In a worker. Nobody waits: to write may take seconds where to read takes none."""
        in_worker(self._fillers, (), call, *args)

    def _log(self, text: str, error: Exception) -> None:
        now = time.monotonic()
        if now - self._logged.get(text, -math.inf) >= _PAUSE:
            self._logged[text] = now
            logger.warning(text, os.fspath(self._options.path), str(error) or "it does not answer")


def _with_info(file: LocalFile, entry: _Entry) -> LocalFile | None:
    """``None`` if these can't be the bytes."""
    if file.info.size != entry.info.size:
        file.close()
        return None
    file.info = entry.info
    return file
