"""
A connection that Daphne takes for idle, though its client has not yet taken everything.

Facts that this module rests on (Twisted 24.7 to 26.10):

- ``finish()`` starts the channel's time-out of 60 s though bytes are still waiting. Then a socket
  is closed as soon as it is writable. 15 s later it is reset, with all data that the kernel still
  had for it.
- Twisted closes a socket only when the kernel calls it writable.
"""

import asyncio
import contextlib
import weakref
from socket import SHUT_WR
from typing import Any

from .base import log_cut
from .peers import is_full, unsent, window
from .push_producer import LOOKS
from .twisted_transports import buffered_above, innermost, is_plain, progress_of

# A look comes well before the channel's time-out. Seconds.
_LONGEST_PAUSE = 10.0


def would_lose_data(transport: Any) -> bool:
    """Would the client lose data if the connection were idle from now on?

    Yes if the kernel's buffer is full. Over TLS also if that holds more than the client's kernel
    takes, because Twisted first waits for the client to close its side. No for a stream of HTTP/2:
    it has no transport, and other streams use its connection.
    """
    try:
        peer = innermost(transport).getHandle()
        return is_full(peer) if is_plain(transport) else unsent(peer) > (window(peer) or 0)
    except (AttributeError, OSError, ValueError):  # lost meanwhile, or no transport
        return False


def close_gracefully(transport: Any, path: str, reason: str) -> None:
    """Close the connection once the kernel has delivered everything, however long that takes.

    The kernel calls a socket writable at once if it is shut down.
    """
    log_cut(path, reason)
    with contextlib.suppress(OSError):
        innermost(transport).getHandle().shutdown(SHUT_WR)
    transport.loseConnection()


def watch(channel: Any, transport: Any, send_timeout: float, path: str) -> None:
    """See to it that the client takes a response that has ended. Nobody waits for that.

    It is cut off if it takes nothing for ``send_timeout`` seconds, and not before. ``path`` is for
    the log. A connection that is lost is let go at once, with what was still in its buffers: else
    clients that ask, leave and come again would pile that up until the next look.
    """
    if getattr(channel, "_media_asgi_watch", None) is not None:
        return
    loop = asyncio.get_running_loop()
    pause = min(send_timeout / LOOKS, _LONGEST_PAUSE)
    connection = weakref.ref(channel), weakref.ref(transport)

    def look(progress: object, since: float) -> None:
        channel, transport = (end() for end in connection)
        if channel is None or transport is None:
            return
        channel._media_asgi_watch = None
        is_connected = innermost(transport).connected
        left = buffered_above(transport) if is_connected else 0
        if not left and not would_lose_data(transport):
            return
        now, current = loop.time(), (left, progress_of(transport))
        if current != progress:
            progress, since = current, now
        elif now - since >= send_timeout:
            reason = f"the client took nothing for {send_timeout:g} s"
            if left:
                log_cut(path, reason)
                transport.abortConnection()
            else:
                close_gracefully(transport, path, reason)
            return
        channel.resetTimeout()
        channel._media_asgi_watch = loop.call_later(pause, look, progress, since)

    channel._media_asgi_watch = loop.call_later(pause, look, None, loop.time())


def unwatch(channel: Any) -> None:
    """A later response waits for the client itself, with all that is before it."""
    watch: asyncio.TimerHandle | None = getattr(channel, "_media_asgi_watch", None)
    if watch is not None:
        watch.cancel()
        channel._media_asgi_watch = None
