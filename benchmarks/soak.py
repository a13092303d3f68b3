"""Minutes of mixed traffic against one server: memory, descriptors and threads over time.

All at once: small files, large ones, one range and several, 304s, 404s, 412s, 416s and the
application's own page, files that it hands over and signed ones; readers that are slow, clients
that stall on 1 GiB, on the whole or on several ranges, and some that go away in the middle.
Whatever is read is compared with the file, byte by byte. Every second the server's memory,
descriptors and threads are noted; when the clients have gone, it must hold as many descriptors as
before they came.
"""

import contextlib
import http.client
import os
import random
import socket
import struct
import threading
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from statistics import median

from benchmarks import charts, load
from benchmarks.contenders import CONTENDERS
from benchmarks.media import CASES, KIB, MIB, Case, Media, media
from benchmarks.paired import significant
from benchmarks.processes import cores, pin
from benchmarks.report import Report, Table, console, steps
from benchmarks.servers import HOST, PLAIN, SERVERS, Running, serving

Response = http.client.HTTPResponse
CALM = 15.0  # seconds at most that the server may take to let go of everything at the end


@dataclass
class Tally:
    kind: str
    clients: int
    answers: int = 0
    bytes: int = 0
    errors: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Sample:
    at: float
    rss: int
    descriptors: int
    threads: int


class Client:
    """What all kinds of clients share. Each kind is a method: one answer, or one visit."""

    def __init__(self, running: Running, files: Media, tally: Tally, end: threading.Event) -> None:
        self.port, self.files, self.tally, self.end = running.port, files, tally, end
        self.connection = http.client.HTTPConnection(HOST, self.port, timeout=30)

    def repeat(self, visit: Callable[["Client"], None]) -> None:
        while not self.end.is_set():
            try:
                visit(self)
            except (OSError, http.client.HTTPException, AssertionError) as error:
                if self.end.is_set():
                    return
                self.tally.errors.append(f"{type(error).__name__}: {error}")
                self.connection.close()
                self.end.wait(0.2)
            self.end.wait(random.uniform(0.001, 0.02))
        self.connection.close()

    def ask(self, case: Case, **headers: str) -> Response:
        """Over a connection that is kept alive."""
        self.connection.request("GET", case.path, headers=headers)
        return self.connection.getresponse()

    def compare(self, response: Response, status: int, expected: memoryview) -> None:
        assert response.status == status, f"{response.status} instead of {status}"
        seen = 0
        while block := response.read(256 * KIB):
            assert block == expected[seen : seen + len(block)], f"wrong bytes from {seen} on"
            seen += len(block)
        assert seen == len(expected), f"{seen} bytes instead of {len(expected)}"
        self.tally.answers += 1
        self.tally.bytes += seen

    def plain(self, case: Case) -> None:
        self.compare(self.ask(case), case.status, self.files.content(case))

    def small(self) -> None:
        self.plain(CASES[random.choice(["1KiB", "16KiB", "100KiB"])])

    def large(self) -> None:
        self.plain(CASES[random.choice(["1MiB", "10MiB", "100MiB"])])

    def page(self) -> None:
        self.plain(CASES["page"])

    def part(self) -> None:
        case = CASES["10MiB"]
        first = random.randrange(case.length)
        last = min(case.length - 1, first + random.randrange(1, 2 * MIB))
        expected = self.files.content(case)[first : last + 1]
        self.compare(self.ask(case, range=f"bytes={first}-{last}"), 206, expected)

    def several(self) -> None:
        """Two ranges, each large enough for sendfile, and a small one."""
        case = CASES["10MiB"]
        content = self.files.content(case)
        first = random.randrange(2 * MIB)
        spans = [(first, first + 200_000), (4 * MIB, 4 * MIB + 300_000), (9 * MIB, 9 * MIB + 9)]
        asked = ",".join(f"{start}-{stop - 1}" for start, stop in spans)
        response = self.ask(case, range=f"bytes={asked}")
        assert response.status == 206, f"{response.status} instead of 206"
        body = response.read()
        for start, stop in spans:
            part = body.partition(b"bytes %d-%d/%d" % (start, stop - 1, case.length))[2]
            data = part.partition(b"\r\n\r\n")[2][: stop - start]
            assert data == content[start:stop], f"wrong bytes from {start} on"
        self.tally.answers += 1
        self.tally.bytes += len(body)

    def refused(self) -> None:
        case = CASES["10MiB"]
        for status, headers in (
            (412, {"if-match": '"other"'}),
            (416, {"range": f"bytes={case.length}-"}),
        ):
            response = self.ask(case, **headers)
            response.read()
            assert response.status == status, f"{response.status} instead of {status}"
            self.tally.answers += 1

    def private(self) -> None:
        """Handed over and signed, whole and a range."""
        case = CASES[random.choice(["16KiB", "10MiB"])]
        name = case.path.removeprefix("/media/")
        self.connection.request("GET", f"/sign/{name}")
        signed = self.connection.getresponse().read().decode("ascii")
        content = self.files.content(case)
        for url in (f"/hand-over/{name}", signed):
            self.connection.request("GET", url)
            self.compare(self.connection.getresponse(), 200, content)
            self.connection.request("GET", url, headers={"range": "bytes=1000-"})
            self.compare(self.connection.getresponse(), 206, content[1000:])

    def unchanged(self) -> None:
        response = self.ask(CASES["16KiB"])
        etag = response.headers["etag"]
        response.read()
        self.compare(self.ask(CASES["16KiB"], **{"if-none-match": etag}), 304, memoryview(b""))

    def missing(self) -> None:
        response = self.ask(CASES["404"])
        assert response.status == 404, f"{response.status} instead of 404"
        response.read()
        self.tally.answers += 1

    def raw(self, path: str, receive_buffer: int = 0, headers: str = "") -> socket.socket:
        """A connection of its own that has asked and read nothing yet."""
        client = socket.socket()
        if receive_buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.settimeout(30)
        client.connect((HOST, self.port))
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{headers}\r\n".encode())
        return client

    def aborted(self) -> None:
        """Go away before the head, in the first bytes, or in the middle; half of them rudely."""
        case = CASES[random.choice(["1KiB", "10MiB", "100MiB"])]
        with self.raw(case.path, headers=random.choice(["", _SEVERAL])) as client:
            left = min(random.choice([0, 1, 64 * KIB, 20 * MIB]), random.randrange(case.length))
            while left > 0 and (data := client.recv(min(left, 256 * KIB))):
                left -= len(data)
                self.tally.bytes += len(data)
            if random.random() < 0.5:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.tally.answers += 1

    def stalled(self) -> None:
        with self.raw("/media/sparse.jpg", headers=random.choice(["", _SEVERAL])):
            self.end.wait(random.uniform(5, 20))
        self.tally.answers += 1

    def slow(self) -> None:
        """About 300 KiB a second for a while, with a small receive buffer."""
        case = CASES["10MiB"]
        expected = self.files.content(case)
        until = time.monotonic() + random.uniform(10, 25)
        with self.raw(case.path, receive_buffer=32 * KIB) as client:
            data = b""
            while b"\r\n\r\n" not in data:
                data += client.recv(4096)
            data, seen = data.partition(b"\r\n\r\n")[2], 0
            while seen < case.length and time.monotonic() < until and not self.end.is_set():
                assert data == expected[seen : seen + len(data)], f"wrong bytes from {seen} on"
                seen += len(data)
                time.sleep(0.05)
                data = client.recv(16 * KIB)
                assert data, f"the connection ended after {seen} bytes"
        self.tally.answers += 1
        self.tally.bytes += seen


