"""The README's sections on several cores, on counters and on the access log, as they stand."""

import configparser
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from ..support.readme import block
from ..support.servers import reserved_port
from .test_startproject import PORT, Project

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("operations")]

LOG = block('"media_asgi.access": {"level"').replace("%(asctime)s", "%(process)d")
LINE = re.compile(r"^(\d+) (GET /media/\S+ 200 \d+ \d+\.\d{3} complete)$", re.MULTILINE)

# Runs a program whose descriptor 3 is the one that is named first.
INHERIT = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.execv(sys.argv[2], sys.argv[2:])"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("project"))
    project.environment.pop("DJANGO_SETTINGS_MODULE")
    project.run("-m", "django", "startproject", "mysite", ".")
    (project.folder / "mysite" / "asgi.py").write_text(block("# mysite/asgi.py"))
    project.add("settings.py", block("# mysite/settings.py"))
    project.add("settings.py", LOG)
    (project.folder / "media").mkdir()
    (project.folder / "media" / "a.txt").write_text("hello")
    (project.folder / "mysite" / "metrics.py").write_text(block("# mysite/metrics.py"))
    return project


class Running:
    """Processes of a server, and the log that they share."""

    def __init__(self, project: Project, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self._project = project
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, command: Sequence[str], listener: socket.socket | None = None) -> None:
        name, *arguments = command
        before: list[str] = []
        if listener is not None:  # as systemd hands it over
            before = [sys.executable, "-c", INHERIT, str(listener.fileno())]
        with open(self._project.folder / "log", "ab") as log:
            process = subprocess.Popen(
                [*before, Path(sys.executable).with_name(name), *arguments],
                cwd=self._project.folder,
                env={**os.environ, **self._project.environment, "PYTHONUNBUFFERED": "1"},
                pass_fds=[] if listener is None else [listener.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._processes.append(process)

    @property
    def log(self) -> str:
        return (self._project.folder / "log").read_text()

    def get(self, path: str) -> bytes:
        deadline = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(self.address + path, timeout=60) as answer:
                    return bytes(answer.read())
            except OSError:
                assert time.monotonic() < deadline, self.log
                time.sleep(0.1)

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 120
        while not condition():
            assert time.monotonic() < deadline, self.log
            time.sleep(0.05)

    def answering(self) -> set[str]:
        """The processes that have answered so far."""
        assert self.get("/media/a.txt") == b"hello"
        return {process for process, _ in LINE.findall(self.log)}

    def end(self, process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        process.wait(60)
        self._processes.remove(process)

    @property
    def first(self) -> subprocess.Popen[bytes]:
        return self._processes[0]

    def kill(self) -> None:
        for process in self._processes:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def running(project: Project) -> Iterator[Running]:
    (project.folder / "log").write_bytes(b"")
    running = Running(project, reserved_port())
    yield running
    running.kill()


def port_of(running: Running) -> int:
    return int(running.address.rpartition(":")[2])


@pytest.mark.parametrize("command", block("uvicorn --workers 4").splitlines())
def test_each_command_line_for_several_cores(running: Running, command: str) -> None:
    name, *arguments = command.replace(" 4 ", " 2 ").split()
    options = [option.format(port=port_of(running)) for option in PORT[name]]
    running.start([name, *options, *arguments])
    running.until(lambda: len(running.answering()) == 2)


def test_daphnes_with_a_socket_each_at_one_address(running: Running) -> None:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(block("--fd 3"))
    program, *arguments = parser["Service"]["ExecStart"].split()
    command = [Path(program).name, *arguments]
    assert "ReusePort=yes\n" in block("[Socket]")
    address = ("127.0.0.1", port_of(running))
    with (
        socket.create_server(address, backlog=4096, reuse_port=True) as one,
        socket.create_server(address, backlog=4096, reuse_port=True) as other,
    ):
        running.start(command, one)
        running.start(command, other)
        running.until(lambda: len(running.answering()) == 2)
        # Its socket stays, and keeps the clients for the process that takes its place.
        running.end(running.first)
        running.start(command, one)
        running.until(lambda: len(running.answering()) == 3)


def test_the_access_log(running: Running) -> None:
    running.start(["uvicorn", "--port", str(port_of(running)), "mysite.asgi:application"])
    running.answering()
    running.until(lambda: bool(LINE.search(running.log)))
    fields = LINE.findall(running.log)[-1][1].split()
    del fields[4]
    assert fields == ["GET", "/media/a.txt", "200", "5", "complete"]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_counters_for_prometheus(
    project: Project, running: Running, workers: str, tmp_path: Path
) -> None:
    asgi = project.folder / "mysite" / "asgi.py"
    before, urls = asgi.read_text(), project.folder / "mysite" / "urls.py"
    urls.write_text(block("# mysite/urls.py"))
    head = before[: before.index("application = ")]
    asgi.write_text(head + block("from mysite import metrics"))
    if workers != "1":
        project.environment["PROMETHEUS_MULTIPROC_DIR"] = str(tmp_path)
    try:
        options = ["--port", str(port_of(running)), "--workers", workers]
        running.start(["uvicorn", *options, "mysite.asgi:application"])
        running.until(lambda: len(running.answering()) == int(workers))
        count = len(LINE.findall(running.log))
        labels = 'complete="True",location="/media/",status="200"'

        def metrics() -> str:
            return running.get("/metrics").decode()

        running.until(lambda: f"media_downloads_total{{{labels}}} {count}.0\n" in metrics())
        assert f'media_sent_bytes_total{{location="/media/"}} {5 * count}.0\n' in metrics()
    finally:
        asgi.write_text(before)
        project.environment.pop("PROMETHEUS_MULTIPROC_DIR", None)
