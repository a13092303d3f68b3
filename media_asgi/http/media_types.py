"""
The media type of a file by its name, and which types a browser runs.

Pure, and the same on every machine.
"""

import mimetypes
import re
from collections.abc import Mapping

# Only the library's own table. By default mimetypes reads the machine's files too, and machines
# would have different types.
_TYPES = mimetypes.MimeTypes(filenames=())

# Types of media files that the oldest supported Python lacks, or on which Pythons disagree.
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
    counts.
    """
    base = name.rpartition("/")[2].lower()
    if (ending := nameless(base)) is not None:
        base = f"a{ending}"
    if overrides:
        parts = base.split(".")
        for first in range(1, len(parts)):
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
