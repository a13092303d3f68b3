"""An object store in memory, with the interface of a source."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Hashable
from typing import NamedTuple

from media_asgi.http.representation import FileInfo
from media_asgi.sources.base import (
    NOTHING,
    FileMissingError,
    SourceError,
    SourceUnreachableError,
    TruncatedFileError,
    Wanted,
)


class Object(NamedTuple):
    content: bytes
    etag: bytes | None
    headers: tuple[tuple[bytes, bytes], ...] = ((b"content-encoding", b"gzip"),)
    modified: int = 1_700_000_000_000_000_000


class StoredFile:
    def __init__(self, store: "Store", name: bytes, object_: Object) -> None:
        self._store = store
        self._name = name
        self._object = object_
        content = object_.content
        self.info = FileInfo(
            len(content), object_.modified, object(), 0, object_.etag, object_.headers
        )
        store.open_files += 1

    def read_nowait(self, start: int, size: int) -> bytes | None:
        return None

    async def stream(
        self, start: int, stop: int, chunk_size: Callable[[], int]
    ) -> AsyncGenerator[bytes, None]:
        store = self._store
        while start < stop:
            await store.wait("read")
            if store.objects.get(self._name) != self._object:
                raise SourceUnreachableError("the object has changed")
            if store.ends_at is not None and start >= store.ends_at:
                raise TruncatedFileError(start)
            data = self._object.content[start : min(stop, start + min(chunk_size(), store.chunk))]
            yield data
            start += len(data)

    def region(self, start: int, stop: int) -> None:
        return None

    def close(self) -> None:
        self._store.open_files -= 1


class Store:
    """Counts what it is asked: "head", "get", and "read" for each chunk."""

    def __init__(self, identity: str = "https://store.example bucket prefix/") -> None:
        self.identity = identity
        self.objects: dict[bytes, Object] = {}
        self.asked: Counter[str] = Counter()
        self.error: SourceError | None = None
        self.ends_at: int | None = None
        self.chunk = 64 * 1024
        self.open_files = 0
        self.gates: dict[str, asyncio.Event] = {}

    def put(self, name: bytes, content: bytes) -> None:
        etag = b'"%s"' % hashlib.md5(content).hexdigest().encode()
        self.objects[name] = Object(content, etag)

    async def wait(self, kind: str) -> None:
        self.asked[kind] += 1
        if kind in self.gates:
            await self.gates[kind].wait()
        else:
            await asyncio.sleep(0)

    def version_nowait(self, name: bytes) -> Hashable | None:
        return None

    def open_nowait(self, name: bytes, wanted: Wanted) -> StoredFile | None:
        return None

    async def open(self, name: bytes, wanted: Wanted) -> StoredFile:
        await self.wait("head" if wanted == NOTHING else "get")
        if self.error is not None:
            raise self.error
        if name not in self.objects:
            raise FileMissingError
        return StoredFile(self, name, self.objects[name])
