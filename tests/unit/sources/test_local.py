import asyncio
import contextlib
import ctypes
import errno
import gc
import mmap
import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from media_asgi.sources import guard, local, local_file
from media_asgi.sources.base import (
    WHOLE,
    FileForbiddenError,
    FileMissingError,
    FileReadError,
    SourceBusyError,
    SourceError,
    TruncatedFileError,
)
from media_asgi.sources.descriptor import Descriptor
from media_asgi.sources.guard import ExcludedFolder, Place
from media_asgi.sources.local import LocalSource
from media_asgi.sources.local_file import LocalFile
from media_asgi.sources.openat2 import KERNEL, Kernel
from media_asgi.sources.workers import Workers, in_worker

from ...support.programs import program
from ..support import RESOLVERS, Clock, Failing, Gate, idle, opened, opened_files, resolve_by

THREADS = 2
SECRET = b"SECRET"


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


async def open_file(root: LocalSource, name: bytes) -> LocalFile:
    async with asyncio.timeout(60):
        return root.open_nowait(name, WHOLE) or await root.open(name, WHOLE)


async def read_file(root: LocalSource, name: bytes) -> bytes:
    file = await open_file(root, name)
    try:
        return await file._read(0, 10_000)
    finally:
        file.close()


Outcome = bytes | int | type[FileMissingError]


async def outcome(root: LocalSource, name: bytes) -> Outcome:
    try:
        return await read_file(root, name)
    except SourceError as error:
        cause = error.__cause__
        if not isinstance(cause, OSError):
            return FileMissingError
        return cause.errno or 0 if type(error) is _kind(cause.errno or 0) else -1


def _kind(error: int) -> type[SourceError]:
    if error in (errno.EACCES, errno.EPERM):
        return FileForbiddenError
    if error in (errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM):
        return SourceBusyError
    return FileReadError if error in (errno.EIO, errno.ESTALE) else FileMissingError


# --- What a name opens --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A root with a bit of everything in it, and secrets around it."""
    top = tmp_path_factory.mktemp("tree")
    root = top / "root"
    (root / "folder" / "deep").mkdir(parents=True)
    (root / "empty").mkdir()
    (top / "root-secret").mkdir()
    (top / "root-twin").symlink_to("root")
    (root / ".git").mkdir()
    for path, content in {
        "root/a.txt": b"a",
        "root/folder/b.txt": b"b",
        "root/folder/deep/c.txt": b"c",
        "root/none": b"",
        "root/.hidden": b"hidden",
        "root/.git/config": b"config",
        "secret.txt": SECRET,
        "root-secret/secret.txt": SECRET,
    }.items():
        (top / path).write_bytes(content)
    for name in ODD_NAMES:
        with open(os.fsencode(root) + b"/" + name, "wb") as file:
            file.write(name)
    for link, target in LINKS.items():
        (root / link).symlink_to(target.format(root=root, top=top))
    for number in range(42):
        # chain41 -> chain40 -> ... -> chain0 -> a.txt
        (root / f"chain{number}").symlink_to(f"chain{number - 1}" if number else "a.txt")
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(root)  # the path of a socket is short
        try:
            listener.bind("socket")
        finally:
            os.chdir(here)
    with contextlib.suppress(PermissionError):
        os.mknod(root / "device", stat.S_IFCHR | 0o666, os.makedev(1, 3))  # /dev/null
    yield root
    for path in top.iterdir():
        assert path.name in ("root", "root-secret", "root-twin", "secret.txt")


ODD_NAMES = [
    b" ",
    b"a b+c%20;d,e=f&g'h\"i?j#k.txt",
    b"new\nline\ttab\x01\x7f",
    b"..a",
    b"...",
    b"-rf",
    b"\\..\\x",
    "é日本🎬.txt".encode(),
    "e\u0301.txt".encode(),
    b"\xff\xfe\xe9.txt",
    b"x" * 255,
]

LINKS = {
    "link": "a.txt",
    "folder/up": "../a.txt",
    "folder/deep/upup": "../../a.txt",
    "dotted": "./folder/./deep/../b.txt",
    "slashes": "folder//b.txt",
    "folder-link": "folder",
    "folder-link-slash": "folder/",
    "here": ".",
    "link-to-link": "folder-link/up",
    "loop": "loop",
    "ping": "pong",
    "pong": "ping",
    "dangling": "nowhere",
    "dangling-far": "nowhere/at/all",
    "file-slash": "a.txt/",
    "file-dot": "a.txt/.",
    "through-a-file": "a.txt/../a.txt",
    "through-nothing": "nowhere/../a.txt",
    "to-fifo": "fifo",
    "to-folder": "folder/deep",
    "folder/to-parent": "..",
    "absolute": "{root}/a.txt",
    "absolute-folder-in": "{root}/folder/deep",
    "absolute-here": "{root}",
    "absolute-chain": "{root}/folder/to-absolute",
    "folder/to-absolute": "{root}/link-to-link",
    "absolute-through": "{top}/root-twin/a.txt",
    "absolute-dangling": "{root}/nowhere",
    "absolute-dangling-far": "/nowhere/at/all",
    "absolute-loop": "{root}/absolute-loop",
    "absolute-chain40": "{root}/chain40",
    "absolute-secret": "{top}/secret.txt",
    "absolute-folder": "{top}/root-secret",
    "climbs": "../secret.txt",
    "climbs-far": "../../../../../../../../etc/passwd",
    "climbs-and-returns": "../root/a.txt",
    "climbs-late": "folder/../../secret.txt",
    "twin": "../root-secret/secret.txt",
    "folder/climbs": "../../secret.txt",
    "outside": "../root-secret",
    "null": "/dev/null",
    "proc": "/proc/self/environ",
}

