"""
Servers that speak plain ASGI, and those that also lend their asyncio transport.

A server is recognised by what it offers, never by its name. Anything unexpected gets plain ASGI:
``await send()`` returns when the server wants more. If the application returns before the end of
the body, uvicorn, hypercorn and granian close the connection.
"""

import asyncio
import logging
from types import MethodType

from ..sources.base import FileRegion
from ..types import Headers, Message, Receive, Scope, Send
from . import pathsend, stalled
from .base import (
    MAX_KERNEL_BUFFER,
    WRITE_BUFFER_LIMIT,
    ClientDisconnectedError,
    ClientStalledError,
    Ending,
    abort_on,
)
from .turns import next_turn

logger = logging.getLogger("media_asgi")

# A send that takes this long (seconds) waits for a client, and not just for its turn.
_WAITS = 0.001

# After a wait of this many seconds, or of this share of send_timeout, messages are small. Where no
# transport is lent, only the end of a whole message shows that the client takes bytes.
_WAITS_LONG, _SHARE = 5, 1 / 12
_SMALL = 16 * 1024


class ASGIResponseWriter:
    """One response on a server that speaks plain ASGI."""

    _listener: "asyncio.Task[None] | None" = None
    is_cut = _is_finished = _has_left = False
    _written = 0
    _longest = 0.0

    def __init__(self, scope: Scope, receive: Receive, send: Send, send_timeout: float) -> None:
        self.scope = scope
        self._receive = receive
        self._send = send
        self._send_timeout = send_timeout

    async def send(self, status: int, headers: Headers, body: bytes) -> Ending:
        start = _start(status, headers)
        end = {"type": "http.response.body", "body": body}
        try:
            # On HTTP/2 even the smallest body waits for the client's window. hypercorn's send then
            # waits for ever, even if the client has gone.
            # Over HTTP/1.1 a small answer needs no deadline: an early return frees nothing of the
            # connection, and hypercorn would keep a task of it after the client has gone.
            if len(body) <= WRITE_BUFFER_LIMIT and self.scope.get("http_version") != "2":
                await self._send(start)
                await self._send(end)
            else:
                await self._deliver(start, self._send_timeout)
                await self._deliver(end, self._send_timeout)
        except ClientDisconnectedError as error:
            await abort_on(error, self)
            return "left"
        except OSError:
            return "left"
        return "complete"

    async def start(self, status: int, headers: Headers) -> None:
        self._listener = asyncio.get_running_loop().create_task(self._listen())
        await self._deliver(_start(status, headers), self._send_timeout)

    async def write(self, data: bytes) -> None:
        if self._written:
            await next_turn(len(data))
        self._written += len(data)
        message = {"type": "http.response.body", "body": data, "more_body": True}
        await self._deliver(message, self._send_timeout)

    def chunk_size(self, size: int) -> int:
        """How many bytes to write next, ``size`` at most.

        A client that reads nothing holds two messages: one fills the server's buffer, and one
        waits. With granian, which offers pathsend, it holds eight. So messages are small until the
        client has taken more than the kernel holds for one that reads nothing. They are small again
        after the client had to be waited for.
        """
        if self._longest >= min(_WAITS_LONG, self._send_timeout * _SHARE):
            return min(size, _SMALL)
        if self._written >= MAX_KERNEL_BUFFER and self._longest < _WAITS:
            return size
        holds_many = "http.response.pathsend" in (self.scope.get("extensions") or ())
        return min(size, WRITE_BUFFER_LIMIT // 4 if holds_many else WRITE_BUFFER_LIMIT)

    async def send_region(self, region: FileRegion) -> int:
        """Send bytes of a file without a copy through Python, and return how many that were.

        What is sent by name also ends the response. That is the whole file, which no part of a
        multipart body is.
        """
        extensions = self.scope.get("extensions") or {}
        count = region.stop - region.start
        if _breaks_zero_copy(self._send):
            return 0
        if "http.response.zerocopysend" in extensions:
            # Such a send lasts as long as the file, whatever the client's pace.
            await self._deliver(
                {
                    "type": "http.response.zerocopysend",
                    "file": region,
                    "offset": region.start,
                    "count": count,
                    "more_body": True,
                },
                None,
            )
            return count
        if region.is_whole_file and "http.response.pathsend" in extensions:
            if (path := pathsend.lease(region.fileno())) is None:
                return 0
            await self._deliver({"type": "http.response.pathsend", "path": path}, None)
            self._is_finished = True
            return count
        return 0

    async def finish(self) -> None:
        if not self._is_finished:
            await self._deliver({"type": "http.response.body", "body": b""}, self._send_timeout)

    async def abort(self) -> None:
        """Do nothing: plain ASGI has only the early return for this, which follows.

        If the client reads nothing, hypercorn and granian then wait until it does. The file is
        closed all the same.
        """

    def close(self) -> None:
        if self._listener is not None:
            self._listener.cancel()
            self._listener = None

    async def _deliver(self, message: Message, timeout: float | None) -> None:
        """Send one message, within ``timeout`` seconds. Raises ``ClientDisconnectedError``."""
        if self._has_left:
            raise ClientDisconnectedError
        loop = asyncio.get_running_loop()
        begin = loop.time()
        try:
            async with asyncio.timeout(timeout) as deadline:
                await self._send(message)
        except OSError as error:  # ASGI 2.4: the client has gone. A TimeoutError is an OSError too.
            if deadline.expired():
                reason = f"the server took nothing for {timeout:g} s"
                raise ClientStalledError(reason) from None
            self._has_left = True
            raise ClientDisconnectedError from error
        self._longest = max(self._longest, loop.time() - begin)

    async def _listen(self) -> None:
        """Notice when the client goes. Not every server's ``send`` says so."""
        try:
            while (await self._receive())["type"] != "http.disconnect":
                pass
        except Exception:  # some servers raise once the client has gone
            logger.debug("receive() failed", exc_info=True)
        self._has_left = True


class TransportResponseWriter(ASGIResponseWriter):
    """One response on a server that lends its asyncio transport: uvicorn, also under gunicorn.

    When the client has gone, uvicorn's ``send`` returns without an error. The transport is then
    closing.
    """

    _watched: stalled.Watched | None = None
    _has_waited = False

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        send_timeout: float,
        transport: asyncio.Transport,
    ) -> None:
        super().__init__(scope, receive, send, send_timeout)
        self._transport = transport

    async def send(self, status: int, headers: Headers, body: bytes) -> Ending:
        transport = self._transport
        # The buffer of a TLS transport doesn't show what the transport below it holds.
        is_tls = stalled.is_tls(transport)
        if is_tls or transport.get_write_buffer_size():  # this response may wait behind another
            self._watch()
        try:
            await self._send(_start(status, headers))
            await self._send({"type": "http.response.body", "body": body})
        except (OSError, RuntimeError) as error:
            self._check_is_gone(error)
            return "left"
        if is_tls or transport.get_write_buffer_size():
            self._watch()
        return "complete"

    async def start(self, status: int, headers: Headers) -> None:
        self._watched = self._watch(is_active=True)
        await self._deliver(_start(status, headers), None)

    def chunk_size(self, size: int) -> int:
        if self._written >= MAX_KERNEL_BUFFER and not self._has_waited:
            return size
        return min(size, WRITE_BUFFER_LIMIT)

    async def abort(self) -> None:
        self._transport.abort()
        # uvicorn is told of the abort in the loop's next turn, over TLS in the one after. If the
        # application returns earlier, uvicorn logs an error.
        for _ in range(3):
            await asyncio.sleep(0)

    def close(self) -> None:
        if self._watched is not None:
            self.is_cut = self._watched.is_cut
            self._watched.is_active = False
            self._watched = None

    async def _deliver(self, message: Message, timeout: float | None) -> None:
        transport = self._transport
        if transport.is_closing():
            raise ClientDisconnectedError
        try:
            await self._send(message)
        except (OSError, RuntimeError) as error:
            self._check_is_gone(error)
            raise ClientDisconnectedError from error
        if not self._has_waited and not transport.is_closing():
            self._has_waited = transport.get_write_buffer_size() > WRITE_BUFFER_LIMIT
        if self._watched is not None:
            self._watched.written = self._written

    def _check_is_gone(self, error: Exception) -> None:
        """Raise the error of ``send`` again, unless it means that the client has gone.

        uvloop refuses to write to a closed transport by RuntimeError. uvicorn's ``send`` tries to
        if it was waiting for the client, who has sent another request before: then only that
        request is told of the end.
        """
        if not isinstance(error, OSError) and not self._transport.is_closing():
            raise error

    def _watch(self, *, is_active: bool = False) -> stalled.Watched:
        return stalled.watch(
            self._transport, self._send_timeout, self.scope["path"], is_active=is_active
        )


def lent_transport(scope: Scope, send: Send) -> asyncio.Transport | None:
    """The asyncio transport that ``send`` writes to, if only this request uses it."""
    if type(send) is not MethodType:
        return None
    transport = getattr(send.__self__, "transport", None)
    kind = type(transport)
    known = _transports.get(kind)
    if known is None:
        known = _transports[kind] = all(
            callable(getattr(kind, name, None))
            for name in ("abort", "get_extra_info", "get_write_buffer_size", "is_closing")
        )
    # Several requests share a connection of HTTP/2.
    return transport if known and scope.get("http_version") in ("1.0", "1.1") else None


_transports: dict[type, bool] = {}


def _breaks_zero_copy(send: Send) -> bool:
    """Is this anycorn? Up to 0.20.1 at least, it cuts the body short if a client is slow.

    (On asyncio it asks whether its socket is writable, which the loop refuses while a transport
    uses that socket.)
    """
    server = type(getattr(send, "__self__", None)).__module__
    return server.startswith("anycorn.")


def _start(status: int, headers: Headers) -> Message:
    # A copy: headers are kept for later responses, and the server may add fields to them. Date is
    # left to the server, which would send it twice.
    return {"type": "http.response.start", "status": status, "headers": [*headers]}
