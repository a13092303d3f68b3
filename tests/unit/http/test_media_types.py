import importlib.util
import mimetypes
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_asgi.http import media_types
from media_asgi.http.media_types import SANDBOX, content_type, runs_no_script

NGINX = Path("/etc/nginx/mime.types")

TYPES = [
    # Where the types are registered: iana.org/assignments/media-types.
    ("a.jpg", "image/jpeg"),
    ("a.JPG", "image/jpeg"),
    ("a.jpeg", "image/jpeg"),
    ("a.png", "image/png"),
    ("a.gif", "image/gif"),
    ("a.svg", "image/svg+xml"),
    ("a.webp", "image/webp"),
    ("a.avif", "image/avif"),
    ("a.heic", "image/heic"),
    ("a.jxl", "image/jxl"),
    ("a.ico", "image/vnd.microsoft.icon"),
    ("a.mp3", "audio/mpeg"),
    ("a.m4a", "audio/mp4"),
    ("a.flac", "audio/flac"),
    ("a.opus", "audio/ogg"),
    ("a.ogg", "audio/ogg"),
    ("a.wav", "audio/wav"),
    ("a.mp4", "video/mp4"),
    ("a.webm", "video/webm"),
    ("a.mkv", "video/matroska"),
    ("a.mov", "video/quicktime"),
    ("a.ts", "video/mp2t"),
    ("a.m3u8", "application/vnd.apple.mpegurl"),
    ("a.mpd", "application/dash+xml"),
    ("a.vtt", "text/vtt; charset=utf-8"),
    ("a.srt", "text/plain; charset=utf-8"),
    ("a.woff", "font/woff"),
    ("a.woff2", "font/woff2"),
    ("a.pdf", "application/pdf"),
    ("a.zip", "application/zip"),
    ("a.wasm", "application/wasm"),
    ("a.glb", "model/gltf-binary"),
    ("a.txt", "text/plain; charset=utf-8"),
    ("a.html", "text/html; charset=utf-8"),
    ("a.css", "text/css; charset=utf-8"),
    ("a.js", "text/javascript; charset=utf-8"),
    ("a.mjs", "text/javascript; charset=utf-8"),
    ("a.csv", "text/csv; charset=utf-8"),
    ("a.md", "text/markdown; charset=utf-8"),
    ("a.json", "application/json"),
    ("a.xml", "text/xml; charset=utf-8"),
    (
        "a.docx",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ),
    # What IANA's registry and nginx's mime.types have, and Python's own table has not.
    ("a.m4b", "audio/mp4"),
    ("a.m4r", "audio/mp4"),
    ("a.mka", "audio/matroska"),
    ("a.mk3d", "video/matroska-3d"),
    ("a.amr", "audio/amr"),
    ("a.3gp", "video/3gpp"),
    ("a.apk", "application/vnd.android.package-archive"),
    ("a.pkpass", "application/vnd.apple.pkpass"),
    ("a.cbz", "application/vnd.comicbook+zip"),
    ("a.cbr", "application/vnd.comicbook-rar"),
    ("a.epub", "application/epub+zip"),
    ("a.mobi", "application/x-mobipocket-ebook"),
    ("a.djvu", "image/vnd.djvu"),
    ("a.usd", "model/vnd.pixar.usd"),
    ("a.usda", "model/vnd.usda"),
    ("a.usdz", "model/vnd.usdz+zip"),
    ("a.ply", "model/ply"),
    ("a.step", "model/step"),
    ("a.stp", "model/step"),
    ("a.3mf", "model/3mf"),
    ("a.dae", "model/vnd.collada+xml"),
    ("a.parquet", "application/vnd.apache.parquet"),
    ("a.ipynb", "application/x-ipynb+json"),
    ("a.jsonl", "application/jsonl"),
    ("a.ndjson", "application/x-ndjson"),
    ("a.kml", "application/vnd.google-earth.kml+xml"),
    ("a.gpx", "application/gpx+xml"),
    ("a.ass", "text/x-ssa; charset=utf-8"),
    ("a.ssa", "text/x-ssa; charset=utf-8"),
    ("a.srt", "text/plain; charset=utf-8"),
    ("a.vcf", "text/vcard; charset=utf-8"),
    ("a.webmanifest", "application/manifest+json"),
    ("a.py", "text/x-python; charset=utf-8"),
    ("a.c", "text/plain; charset=utf-8"),
    # A type that says nothing, in the registry too.
    ("a.exe", "application/octet-stream"),
    ("a.dmg", "application/octet-stream"),
    ("a.pyc", "application/octet-stream"),
    # What is compressed is served as what it is.
    ("a.gz", "application/gzip"),
    ("a.tar.gz", "application/gzip"),
    ("a.tgz", "application/gzip"),
    ("a.svgz", "application/gzip"),
    ("a.html.gz", "application/gzip"),
    ("a.bz2", "application/x-bzip2"),
    ("a.tar.xz", "application/x-xz"),
    ("a.zst", "application/zstd"),
    ("a.js.br", "application/x-brotli"),
    ("a.Z", "application/x-compress"),
    # What says nothing.
    ("a", "application/octet-stream"),
    ("a.", "application/octet-stream"),
    ("html", "application/octet-stream"),
    (".html", "application/octet-stream"),
    ("a.nosuchtype", "application/octet-stream"),
    ("\udcff.\udcfe", "application/octet-stream"),
    # What is left without a name.
    (".pdf", "application/pdf"),
    ("a/.JPG", "image/jpeg"),
    (".jpg_m4tgpwS", "image/jpeg"),
    (".gz_m4tgpwS", "application/gzip"),
    (".svg_0123456", "image/svg+xml"),
    (".html_m4tgpwS", "application/octet-stream"),
    (".jpg_m4tgpw", "application/octet-stream"),
    ("a.jpg_m4tgpwS", "application/octet-stream"),
    # Not a URL, and no folder's business.
    ("data:,a.html", "text/html; charset=utf-8"),
    ("http://x/a.png", "image/png"),
    ("a?b=c.png", "image/png"),
    ("a.png#b", "application/octet-stream"),
    ("a.png;b", "application/octet-stream"),
    ("a.html/b", "application/octet-stream"),
    ("a.html/b.png", "image/png"),
    ("[.png", "image/png"),
]


