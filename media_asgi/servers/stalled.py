"""
Cuts off clients that take nothing of what a server's asyncio transport has for them.

``await send()`` does not return while such a client is waited for. After a small response nobody
waits: the server's own buffer took it. So one timer for each loop looks at all these transports. It
asks the kernel once for each of them, a few times within the time-out.
"""

import asyncio
import contextlib
import weakref
from dataclasses import dataclass
from typing import Any

from . import peers
from .base import log_cut

# Each client is looked at this many times in the time that it may take nothing.
_LOOKS = 8


@dataclass(eq=False, slots=True)
class Watched:
    """One client: how far it had come when it last took bytes, and when that was."""

    path: str
    is_active: bool
    """Is a response being sent? If not, the client is watched until it has taken everything."""
    since: float
    progress: object = None
    written: int = 0
    """Bytes that the transport was given by the response that is being sent."""
    is_cut: bool = False


class _Watch:
    """All clients of one loop that have the same time-out."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._clients: dict[asyncio.Transport, Watched] = {}

    def add(self, transport: asyncio.Transport, path: str, *, is_active: bool) -> Watched:
        loop = asyncio.get_running_loop()
        if not self._clients:
            loop.call_later(self._timeout / _LOOKS, self._look)
        known = self._clients.get(transport)
        if known is None:
            known = self._clients[transport] = Watched(path, is_active, loop.time())
        elif is_active:  # the next response: the client may be stalled since an earlier one
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
            # Closed. uvloop still tells the descriptor's number, which may be another
            # connection's by now. A TLS transport may still wait for the client to close; asyncio
            # has a time-out of its own for that.
            return True
        peer = transport.get_extra_info("socket")
        # The buffer of a TLS transport is empty once the transport below it has all of the data.
        if not left and not (is_tls(transport) and peers.is_full(peer)):
            client.since = now
            return not client.is_active
        progress = (peers.progress(peer), left, client.written)
        if progress != client.progress:
            client.progress, client.since = progress, now
            return False
        if now - client.since < self._timeout:
            return False
        client.is_cut = True
        log_cut(client.path, f"the client took nothing for {self._timeout:g} s")
        with contextlib.suppress(OSError):
            peers.reset_on_close(peer)
        transport.abort()
        return True


_watches: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[float, _Watch]] = (
    weakref.WeakKeyDictionary()
)


def watch(transport: asyncio.Transport, timeout: float, path: str, *, is_active: bool) -> Watched:
    """Cut the client of this transport off if it takes nothing for ``timeout`` seconds.

    The watch ends when the client has taken everything and no response is active. ``path`` is for
    the log.
    """
    watches = _watches.setdefault(asyncio.get_running_loop(), {})
    if timeout not in watches:
        watches[timeout] = _Watch(timeout)
    return watches[timeout].add(transport, path, is_active=is_active)


def is_tls(transport: Any) -> bool:
    """Does this transport encrypt? asyncio and uvloop have a type of its own for that."""
    kind = type(transport)
    known = _tls.get(kind)
    if known is None:
        known = _tls[kind] = transport.get_extra_info("ssl_object") is not None
    return known


_tls: dict[type, bool] = {}
