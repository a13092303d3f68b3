"""Crowds: the cost of many connections that are idle, and of many slow downloads at once.

`idle`: so many clients each ask for 1 KiB, and keep their connections. `slow`: each asks for a
sparse file of 1 GiB and reads 2 KiB a second. What is measured begins when the server has answered
all of them, or the buffers between them and it are full, and it has nothing to do but to see that
each of them still takes bytes. Memory and descriptors are what was added since before the crowd
came; what the kernel holds in socket buffers is not among it. Two sizes of a crowd show whether the
cost grows with it.
"""

import contextlib
import resource
import socket
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from benchmarks import load
from benchmarks.media import CASES, KIB, Media, media
from benchmarks.paired import significant
from benchmarks.processes import cores, pin
from benchmarks.report import Report, Table, steps
from benchmarks.servers import HOST, PLAIN, SERVERS, Running, serving

NAMES = ("daphne", "uvicorn", "uvicorn-uvloop", "granian")
PIECE = 2 * KIB  # that each slow client reads in a second
# By what each crowd does: its sizes.
SIZES = {"slow": (800, 1600), "idle": (5000, 10000)}
QUICK_SIZES = {"slow": (100, 200), "idle": (200, 400)}
# Servers that would close idle connections too soon, or let so many wait.
PATIENT = {
    "uvicorn": ("--timeout-keep-alive", "600"),
    "uvicorn-uvloop": ("--timeout-keep-alive", "600"),
    "granian": ("--backpressure", "20000"),
}


@dataclass
class Crowd:
    server: str
    kind: str
    clients: int
    seconds: float
    cpu: float  # of one core
    memory: float  # bytes a client
    descriptors: float  # a client
    threads: int
    left: int  # clients that were not cut off


def measure(server: str, kind: str, clients: int, files: Media, seconds: float) -> Crowd:
    small = CASES["1KiB"]
    files.for_case(small)
    path = f"/media/{files.sparse()}" if kind == "slow" else small.path
    piece = PIECE if kind == "slow" else 64 * KIB
    with serving(server, "package", files.root, options=PATIENT.get(server, ())) as running:
        load.verified(running, small, files)  # what is made once is there before
        server_now = running.processes
        server_now.settle()
        rss, descriptors = server_now.rss(), server_now.descriptors()
        with asking(running, path, clients, kind) as crowd:
            read(crowd, piece, 5)
            server_now.settle(30)
            before, begin = server_now.cpu(), time.monotonic()
            left = read(crowd, piece, seconds)
            cpu = (server_now.cpu() - before) / (time.monotonic() - begin)
            return Crowd(
                server,
                kind,
                clients,
                seconds,
                cpu,
                (server_now.rss() - rss) / clients,
                (server_now.descriptors() - descriptors) / clients,
                server_now.threads(),
                left,
            )


@contextlib.contextmanager
def asking(running: Running, path: str, clients: int, kind: str) -> Iterator[list[socket.socket]]:
    request = f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
    with contextlib.ExitStack() as stack:
        crowd = []
        for _ in range(clients):
            client = stack.enter_context(socket.socket())
            if kind == "slow":
                # As a client far away: its window opens in small steps.
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * KIB)
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1460)
            client.settimeout(30)
            client.connect((HOST, running.port))
            client.sendall(request)
            if kind == "idle":  # or thousands would wait for the server to accept them
                client.recv(64)
            client.setblocking(False)
            crowd.append(client)
        yield crowd


def read(crowd: list[socket.socket], piece: int, seconds: float) -> int:
    """Each reads its piece once a second; how many were left at the end."""
    end = time.monotonic() + seconds
    left = list(crowd)
    while (begin := time.monotonic()) < end:
        for number, client in enumerate(list(left)):
            try:
                if not client.recv(piece):
                    left.remove(client)
            except BlockingIOError:
                pass
            except ConnectionError:
                left.remove(client)
            if number % 50 == 0:  # spread over the second
                time.sleep(50 / len(crowd) / 2)
        time.sleep(max(0.0, begin + 1 - time.monotonic()))
    return len(left)


def allow_descriptors() -> None:
    """For this process and the servers that it starts."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--server", nargs="+", choices=PLAIN, default=NAMES)
    parser.add_argument("--kind", nargs="+", choices=SIZES, default=list(SIZES))
    sizes = ", ".join(f"{kind}: {small:,} {large:,}" for kind, (small, large) in SIZES.items())
    parser.add_argument("--clients", nargs="+", type=int, help=f"({sizes})")
    parser.add_argument("--seconds", type=float, help="(60, quick: 5)")


def run(arguments: Namespace) -> bool:
    seconds = arguments.seconds or (5 if arguments.quick else 60)
    sizes = QUICK_SIZES if arguments.quick else SIZES
    wanted = [
        (kind, server, clients)
        for kind in arguments.kind
        for server in arguments.server
        for clients in arguments.clients or sizes[kind]
    ]
    allow_descriptors()
    pin(cores()[1])
    crowds = []
    with media() as files, steps("crowd", len(wanted)) as step:
        for kind, server, clients in wanted:
            step.now(f"{SERVERS[server].title}, {clients} {kind} clients")
            crowds.append(measure(server, kind, clients, files, seconds))
            step.done()
    tables = [table(kind, [each for each in crowds if each.kind == kind]) for kind in SIZES]
    Report("crowd", arguments).write(
        "Crowds",
        f"Slow clients each read {PIECE // KIB} KiB a second of a file of 1 GiB, idle ones ask "
        f"once for 1 KiB and stay; for {seconds:g} s. Memory and descriptors are what the crowd "
        "added.",
        [each for each in tables if each.rows],
        [asdict(each) for each in crowds],
    )
    return all(each.left == each.clients for each in crowds)


def table(kind: str, crowds: list[Crowd]) -> Table:
    titles = {"slow": "Slow downloads", "idle": "Idle connections, kept alive"}
    columns = ["", "clients", "% of a core", "KiB a client", "descriptors a client", "threads"]
    rows = [
        [
            SERVERS[each.server].title,
            f"{each.clients:,}",
            significant(100 * each.cpu),
            significant(each.memory / KIB),
            significant(each.descriptors),
            str(each.threads),
            str(each.clients - each.left),
        ]
        for each in crowds
    ]
    return Table(titles[kind], [*columns, "cut off"], rows, [])
