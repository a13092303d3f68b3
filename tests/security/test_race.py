"""Races: while names turn into links that lead out, no request gets a byte from out there."""

import asyncio
import contextlib
import itertools
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from media_asgi.sources import openat2
from media_asgi.sources.base import WHOLE, FileMissingError, SourceError
from media_asgi.sources.local import LocalSource
from media_asgi.sources.workers import Workers

from ..support.client import Connection, Truncated
from ..support.servers import ROOT, Server, media
from . import naive, swapper

pytestmark = pytest.mark.anyio

SECONDS = float(os.environ.get("RACE_SECONDS", "20"))
REQUESTS = int(os.environ.get("RACE_REQUESTS", "0"))
"""At least so many, where they are made in one process: CI has no hour for a million."""

EXPECTED = {
    name: swapper.content(swapper.PUBLIC, large=large) for name, large in swapper.NAMES.items()
}


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A root whose names are swapped for as long as the test lasts."""
    root = swapper.lay(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.security.swapper", str(root)], cwd=ROOT
    )
    try:
        yield root
        assert process.poll() is None, "nothing was swapped any more"
    finally:
        process.kill()
        process.wait()


def attack(server: Server, seconds: float, clients: int = 4) -> Counter[str]:
    """What all these names gave, asked for again and again by several clients at once."""
    deadline = time.monotonic() + seconds
    seen: Counter[str] = Counter()
    lock = threading.Lock()

    def ask(first: int) -> None:
        names = itertools.cycle([*EXPECTED][first:] + [*EXPECTED][:first])
        mine: Counter[str] = Counter()
        client = Connection(server)
        try:
            while time.monotonic() < deadline:
                name = next(names)
                try:
                    response = client.get(f"/media/{name}")
                except Truncated:
                    mine["cut"] += 1
                    client.close()
                    client = Connection(server)
                    continue
                if b"SECRET" in response.body:
                    mine["leak"] += 1
                elif response.status == 200:
                    mine["public" if response.body == EXPECTED[name] else "wrong"] += 1
                else:
                    mine[str(response.status)] += 1
        finally:
            client.close()
            with lock:
                seen.update(mine)

    with ThreadPoolExecutor(clients) as threads:
        for asking in [threads.submit(ask, number * 3) for number in range(clients)]:
            asking.result()
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("resolver", ["media", "portable"])
@pytest.mark.parametrize("name", ["daphne", "granian"])
def test_nothing_from_outside_is_served(name: str, resolver: str, root: Path) -> None:
    application = f"tests.apps.{resolver}:application"
    env = media({"url": "/media/", "root": root})
    with Server(name, application, env=env) as server:
        seen = attack(server, SECONDS)
        print(name, resolver, dict(seen))
        assert not seen["leak"], seen
        # Both sides of the swaps were met, and nothing else: no error, no half of a file.
        assert min(seen["public"], seen["404"]) > 100, seen
        # A name that was renamed again and again while it was looked up: later.
        assert set(seen) <= {"leak", "public", "404", "503"}, (seen, server.log[-2000:])
        assert seen["503"] < sum(seen.values()) / 100


@pytest.mark.slow
def test_the_attack_succeeds_where_a_path_is_resolved_and_then_opened(root: Path) -> None:
    """The control: were this to fail, the test above would prove nothing."""
    env = media({"url": "/media/", "root": root}) | {"RESOLVE_THEN_OPEN": "1"}
    with Server("daphne", "tests.security.naive:application", env=env) as server:
        seen: Counter[str] = Counter()
        deadline = time.monotonic() + SECONDS
        while not seen["leak"]:
            assert time.monotonic() < deadline, f"no leak: {seen}"
            seen += attack(server, 1)


async def _open_all(root: LocalSource, enough: Callable[[int], bool]) -> Counter[str]:
    seen: Counter[str] = Counter()
    for number, name in enumerate(itertools.cycle(EXPECTED)):
        if enough(number):
            return seen
        encoded = name.encode()
        try:
            file = root.open_nowait(encoded, WHOLE) or await root.open(encoded, WHOLE)
        except SourceError as error:
            seen[type(error).__name__] += 1
            continue
        try:
            start = os.pread(file.fd, 64, 0)
        finally:
            file.close()
        seen["leak" if b"SECRET" in start else "public"] += 1
    raise AssertionError("unreachable")


@pytest.mark.slow
@pytest.mark.parametrize("resolver", ["openat2", "portable", "naive"])
async def test_nothing_from_outside_is_opened(
    resolver: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same without servers in between, and so a hundred times as often."""
    if resolver == "openat2":
        assert openat2.KERNEL.openat2
    else:
        monkeypatch.setattr(openat2.KERNEL, "openat2", False)
        monkeypatch.setattr(openat2.KERNEL, "cached", False)
    if resolver == "naive":
        monkeypatch.setattr(LocalSource, "_resolve", naive._resolve_then_open)
    deadline = time.monotonic() + (SECONDS if resolver != "naive" else 5)
    count = REQUESTS if resolver != "naive" else 0

    def enough(number: int) -> bool:
        return number >= count and time.monotonic() > deadline

    with Workers(2) as executor:
        seen = await _open_all(LocalSource(str(root), executor), enough)
    print(resolver, sum(seen.values()), dict(seen))
    assert seen["public"] > 100
    assert bool(seen["leak"]) is (resolver == "naive"), seen


