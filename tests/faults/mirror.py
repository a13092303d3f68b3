"""A file system in user space (FUSE) that shows a folder: `mirror.py FOLDER MOUNTPOINT`.

It hangs while it is stopped. To be run by the system's Python, for which fusepy is packaged.
"""

import os
import sys
from typing import Any

from fusepy import FUSE, FuseOSError, Operations

FIELDS = ("atime", "ctime", "gid", "mode", "mtime", "nlink", "size", "uid")


class Mirror(Operations):
    def __init__(self, folder: str) -> None:
        self.folder = folder

    def getattr(self, path: str, fh: Any = None) -> dict[str, Any]:
        try:
            status = os.lstat(self.folder + path)
        except OSError as error:
            raise FuseOSError(error.errno) from error
        return {f"st_{name}": getattr(status, f"st_{name}") for name in FIELDS}

    def readdir(self, path: str, fh: Any) -> list[str]:
        return [".", "..", *os.listdir(self.folder + path)]

    def open(self, path: str, flags: int) -> int:
        return os.open(self.folder + path, flags)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return os.pread(fh, size, offset)

    def flush(self, path: str, fh: int) -> int:
        return 0

    def release(self, path: str, fh: int) -> None:
        os.close(fh)


FUSE(Mirror(sys.argv[1]), sys.argv[2], foreground=True, nothreads=True)
