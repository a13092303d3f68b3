"""What is another location's stays so, whatever is linked, renamed or swapped after the start."""

import errno
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from media_asgi import Location, MediaMiddleware, known_files
from media_asgi.sources import guard, local, memory_cache, openat2
from media_asgi.sources.guard import Place

from ..support import RESOLVERS, Clock, Failing, Gate, ask, asked, resolve_by

pytestmark = pytest.mark.anyio

SECRET = b"SECRET"


@pytest.fixture(params=RESOLVERS)
def resolver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    name: str = request.param
    resolve_by(name, monkeypatch)
    return name


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(time.time() + 3600)  # so that time stamps vouch for what is remembered
    for module in (local, guard, memory_cache, known_files):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """all/: what may be seen by all, and a private folder within; media/: may be seen by all."""
    for name, content in {
        "all/a.txt": b"all",
        "all/private/x.txt": SECRET,
        "all/private/public/x.txt": b"public",
        "media/a.txt": b"media",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (1e9, 1e9))
    return tmp_path


async def inner(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b"the application's"})


def link_root(top: Path) -> tuple[Path, Callable[[], None]]:
    (top / "root").symlink_to("media")

    def swap() -> None:
        (top / "new").symlink_to("all")
        (top / "new").rename(top / "root")

    return top / "root", swap


def link_parent(top: Path) -> tuple[Path, Callable[[], None]]:
    (top / "one" / "root").mkdir(parents=True)
    (top / "one" / "root" / "a.txt").write_bytes(b"media")
    (top / "two").mkdir()
    (top / "two" / "root").symlink_to("../all")
    (top / "parent").symlink_to("one")

    def swap() -> None:
        (top / "new").symlink_to("two")
        (top / "new").rename(top / "parent")

    return top / "parent" / "root", swap


def rename_root(top: Path) -> tuple[Path, Callable[[], None]]:
    def swap() -> None:
        (top / "media").rename(top / "old")
        (top / "all").rename(top / "media")

    return top / "media", swap


def rename_root_and_link(top: Path) -> tuple[Path, Callable[[], None]]:
    root, rename = rename_root(top)

    def swap() -> None:
        rename()
        (top / "all").symlink_to("media")

    return root, swap


SWAPS = [link_root, link_parent, rename_root, rename_root_and_link]


