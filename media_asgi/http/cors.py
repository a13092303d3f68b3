"""
Cross-origin requests, for a canvas, WebGL, fonts and players on another origin
(https://fetch.spec.whatwg.org/#http-cors-protocol).

Pure.
"""

from collections.abc import Mapping

from ..types import Headers

# Those of an answer that a script may read besides the ones it always may.
_EXPOSED = b"Content-Range, Accept-Ranges, ETag, Content-Length"
# Those of a request that it may set for a preflight's asking.
_ALLOWED = b"Range, If-Range, If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since"
# Seconds for which a browser need not ask again; Chromium keeps two hours at most.
_MAX_AGE = b"7200"


def headers(origins: str | frozenset[str], fields: Mapping[bytes, bytes]) -> Headers:
    """The headers of any answer where these origins may read it."""
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


# The answer to a browser that asks whether it may ask; methods that need no asking are listed too.
PREFLIGHT: Headers = [
    (b"access-control-allow-methods", b"GET, HEAD"),
    (b"access-control-allow-headers", _ALLOWED),
    (b"access-control-max-age", _MAX_AGE),
]
