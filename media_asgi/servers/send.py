"""
Sends a response and the bytes of its open file.

One chunk is read and sent, and only then the next one, whatever the client's pace.
"""

import logging
import sys
from contextlib import aclosing
from functools import partial

from ..http.ranges import ByteRange
from ..http.response import Response
from ..sources.base import SourceError, SourceFile
from ..types import Receive, Scope, Send
from .asgi import ASGIResponseWriter, TransportResponseWriter, lent_transport
from .base import ClientDisconnectedError, Ending, ResponseWriter, abort_on
from .daphne import DaphneResponseWriter
from .daphne_http2 import DaphneHTTP2ResponseWriter
from .daphne_request import is_running, request_of
from .tracked import TrackedWriter

logger = logging.getLogger("media_asgi")


def response_writer(
    scope: Scope, receive: Receive, send: Send, send_timeout: float
) -> ResponseWriter:
    """The writer for the server that ``send`` belongs to."""
    if (request := request_of(send)) is not None:
        # Over HTTP/2 the channel is a stream, and has no transport of its own.
        is_http2 = getattr(getattr(request, "channel", None), "transport", None) is None
        writer = DaphneHTTP2ResponseWriter if is_http2 else DaphneResponseWriter
        return writer(scope, send, request, send_timeout)
    if (transport := lent_transport(scope, send)) is not None:
        return TransportResponseWriter(scope, receive, send, send_timeout, transport)
    if "daphne.server" in sys.modules:
        _warn_if_wrapped()
    return ASGIResponseWriter(scope, receive, send, send_timeout)


_warned = False


def _warn_if_wrapped() -> None:
    global _warned
    if not _warned and is_running():
        _warned = True
        logger.warning(
            "Something has wrapped Daphne's send(): a client that reads slowly makes the server "
            "hold its whole download in memory, and responses have no Date. Make MediaMiddleware "
            "the outermost application: application = MediaMiddleware(...)."
        )


async def send_response(
    writer: ResponseWriter,
    response: Response,
    file: SourceFile | None,
    path: str,
    chunk_size: int,
) -> Ending:
    """Send ``response``, whose ranges are of ``file``, and close the file in any case.

    ``path`` is for the log. Raises ``SourceError`` only while nothing has been sent yet.
    """
    try:
        is_limited = isinstance(writer, TrackedWriter) and writer.is_limited
        if file is not None and (response.length > chunk_size or is_limited):
            return await _stream(writer, response, file, path, chunk_size)
        if (body := read_body_nowait(response, file)) is None:
            assert file is not None
            body = await _read_body(response, file)
    finally:
        if file is not None:
            file.close()
    return await writer.send(response.status, response.headers, body)


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
) -> Ending:
    try:
        await writer.start(response.status, response.headers)
        for part in response.body:
            if isinstance(part, ByteRange):
                await _send_range(writer, file, part, chunk_size)
            else:
                await writer.write(part)
        await writer.finish()
    except ClientDisconnectedError as error:
        await abort_on(error, writer)
        return "left"
    except SourceError as error:
        # The status has been sent. The client sees that bytes are missing.
        if error.is_news:
            logger.error("%r cut off: %s", path, error)
        await writer.abort()
        return "failed"
    except BaseException:
        await writer.abort()
        raise
    finally:
        writer.close()
    return "complete"


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
