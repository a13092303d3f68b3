"""
The header fields of a response under Daphne over HTTP/1.1, in one piece.

Twisted checks each field of each response, and writes it in four pieces. For a small response this
is a twentieth of the time. Most responses have the fields of an earlier one, but for ``Date``. So
Twisted checks those once, and is then given all their lines as the value of the first field.

Facts that this module rests on (Twisted 24.7 to 26.10):

- ``HTTPChannel.writeHeaders`` writes what ``Headers.getAllRawHeaders()`` gives as it is. This is
  tried out once for each kind of channel.
- ``Request.write`` asks for Content-Length by ``getRawHeaders``, and Daphne for Server by
  ``hasHeader``. Both add fields of their own.
"""

import functools
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from ..types import Headers


def joined_fields(request: Any, headers: Headers, date: bytes) -> Any:
    """A value for ``request.responseHeaders``; ``None`` if the fields are to be sent one by one."""
    channel: Any = type(getattr(request, "channel", None))
    fields = _fields_for(channel)
    # Twisted has put a field of its own there: "Connection: close".
    if fields is None or next(request.responseHeaders.getAllRawHeaders(), None) is not None:
        return None
    return fields(tuple(headers), date)


@functools.cache
def _fields_for(channel: Any) -> Any:
    """``JoinedFields``, or ``None`` if this kind of channel writes fields in a way of its own."""
    fields = _joined_fields_class()
    written: list[bytes] = []
    stand_in = SimpleNamespace(transport=SimpleNamespace(writeSequence=written.extend))
    headers = fields(((b"etag", b'"a"'), (b"vary", b"Cookie")), b"now")
    try:
        channel.writeHeaders(stand_in, b"HTTP/1.1", b"200", b"OK", headers)
    except Exception:  # HTTP/2, or an older Twisted
        return None
    expected = b'HTTP/1.1 200 OK\r\nDate: now\r\nETag: "a"\r\nVary: Cookie\r\n\r\n'
    return fields if b"".join(written) == expected else None


@functools.cache
def _joined_fields_class() -> Any:
    from twisted.web.http_headers import Headers as TwistedHeaders

    class JoinedFields(TwistedHeaders):
        """The fields of one response. Those that Twisted and Daphne add come first."""

        def __init__(self, headers: tuple[tuple[bytes, bytes], ...], date: bytes) -> None:
            super().__init__()
            self._checked, joined = _check_and_join(headers)
            self._fields = ((b"Date", (date,)), *joined)

        def hasHeader(self, name: Any) -> bool:  # noqa: N802
            return super().hasHeader(name) or self._checked.hasHeader(name)

        def getRawHeaders(self, name: Any, default: Any = None) -> Any:  # noqa: N802
            return super().getRawHeaders(name) or self._checked.getRawHeaders(name, default)

        def getAllRawHeaders(self) -> Iterator[Any]:  # noqa: N802
            yield from super().getAllRawHeaders()
            yield from self._fields

    @functools.lru_cache(1024)
    def _check_and_join(headers: tuple[tuple[bytes, bytes], ...]) -> tuple[TwistedHeaders, Any]:
        checked = TwistedHeaders()
        for name, value in headers:
            checked.addRawHeader(name, value)
        lines = [(name, value) for name, values in checked.getAllRawHeaders() for value in values]
        if not lines:
            return checked, ()
        (first, value), *others = lines
        joined = b"\r\n".join([value, *(b"%b: %b" % line for line in others)])
        return checked, ((first, (joined,)),)

    return JoinedFields
