import asyncio
import contextlib
import errno
import gc
import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from media_asgi.sources import local
from media_asgi.sources.base import (
    FileMissingError,
)
from media_asgi.sources.guard import ExcludedFolder, Place
from media_asgi.sources.local import LocalSource
from media_asgi.sources.openat2 import KERNEL
from media_asgi.sources.workers import Workers

from ...support.programs import program
from ..support import RESOLVERS, Clock, Failing, idle, opened, opened_files, resolve_by
from .support import SECRET, THREADS, Outcome, becomes, outcome, read_file

pytestmark = pytest.mark.anyio


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
    for beside in top.iterdir():
        assert beside.name in ("root", "root-secret", "root-twin", "secret.txt")


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


FOLLOWED: dict[bytes, Outcome] = {
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
async def test_what_each_name_opens(
    name: bytes, expected: Outcome, tree: Path, resolver: str, executor: Workers
) -> None:
    if name == b"device" and not (tree / "device").exists():
        pytest.skip("devices are made by root alone")

    async def main() -> list[Outcome]:
        root = LocalSource(str(tree), executor)
        first = await outcome(root, name)
        await outcome(root, b"a.txt")  # from here on the folder is held
        return [first, await outcome(root, name), await outcome(root, name)]

    # The first is opened in a worker; the others on the loop, as far as they can be.
    try:
        outcomes = await main()
    finally:
        with contextlib.suppress(OSError):  # let go whoever waits for a writer, and shouldn't
            os.close(os.open(tree / "fifo", os.O_WRONLY | os.O_NONBLOCK))
    if resolver == "name" and (name, expected) in THROUGH_LINKS:
        assert not any(isinstance(end, bytes) for end in outcomes)  # no link is followed there
    else:
        assert outcomes == [expected] * 3
    assert opened_files(tree) == []


async def test_an_endless_name(tree: Path, resolver: str, executor: Workers) -> None:
    end = await outcome(LocalSource(str(tree), executor), b"folder/" * 2000 + b"x")
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
async def test_follow_symlinks(
    name: bytes, expected: Outcome, tree: Path, resolver: str, executor: Workers
) -> None:
    async def main() -> list[Outcome]:
        root = LocalSource(str(tree), executor, follow_symlinks=True)
        first = await outcome(root, name)
        await outcome(root, b"a.txt")
        return [first, await outcome(root, name)]

    assert await main() == [expected] * 2
    assert opened_files(tree) == []


async def test_links_into_allowed_folders(tree: Path, resolver: str, executor: Workers) -> None:
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

    ends = await main()
    if resolver == "name":  # which tells one reason for all that is no file of the root
        assert {name for name, end in ends.items() if isinstance(end, bytes)} == {
            name for name, end in expected.items() if isinstance(end, bytes)
        }
    else:
        assert ends == expected
    assert opened(tree.parent / "root-secret") == []
    assert opened_files(tree) == []


async def test_an_allowed_folder_that_is_swapped_while_a_link_is_resolved(
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
        assert await outcome(root, b"link") == errno.EXDEV
        (media.parent / "shared" / "folder").unlink()
        (media.parent / "shared" / "old").rename(media.parent / "shared" / "folder")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc")
@pytest.mark.parametrize("name", [b"cwd/etc/passwd", b"root/etc/passwd", b"exe", b"fd/0", b"fd/1"])
async def test_magic_links_lead_nowhere(name: bytes, resolver: str, executor: Workers) -> None:
    # They name no path that could be looked at.
    end = await outcome(LocalSource("/proc/self", executor), name)
    assert end in (FileMissingError, errno.ELOOP, errno.EXDEV, errno.ENOENT, errno.ENOTDIR)


async def test_an_unreadable_file(resolver: str, executor: Workers) -> None:
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

            assert await main() == [b"a", errno.EACCES, errno.EACCES, errno.EACCES]
        finally:
            if is_root:
                os.seteuid(0)
            (root / "closed").chmod(0o700)


async def test_a_mount_below_the_root(tmp_path: Path, resolver: str, executor: Workers) -> None:
    (tmp_path / "mount").mkdir()
    (tmp_path / "a.txt").write_text("a")
    command = [program("mount"), "-t", "tmpfs", "none", str(tmp_path / "mount")]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("may not mount anything")
    try:
        (tmp_path / "mount" / "b.txt").write_text("b")
        root = LocalSource(str(tmp_path), executor)

        async def main() -> list[Outcome]:
            return [await outcome(root, name) for name in (b"a.txt", b"mount/b.txt") * 2]

        assert await main() == [b"a", b"b"] * 2
    finally:
        subprocess.run(["umount", "-l", tmp_path / "mount"], check=True)


@pytest.mark.parametrize("swapped", ["folder", "folder/b.txt"])
async def test_a_swap_while_walking(
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
    end = await outcome(LocalSource(str(media), executor), b"folder/b.txt")
    assert (media / "old").exists()
    assert end in (errno.ELOOP, errno.ENOTDIR)


async def test_a_folder_that_leaves_while_walking(
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
    assert (await outcome(LocalSource(str(media), executor), b"link")) == b"a"


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
        # A loop of its own, which ends in the test: until then its timer keeps the source, and so
        # the root's descriptor.
        ends = asyncio.run(main())
    finally:
        ended.set()
        swapper.join()
    assert SECRET not in ends
    assert opened_files(media.parent) == []


@pytest.mark.skipif("openat2" not in RESOLVERS, reason="no openat2")
async def test_eagain_is_asked_again(
    media: Path, executor: Workers, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    root = LocalSource(str(media), executor)
    raced = Failing(errno.EAGAIN, KERNEL.open, times=3)
    monkeypatch.setattr(KERNEL, "open", raced)
    assert await read_file(root, b"a.txt") == b"a"
    assert raced.calls == 4
    assert len(clock.slept) == 3


@pytest.mark.skipif("openat2" not in RESOLVERS, reason="no openat2")
async def test_eagain_is_not_asked_for_ever(
    media: Path, executor: Workers, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    root = LocalSource(str(media), executor)
    raced = Failing(errno.EAGAIN)
    monkeypatch.setattr(KERNEL, "open", raced)
    assert await outcome(root, b"a.txt") == errno.EAGAIN
    assert 1 < raced.calls < 100
    assert sum(clock.slept) < 2
    assert opened_files(media) == []


async def test_a_root_that_comes_later(tmp_path: Path, resolver: str, executor: Workers) -> None:
    root = LocalSource(str(tmp_path / "later"), executor)
    assert await outcome(root, b"a.txt") == errno.ENOENT
    (tmp_path / "later").mkdir()
    assert await outcome(root, b"a.txt") == errno.ENOENT
    (tmp_path / "later" / "a.txt").write_text("a")
    assert await outcome(root, b"a.txt") == b"a"


async def test_a_root_that_is_no_folder(media: Path, resolver: str, executor: Workers) -> None:
    assert (await outcome(LocalSource(str(media / "a.txt"), executor), b"a.txt")) == errno.ENOTDIR


def swap_by_renames(media: Path, new: Path) -> None:
    media.rename(media.parent / "old")
    new.rename(media)


def turn_the_link(media: Path, new: Path) -> None:
    os.symlink(new, media.parent / "turned")
    (media.parent / "turned").rename(media)


@pytest.mark.parametrize("swap", [swap_by_renames, turn_the_link])
async def test_a_root_that_is_swapped(
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

    root = LocalSource(str(media), executor)
    assert [await outcome(root, b"a.txt") for _ in range(2)] == [b"a"] * 2
    swap(media, new)
    clock.moment += 1
    assert [await outcome(root, b"a.txt") for _ in range(2)] == [b"new"] * 2
    assert await outcome(root, b"c.txt") == b"c"
    assert await outcome(root, b"folder/b.txt") == errno.ENOENT


async def test_a_root_that_goes(
    media: Path, resolver: str, executor: Workers, clock: Clock
) -> None:
    root = LocalSource(str(media), executor)
    assert await outcome(root, b"a.txt") == b"a"
    os.rename(media, media.parent / "gone")
    clock.moment += 1
    assert [await outcome(root, b"a.txt") for _ in range(2)] == [errno.ENOENT] * 2
    os.rename(media.parent / "gone", media)
    assert [await outcome(root, b"a.txt") for _ in range(2)] == [b"a"] * 2


async def test_a_removed_file_is_gone_at_once(
    media: Path, resolver: str, executor: Workers
) -> None:
    root = LocalSource(str(media), executor)
    assert await outcome(root, b"a.txt") == b"a"
    (media / "a.txt").unlink()
    assert await outcome(root, b"a.txt") == errno.ENOENT
    (media / "a.txt").write_text("again")
    assert await outcome(root, b"a.txt") == b"again"


def test_one_descriptor_of_the_root_is_held(
    media: Path, resolver: str, executor: Workers, clock: Clock
) -> None:
    async def main() -> LocalSource:
        root = LocalSource(str(media), executor)
        for _ in range(20):
            await asyncio.gather(*[outcome(root, b"a.txt") for _ in range(10)])
            clock.moment += 1
        return root

    # A loop of its own, which ends in the test: until then its timer keeps the source, and so the
    # root's descriptor.
    root = asyncio.run(main())
    idle(executor, THREADS)
    assert len(opened(media)) <= 1
    del root
    assert opened(media) == []


async def test_a_root_that_nobody_asks_is_let_go(
    media: Path, resolver: str, executor: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that its file system may be unmounted; and one timer is enough, whatever is asked."""
    monkeypatch.setattr(local, "_IDLE", 0.2)

    root = LocalSource(str(media), executor)
    loop = asyncio.get_running_loop()
    timers: list[object] = []
    call_later = loop.call_later

    def counted(delay: float, call: Any, *args: Any, **kwargs: Any) -> Any:
        if call is local._let_go:
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


async def test_an_idle_server_lets_go_of_its_file_system(tmp_path: Path, executor: Workers) -> None:
    command = [program("mount"), "-t", "tmpfs", "none", str(tmp_path)]
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
        await main()
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=False, capture_output=True)


@pytest.mark.parametrize("name", [b"nope", b"folder", b"link", b"a.txt/x"])
async def test_a_miss_leaves_nothing_open(
    name: bytes, media: Path, resolver: str, executor: Workers
) -> None:
    (media / "link").symlink_to("/etc/passwd")

    async def main() -> None:
        root = LocalSource(str(media), executor)
        for _ in range(30):
            assert not isinstance(await outcome(root, name), bytes)

    gc.disable()  # what a cycle holds would be closed now and then only
    try:
        await main()
        await asyncio.to_thread(idle, executor, THREADS)
        assert await asyncio.to_thread(becomes, lambda: len(opened(media)) <= 1)
    finally:
        gc.enable()


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
async def test_guarded_folders(
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

    for _ in range(2):
        for name in refused:
            assert not isinstance(await outcome(root, name), bytes)
        assert await outcome(root, b"a.txt") == b"a"
        assert await outcome(root, b"private2/x.txt") == b"x"
    assert opened_files(guarded) == []


async def test_a_guarded_folder_that_is_a_link(
    guarded: Path, resolver: str, executor: Workers, clock: Clock
) -> None:
    (guarded / "named").symlink_to("private")
    root = LocalSource(str(guarded), executor, excluded=excluded(guarded / "named"))

    for _ in range(2):
        assert not isinstance(await outcome(root, b"named/x.txt"), bytes)
        assert await outcome(root, b"private/x.txt") is FileMissingError
        assert await outcome(root, b"private2/x.txt") == b"x"
    (guarded / "named").unlink()
    (guarded / "named").symlink_to("private2")
    clock.moment += 1
    for _ in range(2):
        assert await outcome(root, b"private2/x.txt") is FileMissingError
