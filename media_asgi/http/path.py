"""
Which file does a URL's path name?

Pure: no file is touched here. What comes out is safe by construction: no empty, ``.`` or ``..``
segment, no NUL, and (unless they are wanted) no segment that begins with a dot, but for a file of
which only the ending is left. Links are another matter, and the resolver's (``files``).
"""

import os
import re
from collections.abc import Collection, MutableMapping
from typing import Any
from urllib.parse import unquote_to_bytes

from .media_types import nameless

_ON_WINDOWS = os.name == "nt"

_SLASHES = re.compile("//+")

# What Windows would take for something else than a name beneath the folder: a separator, a drive
# or an alternate stream (":"), a wildcard, a control character, a device in any folder and with any
# ending, a trailing dot or space (dropped by Win32), and a short name ("SECRET~1.TXT", which may
# stand for a dotfile).
_WINDOWS_REFUSES = re.compile(
    r"""[\x00-\x1f\\:*?"<>|]
    | [. ](?:/|\Z)
    | (?:\A|/)
      (?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(?:COM|LPT)[0-9\u00b9\u00b2\u00b3])
      \ *(?:\.[^/]*)?(?:/|\Z)
    | (?:\A|/)[^/.~]{1,6}~[0-9]+(?:\.[^/]{0,3})?(?:/|\Z)
    """,
    re.VERBOSE | re.IGNORECASE,
)


def request_path(scope: MutableMapping[str, Any]) -> str:
    """The decoded path of a request, with bytes that are no UTF-8 as ``os.fsdecode`` gives them.

    ASGI's ``path`` is decoded as UTF-8, and every server puts U+FFFD where that fails. The bytes
    are still in ``raw_path``, where the server has it; it counts only while it says the same as
    ``path``, which a middleware in front of us may have rewritten.
    """
    path: str = scope["path"]
    raw = scope.get("raw_path") if "\ufffd" in path else None
    if raw:
        # Some servers leave the query string on raw_path.
        decoded = unquote_to_bytes(raw.partition(b"?")[0])
        if decoded.decode("utf-8", "replace") == path:
            try:
                return os.fsdecode(decoded)
            except UnicodeDecodeError:  # Windows, whose names are text
                return path
    return path


def merge_slashes(path: str) -> str:
    """Runs of slashes are one, as for nginx: a URL joined by hand names the file all the same."""
    return _SLASHES.sub("/", path)


def is_traversal(path: str) -> bool:
    """Is this the path of somebody who tries to get out, rather than of a mistake?"""
    return "/../" in f"{path}/" or "\0" in path


def hidden_segment(rest: str, dotfiles: bool | Collection[str]) -> str | None:
    """The first segment of this path that begins with a dot and isn't to be served."""
    if dotfiles is True:
        return None
    above, _, last = rest.rpartition("/")
    for segment in above.split("/"):
        if segment[:1] == "." and not (dotfiles and segment in dotfiles):
            return segment
    if last[:1] == "." and nameless(last) is None and not (dotfiles and last in dotfiles):
        return last
    return None


def file_name(
    rest: str, *, dotfiles: bool | Collection[str] = False, windows: bool = _ON_WINDOWS
) -> bytes | None:
    """The name beneath the root, ``/`` between its segments, for the path below a location's URL.

    ``None`` where it can name no file: an empty, ``.`` or ``..`` segment (a folder's trailing slash
    included), NUL, a segment that begins with a dot unless ``dotfiles`` (all, or these), characters
    the file system's encoding does not have, and on Windows what Win32 reads as something else.
    """
    fenced = f"/{rest}/"
    if "//" in fenced or "\0" in fenced:
        return None
    if "/." in fenced and (
        "/./" in fenced or "/../" in fenced or hidden_segment(rest, dotfiles) is not None
    ):
        return None
    if windows and _WINDOWS_REFUSES.search(rest):
        return None
    try:
        return os.fsencode(rest)
    except UnicodeEncodeError:
        return None
