"""The middleware in a process that can start no thread for the disk until `/__threads_again__`."""

import threading

from . import apps
from .apps import media

__all__ = ["media"]

_start = threading.Thread.start
is_full = True


def start(self: threading.Thread) -> None:
    if is_full and self.name.startswith("media-asgi"):
        raise RuntimeError("can't start new thread")
    _start(self)


def again() -> bool:
    global is_full
    is_full = False
    return True


threading.Thread.start = start  # type: ignore[method-assign]
apps.told["/__threads_again__"] = again
