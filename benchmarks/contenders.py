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


def floor(app: Application, root: Path) -> Application:
    """The package's own answer, byte for byte, from memory: in one message, and always the same."""
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

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
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
        return await send(body)

    return application


def floor_with_calls(app: Application, root: Path) -> Application:
    """The floor, and the system calls of the package's hit, whose results are not used.

    They look at the file. For a part of it they open, look, read and close. A server that sends
    files by itself gets the file's name in place of a large body.
    """
    from media_asgi.sources.openat2 import KERNEL, TO_READ

    answer = floor(app, root)
    folder = os.open(root, os.O_PATH | os.O_DIRECTORY)
    buffer = bytearray(256 * 1024)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/media/"):
            name = scope["path"].removeprefix("/media/")
            ranges = [value for key, value in scope["headers"] if key == b"range"]
            if not ranges:
                os.stat(name, dir_fd=folder, follow_symlinks=False)
            else:
                first, last = map(int, ranges[0].removeprefix(b"bytes=").split(b"-"))
                opened = KERNEL.open_cached(folder, name.encode(), TO_READ)
                os.fstat(opened)
                part = memoryview(buffer)[: last + 1 - first]
                os.preadv(opened, (part,), first, os.RWF_NOWAIT)
                os.close(opened)
            if not ranges and "http.response.pathsend" in (scope.get("extensions") or {}):
                return await answer(scope, receive, sending_by_name(send, str(root / name)))
        return await answer(scope, receive, send)

    def sending_by_name(send: Send, path: str) -> Send:
        async def send_by_name(message: Message) -> None:
            if len(message.get("body", b"")) > len(buffer):
                message = {"type": "http.response.pathsend", "path": path}
            await send(message)

        return send_by_name

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
