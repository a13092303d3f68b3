"""Clients that ask for 1 GiB and read nothing: the server's memory over time.

So many clients each send one request for a sparse file of 1 GiB and never read from their socket,
while another one asks for a small file again and again. What is drawn is resident memory, all
processes of the server, above what it was just before the clients came; what the kernel holds in
socket buffers, some MiB a client whatever the contender, is not among it. A server that grows
beyond 3 GiB is killed, for the machine's sake.
"""

import contextlib
import http.client
import socket
import threading
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from benchmarks import charts, load
from benchmarks.contenders import CONTENDERS
from benchmarks.media import CASES, MIB, Media, media
from benchmarks.paired import significant
from benchmarks.processes import cores, pin
from benchmarks.report import Report, Table, steps
from benchmarks.servers import HOST, PLAIN, SERVERS, Running, serving

NAMES = ("package", "starlette", "django")
EVERY = 0.2  # seconds between samples


@dataclass
class Stall:
    """One contender under one server with so many stalled clients."""

    server: str
    contender: str
    clients: int
    before: int  # bytes resident just before the clients came
    samples: list[tuple[float, int]]  # seconds since they asked, bytes resident
    probes: list[tuple[float, float]]  # when a small file was asked for, seconds that it took
    killed: str

    @property
    def growth(self) -> int:
        return max(rss for _, rss in self.samples) - self.before


def measure(server: str, contender: str, clients: int, files: Media, seconds: float) -> Stall:
    path = files.sparse()
    small = CASES["1KiB"]
    files.need("1KiB")
    with serving(server, contender, files.root) as running:
        for _ in range(3):  # whatever is made once is there before the first sample
            load.verified(running, small, files)
        running.processes.settle()
        stall = Stall(server, contender, clients, running.processes.rss(), [], [], "")
        begin = time.monotonic()
        with stalling(running, path, clients), probing(running, stall.probes):
            while (now := time.monotonic() - begin) < seconds and not running.killed:
                if rss := running.processes.rss():
                    stall.samples.append((now, rss))
                time.sleep(EVERY)
            stall.killed = running.killed
            if not stall.killed and running.popen.poll() is not None:
                stall.killed = "it ended by itself"
    return stall


@contextlib.contextmanager
def stalling(running: Running, path: str, clients: int) -> Iterator[None]:
    """So many clients, who ask as fast as the server lets them in."""
    request = f"GET /media/{path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
    sockets: list[socket.socket] = []
    end = threading.Event()

    def ask() -> None:
        while len(sockets) < clients and not end.is_set():
            try:
                client = socket.create_connection((HOST, running.port), 10)
                sockets.append(client)
                client.sendall(request)
            except OSError:  # killed, or too busy to accept
                end.wait(0.1)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
        for client in sockets:
            client.close()


@contextlib.contextmanager
def probing(running: Running, probes: list[tuple[float, float]]) -> Iterator[None]:
    """Ask for a small file again and again, and note how long each takes."""
    end = threading.Event()
    start = time.perf_counter()

    def probe() -> None:
        while not end.wait(EVERY / 2):
            begin = time.perf_counter()
            connection = http.client.HTTPConnection(HOST, running.port, timeout=30)
            try:
                connection.request("GET", CASES["1KiB"].path)
                connection.getresponse().read()
            except (OSError, http.client.HTTPException):
                if running.killed:
                    return
            finally:
                connection.close()
            probes.append((begin - start, time.perf_counter() - begin))

    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()


def arguments(parser: ArgumentParser) -> None:
    servers = ["daphne", "uvicorn", "hypercorn", "granian"]
    parser.add_argument("--server", nargs="+", choices=PLAIN, default=servers)
    parser.add_argument("--contender", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--clients", nargs="+", type=int, default=[4, 200])
    parser.add_argument("--seconds", type=float, help="to watch (12, quick: 2)")


def run(arguments: Namespace) -> bool:
    seconds = arguments.seconds or (2.0 if arguments.quick else 12.0)
    servers = arguments.server[:1] if arguments.quick else arguments.server
    names = arguments.contender
    pin(cores()[1])
    stalls: list[Stall] = []
    with (
        media() as files,
        steps("stalled", len(servers) * len(arguments.clients) * len(names)) as step,
    ):
        for server in servers:
            for clients in arguments.clients:
                for name in names:
                    step.now(f"{SERVERS[server].title}, {clients} clients: {name}")
                    stalls.append(measure(server, name, clients, files, seconds))
                    step.done()
    report = Report("stalled", arguments)
    for server in servers:
        for clients in arguments.clients:
            own = [each for each in stalls if (each.server, each.clients) == (server, clients)]
            report.chart(f"stalled-{server}-{clients}", chart(server, clients, own))
    report.write(
        "Clients that ask for 1 GiB and read nothing",
        f"Resident memory above what it was before, watched for {seconds:g} s; meanwhile another "
        "client asks for a file of 1 KiB again and again; its times are those of the second half, "
        "when the stalled ones have filled their sockets.",
        [table(server, [each for each in stalls if each.server == server]) for server in servers],
        stalls,
    )
    return not any(each.killed and each.contender == "package" for each in stalls)


def table(server: str, stalls: list[Stall]) -> Table:
    columns = ["", "clients", "MiB before", "MiB grown", "after s", "1 KiB, ms", "slowest, ms"]
    rows = []
    for each in stalls:
        half = each.samples[-1][0] / 2
        probes = [took * 1000 for at, took in each.probes if at > half]
        rows.append(
            [
                CONTENDERS[each.contender].title,
                str(each.clients),
                f"{each.before / MIB:,.0f}",
                significant(each.growth / MIB) + (", killed" if each.killed else ""),
                f"{each.samples[-1][0]:.1f}",
                significant(median(probes)) if probes else "–",
                significant(max(probes)) if probes else "–",
            ]
        )
    return Table(SERVERS[server].title, columns, rows, [])


def chart(server: str, clients: int, stalls: list[Stall]) -> str:
    lines = [
        charts.Line(
            each.contender,
            CONTENDERS[each.contender].title,
            [(at, max(0, rss - each.before) / MIB) for at, rss in each.samples],
        )
        for each in stalls
    ]
    panel = charts.Panel(charts.Axis("MiB of memory grown"), lines)
    title = f"{clients} clients ask {SERVERS[server].title} for 1 GiB and read nothing"
    about = "Resident memory of the server above what it was; lower is better."
    if any(each.killed for each in stalls):
        about += " A line that ends early: killed at 3 GiB."
    return charts.lines(title, about, charts.Axis("seconds"), [panel], 280)
