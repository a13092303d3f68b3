"""Objects of a store, SeaweedFS, over HTTP: beside nginx, and beside Django and its storage.

The store runs on both cores, and takes most of the time: figures of one run are comparable, and
those of two runs aren't.
"""

import asyncio
import http.client
import os
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks import load
from benchmarks.http import Measured, one_round
from benchmarks.load import NO_WRK, UnservedError
from benchmarks.media import CASES, KIB, MIB, Case, Media, media
from benchmarks.paired import in_turn, ratio, significant
from benchmarks.processes import Processes, cores, pin
from benchmarks.report import Report, Steps, Table, console, steps
from benchmarks.servers import HOST, PLAIN, SERVERS, Running, serving

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
    "miss": Case(
        name="miss",
        title="1 KiB, each object for the first time",
        path=CASES["1KiB"].path,
        length=KIB,
    ),
    "revalidation": Case(
        name="revalidation",
        title="1 KiB, each object in the cache, and no longer fresh",
        path=CASES["1KiB"].path,
        length=KIB,
    ),
}
# So many objects, which nobody asks for twice in a round, for each second and process.
MANY = 4000
ONE_OF_MANY = """
local number = {first}
request = function()
  number = number + 1
  return wrk.format("GET", "/media/many/" .. number .. ".jpg")
end
"""
# nginx counts freshness in whole seconds, and asks when one more has begun.
STALE = 2.1

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
LACKS = {
    ("django", "range"): "it knows no ranges",
    ("django", "304"): "it sends no validators",
    ("folder", "miss"): "it has all files",
    **{
        (name, "revalidation"): "it keeps nothing"
        for name in TITLES
        if name not in ("cached", "nginx-cached")
    },
}
# What several processes share: contenders, and cases.
SHARED = {"package", "cached", "nginx", "nginx-cached"}, {"1KiB", "miss", "revalidation"}
# Without uvloop uvicorn's workers set no TCP_NODELAY, and each answer waits 40 ms for the client.
WITH_WORKERS = "uvicorn-uvloop"

