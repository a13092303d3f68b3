"""
The media type of a file by its name, and which types a browser runs.

Pure, and the same on every machine.
"""

import mimetypes
import re
from collections.abc import Mapping

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
