import asyncio
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from media_asgi.sources import guard, local
from media_asgi.sources.base import (
    WHOLE,
)
from media_asgi.sources.local import LocalSource
from media_asgi.sources.local_file import LocalFile
from media_asgi.sources.workers import Workers

from ..support import RESOLVERS, Clock, resolve_by
from .support import SECRET, THREADS, drop, resident


@pytest.fixture
def executor() -> Iterator[Workers]:
    with Workers(THREADS) as executor:
        yield executor


@pytest.fixture(params=RESOLVERS)
def resolver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    name: str = request.param
    resolve_by(name, monkeypatch)
    return name


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(local, "time", clock)
    monkeypatch.setattr(guard, "time", clock)
    return clock


@pytest.fixture
def media(tmp_path: Path) -> Path:
    root = tmp_path / "media"
    (root / "folder").mkdir(parents=True)
    (root / "a.txt").write_text("a")
    (root / "folder" / "b.txt").write_text("b")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "b.txt").write_bytes(SECRET)
    return root


@pytest.fixture(scope="module")
def _droppable(tmp_path_factory: pytest.TempPathFactory) -> None:
    if not hasattr(os, "posix_fadvise"):
        pytest.skip("no way to ask for it")
    path = tmp_path_factory.mktemp("probe") / "probe"
    path.write_bytes(bytes(10_000))
    drop(path)
    with open(path, "rb") as file:
        if resident(file.fileno()):
            pytest.skip("this file system is in memory")


@pytest.fixture
def cold(_droppable: None, tmp_path: Path) -> Path:
    """A file that the page cache doesn't hold."""
    path = tmp_path / "cold"
    path.write_bytes(os.urandom(1024 * 1024))
    drop(path)
    return path


@pytest.fixture
def file(media: Path, executor: Workers) -> Iterator[LocalFile]:
    (media / "digits").write_bytes(b"0123456789")
    # A fresh loop for each call, so that tests without a loop may use it.
    file = asyncio.run(LocalSource(str(media), executor).open(b"digits", WHOLE))
    yield file
    with contextlib.suppress(OSError):
        file.close()
