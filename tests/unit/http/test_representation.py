import os
import re
import subprocess
import sys
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_asgi.http.representation import (
    SANDBOX,
    FileInfo,
    content_type,
    describe,
    runs_no_script,
)
from media_asgi.sources.local_file import file_info

NOW = 1_700_000_000
NS = 1_000_000_000


def info(
    size: int = 10,
    mtime_ns: int = (NOW - 60) * NS,
    inode: int = 1,
    device: int = 2,
    ctime_ns: int = (NOW - 30) * NS,
) -> FileInfo:
    values = (0o100644, inode, device, 1, 0, 0, size, 0, mtime_ns // NS, ctime_ns // NS)
    stat_result = os.stat_result(values, {"st_mtime_ns": mtime_ns, "st_ctime_ns": ctime_ns})
    return file_info(stat_result)


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
    assert content_type(".png_m4tgpwS", own) == "image/x-own"
    assert content_type("log", own) == "application/octet-stream"
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
        "from media_asgi.http.representation import content_type\n"
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


def test_describe() -> None:
    extra = [(b"x-own", b"1")]
    current = describe(
        info(size=0x2F, mtime_ns=10**9 * NS),
        NOW,
        content_type=b"image/png",
        cache_control=b"no-store",
        extra=extra,
    )
    assert current.size == 0x2F
    assert current.content_type == b"image/png"
    assert current.cache_control == b"no-store"
    assert current.extra == extra
    assert current.etag == b'"%x-2f"' % (10**9 * NS)
    assert (current.modified, current.settled, current.dated) == (10**9, True, True)
    assert current.last_modified == b"Sun, 09 Sep 2001 01:46:40 GMT"


@pytest.mark.parametrize(
    ("age_ns", "settled", "dated", "lasting"),
    [
        pytest.param(60 * NS, True, True, True, id="a-minute"),
        pytest.param(2 * NS, True, True, True, id="two-seconds"),
        pytest.param(2 * NS - 1_000_000, False, False, False, id="a-millisecond-less"),
        pytest.param(0, False, False, False, id="this-moment"),
        pytest.param(-1_000_000, True, False, False, id="a-millisecond-ahead"),
        pytest.param(-3600 * NS, True, False, False, id="an-hour-ahead"),
    ],
)
def test_what_a_time_stamp_vouches_for(
    age_ns: int, settled: bool, dated: bool, lasting: bool
) -> None:
    # Sections 8.8.1 and 8.8.2.2.
    moment = NOW + 0.5
    stamp = NOW * NS + NS // 2 - age_ns
    current = describe(info(mtime_ns=stamp), moment)
    assert (current.settled, current.dated, current.lasting) == (settled, dated, lasting)
    assert current.etag == b'"%x-a"' % stamp


@pytest.mark.parametrize("mtime_ns", [0, 1, NS, 2 * NS - 1])
def test_a_time_that_builders_set_vouches_for_nothing(mtime_ns: int) -> None:
    def tag(**of: int) -> bytes:
        current = describe(info(mtime_ns=mtime_ns, **of), NOW)
        assert (current.modified, current.dated) == (None, False)
        assert (current.settled, current.lasting) == (True, True)
        return current.etag

    tags = [tag(), tag(size=11), tag(inode=7), tag(ctime_ns=NOW * NS - 4 * NS)]
    assert len(set(tags)) == 4
    assert tag() == tags[0]
    # What no one outside is to know, isn't in it.
    assert re.fullmatch(b'"[0-9a-f]{32}"', tags[0])
    young = describe(info(mtime_ns=mtime_ns, ctime_ns=NOW * NS - NS), NOW)
    assert (young.settled, young.lasting) == (False, False)


def test_the_seconds_beside_those_of_builders() -> None:
    for mtime_ns in (-1, 2 * NS):
        current = describe(info(mtime_ns=mtime_ns), NOW)
        assert current.etag == b'"%x-a"' % mtime_ns
        assert current.modified == max(0, mtime_ns // NS)


def test_the_tag_is_the_same_on_every_replica() -> None:
    here = describe(info(inode=1, device=1), NOW)
    there = describe(info(inode=7, device=9), NOW + 1000)
    assert here.etag == there.etag
    assert here.last_modified == there.last_modified


MOMENTS = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.integers((NOW - 10) * NS, (NOW + 10) * NS),
)
SIZES = st.integers(0, 2**63 - 1)


@given(mtime_ns=MOMENTS, size=SIZES, now=st.floats(1_600_000_000, 4_000_000_000))
def test_validators(mtime_ns: int, size: int, now: float) -> None:
    current = describe(info(size, mtime_ns), now)
    # Section 8.8.3: entity-tag = [ weak ] opaque-tag.
    assert re.fullmatch(rb'"[\x21\x23-\x7e]*"', current.etag)
    if current.modified is None:
        assert 0 <= mtime_ns < 2 * NS
        return
    # Section 8.8.2.1: never later than the message itself.
    assert 0 <= current.modified <= now
    if 0 <= mtime_ns <= now * NS:
        assert current.modified == mtime_ns // NS
    assert re.fullmatch(rb"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", current.last_modified)
    moment = parsedate_to_datetime(current.last_modified.decode())
    assert moment.timestamp() == current.modified


@given(one=st.tuples(SIZES, MOMENTS), other=st.tuples(SIZES, MOMENTS))
def test_two_versions_have_two_tags(one: tuple[int, int], other: tuple[int, int]) -> None:
    tags = [describe(info(*version), NOW).etag for version in (one, other)]
    set_by_builders = all(0 <= mtime_ns < 2 * NS for _, mtime_ns in (one, other))
    assert (tags[0] == tags[1]) == (one[0] == other[0] if set_by_builders else one == other)


def test_two_versions_within_a_second() -> None:
    tags = {describe(info(mtime_ns=(NOW - 60) * NS + n), NOW).etag for n in range(10)}
    assert len(tags) == 10
