"""Uploads as Chromium meets them: none runs in the site's origin, and all that should shows."""

import contextlib
import io
import os
import random
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import av
import pytest
from PIL import Image
from playwright.sync_api import Error, Page, sync_playwright

from media_asgi.access.x_accel import deliberate_type
from media_asgi.http.media_types import runs_no_script

from ..support.programs import program
from ..support.servers import Server
from ..support.site import Site

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
COOKIE = "session=of-the-site"

# Tells where it ran, in whose origin, and with what cookie.
SCRIPT = (
    "fetch('/tell?'+encodeURIComponent('{name} '+self.origin+' '+document.cookie),"
    "{{keepalive:true}})"
)
HTML = "<!doctype html><title>-</title><p>text</p><script>{script}</script>"
XHTML = (
    '<html xmlns="http://www.w3.org/1999/xhtml"><head><title>-</title></head>'
    "<body><script>{script}</script></body></html>"
)
SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20"><style>'
    "rect {{ fill: rgb(0, 128, 0) }}</style><rect width='20' height='20'/>"
    "<script>{script}</script></svg>"
)
XSLT = (
    '<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">'
    '<xsl:template match="/">' + XHTML + "</xsl:template></xsl:stylesheet>"
)
XML = '<?xml version="1.0"?><?xml-stylesheet type="text/xsl" href="{name}.xsl"?><a/>'
RSS = '<rss version="2.0"><channel><title>-</title>' + XHTML + "</channel></rss>"
MHTML = (
    "From: <a>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/related; boundary=b\r\n\r\n"
    "--b\r\nContent-Type: text/html\r\nContent-Location: http://127.0.0.1/\r\n\r\n"
    + HTML
    + "\r\n--b--\r\n"
)
MIXED = "--b\r\nContent-Type: text/html\r\n\r\n" + HTML + "\r\n--b--\r\n"

# Endings with what a browser may take such a file for.
ACTIVE = {
    ".html": HTML,
    ".htm": HTML,
    ".xhtml": XHTML,
    ".xht": XHTML,
    ".svg": SVG,
    ".xml": XHTML,
    ".styled.xml": XML,
    ".xsl": XSLT,
    ".xslt": XHTML,
    ".rdf": XHTML,
    ".rss": RSS,
    ".atom": RSS,
    ".wsdl": XHTML,
    ".mht": MHTML,
    ".mhtml": MHTML,
    ".eml": MHTML,
    ".mpd": XHTML,
    ".gpx": XHTML,
    ".kml": XHTML,
    ".xspf": XHTML,
    ".mml": XHTML,
    ".xul": XHTML,
    ".js": HTML,
    ".mjs": HTML,
    ".shtml": HTML,
    ".hta": HTML,
    ".htc": HTML,
    ".php": HTML,
    ".swf": HTML,
    ".wasm": HTML,
    ".jar": HTML,
    ".multipart": MIXED,
    ".related": MHTML,
}
# Those that Chromium runs where nothing keeps it from that.
RUN = [
    "file.html",
    "file.htm",
    "file.shtml",
    "file.xhtml",
    "file.xht",
    "file.svg",
    "file.xml",
    "file.styled.xml",
    "file.xsl",
]
# Endings of what is sure to run nothing, with a page in it all the same.
PASSIVE = {
    "": HTML,
    ".txt": HTML,
    ".unknown": HTML,
    ".html.gz": HTML,
    ".svgz": SVG,
    ".json": HTML,
    ".css": HTML,
    ".csv": HTML,
    ".md": HTML,
    ".ics": HTML,
    ".vcf": HTML,
    ".vtt": HTML,
    ".png": HTML,
    ".gif": "GIF89a/*" + HTML,
    ".jpg": HTML,
    ".webp": SVG,
    ".mp4": HTML,
    ".mp3": HTML,
    ".pdf": HTML,
    ".zip": HTML,
    ".woff2": HTML,
}


class ShownSite(Site):
    """With a page of Chromium that opens what it has."""

    def __init__(self, server: Server, page: Page, root: Path) -> None:
        super().__init__(server, root)
        self.page = page
        self.origin = f"http://127.0.0.1:{server.port}"

    def open(self, path: str) -> None:
        # A file that is downloaded instead is an error to Playwright.
        with contextlib.suppress(Error):
            self.page.goto(self.origin + path, wait_until="load", timeout=10_000)

    def page_with(self, html: str) -> None:
        self.page.goto(f"{self.origin}/page?{quote(html)}")

    def told(self) -> list[str]:
        told: list[str] = self.ask("/told")
        return told

    def wait_for(self, *names: str) -> list[str]:
        """What was told, when each of these names has told something."""
        deadline = time.monotonic() + 10
        while True:
            told = self.told()
            if all(any(line.startswith(name + " ") for line in told) for name in names):
                return told
            if time.monotonic() > deadline:
                return told
            time.sleep(0.05)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShownSite]:
    chromium = program("chromium")
    root = tmp_path_factory.mktemp("uploads")
    with contextlib.ExitStack() as stack:
        env = {"UPLOADS": str(root)}
        server = stack.enter_context(Server("daphne", "tests.security.apps:application", env=env))
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"), executable_path=chromium, args=ARGUMENTS
        )
        stack.callback(browser.close)
        site = ShownSite(server, browser.pages[0], root)
        for ending, template in (ACTIVE | PASSIVE).items():
            name = f"file{ending}"
            text = template.format(script=SCRIPT.format(name="{name}"), name=name)
            (root / name).write_text(text.replace("{name}", name))
        script = SCRIPT.format(name="file.styled.xml")
        (root / "file.styled.xml.xsl").write_text(XSLT.format(script=script))
        (root / "worker.js").write_text("self.addEventListener('fetch', () => {});")
        site.page_with("")
        assert site.page.evaluate("document.cookie") == COOKIE
        yield site


