"""
Folders whose files are another location's, and not for whoever may see this one's.

Links and folders are turned and swapped while the server runs, so that where a folder lies is asked
again and again. Where that can't be told, the folder is where it was last.
"""

import asyncio
import os
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import NamedTuple

from .workers import Workers

# What was found is believed for so long. Seconds.
_LIFETIME = 0.1

# A private folder's own disk may hang, for which no other location waits longer, and that once: it
# counts as where it was last until its disk has answered. Seconds.
_PATIENCE = 0.25

Identity = tuple[int, int]
"""Device and inode."""


class Whereabouts(NamedTuple):
    path: str
    """Without links."""
    identity: Identity | None
    """``None`` for a folder that has not been there yet."""
    above: frozenset[Identity]
    """The folder itself, and those that it is in."""
    is_there: bool


class Place:
    """Where a folder lies now, looked up in a thread of its own."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._workers = Workers(1, folder)
        self._lock = threading.Lock()
        self._looking: Future[Whereabouts] | None = None
        self._began = time.monotonic()
        try:
            self.known = _look(folder, None)
        except OSError:
            self.known = Whereabouts(os.path.realpath(folder), None, frozenset(), False)

    def now(self) -> Whereabouts:
        """To be called in a worker."""
        try:
            try:
                looking, patience = self._ask()
            except OSError:  # no thread can be started: then in this one
                self.known = _look(self._folder, self.known.identity)
            else:
                self.known = looking.result(patience)
        except OSError:  # TimeoutError included
            pass
        return self.known

    async def told(self) -> Whereabouts | None:
        """``None`` where it can't be told."""
        try:
            looking, patience = self._ask()
            async with asyncio.timeout(patience):
                # Others wait for it too.
                self.known = await asyncio.shield(asyncio.wrap_future(looking))
        except OSError:
            return None
        return self.known

    def _ask(self) -> tuple[Future[Whereabouts], float]:
        """The look that is under way, and how long to wait for it."""
        with self._lock:
            looking, now = self._looking, time.monotonic()
            if looking is None or (looking.done() and now - self._began > _LIFETIME):
                self._began = now
                looking = self._looking = self._workers.submit(
                    _look, self._folder, self.known.identity
                )
            return looking, max(0.0, self._began + _PATIENCE - now)


def _look(folder: str, last: Identity | None) -> Whereabouts:
    """Raises ``OSError`` where it can't be told."""
    try:
        path = os.path.realpath(folder, strict=True)
    except (FileNotFoundError, NotADirectoryError):
        return Whereabouts(os.path.realpath(folder), last, frozenset(), False)
    identity = identity_of(os.stat(path))
    above = frozenset(identity_of(os.stat(one)) for one in (path, *parents(path)))
    return Whereabouts(path, identity, above, True)


def identity_of(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino


def parents(path: str) -> Iterator[str]:
    """The folders that a path is in, the innermost first."""
    while (above := os.path.dirname(path)) != path:
        path = above
        yield path


class ExcludedFolder(NamedTuple):
    """A folder whose files are not to be served from this location."""

    place: Place
    may_be_root: bool = False
    """Both locations were given the same folder: the files are meant to be in both."""


class ExcludedFolders:
    """The excluded folders that files of one root may be in, as they are known.

    Where there are none it is falsy.
    """

    def __init__(
        self, path: str, identity: Identity, excluded: Iterable[ExcludedFolder], *, anywhere: bool
    ) -> None:
        """``path`` and ``identity`` are the root's; links lead ``anywhere``, or stay in it."""
        self._path = path
        self._identity = identity
        self._paths: set[str] = set()
        self._identities: set[Identity | None] = set()
        for place, may_be_root in excluded:
            where = place.known
            if may_be_root and identity == where.identity:
                continue
            # A folder that was there and has gone may be in the root by now, under another name.
            is_lost = not where.is_there and where.identity is not None
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

        By name, and by what the folders above it are: where case doesn't count, a name is as the
        client wrote it, and a folder may be mounted in two places.
        """
        for above in parents(path):
            if above in self._paths:
                return True
            if above == self._path:
                return self._identity in self._identities
            try:
                identity = identity_of(os.stat(above))
            except OSError:  # renamed meanwhile: who knows where it was
                return True
            if identity in self._identities:
                return True
            if identity == self._identity:
                return False
        return False
