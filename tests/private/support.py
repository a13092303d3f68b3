"""What the tests of private media share: the project's folder, its servers, clients, a lookout."""

import contextlib
import ctypes
import os
import shutil
import struct
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self
from urllib.parse import quote_from_bytes, urlencode

import pytest

from ..support.client import Connection, Response
from ..support.servers import Server

# How each kind is started: the server, its options, and the project's environment.
KINDS: dict[str, tuple[str, dict[str, str], dict[str, str]]] = {
    "daphne": ("daphne", {}, {}),
    "uvicorn": ("uvicorn", {}, {}),
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


class Site:
    """The project's data, and a server in front of them."""

    def __init__(self, kind: str, server: Server, data: Path) -> None:
        self.kind = kind
        self.server = server
        self.data = data

    def put(self, name: str | bytes, data: bytes, *, age: float = 3600) -> str:
        """Makes a file beneath the data, modified so many seconds ago; its name, escaped."""
        path = os.path.join(os.fsencode(self.data), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
        modified = time.time() - age
        os.utime(path, (modified, modified))
        return quote_from_bytes(os.fsencode(name))

    def get(
        self,
        target: str | bytes,
        *headers: tuple[str, str],
        method: str = "GET",
        body: bytes = b"",
        **query: str | Sequence[str],
    ) -> Response:
        """One exchange on a connection of its own, with proof that it ends where it says."""
        with Connection(self.server) as client:
            headers = (*headers, ("Connection", "close"))
            client.request(with_query(target, **query), headers, method=method, body=body)
            response = client.response(method)
            assert client.ended()
        return response

    def logged(self, text: str, wait: float = 60) -> str:
        """Waits for the line of the server's log that holds this."""
        deadline = time.monotonic() + wait
        while True:
            for line in self.server.log.splitlines():
                if text in line:
                    return line
            assert time.monotonic() < deadline, f"{text!r} is not in the log"
            time.sleep(0.02)

    def browser(self, name: str = "") -> "Browser":
        browser = Browser(self)
        if name:
            assert browser.get("/log-in/", method="POST", name=name).status == 204
            assert "sessionid" in browser.cookies
        return browser


def with_query(target: str | bytes, **query: str | Sequence[str]) -> str | bytes:
    if not query:
        return target
    assert isinstance(target, str)
    return f"{target}?{urlencode(query, doseq=True)}"


class Browser:
    """Keeps its cookies."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.cookies: dict[str, str] = {}

    def get(
        self,
        target: str,
        *headers: tuple[str, str],
        method: str = "GET",
        **query: str | Sequence[str],
    ) -> Response:
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        own = [("Cookie", cookies)] if cookies else []
        response = self.site.get(target, *own, *headers, method=method, **query)
        for cookie in response.all("set-cookie"):
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        return response


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
        yield Site(kind, server, data)
