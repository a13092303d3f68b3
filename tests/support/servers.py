"""Starts ASGI servers as real processes, and looks at them from outside."""

import atexit
import contextlib
import datetime
import functools
import ipaddress
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from .programs import unprivileged

ROOT = Path(__file__).resolve().parents[2]


class Certificate(NamedTuple):
    key: Path
    chain: Path


@functools.cache
def certificate() -> Certificate:
    """A self-made certificate for 127.0.0.1, good for a day."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder = Path(tempfile.mkdtemp(prefix="certificate-"))
    atexit.register(shutil.rmtree, folder)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    addresses = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    chain = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(addresses, critical=False)
        .sign(key, hashes.SHA256())
    )
    made = Certificate(folder / "key.pem", folder / "chain.pem")
    made.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,  # the only one that granian reads
            serialization.NoEncryption(),
        )
    )
    made.chain.write_bytes(chain.public_bytes(serialization.Encoding.PEM))
    return made


def reserved_port() -> int:
    """A port that stays ours: while it is in TIME_WAIT the system gives it to nobody who asks for
    any port, and SO_REUSEADDR, which every server sets, still binds it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()) as client:
            accepted, _ = listener.accept()
            accepted.close()  # who closes first keeps the TIME_WAIT
            client.recv(1)
        port: int = listener.getsockname()[1]
    return port


class Bind(NamedTuple):
    port: int
    unix: Path | None
    tls: Certificate | None
    root_path: str


def _daphne(bind: Bind) -> list[str]:
    arguments = ["--root-path", bind.root_path, "--access-log", os.devnull]
    # A websocket that isn't accepted within five seconds is closed, which a busy machine needs.
    arguments += ["--websocket_connect_timeout", "60"]
    if bind.unix:
        return [*arguments, "-u", str(bind.unix)]
    if bind.tls:
        key, chain = bind.tls
        return [
            *arguments,
            "-e",
            f"ssl:{bind.port}:interface=127.0.0.1:privateKey={key}:certKey={chain}",
        ]
    return [*arguments, "-b", "127.0.0.1", "-p", str(bind.port)]


def _uvicorn(bind: Bind) -> list[str]:
    arguments = ["--root-path", bind.root_path, "--no-access-log"]
    if bind.tls:
        arguments += ["--ssl-keyfile", str(bind.tls.key), "--ssl-certfile", str(bind.tls.chain)]
    if bind.unix:
        return [*arguments, "--uds", str(bind.unix)]
    return [*arguments, "--host", "127.0.0.1", "--port", str(bind.port)]


def _hypercorn(bind: Bind) -> list[str]:
    # No worker processes: the one that is started is the one that serves.
    arguments = ["--root-path", bind.root_path, "--workers", "0"]
    if bind.tls:
        arguments += ["--keyfile", str(bind.tls.key), "--certfile", str(bind.tls.chain)]
    return [*arguments, "-b", f"unix:{bind.unix}" if bind.unix else f"127.0.0.1:{bind.port}"]


def _granian(bind: Bind) -> list[str]:
    arguments = ["--interface", "asgi"]
    if bind.root_path:
        arguments += ["--url-path-prefix", bind.root_path]
    if bind.tls:
        arguments += ["--ssl-keyfile", str(bind.tls.key), "--ssl-certificate", str(bind.tls.chain)]
    if bind.unix:
        return [*arguments, "--uds", str(bind.unix)]
    return [*arguments, "--host", "127.0.0.1", "--port", str(bind.port)]


def _gunicorn(bind: Bind) -> list[str]:
    arguments = ["-k", "uvicorn_worker.UvicornWorker", "--no-control-socket"]
    if bind.tls:
        arguments += ["--keyfile", str(bind.tls.key), "--certfile", str(bind.tls.chain)]
    return [*arguments, "-b", f"unix:{bind.unix}" if bind.unix else f"127.0.0.1:{bind.port}"]


COMMANDS: dict[str, Callable[[Bind], list[str]]] = {
    "daphne": _daphne,
    "uvicorn": _uvicorn,
    "hypercorn": _hypercorn,
    "granian": _granian,
    "anycorn": _hypercorn,
    "gunicorn": _gunicorn,
}


def media(*locations: Mapping[str, Any], **middleware: Any) -> dict[str, str]:
    """The environment that tells `tests.apps.media` which locations to serve, and how."""
    return {
        "MEDIA_LOCATIONS": json.dumps(locations, default=os.fspath),
        "MEDIA_MIDDLEWARE": json.dumps(middleware),
    }


