"""When no descriptor is left: 503, and all is well again as soon as there is one."""

import contextlib
from pathlib import Path

import pytest

from ..support.client import Connection, Response, head
from .support import KIB, MIB, WatchedSite, pattern, read, serve

# How many each server needs for itself varies: the connections take the rest.
LIMIT = 96


def exhausted(site: WatchedSite, url: str, stack: contextlib.ExitStack) -> list[Connection]:
    """Connections, each of which was answered, until the last one takes the last descriptor."""
    clients: list[Connection] = []
    for _ in range(LIMIT):
        client = stack.enter_context(Connection(site.server))
        clients.append(client)
        response = client.get(url)
        if response.status != 200:
            unavailable(response)
            return clients
    raise AssertionError("there was always one more")


def unavailable(response: Response) -> None:
    assert response.status == 503
    assert response["retry-after"].isdigit()
    assert response["cache-control"] == "no-store" or "cache-control" not in response


@pytest.mark.xdist_group("others")
@pytest.mark.parametrize(
    "kind",
    [
        "daphne",
        "uvicorn",
        *[
            pytest.param(kind, marks=pytest.mark.slow)
            for kind in ("hypercorn", "granian", "daphne-tls", "daphne-unix")
        ],
    ],
)
def test_no_descriptor_is_left(kind: str, tmp_path: Path) -> None:
    with serve(kind, tmp_path, nofile=LIMIT) as site, contextlib.ExitStack() as stack:
        small, big = site.put("small.txt", b"small"), site.put("big.bin", data := pattern(8 * MIB))
        clients = exhausted(site, small, stack)
        last = clients[-1]
        for url in (small, big):
            unavailable(last.get(url))
        assert last.get("/inner").status == 200
        assert last.get("/media/missing.txt").status in (404, 503)
        assert "Too many open files" in site.server.log
        assert "/media/small.txt" in site.server.log
        # One is free, for the file: what needs a second goes without.
        clients[0].close()
        site.wait(lambda: last.get(small).status == 200)
        for headers in ([], [("Range", "bytes=1-")]):
            if kind == "granian" and not headers:
                continue  # it opens the file once more itself, and can't
            response = last.get(big, headers)
            if response.status != 503:
                assert response.body == data[len(headers) :]
        for client in clients[1:-1]:
            client.close()
        site.wait(lambda: last.get(big).status == 200)
        with Connection(site.server) as client:
            client.request(big)
            assert read(client, client.head()) == (data, True)
        assert "media_asgi/" not in site.server.log  # no traceback leads there


@pytest.mark.xdist_group("others")
@pytest.mark.parametrize(
    "kind",
    [
        "daphne",
        *[
            pytest.param(kind, marks=pytest.mark.slow)
            for kind in ("uvicorn", "hypercorn", "granian")
        ],
    ],
)
def test_what_no_thread_could_be_started_for_is_not_done_later(kind: str, tmp_path: Path) -> None:
    """It would be done with descriptors that are others' by then, or leave open what it opened."""
    with serve(kind, tmp_path, module="tests.faults.no_threads") as site:
        refused = [site.put(f"refused-{number}.bin", b"no" * 50_000) for number in range(6)]
        big = site.put("big.bin", data := pattern(8 * MIB))
        with Connection(site.server) as client:
            for url in refused:
                unavailable(client.get(url))
            assert client.get("/inner").status == 200
            assert site.ask("/__threads_again__")
            for _ in range(2):
                assert client.get(big).body == data
        assert not [name for name in site.open_files() if "refused" in name]
        assert site.server.log.count("can't start new thread") == len(refused)


# Each kind of answer, and each way in which it ends -----------------------------------------------


