"""How the cost grows: with the file's size, with the files in its folder, with the path's depth.

By size: over HTTP, one connection, time and CPU of one download of 1 KiB to 1 GiB. By the number
of files and by depth: in process, as in the part `asgi`, with 1 KiB files; of a folder's files as
many as 1,000 are asked for in turn, from all over it, so that no cache of one file helps.
"""

import asyncio
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import asgi, charts, http, load
from benchmarks.contenders import CONTENDERS
from benchmarks.load import NO_WRK
from benchmarks.media import CASES, GIB, KIB, SIZES, media
from benchmarks.paired import ratio, significant
from benchmarks.processes import cores, pin
from benchmarks.report import Report, Table, console, steps
from benchmarks.servers import PLAIN, SERVERS

KINDS = ("size", "files", "depth")
SIZE_NAMES = ("package", "starlette", "servestatic", "django", "nginx")
NUMBERS = {"files": (10, 100, 1_000, 10_000, 100_000), "depth": (1, 2, 4, 8, 16, 32)}
QUICK = {"files": (10, 100, 1_000), "depth": (1, 4, 16)}
ASKED_FOR = 1_000


@dataclass(frozen=True)
class Grown:
    """One folder, by contender: its rounds, and the seconds to build the application."""

    rounds: dict[str, list[asgi.Round]]
    built: dict[str, float]


def in_process(
    folder: Path, urls: list[str], rounds: int, seconds: float, done: Callable[[], None]
) -> Grown:
    """The cost of asking for these files in turn, and of building each application."""

    async def main() -> Grown:
        apps, scopes, built = {}, {}, {}
        for name in asgi.NAMES:
            begin = time.perf_counter()
            apps[name] = CONTENDERS[name].build(asgi.inner, folder)
            built[name] = time.perf_counter() - begin
            scopes[name] = [asgi.scope_for(url, {}) for url in urls]
            for scope in scopes[name]:
                status, _, body = await asgi.answer(apps[name], scope)
                if (status, len(body)) != (200, KIB):
                    raise AssertionError(f"{name} answers {status}, {len(body)} bytes")
        measured = await asgi.interleaved(apps, scopes, rounds, seconds, done)
        return Grown(measured, built)

    return asyncio.run(main())


