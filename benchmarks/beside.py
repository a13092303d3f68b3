"""Others meanwhile: a page beside cold downloads, a small file beside warm ones.

Clients download while one more asks for something small, again and again, on a connection that is
kept alive. `cold`: so many files that the page cache does not have, each downloaded once. `warm`:
one file that it has, downloaded again and again. Told are the worst and the median wait of the one
client, and the rate of the downloads.
"""

import contextlib
import http.client
import os
import threading
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import load
from benchmarks.contenders import CONTENDERS
from benchmarks.drain import percentile
from benchmarks.load import UnservedError
from benchmarks.media import CASES, MIB, Case, Media, media
from benchmarks.paired import Spread, in_turn, significant
from benchmarks.processes import cores, pin
from benchmarks.promises import OTHERS
from benchmarks.report import Report, Table, steps
from benchmarks.servers import PLAIN, SERVERS, Running, serving
from media_asgi.sources.openat2 import KERNEL

SECONDS = 3.0  # of warm downloads
PATIENCE = 60.0  # seconds for cold ones
PAUSE = 0.003  # seconds between an answer and the next small request


@dataclass(frozen=True)
class Situation:
    title: str
    small: Case
    downloads: int
    length: int  # of each
    cold: bool


SITUATIONS = {
    "cold": Situation(OTHERS["cold"], CASES["page"], 32, 50 * MIB, cold=True),
    "warm": Situation(OTHERS["warm"], CASES["1KiB"], 4, 10 * MIB, cold=False),
}


@dataclass(frozen=True)
class Beside:
    """One start of one contender."""

    server: str
    contender: str
    situation: str
    waits: list[float]  # seconds
    rate: float  # bytes a second

    @property
    def worst(self) -> float:
        return max(self.waits)

    @property
    def usual(self) -> float:
        return median(self.waits)


def measure(server: str, contender: str, name: str, files: Media) -> Beside:
    situation = SITUATIONS[name]
    small = situation.small
    if small.name in CONTENDERS[contender].lacks:
        small = CASES["1KiB"]
    files.for_case(small)
    paths = [files.root / f"{name}-{number}.jpg" for number in range(situation.downloads)]
    for path in paths if situation.cold else paths[:1]:
        prepare(path, situation)
    url = f"/media/{name}-{'{}' if situation.cold else 0}.jpg"
    with serving(server, contender, files.root) as running:
        load.verified(running, small, files)
        running.processes.settle()
        with asking(running, small) as waits:
            mode, seconds = ("each", PATIENCE) if situation.cold else ("timed", SECONDS)
            done = load.drain(running, url, situation.downloads, seconds, mode, {})
    if done.errors or (situation.cold and done.requests < situation.downloads):
        raise UnservedError("not all downloads came to their end")
    if not waits:
        raise UnservedError("nothing small was answered")
    return Beside(server, contender, name, waits, done.bytes / done.seconds)


def prepare(path: Path, situation: Situation) -> None:
    """The file, out of the page cache if it must be cold."""
    if not path.exists():
        with path.open("wb") as file:
            for _ in range(situation.length // MIB):
                file.write(os.urandom(MIB))
            file.flush()
            os.fsync(file.fileno())  # a page that is not on the disk stays in the cache
    if situation.cold:
        with path.open("rb") as file:
            forget(file.fileno(), situation.length)


def forget(fd: int, length: int) -> None:
    """Let the page cache drop a file."""
    deadline = time.monotonic() + 10
    while True:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        if not KERNEL.cached_pages(fd, 0, length):  # none, or the kernel doesn't tell
            return
        if time.monotonic() > deadline:
            raise UnservedError("the files stay in memory: set TMPDIR to a folder on a disk")
        time.sleep(0.1)  # the sockets of the last contender had some


@contextlib.contextmanager
def asking(running: Running, small: Case) -> Iterator[list[float]]:
    """Ask for the small thing, again and again; how long each took."""
    waits: list[float] = []
    end = threading.Event()
    connection = load.connect(running)

    def ask() -> None:
        with (
            contextlib.suppress(OSError, http.client.HTTPException),
            contextlib.closing(connection),
        ):
            while not end.wait(PAUSE):
                begin = time.perf_counter()
                connection.request("GET", small.path)
                connection.getresponse().read()
                waits.append(time.perf_counter() - begin)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield waits
    finally:
        end.set()
        thread.join()


def arguments(parser: ArgumentParser) -> None:
    names = ["package", "starlette", "nginx"]
    parser.add_argument("--server", nargs="+", choices=PLAIN, default=["daphne", "uvicorn"])
    parser.add_argument("--situation", nargs="+", choices=SITUATIONS, default=list(SITUATIONS))
    parser.add_argument("--contender", nargs="+", choices=CONTENDERS, default=names)
    parser.add_argument("--starts", type=int, help="of each contender (5, quick: 1)")


def run(arguments: Namespace) -> bool:
    starts = arguments.starts or (1 if arguments.quick else 5)
    names = [name for name in arguments.contender if name != "nginx" or load.has_nginx()]
    total = starts * len(names) * len(arguments.server) * len(arguments.situation)
    pin(cores()[1])
    measured: list[Beside] = []
    tables = []
    with media() as files, steps("beside", total) as step:
        for server in arguments.server:
            for situation in arguments.situation:
                title = f"{SERVERS[server].title}: {SITUATIONS[situation].title}"
                here, missing = [], {}
                for name in in_turn(names, starts):
                    step.now(f"{title}: {name}")
                    try:
                        here.append(measure(server, name, situation, files))
                    except UnservedError as reason:
                        missing[name] = str(reason)
                    step.done()
                measured += here
                tables.append(table(title, names, here, missing))
    Report("beside", arguments).write(
        "Others meanwhile",
        f"{starts} starts of each contender. Medians over the starts, with [lowest–highest]. nginx "
        "has no page: it is asked for a file of 1 KiB.",
        tables,
        measured,
    )
    return any(each.contender == "package" for each in measured)


def table(title: str, names: list[str], measured: list[Beside], missing: dict[str, str]) -> Table:
    rows = []
    for name in names:
        own = [each for each in measured if each.contender == name]
        if own and name not in missing:
            p99 = [percentile(each.waits, 0.99) or 0.0 for each in own]
            rows.append(
                [
                    CONTENDERS[name].title,
                    str(Spread.of([each.worst * 1000 for each in own])),
                    significant(median(p99) * 1000),
                    significant(median(each.usual for each in own) * 1000),
                    significant(median(each.rate for each in own) / MIB),
                ]
            )
    notes = [f"{CONTENDERS[name].title}: {why}" for name, why in missing.items()]
    return Table(title, ["", "worst ms", "p99 ms", "p50 ms", "MiB/s"], rows, notes)
