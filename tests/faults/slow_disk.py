"""The middleware on a disk that makes some files wait, by their names, and breaks others.

slow-open*: opening takes as long as FAULTS_PAUSE tells, or until /__release__ is asked for.
slow-*: no byte is in the page cache, and each read takes as long. broken-*: what lies beyond the
first MiB is an input/output error. enomem-* and the like: there sendfile fails by that error, and
reading does not.
"""

import errno
import os
import threading
from typing import Any

from media_asgi.sources import openat2

from . import apps
from .apps import media

__all__ = ["media"]

PAUSE = float(os.environ.get("FAULTS_PAUSE", "0.5"))
GOOD = 1 << 20

_released = threading.Event()
waiting: list[str] = []


def _pause() -> None:
    waiting.append(threading.current_thread().name)
    _released.wait(PAUSE)
    waiting.pop()


# Reads that could have waited for the disk, in a thread that others wait for.
blocked: list[str] = []


def _name(fd: int) -> str:
    return os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))


def _wait(fd: int, offset: int, count: int) -> None:
    name = _name(fd)
    if not name.startswith(("slow-", "broken-")):
        return
    if not threading.current_thread().name.startswith("media-asgi"):
        blocked.append(name)
    if name.startswith("slow-"):
        _pause()
    elif offset + count > GOOD:
        raise OSError(errno.EIO, os.strerror(errno.EIO))


_preadv, _pread, _sendfile = os.preadv, os.pread, os.sendfile


def preadv(fd: int, buffers: Any, offset: int, flags: int = 0) -> int:
    count = sum(map(len, buffers))
    if flags & os.RWF_NOWAIT:
        name = _name(fd)
        if name.startswith("slow-") or (name.startswith("broken-") and offset + count > GOOD):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    else:
        _wait(fd, offset, count)
    return _preadv(fd, buffers, offset, flags)


def pread(fd: int, count: int, offset: int) -> bytes:
    _wait(fd, offset, count)
    return _pread(fd, count, offset)


def sendfile(out: int, fd: int, offset: int, count: int) -> int:
    error = getattr(errno, _name(fd).partition("-")[0].upper(), None)
    if error is not None and offset + count > GOOD:
        raise OSError(error, os.strerror(error))
    _wait(fd, offset, count)
    return _sendfile(out, fd, offset, count)


os.preadv, os.pread, os.sendfile = preadv, pread, sendfile  # type: ignore[assignment]

_cached_pages = openat2.Kernel.cached_pages
_open_cached, _open = openat2.Kernel.open_cached, openat2.Kernel.open


def cached_pages(self: openat2.Kernel, fd: int, offset: int, count: int) -> int | None:
    if _name(fd).startswith(("slow-", "broken-")):
        return 0
    return _cached_pages(self, fd, offset, count)


def open_cached(self: openat2.Kernel, folder: int, name: bytes, cached: Any) -> int:
    if name.startswith(b"slow-open"):
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return _open_cached(self, folder, name, cached)


def open_(self: openat2.Kernel, folder: int, name: bytes, flags: int, resolve: int) -> int:
    if name.startswith(b"slow-open"):
        _pause()
    return _open(self, folder, name, flags, resolve)


openat2.Kernel.cached_pages = cached_pages  # type: ignore[method-assign]
openat2.Kernel.open_cached = open_cached  # type: ignore[method-assign]
openat2.Kernel.open = open_  # type: ignore[method-assign]
apps.told["/__blocked__"] = lambda: blocked
apps.told["/__waiting__"] = lambda: len(waiting)
apps.told["/__release__"] = _released.set