NAMES: list[tuple[bytes, Outcome]] = [
    (b"a.txt", b"a"),
    (b"folder/b.txt", b"b"),
    (b"folder/deep/c.txt", b"c"),
    (b"none", b""),
    (b".hidden", b"hidden"),
    (b".git/config", b"config"),
    *[(name, name) for name in ODD_NAMES],
    # No such file.
    (b"nope", errno.ENOENT),
    (b"nope/nope", errno.ENOENT),
    (b"A.TXT", errno.ENOENT),
    (b"a.txt/b", errno.ENOTDIR),
    (b"x" * 256, errno.ENAMETOOLONG),
    # No regular file.
    (b"folder", FileMissingError),
    (b"folder/deep", FileMissingError),
    (b"empty", FileMissingError),
    (b"fifo", FileMissingError),
    (b"socket", errno.ENXIO),
    (b"device", FileMissingError),
]

THROUGH_LINKS: list[tuple[bytes, Outcome]] = [
    # Relative ones that stay below the root.
    (b"link", b"a"),
    (b"folder/up", b"a"),
    (b"folder/deep/upup", b"a"),
    (b"dotted", b"b"),
    (b"slashes", b"b"),
    (b"folder-link/b.txt", b"b"),
    (b"folder-link/deep/c.txt", b"c"),
    (b"folder-link-slash/b.txt", b"b"),
    (b"here/here/a.txt", b"a"),
    (b"here/folder-link/up", b"a"),
    (b"link-to-link", b"a"),
    (b"folder/to-parent/folder/b.txt", b"b"),
    (b"chain39", b"a"),
    # No file behind them.
    (b"chain40", errno.ELOOP),
    (b"chain41", errno.ELOOP),
    (b"loop", errno.ELOOP),
    (b"loop/x", errno.ELOOP),
    (b"ping", errno.ELOOP),
    (b"dangling", errno.ENOENT),
    (b"dangling-far", errno.ENOENT),
    (b"file-slash", errno.ENOTDIR),
    (b"file-dot", errno.ENOTDIR),
    (b"through-a-file", errno.ENOTDIR),
    (b"through-nothing", errno.ENOENT),
    (b"to-fifo", FileMissingError),
    (b"to-folder", FileMissingError),
    (b"folder-link", FileMissingError),
    (b"folder-link-slash", FileMissingError),
    (b"here", FileMissingError),
    (b"folder/to-parent", FileMissingError),
    # By an absolute path that ends in the root.
    (b"absolute", b"a"),
    (b"absolute-folder-in/c.txt", b"c"),
    (b"absolute-chain", b"a"),
    (b"here/absolute-here/here/absolute", b"a"),
    (b"absolute-here", FileMissingError),
    (b"absolute-dangling", errno.ENOENT),
    (b"absolute-dangling-far", errno.ENOENT),
    (b"absolute-loop", errno.ELOOP),
    (b"absolute-chain40", errno.ELOOP),
    (b"absolute-through", b"a"),
    # Out of the root.
    (b"absolute-secret", errno.EXDEV),
    (b"absolute-folder/secret.txt", errno.EXDEV),
    (b"climbs", errno.EXDEV),
    (b"climbs-and-returns", errno.EXDEV),
    (b"climbs-far", errno.EXDEV),
    (b"climbs-late", errno.EXDEV),
    (b"twin", errno.EXDEV),
    (b"folder/climbs", errno.EXDEV),
    (b"outside/secret.txt", errno.EXDEV),
    (b"here/here/climbs", errno.EXDEV),
    (b"null", errno.EXDEV),
    (b"proc", errno.EXDEV),
]

FOLLOWED = {
    b"absolute-secret": SECRET,
    b"absolute-folder/secret.txt": SECRET,
    b"climbs": SECRET,
    b"climbs-and-returns": b"a",
    b"climbs-late": SECRET,
    b"twin": SECRET,
    b"folder/climbs": SECRET,
    b"outside/secret.txt": SECRET,
    b"here/here/climbs": SECRET,
    b"null": FileMissingError,
}


def _ids(cases: list[tuple[bytes, Outcome]]) -> list[Any]:
    return [pytest.param(*case, id=repr(case[0])[2:30]) for case in cases]


@pytest.mark.parametrize(("name", "expected"), _ids(NAMES + THROUGH_LINKS))
def test_open(name: bytes, expected: Outcome, tree: Path, resolver: str, executor: Workers) -> None:
    if name == b"device" and not (tree / "device").exists():
        pytest.skip("devices are made by root alone")

    async def main() -> list[Outcome]:
        root = LocalSource(str(tree), executor)
        first = await outcome(root, name)
        await outcome(root, b"a.txt")  # from here on the folder is held
        return [first, await outcome(root, name), await outcome(root, name)]

    # The first is opened in a worker; the others on the loop, as far as they can be.
    try:
        outcomes = asyncio.run(main())
    finally:
        with contextlib.suppress(OSError):  # let go whoever waits for a writer, and shouldn't
            os.close(os.open(tree / "fifo", os.O_WRONLY | os.O_NONBLOCK))
    if resolver == "name" and (name, expected) in THROUGH_LINKS:
        assert not any(isinstance(end, bytes) for end in outcomes)  # no link is followed there
    else:
        assert outcomes == [expected] * 3
    assert opened_files(tree) == []


def test_an_endless_name(tree: Path, resolver: str, executor: Workers) -> None:
    end = asyncio.run(outcome(LocalSource(str(tree), executor), b"folder/" * 2000 + b"x"))
    assert end in (errno.ENOENT, errno.ENAMETOOLONG)


@pytest.mark.parametrize(
    ("name", "expected"),
    # Without those of which this machine decides what is behind them.
    _ids(
        [
            (name, FOLLOWED.get(name, end))
            for name, end in THROUGH_LINKS
            if name not in (b"climbs-far", b"proc")
        ]
    ),
)
def test_follow_symlinks(
    name: bytes, expected: Outcome, tree: Path, resolver: str, executor: Workers
) -> None:
    async def main() -> list[Outcome]:
        root = LocalSource(str(tree), executor, follow_symlinks=True)
        first = await outcome(root, name)
        await outcome(root, b"a.txt")
        return [first, await outcome(root, name)]

    assert asyncio.run(main()) == [expected] * 2
    assert opened_files(tree) == []


