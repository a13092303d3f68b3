"""Clients that take nothing of what a transport has for them."""

import asyncio
import gc
import logging
import os
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

from media_asgi.servers import stalled

TIMEOUT = 0.4

pytestmark = pytest.mark.skipif(
    not os.path.exists("/proc/self/fd"), reason="only Linux tells what a client takes"
)


def run(loop: str, main: Callable[[], Awaitable[None]]) -> None:
    factory = uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())  # type: ignore[arg-type]


def watched() -> int:
    watches = stalled._watches.get(asyncio.get_running_loop(), {})
    return sum(len(watch._clients) for watch in watches.values())


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(3000):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it never came to it")


class Served(asyncio.Protocol):
    """A connection at the server's end."""

    made: "list[Served]"
    lost = False
    transport: Any

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.made.append(self)

    def connection_lost(self, error: object) -> None:
        self.lost = True


async def connected(count: int = 1) -> tuple[list[Served], list[socket.socket]]:
    made: list[Served] = []
    kind = type("Kind", (Served,), {"made": made})
    server = await asyncio.get_running_loop().create_server(kind, "127.0.0.1", 0)
    clients = []
    for _ in range(count):
        clients.append(socket.create_connection(server.sockets[0].getsockname()))
        await until(lambda: len(made) == len(clients))
    server.close()
    return made, clients


def was_reset(client: socket.socket) -> bool:
    """And what the kernel still had for it is given up."""
    try:
        while client.recv(1 << 20):
            pass
    except ConnectionResetError:
        return True
    return False


@pytest.mark.parametrize("is_closing", [False, True])
@pytest.mark.parametrize("reads", [False, True])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_who_takes_nothing_is_cut_off_and_who_takes_all_is_not(
    loop: str, reads: bool, is_closing: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where the server closes the connection once all of it has gone."""

    async def main() -> None:
        (served,), (client,) = await connected()
        size = 8 << 20
        served.transport.write(bytes(size))
        # A busy machine may give the one who reads no time for so long.
        timeout = 4 * TIMEOUT if reads else TIMEOUT
        stalled.watch(served.transport, timeout, "/media/a.bin", is_active=False)
        if is_closing:
            served.transport.close()
        with client:
            if reads:
                client.settimeout(60)
                while size:
                    size -= len(await asyncio.to_thread(client.recv, 1 << 20))
            await until(lambda: not watched())
            await until(lambda: served.lost or (reads and not is_closing))
            if not reads:
                assert was_reset(client)
        if not served.lost:
            served.transport.abort()

    with caplog.at_level(logging.WARNING, "media_asgi"):
        run(loop, main)
    lines = [record.getMessage() for record in caplog.records]
    assert lines == ["'/media/a.bin' cut off: the client took nothing for 0.4 s"] * (not reads)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_response_that_waits_for_the_disk_is_not_cut_off(loop: str) -> None:
    """Nothing is there for the client to take."""

    async def main() -> None:
        (served,), (client,) = await connected()
        known = stalled.watch(served.transport, TIMEOUT, "/media/a.bin", is_active=True)
        await asyncio.sleep(3 * TIMEOUT)
        assert not served.lost
        assert watched() == 1
        known.is_active = False
        await until(lambda: not watched())
        client.close()
        served.transport.abort()

    run(loop, main)


def test_one_look_serves_all_and_needs_no_thread_and_no_descriptor() -> None:
    async def main() -> None:
        served, clients = await connected(30)
        for each in served:
            each.transport.write(bytes(8 << 20))
            for _ in range(2):
                stalled.watch(each.transport, TIMEOUT, "/media/a.bin", is_active=False)
        before = len(os.listdir("/proc/self/fd")), threading.active_count()
        assert watched() == 30
        await until(lambda: not watched())
        assert threading.active_count() == before[1]
        await until(lambda: all(each.lost for each in served))
        assert len(os.listdir("/proc/self/fd")) == before[0] - 30
        for client in clients:
            client.close()

    run("asyncio", main)


def test_a_default_time_out_leaves_other_sockets_blocking() -> None:
    async def main() -> None:
        (served,), (client,) = await connected()
        served.transport.write(bytes(8 << 20))
        stalled.watch(served.transport, TIMEOUT, "/media/a.bin", is_active=False)
        await until(lambda: served.lost)
        client.close()

    mine, other = socket.socketpair()
    socket.setdefaulttimeout(5)
    try:
        with mine, other:
            run("asyncio", main)
            assert os.get_blocking(mine.fileno())
            assert os.get_blocking(other.fileno())
    finally:
        socket.setdefaulttimeout(None)


def test_a_loop_that_has_ended_is_forgotten() -> None:
    async def main() -> None:
        (served,), (client,) = await connected()
        served.transport.write(bytes(8 << 20))
        stalled.watch(served.transport, 60, "/media/a.bin", is_active=False)
        client.close()

    before = len(stalled._watches)
    for _ in range(3):
        run("asyncio", main)
    gc.collect()
    assert len(stalled._watches) <= before