def many_files(root: Path, number: int) -> list[str]:
    folder = root / "photos"
    folder.mkdir(parents=True)
    for i in range(number):
        (folder / f"{i:06}.jpg").write_bytes(bytes(KIB))
    return [f"/media/photos/{i:06}.jpg" for i in range(0, number, max(1, number // ASKED_FOR))]


def deep_path(root: Path, depth: int) -> list[str]:
    folders = "/".join(f"folder{i}" for i in range(depth))
    (root / folders).mkdir(parents=True)
    (root / folders / "photo.jpg").write_bytes(bytes(KIB))
    return [f"/media/{folders}/photo.jpg"]


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--kind", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--server", choices=PLAIN, default="daphne", help="for the sizes")
    parser.add_argument("--rounds", type=int, help="rounds of each point (5, quick: 2)")
    parser.add_argument("--seconds", type=float, help="of each measurement in process (0.3)")


def run(arguments: Namespace) -> bool:
    quick = arguments.quick
    rounds = arguments.rounds or (2 if quick else 5)
    seconds = arguments.seconds or (0.05 if quick else 0.3)
    kinds = list(arguments.kind)
    if "size" in kinds and not load.has_wrk():
        console.print(NO_WRK)
        kinds.remove("size")
    report = Report("growth", arguments)
    tables: list[Table] = []
    data: dict[str, object] = {}
    passed = "size" in kinds or "size" not in arguments.kind
    with media() as files:
        # First what runs in process, on the server's core.
        pin(cores()[0])
        for name in asgi.NAMES:  # imported before the time to build is taken
            CONTENDERS[name].build(asgi.inner, files.root)
        for kind, make, heading, unit, by in (
            (
                "files",
                many_files,
                "Files in a folder",
                "files in the folder",
                "the number of files in its folder",
            ),
            (
                "depth",
                deep_path,
                "Depth of the path",
                "folders in the path",
                "the depth of its path",
            ),
        ):
            if kind not in kinds:
                continue
            numbers = QUICK[kind] if quick else NUMBERS[kind]
            grown: dict[int, Grown] = {}
            with steps("growth", len(numbers) * len(asgi.NAMES) * rounds) as step:
                for number in numbers:
                    step.now(f"{number:,} {unit}")
                    root = files.root / f"{kind}-{number}"
                    urls = make(root, number)
                    grown[number] = in_process(root, urls, rounds, seconds, step.done)
            data[kind] = grown
            tables.append(in_process_table(heading, unit.split()[0], grown))
            if kind == "files":
                tables.append(built_table(grown))
            report.chart(f"growth-{kind}", in_process_chart(f"A 1 KiB file, by {by}", unit, grown))
    if "size" in kinds:
        pin(cores()[1])
        contenders = http.available(list(SIZE_NAMES))
        sizes = list(SIZES)[: 5 if quick else None]
        total = len(sizes) * len(contenders) * rounds
        with media() as files, steps("growth", total) as step:
            measured: list[http.Measured] = []
            for name in sizes:
                measured += http.measure(
                    arguments.server, CASES[name], [1], contenders, files, rounds, 1.0, step
                )
        passed = passed and not any(each.failed for each in measured)
        tables.append(size_table(measured))
        data["size"] = measured
        report.chart(f"growth-size-{arguments.server}", size_chart(arguments.server, measured))
    report.write(
        "How the cost grows",
        f"{rounds} interleaved rounds, medians; ratios are paired round by round.",
        tables,
        data,
    )
    return passed


def in_process_table(title: str, unit: str, grown: dict[int, Grown]) -> Table:
    numbers = list(grown)
    columns = ["", *(f"{number:,} {unit}" for number in numbers), "last × first"]
    rows = []
    for name in asgi.NAMES:
        times = [[one.wall * 1e6 for one in grown[number].rounds[name]] for number in numbers]
        cells = [f"{significant(median(each))} µs" for each in times]
        growth = median(times[-1]) / median(times[0])
        rows.append([CONTENDERS[name].title, *cells, significant(growth)])
    return Table(f"{title}: time of a request in process", columns, rows, [])


def built_table(grown: dict[int, Grown]) -> Table:
    columns = ["", *(f"{number:,} files" for number in grown)]
    rows = [
        [
            CONTENDERS[name].title,
            *(f"{significant(each.built[name] * 1000)} ms" for each in grown.values()),
        ]
        for name in asgi.NAMES
    ]
    return Table("Files in a folder: time to build the application at start", columns, rows, [])


def in_process_chart(title: str, unit: str, grown: dict[int, Grown]) -> str:
    lines = [
        charts.Line(
            name,
            CONTENDERS[name].title,
            [
                (float(number), median(one.wall * 1e6 for one in each.rounds[name]))
                for number, each in grown.items()
            ],
        )
        for name in asgi.NAMES
    ]
    ticks = tuple((float(number), f"{number:,}") for number in grown)
    panel = charts.Panel(charts.Axis("µs a request", log=True), lines)
    about = "At the ASGI level, in process; lower is better. Both axes logarithmic."
    return charts.lines(title, about, charts.Axis(unit, log=True, ticks=ticks), [panel], 300)


def size_table(measured: list[http.Measured]) -> Table:
    columns = ["", *(CASES[each.case].title.split(",")[0] for each in measured)]
    rows: list[list[str]] = []
    for name in SIZE_NAMES:
        if not any(name in each.rounds for each in measured):
            continue
        times, cpus = [f"{CONTENDERS[name].title}, ms"], ["– CPU ms"]
        ratios = ["– × Starlette’s speed"]
        for each in measured:
            rounds = each.rounds.get(name)
            times.append(significant(_download(rounds, each) * 1000) if rounds else "–")
            cpus.append(significant(_cpu(rounds, each) * 1000) if rounds else "–")
            both = rounds and "starlette" in each.rounds
            paired = both and ratio(each.rates(name), each.rates("starlette"))
            ratios.append(significant(paired.median) if paired else "–")
        rows += [times, cpus] + ([ratios] if name != "starlette" else [])
    notes = [
        f"{CONTENDERS[name].title}, {CASES[each.case].title}: {why}"
        for each in measured
        for name, why in each.missing.items()
    ]
    server = SERVERS[measured[0].server].title
    return Table(f"File size: one download, {server}, one connection", columns, rows, notes)


def _download(rounds: list[http.Round], measured: http.Measured) -> float:
    """Seconds of one download; one that was not finished in time counts by its speed."""
    return CASES[measured.case].length / median(one.bytes_per_second for one in rounds)


def _cpu(rounds: list[http.Round], measured: http.Measured) -> float:
    return median(one.cpu_per_gib for one in rounds) * CASES[measured.case].length / GIB


def size_chart(server: str, measured: list[http.Measured]) -> str:
    times, cpus = [], []
    for name in SIZE_NAMES:
        own = [(each, each.rounds[name]) for each in measured if name in each.rounds]
        if not own:
            continue
        sizes = [float(CASES[each.case].length) for each, _ in own]
        title = CONTENDERS[name].title
        downloads = [_download(rounds, each) * 1000 for each, rounds in own]
        times.append(charts.Line(name, title, list(zip(sizes, downloads, strict=True))))
        cpu = [_cpu(rounds, each) * 1000 for each, rounds in own]
        cpus.append(charts.Line(name, title, list(zip(sizes, cpu, strict=True))))
    labels = {name: CASES[name].title.split(",")[0] for name in SIZES}
    ticks = tuple((float(CASES[each.case].length), labels[each.case]) for each in measured)
    x = charts.Axis("file size", log=True, ticks=ticks)
    panels = [
        charts.Panel(charts.Axis("time of a download, ms", log=True), times),
        charts.Panel(charts.Axis("server’s CPU for a download, ms", log=True), cpus),
    ]
    title = f"One download under {SERVERS[server].title}, by the file’s size"
    about = "One connection; lower is better. All axes logarithmic."
    return charts.lines(title, about, x, panels, 240)
