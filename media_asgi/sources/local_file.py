"""
An open file of this machine: read on the loop what the page cache holds, and all else in a worker.
"""

import asyncio
import contextlib
import errno
import os
import threading

from .descriptor import Descriptor, close
from .openat2 import (
    KERNEL,
)
from .workers import Workers, in_worker

# preadv2's answers that mean "never here" rather than "not now".
_NO_NOWAIT = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EPERM})

_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096

_RWF_NOWAIT: int = getattr(os, "RWF_NOWAIT", 0)

_refusing_nowait: set[int] = set()  # the file systems (st_dev) that do

_scratch = threading.local()

_SMALL = 16 * 1024


def _scratch_buffer(count: int) -> memoryview:
    """A buffer that is this thread's own, since preadv releases the GIL, and lives on.

    A new one of 256 KiB costs more to get than to fill.
    """
    buffer: bytearray | None = getattr(_scratch, "buffer", None)
    if buffer is None or len(buffer) < count:
        buffer = _scratch.buffer = bytearray(count)
    return memoryview(buffer)[:count]


class LocalFile:
    """An open regular file."""

    __slots__ = ("_descriptor", "fd", "status", "workers")

    def __init__(self, fd: int, status: os.stat_result, workers: Workers) -> None:
        self.fd = fd
        self.status = status
        self.workers = workers
        self._descriptor: Descriptor | None = None

    @property
    def descriptor(self) -> Descriptor:
        """For calls in a worker. Most files are read and closed without any."""
        if self._descriptor is None:
            self._descriptor = Descriptor(self.fd)
        return self._descriptor

    def close(self) -> None:
        if self._descriptor is None:
            os.close(self.fd)
        else:
            self._descriptor.close()

    def read_nowait(self, offset: int, count: int) -> bytes | None:
        """Up to ``count`` bytes that the page cache holds, ``None`` where the disk must be asked.

        A short answer is normal (the rest isn't cached); ``b""`` is the end of the file.
        """
        if not _RWF_NOWAIT or self.status.st_dev in _refusing_nowait:
            return None
        buffer: bytearray | memoryview = (
            bytearray(count) if count <= _SMALL else _scratch_buffer(count)
        )
        try:
            got = os.preadv(self.fd, (buffer,), offset, _RWF_NOWAIT)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno not in _NO_NOWAIT:
                raise
            _refusing_nowait.add(self.status.st_dev)
            return None
        return bytes(buffer if got == count else buffer[:got])

    def read(self, offset: int, count: int, ahead: int = 0) -> "asyncio.Future[bytes]":
        """Up to ``count`` bytes from the disk, read in a worker; ``b""`` is the end of the file.

        The kernel is told that the ``ahead`` bytes after them are wanted next.
        """
        return in_worker(self.workers, (self.descriptor,), _read, self.fd, offset, count, ahead)

    def fileno(self) -> int:
        return self.fd

    def is_warm(self, offset: int, count: int) -> bool:
        """Does the page cache hold all of this, so that sendfile(2) will not wait for the disk?"""
        # cachestat counts a page that is still being read. Reads end in their order, near enough,
        # so that the last page is asked for by itself.
        cached = KERNEL.cached_pages(self.fd, offset, count)
        return (
            cached is not None
            and cached >= (offset + count - 1) // _PAGE - offset // _PAGE + 1
            and bool(self.read_nowait(offset + count - 1, 1))
        )


class DistantFile(LocalFile):
    """One of a file system that has a server or a daemon behind it."""

    __slots__ = ()

    @property
    def descriptor(self) -> Descriptor:
        if self._descriptor is None:
            self._descriptor = Descriptor(self.fd, self.workers)
        return self._descriptor

    def close(self) -> None:
        if self._descriptor is None:
            close(self.fd, self.workers)
        else:
            self._descriptor.close()


def _read(fd: int, offset: int, count: int, ahead: int) -> bytes:
    if ahead and hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError):  # advice, which a file system may not take
            os.posix_fadvise(fd, offset + count, ahead, os.POSIX_FADV_WILLNEED)
    if hasattr(os, "pread"):
        return os.pread(fd, count, offset)
    os.lseek(fd, offset, os.SEEK_SET)  # Windows; each descriptor has one reader at a time
    return os.read(fd, count)
