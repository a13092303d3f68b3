"""A site with a cookie, its uploads, and a place where scripts tell that they ran."""

import json
import os
from typing import Any
from urllib.parse import unquote

from media_asgi import Location, MediaMiddleware

_told: list[str] = []


async def _site(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise ValueError("this site speaks HTTP alone")
    path, query = scope["path"], scope["query_string"].decode()
    type_, body = "text/html; charset=utf-8", ""
    more: list[tuple[bytes, bytes]] = []
    if path == "/page":
        # Whatever a test wants a page of the site to hold.
        body = f"<!doctype html><title>page</title>{unquote(query)}"
    elif path == "/preview":
        more = [  # as Django's middlewares leave it
            (b"x-accel-redirect", b"/handed-over/" + query.encode()),
            (b"x-frame-options", b"DENY"),
            (b"content-language", b"de"),
        ]
    elif path == "/tell":
        _told.append(unquote(query))
    elif path == "/told":
        type_, body = "application/json", json.dumps(_told)
    headers = [
        (b"content-type", type_.encode()),
        (b"set-cookie", b"session=of-the-site; path=/"),
        (b"cache-control", b"no-store"),
        *more,
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body.encode()})


_root = os.environ["UPLOADS"]
# Types that a project may add, and that a browser runs.
_types = {
    ".xhtml": "application/xhtml+xml",
    ".xht": "application/xhtml+xml",
    ".shtml": "text/html; charset=utf-8",
    ".rss": "application/rss+xml",
    ".atom": "application/atom+xml",
    ".multipart": "multipart/x-mixed-replace; boundary=b",
    ".related": "multipart/related; boundary=b",
}

application = MediaMiddleware(
    _site,
    Location(url="/media/", root=_root, content_types=_types),
    Location(url="/handed-over/", root=_root, access="internal"),
    Location(url="/trusted/", root=_root, content_types=_types, sandbox=False),
)
