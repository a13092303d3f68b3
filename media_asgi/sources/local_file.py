"""
An open file of this machine.

The loop reads what the page cache has: ``preadv2(2)`` with ``RWF_NOWAIT`` answers EAGAIN rather
than wait for the disk. A worker thread reads everything else.
"""

import asyncio
import contextlib
import errno
import hashlib
import operator
import os
import threading
import time
from collections.abc import AsyncGenerator, Callable

from ..http.representation import FileInfo
from .base import TruncatedFileError
from .descriptor import Descriptor, close
from .openat2 import KERNEL
from .system_errors import read_error
from .workers import Workers, in_worker

# preadv2's answers that mean "never here" rather than "not now".
_NO_NOWAIT = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EPERM})

_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096

_RWF_NOWAIT: int = getattr(os, "RWF_NOWAIT", 0)

_refusing_nowait: set[int] = set()  # file systems (st_dev) without RWF_NOWAIT

_scratch = threading.local()

# glibc gives what is free at the end of its heap back to the kernel, which then clears the same
# pages for the next chunk. It keeps twice as much as the largest block that it ever gave back by
# itself (mallopt(3), M_MMAP_THRESHOLD). This is one.
bytearray(1024 * 1024)

_SMALL = 16 * 1024

# If the disk is read, the kernel is told that so many bytes after the chunk are wanted next.
_READ_AHEAD = 1024 * 1024

# One call of sendfile on the loop sends so many bytes, in 0.2 ms. 1 MiB is slower for several
# clients: what it copies doesn't fit in the processor's cache. 256 KiB is slower for one client.
_ON_LOOP = 512 * 1024

# One call of sendfile in a worker. Without a bound one call moved 586 MB. A few calls follow each
# other if they don't wait for the disk, which takes more than so many seconds. The kernel doesn't
# tell what it has of a file that belongs to another user, and each hop to a worker takes as long as
# half a MiB.
_IN_WORKER, _CALLS, _QUICK = 1024 * 1024, 4, 0.001

# Nix and builders of reproducible images set the time of each file to second 0 or 1.
_SET_BY_BUILDERS = 2_000_000_000


def _scratch_buffer(count: int) -> memoryview:
    """A buffer of this thread, since preadv releases the GIL.

    It is kept: to allocate 256 KiB takes longer than to fill them.
    """
    buffer: bytearray | None = getattr(_scratch, "buffer", None)
    if buffer is None or len(buffer) < count:
        buffer = _scratch.buffer = bytearray(count)
    return memoryview(buffer)[:count]


class LocalFile:
    """An open regular file."""

    __slots__ = ("_descriptor", "_device", "fd", "info", "workers")

    def __init__(
        self,
        fd: int,
        stat_result: os.stat_result,
        workers: Workers,
        descriptor: Descriptor | None = None,
    ) -> None:
        self.fd = fd
        self.info = file_info(stat_result)
        self.workers = workers
        self._device = stat_result.st_dev
        self._descriptor = descriptor

    @property
    def descriptor(self) -> Descriptor:
        """For calls in a worker. Most files need none."""
        if self._descriptor is None:
            self._descriptor = Descriptor(self.fd)
        return self._descriptor

    def close(self) -> None:
        if self._descriptor is None:
            os.close(self.fd)
        else:
            self._descriptor.close()

    def read_nowait(self, start: int, size: int) -> bytes | None:
        """Up to ``size`` bytes, or ``None`` if the page cache does not have the first of them."""
        if not _RWF_NOWAIT or self._device in _refusing_nowait:
            return None
        buffer: bytearray | memoryview = (
            bytearray(size) if size <= _SMALL else _scratch_buffer(size)
        )
        try:
            got = os.preadv(self.fd, (buffer,), start, _RWF_NOWAIT)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno not in _NO_NOWAIT:
                raise read_error(error, start) from error
            _refusing_nowait.add(self._device)
            return None
        return bytes(buffer if got == size else buffer[:got])

    async def stream(
        self, start: int, stop: int, chunk_size: Callable[[], int]
    ) -> AsyncGenerator[bytes, None]:
        """The bytes from ``start`` to ``stop``.

        If the disk is slower than the client, the next chunk is read while this one is sent.
        """
        coming: asyncio.Future[bytes] | None = None
        try:
            while start < stop:
                size = min(chunk_size(), stop - start)
                if coming is not None:
                    data, coming = await coming, None
                elif (cached := self.read_nowait(start, size)) is not None:
                    data = cached
                else:
                    data = await self._read(start, size)
                    after = start + len(data)
                    if data and after < stop:
                        coming = self._read(after, min(size, stop - after))
                if not data:
                    raise TruncatedFileError(start)
                yield data
                start += len(data)
        except OSError as error:
            raise read_error(error, start) from error
        finally:
            if coming is not None:
                coming.cancel()

    def _read(self, start: int, size: int) -> "asyncio.Future[bytes]":
        return in_worker(self.workers, (self.descriptor,), _read, self.fd, start, size)

    def region(self, start: int, stop: int) -> "LocalRegion":
        return LocalRegion(self, start, stop)

    def is_cached(self, start: int, size: int) -> bool:
        """Does the page cache hold all of this, so that sendfile(2) will not wait for the disk?"""
        # cachestat counts a page that is still being read. Pages are read nearly in order, so that
        # the last page tells.
        cached = KERNEL.cached_pages(self.fd, start, size)
        return (
            cached is not None
            and cached >= (start + size - 1) // _PAGE - start // _PAGE + 1
            and bool(self.read_nowait(start + size - 1, 1))
        )


