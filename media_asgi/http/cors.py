"""
Cross-origin requests, for a canvas, WebGL, fonts and players of another origin
(https://fetch.spec.whatwg.org/#http-cors-protocol).

Pure.
"""

from collections.abc import Mapping
from typing import NamedTuple

from ..types import Headers

# Headers of a response that a script may read, in addition to those that it may always read.
_EXPOSED = b"Content-Range, Accept-Ranges, ETag, Content-Length, Content-Disposition"
# Headers of a request that a script may set after a preflight.
_ALLOWED = b"Range, If-Range, If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since"
# Seconds for which a browser may keep the answer to a preflight. Chromium's limit is two hours.
_MAX_AGE = b"7200"


class CORS(NamedTuple):
    """The origins whose scripts may read the files of a location."""

    origins: frozenset[str] | None
    """``None``: all of them."""
    allowed: tuple[str, ...] = ()
    """More headers of a request that a script may set."""
    credentials: bool = False
    """May a script send its user's cookies? Never with all origins."""

    def headers(self, fields: Mapping[bytes, bytes]) -> Headers:
        """The headers of every response. ``fields``: those of the request, by lower-case name."""
        if self.origins is None:
            return [
                (b"access-control-allow-origin", b"*"),
                (b"access-control-expose-headers", _EXPOSED),
            ]
        vary = (b"vary", b"Origin")
        origin = fields.get(b"origin", b"")
        if origin.decode("latin-1") not in self.origins:
            return [vary]
        return [
            vary,
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", _EXPOSED),
            *([(b"access-control-allow-credentials", b"true")] if self.credentials else []),
        ]

    def preflight(self) -> Headers:
        """More headers of the response to a preflight."""
        return [
            # Methods that don't need a preflight are listed too.
            (b"access-control-allow-methods", b"GET, HEAD"),
            (
                b"access-control-allow-headers",
                b", ".join([_ALLOWED, *(name.encode("ascii") for name in self.allowed)]),
            ),
            (b"access-control-max-age", _MAX_AGE),
        ]
