"""
Sends the answer for a file. Then it tells who asks how that ended: the receivers of ``file_sent``,
and the logger ``media_asgi.access``.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import quote

from .http.response import Response
from .location import Location
from .servers.base import Ending, ResponseWriter
from .servers.send import send_response
from .servers.tracked import TrackedWriter
from .signals import file_sent, send_file_sent
from .sources.base import SourceError, SourceFile
from .types import Scope

access_log = logging.getLogger("media_asgi.access")
"""Off while it has not a level of its own (``level`` is 0): a project that logs everything at level
INFO has not asked for a line for each file."""


class Subject(NamedTuple):
    """What the receivers of ``file_sent`` are told of a file."""

    sender: type
    location: Location | None
    path: str
    user: Any


async def deliver(
    writer: ResponseWriter,
    answer: Response,
    file: SourceFile | None,
    chunk_size: int,
    on_error: Callable[[SourceError], Response],
    subject: Subject,
    rate: int = 0,
    after: int = 0,
) -> None:
    """Send an answer, and close its file. ``on_error`` makes the answer if the file can't be read.

    ``rate``: bytes a second, after the first ``after`` bytes of the file.
    """
    scope = writer.scope
    is_download = file is not None and answer.status in (200, 206) and scope["method"] != "HEAD"
    tracked: TrackedWriter | None = None
    if access_log.level or (is_download and (rate or file_sent.receivers)):
        writer = tracked = TrackedWriter(writer, rate if is_download else 0, after)
    ending: Ending = "failed"
    try:
        try:
            ending = await send_response(writer, answer, file, scope["path"], chunk_size)
        except SourceError as error:
            is_download = False
            answer = on_error(error)
            ending = await send_response(writer, answer, None, scope["path"], chunk_size)
    except asyncio.CancelledError:
        # Django cancels the sending of a response when its client leaves.
        ending = "left"
        raise
    finally:
        if tracked is not None:
            if tracked.is_cut:
                ending = "stalled"
            elif ending == "left" and 0 < tracked.sent == answer.length:
                # The client had it all, and was faster than the server's own end.
                ending = "complete"
            await _tell(tracked, subject, answer.status, ending, is_download=is_download)


async def _tell(
    tracked: TrackedWriter, subject: Subject, status: int, ending: Ending, *, is_download: bool
) -> None:
    seconds = tracked.seconds
    if access_log.level:
        _log(tracked.scope, status, tracked.sent, seconds, ending)
    if is_download and file_sent.receivers:
        await send_file_sent(
            subject.sender,
            location=subject.location,
            path=subject.path,
            status=status,
            bytes_sent=tracked.sent,
            complete=ending == "complete",
            seconds=seconds,
            user=subject.user,
        )


def _log(scope: Scope, status: int, sent: int, seconds: float, ending: Ending) -> None:
    # As in a URL, and so without blanks: a client can write neither a line nor a field of its own.
    # A formatter may print the attributes as they are, so they have no other text. Twisted takes
    # any bytes but blanks for a method.
    method, path = (quote(scope[name], errors="replace") for name in ("method", "path"))
    access_log.info(
        "%s %s %d %d %.3f %s",
        *(method, path, status, sent, seconds, ending),
        extra={
            "method": method,
            "path": path,
            "status": status,
            "bytes": sent,
            "seconds": seconds,
            "ending": ending,
        },
    )
