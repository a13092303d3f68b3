"""Clients that go, in whatever phase and manner: nothing is left of them."""

import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ..support.client import Connection, head
from .support import (
    FOUR,
    KIB,
    MIB,
    WatchedSite,
    on,
    pattern,
    pipelined,
    serve,
    some,
    stalled,
)

SMALL, BIG = 50 * KIB, 64 * MIB
RANGE = [("Range", "bytes=1000-")]
ALL = (*FOUR, "daphne-tls", "daphne-unix")


def before_the_head(client: Connection, url: str, headers: list[tuple[str, str]]) -> None:
    client.send(head(url, headers)[:-10])


def at_once(client: Connection, url: str, headers: list[tuple[str, str]]) -> None:
    client.request(url, headers)


def in_the_first_span(client: Connection, url: str, headers: list[tuple[str, str]]) -> None:
    client.request(url, headers)
    some(client, client.head(), 1000)


def in_the_middle(client: Connection, url: str, headers: list[tuple[str, str]]) -> None:
    client.request(url, headers)
    some(client, client.head(), 10 * MIB)


def after_the_last(client: Connection, url: str, headers: list[tuple[str, str]]) -> None:
    client.request(url.replace("big", "small"), headers)
    client.response()


def while_pipelining(client: Connection, url: str, headers: list[tuple[str, str]]) -> None:
    client.send(pipelined([url, url.replace("big", "small"), url]))
    some(client, client.head(), 1000)


PHASES = [
    before_the_head,
    at_once,
    in_the_first_span,
    in_the_middle,
    after_the_last,
    while_pipelining,
]


def phases(site: WatchedSite) -> Sequence[Callable[[Connection, str, list[tuple[str, str]]], None]]:
    """All, but for pipelining on hypercorn, which keeps a task for each such client for ever."""
    return PHASES[:-1] if site.server.name == "hypercorn" else PHASES


def put(site: WatchedSite) -> str:
    site.put("small.bin", pattern(SMALL))
    return site.put("big.bin", pattern(BIG))


@on("daphne", "uvicorn", slow=("hypercorn", "granian", "daphne-tls", "daphne-unix"))
def test_clients_that_leave_in_each_phase_leave_nothing(site: WatchedSite) -> None:
    url = put(site)
    with site.unharmed():
        for phase in phases(site):
            for headers in ([], RANGE):
                for leave in (Connection.close, Connection.reset):
                    client = Connection(site.server, rcvbuf=64 * KIB)
                    phase(client, url, headers)
                    leave(client)
    assert f"{url!r} cut off" not in site.server.log  # they went by themselves


@pytest.mark.parametrize("headers", [[], RANGE], ids=["whole", "range"])
@on("daphne", slow=("uvicorn", "hypercorn", "granian", "daphne-tls", "daphne-unix"))
def test_reading_stops_at_once(site: WatchedSite, headers: list[tuple[str, str]]) -> None:
    url = put(site)
    with site.unharmed():
        clients = [Connection(site.server, rcvbuf=64 * KIB) for _ in range(4)]
        for client in clients:
            in_the_first_span(client, url, headers)
        assert sum(name.endswith("big.bin") for name in site.open_files()) >= 4
        for client in clients:
            client.close()
        # Long before send_timeout (60 s).
        site.wait(lambda: not any(name.endswith("big.bin") for name in site.open_files()), 30)


@pytest.mark.slow
@on(*ALL, "uvicorn-h11", "uvicorn-tls", "hypercorn-tls", "granian-tls")
def test_a_thousand(site: WatchedSite) -> None:
    """Twenty at a time, in any phase and manner, at any moment."""
    url = put(site)
    dice = random.Random(site.kind)
    plans = [
        (
            dice.choice(phases(site)),
            dice.choice([[], RANGE]),
            dice.random() < 0.5,
            dice.random() * 0.02,
        )
        for _ in range(1000)
    ]
    errors: list[BaseException] = []

    def visit() -> None:
        while plans and not errors:
            phase, headers, rude, pause = plans.pop()
            client = Connection(site.server, rcvbuf=64 * KIB, timeout=60)
            try:
                phase(client, url, headers)
            except BaseException as error:
                errors.append(error)
                raise
            finally:
                time.sleep(pause)
                (client.reset if rude else client.close)()

    with site.unharmed(timeout=30):
        threads = [threading.Thread(target=visit) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not errors
    assert "Traceback" not in site.server.log


@on("daphne", slow=("uvicorn", "hypercorn", "granian", "daphne-unix"))
def test_a_client_that_half_closes_its_connection(site: WatchedSite) -> None:
    """A client that sends no more, and reads on: some servers take it for gone, none forgets it."""
    url = put(site)
    with site.unharmed():
        with Connection(site.server, rcvbuf=64 * KIB) as client:
            client.request(url)
            response = client.head()
            client.socket.shutdown(socket.SHUT_WR)
            got = b""
            for piece in _until_the_end(client, response.length or 0):
                got += piece
            assert pattern(BIG).startswith(got)


def _until_the_end(client: Connection, length: int) -> list[bytes]:
    pieces = []
    while length and (piece := client._receive(1 << 18)):
        pieces.append(piece)
        length -= len(piece)
    return pieces


# The end of the server itself ---------------------------------------------------------------------


@pytest.mark.xdist_group("others")
@pytest.mark.parametrize(
    "kind",
    [
        "daphne",
        *[
            pytest.param(kind, marks=pytest.mark.slow)
            for kind in ("uvicorn", "daphne-tls", "daphne-unix")
        ],
    ],
)
@pytest.mark.parametrize(
    "which", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_the_server_is_asked_to_end(kind: str, which: signal.Signals, tmp_path: Path) -> None:
    """With downloads that stall, and one that goes on: it ends within its own grace.

    (hypercorn and granian wait for whoever has not taken all, whichever application answers.)
    """
    with serve(kind, tmp_path, middleware={"send_timeout": 3}) as site:
        url = put(site)
        with (
            stalled(site, url, 4),
            stalled(site, url, 4, RANGE),
            Connection(site.server) as client,
        ):
            client.request(url)
            some(client, client.head(), MIB)
            begin = time.monotonic()
            site.server._process.send_signal(which)
            while site.server.alive():
                assert time.monotonic() - begin < 45, site.server.log
                time.sleep(0.05)
        assert "never retrieved" not in site.server.log
        assert "was destroyed" not in site.server.log
