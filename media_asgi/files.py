"""
Open a regular file beneath a root, and read spans of it, without ever blocking the event loop.

What the page cache holds is opened and read at once, on the loop: ``openat2(2)`` with
``RESOLVE_CACHED`` and ``preadv2(2)`` with ``RWF_NOWAIT`` answer EAGAIN rather than touch the disk.
All else happens in a worker thread, in one hop; and everything does where the kernel or the file
system has neither (before Linux 5.12, macOS, Windows, NFS, FUSE, a seccomp filter).

Nothing outside the root is opened: with ``openat2`` the kernel resolves the path with
``RESOLVE_BENEATH``, in one step that no rename can race. The portable resolver walks from folder to
folder by descriptor and never follows a link that it hasn't read itself. Both follow relative links
that stay below the root, and no other.
"""

import asyncio
import contextlib
import ctypes
import errno
import os
import stat
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

import aiofiles.os

R = TypeVar("R")

# A folder is opened anew when it has been held for so long, so that a root that a deploy or a
# remount has swapped is seen within it. Seconds.
ROOT_LIFETIME = 0.5

# How often a worker asks again where the kernel says EAGAIN without RESOLVE_CACHED (a rename raced
# a ".." in a link, or a lease is being broken), and how long it waits in between. Seconds.
_RETRIES, _RETRY_PAUSE = 20, 0.01

# As many links as Linux follows in one path (path_resolution(7)).
_MAX_LINKS = 40

# A FIFO is opened without waiting for a writer, a terminal doesn't become ours.
_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)
_FOLDER_FLAGS = (
    getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
)

# uapi/linux/openat2.h. The call has this number on every architecture but alpha.
_OPENAT2 = 437
_RESOLVE_NO_XDEV = 0x01
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_BENEATH = 0x08
_RESOLVE_CACHED = 0x20
_AT_FDCWD = -100

# File systems whose open and fstat ask no server and no daemon (linux/magic.h): ext2 to ext4, XFS,
# Btrfs, tmpfs, overlayfs, ZFS, F2FS, bcachefs, EROFS, SquashFS. On any other (NFS, SMB, FUSE, 9p)
# even a cached name costs a round trip, and is opened in the worker.
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

# preadv2's answers that mean "never here" rather than "not now".
_NO_NOWAIT = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EPERM})


# linux/mman.h: the same number on every architecture but alpha, too.
_CACHESTAT = 451

_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


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
    """How to open what the kernel knows without the disk."""

    def __init__(self, flags: int) -> None:
        # A mount below the root may be of another kind than the root itself: it is the worker's.
        resolve = _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS | _RESOLVE_NO_XDEV | _RESOLVE_CACHED
        self.how = _how(flags, resolve)
        self.address = ctypes.c_void_p(ctypes.addressof(self.how.contents))


_TO_READ = _Cached(_FLAGS)
_TO_LOOK_AT = _Cached(getattr(os, "O_PATH", 0) | getattr(os, "O_CLOEXEC", 0))


def _error(name: bytes) -> OSError:
    error = ctypes.get_errno()
    return OSError(error, os.strerror(error), name)


class Missing(Exception):  # noqa: N818
    """The path names no regular file beneath the root."""


class Shrunk(Exception):  # noqa: N818
    """The file ends before the byte that was promised last."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"the file ends at byte {offset}")
        self.offset = offset


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
        self.openat2 = self._answers(_RESOLVE_BENEATH)
        self.cached = self.openat2 and self._answers(_RESOLVE_BENEATH | _RESOLVE_CACHED)
        self.cachestat = True

    def _answers(self, resolve: int) -> bool:
        try:
            os.close(self.open(_AT_FDCWD, b".", _FOLDER_FLAGS, resolve))
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True

    def open(self, folder: int, name: bytes, flags: int, resolve: int) -> int:
        call = self._open_quickly if resolve & _RESOLVE_CACHED else self._open
        fd: int = call(_OPENAT2, folder, name, _how(flags, resolve), _HOW_SIZE)
        if fd < 0:
            raise _error(name)
        return fd

    def open_cached(self, folder: int, name: bytes, cached: _Cached) -> int:
        """A file beneath a folder, without the disk: ``BlockingIOError`` where that is needed."""
        fd: int = self._open_bare(_OPENAT2, folder, name, cached.address, _HOW_SIZE)
        if fd < 0:  # ask again, for the reason
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
        """How many pages of this span the page cache holds; ``None`` where it won't be told.

        cachestat(2) is there since Linux 6.5, and answers whoever owns or may write the file.
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


