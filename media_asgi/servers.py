"""
What a server can do beyond plain ASGI, and how each one ends a response that can't be finished.

A server is recognised by what it offers, never by its name; whatever is unexpected gets plain ASGI:
``await send()`` returns when the server wants more, and an application that returns early makes the
server close the connection, as uvicorn, hypercorn and granian do.
"""

import asyncio
import contextlib
import ipaddress
import logging
import os
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import Executor
from typing import Any

from .files import File
from .ranges import Span
from .representation import Headers

logger = logging.getLogger("media_asgi")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Gone(Exception):  # noqa: N818
    """The client is no longer there, or takes no byte any more: nothing is left to be sent."""


class Connection:
    """One response, on a server that speaks plain ASGI."""

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, executor: Executor, send_timeout: float
    ) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.executor = executor
        self.send_timeout = send_timeout

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """All of a small response."""
        # Headers are kept from one response to the next, and whoever gets them may add to them.
        # The server adds Date: given another, it would send two.
        start = {"type": "http.response.start", "status": status, "headers": [*headers]}
        with contextlib.suppress(OSError):  # ASGI 2.4: the client has gone
            await self.send(start)
            await self.send({"type": "http.response.body", "body": body})

    async def begin(self, status: int, headers: Headers) -> None:
        """The head of a response that is sent in several steps; ``close`` must follow."""
        self._watch = _Watch(self)
        await self._watch.send(
            {"type": "http.response.start", "status": status, "headers": [*headers]}, 0
        )

    async def write(self, data: bytes) -> None:
        """More of the body. Returns when the server wants the next. Raises ``Gone``."""
        await self._watch.send(
            {"type": "http.response.body", "body": data, "more_body": True}, len(data)
        )

    async def write_file(self, file: File, span: Span, *, whole: bool) -> int:
        """Send what can go out without a copy through Python, and say how many bytes that was.

        ``whole``: this span is the whole file, and all of the body.
        """
        extensions = self.scope.get("extensions")
        if extensions and "http.response.zerocopysend" in extensions:
            await self._watch.send(
                {
                    "type": "http.response.zerocopysend",
                    "file": file,
                    "offset": span.start,
                    "count": len(span),
                    "more_body": True,
                },
                len(span),
            )
            return len(span)
        return 0

    async def end(self) -> None:
        """The end of a response whose every byte was written."""
        await self._watch.send({"type": "http.response.body", "body": b""}, 0)

    async def abort(self) -> None:
        """Cut the connection: the response can't be finished."""

    def close(self) -> None:
        """Let go of everything. Always the last call after ``begin``."""
        self._watch.close()


class _Watch:
    """Sees that the client goes, or takes nothing, while a long response is sent."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._gone = False
        self._stalled = False
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        self._listener = self._loop.create_task(self._listen())
        self._looking: asyncio.Future[Any] | None = None
        self._written = 0
        self._sending = False
        self._progress: object = None
        self._since = self._loop.time()
        self._interval = connection.send_timeout / 4
        self._timer = self._loop.call_later(self._interval, self._tick)

    async def send(self, message: Message, length: int) -> None:
        if self._gone:
            raise Gone
        self._sending = True
        try:
            await self._connection.send(message)
        except asyncio.CancelledError:
            if not self._stalled or self._task is None or self._task.uncancel():
                raise
            raise Gone from None
        except OSError as error:
            # ASGI 2.4: send() raises it where the client has gone.
            raise Gone from error
        finally:
            self._sending = False
        self._written += length
        if self._gone:
            raise Gone

    def close(self) -> None:
        self._timer.cancel()
        self._listener.cancel()
        if self._looking is not None:
            self._looking.cancel()

    async def _listen(self) -> None:
        try:
            while (await self._connection.receive())["type"] != "http.disconnect":
                pass
        except Exception:  # a server's own way to say that nobody is there
            logger.debug("receive() failed", exc_info=True)
        self._gone = True

    def _tick(self) -> None:
        """Every quarter of the timeout: has the client taken anything?"""
        self._timer = self._loop.call_later(self._interval, self._tick)
        if self._looking is None or self._looking.done():
            scope = self._connection.scope
            self._looking = self._loop.run_in_executor(
                None, peer_progress, scope.get("client"), scope.get("server")
            )
            self._looking.add_done_callback(self._looked)

    def _looked(self, looking: asyncio.Future[int | None]) -> None:
        if looking.cancelled():
            return
        progress = (self._written, looking.result() if looking.exception() is None else None)
        now = self._loop.time()
        if progress != self._progress or not self._sending:
            self._progress = progress
            self._since = now
        elif now - self._since >= self._connection.send_timeout * 0.99 and not self._stalled:
            self._stalled = self._gone = True
            scope = self._connection.scope
            if scope.get("http_version") in ("1.0", "1.1"):
                cut(scope.get("client"), scope.get("server"))
            if self._sending and self._task is not None:
                self._task.cancel()


def peer_progress(client: Any, server: Any) -> int | None:
    """A number that changes when the peer takes bytes, ``None`` where its socket isn't found.

    A server's ``send`` tells only that its buffer has room: the kernel's own holds megabytes, and
    says that it is writable when a third of them has gone, which at a few KiB a second is minutes.
    """
    peer = _socket_of(client, server)
    if peer is None:
        return None
    with peer:
        return taken(peer)


def cut(client: Any, server: Any) -> None:
    """Reset the connection between these two addresses."""
    peer = _socket_of(client, server)
    if peer is not None:
        with peer, contextlib.suppress(OSError):
            reset(peer)


def reset(peer: socket.socket) -> None:
    """End a connection whoever else holds its socket, and give up what is still to be sent.

    With no time to linger, the last close resets it.
    """
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.shutdown(socket.SHUT_RDWR)


def _socket_of(client: Any, server: Any) -> socket.socket | None:
    """A duplicate of this process' socket between these two addresses, by asking each."""
    if not client or not server or not client[1] or not sys.platform.startswith("linux"):
        return None
    wanted = _address(client), _address(server)
    for name in os.listdir("/proc/self/fd"):
        try:
            if not os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                continue
            candidate = socket.socket(fileno=os.dup(int(name)))
        except OSError:
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            if (_address(candidate.getpeername()), _address(candidate.getsockname())) == wanted:
                return candidate
        candidate.close()
    return None


def _address(pair: Any) -> tuple[object, int]:
    address = ipaddress.ip_address(str(pair[0]).partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address, int(pair[1])


# linux/tcp.h: struct tcp_info has tcpi_bytes_acked, a u64, at this offset (since Linux 4.1).
_BYTES_ACKED = 120


def taken(peer: socket.socket) -> int:
    """A number that changes when the peer takes bytes from this socket."""
    if sys.platform.startswith("linux"):
        import fcntl
        import termios

        if peer.family in (socket.AF_INET, socket.AF_INET6):
            info = peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED + 8)
            if len(info) == _BYTES_ACKED + 8:
                return int(struct.unpack_from("=Q", info, _BYTES_ACKED)[0])
        waiting = fcntl.ioctl(peer.fileno(), termios.TIOCOUTQ, bytes(4))
        return int(struct.unpack("=i", waiting)[0])
    return 0
