"""
What is known of an opened file: its size, its validators, and the headers that describe it.

Pure: the file's ``stat`` and the time are arguments.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.utils.http import http_date

from ..types import Headers
from .media_types import DEFAULT_TYPE


class KeptHeaders(Headers):
    """Those of an answer that is given again and again."""

    form: tuple[Any, Any, Any] = (None, None, None)
    """The server's own form of them, the server, and the ``Date`` in it."""


# A time stamp vouches for a file only once the clock has left it behind: a change in the same tick
# leaves no trace. Two seconds is FAT's tick, the coarsest in use; ext4's is some milliseconds.
_YOUNG = 2.0


class FileInfo(NamedTuple):
    """What a source knows of a file."""

    size: int
    """Bytes."""
    modified: int | None
    """Nanoseconds since the epoch; ``None`` if the time says nothing."""
    version: Hashable
    """Changes whenever the bytes do: the key of every cache."""
    changed: int = 0
    """The time stamp that vouches for the version, in nanoseconds. A change in the same tick of its
    clock has the same stamp. 0 if no clock is part of the version."""
    etag: bytes | None = None
    """The source's own entity tag; ``None``: it is made of ``modified`` and ``size``."""
    headers: Sequence[tuple[bytes, bytes]] = ()
    """Header fields that belong to these bytes, such as Content-Encoding. Names in lower case."""


@dataclass(frozen=True, slots=True)
class Representation:
    """A file as RFC 9110 sees it (section 3.2)."""

    size: int
    """Bytes."""
    content_type: bytes
    etag: bytes
    """Of nanosecond mtime and size alone, so that it is the same on every replica."""
    modified: int | None
    """Seconds since the epoch; never later than the time of the answer (section 8.8.2.1).

    ``None`` where the file's mtime says nothing: then the tag is of this machine's ctime and inode.
    """
    last_modified: bytes
    """``modified`` as an HTTP-date."""
    settled: bool
    """Has a change of the file another tag? Not within one tick of the clock that stamps it."""
    dated: bool
    """Is ``modified`` a strong validator, too (section 8.8.2.2)?"""
    lasting: bool
    """Is all of this so as long as the file is the same?"""
    cache_control: bytes
    extra: Headers
    """Headers of every answer with this file: security and the location's own."""


def is_settled(stamp: int, now: float) -> bool:
    """Would any change after this time stamp (nanoseconds since the epoch) have left another?

    One that is ahead of the clock would be set back by it.
    """
    return not 0 <= now - stamp / 1e9 < _YOUNG


def describe(
    info: FileInfo,
    now: float,
    *,
    content_type: bytes = DEFAULT_TYPE.encode(),
    cache_control: bytes = b"no-cache",
    extra: Headers | None = None,
) -> Representation:
    """The representation of a file at ``now`` (seconds since the epoch)."""
    modified, dated = None, False
    if info.modified is not None:
        seconds = info.modified // 1_000_000_000
        modified = max(min(seconds, int(now)), 0)
        dated = modified == seconds and is_settled(info.modified, now)
    if info.etag is None:
        assert info.modified is not None
        stamp, etag = info.modified, b'"%x-%x"' % (info.modified, info.size)
    else:
        stamp, etag = info.changed, info.etag
    settled = is_settled(stamp, now)
    # A stamp ahead of the clock is young once the clock has come to it.
    lasting = settled and stamp <= now * 1e9
    return Representation(
        size=info.size,
        content_type=content_type,
        etag=etag,
        modified=modified,
        last_modified=b"" if modified is None else http_date(modified).encode("ascii"),
        settled=settled,
        dated=lasting and dated,
        lasting=lasting,
        cache_control=cache_control,
        extra=extra if extra is not None else [],
    )
