"""Many slow downloads at once: the server's CPU, memory and threads.

So many clients each ask for a sparse file of 1 GiB and then read 2 KiB a second. What is measured
begins when the buffers between them and the server are full, and the server has nothing to do but
to see that each of them still takes bytes.
"""

import contextlib
import resource
import socket
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from benchmarks.media import KIB, MIB, Media, media
from benchmarks.paired import significant
from benchmarks.processes import cores, pin
from benchmarks.report import Report, Table, steps
from benchmarks.servers import HOST, SERVERS, Running, serving

NAMES = ("daphne", "uvicorn", "uvicorn-uvloop")
PIECE = 2 * KIB  # that each client reads in a second


@dataclass
class Crowd:
    server: str
    clients: int
    seconds: float
    cpu: float  # of one core
    rss: int
    threads: int
    left: int  # clients that were not cut off


def measure(server: str, clients: int, files: Media, seconds: float) -> Crowd:
    path = files.sparse()
    with serving(server, "package", files.root) as running, asking(running, path, clients) as crowd:
        read(crowd, 5)
        running.processes.settle(30)
        before, begin = running.processes.cpu(), time.monotonic()
        left = read(crowd, seconds)
        cpu = (running.processes.cpu() - before) / (time.monotonic() - begin)
        state = running.processes
        return Crowd(server, clients, seconds, cpu, state.rss(), state.threads(), left)


@contextlib.contextmanager
def asking(running: Running, path: str, clients: int) -> Iterator[list[socket.socket]]:
    request = f"GET /media/{path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
    with contextlib.ExitStack() as stack:
        crowd = []
        for _ in range(clients):
            client = stack.enter_context(socket.socket())
            # As a client far away: its window opens in small steps.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * KIB)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1460)
            client.connect((HOST, running.port))
            client.sendall(request)
            client.setblocking(False)
            crowd.append(client)
        yield crowd


def read(crowd: list[socket.socket], seconds: float) -> int:
    """Each reads its piece once a second; how many were left at the end."""
    end = time.monotonic() + seconds
    left = list(crowd)
    while (begin := time.monotonic()) < end:
        for number, client in enumerate(list(left)):
            try:
                if not client.recv(PIECE):
                    left.remove(client)
            except BlockingIOError:
                pass
            except ConnectionError:
                left.remove(client)
            if number % 50 == 0:  # spread over the second
                time.sleep(50 / len(crowd) / 2)
        time.sleep(max(0.0, begin + 1 - time.monotonic()))
    return len(left)


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--server", nargs="+", choices=SERVERS, default=NAMES)
    parser.add_argument("--clients", nargs="+", type=int, help="(1600, quick: 200)")
    parser.add_argument("--seconds", type=float, help="(60, quick: 10)")


def run(arguments: Namespace) -> bool:
    counts = arguments.clients or [200 if arguments.quick else 1600]
    seconds = arguments.seconds or (10 if arguments.quick else 60)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    pin(cores()[1])
    crowds = []
    with media() as files, steps("crowd", len(arguments.server) * len(counts)) as step:
        for server in arguments.server:
            for clients in counts:
                step.now(f"{SERVERS[server].title}, {clients} clients")
                crowds.append(measure(server, clients, files, seconds))
                step.done()
    report = Report("crowd", arguments)
    columns = ["", "clients", "% of a core", "MiB", "threads", "cut off"]
    rows = [
        [
            SERVERS[each.server].title,
            str(each.clients),
            significant(100 * each.cpu),
            f"{each.rss / MIB:,.0f}",
            str(each.threads),
            str(each.clients - each.left),
        ]
        for each in crowds
    ]
    report.write(
        "Slow downloads",
        f"Each client reads {PIECE // KIB} KiB a second of a file of 1 GiB, for {seconds:g} s.",
        [Table("The server", columns, rows, [])],
        [asdict(each) for each in crowds],
    )
    return all(each.left == each.clients and each.cpu < 0.1 for each in crowds)
