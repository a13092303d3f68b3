# ruff: noqa: ASYNC110 - files are what the tests are about, and nobody else waits
import asyncio
import contextlib
import errno
import fcntl
import os
import shutil
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from media_asgi import Location, MediaMiddleware, signing
from media_asgi.assembly import Assembly
from media_asgi.sources import cache_folder, disk_cache
from media_asgi.sources.base import (
    NOTHING,
    WHOLE,
    FileMissingError,
    SourceFile,
    SourceTimeoutError,
    SourceUnreachableError,
    Wanted,
)
from media_asgi.sources.cache_folder import CacheFolder
from media_asgi.sources.disk_cache import DiskCache, DiskCacheSource
from media_asgi.sources.local_file import LocalFile
from media_asgi.sources.memory_cache import MemoryCache
from media_asgi.sources.workers import Workers

from ..support import Clock, Failing, asked, opened_files
from .store import Object, Store

NAME = b"a/picture.jpg"
CONTENT = bytes(range(256)) * 1024

NOBODY = 65534


class Cache:
    """A cache before a store, as the handler uses it."""

    def __init__(self, folder: Path, store: Store | None = None, **options: Any) -> None:
        is_immutable = options.pop("is_immutable", lambda name: False)
        self.folder = folder
        self.store = store or Store()
        self.workers = Workers(4, str(folder))
        options = {"max_size": 2**30} | options
        self.source = DiskCacheSource(
            self.store, DiskCache(folder, **options), self.workers, is_immutable
        )

    async def open(self, name: bytes = NAME, wanted: Wanted = WHOLE) -> SourceFile:
        async with asyncio.timeout(60):
            return self.source.open_nowait(name, wanted) or await self.source.open(name, wanted)

    async def get(self, name: bytes = NAME) -> tuple[bytes, bool]:
        """The content, and whether it came from the disk."""
        file = await self.open(name)
        try:
            chunks = file.stream(0, file.info.size, lambda: 65536)
            content = b"".join([chunk async for chunk in chunks])
            assert len(content) == file.info.size
            return content, isinstance(file, LocalFile)
        finally:
            file.close()

    async def settled(self) -> None:
        """Wait until nothing is stored, and nothing is done in the background."""
        async with asyncio.timeout(60):
            while self.source._fills:
                await asyncio.sleep(0.001)
            for workers in (self.source._fillers, self.workers) * 2:
                # What a call has left to do is behind it.
                for call in [workers.submit(time.sleep, 0.001) for _ in range(8)]:
                    await asyncio.wrap_future(call)

    async def filled(self, name: bytes = NAME, content: bytes = CONTENT) -> None:
        self.store.put(name, content)
        assert await self.get(name) == (content, False)
        await self.settled()
        assert await self.get(name) == (content, True)
        self.store.asked.clear()

    def files(self) -> list[str]:
        return sorted({*os.listdir(self.folder)} - {cache_folder.USAGE})

    def size(self) -> int:
        return sum(entry.stat().st_size for entry in self.folder.iterdir())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(time.time())
    monkeypatch.setattr(disk_cache, "time", clock)
    return clock


def test_a_miss_comes_from_the_store_and_the_next_hit_from_the_disk(folder: Path) -> None:
    async def main() -> None:
        cache = Cache(folder)
        await cache.filled()
        assert not cache.store.asked
        assert cache.store.open_files == 0
        assert opened_files(folder) == []

    asyncio.run(main())


def test_a_hit_has_the_information_of_the_store(folder: Path) -> None:
    async def main() -> None:
        cache = Cache(folder)
        await cache.filled()
        for one in (cache, Cache(folder, cache.store)):
            file = await one.open()
            found = cache.store.objects[NAME]
            assert file.info[:2] == (len(CONTENT), found.modified)
            assert file.info.etag == found.etag
            assert tuple(file.info.headers) == found.headers
            assert file.info.changed == 0
            assert one.source.version_nowait(NAME) == file.info.version
            assert file.read_nowait(5, 7) == CONTENT[5:12]
            region = file.region(0, len(CONTENT))
            assert region is not None
            assert region.is_whole_file
            file.close()

    asyncio.run(main())