class Process:
    """A process group with a log of its own, which ends with the `with` block at the latest."""

    def __init__(self) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115, it lives as long as the process

    def _start(self, command: Sequence[str | Path], cwd: Path, env: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **env},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def log(self) -> str:
        """All that the process has written so far."""
        return os.pread(self._log.fileno(), 1 << 24, 0).decode(errors="replace")

    def alive(self) -> bool:
        return self._process.poll() is None

    def terminate(self, timeout: float = 60) -> int:
        """Asks the process to end, as a supervisor does, and waits until it has."""
        self._process.terminate()
        return self._process.wait(timeout)

    def kill(self) -> None:
        if "COVERAGE_PROCESS_CONFIG" in os.environ and self.alive():
            # What has run is written down at the end.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.terminate(5)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()
        self._log.close()


class Server(Process):
    """One server process, from its first answer to the end of its whole process group.

    `name` is a key of COMMANDS, `options` are further arguments of that server's own command line,
    `nofile` lowers `ulimit -n`.
    """

    def __init__(
        self,
        name: str,
        application: str = "tests.apps.media:application",
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
        tls: bool = False,
        unix: Path | None = None,
        root_path: str = "",
        nofile: int | None = None,
        options: Sequence[str] = (),
        timeout: float = 60,
    ) -> None:
        super().__init__()
        self.name = name
        self.unix = unix
        self.tls = certificate() if tls else None
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        env = {"PYTHONPATH": path, **(env or {})}
        for _ in range(3):
            self.port = reserved_port()
            arguments = COMMANDS[name](Bind(self.port, unix, self.tls, root_path))
            command = [sys.executable, "-m", name, *arguments, *options, application]
            self._start([*_limits(nofile), *command], cwd, env)
            try:
                self._wait(time.monotonic() + timeout)
            except BaseException as error:
                self.kill()
                if isinstance(error, ChildProcessError) and "address already in use" in self.log:
                    continue
                raise
            break
        self.pid = serving_process(self._process.pid)

    def _wait(self, deadline: float) -> None:
        while True:
            if self._process.poll() is not None:
                raise ChildProcessError(f"{self.name} has ended:\n{self.log[-3000:]}")
            try:
                with self.connect(timeout=max(1.0, deadline - time.monotonic())) as client:
                    # Only an answer says that the worker behind the listening socket is ready.
                    client.sendall(b"GET /ready HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                    if client.recv(1):
                        return
            except (ConnectionError, FileNotFoundError, ssl.SSLError):
                pass
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} does not answer:\n{self.log[-3000:]}")
            time.sleep(0.02)

    def connect(
        self,
        *,
        timeout: float | None = 60,
        rcvbuf: int | None = None,
        alpn: Sequence[str] = ("http/1.1",),
    ) -> socket.socket:
        """A connected socket, after the TLS handshake where the server speaks TLS."""
        client = socket.socket(socket.AF_UNIX if self.unix else socket.AF_INET)
        try:
            client.settimeout(timeout)
            if rcvbuf is not None:  # before the connection: the window is agreed on with it
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
            self._connect(client)
            if not self.tls:
                return client
            context = ssl.create_default_context(cafile=self.tls.chain)
            context.set_alpn_protocols(list(alpn))
            return context.wrap_socket(client, server_hostname="127.0.0.1")
        except BaseException:
            client.close()
            raise

    def _connect(self, client: socket.socket) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                client.connect(str(self.unix) if self.unix else ("127.0.0.1", self.port))
            except BlockingIOError:  # a Unix socket, whose queue of connections is full
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return

    def rss(self) -> int:
        """The resident memory of the process that serves, in bytes."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self) -> list[str]:
        """What each open descriptor of the process that serves leads to."""
        targets = []
        for entry in Path(f"/proc/{self.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                targets.append(os.readlink(entry))
        return sorted(targets)

    def threads(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def cpu(self) -> float:
        """The CPU seconds that the process that serves has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _limits(nofile: int | None) -> list[str]:
    """What goes before the server's command line, to take rights and descriptors from it."""
    before = [*unprivileged()]
    if nofile is not None:
        before += ["sh", "-c", 'ulimit -n "$0" && exec "$@"', str(nofile)]
    return before


def serving_process(pid: int) -> int:
    """The worker among the descendants of a server's first process, or that process itself."""
    while children := _children(pid):
        pid = children[-1]
    return pid


def _children(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [
        int(child)
        for child in children
        if b"resource_tracker" not in Path(f"/proc/{child}/cmdline").read_bytes()
    ]
