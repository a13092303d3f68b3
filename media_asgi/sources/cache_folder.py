"""
The folder of a disk cache, which several processes share. Each call here may wait for the disk.

An object has two files. ``<object>.<version>`` holds its bytes. It is named by hashes of the object
and of its ETag, so that it never changes. ``<object>`` holds what is known of them. It is renamed
in last, so that a process may be killed at any moment.
"""

import ast
import contextlib
import hashlib
import math
import os
import re
import stat
import sys
import threading
from collections.abc import Generator, Iterator
from typing import Any

from ..http.representation import FileInfo
from .openat2 import FOLDER_FLAGS, KERNEL

if sys.platform != "win32":
    import fcntl

# ``.part``: bytes that are being stored. ``.new``: what is known of them, and the lock of both.
NAME = re.compile(r"([0-9a-f]{64})(?:\.([0-9a-f]{64}|part|new))?")

# How many bytes there are, under a lock. Who adds some counts them here. Nobody subtracts any: when
# it comes to the limit, the folder is counted anew.
USAGE = "usage"

_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)

_BLOCK = 4096


class BusyError(Exception):
    """Another fill stores this object, or has stored it, or there is no room beside it."""


def object_name(identity: str, name: bytes) -> str:
    return hashlib.sha256(repr((identity, name)).encode()).hexdigest()


def data_name(object_: str, info: FileInfo) -> str:
    return f"{object_}.{hashlib.sha256(info.etag or b'').hexdigest()}"


def with_version(info: FileInfo) -> FileInfo:
    """With a version that is the same from the store and from the disk, whose files have ranges."""
    headers = tuple(info.headers)
    version = info.etag, info.size, info.modified, headers
    return info._replace(version=version, headers=headers, has_ranges=True)