def test_a_fresh_hit_is_opened_without_waiting(folder: Path) -> None:
    async def main() -> None:
        cache = Cache(folder, fresh=60)
        await cache.filled()
        file = cache.source.open_nowait(NAME, WHOLE)
        assert isinstance(file, LocalFile)
        file.close()

    asyncio.run(main())


def test_folder_and_files_are_readable_by_the_server_alone(folder: Path) -> None:
    async def main() -> None:
        before = os.umask(0)
        try:
            await Cache(folder).filled()
        finally:
            os.umask(before)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
        assert len(list(folder.iterdir())) == 3

    asyncio.run(main())


def test_no_name_of_an_object_is_a_name_in_the_folder(folder: Path) -> None:
    async def main() -> None:
        cache = Cache(folder)
        for name in (b"../../escape", b"a" * 900, b"usage", b"\xff\n", b"x.part"):
            await cache.filled(name, name)
        assert all(cache_folder.NAME.fullmatch(name) for name in cache.files())
        assert [entry.name for entry in folder.parent.iterdir()] == ["cache"]

    asyncio.run(main())


def test_two_stores_never_meet_in_one_folder(folder: Path) -> None:
    async def main() -> None:
        ours, theirs = Cache(folder, Store("e b p")), Cache(folder, Store("e b q"))
        await ours.filled(content=b"ours")
        await theirs.filled(content=b"theirs")
        assert await ours.get() == (b"ours", True)
        # The border of the two parts of a name counts.
        one, other = Cache(folder, Store("e b p/x")), Cache(folder, Store("e b p"))
        await one.filled(b"y", b"1")
        await other.filled(b"x/y", b"2")
        assert await one.get(b"y") == (b"1", True)

    asyncio.run(main())


@pytest.mark.parametrize("wanted", [WHOLE, NOTHING, Wanted(5, 9), Wanted(None, 3)], ids=str)
def test_any_miss_stores_the_whole_object(folder: Path, wanted: Wanted) -> None:
    async def main() -> None:
        cache = Cache(folder)
        cache.store.put(NAME, CONTENT)
        (await cache.open(wanted=wanted)).close()
        await cache.settled()
        assert await cache.get() == (CONTENT, True)

    asyncio.run(main())


@pytest.mark.parametrize("content", [b"", b"x"], ids=["empty", "one byte"])
def test_the_smallest_objects_are_kept_too(folder: Path, content: bytes) -> None:
    asyncio.run(Cache(folder).filled(content=content))


def test_a_miss_waits_for_no_fill(folder: Path) -> None:
    async def main() -> None:
        cache = Cache(folder)
        cache.store.put(NAME, CONTENT)
        cache.store.chunk = 1024
        (await cache.open()).close()
        assert cache.source._fills
        assert await cache.get() == (CONTENT, False)
        await cache.settled()

    asyncio.run(main())


def test_a_crowd_of_misses_costs_one_fill(folder: Path) -> None:
    async def main() -> None:
        store = Store()
        store.put(NAME, CONTENT)
        processes = [Cache(folder, store) for _ in range(4)]
        await asyncio.gather(*(cache.get() for cache in processes for _ in range(25)))
        for cache in processes:
            await cache.settled()
        assert store.asked["get"] == 101
        assert await processes[3].get() == (CONTENT, True)

    asyncio.run(main())


def test_so_many_objects_are_stored_at_a_time_and_no_more(folder: Path) -> None:
    async def main() -> None:
        cache = Cache(folder)
        cache.store.gates["read"] = asyncio.Event()
        for number in range(20):
            cache.store.put(b"%d" % number, CONTENT)
            (await cache.open(b"%d" % number)).close()
        assert len(cache.source._fills) == disk_cache._MAX_FILLS
        cache.store.gates["read"].set()
        await cache.settled()
        assert len(cache.files()) == 2 * disk_cache._MAX_FILLS

    asyncio.run(main())


