"""
Cross-origin requests, for a canvas, WebGL, fonts and players of another origin
(https://fetch.spec.whatwg.org/#http-cors-protocol).

Pure.
"""

from collections.abc import Mapping

from ..types import Headers

# Headers of a response that a script may read, in addition to those that it may always read.
_EXPOSED = b"Content-Range, Accept-Ranges, ETag, Content-Length"
# Headers of a request that a script may set after a preflight.
_ALLOWED = b"Range, If-Range, If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since"
# Seconds for which a browser may keep the answer to a preflight. Chromium's limit is two hours.
_MAX_AGE = b"7200"


def headers(origins: str | frozenset[str], fields: Mapping[bytes, bytes]) -> Headers:
    """The headers of every response that these origins may read. ``"*"`` is every origin.

    ``fields``: those of the request, by lower-case name.
    """
    if isinstance(origins, str):
        return [
            (b"access-control-allow-origin", b"*"),
            (b"access-control-expose-headers", _EXPOSED),
        ]
    vary = (b"vary", b"Origin")
    origin = fields.get(b"origin", b"")
    if origin.decode("latin-1") not in origins:
        return [vary]
    return [
        vary,
        (b"access-control-allow-origin", origin),
        (b"access-control-expose-headers", _EXPOSED),
    ]


# The response to a preflight. Methods that don't need a preflight are listed too.
PREFLIGHT: Headers = [
    (b"access-control-allow-methods", b"GET, HEAD"),
    (b"access-control-allow-headers", _ALLOWED),
    (b"access-control-max-age", _MAX_AGE),
]
