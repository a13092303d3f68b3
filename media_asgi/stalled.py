"""
Clients that take no byte of what a server has been given: they are cut off.

Nobody waits for these answers any more, since the server took all of them: a file that it opens
itself (``http.response.pathsend``), or a last message that its own buffer holds.
"""

import asyncio
import contextlib
from typing import Any, NamedTuple

from . import peers

# The ``client`` and the ``server`` of an ASGI scope, as they are: to read the addresses takes a
# quarter of the time of an answer.
Pair = tuple[Any, Any]


class _Seen(NamedTuple):
    taken: int
    """Bytes that the client took, or so."""
    is_full: bool
    """Does the kernel take no more for it? What it has room for it has been given."""


class _Watch:
    """Looks at all of them at once, four times in each timeout."""

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout: float) -> None:
        self._loop = loop
        self._timeout = timeout
        self._clients: dict[Pair, tuple[int | None, float]] = {}

    def add(self, client: Pair) -> None:
        if not self._clients:
            self._loop.call_later(self._timeout / 4, self._tick)
        self._clients.setdefault(client, (None, self._loop.time()))

    def _tick(self) -> None:
        looking = self._loop.run_in_executor(None, _look, frozenset(self._clients))
        looking.add_done_callback(self._looked)

    def _looked(self, looking: "asyncio.Future[dict[Pair, _Seen]]") -> None:
        if looking.cancelled() or looking.exception() is not None:
            self._clients.clear()
            return
        found = looking.result()
        now = self._loop.time()
        for client, (before, since) in list(self._clients.items()):
            seen = found.get(client)
            if seen is None:  # gone
                del self._clients[client]
            elif seen.taken != before:
                self._clients[client] = (seen.taken, now)
            elif not seen.is_full:  # and so it has all
                del self._clients[client]
            elif now - since >= self._timeout:
                del self._clients[client]
                self._loop.run_in_executor(None, peers.cut, *client)
        if self._clients:
            self._loop.call_later(self._timeout / 4, self._tick)


_watches: dict[tuple[int, float], _Watch] = {}


def watch(client: Any, server: Any, timeout: float) -> None:
    """Cut this client off when it takes no byte for ``timeout`` seconds of what is sent to it.

    ``client`` and ``server`` are those of its ASGI scope.
    """
    try:
        pair = tuple(client), tuple(server)
        hash(pair)
    except TypeError:  # no addresses
        return
    loop = asyncio.get_running_loop()
    key = (id(loop), timeout)
    if key not in _watches:
        _watches[key] = _Watch(loop, timeout)
    _watches[key].add(pair)


def _look(clients: frozenset[Pair]) -> dict[Pair, _Seen]:
    wanted = {ends: client for client in clients if (ends := peers.ends(*client))}
    found = {}
    for ends, peer in peers.find(wanted):
        with contextlib.suppress(OSError):
            found[wanted[ends]] = _Seen(peers.taken(peer), peers.is_full(peer))
    return found
