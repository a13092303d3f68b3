"""
``FileResponseMiddleware``: files of Django's ``FileResponse``, which ``MediaMiddleware`` sends.

Facts that this module rests on (Django 5.2 to 6.1):

- ``ASGIHandler`` sends the head of a response before it asks for the body. Then it reads all of a
  sync body into memory. At the end it closes the response, in any case.
- ``ASGIHandler`` sets ``_handler_class`` of the response that it sends, after all middleware.
- ``FileResponse`` sets ``file_to_stream`` to ``None`` if its content is replaced.
- ``DownloadResponse`` of django-downloadview iterates over a ``File``. That is a generator, which
  begins at byte 0.
"""

import asyncio
import dataclasses
import inspect
import io
import os
import secrets
import stat
import time
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.core.files import File
from django.http import StreamingHttpResponse
from django.utils.http import parse_http_date_safe

from .handler import HandlerContext, status_of
from .http import response
from .http.headers import pick
from .http.ranges import ByteRange
from .http.representation import Representation, describe, etag_with
from .http.response import CONDITIONAL, Response
from .servers.send import response_writer, send_response
from .sources.base import SourceError
from .sources.local_file import DistantFile
from .sources.workers import Workers
from .types import Headers, Message, Scope, Send

STREAMED = "media_asgi.streamed"
"""Where the scope of a request has its ``StreamedResponse``."""

# A subclass that overrides one of these has a stream of its own.
_STREAM = ("__aiter__", "__iter__", "streaming_content")

# A response with one of these is already a part of a file, is not bare bytes, or is for a proxy.
_NOT_PLAIN = frozenset({b"content-range", b"transfer-encoding", b"x-accel-redirect", b"x-sendfile"})

# A representation has them in fields of its own.
_DESCRIBED = frozenset(
    {
        *(b"accept-ranges", b"cache-control", b"content-length", b"content-type", b"etag"),
        b"last-modified",
    }
)


class FileResponseMiddleware:
    """Shows streaming responses to the ``MediaMiddleware`` around Django, which sends their files.

    Put it first in ``MIDDLEWARE``. Without ``MediaMiddleware`` it changes nothing.
    """

    sync_capable = async_capable = True

    def __init__(self, get_response: Any) -> None:
        self._get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any:
        if self._is_async:
            return self._later(request)
        return _shown(request, self._get_response(request))

    async def _later(self, request: Any) -> Any:
        return _shown(request, await self._get_response(request))


def _shown(request: Any, answer: Any) -> Any:
    streamed = getattr(request, "scope", {}).get(STREAMED)  # WSGI has not a scope
    if streamed is not None and answer.streaming:
        streamed.response = answer
    return answer


class OpenFile(NamedTuple):
    """The file of a response, with a descriptor of our own."""

    file: DistantFile
    start: int
    """The first byte of the response."""
    identity: bytes
    """The file's path, or its device and inode."""


class StreamedResponse:
    """The streaming response of one request, which ``FileResponseMiddleware`` has seen."""

    response: Any = None

    @property
    def is_sent(self) -> bool:
        """Is it the response that Django sends now? Other middleware may have replaced it."""
        seen = self.response
        return getattr(seen, "_handler_class", None) is not None and not seen.closed

    def drop_body(self) -> None:
        """Let Django send an empty body, and close the response."""
        if self.is_sent:
            self.response.streaming_content = _nothing()

    def open(self, status: int, headers: Headers, workers: Workers) -> OpenFile | None:
        """The file, if the response is nothing but a file's bytes up to its end."""
        if status != 200 or not self.is_sent or _NOT_PLAIN.intersection(dict(headers)):
            return None
        if _value(headers, b"accept-ranges") not in (None, b"bytes"):
            return None
        try:
            if (found := _plain_file(self.response)) is None:
                return None
            file, start = found
            stat_result = os.fstat(file.fileno())
            promised = b"%d" % (stat_result.st_size - start)
            # Whoever has changed the body has changed or removed its length.
            if not stat.S_ISREG(stat_result.st_mode) or promised != _value(
                headers, b"content-length"
            ):
                return None
            if isinstance(name := file.name, str | bytes):
                identity = os.fsencode(os.path.abspath(name))
            else:  # the number of a descriptor
                identity = b"%d %d" % (stat_result.st_dev, stat_result.st_ino)
            # Its close(2) may wait, as on a network file system.
            ours = DistantFile(os.dup(file.fileno()), stat_result, workers)
        except Exception:  # a closed file, or no descriptor is left: Django may serve it yet
            return None
        return OpenFile(ours, start, identity)


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


