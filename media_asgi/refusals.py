"""
Log lines for what is refused.
"""

import logging
import re

from .http.path import hidden_segment
from .location import Location
from .types import Scope

logger = logging.getLogger("media_asgi")

_ADDRESS = re.compile(r"[\w.:%-]*", re.ASCII)

# Names of one location. Clients invent names.
_MAX_NAMES = 100

# No file system has longer ones.
_MAX_LENGTH = 255


def log_refused(scope: Scope, why: str) -> None:
    """A line for fail2ban and similar programs."""
    client = str((scope.get("client") or ("-",))[0])
    if not _ADDRESS.fullmatch(client):
        # A server that trusts X-Forwarded-For takes any text from it.
        client = repr(client)
    logger.warning("refused client=%s path=%r: %s", client, scope["path"], why)


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
