"""Locations that a client would like to mix up, as they are and with ``send`` wrapped."""

import os
from typing import Any

from django.conf import settings

settings.configure(SECRET_KEY="for these tests alone", ROOT_URLCONF=__name__)

from media_asgi import Location, MediaMiddleware  # noqa: E402

urlpatterns: list[Any] = []


async def _site(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise ValueError("this site speaks HTTP alone")
    headers = [(b"x-root-path", scope["root_path"].encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"the application"})


def _is_mounted_at_app(request: Any, path: str) -> bool:
    told: str = request.META["SCRIPT_NAME"]
    return told == "/app"


_root = os.environ["UPLOADS"]
application = MediaMiddleware(
    _site,
    Location(url="/files/", root=f"{_root}/files", cache_control="public, max-age=60"),
    Location(url="/private/", root=f"{_root}/private", access="signed", cache_control="max-age=60"),
    Location(
        url="/asked/", root=f"{_root}/files", access=_is_mounted_at_app, cache_control="max-age=60"
    ),
    Location(url="/default/", root=f"{_root}/files"),
    Location(
        url="/unbuffered/",
        root=f"{_root}/files",
        cache_control="public, max-age=60",
        headers={"X-Accel-Buffering": "no"},  # as a large file has it
    ),
)


async def wrapped(scope: Any, receive: Any, send: Any) -> None:
    async def own_send(message: Any) -> None:
        await send(message)

    await application(scope, receive, own_send)
