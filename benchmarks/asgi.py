"""In process, at the ASGI level: what a request costs without any server and socket.

Each contender is called as a server would call it, with a fresh copy of the scope; what it sends
is thrown away. The inner application is a callable of a few lines, not Django, so that a request
that is merely passed on shows what is added and not Django's own noise. CPU is the whole
process's, worker threads included; it is pinned to one core, like the servers of the other parts.
"""

import asyncio
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from benchmarks import charts
from benchmarks.contenders import CONTENDERS, Application, Message, Receive, Scope, Send
from benchmarks.media import CASES, Case, Media, media
from benchmarks.paired import difference, in_turn, ratio, significant
from benchmarks.processes import cores, pin
from benchmarks.report import Report, Steps, Table, steps

NAMES = ("package", "starlette", "servestatic", "floor")
CASE_NAMES = ("1KiB", "100KiB", "304", "206", "404", "page")


@dataclass(frozen=True)
class Round:
    """Seconds a request."""

    wall: float
    cpu: float


async def inner(scope: Scope, receive: Receive, send: Send) -> None:
    status, body = (200, b"a page") if scope["path"] == "/page/" else (404, b"")
    headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def scope_for(path: str, headers: dict[str, str]) -> Scope:
    sent = {"host": "127.0.0.1", "user-agent": "benchmark", "accept": "*/*"} | headers
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
    }


def receiver() -> Receive:
    """A client that has said all, and stays."""
    said = False

    async def receive() -> Message:
        nonlocal said
        if said:
            await asyncio.Future()
        said = True
        return {"type": "http.request", "body": b"", "more_body": False}

    return receive


async def ignore(message: Message) -> None:
    pass


async def answer(app: Application, scope: Scope) -> tuple[int, dict[bytes, bytes], bytes]:
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(dict(message))

    await app(dict(scope), receiver(), send)
    body = b"".join(message.get("body", b"") for message in messages)
    return messages[0]["status"], dict(messages[0]["headers"]), body


async def scope_of(app: Application, case: Case, files: Media) -> Scope:
    """The scope to call with, once the answer has been compared with the file."""
    headers = dict(case.headers)
    if case.conditional:
        _, sent, _ = await answer(app, scope_for(case.path, headers))
        headers["if-none-match"] = sent[b"etag"].decode()
    scope = scope_for(case.path, headers)
    status, _, body = await answer(app, scope)
    if status != case.status or (status < 400 and body != files.content(case)):
        raise AssertionError(f"{case.name}: {status} with {len(body)} bytes is not the answer")
    return scope


async def timed(app: Application, scopes: list[Scope], seconds: float) -> Round:
    """The cost of a request, over as many as take about that long."""

    async def batch(count: int) -> Round:
        wall, cpu = time.perf_counter(), time.process_time()
        for i in range(count):
            await app(dict(scopes[i % len(scopes)]), receiver(), ignore)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        return Round(wall / count, cpu / count)

    trial = await batch(20)
    return await batch(max(20, int(seconds / trial.wall)))


async def interleaved(
    apps: dict[str, Application],
    scopes: dict[str, list[Scope]],
    rounds: int,
    seconds: float,
    done: Callable[[], None] = lambda: None,
) -> dict[str, list[Round]]:
    names = list(apps)
    measured: dict[str, list[Round]] = {name: [] for name in names}
    for name in names:
        await timed(apps[name], scopes[name], min(0.1, seconds))  # to warm up
    for name in in_turn(names, rounds):
        measured[name].append(await timed(apps[name], scopes[name], seconds))
        done()
    return measured


def measure(
    case: Case, files: Media, contenders: tuple[str, ...], rounds: int, seconds: float, step: Steps
) -> dict[str, list[Round]]:
    files.for_case(case)

    async def main() -> dict[str, list[Round]]:
        apps = {name: CONTENDERS[name].build(inner, files.root) for name in contenders}
        if case.name == "page" and "floor" in apps:
            apps["floor"] = inner  # nothing around it at all
        scopes = {name: [await scope_of(app, case, files)] for name, app in apps.items()}
        return await interleaved(apps, scopes, rounds, seconds, step.done)

    return asyncio.run(main())


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--case", nargs="+", choices=CASE_NAMES, default=list(CASE_NAMES))
    parser.add_argument("--contender", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--rounds", type=int, help="rounds of each case (15, quick: 3)")
    parser.add_argument("--seconds", type=float, help="of each measurement (0.3, quick: 0.05)")


def run(arguments: Namespace) -> bool:
    rounds = arguments.rounds or (3 if arguments.quick else 15)
    seconds = arguments.seconds or (0.05 if arguments.quick else 0.3)
    names = tuple(arguments.contender)
    pin(cores()[0])
    measured: dict[str, dict[str, list[Round]]] = {}
    total = len(arguments.case) * len(names) * rounds
    with media() as files, steps("asgi", total) as step:
        for name in arguments.case:
            step.now(CASES[name].title)
            measured[name] = measure(CASES[name], files, names, rounds, seconds, step)
    report = Report("asgi", arguments)
    report.chart("asgi", chart(measured))
    report.write(
        "A request at the ASGI level",
        f"Called in process, {rounds} interleaved rounds of {seconds:g} s each. Median µs; ratios "
        "are paired round by round, their median with [lowest–highest].",
        [table(case, rounds) for case, rounds in measured.items()],
        measured,
    )
    return True


def table(case: str, measured: dict[str, list[Round]]) -> Table:
    wall = {name: [one.wall * 1e6 for one in rounds] for name, rounds in measured.items()}
    columns = ["", "µs", "CPU µs"]
    columns += ["µs added"] * (passed := case == "page" and "floor" in wall)
    columns += ["× floor’s time", "Starlette’s time"]
    rows = []
    for name, times in wall.items():
        row = [CONTENDERS[name].title, significant(median(times))]
        row.append(significant(median(one.cpu * 1e6 for one in measured[name])))
        if passed:
            row.append(str(difference(times, wall["floor"])))
        for other, (above, below) in {
            "floor": (times, wall.get("floor")),
            "starlette": (wall.get("starlette"), times),
        }.items():
            row.append(f"× {ratio(above, below)}" if above and below and name != other else "")
        rows.append(row)
    return Table(CASES[case].title, columns, rows, [])


def chart(measured: dict[str, dict[str, list[Round]]]) -> str:
    groups = []
    for case, each in measured.items():
        bars = [charts.Bar(name, [r.wall * 1e6 for r in rounds]) for name, rounds in each.items()]
        groups.append((CASES[case].title, bars))
    about = "In process, without server and socket; shorter is better. Whisker: all rounds."
    return charts.bars("Time of a request at the ASGI level", about, "µs a request", groups)
