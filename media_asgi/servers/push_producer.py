"""
Waiting for the client of one response, by Twisted's interface of a push producer.

Facts that this module rests on (Daphne 4.1 to 4.2, Twisted 24.7 to 26.10):

- A push producer that is registered on the request is paused whenever a write leaves more than
  64 KiB in the transport's buffer. It is resumed when the buffer is empty, over TLS too.
- ``--http-timeout`` calls ``finish()`` from outside, in the middle of a response, when that many
  seconds have passed since ``request.request_start``. Daphne looks every two seconds. It does not
  matter how many bytes flow meanwhile, so ``request_start`` is set to now whenever the client takes
  bytes.
- ``request.channel`` is ``None`` after a loss. After ``finish()`` the attribute does not exist.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from .base import ClientDisconnectedError, ClientStalledError

# While nothing tells that a TLS or an HTTP/2 connection has drained, it is looked at: this many
# times in the loop's next turns, and then after pauses. A pause is this share of the time since the
# client took bytes, up to this many seconds.
_TURNS, _SHARE, LONGEST_PAUSE = 20, 1 / 8, 0.5

# The client is looked at this often within send_timeout, even if nothing happens.
LOOKS = 8


class PushProducer:
    """One response; the push producer that Twisted pauses and resumes (``IPushProducer``)."""

    _is_registered = _is_finishing = False
    _wake: asyncio.Future[None] | None = None
    _http_timeout: float | None = None
    _request_start = 0.0

    def __init__(self, request: Any, send_timeout: float) -> None:
        self._request = request
        self._send_timeout = send_timeout
        self._channel: Any = getattr(request, "channel", None)
        # The client has gone, or Daphne has answered by itself.
        self._is_lost = self._channel is None

    def _progress(self) -> object:
        """A value that changes when the client takes bytes."""
        raise NotImplementedError

    def _finished_by_server(self) -> None:
        """Daphne has called ``finish()`` in the middle of the response."""
        raise NotImplementedError

    def _register(self) -> None:
        """Call this before others get a turn. Raises ``ClientDisconnectedError``."""
        if self._is_registered:
            return
        request = self._request
        if getattr(request, "channel", None) is None:
            self._is_lost = True
        if self._is_lost:
            raise ClientDisconnectedError
        request.notifyFinish().addCallbacks(self._on_finish, self._on_loss)
        request.registerProducer(self, True)
        self._is_registered = True

    def _unregister(self) -> None:
        if self._is_registered:
            self._is_registered = False
            if getattr(self._request, "channel", None) is not None:
                self._request.unregisterProducer()

    def pauseProducing(self) -> None:  # noqa: N802
        """Twisted's buffer is full. Nothing to do: it is looked at after each write."""

    def resumeProducing(self) -> None:  # noqa: N802
        self._wake_up()

    def stopProducing(self) -> None:  # noqa: N802
        self._on_loss()

    def _on_loss(self, _: object = None) -> None:
        self._is_lost = True
        self._wake_up()

    def _on_finish(self, _: object = None) -> None:
        if not self._is_finishing and not self._is_lost:
            self._finished_by_server()
            self._wake_up()

    def _wake_up(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _start_clock(self) -> None:
        request = self._request
        self._http_timeout = getattr(getattr(request, "server", None), "http_timeout", None)
        self._request_start = getattr(request, "request_start", 0.0)

    def _restart_clock(self) -> None:
        if self._http_timeout:
            self._request.request_start = time.time()

    def _reset_clock(self) -> None:
        """Let the access log tell how long the response took."""
        if self._http_timeout:
            self._request.request_start = self._request_start

    async def _wait_until(self, ready: Callable[[], bool], longest_pause: float | None) -> None:
        """Wait until ``ready()``. It is asked when something happens, and after each pause.

        Raises ``ClientDisconnectedError`` if the client goes, and ``ClientStalledError`` if it
        takes nothing for ``send_timeout`` seconds.
        """
        self._register()
        loop = asyncio.get_running_loop()
        progress, since, looks = self._progress(), loop.time(), 0
        now = since
        while not ready():
            if self._is_lost:
                raise ClientDisconnectedError
            pause = min(self._send_timeout, self._http_timeout or self._send_timeout) / LOOKS
            if longest_pause is not None:
                looks += 1
                quick = 0.0 if looks <= _TURNS else max((now - since) * _SHARE, 0.001)
                pause = min(pause, longest_pause, quick)
            await self._sleep(pause)
            now = loop.time()
            if (current := self._progress()) != progress:
                progress, since, looks = current, now, 0
                self._restart_clock()
            elif now - since >= self._send_timeout:
                raise ClientStalledError(f"the client took nothing for {self._send_timeout:g} s")
        if self._is_lost:
            raise ClientDisconnectedError

    async def _sleep(self, seconds: float) -> None:
        """Wait until something happens, ``seconds`` at most."""
        loop = asyncio.get_running_loop()
        self._wake = loop.create_future()
        timer = loop.call_later(seconds, self._wake_up)
        try:
            await self._wake
        finally:
            timer.cancel()
            self._wake = None
