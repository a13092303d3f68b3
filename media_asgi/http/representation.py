"""
A file as a representation: its size, its validators, and the headers that describe it.

Pure: the file's information and the time are arguments.
"""

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from django.utils.http import http_date

from ..types import Headers
from .media_types import DEFAULT_TYPE

# Seconds. A change in the same tick of the clock leaves the time stamp as it is, so a young stamp
# doesn't prove that the file is unchanged. FAT has the longest tick, two seconds. ext4's is some
# milliseconds.
_YOUNG = 2.0


class FileInfo(NamedTuple):
    """What a source knows of a file."""

    size: int
    """Bytes."""
    modified: int | None
    """Nanoseconds since the epoch; ``None`` if the time is not known or is not the file's own."""
    version: Hashable
    """Changes whenever the bytes change. It is the key of every cache."""
    changed: int = 0
    """The time stamp on which the version depends, in nanoseconds since the epoch. Two changes in
    the same tick of its clock have the same stamp. 0 if the version doesn't depend on a clock."""
    etag: bytes | None = None
    """The source's own entity tag; ``None`` if it is to be made of ``modified`` and ``size``."""
    headers: Sequence[tuple[bytes, bytes]] = ()
    """Header fields that belong to these bytes, such as Content-Encoding. Names in lower case."""
    has_ranges: bool = True
    """Can a part of it be had? Else ``Range`` doesn't count, and ``Accept-Ranges`` is ``none``."""


@dataclass(frozen=True, slots=True)
class Representation:
    """A file as RFC 9110 sees it (section 3.2)."""

    size: int
    """Bytes."""
    content_type: bytes
    etag: bytes
    """If the source doesn't have its own, it is made of the mtime in nanoseconds and the size, so
    that it is the same on every replica."""
    modified: int | None
    """Seconds since the epoch. Never later than the time of the response (section 8.8.2.1).

    ``None`` if the source doesn't know the time.
    """
    last_modified: bytes
    """``modified`` as an HTTP-date."""
    settled: bool
    """Would a change of the file give another tag? A change in the same tick would not."""
    dated: bool
    """Is ``modified`` a strong validator too (section 8.8.2.2)?"""
    lasting: bool
    """Does all of this stay true as long as the file's version is the same?"""
    cache_control: bytes
    extra: Headers
    """Headers of every response with this file: those of security, and the location's own."""
    has_ranges: bool = True


def is_settled(stamp: int, now: float) -> bool:
    """Would a change after this time stamp (nanoseconds since the epoch) have left another stamp?

    A change sets a stamp back that is ahead of the clock.
    """
    return not 0 <= now - stamp / 1e9 < _YOUNG


def etag_of(info: FileInfo) -> bytes:
    if info.etag is not None:
        return info.etag
    assert info.modified is not None
    return b'"%x-%x"' % (info.modified, info.size)


def etag_with(etag: bytes, identity: bytes) -> bytes:
    """A tag for a URL that may give several files. Hashed, since no client may learn a path."""
    return b'"%s"' % hashlib.sha256(b"%b %b" % (etag, identity)).hexdigest()[:32].encode("ascii")


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
    etag = etag_of(info)
    stamp = info.modified if info.etag is None else info.changed
    assert stamp is not None
    settled = is_settled(stamp, now)
    # A stamp ahead of the clock becomes young when the clock reaches it.
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
        has_ranges=info.has_ranges,
    )