def test_links_into_allowed_folders(tree: Path, resolver: str, executor: Workers) -> None:
    root = LocalSource(str(tree), executor, follow_symlinks=[tree.parent / "root-secret"])
    expected: dict[bytes, Outcome] = {
        b"a.txt": b"a",
        b"absolute-folder/secret.txt": SECRET,
        b"twin": SECRET,
        b"outside/secret.txt": SECRET,
        b"absolute-secret": errno.EXDEV,
        b"climbs-far": errno.EXDEV,
        b"climbs-late": errno.EXDEV,
        b"null": errno.EXDEV,
        b"outside": FileMissingError,
        b"dangling": errno.ENOENT,
    }

    async def main() -> dict[bytes, Outcome]:
        return {name: await outcome(root, name) for name in expected}

    ends = asyncio.run(main())
    if resolver == "name":  # which tells one reason for all that is no file of the root
        assert {name for name, end in ends.items() if isinstance(end, bytes)} == {
            name for name, end in expected.items() if isinstance(end, bytes)
        }
    else:
        assert ends == expected
    assert opened(tree.parent / "root-secret") == []
    assert opened_files(tree) == []


def test_an_allowed_folder_that_is_swapped_while_a_link_is_resolved(
    media: Path, executor: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was resolved is opened beneath the folder that it was found in."""
    (media.parent / "shared").mkdir()
    (media.parent / "shared" / "folder").mkdir()
    (media.parent / "shared" / "folder" / "b.txt").write_text("b")
    (media / "link").symlink_to(media.parent / "shared" / "folder" / "b.txt")
    realpath = os.path.realpath

    def swapping(path: Any, **kwargs: Any) -> Any:
        found = realpath(path, **kwargs)
        if str(found).endswith("b.txt"):
            (media.parent / "shared" / "folder").rename(media.parent / "shared" / "old")
            (media.parent / "shared" / "folder").symlink_to("../outside")
        return found

    monkeypatch.setattr(os.path, "realpath", swapping)
    root = LocalSource(str(media), executor, follow_symlinks=(str(media.parent / "shared"),))
    for resolver in [name for name in RESOLVERS if name != "name"]:
        resolve_by(resolver, monkeypatch)
        assert asyncio.run(outcome(root, b"link")) == errno.EXDEV
        (media.parent / "shared" / "folder").unlink()
        (media.parent / "shared" / "old").rename(media.parent / "shared" / "folder")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc")
@pytest.mark.parametrize("name", [b"cwd/etc/passwd", b"root/etc/passwd", b"exe", b"fd/0", b"fd/1"])
def test_magic_links_lead_nowhere(name: bytes, resolver: str, executor: Workers) -> None:
    # They name no path that could be looked at.
    end = asyncio.run(outcome(LocalSource("/proc/self", executor), name))
    assert end in (FileMissingError, errno.ELOOP, errno.EXDEV, errno.ENOENT, errno.ENOTDIR)


def test_an_unreadable_file(resolver: str, executor: Workers) -> None:
    # Not below pytest's own folder, which is for one user alone.
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        (root / "closed").mkdir()
        for path in ("a.txt", "b.txt", "closed/c.txt"):
            (root / path).write_text("a")
        (root / "a.txt").chmod(0)
        (root / "closed").chmod(0)
        is_root = os.geteuid() == 0
        if is_root:
            os.seteuid(65534)
        try:
            names = (b"b.txt", b"a.txt", b"closed/c.txt", b"a.txt")
            served = LocalSource(folder, executor)

            async def main() -> list[Outcome]:
                return [await outcome(served, name) for name in names]

            assert asyncio.run(main()) == [b"a", errno.EACCES, errno.EACCES, errno.EACCES]
        finally:
            if is_root:
                os.seteuid(0)
            (root / "closed").chmod(0o700)


def test_a_mount_below_the_root(tmp_path: Path, resolver: str, executor: Workers) -> None:
    (tmp_path / "mount").mkdir()
    (tmp_path / "a.txt").write_text("a")
    command = [program("mount"), "-t", "tmpfs", "none", tmp_path / "mount"]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("may not mount anything")
    try:
        (tmp_path / "mount" / "b.txt").write_text("b")
        root = LocalSource(str(tmp_path), executor)

        async def main() -> list[Outcome]:
            return [await outcome(root, name) for name in (b"a.txt", b"mount/b.txt") * 2]

        assert asyncio.run(main()) == [b"a", b"b"] * 2
    finally:
        subprocess.run(["umount", "-l", tmp_path / "mount"], check=True)


# --- What is renamed meanwhile ------------------------------------------------------------------


@pytest.fixture
def media(tmp_path: Path) -> Path:
    root = tmp_path / "media"
    (root / "folder").mkdir(parents=True)
    (root / "a.txt").write_text("a")
    (root / "folder" / "b.txt").write_text("b")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "b.txt").write_bytes(SECRET)
    return root


@pytest.mark.parametrize("swapped", ["folder", "folder/b.txt"])
def test_a_swap_while_walking(
    swapped: str, media: Path, executor: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link takes the place of what was just seen to be none."""
    resolve_by("walk", monkeypatch)
    readlink = os.readlink

    def swapping(path: Any, *, dir_fd: int | None = None) -> Any:
        try:
            return readlink(path, dir_fd=dir_fd)
        finally:
            if os.fsdecode(path) == os.path.basename(swapped) and not (media / "old").exists():
                (media / swapped).rename(media / "old")
                (media / swapped).symlink_to(
                    media.parent / "outside" / ("b.txt" if "/" in swapped else "")
                )

    monkeypatch.setattr(os, "readlink", swapping)
    end = asyncio.run(outcome(LocalSource(str(media), executor), b"folder/b.txt"))
    assert (media / "old").exists()
    assert end in (errno.ELOOP, errno.ENOTDIR)


def test_a_folder_that_leaves_while_walking(
    media: Path, executor: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``..`` is the folder that was passed, not the one the folder is in by now."""
    resolve_by("walk", monkeypatch)
    (media / "link").symlink_to("folder/../a.txt")
    (media.parent / "outside" / "a.txt").write_bytes(SECRET)
    open_ = os.open

    def leaving(path: Any, *args: Any, **kwargs: Any) -> int:
        fd = open_(path, *args, **kwargs)
        if path == b"folder":
            (media / "folder").rename(media.parent / "outside" / "folder")
        return fd

    monkeypatch.setattr(os, "open", leaving)
    assert asyncio.run(outcome(LocalSource(str(media), executor), b"link")) == b"a"


@pytest.mark.parametrize("resolver", [name for name in RESOLVERS if name != "name"])
def test_a_race_with_whoever_renames(
    media: Path, resolver: str, executor: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_by(resolver, monkeypatch)
    (media / "spare").symlink_to(media.parent / "outside")
    ended = threading.Event()

    def swap() -> None:
        names = [str(media / name) for name in ("folder", "spare", "third")]
        while not ended.is_set():
            for one, other in ((0, 2), (1, 0), (2, 1)):
                os.rename(names[one], names[other])

    async def main() -> set[Outcome]:
        root = LocalSource(str(media), executor)
        return {await outcome(root, b"folder/b.txt") for _ in range(200)}

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        ends = asyncio.run(main())
    finally:
        ended.set()
        swapper.join()
    assert SECRET not in ends
    assert opened_files(media.parent) == []


@pytest.mark.skipif("openat2" not in RESOLVERS, reason="no openat2")
def test_eagain_is_asked_again(
    media: Path, executor: Workers, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    root = LocalSource(str(media), executor)
    raced = Failing(errno.EAGAIN, KERNEL.open, times=3)
    monkeypatch.setattr(KERNEL, "open", raced)
    assert asyncio.run(read_file(root, b"a.txt")) == b"a"
    assert raced.calls == 4
    assert len(clock.slept) == 3


@pytest.mark.skipif("openat2" not in RESOLVERS, reason="no openat2")
def test_eagain_is_not_asked_for_ever(
    media: Path, executor: Workers, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    root = LocalSource(str(media), executor)
    raced = Failing(errno.EAGAIN)
    monkeypatch.setattr(KERNEL, "open", raced)
    assert asyncio.run(outcome(root, b"a.txt")) == errno.EAGAIN
    assert 1 < raced.calls < 100
    assert sum(clock.slept) < 2
    assert opened_files(media) == []


# --- The root -----------------------------------------------------------------------------------


def test_a_root_that_comes_later(tmp_path: Path, resolver: str, executor: Workers) -> None:
    async def main() -> None:
        root = LocalSource(str(tmp_path / "later"), executor)
        assert await outcome(root, b"a.txt") == errno.ENOENT
        (tmp_path / "later").mkdir()
        assert await outcome(root, b"a.txt") == errno.ENOENT
        (tmp_path / "later" / "a.txt").write_text("a")
        assert await outcome(root, b"a.txt") == b"a"

    asyncio.run(main())


def test_a_root_that_is_no_folder(media: Path, resolver: str, executor: Workers) -> None:
    assert (
        asyncio.run(outcome(LocalSource(str(media / "a.txt"), executor), b"a.txt")) == errno.ENOTDIR
    )


def swap_by_renames(media: Path, new: Path) -> None:
    media.rename(media.parent / "old")
    new.rename(media)


def turn_the_link(media: Path, new: Path) -> None:
    os.symlink(new, media.parent / "turned")
    (media.parent / "turned").rename(media)


@pytest.mark.parametrize("swap", [swap_by_renames, turn_the_link])
def test_a_root_that_is_swapped(
    swap: Callable[[Path, Path], None],
    media: Path,
    resolver: str,
    executor: Workers,
    clock: Clock,
) -> None:
    if swap is turn_the_link:
        media.rename(media.parent / "first")
        media.symlink_to("first")
    new = media.parent / "new"
    new.mkdir()
    (new / "a.txt").write_text("new")
    (new / "c.txt").write_text("c")

    async def main() -> None:
        root = LocalSource(str(media), executor)
        assert [await outcome(root, b"a.txt") for _ in range(2)] == [b"a"] * 2
        swap(media, new)
        clock.moment += 1
        assert [await outcome(root, b"a.txt") for _ in range(2)] == [b"new"] * 2
        assert await outcome(root, b"c.txt") == b"c"
        assert await outcome(root, b"folder/b.txt") == errno.ENOENT

    asyncio.run(main())


def test_a_root_that_goes(media: Path, resolver: str, executor: Workers, clock: Clock) -> None:
    async def main() -> None:
        root = LocalSource(str(media), executor)
        assert await outcome(root, b"a.txt") == b"a"
        os.rename(media, media.parent / "gone")
        clock.moment += 1
        assert [await outcome(root, b"a.txt") for _ in range(2)] == [errno.ENOENT] * 2
        os.rename(media.parent / "gone", media)
        assert [await outcome(root, b"a.txt") for _ in range(2)] == [b"a"] * 2

    asyncio.run(main())


def test_a_removed_file_is_gone_at_once(media: Path, resolver: str, executor: Workers) -> None:
    async def main() -> None:
        root = LocalSource(str(media), executor)
        assert await outcome(root, b"a.txt") == b"a"
        (media / "a.txt").unlink()
        assert await outcome(root, b"a.txt") == errno.ENOENT
        (media / "a.txt").write_text("again")
        assert await outcome(root, b"a.txt") == b"again"

    asyncio.run(main())


def test_one_descriptor_of_the_root_is_held(
    media: Path, resolver: str, executor: Workers, clock: Clock
) -> None:
    async def main() -> LocalSource:
        root = LocalSource(str(media), executor)
        for _ in range(20):
            await asyncio.gather(*[outcome(root, b"a.txt") for _ in range(10)])
            clock.moment += 1
        return root

    root = asyncio.run(main())
    idle(executor, THREADS)
    assert len(opened(media)) <= 1
    del root
    assert opened(media) == []


def test_a_root_that_nobody_asks_is_let_go(
    media: Path, resolver: str, executor: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that its file system may be unmounted; and one timer is enough, whatever is asked."""
    monkeypatch.setattr(local, "_IDLE", 0.2)

    async def main() -> None:
        root = LocalSource(str(media), executor)
        loop = asyncio.get_running_loop()
        timers: list[object] = []
        call_later = loop.call_later

        def counted(delay: float, call: Any, *args: Any, **kwargs: Any) -> Any:
            if call == root._let_go:
                timers.append(call)
            return call_later(delay, call, *args, **kwargs)

        monkeypatch.setattr(loop, "call_later", counted)
        for _ in range(2):
            timers.clear()
            for _ in range(50):
                assert await outcome(root, b"a.txt") == b"a"
            assert len(timers) <= 5
            async with asyncio.timeout(10):
                while opened(media):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)

    asyncio.run(main())


def test_an_idle_server_lets_go_of_its_file_system(tmp_path: Path, executor: Workers) -> None:
    command = [program("mount"), "-t", "tmpfs", "none", tmp_path]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("may not mount anything")

    async def main() -> None:
        root = LocalSource(str(tmp_path), executor)
        (tmp_path / "a.txt").write_text("a")
        assert await outcome(root, b"a.txt") == b"a"
        async with asyncio.timeout(60):
            while True:
                umount = await asyncio.create_subprocess_exec(
                    "umount", tmp_path, stderr=subprocess.DEVNULL
                )
                if await umount.wait() == 0:
                    return
                await asyncio.sleep(0.1)

    try:
        asyncio.run(main())
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=False, capture_output=True)


