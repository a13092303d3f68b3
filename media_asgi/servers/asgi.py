"""
What a server can do beyond plain ASGI, and how each one ends a response that can't be finished.

A server is recognised by what it offers, never by its name; whatever is unexpected gets plain ASGI:
``await send()`` returns when the server wants more, and an application that returns early makes the
server close the connection, as uvicorn, hypercorn and granian do.
"""

import asyncio
import logging
from types import MethodType

from ..sources.base import FileRegion
from ..types import Headers, Message, Receive, Scope, Send
from . import pathsend, stalled

logger = logging.getLogger("media_asgi")


# So much goes into a server's own buffer without waiting for the client: asyncio's transports, and
# those modelled on them, take 64 KiB before they say that they are full.
WRITE_BUFFER_LIMIT = 64 * 1024

# More than the kernel takes for a client that reads nothing (net.ipv4.tcp_wmem and tcp_rmem).
MAX_KERNEL_BUFFER = 6 * 1024 * 1024

# A send that waits so long (seconds) waits for a client, and not just for its turn.
_WAITS = 0.001

# After a wait of so many seconds, or of such a share of send_timeout, messages are small: where no
# transport is lent, nothing but the end of a whole message tells that the client takes any byte.
_WAITS_LONG, _SHARE = 5, 1 / 12
_SMALL = 16 * 1024


class ClientDisconnected(Exception):
    """The client is no longer there, or takes no byte any more: nothing is left to be sent."""


class ClientStalled(ClientDisconnected):
    """It is there, and takes nothing; says for how long."""


class ResponseWriter:
    """One response, on a server that speaks plain ASGI."""

    _listener: "asyncio.Task[None] | None" = None
    _ended = _left = False
    _written = 0
    _longest = 0.0

    def __init__(self, scope: Scope, receive: Receive, send: Send, send_timeout: float) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.send_timeout = send_timeout

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """All of a response that fits in one chunk."""
        start = _start(status, headers)
        end = {"type": "http.response.body", "body": body}
        try:
            # On HTTP/2 the smallest body waits for the client's window, and hypercorn's send for
            # ever, even when that client has gone.
            if len(body) <= WRITE_BUFFER_LIMIT and self.scope.get("http_version") != "2":
                await self.send(start)
                await self.send(end)
            else:
                await self._deliver(start, self.send_timeout)
                await self._deliver(end, self.send_timeout)
        except ClientDisconnected as gone:
            await self.give_up(gone)
        except OSError:
            pass

    async def begin(self, status: int, headers: Headers) -> None:
        """The head of a response that is sent in several steps. ``close`` must follow."""
        self._listener = asyncio.get_running_loop().create_task(self._listen())
        await self._deliver(_start(status, headers), self.send_timeout)

    async def write(self, data: bytes) -> None:
        """More of the body. Returns when the server wants the next.

        Raises ``ClientDisconnected``.
        """
        self._written += len(data)
        message = {"type": "http.response.body", "body": data, "more_body": True}
        await self._deliver(message, self.send_timeout)
        await asyncio.sleep(0)  # others get their turn

    def chunk_size(self, size: int) -> int:
        """How much to write next, ``size`` bytes at most.

        Of each client that reads nothing two messages are held, one that fills the server's buffer
        and one that waits, and by granian, which offers pathsend, eight. They are small until the
        client has taken more than the kernel holds for one that reads nothing, and once it was
        waited for.
        """
        if self._longest >= min(_WAITS_LONG, self.send_timeout * _SHARE):
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
        if _breaks_zero_copy(self.send):
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
            if (path := pathsend.lend(region.fileno())) is None:
                return 0
            await self._deliver({"type": "http.response.pathsend", "path": path}, None)
            self._ended = True
            return count
        return 0

    async def end(self) -> None:
        """The end of a response whose every byte was written."""
        if not self._ended:
            await self._deliver({"type": "http.response.body", "body": b""}, self.send_timeout)

    async def give_up(self, gone: ClientDisconnected) -> None:
        """Cut the connection, and log it if the client hasn't gone by itself."""
        if isinstance(gone, ClientStalled):
            stalled.log_cut(self.scope["path"], str(gone))
        await self.abort()

    async def abort(self) -> None:
        """Cut the connection: the response can't be finished.

        Plain ASGI has only the early return for it, which follows. For a client that reads nothing
        hypercorn and granian then wait until it does, though the file is closed.
        """

    def close(self) -> None:
        """Let go of everything. Always the last call."""
        if self._listener is not None:
            self._listener.cancel()
            self._listener = None

    async def _deliver(self, message: Message, timeout: float | None) -> None:
        """Send one message, which may take so long. Raises ``ClientDisconnected``."""
        if self._left:
            raise ClientDisconnected
        loop = asyncio.get_running_loop()
        begin = loop.time()
        try:
            async with asyncio.timeout(timeout) as deadline:
                await self.send(message)
        except OSError as error:  # ASGI 2.4: the client has gone; and TimeoutError is one, too
            if deadline.expired():
                raise ClientStalled(f"the server took nothing for {timeout:g} s") from None
            self._left = True
            raise ClientDisconnected from error
        self._longest = max(self._longest, loop.time() - begin)

    async def _listen(self) -> None:
        """See that the client goes: not each server's ``send`` says so."""
        try:
            while (await self.receive())["type"] != "http.disconnect":
                pass
        except Exception:  # some servers say so that nobody is there any more
            logger.debug("receive() failed", exc_info=True)
        self._left = True