@pytest.mark.parametrize("etag", [None, b'W/"weak"'], ids=["none", "weak"])
def test_an_object_without_a_strong_etag_is_not_kept(folder: Path, etag: bytes | None) -> None:
    async def main() -> None:
        cache = Cache(folder)
        cache.store.objects[NAME] = Object(CONTENT, etag)
        for _ in range(2):
            assert await cache.get() == (CONTENT, False)
            await cache.settled()
        assert not folder.exists()

    asyncio.run(main())


def test_an_object_that_depends_on_the_request_is_not_kept(folder: Path) -> None:
    async def main() -> None:
        cache = Cache(folder)
        cache.store.objects[NAME] = Object(CONTENT, b'"x"', ((b"vary", b"Accept-Encoding"),))
        for _ in range(2):
            assert await cache.get() == (CONTENT, False)
            await cache.settled()

    asyncio.run(main())


@pytest.mark.parametrize("options", [{"max_object": 9999}, {"max_size": 9999}], ids=str)
def test_a_larger_object_is_not_kept(folder: Path, options: Any) -> None:
    async def main() -> None:
        cache = Cache(folder, **options)
        cache.store.put(NAME, bytes(10_000))
        for _ in range(2):
            assert await cache.get() == (bytes(10_000), False)
            await cache.settled()
        assert cache.store.asked == {"get": 2, "read": 2}

    asyncio.run(main())


def test_an_object_that_has_grown_too_large_is_not_kept(folder: Path) -> None:
    async def main() -> None:
        cache = Cache(folder, max_object=9999)
        cache.store.put(NAME, b"small")
        file = await cache.open()
        cache.store.put(NAME, bytes(10_000))
        file.close()
        await cache.settled()
        assert cache.files() == []

    asyncio.run(main())


def test_the_store_is_asked_once_in_so_many_seconds(folder: Path, clock: Clock) -> None:
    async def main() -> None:
        cache = Cache(folder, fresh=5)
        await cache.filled()
        for _ in range(3):
            clock.moment += 4.9
            assert await cache.get() == (CONTENT, True)
            assert cache.source.version_nowait(NAME) is not None
            clock.moment += 0.2
            assert cache.source.version_nowait(NAME) is None
            await asyncio.gather(*(cache.get() for _ in range(50)))
        assert cache.store.asked == {"head": 3}

    asyncio.run(main())


def test_with_fresh_zero_the_store_is_asked_each_time(folder: Path) -> None:
    async def main() -> None:
        cache = Cache(folder, fresh=0)
        await cache.filled()
        for _ in range(3):
            assert await cache.get() == (CONTENT, True)
        assert cache.store.asked == {"head": 3}

    asyncio.run(main())


def test_an_immutable_object_is_never_asked_for_again(folder: Path, clock: Clock) -> None:
    async def main() -> None:
        store = Store()
        for cache in (Cache(folder, store, is_immutable=NAME.__eq__) for _ in range(2)):
            if not store.objects:
                await cache.filled()
            for _ in range(3):
                clock.moment += 1e6
                assert await cache.get() == (CONTENT, True)
        assert not store.asked

    asyncio.run(main())


def test_a_replaced_object_is_served_for_the_time_it_is_fresh(folder: Path, clock: Clock) -> None:
    async def main() -> None:
        cache = Cache(folder, fresh=5)
        await cache.filled()
        cache.store.put(NAME, b"new")
        assert await cache.get() == (CONTENT, True)
        clock.moment += 6
        assert await cache.get() == (b"new", False)
        await cache.settled()
        assert await cache.get() == (b"new", True)
        assert len(cache.files()) == 2  # the old one is gone

    asyncio.run(main())


def test_an_object_that_is_replaced_by_one_that_is_not_kept_leaves_the_disk(
    folder: Path, clock: Clock
) -> None:
    async def main() -> None:
        cache = Cache(folder, max_object=len(CONTENT))
        await cache.filled()
        cache.store.put(NAME, bytes(len(CONTENT) + 1))
        for _ in range(3):
            clock.moment += 6
            assert not (await cache.get())[1]
            await cache.settled()
        assert cache.files() == []
        assert cache.store.asked["head"] == 1

    asyncio.run(main())


