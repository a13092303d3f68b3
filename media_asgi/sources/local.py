"""
Open a regular file beneath a root, and read spans of it, without ever blocking the event loop.

What the page cache holds is opened and read at once, on the loop: ``openat2(2)`` with
``RESOLVE_CACHED`` and ``preadv2(2)`` with ``RWF_NOWAIT`` answer EAGAIN rather than touch the disk.
All else happens in a worker thread, in one hop; and everything does where the kernel or the file
system has neither (before Linux 5.12, macOS, Windows, NFS, FUSE, a seccomp filter).

Nothing outside the root is opened: with ``openat2`` the kernel resolves the path with
``RESOLVE_BENEATH``, in one step that no rename can race. The portable resolver walks from folder to
folder by descriptor and never follows a link that it hasn't read itself. Both follow relative links
that stay below the root. An absolute link is resolved as a whole, and where that ends in the root,
or in another folder that is allowed, what is there is opened beneath that folder in the same way.
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
from collections.abc import Collection, Sequence
from concurrent.futures import Future
from typing import Any

from .guard import ExcludedFolder, ExcludedFolders, identity_of
from .workers import Descriptor, Workers, close, in_worker

# A folder is opened anew when it has been held for so long, so that a root that a deploy or a
# remount has swapped is seen within it. Seconds.
ROOT_LIFETIME = 0.5

# And let go when no file of it has been asked for in so long: held open, it keeps its file system
# from being unmounted. Seconds.
_IDLE = 1.0

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


class FileMissingError(Exception):
    """The path names no regular file beneath the root."""


class TruncatedFileError(Exception):
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


class _Folder:
    """The root, held open. Closed by the last who holds it, in whatever thread that is."""

    __slots__ = ("fd", "guard", "identity", "is_distant", "since")

    def __init__(self, path: bytes) -> None:
        self.since = time.monotonic()
        self.fd = os.open(path, _FOLDER_FLAGS)
        self.identity = identity_of(os.fstat(self.fd))
        self.is_distant = sys.platform.startswith("linux") and not KERNEL.is_local(self.fd)
        self.guard: ExcludedFolders | None = None

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # it could not be opened
            os.close(self.fd)


class LocalSource:
    """The folder of a location, whose files are opened by name.

    ``follow_symlinks``: links may lead anywhere, or also into these folders. ``excluded`` are
    folders whose files are another location's: no name and no link of this one reaches them.
    """

    def __init__(
        self,
        path: str,
        workers: Workers,
        *,
        follow_symlinks: bool | Collection[str | os.PathLike[str]] = False,
        excluded: Sequence[ExcludedFolder] = (),
    ) -> None:
        self.path = os.fsencode(path)
        self._workers = workers
        self._follow_symlinks = follow_symlinks
        self._excluded = excluded
        self._folder: _Folder | None = None
        self._watching: asyncio.AbstractEventLoop | None = None

    def open_nowait(self, name: bytes) -> LocalFile | None:
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
        return LocalFile(fd, _checked(fd, folder.guard), self._workers)

    def stat_nowait(self, name: bytes) -> os.stat_result | None:
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
        if folder is not None and time.monotonic() - folder.since > ROOT_LIFETIME:
            if self._excluded:
                return None  # where those lie is for open to ask
            if not self._is_current(folder):
                folder = self._folder = None
        return folder

    def _is_current(self, folder: _Folder) -> bool:
        """Is the root still this folder, as far as can be told without the disk?"""
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

    @property
    def is_guarded(self) -> bool:
        """Is each file looked at when it is opened, as far as the root is known?"""
        return self._folder is None or self._folder.guard is not None

    async def open(self, name: bytes) -> LocalFile:
        """The file, opened in a worker.

        Raises ``FileMissingError`` if the name is not of a regular file, or of one of another
        location, ``DiskTimeoutError``, and otherwise the ``OSError`` of whatever failed.
        """
        if self._excluded and await self._asked_again():
            # A disk that hangs stops no file that it isn't needed for.
            found = self.open_nowait(name)
            if found is not None:
                return found
        limit = asyncio.timeout(self._workers.timeout)
        future = self._workers.submit(self._open, name)
        try:
            async with limit:
                file, folder = await asyncio.wrap_future(future)
        except (asyncio.CancelledError, TimeoutError):
            future.add_done_callback(_close_opened)
            if limit.expired():
                raise self._workers.hung() from None
            raise
        finally:
            # An exception's traceback holds this frame, and that the future with the exception: a
            # cycle, which would keep the root's descriptor open until it is collected.
            del future
        if folder is not None and KERNEL.cached and not folder.is_distant:
            self._hold(folder)
        return file

    async def _asked_again(self) -> bool:
        """Where the excluded folders lie, if this is still the root. None of its disk is needed."""
        folder, now = self._folder, time.monotonic()
        if folder is None or now - folder.since <= ROOT_LIFETIME:
            return False
        for place, _ in self._excluded:
            await place.told()
        if self._folder is not folder:
            return self._folder is not None
        if not self._is_current(folder):
            self._folder = None
            return False
        folder.since = now
        folder.guard = self._guard(folder)
        return True

    def _guard(self, folder: _Folder) -> ExcludedFolders | None:
        if not self._excluded:
            return None
        # Where the folder that was opened lies, wherever its name may lead by now.
        path, anywhere = _real_path(folder.fd), bool(self._follow_symlinks)
        return ExcludedFolders(path, folder.identity, self._excluded, anywhere=anywhere) or None

    def _hold(self, folder: _Folder) -> None:
        self._folder = folder
        loop = asyncio.get_running_loop()
        if self._watching is not loop:
            self._watching = loop
            loop.call_later(_IDLE, self._let_go)

    def _let_go(self) -> None:
        """Of a folder that nothing was asked of: while it is in use it is looked at anew."""
        if self._folder is not None and time.monotonic() - self._folder.since < _IDLE:
            assert self._watching is not None
            self._watching.call_later(_IDLE, self._let_go)
        else:
            self._folder = self._watching = None

    def _open(self, name: bytes) -> tuple[LocalFile, _Folder | None]:
        if not _BY_DESCRIPTOR:
            return self._open_by_name(name), None
        folder = _Folder(self.path)
        for place, _ in self._excluded:
            place.now()
        folder.guard = self._guard(folder)
        for attempt in range(_RETRIES + 1):
            try:
                fd = self._resolve(folder, name)
                break
            except BlockingIOError:
                if attempt == _RETRIES:
                    raise
                time.sleep(_RETRY_PAUSE)
        status = _checked(fd, folder.guard)
        # Something else may be mounted below the root.
        is_distant = folder.is_distant or status.st_dev != folder.identity[0]
        return (DistantFile if is_distant else LocalFile)(fd, status, self._workers), folder

    def _resolve(self, folder: _Folder, name: bytes) -> int:
        if self._follow_symlinks is True:
            return os.open(name, _FLAGS, dir_fd=folder.fd)
        try:
            return _open_beneath(folder.fd, name)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
        return self._open_linked(folder, name)

    def _open_linked(self, folder: _Folder, name: bytes) -> int:
        """What a name leads to by an absolute link, or by one that climbs above the root.

        Raises ``OSError``: EXDEV if a link climbs above the root, or leads to another folder than
        those that are allowed.
        """
        root = _real_path(folder.fd)
        path = os.path.join(root, os.fsdecode(name))
        os.stat(path)  # says what is wrong with it; and the kernel follows no more than 40 links
        path = os.path.realpath(path, strict=True)
        if (rest := _below(path, root)) is not None and not _climbs(root, os.fsdecode(name)):
            return _open_beneath(folder.fd, rest)
        for allowed in map(os.path.realpath, self._allowed):
            if (rest := _below(path, allowed)) is not None:
                fd = os.open(allowed, _FOLDER_FLAGS)
                try:
                    return _open_beneath(fd, rest)
                finally:
                    os.close(fd)
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), name)

    def _open_by_name(self, name: bytes) -> LocalFile:
        fd = _open_by_name(
            self.path,
            name,
            follow_symlinks=self._follow_symlinks is True,
            allowed=self._allowed,
        )
        guard = None
        if self._excluded:
            for place, _ in self._excluded:
                place.now()
            path = os.path.realpath(os.fsdecode(self.path))
            guard = ExcludedFolders(
                path,
                identity_of(os.stat(path)),
                self._excluded,
                anywhere=bool(self._follow_symlinks),
            )
        return LocalFile(fd, _checked(fd, guard), self._workers)

    @property
    def _allowed(self) -> Collection[str | os.PathLike[str]]:
        return () if isinstance(self._follow_symlinks, bool) else self._follow_symlinks


def _open_beneath(folder: int, name: bytes) -> int:
    if KERNEL.openat2:
        return KERNEL.open(folder, name, _FLAGS, _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS)
    return _walk(folder, name)


def _below(path: str, folder: str) -> bytes | None:
    """The rest of a path that lies in a folder, links resolved."""
    start = folder.rstrip(os.sep) + os.sep
    return os.fsencode(path[len(start) :] or ".") if (path + os.sep).startswith(start) else None


def _climbs(root: str, name: str) -> bool:
    """Does a relative link of this name lead above the root? Asked after ``stat`` found no loop.

    An absolute link is judged by where it ends.
    """
    passed: list[str] = []
    ahead = name.split("/")[::-1]
    links = 0
    while ahead and links <= _MAX_LINKS:
        segment = ahead.pop()
        if segment == "..":
            if not passed:
                return True
            passed.pop()
        elif segment not in ("", "."):
            try:
                target = os.readlink(os.path.join(root, *passed, segment))
            except OSError:  # not a link
                passed.append(segment)
            else:
                if target.startswith("/"):
                    return False
                links += 1
                ahead += target.split("/")[::-1]
    return False


def _close_opened(future: "Future[tuple[LocalFile, _Folder | None]]") -> None:
    if not future.cancelled() and future.exception() is None:
        future.result()[0].close()


def _checked(fd: int, guard: ExcludedFolders | None) -> os.stat_result:
    """The ``stat`` of what was opened.

    What is not to be served is closed: raises ``FileMissingError``.
    """
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or (guard is not None and guard.holds(_real_path(fd))):
            raise FileMissingError
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


def _open_by_name(
    root: bytes,
    name: bytes,
    *,
    follow_symlinks: bool,
    allowed: Collection[str | os.PathLike[str]] = (),
) -> int:
    """Open ``name`` beneath the folder ``root`` where a file can't be opened from a descriptor.

    No link is followed: the path must be its own real path, in whatever case. It is looked at
    before and after, which whoever can rename in the root may still race.
    """
    path = os.path.join(root, name)

    def check() -> None:
        if follow_symlinks:
            return
        real = os.path.normcase(os.path.realpath(path))
        plain = os.path.join(os.path.realpath(root), os.path.normpath(name))
        if real != os.path.normcase(plain) and not any(
            real.startswith(os.path.normcase(os.fsencode(os.path.realpath(folder) + os.sep)))
            for folder in allowed
        ):
            raise FileMissingError

    check()
    if os.path.isdir(path):
        raise FileMissingError
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
                    raise FileMissingError
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
