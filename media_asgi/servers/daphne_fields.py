"""
The header fields of a response under Daphne over HTTP/1.1, in one piece.

Daphne and Twisted check each field of each response, and write it in four pieces. That takes 8 µs
of the 200 of a small response. Most fields are those of many responses, so Twisted's check of a
field is remembered. Twisted is then given all lines as a part of the value of Date: 5 µs, or less.

Facts that this module rests on (Twisted 24.7 to 26.10):

- ``HTTPChannel.writeHeaders`` writes what ``Headers.getAllRawHeaders()`` gives as it is. This is
  tried out once for each kind of channel.
- ``Request.write`` asks for Content-Length by ``getRawHeaders``, and Daphne for Server by
  ``hasHeader``. Both add fields of their own.
"""

import functools
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from django.utils.http import http_date

from ..http.headers import FinalHeaders
from ..types import Headers

# Content-Length and Content-Range differ from one range to the next.
_MAX_LINES = 1024


def joined_fields(request: Any, headers: Headers, date: bytes) -> Any:
    """A value for ``request.responseHeaders``; ``None`` if the fields are to be sent one by one."""
    if not isinstance(headers, FinalHeaders):
        return None
    channel: Any = type(getattr(request, "channel", None))
    fields = _fields_for(channel)
    # Twisted has put a field of its own there: "Connection: close".
    if fields is None or next(request.responseHeaders.getAllRawHeaders(), None) is not None:
        return None
    if headers.joined is None:
        headers.joined = _join(headers)
    return fields(headers.joined, date)


def _join(headers: Headers) -> tuple[dict[bytes, list[bytes]], bytes]:
    """The values by their names in lower case, and the lines of all fields."""
    values: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        values.setdefault(name.lower(), []).append(value)
    return values, b"".join([_line(name, value) for name, value in headers])


@functools.lru_cache(_MAX_LINES)
def _line(name: bytes, value: bytes) -> bytes:
    """What Twisted makes of a field."""
    from twisted.web.http_headers import Headers as TwistedHeaders

    checked = TwistedHeaders()
    checked.addRawHeader(name, value)
    ((name, (value,)),) = checked.getAllRawHeaders()
    return b"\r\n%b: %b" % (name, value)


@functools.cache
def _fields_for(channel: Any) -> Any:
    """``JoinedFields``, or ``None`` if this kind of channel writes fields in a way of its own."""
    fields = _joined_fields_class()
    written: list[bytes] = []
    stand_in = SimpleNamespace(transport=SimpleNamespace(writeSequence=written.extend))
    try:
        joined = fields(_join([(b"vary", b"Cookie")]), b"now")
        channel.writeHeaders(stand_in, b"HTTP/1.1", b"200", b"OK", joined)
    except Exception:  # HTTP/2, or an older Twisted
        return None
    expected = b"HTTP/1.1 200 OK\r\nDate: now\r\nVary: Cookie\r\n\r\n"
    return fields if b"".join(written) == expected else None


@functools.cache
def _joined_fields_class() -> Any:
    from twisted.web.http_headers import Headers as TwistedHeaders

    class JoinedFields(TwistedHeaders):
        """The fields of one response. Those that Twisted and Daphne add come first."""

        def __init__(self, joined: tuple[dict[bytes, list[bytes]], bytes], date: bytes) -> None:
            super().__init__()
            self._values, lines = joined
            self._lines = date + lines

        def hasHeader(self, name: Any) -> bool:  # noqa: N802
            return super().hasHeader(name) or _key(name) in self._values

        def getRawHeaders(self, name: Any, default: Any = None) -> Any:  # noqa: N802
            if (found := super().getRawHeaders(name)) is not None:
                return found
            values = self._values.get(_key(name))
            if values is None:
                return default
            # A list of its own, since other responses have the same values.
            return [value.decode("latin-1") if type(name) is str else value for value in values]

        def getAllRawHeaders(self) -> Iterator[Any]:  # noqa: N802
            yield from super().getAllRawHeaders()
            yield b"Date", (self._lines,)

    return JoinedFields


def _key(name: str | bytes) -> bytes:
    return (name.encode() if isinstance(name, str) else name).lower()


_last_date: tuple[int, tuple[bytes, bytes]] = (0, (b"date", b""))


def date_field() -> tuple[bytes, bytes]:
    """``Date``, which Daphne doesn't add (RFC 9110 section 6.6.1 asks for it)."""
    global _last_date
    now = int(time.time())
    if _last_date[0] != now:
        _last_date = (now, (b"date", http_date(now).encode("ascii")))
    return _last_date[1]
