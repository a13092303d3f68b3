"""The same, with what it must not be: a path that is resolved, looked at, and then opened."""

import errno
import os
from typing import Any

from media_asgi.sources import local, openat2


def _resolve_then_open(self: Any, folder: Any, name: bytes) -> int:
    root = os.path.realpath(self.path)
    path = os.path.realpath(os.path.join(root, name))
    if not path.startswith(root + b"/"):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), name)
    return os.open(path, openat2.FLAGS)


def install() -> None:
    openat2.KERNEL.openat2 = openat2.KERNEL.cached = False
    local.LocalSource._resolve = _resolve_then_open  # type: ignore[method-assign]


if "RESOLVE_THEN_OPEN" in os.environ:
    install()
    from tests.apps.media import application

    __all__ = ["application"]
