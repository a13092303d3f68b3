"""
Clients that take no byte of what a server's transport has for them: they are cut off.

Who waits for such a client doesn't come back (``await send()``), and for a small answer nobody
waits: the server's own buffer took all of it. So the transports are looked at, all of them at once
and on the loop itself: that is one question to the kernel for each, a few times in each time-out.
"""

import asyncio
import contextlib
import logging
import weakref
from typing import Any

from . import peers

logger = logging.getLogger("media_asgi")

# So often each client is looked at in the time in which it may take nothing.
_LOOKS = 8


class Watched:
    """One client: what it had taken, and since when that is so."""

    __slots__ = ("is_active", "path", "progress", "since", "written")

    def __init__(self, path: str, now: float, *, is_active: bool) -> None:
        self.path = path
        self.since = now
        self.progress: object = None
        self.written = 0
        """Bytes that the transport was given by the response that is being sent."""
        self.is_active = is_active
        """Is a response being sent? Otherwise it is watched until it has taken all."""


class _Watch:
    """All clients of one loop that have the same patience."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._clients: dict[asyncio.Transport, Watched] = {}

    def add(self, transport: asyncio.Transport, path: str, *, is_active: bool) -> Watched:
        loop = asyncio.get_running_loop()
        if not self._clients:
            loop.call_later(self._timeout / _LOOKS, self._look)
        known = self._clients.get(transport)
        if known is None:
            known = self._clients[transport] = Watched(path, loop.time(), is_active=is_active)
        elif is_active:  # the next answer; its client may be stalled since an earlier one
            known.path, known.is_active = path, True
        return known

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for transport, client in list(self._clients.items()):
            try:
                is_over = self._is_over(transport, client, now)
            except (OSError, ValueError, AttributeError, RuntimeError):  # closed meanwhile
                is_over = True
            if is_over:
                del self._clients[transport]
        if self._clients:
            loop.call_later(self._timeout / _LOOKS, self._look)

    def _is_over(self, transport: asyncio.Transport, client: Watched, now: float) -> bool:
        left = transport.get_write_buffer_size()
        if transport.is_closing() and not left:
            # Closed, and uvloop still tells its number, which may be another's. Over TLS it may
            # wait for the client's farewell, for which asyncio has a time-out of its own.
            return True
        peer = transport.get_extra_info("socket")
        # The buffer of TLS is empty when all is encrypted and in the buffer of the one below.
        if not left and not (is_tls(transport) and peers.is_full(peer)):
            client.since = now
            return not client.is_active
        progress = (peers.taken(peer), left, client.written)
        if progress != client.progress:
            client.progress, client.since = progress, now
            return False
        if now - client.since < self._timeout:
            return False
        log_cut(client.path, f"the client took nothing for {self._timeout:g} s")
        with contextlib.suppress(OSError):
            peers.reset_on_close(peer)
        transport.abort()
        return True


_watches: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[float, _Watch]] = (
    weakref.WeakKeyDictionary()
)


def watch(transport: asyncio.Transport, timeout: float, path: str, *, is_active: bool) -> Watched:
    """Cut the client of this transport off when it takes nothing for ``timeout`` seconds.

    That ends when it has taken all and is not ``is_active`` (or no more so). ``path`` is for the
    log.
    """
    watches = _watches.setdefault(asyncio.get_running_loop(), {})
    if timeout not in watches:
        watches[timeout] = _Watch(timeout)
    return watches[timeout].add(transport, path, is_active=is_active)


def log_cut(path: str, why: str) -> None:
    """Each connection that is cut is one line."""
    logger.warning("%r cut off: %s", path, why)


def is_tls(transport: Any) -> bool:
    """Does it encrypt? In asyncio and in uvloop those that do are of a type of their own."""
    kind = type(transport)
    known = _tls.get(kind)
    if known is None:
        known = _tls[kind] = transport.get_extra_info("ssl_object") is not None
    return known


_tls: dict[type, bool] = {}
