"""The demonstration, as the README starts it: what it prints, how it ends, what its pages show."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from ..support.client import Connection, Response
from ..support.programs import program
from ..support.servers import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("demo")]

PREPARING = "Preparing the database"
WIDTHS = (390, 1280)


# The elements whose content leaves them.
WIDER = """
[...document.querySelectorAll("body *")].filter((element) => {
    const { display, overflowX } = getComputedStyle(element);
    return element.scrollWidth > element.clientWidth + 1
        && overflowX == "visible" && display != "inline";
}).map((element) => element.outerHTML)
"""
LONG = "a_name_that_never_ends" * 8

UPLOAD = f"""
from django.core.files.base import ContentFile
from gallery.models import Upload
Upload.objects.create(file=ContentFile(b"long", "{LONG}.bin"))
"""


class Demo:
    """A start of the demonstration, with its own process group, as a terminal gives it one."""

    def __init__(self, data: Path, *arguments: str) -> None:
        self.output = ""
        self.process = subprocess.Popen(
            [sys.executable, "tests/site/manage.py", "demo", "--port", "0", *arguments],
            cwd=ROOT,
            env={**os.environ, "SITE_DATA": str(data), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def read_until(self, words: str) -> str:
        assert self.process.stdout
        for line in self.process.stdout:
            self.output += line
            if words in line:
                return self.output
        raise AssertionError(f"ended with {self.process.wait()}:\n{self.output}")

    def address(self) -> str:
        match = re.search(r"http://127\.0\.0\.1:\d+", self.read_until("Stop with Ctrl-C"))
        assert match
        return match[0]

    def interrupt(self) -> str:
        """What Ctrl-C in the terminal makes it print."""
        os.killpg(self.process.pid, signal.SIGINT)
        printed, _ = self.process.communicate(timeout=60)
        return printed

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()  # it ends its server, which no signal of ours reaches
            self.process.communicate(timeout=60)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Demo]]:
    with contextlib.ExitStack() as stack:

        def start(*arguments: str) -> Demo:
            demo = Demo(tmp_path, *arguments)
            stack.callback(demo.kill)
            return demo

        yield start


def refuses_connections(address: str) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", int(address.rpartition(":")[2]))) != 0


def test_its_address_answers_when_it_is_printed_and_ctrl_c_is_silent(
    start: Callable[..., Demo],
) -> None:
    for preparing in (True, False):  # the second start finds all that the first has made
        demo = start("--no-video")
        address = demo.address()
        assert (PREPARING in demo.output) == preparing
        with urllib.request.urlopen(address + "/media/samples/dawn.jpg", timeout=60) as answer:
            assert answer.status == 200
        printed = demo.interrupt()
        assert [line for line in printed.splitlines() if '"GET /media/' not in line] == []
        assert demo.process.returncode == 0
        assert refuses_connections(address)


def test_ctrl_c_is_silent_while_it_prepares_and_the_next_start_goes_on(
    start: Callable[..., Demo],
) -> None:
    demo = start("--no-video")
    demo.read_until(PREPARING)
    printed = demo.interrupt()
    assert "Traceback" not in printed
    assert len(printed.splitlines()) <= 1  # how long it takes
    again = start("--no-video")
    with urllib.request.urlopen(again.address() + "/media/samples/night.png", timeout=60) as answer:
        assert answer.status == 200


def test_its_end_by_a_supervisor_is_the_servers_end(start: Callable[..., Demo]) -> None:
    demo = start("--no-video")
    address = demo.address()
    demo.process.terminate()
    demo.process.communicate(timeout=60)
    assert refuses_connections(address)


def refusal(data: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "tests/site/manage.py", "demo", *arguments],
        cwd=ROOT,
        env={**os.environ, "SITE_DATA": str(data)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    return done.stderr.strip()


def test_a_port_that_is_none_or_taken_is_a_sentence(tmp_path: Path) -> None:
    said = refusal(tmp_path, "--port", "80000")
    assert said == "CommandError: --port 80000: a port is a number from 0 to 65535."
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refusal(tmp_path, "--port", str(port))
    (line,) = said.splitlines()
    assert f"Can't listen on port {port} of 127.0.0.1: Address already in use." in line
    assert "--port 0 for any" in line


def test_a_host_that_is_not_of_this_machine_is_a_sentence(tmp_path: Path) -> None:
    for host in ("203.0.113.9", "nothing.invalid"):
        said = refusal(tmp_path, "--host", host)
        assert re.fullmatch(
            rf"CommandError: Can't listen on port 8000 of {host}: [\w -]+\. "
            r"Give --host an address of this machine\.",
            said,
        )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def address(data: Path) -> Iterator[str]:
    demo = Demo(data)
    try:
        address = demo.address()
        shell = [sys.executable, "tests/site/manage.py", "shell", "--command", UPLOAD]
        subprocess.run(shell, cwd=ROOT, env={**os.environ, "SITE_DATA": str(data)}, check=True)
        yield address
    finally:
        demo.kill()


@pytest.fixture(scope="module", params=WIDTHS)
def page(request: pytest.FixtureRequest) -> Iterator[Page]:
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        chromium = program("chromium")
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        page = browser.new_page(viewport={"width": request.param, "height": 850})
        page.set_default_timeout(60_000)
        yield page
        browser.close()


def test_four_clients_that_read_nothing_leave_the_memory_as_it_is(address: str, page: Page) -> None:
    page.goto(f"{address}/proofs/")
    page.wait_for_selector("#graph polyline", state="attached")  # a flat line has no height
    before = float(page.inner_text("#memory").split()[0])
    page.click("#stall")
    page.wait_for_function("memory.textContent.includes('4 clients have asked for 4 GiB')")
    time.sleep(3)
    after = float(page.inner_text("#memory").split()[0])
    assert after < before + 30
    page.click("#stall")
    page.wait_for_function("!memory.textContent.includes('clients')")


def test_the_uploaded_page_does_not_run_and_the_download_resumes(address: str, page: Page) -> None:
    page.goto(f"{address}/proofs/")
    assert page.frame_locator("iframe").locator("#told").inner_text() == "No script has run here."
    page.wait_for_function("policy.textContent.includes('sandbox')")
    page.click("#resume")
    page.wait_for_function("resume.textContent == 'Resume'")
    page.click("#resume")
    page.wait_for_function("log.textContent.includes('of the whole')")
    told = page.inner_text("#log")
    assert "\n206, bytes " in told
    assert told.endswith("of the whole: equal")


def test_the_film_seeks(address: str, page: Page) -> None:
    page.goto(address)
    page.click("[data-part='0.9']")
    page.wait_for_function("document.querySelector('video').currentTime == 9")
    page.wait_for_function("!document.querySelector('video').seeking")


def test_a_link_that_has_ended_says_so_as_a_page_of_the_site(address: str, page: Page) -> None:
    page.goto(f"{address}/links/?seconds=10")
    card = page.locator(".card.image")
    link = card.locator("[data-link]").get_attribute("data-link")
    page.wait_for_function("document.querySelector('.card.image .left.ended')")
    answer = page.goto(f"{address}{link}")
    assert answer
    assert answer.status == 403
    assert "The link has expired." in page.inner_text("main")
    assert page.locator(".bar").is_visible()


@pytest.mark.parametrize("path", ["/", "/proofs/", "/links/", "/nothing/"])
def test_nothing_is_wider_than_the_screen(address: str, page: Page, path: str) -> None:
    page.goto(address + path)
    page.wait_for_function("live.dataset.state == 'open'")
    assert (LONG in page.content()) == (path == "/")
    assert page.evaluate(WIDER) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= page.evaluate("innerWidth")


class Visitor:
    """Asks one of the two for pages and files, on one connection."""

    def __init__(self, address: str) -> None:
        self.port = int(address.rpartition(":")[2])
        self.connection = Connection(self)

    def connect(self, *, rcvbuf: int | None = None, timeout: float | None = 60) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout)

    def get(self, target: str, method: str = "GET", **headers: str) -> Response:
        fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
        return self.connection.get(target, fields, method=method)


@pytest.fixture(scope="module")
def both(data: Path, address: str) -> Iterator[tuple[Visitor, Visitor]]:
    """WhiteNoise and ``Location.static()``, with the same data."""
    demo = Demo(data, "--without-whitenoise")
    try:
        there, here = Visitor(address), Visitor(demo.address())
        with there.connection, here.connection:
            yield there, here
    finally:
        demo.kill()


def told(response: Response, *names: str) -> dict[str, list[str]]:
    return {name: response.all(name) for name in names}


# What is another one each time, and the one cell that says who serves the static files.
CHANGING = re.compile(
    r'(?<=csrfmiddlewaretoken" value=")\w+|(?<=media-expires=)\d+|(?<=media-signature=)[\w-]+'
    r"|<td>(?:WhiteNoise|media-asgi)</td>"
)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        *((path, 200) for path in ("/", "/proofs/", "/links/", "/login/", "/admin/login/")),
        *((path, 302) for path in ("/documents/", "/admin/")),
        *((path, 404) for path in ("/nothing/", "/static", "/static/", "/static/gallery")),
        *((path, 404) for path in ("/static/none.css", "/static/gallery/", "/static/%E2%98%BA")),
        *((path, 404) for path in ("/static/../secret_key", "/static/C:/Windows/System.ini")),
        *((path, 404) for path in ("/static/" + "blah/" * 200, "/static/gallery/icon.svg/")),
    ],
)
def test_pages_are_the_same_without_whitenoise(
    both: tuple[Visitor, Visitor], path: str, status: int
) -> None:
    there, here = (visitor.get(path, Accept="text/html") for visitor in both)
    assert there.status == here.status == status
    names = ("content-type", "location", "referrer-policy", "x-content-type-options")
    assert told(here, *names) == told(there, *names)
    pages = [CHANGING.sub("", response.body.decode()) for response in (there, here)]
    assert pages[0] == pages[1]
    for url in re.findall(r'(?:src|href)="(/static/[^"]+)"', pages[1]):
        assert both[1].get(url).status == 200


def static_names(data: Path) -> list[str]:
    """The site's own files, and of the admin's one of each kind, by both of their names."""
    paths = json.loads((data / "static" / "staticfiles.json").read_text())["paths"]
    first = {Path(name).suffix: name for name in reversed(paths) if name.startswith("admin/")}
    assert {".css", ".js", ".svg"} <= first.keys()
    own = [name for name in paths if name.startswith("gallery/")]
    assert own
    return [name for original in [*own, *first.values()] for name in (original, paths[original])]


def test_static_files_are_the_same_without_whitenoise(
    both: tuple[Visitor, Visitor], data: Path
) -> None:
    found = set()
    hashed = re.compile(r".*/LICENSE\.[0-9a-f]{12}")  # WhiteNoise expects an ending after the hash
    for name in static_names(data):
        for accept in ("", "gzip", "br", "gzip, deflate, br, zstd"):
            url = f"/static/{name}"
            there, here = (visitor.get(url, Accept_Encoding=accept) for visitor in both)
            assert (here.status, here.body) == (there.status, there.body) == (200, here.body)
            names = [
                *("content-encoding", "content-length", "last-modified", "referrer-policy"),
                *("access-control-allow-origin", "x-content-type-options", "content-disposition"),
            ]
            assert told(here, *names) == told(there, *names)
            found.update(here.all("content-encoding"))
            assert here["access-control-allow-origin"] == "*"
            assert here["content-type"] == there["content-type"].replace('"', "")
            assert "vary" not in there or there["vary"] == here["vary"] == "Accept-Encoding"
            if "immutable" in there["cache-control"] or hashed.fullmatch(name):
                assert here["cache-control"] == "max-age=31536000, immutable"
            else:
                assert here["cache-control"] == there["cache-control"] == "max-age=60, public"
            for visitor, first in zip(both, (there, here), strict=True):
                assert visitor.get(url, "HEAD", Accept_Encoding=accept).length == first.length
                again = visitor.get(url, Accept_Encoding=accept, If_None_Match=first["etag"])
                assert (again.status, again.body) == (304, b"")
                assert "content-type" not in again
    assert found == {"br", "gzip"}
    for visitor in both:
        refused = visitor.get("/static/gallery/gallery.css", "POST")
        assert refused.status == 405
        assert set(refused["allow"].split(", ")) >= {"GET", "HEAD"}