@contextlib.contextmanager
def _special(root: Path) -> Iterator[list[str]]:
    """Every kind of thing that is no regular file, by name."""
    os.mkfifo(root / "fifo")
    (root / "folder").mkdir()
    (root / "to-fifo").symlink_to("fifo")
    (root / "to-folder").symlink_to("folder")
    (root / "loop").symlink_to("loop")
    (root / "dangling").symlink_to("nothing")
    (root / "to-null").symlink_to("/dev/null")
    (root / "to-zero").symlink_to("/dev/zero")
    (root / "to-stdin").symlink_to("/proc/self/fd/0")
    (root / "to-environ").symlink_to("/proc/self/environ")
    (root / "to-root").symlink_to("/proc/self/root")
    names = [path.name for path in root.iterdir()] + ["to-root/etc/passwd"]
    for kind, number in (("char", os.makedev(1, 5)), ("block", os.makedev(7, 0))):
        mode = stat.S_IFCHR if kind == "char" else stat.S_IFBLK
        with contextlib.suppress(PermissionError):  # not as an ordinary user
            os.mknod(root / kind, mode | 0o666, number)
            names.append(kind)
    with socket.socket(socket.AF_UNIX) as listener:
        folder = os.open(root, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{folder}/socket")
        os.close(folder)
        yield [*names, "socket"]


@pytest.mark.parametrize("resolver", ["openat2", "portable", "any link"])
async def test_what_is_no_regular_file_is_not_opened_and_not_waited_for(
    resolver: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if resolver == "portable":
        monkeypatch.setattr(openat2.KERNEL, "openat2", False)
        monkeypatch.setattr(openat2.KERNEL, "cached", False)
    options: dict[str, Any] = {"follow_symlinks": resolver == "any link"}

    async def ask(names: list[str], root: LocalSource) -> None:
        for name in names * 2:  # the second time by the descriptor that the first has left
            if resolver == "any link" and name in ("to-environ", "to-root/etc/passwd"):
                continue  # regular files, and asked for
            async with asyncio.timeout(60):
                with pytest.raises(FileMissingError):
                    root.open_nowait(name.encode(), WHOLE) or await root.open(name.encode(), WHOLE)

    with _special(tmp_path) as names, Workers(1) as executor:
        await ask(names, LocalSource(str(tmp_path), executor, **options))


async def test_links_of_proc_lead_nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Magic links are no paths, and stay "beneath" by name only."""
    (tmp_path / "file").write_text("open")

    async def ask(root: LocalSource, fd: int) -> None:
        for name in (f"fd/{fd}", "exe", "root/etc/passwd", "cwd/pyproject.toml"):
            with pytest.raises(FileMissingError):
                root.open_nowait(name.encode(), WHOLE) or await root.open(name.encode(), WHOLE)

    with Workers(1) as executor, open(tmp_path / "file") as file:
        for has_openat2 in (True, False):
            monkeypatch.setattr(openat2.KERNEL, "openat2", has_openat2)
            await ask(LocalSource("/proc/self", executor), file.fileno())