def kinds(site: WatchedSite, size: int) -> list[bytes]:
    """A request of each kind, for files above the size from which on sendfile is used."""
    url = site.put("kinds.bin", pattern(size))
    tag = get(site, url)["etag"]
    part = size // 4
    ranges = [f"bytes={first}-{first + part - 1}" for first in (10, part)]
    several = f"bytes=0-{part - 1},{2 * part}-{3 * part - 1},{size - 10}-"
    own = [
        [],
        [("Range", ranges[0])],
        [("Range", several)],
        [("If-None-Match", tag)],
        [("If-Match", '"other"')],
        [("Range", f"bytes={size}-")],
    ]
    handed = url.replace("/media/", "/hand-over/")
    return [
        *(head(url, headers) for headers in own),
        head(url, method="HEAD"),
        head(url, method="DELETE"),
        head("/media/missing.bin"),
        *(head(handed, headers) for headers in own),
        head("/hand-over/missing.bin"),
        *(head(site.ask("/__signed__"), headers) for headers in own),
        head("/signed/kinds.bin"),
    ]


def get(site: WatchedSite, url: str) -> Response:
    with Connection(site.server) as client:
        return client.get(url)


def taken_whole(client: Connection, request: bytes) -> None:
    client.send(request)
    client.response("HEAD" if request.startswith(b"HEAD") else "GET")


def reset_at_once(client: Connection, request: bytes) -> None:
    client.send(request)
    client.reset()


def reset_in_the_head(client: Connection, request: bytes) -> None:
    client.send(request)
    client.socket.recv(10)
    client.reset()


def reset_in_the_middle(client: Connection, request: bytes) -> None:
    client.send(request)
    client.socket.settimeout(0.05)
    with contextlib.suppress(TimeoutError):  # a small answer has come by then
        for _ in range(4):
            client.socket.recv(100_000)
    client.reset()


def closed_in_the_request(client: Connection, request: bytes) -> None:
    client.send(request[:-3])
    client.close()


ENDINGS = [
    taken_whole,
    reset_at_once,
    reset_in_the_head,
    reset_in_the_middle,
    closed_in_the_request,
]


@pytest.mark.xdist_group("others")
@pytest.mark.parametrize(
    "kind",
    [
        "daphne",
        *[
            pytest.param(kind, marks=pytest.mark.slow)
            for kind in ("daphne-tls", "daphne-unix", "uvicorn", "uvicorn-h11", "uvicorn-tls")
        ],
        *[pytest.param(kind, marks=pytest.mark.slow) for kind in ("hypercorn", "granian")],
    ],
)
def test_nothing_is_left_of_any_answer_however_it_ends(kind: str, tmp_path: Path) -> None:
    with serve(kind, tmp_path, module="tests.faults.kinds") as site:
        requests = kinds(site, 8 * MIB)
        for request in requests:  # roots stay open
            with Connection(site.server) as client:
                taken_whole(client, request)
        # What granian opens by name is kept for a while.
        with site.unharmed(timeout=40), contextlib.ExitStack() as stack:
            for request in requests:
                client = stack.enter_context(Connection(site.server, rcvbuf=32 * KIB))
                client.send(request)  # and reads nothing
                for ending in ENDINGS:
                    with Connection(site.server) as other:
                        ending(other, request)
            if kind == "granian":  # it sends whole files by itself, and waits for ever
                stack.close()
            site.wait(lambda: not [name for name in site.open_files() if "kinds" in name], 30)
        assert "Traceback" not in site.server.log


@pytest.mark.xdist_group("others")
def test_a_multi_range_answer_has_one_duplicate_of_the_socket(tmp_path: Path) -> None:
    ranges = ",".join(f"{first * 2 * MIB}-{first * 2 * MIB + 200_000}" for first in range(20))
    with serve("daphne", tmp_path) as site:
        url = site.put("ranges.bin", pattern(40 * MIB))
        with site.unharmed(), Connection(site.server, rcvbuf=32 * KIB) as client:
            assert client.get("/inner").status == 200  # now the server has this connection, too
            before = len(site.server.descriptors())
            for _ in range(3):
                client.request(url, [("Range", f"bytes={ranges}")])
                response = client.head()
                assert response.status == 206
                got = 0
                for piece in client.body(response):
                    if got % MIB < len(piece):
                        # The file, and one duplicate.
                        assert len(site.server.descriptors()) <= before + 2
                    got += len(piece)
                assert got > 20 * 200_000
