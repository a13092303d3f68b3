"""A server that lends no transport: each message has its time; and what counts as lent."""

import asyncio
import functools
import logging
from pathlib import Path
from typing import Any

import pytest

from media_asgi import Location, MediaMiddleware
from media_asgi.servers import asgi as servers
from media_asgi.servers.send import response_writer

from ..support import asked, opened_files

pytestmark = pytest.mark.anyio

SIZE = 3 << 20


def serve(folder: Path, send_timeout: float) -> MediaMiddleware:
    (folder / "a.bin").write_bytes(bytes(SIZE))
    return MediaMiddleware(
        _nothing, Location(url="/media/", root=folder), send_timeout=send_timeout
    )


@pytest.fixture
def served(tmp_path: Path) -> MediaMiddleware:
    return serve(tmp_path, 0.3)


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("not asked")


class Slow:
    """A server whose sends wait, from one message on."""

    def __init__(self, *waits: float) -> None:
        self.waits = waits
        self.sizes: list[int] = []

    async def send(self, message: Any) -> None:
        number = len(self.sizes)
        self.sizes.append(len(message.get("body", b"")))
        if number < len(self.waits):
            await asyncio.sleep(self.waits[number])


async def never() -> Any:
    await asyncio.Event().wait()


def scope() -> dict[str, Any]:
    return {"type": "http", "method": "GET", "path": "/media/a.bin", "headers": []}


async def test_a_message_that_nobody_takes_ends_the_response(
    served: MediaMiddleware, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = Slow(0, 0, 0, 60)
    await served(scope(), never, server.send)
    assert len(server.sizes) == 4
    assert [record.getMessage() for record in caplog.records] == [
        "'/media/a.bin' cut off: the server took nothing for 0.3 s"
    ]
    assert opened_files(tmp_path) == []


async def test_messages_are_small_once_one_has_waited(tmp_path: Path) -> None:
    """For a twelfth of send_timeout, which is more than a busy machine takes for a message."""
    server = Slow(0, 0, 1)
    await serve(tmp_path, 6)(scope(), never, server.send)
    assert sum(server.sizes) == SIZE
    assert set(server.sizes[1:3]) == {64 << 10}
    assert set(server.sizes[3:-1]) == {16 << 10}


async def test_a_time_out_of_the_servers_own_is_a_client_that_has_gone(
    served: MediaMiddleware, caplog: pytest.LogCaptureFixture
) -> None:
    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            raise TimeoutError

    with caplog.at_level(logging.INFO):
        await served(scope(), never, send)
    assert not caplog.records


async def test_who_cancels_the_request_is_heard(served: MediaMiddleware, tmp_path: Path) -> None:
    task = asyncio.create_task(served(scope(), never, Slow(0, 60).send))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert opened_files(tmp_path) == []


async def test_a_file_that_the_server_sends_by_itself_takes_its_time(
    served: MediaMiddleware, caplog: pytest.LogCaptureFixture
) -> None:
    sent = []

    async def send(message: Any) -> None:
        sent.append(message["type"])
        if message["type"] == "http.response.zerocopysend":
            await asyncio.sleep(0.6)

    extensions: dict[str, Any] = {"http.response.zerocopysend": {}}
    await served(scope() | {"extensions": extensions}, never, send)
    assert sent[-2:] == ["http.response.zerocopysend", "http.response.body"]
    assert not caplog.records


# What is a lent transport -------------------------------------------------------------------------


class Owner:
    def __init__(self, transport: object) -> None:
        self.transport = transport

    async def send(self, message: Any) -> None: ...


def kind(send: Any, **more: Any) -> type:
    own: Any = {"type": "http", "http_version": "1.1", "path": "/"} | more

    async def connect() -> type:  # a server calls with its loop running
        return type(response_writer(own, never, send, 60))

    # A fresh loop for each call, so that tests without a loop may use it.
    return asyncio.run(connect())


def test_only_the_transport_of_the_servers_own_object_is_lent() -> None:
    transport = asyncio.Transport()
    lent = Owner(transport).send
    assert kind(lent) is servers.TransportResponseWriter

    async def wrapped(message: Any) -> None:
        await lent(message)

    for other in (
        wrapped,
        functools.partial(lent),
        Owner(None).send,
        Owner(object()).send,
        Owner(asyncio.ReadTransport()).send,
        Slow().send,
    ):
        assert kind(other) is servers.ASGIResponseWriter
    assert kind(lent, http_version="2") is servers.ASGIResponseWriter


async def test_the_addresses_of_a_request_count_nowhere(served: MediaMiddleware) -> None:
    addresses = (
        None,
        ("127.0.0.1", 80),
        ["::1", 5],
        ("site.test", "port"),
        ("/run/socket", None),
        7,
    )
    for client, server in zip(addresses, reversed(addresses), strict=True):
        answer = await asked(served, "/media/a.bin", client=client, server=server)
        assert answer.body == bytes(SIZE)
