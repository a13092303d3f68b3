"""What this package promises, measured: each target PASS or FAIL.

A ratio is taken within each round, of contenders that are measured one after the other, and the
median of them is what counts. Rows that share a server and a case come from one interleaved run.
"""

from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from statistics import median

from benchmarks import asgi, http, load
from benchmarks.contenders import CONTENDERS
from benchmarks.load import NO_WRK
from benchmarks.media import CASES, Media, media
from benchmarks.paired import Spread, difference, ratio, significant
from benchmarks.processes import cores, pin
from benchmarks.report import Report, Steps, Table, console, steps
from benchmarks.servers import SERVERS


@dataclass(frozen=True)
class Target:
    server: str
    case: str
    against: str  # the contender that the ratio is to, or "cpu" for CPU-seconds per GiB
    bound: float  # at least; of "cpu" at most


TARGETS = (
    Target("daphne", "1KiB", "floor", 0.88),
    Target("daphne", "1KiB", "starlette", 6),
    Target("daphne", "100KiB", "floor", 0.85),
    Target("daphne", "206", "floor", 0.85),
    Target("daphne", "304", "floor", 0.90),
    Target("daphne", "10MiB", "starlette", 4),
    Target("daphne", "10MiB", "nginx", 0.85),
    Target("daphne", "1GiB", "starlette", 6),
    Target("daphne", "1GiB", "cpu", 0.45),
    Target("uvicorn-uvloop", "1KiB", "floor", 0.60),
    Target("uvicorn-uvloop", "1KiB", "starlette", 8),
    Target("uvicorn-uvloop", "10MiB", "starlette", 2.5),
    Target("granian", "10MiB", "starlette", 1.0),
    Target("granian", "206", "starlette", 6),
)
ASGI_TIMES = 25  # Starlette's mount takes at least so many times as long for 1 KiB
ASGI_ADDED = 1.0  # µs at most, for what is passed on
# The small ones are asked for by many, the large ones by few.
CONNECTIONS = {"10MiB": 4, "1GiB": 1}


@dataclass(frozen=True)
class Verdict:
    title: str
    promised: str
    measured: Spread | None
    passed: bool
    note: str = ""


def at_asgi_level(files: Media, rounds: int, seconds: float, step: Steps) -> list[Verdict]:
    def times(case: str, names: tuple[str, str]) -> list[list[float]]:
        step.now(f"ASGI level, {CASES[case].title}")
        measured = asgi.measure(CASES[case], files, names, rounds, seconds, step)
        return [[one.wall * 1e6 for one in measured[name]] for name in names]

    own, starlette = times("1KiB", ("package", "starlette"))
    faster = ratio(starlette, own)
    own, bare = times("page", ("package", "floor"))
    added = difference(own, bare)
    return [
        Verdict(
            "ASGI level, 1 KiB: Starlette mount’s time",
            f"≥ {ASGI_TIMES} ×",
            faster,
            faster.median >= ASGI_TIMES,
        ),
        Verdict(
            "ASGI level, passed on: µs added",
            f"≤ {ASGI_ADDED:g} µs",
            added,
            added.median <= ASGI_ADDED,
        ),
    ]


def contenders(targets: list[Target]) -> list[str]:
    others = [each.against for each in targets if each.against in CONTENDERS]
    # Beside a figure in seconds, nginx says how fast this machine is.
    if any(each.against == "cpu" for each in targets) and load.has_nginx():
        others.append("nginx")
    return list(dict.fromkeys(["package", *others]))


def verdict(target: Target, measured: http.Measured) -> Verdict:
    title = f"{SERVERS[target.server].title}, {CASES[target.case].title}"
    if target.against == "cpu":
        title, promised = f"{title}: CPU s/GiB", f"≤ {target.bound:g}"
    else:
        title = f"{title}: × {CONTENDERS[target.against].title}"
        promised = f"≥ {target.bound:g} ×"
    for name in ("package", target.against):
        if name in measured.missing:
            note = f"not measured: {CONTENDERS[name].title}: {measured.missing[name]}"
            return Verdict(title, promised, None, False, note)
    if target.against == "cpu":
        spread = Spread.of([one.cpu_per_gib for one in measured.rounds["package"]])
        note = ""
        if "nginx" in measured.rounds:
            beside = median(one.cpu_per_gib for one in measured.rounds["nginx"])
            note = f"nginx in the same run: {significant(beside)}"
        return Verdict(title, promised, spread, spread.median <= target.bound, note)
    spread = ratio(measured.rates("package"), measured.rates(target.against))
    return Verdict(title, promised, spread, spread.median >= target.bound)


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--server", nargs="+", choices=["asgi", *SERVERS], help="only these")
    parser.add_argument("--case", nargs="+", choices=CASES, help="only these")
    parser.add_argument("--rounds", type=int, help="rounds of each row (9, quick: 2)")
    parser.add_argument("--seconds", type=float, help="of load in each measurement (1)")


def run(arguments: Namespace) -> bool:
    if not load.has_wrk():
        console.print(NO_WRK)
        return False
    rounds = arguments.rounds or (2 if arguments.quick else 9)
    seconds = arguments.seconds or 1.0
    chosen = [
        each
        for each in TARGETS
        if each.server in (arguments.server or SERVERS) and each.case in (arguments.case or CASES)
    ]
    if not load.has_nginx() and any(each.against == "nginx" for each in chosen):
        console.print(load.NO_NGINX)
        chosen = [each for each in chosen if each.against != "nginx"]
    in_process = "asgi" in (arguments.server or ["asgi"]) and not arguments.case
    runs: dict[tuple[str, str], list[Target]] = {}
    for each in chosen:
        runs.setdefault((each.server, each.case), []).append(each)
    verdicts: list[Verdict] = []
    kept: list[http.Measured] = []
    total = rounds * (4 * in_process + sum(len(contenders(wanted)) for wanted in runs.values()))
    with media() as files, steps("targets", total) as step:
        if in_process:
            pin(cores()[0])
            verdicts += at_asgi_level(files, rounds, 0.05 if arguments.quick else 0.3, step)
        pin(cores()[1])
        for (server, case), wanted in runs.items():
            number = CONNECTIONS.get(case, 16)
            (measured,) = http.measure(
                server, CASES[case], [number], contenders(wanted), files, rounds, seconds, step
            )
            kept.append(measured)
            verdicts += [verdict(target, measured) for target in wanted]
    Report("targets", arguments).write(
        "Targets",
        f"{rounds} interleaved rounds; the median of the rounds’ ratios, with [lowest–highest].",
        [table(verdicts)],
        {"verdicts": verdicts, "measured": kept},
    )
    return all(each.passed for each in verdicts)


def table(verdicts: list[Verdict]) -> Table:
    rows = [
        [
            each.title,
            each.promised,
            str(each.measured or "–"),
            "PASS" if each.passed else "FAIL",
            each.note,
        ]
        for each in verdicts
    ]
    return Table("Targets", ["", "promised", "measured", "", "note"], rows, [])
