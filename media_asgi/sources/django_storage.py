"""
Files of any Django storage: ``storage.open()`` in a worker, a chunk at a time.

Slow, and right: the memory stays flat, and there are ranges if the storage's files seek.
"""

import contextlib
import secrets
import threading
from collections.abc import AsyncGenerator, Callable
from typing import Any

from django.core.exceptions import SuspiciousOperation
from django.core.files.base import File
from django.core.files.storage import Storage
from django.db import close_old_connections

from ..http.representation import FileInfo
from .base import (
    FileMissingError,
    FileReadError,
    SourceUnreachableError,
    TruncatedFileError,
    Wanted,
)
from .system_errors import open_error
from .workers import Workers, in_worker, opened

_DJANGO_STORAGES = {
    "storages.backends.s3.S3Storage": "s3",
    "storages.backends.gcloud.GoogleCloudStorage": "gs",
    "storages.backends.azure_storage.AzureStorage": "az",
}


def kind_of(storage: object) -> str | None:
    """The kind of store that a storage of django-storages has its files in."""
    return kind_and_class(storage)[0]


def kind_and_class(storage: object) -> tuple[str | None, type]:
    """The same, and the class of django-storages."""
    for cls in type(storage).__mro__:
        if kind := _DJANGO_STORAGES.get(f"{cls.__module__}.{cls.__qualname__}"):
            return kind, cls
    return None, type(storage)


def reads_by_itself(storage: object, base: type) -> bool:
    """Does a class derived from ``base`` find or read its files in a way of its own?

    Such as one that decrypts them: what lies in its folder or bucket isn't what it would give.
    """
    cls = type(storage)
    return any(getattr(cls, name, None) is not getattr(base, name, None) for name in _READING)


_READING = ("open", "_open", "path", "_normalize_name", "_get_valid_path")


class StorageSource:
    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._workers = Workers(8, type(storage).__name__)

    def version_nowait(self, name: bytes) -> None:
        return None

    def open_nowait(self, name: bytes, wanted: Wanted) -> None:
        return None

    async def open(self, name: bytes, wanted: Wanted) -> "StorageFile":
        try:
            return await opened(self._workers, StorageFile.close, self._open, name)
        except OSError as error:  # no thread can be started
            raise open_error(error) from error

    def _open(self, name: bytes) -> "StorageFile":
        # A storage in a database: this thread sees no end of a request, where Django does it.
        close_old_connections()
        try:
            # Before the file is opened: it may be replaced meanwhile. New bytes with the old date
            # are found out at the next request, and old bytes with the new date never.
            modified = _modified(self._storage, name.decode())
            file = self._storage.open(name.decode(), "rb")
            try:
                if isinstance(modified, Exception):
                    raise modified
                return StorageFile(file, _info(file, modified), self._workers)
            except BaseException:
                with contextlib.suppress(Exception):
                    file.close()
                raise
        except _MISSING as error:
            raise FileMissingError from error
        except Exception as error:
            raise SourceUnreachableError(f"the storage: {error!r}") from error


_MISSING = (
    *(FileNotFoundError, IsADirectoryError, NotADirectoryError),
    *(SuspiciousOperation, UnicodeDecodeError),
)


class StorageFile:
    def __init__(self, file: "File[Any]", info: FileInfo, workers: Workers) -> None:
        self.info = info
        self._file = file
        self._workers = workers
        self._position = 0
        # A read that nobody waits for any more may be under way.
        self._lock = threading.Lock()

    def read_nowait(self, start: int, size: int) -> None:
        return None

    def region(self, start: int, stop: int) -> None:
        return None

    def close(self) -> None:
        with contextlib.suppress(OSError, RuntimeError):  # no thread, or the process ends
            self._workers.submit(self._close)

    async def stream(
        self, start: int, stop: int, chunk_size: Callable[[], int]
    ) -> AsyncGenerator[bytes, None]:
        while start < stop:
            size = min(chunk_size(), stop - start)
            data = await in_worker(self._workers, (), self._read, start, size)
            if not data:
                raise TruncatedFileError(start)
            start += len(data)
            yield data

    def _read(self, start: int, size: int) -> bytes:
        with self._lock:
            try:
                if start != self._position:
                    self._file.seek(start)
                data = bytes(self._file.read(size))  # a TypeError if it is text
            except Exception as error:
                raise FileReadError(f"the storage: {error!r}") from error
            self._position = start + len(data)
            # Some files give all that they have. The client would take it for the next response.
            return data[:size]

    def _close(self) -> None:
        with self._lock, contextlib.suppress(Exception):
            self._file.close()


def _modified(storage: Storage, name: str) -> int | Exception | None:
    """Nanoseconds since the epoch. An error is returned: of a missing file ``open`` tells best."""
    try:
        return int(storage.get_modified_time(name).timestamp() * 1e9)
    except NotImplementedError:
        return None
    except Exception as error:
        return error


def _info(file: "File[Any]", modified: int | None) -> FileInfo:
    size = file.size
    if not isinstance(size, int) or size < 0:
        raise ValueError(f"the size of a file is {size!r}")
    return FileInfo(
        size=size,
        modified=modified,
        version=secrets.token_hex(8) if modified is None else (size, modified),
        changed=modified or 0,
        # Without a date nothing tells one version from the next.
        etag=b'"%s"' % secrets.token_hex(16).encode("ascii") if modified is None else None,
        has_ranges=file.seekable(),
    )
