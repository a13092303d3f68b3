"""
This process' sockets, by the addresses at their two ends.

A server's ``send`` tells only that its buffer has room, and the kernel's own holds megabytes: it
calls a socket writable when a third of that has gone, which at a few KiB a second takes minutes.
Whether a client takes anything at all is known to the socket alone, whichever server holds it.
"""

import contextlib
import errno
import ipaddress
import os
import select
import socket
import struct
import sys
from collections.abc import Container, Iterator
from typing import Any, NamedTuple

if sys.platform != "win32":
    import fcntl
    import termios

_INT = struct.Struct("=i")
_NO_INT = bytes(_INT.size)

# linux/tcp.h: struct tcp_info has tcpi_bytes_acked, a u64, at this offset (since Linux 4.1).
_BYTES_ACKED = 120


class Ends(NamedTuple):
    """The two ends of a connection, whatever notation their addresses are in."""

    client: tuple[Any, int]
    server: tuple[Any, int]


def ends(client: Any, server: Any) -> Ends | None:
    """Of an ASGI scope's ``client`` and ``server``; ``None`` where they are no IP addresses."""
    try:
        return Ends(_address(client), _address(server))
    except (TypeError, ValueError, IndexError):
        return None


def find(wanted: Container[Ends]) -> Iterator[tuple[Ends, socket.socket]]:
    """Those of this process' sockets that are ``wanted``; each a duplicate, closed afterwards."""
    if not sys.platform.startswith("linux"):
        return
    for name in os.listdir("/proc/self/fd"):
        try:
            if not os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                continue
            copy = os.dup(int(name))
        except OSError:  # closed meanwhile
            continue
        try:
            candidate = socket.socket(fileno=copy)
        except OSError:  # closed meanwhile, and the number is a file's by now
            os.close(copy)
            continue
        with candidate:
            try:
                found = ends(candidate.getpeername(), candidate.getsockname())
            except OSError:  # not connected
                continue
            if found is not None and found in wanted:
                yield found, candidate


def progress(client: Any, server: Any) -> int | None:
    """A number that changes when the client takes bytes, ``None`` where its socket isn't found."""
    pair = ends(client, server)
    if pair is not None:
        for _, peer in find((pair,)):
            return taken(peer)
    return None


def cut(client: Any, server: Any) -> None:
    """Reset the connection between these two addresses."""
    pair = ends(client, server)
    if pair is not None:
        with contextlib.suppress(OSError):  # no descriptor left to look with; it has gone
            for _, peer in find((pair,)):
                reset(peer)


def reset(peer: socket.socket) -> None:
    """End a connection whoever else holds its socket, and give up what is still to be sent.

    With no time to linger, the last close resets it.
    """
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.shutdown(socket.SHUT_RDWR)


def taken(peer: socket.socket) -> int:
    """A number that changes when the peer takes bytes from this socket."""
    if not sys.platform.startswith("linux"):
        return 0
    if peer.family in (socket.AF_INET, socket.AF_INET6):
        info = peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED + 8)
        if len(info) == _BYTES_ACKED + 8:
            return int(struct.unpack_from("=Q", info, _BYTES_ACKED)[0])
    return waiting(peer)


def waiting(peer: socket.socket) -> int:
    """Bytes that the kernel holds for the peer. Raises ``OSError`` where it doesn't tell."""
    if not sys.platform.startswith("linux"):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    return _INT.unpack(fcntl.ioctl(peer.fileno(), termios.TIOCOUTQ, _NO_INT))[0]  # type: ignore[no-any-return]


def is_full(peer: socket.socket) -> bool:
    """Does the kernel take no more for this peer until that takes something?"""
    poll = select.poll()  # select() knows no descriptor above 1,023
    poll.register(peer, select.POLLOUT)
    return not poll.poll(0)


def _address(pair: Any) -> tuple[Any, int]:
    address = ipaddress.ip_address(str(pair[0]).partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address, int(pair[1])
