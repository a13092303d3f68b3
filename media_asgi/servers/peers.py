"""
What a socket knows of its client.

A server's ``send`` tells only that the server's buffer has room. The kernel's buffer holds
megabytes, and a socket becomes writable when a third of that has gone. For a client that reads a
few KiB a second this takes minutes. So only the socket knows whether a client takes anything. It is
always the socket that the server lends: the addresses in a scope may come from the client
(X-Forwarded-For).
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

# Where linux/tcp.h's struct tcp_info has tcpi_bytes_acked, a u64 (since Linux 4.1), and
# tcpi_snd_wnd, a u32 (since Linux 5.4).
_BYTES_ACKED = 120, struct.Struct("=Q")
_WINDOW = 228, struct.Struct("=I")


class Peer(Protocol):
    """A socket, or the object that asyncio, uvloop or Twisted lend in its place."""

    @property
    def family(self) -> int: ...

    def fileno(self) -> int: ...
    def getsockopt(self, level: int, name: int, size: int, /) -> bytes: ...
    def setsockopt(self, level: int, name: int, value: bytes, /) -> Any: ...


def reset_on_close(peer: Peer) -> None:
    """Make the later close reset the connection and drop what is still to be sent.

    Otherwise the kernel keeps the data for minutes, and goes on offering it to the client.
    """
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def reset(peer: socket.socket) -> None:
    """End a connection even if others hold its socket: the last close resets it."""
    reset_on_close(peer)
    peer.shutdown(socket.SHUT_RDWR)


def progress(peer: Peer) -> int:
    """A number that changes when the peer takes bytes from this socket."""
    if not sys.platform.startswith("linux"):
        return 0
    is_tcp = peer.family in (socket.AF_INET, socket.AF_INET6)
    acked = _tcp_info(peer, *_BYTES_ACKED) if is_tcp else None
    return unsent(peer) if acked is None else acked


def window(peer: Peer) -> int | None:
    """Bytes that the peer's kernel will take though the peer reads none of them.

    Those that it has not acknowledged yet are among them. ``None`` if nothing tells.
    """
    if not sys.platform.startswith("linux") or peer.family == socket.AF_UNIX:
        return None
    return _tcp_info(peer, *_WINDOW)


def _tcp_info(peer: Peer, offset: int, kind: struct.Struct) -> int | None:
    """A field of the kernel's ``tcp_info``; ``None`` if it is too old to have it."""
    info = peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, offset + kind.size)
    return kind.unpack_from(info, offset)[0] if len(info) == offset + kind.size else None


def unsent(peer: Peer) -> int:
    """Bytes that the kernel holds for the peer. Raises ``OSError`` if it does not say."""
    if not sys.platform.startswith("linux"):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    return _INT.unpack(fcntl.ioctl(peer.fileno(), termios.TIOCOUTQ, _NO_INT))[0]  # type: ignore[no-any-return]


def is_full(peer: Peer) -> bool:
    """Is the kernel's buffer for this peer full?"""
    poll = select.poll()  # select() knows no descriptor above 1,023
    poll.register(peer.fileno(), select.POLLOUT)
    return not poll.poll(0)
