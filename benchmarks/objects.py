"""Objects of a store, SeaweedFS, over HTTP: beside nginx, and beside Django and its storage.

The store runs on both cores, and takes most of the time: figures of one run are comparable, and
those of two runs aren't.
"""

import os
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks import load
from benchmarks.http import Measured, one_round
from benchmarks.load import NO_WRK, UnservedError
from benchmarks.media import CASES, KIB, MIB, Case, Media, media
from benchmarks.paired import in_turn, ratio, significant
from benchmarks.processes import Processes, cores, pin
from benchmarks.report import Report, Steps, Table, console, steps
from benchmarks.servers import PLAIN, SERVERS, Running, serving

if TYPE_CHECKING:
    from tests.objects.engines import Engine

OBJECTS = {
    "1KiB": CASES["1KiB"],
    "100KiB": CASES["100KiB"],
    "range": Case(
        name="range",
        title="64 KiB in the middle of 100 MiB",
        path=CASES["100MiB"].path,
        status=206,
        start=50 * MIB,
        length=64 * KIB,
        headers=(("range", f"bytes={50 * MIB}-{50 * MIB + 64 * KIB - 1}"),),
    ),
    "100MiB": CASES["100MiB"],
    "304": CASES["304"],
}
TITLES = {
    "package": "media-asgi",
    "cached": "media-asgi, DiskCache",
    "folder": "media-asgi, the same file in a folder",
    "django": "Django’s FileResponse(storage.open())",
    "nginx": "nginx proxy_pass",
    "nginx-cached": "nginx proxy_cache",
    "store": "SeaweedFS alone",
}
BESIDE = ("nginx", "nginx-cached", "django", "folder")
LACKS = {("django", "range"): "it knows no ranges", ("django", "304"): "it sends no validators"}

NGINX = """
daemon off;
pid {{folder}}/pid;
error_log stderr;
worker_processes 1;
{{user}}
events {{{{ worker_connections 1024; }}}}
http {{{{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {{folder}}/body;
    proxy_temp_path {{folder}}/proxy;
    fastcgi_temp_path {{folder}}/fastcgi;
    uwsgi_temp_path {{folder}}/uwsgi;
    scgi_temp_path {{folder}}/scgi;
    proxy_cache_path {{folder}}/cache keys_zone=objects:1m max_size=1g use_temp_path=off;
    upstream store {{{{ server {store}; keepalive 32; keepalive_requests 1000000000; }}}}
    server {{{{
        listen {{host}}:{{port}};
        location /media/ {{{{
            proxy_pass http://store;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_max_temp_file_size 0;
            {cache}
        }}}}
    }}}}
}}}}
"""
CACHE = "proxy_cache objects; proxy_cache_valid 200 1s; proxy_cache_revalidate on;"


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--server", nargs="+", choices=PLAIN, default=["uvicorn", "daphne"])
    parser.add_argument("--case", nargs="+", choices=OBJECTS, default=list(OBJECTS))
    parser.add_argument("--contender", nargs="+", choices=TITLES, default=list(TITLES))
    parser.add_argument("--rounds", type=int, help="rounds of each case (5, quick: 2)")
    parser.add_argument("--seconds", type=float, help="of load in each measurement (1)")


def run(arguments: Namespace) -> bool:
    if not load.has_wrk():
        console.print(NO_WRK)
        return False
    rounds = arguments.rounds or (2 if arguments.quick else 5)
    seconds = arguments.seconds or 1.0
    names = arguments.contender
    if not load.has_nginx():
        console.print(load.NO_NGINX)
        names = [name for name in names if not name.startswith("nginx")]
    cases = [OBJECTS[name] for name in arguments.case]
    measured: list[Measured] = []
    total = len(arguments.server) * len(cases) * len(names) * rounds
    with media() as files, stored(files) as engine, steps("objects", total) as step:
        pin(cores()[1])
        for server in arguments.server:
            with running(server, names, engine, files) as started:
                for case in cases:
                    step.now(f"{SERVERS[server].title}, {case.title}")
                    measured.append(measure(server, case, started, files, rounds, seconds, step))
    Report("objects", arguments).write(
        "Objects of a store",
        f"{rounds} interleaved rounds of {seconds:g} s each, the server on one core, the load "
        "generator on another, SeaweedFS on both, so that figures of two runs can't be compared. "
        "Medians; ratios are paired round by round, their median with [lowest–highest]. CPU is "
        "the server's own, without the store's.",
        [table(each) for each in measured],
        measured,
    )
    return all("package" in each.rounds for each in measured)