@pytest.mark.parametrize(("name", "type_"), TYPES)
def test_content_type(name: str, type_: str) -> None:
    assert content_type(name) == type_


def test_the_locations_own_types_win() -> None:
    own = {
        ".log": "text/plain",
        ".gz": "application/x-own",
        ".tar.gz": "application/x-own-tar",
        ".png": "image/x-own",
    }
    assert content_type("a.log", own) == "text/plain"
    assert content_type("A.LOG", own) == "text/plain"
    assert content_type("a.png", own) == "image/x-own"
    assert content_type("a.jpg", own) == "image/jpeg"
    assert content_type("a.gz", own) == "application/x-own"
    assert content_type("a.b.tar.gz", own) == "application/x-own-tar"
    assert content_type("mylog", own) == "application/octet-stream"
    # A whole name.
    assert content_type("a/Association", {".association": "text/x-own"}) == "text/x-own"
    assert content_type("a/x.xml", {".x.xml": "text/x-own"}) == "text/x-own"
    assert content_type("not-x.xml", {".x.xml": "text/x-own"}) == "text/xml; charset=utf-8"
    assert content_type(".png_m4tgpwS", own) == "image/x-own"
    assert content_type("a.log/b", own) == "application/octet-stream"


WITHOUT_A_NAME = """
    apng avif bmp gif heic heif ico jfif jp2 jpe jpeg jpg jxl png psd svg tif tiff webp
    aac aif aiff flac m4a mid midi mp3 oga ogg opus wav weba wma
    3gp avi m4v mkv mov mp4 mpeg mpg ogv webm wmv
    eot otf ttc ttf woff woff2 pdf
    doc docx odg odp ods odt ppt pptx rtf xls xlsx zip gz
"""


@pytest.mark.parametrize("ending", WITHOUT_A_NAME.split())
def test_a_file_without_a_name_has_the_type_of_its_ending(ending: str) -> None:
    type_ = content_type(f"a.{ending}")
    assert type_ != "application/octet-stream"
    assert content_type(f".{ending}") == content_type(f"b/.{ending}_m4tgpwS") == type_


def test_the_same_on_every_machine(tmp_path: Path) -> None:
    # What a machine's own tables say, is for others.
    machine = tmp_path / "mime.types"
    machine.write_text("application/x-wrong html webp txt nosuchtype\n")
    program = (
        "import mimetypes, sys\n"
        "mimetypes.knownfiles.append(sys.argv[1])\n"
        "mimetypes.init()\n"
        "assert mimetypes.guess_type('a.webp')[0] == 'application/x-wrong'\n"
        "from media_asgi.http.media_types import content_type\n"
        "print([content_type('a.' + end) for end in ('html', 'webp', 'txt', 'nosuchtype')])\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, machine],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert run.stdout.strip() == str([content_type("a." + end) for end in
                                      ("html", "webp", "txt", "nosuchtype")])  # fmt: skip


