"""
The ASGI extension ``http.response.pathsend``: the server opens the file by a name, and sends it.

By its own name the file would be opened a second time, after the source has checked the first one:
a file that was swapped in between would be served. So the name is ``/proc/self/fd/N``, which is the
file that was opened. granian's ``send`` returns before granian opens the name, and nothing tells
when it has. So N is kept for a fixed time. Then N is turned to ``/dev/null`` for the same time,
before it is closed and can become another file: a server that was stopped for a while opens
``/dev/null``, and not another client's file.

On granian this is 3 to 5 times as fast as sending chunks.
"""

import asyncio
import collections
import os
import sys
import time

# A descriptor is kept for so many seconds for the server to open.
_KEPT = 10.0

# At most one in so many of the process' descriptors is leased. Above that, files go out in chunks.
_SHARE = 4

# Each descriptor with the time at which it is quarantined, or closed.
_leased: collections.deque[tuple[float, int]] = collections.deque()
_quarantined: collections.deque[tuple[float, int]] = collections.deque()


def lease(fd: int) -> str | None:
    """A name under which the open file ``fd`` can be opened for ``_KEPT`` seconds.

    ``None`` if this system has no such name, or if no descriptor can be spared.
    """
    if not sys.platform.startswith("linux"):
        return None
    _reclaim()
    try:
        if len(_leased) + len(_quarantined) >= _limit():
            return None
        number = os.dup(fd)
    except OSError:
        return None
    _leased.append((time.monotonic() + _KEPT, number))
    loop = asyncio.get_running_loop()
    loop.call_later(_KEPT + 0.1, _reclaim)
    loop.call_later(2 * _KEPT + 0.2, _reclaim)
    return f"/proc/self/fd/{number}"


def _limit() -> int:
    import resource

    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return soft // _SHARE if soft != resource.RLIM_INFINITY else 4096


def _reclaim() -> None:
    now = time.monotonic()
    while _quarantined and _quarantined[0][0] <= now:
        os.close(_quarantined.popleft()[1])
    if not _leased or _leased[0][0] > now:
        return
    try:
        null = os.open(os.devnull, os.O_RDONLY)
    except OSError:  # no descriptor left: the next call may have one
        asyncio.get_running_loop().call_later(1, _reclaim)
        return
    try:
        while _leased and _leased[0][0] <= now:
            number = _leased.popleft()[1]
            os.dup2(null, number, inheritable=False)
            _quarantined.append((now + _KEPT, number))
    finally:
        os.close(null)
