"""
Files that the application hands over: it answers with ``X-Accel-Redirect``, as for nginx, or with
``X-Sendfile``, as for Apache.
"""

import os
import re
from collections.abc import Callable, Iterable
from email.errors import HeaderParseError
from email.header import decode_header
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from ..http.headers import override
from ..http.path import merge_slashes
from ..types import Headers, Message, Send
from .base import HeaderOverrides

# Django writes a value that is not Latin-1 as encoded words (RFC 2047), and the value holds nothing
# else. A file may have the name of such a word, but its whole path can't be one.
_ENCODED_WORDS = re.compile(
    r"=\?[A-Za-z0-9-]+\?[BbQq]\?[^? \t]*\?=(?:[ \t]+=\?[A-Za-z0-9-]+\?[BbQq]\?[^? \t]*\?=)*"
)

# int() raises ValueError for thousands of digits.
_NUMBER = re.compile(rb"[0-9]{1,15}")
_EXPIRES = re.compile(rb"[ \t]*(@)?([0-9]{1,15})[ \t]*")

# The file's own values count. Those of the application are about the body that is dropped.
_OF_THE_FILE = frozenset(
    {
        *(b"accept-ranges", b"content-encoding", b"content-length", b"content-range"),
        *(b"etag", b"last-modified", b"transfer-encoding"),
        b"content-language",  # Django's LocaleMiddleware sets it, as for a page
        b"content-type",  # see deliberate_type. A multipart response has its own
        b"date",  # the server, or the writer for Daphne, adds its own
    }
)

# Clients must not learn where a file lies.
_NAME_A_FILE = frozenset({b"x-accel-redirect", b"x-sendfile"})

# Django's type for an HttpResponse whose view didn't choose one. It always has a charset.
_DJANGO_DEFAULT_TYPE = re.compile(rb"text/html; charset=.*", re.DOTALL)


class Target(NamedTuple):
    """The file that the application names."""

    is_url: bool
    """Is the path that of a URL, below a location's prefix? Else it is one of the file system."""
    candidates: list[str]
    """The possible paths, the likeliest first: the encoding of the header's bytes is not known."""
    raw: bytes


class ResponseInterceptor:
    """Stands between the application and ``send``, and withholds a response that names a file."""

    __slots__ = ("_drop_body", "_send", "_started", "headers", "target")

    def __init__(self, send: Send, drop_body: Callable[[], None] | None = None) -> None:
        """``drop_body`` tells the application that nobody wants the body."""
        self._send = send
        self._drop_body = drop_body
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
            given = [*message.get("headers", ())]  # ASGI allows an iterator, which is read once
            headers = [(name.lower(), value) for name, value in given]
            if 200 <= message["status"] < 300:
                self.target = target(headers)
            if self.target is not None:
                self.headers = headers
                if self._drop_body is not None:
                    self._drop_body()
                return
            # Other X-Accel headers are for a proxy, such as X-Accel-Buffering of an event stream.
            given = [pair for pair in given if pair[0].lower() not in _NAME_A_FILE]
            message = {**message, "headers": given}
        await self._send(message)


def target(headers: Iterable[tuple[bytes, bytes]]) -> Target | None:
    """The file that the headers of a response name; ``None`` if they don't name one."""
    fields = dict(headers)
    if (raw := fields.get(b"x-accel-redirect")) is not None:
        # It is a URL, so a query may follow. As for nginx it is percent-encoded. A path that is not
        # encoded is read as Latin-1, which Django sends, and then as the bytes of a name.
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
            # A line end, which Latin-1 has too (NEL), splits a word into parts without a charset.
            return [
                "".join(
                    part if isinstance(part, str) else part.decode(charset or "ascii")
                    for part, charset in decode_header(text)
                )
            ]
        except (HeaderParseError, LookupError, ValueError):  # the charset is unknown, or wrong
            return [text]
    as_bytes = os.fsdecode(raw)
    return [text] if as_bytes == text else [text, as_bytes]


def merged(application: Headers, file: Headers, status: int) -> Headers:
    """The headers of the file's response, together with those that the application set."""
    return override(file, own_fields(application, status))


def own_fields(application: Headers, status: int) -> Headers:
    """The application's headers that belong on a response of this status about a file."""
    return [
        (name, _framed(value) if name == b"x-frame-options" else value)
        for name, value in application
        if name not in _OF_THE_FILE
        and name not in _NAME_A_FILE
        and not name.startswith(b"x-accel-")
        # These headers are about the file, and a 304 or an error doesn't hold it.
        and (status in (200, 206) or not name.startswith(b"content-"))
    ]


def _framed(value: bytes) -> bytes:
    """Allow the site's own pages to frame the file.

    Django's XFrameOptionsMiddleware sets DENY on every page, but sites preview files in frames.
    """
    return b"SAMEORIGIN" if value.strip(b" \t").upper() == b"DENY" else value


def overrides(application: Headers) -> HeaderOverrides:
    """What the application's headers change of the file's."""
    return HeaderOverrides(deliberate_type(application), value(application, b"cache-control"))


def deliberate_type(application: Headers) -> bytes | None:
    """The Content-Type that the application chose; ``None`` if it is Django's default.

    A browser reads several lines as one, so they are joined before the sandbox is decided.
    """
    values = [value.strip(b" \t") for name, value in application if name == b"content-type"]
    if all(not value or _DJANGO_DEFAULT_TYPE.match(value) for value in values):
        return None
    return b", ".join(values)


def with_expiry(application: Headers, now: float) -> Headers:
    """The headers with ``X-Accel-Expires`` in place of ``Cache-Control``, as it counts in nginx.

    It is a number of seconds, or ``@`` and a time since the epoch. 0 is "not at all".
    """
    match = _EXPIRES.fullmatch(value(application, b"x-accel-expires") or b"")
    if match is None:
        return application
    seconds = int(match[2]) - (int(now) if match[1] else 0)
    cache_control = b"private, max-age=%d" % seconds if seconds > 0 else b"no-store"
    return override(application, [(b"cache-control", cache_control)])


def limit_rate(application: Headers) -> int | None:
    """Bytes a second, 0 for "no limit"; ``None`` if the application didn't say."""
    raw = (value(application, b"x-accel-limit-rate") or b"").strip(b" \t")
    return int(raw) if _NUMBER.fullmatch(raw) else None


def value(application: Headers, wanted: bytes) -> bytes | None:
    """The first value of the header ``wanted``; ``None`` if it is missing."""
    return next((value for name, value in application if name == wanted), None)
