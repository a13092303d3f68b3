"""Who takes nothing is cut off, who takes little is not; and the timeouts of Daphne's own."""

import contextlib
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import pytest

from ..support.client import Connection, Response, Truncated, head
from .support import (
    DAPHNES,
    GIB,
    KIB,
    MIB,
    Remote,
    WatchedSite,
    latencies,
    on,
    pattern,
    pipelined,
    read,
    send_all,
    serve,
    some,
    stalled,
)

SMALL, BIG = 200 * KIB, 64 * MIB


def impatient(url: str) -> str:
    """The same file, where send_timeout is 2 seconds."""
    return url.replace("/media/", "/impatient/")


def sockets(site: WatchedSite) -> int:
    return sum(target.startswith("socket:") for target in site.server.descriptors())


def idle(site: WatchedSite) -> int:
    """How many sockets there are, once all connections of before have gone."""
    least = sockets(site)
    since = time.monotonic()
    while time.monotonic() - since < 0.5:
        time.sleep(0.02)
        if sockets(site) < least:
            least, since = sockets(site), time.monotonic()
    return least


LEND = (
    "daphne",
    "daphne-tls",
    "daphne-unix",
    "uvicorn",
    "uvicorn-h11",
    "uvicorn-tls",
    "uvicorn-unix",
)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([], id="whole"),
        pytest.param([("Range", "bytes=10-")], id="range", marks=pytest.mark.slow),
    ],
)
@on("daphne", "uvicorn", slow=LEND[1:3] + LEND[4:])
def test_who_takes_nothing_is_cut_off(site: WatchedSite, headers: list[tuple[str, str]]) -> None:
    data = pattern(BIG)
    url = impatient(site.put("big.bin", data))
    with site.unharmed():
        before = idle(site)
        line = f"{url!r} cut off: the client took nothing for 2 s"
        lines = site.server.log.count(line)
        begin = time.monotonic()
        with stalled(site, url, 3, headers) as clients:
            site.wait(lambda: sockets(site) > before)
            site.wait(lambda: sockets(site) <= before)
            assert time.monotonic() - begin >= 1.9
            for client in clients:
                got, is_whole = read(client, client.head())
                assert not is_whole
                assert data[10 if headers else 0 :].startswith(got)
        site.wait(lambda: not any(name.endswith("big.bin") for name in site.open_files()))
        assert site.server.log.count(line) == lines + 3


@pytest.mark.slow
@on("hypercorn", "granian", "hypercorn-tls", "granian-tls")
def test_where_no_transport_is_lent_a_stalled_download_ends_and_its_connection_stays(
    site: WatchedSite,
) -> None:
    """Its file is closed and its task has ended; the client learns it when it reads on."""
    data = pattern(BIG)
    url = impatient(site.put("big.bin", data))
    with site.unharmed(timeout=40):
        with stalled(site, url, 3, [("Range", "bytes=10-")]) as clients:
            line = f"{url!r} cut off: the server took nothing for 2 s"
            site.wait(lambda: site.server.log.count(line) >= 3)
            site.wait(lambda: not any("big.bin" in name for name in site.open_files()))
            for client in clients:
                got, is_whole = read(client, client.head())
                assert not is_whole
                assert data[10:].startswith(got)


@on(slow=("hypercorn-tls",))
def test_small_answers_to_a_shut_window_of_http2_end(site: WatchedSite) -> None:
    """hypercorn's send waits for the window, even when the client has gone."""
    url = impatient(site.put("small.bin", pattern(60 * KIB)))
    with site.unharmed(), site.server.connect(alpn=("h2",)) as client:
        http2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        http2.local_settings.initial_window_size = 0
        http2.initiate_connection()
        names = (":method", ":scheme", ":authority", ":path")
        fields = list(zip(names, ("GET", "https", "a", url), strict=True))
        for number in range(1, 21, 2):
            http2.send_headers(number, fields, end_stream=True)
        client.sendall(http2.data_to_send())
        time.sleep(4)


FORGED: dict[str, Callable[[int], str]] = {
    "a bystander's address": lambda port: f"127.0.0.1:{port}",
    "its own address": lambda port: "203.0.113.9",
    "no address": lambda port: "unknown",
}