@pytest.mark.parametrize("prepare", SWAPS)
@pytest.mark.parametrize("access", ["internal", "signed", lambda request, path: False])
@pytest.mark.parametrize("follow_symlinks", [False, True])
async def test_a_root_that_is_swapped_to_above_a_private_folder(
    prepare: Callable[[Path], tuple[Path, Callable[[], None]]],
    access: Any,
    follow_symlinks: bool,
    top: Path,
    resolver: str,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if access == "signed":
        monkeypatch.setitem(vars(settings), "SECRET_KEY", "key")
    root, swap = prepare(top)
    application = MediaMiddleware(
        inner,
        Location(url="/media/", root=root, follow_symlinks=follow_symlinks),
        Location(url="/private/", root=top / "all" / "private", access=access),
    )

    for _ in range(3):
        assert (await asked(application, "/media/a.txt")).body == b"media"
    swap()
    clock.moment += 1
    for _ in range(3):
        assert (await asked(application, "/media/private/x.txt")).status == 404
        assert (await asked(application, "/media/a.txt")).body == b"all"


async def test_content_that_is_held_is_not_given_once_it_is_private(
    top: Path, clock: Clock
) -> None:
    """The public root's link is turned to above the private folder, and back."""
    root, swap = link_root(top)
    (top / "all" / "private" / "x.txt").rename(top / "x.txt")
    (top / "media" / "private").mkdir()
    os.link(top / "x.txt", top / "media" / "private" / "x.txt")
    os.link(top / "x.txt", top / "all" / "private" / "x.txt")
    application = MediaMiddleware(
        inner,
        Location(url="/media/", root=root),
        Location(url="/private/", root=top / "all" / "private", access="internal"),
    )

    for _ in range(3):
        assert (await asked(application, "/media/private/x.txt")).body == SECRET
    assert vars(application._handlers[1]._source)["_files"] or not openat2.KERNEL.cached
    swap()
    clock.moment += 1
    for _ in range(3):
        assert (await asked(application, "/media/private/x.txt")).status == 404


@pytest.mark.parametrize("to", ["private", "private/public"])
async def test_a_root_that_is_turned_to_a_private_folder_itself(
    to: str, top: Path, resolver: str, clock: Clock
) -> None:
    """A root within it is a root of its own, and there the file is this location's."""
    (top / "root").symlink_to("media")
    application = MediaMiddleware(
        inner,
        Location(url="/media/", root=top / "root"),
        Location(url="/private/", root=top / "all" / "private", access="internal"),
    )

    assert (await asked(application, "/media/a.txt")).body == b"media"
    (top / "new").symlink_to(f"all/{to}")
    (top / "new").rename(top / "root")
    clock.moment += 1
    for _ in range(2):
        answer = await asked(application, "/media/x.txt")
        assert answer.status == (404 if to == "private" else 200)


async def test_one_folder_that_was_given_to_two_locations(
    top: Path, resolver: str, clock: Clock
) -> None:
    """That is meant, and a check warns of it. Turned to above the folder, the root isn't meant."""
    (top / "root").symlink_to("all/private")
    application = MediaMiddleware(
        inner,
        Location(url="/media/", root=top / "root"),
        Location(url="/private/", root=top / "all" / "private", access="internal"),
    )

    assert (await asked(application, "/media/x.txt")).body == SECRET
    (top / "new").symlink_to("all")
    (top / "new").rename(top / "root")
    clock.moment += 1
    assert (await asked(application, "/media/a.txt")).body == b"all"
    assert (await asked(application, "/media/private/x.txt")).status == 404


@pytest.mark.parametrize("follow_symlinks", [False, True])
def test_a_public_root_within_a_private_one(
    follow_symlinks: bool, top: Path, resolver: str
) -> None:
    """A file is of the innermost root that holds it."""
    root = top / "all" / "private" / "public"
    if resolver != "name" or follow_symlinks:
        (root / "link").symlink_to("x.txt")
    (root / "out").symlink_to("../x.txt")
    application = MediaMiddleware(
        inner,
        Location(url="/media/", root=root, follow_symlinks=follow_symlinks),
        Location(url="/private/", root=top / "all" / "private", access="internal"),
    )
    for _ in range(2):
        assert ask(application, "/media/x.txt").body == b"public"
        if (root / "link").exists():
            assert ask(application, "/media/link").body == b"public"
        assert ask(application, "/media/out").status == 404


async def test_where_no_private_folder_is_near_files_are_opened_on_the_loop(
    top: Path, clock: Clock
) -> None:
    with open(top / "media" / "a.txt", "rb") as file:
        if not openat2.KERNEL.cached or not openat2.KERNEL.is_local(file.fileno()):
            pytest.skip("opened in a worker anyway")
    application = MediaMiddleware(
        inner,
        Location(url="/media/", root=top / "media"),
        Location(url="/private/", root=top / "all" / "private", access="internal"),
    )
    served = application._handlers[1]
    assert served.prefix == "/media/"

    await asked(application, "/media/a.txt")
    assert served._source.version_nowait(b"a.txt") is not None
    for _ in range(2):
        await asked(application, "/media/a.txt")
    assert vars(served._source)["_files"]


async def test_cached_files_beside_a_private_folder_need_no_worker(
    top: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of the location's workers wait for a disk that hangs."""
    with open(top / "media" / "a.txt", "rb") as file:
        if not openat2.KERNEL.cached or not openat2.KERNEL.is_local(file.fileno()):
            pytest.skip("opened in a worker anyway")
    (top / "media" / "private").mkdir()
    application = MediaMiddleware(
        inner,
        Location(url="/media/", root=top / "media"),
        Location(url="/private/", root=top / "all" / "private", access="internal"),
        Location(url="/within/", root=top / "media" / "private", access="internal"),
    )
    gate = Gate(int)

    async def main() -> None:
        assert (await asked(application, "/media/a.txt")).body == b"media"
        monkeypatch.setattr(local.LocalSource, "_open", gate)
        for _ in range(3):
            clock.moment += 1
            assert (await asked(application, "/media/a.txt")).body == b"media"
        assert not gate.reached.is_set()

    try:
        await main()
    finally:
        gate.open.set()


# --- X-Sendfile ---------------------------------------------------------------------------------


def handing_over(path: Path) -> Any:
    async def view(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"x-sendfile", os.fsencode(path))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    return view


async def test_x_sendfile_follows_the_root_as_it_is_now(
    top: Path, resolver: str, clock: Clock
) -> None:
    root, swap = link_root(top)
    target = {"path": top / "media" / "a.txt"}

    async def view(scope: Any, receive: Any, send: Any) -> None:
        await handing_over(target["path"])(scope, receive, send)

    application = MediaMiddleware(view, Location(url="/p/", root=root, access="internal"))

    async def answer(path: Path) -> tuple[int | None, bytes]:
        target["path"] = path
        told = await asked(application, "/view")
        return told.status, told.body

    by_link, old, new = (top / name / "a.txt" for name in ("root", "media", "all"))
    assert await answer(by_link) == await answer(old) == (200, b"media")
    assert (await answer(new))[0] == 500
    swap()
    clock.moment += 1
    assert await answer(by_link) == await answer(new) == (200, b"all")
    # Not the file of this name beneath the new root.
    assert (await answer(old))[0] == 500


# --- Where a folder lies --------------------------------------------------------------------------


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate(guard._look)
    yield gate
    gate.open.set()


async def test_a_private_disk_that_hangs_does_not_stop_the_others(
    top: Path, clock: Clock, looks: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder is where it was last."""
    root, swap = link_root(top)
    application = MediaMiddleware(
        inner,
        Location(url="/media/", root=root),
        Location(url="/private/", root=top / "all" / "private", access="internal"),
    )
    monkeypatch.setattr(guard, "_look", looks)
    monkeypatch.setattr(guard, "_PATIENCE", 0.1)

    assert (await asked(application, "/media/a.txt")).body == b"media"
    swap()
    for _ in range(3):
        clock.moment += 1
        assert (await asked(application, "/media/private/x.txt")).status == 404
        assert (await asked(application, "/media/a.txt")).body == b"all"
    assert len(looks.threads) == 1  # and that one waits on


async def test_a_folder_of_which_nothing_can_be_told_is_where_it_was_last(
    top: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(str(top / "all" / "private"))
    known = place.now()
    assert known.above
    monkeypatch.setattr(guard, "_look", Failing(errno.EIO))
    clock.moment += 1
    assert place.now() == known
    assert await place.told() is None


async def test_a_folder_is_looked_up_in_the_caller_where_no_thread_can_be_started(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(str(top / "all" / "private"))
    monkeypatch.setattr(place._workers, "submit", Failing(errno.ENOMEM))
    (top / "all").rename(top / "moved")
    (top / "all").symlink_to("moved")
    assert place.now().path == str(top / "moved" / "private")
    assert await place.told() is None
