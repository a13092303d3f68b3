"""
A folder as a source: open a regular file below a root, and never block the event loop.

The loop itself opens a file that the page cache has: ``openat2(2)`` with ``RESOLVE_CACHED`` answers
EAGAIN rather than touch the disk. A worker thread opens every other file, in one hop. It opens all
files if the kernel or the file system has no such call (before Linux 5.12, macOS, Windows, NFS,
FUSE, a seccomp filter).

No file outside the root is opened. ``openat2`` with ``RESOLVE_BENEATH`` lets the kernel resolve the
path in one step, which no rename can race. The portable resolver walks from folder to folder by
descriptor, and follows only links that it has read itself. Both follow relative links that stay
below the root. An absolute link is resolved as a whole. If it ends in the root, or in another
folder that is allowed, its file is opened below that folder in the same way.
"""

import asyncio
import contextlib
import errno
import logging
import math
import os
import sys
import time
import weakref
from collections.abc import Collection, Hashable, Sequence
from stat import S_ISLNK

from .base import Wanted
from .guard import ExcludedFolder, ExcludedFolders, checked, identity_of, real_path
from .local_file import DistantFile, LocalFile, file_version
from .openat2 import (
    AT_FDCWD,
    FLAGS,
    FOLDER_FLAGS,
    KERNEL,
    RESOLVE_BENEATH,
    RESOLVE_CACHED,
    RESOLVE_NO_MAGICLINKS,
    TO_LOOK_AT,
    TO_READ,
)
from .portable import climbs, open_by_name, walk
from .system_errors import open_error
from .workers import Workers, opened

# The root is opened again after this time. So a deploy or a remount that swaps it is seen soon.
# Seconds.
ROOT_LIFETIME = 0.5

# The root is closed if no request needs it for this time: an open folder keeps its file system from
# being unmounted. Seconds.
_IDLE = 1.0

# The kernel drops no name so soon after it was used (seconds). So many names are remembered.
_STILL_KNOWN, _MAX_SEEN = 0.5, 1024

# How often a worker tries again if the kernel answers EAGAIN without RESOLVE_CACHED (a rename raced
# a ".." in a link, or a lease is being broken), and its pause in between, in seconds.
_RETRIES, _RETRY_PAUSE = 20, 0.01

# What open(2) says of a root that is missing or unreadable. The log says it once in this time, in
# seconds.
_NO_ROOT, _NEWS = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EPERM}, 60.0

logger = logging.getLogger("media_asgi")


class _Folder:
    """The open root. It is closed with its last reference, in any thread."""

    __slots__ = ("fd", "guard", "identity", "is_distant", "seen", "since")

    def __init__(self, path: bytes) -> None:
        self.seen: dict[bytes, float] = {}  # names, and when the kernel had them
        self.since = time.monotonic()
        self.fd = os.open(path, FOLDER_FLAGS)
        self.identity = identity_of(os.fstat(self.fd))
        self.is_distant = sys.platform.startswith("linux") and not KERNEL.is_local(self.fd)
        self.guard: ExcludedFolders | None = None

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # the root could not be opened
            os.close(self.fd)


