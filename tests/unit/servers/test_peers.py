"""What a socket tells of its client."""

import contextlib
import os
import socket
from collections.abc import Iterator

import pytest

from media_asgi.servers import peers

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture(params=["tcp", "unix"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """A client and the server's end of its connection."""
    if request.param == "unix":
        client, server = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            client = socket.create_connection(listening.getsockname())
            server, _ = listening.accept()
    server.setblocking(False)
    with client, server:
        yield client, server


def fill(server: socket.socket) -> int:
    given = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            given += server.send(bytes(1 << 16))
    return given


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="only Linux tells it")
def test_what_a_client_takes_is_seen(pair: Pair) -> None:
    client, server = pair
    given = fill(server)
    before = peers.progress(server)
    assert peers.unsent(server) > 0
    assert peers.is_full(server)
    assert peers.progress(server) == before
    while given:
        given -= len(client.recv(1 << 20))
    client.send(b"so its acknowledgements have come")
    for _ in range(1000):
        if not peers.unsent(server):
            break
    assert peers.progress(server) != before
    assert peers.unsent(server) == 0
    assert not peers.is_full(server)


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="only Linux tells it")
def test_the_window_is_what_the_clients_kernel_takes_unread(pair: Pair) -> None:
    _, server = pair
    if server.family == socket.AF_UNIX:
        assert peers.window(server) is None
        return
    room = peers.window(server)
    assert room
    fill(server)
    assert peers.unsent(server) > (peers.window(server) or 0)


def test_a_connection_is_reset(pair: Pair) -> None:
    client, server = pair
    server.send(b"x" * 100)
    with socket.socket(fileno=os.dup(server.fileno())):  # somebody else holds it
        peers.reset(server)
    client.settimeout(5)
    with contextlib.suppress(ConnectionResetError):
        while client.recv(10):
            pass
    with pytest.raises(BrokenPipeError):
        server.send(b"more")