def test_no_upload_runs_as_a_page(site: ShownSite) -> None:
    names = [f"file{ending}" for ending in ACTIVE | PASSIVE]
    for name in names:
        site.open(f"/media/{name}")
    frames = "".join(
        f'<iframe src="/media/{name}"></iframe><object data="/media/{name}"></object>'
        f'<embed src="/media/{name}">'
        for name in names
        if name.endswith(("html", ".xht", ".svg", ".xml"))
    )
    site.page_with(frames)
    # The control: the same server, the same files, no sandbox.
    for name in RUN:
        before = len(site.told())
        site.open(f"/trusted/{name}")
        told = site.wait_for(name)
        assert told[before:] == [f"{name} {site.origin} {COOKIE}"], name
    assert len(site.told()) == len(RUN)


def test_nothing_passive_runs_without_the_sandbox_either(site: ShownSite) -> None:
    before = site.told()
    for ending in PASSIVE:
        site.open(f"/trusted/file{ending}")
    assert site.told() == before


# Content-Type as an uploader or a view may have it, each a list of the lines.
ODD_TYPES = [
    ["image/png"],
    ["text/html"],
    [" text/html "],
    ["text/html;"],
    ["image/png, text/html"],
    ["image/png,text/html"],
    ["text/html, image/png"],
    ["text/html, */*"],
    ["text/html, x"],
    ["image/png, text/html;charset=utf-8"],
    ["image/png", "text/html"],
    ["text/html", "image/png"],
    ["text/html", ""],
    ["", "text/html"],
    ["image/png; a, text/html"],
    ['image/png; a="b, text/html'],
    ['image/png; a="b", text/html'],
    ['image/png; a="b, text/html"'],
    ['image/png; a="b\\", text/html; c="d"'],
    ['image/png; a="b', 'c", text/html'],
    ["image/png; a='b, text/html'"],
    ['image/png;"a, text/html'],
    ["image/png; text/html"],
    ["image/png;text/html;"],
    ["image/png text/html"],
    ["text/html image/png"],
    ["text/html(image/png)"],
    ["text/html\timage/png"],
    ["image/png\x0b, text/html"],
    ["text/html\x0c"],
    ["\x0ctext/html"],
    ["text/html\x01"],
    ["image/png\xa0"],
    ["image/png,"],
    [",text/html"],
    ["TEXT/HTML"],
    ["image/svg"],
    ["image/svg+xml"],
    ["image/svg+xml, image/png"],
    ["image/png, image/svg+xml"],
    ["*/*"],
    ["image/*"],
    ["image"],
    ["/"],
    ["unknown/unknown"],
    ["application/unknown"],
    [""],
    [";text/html"],
    [";"],
]
# Those of which Chromium runs a page or a picture.
RUN_ODD = {
    ("text/html",),
    ("image/png, text/html",),
    ("image/png", "text/html"),
    ("image/png; a, text/html",),
    ("image/svg+xml",),
}


