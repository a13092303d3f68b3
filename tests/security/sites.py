"""Locations of several hosts and folders of links, as the environment names them."""

import json
import os
from typing import Any
from urllib.parse import unquote

from django.conf import settings

settings.configure(
    **{
        "SECRET_KEY": "for these tests alone",
        "ROOT_URLCONF": __name__,
        "ALLOWED_HOSTS": ["*"],
        **json.loads(os.environ.get("SETTINGS", "{}")),
    }
)

from media_asgi import Location, MediaMiddleware  # noqa: E402

urlpatterns: list[Any] = []


async def _application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close"})
        return
    if scope["type"] != "http":
        raise ValueError("this site speaks HTTP and websockets alone")
    body, more = b"the application", []
    if scope["path"] == "/page":  # whatever a test wants a page to hold
        body = b"<!doctype html>" + unquote(scope["query_string"].decode()).encode()
    elif scope["path"] == "/hand-over":
        more = [(b"x-accel-redirect", scope["query_string"])]
    elif scope["path"] == "/send-file":
        more = [(b"x-sendfile", scope["query_string"])]
    headers = [(b"content-type", b"text/html; charset=utf-8"), *more]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


application = MediaMiddleware(
    _application, *[Location(**options) for options in json.loads(os.environ["LOCATIONS"])]
)
