"""
Files that the application hands over: ``X-Accel-Redirect`` as nginx takes it, and ``X-Sendfile`` as
Apache does.
"""

import os
import re
from collections.abc import Iterable
from email.errors import HeaderParseError
from email.header import decode_header
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from ..http.headers import override
from ..http.path import merge_slashes
from ..types import Headers, Message, Send

# Django writes a value that Latin-1 can't hold as encoded words (RFC 2047), and nothing else beside
# them. A file may be named like one, but its path isn't one from end to end.
_ENCODED_WORDS = re.compile(
    r"=\?[A-Za-z0-9-]+\?[BbQq]\?[^? \t]*\?=(?:[ \t]+=\?[A-Za-z0-9-]+\?[BbQq]\?[^? \t]*\?=)*"
)

# The file's alone, whatever the application says of the body that is dropped.
_OF_THE_FILE = frozenset(
    {
        b"accept-ranges",
        b"content-encoding",
        b"content-language",  # of the page that Django's LocaleMiddleware took it for
        b"content-length",
        b"content-range",
        # As the application chose it (see deliberate_type), or that of a multipart answer.
        b"content-type",
        b"etag",
        b"last-modified",
        b"transfer-encoding",
    }
)

# Those name a file, and where it lies is nobody's business.
_NAME_A_FILE = frozenset({b"x-accel-redirect", b"x-sendfile"})

# What Django says of any HttpResponse that isn't told its type: the charset tells.
_DJANGO_DEFAULT_TYPE = re.compile(rb"text/html; charset=.*", re.DOTALL)


class Target(NamedTuple):
    """The file that the application names."""

    is_url: bool
    """A path of a URL, beneath a location's prefix; or of the file system, beneath its root."""
    candidates: list[str]
    """The path, likeliest first: its bytes don't tell their encoding."""
    raw: bytes


class ResponseInterceptor:
    """Stands between the application and ``send``, and keeps back a response that names a file."""

    __slots__ = ("_send", "_started", "headers", "target")

    def __init__(self, send: Send) -> None:
        self._send = send
        self._started = False
        self.target: Target | None = None
        self.headers: Headers = []

    async def send(self, message: Message) -> None:
        if self._started:
            if self.target is None:
                await self._send(message)
            return
        if message["type"] == "http.response.start":
            self._started = True
            given = [*message.get("headers", ())]  # any iterable, which may be read only once
            headers = [(name.lower(), value) for name, value in given]
            if 200 <= message["status"] < 300:
                self.target = target(headers)
            if self.target is not None:
                self.headers = headers
                return
            # Others of X-Accel, such as X-Accel-Buffering of an event stream, are for a proxy.
            given = [pair for pair in given if pair[0].lower() not in _NAME_A_FILE]
            message = {**message, "headers": given}
        await self._send(message)


def target(headers: Iterable[tuple[bytes, bytes]]) -> Target | None:
    """The file that these headers of a response name; ``None`` where they name none."""
    fields = dict(headers)
    if (raw := fields.get(b"x-accel-redirect")) is not None:
        # A URL, so that a query may follow. nginx takes it percent-encoded; what isn't is taken as
        # Django sends it, in Latin-1, or else as bytes.
        urls = [text.partition("?")[0].encode("utf-8", "surrogateescape") for text in _texts(raw)]
        candidates = [merge_slashes(os.fsdecode(unquote_to_bytes(url))) for url in urls]
        return Target(is_url=True, candidates=candidates, raw=raw)
    if (raw := fields.get(b"x-sendfile")) is not None:
        return Target(is_url=False, candidates=[*map(merge_slashes, _texts(raw))], raw=raw)
    return None


def _texts(raw: bytes) -> list[str]:
    text = raw.decode("latin-1")
    if _ENCODED_WORDS.fullmatch(text):
        try:
            return [
                "".join(
                    part if isinstance(part, str) else part.decode(charset or "ascii")
                    for part, charset in decode_header(text)
                )
            ]
        except (HeaderParseError, LookupError, ValueError):  # no such charset, or not in it
            return [text]
    as_bytes = os.fsdecode(raw)
    return [text] if as_bytes == text else [text, as_bytes]


def merged(application: Headers, file: Headers, status: int) -> Headers:
    """The headers of the file's answer, with the application's own kept."""
    own = [
        (name, _framed(value) if name == b"x-frame-options" else value)
        for name, value in application
        if name not in _OF_THE_FILE
        and name not in _NAME_A_FILE
        and not name.startswith(b"x-accel-")
        # Those are about the file, which such an answer does not hold.
        and (status in (200, 206) or not name.startswith(b"content-"))
    ]
    return override(file, own)


def _framed(value: bytes) -> bytes:
    """Django's XFrameOptionsMiddleware denies it for any page, and the site previews its files."""
    return b"SAMEORIGIN" if value.strip(b" \t").upper() == b"DENY" else value


def deliberate_type(application: Headers) -> bytes | None:
    """The Content-Type that the application chose; ``None`` where it left Django's default.

    Of several lines a browser makes one, and so must who asks whether the type is harmless.
    """
    values = [value.strip(b" \t") for name, value in application if name == b"content-type"]
    if all(not value or _DJANGO_DEFAULT_TYPE.match(value) for value in values):
        return None
    return b", ".join(values)


def value(application: Headers, wanted: bytes) -> bytes | None:
    return next((value for name, value in application if name == wanted), None)
