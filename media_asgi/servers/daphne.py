"""
Daphne: flow control, zero copy and the abrupt end, by Twisted's own interfaces.

Facts that this module rests on (Daphne 4.1 to 4.2, Twisted 24.7 to 26.10):

- ``send`` is ``functools.partial(server.handle_reply, request)`` and never waits. ``request`` is a
  ``twisted.web.http.Request``; what the client doesn't take piles up in its transport's buffer.
- A push producer that is registered on the request is paused whenever a write leaves more than
  64 KiB in that buffer, and resumed when the buffer is empty, over TLS too. On HTTP/2 a stream is
  paused for its own window alone, never for a full connection, so that its queue is looked at. A
  stream that has more in its queue than the windows let through spins (``_sendPrioritisedData``
  runs in every turn), and what is queued while they are shut is forgotten when they open.
- What is written is sent in the reactor's next turn, by ``doWrite`` (``IWriteDescriptor``). Called
  at once it saves that turn, and tells whether the client takes what it is given.
- ``finish()`` runs the next pipelined request though the buffer is full, and arms the channel's
  60 s timeout though bytes are still waiting: the last message waits until the buffer is empty, and
  until the kernel's has room. After that timeout a socket is closed as soon as it may be written
  to, and 15 s later reset, with all that the kernel still had for it.
- An exception after the response has started hangs the client, and stops Daphne's own reaper.
- ``--http-timeout`` calls ``finish()`` from outside, in the middle of a response, when so many
  seconds have gone since ``request.request_start``, however many bytes flow meanwhile. It is looked
  at every two seconds.
- ``request.channel`` is ``None`` after a loss, and no attribute at all after ``finish()``.
"""

import asyncio
import contextlib
import errno
import os
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from socket import SHUT_WR, SO_SNDBUF, SOL_SOCKET
from typing import Any

from django.utils.http import http_date

from ..sources.base import FileRegion, TruncatedFileError
from ..sources.descriptor import Descriptor
from ..types import Headers, Receive, Scope, Send
from .asgi import (
    MAX_KERNEL_BUFFER,
    WRITE_BUFFER_LIMIT,
    ClientDisconnected,
    ClientStalled,
    ResponseWriter,
)
from .peers import is_full, reset, taken, waiting
from .stalled import log_cut

# From here on sendfile(2) is worth its set-up: a duplicate of the socket and one message more.
SENDFILE_FROM = 128 * 1024

# So much a socket takes at once, where the client has acknowledged all that it was sent before: the
# kernel's buffer is that large from the start (net.ipv4.tcp_wmem), and then grows. SO_SNDBUF tells
# how large it is, its own overhead included, which is less than the data.
_ALWAYS_ROOM = 16 * 1024

# So much a client's kernel takes before the client reads.
_CLIENT_ROOM = 32 * 1024

# A head is about so long.
_HEAD = 512

# A call without a bound moved 586 MB and held the loop for 186 ms; 1 MiB holds it for about 1 ms
# and is as fast.
_SENDFILE_COUNT = 1024 * 1024

# Where nothing tells that a TLS or an HTTP/2 connection has drained, it is looked at: this many
# times in the loop's next turns, then after pauses of a share of the time that the client has taken
# nothing for, up to this many seconds.
_TURNS, _SHARE, _LONGEST_PAUSE = 20, 1 / 8, 0.5

# sendfile's answers that mean that nobody is there to send to. At any other the file is read, which
# tells whether it is the file's fault, or the call's own: not for this file system (EINVAL), beyond
# 2 GiB (EOVERFLOW), no memory (ENOMEM). Errors that the file may have as well as the socket, such
# as ETIMEDOUT, are not among them.
_NO_PEER = frozenset(
    {
        errno.EPIPE,
        errno.ECONNRESET,
        errno.ECONNABORTED,
        errno.ENOTCONN,
        errno.ESHUTDOWN,
    }
)

_known: dict[type, bool] = {}