def test_a_deleted_object_leaves_the_disk_when_that_is_known(folder: Path, clock: Clock) -> None:
    async def main() -> None:
        cache = Cache(folder, fresh=5)
        await cache.filled()
        del cache.store.objects[NAME]
        assert await cache.get() == (CONTENT, True)
        clock.moment += 6
        with pytest.raises(FileMissingError):
            await cache.get()
        await cache.settled()
        assert cache.files() == []

    asyncio.run(main())


def test_headers_that_change_alone_are_served_without_a_fill(folder: Path, clock: Clock) -> None:
    async def main() -> None:
        cache = Cache(folder, fresh=5)
        await cache.filled()
        before = cache.source.version_nowait(NAME)
        changed = cache.store.objects[NAME]._replace(headers=((b"content-language", b"de"),))
        cache.store.objects[NAME] = changed
        clock.moment += 6
        for one in (cache, Cache(folder, cache.store, is_immutable=NAME.__eq__)):
            file = await one.open()
            file.close()
            assert tuple(file.info.headers) == changed.headers
            assert file.info.version != before
            await cache.settled()
        assert cache.store.asked == {"head": 1}

    asyncio.run(main())


def test_a_version_that_is_being_sent_outlives_its_replacement(folder: Path) -> None:
    async def main() -> None:
        cache = Cache(folder, fresh=0)
        await cache.filled()
        file = await cache.open()
        chunks = file.stream(0, len(CONTENT), lambda: 1000)
        sent = await anext(chunks)
        cache.store.put(NAME, CONTENT[::-1])
        await cache.get()
        await cache.settled()
        assert await cache.get() == (CONTENT[::-1], True)
        shutil.rmtree(folder)
        assert sent + b"".join([chunk async for chunk in chunks]) == CONTENT
        file.close()

    asyncio.run(main())


@pytest.mark.parametrize("change", ["put", "truncate", "error"])
def test_an_object_that_changes_or_breaks_off_while_it_is_stored_is_not_kept(
    folder: Path, change: str
) -> None:
    async def main() -> None:
        cache = Cache(folder)
        cache.store.put(NAME, CONTENT)
        gate = cache.store.gates["read"] = asyncio.Event()
        (await cache.open()).close()
        while not cache.store.asked["read"]:
            await asyncio.sleep(0)
        if change == "put":
            cache.store.put(NAME, b"new")
        elif change == "truncate":
            cache.store.ends_at = 70_000
        else:
            cache.store.objects.clear()
        gate.set()
        await cache.settled()
        assert cache.files() == []
        assert cache.store.open_files == 0
        assert opened_files(folder) == []

    asyncio.run(main())


@pytest.mark.parametrize("size", [10, 3000], ids=["too few", "too many"])
def test_a_store_that_sends_another_number_of_bytes_fills_nothing(folder: Path, size: int) -> None:
    async def main() -> None:
        cache = Cache(folder)
        cache.store.put(NAME, bytes(1000))

        async def stream(*_: Any) -> AsyncIterator[bytes]:
            yield bytes(size)

        found = await cache.store.open(NAME, WHOLE)
        type(found).stream, before = stream, type(found).stream  # type: ignore[assignment]
        try:
            (await cache.open()).close()
            await cache.settled()
        finally:
            type(found).stream = before  # type: ignore[method-assign]
        assert cache.files() == []

    asyncio.run(main())


@pytest.mark.parametrize("error", [SourceUnreachableError("x"), SourceTimeoutError("x")])
def test_without_stale_if_error_a_store_that_is_down_is_an_error(
    folder: Path, clock: Clock, error: Any
) -> None:
    async def main() -> None:
        cache = Cache(folder, fresh=5)
        await cache.filled()
        cache.store.error = error
        assert await cache.get() == (CONTENT, True)
        clock.moment += 6
        for _ in range(2):
            with pytest.raises(type(error)):
                await cache.get()
        cache.store.error = None
        assert await cache.get() == (CONTENT, True)

    asyncio.run(main())


