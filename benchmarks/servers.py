"""Starting the real servers, each on its own core and port, and ending them."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks.media import GIB
from benchmarks.processes import Processes, cores, pin, unpin

APPLICATION = "benchmarks.application:application"
HOST = "127.0.0.1"
KEY, CHAIN = "key.pem", "chain.pem"
CHECKOUT = Path(__file__).resolve().parents[1]
# What a server may grow to before it is killed: some peers would take the whole machine.
MEMORY_LIMIT = 3 * GIB


@dataclass(frozen=True)
class Server:
    name: str
    title: str
    command: Callable[[int], list[str]]
    tls: bool = False  # with the certificate that `serving` writes to the working directory


def _python(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]


def _daphne(port: int) -> list[str]:
    # -v 0: no access log, as with the others.
    return _python("daphne", "-b", HOST, "-p", str(port), "-v", "0", APPLICATION)


def _daphne_tls(port: int) -> list[str]:
    endpoint = f"ssl:{port}:interface={HOST}:privateKey={KEY}:certKey={CHAIN}"
    return _python("daphne", "-e", endpoint, "-v", "0", APPLICATION)


def _uvicorn(loop: str, port: int) -> list[str]:
    quiet = ["--no-access-log", "--log-level", "warning"]
    return _python(
        "uvicorn", "--host", HOST, "--port", str(port), "--loop", loop, *quiet, APPLICATION
    )


def _hypercorn(port: int) -> list[str]:
    return _python("hypercorn", "-b", f"{HOST}:{port}", "--log-level", "warning", APPLICATION)


def _granian(port: int) -> list[str]:
    address = ["--interface", "asgi", "--host", HOST, "--port", str(port)]
    return _python("granian", *address, "--log-level", "warning", APPLICATION)


def _granian_tls(port: int) -> list[str]:
    *command, application = _granian(port)
    return [*command, "--ssl-keyfile", KEY, "--ssl-certificate", CHAIN, application]


SERVERS = {
    server.name: server
    for server in (
        Server("daphne", "Daphne", _daphne),
        Server("uvicorn", "uvicorn (asyncio)", partial(_uvicorn, "asyncio")),
        Server("uvicorn-uvloop", "uvicorn (uvloop)", partial(_uvicorn, "uvloop")),
        Server("hypercorn", "hypercorn", _hypercorn),
        Server("granian", "granian", _granian),
        Server("daphne-tls", "Daphne over TLS", _daphne_tls, tls=True),
        Server("granian-tls", "granian over TLS", _granian_tls, tls=True),
    )
}
PLAIN = [name for name, server in SERVERS.items() if not server.tls]

NGINX = """
daemon off;
pid {folder}/pid;
error_log stderr;
worker_processes 1;
{user}
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    types {{ image/jpeg jpg; }}
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {host}:{port}{tls};
        location /media/ {{ alias {root}/; }}
    }}
}}
"""


def _nginx(folder: Path, root: Path, port: int, template: str, is_tls: bool) -> list[str]:
    # A worker of its own user could not read the files when the master is root.
    user = "user root;" if os.geteuid() == 0 else ""
    tls = f" ssl; ssl_certificate {folder}/{CHAIN}; ssl_certificate_key {folder}/{KEY}"
    configuration = folder / "nginx.conf"
    configuration.write_text(
        template.format(
            folder=folder, root=root, host=HOST, port=port, user=user, tls=tls if is_tls else ""
        )
    )
    return ["nginx", "-e", "stderr", "-p", str(folder), "-c", str(configuration)]


@dataclass
class Running:
    port: int
    processes: Processes
    popen: "subprocess.Popen[bytes]"
    log: Path
    tls: bool = False
    killed: str = ""  # why, if we had to
    _end: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        """Kill the server once it has grown beyond the limit."""
        while not self._end.wait(0.05):
            if self.processes.rss() > MEMORY_LIMIT:
                self.killed = f"stopped: it had grown beyond {MEMORY_LIMIT // GIB} GiB"
                os.killpg(self.popen.pid, signal.SIGKILL)
                return

    def end(self) -> None:
        self._end.set()
        for how, patience in ((signal.SIGTERM, 3), (signal.SIGKILL, 10)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.popen.pid, how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(patience)
                break
        # A worker that outlived its master.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)


class NotStartedError(Exception):
    pass


def imports(folder: Path, checkout: Path) -> dict[str, str]:
    """The environment of a process that is started in `folder`: what it imports, and from where.

    Python and some servers look in the working directory before PYTHONPATH. So it holds both.
    """
    (folder / "benchmarks").symlink_to(CHECKOUT / "benchmarks")
    (folder / "media_asgi").symlink_to((checkout / "media_asgi").resolve(strict=True))
    return os.environ | {"PYTHONPATH": str(folder)}


@contextlib.contextmanager
def serving(
    server: str,
    contender: str,
    root: Path,
    checkout: Path = CHECKOUT,
    *,
    application: str = APPLICATION,
    nginx: str = NGINX,
    options: Sequence[str] = (),
    environment: Mapping[str, str] = {},
    processes: int = 1,
) -> Iterator[Running]:
    """A server process with that contender, or nginx, on the server's core, ready to answer.

    `options` are the server's own, such as its time-outs. Several ``processes`` run on all cores.
    Daphne has none.
    """
    is_tls = SERVERS[server].tls
    with tempfile.TemporaryDirectory(prefix="media-benchmark-server-") as name:
        folder = Path(name)
        port = _free_port()
        if is_tls:
            _write_certificate(folder)
        if contender == "nginx":
            command = _nginx(folder, root, port, nginx, is_tls)
        else:
            several = ["--workers", str(processes)] if processes > 1 else []
            command = [*SERVERS[server].command(port)[:-1], *options, *several, application]
        environment = imports(folder, checkout) | {
            **environment,
            "PYTHONWARNINGS": "ignore",  # Django's, about its own view: the file is read at once
            "MEDIA_BENCHMARK_CONTENDER": contender,
            "MEDIA_BENCHMARK_ROOT": str(root),
        }
        log = folder / "log"
        with log.open("wb") as output:
            popen = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=partial(pin, cores()[0]) if processes == 1 else unpin,
            )
        running = Running(port, Processes(popen.pid), popen, log, is_tls)
        try:
            _wait_until_ready(running)
            threading.Thread(target=running.watch, daemon=True).start()
            yield running
        finally:
            running.end()


def _write_certificate(folder: Path) -> None:
    from tests.support.servers import certificate

    made = certificate()
    shutil.copy(made.key, folder / KEY)
    shutil.copy(made.chain, folder / CHAIN)


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _wait_until_ready(running: Running, patience: float = 60.0) -> None:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline and running.popen.poll() is None:
        with contextlib.suppress(OSError):
            socket.create_connection((HOST, running.port), 1).close()
            return
        time.sleep(0.05)
    tail = running.log.read_text(errors="replace").splitlines()[-5:]
    raise NotStartedError(" | ".join(["it did not start:", *tail]))