# Large enough that a client that reads nothing stalls the server.
_SEVERAL = "Range: bytes=0-9999999,20000000-39999999,50000000-69999999\r\n"

TRAFFIC: tuple[tuple[str, int, Callable[[Client], None]], ...] = (
    ("small files", 4, Client.small),
    ("large files", 2, Client.large),
    ("ranges", 2, Client.part),
    ("several ranges", 2, Client.several),
    ("412 and 416", 1, Client.refused),
    ("handed over and signed", 2, Client.private),
    ("304", 1, Client.unchanged),
    ("404", 1, Client.missing),
    ("the application’s page", 1, Client.page),
    ("aborted", 4, Client.aborted),
    ("stalled", 10, Client.stalled),
    ("slow readers", 6, Client.slow),
)


def sample(running: Running, begin: float) -> Sample:
    processes = running.processes
    at = time.monotonic() - begin
    return Sample(at, processes.rss(), processes.descriptors(), processes.threads())


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--minutes", type=float, help="of traffic (3, quick: 0.25)")
    parser.add_argument("--server", choices=PLAIN, default="daphne")
    parser.add_argument(
        "--contender", choices=["package", "starlette", "servestatic"], default="package"
    )


def run(arguments: Namespace) -> bool:
    seconds = 60 * (arguments.minutes or (0.25 if arguments.quick else 3))
    pin(cores()[1])
    tallies: list[Tally] = []
    samples: list[Sample] = []
    with media() as files, contextlib.ExitStack() as stack:
        for name in ("1KiB", "16KiB", "100KiB", "1MiB", "10MiB", "100MiB"):
            files.need(name)
        files.sparse()
        os.environ["MEDIA_BENCHMARK_PRIVATE"] = "1"  # for the server
        running = stack.enter_context(serving(arguments.server, arguments.contender, files.root))
        for name in ("1KiB", "10MiB", "page"):  # whatever is made once is there before
            load.verified(running, CASES[name], files)
        if arguments.contender == "package":  # each location's folder stays open
            Client(running, files, Tally("", 0), threading.Event()).private()
        running.processes.settle()
        begin = time.monotonic()
        before = sample(running, begin)
        end = threading.Event()
        threads = []
        for kind, clients, visit in TRAFFIC:
            if visit is Client.private and arguments.contender != "package":
                continue
            tally = Tally(kind, clients)
            tallies.append(tally)
            for _ in range(clients):
                client = Client(running, files, tally, end)
                threads.append(threading.Thread(target=client.repeat, args=(visit,), daemon=True))
        for thread in threads:
            thread.start()
        step = stack.enter_context(steps("soak", round(seconds)))
        while time.monotonic() - begin < seconds and not running.killed:
            samples.append(now := sample(running, begin))
            step.now(f"{now.rss / MIB:.0f} MiB, {now.descriptors} descriptors")
            if round(now.at) % 10 == 0 and not console.is_terminal:
                console.print(
                    f"{now.at:5.0f} s  {now.rss / MIB:6.0f} MiB  {now.descriptors} descriptors  "
                    f"{now.threads} threads  {sum(tally.answers for tally in tallies):,} answers"
                )
            time.sleep(1)
            step.done()
        end.set()
        for thread in threads:
            while thread.is_alive():
                thread.join(1)
                samples.append(sample(running, begin))
        # Descriptors may take a moment to come back.
        deadline = time.monotonic() + CALM
        while (after := sample(running, begin)).descriptors > before.descriptors:
            samples.append(after)
            if time.monotonic() > deadline:
                break
            time.sleep(0.5)
        samples.append(after)
        killed = running.killed
    errors = sum(len(tally.errors) for tally in tallies)
    calm = not killed and after.descriptors <= before.descriptors
    report = Report("soak", arguments)
    report.chart("soak", chart(arguments, samples))
    report.write(
        f"{seconds / 60:g} minutes of mixed traffic",
        f"{CONTENDERS[arguments.contender].title} under {SERVERS[arguments.server].title}, "
        f"{len(threads)} clients at once.",
        [traffic_table(tallies), state_table(before, samples, after, killed)],
        {
            "before": asdict(before),
            "samples": [asdict(each) for each in samples],
            "after": asdict(after),
            "traffic": [asdict(tally) for tally in tallies],
            "killed": killed,
        },
    )
    passed = calm and not errors
    console.print("PASS" if passed else "FAIL")
    return passed