@contextmanager
def stored(files: Media) -> "Iterator[Engine]":
    """SeaweedFS with the files in it, which anybody may read: nginx signs nothing."""
    from tests.objects.engines import make_bucket, seaweedfs

    with tempfile.TemporaryDirectory(prefix="media-benchmark-store-") as folder:
        with seaweedfs(Path(folder), is_public=True) as engine:
            make_bucket(engine)
            for name in ("1KiB", "100KiB", "100MiB"):
                engine.store().put(f"{name}.jpg", files.need(name))
            yield engine


@contextmanager
def running(
    server: str, names: Collection[str], engine: "Engine", files: Media
) -> Iterator[dict[str, Running]]:
    from tests.objects.engines import ACCESS_KEY, SECRET_KEY

    with ExitStack() as stack:
        cache = stack.enter_context(tempfile.TemporaryDirectory(prefix="media-benchmark-cache-"))
        environment = {
            "AWS_ENDPOINT_URL": engine.url,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": "us-east-1",
            "MEDIA_BENCHMARK_CACHE": f"{cache}/objects",
        }
        store = engine.url.removeprefix("http://")
        found = {
            name: stack.enter_context(
                serving(
                    server,
                    "nginx" if name.startswith("nginx") else name,
                    files.root,
                    application="benchmarks.object_application:application",
                    nginx=NGINX.format(store=store, cache=CACHE if name == "nginx-cached" else ""),
                    environment=environment,
                )
            )
            for name in names
            if name != "store"
        }
        if "store" in names:
            port = int(engine.url.rpartition(":")[2])
            found["store"] = Running(port, Processes(engine.pid), None, Path(os.devnull))  # type: ignore[arg-type]
        yield found


def measure(
    server: str,
    case: Case,
    started: dict[str, Running],
    files: Media,
    rounds: int,
    seconds: float,
    step: Steps,
) -> Measured:
    connections = 16 if 16 in case.connections else max(case.connections)
    measured = Measured(server, case.name, connections)
    headers: dict[str, dict[str, str]] = {}
    for name, one in started.items():
        try:
            if lack := LACKS.get((name, case.name)):
                raise UnservedError(lack)
            headers[name] = load.verified(one, case, files)
        except UnservedError as reason:
            measured.missing[name] = str(reason)
    for name in in_turn(list(started), rounds):
        step.done()
        if name in measured.missing:
            continue
        try:
            done = one_round(started[name], case, headers[name], connections, seconds)
        except UnservedError as reason:
            measured.missing[name] = str(reason)
            measured.rounds.pop(name, None)
        else:
            measured.rounds.setdefault(name, []).append(done)
    return measured


def table(measured: Measured) -> Table:
    case = OBJECTS[measured.case]

    def rates(name: str) -> list[float]:
        rounds = measured.rounds[name]
        return [
            one.bytes_per_second / MIB if case.large else one.requests_per_second for one in rounds
        ]

    columns = ["", "MiB/s" if case.large else "requests/s"]
    columns += [f"× {TITLES[name]}" for name in BESIDE] + ["CPU s/GiB" if case.large else "CPU µs"]
    rows = []
    for name, rounds in measured.rounds.items():
        row = [TITLES[name], significant(median(rates(name)))]
        for other in BESIDE:
            paired = other != name and other in measured.rounds
            row.append(str(ratio(rates(name), rates(other))) if paired else "")
        each = [one.cpu_per_gib if case.large else one.cpu_per_request * 1e6 for one in rounds]
        rows.append([*row, significant(median(each))])
    notes = [f"{TITLES[name]}: {why}" for name, why in measured.missing.items()]
    title = f"{SERVERS[measured.server].title}: {case.title}, {measured.connections} connections"
    return Table(title, columns, rows, notes)
