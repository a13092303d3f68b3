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

from .access.grant import known_user
from .delivery import Subject, deliver
from .handler import HandlerContext
from .http import response
from .http.headers import pick
from .http.ranges import ByteRange
from .http.representation import FileInfo, Representation, describe, etag_with
from .http.response import CONDITIONAL, Response
from .servers.send import response_writer
from .sources.base import SourceError
from .sources.descriptor import Descriptor
from .sources.local_file import DistantFile
from .sources.workers import Workers, in_worker
from .statuses import status_of
from .types import Headers, Message, Scope, Send

SENDER = "media_asgi.sender"
"""Where the scope of a request has its ``FileSender``."""

# A subclass that overrides one of these has a stream of its own.
_STREAM = ("__aiter__", "__iter__", "streaming_content")

# A response with one of these is already a part of a file, is not bare bytes, or is for a proxy.
_NOT_PLAIN = frozenset({b"content-range", b"transfer-encoding", b"x-accel-redirect", b"x-sendfile"})

# A representation has them in fields of its own. The server, or the writer for Daphne, adds Date.
_DESCRIBED = frozenset(
    b"accept-ranges cache-control content-length content-type date etag last-modified".split()
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
    sender = getattr(request, "scope", {}).get(SENDER)  # WSGI has not a scope
    if sender is not None:
        sender.user = known_user(request)
        if answer.streaming:
            sender.response = answer
    return answer


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


class _Opened(NamedTuple):
    file: DistantFile
    start: int
    """The first byte that is sent."""
    name: Any
    """What the application gave to open()."""
    stat_result: os.stat_result


class FileSender:
    """Stands between Django and ``send``, and sends a file in place of its response."""

    def __init__(
        self, context: HandlerContext, workers: Workers, scope: Scope, send: Send, onward: Send
    ) -> None:
        """``send``: the server's own. ``onward``: gets what is not a file."""
        self.response: Any = None
        """The streaming response that ``FileResponseMiddleware`` has seen."""
        self.user: Any = None
        """The user that the application asked for."""
        self._context = context
        self._workers = workers
        self._scope = scope
        self._send = send
        self._onward = onward
        self._has_file = False

    def drop_body(self) -> None:
        """Let Django send an empty body, and close the response."""
        if self._is_current():
            self.response.streaming_content = _nothing()

    def _is_current(self) -> bool:
        """Does Django send this response now? Other middleware may have replaced it."""
        seen = self.response
        return getattr(seen, "_handler_class", None) is not None and not seen.closed

    async def send(self, message: Message) -> None:
        if self._has_file:
            return
        if message["type"] == "http.response.start" and self._is_current():
            given = [*message.get("headers", ())]  # ASGI allows an iterator, which is read once
            headers = [(name.lower(), value) for name, value in given]
            opened = await self._open(headers) if message["status"] == 200 else None
            if opened is not None:
                self._has_file = True
                self.drop_body()
                # Django waits for this, and closes the response after it.
                await self._send_file(opened, headers)
                return
            message = {**message, "headers": given}
        await self._onward(message)

    async def _open(self, headers: Headers) -> _Opened | None:
        """The file, with a descriptor of our own.

        ``None`` unless the response is nothing but the file's bytes, up to its end.
        """
        fields = pick(headers, _NOT_PLAIN | _DESCRIBED)
        if not _NOT_PLAIN.isdisjoint(fields) or fields.get(b"accept-ranges", b"bytes") != b"bytes":
            return None
        try:
            if (found := _plain_file(self.response)) is None:
                return None
            file, start = found
            name, ours = file.name, Descriptor(os.dup(file.fileno()), self._workers)
        except Exception:  # a closed file, or no descriptor is left: Django will see
            return None
        try:
            # On a network file system this waits, and so may close(2).
            stat_result = await in_worker(self._workers, (ours,), os.fstat, ours.fd)
            promised = b"%d" % (stat_result.st_size - start)
            # Whoever has changed the body has changed or removed its length.
            if stat.S_ISREG(stat_result.st_mode) and promised == fields.get(b"content-length"):
                ours.hold()
                opened = DistantFile(ours.fd, stat_result, self._workers, ours)
                return _Opened(opened, start, name, stat_result)
        except (OSError, SourceError):
            pass
        finally:
            ours.close()
        return None

    async def _send_file(self, opened: _Opened, headers: Headers) -> None:
        scope, context = self._scope, self._context
        file, start, name, stat_result = opened
        path = _absolute(name)
        identity = os.fsencode(path) or b"%d %d" % (stat_result.st_dev, stat_result.st_ino)
        try:
            current = _representation(file.info, start, identity, headers)
            answer = _response(scope, current, start)
        except BaseException:
            file.close()
            raise

        def on_error(error: SourceError) -> Response:
            return response.error_response(*status_of(error, scope), scope["method"])

        writer = response_writer(scope, _nothing_comes, self._send, context.send_timeout)
        subject = Subject(FileResponseMiddleware, None, path, self.user)
        await deliver(writer, answer, file, context.chunk_size, on_error, subject)


def _absolute(name: Any) -> str:
    """The path of a file; empty if its name is the number of a descriptor."""
    return os.path.abspath(os.fsdecode(name)) if isinstance(name, str | bytes) else ""


async def _nothing_comes() -> Message:
    """``receive`` beside Django, which waits for the client's end, and then cancels ``send``."""
    return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]


def _response(scope: Scope, current: Representation, start: int) -> Response:
    method, fields = scope["method"], pick(scope["headers"], CONDITIONAL)
    if method not in ("GET", "HEAD"):
        # Validators and ranges are for these two. Any other method gets the file.
        method, fields = "GET", {}
    answer = response.respond(
        method, fields, current, lambda: secrets.token_hex(16).encode("ascii")
    )
    body = [
        ByteRange(start + part.start, start + part.stop) if isinstance(part, ByteRange) else part
        for part in answer.body
    ]
    return answer._replace(body=body)


def _representation(
    info: FileInfo, start: int, identity: bytes, headers: Headers
) -> Representation:
    """The file as the application describes it. Validators of its own count."""
    fields = pick(headers, _DESCRIBED)
    current = describe(
        info._replace(size=info.size - start),
        time.time(),
        cache_control=fields.get(b"cache-control") or b"private, no-cache",
        content_type=fields.get(b"content-type") or b"application/octet-stream",
        extra=[pair for pair in headers if pair[0] not in _DESCRIBED],
    )
    etag = fields.get(b"etag") or etag_with(current.etag, b"%d %b" % (start, identity))
    current = dataclasses.replace(current, etag=etag)
    if (date := fields.get(b"last-modified")) is None:
        return current
    modified = parse_http_date_safe(date.decode("latin-1"))
    return dataclasses.replace(
        current,
        modified=modified,
        last_modified=date,
        dated=current.dated and modified == current.modified,
    )
