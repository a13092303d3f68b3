"""
Log lines for what is refused, and the reasons in words.
"""

import logging
import os
import re

from .explain import Why
from .http.path import file_name, hidden_segment, is_traversal
from .location import Location
from .sources.base import FileMissingError, SourceError
from .types import Scope

logger = logging.getLogger("media_asgi")

_ADDRESS = re.compile(r"[\w.:%-]*", re.ASCII)

# Names of one location. Clients invent names.
_MAX_NAMES = 100

# No file system has longer ones.
_MAX_LENGTH = 255


def log_refused(scope: Scope, why: str) -> None:
    """A line for fail2ban and similar programs."""
    # Over a Unix socket there is not an address. granian's is then an empty one.
    client = str((scope.get("client") or ("",))[0]) or "-"
    if not _ADDRESS.fullmatch(client):
        # A server that trusts X-Forwarded-For takes any text from it.
        client = repr(client)
    logger.warning("refused client=%s path=%r: %s", client, scope["path"], why)


def file_of(location: Location, path: str) -> str:
    """The place of the file on the disk, or in the store."""
    files = location.folders if location.file else [f"{one}/{path}" for one in location.folders]
    return " or ".join(files) or f"{path} in {location.root or location.alias or location.url}"


def why(error: Exception, location: Location, path: str) -> Why:
    """Why the file at ``path`` below the root is a 403 or a 404."""
    if not isinstance(error, SourceError):
        return Why(getattr(error, "reason", "access is refused"))
    file = file_of(location, path)
    cause = error.__cause__
    if getattr(error, "reason", ""):
        reason = str(error)
    elif file_name(path, dotfiles=bool(location.file) or location.dotfiles) is None:
        reason = _no_name(path, hidden_segment(path, location.dotfiles))
    elif isinstance(cause, OSError) and cause.errno:  # a store's error has none
        is_root = os.fsdecode(cause.filename or "") in location.folders
        reason = f"{'the root: ' if is_root else ''}{os.strerror(cause.errno)}"
    elif isinstance(error, FileMissingError):
        reason = "no such file in this location (a folder is not a file)"
    else:
        reason = str(error)
    return Why(reason, file)


def _no_name(path: str, hidden: str | None) -> str:
    """Why the path can't be the name of a file. ``hidden``: its segment that begins with a dot."""
    if is_traversal(f"/{path}"):
        return "the path climbs"
    if hidden not in (None, "."):
        return f"{hidden!r} begins with a dot"
    if path.endswith("/") or not path:
        return "a folder is not listed (see the option index)"
    return "it can't be the name of a file"


class DotfileLog:
    """One line for each name that a location refuses because it begins with a dot."""

    def __init__(self, location: Location) -> None:
        self._location = location
        self._told: set[str] = set()

    def log(self, path: str) -> None:
        name = hidden_segment(path, self._location.dotfiles)
        if name in (None, ".", "..") or len(name) > _MAX_LENGTH:
            return
        if name in self._told or len(self._told) >= _MAX_NAMES:
            return
        self._told.add(name)
        logger.warning(
            "%r beneath %s is not served, since it begins with a dot. If clients are to have it, "
            "set dotfiles=[%r]. The log says so once of each name, and of %d names at most.",
            name,
            self._location.root or self._location.url,
            name,
            _MAX_NAMES,
        )
