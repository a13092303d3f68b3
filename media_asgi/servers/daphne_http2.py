"""
Daphne over HTTP/2: one response is one stream of a connection.

Facts that this module rests on (Twisted 24.7 to 26.10):

- ``request.channel`` is the stream (``H2Stream``). Its ``transport`` is ``None``, and its ``_conn``
  is the connection (``H2Connection``).
- What is written waits in the stream's queue, a deque in ``_outboundStreamQueues``. Twisted pauses
  a stream when the stream's own window is used up, but not when the connection's window is, or when
  the connection's transport is full. So the queue is looked at.
- A stream that has more in its queue than the windows let through makes the loop spin
  (``_sendPrioritisedData`` runs in every turn). What is queued while the windows are shut is
  forgotten when they open. So no more is written than the windows let through.
- ``_consumerBlocked`` is set while the connection's transport is full.
- ``abortConnection()`` of a stream resets it, but does not tell Daphne.
"""

import sys
from collections.abc import Iterable

from .daphne import DaphneResponseWriter
from .push_producer import LONGEST_PAUSE
from .twisted_transports import HTTP2_NAMES, has_names, progress_of


class DaphneHTTP2ResponseWriter(DaphneResponseWriter):
    """One response on a stream."""

    async def write(self, data: bytes) -> None:
        while len(data) > (window := self._window()):
            if window > 0:
                await super().write(data[:window])
                data = data[window:]
            await self._wait_until(lambda: self._window() > 0, LONGEST_PAUSE)
        await super().write(data)

    def _window(self) -> int:
        """Bytes that the windows let through, beyond those that all streams have queued."""
        if not self._has_names():
            return sys.maxsize
        connection = self._channel._conn
        try:
            window: int = connection.conn.local_flow_control_window(self._channel.streamID)
        except Exception:  # h2's own, if the stream has been closed
            return sys.maxsize
        return window - sum(map(_length, connection._outboundStreamQueues.values()))

    def _queued(self) -> int:
        """Bytes in the stream's own queue."""
        if not self._has_names():
            return 0
        queues = self._channel._conn._outboundStreamQueues
        return _length(queues.get(self._channel.streamID, ()))

    def _has_names(self) -> bool:
        return has_names(self._channel, "HTTP/2", HTTP2_NAMES)

    def _is_drained(self) -> bool:
        return not self._queued()

    def _progress(self) -> object:
        if self._is_lost or not self._has_names():
            return None
        connection = self._channel._conn
        is_blocked = connection._consumerBlocked is not None
        # If the transport has room, the windows are waited for, and the socket tells nothing.
        socket = progress_of(connection.transport) if is_blocked else None
        return self._queued(), self._window(), socket

    def _abort_transport(self) -> None:
        self._channel.abortConnection()
        if not self._is_ended_by_server:
            from twisted.internet.error import ConnectionAborted
            from twisted.python.failure import Failure

            self._request.connectionLost(Failure(ConnectionAborted()))


def _length(queue: Iterable[object]) -> int:
    """Bytes in a queue. Its last item may be a mark for the end of the stream."""
    return sum(len(chunk) for chunk in queue if isinstance(chunk, bytes))
