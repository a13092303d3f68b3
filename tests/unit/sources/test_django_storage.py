import asyncio
import io
import threading
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.exceptions import SuspiciousFileOperation
from django.core.files.base import ContentFile, File
from django.core.files.storage import InMemoryStorage, Storage

from media_asgi.sources.base import (
    WHOLE,
    FileMissingError,
    FileReadError,
    SourceBusyError,
    SourceError,
    SourceUnreachableError,
    TruncatedFileError,
)
from media_asgi.sources.django_storage import StorageSource

DATA = bytes(range(256)) * 4000


class Opened(File):  # type: ignore[type-arg]
    """A file that counts what is read, and may not seek."""

    def __init__(self, data: bytes, *, seeks: bool, size: int | None = None) -> None:
        self.content = io.BytesIO(data)
        super().__init__(self.content, "a.bin")
        self.seeks = seeks
        self.size = len(data) if size is None else size
        self.largest = 0
        self.done = threading.Event()

    def seekable(self) -> bool:
        return self.seeks

    def seek(self, start: int) -> int:  # type: ignore[override]
        assert self.seeks
        return int(self.content.seek(start))

    def read(self, size: int) -> bytes:  # type: ignore[override]
        self.largest = max(self.largest, size)
        return bytes(self.content.read(size))

    def close(self) -> None:
        self.done.set()


class Simple(Storage):
    def __init__(self, file: Any, modified: Any = None) -> None:
        self.file = file
        self.modified = modified

    def _open(self, name: str, mode: str = "rb") -> Any:
        if isinstance(self.file, Exception):
            raise self.file
        return self.file

    def get_modified_time(self, name: str) -> datetime:
        return self.modified or super().get_modified_time(name)


async def read(file: Any, start: int, stop: int) -> bytes:
    async with aclosing(file.stream(start, stop, lambda: 50_000)) as chunks:
        return b"".join([chunk async for chunk in chunks])


@pytest.mark.parametrize("seeks", [True, False])
def test_a_file_is_read_in_chunks_and_closed(seeks: bool) -> None:
    opened = Opened(DATA, seeks=seeks)
    modified = datetime(2026, 1, 2, tzinfo=UTC)

    async def run() -> None:
        file = await StorageSource(Simple(opened, modified)).open(b"a.bin", WHOLE)
        assert file.info.size == len(DATA)
        assert file.info.modified == int(modified.timestamp()) * 10**9
        assert file.info.etag is None
        assert file.info.has_ranges is seeks
        assert await read(file, 0, len(DATA)) == DATA
        if seeks:
            assert await read(file, 1000, 5000) == DATA[1000:5000]
        file.close()
        assert await asyncio.to_thread(opened.done.wait, 30)

    asyncio.run(run())
    assert opened.largest == 50_000


def test_a_file_without_a_date_has_a_tag_of_its_own_each_time() -> None:
    async def run() -> set[Any]:
        source = StorageSource(Simple(Opened(DATA, seeks=True)))
        infos = [(await source.open(b"a", WHOLE)).info for _ in range(2)]
        assert {info.modified for info in infos} == {None}
        return {(info.etag, info.version) for info in infos}

    assert len(asyncio.run(run())) == 2


