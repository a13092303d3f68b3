"""Somebody looks at a response that has ended, until its client has taken it."""

import asyncio
import gc
import logging
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from media_asgi.servers import daphne_idle

pytestmark = pytest.mark.anyio

SEND_TIMEOUT = 0.4


class Channel:
    _media_asgi_watch: asyncio.TimerHandle | None = None

    def __init__(self, done: list[str]) -> None:
        self._done = done

    def resetTimeout(self) -> None:  # noqa: N802
        self._done.append("reset")


class Connection:
    """A channel and its transport, of which Twisted holds some bytes, and the kernel some."""

    def __init__(self) -> None:
        self.held, self.is_kernel_full, self.acked = 0, False, 0
        self.connected = True
        self.done: list[str] = []
        self.channel = Channel(self.done)

    def abortConnection(self) -> None:  # noqa: N802
        self.done.append("abort")

    def loseConnection(self) -> None:  # noqa: N802
        self.done.append("lose")

    def getHandle(self) -> Any:  # noqa: N802
        return SimpleNamespace(shutdown=lambda how: self.done.append("shutdown"))

    @property
    def is_watched(self) -> bool:
        return self.channel._media_asgi_watch is not None

    def watch(self) -> None:
        transport: Any = self
        daphne_idle.watch(self.channel, transport, SEND_TIMEOUT, "/media/a.bin")


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Connection:
    one = Connection()
    monkeypatch.setattr(daphne_idle, "buffered_above", lambda _: one.held)
    monkeypatch.setattr(daphne_idle, "would_lose_data", lambda _: one.is_kernel_full)
    monkeypatch.setattr(daphne_idle, "progress_of", lambda _: one.acked)
    return one


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_response_that_was_taken_is_looked_at_once(connection: Connection) -> None:
    connection.watch()
    await until(lambda: not connection.is_watched)
    assert connection.done == []


@pytest.mark.parametrize("where", ["held", "is_kernel_full"])
async def test_the_connection_stays_while_the_client_takes_bytes(
    connection: Connection, where: str
) -> None:
    setattr(connection, where, 1)
    connection.watch()
    loop = asyncio.get_running_loop()
    end = loop.time() + 3 * SEND_TIMEOUT
    while loop.time() < end:
        connection.acked += 1
        await asyncio.sleep(0.01)
    assert set(connection.done) == {"reset"}
    setattr(connection, where, 0)
    await until(lambda: not connection.is_watched)


@pytest.mark.parametrize(
    ("where", "end"), [("held", ["abort"]), ("is_kernel_full", ["shutdown", "lose"])]
)
async def test_a_client_that_takes_nothing_is_cut_off_once(
    connection: Connection, where: str, end: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """What the kernel holds may still come."""
    setattr(connection, where, 1)
    with caplog.at_level(logging.WARNING, "media_asgi"):
        connection.watch()
        await until(lambda: connection.done[-1:] == end[-1:])
        await asyncio.sleep(SEND_TIMEOUT)
    assert [what for what in connection.done if what != "reset"] == end
    line = "'/media/a.bin' cut off: the client took nothing for 0.4 s"
    assert caplog.messages == [line]


async def test_a_connection_that_is_lost_is_let_go(connection: Connection) -> None:
    connection.held = 1
    connection.watch()
    connection.connected = False
    await until(lambda: not connection.is_watched)
    assert connection.done == []


async def test_a_look_that_fails_does_not_end_the_watch_for_good(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    with monkeypatch.context() as patch:
        patch.delattr(daphne_idle, "buffered_above")
        connection.watch()
        await until(lambda: bool(told))
    assert not connection.is_watched
    connection.watch()
    assert connection.is_watched


async def test_what_a_connection_had_for_its_client_goes_with_it() -> None:
    """And not at the next look, up to ten seconds later."""
    one = Connection()
    one.watch()
    known = weakref.ref(one.channel), weakref.ref(one)
    del one
    gc.collect()
    assert [end() for end in known] == [None, None]


async def test_two_responses_of_a_connection_are_watched_once(connection: Connection) -> None:
    connection.held = 1
    connection.watch()
    connection.watch()
    await until(lambda: "abort" in connection.done)
    await asyncio.sleep(SEND_TIMEOUT)
    assert connection.done.count("abort") == 1


async def test_a_later_response_that_waits_itself_takes_the_watch_over(
    connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """Else the log would have two lines for one client."""
    connection.held = 1
    connection.watch()
    await until(lambda: "reset" in connection.done)
    daphne_idle.unwatch(connection.channel)
    connection.done.clear()
    await asyncio.sleep(2 * SEND_TIMEOUT)
    assert connection.done == []
    assert caplog.messages == []
    connection.watch()
    assert connection.is_watched