@pytest.mark.parametrize("name", [b"nope", b"folder", b"link", b"a.txt/x"])
def test_a_miss_leaves_nothing_open(
    name: bytes, media: Path, resolver: str, executor: Workers
) -> None:
    (media / "link").symlink_to("/etc/passwd")

    async def main() -> None:
        root = LocalSource(str(media), executor)
        for _ in range(30):
            assert not isinstance(await outcome(root, name), bytes)

    gc.disable()  # what a cycle holds would be closed now and then only
    try:
        asyncio.run(main())
        idle(executor, THREADS)
        assert becomes(lambda: len(opened(media)) <= 1)
    finally:
        gc.enable()


# --- Another location's files -------------------------------------------------------------------


@pytest.fixture
def guarded(media: Path) -> Path:
    (media / "private").mkdir()
    (media / "private" / "deep").mkdir()
    (media / "private2").mkdir()
    (media / "private" / "x.txt").write_bytes(SECRET)
    (media / "private" / "deep" / "x.txt").write_bytes(SECRET)
    (media / "private2" / "x.txt").write_text("x")
    (media / "link").symlink_to("private/x.txt")
    (media / "folder-link").symlink_to("private")
    (media / "absolute").symlink_to(media / "private" / "x.txt")
    (media / "folder" / "up").symlink_to("../private/deep")
    return media


