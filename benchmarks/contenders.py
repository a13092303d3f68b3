"""The applications that are compared, each around the same inner application."""

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

    return ServeStaticASGI(app, root=root, prefix="media/")


def django_view(app: Application, root: Path) -> Application:
    """Nothing around it: `django.views.static.serve` is in the inner application's URLconf."""
    return app


def floor(app: Application, root: Path) -> Application:
    """The same bytes from memory in one message, made once for each URL and condition."""
    held: dict[tuple[str, bytes | None], tuple[Message, Message]] = {}

    def hold(url: str, name: bytes | None, condition: bytes | None) -> None:
        path = root / url.removeprefix("/media/")
        if not path.is_file():
            held[url, condition] = (
                {
                    "type": "http.response.start",
                    "status": 404,
                    "headers": [(b"content-length", b"0")],
                },
                {"type": "http.response.body", "body": b""},
            )
            return
        stat, body = path.stat(), path.read_bytes()
        headers = [
            (b"etag", b'"%x-%x"' % (stat.st_mtime_ns, stat.st_size)),
            (b"last-modified", formatdate(stat.st_mtime, usegmt=True).encode()),
        ]
        if name == b"if-none-match":
            status, body = 304, b""
        else:
            status = 200
            if condition:
                first, last = map(int, condition.removeprefix(b"bytes=").split(b"-"))
                headers.append((b"content-range", b"bytes %d-%d/%d" % (first, last, len(body))))
                status, body = 206, body[first : last + 1]
            headers += [
                (b"content-length", b"%d" % len(body)),
                (b"content-type", b"image/jpeg"),
                (b"accept-ranges", b"bytes"),
            ]
        held[url, condition] = (
            {"type": "http.response.start", "status": status, "headers": headers},
            {"type": "http.response.body", "body": body},
        )

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/media/"):
            return await app(scope, receive, send)
        name = condition = None
        for key, value in scope["headers"]:
            if key in (b"if-none-match", b"range"):
                name, condition = key, value
        url = scope["path"]
        if (url, condition) not in held:
            hold(url, name, condition)
        start, body = held[url, condition]
        await send(start)
        return await send(body)

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
            "nginx",
            "nginx",
            partial(no_application, "nginx"),
            {"page": "it passes nothing on here"},
        ),
    )
}
