"""One slow disk or one greedy client delays nobody else."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from websockets.sync.client import connect as connect_websocket

from ..support.client import Connection
from .support import FOUR, GIB, MIB, WatchedSite, latencies, on, pattern, read, serve, stalled

RANGE = [("Range", "bytes=1-")]


@pytest.mark.xdist_group("others")
@pytest.mark.parametrize(
    "kind",
    [
        "daphne",
        *[
            pytest.param(kind, marks=pytest.mark.slow)
            for kind in ("uvicorn", "hypercorn", "granian", "daphne-tls", "daphne-unix")
        ],
    ],
)
def test_a_slow_disk(kind: str, tmp_path: Path) -> None:
    """Eight clients wait for it in two threads; cached files, pages and websockets don't."""
    with (
        serve(
            kind,
            tmp_path,
            module="tests.faults.slow_disk",
            middleware={"threads": 2},
            env={"FAULTS_PAUSE": "300"},
        ) as site,
        site.unharmed(),
    ):
        data = pattern(600_000)
        slow = [site.put(f"slow-{number}.bin", data) for number in range(8)]
        fast = site.put("fast.bin", data)
        received = []

        def visit(url: str) -> None:
            with Connection(site.server, timeout=300) as client:
                received.append(client.get(url, RANGE).body)

        threads = [threading.Thread(target=visit, args=(url,)) for url in slow]
        for thread in threads:
            thread.start()
        site.wait(lambda: site.ask("/__waiting__") == 2)
        assert latencies(site, fast, 10)
        assert latencies(site, "/inner", 10)
        if kind in FOUR:
            with connect_websocket(f"ws://127.0.0.1:{site.server.port}/ws") as websocket:
                assert websocket.recv(timeout=60) == "/ws"
        assert received == []
        assert site.ask("/__waiting__") == 2
        site.ask("/__release__")
        for thread in threads:
            thread.join()
        assert received == [data[1:]] * 8
        assert site.ask("/__blocked__") == []


@pytest.mark.slow
@pytest.mark.xdist_group("others")
def test_clients_that_left_a_slow_disk(tmp_path: Path) -> None:
    """What they wanted is not read for them any more."""
    with (
        serve(
            "daphne", tmp_path, module="tests.faults.slow_disk", middleware={"threads": 2}
        ) as site,
        site.unharmed(timeout=30),
    ):
        url = site.put("slow-file.bin", pattern(8 * MIB))

        def is_open() -> bool:
            return any(name.endswith("slow-file.bin") for name in site.open_files())

        clients = [Connection(site.server) for _ in range(20)]
        for client in clients:
            client.request(url)
        site.wait(is_open)
        for client in clients:
            client.close()
        # Each may have had one read under way or in the queue: five seconds, of 80 for all of it.
        site.wait(lambda: not is_open(), 15)


@on("daphne", "uvicorn", slow=("hypercorn", "granian", "daphne-tls", "daphne-unix"))
def test_one_greedy_client(site: WatchedSite) -> None:
    """It reads a huge file as fast as it comes: the others get their turn between its spans.

    Were they to wait for its end, that would take a quarter of an hour.
    """
    url = site.sparse("greedy.bin", 1024 * GIB)
    small = site.put("small.txt", b"small")
    begun, end = threading.Event(), threading.Event()

    def greedy() -> None:
        with Connection(site.server, timeout=60) as client:
            client.request(url)
            for _ in client.body(client.head(), size=MIB):
                begun.set()
                if end.is_set():
                    return

    thread = threading.Thread(target=greedy)
    thread.start()
    try:
        site.wait(begun.is_set)
        assert latencies(site, small, 15)
        assert latencies(site, "/inner", 15)
        assert thread.is_alive()
    finally:
        end.set()
        thread.join()


@pytest.mark.slow
@pytest.mark.parametrize("headers", [[], RANGE], ids=["whole", "range"])
@on(*FOUR, "daphne-tls", "daphne-unix")
def test_a_cold_file_does_not_stop_the_loop(
    site: WatchedSite,
    headers: list[tuple[str, str]],
    record_property: Callable[[str, object], None],
) -> None:
    """A large file that the page cache has nothing of: the loop goes on meanwhile."""
    data = pattern(200 * MIB)
    url = site.put("cold.bin", data)
    late = []
    for _ in range(3):
        fd = os.open(site.root / "cold.bin", os.O_RDONLY)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)
        site.ask("/__heartbeat__")
        with Connection(site.server) as client:
            client.request(url, headers)
            assert read(client, client.head()) == (data[len(headers) :], True)
        late.append(site.ask("/__heartbeat__"))
    # To be told; on a busy machine a test of milliseconds would fail for other reasons.
    record_property("heartbeat late by at most, ms", [round(each * 1000, 1) for each in late])
    print(site.kind, headers, [round(each * 1000, 1) for each in late])
    assert min(late) < 0.1


@pytest.mark.slow
@on("daphne")
def test_a_stall_among_cold_files(site: WatchedSite) -> None:
    """What waits for the client takes no thread from those that wait for the disk."""
    data = pattern(64 * MIB)
    url = site.put("cold-stalled.bin", data)
    with stalled(site, url, 30), stalled(site, url, 30, RANGE):
        time.sleep(1)
        fd = os.open(site.root / "cold-stalled.bin", os.O_RDONLY)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)
        with Connection(site.server) as client:
            assert client.get(url).body == data
