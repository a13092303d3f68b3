"""Requests that come at once are answered in turn and to the byte, whatever the answers' kinds."""

import random
import threading
import time
from pathlib import Path

import pytest

from ..support.client import Connection, head
from .support import FOUR, KIB, MIB, WatchedSite, on, pattern, read, send_all, serve

SIZES = (0, 1, 1000, 60 * KIB, 130 * KIB, 256 * KIB, 300 * KIB, 3 * MIB)


def put(site: WatchedSite) -> tuple[bytes, dict[int, str]]:
    """The data, and the URLs of its beginnings, by their size."""
    data = pattern(SIZES[-1])
    if not (site.root / "mixed-0.bin").exists():  # others may be reading them
        for size in SIZES:
            site.put(f"mixed-{size}.bin", data[:size])
    return data, {size: f"/media/mixed-{size}.bin" for size in SIZES}


def mixed(site: WatchedSite, count: int, seed: str) -> tuple[bytes, list[tuple[str, int, bytes]]]:
    """Requests, and of each answer its method, status and body."""
    dice = random.Random(seed)
    data, urls = put(site)
    requests, answers = b"", []
    for _ in range(count):
        size = dice.choice(SIZES)
        kind = dice.choice(("whole", "whole", "range", "ranges", "head", "missing", "inner"))
        method, status, body, headers, url = "GET", 200, data[:size], [], urls[size]
        if kind == "range" and size:
            first = dice.randrange(size)
            headers = [("Range", f"bytes={first}-")]
            status, body = 206, data[first:size]
        elif kind == "head":
            method, body = "HEAD", b""
        elif kind == "missing":
            url, status, body = "/media/missing", 404, b""
        elif kind == "inner":
            url, body = "/inner", b""
        requests += head(url, headers, method=method)
        answers.append((method, status, body))
    return requests, answers


@pytest.mark.parametrize("pause", [0, pytest.param(0.002, marks=pytest.mark.slow)])
@on("daphne", "uvicorn", slow=("hypercorn", "granian", "daphne-tls", "daphne-unix", "uvicorn-h11"))
def test_all_kinds_in_turn(site: WatchedSite, pause: float) -> None:
    requests, answers = mixed(site, 100, site.kind)
    with site.unharmed(), Connection(site.server, rcvbuf=64 * KIB) as client:
        send_all(client, requests)
        time.sleep(0.3)
        for method, status, body in answers:
            response = client.head()
            assert response.status == status
            got = b"".join(client.body(response, method, size=128 * KIB, pause=pause))
            assert status == 404 or response.all("x-inner") or got == body or not body
        assert client.surplus() == b""


@pytest.mark.slow
@on(*FOUR, "daphne-tls", "daphne-unix")
def test_many_such_clients(site: WatchedSite) -> None:
    errors = []
    put(site)

    def visit(number: int) -> None:
        try:
            with Connection(site.server, rcvbuf=64 * KIB, timeout=60) as client:
                requests, answers = mixed(site, 40, str(number))
                send_all(client, requests)
                for method, status, body in answers:
                    response = client.head()
                    assert response.status == status
                    got = b"".join(client.body(response, method))
                    assert status == 404 or response.all("x-inner") or got == body or not body
        except BaseException as error:
            errors.append(error)
            raise

    with site.unharmed():
        threads = [threading.Thread(target=visit, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not errors


@pytest.mark.slow
@pytest.mark.xdist_group("others")
@pytest.mark.parametrize("kind", ["daphne", "uvicorn", "hypercorn", "granian"])
def test_the_disk_is_slow_for_one_of_them(kind: str, tmp_path: Path) -> None:
    """Those behind it wait, in their order."""
    with serve(kind, tmp_path, module="tests.faults.slow_disk") as site, site.unharmed():
        data = pattern(MIB)
        slow, fast = site.put("slow-open.bin", data), site.put("fast.bin", data)
        with Connection(site.server) as client:
            client.send(head(fast) + head(slow, [("Range", "bytes=1-")]) + head(fast))
            for status in (200, 206, 200):
                response = client.head()
                assert response.status == status
                assert read(client, response) == (data[status == 206 :], True)
