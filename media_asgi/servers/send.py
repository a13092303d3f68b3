"""
A response and an open file → ASGI messages.

One chunk of the file at a time: read, sent, and only then the next, whatever the client's pace.
"""

import asyncio
import logging
import sys
from functools import partial
from typing import Any

from ..http.ranges import ByteRange
from ..http.response import Response
from ..sources.base import TruncatedFileError
from ..sources.local_file import LocalFile
from ..sources.workers import DiskTimeoutError
from ..types import Receive, Scope, Send
from . import daphne
from .asgi import ClientDisconnected, ResponseWriter, TransportResponseWriter, lent_transport

logger = logging.getLogger("media_asgi")

# So many spans beyond the next are wanted soon, the kernel is told, where the disk is read at all.
_AHEAD = 4


def response_writer(
    scope: Scope, receive: Receive, send: Send, send_timeout: float
) -> ResponseWriter:
    """The connection that ``send`` belongs to, with whatever this server offers."""
    if type(send) is partial and len(send.args) == 1 and daphne.is_request(send.args[0]):
        return daphne.DaphneResponseWriter(scope, receive, send, send_timeout)
    if (transport := lent_transport(scope, send)) is not None:
        return TransportResponseWriter(scope, receive, send, send_timeout, transport)
    if (server := sys.modules.get("daphne.server")) is not None:
        _warn_if_wrapped(server)
    return ResponseWriter(scope, receive, send, send_timeout)


_warned = False


def _warn_if_wrapped(server: Any) -> None:
    global _warned
    # "daphne" may be an installed app, and another server run: only Daphne runs this loop.
    if not _warned and getattr(server, "twisted_loop", None) is asyncio.get_running_loop():
        _warned = True
        logger.warning(
            "Something has wrapped Daphne's send(): a client that reads slowly makes the server "
            "hold its whole download in memory, and answers have no Date. Make MediaMiddleware the "
            "outermost application: application = MediaMiddleware(...)."
        )


async def send_response(
    connection: ResponseWriter,
    response: Response,
    file: LocalFile | None,
    path: str,
    chunk_size: int,
) -> None:
    """Send all of ``response``, whose spans are of ``file``, and close that on every way out.

    ``path`` is for the log. Raises ``OSError``, ``TruncatedFileError`` or ``DiskTimeoutError`` only
    while nothing has been sent yet.
    """
    try:
        if response.length > chunk_size:
            assert file is not None
            await _stream(connection, response, file, path, chunk_size)
            return
        if (body := read_body_nowait(response, file)) is None:
            assert file is not None
            body = await _gather(response, file)
    finally:
        if file is not None:
            file.close()
    await connection.whole(response.status, response.headers, body)


def read_body_nowait(response: Response, file: LocalFile | None) -> bytes | None:
    """The body, if it is one piece, and no disk is needed for it."""
    length = response.length
    if not length:
        return b""
    if len(response.body) != 1:
        return None
    part = response.body[0]
    if isinstance(part, bytes):
        return part
    assert file is not None
    data = file.read_nowait(part.start, length)
    return data if data is not None and len(data) == length else None


async def _gather(response: Response, file: LocalFile) -> bytes:
    gathered = []
    for part in response.body:
        if not isinstance(part, ByteRange):
            gathered.append(part)
            continue
        offset, stop = part
        while offset < stop:
            data = file.read_nowait(offset, stop - offset)
            if data is None:
                data = await file.read(offset, stop - offset)
            if not data:
                raise TruncatedFileError(offset)
            gathered.append(data)
            offset += len(data)
    return b"".join(gathered)


async def _stream(
    connection: ResponseWriter, response: Response, file: LocalFile, path: str, chunk_size: int
) -> None:
    try:
        await connection.begin(response.status, response.headers)
        for part in response.body:
            if isinstance(part, ByteRange):
                whole = len(part) == response.length == file.status.st_size
                sent = await connection.write_file(file, part, whole=whole)
                await _write(connection, file, ByteRange(part.start + sent, part.stop), chunk_size)
            else:
                await connection.write(part)
        await connection.end()
    except ClientDisconnected as gone:
        await connection.give_up(gone)
    except (TruncatedFileError, DiskTimeoutError, OSError) as error:
        # After the start nothing can be said any more: the client sees that bytes are missing.
        if not isinstance(error, DiskTimeoutError) or error.is_news:
            logger.error("%r cut off: %s", path, error)
        await connection.abort()
    except BaseException:
        await connection.abort()
        raise
    finally:
        connection.close()


async def _write(connection: ResponseWriter, file: LocalFile, span: ByteRange, size: int) -> None:
    """The bytes of ``span``, ``size`` of them at a time.

    Where the disk is slower than the client, the next are read while these are sent.
    """
    coming: asyncio.Future[bytes] | None = None
    offset, stop = span
    try:
        while offset < stop:
            count = min(connection.chunk_size(size), stop - offset)
            data = None
            if coming is not None:
                data, coming = await coming, None
            elif (data := file.read_nowait(offset, count)) is None:
                data = await file.read(offset, count, _AHEAD * size)
                after = offset + len(data)
                if data and after < stop:
                    coming = file.read(after, min(count, stop - after), _AHEAD * size)
            if not data:
                raise TruncatedFileError(offset)
            await connection.write(data)
            offset += len(data)
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror} at byte {offset}") from error
    finally:
        if coming is not None:
            coming.cancel()
