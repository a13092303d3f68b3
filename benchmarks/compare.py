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
from benchmarks.paired import in_turn, ratio, significant
from benchmarks.processes import cores, pin
from benchmarks.report import Report, Steps, Table, console, steps
from benchmarks.servers import CHECKOUT, SERVERS, imports, serving
from benchmarks.targets import CONNECTIONS

DEFAULT_SERVERS = ["asgi", "daphne", "uvicorn-uvloop"]
DEFAULT_CASES = ["1KiB", "100KiB", "304", "206", "10MiB", "page"]

# By what was measured: of "this" checkout and of the "other", each start's figure.
Figures = dict[str, dict[str, list[float]]]


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


def one_start(
    server: str,
    cases: list[Case],
    files: Media,
    checkouts: dict[str, Path],
    rounds: int,
    seconds: float,
    step: Steps,
    figures: Figures,
) -> None:
    """Over HTTP: add each version's figures of one start."""
    with ExitStack() as stack:
        running = {
            version: stack.enter_context(serving(server, "package", files.root, checkout))
            for version, checkout in checkouts.items()
        }
        for case in cases:
            title = f"{SERVERS[server].title}, {case.title}"
            step.now(title)
            files.for_case(case)
            asked = {name: load.verified(each, case, files) for name, each in running.items()}
            number = CONNECTIONS.get(case.name, 16)
            measured: dict[str, list[http.Round]] = {version: [] for version in running}
            for version in in_turn(list(running), rounds):
                one = http.one_round(running[version], case, asked[version], number, seconds)
                measured[version].append(one)
                step.done()
            for version, ones in measured.items():
                for what, figure in costs(case, ones).items():
                    figures[f"{title}: {what}"][version].append(figure)


def costs(case: Case, rounds: list[http.Round]) -> dict[str, float]:
    if case.large:
        return {
            "MiB/s": median(one.bytes_per_second / MIB for one in rounds),
            "CPU s/GiB": median(one.cpu_per_gib for one in rounds),
        }
    return {
        "requests/s": median(one.requests_per_second for one in rounds),
        "CPU µs": median(one.cpu_per_request * 1e6 for one in rounds),
    }


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
    versions = {"this": CHECKOUT, "other": arguments.other}
    turned = dict(reversed(versions.items()))  # neither is always the first
    figures: Figures = defaultdict(lambda: {version: [] for version in versions})
    total = starts * 2 * (bool(called) + len(servers) * len(cases) * rounds)
    with media() as files, steps("compare", total) as step:
        for start in range(starts * bool(called)):
            step.now("ASGI level")
            for version, checkout in (turned if start % 2 else versions).items():
                for case, took in in_process(called, checkout, 5, seconds / 5).items():
                    figures[f"ASGI level, {CASES[case].title}: CPU µs"][version].append(took)
                step.done()
        pin(cores()[1])  # after what runs in process, which would inherit it
        for start in range(starts):
            order = turned if start % 2 else versions
            for server in servers:
                one_start(server, cases, files, order, rounds, seconds, step, figures)
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
    for name, of in figures.items():
        own, other = median(of["this"]), median(of["other"])
        starts = ratio(of["this"], of["other"])
        spread = f"[{significant(starts.low)}–{significant(starts.high)}]"
        row = [name, significant(own), significant(other), f"{significant(own / other)} {spread}"]
        rows.append(row)
    return Table("Medians", ["", "this", "other", "this ÷ other"], rows, [])
