"""
The response to a request: its status, its headers, and the parts of the file in its body.

Pure. The order is that of RFC 9110: preconditions (section 13.2.2), then ranges (section 14.2).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import NamedTuple

from ..types import Headers
from . import conditional as preconditions
from . import ranges
from .headers import FinalHeaders
from .media_types import SANDBOX
from .ranges import ByteRange
from .representation import Representation

_PRECONDITIONS = frozenset(
    {b"if-match", b"if-modified-since", b"if-none-match", b"if-unmodified-since"}
)

# The fields of a request that change the response.
CONDITIONAL = _PRECONDITIONS | {b"if-range", b"range"}

# nginx reads up to 1 GiB of a response ahead of its client (proxy_max_temp_file_size), and then
# nothing until the client has read that. For us this looks like a stalled client. So nginx is told
# not to read ahead if the body is larger than this.
_UNBUFFERED = 512 * 1024 * 1024


class Response(NamedTuple):
    status: int
    headers: Headers
    body: Sequence[bytes | ByteRange]
    """In order: bytes, and ranges of the file."""
    length: int
    """Bytes of the body."""


def respond(
    method: str,
    fields: Mapping[bytes, bytes],
    current: Representation,
    boundary: Callable[[], bytes],
) -> Response:
    """The response to a request for a file that exists.

    ``fields``: those of the request in ``CONDITIONAL``, by lower-case name.

    ``boundary``: returns the separator of the parts of a multipart response. The file must not hold
    it.
    """
    status = None
    if not _PRECONDITIONS.isdisjoint(fields):
        status = preconditions.evaluate(method, fields, current)
    if status == 304:
        return not_modified(current)
    if status is not None:
        return error_response(status, _about_response(current.extra), method)
    asked = fields.get(b"range")
    # Section 14.2: ranges are defined for GET alone.
    if asked is not None and method == "GET" and current.has_ranges:
        validated = fields.get(b"if-range")
        if preconditions.if_range(validated, current):
            try:
                selected = ranges.parse(asked, current.size)
            except ranges.RangeNotSatisfiable:
                unsatisfied = (b"content-range", b"bytes */%d" % current.size)
                return error_response(416, [unsatisfied, *_about_response(current.extra)])
            if selected is not None:
                parts = boundary() if len(selected) > 1 else b""
                return _partial(current, selected, parts, validated=validated is not None)
    response = full_response(current)
    return response._replace(body=[], length=0) if method == "HEAD" else response


def full_response(current: Representation) -> Response:
    """The response to a GET without conditions."""
    headers = _headers(current, current.content_type, current.size)
    if not current.size:
        return Response(200, headers, [], 0)
    return Response(200, headers, [ByteRange(0, current.size)], current.size)


def not_modified(current: Representation) -> Response:
    """A 304, with only the headers that a cache needs to update its copy (section 15.4.5)."""
    headers = [
        (b"etag", current.etag),
        (b"cache-control", current.cache_control),
        *_about_response(current.extra, b"content-location"),
    ]
    return Response(304, headers, [], 0)


def _about_response(extra: Headers, but: bytes = b"") -> Headers:
    """The headers about the response, not those about the file in it; and the header ``but``."""
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
        (b"accept-ranges", b"bytes" if current.has_ranges else b"none"),
        (b"cache-control", current.cache_control),
        *extra,
    ]


def _partial(
    current: Representation, selected: list[ByteRange], boundary: bytes, *, validated: bool
) -> Response:
    body: Sequence[bytes | ByteRange]
    headers: Headers
    if len(selected) == 1:
        body, length = selected, selected[0].stop - selected[0].start
        headers = FinalHeaders(_headers(current, current.content_type, length))
        headers.append((b"content-range", ranges.content_range(selected[0], current.size)))
    else:
        body, length = ranges.multipart(selected, current.size, current.content_type, boundary)
        headers = _headers(current, b"multipart/byteranges; boundary=" + boundary, length)
    if validated:
        # Section 15.3.7: a client that sends If-Range has the other headers of the file already.
        headers = [pair for pair in headers if pair[0] != b"last-modified"]
    return Response(206, headers, body, length)


def error_response(
    status: int,
    extra: Iterable[tuple[bytes, bytes]] = (),
    method: str = "GET",
    page: bytes | None = None,
) -> Response:
    """A response whose body is the status and its phrase, or a page of HTML, which runs no script.

    Caches must not store it. They may store a 404 or a 405 by heuristics (section 15.1), and would
    still answer with it after the file was uploaded.
    """
    body = b"" if status == 204 else f"{status} {HTTPStatus(status).phrase}\n".encode("ascii")
    headers = [(b"cache-control", b"no-store"), *extra]
    type_ = b"text/plain; charset=utf-8"
    if page is not None:
        body, type_ = page, b"text/html; charset=utf-8"
        headers.append((b"content-security-policy", SANDBOX))
    if body:
        headers += [
            (b"content-type", type_),
            (b"content-length", b"%d" % len(body)),
        ]
    if method == "HEAD":
        return Response(status, headers, [], 0)
    return Response(status, headers, [body], len(body))