NGINX = """
daemon off;
pid {{folder}}/pid;
error_log stderr;
worker_processes {processes};
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
    proxy_cache_path {{folder}}/cache keys_zone=objects:16m max_size=1g use_temp_path=off;
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
    parser.add_argument(
        "--processes", nargs="+", type=int, default=[1, 2], help="of uvicorn with uvloop (1 2)"
    )
    parser.add_argument("--rounds", type=int, help="rounds of each case (5, quick: 2)")
    parser.add_argument("--seconds", type=float, help="of load in each measurement (1)")


def run(arguments: Namespace) -> bool:
    if not load.has_wrk():
        console.print(NO_WRK)
        return False
    rounds = arguments.rounds or (2 if arguments.quick else 5)
    seconds = arguments.seconds or 1.0
    names: list[str] = arguments.contender
    if not load.has_nginx():
        console.print(load.NO_NGINX)
        names = [name for name in names if not name.startswith("nginx")]
    cases = [OBJECTS[name] for name in arguments.case]
    # The server, its processes, the contenders, and the cases.
    plan = [(server, 1, names, cases) for server in arguments.server]
    shared = [name for name in names if name in SHARED[0]]
    also = [case for case in cases if case.name in SHARED[1]]
    plan += [(WITH_WORKERS, processes, shared, also) for processes in arguments.processes]
    measured: list[Measured] = []
    total = rounds * sum(len(names) * len(cases) for _, _, names, cases in plan)
    most = MANY * max(1, seconds) * max(arguments.processes)
    many = round(most) if {"miss", "revalidation"} & {*arguments.case} else 0
    with (
        media() as files,
        stored(files, many * (rounds + 1)) as engine,
        steps("objects", total) as step,
    ):
        pin(cores()[1])
        for server, processes, names, cases in plan:
            with running(server, processes, names, engine, files) as (started, cache):
                for case in cases:
                    step.now(f"{SERVERS[server].title}, {case.title}")
                    one = Measured(server, case.name, connections_of(case), processes=processes)
                    measure(one, started, files, rounds, seconds, step, many, cache)
                    measured.append(one)
    Report("objects", arguments).write(
        "Objects of a store",
        f"{rounds} interleaved rounds of {seconds:g} s each, the server on one core, the load "
        "generator on another, SeaweedFS on both, so that figures of two runs can't be compared. "
        "Medians; ratios are paired round by round, their median with [lowest–highest]. CPU is "
        "the server's own, without the store's. Several processes of a server run on both cores.",
        [table(each) for each in measured],
        measured,
    )
    return all("package" in each.rounds for each in measured)


@contextmanager
def stored(files: Media, many: int) -> "Iterator[Engine]":
    """SeaweedFS with the files in it, which anybody may read: nginx signs nothing.

    ``many``: so many objects of 1 KiB more.
    """
    from tests.objects.engines import make_bucket, seaweedfs

    with tempfile.TemporaryDirectory(prefix="media-benchmark-store-") as folder:
        with seaweedfs(Path(folder), is_public=True) as engine:
            make_bucket(engine)
            for name in ("1KiB", "100KiB", "100MiB"):
                engine.store().put(f"{name}.jpg", files.need(name))
            asyncio.run(put_many(engine.store(), files.need("1KiB").read_bytes(), many))
            yield engine


async def put_many(store: Any, data: bytes, many: int) -> None:
    async def put(first: int) -> None:
        for number in range(first, many + 1, 16):
            await store.put_async(f"many/{number}.jpg", data)

    await asyncio.gather(*map(put, range(1, 17)))


@contextmanager
def running(
    server: str, processes: int, names: Collection[str], engine: "Engine", files: Media
) -> Iterator[tuple[dict[str, Running], Path]]:
    """The contenders, and the folder of the disk cache."""
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
                    nginx=NGINX.format(
                        store=store,
                        cache=CACHE if name == "nginx-cached" else "",
                        processes=processes,
                    ),
                    environment=environment,
                    processes=processes,
                )
            )
            for name in names
            if name != "store"
        }
        if "store" in names:
            port = int(engine.url.rpartition(":")[2])
            found["store"] = Running(port, Processes(engine.pid), None, Path(os.devnull))  # type: ignore[arg-type]
        yield found, Path(cache, "objects")


def connections_of(case: Case) -> int:
    return 16 if 16 in case.connections else max(case.connections)


def measure(
    measured: Measured,
    started: dict[str, Running],
    files: Media,
    rounds: int,
    seconds: float,
    step: Steps,
    many: int,
    cache: Path,
) -> None:
    case = OBJECTS[measured.case]
    headers: dict[str, dict[str, str]] = {}
    last_round: dict[str, float] = {}
    for name, one in started.items():
        try:
            if lack := LACKS.get((name, case.name)):
                raise UnservedError(lack)
            headers[name] = load.verified(one, case, files)
            if case.name == "revalidation":
                keep(one.port, many, cache if name == "cached" else None)
        except UnservedError as reason:
            measured.missing[name] = str(reason)
    for name in in_turn(list(started), rounds):
        step.done()
        if name in measured.missing:
            continue
        number = len(measured.rounds.get(name, ()))
        script = ""
        if case.name == "miss":
            script = ONE_OF_MANY.format(first=many * (number + 1))
        elif case.name == "revalidation":
            script = ONE_OF_MANY.format(first=0)
            time.sleep(max(0, STALE - time.monotonic() + last_round.get(name, 0)))
        try:
            done = one_round(
                started[name], case, headers[name], measured.connections, seconds, script
            )
            if script and done.load.requests > many:
                raise UnservedError(f"it answered more than {many} objects: take fewer --seconds")
        except UnservedError as reason:
            measured.missing[name] = str(reason)
            measured.rounds.pop(name, None)
        else:
            measured.rounds.setdefault(name, []).append(done)
        last_round[name] = time.monotonic()


def keep(port: int, many: int, cache: Path | None) -> None:
    """Ask for each of the first objects. ``cache``: until it has two files of each."""

    def ask(first: int) -> None:
        connection = http.client.HTTPConnection(HOST, port, timeout=60)
        for number in range(first, many + 1, 4):
            connection.request("GET", f"/media/many/{number}.jpg")
            connection.getresponse().read()
        connection.close()

    for _ in range(10):
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(ask, range(1, 5)))
        if cache is None or len(os.listdir(cache)) >= 2 * many:
            return
    raise UnservedError("its cache does not fill")


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
    if measured.processes > 1:
        title += f", {measured.processes} processes"
    return Table(title, columns, rows, notes)
