"""
What Twisted's transports tell of their buffers and sockets.

Some of the names are Twisted's own. For each kind of transport they are looked up once. If one is
missing, the log says so, and responses go out without flow control.
"""

import logging
import operator
from collections.abc import Sequence
from functools import cache
from socket import SO_SNDBUF, SOL_SOCKET
from typing import Any

from .peers import progress, unsent, window

logger = logging.getLogger("media_asgi")

# A socket takes at least this much at once if the client has acknowledged everything before: the
# kernel's buffer has this size from the start (net.ipv4.tcp_wmem), and then grows. SO_SNDBUF tells
# its size with the kernel's own overhead, which is smaller than the data.
_MIN_KERNEL_BUFFER = 16 * 1024

# A wrapper lends the names of the transport below it.
WRAPPED_NAMES = ("dataBuffer", "offset", "_tempDataLen")

PLAIN_NAMES = (*WRAPPED_NAMES, "producerPaused", "doWrite", "connected", "disconnecting")

# A TLS transport keeps what is written in one turn of the loop, to encrypt it at once, and more
# while it shakes hands.
TLS_NAMES = (*WRAPPED_NAMES, "_aggregator._buffer", "_aggregator.flush", "_appSendBuffer")

HTTP2_NAMES = (
    *("streamID", "_conn.conn", "_conn.transport"),
    *("_conn._outboundStreamQueues", "_conn._consumerBlocked"),
)

_have_names: dict[type, bool] = {}


def has_names(owner: Any, kind: str, names: Sequence[str]) -> bool:
    """Has this object all of these names? The answer is kept for its type."""
    known = _have_names.get(type(owner))
    if known is None:
        missing = [name for name in names if not _has(owner, name)]
        if missing:
            from twisted import __version__

            logger.warning(
                "flow control is off for %s: Twisted %s has no %s. A client that reads slowly "
                "makes the server hold its whole download in memory.",
                kind,
                __version__,
                ", ".join(missing),
            )
        known = _have_names[type(owner)] = not missing
    return known


def _has(owner: Any, name: str) -> bool:
    try:
        operator.attrgetter(name)(owner)
    except AttributeError:
        return False
    return True


def is_plain(transport: Any) -> bool:
    """Is this certainly a TCP or Unix socket, with nothing that encrypts or frames before it?

    A wrapper lends the attributes of the transport below it. A mistake would send plain text inside
    TLS.
    """
    return (
        type(transport) in _socket_types()
        and has_names(transport, "plain sockets", PLAIN_NAMES)
        and transport.TLS is False
    )


@cache
def _socket_types() -> tuple[type, ...]:
    from twisted.internet import tcp

    try:
        from twisted.internet import unix
    except ImportError:  # Windows
        return (tcp.Server,)
    return tcp.Server, unix.Server


def innermost(transport: Any) -> Any:
    """The transport that owns the socket, below all wrappers."""
    from twisted.protocols.policies import ProtocolWrapper

    while isinstance(transport, ProtocolWrapper):
        transport = transport.transport
    return transport


def below_tls(transport: Any) -> Any:
    """The plain socket directly below Twisted's own TLS, or ``None`` if this is not certain.

    It is there to be looked at, and to send what TLS has written to it. To write to it would send
    plain text inside TLS.
    """
    if type(transport) is not _tls_type() or not has_names(transport, "TLS", TLS_NAMES):
        return None
    below = transport.transport
    return below if is_plain(below) else None


@cache
def _tls_type() -> Any:
    from twisted.protocols import tls

    return getattr(tls, "BufferingTLSTransport", None)  # Twisted before 23.10 has none


def encrypt(transport: Any) -> None:
    """Hand what the TLS transport has gathered to the socket below it."""
    transport._aggregator.flush()


def is_encrypted(transport: Any) -> bool:
    """Has the TLS transport handed everything to the socket below it?"""
    # After the close there is another aggregator, without a buffer.
    return not (getattr(transport._aggregator, "_buffer", ()) or transport._appSendBuffer)


def buffered(transport: Any) -> int:
    """Bytes in the buffer of a plain transport."""
    left: int = len(transport.dataBuffer) - transport.offset + transport._tempDataLen
    return left


def buffered_above(transport: Any) -> int:
    """About as many bytes as a wrapped transport and those below it hold; 0 if nothing tells."""
    known = _have_names.get(type(transport))
    if known is None:
        from twisted.internet.interfaces import ISSLTransport

        if ISSLTransport.providedBy(transport):
            known = has_names(transport, "TLS", TLS_NAMES)
        else:
            known = has_names(transport, type(transport).__name__, WRAPPED_NAMES)
    if not known:
        return 0
    left = buffered(transport)
    # Without TLS there are no such buffers, and after the close there is another aggregator.
    left += len(getattr(getattr(transport, "_aggregator", None), "_buffer", ()))
    left += len(getattr(transport, "_appSendBuffer", ()))
    return left


def flush(transport: Any) -> bool:
    """Send as much as a plain socket takes. Was that everything?"""
    left = buffered(transport)
    # A transport that is to close does so in the reactor's own call, once everything is sent.
    if transport.connected and not transport.disconnecting:
        before = -1
        while left and left != before:
            before = left
            # An error shows again in the reactor's call, which then ends the connection.
            transport.doWrite()
            left = buffered(transport)
    return not left


def room(transport: Any, *, for_client: bool = False) -> int:
    """Bytes that a plain socket certainly takes at once; 0 if nothing tells.

    ``for_client``: bytes that the client's kernel takes too, though the client doesn't read.

    The kernel is asked, which costs more than any other step of a small response.
    """
    try:
        peer = transport.getHandle()
        if unsent(peer):
            return 0
        size = max(_MIN_KERNEL_BUFFER, int(peer.getsockopt(SOL_SOCKET, SO_SNDBUF)) // 2)
        return min(size, window(peer) or 0) if for_client else size
    except (AttributeError, OSError):  # lost meanwhile, or this system doesn't tell
        return 0


def progress_of(transport: Any) -> int | None:
    """A number that changes when the client takes bytes, or ``None`` if nothing tells."""
    try:
        return progress(innermost(transport).getHandle())
    except (AttributeError, OSError):  # lost meanwhile
        return None
