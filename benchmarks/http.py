"""Over HTTP: real servers, each beside its peers, under load.

The server has one core to itself, the load generator another: wrk below 1 MiB, and above it a
client that lets the kernel drop what it downloads, so that the server is what is measured.
All contenders of a server run at the same time and are loaded in turn; before each turn the
server must have come to rest. With --starts all are started anew so many times, since one process
differs from the next by up to a tenth. Then a ratio is the median over the starts' medians.
Every round's peak memory starts anew (the kernel's high-water mark is reset), but holds what the
process has kept from earlier rounds.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median

from benchmarks import charts, load
from benchmarks.contenders import CONTENDERS
from benchmarks.load import NO_NGINX, NO_WRK, Load, UnservedError
from benchmarks.media import CASES, GIB, MIB, Case, Media, media
from benchmarks.paired import in_turn, ratio, significant
from benchmarks.processes import cores, pin
from benchmarks.report import Report, Steps, Table, console, steps
from benchmarks.servers import SERVERS, NotStartedError, Running, serving

QUICK = "1KiB 206 10MiB"
TLS_CASES = ("1KiB", "100KiB", "304", "10MiB")


@dataclass(frozen=True)
class Round:
    load: Load
    cpu: float  # the server's, in seconds
    peak_rss: int

    @property
    def requests_per_second(self) -> float:
        return self.load.requests / self.load.seconds

    @property
    def bytes_per_second(self) -> float:
        return self.load.bytes / self.load.seconds

    @property
    def cpu_per_request(self) -> float:
        return self.cpu / self.load.requests

    @property
    def cpu_per_gib(self) -> float:
        return self.cpu / (self.load.bytes / GIB)


@dataclass
class Measured:
    """One case on one server with so many connections."""

    server: str
    case: str
    connections: int
    rounds: dict[str, list[Round]] = field(default_factory=dict)
    # Contenders that are not in `rounds`: why. What a contender never could is no failure.
    missing: dict[str, str] = field(default_factory=dict)
    failed: bool = False
    starts: int = 1
    processes: int = 1

    def rates(self, contender: str) -> list[float]:
        """Bytes a second for large answers, requests a second for small ones."""
        large = CASES[self.case].large
        return [
            one.bytes_per_second if large else one.requests_per_second
            for one in self.rounds[contender]
        ]


def measure(
    server: str,
    case: Case,
    connections: Iterable[int],
    contenders: Iterable[str],
    files: Media,
    rounds: int,
    seconds: float,
    step: Steps,
    starts: int = 1,
) -> list[Measured]:
    """All contenders under one server, interleaved, for each number of connections."""
    files.for_case(case)
    measured = [Measured(server, case.name, number, starts=starts) for number in connections]
    for _ in range(starts):
        one_start(case, measured, contenders, files, rounds, seconds, step)
    return measured


def one_start(
    case: Case,
    measured: list[Measured],
    contenders: Iterable[str],
    files: Media,
    rounds: int,
    seconds: float,
    step: Steps,
) -> None:
    """Add the rounds of one start to each number of connections."""
    server = measured[0].server
    with ExitStack() as stack:
        running: dict[str, Running] = {}
        headers: dict[str, dict[str, str]] = {}
        for name in contenders:
            if all(name in each.missing for each in measured):  # since an earlier start
                step.done(rounds * len(measured))
                continue
            lacks = CONTENDERS[name].lacks.get(case.name)
            try:
                if lacks:
                    raise UnservedError(lacks)
                running[name] = stack.enter_context(serving(server, name, files.root))
                headers[name] = load.verified(running[name], case, files)
            except (UnservedError, NotStartedError) as reason:
                running.pop(name, None)
                for each in measured:
                    each.missing[name] = str(reason)
                    each.failed |= not lacks
                step.done(rounds * len(measured))
        for each in measured:
            names = list(running)
            for name in in_turn(names, rounds):
                step.now(f"{SERVERS[server].title}, {case.title}, {each.connections}: {name}")
                step.done()
                if name in each.missing:
                    continue
                try:
                    one = one_round(running[name], case, headers[name], each.connections, seconds)
                except UnservedError as reason:
                    each.missing[name] = running[name].killed or str(reason)
                    each.failed |= name == "package"
                    continue
                each.rounds.setdefault(name, []).append(one)
            for name in each.missing:
                each.rounds.pop(name, None)
            for name in names:
                if running[name].killed:
                    running.pop(name)


def one_round(
    server: Running,
    case: Case,
    headers: dict[str, str],
    connections: int,
    seconds: float,
    script: str = "",
) -> Round:
    if server.killed:
        raise UnservedError(server.killed)
    server.processes.settle()
    server.processes.reset_peak()
    before = server.processes.cpu()
    result = load.run(server, case, headers, connections, seconds, script)
    cpu = server.processes.cpu() - before
    if server.killed:
        raise UnservedError(server.killed)
    if result.errors:
        raise UnservedError(f"{result.errors} of its answers were broken")
    if not result.requests and not result.bytes:
        raise UnservedError("it answered nothing in time")
    return Round(result, cpu, server.processes.peak_rss())


def available(contenders: list[str]) -> list[str]:
    if "nginx" in contenders and not load.has_nginx():
        console.print(NO_NGINX)
        return [name for name in contenders if name != "nginx"]
    return contenders


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--server", nargs="+", choices=SERVERS, default=list(SERVERS))
    parser.add_argument("--case", nargs="+", choices=CASES, help=f"all; --quick: {QUICK}")
    parser.add_argument("--contender", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument(
        "--connections", nargs="+", type=int, help="instead of the numbers that each case names"
    )
    parser.add_argument("--starts", type=int, default=1, help="of each contender (1)")
    parser.add_argument("--rounds", type=int, help="rounds of each case in a start (5, quick: 2)")
    parser.add_argument("--seconds", type=float, help="of load in each measurement (1)")


def run(arguments: Namespace) -> bool:
    if not load.has_wrk():
        console.print(NO_WRK)
        return False
    rounds = arguments.rounds or (2 if arguments.quick else 5)
    seconds = arguments.seconds or 1.0
    contenders = available(arguments.contender)
    chosen = arguments.case or (QUICK.split() if arguments.quick else CASES)
    cases = [CASES[name] for name in chosen]
    numbers = {
        case.name: arguments.connections or case.connections[: 1 if arguments.quick else None]
        for case in cases
    }
    pairs = [
        (server, case)
        for server in arguments.server
        for case in cases
        if not SERVERS[server].tls or case.name in TLS_CASES or arguments.case
    ]
    total = sum(len(numbers[case.name]) for _, case in pairs)
    total *= len(contenders) * rounds * arguments.starts
    pin(cores()[1])
    measured: list[Measured] = []
    with media() as files, steps("http", total) as step:
        for server, case in pairs:
            connections = numbers[case.name]
            measured += measure(
                server,
                case,
                connections,
                contenders,
                files,
                rounds,
                seconds,
                step,
                arguments.starts,
            )
    report = Report("http", arguments)
    draw(report, measured)
    report.write(
        "Over HTTP",
        f"Starts: {arguments.starts}. {rounds} interleaved rounds of {seconds:g} s each in a start "
        "(1 GiB: one download, cut off after 10 s), the server on one core, the load generator on "
        "another. Medians; ratios are paired round by round, their median (over the starts’ "
        "medians) with [lowest–highest]. A star: the load generator was busy for more than 95 % of "
        "its core, so the server could do more.",
        [table(each) for each in measured],
        measured,
    )
    return not any(each.failed for each in measured)


def table(measured: Measured) -> Table:
    case = CASES[measured.case]
    columns = ["", "MiB/s" if case.large else "requests/s", "× floor"]
    columns += ["× Starlette", "× nginx", "p50 ms", "p99 ms"]
    columns += ["CPU s/GiB" if case.large else "CPU µs", "peak MiB"]
    rows = []
    for name, rounds in measured.rounds.items():
        rates = measured.rates(name)
        shown = median(rates) / (MIB if case.large else 1)
        busy = median(one.load.client_cpu for one in rounds) > 0.95
        row = [CONTENDERS[name].title, significant(shown) + ("*" if busy else "")]
        for other in ("floor", "starlette", "nginx"):
            paired = other != name and other in measured.rounds
            row.append(str(ratio(rates, measured.rates(other), measured.starts)) if paired else "")
        row += [_milliseconds([one.load.p50 for one in rounds])]
        row += [_milliseconds([one.load.p99 for one in rounds])]
        if case.large:
            row.append(significant(median(one.cpu_per_gib for one in rounds)))
        else:
            row.append(significant(median(one.cpu_per_request * 1e6 for one in rounds)))
        row.append(f"{max(one.peak_rss for one in rounds) / MIB:,.0f}")
        rows.append(row)
    notes = [f"{CONTENDERS[name].title}: {why}" for name, why in measured.missing.items()]
    connections = f"{measured.connections} connection" + "s" * (measured.connections > 1)
    title = f"{SERVERS[measured.server].title}: {case.title}, {connections}"
    return Table(title, columns, rows, notes)


def _milliseconds(values: list[float | None]) -> str:
    known = [value * 1000 for value in values if value is not None]
    return significant(median(known)) if known else "–"


def draw(report: Report, measured: list[Measured]) -> None:
    # One chart a case: all servers, at the case's usual number of connections.
    for name in dict.fromkeys(each.case for each in measured):
        case = CASES[name]
        groups = []
        for each in usual(measured, name):
            groups.append(
                (SERVERS[each.server].title, [_bar(each, contender) for contender in each.rounds])
            )
        if not any(bars for _, bars in groups):
            continue
        number = usual(measured, name)[0].connections
        about = f"{number} connection{'s' * (number > 1)}, server and client on a core each. "
        about += "Longer is better. Whisker: all rounds."
        unit = "GiB/s" if case.large else "requests/s"
        report.chart(f"http-{name}", charts.bars(f"{case.title} over HTTP", about, unit, groups))
    for server in dict.fromkeys(each.server for each in measured):
        own = [each for each in measured if each.server == server and each.case == "1KiB"]
        if len(own) < 2:
            continue
        ticks = tuple((float(each.connections), str(each.connections)) for each in own)
        x = charts.Axis("connections", log=True, ticks=ticks)
        panels = [
            charts.Panel(
                charts.Axis("requests/s", log=True), _lines(own, "requests_per_second", 1)
            ),
            charts.Panel(charts.Axis("p99, ms", log=True), _lines(own, "p99", 1000)),
        ]
        title = f"1 KiB under {SERVERS[server].title}, by number of connections"
        about = "Throughput: higher is better. Latency: lower is better. All axes logarithmic."
        report.chart(f"http-connections-{server}", charts.lines(title, about, x, panels, 210))


def usual(measured: list[Measured], case: str) -> list[Measured]:
    """Each server's measurement of the case, at one number of connections: 16, or the most."""
    of_case = [each for each in measured if each.case == case]
    numbers = {each.connections for each in of_case}
    number = 16 if 16 in numbers else max(numbers)
    return [each for each in of_case if each.connections == number]


def _bar(measured: Measured, contender: str) -> charts.Bar:
    unit = GIB if CASES[measured.case].large else 1
    return charts.Bar(contender, [rate / unit for rate in measured.rates(contender)])


def _lines(measured: list[Measured], what: str, factor: float) -> list[charts.Line]:
    lines = []
    for name in dict.fromkeys(name for each in measured for name in each.rounds):
        points = []
        for each in measured:
            values = [
                getattr(one.load if what == "p99" else one, what)
                for one in each.rounds.get(name, [])
            ]
            known = [value * factor for value in values if value]
            if known:
                points.append((float(each.connections), median(known)))
        if points:
            lines.append(charts.Line(name, CONTENDERS[name].title, points))
    return lines
