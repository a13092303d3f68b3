"""
A descriptor that calls in worker threads use, and that is closed after the last of them.
"""

import contextlib
import os
import threading
from concurrent.futures import Executor


class Descriptor:
    """A descriptor that is closed only after every call that uses it has ended.

    A call in a worker thread can't be cancelled. Were the descriptor closed under it, its number
    could be another client's by the time the call looks at it.
    """

    __slots__ = ("_closer", "_lock", "_users", "fd")

    def __init__(self, fd: int, closer: Executor | None = None) -> None:
        self.fd = fd
        self._users = 1
        self._lock = threading.Lock()
        self._closer = closer

    def close(self, _: object = None) -> None:
        """Give up one use. The last one closes. The owner calls it once."""
        with self._lock:
            self._users -= 1
            last = self._users == 0
        if last:
            close(self.fd, self._closer)

    def hold(self) -> None:
        """Take one more use. ``close`` gives it up."""
        with self._lock:
            self._users += 1


def close(fd: int, closer: Executor | None) -> None:
    """Close a descriptor; in a worker if ``closer`` is given.

    On FUSE and NFS close(2) waits for the daemon or the server.
    """
    if closer is not None:
        with contextlib.suppress(OSError, RuntimeError):  # refused: the call never runs
            closer.submit(os.close, fd)
            return
    os.close(fd)
