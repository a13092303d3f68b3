"""
The interface of a response writer: one response on one server.

``send`` is for a small response and needs no other call. A larger one is ``start``, then ``write``
or ``send_region`` as often as needed, then ``finish``. ``close`` follows in any case.
"""

import logging
from typing import Literal, Protocol

from ..sources.base import FileRegion
from ..types import Headers, Scope

logger = logging.getLogger("media_asgi")

# A server's buffer takes about this much before the server waits for the client. asyncio's
# transports, and those modelled on them, take 64 KiB.
WRITE_BUFFER_LIMIT = 64 * 1024

# More than the kernel takes for a client that reads nothing (net.ipv4.tcp_wmem and tcp_rmem).
MAX_KERNEL_BUFFER = 6 * 1024 * 1024


Ending = Literal["complete", "left", "stalled", "failed"]
"""How a response ended: the server has taken all of it; the client left, or the server ended; the
client was cut off, because it took nothing; the file could not be read to its end."""


class ClientDisconnectedError(Exception):
    """The client has gone: nothing more can be sent."""


class ClientStalledError(ClientDisconnectedError):
    """The client is still there, but has taken nothing for too long. The text says how long."""


class ResponseWriter(Protocol):
    """One response on one server."""

    scope: Scope

    is_cut: bool
    """Was the client cut off, because it took nothing? It counts after ``close``."""

    async def send(self, status: int, headers: Headers, body: bytes) -> Ending:
        """Send a whole response that fits in one chunk. Raises nothing if the client has gone."""

    async def start(self, status: int, headers: Headers) -> None:
        """Send the head of a larger response. Raises ``ClientDisconnectedError``."""

    def chunk_size(self, size: int) -> int:
        """How many bytes to write next, ``size`` at most."""

    async def write(self, data: bytes) -> None:
        """Send more of the body, and wait until the server can take the next chunk.

        Raises ``ClientDisconnectedError``.
        """

    async def send_region(self, region: FileRegion) -> int:
        """Send bytes of a file without a copy through Python, and return how many that were.

        Returns 0 if the server can't. Raises ``ClientDisconnectedError`` and ``SourceError``.
        """

    async def finish(self) -> None:
        """End a response whose every byte was sent. Raises ``ClientDisconnectedError``."""

    async def abort(self) -> None:
        """Cut the connection, because the response can't be finished."""

    def close(self) -> None:
        """Release what the writer holds. Always the last call."""


async def abort_on(error: ClientDisconnectedError, writer: ResponseWriter) -> None:
    """Cut the connection, and log it if the client has not gone by itself."""
    if isinstance(error, ClientStalledError):
        writer.is_cut = True
        log_cut(writer.scope["path"], str(error))
    await writer.abort()


def log_cut(path: str, reason: str) -> None:
    """Write one log line for a connection that is cut."""
    logger.warning("%r cut off: %s", path, reason)
