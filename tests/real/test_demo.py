"""The demonstration, as the README starts it: what it prints, how it ends, what its pages show."""

import contextlib
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
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data = tmp_path_factory.mktemp("data")
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