def is_request(candidate: Any) -> bool:
    """Is this a request of Twisted's?"""
    kind = type(candidate)
    known = _known.get(kind)
    if known is None:
        known = _known[kind] = all(
            callable(getattr(kind, name, None))
            for name in ("registerProducer", "unregisterProducer", "notifyFinish", "write")
        )
    return known


def root_path(scope: Scope, send: Send) -> str:
    """The mount point that the server, or an application around us, has set.

    Daphne's ``scope["root_path"]`` is the client's: it takes the request's header
    ``Daphne-Root-Path``, empty or not, for its own option. Only that option counts, and nothing
    where it is out of reach because something has wrapped ``send``.
    """
    if type(send) is partial and len(send.args) == 1 and is_request(send.args[0]):
        return getattr(getattr(send.args[0], "server", None), "root_path", None) or ""
    given: str = scope.get("root_path") or ""
    return "" if given and is_running() else given


def is_running() -> bool:
    """Is it Daphne that serves here?"""
    # "daphne" may be an installed app, and another server run: only Daphne runs this loop.
    loop = getattr(sys.modules.get("daphne.server"), "twisted_loop", None)
    return loop is not None and loop is asyncio.get_running_loop()


class DaphneResponseWriter(ResponseWriter):
    """One response; also the push producer that Twisted pauses and resumes (``IPushProducer``)."""

    _written = _finished = _ending = _registered = False
    _sent = 0  # bytes of the body, without those of sendfile
    _wake: asyncio.Future[None] | None = None
    _peer: Descriptor | None = None
    _limit: float | None = None  # --http-timeout
    _begun = 0.0  # when Daphne got the request

    def __init__(self, scope: Scope, receive: Receive, send: Send, send_timeout: float) -> None:
        self.scope = scope
        self.send = send
        self.send_timeout = send_timeout
        self._request = request = send.args[0]  # type: ignore[attr-defined]
        self._channel: Any = getattr(request, "channel", None)
        self._lost = self._channel is None  # the client has gone, or Daphne has answered by itself
        # On HTTP/2 the channel is a stream, whose transport is None.
        self._transport: Any = getattr(self._channel, "transport", None)
        self._plain = _is_plain(self._transport)

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        if self._lost:
            return
        send = self.send
        is_sure = self._plain and self._takes_at_once(len(body))
        await send({"type": "http.response.start", "status": status, "headers": [*headers, _now()]})
        if is_sure:
            # The ordinary hit. The reactor sends it in its next turn, with those of other clients.
            await send({"type": "http.response.body", "body": body})
            return
        self._channel._media_asgi_room = 0
        self._watch_clock()
        try:
            if not self._plain:
                self._register()
            await self.write(body)
            await self.end()
        except ClientDisconnected as gone:
            await self.give_up(gone)
        except BaseException:
            await self.abort()
            raise
        finally:
            self.close()

    async def begin(self, status: int, headers: Headers) -> None:
        if self._lost:
            raise ClientDisconnected
        self._channel._media_asgi_room = 0
        self._register()
        self._watch_clock()
        await self.send(
            {"type": "http.response.start", "status": status, "headers": [*headers, _now()]}
        )

    async def write(self, data: bytes) -> None:
        if self._sent:
            self._register()
            await asyncio.sleep(0)  # others get their turn
        if self._transport is None:
            while len(data) > (room := self._room()):
                if room > 0:
                    await self._write(data[:room])
                    data = data[room:]
                await self._until(lambda: self._room() > 0, _LONGEST_PAUSE)
        await self._write(data)

    async def _write(self, data: bytes) -> None:
        if self._lost:
            raise ClientDisconnected
        self._sent += len(data)
        await self.send({"type": "http.response.body", "body": data, "more_body": True})
        await self._drain()
        self._restart_clock()

    def chunk_size(self, size: int) -> int:
        # Each one is waited for until it has left; meanwhile TLS has it twice, encrypted and not.
        if self._plain or self._sent >= MAX_KERNEL_BUFFER:
            return size
        return min(size, WRITE_BUFFER_LIMIT)

    async def send_region(self, region: FileRegion) -> int:
        if not self._plain or region.stop - region.start < SENDFILE_FROM:
            return 0
        if not hasattr(os, "sendfile"):
            return 0
        # With no data this writes the head, if that is still to come. Only when it has left
        # Twisted's buffer, behind the answers to earlier pipelined requests, may the file follow.
        await self._write(b"")
        self._register()
        if self._peer is None:  # one for all ranges of the response
            try:
                self._peer = Descriptor(os.dup(self._transport.getHandle().fileno()))
            except OSError:  # no descriptor left
                return 0
        return await self._sendfile(region, self._peer)

    async def end(self) -> None:
        await self._drain()
        self._written = True
        if self._is_kept():
            try:
                await self._until(lambda: self._finished or not self._is_kept(), _LONGEST_PAUSE)
            except ClientDisconnected as gone:
                if self._lost:
                    raise
                self._leave(str(gone))
        self._ending = True
        self._unregister()
        if self._limit:
            self._request.request_start = self._begun  # the access log tells how long it took
        await self.send({"type": "http.response.body", "body": b""})
        self._restart_clock()  # Daphne looks at it until it has let go of the request

    async def abort(self) -> None:
        if not self._lost:
            self._cut()

    def close(self) -> None:
        self._unregister()
        if self._peer is not None:
            self._peer.close()
            self._peer = None

    def _cut(self) -> None:
        self._lost = True
        self._unregister()
        if self._peer is not None:
            # A worker may still be in sendfile on the duplicate, for as long as the disk takes,
            # and while that is open an abort alone ends nothing.
            with contextlib.suppress(OSError):
                reset(self._transport.getHandle())
            self.close()
        if self._transport is not None:
            self._transport.abortConnection()
            return
        # HTTP/2: resets the stream, of which Daphne isn't told.
        self._channel.abortConnection()
        if not self._finished:
            from twisted.internet.error import ConnectionAborted
            from twisted.python.failure import Failure

            self._request.connectionLost(Failure(ConnectionAborted()))  # type: ignore[no-untyped-call]

    def _is_kept(self) -> bool:
        """Would the client lose what the kernel has for it, were the connection idle from now on?

        Where the buffer is full; on TLS, where Twisted first waits for the client's own farewell,
        also where it is not empty, unless all of the answer is less than any client has room for.
        Not asked on HTTP/2, where it is for other streams too.
        """
        if self._lost or self._transport is None:
            return False
        try:
            peer = _innermost(self._transport).getHandle()
            if self._plain:
                return is_full(peer)
            return self._sent > _CLIENT_ROOM and waiting(peer) > 0
        except (AttributeError, OSError, ValueError):  # lost meanwhile
            return False

    def _leave(self, why: str) -> None:
        """Close the connection once the kernel has delivered all; that needs no patience of ours.

        Twisted closes a socket only when the kernel tells that it may be written to, which it does
        for one that is shut down.
        """
        log_cut(self.scope["path"], why)
        with contextlib.suppress(OSError):
            _innermost(self._transport).getHandle().shutdown(SHUT_WR)
        self._transport.loseConnection()

    # --http-timeout: it counts the time in which the client takes nothing.

    def _watch_clock(self) -> None:
        request = self._request
        self._limit = getattr(getattr(request, "server", None), "http_timeout", None)
        self._begun = getattr(request, "request_start", 0.0)

    def _restart_clock(self) -> None:
        if self._limit:
            self._request.request_start = time.time()

    # IPushProducer

    def pauseProducing(self) -> None:  # noqa: N802
        """Twisted's buffer is full. It is looked at after each write anyway."""

    def resumeProducing(self) -> None:  # noqa: N802
        self._awake()

    def stopProducing(self) -> None:  # noqa: N802
        self._on_loss()

    def _register(self) -> None:
        """To be called before others get a turn. Raises ``ClientDisconnected``."""
        if self._registered:
            return
        request = self._request
        if getattr(request, "channel", None) is None:
            self._lost = True
        if self._lost:
            raise ClientDisconnected
        request.notifyFinish().addCallbacks(self._on_finish, self._on_loss)
        request.registerProducer(self, True)
        self._registered = True

    def _unregister(self) -> None:
        if self._registered:
            self._registered = False
            if getattr(self._request, "channel", None) is not None:
                self._request.unregisterProducer()

    def _on_loss(self, _: object = None) -> None:
        self._lost = True
        self._awake()

    def _on_finish(self, _: object = None) -> None:
        if self._ending or self._lost:
            return
        # Somebody else (--http-timeout) called it: nothing of ours may follow, which the client
        # would take for the next response, and no next response may stand in for what is missing.
        self._finished = True
        why = "the server's own time-out (--http-timeout) ended it"
        if self._written:
            self._leave(why)
        else:
            log_cut(self.scope["path"], why)
            self._cut()
        self._awake()

    def _awake(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    # Waiting

    async def _drain(self) -> None:
        """Wait until what was written has left Twisted's buffers. Raises ``ClientDisconnected``."""
        if not (self._plain and self._flush()):
            await self._until(self._is_drained, None if self._plain else _LONGEST_PAUSE)

    def _takes_at_once(self, count: int) -> bool:
        """Will the socket take so many bytes for sure? On a plain transport."""
        transport = self._transport
        if _waiting(transport):
            return False
        count += _HEAD
        channel = self._channel
        # What is left of the room that was found when all before it had arrived. To look costs more
        # than any other step of a small answer, and most clients ask for many, one by one.
        room: int = getattr(channel, "_media_asgi_room", 0)
        if count > room:
            try:
                peer = transport.getHandle()
                if waiting(peer):
                    return False
                room = max(_ALWAYS_ROOM, peer.getsockopt(SOL_SOCKET, SO_SNDBUF) // 2)
            except (AttributeError, OSError):  # lost meanwhile, or no such question here
                return False
            if count > room:
                return False
        channel._media_asgi_room = room - count
        return True

    def _flush(self) -> bool:
        """Send what the client will take, and say whether that is all. On a plain transport."""
        transport = self._transport
        left = _waiting(transport)
        # Told to close, it does so in the reactor's own call, once all is sent.
        if transport.connected and not transport.disconnecting:
            before = -1
            while left and left != before:
                before = left
                # An error shows again in the reactor's call, which then ends the connection.
                transport.doWrite()
                left = _waiting(transport)
        return not left

    def _is_drained(self) -> bool:
        if self._transport is None:
            return not self._queued()
        if not _waiting(self._transport):
            return True
        if self._plain:
            # As Twisted does above 64 KiB: the channel, and so we, are resumed when all has left.
            self._transport.producerPaused = True
        return False

    # HTTP/2, whose connection and queues are private: without them, one write follows another.

    def _queued(self) -> int:
        """Bytes in the stream's own queue."""
        connection = getattr(self._channel, "_conn", None)
        queues = getattr(connection, "_outboundStreamQueues", {})
        return _length(queues.get(getattr(self._channel, "streamID", None), ()))

    def _room(self) -> int:
        """Bytes that the windows let through, beyond those that all streams have queued."""
        connection = getattr(self._channel, "_conn", None)
        queues = getattr(connection, "_outboundStreamQueues", {})
        try:
            window: int = connection.conn.local_flow_control_window(self._channel.streamID)  # type: ignore[union-attr]
        except Exception:  # h2's own, where the stream has been closed
            return sys.maxsize
        return window - sum(map(_length, queues.values()))

    async def _until(self, ready: Callable[[], bool], longest: float | None) -> None:
        """Wait until ``ready()``; asked when something happens, and after ``longest`` s at most.

        Raises ``ClientDisconnected`` where the client goes, or takes no byte for ``send_timeout``.
        """
        self._register()
        loop = asyncio.get_running_loop()
        progress, since, looks = self._progress(), loop.time(), 0
        now = since
        while not ready():
            if self._lost:
                raise ClientDisconnected
            pause = min(self.send_timeout, self._limit or self.send_timeout) / 8
            if longest is not None:
                looks += 1
                quick = 0.0 if looks <= _TURNS else max((now - since) * _SHARE, 0.001)
                pause = min(pause, longest, quick)
            self._wake = loop.create_future()
            timer = loop.call_later(pause, self._awake)
            try:
                await self._wake
            finally:
                timer.cancel()
                self._wake = None
            now = loop.time()
            if (current := self._progress()) != progress:
                progress, since, looks = current, now, 0
                self._restart_clock()
            elif now - since >= self.send_timeout:
                raise ClientStalled(f"the client took nothing for {self.send_timeout:g} s")
        if self._lost:
            raise ClientDisconnected

    def _progress(self) -> object:
        """What changes when the client takes bytes."""
        if self._lost:
            return None
        transport = self._transport
        if transport is None:
            queued = self._queued(), self._room()
            connection = getattr(self._channel, "_conn", None)
            if getattr(connection, "_consumerBlocked", None) is None:
                return queued  # it is the windows that are waited for
            transport = getattr(connection, "transport", None)
        else:
            queued = _waiting(transport), 0
        try:
            return queued, taken(_innermost(transport).getHandle())
        except (AttributeError, OSError):
            return queued

    async def _sendfile(self, region: FileRegion, peer: Descriptor) -> int:
        offset = region.start
        while offset < region.stop:
            if self._lost:
                raise ClientDisconnected
            count = min(region.stop - offset, _SENDFILE_COUNT)
            try:
                sent = await region.sendfile(peer, offset, count)
            except BlockingIOError:
                await self._writable(peer.fd)
                continue
            except OSError as error:
                if error.errno in _NO_PEER:
                    raise ClientDisconnected from error
                break
            if not sent:
                raise TruncatedFileError(offset)
            offset += sent
            # What Daphne's access log tells.
            self._request.sentLength += sent
            self._restart_clock()
            await asyncio.sleep(0)  # others get their turn
        return offset - region.start

    async def _writable(self, fd: int) -> None:
        loop = asyncio.get_running_loop()
        is_writable = False

        def note() -> None:
            nonlocal is_writable
            is_writable = True
            loop.remove_writer(fd)
            self._awake()

        loop.add_writer(fd, note)
        try:
            await self._until(lambda: is_writable, None)
        finally:
            loop.remove_writer(fd)


_date: tuple[int, tuple[bytes, bytes]] = (0, (b"date", b""))


def _now() -> tuple[bytes, bytes]:
    """``Date``, which Daphne doesn't add (RFC 9110 section 6.6.1 asks for it)."""
    global _date
    now = int(time.time())
    if _date[0] != now:
        _date = (now, (b"date", http_date(now).encode("ascii")))
    return _date[1]


_plain_types: tuple[type, ...] = ()


def _is_plain(transport: Any) -> bool:
    """Is this a TCP or Unix socket beyond doubt, with nothing that encrypts or frames before it?

    A wrapper lends the inner transport's attributes, and a mistake would be plain text inside TLS.
    """
    global _plain_types
    if not _plain_types and transport is not None:
        from twisted.internet import tcp

        _plain_types = (tcp.Server,)
        with contextlib.suppress(ImportError):  # Windows
            from twisted.internet import unix

            _plain_types = (tcp.Server, unix.Server)
    return type(transport) in _plain_types and transport.TLS is False


def _innermost(transport: Any) -> Any:
    from twisted.protocols.policies import ProtocolWrapper

    while isinstance(transport, ProtocolWrapper):
        transport = transport.transport
    return transport


def _length(queue: Iterable[object]) -> int:
    return sum(len(chunk) for chunk in queue if isinstance(chunk, bytes))


def _waiting(transport: Any) -> int:
    """Bytes, or so, in a transport's buffers: private names in part, so none of them is relied on.

    TLS keeps what is written in one turn to encrypt it at once, and more while it shakes hands.
    """
    left: int = len(getattr(transport, "dataBuffer", b"")) - getattr(transport, "offset", 0)
    left += getattr(transport, "_tempDataLen", 0)
    if type(transport) not in _plain_types:
        aggregator = getattr(transport, "_aggregator", None)
        left += len(getattr(aggregator, "_buffer", ()))
        left += len(getattr(transport, "_appSendBuffer", ()))
    return left
