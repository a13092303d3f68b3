"""Folders of tenants, by host. The folder "slow" is found once its file "go" is there."""

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from django.conf import settings

settings.configure(
    SECRET_KEY="for these tests alone", ROOT_URLCONF=__name__, BASE_DIR=os.environ["CODE"]
)

from media_asgi import Location, MediaMiddleware  # noqa: E402

urlpatterns: list[Any] = []
ROOT = Path(os.environ["ROOT"])
asked: list[tuple[str, str]] = []


def folder(kind: str, host: str) -> Path | None:
    asked.append((host, threading.current_thread().name))
    tenant = host.partition(".")[0]
    if tenant == "broken":
        raise LookupError("the database is away")
    if tenant == "code":
        return Path(os.environ["CODE"])
    if tenant == "empty":
        return ""  # type: ignore[return-value]
    if tenant == "exposed" and kind == "private":
        return ROOT / "shared/exposed"
    while tenant == "slow" and not (ROOT / "go").exists():
        time.sleep(0.01)
    found = ROOT / tenant / kind
    return found if found.is_dir() else None


def files(host: str) -> Path | None:
    return folder("files", host)


def private(host: str) -> Path | None:
    return folder("files/private", host) or folder("private", host)


def internal(host: str) -> Path | None:
    return folder("internal", host)


async def _application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise ValueError("this site speaks HTTP alone")
    body, more = b"the application", []
    if scope["path"] == "/asked":
        body = json.dumps(asked).encode()
    elif scope["path"] == "/hand-over":
        more = [(b"x-accel-redirect", scope["query_string"])]
    elif scope["path"] == "/send-file":
        more = [(b"x-sendfile", scope["query_string"])]
    await send({"type": "http.response.start", "status": 200, "headers": more})
    await send({"type": "http.response.body", "body": body})


application = MediaMiddleware(
    _application,
    Location(url="/files/", root=files, host="*"),
    Location(url="/private/", root=private, host=".example.com", access="signed"),
    Location(url="/in/", root=internal, host=".example.com", access="internal"),
    Location(url="/shared/", root=ROOT / "shared"),
)
