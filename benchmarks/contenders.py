"""The applications that are compared, each around the same inner application."""

import os
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import Any

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True)
class Contender:
    name: str
    title: str
    # (inner application, media root) -> application
    build: Callable[[Application, Path], Application]
    lacks: dict[str, str]  # the cases it can't do, and why


def package(app: Application, root: Path) -> Application:
    from media_asgi import Location, MediaMiddleware

    return MediaMiddleware(app, Location(url="/media/", root=root))


def starlette_mount(app: Application, root: Path) -> Application:
    from starlette.applications import Starlette
    from starlette.routing import Mount
    from starlette.staticfiles import StaticFiles

    routes = [Mount("/media", StaticFiles(directory=root)), Mount("/", app)]
    return Starlette(routes=routes)


def servestatic(app: Application, root: Path) -> Application:
    """As it is at its best: files are found once, at start, so later uploads are not served."""
    from servestatic import ServeStaticASGI

    application: Application = ServeStaticASGI(app, root=root, prefix="media/")
    return application


def django_view(app: Application, root: Path) -> Application:
    """Nothing around it: `django.views.static.serve` is in the inner application's URLconf."""
    return app


def floor(app: Application, root: Path) -> Callable[..., Awaitable[None]]:
    """The package's own answer, byte for byte, from memory: in one message, and always the same.

    What it returns also takes a message in place of the body.
    """
    real = package(app, root)
    held: dict[tuple[str, bytes | None], tuple[Message, Message]] = {}

    async def hold(scope: Scope, receive: Receive, send: Send) -> tuple[Message, Message]:
        messages: list[Message] = []

        async def collect(message: Message) -> None:
            messages.append(message)

        await real(scope, receive, collect)
        start, *bodies = messages
        if isinstance(send, partial):  # Daphne, where the package adds what other servers do
            start["headers"].append((b"date", formatdate(usegmt=True).encode()))
        body = b"".join(message["body"] for message in bodies)
        return start, {"type": "http.response.body", "body": body}

    async def application(
        scope: Scope, receive: Receive, send: Send, instead: Message | None = None
    ) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/media/"):
            return await app(scope, receive, send)
        condition = None
        for key, value in scope["headers"]:
            if key in (b"if-none-match", b"range"):
                condition = value
        url = scope["path"]
        if (url, condition) not in held:
            # A server may offer to send the file by itself, which would be no message.
            plain = {**scope, "extensions": {}}
            held[url, condition] = await hold(plain, receive, send)
        start, body = held[url, condition]
        await send(start)
        return await send(instead or body)

    return application


def floor_with_calls(app: Application, root: Path) -> Application:
    """The floor, and the system calls of the package's hit.

    They look at the file. For a part of it they open, look, read and close, and what was read is
    sent. A server that sends files by itself gets the file's name in place of a large body.
    """
    from media_asgi.sources.openat2 import KERNEL, TO_READ

    answer = floor(app, root)
    folder = os.open(root, os.O_PATH | os.O_DIRECTORY)
    buffer = bytearray(256 * 1024)

    def read(name: str, first: int, last: int) -> bytes:
        opened = KERNEL.open_cached(folder, name.encode(), TO_READ)
        os.fstat(opened)
        part = memoryview(buffer)[: last + 1 - first]
        os.preadv(opened, (part,), first, os.RWF_NOWAIT)
        os.close(opened)
        return bytes(part)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/media/"):
            return await app(scope, receive, send)
        name = scope["path"].removeprefix("/media/")
        ranges = [value for key, value in scope["headers"] if key == b"range"]
        body: Message | None = None
        if ranges:
            first, last = map(int, ranges[0].removeprefix(b"bytes=").split(b"-"))
            body = {"type": "http.response.body", "body": read(name, first, last)}
        else:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            by_name = "http.response.pathsend" in (scope.get("extensions") or {})
            if by_name and status.st_size > len(buffer):
                body = {"type": "http.response.pathsend", "path": str(root / name)}
        return await answer(scope, receive, send, body)

    return application


def no_application(name: str, app: Application, root: Path) -> Application:
    raise TypeError(f"{name} serves by itself")


CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender("package", "media-asgi", package, {}),
        Contender("starlette", "Starlette mount", starlette_mount, {}),
        Contender("servestatic", "ServeStatic", servestatic, {}),
        Contender(
            "django",
            "Django’s serve view",
            django_view,
            {"206": "it knows no ranges and answers with the whole file"},
        ),
        Contender(
            "floor",
            "floor",
            floor,
            {"1GiB": "one message of 1 GiB is no way that anybody would serve a file"},
        ),
        Contender(
            "calls",
            "floor with the same system calls",
            floor_with_calls,
            {"1GiB": "one message of 1 GiB is no way that anybody would serve a file"},
        ),
        Contender(
            "nginx",
            "nginx",
            partial(no_application, "nginx"),
            {"page": "it passes nothing on here"},
        ),
    )
}
