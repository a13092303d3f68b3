"""
What a server can do beyond plain ASGI, and how each one ends a response that can't be finished.

A server is recognised by what it offers, never by its name; whatever is unexpected gets plain ASGI:
``await send()`` returns when the server wants more, and an application that returns early makes the
server close the connection, as uvicorn, hypercorn and granian do.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Generator, MutableMapping
from typing import Any

from . import pathsend, peers, stalled
from .files import File
from .ranges import Span
from .representation import Headers

logger = logging.getLogger("media_asgi")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


# So much goes into a server's own buffer without waiting for the client: asyncio's transports, and
# those modelled on them, take 64 KiB before they say that they are full.
NEVER_WAITS = 64 * 1024

# More than the kernel takes for a client that reads nothing (net.ipv4.tcp_wmem and tcp_rmem).
KERNEL_HOLDS = 6 * 1024 * 1024


class Gone(Exception):  # noqa: N818
    """The client is no longer there, or takes no byte any more: nothing is left to be sent."""


class Connection:
    """One response, on a server that speaks plain ASGI."""

    _watch: "_Watch | None" = None
    _ended = _left = _waited = False
    _written = 0

    def __init__(self, scope: Scope, receive: Receive, send: Send, send_timeout: float) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.send_timeout = send_timeout

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """All of a response that fits in one span."""
        start = _start(status, headers)
        end = {"type": "http.response.body", "body": body}
        if len(body) <= NEVER_WAITS:
            # As in _deliver, but suppress() takes time on the way of a hit.
            try:
                await self.send(start)
                await self.send(end)
            except OSError:
                pass
            return
        try:
            await self._deliver(start)
            await self._deliver(end)
            self._watch_over()
        except Gone:
            pass
        finally:
            self.close()

    async def begin(self, status: int, headers: Headers) -> None:
        """The head of a response that is sent in several steps. ``close`` must follow."""
        self._start_watch()
        await self._deliver(_start(status, headers))

    async def write(self, data: bytes) -> None:
        """More of the body. Returns when the server wants the next. Raises ``Gone``."""
        self._written += len(data)
        if not await self._deliver({"type": "http.response.body", "body": data, "more_body": True}):
            await asyncio.sleep(0)  # others get their turn

    def span(self, size: int) -> int:
        """How much to write next, ``size`` bytes at most.

        Of each client that reads nothing two messages are held, one that fills the server's buffer
        and one that waits, and by granian, which offers pathsend, eight. They are small until the
        client has taken more than the kernel holds for one that reads nothing, and once it was
        waited for.
        """
        if self._written >= KERNEL_HOLDS and not self._waited:
            return size
        holds_many = "http.response.pathsend" in (self.scope.get("extensions") or ())
        return min(size, NEVER_WAITS // 4 if holds_many else NEVER_WAITS)

    async def write_file(self, file: File, span: Span, *, whole: bool) -> int:
        """Send what can go out without a copy through Python, and say how many bytes that was.

        ``whole``: this span is the whole file, and all of the body. What is sent by name also ends
        the response.
        """
        extensions = self.scope.get("extensions") or {}
        if _breaks_zero_copy(self.send):
            return 0
        if "http.response.zerocopysend" in extensions:
            await self._deliver(
                {
                    "type": "http.response.zerocopysend",
                    "file": file,
                    "offset": span.start,
                    "count": len(span),
                    "more_body": True,
                }
            )
        elif whole and "http.response.pathsend" in extensions and (path := pathsend.lend(file.fd)):
            await self._deliver({"type": "http.response.pathsend", "path": path})
            self._ended = True
            self._watch_over()
        else:
            return 0
        return len(span)

    async def end(self) -> None:
        """The end of a response whose every byte was written."""
        if not self._ended:
            await self._deliver({"type": "http.response.body", "body": b""})

    async def abort(self) -> None:
        """Cut the connection: the response can't be finished.

        By its socket, where that is this response's alone. To return early, which is all that plain
        ASGI has for it, would do for a client that reads; for one that doesn't, hypercorn and
        granian wait until it does, even when they are asked to end.
        """
        scope = self.scope
        if not self._left and scope.get("http_version") in ("1.0", "1.1"):
            # The end of the loop closes it anyway.
            with contextlib.suppress(RuntimeError):
                asyncio.get_running_loop().run_in_executor(
                    None, peers.cut, scope.get("client"), scope.get("server")
                )

    def close(self) -> None:
        """Let go of everything. Always the last call."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    async def _deliver(self, message: Message) -> bool:
        """Send one message, and say whether that had to wait. Raises ``Gone``."""
        if self._watch is not None and self._watch.left:
            raise Gone
        sending = _Noticed(self.send(message), self._start_watch)
        try:
            await sending
        except asyncio.CancelledError:
            if self._watch is None or not self._watch.was_ours():
                raise
            raise Gone from None
        except OSError as error:  # ASGI 2.4: the client has gone
            self._left = True
            raise Gone from error
        finally:
            if self._watch is not None:
                self._watch.sent += 1
                self._watch.waiting = False
        self._waited = self._waited or sending.waited
        return sending.waited

    def _watch_over(self) -> None:
        """Cut off a client that doesn't take what the server has been given."""
        stalled.watch(self.scope.get("client"), self.scope.get("server"), self.send_timeout)

    def _start_watch(self) -> None:
        """Called where a message has to wait, and at the start of a response of several."""
        if self._watch is None:
            self._watch = _Watch(self)
        self._watch.waiting = True


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


