"""The load: validated first, then wrk for small answers and a draining client for large ones."""

import http.client
import json
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.media import MIB, Case, Media
from benchmarks.processes import cores, pin
from benchmarks.servers import HOST, Running

NO_WRK = "wrk is missing: install it from the system's packages (Debian: apt-get install wrk)"
NO_NGINX = "nginx is missing, so its rows are left out (Debian: apt-get install nginx)"

# wrk's own numbers, exactly, instead of the text that it prints.
WRK_SCRIPT = """
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\\n{"requests": %d, "bytes": %.0f, "seconds": %.6f, "p50": %.6f, "p99": %.6f, ' ..
    '"bad_status": %d, "broken": %d}\\n',
    summary.requests, summary.bytes, summary.duration / 1e6,
    latency:percentile(50) / 1e6, latency:percentile(99) / 1e6,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
"""


class UnservedError(Exception):
    """The contender does not answer the case as it must."""


@dataclass(frozen=True)
class Load:
    """What the clients saw."""

    requests: int  # answered in full
    bytes: int  # of bodies
    seconds: float
    p50: float | None  # seconds a request; none was answered in full: None
    p99: float | None
    errors: int
    client_cpu: float  # the load generator's own share of its core


def has_wrk() -> bool:
    return shutil.which("wrk") is not None


def has_nginx() -> bool:
    return shutil.which("nginx") is not None


def verified(running: Running, case: Case, media: Media) -> dict[str, str]:
    """The headers to ask with, once the answer has been compared with the file."""
    headers = dict(case.headers)
    connection = connect(running)
    try:
        if case.conditional:
            connection.request("GET", case.path, headers=headers)
            response = connection.getresponse()
            response.read()
            if etag := response.headers["etag"]:
                headers["if-none-match"] = etag
            elif modified := response.headers["last-modified"]:
                headers["if-modified-since"] = modified
            else:
                raise UnservedError("it sends no validator")
        connection.request("GET", case.path, headers=headers)
        response = connection.getresponse()
        if response.status != case.status:
            raise UnservedError(f"it answers {response.status} instead of {case.status}")
        expected, seen = media.content(case), 0
        while block := response.read(MIB):
            if case.status < 300 and block != expected[seen : seen + len(block)]:
                raise UnservedError(f"its bytes are not the file's, from {seen} on")
            seen += len(block)
        if case.status < 400 and seen != case.length:
            raise UnservedError(f"it sends {seen} bytes instead of {case.length}")
    except (OSError, http.client.HTTPException) as error:
        raise UnservedError(f"{type(error).__name__}: {error}") from error
    finally:
        connection.close()
    return headers


def connect(running: Running) -> http.client.HTTPConnection:
    if running.tls:
        context = ssl._create_unverified_context()
        return http.client.HTTPSConnection(HOST, running.port, timeout=60, context=context)
    return http.client.HTTPConnection(HOST, running.port, timeout=60)


def run(
    running: Running,
    case: Case,
    headers: dict[str, str],
    connections: int,
    seconds: float,
    more: str = "",
) -> Load:
    """Put the load on, from a process of its own on the load generator's core.

    ``more``: more for wrk's script, such as a ``request`` of its own.
    """
    if case.large and not running.tls:
        mode = "whole" if case.whole else "timed"
        return drain(running, case.path, connections, seconds, mode, headers)
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(WRK_SCRIPT + more)
        script.flush()
        duration = f"-d{max(1, round(seconds))}s"
        command = ["wrk", "-t1", f"-c{connections}", duration, "-s", script.name]
        for name, value in headers.items():
            command += ["-H", f"{name}: {value}"]
        scheme = "https" if running.tls else "http"
        figures, cpu = _output([*command, f"{scheme}://{HOST}:{running.port}{case.path}"])
    if case.status < 400:  # wrk counts any status above 399
        figures["broken"] += figures["bad_status"]
    requests = int(figures["requests"])
    return Load(
        requests=requests,
        # Of large answers also what is not complete; their heads don't count.
        bytes=int(figures["bytes"]) if case.large else requests * case.length,
        seconds=figures["seconds"],
        p50=figures["p50"] if requests else None,
        p99=figures["p99"] if requests else None,
        errors=int(figures["broken"]),
        client_cpu=cpu,
    )


def drain(
    running: Running,
    path: str,
    connections: int,
    seconds: float,
    mode: str,
    headers: dict[str, str],
) -> Load:
    """The client that throws away what it downloads: see there what `mode` and {} in `path` are."""
    # -P: beside it lies a module named http, which is not the standard library's.
    command = [sys.executable, "-P", str(Path(__file__).with_name("drain.py"))]
    command += [HOST, str(running.port), path, str(connections), str(seconds), mode]
    command += [f"{name}: {value}" for name, value in headers.items()]
    figures, cpu = _output(command)
    return Load(**figures, client_cpu=cpu)


def _output(command: list[str]) -> tuple[dict[str, Any], float]:
    """The JSON on the last line of its output, and the share of a core that it took."""
    popen = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=partial(pin, cores()[1]),
        start_new_session=True,
    )
    assert popen.stdout is not None
    lines = popen.stdout.read().decode().splitlines() or ["it said nothing"]
    _, status, usage = os.wait4(popen.pid, 0)
    popen.returncode = os.waitstatus_to_exitcode(status)
    if popen.returncode:
        raise UnservedError(f"the load generator failed: {lines[-1]}")
    figures: dict[str, Any] = json.loads(lines[-1])
    return figures, (usage.ru_utime + usage.ru_stime) / figures["seconds"]
