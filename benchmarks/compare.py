"""Two versions of this package: what does a change cost, or save?

`--other` is another checkout, such as `git worktree add ../before HEAD~1` makes. Its `media_asgi`
is measured by the benchmarks of this one. Servers of both versions run at the same time on the
same core and are loaded in turn. Both are started anew several times: one process differs from
the next by up to a tenth, with the same code. What counts is the ratio of the medians over all
starts; in brackets are the lowest and the highest ratio within one start. More is better for
requests and MiB, less for CPU. A checkout compared with itself shows the noise; where something
else runs on the machine, CPU is what can be believed.
"""

import json
import subprocess
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from benchmarks import asgi, http, load
from benchmarks.load import NO_WRK
from benchmarks.media import CASES, MIB, Case, Media, media
from benchmarks.paired import ratio, significant
from benchmarks.processes import cores, pin
from benchmarks.report import Report, Steps, Table, console, steps
from benchmarks.servers import CHECKOUT, SERVERS, imports, serving
from benchmarks.targets import CONNECTIONS

DEFAULT_SERVERS = ["asgi", "daphne", "uvicorn-uvloop"]
DEFAULT_CASES = ["1KiB", "100KiB", "304", "206", "10MiB", "page"]

# By what was measured: each start's figure of this checkout, and of the other.
Figures = dict[str, tuple[list[float], list[float]]]


def in_process(cases: list[str], checkout: Path, rounds: int, seconds: float) -> dict[str, float]:
    """CPU µs a request at the ASGI level, in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="media-benchmark-") as name:
        folder = Path(name)
        command = [sys.executable, "-m", "benchmarks", "asgi", "--contender", "package"]
        command += ["--case", *cases, "--rounds", str(rounds), "--seconds", str(seconds)]
        command += ["--output", name]
        subprocess.run(
            command, cwd=folder, env=imports(folder, checkout), stdout=subprocess.PIPE, check=True
        )
        measured = json.loads((folder / "asgi.json").read_text())["data"]
    return {case: median(one["cpu"] for one in measured[case]["package"]) * 1e6 for case in cases}


def over_http(
    server: str,
    cases: list[Case],
    files: Media,
    checkouts: list[Path],
    rounds: int,
    seconds: float,
    step: Steps,
) -> list[dict[str, float]]:
    """Each checkout's figures of one start."""
    figures: list[dict[str, float]] = [{} for _ in checkouts]
    with ExitStack() as stack:
        running = [
            stack.enter_context(serving(server, "package", files.root, each)) for each in checkouts
        ]
        for case in cases:
            step.now(f"{SERVERS[server].title}, {case.title}")
            files.for_case(case)
            asked = [load.verified(each.port, case, files) for each in running]
            number = CONNECTIONS.get(case.name, 16)
            measured: list[list[http.Round]] = [[] for _ in checkouts]
            for turn in range(rounds):
                for i in (0, 1) if turn % 2 else (1, 0):
                    measured[i].append(http.one_round(running[i], case, asked[i], number, seconds))
                    step.done()
            title = f"{SERVERS[server].title}, {case.title}"
            for own, of_rounds in zip(figures, measured, strict=True):
                if case.large:
                    own[f"{title}: MiB/s"] = median(one.bytes_per_second / MIB for one in of_rounds)
                    own[f"{title}: CPU s/GiB"] = median(one.cpu_per_gib for one in of_rounds)
                else:
                    own[f"{title}: requests/s"] = median(
                        one.requests_per_second for one in of_rounds
                    )
                    own[f"{title}: CPU µs"] = median(one.cpu_per_request * 1e6 for one in of_rounds)
    return figures


def arguments(parser: ArgumentParser) -> None:
    servers = ["asgi", *SERVERS]
    parser.add_argument("--other", type=Path, required=True, help="another checkout's folder")
    parser.add_argument("--server", nargs="+", choices=servers, default=DEFAULT_SERVERS)
    parser.add_argument("--case", nargs="+", choices=CASES, default=DEFAULT_CASES)
    parser.add_argument("--starts", type=int, help="processes of each version (5, quick: 1)")
    parser.add_argument("--rounds", type=int, help="rounds of each case in a start (3, quick: 1)")
    parser.add_argument("--seconds", type=float, help="of load in each measurement (1)")


def run(arguments: Namespace) -> bool:
    servers = [name for name in arguments.server if name != "asgi"]
    if servers and not load.has_wrk():
        console.print(NO_WRK)
        return False
    starts = arguments.starts or (1 if arguments.quick else 5)
    rounds = arguments.rounds or (1 if arguments.quick else 3)
    seconds = arguments.seconds or 1.0
    cases = [CASES[name] for name in arguments.case]
    called = [name for name in arguments.case if name in asgi.CASE_NAMES]
    called = called if "asgi" in arguments.server else []
    figures: Figures = defaultdict(lambda: ([], []))
    total = starts * 2 * (bool(called) + len(servers) * len(cases) * rounds)
    with media() as files, steps("compare", total) as step:
        for start in range(starts * bool(called)):
            step.now("ASGI level")
            for i in (0, 1) if start % 2 else (1, 0):
                checkout = [CHECKOUT, arguments.other][i]
                for case, took in in_process(called, checkout, 5, seconds / 5).items():
                    figures[f"ASGI level, {CASES[case].title}: CPU µs"][i].append(took)
                step.done()
        pin(cores()[1])  # after what runs in process, which would inherit it
        for _ in range(starts):
            for server in servers:
                both = over_http(
                    server, cases, files, [CHECKOUT, arguments.other], rounds, seconds, step
                )
                for i, of_start in enumerate(both):
                    for name, figure in of_start.items():
                        figures[name][i].append(figure)
    Report("compare", arguments).write(
        "This checkout beside another",
        f"{starts} starts of each version. A start’s figure is the median of {rounds} interleaved "
        "rounds. Ratios are of the medians over all starts, with [lowest–highest] of one start.",
        [table(figures)],
        figures,
    )
    return True


def table(figures: Figures) -> Table:
    rows = []
    for name, (own, other) in figures.items():
        spread = ratio(own, other)
        quotient = significant(median(own) / median(other))
        low, high = significant(spread.low), significant(spread.high)
        medians = [significant(median(own)), significant(median(other))]
        rows.append([name, *medians, f"{quotient} [{low}–{high}]"])
    return Table("Medians", ["", "this", "other", "this ÷ other"], rows, [])