class TransportResponseWriter(ResponseWriter):
    """One response, on a server that lends its asyncio transport: uvicorn, also under gunicorn.

    Its ``send`` returns without a word when the client has gone, and the transport is closing then.
    """

    _watched: stalled.Watched | None = None
    _waited = False

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

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        transport = self._transport
        has_hidden = stalled.is_tls(transport)
        if has_hidden or transport.get_write_buffer_size():  # this one may wait behind another
            self._watch()
        try:
            await self.send(_start(status, headers))
            await self.send({"type": "http.response.body", "body": body})
        except OSError:
            return
        if has_hidden or transport.get_write_buffer_size():
            self._watch()

    async def begin(self, status: int, headers: Headers) -> None:
        self._watched = self._watch(is_active=True)
        await self._deliver(_start(status, headers), None)

    def chunk_size(self, size: int) -> int:
        if self._written >= MAX_KERNEL_BUFFER and not self._waited:
            return size
        return min(size, WRITE_BUFFER_LIMIT)

    async def abort(self) -> None:
        self._transport.abort()
        # uvicorn is told of it in the next turn, over TLS in the one after, and logs an error of
        # whoever returns before that.
        for _ in range(3):
            await asyncio.sleep(0)

    def close(self) -> None:
        if self._watched is not None:
            self._watched.is_active = False
            self._watched = None

    async def _deliver(self, message: Message, timeout: float | None) -> None:
        transport = self._transport
        if transport.is_closing():
            raise ClientDisconnected
        try:
            await self.send(message)
        except OSError as error:
            raise ClientDisconnected from error
        if not self._waited and not transport.is_closing():
            self._waited = transport.get_write_buffer_size() > WRITE_BUFFER_LIMIT
        if self._watched is not None:
            self._watched.written = self._written

    def _watch(self, *, is_active: bool = False) -> stalled.Watched:
        return stalled.watch(
            self._transport, self.send_timeout, self.scope["path"], is_active=is_active
        )


def lent_transport(scope: Scope, send: Send) -> asyncio.Transport | None:
    """The asyncio transport that ``send`` writes to, if it is this request's alone."""
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
    # A connection of HTTP/2 is others' as well.
    return transport if known and scope.get("http_version") in ("1.0", "1.1") else None


_transports: dict[type, bool] = {}


def _breaks_zero_copy(send: Send) -> bool:
    """Anycorn, up to 0.20.1 at least, can't wait for a slow client there: it cuts the body short.

    (On asyncio it asks for its socket's writability, which the loop refuses while a transport has
    that socket.)
    """
    server = type(getattr(send, "__self__", None)).__module__
    return server.startswith("anycorn.")


def _start(status: int, headers: Headers) -> Message:
    # Headers are kept from one response to the next, and whoever gets them may add to them. The
    # server adds Date: given another, it would send two.
    return {"type": "http.response.start", "status": status, "headers": [*headers]}
