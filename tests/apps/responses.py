"""A Django site whose views answer with files: each kind of FileResponse, and what looks like one.

The environment gives the folder (`FILES_ROOT`), the middleware of Django (`FILES_MIDDLEWARE`) and
the options of `MediaMiddleware` (`FILES_OPTIONS`), both as JSON.
"""

# ruff: noqa: SIM115, responses close the files

import asyncio
import gc
import gzip
import io
import json
import os
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.files import File
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.core.signals import request_finished
from django.db.models.fields.files import FieldFile
from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

ROOT = Path(os.environ["FILES_ROOT"])
OURS = "media_asgi.responses.FileResponseMiddleware"

if not settings.configured:
    settings.configure(
        SECRET_KEY="tests",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        MIDDLEWARE=json.loads(os.environ.get("FILES_MIDDLEWARE", f'["{OURS}"]')),
        LOGGING={
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {"console": {"class": "logging.StreamHandler"}},
            "loggers": {"media_asgi.access": {"level": os.environ.get("FILES_ACCESS", "NOTSET")}},
            "root": {"handlers": ["console"], "level": "WARNING"},
        },
    )

from django_downloadview import PathDownloadView  # noqa: E402
from wagtail.utils.sendfile_streaming_backend import sendfile  # type: ignore[import-untyped]  # noqa: E402

from media_asgi import Location, MediaMiddleware  # noqa: E402
from media_asgi.signals import file_sent  # noqa: E402

counted: Counter[str] = Counter()
"""What has happened since the last question."""


class Read(io.FileIO):
    """A file that counts, and so is not a plain one."""

    def read(self, size: int | None = -1) -> bytes:
        counted["own read"] += 1
        return super().read(-1 if size is None else size)


class Upper(FileResponse):
    """A response with a stream of its own."""

    async def __aiter__(self) -> Any:
        async for part in super().__aiter__():
            yield part.upper()


class Decrypting(File):  # type: ignore[type-arg]
    """A Django file whose bytes are not those of the disk."""

    def read(self, size: int = -1) -> bytes:
        return bytes(
            255 - byte
            for byte in self.file.read(size)  # type: ignore[union-attr]
        )


def positioned(name: Path) -> Any:
    file = open(name, "rb")
    file.seek(1000)
    file.read(1)  # so that the buffer is ahead
    return file


def field_file(name: Path) -> FieldFile:
    class Field:
        storage = FileSystemStorage(location=ROOT)

    return FieldFile(None, Field(), name.name)  # type: ignore[arg-type]


def temporary(name: Path) -> Any:
    file = tempfile.TemporaryFile()
    file.write(name.read_bytes())
    file.flush()
    file.seek(0)
    return io.FileIO(os.dup(file.fileno()), "rb")


def unlinked(name: Path) -> Any:
    copy = name.with_suffix(".copy")
    copy.write_bytes(name.read_bytes())
    file = open(copy, "rb")
    copy.unlink()
    return file


def gzipped(name: Path) -> Any:
    (packed := name.with_suffix(".gz")).write_bytes(gzip.compress(name.read_bytes()))
    return gzip.open(packed)


def pipe(name: Path) -> Any:
    reading, writing = os.pipe()
    os.write(writing, b"through a pipe")
    os.close(writing)
    return os.fdopen(reading, "rb")


def closed(name: Path) -> Any:
    file = open(name, "rb")
    response = FileResponse(file)
    file.close()
    return response


FILES: dict[str, Any] = {
    # Taken.
    "open": lambda name: open(name, "rb"),
    "unbuffered": lambda name: open(name, "rb", buffering=0),
    "django": lambda name: File(open(name, "rb")),
    "twice": lambda name: File(File(open(name, "rb"))),
    "field": field_file,
    "positioned": positioned,
    "temporary": temporary,
    "unlinked": unlinked,
    # Not taken.
    "bytesio": lambda name: io.BytesIO(name.read_bytes()),
    "content": lambda name: ContentFile(name.read_bytes()),
    "gzip": gzipped,
    "own-read": lambda name: Read(name),
    "decrypting": lambda name: Decrypting(open(name, "rb")),
    "pipe": pipe,
    "read-write": lambda name: open(name, "r+b"),
    "generator": lambda name: (chunk for chunk in (b"one ", b"two")),
}


def sync_only(get_response: Any) -> Any:
    """A middleware of Django's old kind, around which everything runs in a thread."""

    def middleware(request: Any) -> Any:
        return get_response(request)

    return middleware


def replacing(get_response: Any) -> Any:
    """A middleware that answers by itself, with as many bytes as the view."""

    def middleware(request: Any) -> Any:
        length = int(get_response(request)["Content-Length"])
        return HttpResponse(b"x" * length, headers={"Content-Length": length})

    return middleware


def holding(application: Any) -> Any:
    """An ASGI middleware that holds the head back until it has seen some of the body."""

    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        held: list[Any] = []

        async def own_send(message: Any) -> None:
            held.append(message)
            if message["type"] != "http.response.start":
                for one in held:
                    await send(one)
                held.clear()

        await application(scope, receive, own_send)

    return middleware


