"""
Signed URLs: a client that has one may see one file until the link expires.

::

    /private/a.pdf?media-expires=1700000000&media-download=report.pdf&media-signature=…

``media-expires``: seconds since the epoch. From this time on the link is refused.
``media-download``: the name under which browsers save the file. An empty one means the URL's own.
It is there only if the link was made with ``download``.
``media-signature``: HMAC-SHA256 of the path and the parameters above, by Django's ``core.signing``.
``SECRET_KEY`` makes it. ``SECRET_KEY_FALLBACKS`` verify it too.

The names begin with ``media-``, because a URL may have a query of its own, in which ``expires``,
``download`` and ``signature`` are common. Other parameters don't change what a link allows.
A folder's signature is a segment of the path, so that relative URLs below it carry it too::

    /private/hls/42/media-prefix-1700000000-…/index.m3u8
"""

import math
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import quote, unquote_to_bytes, urlsplit
from weakref import WeakKeyDictionary

from django.core.signing import BadSignature, SignatureExpired, Signer
from django.urls import get_script_prefix
from django.utils.http import content_disposition_header

from .http.host import host_name

Seconds = float | timedelta

# No kind of signature passes for another.
_SALT = "media_asgi.signing"
_PREFIX_SALT = _SALT + ".prefix"

_EXPIRES, _DOWNLOAD, _SIGNATURE = "media-expires", "media-download", "media-signature"
_OURS = frozenset({_EXPIRES, _DOWNLOAD, _SIGNATURE})

# Seconds, above timedelta.max. The time of day plus two of these still has 15 digits.
_LONGEST = 10**14
_DIGITS = re.compile(r"[1-9][0-9]{0,14}")

# Only characters that no client escapes (RFC 3986 section 2.3).
_PREFIX = re.compile(rf"/media-prefix-({_DIGITS.pattern})-([0-9A-Za-z_-]{{43}})(?=/)")

location_prefixes: WeakKeyDictionary[object, str] = WeakKeyDictionary()
"""The URL prefixes of the locations with ``access="signed"``, as far as this process has any."""

# Folders and control characters are not part of a name (RFC 6266 section 4.3).
# content_disposition_header lets a line feed at the end of the name pass into the header.
_NOT_IN_NAMES = re.compile(r"[\x00-\x1f\x7f/\\]")


@dataclass(frozen=True, slots=True)
class Grant:
    """What a valid link allows."""

    expires: int
    """Seconds since the epoch. The link is valid before that time, and not at it."""
    download: str | bool
    """Should the browser save the file instead of showing it? A string is the name to save it
    under."""


def sign_url(
    url: str,
    *,
    expires_in: Seconds = 3600,
    window: Seconds = 0,
    download: str | bool | None = None,
    host: str | None = None,
    now: float | None = None,
) -> str:
    """``url`` with a signature that is valid until the link expires.

    ``url``: percent-encoded, as a storage's ``url()`` returns it. It is an absolute path, or a full
    URL whose path is the one that the server sees. Its query and fragment stay. A new signature
    replaces an old one.

    ``expires_in``: seconds above 0, or a ``timedelta``; by default 3600. The link may live up to a
    second longer, because its end is rounded up to whole seconds.

    ``window``: seconds, or a ``timedelta``; by default 0. The end of the link is rounded up to a
    multiple of it. Within this time a page has the same URL each time it is rendered, so browsers
    can cache the file.

    ``download``: ``True``, or a file name, makes browsers save the file instead of showing it. By
    default ``None``, which is the same as ``False``.

    ``host``: the host for a location that has the option ``host``, such as ``request.get_host()``:
    the link is valid there alone. Its port doesn't count. By default ``None``: the link is for a
    location without ``host``.

    ``now``: seconds since the epoch; by default the clock's.

    Raises ``ValueError`` if an argument is invalid.
    """
    check_download(download)
    parameters = _parameters(_end(expires_in, window, now), download or False)
    rest, hash_, fragment = url.partition("#")
    address, _, query = rest.partition("?")
    path = urlsplit(address).path
    if not path.startswith("/"):
        raise ValueError(
            f"{url!r} has no absolute path. The file that it names would depend on the page that "
            'links to it. Give a path such as "/media/a.pdf", or a full URL.'
        )
    salt, start = _for_host(_SALT, host)
    signature = Signer(salt=salt).signature(start + _signed(unquote_to_bytes(path), parameters))
    own = [pair for pair in query.split("&") if pair.partition("=")[0] not in _OURS]
    if own == [""]:
        own = []
    query = "&".join([*own, parameters, f"{_SIGNATURE}={signature}"])
    return f"{address}?{query}{hash_}{fragment}"