def test_types_are_the_same_with_every_python(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each Python knows more endings than the one before.
    monkeypatch.setitem(mimetypes.types_map, ".nosuchtype", "application/x-wrong")
    monkeypatch.setitem(mimetypes._types_map_default, ".nosuchtype", "application/x-wrong")  # type: ignore[attr-defined]
    fresh = importlib.util.find_spec(media_types.__name__)
    assert fresh is not None
    assert fresh.loader is not None
    module = importlib.util.module_from_spec(fresh)
    fresh.loader.exec_module(module)
    assert module.content_type("a.nosuchtype") == "application/octet-stream"
    assert module.content_type("a.png") == "image/png"


@pytest.mark.skipif(not NGINX.exists(), reason="nginx is not installed")
def test_what_nginx_knows_is_known() -> None:
    other = {
        "js": "text/javascript",  # RFC 9239
        "m4a": "audio/mp4",
        "rar": "application/vnd.rar",
        "ico": "image/vnd.microsoft.icon",
        "bmp": "image/bmp",
        "svgz": "application/gzip",  # without a Content-Encoding
        # Registered for another format.
        "pdb": "application/vnd.palm",
        "prc": "model/prc",
    }
    for type_, endings in re.findall(
        r"^\s+([\w.+-]+/[\w.+-]+)\s+([^;]+);", NGINX.read_text(), re.MULTILINE
    ):
        for ending in endings.split():
            known = content_type(f"a.{ending}").removesuffix("; charset=utf-8")
            if known != type_:
                assert other.get(ending) == known or "x-" in type_, (ending, type_, known)


def test_the_data_set_has_each_ending_once() -> None:
    lines = (Path(media_types.__file__).with_name("mime.types")).read_text().splitlines()
    pairs = [(type_, ending) for type_, *endings in map(str.split, lines) if type_ != "#"
             for ending in endings]  # fmt: skip
    assert len(pairs) > 1000
    assert len({ending for _, ending in pairs}) == len(pairs)
    for type_, ending in pairs:
        assert re.fullmatch(r"[a-z]+/[A-Za-z0-9.+-]+", type_)
        assert re.fullmatch(r"[A-Za-z0-9_-]+", ending)


def test_no_new_type_is_run_by_a_browser() -> None:
    # https://mimesniff.spec.whatwg.org/#xml-mime-type, and what holds other documents.
    for ending, type_ in media_types._TYPES.types_map[True].items():
        if re.search(r"html|xml|script|multipart|message/|svg|flash|xslt|/x-component", type_):
            assert not runs_no_script(type_), ending


@given(name=st.text(st.characters()))
def test_every_name_has_a_type(name: str) -> None:
    type_ = content_type(name)
    assert re.fullmatch(r"[a-z]+/[A-Za-z0-9.+-]+(; charset=utf-8)?", type_)
    assert type_.startswith("text/") == type_.endswith("; charset=utf-8")


@pytest.mark.parametrize(
    ("type_", "passive"),
    [
        ("image/png", True),
        ("IMAGE/PNG", True),
        ("video/mp4", True),
        ("audio/mpeg", True),
        ("font/woff2", True),
        ("application/pdf", True),
        ("application/zip", True),
        ("application/json", True),
        ("application/octet-stream", True),
        ("text/plain; charset=utf-8", True),
        ("text/plain", True),
        ("text/css; charset=utf-8", True),
        ("image/svg+xml", False),
        ("image/svg+xml; charset=utf-8", False),
        ("Image/SVG+XML", False),
        ("text/html; charset=utf-8", False),
        ("text/html", False),
        ("text/html ; charset=utf-8", False),
        ("text/xml", False),
        ("text/xsl", False),
        ("text/javascript; charset=utf-8", False),
        ("application/xhtml+xml", False),
        ("application/xml", False),
        ("application/x-shockwave-flash", False),
        ("multipart/related", False),
        ("message/rfc822", False),
        ("x/y", False),
        ("", False),
        # Parameters, each of them well formed.
        ("image/png;a=b", True),
        ("image/png ; a=b;c=d\t; e=f", True),
        ('video/mp4; codecs="avc1.42E01E, mp4a.40.2"', True),
        ('image/png; a="; b"', True),
        # What isn't exactly one media type.
        ("image/png, text/html", False),
        ("image/png,text/html", False),
        ("text/html, image/png", False),
        ("image/png,", False),
        (", image/png", False),
        ("image/png, image/png", False),
        ("image/png; a, text/html", False),
        ("image/png; a=b, text/html", False),
        ('image/png; a="b", text/html', False),
        ('image/png; a="b"c, text/html', False),
        ('image/png; a="b, text/html', False),
        ('image/png; a="b\\", text/html', False),
        ('image/png; a="\\", text/html; b="', False),
        ("image/png; a='b, text/html'", False),
        ("image/png;", False),
        ("image/png; ", False),
        ("image/png;;a=b", False),
        ("image/png; a", False),
        ("image/png; a =b", False),
        ("image/png; =b", False),
        ("image/png; a=", False),
        ("image/png;text/html", False),
        ("image/png text/html", False),
        ("image/png\ttext/html", False),
        ("image/png\ntext/html", False),
        ("image/png\n", False),
        ("image/png\0", False),
        ("image/png\x0b; a=b", False),
        ("image/png\xa0", False),
        (" image/png", False),
        ("image/png ", False),
        ("image /png", False),
        ("image/", False),
        ("/png", False),
        ("image", False),
        ("image/png/x", False),
        ("image/p\xe4g", False),
        ("*/*", False),
    ],
)
def test_is_passive(type_: str, passive: bool) -> None:
    assert runs_no_script(type_) is passive


def test_the_sandbox_lets_nothing_run() -> None:
    directives = [directive.strip() for directive in SANDBOX.decode().split(";")]
    # https://www.w3.org/TR/CSP3: "sandbox" alone, without any allow-* of it.
    assert "sandbox" in directives
    assert "default-src 'none'" in directives
    assert not any("script" in directive for directive in directives)