def excluded(*folders: Path) -> list[ExcludedFolder]:
    return [ExcludedFolder(Place(str(folder))) for folder in folders]


@pytest.mark.parametrize("follow_symlinks", [False, True])
def test_guarded_folders(
    follow_symlinks: bool, guarded: Path, resolver: str, executor: Workers
) -> None:
    root = LocalSource(
        str(guarded),
        executor,
        follow_symlinks=follow_symlinks,
        excluded=excluded(guarded / "private", guarded / "nothing-yet"),
    )
    refused = [
        b"private/x.txt",
        b"private/deep/x.txt",
        b"link",
        b"folder-link/x.txt",
        b"folder-link/deep/x.txt",
        b"absolute",
        b"folder/up/x.txt",
    ]

    async def main() -> None:
        for _ in range(2):
            for name in refused:
                assert not isinstance(await outcome(root, name), bytes)
            assert await outcome(root, b"a.txt") == b"a"
            assert await outcome(root, b"private2/x.txt") == b"x"

    asyncio.run(main())
    assert opened_files(guarded) == []


def test_a_guarded_folder_that_is_a_link(
    guarded: Path, resolver: str, executor: Workers, clock: Clock
) -> None:
    (guarded / "named").symlink_to("private")
    root = LocalSource(str(guarded), executor, excluded=excluded(guarded / "named"))

    async def main() -> None:
        for _ in range(2):
            assert not isinstance(await outcome(root, b"named/x.txt"), bytes)
            assert await outcome(root, b"private/x.txt") is FileMissingError
            assert await outcome(root, b"private2/x.txt") == b"x"
        (guarded / "named").unlink()
        (guarded / "named").symlink_to("private2")
        clock.moment += 1
        for _ in range(2):
            assert await outcome(root, b"private2/x.txt") is FileMissingError

    asyncio.run(main())


# --- The event loop's thread --------------------------------------------------------------------


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


def drop(path: Path) -> None:
    """Take a file out of the page cache.

    Whether that worked must not be asked by reading: the kernel would begin to read ahead.
    """
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        for _ in range(3000):  # on a busy machine a page may be in use for a moment
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            if not resident(file.fileno()):
                return
            time.sleep(0.01)


