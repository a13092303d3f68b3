"""
What to answer: status, headers and the spans of the file that make the body.

Pure. The order is that of RFC 9110: preconditions (section 13.2.2), then ranges (section 14.2).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import NamedTuple

from ..types import Headers
from . import conditional as preconditions
from . import ranges
from .ranges import ByteRange
from .representation import Representation

# The fields of a request that decide anything here.
CONDITIONAL = frozenset(
    {
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-range",
        b"if-unmodified-since",
        b"range",
    }
)


# nginx takes up to 1 GiB of an answer ahead of its client (proxy_max_temp_file_size), and then no
# byte until the client has taken that, which we take for a stall. Of a larger body, it is told not
# to take any ahead.
_UNBUFFERED = 512 * 1024 * 1024


class Response(NamedTuple):
    status: int
    headers: Headers
    body: Sequence[bytes | ByteRange]
    """In order: bytes as they are, and spans of the file."""
    length: int
    """Bytes of the body."""


def respond(
    method: str,
    fields: Mapping[bytes, bytes],
    current: Representation,
    boundary: Callable[[], bytes],
) -> Response:
    """The answer to ``method`` for a file that is there.

    ``fields`` are the request's of ``CONDITIONAL``, by lower-case name. ``boundary`` gives what
    separates the parts of a multipart answer, and must not occur in the file.
    """
    status = preconditions.evaluate(method, fields, current)
    if status == 304:
        return not_modified(current)
    if status is not None:
        return error_response(status, _of_any_answer(current.extra), method)
    asked = fields.get(b"range")
    # Section 14.2: ranges are defined for GET alone.
    if asked is not None and method == "GET":
        validated = fields.get(b"if-range")
        if preconditions.if_range(validated, current):
            try:
                spans = ranges.parse(asked, current.size)
            except ranges.RangeNotSatisfiable:
                unsatisfied = (b"content-range", b"bytes */%d" % current.size)
                return error_response(416, [unsatisfied, *_of_any_answer(current.extra)])
            if spans is not None:
                parts = boundary() if len(spans) > 1 else b""
                return _partial(current, spans, parts, validated=validated is not None)
    answer = full_response(current)
    return answer._replace(body=[], length=0) if method == "HEAD" else answer


def full_response(current: Representation) -> Response:
    """The answer to a GET without conditions."""
    headers = _headers(current, current.content_type, current.size)
    if not current.size:
        return Response(200, headers, [], 0)
    return Response(200, headers, [ByteRange(0, current.size)], current.size)


def not_modified(current: Representation) -> Response:
    """What a cache needs to update its copy, and no other representation data (15.4.5)."""
    headers = [
        (b"etag", current.etag),
        (b"cache-control", current.cache_control),
        *_of_any_answer(current.extra, b"content-location"),
    ]
    return Response(304, headers, [], 0)


def _of_any_answer(extra: Headers, but: bytes = b"") -> Headers:
    """Those that say something of the answer, not of the file in it; and the one named ``but``."""
    return [pair for pair in extra if not pair[0].startswith(b"content-") or pair[0] == but]


def _headers(current: Representation, content_type: bytes, length: int) -> Headers:
    extra = current.extra
    if length > _UNBUFFERED and not any(name == b"x-accel-buffering" for name, _ in extra):
        extra = [*extra, (b"x-accel-buffering", b"no")]
    modified = [] if current.modified is None else [(b"last-modified", current.last_modified)]
    return [
        (b"content-type", content_type),
        (b"content-length", b"%d" % length),
        (b"etag", current.etag),
        *modified,
        (b"accept-ranges", b"bytes"),
        (b"cache-control", current.cache_control),
        *extra,
    ]


def _partial(
    current: Representation, spans: list[ByteRange], boundary: bytes, *, validated: bool
) -> Response:
    body: Sequence[bytes | ByteRange]
    if len(spans) == 1:
        body, length = spans, len(spans[0])
        headers = _headers(current, current.content_type, length)
        headers.append((b"content-range", ranges.content_range(spans[0], current.size)))
    else:
        body, length = ranges.multipart(spans, current.size, current.content_type, boundary)
        headers = _headers(current, b"multipart/byteranges; boundary=" + boundary, length)
    if validated:
        # Section 15.3.7: after If-Range the client has the other representation headers already.
        headers = [pair for pair in headers if pair[0] != b"last-modified"]
    return Response(206, headers, body, length)


def error_response(
    status: int, extra: Iterable[tuple[bytes, bytes]] = (), method: str = "GET"
) -> Response:
    """A short text that says what the status does.

    Never to be stored: a 404 and a 405 are cacheable by heuristics (section 15.1), and a cache
    would go on saying so after the upload that follows.
    """
    body = b"" if status == 204 else f"{status} {HTTPStatus(status).phrase}\n".encode("ascii")
    headers = [(b"cache-control", b"no-store"), *extra]
    if body:
        headers += [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
        ]
    if method == "HEAD":
        return Response(status, headers, [], 0)
    return Response(status, headers, [body], len(body))
