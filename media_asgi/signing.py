"""
Signed URLs: whoever has one may see one file until the link expires.

::

    /private/a.pdf?media-expires=1700000000&media-download=report.pdf&media-signature=…

``media-expires``: seconds since the epoch, from which on the link is refused.

``media-download``: the name that browsers save the file under; empty: the URL's own. Only where it
was asked for.

``media-signature``: HMAC-SHA256, by Django's ``core.signing``, of the path and the parameters
above. ``SECRET_KEY`` makes it, and ``SECRET_KEY_FALLBACKS`` are good for it too.

The names begin with ``media-`` because a URL may have a query of its own, where ``expires``,
``download`` and ``signature`` are common. Other parameters neither break nor extend a link. The
host is not signed.
"""

import math
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import quote, unquote_to_bytes, urlsplit

from django.core.signing import BadSignature, SignatureExpired, Signer
from django.utils.http import content_disposition_header

Seconds = float | timedelta

_SALT = "media_asgi.signing"

_EXPIRES, _DOWNLOAD, _SIGNATURE = "media-expires", "media-download", "media-signature"
_OURS = frozenset({_EXPIRES, _DOWNLOAD, _SIGNATURE})

# Above timedelta.max; two of these and the time of day still have 15 digits.
_LONGEST = 10**14
_DIGITS = re.compile(r"[1-9][0-9]{0,14}")

# Folders and control characters are no part of a name (RFC 6266 section 4.3), and a line feed at
# its end would pass content_disposition_header into the header.
_NOT_IN_NAMES = re.compile(r"[\x00-\x1f\x7f/\\]")


@dataclass(frozen=True, slots=True)
class Grant:
    """What a link that holds allows."""

    expires: int
    """Seconds since the epoch; a link is good before, not at, that time."""
    download: str | bool
    """``True``: to be saved, not shown; a string: under this name."""