def test_stale_if_error_serves_for_so_long_with_one_line_in_the_log(
    folder: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        cache = Cache(folder, fresh=5, stale_if_error=40)
        await cache.filled()
        cache.store.error = SourceUnreachableError("refused")
        for _ in range(20):
            clock.moment += 2
            assert await cache.get() == (CONTENT, True)
        assert len(caplog.records) == 1
        assert "refused" in caplog.text
        started_later = Cache(folder, cache.store, fresh=5, stale_if_error=1000)
        assert await started_later.get() == (CONTENT, True)
        clock.moment += 6
        with pytest.raises(SourceUnreachableError):
            await cache.get()
        cache.store.error = None
        assert await cache.get() == (CONTENT, True)

    asyncio.run(main())


def test_nobody_waits_for_a_store_that_is_down_while_stale_files_may_be_served(
    folder: Path, clock: Clock
) -> None:
    async def main() -> None:
        cache = Cache(folder, stale_if_error=1000)
        await cache.filled()
        cache.store.error = SourceTimeoutError("late")
        clock.moment += 6
        await cache.get()
        gate = cache.store.gates["head"] = asyncio.Event()
        for _ in range(5):
            clock.moment += 6
            assert await cache.get() == (CONTENT, True)
        cache.store.error = None
        gate.set()
        while cache.source._asking:
            await asyncio.sleep(0)
        cache.store.asked.clear()
        clock.moment += 6
        await cache.get()
        assert cache.store.asked == {"head": 1}

    asyncio.run(main())


@pytest.mark.parametrize("answer", ["another object", "missing"])
def test_a_store_that_answers_anything_is_not_down_any_more(
    folder: Path, clock: Clock, answer: str
) -> None:
    async def main() -> None:
        cache = Cache(folder, fresh=5, stale_if_error=3600)
        await cache.filled(b"gone")
        await cache.filled()
        cache.store.error = SourceUnreachableError("refused")
        clock.moment += 6
        assert await cache.get(b"gone") == (CONTENT, True)
        cache.store.error = None
        clock.moment += 6
        del cache.store.objects[b"gone"]
        cache.store.put(b"another", b"another")
        if answer == "missing":
            assert await cache.get(b"gone") == (CONTENT, True)  # it is asked for meanwhile
            while cache.source._asking:
                await asyncio.sleep(0.001)
        else:
            await cache.get(b"another")
        cache.store.put(NAME, b"new")
        assert await cache.get() == (b"new", False)

    asyncio.run(main())


def test_a_client_that_leaves_disturbs_none_who_wait_for_the_same(
    folder: Path, clock: Clock
) -> None:
    async def main() -> None:
        cache = Cache(folder)
        await cache.filled()
        clock.moment += 6
        gate = cache.store.gates["head"] = asyncio.Event()
        first, second = (asyncio.ensure_future(cache.get()) for _ in range(2))
        while not cache.store.asked:
            await asyncio.sleep(0.001)
        first.cancel()
        await asyncio.wait([first])
        gate.set()
        assert await second == (CONTENT, True)
        assert cache.store.asked == {"head": 1}

    asyncio.run(main())


@pytest.mark.parametrize(
    "options",
    [{"is_immutable": lambda name: True}, {"fresh": 5}, {"fresh": 1e9}],
    ids=["immutable", "asked each time", "fresh"],
)
def test_the_least_recently_used_go_first_and_the_folder_stays_within_its_size(
    folder: Path, clock: Clock, options: Any
) -> None:
    async def main() -> None:
        cache = Cache(folder, max_size=1_000_000, **options)
        hot = b"hot"
        await cache.filled(hot, bytes(50_000))
        for number in range(60):
            name = b"%d" % number
            await cache.filled(name, name * 40_000)
            clock.moment += 100
            assert await cache.get(hot) == (bytes(50_000), True)
            assert cache.size() <= 1_000_000
        assert (await cache.get(b"59"))[1]
        assert not (await cache.get(b"0"))[1]
        await cache.settled()
        assert cache.size() > 600_000

    asyncio.run(main())


def test_fills_of_several_processes_count_before_they_are_done(folder: Path) -> None:
    async def main() -> None:
        store = Store()
        gate = store.gates["read"] = asyncio.Event()
        caches = [Cache(folder, store, max_size=1_000_000) for _ in range(4)]
        for number in range(16):
            name = b"%d" % number
            store.put(name, name * 100_000)
            (await caches[number % 4].open(name)).close()
        while not store.asked["read"]:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.2)
        assert caches[0].size() <= 1_000_000
        gate.set()
        for cache in caches:
            await cache.settled()
        assert 0 < caches[0].size() <= 1_000_000

    asyncio.run(main())