@pytest.mark.parametrize(
    "forged",
    [
        pytest.param(forged, marks=[pytest.mark.slow] * (forged != "a bystander's address"))
        for forged in FORGED
    ],
)
@pytest.mark.xdist_group("others")
def test_a_stalled_client_is_cut_off_alone_whatever_address_it_tells(
    forged: str, tmp_path: Path
) -> None:
    """uvicorn takes the client's address, port included, from the header of a proxy it trusts."""
    data = pattern(BIG)
    options = ["--proxy-headers", "--forwarded-allow-ips", "*"]
    with serve("uvicorn", tmp_path, options=options) as site:
        url = site.put("big.bin", data)
        with site.unharmed(), Connection(site.server, rcvbuf=64 * KIB) as bystander:
            bystander.request(url)
            response = bystander.head()
            got = some(bystander, response, KIB)
            told = FORGED[forged](bystander.socket.getsockname()[1])
            with stalled(site, impatient(url), 3, [("X-Forwarded-For", told)]) as clients:
                line = f"{impatient(url)!r} cut off"
                site.wait(lambda: site.server.log.count(line) == 3)
                for client in clients:
                    assert not read(client, client.head())[1]
            response.headers = [("content-length", str(len(data) - len(got)))]
            rest, is_whole = read(bystander, response)
            assert is_whole
            assert got + rest == data
        assert f"{url!r} cut off" not in site.server.log


@pytest.mark.parametrize(
    "kind",
    [
        "daphne",
        *[pytest.param(kind, marks=pytest.mark.slow) for kind in ("daphne-tls", "uvicorn")],
    ],
)
@pytest.mark.xdist_group("others")
def test_who_leaves_small_files_unread_is_one_line_in_the_log(kind: str, tmp_path: Path) -> None:
    """The last answer was written to its end, and those to the other requests never come."""
    with serve(kind, tmp_path) as site:
        url = impatient(site.put("small.bin", pattern(40 * KIB)))
        line = f"{url!r} cut off: the client took nothing for 2 s"
        with Connection(site.server, rcvbuf=32 * KIB) as client:
            client.send(pipelined([url] * 400))
            site.wait(lambda: site.server.log.count(line) > 0, 20)
        assert site.server.log.count(line) == 1


@pytest.mark.slow
@on(*LEND)
def test_who_takes_nothing_of_small_files_is_cut_off(site: WatchedSite) -> None:
    """The answer's one message is in the server's own buffer, and its task has long ended.

    What the kernel has taken is no longer the server's: it may come, and the connection is idle.
    """
    data = pattern(SMALL)
    url = impatient(site.put("small.bin", data))
    counts = range(1, 40)
    with site.unharmed(), contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(Connection(site.server, rcvbuf=32 * KIB, timeout=1)) for _ in counts
        ]
        for client, count in zip(clients, counts, strict=True):
            client.send(pipelined([url] * count))
        time.sleep(12)
        # Nothing but the kernel can send any more.
        os.kill(site.server.pid, signal.SIGSTOP)
        stack.callback(os.kill, site.server.pid, signal.SIGCONT)
        ends = {
            count: received(client, count, data)
            for client, count in zip(clients, counts, strict=True)
        }
        assert not [count for count, end in ends.items() if end == "uncut"]
        assert set(ends.values()) == {"all", "cut"}


def received(client: Connection, count: int, data: bytes) -> str:
    for _ in range(count):
        try:
            body, is_whole = read(client, client.head())
        except (Truncated, ConnectionError):
            return "cut"
        except TimeoutError:
            return "uncut"
        assert data.startswith(body)
        if not is_whole:
            return "cut"
    return "all"


def slowly(client: Connection, response: Response, seconds: float) -> bytes:
    """Reads about 17 KiB a second.

    A window of 8 KiB opens in steps of 14 KiB, and nothing tells of what is read in between.
    """
    got = b""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        got += some(client, response, 512)
        time.sleep(0.03)
    return got


@pytest.mark.slow
@pytest.mark.parametrize("headers", [[], [("Range", "bytes=10-")]], ids=["whole", "range"])
@on(
    "daphne",
    slow=("uvicorn", "uvicorn-h11", "daphne-tls", "uvicorn-tls"),
)
def test_who_takes_little_is_not(site: WatchedSite, headers: list[tuple[str, str]]) -> None:
    """A few KiB, for three times as long as one may take nothing."""
    data = pattern(8 * MIB)
    url = impatient(site.put("slow.bin", data))
    offset = 10 if headers else 0
    with site.unharmed(), Remote(site.server, rcvbuf=8 * KIB) as client:
        client.request(url, headers)
        response = client.head()
        got = slowly(client, response, 7)
        assert site.open_files()
        response.headers = [("content-length", str(len(data) - offset - len(got)))]
        # With so small a window no more than a few MiB a second come on the way.
        rest, is_whole = read(client, response, size=64 * KIB)
        assert is_whole
        assert got + rest == data[offset:]


