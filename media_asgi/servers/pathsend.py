"""
``http.response.pathsend``: the server opens the file by a name, and sends it by itself.

By its own name the file would be opened a second time, after the kernel has vouched for the first:
a swap in between would be served. So the name is ``/proc/self/fd/N``, of the descriptor that was
opened. granian's ``send`` returns before its own open, and nothing tells when that has happened, so
that N is kept for a stated time; and then, for as long again, turned to ``/dev/null`` before it is
closed and can be another's: a server that was stopped for a while opens that, and not another
client's file.
"""

import asyncio
import collections
import os
import sys
import time

# Seconds for which a descriptor is kept for the server to open.
_KEPT = 10.0

# Of the process' descriptors, so much may be lent: above it, files are sent the ordinary way.
_SHARE = 4

# Each with the time from which on it may be taken back, or closed.
_leased: collections.deque[tuple[float, int]] = collections.deque()
_quarantined: collections.deque[tuple[float, int]] = collections.deque()


def lend(fd: int) -> str | None:
    """A name under which the open file ``fd`` can be opened for ``_KEPT`` seconds.

    ``None`` where there is no such name, or no descriptor to spare for it.
    """
    if not sys.platform.startswith("linux"):
        return None
    _take_back()
    try:
        if len(_leased) + len(_quarantined) >= _limit():
            return None
        number = os.dup(fd)
    except OSError:
        return None
    _leased.append((time.monotonic() + _KEPT, number))
    loop = asyncio.get_running_loop()
    loop.call_later(_KEPT + 0.1, _take_back)
    loop.call_later(2 * _KEPT + 0.2, _take_back)
    return f"/proc/self/fd/{number}"


def _limit() -> int:
    import resource

    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return soft // _SHARE if soft != resource.RLIM_INFINITY else 4096


def _take_back() -> None:
    now = time.monotonic()
    while _quarantined and _quarantined[0][0] <= now:
        os.close(_quarantined.popleft()[1])
    if not _leased or _leased[0][0] > now:
        return
    try:
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # no descriptor left: the next call may have one
        asyncio.get_running_loop().call_later(1, _take_back)
        return
    try:
        while _leased and _leased[0][0] <= now:
            number = _leased.popleft()[1]
            os.dup2(null, number, inheritable=False)
            _quarantined.append((now + _KEPT, number))
    finally:
        os.close(null)
