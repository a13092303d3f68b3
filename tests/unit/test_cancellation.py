"""Requests that are cancelled leave nothing behind."""

import asyncio
import contextlib
import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from media_asgi import Location, MediaMiddleware
from media_asgi.sources import guard, local

from .support import (
    RESOLVERS,
    Failing,
    Gate,
    Serve,
    asked,
    left_open,
    opened,
    opened_files,
    resolve_by,
)

pytestmark = pytest.mark.anyio


async def cancelled(application: MediaMiddleware, path: str, gate: Gate) -> None:
    request = asyncio.create_task(asked(application, path))
    assert await asyncio.to_thread(gate.reached.wait, 10)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request


@pytest.mark.parametrize("resolver", RESOLVERS)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_cancelled_while_opening(
    when: str, resolver: str, serve: Serve, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_by(resolver, monkeypatch)
    application = serve()
    checked = guard.checked
    opening = local.LocalSource._open
    gate = Gate(checked if when == "after" else opening)
    if when == "after":  # the file is open already
        monkeypatch.setattr(local, "checked", gate)
    else:
        monkeypatch.setattr(local.LocalSource, "_open", lambda *args: gate(*args))
    await cancelled(application, "/media/a.txt", gate)
    gate.open.set()
    assert await asyncio.to_thread(left_open, media) == []
    monkeypatch.undo()
    assert (await asked(application, "/media/a.txt")).body == b"hello"


@pytest.mark.parametrize("path", ["a.txt", "large.bin"])
async def test_cancelled_while_reading(
    path: str, serve: Serve, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "preadv", Failing(errno.EAGAIN))
    gate = Gate(os.pread)
    monkeypatch.setattr(os, "pread", gate)
    application = serve()
    await cancelled(application, f"/media/{path}", gate)
    # The worker reads on: until it has ended, the number must be nobody else's.
    assert opened_files(media) == [path]
    gate.open.set()
    assert await asyncio.to_thread(left_open, media) == []
    monkeypatch.undo()
    assert (await asked(application, f"/media/{path}")).ended


async def test_cancelled_while_the_next_span_is_read(
    serve: Serve, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "preadv", Failing(errno.EAGAIN))
    pread = os.pread
    gate = Gate(pread)
    monkeypatch.setattr(os, "pread", lambda *args: (pread if args[2] < 1024 else gate)(*args))
    application = serve()

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)
        if len(sent) == 2:  # the start, and the first chunk
            await asyncio.Event().wait()

    async def receive() -> Any:
        await asyncio.Event().wait()

    scope = {"type": "http", "method": "GET", "path": "/media/large.bin", "headers": []}
    request = asyncio.create_task(application(scope, receive, send))
    assert await asyncio.to_thread(gate.reached.wait, 10)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert opened_files(media) == ["large.bin"]
    gate.open.set()
    assert await asyncio.to_thread(left_open, media) == []


@pytest.mark.parametrize("turns", range(12))
@pytest.mark.parametrize("path", ["a.txt", "large.bin", "nope"])
async def test_cancelled_at_any_time(
    path: str, turns: int, serve: Serve, media: Path, cache: str
) -> None:
    application = serve()

    async def main() -> None:
        request = asyncio.create_task(asked(application, f"/media/{path}"))
        for _ in range(turns):
            await asyncio.sleep(0)
        request.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await request

    before = threading.active_count()
    await main()
    assert threading.active_count() <= before + 2
    assert await asyncio.to_thread(left_open, media) == []
    assert len(opened(media)) <= 1


async def test_a_predicate_for_which_no_thread_can_be_started_is_503(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_bytes(b"a")
    calls = []

    def may(request: Any, path: str) -> bool:
        calls.append(path)
        return True

    async def no_app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError

    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    application = MediaMiddleware(no_app, Location(url="/p/", root=tmp_path, access=may))
    # At first Django's middleware is to be made, and then the predicate is to be asked.
    for status in (503, 200, 503):
        with monkeypatch.context() as patch:
            if status == 503:
                patch.setattr(threading.Thread, "start", start)
                patch.setattr(asyncio.get_running_loop(), "_default_executor", None)
            answer = await asked(application, "/p/a.txt")
        assert answer.status == status
        assert status == 200 or answer.headers["retry-after"] == "1"
        assert len(calls) == (status == 200) or calls == ["a.txt"]
    assert calls == ["a.txt"]