class Descriptor:
    """A descriptor that is closed only after every call that uses it has ended.

    A call in a worker thread can't be cancelled. Were the descriptor closed under it, its number
    could be another client's by the time the call looks at it.
    """

    __slots__ = ("_lock", "_users", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._users = 1
        self._lock = threading.Lock()

    def close(self, _: object = None) -> None:
        """Give up one use; the last one closes. To be called once by the owner."""
        with self._lock:
            self._users -= 1
            last = self._users == 0
        if last:
            os.close(self.fd)

    def hold(self) -> None:
        """Take one more use, to be given up by ``close``."""
        with self._lock:
            self._users += 1


class _Holding(Executor):
    """An executor whose calls hold descriptors until they have ended or were dropped."""

    def __init__(self, executor: Executor, descriptors: Sequence[Descriptor]) -> None:
        self._executor = executor
        self._descriptors = descriptors

    def submit(self, call: Callable[..., R], /, *args: Any, **kwargs: Any) -> Future[R]:
        for descriptor in self._descriptors:
            descriptor.hold()
        try:
            future = self._executor.submit(call, *args, **kwargs)
        except BaseException:
            self.release()
            raise
        future.add_done_callback(self.release)
        return future

    def release(self, _: object = None) -> None:
        for descriptor in self._descriptors:
            descriptor.close()


def in_worker(
    executor: Executor, descriptors: Sequence[Descriptor], call: Callable[..., R], *args: Any
) -> "asyncio.Future[R]":
    """``call`` in a worker thread, in one hop, with these descriptors held open until it has ended.

    Whoever waits may be cancelled; the call ends by itself.
    """
    holding = _Holding(executor, descriptors)
    # The task that submits the call takes its first step later: until then it is held from here.
    for descriptor in descriptors:
        descriptor.hold()
    task = asyncio.ensure_future(aiofiles.os.wrap(call)(*args, executor=holding))
    task.add_done_callback(holding.release)
    return _shielded(task)


def _shielded(call: "asyncio.Future[R]") -> "asyncio.Future[R]":
    """For waiting for it: whoever does so may be cancelled, and the call goes on."""
    shield = asyncio.shield(call)
    call.add_done_callback(_retrieved)
    shield.add_done_callback(_retrieved)
    return shield


def _retrieved(call: "asyncio.Future[Any]") -> None:
    """What a call that nobody waits for any more has ended with is of no interest."""
    if not call.cancelled():
        call.exception()


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


class File:
    """An open regular file."""

    __slots__ = ("_descriptor", "executor", "fd", "status")

    def __init__(self, fd: int, status: os.stat_result, executor: Executor) -> None:
        self.fd = fd
        self.status = status
        self.executor = executor
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

    def read_now(self, offset: int, count: int) -> bytes | None:
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
        return in_worker(self.executor, (self.descriptor,), _read, self.fd, offset, count, ahead)

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
            and bool(self.read_now(offset + count - 1, 1))
        )


def _read(fd: int, offset: int, count: int, ahead: int) -> bytes:
    if ahead and hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError):  # advice, which a file system may not take
            os.posix_fadvise(fd, offset + count, ahead, os.POSIX_FADV_WILLNEED)
    if hasattr(os, "pread"):
        return os.pread(fd, count, offset)
    os.lseek(fd, offset, os.SEEK_SET)  # Windows; each descriptor has one reader at a time
    return os.read(fd, count)


