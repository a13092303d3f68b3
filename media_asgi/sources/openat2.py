"""
The system calls of Linux that Python has no function for: openat2(2) and cachestat(2).
"""

import ctypes
import errno
import os
import sys
from typing import Any

# A FIFO is opened without waiting for a writer, a terminal doesn't become ours.
FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)

FOLDER_FLAGS = (
    getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
)

# uapi/linux/openat2.h. The call has this number on every architecture but alpha.
_OPENAT2 = 437

RESOLVE_NO_XDEV = 0x01

RESOLVE_NO_MAGICLINKS = 0x02

RESOLVE_BENEATH = 0x08

RESOLVE_CACHED = 0x20

AT_FDCWD = -100

# File systems whose open and fstat ask no server and no daemon (linux/magic.h): ext2 to ext4, XFS,
# Btrfs, tmpfs, overlayfs, ZFS, F2FS, bcachefs, EROFS, SquashFS. On any other (NFS, SMB, FUSE, 9p)
# even a cached name costs a round trip, so a worker opens it.
_LOCAL = frozenset(
    {
        0xEF53,
        0x58465342,
        0x9123683E,
        0x01021994,
        0x794C7630,
        0x2FC12FC1,
        0xF2F52010,
        0xCA451A4E,
        0xE0F5E1E2,
        0x73717368,
    }
)

# linux/mman.h: the same number on every architecture but alpha, too.
_CACHESTAT = 451


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


class _Range(ctypes.Structure):
    _fields_ = (("offset", ctypes.c_uint64), ("length", ctypes.c_uint64))


class _Cachestat(ctypes.Structure):
    _fields_ = (
        ("cached", ctypes.c_uint64),
        ("dirty", ctypes.c_uint64),
        ("writeback", ctypes.c_uint64),
        ("evicted", ctypes.c_uint64),
        ("recently_evicted", ctypes.c_uint64),
    )


def _how(flags: int, resolve: int) -> Any:
    return ctypes.pointer(_OpenHow(flags, 0, resolve))


_HOW_SIZE = ctypes.sizeof(_OpenHow)


class _Cached:
    """How to open a file that the kernel finds without the disk."""

    def __init__(self, flags: int) -> None:
        # A mount below the root may be of another kind than the root. A worker opens its files.
        resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV | RESOLVE_CACHED
        self.how = _how(flags, resolve)
        self.address = ctypes.c_void_p(ctypes.addressof(self.how.contents))


TO_READ = _Cached(FLAGS)

TO_LOOK_AT = _Cached(getattr(os, "O_PATH", 0) | getattr(os, "O_CLOEXEC", 0))


def _error(name: bytes) -> OSError:
    error = ctypes.get_errno()
    return OSError(error, os.strerror(error), name)


class Kernel:
    """The system calls that Python has no function for; each is probed once, here."""

    def __init__(self) -> None:
        self.openat2 = self.cached = self.cachestat = False
        if not sys.platform.startswith("linux"):
            return
        opening = (ctypes.c_int, ctypes.c_char_p, ctypes.POINTER(_OpenHow), ctypes.c_size_t)
        # PyDLL keeps the GIL, which suits a call that never waits and takes microseconds; CDLL
        # releases it.
        self._open_quickly = _syscall(ctypes.PyDLL, *opening)
        self._open = _syscall(ctypes.CDLL, *opening)
        # Each hit calls this one, for which what a declared type and errno cost (a third) is saved.
        self._open_bare = ctypes.PyDLL(None).syscall
        self._cachestat = _syscall(
            ctypes.PyDLL,
            ctypes.c_int,
            ctypes.POINTER(_Range),
            ctypes.POINTER(_Cachestat),
            ctypes.c_uint,
        )
        self._fstatfs = ctypes.CDLL(None, use_errno=True).fstatfs
        # ENOSYS before Linux 5.6, EPERM from a seccomp filter, EINVAL for RESOLVE_CACHED before
        # 5.12; EAGAIN is an answer.
        self.openat2 = self._answers(RESOLVE_BENEATH)
        self.cached = self.openat2 and self._answers(RESOLVE_BENEATH | RESOLVE_CACHED)
        self.cachestat = True

    def _answers(self, resolve: int) -> bool:
        try:
            os.close(self.open(AT_FDCWD, b".", FOLDER_FLAGS, resolve))
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True

    def open(self, folder: int, name: bytes, flags: int, resolve: int) -> int:
        call = self._open_quickly if resolve & RESOLVE_CACHED else self._open
        fd: int = call(_OPENAT2, folder, name, _how(flags, resolve), _HOW_SIZE)
        if fd < 0:
            raise _error(name)
        return fd

    def open_cached(self, folder: int, name: bytes, cached: _Cached) -> int:
        """Open a file below a folder. Raises ``BlockingIOError`` if that needs the disk."""
        fd: int = self._open_bare(_OPENAT2, folder, name, cached.address, _HOW_SIZE)
        if fd < 0:  # call again, for errno
            fd = self._open_quickly(_OPENAT2, folder, name, cached.how, _HOW_SIZE)
            if fd < 0:
                raise _error(name)
        return fd

    def is_local(self, fd: int) -> bool:
        """Does this descriptor's file system answer without a server or a daemon?"""
        buffer = ctypes.create_string_buffer(256)  # struct statfs: 120 bytes, or less
        if self._fstatfs(ctypes.c_int(fd), buffer) != 0:
            return False
        # f_type comes first, and is a long everywhere but on s390, where this finds none it knows.
        return ctypes.c_ulong.from_buffer(buffer).value & 0xFFFFFFFF in _LOCAL

    def cached_pages(self, fd: int, offset: int, count: int) -> int | None:
        """How many pages of this range the page cache has; ``None`` if the kernel does not tell.

        cachestat(2) exists since Linux 6.5, and answers a user who owns or may write the file.
        """
        if not self.cachestat:
            return None
        found = _Cachestat()
        if self._cachestat(_CACHESTAT, fd, _Range(offset, count), found, 0) != 0:
            if ctypes.get_errno() != errno.EPERM:
                self.cachestat = False
            return None
        pages: int = found.cached
        return pages


def _syscall(library: type[ctypes.CDLL], *types: Any) -> Any:
    function = library(None, use_errno=True).syscall
    function.restype = ctypes.c_long
    function.argtypes = (ctypes.c_long, *types)
    return function


KERNEL = Kernel()