class LocalSource:
    """The files of a location's folder.

    ``follow_symlinks``: ``True`` follows every link; a list follows links into these folders too.
    ``excluded``: folders whose files belong to a more restricted location. No name and no link of
    this source reaches them. ``warns``: log that the folder can't be opened.
    """

    def __init__(
        self,
        path: str,
        workers: Workers,
        *,
        follow_symlinks: bool | Collection[str | os.PathLike[str]] = False,
        excluded: Sequence[ExcludedFolder] = (),
        warns: bool = True,
    ) -> None:
        self.path = os.fsencode(path)
        self._workers = workers
        self._follow_symlinks = follow_symlinks
        self._excluded = excluded
        self._folder: _Folder | None = None
        self._watching: asyncio.AbstractEventLoop | None = None
        self._warns = warns
        self._warned = -math.inf

    def version_nowait(self, name: bytes) -> Hashable | None:
        """The version, without opening the file for reading, which takes longer."""
        now = time.monotonic()
        folder = self._folder_now(now)
        if folder is None or folder.guard is not None:
            return None
        try:
            # One call, not three, if the name has one segment, which leads nowhere but into the
            # root. It may ask the disk, but the kernel still has a name that it had a moment ago.
            if now - folder.seen.get(name, -math.inf) < _STILL_KNOWN and b"/" not in name:
                status = os.stat(name, dir_fd=folder.fd, follow_symlinks=False)
                if not S_ISLNK(status.st_mode):
                    folder.seen[name] = now
                    return file_version(status)
            fd = KERNEL.open_cached(folder.fd, name, TO_LOOK_AT)
            try:
                version = file_version(os.fstat(fd))
            finally:
                os.close(fd)
        except OSError:  # open says what is wrong
            return None
        if len(folder.seen) >= _MAX_SEEN:
            folder.seen.clear()
        folder.seen[name] = now
        return version

    def open_nowait(self, name: bytes, wanted: Wanted) -> LocalFile | None:
        folder = self._folder_now(time.monotonic())
        if folder is None:
            return None
        try:
            fd = KERNEL.open_cached(folder.fd, name, TO_READ)
            return LocalFile(fd, checked(fd, folder.guard), self._workers)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EXDEV, errno.EACCES):
                return None
            raise open_error(error) from error

    def _folder_now(self, now: float) -> _Folder | None:
        folder = self._folder
        if folder is not None and now - folder.since > ROOT_LIFETIME:
            if self._excluded:
                return None  # open asks where those are
            if not self._is_current(folder):
                folder = self._folder = None
        return folder

    def _is_current(self, folder: _Folder) -> bool:
        """Is the root still this folder? ``False`` too if only the disk can tell."""
        try:
            fd = KERNEL.open(AT_FDCWD, self.path, FOLDER_FLAGS, RESOLVE_CACHED)
            try:
                status = os.fstat(fd)
            finally:
                os.close(fd)
        except OSError:
            return False
        folder.since = time.monotonic()
        return folder.identity == (status.st_dev, status.st_ino)

    async def open(self, name: bytes, wanted: Wanted) -> LocalFile:
        """The file, opened in a worker.

        ``FileMissingError`` if it belongs to another location. ``SourceBusyError`` if the disk
        doesn't answer.
        """
        try:
            return await self._open_in_worker(name, wanted)
        except OSError as error:
            raise open_error(error) from error

    async def _open_in_worker(self, name: bytes, wanted: Wanted) -> LocalFile:
        if self._excluded and await self._asked_again():
            # The loop may have the file without a disk that hangs.
            found = self.open_nowait(name, wanted)
            if found is not None:
                return found
        file, folder = await opened(self._workers, _close_opened, self._open, name)
        if folder is not None and KERNEL.cached and not folder.is_distant:
            self._hold(folder)
        return file

    async def _asked_again(self) -> bool:
        """Look again where the excluded folders are; without the root's disk.

        ``False`` if the root may be another folder by now.
        """
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
        # The path of the folder that is open. Its name may lead to another folder by now.
        path, anywhere = real_path(folder.fd), bool(self._follow_symlinks)
        return ExcludedFolders(path, folder.identity, self._excluded, anywhere=anywhere) or None

    def _hold(self, folder: _Folder) -> None:
        self._folder = folder
        loop = asyncio.get_running_loop()
        if self._watching is not loop:
            self._watching = loop
            loop.call_later(_IDLE, _let_go, weakref.ref(self))

    def let_go(self) -> None:
        """Close the root if no request has needed it."""
        if self._folder is not None and time.monotonic() - self._folder.since < _IDLE:
            assert self._watching is not None
            self._watching.call_later(_IDLE, _let_go, weakref.ref(self))
        else:
            self._folder = self._watching = None

    def _open(self, name: bytes) -> tuple[LocalFile, _Folder | None]:
        if not _BY_DESCRIPTOR:
            return self.open_by_name(name), None
        try:
            folder = _Folder(self.path)
        except OSError as error:
            self._warn_of_root(error)
            raise
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
            except PermissionError as error:
                if not os.access(self.path, os.X_OK):
                    self._warn_of_root(error)
                raise
        status = checked(fd, folder.guard)
        # Another file system may be mounted below the root.
        is_distant = folder.is_distant or status.st_dev != folder.identity[0]
        return (DistantFile if is_distant else LocalFile)(fd, status, self._workers), folder

    def _warn_of_root(self, error: OSError) -> None:
        """Once a minute, in a worker. If no descriptor is left, the handler says that."""
        now = time.monotonic()
        if self._warns and error.errno in _NO_ROOT and now - self._warned >= _NEWS:
            self._warned = now
            logger.warning("the root %r can't be opened: %s", os.fsdecode(self.path), error)

    def _resolve(self, folder: _Folder, name: bytes) -> int:
        if self._follow_symlinks is True:
            return os.open(name, FLAGS, dir_fd=folder.fd)
        try:
            return _open_beneath(folder.fd, name)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
        return self._open_linked(folder, name)

    def _open_linked(self, folder: _Folder, name: bytes) -> int:
        """Open a name that has an absolute link, or a link that climbs above the root.

        Raises ``OSError``: EXDEV if a link climbs above the root, or leads to a folder that is not
        allowed.
        """
        root = real_path(folder.fd)
        path = os.path.join(root, os.fsdecode(name))
        os.stat(path)  # raises the right error; and the kernel follows at most 40 links
        path = os.path.realpath(path, strict=True)
        if (rest := _below(path, root)) is not None and not climbs(root, os.fsdecode(name)):
            return _open_beneath(folder.fd, rest)
        for allowed in map(os.path.realpath, self._allowed):
            if (rest := _below(path, allowed)) is not None:
                fd = os.open(allowed, FOLDER_FLAGS)
                try:
                    return _open_beneath(fd, rest)
                finally:
                    os.close(fd)
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), name)

    def open_by_name(self, name: bytes) -> LocalFile:
        fd = open_by_name(
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
        return LocalFile(fd, checked(fd, guard), self._workers)

    @property
    def _allowed(self) -> Collection[str | os.PathLike[str]]:
        return () if isinstance(self._follow_symlinks, bool) else self._follow_symlinks


def _let_go(source: "weakref.ref[LocalSource]") -> None:
    """The loop keeps no source that is not in use any more."""
    if (kept := source()) is not None:
        kept.let_go()


def _open_beneath(folder: int, name: bytes) -> int:
    if KERNEL.openat2:
        return KERNEL.open(folder, name, FLAGS, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS)
    return walk(folder, name)


def _below(path: str, folder: str) -> bytes | None:
    """The rest of a path below a folder; ``None`` if it is not below. Both without links."""
    start = folder.rstrip(os.sep) + os.sep
    return os.fsencode(path[len(start) :] or ".") if (path + os.sep).startswith(start) else None


def _close_opened(found: tuple[LocalFile, _Folder | None]) -> None:
    found[0].close()


_BY_DESCRIPTOR = os.open in os.supports_dir_fd  # everywhere but on Windows
