"""
The interface of a source: a folder, a bucket, or another source with something added.

The handler knows a source by this interface alone. What goes wrong is one of the errors here, which
the handler turns into a status. A client never sees their text.
"""

from collections.abc import AsyncGenerator, Callable, Hashable
from typing import NamedTuple, Protocol

from ..http.representation import FileInfo
from .descriptor import Descriptor


class Wanted(NamedTuple):
    """What a request wants of a file: all of it, or one range, as far as its header tells.

    A source may fetch it together with the file's information. Other bytes can be read all the
    same.
    """

    start: int | None
    """The first byte; ``None`` for a suffix."""
    stop: int | None
    """One past the last byte; ``None`` for the end of the file. Of a suffix: how many bytes."""
    accept_encoding: bytes | None = None
    """The request's header: a source that has several codings of a file chooses by it."""


WHOLE = Wanted(0, None)

NOTHING = Wanted(0, 0)
"""The information alone: for HEAD, for a condition, or for several ranges."""


class SourceError(Exception):
    """A file can't be opened or read."""

    is_news = True
    """Is it worth a line in the log? Not if the same was logged a short time ago."""


class FileMissingError(SourceError):
    """The name is not of a regular file in this source.

    ``reason``: what a line for fail2ban says, if the name is an attempt to leave the source.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


class FileForbiddenError(SourceError):
    """The server's user may not read the file."""


class FileReadError(SourceError):
    """The file can't be opened or read: a broken disk, or an error that nobody expects."""


class TruncatedFileError(SourceError):
    """The file ends before the byte that was promised last."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"the file ends at byte {offset}")
        self.offset = offset


class SourceBusyError(SourceError):
    """The source can't answer now, and may later: no descriptor is left, a disk hangs, a 503."""

    def __init__(self, text: str, *, is_news: bool = True) -> None:
        super().__init__(text)
        self.is_news = is_news


class SourceUnreachableError(SourceError):
    """A store refuses the connection or our credentials, or answers with an error."""


class SourceTimeoutError(SourceError):
    """A store has not answered in time."""


class FileRegion(Protocol):
    """Bytes of an open file of this machine, which a writer may send without a copy.

    It is valid as long as its file is open.
    """

    start: int
    stop: int
    """One past the last byte."""
    is_whole_file: bool

    def fileno(self) -> int: ...

    async def sendfile(self, peer: Descriptor, offset: int, count: int) -> int:
        """Send up to ``count`` bytes from ``offset`` to a socket, and return how many went out.

        ``count`` may be gigabytes: the region decides how much one call sends. Never blocks the
        loop. Returns 0 at the end of the file. Raises ``BlockingIOError`` if the socket is full,
        another ``OSError``, or ``SourceError``.
        """


class SourceFile(Protocol):
    """An open file. ``close`` must follow."""

    @property
    def info(self) -> FileInfo: ...

    def read_nowait(self, start: int, size: int) -> bytes | None:
        """Up to ``size`` bytes, or ``None`` if they can't be had without waiting.

        Fewer bytes say nothing. ``b""`` is the end of the file. Raises ``SourceError``.
        """

    def stream(
        self, start: int, stop: int, chunk_size: Callable[[], int]
    ) -> AsyncGenerator[bytes, None]:
        """The bytes from ``start`` to ``stop``. ``chunk_size`` says how large the next chunk is.

        Raises ``SourceError``, and ``TruncatedFileError`` if the file ends before ``stop``. Must be
        closed by ``aclose`` if it is not read to its end.
        """

    def region(self, start: int, stop: int) -> FileRegion | None:
        """These bytes as a part of a file of this machine, for zero copy; ``None`` elsewhere."""

    def close(self) -> None: ...


class Source(Protocol):
    """The files below one root."""

    def version_nowait(self, name: bytes) -> Hashable | None:
        """The version of the file that the name leads to now.

        ``None`` if it can't be told without waiting, or if there is no such file. Nothing says that
        the file may be served: compare it with the version of a file that was opened.
        """

    def open_nowait(self, name: bytes, wanted: Wanted) -> SourceFile | None:
        """The file, or ``None`` if that needs waiting: then call ``open``. Raises as it does.

        ``wanted`` is ``WHOLE`` or ``NOTHING``, with an ``accept_encoding`` if the location has
        variants.
        """

    async def open(self, name: bytes, wanted: Wanted) -> SourceFile:
        """The file. Raises ``SourceError``: ``FileMissingError`` if there is none."""
