"""What is served to meet faults: the middleware twice, for two kinds of patience, and its peers."""

import asyncio
import gc
import inspect
import json
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from media_asgi import Location, MediaMiddleware
from media_asgi.sources.workers import Workers

from ..apps.inner import application as inner

ROOT = Path(os.environ["FAULTS_ROOT"])
OPTIONS = json.loads(os.environ.get("FAULTS_OPTIONS", "{}"))

_sendfile = os.sendfile
sendfiles = 0


def _counted_sendfile(*arguments: Any) -> int:
    global sendfiles
    sendfiles += 1
    return _sendfile(*arguments)


os.sendfile = _counted_sendfile  # type: ignore[assignment]


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http" or scope["path"] not in told:
        await inner(scope, receive, send)
        return
    answer = told[scope["path"]]()
    body = json.dumps(await answer if inspect.isawaitable(answer) else answer).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class _Heartbeat:
    """How late the event loop comes to what is due."""

    task: asyncio.Task[None] | None = None
    late = 0.0

    @classmethod
    def slowest(cls) -> float:
        """Since it was asked before: every other question starts it, and the next one ends it."""
        if cls.task is None:
            cls.late = 0.0
            cls.task = asyncio.get_running_loop().create_task(cls._beat())
        else:
            cls.task.cancel()
            cls.task = None
        return cls.late

    @classmethod
    async def _beat(cls) -> None:
        while True:
            due = time.monotonic() + 0.002
            await asyncio.sleep(0.002)
            cls.late = max(cls.late, time.monotonic() - due)


async def _fill() -> int:
    """Make every pool start all the threads that it will ever have."""
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, time.sleep, 0)
    pools = [thing for thing in gc.get_objects() if type(thing) in (Workers, ThreadPoolExecutor)]
    await asyncio.gather(
        *(
            loop.run_in_executor(pool, time.sleep, 0.1)
            for pool in pools
            for _ in range(pool._pool.limit if isinstance(pool, Workers) else pool._max_workers)
        )
    )
    return threading.active_count()


# What the process tells of itself.
told: dict[str, Callable[[], Any]] = {
    "/__sendfiles__": lambda: sendfiles,
    "/__heartbeat__": _Heartbeat.slowest,
    "/__fill__": _fill,
    # Python takes each thread of Granian's own that ever called it for one of its own.
    "/__threads__": lambda: sum(
        not isinstance(thread, threading._DummyThread) for thread in threading.enumerate()
    ),
}

impatient = MediaMiddleware(
    application, Location(url="/impatient/", root=ROOT), **{"send_timeout": 2, **OPTIONS}
)


async def to_the_impatient(scope: Any, receive: Any, send: Any) -> None:
    """One MediaMiddleware directly around another is refused: there it is a mistake."""
    await impatient(scope, receive, send)


media = MediaMiddleware(
    to_the_impatient, Location(url="/media/", root=ROOT), **{"send_timeout": 60, **OPTIONS}
)


async def wrapped(scope: Any, receive: Any, send: Any) -> None:
    """As some middleware for tracing does, this hides the server's own send()."""

    async def own_send(message: Any) -> None:
        await send(message)

    await media(scope, receive, own_send)