def test_an_evicted_object_is_a_miss_and_kept_again(folder: Path) -> None:
    async def main() -> None:
        cache = Cache(folder, fresh=60)
        await cache.filled()
        for name in cache.files():
            (folder / name).unlink()
        assert await cache.get() == (CONTENT, False)
        await cache.settled()
        assert await cache.get() == (CONTENT, True)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("part", "damage"),
    [
        *[("description", damage) for damage in ("empty", "short", "gone", "other")],
        *[("data", damage) for damage in ("empty", "short", "gone")],
    ],
)
def test_a_damaged_file_is_a_miss(folder: Path, part: str, damage: str) -> None:
    async def main() -> None:
        cache = Cache(folder)
        await cache.filled()
        description, data = sorted(folder.glob("?" * 64 + "*"))
        path = data if part == "data" else description
        if damage == "gone":
            path.unlink()
        else:
            path.write_bytes({"empty": b"", "short": path.read_bytes()[:-1]}.get(damage, b"{}"))
        again = Cache(folder, cache.store)
        assert await again.get() == (CONTENT, False)
        await again.settled()
        assert await again.get() == (CONTENT, True)

    asyncio.run(main())


@pytest.mark.parametrize("usage", [b"", b"\0" * 20, b"nan", b"not a number"])
def test_a_count_that_is_damaged_is_made_anew(folder: Path, usage: bytes) -> None:
    async def main() -> None:
        cache = Cache(folder)
        await cache.filled()
        (folder / cache_folder.USAGE).write_bytes(usage)
        await cache.filled(b"another")
        assert int((folder / cache_folder.USAGE).read_bytes()[:20]) > 2 * len(CONTENT)

    asyncio.run(main())


@pytest.mark.parametrize("how", ["emptied", "removed", "a file", "unreadable"])
def test_a_folder_that_goes_while_serving_only_makes_misses(
    folder: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        cache = Cache(folder, fresh=0)
        await cache.filled()
        if how == "unreadable":
            folder.chmod(0)
            if os.geteuid() == 0:
                os.seteuid(NOBODY)
        else:
            shutil.rmtree(folder)
            if how == "emptied":
                folder.mkdir()
            elif how == "a file":
                folder.write_bytes(b"")
        try:
            for _ in range(3):
                assert (await cache.get())[0] == CONTENT
                await cache.settled()
        finally:
            if how == "unreadable":
                os.seteuid(os.getuid())
                folder.chmod(0o700)
        if how in ("emptied", "removed"):
            assert await cache.get() == (CONTENT, True)
            return
        assert len(caplog.records) == 1
        assert str(folder) in caplog.text
        if how == "a file":
            folder.unlink()
        cache.source._no_fill_until = 0.0  # a minute later
        await cache.get()
        await cache.settled()
        assert await cache.get() == (CONTENT, True)

    asyncio.run(main())


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO], ids=os.strerror)
def test_a_full_disk_stops_filling_and_never_serving(
    folder: Path,
    error: int,
    monkeypatch: pytest.MonkeyPatch,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        cache = Cache(folder, fresh=1e6)
        await cache.filled()
        full = Failing(error)
        monkeypatch.setattr(os, "write", full)
        for number in range(20):
            name = b"%d" % number
            cache.store.put(name, b"new")
            assert await cache.get(name) == (b"new", False)
            await cache.settled()
            assert await cache.get() == (CONTENT, True)
        assert full.calls == 1
        assert len(caplog.records) == 1
        assert len(cache.files()) == 2
        assert opened_files(folder) == []
        monkeypatch.undo()
        monkeypatch.setattr(disk_cache, "time", clock)
        clock.moment += 61
        await cache.filled(b"0")

    asyncio.run(main())


def test_a_really_full_disk_stops_filling_and_never_serving(tmp_path: Path) -> None:
    """A limit of the process stands for the disk: its files may not be longer."""
    import resource
    import signal

    async def main() -> None:
        cache = Cache(tmp_path / "cache", fresh=1e6)
        await cache.filled(b"small", b"small")
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
        try:
            cache.store.put(NAME, CONTENT)
            assert await cache.get() == (CONTENT, False)
            await cache.settled()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)
        assert await cache.get(b"small") == (b"small", True)
        assert len(cache.files()) == 2

    asyncio.run(main())