def resident(fd: int) -> bool:
    """mincore(2): is anything of the file in the page cache?"""
    size = os.fstat(fd).st_size
    with mmap.mmap(fd, size, mmap.MAP_PRIVATE) as mapping:
        pages = ctypes.create_string_buffer(size // mmap.PAGESIZE + 1)
        first = ctypes.c_char.from_buffer(mapping)
        ctypes.CDLL(None).mincore(ctypes.byref(first), ctypes.c_size_t(size), pages)
        del first
        return any(page & 1 for page in pages.raw)


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


def test_the_loop_does_not_wait_for_the_disk(
    cold: Path, resolver: str, executor: Workers, watched: list[str], clock: Clock
) -> None:
    content = cold.read_bytes()

    async def main() -> None:
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

    asyncio.run(main())


@pytest.mark.skipif(not KERNEL.cached, reason="no RESOLVE_CACHED")
def test_what_is_cached_is_opened_and_read_on_the_loop(
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
    asyncio.run(main())


@pytest.mark.skipif("openat2" not in RESOLVERS, reason="no openat2")
@pytest.mark.parametrize(
    ("error", "worker"), [(errno.EAGAIN, True), (errno.EXDEV, True), (errno.EMFILE, False)]
)
def test_open_now_that_fails(
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
    asyncio.run(main())


def test_a_file_system_with_a_server_behind_it(
    media: Path, executor: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KERNEL, "is_local", lambda fd: False)

    async def main() -> None:
        root = LocalSource(str(media), executor)
        for _ in range(2):
            assert await outcome(root, b"a.txt") == b"a"
            assert root.open_nowait(b"a.txt", WHOLE) is None

    asyncio.run(main())


# --- Reading ------------------------------------------------------------------------------------


@pytest.fixture
def file(media: Path, executor: Workers) -> Iterator[LocalFile]:
    (media / "digits").write_bytes(b"0123456789")
    file = asyncio.run(LocalSource(str(media), executor).open(b"digits", WHOLE))
    yield file
    with contextlib.suppress(OSError):
        file.close()


def test_read_now(file: LocalFile, monkeypatch: pytest.MonkeyPatch) -> None:
    if file.read_nowait(0, 1) is None:
        pytest.skip("this file system has no RWF_NOWAIT")
    first = file.read_nowait(0, 4)
    assert first == b"0123"
    assert file.read_nowait(4, 3) == b"456"
    assert file.read_nowait(8, 100) == b"89"
    assert file.read_nowait(8, 100_000) == b"89"
    assert file.read_nowait(10, 5) == b""
    assert file.read_nowait(1000, 5) == b""
    assert first == b"0123"  # what was read stays what it was


def test_spans_of_every_size(media: Path, executor: Workers) -> None:
    content = os.urandom(600_000)
    (media / "large").write_bytes(content)
    file = asyncio.run(LocalSource(str(media), executor).open(b"large", WHOLE))
    try:
        got = {}
        for count in (1, 4096, 16 * 1024, 16 * 1024 + 1, 100_000, 256 * 1024, 500_000, 5):
            got[count] = file.read_nowait(7, count)
        for count, data in got.items():
            if data is None:
                pytest.skip("this file system has no RWF_NOWAIT")
            assert data == content[7 : 7 + len(data)]
            assert 0 < len(data) <= count
    finally:
        file.close()


def test_read(file: LocalFile, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        assert await file._read(2, 3) == b"234"
        assert await file._read(8, 100) == b"89"
        assert await file._read(10, 1) == b""

    async def many() -> None:
        assert await asyncio.gather(*[file._read(n, 1) for n in range(10)]) == [
            b"%d" % n for n in range(10)
        ]

    asyncio.run(main())
    asyncio.run(many())
    # Where there is no positional read, one reads after the other.
    monkeypatch.delattr(os, "pread")
    asyncio.run(main())


def test_the_kernel_is_told_what_comes_next(
    file: LocalFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    advice = []
    if not hasattr(os, "posix_fadvise"):
        pytest.skip("no posix_fadvise")
    monkeypatch.setattr(os, "posix_fadvise", lambda *args: advice.append(args))
    assert asyncio.run(_read(file, 2, 3)) == b"234"
    assert advice == [(file.fd, 5, 1024 * 1024, os.POSIX_FADV_WILLNEED)]
    # It is advice only.
    monkeypatch.setattr(os, "posix_fadvise", Failing(errno.EINVAL))
    assert asyncio.run(_read(file, 2, 3)) == b"234"


async def _read(file: LocalFile, *args: int) -> bytes:
    return await file._read(*args)


async def _stream(file: LocalFile, start: int, stop: int, size: int = 2) -> list[bytes]:
    async with contextlib.aclosing(file.stream(start, stop, lambda: size)) as chunks:
        return [chunk async for chunk in chunks]


@pytest.mark.parametrize("is_cached", [True, False])
def test_a_file_is_streamed_in_chunks(
    is_cached: bool, file: LocalFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_cached:
        monkeypatch.setattr(os, "preadv", Failing(errno.EAGAIN))
    assert asyncio.run(_stream(file, 1, 8, 3)) == [b"123", b"456", b"7"]
    assert asyncio.run(_stream(file, 4, 4)) == []
    with pytest.raises(TruncatedFileError, match="the file ends at byte 10"):
        asyncio.run(_stream(file, 8, 12))


@pytest.mark.parametrize("error", [errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EPERM])
def test_where_there_is_no_rwf_nowait(
    error: int, file: LocalFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_file, "_refusing_nowait", set())
    preadv = Failing(error)
    monkeypatch.setattr(os, "preadv", preadv)
    for _ in range(3):
        assert file.read_nowait(0, 5) is None
    assert preadv.calls == 1  # asked once, and then no more
    assert asyncio.run(_read(file, 0, 5)) == b"01234"


def test_read_now_that_would_wait(file: LocalFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_file, "_refusing_nowait", set())
    preadv = Failing(errno.EAGAIN)
    monkeypatch.setattr(os, "preadv", preadv)
    for _ in range(3):
        assert file.read_nowait(0, 5) is None
    assert preadv.calls == 3  # the next time it may be there


def test_read_now_that_fails(file: LocalFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "preadv", Failing(errno.EIO))
    with pytest.raises(FileReadError, match="Input/output error at byte 3"):
        file.read_nowait(3, 5)
    monkeypatch.setattr(os, "preadv", Failing(errno.EAGAIN))
    monkeypatch.setattr(os, "pread", Failing(errno.EIO))
    with pytest.raises(FileReadError, match="Input/output error at byte 3"):
        asyncio.run(_stream(file, 3, 5))


def test_no_rwf_nowait_at_all(file: LocalFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_file, "_RWF_NOWAIT", 0)
    monkeypatch.setattr(os, "preadv", Failing(errno.EIO))
    assert file.read_nowait(0, 5) is None


def test_is_cached(cold: Path, executor: Workers) -> None:
    file = asyncio.run(LocalSource(str(cold.parent), executor).open(b"cold", WHOLE))
    try:
        size = file.info.size
        assert not file.is_cached(0, size)
        os.pread(file.fd, size, 0)
        if KERNEL.cached_pages(file.fd, 0, 1) is None:
            pytest.skip("no cachestat")
        assert file.is_cached(0, size)
        assert file.is_cached(size - 1, 1)
        assert not file.is_cached(size - 1, 2)  # there is no such byte
        drop(cold)
        assert not file.is_cached(0, size)
    finally:
        file.close()


def test_without_cachestat_nothing_is_cached(
    file: LocalFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(error: int) -> Callable[..., int]:
        def call(*args: Any) -> int:
            ctypes.set_errno(error)
            calls.append(error)
            return -1

        return call

    calls: list[int] = []
    monkeypatch.setattr(KERNEL, "cachestat", True)
    # Of this file only: another may be ours.
    monkeypatch.setattr(KERNEL, "_cachestat", refuse(errno.EPERM), raising=False)
    assert not file.is_cached(0, 10)
    assert not file.is_cached(0, 10)
    assert calls == [errno.EPERM] * 2
    # No such call.
    monkeypatch.setattr(KERNEL, "_cachestat", refuse(errno.ENOSYS))
    assert not file.is_cached(0, 10)
    assert not file.is_cached(0, 10)
    assert calls == [errno.EPERM] * 2 + [errno.ENOSYS]


# --- A descriptor's life ------------------------------------------------------------------------


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def closes(fd: int) -> bool:
    """A thread that has no more to do may still have its last callback to call."""
    return becomes(lambda: not is_open(fd))


def becomes(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    return condition()


@pytest.fixture
def descriptor(monkeypatch: pytest.MonkeyPatch) -> Iterator[Descriptor]:
    """One that must be closed exactly once."""
    fd = os.open(os.devnull, os.O_RDONLY)
    close = os.close
    closed = []

    def closing(number: int) -> None:
        if number == fd:
            closed.append(number)
            if len(closed) > 1:
                return
        close(number)

    monkeypatch.setattr(os, "close", closing)
    yield Descriptor(fd)
    assert closed == [fd]


def test_a_descriptor_that_nobody_uses(descriptor: Descriptor) -> None:
    assert is_open(descriptor.fd)
    descriptor.close()
    assert closes(descriptor.fd)


def test_a_descriptor_that_is_in_use(descriptor: Descriptor, executor: Workers) -> None:
    gate = Gate(os.fstat)

    async def main() -> None:
        call = in_worker(executor, (descriptor,), gate, descriptor.fd)
        assert await asyncio.to_thread(gate.reached.wait, 60)
        descriptor.close()
        assert is_open(descriptor.fd)
        gate.open.set()
        assert (await call).st_rdev == os.stat(os.devnull).st_rdev

    asyncio.run(main())
    idle(executor, THREADS)
    assert closes(descriptor.fd)
    assert gate.threads[0].startswith("media-asgi")


def test_a_call_that_nobody_waits_for_any_more(descriptor: Descriptor, executor: Workers) -> None:
    gate = Gate(os.fstat)

    async def wait() -> None:
        try:
            await in_worker(executor, (descriptor,), gate, descriptor.fd)
        finally:
            descriptor.close()

    async def main() -> None:
        waiting = asyncio.create_task(wait())
        assert await asyncio.to_thread(gate.reached.wait, 60)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert is_open(descriptor.fd)

    asyncio.run(main())
    assert is_open(descriptor.fd)  # even now that the loop is closed
    gate.open.set()
    idle(executor, THREADS)
    assert closes(descriptor.fd)


def test_a_call_given_up_before_it_began(descriptor: Descriptor, executor: Workers) -> None:
    seen = []

    async def main() -> None:
        call = in_worker(executor, (descriptor,), lambda: seen.append(is_open(descriptor.fd)))
        call.cancel()
        descriptor.close()
        for _ in range(5):
            await asyncio.sleep(0)

    asyncio.run(main())
    idle(executor, THREADS)
    assert seen in ([], [True])  # if it is made at all, then on an open one
    assert closes(descriptor.fd)


@pytest.mark.parametrize("turns", range(5))
def test_a_read_given_up_leaves_the_next_owner_of_its_number_alone(
    turns: int, media: Path, executor: Workers
) -> None:
    async def main() -> int:
        file = await LocalSource(str(media), executor).open(b"a.txt", WHOLE)
        reading = asyncio.create_task(_read(file, 0, 10))
        for _ in range(turns):
            await asyncio.sleep(0)
        reading.cancel()
        file.close()
        with contextlib.suppress(asyncio.CancelledError):
            await reading
        return os.open(os.devnull, os.O_RDONLY)  # likely to get the number

    other = asyncio.run(main())
    idle(executor, THREADS)
    assert is_open(other)
    os.close(other)
    assert opened_files(media) == []


def test_a_call_that_fails(descriptor: Descriptor, executor: Workers) -> None:
    async def main() -> None:
        with pytest.raises(OSError, match="Input/output"):
            await in_worker(executor, (descriptor,), Failing(errno.EIO))
        assert is_open(descriptor.fd)
        descriptor.close()

    asyncio.run(main())
    idle(executor, THREADS)
    assert closes(descriptor.fd)


def test_an_executor_that_takes_no_more(descriptor: Descriptor) -> None:
    executor = Workers(1)
    executor.shutdown()

    async def main() -> None:
        with pytest.raises(RuntimeError):
            await in_worker(executor, (descriptor,), os.fstat, descriptor.fd)
        assert is_open(descriptor.fd)
        descriptor.close()

    asyncio.run(main())
    assert closes(descriptor.fd)


def test_an_executor_that_drops_what_it_took(descriptor: Descriptor) -> None:
    executor = Workers(1)
    gate = Gate(int)
    seen = []

    async def main() -> None:
        executor.submit(gate)
        call = in_worker(executor, (descriptor,), seen.append, True)
        await asyncio.sleep(0.01)
        descriptor.close()
        assert is_open(descriptor.fd)
        executor.shutdown(wait=False, cancel_futures=True)
        with pytest.raises(asyncio.CancelledError):
            await call

    try:
        asyncio.run(main())
    finally:
        gate.open.set()
        executor.shutdown()
    assert seen == []
    assert closes(descriptor.fd)


def test_many_users(descriptor: Descriptor, executor: Workers) -> None:
    async def main() -> None:
        calls = [in_worker(executor, (descriptor,), os.fstat, descriptor.fd) for _ in range(200)]
        descriptor.close()
        assert len({(await call).st_ino for call in calls}) == 1

    asyncio.run(main())
    idle(executor, THREADS)
    assert closes(descriptor.fd)


@pytest.mark.parametrize("used", [False, True])
def test_a_file_is_closed_once(used: bool, media: Path, executor: Workers) -> None:
    file = asyncio.run(LocalSource(str(media), executor).open(b"a.txt", WHOLE))
    if used:
        asyncio.run(_read(file, 0, 1))
        idle(executor, THREADS)
    assert opened_files(media) == ["a.txt"]
    file.close()
    assert opened_files(media) == []


@pytest.mark.parametrize("name", [b"a.txt", b"nope"])
def test_an_open_that_nobody_waits_for_any_more(
    name: bytes,
    media: Path,
    resolver: str,
    executor: Workers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = LocalSource(str(media), executor)
    gate = Gate(root._open)
    monkeypatch.setattr(root, "_open", gate)

    async def main() -> None:
        opening = asyncio.create_task(root.open(name, WHOLE))
        assert await asyncio.to_thread(gate.reached.wait, 60)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening

    asyncio.run(main())
    gate.open.set()
    idle(executor, THREADS)
    assert opened_files(media) == []


@pytest.mark.parametrize("turns", range(4))
def test_an_open_given_up_once_it_has_ended(
    turns: int, media: Path, resolver: str, executor: Workers
) -> None:
    # It has, in its thread; and the loop may or may not have heard of it.
    async def main() -> None:
        opening = asyncio.create_task(LocalSource(str(media), executor).open(b"a.txt", WHOLE))
        await asyncio.sleep(0)
        idle(executor, THREADS)
        for _ in range(turns):
            await asyncio.sleep(0)
        opening.cancel()
        try:
            file = await opening
        except asyncio.CancelledError:
            pass
        else:
            file.close()

    asyncio.run(main())
    idle(executor, THREADS)
    assert opened_files(media) == []


# --- The kernel ---------------------------------------------------------------------------------


def linux(*version: int) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    numbers = os.uname().release.split("-")[0].split(".")
    return tuple(int(number) for number in numbers[:2]) >= version


@pytest.mark.skipif(not linux(5, 12), reason="before Linux 5.12")
def test_this_kernel() -> None:
    kernel = Kernel()
    assert kernel.openat2
    assert kernel.cached


def test_another_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    kernel = Kernel()
    assert not kernel.openat2
    assert not kernel.cached
    assert not kernel.cachestat


@pytest.mark.skipif(not linux(2), reason="no Linux")
@pytest.mark.parametrize(
    ("error", "of_cached_alone", "openat2", "cached"),
    [
        pytest.param(errno.ENOSYS, False, False, False, id="before-5.6"),
        pytest.param(errno.EPERM, False, False, False, id="seccomp"),
        pytest.param(errno.EACCES, False, False, False, id="another-seccomp"),
        pytest.param(errno.EINVAL, True, True, False, id="before-5.12"),
        pytest.param(errno.EAGAIN, True, True, True, id="not-cached-now"),
    ],
)
def test_older_kernels(
    error: int,
    of_cached_alone: bool,
    openat2: bool,
    cached: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def syscall(library: Any, *types: Any) -> Callable[..., int]:
        def call(number: int, folder: int, name: bytes, how: Any, size: int) -> int:
            if number != 437 or (of_cached_alone and not how.contents.resolve & 0x20):
                return os.open(os.devnull, os.O_RDONLY)
            ctypes.set_errno(error)
            return -1

        return call

    monkeypatch.setattr("media_asgi.sources.openat2._syscall", syscall)
    kernel = Kernel()
    assert (kernel.openat2, kernel.cached) == (openat2, cached)


@pytest.mark.skipif(not linux(2), reason="no Linux")
def test_local_file_systems(tmp_path: Path) -> None:
    local = {0xEF53, 0x58465342, 0x9123683E, 0x01021994, 0x794C7630, 0x2FC12FC1, 0xF2F52010}
    told = subprocess.run(
        ["stat", "--file-system", "--format=%t", tmp_path], capture_output=True, check=True
    )
    with open(tmp_path / "a", "wb") as file:
        assert KERNEL.is_local(file.fileno()) == (int(told.stdout, 16) in local)
    with open("/proc/self/status", "rb") as file:
        assert not KERNEL.is_local(file.fileno())
    assert not KERNEL.is_local(-1)