def sign_prefix(
    url: str,
    *,
    expires_in: Seconds = 3600,
    window: Seconds = 0,
    host: str | None = None,
    now: float | None = None,
) -> str:
    """``url``, a folder's, with a signature in its path. Any relative URL may follow it.

    It opens all files of the folder and of its subfolders, for playlists, 3D scenes and bundles,
    which ask for their parts by relative URLs without a query.

    ``url``: as that of ``sign_url``, with ``/`` at its end, and without query and fragment. It lies
    below one location with ``access="signed"``. The other arguments are those of ``sign_url``.

    Raises ``ValueError`` if an argument is invalid.
    """
    path = unquote_to_bytes(urlsplit(url).path)
    segments = path.split(b"/")[1:-1]
    if (
        re.search("[?#]", url)
        or not path.endswith(b"/")
        or not segments
        or not {b"", b".", b".."}.isdisjoint(segments)
    ):
        raise ValueError(
            f"{url!r} is not the URL of a folder. Give an absolute path with a slash at its end, "
            'such as "/private/hls/42/", or a full URL.'
        )
    known, mount = set(location_prefixes.values()), get_script_prefix().rstrip("/").encode()
    starts = [start for prefix in known for start in (prefix.encode(), mount + prefix.encode())]
    if known and not path.startswith(tuple(starts)):
        raise ValueError(
            f"{url!r} is not below a location with access='signed'. There are {sorted(known)}."
        )
    expires = _end(expires_in, window, now)
    salt, start = _for_host(_PREFIX_SALT, host)
    signature = Signer(salt=salt).signature(start + _signed(path, _parameters(expires, False)))
    return f"{url}media-prefix-{expires}-{signature}/"


def without_signature(path: str) -> str:
    """``path``, below a location, without the signature of a folder."""
    return _PREFIX.sub("", f"/{path}", count=1)[1:]


def verify(
    path: str,
    query_string: bytes,
    *,
    aliases: Iterable[str] = (),
    host: str | None = None,
    leeway: Seconds = 0,
    now: float | None = None,
) -> Grant:
    """What the link with this path and query allows. A folder's signature in the path counts alone.

    ``path``: decoded, as ASGI has it. Bytes that are not UTF-8 are those of ``surrogateescape``.

    ``query_string``: percent-encoded, as ASGI has it.

    ``aliases``: other decoded paths of the same file with which a link may have been signed, such
    as the path without a script name. Each of them must lead to this file.

    ``host``: the request's, if the location has the option ``host``; by default ``None``.

    ``leeway``: seconds, or a ``timedelta``; by default 0. A link is valid for so long after its
    end. This is for machines whose clocks differ.

    ``now``: seconds since the epoch; by default the clock's.

    Raises Django's ``BadSignature`` if the link is altered, incomplete or not signed, and its
    subclass ``SignatureExpired`` if the link has expired. Raises ``ValueError`` if ``leeway`` is
    invalid.
    """
    allowance = seconds("leeway", leeway, or_zero=True)
    paths = [path, *aliases]
    if prefix := _PREFIX.search(path):
        salt, grant, signature = _PREFIX_SALT, Grant(int(prefix[1]), False), prefix[2]
        rest = path[prefix.start() + 1 :]
        paths = [one.removesuffix(rest) for one in paths if one.endswith(rest)]
    else:
        salt = _SALT
        grant, signature = _read(query_string)
    parameters = _parameters(grant.expires, grant.download)
    if host == "":
        raise BadSignature("The request has no valid host.")
    salt, start = _for_host(salt, host)
    if not any(_holds(start + _signed_path(one, parameters), signature, salt) for one in paths):
        raise BadSignature("The link's signature does not match.")
    if (time.time() if now is None else now) >= grant.expires + allowance:
        raise SignatureExpired(f"The link expired at {grant.expires}.")
    return grant