class _Noticed:
    """An awaitable that calls ``on_wait`` if it has to wait, which most never do."""

    def __init__(self, awaitable: Awaitable[None], on_wait: Callable[[], None]) -> None:
        self._awaitable = awaitable
        self._on_wait = on_wait
        self.waited = False

    def __await__(self) -> Generator[Any, Any, None]:
        steps: Any = self._awaitable.__await__()
        try:
            step = next(steps)
        except StopIteration:
            return
        self.waited = True
        self._on_wait()
        # As "yield from" does (PEP 380), from the second step on.
        while True:
            try:
                yield step
            except BaseException as error:
                if not hasattr(steps, "throw"):
                    raise
                try:
                    step = steps.throw(error)
                except StopIteration:
                    return
            else:
                try:
                    step = next(steps)
                except StopIteration:
                    return


class _Watch:
    """Sees that the client goes, or takes nothing, while a response waits for it."""

    def __init__(self, connection: Connection) -> None:
        self.left = False
        self.sent = 0  # messages that the server took
        self.waiting = False  # is one of them waiting for the client?
        self._connection = connection
        self._cancelled = False
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        self._listener = self._loop.create_task(self._listen())
        self._looking: asyncio.Future[int | None] | None = None
        self._progress: object = None
        self._since = self._loop.time()
        self._interval = connection.send_timeout / 4
        self._timer = self._loop.call_later(self._interval, self._tick)

    def was_ours(self) -> bool:
        """Is the cancellation that just arrived our own, and no one else's besides?"""
        return self._cancelled and self._task is not None and self._task.uncancel() == 0

    def close(self) -> None:
        self._timer.cancel()
        self._listener.cancel()
        if self._looking is not None:
            self._looking.cancel()

    async def _listen(self) -> None:
        try:
            while (await self._connection.receive())["type"] != "http.disconnect":
                pass
        except Exception:  # some servers say so that nobody is there any more
            logger.debug("receive() failed", exc_info=True)
        self.left = True

    def _tick(self) -> None:
        """Every quarter of the timeout: has the client taken anything?"""
        self._timer = self._loop.call_later(self._interval, self._tick)
        if self._looking is None or self._looking.done():
            scope = self._connection.scope
            self._looking = self._loop.run_in_executor(
                None, peers.progress, scope.get("client"), scope.get("server")
            )
            self._looking.add_done_callback(self._looked)

    def _looked(self, looking: "asyncio.Future[int | None]") -> None:
        if looking.cancelled():
            return
        progress = (self.sent, looking.result() if looking.exception() is None else None)
        now = self._loop.time()
        if progress != self._progress or not self.waiting:
            self._progress = progress
            self._since = now
        elif now - self._since >= self._connection.send_timeout and not self._cancelled:
            self._cancelled = True
            if self._task is not None:
                self._task.cancel()
