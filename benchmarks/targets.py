"""What this package promises, measured: each target PASS or FAIL.

Every contender is started anew five times. A ratio is taken within each round, of contenders that
are measured one after the other. The median of a start's ratios is its figure, and the median of
the starts' figures is what counts. Rows that share a server and a case come from one interleaved
run. The whole takes less than half an hour on an idle machine.
"""

from argparse import ArgumentParser, Namespace
from statistics import median
from typing import Any

from benchmarks import asgi, beside, crowd, http, load
from benchmarks.contenders import CONTENDERS
from benchmarks.load import NO_WRK, UnservedError
from benchmarks.media import CASES, KIB, Media, media
from benchmarks.paired import by_start, difference, ratio, significant
from benchmarks.processes import cores, pin
from benchmarks.promises import OTHERS, TARGETS, Target, Verdict, judge, summary
from benchmarks.report import Report, Steps, Table, console, steps
from benchmarks.servers import SERVERS

ASGI_TIMES = 25  # Starlette's mount takes at least so many times as long for 1 KiB
ASGI_ADDED = 1.0  # µs at most, for what is passed on
ASGI_ROUNDS = 9
# The small ones are asked for by many, the large ones by few.
CONNECTIONS = {"10MiB": 4, "1GiB": 1}


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


def over_http(target: Target, measured: http.Measured) -> Verdict:
    for name in ("package", target.against):
        if name in measured.missing:
            note = f"not measured: {CONTENDERS[name].title}: {measured.missing[name]}"
            return judge(target, [], note)
    if target.against == "cpu":
        costs = [one.cpu_per_gib for one in measured.rounds["package"]]
        note = ""
        if "nginx" in measured.rounds:
            nginx = median(one.cpu_per_gib for one in measured.rounds["nginx"])
            note = f"nginx in the same run: {significant(nginx)}"
        return judge(target, by_start(costs, measured.starts), note)
    own, other = measured.rates("package"), measured.rates(target.against)
    ratios = [a / b for a, b in zip(own, other, strict=True)]
    return judge(target, by_start(ratios, measured.starts))


def of_others(
    targets: list[Target], files: Media, starts: int, is_quick: bool, step: Steps
) -> tuple[list[dict[str, float]], list[Verdict]]:
    """What each start showed, by its unit, and the verdicts."""
    server, case = targets[0].server, targets[0].case
    found, note = [], ""
    for _ in range(starts):
        step.now(f"{SERVERS[server].title}, {OTHERS[case]}")
        try:
            found.append(one_of_others(server, case, files, is_quick))
        except UnservedError as reason:
            note = f"not measured: {reason}"
        step.done()
    figures = [] if note else found
    return found, [
        judge(target, [one[target.against] for one in figures], note) for target in targets
    ]


def one_of_others(server: str, case: str, files: Media, is_quick: bool) -> dict[str, float]:
    if case in beside.SITUATIONS:
        start = beside.measure(server, "package", case, files)
        return {"worst": start.worst * 1000, "usual": start.usual * 1000}
    clients = (crowd.QUICK_SIZES if is_quick else crowd.SIZES)[case][-1]
    found = crowd.measure(server, case, clients, files, seconds=10)
    if found.left < clients:
        raise UnservedError(f"{clients - found.left} clients were cut off")
    return {"core": found.cpu * 100, "memory": found.memory / KIB}


def arguments(parser: ArgumentParser) -> None:
    cases = [*CASES, *OTHERS]
    parser.add_argument("--server", nargs="+", choices=["asgi", *SERVERS], help="only these")
    parser.add_argument("--case", nargs="+", choices=cases, help="only these")
    parser.add_argument("--starts", type=int, help="of each contender (5, quick: 1)")
    parser.add_argument("--rounds", type=int, help="of each row in a start (3, quick: 2)")
    parser.add_argument("--seconds", type=float, help="of load in each measurement (1)")


def run(arguments: Namespace) -> bool:
    if not load.has_wrk():
        console.print(NO_WRK)
        return False
    starts = arguments.starts or (1 if arguments.quick else 5)
    rounds = arguments.rounds or (2 if arguments.quick else 3)
    seconds = arguments.seconds or 1.0
    runs = grouped(arguments)
    in_process = "asgi" in (arguments.server or ["asgi"]) and not arguments.case
    total = 4 * ASGI_ROUNDS * in_process
    for (_, case), targets in runs.items():
        total += starts * (1 if case in OTHERS else rounds * len(contenders(targets)))
    verdicts: list[Verdict] = []
    kept: list[Any] = []
    crowd.allow_descriptors()
    with media() as files, steps("targets", total) as step:
        if in_process:
            pin(cores()[0])
            each = 0.05 if arguments.quick else 0.3
            verdicts += at_asgi_level(files, ASGI_ROUNDS, each, step)
        pin(cores()[1])
        for (server, case), targets in runs.items():
            if case in OTHERS:
                found, judged = of_others(targets, files, starts, arguments.quick, step)
                kept.append({"server": server, "case": case, "starts": found})
                verdicts += judged
                continue
            connections = [CONNECTIONS.get(case, 16)]
            names = contenders(targets)
            (measured,) = http.measure(
                server, CASES[case], connections, names, files, rounds, seconds, step, starts
            )
            kept.append(measured)
            verdicts += [over_http(target, measured) for target in targets]
    Report("targets", arguments).write(
        "Targets",
        f"Starts of each contender: {starts}. {rounds} interleaved rounds in a start. The median "
        "of the starts’ medians, with [lowest–highest].",
        [table(verdicts)],
        {"verdicts": verdicts, "measured": kept},
    )
    return all(each.passed for each in verdicts)


def grouped(arguments: Namespace) -> dict[tuple[str, str], list[Target]]:
    """The targets that were asked for, by server and case."""
    runs: dict[tuple[str, str], list[Target]] = {}
    if not load.has_nginx():
        console.print(load.NO_NGINX)
    for each in TARGETS:
        if (
            each.server in (arguments.server or SERVERS)
            and each.case in (arguments.case or [*CASES, *OTHERS])
            and (each.against != "nginx" or load.has_nginx())
        ):
            runs.setdefault((each.server, each.case), []).append(each)
    return runs


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
    columns = ["", "promised", "measured", "", "note"]
    return Table("Targets", columns, rows, summary(verdicts))
