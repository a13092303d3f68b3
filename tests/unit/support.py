"""What the tests of files and of the middleware share."""

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from threading import Event, current_thread
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from media_asgi import MediaMiddleware
from media_asgi.sources import local, openat2

# The ways to open a file: with openat2 where this kernel has it, from folder to folder, and by
# name, for systems that have neither.
RESOLVERS = ["openat2", "walk", "name"] if openat2.KERNEL.openat2 else ["walk", "name"]


def resolve_by(resolver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if resolver != "openat2":
        monkeypatch.setattr(openat2.KERNEL, "openat2", False)
        monkeypatch.setattr(openat2.KERNEL, "cached", False)
    monkeypatch.setattr(local, "_BY_DESCRIPTOR", resolver != "name")


def opened(folder: Path) -> list[str]:
    """What of this folder, itself included, the process holds open."""
    known = {}
    for parent, _, names in os.walk(folder):
        for path in (parent, *(os.path.join(parent, name) for name in names)):
            status = os.lstat(path)
            known[status.st_dev, status.st_ino] = os.path.relpath(path, folder)
    held = []
    for number in os.listdir("/dev/fd"):
        try:
            status = os.fstat(int(number))
        except OSError:  # the listing's own
            continue
        if (status.st_dev, status.st_ino) in known:
            held.append(known[status.st_dev, status.st_ino])
    return sorted(held)


def opened_files(folder: Path) -> list[str]:
    """The same without the folder, which may be held as long as its ``LocalSource`` is there."""
    return [name for name in opened(folder) if name != "."]


class Clock(SimpleNamespace):
    """Stands for the module ``time`` in one module of the package."""

    def __init__(self, moment: float = 1_700_000_000.0) -> None:
        super().__init__(moment=moment, slept=[])

    def monotonic(self) -> float:
        return float(self.moment)

    time = monotonic

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


class Gate:
    """A call that waits in its thread until it is let through."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call
        self.reached = Event()
        self.open = Event()
        self.threads: list[str] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.threads.append(current_thread().name)
        self.reached.set()
        assert self.open.wait(60)
        return self.call(*args, **kwargs)


class Failing:
    """A call that fails so many times, and then goes through."""

    def __init__(self, error: int, call: Callable[..., Any] = int, times: int = 10**9) -> None:
        self.error = error
        self.call = call
        self.times = times
        self.calls = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        if self.calls <= self.times:
            raise OSError(self.error, os.strerror(self.error))
        return self.call(*args, **kwargs)


def idle(executor: Executor, threads: int) -> None:
    """Wait until all that was submitted has ended, callbacks included: all threads are here."""
    gates = [Gate(int) for _ in range(threads)]
    calls = [executor.submit(gate) for gate in gates]
    for gate in gates:
        assert gate.reached.wait(60)
    for gate in gates:
        gate.open.set()
    for call in calls:
        call.result(60)


class Answer(NamedTuple):
    status: int | None
    headers: dict[str, str]
    body: bytes
    ended: bool
    """Has the application said that this is all?"""
    messages: list[dict[str, Any]]

    def has(self, **headers: str) -> bool:
        return headers.items() <= {n.replace("-", "_"): v for n, v in self.headers.items()}.items()


async def asked(
    application: Any,
    path: str,
    method: str = "GET",
    headers: Any = (),
    *,
    receive: Any = None,
    on_message: Callable[[dict[str, Any]], Any] = lambda message: None,
    **more: Any,
) -> Answer:
    """One request, as a server makes it; ``on_message`` sees each answer to it come."""
    messages: list[dict[str, Any]] = []

    async def nothing_comes() -> Any:
        await asyncio.Event().wait()

    async def send(message: dict[str, Any]) -> None:
        messages.append(message)
        on_message(message)

    scope = {"type": "http", "method": method, "path": path, "headers": headers} | more
    await application(scope, receive or nothing_comes, send)
    return answer_of(messages)


def answer_of(messages: list[dict[str, Any]]) -> Answer:
    """What these messages of ASGI say, which must be in order."""
    if not messages:
        return Answer(None, {}, b"", False, messages)
    start, *bodies = messages
    assert start["type"] == "http.response.start"
    headers = {}
    for name, value in start["headers"]:
        field = name.decode("ascii")
        assert field == field.lower()
        assert field not in headers, "a field twice"
        headers[field] = value.decode("latin-1")
    assert {message["type"] for message in bodies} <= {"http.response.body"}
    ends = [not message.get("more_body", False) for message in bodies]
    assert True not in ends[:-1]
    body = b"".join(message.get("body", b"") for message in bodies)
    return Answer(start["status"], headers, body, bool(ends) and ends[-1], messages)


def ask(application: Any, path: str, *args: Any, **more: Any) -> Answer:
    """One request on a fresh loop, for tests that aren't async: the middleware keeps nothing of one
    loop for the next."""
    return asyncio.run(asked(application, path, *args, **more))


LARGE = bytes(range(256)) * 40
"""Ten spans of 1 KiB and a bit."""


class Inner:
    """The application behind the middleware."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, Any, Any]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.calls.append((scope, receive, send))
        if scope["type"] == "http":
            start = {"type": "http.response.start", "status": 200, "headers": [(b"x-inner", b"1")]}
            await send(start)
            await send({"type": "http.response.body", "body": b"inner"})


def age(root: Path, seconds: float) -> None:
    """Make the files below this folder older than their time stamps need to count."""
    moment = time.time_ns() - int(seconds * 1e9)
    for path in root.rglob("*"):
        os.utime(path, ns=(moment, moment))


Serve = Callable[..., MediaMiddleware]


def left_open(media: Path) -> list[str]:
    """What stays open, once the workers have ended."""
    for _ in range(3000):
        if not opened_files(media):
            break
        time.sleep(0.01)
    return opened_files(media)


def fail(path: str) -> Any:
    raise ValueError("a mistake of the project's")