class CacheFolder:
    """``max_size``: how many bytes its files may take."""

    def __init__(self, path: str, max_size: float) -> None:
        self._path = path
        self._max_size = max_size
        self._is_swept = False
        self._sweeping = threading.Lock()

    def read(self, object_: str) -> tuple[FileInfo, float] | None:
        """What is known of an object, and when the store was asked for it last."""
        try:
            with open(self._at(object_), "rb") as file:
                size, modified, changed, etag, headers = ast.literal_eval(file.read().decode())
                checked = os.fstat(file.fileno()).st_mtime
        except (FileNotFoundError, ValueError, SyntaxError, TypeError):  # after a power cut
            return None
        return with_version(FileInfo(size, modified, None, changed, etag, headers)), checked

    def fill(self, object_: str, expected: FileInfo) -> Generator[None, Any, None]:
        """Store an object. Send its ``FileInfo``, its chunks, and ``b""`` after the last of them.

        Raises ``BusyError`` if that is not to be done. To be closed in any case.
        """
        self._prepare()
        with self._owned(object_) as new:
            before = self._stored(object_)
            if before == data_name(object_, expected):
                raise BusyError
            info: FileInfo = yield
            part = os.open(self._at(f"{object_}.part"), _FLAGS | os.O_TRUNC, 0o600)
            try:
                self._reserve(part, info)
                size = 0
                while chunk := (yield):
                    size += len(chunk)
                    while chunk:
                        chunk = chunk[os.write(part, chunk) :]
                if size != info.size:
                    raise BusyError
                os.fsync(part)  # or a power cut leaves a file of this size without its bytes
            finally:
                os.close(part)
            data = data_name(object_, info)
            with self._locked(USAGE, fcntl.LOCK_EX):  # who counts would miss what is renamed
                os.rename(self._at(f"{object_}.part"), self._at(data))
            self._describe(new, object_, info)
            if before not in (None, data):
                self._unlink(before)
            yield

    def describe(self, object_: str, info: FileInfo) -> None:
        """Store other headers, or another date, of the same bytes."""
        with contextlib.suppress(BusyError), self._owned(object_) as new:
            self._describe(new, object_, info)

    def touch(self, *names: str) -> None:
        """A version was used just now, or an object was asked for."""
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                os.utime(self._at(name))

    def discard(self, data: str) -> None:
        """Remove this version of an object."""
        if self._stored(data[:64]) in (None, data):
            self._unlink(data[:64])
        self._unlink(data)

    def _at(self, name: str) -> str:
        return os.path.join(self._path, name)

    def _unlink(self, *names: str) -> None:
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._at(name))

    def _stored(self, object_: str) -> str | None:
        """The file of the version that is there."""
        if (known := self.read(object_)) is None:
            return None
        data = data_name(object_, known[0])
        try:
            return data if os.stat(self._at(data)).st_size == known[0].size else None
        except FileNotFoundError:
            return None

    def _describe(self, new: int, object_: str, info: FileInfo) -> None:
        os.ftruncate(new, 0)
        os.write(new, _dumped(info))
        os.rename(self._at(f"{object_}.new"), self._at(object_))

    @contextlib.contextmanager
    def _locked(self, name: str, how: int) -> Iterator[int]:
        fd = os.open(self._at(name), _FLAGS, 0o600)
        try:
            fcntl.flock(fd, how)
            yield fd
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def _owned(self, object_: str) -> Iterator[int]:
        """The open ``.new`` of an object, which one process has at a time."""
        new = f"{object_}.new"
        try:
            with self._locked(new, fcntl.LOCK_EX | fcntl.LOCK_NB) as fd:
                # The file is the lock as long as it has this name: who had it may have renamed it.
                if not self._is_at(new, fd):
                    raise BusyError
                try:
                    yield fd
                finally:
                    if self._is_at(new, fd):
                        self._unlink(f"{object_}.part", new)
        except BlockingIOError:
            raise BusyError from None

    def _is_at(self, name: str, fd: int) -> bool:
        try:
            return os.path.samestat(os.stat(self._at(name)), os.fstat(fd))
        except FileNotFoundError:
            return False

    def _prepare(self) -> None:
        """Create the folder. The first time, remove what killed processes have left in it."""
        with self._sweeping:
            os.makedirs(self._path, mode=0o700, exist_ok=True)
            if not self._is_swept:
                with self._locked(USAGE, fcntl.LOCK_EX) as fd:
                    _write_usage(fd, self._evict(self._max_size))
                self._is_swept = True

    def _reserve(self, part: int, info: FileInfo) -> None:
        """Make ``part`` as large as it will be, so that all of it counts from now on."""
        cost = _cost(info.size) + _cost(len(_dumped(info)))
        with self._locked(USAGE, fcntl.LOCK_EX) as fd:
            used = _read_usage(fd)
            if used + cost > self._max_size:
                # With some room to spare, since the whole folder is looked at.
                used = self._evict(self._max_size * 0.9 - cost)
            is_room = used + cost <= self._max_size
            _write_usage(fd, used + cost if is_room else used)
            if not is_room:
                raise BusyError
            os.ftruncate(part, info.size)

    def _evict(self, limit: float) -> float:
        """Remove what was used least recently until ``limit`` is kept, and return what is left."""
        for name in os.listdir(self._path):
            if NAME.fullmatch(name) and name.endswith((".part", ".new")):
                with contextlib.suppress(BusyError), self._owned(name[:64]):
                    pass  # whoever had the lock was killed
        used, files, described = 0.0, [], set()
        with os.scandir(self._path) as entries:
            for entry in entries:
                match = NAME.fullmatch(entry.name)
                with contextlib.suppress(FileNotFoundError):
                    if match:
                        status = entry.stat(follow_symlinks=False)
                        used += (cost := _cost(status.st_size))
                        if match[2] is None:
                            described.add(entry.name)
                        elif match[2] not in ("part", "new"):
                            files.append((status.st_mtime_ns, entry.name, cost))
        self._unlink(*described - {name[:64] for _, name, _ in files})
        for _, name, cost in sorted(files):
            if used <= limit:
                break
            self.discard(name)
            used -= cost
        return used


def folder_faults(path: str) -> Iterator[str]:
    """What is wrong with a folder for a cache. Nothing, if it is not there yet."""
    try:
        fd = os.open(path, FOLDER_FLAGS)
    except OSError as error:
        if not isinstance(error, FileNotFoundError):
            yield f"can't be opened: {error.strerror}"
        return
    try:
        mode = stat.S_IMODE(os.fstat(fd).st_mode)
        if mode & 0o077:
            yield f"may be read or written by other users (its mode is {mode:04o})"
        if sys.platform.startswith("linux") and not KERNEL.is_local(fd):
            yield "is on a network file system, or on one of which that isn't known"
    finally:
        os.close(fd)
    try:
        others = (name for name in os.listdir(path) if name != USAGE and not NAME.fullmatch(name))
        if (other := next(others, None)) is not None:
            yield f"holds files of something else, such as {other!r}"
    except OSError as error:
        yield f"can't be read: {error.strerror}"


def _dumped(info: FileInfo) -> bytes:
    return repr((info.size, info.modified, info.changed, info.etag, info.headers)).encode()


def _cost(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _read_usage(fd: int) -> float:
    """What was counted last. Infinite if that can't be told, so that the folder is counted anew."""
    try:
        return int(os.pread(fd, 32, 0))
    except ValueError:
        return math.inf


def _write_usage(fd: int, used: float) -> None:
    os.pwrite(fd, b"%020d" % used, 0)