@contextlib.contextmanager
def _odd_types(tell: set[int]) -> Iterator[int]:
    """A server of a page and of a picture that tell it when they run, under each of the types."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            number = int(self.path.strip("/tel-?"))
            body = b""
            self.send_response(200)
            if self.path.startswith("/tell"):
                tell.add(number)
            elif number < 2 * len(ODD_TYPES):
                template = SVG if number % 2 else HTML
                script = f"fetch('/tell?{number}', {{keepalive: true}})"
                body = template.format(script=script).encode()
                for line in ODD_TYPES[number // 2]:
                    self.send_header("Content-Type", line)
                self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


def test_no_type_that_chromium_runs_is_taken_for_harmless(site: ShownSite) -> None:
    """Chromium's reading of a Content-Type against ours, without a sandbox in between."""
    told: set[int] = set()
    with _odd_types(told) as port:
        for number in range(2 * len(ODD_TYPES)):
            with contextlib.suppress(Error):  # a file that is downloaded instead
                site.page.goto(f"http://127.0.0.1:{port}/{number}", wait_until="load")
        site.page.wait_for_timeout(500)
        site.page_with("")
    ran = {tuple(ODD_TYPES[number // 2]) for number in told}
    assert ran >= RUN_ODD
    harmless = set()
    for lines in ran:
        type_ = deliberate_type([(b"content-type", line.encode("latin-1")) for line in lines])
        if type_ is not None and runs_no_script(type_.decode("latin-1")):
            harmless.add(lines)
    assert not harmless


def test_a_page_in_the_sandbox_has_no_origin(site: ShownSite) -> None:
    cookies = []
    for path in ("/media/file.html", "/trusted/file.html"):
        site.open(path)
        cookies.append(
            site.page.evaluate(
                "(() => { try { return document.cookie } catch (error) { return error.name } })()"
            )
        )
    assert cookies == ["SecurityError", COOKIE]


def test_a_form_in_an_upload_goes_nowhere(site: ShownSite) -> None:
    form = '<form action="/tell"><input name="{}" value=1><button id=b>go</button></form>'
    (site.root / "form.html").write_text(form.format("form"))
    outcomes = []
    for folder in ("media", "trusted"):
        site.open(f"/{folder}/form.html")
        site.page.click("#b")
        site.page.wait_for_timeout(300)
        outcomes.append("form=1" in site.told())
    assert outcomes == [False, True]


def test_a_picture_shows_with_its_own_styles(site: ShownSite) -> None:
    site.page_with('<img id="i" src="/media/file.svg">')
    green = site.page.evaluate("""async () => {
        await i.decode();
        const context = document.createElement('canvas').getContext('2d');
        context.drawImage(i, 0, 0);
        return [i.naturalWidth, ...context.getImageData(10, 10, 1, 1).data];
    }""")
    assert green == [20, 0, 128, 0, 255]


def test_a_picture_shows_as_a_page_too(site: ShownSite) -> None:
    site.open("/media/file.svg")
    picture = Image.open(io.BytesIO(site.page.screenshot()))
    assert picture.convert("RGB").getpixel((10, 10)) == (0, 128, 0)


def test_a_service_worker_is_not_registered_from_an_upload(site: ShownSite) -> None:
    site.page_with("")
    register = """folder => navigator.serviceWorker.register(folder + 'worker.js').then(
        registration => registration.unregister().then(() => 'registered'),
        error => error.name + error.message)"""
    refused = site.page.evaluate(register, "/media/")
    assert "bad HTTP response code (403)" in refused
    assert site.page.evaluate(register, "/trusted/") == "registered"


def test_a_pdf_opens(site: ShownSite) -> None:
    Image.new("RGB", (400, 400), (200, 0, 0)).save(site.root / "red.pdf")
    response = site.page.goto(f"{site.origin}/media/red.pdf")
    assert response
    assert response.headers["content-type"] == "application/pdf"
    assert "content-security-policy" not in response.headers
    _wait_for_red(site.page)


@pytest.mark.parametrize("name", ["framed.pdf", "framed.png"])
def test_a_preview_that_a_page_hands_over_shows_in_an_iframe(site: ShownSite, name: str) -> None:
    """Django denies frames to each page of its own, and so to its answer with X-Accel-Redirect."""
    Image.new("RGB", (400, 400), (200, 0, 0)).save(site.root / name)
    site.page_with(f'<iframe width="600" height="600" src="/preview?{name}"></iframe>')
    _wait_for_red(site.page)


def _wait_for_red(page: Page) -> None:
    deadline = time.monotonic() + 15
    while True:
        picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        red = 0
        for count, colour in picture.getcolors(1 << 24) or ():
            assert isinstance(colour, tuple)
            r, g, b = colour
            red += count * (r > 150 and g < 60 and b < 60)
        if red > 10_000:
            return
        assert time.monotonic() < deadline, "nothing red is to be seen"
        time.sleep(0.2)


def test_a_video_seeks_by_ranges(site: ShownSite) -> None:
    _film(site.root / "film.mp4")
    # Chromium's ranges depend on the tag, which vouches for no file of this moment.
    os.utime(site.root / "film.mp4", (1_700_000_000, 1_700_000_000))
    ranges = []
    site.page.on(
        "response",
        lambda response: (
            ranges.append((response.status, response.headers.get("content-range")))
            if response.url.endswith("/media/film.mp4")
            else None
        ),
    )
    site.page_with('<video id="v" muted preload="metadata" src="/media/film.mp4"></video>')
    moment = site.page.evaluate("""() => new Promise((resolve, reject) => {
        v.onerror = () => reject(v.error.message);
        v.onseeked = () => resolve(v.currentTime / v.duration);
        const seek = () => { v.currentTime = v.duration * 0.9 };
        v.readyState > 0 ? seek() : v.onloadedmetadata = seek;
    })""")
    assert moment == pytest.approx(0.9, abs=0.02)
    assert ranges
    assert {status for status, _ in ranges} == {206}
    size = (site.root / "film.mp4").stat().st_size
    starts = [int(range_.split()[1].split("-")[0]) for _, range_ in ranges if range_]
    assert any(size * 0.5 < start < size for start in starts), ranges


def _film(path: Path) -> None:
    """Noise, so that it is too large to be fetched at once; what tells its length comes last."""
    source = random.Random(1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=20)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.options = {"preset": "ultrafast", "qp": "4", "g": "10"}
        for _ in range(240):
            image = Image.frombytes("RGB", (320, 240), source.randbytes(320 * 240 * 3))
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode())