def test_leftovers_of_killed_processes_are_swept_before_the_first_fill(folder: Path) -> None:
    async def main() -> None:
        cache = Cache(folder)
        await cache.filled()
        left = ["0" * 64 + ".part", "0" * 64 + ".new", "1" * 64 + ".part", "2" * 64]
        for name in left:
            (folder / name).write_bytes(b"half")
        held = "3" * 64 + ".new"
        (folder / "somebody's file").write_bytes(b"theirs")
        with (folder / held).open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            again = Cache(folder, cache.store)
            assert await again.get() == (CONTENT, True)
            await again.filled(b"another")
            assert sorted({*again.files()} - {*left}) == again.files()
            assert held in again.files()
            assert "somebody's file" in again.files()

    asyncio.run(main())


def test_who_does_not_get_the_lock_streams_from_the_store(folder: Path) -> None:
    async def main() -> None:
        cache = Cache(folder)
        cache.store.put(NAME, CONTENT)
        await cache.settled()
        folder.mkdir(mode=0o700)
        object_ = cache_folder.object_name(cache.store.identity, NAME)
        with (folder / f"{object_}.new").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for _ in range(3):
                assert await cache.get() == (CONTENT, False)
                await cache.settled()
            assert cache.store.asked["get"] == 3  # and none for a fill
        await cache.get()
        await cache.settled()
        assert await cache.get() == (CONTENT, True)

    asyncio.run(main())