@pytest.mark.slow
@pytest.mark.xdist_group("others")
@pytest.mark.parametrize("kind", ["daphne-unix", "uvicorn-unix"])
def test_who_takes_little_through_a_unix_socket_is_not(kind: str, tmp_path: Path) -> None:
    """There room is told of only when a quarter of the kernel's 208 KiB is left."""
    data = pattern(8 * MIB)
    with serve(kind, tmp_path, middleware={"send_timeout": 25}) as site:
        with Connection(site.server) as client:
            client.request(site.put("slow.bin", data))
            response = client.head()
            got = b""
            for _ in range(80):
                got += some(client, response, 4 * KIB)
                time.sleep(0.5)
            response.headers = [("content-length", str(len(data) - len(got)))]
            rest, is_whole = read(client, response)
            assert is_whole
            assert got + rest == data


@pytest.mark.slow
@pytest.mark.xdist_group("others")
def test_a_peer_waits_for_ever(tmp_path: Path) -> None:
    with serve("uvicorn", tmp_path, "starlette", module="tests.faults.peers") as site:
        with stalled(site, site.sparse(), 3):
            time.sleep(6)
            assert len(site.open_files()) >= 3


# Daphne's --http-timeout, which ends a response in the middle -------------------------------------


@pytest.mark.parametrize(
    ("kind", "size", "count"),
    [
        pytest.param(
            kind,
            size,
            count,
            marks=[pytest.mark.slow] * ((kind, size, count) != ("daphne", BIG, 1)),
        )
        for kind in DAPHNES
        for size in (40 * KIB, 300 * KIB, BIG)
        for count in (1, 20)
    ],
)
@pytest.mark.xdist_group("others")
def test_http_timeout(kind: str, size: int, count: int, tmp_path: Path) -> None:
    """The connection is cut, and no byte of one response is taken for another's."""
    data = pattern(size)
    assert b"HTTP/1" not in data
    # So many of the small ones that the kernel can't hold them all.
    count *= max(1, 20 * MIB // size) if count > 1 else 1
    too_much = size * count > (200 * KIB if kind == "daphne-unix" else 2 * MIB)
    with serve(kind, tmp_path, options=["--http-timeout", "1"]) as site, site.unharmed():
        url = site.put("file.bin", data)
        with Connection(site.server, rcvbuf=32 * KIB, timeout=2) as client:
            send_all(client, pipelined([url] * count), timeout=2)
            begin = time.monotonic()
            site.wait(lambda: not site.state()["connections"], 12)
            took = time.monotonic() - begin
            got, has_ended = everything(client)
    if kind == "daphne-tls":
        # There the connection is closed in order once the kernel has all, unless the client's had
        # room for it at once.
        has_room = size * count < 64 * KIB
        assert took > 1 or has_room
        assert has_ended or has_room
    else:
        assert (took > 1) == too_much
        assert has_ended == too_much
    answers = re.split(rb"HTTP/1.1 200 OK\r\n.*?\r\n\r\n", got, flags=re.DOTALL)
    assert answers[0] == b""
    *whole, last = answers[1:]
    assert all(body == data for body in whole)
    assert data.startswith(last)
    assert (len(whole) == count - 1 and last == data) != too_much


def everything(client: Connection) -> tuple[bytes, bool]:
    """All that comes, and whether the connection ends then."""
    got = bytearray()
    try:
        while piece := client._receive(1 << 18):
            got += piece
    except TimeoutError:
        return bytes(got), False
    return bytes(got), True


@pytest.mark.slow
@pytest.mark.xdist_group("others")
@pytest.mark.parametrize("kind", ["daphne", "daphne-tls"])
@pytest.mark.parametrize(("range_", "start"), [("", 0), ("bytes=10-", 10)], ids=["whole", "range"])
def test_http_timeout_does_not_count_while_the_client_takes_bytes(
    kind: str, range_: str, start: int, tmp_path: Path
) -> None:
    data = pattern(8 * MIB)
    with serve(kind, tmp_path, options=["--http-timeout", "2"]) as site, site.unharmed():
        with Remote(site.server, rcvbuf=8 * KIB) as client:
            client.request(site.put("slow.bin", data), [("Range", range_)] if range_ else [])
            response = client.head()
            got = slowly(client, response, 7)
            response.headers = [("content-length", str(len(data) - start - len(got)))]
            rest, is_whole = read(client, response, size=64 * KIB)
            assert is_whole
            assert got + rest == data[start:]
        assert "timed out" not in site.server.log


@pytest.mark.parametrize("kind", ["daphne", pytest.param("daphne-tls", marks=pytest.mark.slow)])
@pytest.mark.xdist_group("others")
def test_http_timeout_still_ends_a_stalled_client(kind: str, tmp_path: Path) -> None:
    with serve(kind, tmp_path, options=["--http-timeout", "1"]) as site, site.unharmed():
        url = site.put("big.bin", pattern(BIG))
        with stalled(site, url, 3):
            line = f"{url!r} cut off: the server's own time-out (--http-timeout) ended it"
            site.wait(lambda: site.server.log.count(line) == 3)
            site.wait(lambda: not any("big.bin" in name for name in site.open_files()))


@pytest.mark.slow
@pytest.mark.xdist_group("others")
def test_http_timeout_is_not_said_of_a_long_download_that_is_over(tmp_path: Path) -> None:
    """Daphne looks every two seconds, and has a request for up to a second after its end."""
    data = pattern(8 * MIB)
    with serve("daphne", tmp_path, options=["--http-timeout", "2"]) as site, site.unharmed():
        url = site.put("slow.bin", data)
        with contextlib.ExitStack() as stack:
            # They end one after the other: Daphne looks at some of them just then.
            for number in range(10):
                client = stack.enter_context(Remote(site.server, rcvbuf=8 * KIB))
                client.request(url)
                response = client.head()
                seconds = 3 if number == 0 else 2.5
                got = slowly(client, response, seconds)
                response.headers = [("content-length", str(len(data) - len(got)))]
                assert read(client, response, size=64 * KIB) == (data[len(got) :], True)
        time.sleep(2.5)
        assert "timed out" not in site.server.log


@pytest.mark.slow
@pytest.mark.xdist_group("others")
def test_http_timeout_of_a_peer(tmp_path: Path) -> None:
    """There the next response's head stands where the rest of the first should be."""
    with serve(
        "daphne",
        tmp_path,
        "starlette",
        module="tests.faults.peers",
        options=["--http-timeout", "1"],
    ) as site:
        url = site.sparse("zeros.bin", 4 * GIB)
        with Connection(site.server, timeout=20) as client:
            client.send(pipelined([url, "/inner"]))
            response = client.head()
            assert any(piece.strip(b"\0") for piece in client.body(response, size=MIB))


# A disk that takes longer than Daphne waits.
TOO_SLOW: dict[str, Any] = {
    "module": "tests.faults.slow_disk",
    "env": {"FAULTS_PAUSE": "4"},
    "options": ["--http-timeout", "1"],
}


@pytest.mark.slow
@pytest.mark.xdist_group("others")
@pytest.mark.parametrize("kind", DAPHNES)
def test_http_timeout_before_the_start(kind: str, tmp_path: Path) -> None:
    """The disk takes so long to open the file that Daphne answers by itself."""
    with serve(kind, tmp_path, **TOO_SLOW) as site:
        url = site.put("slow-open.bin", pattern(BIG))
        with site.unharmed(), Connection(site.server, timeout=20) as client:
            client.send(head(url))
            assert client.response().status == 503
            time.sleep(3)
            assert client.surplus() == b""
        assert "Traceback" not in site.server.log
        assert "wrapped" not in site.server.log


@pytest.mark.slow
@pytest.mark.xdist_group("others")
@pytest.mark.parametrize("kind", DAPHNES)
def test_http_timeout_while_the_disk_is_waited_for(kind: str, tmp_path: Path) -> None:
    """No sendfile for parts so small: the first is still being read."""
    with serve(kind, tmp_path, **TOO_SLOW) as site:
        url = site.put("slow-read.bin", pattern(MIB))
        ranges = [("Range", "bytes=0-99999,200000-299999,400000-499999")]
        with site.unharmed(), Connection(site.server, timeout=20) as client:
            client.send(head(url, ranges) + head("/inner"))
            got, has_ended = everything(client)
        assert got.count(b"HTTP/1.1 ") == 1
        assert got.startswith(b"HTTP/1.1 206 ")
        assert has_ended


@pytest.mark.slow
@pytest.mark.xdist_group("others")
@pytest.mark.parametrize("kind", DAPHNES)
@pytest.mark.parametrize("name", ["slow-open.bin", "slow-read.bin"])
def test_application_close_timeout(kind: str, name: str, tmp_path: Path) -> None:
    """A client goes while the disk makes its request wait: Daphne cancels the task."""
    with serve(
        kind, tmp_path, module="tests.faults.slow_disk", env={"FAULTS_PAUSE": "4"},
        options=["--application-close-timeout", "1"],
    ) as site:  # fmt: skip
        url = site.put(name, pattern(MIB))
        with site.unharmed():
            for _ in range(4):
                with Connection(site.server) as client:
                    client.request(url)
                    time.sleep(0.2)
            assert len(latencies(site, "/inner", 3)) == 3
        assert "Traceback" not in site.server.log
        assert "wrapped" not in site.server.log
