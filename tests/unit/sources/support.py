"""What the tests of sources share."""

import asyncio
import ctypes
import errno
import mmap
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from media_asgi.sources.base import (
    WHOLE,
    FileForbiddenError,
    FileMissingError,
    FileReadError,
    SourceBusyError,
    SourceError,
)
from media_asgi.sources.local import LocalSource
from media_asgi.sources.local_file import LocalFile

THREADS = 2


SECRET = b"SECRET"


async def open_file(root: LocalSource, name: bytes) -> LocalFile:
    async with asyncio.timeout(60):
        return root.open_nowait(name, WHOLE) or await root.open(name, WHOLE)


async def read_file(root: LocalSource, name: bytes) -> bytes:
    file = await open_file(root, name)
    try:
        return await file._read(0, 10_000)
    finally:
        file.close()


Outcome = bytes | int | type[FileMissingError]


async def outcome(root: LocalSource, name: bytes) -> Outcome:
    try:
        return await read_file(root, name)
    except SourceError as error:
        cause = error.__cause__
        if not isinstance(cause, OSError):
            return FileMissingError
        number = cause.errno or 0
        del cause  # from Python 3.13 its traceback refers to this frame: a cycle
        return number if type(error) is _kind(number) else -1


def _kind(error: int) -> type[SourceError]:
    if error in (errno.EACCES, errno.EPERM):
        return FileForbiddenError
    if error in (errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM):
        return SourceBusyError
    return FileReadError if error in (errno.EIO, errno.ESTALE) else FileMissingError


def drop(path: Path) -> None:
    """Take a file out of the page cache.

    Whether that worked must not be asked by reading: the kernel would begin to read ahead.
    """
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        for _ in range(3000):  # on a busy machine a page may be in use for a moment
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            if not resident(file.fileno()):
                return
            time.sleep(0.01)


def resident(fd: int) -> bool:
    """mincore(2): is anything of the file in the page cache?"""
    size = os.fstat(fd).st_size
    with mmap.mmap(fd, size, mmap.MAP_PRIVATE) as mapping:
        pages = ctypes.create_string_buffer(size // mmap.PAGESIZE + 1)
        first = ctypes.c_char.from_buffer(mapping)
        ctypes.CDLL(None).mincore(ctypes.byref(first), ctypes.c_size_t(size), pages)
        del first
        return any(page & 1 for page in pages.raw)


async def _read(file: LocalFile, *args: int) -> bytes:
    return await file._read(*args)


def becomes(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    return condition()


def linux(*version: int) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    numbers = os.uname().release.split("-")[0].split(".")
    return tuple(int(number) for number in numbers[:2]) >= version
