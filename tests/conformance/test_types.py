"""The media type of each ending."""

from .support import Media

TYPES = {
    "a.txt": "text/plain; charset=utf-8",
    "a.html": "text/html; charset=utf-8",
    "a.css": "text/css; charset=utf-8",
    "a.csv": "text/csv; charset=utf-8",
    "a.js": "text/javascript; charset=utf-8",
    "a.vtt": "text/vtt; charset=utf-8",
    "a.jpg": "image/jpeg",
    "A.JPG": "image/jpeg",
    "a.png": "image/png",
    "a.gif": "image/gif",
    "a.svg": "image/svg+xml",
    "a.webp": "image/webp",
    "a.avif": "image/avif",
    "a.heic": "image/heic",
    "a.jxl": "image/jxl",
    "a.woff2": "font/woff2",
    "a.flac": "audio/flac",
    "a.m4a": "audio/mp4",
    "a.mp3": "audio/mpeg",
    "a.mp4": "video/mp4",
    "a.webm": "video/webm",
    "a.m3u8": "application/vnd.apple.mpegurl",
    "a.mpd": "application/dash+xml",
    "a.glb": "model/gltf-binary",
    "a.wasm": "application/wasm",
    "a.pdf": "application/pdf",
    "a.json": "application/json",
    "a.zip": "application/zip",
    "a.m4b": "audio/mp4",
    "a.mka": "audio/matroska",
    "a.apk": "application/vnd.android.package-archive",
    "a.parquet": "application/vnd.apache.parquet",
    "a.ply": "model/ply",
    "a.cbz": "application/vnd.comicbook+zip",
    "a.ass": "text/x-ssa; charset=utf-8",
    "a.unknown": "application/octet-stream",
    "noending": "application/octet-stream",
    "a.tar.gz": "application/gzip",
    "a.svgz": "application/gzip",
}


def test_files_have_the_content_type_of_their_ending(served: Media) -> None:
    for name, expected in TYPES.items():
        assert served.get(served.put(f"types/{name}", b"x"))["content-type"] == expected, name