def sign_url(
    url: str,
    *,
    expires_in: Seconds = 3600,
    window: Seconds = 0,
    download: str | bool | None = None,
    now: float | None = None,
) -> str:
    """``url``, good until it expires.

    ``url``: percent-encoded, as a storage's ``url()`` gives it: an absolute path, or a full URL
    whose path is the one that the server sees. Its query and fragment stay. If it is signed
    already, the new signature replaces the old one.

    ``expires_in``: seconds or a ``timedelta``, above 0. By default an hour. The link lives up to a
    second longer, because the time of its end is rounded up to whole seconds.

    ``window``: the time of the link's end is rounded up to a multiple of so many seconds, or of a
    ``timedelta``. A page that is rendered twice within it has the same URL both times, which
    browsers can cache. By default 0: not rounded.

    ``download``: ``True``, or a file name, makes browsers save the file instead of showing it. By
    default ``None``, which ``False`` also means.

    ``now``: seconds since the epoch. By default the clock's.

    Raises ``ValueError`` for what can't be meant.
    """
    lifetime = seconds("expires_in", expires_in)
    step = max(1, math.ceil(seconds("window", window, or_zero=True)))
    check_download(download)
    rest, hash_, fragment = url.partition("#")
    address, _, query = rest.partition("?")
    path = urlsplit(address).path
    if not path.startswith("/"):
        raise ValueError(
            f"{url!r} has no absolute path, so what it names depends on the page it is on. Give a "
            'path such as "/media/a.pdf", or a full URL.'
        )
    end = math.ceil((time.time() if now is None else now) + lifetime)
    parameters = _parameters(-(-end // step) * step, download or False)
    signature = Signer(salt=_SALT).signature(_signed(unquote_to_bytes(path), parameters))
    own = [pair for pair in query.split("&") if pair.partition("=")[0] not in _OURS]
    if own == [""]:
        own = []
    query = "&".join([*own, parameters, f"{_SIGNATURE}={signature}"])
    return f"{address}?{query}{hash_}{fragment}"


def verify(
    path: str,
    query_string: bytes,
    *,
    aliases: Iterable[str] = (),
    leeway: Seconds = 0,
    now: float | None = None,
) -> Grant:
    """What the link with this path and query allows.

    ``path``: decoded, as ASGI gives it, with bytes that are no UTF-8 as ``surrogateescape`` makes
    them.

    ``query_string``: percent-encoded, as ASGI gives it.

    ``aliases``: other decoded paths that a link to this file may have been signed with, such as
    with and without a script name. Each must lead to this very file.

    ``leeway``: seconds, or a ``timedelta``, for which a link is good after its end, where the
    clocks of the machines that sign and serve differ. By default 0.

    ``now``: seconds since the epoch. By default the clock's.

    Raises Django's ``BadSignature`` for a link that is altered, incomplete or no link at all, and
    its subclass ``SignatureExpired`` for one that was good once.
    """
    allowance = seconds("leeway", leeway, or_zero=True)
    grant, signature = _read(query_string)
    parameters = _parameters(grant.expires, grant.download)
    try:
        candidates = [
            _signed(reading.encode("utf-8", "surrogateescape"), parameters)
            for reading in (path, *aliases)
        ]
    except UnicodeError:
        raise BadSignature("The link's path is not UTF-8.") from None
    if not any(_holds(candidate, signature) for candidate in candidates):
        raise BadSignature("The link's signature does not match.")
    if (time.time() if now is None else now) >= grant.expires + allowance:
        raise SignatureExpired(f"The link expired at {grant.expires}.")
    return grant


def headers(grant: Grant, now: float) -> list[tuple[bytes, bytes]]:
    """The headers of a file that is served by a link. ``now``: seconds since the epoch.

    Caches may keep it for the one who has the link, until that ends (RFC 9111 section 5.2.2), and
    no page it leads to learns the link.
    """
    left = max(0, math.floor(grant.expires - now))
    fields = [
        (b"cache-control", b"private, max-age=%d" % left),
        (b"referrer-policy", b"no-referrer"),
    ]
    if grant.download:
        name = "" if grant.download is True else _NOT_IN_NAMES.sub("_", grant.download)
        disposition = content_disposition_header(True, name) or "attachment"
        fields.append((b"content-disposition", disposition.encode("ascii")))
    return fields


def seconds(name: str, value: Seconds, *, or_zero: bool = False) -> float:
    """The option ``name`` in seconds. Raises ``ValueError`` for what is no length of time."""
    number = value.total_seconds() if isinstance(value, timedelta) else value
    if (
        isinstance(number, bool)
        or not isinstance(number, int | float)
        or not (0 < number < _LONGEST or (or_zero and number == 0))
    ):
        above = "0 or more" if or_zero else "above 0"
        raise ValueError(
            f"{name} is {value!r}. Give a number of seconds, {above} and below {_LONGEST:.0e}, or "
            "a timedelta."
        )
    return number


def check_download(download: object) -> None:
    """Refuse, with ``ValueError``, what is no name to save a file under."""
    if download is None or isinstance(download, bool):
        return
    if not isinstance(download, str) or not download:
        raise ValueError(
            f"download is {download!r}. Give the file name that browsers shall save it under, True "
            "for the URL's own, or None."
        )
    try:
        download.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(
            f"download is {download!r}, which is no text that a header can carry (RFC 8187). Give "
            "a name without lone surrogates, or True for the URL's own."
        ) from None


def _parameters(expires: int, download: str | bool) -> str:
    if not download:
        return f"{_EXPIRES}={expires}"
    name = "" if download is True else quote(download, safe="")
    return f"{_EXPIRES}={expires}&{_DOWNLOAD}={name}"


def _signed(path: bytes, parameters: str) -> str:
    """What is signed: the URL in the one spelling that all of its spellings have in common.

    No name of a file makes it read as another URL, nor as one with a part of a signature: what
    would do so ("?", "&", "=", ":") is escaped.
    """
    return f"{quote(path)}?{parameters}"


def _holds(signed: str, signature: str) -> bool:
    try:
        Signer(salt=_SALT).unsign(f"{signed}:{signature}")
    except BadSignature:
        return False
    return True


def _read(query_string: bytes) -> tuple[Grant, str]:
    """The grant that a query claims, and its signature. Raises ``BadSignature``."""
    try:
        found = _find(query_string.split(b"&"))
        expires, signature = found[_EXPIRES], found[_SIGNATURE]
        download: str | bool = False
        if (encoded := found.get(_DOWNLOAD)) is not None:
            # Proxies and clients may write a space as "+", and all of it in other escapes.
            download = unquote_to_bytes(encoded.replace("+", " ")).decode("utf-8") or True
    except KeyError as error:
        raise BadSignature(f"The link has no {error.args[0]}.") from None
    except UnicodeError:
        raise BadSignature("The link's query is not UTF-8.") from None
    if not _DIGITS.fullmatch(expires):
        raise BadSignature(f"The link's {_EXPIRES} is not a time.")
    return Grant(int(expires), download), signature


def _find(pairs: list[bytes]) -> dict[str, str]:
    """Our parameters of a query, still percent-encoded. Raises ``BadSignature`` for a repeated one.

    Raises ``UnicodeError`` where one is no UTF-8.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        if pair.startswith(b"media-"):
            raw, _, value = pair.partition(b"=")
            name = raw.decode("ascii", "replace")
            if name in found:
                raise BadSignature(f"The link has more than one {name}.")
            if name in _OURS:
                found[name] = value.decode("utf-8")
    return found
