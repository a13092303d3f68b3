"""
A response and an open file → ASGI messages.

One chunk of the file at a time: read, sent, and only then the next, whatever the client's pace.
"""

import asyncio
import logging
import sys
from contextlib import aclosing
from functools import partial
from typing import Any

from ..http.ranges import ByteRange
from ..http.response import Response
from ..sources.base import SourceError, SourceFile
from ..types import Receive, Scope, Send
from . import daphne
from .asgi import ClientDisconnected, ResponseWriter, TransportResponseWriter, lent_transport

logger = logging.getLogger("media_asgi")


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
    writer: ResponseWriter,
    response: Response,
    file: SourceFile | None,
    path: str,
    chunk_size: int,
) -> None:
    """Send all of ``response``, whose ranges are of ``file``, and close that on every way out.

    ``path`` is for the log. Raises ``SourceError`` only while nothing has been sent yet.
    """
    try:
        if response.length > chunk_size:
            assert file is not None
            await _stream(writer, response, file, path, chunk_size)
            return
        if (body := read_body_nowait(response, file)) is None:
            assert file is not None
            body = await _read_body(response, file)
    finally:
        if file is not None:
            file.close()
    await writer.whole(response.status, response.headers, body)


def read_body_nowait(response: Response, file: SourceFile | None) -> bytes | None:
    """The body, if it is one piece, and the file gives it without waiting."""
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


async def _read_body(response: Response, file: SourceFile) -> bytes:
    pieces = []
    for part in response.body:
        if isinstance(part, ByteRange):
            async with aclosing(file.stream(*part, lambda: response.length)) as chunks:
                pieces += [chunk async for chunk in chunks]
        else:
            pieces.append(part)
    return b"".join(pieces)


async def _stream(
    writer: ResponseWriter, response: Response, file: SourceFile, path: str, chunk_size: int
) -> None:
    try:
        await writer.begin(response.status, response.headers)
        for part in response.body:
            if isinstance(part, ByteRange):
                await _send_range(writer, file, part, chunk_size)
            else:
                await writer.write(part)
        await writer.end()
    except ClientDisconnected as gone:
        await writer.give_up(gone)
    except SourceError as error:
        # After the start nothing can be said any more: the client sees that bytes are missing.
        if error.is_news:
            logger.error("%r cut off: %s", path, error)
        await writer.abort()
    except BaseException:
        await writer.abort()
        raise
    finally:
        writer.close()


async def _send_range(
    writer: ResponseWriter, file: SourceFile, part: ByteRange, chunk_size: int
) -> None:
    start, stop = part
    region = file.region(start, stop)
    if region is not None:
        start += await writer.send_region(region)
    if start < stop:
        next_size = partial(writer.chunk_size, chunk_size)
        async with aclosing(file.stream(start, stop, next_size)) as chunks:
            async for chunk in chunks:
                await writer.write(chunk)
