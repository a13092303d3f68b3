"""
The media type of a file by its name, and which types a browser runs.

Pure, and the same on every machine.
"""

import mimetypes
import os
import re
from collections.abc import Mapping

# Neither the library's own table, which grows with each Python, nor the files of the machine, which
# mimetypes reads by default.
_TYPES = mimetypes.MimeTypes()
_TYPES.types_map = ({}, {})
_TYPES.read(os.path.join(os.path.dirname(__file__), "mime.types"))

# What the data set lacks, or where it is behind IANA's registry, or has another type than browsers
# know. Programs and subtitles are text, which a browser shows.
for _extension, _type in {
    ".3gpp": "video/3gpp",
    ".arrow": "application/vnd.apache.arrow.file",
    ".ass": "text/x-ssa",
    ".bat": "text/plain",
    ".c": "text/plain",
    ".cbr": "application/vnd.comicbook-rar",
    ".cbz": "application/vnd.comicbook+zip",
    ".flac": "audio/flac",
    ".h": "text/plain",
    ".h5": "application/x-hdf5",
    ".jfif": "image/jpeg",
    ".jsonl": "application/jsonl",
    ".ksh": "text/plain",
    ".m3u": "application/vnd.apple.mpegurl",
    ".m4r": "audio/mp4",
    ".m4v": "video/mp4",
    ".mk3d": "video/matroska-3d",
    ".mka": "audio/matroska",
    ".mkv": "video/matroska",
    ".ndjson": "application/x-ndjson",
    ".parquet": "application/vnd.apache.parquet",
    ".pl": "text/plain",
    ".ply": "model/ply",
    ".py": "text/x-python",
    ".rst": "text/x-rst",
    ".rtf": "application/rtf",
    ".srt": "text/plain",
    ".ssa": "text/x-ssa",
    ".usd": "model/vnd.pixar.usd",
    ".usdc": "model/vnd.pixar.usd",
    ".vcf": "text/vcard",
    ".wav": "audio/wav",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}.items():
    _TYPES.add_type(_type, _extension)

# A compressed file has the type of its compression. With Content-Encoding instead, a browser would
# store "backup.tar.gz" unpacked under this name.
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

# Names of which only the ending is left. Django stores "!!!.mp4" as ".mp4", and a second one as
# ".mp4_m4tgpwS". Other code drops characters that are not Latin. These are pictures, sound, film,
# fonts, PDF, office formats, ZIP and gzip: programs don't keep settings or secrets in such files.
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

# A file of one of these types runs nothing in the site's origin when it is opened as a page. A
# browser shows it as text or in a viewer, plays it, or downloads it. All other types are sandboxed
# (see SANDBOX).
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

# Exactly one media type (RFC 9110 section 8.3.1). If there are several, separated by commas or in
# several lines, a browser takes the last one that it can read
# (https://fetch.spec.whatwg.org/#concept-header-extract-mime-type). Browsers disagree about a
# backslash in a quoted string, so it is not allowed here.
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_MEDIA_TYPE = re.compile(
    rf"""({_TOKEN})/({_TOKEN})(?:[ \t]*;[ \t]*{_TOKEN}=(?:{_TOKEN}|"[^"\\\x00-\x1f\x7f]*"))*"""
)

# It forbids scripts, forms and plug-ins, and gives the page an opaque origin, without the cookies
# and the storage of the site (https://www.w3.org/TR/CSP3/#directive-sandbox). The styles of a
# picture still work in <img>.
SANDBOX = b"default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; sandbox"


def content_type(name: str, overrides: Mapping[str, str] | None = None) -> str:
    """The media type of a file with this name. It is the same on every machine.

    ``overrides`` maps endings in lower case (``".md"``, ``".tar.gz"``) to types. The longest ending
    counts. A whole name is the longest, with a dot before it as every ending has one.
    """
    base = name.rpartition("/")[2].lower()
    if (ending := nameless(base)) is not None:
        base = f"a{ending}"
    if overrides:
        parts = base.split(".")
        for first in range(len(parts)):
            if (own := overrides.get("." + ".".join(parts[first:]))) is not None:
                return own
    # guess_type would read a name such as "data:x.html" as a URL.
    type_, encoding = _TYPES.guess_type("/" + base)
    if encoding is not None:
        return _COMPRESSED.get(encoding, DEFAULT_TYPE)
    if type_ is None:
        return DEFAULT_TYPE
    return f"{type_}; charset=utf-8" if type_.startswith("text/") else type_


def nameless(segment: str) -> str | None:
    """The ending of a file that has only an ending; ``None`` for other files."""
    match = _NAMELESS.fullmatch(segment)
    return match and match[1]


def runs_no_script(type_: str) -> bool:
    """Is it certain that a browser runs nothing when it opens a file of this type as a page?

    A text that is not exactly one media type may be read as another type.
    """
    match = _MEDIA_TYPE.fullmatch(type_)
    if match is None:
        return False
    kind, subtype = match[1].lower(), match[2].lower()
    return f"{kind}/{subtype}" in _PASSIVE or (kind in _PASSIVE_KINDS and "xml" not in subtype)
