"""What the tests of private media share: the project's folder, its servers, clients, a lookout."""

import contextlib
import ctypes
import os
import shutil
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import pytest

from ..support.servers import Server
from ..support.site import Browser, Site

# How each kind is started: the server, its options, and the project's environment.
KINDS: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {
    "daphne": ("daphne", {}, {}),
    "uvicorn": ("uvicorn", {}, {}),
    "daphne-listening": ("daphne", {}, {"PRIVATE_LISTEN": "1", "PRIVATE_RESPONSES": "1"}),
    # Beneath a script name, and what else differs: fewer servers to start.
    "daphne-mounted": ("daphne", {"root_path": "/app"}, {"PRIVATE_BACKEND": "xsendfile"}),
    "uvicorn-mounted": ("uvicorn", {"root_path": "/app"}, {"PRIVATE_BACKEND": "xsendfile"}),
    "daphne-forced": (
        "daphne",
        {},
        {"PRIVATE_SCRIPT_NAME": "/app", "PRIVATE_RESOLVER": "portable"},
    ),
}
BOTH = ("daphne", "uvicorn")


def on(*kinds: str, slow: Sequence[str] = ()) -> pytest.MarkDecorator:
    """The test runs on each of these, with a `site` that is shared; on some at leisure only."""
    return pytest.mark.parametrize(
        "site",
        # Servers of one kind share a worker, so that none is started twice.
        [
            pytest.param(
                kind,
                marks=[
                    pytest.mark.xdist_group(f"private-{kind.partition('-')[0]}"),
                    *[pytest.mark.slow] * (kind in slow),
                ],
            )
            for kind in (*kinds, *slow)
        ],
        indirect=True,
    )


def browser_of(site: Site, name: str) -> Browser:
    """A browser with the session of a user of the project, or of nobody."""
    browser = Browser(site)
    if name:
        assert browser.get("/log-in/", method="POST", name=name).status == 204
        assert "sessionid" in browser.cookies
    return browser


class Lookout:
    """Sees, with inotify(7), which names in a folder anyone opens."""

    _OPEN = 0x20

    def __init__(self, folder: Path) -> None:
        self._folder = os.fsencode(folder)

    def __enter__(self) -> Self:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert self._fd >= 0
        assert libc.inotify_add_watch(self._fd, self._folder, self._OPEN) >= 0
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._fd)

    @property
    def opened(self) -> set[str]:
        """The names that were opened since it was last asked."""
        names = set()
        with contextlib.suppress(BlockingIOError):
            while events := os.read(self._fd, 1 << 16):
                while events:
                    (length,) = struct.unpack_from("12xI", events)
                    names.add(os.fsdecode(events[16 : 16 + length].rstrip(b"\0")))
                    events = events[16 + length :]
        return names - {""}  # the folder itself


@contextlib.contextmanager
def serve(kind: str, prepared: Path, data: Path) -> Iterator[Site]:
    name, options, env = KINDS[kind]
    shutil.copytree(prepared, data)
    settings = {
        "DJANGO_SETTINGS_MODULE": "tests.private.project.settings",
        "PRIVATE_DATA": str(data),
    }
    with Server(
        name, "tests.private.project.asgi:application", env={**settings, **env}, **options
    ) as server:
        yield Site(server, data, kind=kind, url="/")
