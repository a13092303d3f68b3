"""
What errors of the operating system say of a file.
"""

import errno

from .base import (
    FileForbiddenError,
    FileMissingError,
    FileReadError,
    SourceBusyError,
    SourceError,
)

# Errors of open(2) for a name that has no file to serve: it does not exist, it lies below a file, a
# link climbs, loops or dangles, the name is too long or not valid on this file system, it is a
# socket or a device without a driver.
_NO_FILE = frozenset(
    {
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ELOOP,
        errno.EXDEV,
        errno.ENAMETOOLONG,
        errno.EILSEQ,
        errno.EINVAL,
        errno.ENXIO,
        errno.ENODEV,
        errno.EOPNOTSUPP,  # a socket, on macOS
    }
)

# No descriptor, memory or thread is left, or renames raced the resolution of a name too often.
_LATER = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN})


def open_error(error: OSError) -> SourceError:
    """The error of a source for an error of open(2)."""
    if error.errno in _NO_FILE:
        return FileMissingError(
            "a link leads out of the folder" if error.errno == errno.EXDEV else ""
        )
    if isinstance(error, PermissionError):
        return FileForbiddenError(str(error))
    if error.errno in _LATER:
        return SourceBusyError(str(error))
    return FileReadError(str(error))


def read_error(error: OSError, offset: int) -> SourceError:
    """The error of a source for an error of read(2) at this byte."""
    kind = SourceBusyError if error.errno in _LATER else FileReadError
    return kind(f"{error.strerror} at byte {offset}")
