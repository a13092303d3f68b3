"""The application behind the middleware: it tells what it was asked, and how its process fares."""

import asyncio
import functools
import gc
import json
import os
import sys
import threading
from typing import Any


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": scope["path"]})
        await send({"type": "websocket.close"})
    else:
        await answer(scope, receive, send)


async def answer(scope: Any, receive: Any, send: Any) -> None:
    size = 0
    more = True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    if scope["path"] == "/__state__":
        told = state()
    else:
        told = {
            "method": scope["method"],
            "path": scope["path"],
            "raw_path": scope["raw_path"].decode("latin-1"),
            "root_path": scope["root_path"],
            "body": size,
        }
    body = json.dumps(told).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"x-inner", b"1"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def state() -> dict[str, Any]:
    """What the process holds, this request left out."""
    descriptors = []
    for entry in os.listdir("/proc/self/fd"):
        try:
            descriptors.append(os.readlink(f"/proc/self/fd/{entry}"))
        except FileNotFoundError:  # the listing's own
            continue
    daphne = _daphne()
    return {
        "pid": os.getpid(),
        "descriptors": sorted(descriptors),
        "tasks": len(asyncio.all_tasks()) - 1,
        "threads": threading.active_count(),
        "connections": len(daphne.connections) - 1 if daphne else None,
    }


@functools.cache
def _daphne() -> Any:
    """Daphne's server, whose table of connections is to be empty when nothing goes on."""
    if "daphne.server" not in sys.modules:
        return None
    server = sys.modules["daphne.server"].Server
    return next(thing for thing in gc.get_objects() if type(thing) is server)