def traffic_table(tallies: list[Tally]) -> Table:
    rows = [
        [
            each.kind,
            str(each.clients),
            f"{each.answers:,}",
            f"{each.bytes / MIB:,.0f}",
            str(len(each.errors)),
        ]
        for each in tallies
    ]
    notes = [f"{each.kind}: {error}" for each in tallies for error in each.errors[:3]]
    return Table("Traffic", ["", "clients", "visits", "MiB", "errors"], rows, notes)


def state_table(before: Sample, samples: list[Sample], after: Sample, killed: str) -> Table:
    third = len(samples) // 3 or 1
    rows = []
    for name, unit in (("rss", MIB), ("descriptors", 1), ("threads", 1)):
        values = [getattr(each, name) / unit for each in samples]
        rows.append(
            [
                "memory, MiB" if name == "rss" else name,
                significant(getattr(before, name) / unit),
                significant(median(values[third : 2 * third] or values)),
                significant(median(values[-third:])),
                significant(max(values)),
                significant(getattr(after, name) / unit),
            ]
        )
    columns = ["", "before", "middle third", "last third", "most", "after the clients had gone"]
    return Table("The server", columns, rows, [killed] if killed else [])


def chart(arguments: Namespace, samples: list[Sample]) -> str:
    def line(name: str, unit: int) -> list[charts.Line]:
        points = [(each.at, getattr(each, name) / unit) for each in samples]
        return [charts.Line(arguments.contender, CONTENDERS[arguments.contender].title, points)]

    panels = [
        charts.Panel(charts.Axis("memory, MiB"), line("rss", MIB)),
        charts.Panel(charts.Axis("open descriptors"), line("descriptors", 1)),
    ]
    title = f"Mixed traffic under {SERVERS[arguments.server].title}"
    clients = sum(count for _, count, _ in TRAFFIC)
    about = f"{clients} clients: small and large files, ranges, 304s, aborted, stalled and slow."
    return charts.lines(title, about, charts.Axis("seconds"), panels, 190)
