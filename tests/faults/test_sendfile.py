"""Zero copy under Daphne: where it is used, and that nothing else differs."""

import re
import threading
import time
from pathlib import Path

import pytest

from ..support.client import HTTP2, Connection, head
from .support import KIB, MIB, WatchedSite, on, pattern, read, send_all, serve, stalled

DATA = pattern(8 * MIB)
RANGE = [("Range", "bytes=1000-")]


def calls(site: WatchedSite) -> int:
    told: int = site.ask("/__sendfiles__")
    return told


@on("daphne", slow=("daphne-unix",))
def test_it_is_used(site: WatchedSite) -> None:
    url = site.put("zero.bin", DATA)
    small = site.put("small.bin", DATA[: 64 * KIB])
    with site.unharmed(), Connection(site.server) as client:
        before = calls(site)
        assert client.get(small).body == DATA[: 64 * KIB]
        assert calls(site) == before
        assert client.get(url).body == DATA
        after = calls(site)
        assert after >= before + len(DATA) // MIB - 1
        assert client.get(url, RANGE).body == DATA[1000:]
        assert calls(site) > after


@on("uvicorn", slow=("daphne-tls",))
def test_it_is_not_used(site: WatchedSite) -> None:
    url = site.put("zero.bin", DATA)
    with site.unharmed(), Connection(site.server) as client:
        assert client.get(url).body == DATA
        assert client.get(url, RANGE).body == DATA[1000:]
        if site.server.name == "daphne":
            with HTTP2(site.server) as http2:
                assert http2.get(url).body == DATA
    assert calls(site) == 0


@pytest.mark.xdist_group("others")
def test_it_is_not_used_through_a_wrapper(tmp_path: Path) -> None:
    """And the log says once what that costs."""
    with serve("daphne", tmp_path, "wrapped") as site:
        url = site.put("zero.bin", DATA)
        with site.unharmed(), Connection(site.server) as client:
            for _ in range(3):
                assert client.get(url).body == DATA
                assert client.get(url, RANGE).body == DATA[1000:]
        assert calls(site) == 0
        assert site.server.log.count("wrapped Daphne's send()") == 1


@pytest.mark.xdist_group("others")
@pytest.mark.parametrize("kind", ["daphne", pytest.param("daphne-tls", marks=pytest.mark.slow)])
def test_the_access_log_tells_the_size(kind: str, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with serve(kind, tmp_path / "root", options=["--access-log", str(log)]) as site:
        url = site.put("zero.bin", DATA)
        small = site.put("small.bin", DATA[:1000])
        with Connection(site.server) as client:
            for headers in ([], RANGE):
                client.get(url, headers)
            client.get(small)
            client.get(url, method="HEAD")
        site.wait(lambda: log.read_text().count("/media/") == 4)
        lines = [line for line in log.read_text().splitlines() if "/media/" in line]
    sizes = [re.search(r'" (\d+) (\d+|-)', line) for line in lines]
    assert [size and (int(size[1]), int(size[2].replace("-", "0"))) for size in sizes] == [
        (200, len(DATA)),
        (206, len(DATA) - 1000),
        (200, 1000),
        (200, 0),
    ]


@on("daphne", slow=("daphne-unix",))
def test_the_socket_stays_non_blocking_and_the_next_answer_is_whole(site: WatchedSite) -> None:
    """On one connection by turns: sendfile, bytes, other answers, a stall in between."""
    url = site.put("zero.bin", DATA)
    small = site.put("small.bin", DATA[:1000])
    with site.unharmed(), Connection(site.server, rcvbuf=64 * KIB) as client:
        for pause in (0, 0.3):
            send_all(client, head(url) + head(small) + head("/inner") + head(url, RANGE))
            for expected in (DATA, DATA[:1000], None, DATA[1000:]):
                time.sleep(pause)
                response = client.head()
                time.sleep(pause)
                got, is_whole = read(client, response)
                assert is_whole
                assert expected is None or got == expected
        assert client.surplus() == b""


@on("daphne", slow=("daphne-unix",))
def test_two_hundred_at_once(site: WatchedSite) -> None:
    """No descriptor of one is another's: each client has a file of its own."""
    files = [DATA[number * 1000 : number * 1000 + 400 * KIB] for number in range(20)]
    urls = [site.put(f"own-{number}.bin", data) for number, data in enumerate(files)]
    errors: list[str] = []

    def visit(number: int) -> None:
        for turn in range(10):
            which = (number + turn) % len(files)
            client = Connection(site.server, rcvbuf=64 * KIB)
            client.request(urls[which])
            if turn % 3 == 2:  # some go, so that numbers are used again
                client.reset()
                continue
            if read(client, client.head()) != (files[which], True):
                errors.append(f"{number} {turn}")
            client.close()

    with site.unharmed():
        threads = [threading.Thread(target=visit, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not errors


@on("daphne", slow=("daphne-unix",))
def test_a_stall_waits_for_room_and_not_in_a_loop(site: WatchedSite) -> None:
    url = site.put("zero.bin", pattern(32 * MIB))
    with stalled(site, url, 10):
        # Until the kernel's buffers are full it is used now and then, and in a loop for ever.
        site.wait(lambda: calls_in(site, seconds=1) == 0)


def calls_in(site: WatchedSite, seconds: float) -> int:
    before = calls(site)
    time.sleep(seconds)
    return calls(site) - before


@pytest.mark.xdist_group("others")
@pytest.mark.parametrize(
    "error",
    [
        *("einval", "eio"),
        *[
            pytest.param(error, marks=pytest.mark.slow)
            for error in ("enomem", "eoverflow", "eperm", "etimedout", "ehostunreach")
        ],
    ],
)
def test_a_sendfile_that_fails_is_a_file_that_is_read(error: str, tmp_path: Path) -> None:
    """Reading tells whether it is the file's fault."""
    with serve("daphne", tmp_path, module="tests.faults.slow_disk") as site, site.unharmed():
        url = site.put(f"{error}-file.bin", DATA)
        with Connection(site.server) as client:
            assert client.get(url).body == DATA
            assert client.get(url, RANGE).body == DATA[1000:]
        assert "cut off" not in site.server.log