def headers(grant: Grant, now: float) -> list[tuple[bytes, bytes]]:
    """The headers of a file that a client gets by a link. ``now``: seconds since the epoch.

    The client's own cache may keep the file until the link expires (RFC 9111 section 5.2.2).
    Pages that the file links to don't learn the link.
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
    """The option ``name`` in seconds. Raises ``ValueError`` if it is not a length of time."""
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
    """Raises ``ValueError`` if a file can't be saved under this name."""
    if download is None or isinstance(download, bool):
        return
    if not isinstance(download, str) or not download:
        raise ValueError(
            f"download is {download!r}. Give the name under which browsers save the file, True "
            "for the URL's own name, or None."
        )
    try:
        download.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(
            f"download is {download!r}. A header can't carry this text (RFC 8187). Give a name "
            "without lone surrogates, or True for the URL's own name."
        ) from None


def _end(expires_in: Seconds, window: Seconds, now: float | None) -> int:
    lifetime = seconds("expires_in", expires_in)
    step = max(1, math.ceil(seconds("window", window, or_zero=True)))
    end = math.ceil((time.time() if now is None else now) + lifetime)
    return -(-end // step) * step


def _parameters(expires: int, download: str | bool) -> str:
    if not download:
        return f"{_EXPIRES}={expires}"
    name = "" if download is True else quote(download, safe="")
    return f"{_EXPIRES}={expires}&{_DOWNLOAD}={name}"


def _signed(path: bytes, parameters: str) -> str:
    """The text that is signed. All spellings of a URL have the same text.

    A file's name can't make this text that of another URL, or add a parameter to it: the
    characters that could ("?", "&", "=", ":") are escaped.
    """
    return f"{quote(path)}?{parameters}"


def _signed_path(path: str, parameters: str) -> str:
    try:
        return _signed(path.encode("utf-8", "surrogateescape"), parameters)
    except UnicodeError:
        raise BadSignature("The link's path is not UTF-8.") from None


def _for_host(salt: str, host: str | None) -> tuple[str, str]:
    """The salt, and what the signed text begins with. Links without a host have another salt."""
    if host is None:
        return salt, ""
    if not (name := host_name(host)):
        raise ValueError(f'host is {host!r}. Give a name such as "media.example.com".')
    return salt + ".host", name


def _holds(signed: str, signature: str, salt: str) -> bool:
    try:
        Signer(salt=salt).unsign(f"{signed}:{signature}")
    except BadSignature:
        return False
    return True


def _read(query_string: bytes) -> tuple[Grant, str]:
    """The grant that a query claims, and its signature. Raises ``BadSignature``."""
    found: dict[str, str] = {}
    try:
        for pair in query_string.split(b"&"):
            raw, _, value = pair.partition(b"=")
            if (name := raw.decode("latin-1")) in found:
                raise BadSignature(f"The link has more than one {name}.")
            if name in _OURS:
                found[name] = value.decode("utf-8")  # still percent-encoded
        expires, signature = found[_EXPIRES], found[_SIGNATURE]
        download: str | bool = False
        if (encoded := found.get(_DOWNLOAD)) is not None:
            # Proxies and clients may write a space as "+", and may escape other characters.
            download = unquote_to_bytes(encoded.replace("+", " ")).decode("utf-8") or True
    except KeyError as error:
        raise BadSignature(f"The link has no {error.args[0]}.") from None
    except UnicodeError:
        raise BadSignature("The link's query is not UTF-8.") from None
    if not _DIGITS.fullmatch(expires):
        raise BadSignature(f"The link's {_EXPIRES} is not a time.")
    return Grant(int(expires), download), signature