@pytest.mark.parametrize(
    ("raised", "error"),
    [
        (FileNotFoundError(), FileMissingError),
        (IsADirectoryError(), FileMissingError),
        (SuspiciousFileOperation(), FileMissingError),
        (PermissionError("x"), SourceUnreachableError),
        (RuntimeError("the password is secret"), SourceUnreachableError),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_what_a_storage_raises(raised: Exception, error: type[SourceError]) -> None:
    with pytest.raises(SourceError) as caught:
        asyncio.run(StorageSource(Simple(raised)).open(b"a", WHOLE))
    assert type(caught.value) is error


def test_a_name_that_is_no_text_is_missing() -> None:
    with pytest.raises(FileMissingError):
        asyncio.run(StorageSource(Simple(Opened(b"", seeks=True))).open(b"\xff", WHOLE))


def test_a_file_that_fails_or_ends_early_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(opened: Opened) -> None:
        file = await StorageSource(Simple(opened)).open(b"a", WHOLE)
        await read(file, 0, file.info.size)

    with pytest.raises(TruncatedFileError):
        asyncio.run(run(Opened(b"x" * 100, seeks=True, size=200)))
    failing = Opened(b"x", seeks=True)
    failing.content.close()
    with pytest.raises(FileReadError):
        asyncio.run(run(failing))


def test_djangos_own_storage_in_memory() -> None:
    storage = InMemoryStorage()
    storage.save("folder/a.bin", ContentFile(DATA))

    async def run() -> None:
        source = StorageSource(storage)
        file = await source.open(b"folder/a.bin", WHOLE)
        assert await read(file, 100, 500_000) == DATA[100:500_000]
        for name in (b"folder", b"missing", b"../a"):
            with pytest.raises(FileMissingError):
                await source.open(name, WHOLE)

    asyncio.run(run())


def test_a_file_that_is_opened_for_a_client_who_has_left_is_closed() -> None:
    opened = Opened(DATA, seeks=True)
    begun, leave = threading.Event(), threading.Event()

    class Slow(Simple):
        def _open(self, name: str, mode: str = "rb") -> Any:
            begun.set()
            assert leave.wait(60)
            return opened

    async def run(source: StorageSource) -> None:
        waiting = asyncio.ensure_future(source.open(b"a", WHOLE))
        assert await asyncio.to_thread(begun.wait, 60)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert not opened.done.is_set()
        leave.set()
        assert await asyncio.to_thread(opened.done.wait, 60)

    asyncio.run(run(StorageSource(Slow(None))))


def test_a_read_that_gives_more_than_was_asked_for_is_cut() -> None:
    class Greedy(Opened):
        def read(self, size: int) -> bytes:  # type: ignore[override]
            return self.content.read()

    async def run(*, seeks: bool) -> bytes:
        file = await StorageSource(Simple(Greedy(DATA, seeks=seeks))).open(b"a", WHOLE)
        return await read(file, 0, 70_000)

    assert asyncio.run(run(seeks=True)) == DATA[:70_000]
    with pytest.raises(FileReadError):
        asyncio.run(run(seeks=False))


@pytest.mark.parametrize("text", ["a text", "ä text"])
def test_a_file_of_text_cannot_be_read(text: str) -> None:
    async def run() -> None:
        file = await StorageSource(Simple(ContentFile(text))).open(b"a", WHOLE)
        await read(file, 0, file.info.size)

    with pytest.raises(FileReadError):
        asyncio.run(run())


@pytest.mark.parametrize("size", [None, -1, "5"])
def test_a_file_whose_size_is_none_cannot_be_opened(size: Any) -> None:
    opened = Opened(DATA, seeks=True)
    opened.size = size
    with pytest.raises(SourceUnreachableError, match="size"):
        asyncio.run(StorageSource(Simple(opened)).open(b"a", WHOLE))
    assert opened.done.is_set()


def test_bytes_of_an_old_version_never_have_the_date_of_the_next() -> None:
    """A client who had them under the next one's tag would keep them for ever."""
    versions = [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2)]

    class Replaced(Simple):
        def _open(self, name: str, mode: str = "rb") -> Any:
            opened = Opened(DATA, seeks=True)
            self.modified = versions[1]
            return opened

    file = asyncio.run(StorageSource(Replaced(None, versions[0])).open(b"a", WHOLE))
    assert file.info.modified == int(versions[0].timestamp()) * 10**9


def test_a_storage_whose_date_of_a_missing_file_is_an_error_of_its_own() -> None:
    class Remote(Simple):
        def get_modified_time(self, name: str) -> datetime:
            raise RuntimeError("404 of the store")

    with pytest.raises(FileMissingError):
        asyncio.run(StorageSource(Remote(FileNotFoundError())).open(b"a", WHOLE))
    with pytest.raises(SourceUnreachableError):
        asyncio.run(StorageSource(Remote(Opened(DATA, seeks=True))).open(b"a", WHOLE))


def test_a_storage_without_a_thread_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(SourceBusyError):
        asyncio.run(StorageSource(Simple(Opened(DATA, seeks=True))).open(b"a", WHOLE))