class DistantFile(LocalFile):
    """A file on a network file system or FUSE, where even close(2) may wait."""

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


class LocalRegion:
    """Bytes of an open file, for zero copy: a ``FileRegion``."""

    __slots__ = ("_file", "is_whole_file", "start", "stop")

    def __init__(self, file: LocalFile, start: int, stop: int) -> None:
        self._file = file
        self.start = start
        self.stop = stop
        self.is_whole_file = stop - start == file.info.size

    def fileno(self) -> int:
        return self._file.fd

    async def sendfile(self, peer: Descriptor, offset: int, count: int) -> int:
        file, at_once = self._file, min(count, _ON_LOOP)
        if file.is_cached(offset, at_once):
            return os.sendfile(peer.fd, file.fd, offset, at_once)
        descriptors = (peer, file.descriptor)
        call = _sendfile_cold
        return await in_worker(file.workers, descriptors, call, peer.fd, file.fd, offset, count)


# The change time changes whatever else is set back.
file_version: Callable[[os.stat_result], tuple[int, ...]] = operator.attrgetter(
    "st_dev", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns"
)


def file_info(stat_result: os.stat_result) -> FileInfo:
    """What a ``stat`` says of a file."""
    version = _, inode, size, modified, changed = file_version(stat_result)
    if 0 <= modified < _SET_BY_BUILDERS:
        # Hashed, since an inode's number is nobody's business.
        known = b"%d %d %d" % (changed, inode, size)
        etag = b'"%s"' % hashlib.sha256(known).hexdigest()[:32].encode()
        return FileInfo(size, None, version, changed, etag)
    return FileInfo(size, modified, version, changed)


def _read(fd: int, start: int, size: int) -> bytes:
    if hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError):  # a file system may refuse advice
            os.posix_fadvise(fd, start + size, _READ_AHEAD, os.POSIX_FADV_WILLNEED)
    if hasattr(os, "pread"):
        return os.pread(fd, size, start)
    os.lseek(fd, start, os.SEEK_SET)  # Windows; a descriptor has one reader at a time
    return os.read(fd, size)


def _sendfile_cold(peer: int, file: int, offset: int, count: int) -> int:
    """In a worker, where it may wait for the disk; the socket itself does not block."""
    start, stop, since = offset, offset + count, time.monotonic()
    with contextlib.suppress(OSError):
        os.posix_fadvise(file, offset, 2 * _IN_WORKER, os.POSIX_FADV_WILLNEED)
    for _ in range(_CALLS):
        try:
            sent = os.sendfile(peer, file, offset, min(_IN_WORKER, stop - offset))
        except OSError:
            if offset == start:
                raise
            break  # the next call tells
        offset += sent
        if not sent or offset == stop or time.monotonic() - since > _QUICK:
            break
    return offset - start