def test_a_lock_that_was_renamed_or_removed_meanwhile_is_no_lock(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its opening and its locking another process has stored the object."""
    files = CacheFolder(str(folder), 2**30)
    folder.mkdir()
    object_ = "0" * 64
    flock = fcntl.flock

    def late(fd: int, how: int) -> None:
        os.rename(folder / f"{object_}.new", folder / object_)
        flock(fd, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(cache_folder.BusyError), files._owned(object_):
        pass
    assert [entry.name for entry in folder.iterdir()] == [object_]


def test_a_loop_that_ends_in_the_middle_of_a_fill_leaves_nothing(folder: Path) -> None:
    cache = Cache(folder)

    async def main() -> None:
        cache.store.put(NAME, CONTENT)
        cache.store.gates["read"] = asyncio.Event()
        (await cache.open()).close()
        while not cache.store.asked["read"]:
            await asyncio.sleep(0.001)

    asyncio.run(main())
    asyncio.run(cache.settled())
    assert cache.files() == []
    assert opened_files(folder) == []
    assert cache.store.open_files == 0


def test_a_disk_that_hangs_costs_no_more_than_one_wait(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        cache = Cache(folder, fresh=1e6)
        await cache.filled(b"known")
        cache.store.put(NAME, CONTENT)
        hung = Event()
        monkeypatch.setattr(disk_cache, "_PATIENCE", 0.05)
        monkeypatch.setattr(cache.source._folder, "read", lambda object_: hung.wait(60))
        calls = 0

        def read(object_: str) -> None:
            nonlocal calls
            calls += 1
            hung.wait(60)

        monkeypatch.setattr(cache.source._folder, "read", read)
        try:
            for _ in range(10):
                assert await cache.get() == (CONTENT, False)
            assert calls == 1
            monkeypatch.setattr(cache.source._files, "open_nowait", lambda name, wanted: None)
            monkeypatch.setattr(cache.source._files, "open", cache.source._files)  # not callable
            assert await cache.get(b"known") == (CONTENT, False)
            assert len(caplog.records) == 1
        finally:
            hung.set()
        await cache.settled()

    asyncio.run(main())


@pytest.mark.parametrize("fresh", [0, 1e6])
def test_clients_that_leave_at_any_moment_leave_nothing_open(folder: Path, fresh: float) -> None:
    async def main() -> None:
        cache = Cache(folder, fresh=fresh, max_size=2_000_000)
        for number in range(12):
            cache.store.put(b"%d" % number, CONTENT)

        async def client(number: int) -> None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(number * 0.0001):
                    await cache.get(b"%d" % (number % 12))

        for _ in range(10):
            await asyncio.gather(*(client(number) for number in range(60)))
        while cache.source._asking:
            await asyncio.sleep(0.001)
        await cache.settled()
        assert opened_files(folder) == []
        assert cache.store.open_files == 0

    asyncio.run(main())


def test_what_is_known_of_objects_takes_a_bounded_place_in_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        monkeypatch.setattr(disk_cache, "_MAX_ENTRIES", 5)
        cache = Cache(folder)
        for number in range(12):
            await cache.filled(b"%d" % number)
        assert len(cache.source._entries) == 5
        assert await cache.get(b"0") == (CONTENT, True)
        assert not cache.source._asking
        assert not cache.source._fills

    asyncio.run(main())


@pytest.mark.parametrize("size", [1024, 300_000], ids=["in memory", "from the disk"])
def test_access_to_a_kept_object_is_decided_each_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    async def main() -> None:
        cache = Cache(folder, fresh=60)
        source = MemoryCache(cache.source, max_file=65536)
        monkeypatch.setattr(Assembly, "_source", lambda *_: source)
        location = Location(url="/private/", root=folder, access="signed")
        application = MediaMiddleware(lambda *_: None, location)  # type: ignore[arg-type]
        await cache.filled(NAME, bytes(size))
        path, _, query = signing.sign_url(f"/private/{NAME.decode()}").partition("?")
        signed: dict[str, Any] = {"query_string": query.encode()}
        for _ in range(3):
            answer = await asked(application, path, **signed)
            assert (answer.status, answer.body) == (200, bytes(size))
            assert answer.has(content_encoding="gzip")
            again = [(b"if-none-match", answer.headers["etag"].encode())]
            assert (await asked(application, path, headers=again, **signed)).status == 304
            part = await asked(application, path, headers=[(b"range", b"bytes=5-8")], **signed)
            assert (part.status, part.body) == (206, bytes(4))
            for query_string in (b"", query.encode()[:-1]):
                refused = await asked(application, path, query_string=query_string)
                assert refused.status == 403
        assert not cache.store.asked

    settings.SECRET_KEY = "x" * 50  # override_settings could not go back to having none
    asyncio.run(main())


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"path": "cache"}, "'cache'"),
        ({"path": ""}, "''"),
        ({"max_size": 0}, "max_size"),
        ({"max_size": True}, "max_size"),
        ({"max_size": "1G"}, "max_size"),
        ({"max_object": -1}, "max_object"),
        ({"fresh": -1}, "fresh"),
        ({"fresh": float("nan")}, "fresh"),
        ({"fresh": "1"}, "fresh"),
        ({"stale_if_error": None}, "stale_if_error"),
    ],
    ids=str,
)
def test_an_option_that_cannot_be_meant_is_refused(options: Any, named: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=named):
        DiskCache(**({"path": "/srv/cache", "max_size": 2**30} | options))
