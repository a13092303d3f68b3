"""What the tests of faults share: a served folder, clients that misbehave, and what is left."""

import contextlib
import json
import random
import socket
import ssl
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from ..support.client import Connection, Response, Truncated, head
from ..support.servers import Server
from ..support.site import Site

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30

# How each kind is started: the server, and what differs from its plain form.
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "daphne": ("daphne", {}),
    "uvicorn": ("uvicorn", {}),
    "hypercorn": ("hypercorn", {}),
    "granian": ("granian", {}),
    "daphne-tls": ("daphne", {"tls": True}),
    "daphne-unix": ("daphne", {"unix": True}),
    "uvicorn-h11": ("uvicorn", {"options": ["--http", "h11", "--loop", "asyncio"]}),
    "uvicorn-tls": ("uvicorn", {"tls": True}),
    "uvicorn-unix": ("uvicorn", {"unix": True}),
    "hypercorn-tls": ("hypercorn", {"tls": True}),
    "granian-tls": ("granian", {"tls": True}),
}
FOUR = ("daphne", "uvicorn", "hypercorn", "granian")
DAPHNES = ("daphne", "daphne-tls", "daphne-unix")
HTTP2S = ("daphne-tls", "hypercorn-tls", "granian-tls")


def on(*kinds: str, slow: Sequence[str] = ()) -> pytest.MarkDecorator:
    """The test runs on each of these, with a `site` that is shared; on some at leisure only.

    (What holds for all servers is worth seconds on each only once in a while.)
    """
    return pytest.mark.parametrize(
        "site",
        [
            pytest.param(
                kind,
                marks=[pytest.mark.xdist_group(kind), *[pytest.mark.slow] * (kind in slow)],
            )
            for kind in (*kinds, *slow)
        ],
        indirect=True,
    )


class WatchedSite(Site):
    """With /impatient/ for those in a hurry, beside /media/, and with what the server holds."""

    def sparse(self, name: str = "sparse.bin", size: int = GIB) -> str:
        with open(self.root / name, "ab") as file:
            file.truncate(size)
        return self.url + name

    def state(self, client: Connection | None = None) -> dict[str, Any]:
        """What the server's process holds, this question left out."""
        told: dict[str, Any] = self.ask("/__state__", client)
        told["threads"] = self.ask("/__threads__", client)
        told["descriptors"] = Counter(
            target.split(":")[0] if target.startswith(("socket:", "pipe:")) else target
            for target in told["descriptors"]
            # Lent to be opened by name: kept for a while, and then turned to this, for good.
            # And the last is what whoever looks for a client's socket looks with.
            if target != "/dev/null" and not target.endswith("/fd")
        )
        return told

    def settle(self, before: Mapping[str, Any], timeout: float = 45) -> None:
        """Waits until the server holds no more than before, and fails if it keeps anything."""
        deadline = time.monotonic() + timeout
        pause = 0.05
        # One connection for all: some servers keep one that was closed for a while. The pause grows
        # beyond the second after which Daphne forgets a request, for it counts these as well.
        with Connection(self.server) as client:
            while (left := _more(before, self.state(client))) and time.monotonic() < deadline:
                time.sleep(pause)
                pause = min(pause * 2, 1.2)
        assert not left, f"{left} left over\n{self.server.log[-3000:]}"

    @contextlib.contextmanager
    def unharmed(self, timeout: float = 45) -> Iterator[None]:
        """Afterwards the server is as it was: nothing is left, and it serves on."""
        url = self.put("unharmed.bin", b"unharmed" * 50_000)
        with Connection(self.server) as client:
            for each in (url, url.replace("/media/", "/impatient/")):  # whose root stays open
                assert client.get(each).status == 200
        self.ask("/__fill__")  # threads come by and by, up to a number, and stay
        before = self.state()
        yield
        self.settle(before, timeout)
        with Connection(self.server) as client:
            for _ in range(2):
                assert client.get(url).body == b"unharmed" * 50_000
                assert client.get("/inner").status == 200


