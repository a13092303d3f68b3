"""What the event loop's thread does by itself, and what it leaves to a worker."""

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from media_asgi.sources.base import (
    WHOLE,
    FileMissingError,
)
from media_asgi.sources.local import LocalSource
from media_asgi.sources.openat2 import KERNEL
from media_asgi.sources.workers import Workers

from ..support import RESOLVERS, Clock, Failing
from .support import drop, open_file, outcome

pytestmark = pytest.mark.anyio


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The calls that may wait for the disk, and were made on the test's own thread."""
    waited: list[str] = []

    def watch(owner: Any, name: str, waits: Callable[..., bool]) -> None:
        call = getattr(owner, name)

        def watching(*args: Any, **kwargs: Any) -> Any:
            if threading.current_thread() is threading.main_thread() and waits(*args):
                waited.append(f"{name}{args}")
            return call(*args, **kwargs)

        monkeypatch.setattr(owner, name, watching)

    for name in ("open", "stat", "lstat", "readlink", "read", "pread", "listdir", "scandir"):
        watch(os, name, lambda *args: True)
    watch(os, "preadv", lambda *args: len(args) < 4 or not args[3] & os.RWF_NOWAIT)
    watch(KERNEL, "open", lambda folder, name, flags, resolve: not resolve & 0x20)
    return waited


async def test_the_loop_does_not_wait_for_the_disk(
    cold: Path, resolver: str, executor: Workers, watched: list[str], clock: Clock
) -> None:
    content = cold.read_bytes()

    root = LocalSource(str(cold.parent), executor)
    for _ in range(3):
        file = await open_file(root, b"cold")
        assert watched == []
        drop(cold)
        assert not file.is_cached(0, 1000)
        # The kernel begins to read, and a fast disk may be done at once.
        assert file.read_nowait(0, 1000) in (None, content[:1000])
        assert await file._read(0, 1000) == content[:1000]
        assert file.read_nowait(0, 1000) == content[:1000]
        file.close()
        assert not isinstance(await outcome(root, b"nope"), bytes)
        assert watched == []
        clock.moment += 1


@pytest.mark.skipif(not KERNEL.cached, reason="no RESOLVE_CACHED")
async def test_a_look_at_a_root_whose_disk_fails_tells_nothing(
    media: Path, executor: Workers, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = LocalSource(str(media), executor)
    (await root.open(b"a.txt", WHOLE)).close()
    clock.moment += 1  # the root is looked at anew
    monkeypatch.setattr(os, "fstat", Failing(errno.EIO))
    assert root.version_nowait(b"a.txt") is None


@pytest.mark.skipif(not KERNEL.cached, reason="no RESOLVE_CACHED")
async def test_a_name_is_looked_at_by_one_call_only_soon_after_the_kernel_had_it(
    media: Path, executor: Workers, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = LocalSource(str(media), executor)
    (await root.open(b"a.txt", WHOLE)).close()
    opened: list[bytes] = []
    open_cached = KERNEL.open_cached

    def counted(folder: int, name: bytes, cached: Any) -> int:
        opened.append(name)
        return open_cached(folder, name, cached)

    monkeypatch.setattr(KERNEL, "open_cached", counted)

    def look(name: bytes) -> int:
        """How often the file is opened."""
        opened.clear()
        assert root.version_nowait(name) is not None
        return len(opened)

    assert [look(b"a.txt"), look(b"a.txt")] == [1, 0]
    clock.moment += 0.4
    assert look(b"a.txt") == 0
    clock.moment += 0.4
    assert look(b"a.txt") == 0, "the last look counts"
    clock.moment += 0.6
    assert [look(b"a.txt"), look(b"a.txt")] == [1, 0]
    assert [look(b"folder/b.txt"), look(b"folder/b.txt")] == [1, 1], "a folder may be a link"
    media.rename(media.with_name("before"))
    media.mkdir()
    (media / "a.txt").write_bytes(b"of another root")
    clock.moment += 0.45
    assert look(b"a.txt") == 0, "the root is still the old one"
    clock.moment += 0.2
    assert root.version_nowait(b"a.txt") is None, "a worker opens the new one"
    (await root.open(b"a.txt", WHOLE)).close()
    assert look(b"a.txt") == 1, "and its name may not be known"


@pytest.mark.skipif(not KERNEL.cached, reason="no RESOLVE_CACHED")
async def test_what_is_cached_is_opened_and_read_on_the_loop(
    media: Path, executor: Workers, clock: Clock
) -> None:
    async def main() -> None:
        root = LocalSource(str(media), executor)
        assert root.open_nowait(b"a.txt", WHOLE) is None  # nothing is known of the root yet
        assert await outcome(root, b"nope") == errno.ENOENT
        (await root.open(b"a.txt", WHOLE)).close()
        (await root.open(b"folder/b.txt", WHOLE)).close()
        for _ in range(3):
            for name, content in ((b"a.txt", b"a"), (b"folder/b.txt", b"b")):
                file = root.open_nowait(name, WHOLE)
                assert file is not None
                assert file.read_nowait(0, 10) == content
                file.close()
            with pytest.raises(FileMissingError):
                root.open_nowait(b"nope", WHOLE)
            with pytest.raises(FileMissingError):
                root.open_nowait(b"folder", WHOLE)
            clock.moment += 1  # the root is looked at anew, on the loop too

    with open(media / "a.txt", "rb") as file:
        if not KERNEL.is_local(file.fileno()):
            pytest.skip("this file system may ask a server")
    (await main())


@pytest.mark.skipif("openat2" not in RESOLVERS, reason="no openat2")
@pytest.mark.parametrize(
    ("error", "worker"), [(errno.EAGAIN, True), (errno.EXDEV, True), (errno.EMFILE, False)]
)
async def test_open_now_that_fails(
    error: int,
    worker: bool,
    media: Path,
    executor: Workers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        root = LocalSource(str(media), executor)
        (await root.open(b"a.txt", WHOLE)).close()
        monkeypatch.setattr(KERNEL, "is_local", lambda fd: True)
        (await root.open(b"a.txt", WHOLE)).close()
        monkeypatch.setattr(KERNEL, "open_cached", Failing(error))
        if worker:
            assert root.open_nowait(b"a.txt", WHOLE) is None
            assert await outcome(root, b"a.txt") == b"a"
        else:
            assert await outcome(root, b"a.txt") == error

    monkeypatch.setattr(KERNEL, "cached", True)
    (await main())


async def test_a_file_system_with_a_server_behind_it(
    media: Path, executor: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KERNEL, "is_local", lambda fd: False)

    root = LocalSource(str(media), executor)
    for _ in range(2):
        assert await outcome(root, b"a.txt") == b"a"
        assert root.open_nowait(b"a.txt", WHOLE) is None
