"""Clients that take nothing of what the server has been given, watched by their addresses."""

import asyncio
import os
import socket

import pytest

from media_asgi import stalled

TIMEOUT = 0.4


async def nobody_is_watched() -> bool:
    for _ in range(200):
        if not any(watch._clients for watch in stalled._watches.values()):
            return True
        await asyncio.sleep(0.05)
    return False


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="sockets can't be found here")
@pytest.mark.parametrize("reads", [True, False])
def test_who_takes_nothing_is_cut_off(reads: bool) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            client = socket.create_connection(listening.getsockname())
            server, _ = listening.accept()
        with client, server:
            server.setblocking(False)
            given = 0
            try:
                while True:
                    given += server.send(bytes(1 << 16))
            except BlockingIOError:
                pass
            stalled.watch(list(client.getsockname()), server.getsockname(), TIMEOUT)
            client.settimeout(5)
            taken = 0
            if reads:
                while taken < given:
                    taken += len(await asyncio.to_thread(client.recv, 1 << 20))
            assert await nobody_is_watched()
            if reads:
                server.send(b"still there")
                assert client.recv(100) == b"still there"
            else:
                with pytest.raises(BrokenPipeError):
                    server.send(b"more")

    asyncio.run(main())


@pytest.mark.parametrize(
    ("client", "server"),
    [
        (None, ("127.0.0.1", 80)),
        (("127.0.0.1", 5), None),
        (5, ("127.0.0.1", 80)),
        ([["127.0.0.1"], 5], ("127.0.0.1", 80)),
        (("", 0), ("/run/socket", None)),
        ((), ()),
        (("127.0.0.1", 5), ("127.0.0.1", 80)),
    ],
)
def test_who_is_not_to_be_found(client: object, server: object) -> None:
    async def main() -> None:
        stalled.watch(client, server, TIMEOUT)
        assert await nobody_is_watched()

    asyncio.run(main())
