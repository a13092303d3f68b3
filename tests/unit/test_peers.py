"""Sockets that are found by their ends, while descriptors come and go."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from media_asgi import peers


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client and the server's end of its connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname())
        server, _ = listening.accept()
    with client, server:
        yield client, server


def test_a_socket_is_found_by_its_ends(pair: tuple[socket.socket, socket.socket]) -> None:
    client, server = pair
    wanted = peers.ends(client.getsockname(), server.getsockname())
    assert wanted is not None
    before = descriptors()
    found = [(ends, peer.getpeername()) for ends, peer in peers.find([wanted])]
    assert found == [(wanted, client.getsockname())]
    assert descriptors() == before


def test_a_number_that_is_a_files_by_now(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Between the look at a socket and its duplicate, it was closed and a file opened."""
    client, server = pair
    wanted = peers.ends(client.getsockname(), server.getsockname())
    assert wanted is not None
    with open(tmp_path / "upload.bin", "wb"):
        monkeypatch.setattr(os, "readlink", lambda _: "socket:[1]")
        before = descriptors()
        assert [ends for ends, _ in peers.find([wanted])] == [wanted]
        assert descriptors() == before


def test_a_connection_is_cut(pair: tuple[socket.socket, socket.socket]) -> None:
    client, server = pair
    server.sendall(b"x" * 100)
    peers.cut(client.getsockname(), server.getsockname())
    client.settimeout(5)
    with contextlib.suppress(ConnectionResetError):
        while client.recv(10):
            pass
    with pytest.raises(BrokenPipeError):
        server.sendall(b"more")


@pytest.mark.parametrize(
    ("client", "server"),
    [
        (None, ("127.0.0.1", 80)),
        (("127.0.0.1", 5), None),
        (("", 0), ("/run/socket", None)),
        ((), ()),
        (("site.test", 5), ("127.0.0.1", 80)),
        (("127.0.0.1", "port"), ("127.0.0.1", 80)),
    ],
)
def test_ends_that_are_no_addresses(client: object, server: object) -> None:
    assert peers.ends(client, server) is None
    assert peers.progress(client, server) is None
    peers.cut(client, server)


def test_ends_in_each_notation() -> None:
    plain = peers.ends(("127.0.0.1", 5), ("::1", 80))
    assert plain == peers.ends(["::ffff:127.0.0.1", 5, 0, 0], ("::1%lo", 80))
