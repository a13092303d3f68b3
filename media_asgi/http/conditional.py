"""
Conditional requests: RFC 9110 section 13, in the order of section 13.2.2.

Pure. The values of fields are the request's. Several lines of a field are already joined by ``, ``
(section 5.3).
"""

import re
from collections.abc import Mapping
from typing import Protocol

from django.utils.http import parse_http_date_safe

# entity-tag = [ "W/" ] DQUOTE *etagc DQUOTE (section 8.8.3). It may hold a comma, and a backslash,
# which doesn't escape. It may not hold a space, but a tag with one is skipped as one tag. Each step
# of the list consumes a character, so the time is linear.
_ENTITY_TAG = re.compile(rb'[ \t,]*(W/)?("[\x20\x21\x23-\x7e\x80-\xff]*")[ \t]*(?=,|\Z)')


class Validators(Protocol):
    """The parts of a representation that preconditions compare."""

    @property
    def etag(self) -> bytes: ...
    @property
    def modified(self) -> int | None: ...
    @property
    def settled(self) -> bool: ...
    @property
    def dated(self) -> bool: ...


def evaluate(method: str, fields: Mapping[bytes, bytes], current: Validators) -> int | None:
    """412 or 304; ``None`` if the request goes on. The representation exists."""
    if_match = fields.get(b"if-match")
    if if_match is not None:
        if not _matches(if_match, current.etag, weak=False):
            return 412
    elif _is_later(current.modified, fields.get(b"if-unmodified-since")):
        return 412
    read = method in ("GET", "HEAD")
    if_none_match = fields.get(b"if-none-match")
    if if_none_match is not None:
        if _matches(if_none_match, current.etag, weak=True):
            return 304 if read else 412
    elif read and _is_later(current.modified, fields.get(b"if-modified-since")) is False:
        return 304
    return None


def if_range(value: bytes | None, current: Validators) -> bool:
    """Does ``Range`` count (section 13.1.5)? Without ``If-Range`` it does.

    A tag must match by strong comparison. A date must be equal to Last-Modified, which must be a
    strong validator (section 8.8.2.2). Neither counts while the file may change and keep its time
    stamp: the client would join parts of two files.
    """
    if value is None:
        return True
    if value[:1] == b'"':
        return current.settled and value == current.etag
    return current.dated and _date(value) == current.modified


def _is_later(modified: int | None, field: bytes | None) -> bool | None:
    """Was the file modified after this date? ``None`` if one of the two is unknown or invalid.

    Then the field is ignored (sections 13.1.3 and 13.1.4).
    """
    since = _date(field)
    return None if modified is None or since is None else modified > since


def _matches(field: bytes, etag: bytes, *, weak: bool) -> bool:
    """Is ``etag`` among the tags of ``field``, by the weak or the strong comparison (8.8.3.2)?"""
    if field.strip(b" \t") == b"*":
        return True
    if not weak and etag.startswith(b"W/"):
        return False
    opaque = etag.removeprefix(b"W/")
    position = 0
    while match := _ENTITY_TAG.match(field, position):
        prefix, tag = match.groups()
        if tag == opaque and (weak or prefix is None):
            return True
        position = match.end()
    return False


def _date(value: bytes | None) -> int | None:
    """Seconds since the epoch of an HTTP-date in any of its three forms, or ``None``."""
    if value is None or len(value) > 40:
        return None
    try:
        return parse_http_date_safe(value.decode("ascii"))
    except UnicodeDecodeError:
        return None