def _plain_file(seen: Any) -> tuple[Any, int] | None:
    """The file that a response consists of, and the first byte that is to be sent.

    ``None`` if something else stands between the file and the response.
    """
    kind = type(seen)
    if any(getattr(kind, name) is not getattr(StreamingHttpResponse, name) for name in _STREAM):
        return None
    file: Any = getattr(seen, "file_to_stream", None)
    stream: Any = seen._iterator
    is_iterated = file is None
    if is_iterated:
        if not inspect.isgenerator(stream) or stream.gi_code is not File.__iter__.__code__:
            return None
        if inspect.getgeneratorstate(stream) != inspect.GEN_CREATED:
            return None
        frame: Any = stream.gi_frame
        file = frame.f_locals["self"]
        if type(file).chunks is not File.chunks:
            return None
    while isinstance(file, File):
        if type(file).read is not File.read:
            return None
        file = file.file
    raw = file.raw if type(file) is io.BufferedReader else file
    if type(raw) is not io.FileIO or not raw.readable():
        return None
    return file, 0 if is_iterated else file.tell()


class FileSender:
    """Stands between Django and ``send``, and sends a file in place of its response."""

    def __init__(
        self,
        context: HandlerContext,
        workers: Workers,
        scope: Scope,
        send: Send,
        onward: Send,
    ) -> None:
        """``send``: the server's own. ``onward``: gets what is not a file."""
        self.streamed = StreamedResponse()
        self._context = context
        self._workers = workers
        self._scope = scope
        self._send = send
        self._onward = onward
        self._has_file = False

    async def send(self, message: Message) -> None:
        if self._has_file:
            return
        if message["type"] == "http.response.start" and self.streamed.response is not None:
            given = [*message.get("headers", ())]  # ASGI allows an iterator, which is read once
            headers = [(name.lower(), value) for name, value in given]
            opened = self.streamed.open(message["status"], headers, self._workers)
            if opened is not None:
                self._has_file = True
                self.streamed.drop_body()
                # Django waits for this, and closes the response after it.
                await self._send_file(opened, headers)
                return
            message = {**message, "headers": given}
        await self._onward(message)

    async def _send_file(self, opened: OpenFile, headers: Headers) -> None:
        scope, context = self._scope, self._context
        try:
            answer = _response(scope, opened, headers)
        except BaseException:
            opened.file.close()
            raise
        writer = response_writer(scope, _nothing_comes, self._send, context.send_timeout)
        path, size = scope["path"], context.chunk_size
        try:
            await send_response(writer, answer, opened.file, path, size)
        except SourceError as error:
            answer = response.error_response(*status_of(error, scope), scope["method"])
            await send_response(writer, answer, None, path, size)


async def _nothing_comes() -> Message:
    """``receive`` beside Django, which waits for the client's end, and then cancels ``send``."""
    return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]


def _response(scope: Scope, opened: OpenFile, headers: Headers) -> Response:
    method, fields = scope["method"], pick(scope["headers"], CONDITIONAL)
    if method not in ("GET", "HEAD"):
        # Validators and ranges are for these two. Any other method gets the file.
        method, fields = "GET", {}
    answer = response.respond(
        method,
        fields,
        _representation(opened, headers),
        lambda: secrets.token_hex(16).encode("ascii"),
    )
    start = opened.start
    body = [
        ByteRange(start + part.start, start + part.stop) if isinstance(part, ByteRange) else part
        for part in answer.body
    ]
    return answer._replace(body=body)


def _representation(opened: OpenFile, headers: Headers) -> Representation:
    """The file as the application describes it. Validators of its own count."""
    file, start, identity = opened
    current = describe(
        file.info._replace(size=file.info.size - start),
        time.time(),
        cache_control=_value(headers, b"cache-control") or b"private, no-cache",
        content_type=_value(headers, b"content-type") or b"application/octet-stream",
        extra=[pair for pair in headers if pair[0] not in _DESCRIBED],
    )
    etag = _value(headers, b"etag") or etag_with(current.etag, b"%d %b" % (start, identity))
    current = dataclasses.replace(current, etag=etag)
    if (date := _value(headers, b"last-modified")) is None:
        return current
    modified = parse_http_date_safe(date.decode("latin-1"))
    return dataclasses.replace(
        current,
        modified=modified,
        last_modified=date,
        dated=current.dated and modified == current.modified,
    )


def _value(headers: Headers, wanted: bytes) -> bytes | None:
    """The lines of a header as one; ``None`` if it is missing."""
    values = [value for name, value in headers if name == wanted]
    return b", ".join(values) if values else None
