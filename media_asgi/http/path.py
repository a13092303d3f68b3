"""
The name of the file that a URL's path means.

Pure: it doesn't touch files. A name from here is safe: it has neither an empty, ``.`` or ``..``
segment nor NUL. It has a segment that begins with a dot only if the location allows it, or if only
the ending of the name is left. The resolvers in ``sources`` deal with links.
"""

import os
import re
from collections.abc import Collection, MutableMapping
from typing import Any
from urllib.parse import unquote_to_bytes

from .media_types import nameless

_ON_WINDOWS = os.name == "nt"

_SLASHES = re.compile("//+")

# Names that Windows doesn't read as a name below the folder: with a separator, a drive or an
# alternate stream (":"), a wildcard or a control character; a device, in any folder and with any
# ending; with a dot or space at the end, which Win32 drops; and a short name such as
# "SECRET~1.TXT", which may mean a dotfile.
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
    """The decoded path of a request. ``os.fsdecode`` decodes bytes that are not UTF-8.

    ASGI's ``path`` is decoded as UTF-8, and all servers put U+FFFD in place of other bytes. Most
    servers have the bytes in ``raw_path``. It counts only if it is the same as ``path``, which a
    middleware in front of us may have changed.
    """
    path: str = scope["path"]
    raw = scope.get("raw_path") if "\ufffd" in path else None
    if raw:
        # Some servers keep the query string in raw_path.
        decoded = unquote_to_bytes(raw.partition(b"?")[0])
        if decoded.decode("utf-8", "replace") == path:
            try:
                return os.fsdecode(decoded)
            except UnicodeDecodeError:  # Windows, whose names are text
                return path
    return path


def merge_slashes(path: str) -> str:
    """Join runs of slashes, as nginx does, because URLs that are built by hand have them."""
    return _SLASHES.sub("/", path)


def is_traversal(path: str) -> bool:
    """Does the path look like an attempt to leave the root, rather than a mistake?"""
    return "/../" in f"{path}/" or "\0" in path


def hidden_segment(rest: str, dotfiles: bool | Collection[str]) -> str | None:
    """The first segment that begins with a dot and must not be served; ``None`` without one."""
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
    """The name below the root, with ``/`` between its segments, for a path below a location's URL.

    ``None`` if it can't be the name of a file: it has an empty, ``.`` or ``..`` segment, also by a
    slash at its end, NUL, a segment that begins with a dot and that ``dotfiles`` (all, or these)
    doesn't allow, a character that the file system's encoding lacks, or, on Windows, a part that
    Win32 reads in another way.
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