def _more(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    more: dict[str, Any] = dict(after["descriptors"] - before["descriptors"])
    for name in ("tasks", "threads"):
        if after[name] > before[name]:
            more[name] = after[name] - before[name]
    if after["connections"]:  # Daphne's table of them
        more["connections"] = after["connections"]
    return more


@contextlib.contextmanager
def serve(
    kind: str,
    root: Path,
    application: str = "media",
    *,
    module: str = "tests.faults.apps",
    env: Mapping[str, str] | None = None,
    middleware: Mapping[str, Any] | None = None,
    options: Sequence[str] = (),
    **server: Any,
) -> Iterator[WatchedSite]:
    """A server of its own, for what can't be shared."""
    name, own = KINDS[kind]
    root.mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        own = dict(own)
        if own.pop("unix", False):
            own["unix"] = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "socket"
        env = {
            "FAULTS_ROOT": str(root),
            "FAULTS_OPTIONS": json.dumps(middleware or {}),
            **(env or {}),
        }
        options = [*own.pop("options", ()), *options]
        started = Server(name, f"{module}:{application}", env=env, options=options, **own, **server)
        yield WatchedSite(stack.enter_context(started), root, kind=kind)


class Remote(Connection):
    """A client as far away as most: its network takes segments of 1,460 bytes.

    With the 64 KiB of the loopback interface a small window opens in a few large steps only.
    """

    def __init__(self, server: Server, rcvbuf: int, timeout: float = 60) -> None:
        client = socket.socket()
        client.settimeout(timeout)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1460)
        client.connect(("127.0.0.1", server.port))
        if server.tls:
            context = ssl.create_default_context(cafile=server.tls.chain)
            client = context.wrap_socket(client, server_hostname="127.0.0.1")
        self.socket = client
        self._buffer = bytearray()


def pattern(size: int) -> bytes:
    """Bytes that are elsewhere in the file something else, and are made fast."""
    block = random.Random(7).randbytes(1_000_003)
    return (block * (size // len(block) + 1))[:size]


def read(
    client: Connection, response: Response, *, size: int = 1 << 18, pause: float = 0
) -> tuple[bytes, bool]:
    """What comes of a body, and whether that is all of it."""
    got = bytearray()
    try:
        for piece in client.body(response, size=size, pause=pause):
            got += piece
    except Truncated:
        return bytes(got), False
    return bytes(got), True


def some(client: Connection, response: Response, size: int) -> bytes:
    """The first bytes of a body, which may be read on."""
    got = bytearray()
    pieces = client.body(response, size=size)
    while len(got) < size:
        got += next(pieces)
    return bytes(got)


@contextlib.contextmanager
def stalled(
    site: WatchedSite,
    url: str,
    count: int = 1,
    headers: Sequence[tuple[str, str]] = (),
    *,
    rcvbuf: int | None = None,
) -> Iterator[list[Connection]]:
    """Clients that ask and read nothing."""
    with contextlib.ExitStack() as stack:
        clients = []
        for _ in range(count):
            client = stack.enter_context(Connection(site.server, rcvbuf=rcvbuf))
            client.request(url, headers)
            clients.append(client)
        yield clients


class Growth:
    """By how much the server's resident memory grows, at most."""

    def __init__(self, site: WatchedSite, limit: int = GIB) -> None:
        self.server = site.server
        self.before = self.server.rss()
        self.most = 0
        self.limit = limit

    def watch(self, seconds: float) -> int:
        """Looks on for so long, or until it is beyond the limit."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.most < self.limit:
            self.most = max(self.most, self.server.rss() - self.before)
            time.sleep(0.05)
        return self.most


def latencies(site: WatchedSite, url: str, count: int = 20) -> list[float]:
    """How long each answer takes, each on a connection of its own."""
    times = []
    for _ in range(count):
        begin = time.monotonic()
        with Connection(site.server) as client:
            assert client.get(url).status == 200
        times.append(time.monotonic() - begin)
    return times


def typical(times: Sequence[float]) -> float:
    return statistics.median(times)


def send_all(client: Connection, data: bytes, timeout: float = 60) -> threading.Thread:
    """Sends in the background what the server may not want to have all at once."""

    def run() -> None:
        with contextlib.suppress(OSError):
            client.socket.sendall(data)

    client.socket.settimeout(timeout)
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def pipelined(urls: Sequence[str]) -> bytes:
    return b"".join(map(head, urls))
