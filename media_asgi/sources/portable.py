"""
Open a file below a folder on a kernel without openat2(2).
"""

import errno
import os
from collections.abc import Collection

from .base import FileMissingError
from .openat2 import FLAGS, FOLDER_FLAGS

# As many links as Linux follows in one path (path_resolution(7)).
_MAX_LINKS = 40


def climbs(root: str, name: str) -> bool:
    """Does a relative link in this name lead above the root? Call it after ``stat`` found no loop.

    An absolute link is allowed here: its end counts.
    """
    passed: list[str] = []
    ahead = name.split("/")[::-1]
    links = 0
    while ahead and links <= _MAX_LINKS:
        segment = ahead.pop()
        if segment == "..":
            if not passed:
                return True
            passed.pop()
        elif segment not in ("", "."):
            try:
                target = os.readlink(os.path.join(root, *passed, segment))
            except OSError:  # not a link
                passed.append(segment)
            else:
                if target.startswith("/"):
                    return False
                links += 1
                ahead += target.split("/")[::-1]
    return False


def open_by_name(
    root: bytes,
    name: bytes,
    *,
    follow_symlinks: bool,
    allowed: Collection[str | os.PathLike[str]] = (),
) -> int:
    """Open ``name`` below the folder ``root`` on a platform without ``dir_fd``.

    No link is followed: the path must be its own real path, in any case of letters. It is compared
    before and after the call. A user who can rename folders in the root may still race that.
    """
    path = os.path.join(root, name)

    def check() -> None:
        if follow_symlinks:
            return
        real = os.path.normcase(os.path.realpath(path))
        plain = os.path.join(os.path.realpath(root), os.path.normpath(name))
        if real != os.path.normcase(plain) and not any(
            real.startswith(os.path.normcase(os.fsencode(os.path.realpath(folder) + os.sep)))
            for folder in allowed
        ):
            raise FileMissingError

    check()
    if os.path.isdir(path):
        raise FileMissingError
    fd = os.open(path, FLAGS)
    try:
        check()
    except BaseException:
        os.close(fd)
        raise
    return fd


def walk(root: int, name: bytes) -> int:
    """Open ``name`` below the folder ``root``, as ``openat2`` does with ``RESOLVE_BENEATH``.

    It walks from folder to folder by descriptor, and reads and follows each link itself. ".." goes
    back to the folder that it came from, and never above the root, even if folders are renamed.
    """
    passed: list[int] = []  # the open folders below the root
    ahead = name.split(b"/")[::-1]
    links = 0
    try:
        while True:
            segment = ahead.pop()
            if segment in (b"", b".", b".."):
                if segment == b"..":
                    if not passed:
                        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), name)
                    os.close(passed.pop())
                if not ahead:
                    raise FileMissingError
                continue
            folder = passed[-1] if passed else root
            try:
                target = os.readlink(segment, dir_fd=folder)
            except OSError as error:
                if error.errno != errno.EINVAL:  # EINVAL: it is not a link
                    raise
            else:
                links += 1
                if links > _MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
                if target.startswith(b"/"):
                    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), name)
                ahead += target.split(b"/")[::-1]
                continue
            if not ahead:
                return os.open(segment, FLAGS | os.O_NOFOLLOW, dir_fd=folder)
            passed.append(os.open(segment, FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=folder))
    finally:
        for fd in passed:
            os.close(fd)