class _Folder:
    """The root, held open. Closed by the last who holds it, in whatever thread that is."""

    __slots__ = ("fd", "guard", "identity", "is_local", "since")

    def __init__(self, fd: int, guarded: tuple[str, ...]) -> None:
        self.fd = fd
        status = os.fstat(fd)
        self.identity = (status.st_dev, status.st_ino)
        self.is_local = KERNEL.cached and KERNEL.is_local(fd)
        self.guard = _guard(guarded)
        self.since = time.monotonic()

    def __del__(self) -> None:
        os.close(self.fd)


class Root:
    """The folder of a location, whose files are opened by name.

    ``guarded`` are folders beneath it whose files are another location's: no link of this one
    reaches them.
    """

    def __init__(
        self,
        path: str,
        executor: Executor,
        *,
        follow_symlinks: bool = False,
        guarded: tuple[str, ...] = (),
    ) -> None:
        self.path = os.fsencode(path)
        self._executor = executor
        self._follow_symlinks = follow_symlinks
        self._guarded = guarded
        self._folder: _Folder | None = None

    def open_now(self, name: bytes) -> File | None:
        """The file, or ``None`` where the disk must be asked: then ``open`` does.

        Raises as ``open`` does.
        """
        folder = self._folder_now()
        if folder is None:
            return None
        try:
            fd = KERNEL.open_cached(folder.fd, name, _TO_READ)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EXDEV):
                return None
            raise
        return File(fd, _checked(fd, folder.guard), self._executor)

    def look_now(self, name: bytes) -> os.stat_result | None:
        """The ``stat`` of the file, or ``None`` where the disk must be asked: then ``open`` does.

        Takes less than to open it. Whether it is to be served, or may be read, is not looked at.
        """
        folder = self._folder_now()
        if folder is None or folder.guard is not None:
            return None
        try:
            fd = KERNEL.open_cached(folder.fd, name, _TO_LOOK_AT)
        except OSError:  # open says the same
            return None
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)

    def _folder_now(self) -> _Folder | None:
        folder = self._folder
        if (
            folder is not None
            and time.monotonic() - folder.since > ROOT_LIFETIME
            and not self._is_current(folder)
        ):
            folder = self._folder = None
        return folder

    def _is_current(self, folder: _Folder) -> bool:
        """Is the root still this folder, as far as can be told without the disk?"""
        if self._guarded:
            return False  # where those lie is for the worker to look up
        try:
            fd = KERNEL.open(_AT_FDCWD, self.path, _FOLDER_FLAGS, _RESOLVE_CACHED)
        except OSError:
            return False
        try:
            status = os.fstat(fd)
        finally:
            os.close(fd)
        folder.since = time.monotonic()
        return folder.identity == (status.st_dev, status.st_ino)

    async def open(self, name: bytes) -> File:
        """The file, opened in a worker.

        Raises ``Missing`` where the name is of something else than a regular file, or of one that
        is guarded, and otherwise the ``OSError`` of whatever failed.
        """
        future = self._executor.submit(self._open, name)
        try:
            file, folder = await _shielded(asyncio.wrap_future(future))
        except asyncio.CancelledError:
            future.add_done_callback(_close_opened)
            raise
        finally:
            # An exception's traceback holds this frame, and that the future with the exception: a
            # cycle, which would keep the root's descriptor open until it is collected.
            del future
        if folder is not None and folder.is_local:
            self._folder = folder
        return file

    def _open(self, name: bytes) -> tuple[File, _Folder | None]:
        if not _BY_DESCRIPTOR:
            fd = _open_by_name(self.path, name, follow_symlinks=self._follow_symlinks)
            return File(fd, _checked(fd, _guard(self._guarded)), self._executor), None
        folder = _Folder(os.open(self.path, _FOLDER_FLAGS), self._guarded)
        for attempt in range(_RETRIES + 1):
            try:
                fd = self._resolve(folder, name)
                break
            except BlockingIOError:
                if attempt == _RETRIES:
                    raise
                time.sleep(_RETRY_PAUSE)
        return File(fd, _checked(fd, folder.guard), self._executor), folder

    def _resolve(self, folder: _Folder, name: bytes) -> int:
        if self._follow_symlinks:
            return os.open(name, _FLAGS, dir_fd=folder.fd)
        if KERNEL.openat2:
            return KERNEL.open(folder.fd, name, _FLAGS, _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS)
        return _walk(folder.fd, name)


