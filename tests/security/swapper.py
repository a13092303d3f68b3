"""
Swaps files, folders and links beneath a root for what leads out of it, as fast as it can.

Each pair of names is exchanged in one step (renameat2(2) with RENAME_EXCHANGE), so that every name
is always there, and is now the one and now the other.
"""

import ctypes
import itertools
import os
import sys
from pathlib import Path

AT_FDCWD, RENAME_EXCHANGE = -100, 2

PUBLIC = b"public, all of it\n"
SECRET = b"SECRET: from outside the root\n"
# Above the span, and above what goes out in one message: for sendfile and pathsend.
LARGE = 300 * 1024

# What is asked for, and which of it is large.
NAMES = {
    "file": False,
    "large": True,
    "folder/file": False,
    "folder/large": True,
    "a/b/file": False,
    "up": False,
    "x/y/up": False,
    "y/up": False,
    "around/file": False,
    "through/file": False,
    "fifo": False,
}


def content(of: bytes, *, large: bool) -> bytes:
    return of * (LARGE // len(of) if large else 1)


def lay(base: Path) -> Path:
    """The root, with the names and what they are to be swapped for; the secrets beside it."""
    root = base / "root"
    outside = base / "outside"
    for folder in ("folder", "a/b", "x/y", "safe", "evil", "around"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (outside / "b").mkdir(parents=True)
    (base / "safe").mkdir()
    for place, of in ((root, PUBLIC), (outside, SECRET)):
        (place / "file").write_bytes(content(of, large=False))
        (place / "large").write_bytes(content(of, large=True))
    for name, large in (("file", False), ("large", True)):
        (root / "folder" / name).write_bytes(content(PUBLIC, large=large))
    (root / "a/b/file").write_bytes(PUBLIC)
    (root / "around/file").write_bytes(PUBLIC)
    (outside / "b" / "file").write_bytes(SECRET)
    # The same path beneath the root, and one above it: what "..", taken too often, leads to.
    (root / "safe/file").write_bytes(PUBLIC)
    (base / "safe/file").write_bytes(SECRET)

    (root / "file-out").symlink_to("../outside/file")
    (root / "large-out").symlink_to(outside / "large")
    (root / "folder-out").symlink_to("../outside")
    (root / "b-out").symlink_to(outside / "b")
    # A link that stays below, and one of the same name that climbs out.
    (root / "up").symlink_to("safe/file")
    (root / "up-out").symlink_to("../safe/file")
    # Good where it lies, and too high as soon as its folder has moved up.
    (root / "x/y/up").symlink_to("../../safe/file")
    (root / "around-out").symlink_to("x/../../outside")
    (root / "through").symlink_to("folder")
    os.mkfifo(root / "fifo")
    (root / "fifo-out").symlink_to("../outside/file")
    (root / "y").mkdir()
    return root


# Exchanged: each with its counterpart.
PAIRS = [
    ("file", "file-out"),
    ("large", "large-out"),
    ("folder", "folder-out"),
    ("a/b", "b-out"),
    ("up", "up-out"),
    ("x/y", "y"),
    ("around", "around-out"),
    ("fifo", "fifo-out"),
]


def swap(root: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    os.chdir(root)
    pairs = [(first.encode(), second.encode()) for first, second in PAIRS]
    for first, second in itertools.cycle(pairs):
        if libc.renameat2(AT_FDCWD, first, AT_FDCWD, second, RENAME_EXCHANGE) != 0:
            raise OSError(ctypes.get_errno(), "renameat2", first)
        if os.getppid() == 1:
            return


if __name__ == "__main__":
    swap(Path(sys.argv[1]))
