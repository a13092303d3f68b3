"""
Daphne over HTTP/1.1: flow control, zero copy and the abrupt end, by Twisted's own interfaces.

Facts that this module rests on (Daphne 4.1 to 4.2, Twisted 24.7 to 26.10):

- ``send`` is ``functools.partial(server.handle_reply, request)`` and never waits. ``request`` is a
  ``twisted.web.http.Request``. What the client doesn't take piles up in its transport's buffer.
- What is written is sent in the reactor's next turn, by ``doWrite`` (``IWriteDescriptor``). Calling
  it at once saves that turn, and tells whether the client takes the data.
- ``finish()`` runs the next pipelined request though the buffer is full. So the last message waits
  until Twisted's buffer is empty and the kernel's has room (``daphne_idle``).
- An exception after the response has started hangs the client, and stops Daphne's own reaper.
"""

import asyncio
import contextlib
import errno
import os
from typing import Any

from ..sources.base import FileRegion, TruncatedFileError
from ..sources.descriptor import Descriptor
from ..types import Headers, Scope, Send
from . import daphne_idle
from .base import (
    MAX_KERNEL_BUFFER,
    WRITE_BUFFER_LIMIT,
    ClientDisconnectedError,
    Ending,
    abort_on,
    log_cut,
)
from .daphne_fields import date_field, joined_fields
from .peers import reset
from .push_producer import LONGEST_PAUSE, PushProducer
from .turns import next_turn
from .twisted_transports import (
    below_tls,
    buffered,
    buffered_above,
    encrypt,
    flush,
    is_encrypted,
    is_plain,
    progress_of,
    room,
)

# sendfile(2) costs a duplicate of the socket and one more message. From this size on it pays.
SENDFILE_FROM = 128 * 1024

# About the length of a response's head, and what TLS adds to it and to a body of a few records.
_HEAD_SIZE, _TLS_HEAD_SIZE = 512, 2048

# A body that may be sent before the client has room for it. Each client that reads nothing holds
# this much more.
_AT_ONCE = 128 * 1024

# Errors of sendfile which mean that the client has gone. After any other the file is read, which
# tells whether the file is at fault. The others are sendfile's own (EINVAL: not for this file
# system, EOVERFLOW: beyond 2 GiB, ENOMEM), or both the file and the socket may have them
# (ETIMEDOUT).
_CLIENT_GONE = frozenset(
    {errno.EPIPE, errno.ECONNRESET, errno.ECONNABORTED, errno.ENOTCONN, errno.ESHUTDOWN}
)


