"""
Folders below a root that belong to a more restricted location.

Links and folders change while the server runs, so the path of a folder is looked up again and
again. If that fails, the last known path counts.
"""

import asyncio
import contextlib
import os
import stat
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import NamedTuple

from .base import FileMissingError
from .workers import Workers

# How long a look-up is valid. Seconds.
_LIFETIME = 0.1

# The disk of a private folder may hang. Other locations wait for so long, once. Then the last known
# path counts until the disk answers. Seconds.
_PATIENCE = 0.25

Identity = tuple[int, int]
"""Device and inode."""


class Whereabouts(NamedTuple):
    path: str
    """Without links."""
    identity: Identity | None
    """``None`` if the folder has not existed yet."""
    above: frozenset[Identity]
    """The folder itself, and all its parents; empty if it does not exist now."""


class Place:
    """Looks up the path of a folder, in a thread of its own."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._workers = Workers(1, folder)
        self._lock = threading.Lock()
        self._looking: Future[Whereabouts] | None = None
        self._began = time.monotonic()
        try:
            self.known = _look(folder, None)
        except OSError:
            self.known = Whereabouts(os.path.realpath(folder), None, frozenset())

    def now(self) -> Whereabouts:
        """Call it in a worker."""
        with contextlib.suppress(OSError):  # TimeoutError included
            try:
                looking, patience = self._ask()
            except OSError:  # no thread can be started: use this one
                self.known = _look(self._folder, self.known.identity)
            else:
                self.known = looking.result(patience)
        return self.known

    async def told(self) -> Whereabouts | None:
        """``None`` if the look-up fails."""
        try:
            looking, patience = self._ask()
            async with asyncio.timeout(patience):
                # Other tasks wait for it too.
                self.known = await asyncio.shield(asyncio.wrap_future(looking))
        except OSError:
            return None
        return self.known

    def _ask(self) -> tuple[Future[Whereabouts], float]:
        """The look-up that runs, and how long to wait for it."""
        with self._lock:
            looking, now = self._looking, time.monotonic()
            if looking is None or (looking.done() and now - self._began > _LIFETIME):
                self._began = now
                looking = self._looking = self._workers.submit(
                    _look, self._folder, self.known.identity
                )
            return looking, max(0.0, self._began + _PATIENCE - now)


def _look(folder: str, last: Identity | None) -> Whereabouts:
    """Raises ``OSError`` if the look-up fails."""
    try:
        path = os.path.realpath(folder, strict=True)
    except (FileNotFoundError, NotADirectoryError):
        return Whereabouts(os.path.realpath(folder), last, frozenset())
    identity = identity_of(os.stat(path))
    above = frozenset(identity_of(os.stat(one)) for one in (path, *parents(path)))
    return Whereabouts(path, identity, above)


def identity_of(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino


def parents(path: str) -> Iterator[str]:
    """The parents of a path, the innermost first."""
    while (above := os.path.dirname(path)) != path:
        path = above
        yield path


class ExcludedFolder(NamedTuple):
    """A folder whose files this location may not serve."""

    place: Place
    may_be_root: bool = False
    """Both locations have the same root: the files are meant to be in both."""


class ExcludedFolders:
    """The excluded folders that may hold files of one root. Falsy if there are none."""

    def __init__(
        self, path: str, identity: Identity, excluded: Iterable[ExcludedFolder], *, anywhere: bool
    ) -> None:
        """``path`` and ``identity`` are those of the root. ``anywhere``: links may leave it."""
        self._path = path
        self._identity = identity
        self._paths: set[str] = set()
        self._identities: set[Identity | None] = set()
        for place, may_be_root in excluded:
            where = place.known
            if may_be_root and identity == where.identity:
                continue
            # A folder that existed and is gone may be in the root now, under another name.
            is_lost = not where.above and where.identity is not None
            if (
                anywhere
                or is_lost
                or identity in where.above
                or (where.path + os.sep).startswith(path.rstrip(os.sep) + os.sep)
            ):
                self._paths.add(where.path)
                self._identities.add(where.identity)

    def __bool__(self) -> bool:
        return bool(self._paths)

    def holds(self, path: str) -> bool:
        """Is this file, whose path has no links, in one of the folders, and not in a root within?

        The names of its parents count, and their identities: on a file system without case a name
        is as the client wrote it, and a folder may be mounted in two places.
        """
        for above in parents(path):
            if above in self._paths:
                return True
            if above == self._path:
                return self._identity in self._identities
            try:
                identity = identity_of(os.stat(above))
            except OSError:  # renamed meanwhile: nobody knows where it was
                return True
            if identity in self._identities:
                return True
            if identity == self._identity:
                return False
        return False


def checked(fd: int, guard: ExcludedFolders | None) -> os.stat_result:
    """The ``stat`` result of an open file.

    Raises ``FileMissingError``, and closes the file, if it may not be served.
    """
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or (guard is not None and guard.holds(real_path(fd))):
            raise FileMissingError
    except BaseException:
        os.close(fd)
        raise
    return status


def real_path(fd: int) -> str:
    """The path of an open file, without links."""
    if sys.platform == "darwin":
        import fcntl

        return os.fsdecode(fcntl.fcntl(fd, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0"))
    return os.readlink(f"/proc/self/fd/{fd}")
