"""
What is known of an opened file: type, validators, and the headers that describe it.

Pure: the file's ``stat`` and the time are arguments.
"""

import mimetypes
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.utils.http import http_date

from ..types import Headers


class KeptHeaders(Headers):
    """Those of an answer that is given again and again."""

    form: tuple[Any, Any, Any] = (None, None, None)
    """The server's own form of them, the server, and the ``Date`` in it."""


# The library's own table only: by default mimetypes also reads the machine's files, and types would
# differ from one machine to the next.
_TYPES = mimetypes.MimeTypes(filenames=())

# What media folders hold and the oldest supported Python does not know, or Pythons disagree on.
for _extension, _type in {
    ".7z": "application/x-7z-compressed",
    ".aac": "audio/aac",
    ".apng": "image/apng",
    ".avif": "image/avif",
    ".csv": "text/csv",
    ".dng": "image/x-adobe-dng",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".emf": "image/emf",
    ".eot": "application/vnd.ms-fontobject",
    ".epub": "application/epub+zip",
    ".flac": "audio/flac",
    ".geojson": "application/geo+json",
    ".glb": "model/gltf-binary",
    ".gltf": "model/gltf+json",
    ".gpx": "application/gpx+xml",
    ".heic": "image/heic",
    ".heif": "image/heif",
    ".ics": "text/calendar",
    ".jfif": "image/jpeg",
    ".jp2": "image/jp2",
    ".js": "text/javascript",
    ".jxl": "image/jxl",
    ".m3u8": "application/vnd.apple.mpegurl",
    ".m4a": "audio/mp4",
    ".m4s": "video/iso.segment",
    ".m4v": "video/mp4",
    ".map": "application/json",
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".mjs": "text/javascript",
    ".mid": "audio/midi",
    ".midi": "audio/midi",
    ".mkv": "video/matroska",
    ".mov": "video/quicktime",
    ".mp3": "audio/mpeg",
    ".mpd": "application/dash+xml",
    ".mpg4": "video/mp4",
    ".obj": "model/obj",
    ".odg": "application/vnd.oasis.opendocument.graphics",
    ".odp": "application/vnd.oasis.opendocument.presentation",
    ".ods": "application/vnd.oasis.opendocument.spreadsheet",
    ".odt": "application/vnd.oasis.opendocument.text",
    ".oga": "audio/ogg",
    ".ogg": "audio/ogg",
    ".ogv": "video/ogg",
    ".opus": "audio/ogg",
    ".otf": "font/otf",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".psd": "image/vnd.adobe.photoshop",
    ".rar": "application/vnd.rar",
    ".rst": "text/x-rst",
    ".rtf": "application/rtf",
    ".srt": "text/plain",
    ".stl": "model/stl",
    ".toml": "application/toml",
    ".ts": "video/mp2t",
    ".ttc": "font/collection",
    ".ttf": "font/ttf",
    ".usdz": "model/vnd.usdz+zip",
    ".vtt": "text/vtt",
    ".wasm": "application/wasm",
    ".wav": "audio/wav",
    ".weba": "audio/webm",
    ".webm": "video/webm",
    ".webp": "image/webp",
    ".wma": "audio/x-ms-wma",
    ".wmf": "image/wmf",
    ".wmv": "video/x-ms-wmv",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}.items():
    _TYPES.add_type(_type, _extension)

# A compressed file is served as what it is: with Content-Encoding a browser would store
# "backup.tar.gz" unpacked under its packed name.
_COMPRESSED = {
    "br": "application/x-brotli",
    "bzip2": "application/x-bzip2",
    "compress": "application/x-compress",
    "gzip": "application/gzip",
    "xz": "application/x-xz",
    "zstd": "application/zstd",
}
_TYPES.encodings_map |= {".z": "compress", ".zst": "zstd"}  # names are looked up in lower case

DEFAULT_TYPE = "application/octet-stream"

