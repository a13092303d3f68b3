"""
What a socket knows of its client.

A server's ``send`` tells only that its buffer has room, and the kernel's own holds megabytes: it
calls a socket writable when a third of that has gone, which at a few KiB a second takes minutes.
Whether a client takes anything at all is known to the socket alone. It is always the one that the
server lends: what a request says of addresses may be the client's own words (X-Forwarded-For).
"""

import errno
import os
import select
import socket
import struct
import sys
from typing import Any, Protocol

if sys.platform != "win32":
    import fcntl
    import termios

_INT = struct.Struct("=i")
_NO_INT = bytes(_INT.size)

# linux/tcp.h: struct tcp_info has tcpi_bytes_acked, a u64, at this offset (since Linux 4.1).
_BYTES_ACKED = 120


class Peer(Protocol):
    """A socket, or what asyncio, uvloop and Twisted lend in its place."""

    @property
    def family(self) -> int: ...

    def fileno(self) -> int: ...
    def getsockopt(self, level: int, name: int, size: int, /) -> bytes: ...
    def setsockopt(self, level: int, name: int, value: bytes, /) -> Any: ...


def reset_on_close(peer: Peer) -> None:
    """Have the connection reset when it is closed, and what is still to be sent given up.

    Otherwise the kernel keeps all that for minutes, and goes on offering it to the client.
    """
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def reset(peer: socket.socket) -> None:
    """End a connection whoever else holds its socket: the last close resets it."""
    reset_on_close(peer)
    peer.shutdown(socket.SHUT_RDWR)


def taken(peer: Peer) -> int:
    """A number that changes when the peer takes bytes from this socket."""
    if not sys.platform.startswith("linux"):
        return 0
    if peer.family in (socket.AF_INET, socket.AF_INET6):
        info = peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED + 8)
        if len(info) == _BYTES_ACKED + 8:
            return int(struct.unpack_from("=Q", info, _BYTES_ACKED)[0])
    return waiting(peer)


def waiting(peer: Peer) -> int:
    """Bytes that the kernel holds for the peer. Raises ``OSError`` where it doesn't tell."""
    if not sys.platform.startswith("linux"):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    return _INT.unpack(fcntl.ioctl(peer.fileno(), termios.TIOCOUTQ, _NO_INT))[0]  # type: ignore[no-any-return]


def is_full(peer: Peer) -> bool:
    """Does the kernel take no more for this peer until that takes something?"""
    poll = select.poll()  # select() knows no descriptor above 1,023
    poll.register(peer.fileno(), select.POLLOUT)
    return not poll.poll(0)