def _close_opened(future: "Future[tuple[File, _Folder | None]]") -> None:
    if not future.cancelled() and future.exception() is None:
        future.result()[0].close()


class _Guard:
    """Folders whose files are not to be opened, where they lie now."""

    __slots__ = ("_identities", "_prefixes")

    def __init__(self, folders: tuple[str, ...]) -> None:
        self._prefixes = tuple(os.path.realpath(folder) + os.sep for folder in folders)
        self._identities = set()
        for folder in folders:
            with contextlib.suppress(OSError):  # not there yet
                status = os.stat(folder)
                self._identities.add((status.st_dev, status.st_ino))

    def holds(self, fd: int) -> bool:
        """Is this open file in one of the folders?

        By name, and by what the folders above it are: where case doesn't count, a name is as the
        client wrote it, and a folder may be mounted in two places.
        """
        path = _real_path(fd)
        if path.startswith(self._prefixes):
            return True
        while (above := os.path.dirname(path)) != path:
            path = above
            try:
                status = os.stat(path)
            except OSError:  # renamed meanwhile: who knows where it was
                return True
            if (status.st_dev, status.st_ino) in self._identities:
                return True
        return False


def _guard(folders: tuple[str, ...]) -> _Guard | None:
    return _Guard(folders) if folders else None


def _checked(fd: int, guard: _Guard | None) -> os.stat_result:
    """The ``stat`` of what was opened. Not to be served, it is closed: raises ``Missing``."""
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or (guard is not None and guard.holds(fd)):
            raise Missing
    except BaseException:
        os.close(fd)
        raise
    return status


def _real_path(fd: int) -> str:
    """Where an open file lies, links resolved."""
    if sys.platform == "darwin":
        import fcntl

        return os.fsdecode(fcntl.fcntl(fd, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0"))
    return os.readlink(f"/proc/self/fd/{fd}")


_BY_DESCRIPTOR = os.open in os.supports_dir_fd  # everywhere but on Windows


def _open_by_name(root: bytes, name: bytes, *, follow_symlinks: bool) -> int:
    """Open ``name`` beneath the folder ``root`` where a file can't be opened from a descriptor.

    No link is followed: the path must be its own real path, in whatever case. It is looked at
    before and after, which whoever can rename in the root may still race.
    """
    path = os.path.join(root, name)

    def check() -> None:
        plain = os.path.join(os.path.realpath(root), os.path.normpath(name))
        if not follow_symlinks and os.path.normcase(os.path.realpath(path)) != os.path.normcase(
            plain
        ):
            raise Missing

    check()
    if os.path.isdir(path):
        raise Missing
    fd = os.open(path, _FLAGS)
    try:
        check()
    except BaseException:
        os.close(fd)
        raise
    return fd


def _walk(root: int, name: bytes) -> int:
    """Open ``name`` beneath the folder ``root``, as ``RESOLVE_BENEATH`` does, without ``openat2``.

    From folder to folder by descriptor, and each link is read and followed here: ".." goes back to
    the folder that was passed, never above the root, whatever is renamed meanwhile.
    """
    passed: list[int] = []  # folders below the root, opened by us
    ahead = name.split(b"/")[::-1]
    links = 0
    try:
        while True:
            segment = ahead.pop()
            if segment in (b"", b".", b".."):
                if segment == b"..":
                    if not passed:
                        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), name)
                    os.close(passed.pop())
                if not ahead:
                    raise Missing
                continue
            folder = passed[-1] if passed else root
            try:
                target = os.readlink(segment, dir_fd=folder)
            except OSError as error:
                if error.errno != errno.EINVAL:  # EINVAL: it is no link
                    raise
            else:
                links += 1
                if links > _MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
                if target.startswith(b"/"):
                    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), name)
                ahead += target.split(b"/")[::-1]
                continue
            if not ahead:
                return os.open(segment, _FLAGS | os.O_NOFOLLOW, dir_fd=folder)
            passed.append(os.open(segment, _FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=folder))
    finally:
        for fd in passed:
            os.close(fd)