def several(application: Any) -> Any:
    """An ASGI application beside Django, of which several tasks send one response at a time."""

    async def beside(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] != "/several":
            await application(scope, receive, send)
            return

        async def some() -> None:
            for _ in range(100):
                body = bytes(1 << 16)
                await send({"type": "http.response.body", "body": body, "more_body": True})

        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            await asyncio.gather(*(some() for _ in range(3)))
            await send({"type": "http.response.body"})
        finally:
            counted["several ended"] += 1

    return beside


class Closer:
    def __init__(self, response: Any) -> None:
        self.file = getattr(response, "file_to_stream", None)

    def close(self) -> None:
        counted["closed"] += 1
        # Is the application's file still open while ours is sent?
        counted["after the file"] += bool(getattr(self.file, "closed", True))


def answer(request: Any, kind: str, name: str) -> Any:
    """A file in the wanted form. The query gives headers, the status, and what else happens."""
    query, file = request.GET, ROOT / name
    made = FILES[kind](file)
    of = {"upper": Upper}.get(query.get("class", ""), FileResponse)
    response = of(
        made,
        as_attachment="attachment" in query,
        status=int(query.get("status", 200)),
        content_type=query.get("type"),
    )
    for header in query.getlist("header"):
        field, _, value = header.partition(": ")
        response[field] = value
    for field in query.getlist("without"):
        del response[field]
    if "cookie" in query:
        response.set_cookie("a", "b")
    if "mapped" in query:
        response.streaming_content = (
            part.lower()
            for part in response.streaming_content  # type: ignore[union-attr]
        )
    if "truncate" in query:
        os.truncate(file, int(query["truncate"]))
    response._resource_closers.append(Closer(response).close)  # type: ignore[attr-defined]
    return response


async def answer_later(request: Any, kind: str, name: str) -> Any:
    return answer(request, kind, name)


def closed_before(request: Any) -> Any:
    return closed(ROOT / "letters.bin")


heard: list[dict[str, Any]] = []
"""What the receivers of ``file_sent`` were told since the last question."""


def hear(location: Any, **told: Any) -> None:
    heard.append({"by": "sync", "location": location and location.url} | without_objects(told))


async def hear_later(location: Any, **told: Any) -> None:
    heard.append({"by": "async", "location": location and location.url} | without_objects(told))


def fail(**_: Any) -> None:
    raise RuntimeError("a sync receiver fails")


async def fail_later(**_: Any) -> None:
    raise RuntimeError("an async receiver fails")


def without_objects(told: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in told.items() if name not in ("signal", "sender")}


RECEIVERS: dict[str, Any] = {
    "sync": hear,
    "async": hear_later,
    "fail": fail,
    "fail-later": fail_later,
}


def signals(request: Any) -> Any:
    before = heard[:]
    heard.clear()
    return JsonResponse(before, safe=False)


def told(request: Any) -> Any:
    """What happened since the last question."""
    # Django closes no response whose send() fails, and no iterator of one that it was cancelled in.
    # A cycle then keeps them.
    gc.collect()
    before = dict(counted)
    counted.clear()
    response = JsonResponse(before)
    # The end of a question doesn't count.
    not_counted = partial(counted.subtract, ["finished"])
    response._resource_closers.append(not_counted)  # type: ignore[attr-defined]
    return response


def stream(request: Any) -> StreamingHttpResponse:
    """Many bytes of a view's own."""
    count = int(request.GET.get("count", 1))

    async def chunks() -> Any:
        try:
            for _ in range(count):
                counted["chunks"] += 1
                yield bytes(1 << 16)
            if "fail" in request.GET:
                raise RuntimeError("the stream fails")
            if "wait" in request.GET:
                await asyncio.Event().wait()
        finally:
            counted["stream ended"] += 1

    return StreamingHttpResponse(chunks())


def page(request: Any) -> HttpResponse:
    size = int(request.GET.get("size", 2))
    response = HttpResponse(b"x" * size, headers={"X-Own": "1"})
    for header in request.GET.getlist("header"):
        field, _, value = header.partition(": ")
        response[field] = value
    return response


class Downloaded(PathDownloadView):  # type: ignore[misc]
    @property
    def path(self) -> str:
        return str(ROOT / self.kwargs["name"])


def sent_by_wagtail(request: Any, name: str) -> Any:
    return sendfile(request, str(ROOT / name))


urlpatterns = [
    path("sync/<kind>/<name>", answer),
    path("async/<kind>/<name>", answer_later),
    path("downloadview/<name>", Downloaded.as_view()),
    path("wagtail/<name>", sent_by_wagtail),
    path("closed", closed_before),
    path("told", told),
    path("signals", signals),
    path("stream", stream),
    path("page", page),
]


def finished(**_: object) -> None:
    counted["finished"] += 1


request_finished.connect(finished, weak=False)

for name in os.environ.get("FILES_RECEIVERS", "").split():
    file_sent.connect(RECEIVERS[name])

OPTIONS = json.loads(os.environ.get("FILES_OPTIONS", "{}"))
LOCATION = json.loads(os.environ.get("FILES_LOCATION", "{}"))

django: Any = get_asgi_application()
if os.environ.get("FILES_ASGI") == "holding":
    django = holding(django)
application = MediaMiddleware(
    several(django),
    Location(url="/media/", root=ROOT, **LOCATION),
    Location(url="/internal/", root=ROOT, access="internal", **LOCATION),
    **OPTIONS,
)
