"""A file that changes: what is remembered of it, and what is seen at once."""

import errno
import mmap
import os
import re
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from media_asgi import Location, MediaMiddleware, known_files
from media_asgi.sources import local_file, memory_cache, openat2

from .support import (
    Answer,
    Clock,
    Failing,
    Inner,
    Serve,
    age,
    ask,
    left_open,
)


def test_a_file_that_is_written_anew(serve: Serve, media: Path) -> None:
    application = serve()
    first = ask(application, "/media/a.txt")
    (media / "a.txt").write_bytes(b"other")
    second = ask(application, "/media/a.txt")
    assert second.body == b"other"
    assert second.headers["etag"] != first.headers["etag"]
    age(media, 60)
    third = ask(application, "/media/a.txt")
    assert third.headers["etag"] not in (first.headers["etag"], second.headers["etag"])
    (media / "a.txt").write_bytes(b"a longer one")
    assert ask(application, "/media/a.txt").has(content_length="12")


def if_range(application: MediaMiddleware, path: str, value: str) -> int | None:
    headers = [(b"range", b"bytes=0-0"), (b"if-range", value.encode())]
    return ask(application, path, headers=headers).status


def test_the_tag_of_a_new_file_stays_and_ranges_depend_on_it_only_later(
    serve: Serve, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = (media / "a.txt").stat()
    clock = Clock(status.st_mtime + 0.5)
    monkeypatch.setattr(known_files, "time", clock)
    application = serve()
    seen = []
    for _ in range(5):
        answer = ask(application, "/media/a.txt")
        assert answer.headers["etag"] == f'"{status.st_mtime_ns:x}-5"'
        seen.append(
            [
                if_range(application, "/media/a.txt", answer.headers[name])
                for name in ("etag", "last-modified")
            ]
        )
        etag = answer.headers["etag"].encode()
        assert ask(application, "/media/a.txt", headers=[(b"if-none-match", etag)]).status == 304
        assert ask(application, "/media/a.txt", headers=[(b"range", b"bytes=0-0")]).status == 206
        clock.moment += 0.6
    assert seen == [[200, 200]] * 3 + [[206, 206]] * 2


def test_a_file_of_tomorrow(serve: Serve, media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (media / "a.txt").write_bytes(b"hello")
    age(media, -86400)
    stamp = (media / "a.txt").stat().st_mtime
    clock = Clock(stamp - 86400)
    monkeypatch.setattr(known_files, "time", clock)
    application = serve()
    etag = ask(application, "/media/a.txt").headers["etag"]
    # A write would set the time back, and change the tag. The moment that it names comes, though.
    for after, tag, date in [(-86400, 206, 200), (-5, 206, 200), (0.5, 200, 200), (3, 206, 206)]:
        clock.moment = stamp + after
        answer = ask(application, "/media/a.txt")
        assert answer.headers["etag"] == etag
        # Section 8.8.2.1: never later than Date.
        modified = parsedate_to_datetime(answer.headers["last-modified"]).timestamp()
        assert modified == min(int(stamp), int(clock.moment))
        assert if_range(application, "/media/a.txt", etag) == tag
        assert if_range(application, "/media/a.txt", answer.headers["last-modified"]) == date


@pytest.mark.parametrize("second", [0, 1])
def test_a_file_whose_time_says_nothing(
    second: int, serve: Serve, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = media / "a.txt"
    clock = Clock(path.stat().st_ctime + 3600)
    monkeypatch.setattr(known_files, "time", clock)
    application = serve()

    def write(content: bytes) -> Answer:
        path.write_bytes(content)
        os.utime(path, (second, second))
        answer = ask(application, "/media/a.txt")
        assert answer.status == 200
        assert answer.body == content
        assert "last-modified" not in answer.headers
        return answer

    first = write(b"first")
    etag = first.headers["etag"]
    assert re.fullmatch('"[0-9a-f]{32}"', etag)
    assert ask(application, "/media/a.txt").headers["etag"] == etag
    assert if_range(application, "/media/a.txt", etag) == 206
    for name in (b"if-modified-since", b"if-unmodified-since"):
        for date in (b"Thu, 01 Jan 1970 00:00:00 GMT", b"Sat, 01 Jan 2050 00:00:00 GMT"):
            assert ask(application, "/media/a.txt", headers=[(name, date)]).status == 200
    known = [(b"if-none-match", etag.encode())]
    assert ask(application, "/media/a.txt", headers=known).status == 304
    before = path.stat().st_ctime_ns
    while path.stat().st_ctime_ns == before:  # the file system's tick, some milliseconds
        second_ = write(b"other")
    assert second_.headers["etag"] != etag
    assert ask(application, "/media/a.txt", headers=known).status == 200


class Held:
    """A file whose content the middleware holds, and the reads since then."""

    def __init__(
        self,
        application: MediaMiddleware,
        monkeypatch: pytest.MonkeyPatch,
        name: str = "folder/held.txt",
    ) -> None:
        self.name = name
        self.clock = Clock(time.time() + 60)
        monkeypatch.setattr(memory_cache, "time", self.clock)
        monkeypatch.setattr(known_files, "time", self.clock)
        self.reads: list[int] = []
        read_nowait = local_file.LocalFile.read_nowait

        def counted(file: local_file.LocalFile, offset: int, count: int) -> bytes | None:
            self.reads.append(count)
            return read_nowait(file, offset, count)

        monkeypatch.setattr(local_file.LocalFile, "read_nowait", counted)
        self.application = application
        for _ in range(3):
            assert self.ask().body == b"hello"
        self.reads.clear()

    def ask(self, *headers: tuple[bytes, bytes]) -> Answer:
        return ask(self.application, f"/media/{self.name}", "GET", headers)


Hold = Callable[[str], Held]


@pytest.fixture
def hold(media: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> Hold:
    def hold(name: str) -> Held:
        (media / name).write_bytes(b"hello")
        age(media, 60)
        with open(media / "a.txt", "rb") as file:
            if not openat2.KERNEL.cached or not openat2.KERNEL.is_local(file.fileno()):
                pytest.skip("what is on this disk is not looked at on the loop")
        return Held(serve(), monkeypatch, name)

    return hold


@pytest.fixture
def held(hold: Hold) -> Held:
    return hold("folder/held.txt")


def test_what_is_asked_for_again_is_held(held: Held) -> None:
    first = held.ask()
    etag = first.headers["etag"].encode()
    for _ in range(3):
        assert held.ask() == first
        assert held.ask((b"if-none-match", etag)).status == 304
    assert held.ask((b"range", b"bytes=1-2")).body == b"el"
    assert held.reads == []
    assert ask(held.application, "/media/folder/held.txt", "HEAD").has(content_length="5")
    assert held.ask() == first


def test_a_larger_one_is_not(held: Held, media: Path) -> None:
    (media / "folder" / "held.txt").write_bytes(bytes(4097))  # of several spans
    for _ in range(3):
        assert len(held.ask().body) == 4097
    assert sum(held.reads) == 3 * 4097


def test_what_is_held_has_a_bound(held: Held, media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_again(*numbers: int) -> list[int]:
        held.reads.clear()
        for number in numbers:
            body = ask(held.application, f"/media/{number}.txt").body
            assert body == str(number).encode() * 4
        return held.reads

    for number in range(5):
        (media / f"{number}.txt").write_text(str(number) * 4)
    age(media, 60)
    held.clock.moment += 1
    monkeypatch.setattr(memory_cache, "_CAPACITY", 10)
    read_again(*range(5))
    assert read_again(0, 1, 2, 3, 4) == [4] * 5
    assert read_again(4, 3, 4, 3) == []
    assert read_again(2, 4, 3) == [4, 4]  # the oldest had to go
    (served,) = held.application._handlers
    source = served._source
    assert isinstance(source, memory_cache.MemoryCache)
    assert source._size == sum(file.info.size for file in source._files.values()) == 8


def test_nor_one_whose_status_is_new(
    held: Held, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change in the same tick of the clock would not show."""
    path = media / "folder" / "held.txt"
    path.chmod(0o600)
    monkeypatch.setattr(memory_cache, "time", Clock(path.stat().st_ctime + 1.9))
    for _ in range(3):
        assert held.ask().body == b"hello"
    assert held.reads == [5, 5, 5]


def test_what_is_stored_through_a_mapping_is_seen_soon(held: Held, media: Path) -> None:
    with (
        open(media / "folder" / "held.txt", "r+b") as file,
        mmap.mmap(file.fileno(), 5) as mapping,
    ):
        mapping[:] = b"first"
        held.clock.moment += 60
        for _ in range(3):
            assert held.ask().body == b"first"
        mapping[:] = b"other"  # into the same page: no time stamp changes
        held.clock.moment += 0.6
        assert held.ask().body == b"other"
        held.reads.clear()
        assert held.ask().body == b"other"
        assert held.reads == []


def _write(path: Path) -> None:
    with open(path, "r+b") as file:
        file.write(b"jello")


def _write_and_set_back(path: Path) -> None:
    status = path.stat()
    _write(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _replace(path: Path) -> None:
    status = path.stat()
    other = path.with_name("other.txt")
    other.write_bytes(b"jello")
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)


def _outside(path: Path) -> Path:
    return next(folder for folder in path.parents if folder.name == "media").parent


def _replace_by_a_link_out(path: Path) -> None:
    outside = _outside(path) / "outside.txt"
    path.rename(outside)
    path.symlink_to(outside)


def _replace_by_a_relative_link_out(path: Path) -> None:
    outside = _outside(path) / "outside.txt"
    path.rename(outside)
    path.symlink_to(os.path.relpath(outside, path.parent))


def _replace_by_a_link_within(path: Path) -> None:
    inside = path.with_name("renamed.txt")
    path.rename(inside)
    path.symlink_to(inside.name)


def _move_the_folder_out(path: Path) -> None:
    outside = _outside(path) / "outside"
    path.parent.rename(outside)
    path.parent.symlink_to(outside)


def _replace_by_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _replace_by_a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


CHANGES: list[tuple[Callable[[Path], Any], bytes | None]] = [
    (_write, b"jello"),
    (_write_and_set_back, b"jello"),
    (_replace, b"jello"),
    (lambda path: os.truncate(path, 2), b"he"),
    (lambda path: os.truncate(path, 0), b""),
    (Path.unlink, None),
    (_replace_by_a_link_out, None),
    (_replace_by_a_relative_link_out, None),
    (_replace_by_a_link_within, b"hello"),
    (_replace_by_a_folder, None),
    (_replace_by_a_fifo, None),
]


@pytest.mark.parametrize(
    ("name", "change", "found"),
    [
        *(("held.txt", *change) for change in CHANGES),
        *(("folder/held.txt", *change) for change in CHANGES),
        ("folder/held.txt", _move_the_folder_out, None),
    ],
)
def test_what_is_held_is_the_file_as_it_is(
    name: str, change: Callable[[Path], Any], found: bytes | None, hold: Hold, media: Path
) -> None:
    held = hold(name)
    etag = held.ask().headers["etag"].encode()
    change(media / name)
    for _ in range(3):
        answer = held.ask()
        assert (answer.status, answer.body if found is not None else None) == (
            200 if found is not None else 404,
            found,
        )
        if found is None:
            assert held.ask((b"if-none-match", etag)).status == 404


def test_a_name_that_is_a_link_is_held_too(hold: Hold, media: Path) -> None:
    (media / "held.txt").symlink_to("folder/held.txt")
    held = hold("held.txt")
    assert held.ask().body == b"hello"
    assert held.reads == []
    _write(media / "folder" / "held.txt")
    assert held.ask().body == b"jello"


def test_what_is_held_but_moved_among_the_private_ones(
    media: Path, inner: Inner, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = media / "private"
    private.mkdir()
    (media / "folder" / "held.txt").write_bytes(b"hello")
    age(media, 60)
    application = MediaMiddleware(
        inner,
        Location(url="/media/", root=media),
        Location(url="/private/", root=private, access="internal"),
    )
    held = Held(application, monkeypatch)
    etag = held.ask().headers["etag"].encode()
    (media / "folder").rename(private / "folder")
    (media / "folder").symlink_to("private/folder")
    for _ in range(3):
        assert held.ask().status == 404
        assert held.ask((b"if-none-match", etag)).status == 404


def test_no_descriptor_is_left_for_what_is_held(
    held: Held, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held.ask()
    assert left_open(media) == []
    fstat = os.fstat
    monkeypatch.setattr(os, "fstat", Failing(errno.EIO, fstat, times=2))
    assert held.ask().status == 500
    monkeypatch.setattr(os, "fstat", fstat)
    assert held.ask().body == b"hello"
    assert left_open(media) == []


def test_what_is_remembered_has_a_bound(
    serve: Serve, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_files, "_MAX_KNOWN", 3)
    for number in range(10):
        (media / f"{number}.txt").write_text(str(number))
    age(media, 60)
    application = serve()
    for _ in range(2):
        for number in range(10):
            assert ask(application, f"/media/{number}.txt").body == str(number).encode()
    (served,) = application._handlers
    assert len(served._known._files) == 3


def test_the_same_name_in_two_locations(media: Path, inner: Inner) -> None:
    application = MediaMiddleware(
        inner,
        Location(url="/a/", root=media, cache_control="max-age=1"),
        Location(url="/b/", root=media, cache_control="max-age=2"),
    )
    for _ in range(2):
        assert ask(application, "/a/a.txt").headers["cache-control"] == "max-age=1"
        assert ask(application, "/b/a.txt").headers["cache-control"] == "max-age=2"