# A name of which only the ending is left. Django stores "!!!.mp4" as ".mp4", and where
# that is taken as ".mp4_m4tgpwS". Other code drops whatever isn't Latin. Pictures, sound, film,
# fonts, PDF, office formats, ZIP and gzip: no program keeps settings or secrets under such a name.
_NAMELESS = re.compile(
    r"""(\.(?:apng|avif|bmp|gif|heic|heif|ico|jfif|jp2|jpe|jpe?g|jxl|png|psd|svg|tiff?|webp
    |aac|aiff?|flac|m4a|midi?|mp3|oga|ogg|opus|wav|weba|wma
    |3gp|avi|m4v|mkv|mov|mp4|mpe?g|ogv|webm|wmv
    |eot|otf|ttc|ttf|woff2?
    |pdf
    |docx?|odg|odp|ods|odt|pptx?|rtf|xlsx?
    |zip|gz))(?:_[a-z0-9]{7})?""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)

# Opened as a page, a file of one of these types runs nothing in the site's origin: pictures, sound,
# films and fonts, and what a browser shows as text, in a viewer of its own, or downloads. Whatever
# is not known to be harmless is sandboxed (see SANDBOX).
_PASSIVE = frozenset(
    {
        DEFAULT_TYPE,
        "application/gzip",
        "application/json",
        "application/pdf",
        "application/zip",
        "text/calendar",
        "text/css",
        "text/csv",
        "text/markdown",
        "text/plain",
        "text/vtt",
    }
)
_PASSIVE_KINDS = frozenset({"audio", "font", "image", "video"})

# One media type and nothing besides (RFC 9110 section 8.3.1). Of several, separated by commas or in
# several lines, browsers take the last that they can read
# (https://fetch.spec.whatwg.org/#concept-header-extract-mime-type). A backslash in a quoted string
# is not read by all of them alike.
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_MEDIA_TYPE = re.compile(
    rf"""({_TOKEN})/({_TOKEN})(?:[ \t]*;[ \t]*{_TOKEN}=(?:{_TOKEN}|"[^"\\\x00-\x1f\x7f]*"))*"""
)

# No script, no form, no plug-in, and an opaque origin, whose cookies and storage are not the site's
# (https://www.w3.org/TR/CSP3/#directive-sandbox). A picture's own styles go on working in <img>.
SANDBOX = b"default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; sandbox"

# A browser is to take a file for what it is said to be, and nothing else.
NOSNIFF = (b"x-content-type-options", b"nosniff")

# A time stamp vouches for a file only once the clock has left it behind: a change in the same tick
# leaves no trace. Two seconds is FAT's tick, the coarsest in use; ext4's is some milliseconds.
_YOUNG = 2.0


class FileInfo(NamedTuple):
    """What a source knows of a file."""

    size: int
    """Bytes."""
    modified: int | None
    """Nanoseconds since the epoch; ``None`` if the time says nothing."""
    version: Hashable
    """Changes whenever the bytes do: the key of every cache."""
    changed: int = 0
    """The time stamp that vouches for the version, in nanoseconds. A change in the same tick of its
    clock has the same stamp. 0 if no clock is part of the version."""
    etag: bytes | None = None
    """The source's own entity tag; ``None``: it is made of ``modified`` and ``size``."""
    headers: Sequence[tuple[bytes, bytes]] = ()
    """Header fields that belong to these bytes, such as Content-Encoding. Names in lower case."""


@dataclass(frozen=True, slots=True)
class Representation:
    """A file as RFC 9110 sees it (section 3.2)."""

    size: int
    """Bytes."""
    content_type: bytes
    etag: bytes
    """Of nanosecond mtime and size alone, so that it is the same on every replica."""
    modified: int | None
    """Seconds since the epoch; never later than the time of the answer (section 8.8.2.1).

    ``None`` where the file's mtime says nothing: then the tag is of this machine's ctime and inode.
    """
    last_modified: bytes
    """``modified`` as an HTTP-date."""
    settled: bool
    """Has a change of the file another tag? Not within one tick of the clock that stamps it."""
    dated: bool
    """Is ``modified`` a strong validator, too (section 8.8.2.2)?"""
    lasting: bool
    """Is all of this so as long as the file is the same?"""
    cache_control: bytes
    extra: Headers
    """Headers of every answer with this file: security and the location's own."""


def content_type(name: str, overrides: Mapping[str, str] | None = None) -> str:
    """The media type of a file of that name, the same on every machine.

    ``overrides`` maps lower-case endings (``".md"``, ``".tar.gz"``) to types; the longest wins.
    """
    base = name.rpartition("/")[2].lower()
    if (ending := nameless(base)) is not None:
        base = f"a{ending}"
    if overrides:
        parts = base.split(".")
        for first in range(1, len(parts)):
            if (own := overrides.get("." + ".".join(parts[first:]))) is not None:
                return own
    # A name is no URL: with a scheme before it ("data:x.html") guess_type would read it as one.
    type_, encoding = _TYPES.guess_type("/" + base)
    if encoding is not None:
        return _COMPRESSED.get(encoding, DEFAULT_TYPE)
    if type_ is None:
        return DEFAULT_TYPE
    return f"{type_}; charset=utf-8" if type_.startswith("text/") else type_


def nameless(segment: str) -> str | None:
    """The ending of a file that was left without a name; ``None`` of any other."""
    match = _NAMELESS.fullmatch(segment)
    return match and match[1]


def runs_no_script(type_: str) -> bool:
    """Is a file of this type sure to run nothing when a browser opens it as a page?

    What isn't exactly one media type may be read as another one.
    """
    match = _MEDIA_TYPE.fullmatch(type_)
    if match is None:
        return False
    kind, subtype = match[1].lower(), match[2].lower()
    return f"{kind}/{subtype}" in _PASSIVE or (kind in _PASSIVE_KINDS and "xml" not in subtype)


# Of these every line counts (RFC 9110 section 12.5.5, CSP3 section 3.1).
_ADDED = frozenset({b"vary", b"content-security-policy"})


def override(base: Iterable[tuple[bytes, bytes]], over: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Headers in which those of ``over`` take the place of their namesakes."""
    over = list(over)
    names = {name for name, _ in over} - _ADDED
    return [*(pair for pair in base if pair[0] not in names), *over]


def is_settled(stamp: int, now: float) -> bool:
    """Would any change after this time stamp (nanoseconds since the epoch) have left another?

    One that is ahead of the clock would be set back by it.
    """
    return not 0 <= now - stamp / 1e9 < _YOUNG


def describe(
    info: FileInfo,
    now: float,
    *,
    content_type: bytes = DEFAULT_TYPE.encode(),
    cache_control: bytes = b"no-cache",
    extra: Headers | None = None,
) -> Representation:
    """The representation of a file at ``now`` (seconds since the epoch)."""
    modified, dated = None, False
    if info.modified is not None:
        seconds = info.modified // 1_000_000_000
        modified = max(min(seconds, int(now)), 0)
        dated = modified == seconds and is_settled(info.modified, now)
    if info.etag is None:
        assert info.modified is not None
        stamp, etag = info.modified, b'"%x-%x"' % (info.modified, info.size)
    else:
        stamp, etag = info.changed, info.etag
    settled = is_settled(stamp, now)
    # A stamp ahead of the clock is young once the clock has come to it.
    lasting = settled and stamp <= now * 1e9
    return Representation(
        size=info.size,
        content_type=content_type,
        etag=etag,
        modified=modified,
        last_modified=b"" if modified is None else http_date(modified).encode("ascii"),
        settled=settled,
        dated=lasting and dated,
        lasting=lasting,
        cache_control=cache_control,
        extra=extra if extra is not None else [],
    )