class DaphneResponseWriter(PushProducer):
    """One response over TCP, a Unix socket or TLS."""

    is_cut = _is_written = _is_ended_by_server = False
    _sent = 0  # bytes of the body, without those of sendfile
    _socket: Descriptor | None = None  # a duplicate of the client's, for sendfile

    def __init__(self, scope: Scope, send: Send, request: Any, send_timeout: float) -> None:
        super().__init__(request, send_timeout)
        self.scope = scope
        self._send = send
        self._transport: Any = getattr(self._channel, "transport", None)
        self._is_plain = is_plain(self._transport)
        # The plain socket that everything goes out by, if it is certain which one that is.
        self._plain: Any = self._transport if self._is_plain else below_tls(self._transport)

    async def send(self, status: int, headers: Headers, body: bytes) -> Ending:
        if self._is_lost:
            return "left"
        is_idle = self._has_empty_buffers()
        fits = is_idle and self._fits_in_socket(len(body))
        await self._send_head(status, headers)
        if fits or (is_idle and len(body) <= _AT_ONCE):
            # The ordinary hit. The reactor sends it in its next turn, with those of other clients.
            await self._send({"type": "http.response.body", "body": body})
            if not fits:
                channel, path = self._channel, self.scope["path"]
                channel._media_asgi_room = 0
                daphne_idle.watch(channel, self._transport, self._send_timeout, path)
            return "complete"
        self._start_clock()
        try:
            if not self._is_plain:
                self._register()
            await self.write(body)
            await self.finish()
        except ClientDisconnectedError as error:
            await abort_on(error, self)
            return "left"
        except BaseException:
            await self.abort()
            raise
        finally:
            self.close()
        return "complete"

    def _start_clock(self) -> None:
        super()._start_clock()
        self._channel._media_asgi_room = 0
        daphne_idle.unwatch(self._channel)

    async def start(self, status: int, headers: Headers) -> None:
        if self._is_lost:
            raise ClientDisconnectedError
        self._register()
        self._start_clock()
        await self._send_head(status, headers)

    async def _send_head(self, status: int, headers: Headers) -> None:
        date = date_field()
        joined = joined_fields(self._request, headers, date[1])
        if joined is not None:
            self._request.responseHeaders = joined
            headers = []
        else:
            headers = [*headers, date]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, data: bytes) -> None:
        if self._sent:
            self._register()
            await next_turn(len(data))
        if self._is_lost:
            raise ClientDisconnectedError
        self._sent += len(data)
        await self._send({"type": "http.response.body", "body": data, "more_body": True})
        await self._drain()
        self._restart_clock()

    def chunk_size(self, size: int) -> int:
        # Each chunk is waited for until it has left. Until then TLS holds it twice, as plain text
        # and encrypted.
        if self._is_plain or self._sent >= MAX_KERNEL_BUFFER:
            return size
        return min(size, WRITE_BUFFER_LIMIT)

    async def send_region(self, region: FileRegion) -> int:
        if not self._is_plain or region.stop - region.start < SENDFILE_FROM:
            return 0
        if not hasattr(os, "sendfile"):
            return 0
        # Without data this writes the head, if that is still to come. The file may follow only when
        # the head has left Twisted's buffer, and with it the responses to earlier requests.
        await self.write(b"")
        self._register()
        if self._socket is None:  # one for all ranges of the response
            try:
                self._socket = Descriptor(os.dup(self._transport.getHandle().fileno()))
            except OSError:  # no descriptor left
                return 0
        return await self._sendfile(region, self._socket)

    async def finish(self) -> None:
        await self._drain()
        self._is_written = True
        if daphne_idle.would_lose_data(self._transport):
            try:
                await self._wait_until(self._is_delivered, LONGEST_PAUSE)
            except ClientDisconnectedError as error:
                if self._is_lost:
                    raise
                daphne_idle.close_gracefully(self._transport, self.scope["path"], str(error))
        self._is_finishing = True
        self._unregister()
        self._reset_clock()
        await self._send({"type": "http.response.body", "body": b""})
        self._restart_clock()  # Daphne looks at it until it has let go of the request

    async def abort(self) -> None:
        if not self._is_lost:
            self._abort()

    def close(self) -> None:
        self._unregister()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _abort(self) -> None:
        self._is_lost = True
        self._unregister()
        if self._socket is not None:
            # A worker may still be in sendfile on the duplicate, for as long as the disk takes.
            # While the duplicate is open, an abort alone doesn't end the connection.
            with contextlib.suppress(OSError):
                reset(self._transport.getHandle())
            self.close()
        self._abort_transport()

    def _abort_transport(self) -> None:
        self._transport.abortConnection()

    def _finished_by_server(self) -> None:
        # Nothing of ours may follow: the client would take it for the next response. And the next
        # response must not stand in for the missing bytes of this one.
        self._is_ended_by_server = True
        reason = "the server's own time-out (--http-timeout) ended it"
        if self._is_written:
            daphne_idle.close_gracefully(self._transport, self.scope["path"], reason)
        else:
            self.is_cut = True
            log_cut(self.scope["path"], reason)
            self._abort()

    async def _drain(self) -> None:
        """Wait until what was written has left Twisted's buffers.

        Raises ``ClientDisconnectedError``.
        """
        if not self._flush():
            await self._wait_until(self._is_drained, None if self._is_plain else LONGEST_PAUSE)

    def _flush(self) -> bool:
        """Send at once as much as the socket takes. Was that everything?"""
        if self._plain is None:
            return False
        if not self._is_plain:
            encrypt(self._transport)
        return flush(self._plain) and (self._is_plain or is_encrypted(self._transport))

    def _has_empty_buffers(self) -> bool:
        """Has everything left Twisted's buffers? ``False`` if nothing tells."""
        plain = self._plain
        if plain is None or buffered(plain):
            return False
        return self._is_plain or is_encrypted(self._transport)

    def _fits_in_socket(self, count: int) -> bool:
        """Will the socket certainly take this many bytes at once, and over TLS also the client?"""
        plain, is_tls = self._plain, not self._is_plain
        count += _TLS_HEAD_SIZE if is_tls else _HEAD_SIZE
        channel = self._channel
        # What is left of the room at the last look, since most clients send several requests on a
        # connection.
        left: int = getattr(channel, "_media_asgi_room", 0)
        if count > left and count > (left := room(plain, for_client=is_tls)):
            return False
        channel._media_asgi_room = left - count
        return True

    def _is_delivered(self) -> bool:
        if self._is_lost or self._is_ended_by_server:
            return True
        return not daphne_idle.would_lose_data(self._transport)

    def _is_drained(self) -> bool:
        transport = self._transport
        if self._is_lost:  # its names may be gone too
            return True
        if not self._is_plain:
            return not buffered_above(transport)
        if not buffered(transport):
            return True
        # As Twisted does above 64 KiB: it resumes the channel, and so us, when the buffer is empty.
        transport.producerPaused = True
        return False

    def _progress(self) -> object:
        if self._is_lost:
            return None
        transport = self._transport
        left = buffered(transport) if self._is_plain else buffered_above(transport)
        return left, progress_of(transport)

    async def _sendfile(self, region: FileRegion, peer: Descriptor) -> int:
        offset = region.start
        while offset < region.stop:
            if self._is_lost:
                raise ClientDisconnectedError
            try:
                sent = await region.sendfile(peer, offset, region.stop - offset)
            except BlockingIOError:
                await self._writable(peer.fd)
                continue
            except OSError as error:
                if error.errno in _CLIENT_GONE:
                    raise ClientDisconnectedError from error
                break
            if not sent:
                raise TruncatedFileError(offset)
            offset += sent
            # Daphne's access log tells this number.
            self._request.sentLength += sent
            self._restart_clock()
            await next_turn(sent)
        return offset - region.start

    async def _writable(self, fd: int) -> None:
        loop = asyncio.get_running_loop()
        is_writable = False

        def note() -> None:
            nonlocal is_writable
            is_writable = True
            loop.remove_writer(fd)
            self._wake_up()

        loop.add_writer(fd, note)
        try:
            await self._wait_until(lambda: is_writable, None)
        finally:
            loop.remove_writer(fd)
