"""What stands between the application and the server, message by message."""

import asyncio
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from media_asgi import Location, MediaMiddleware
from media_asgi.sources import guard
from media_asgi.types import Message, Scope


class Exchange:
    """An application that says what it is told to, and what came of it."""

    def __init__(self, messages: list[Message], *, leaves_body: bool = False) -> None:
        self.messages = messages
        self.given: list[tuple[Any, Any]] = []
        self.sent: list[Message] = []
        self.sends = 0
        self.requests: Iterator[Message] = iter(
            [
                {"type": "http.request", "body": b"x" * 1000, "more_body": True},
                {"type": "http.request", "body": b"y" * 1000, "more_body": False},
            ]
        )
        self.leaves_body = leaves_body

    async def application(self, scope: Any, receive: Any, send: Any) -> None:
        self.given.append((receive, send))
        while not self.leaves_body and (await receive())["more_body"]:
            pass
        for message in self.messages:
            await send(message)
            self.sends += 1
            # It has gone out before the application goes on.
            if self.sent:
                assert len(self.sent) == self.sends

    async def receive(self) -> Message:
        for message in self.requests:
            return message
        await asyncio.Event().wait()
        raise AssertionError

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    def run(
        self,
        *locations: Location,
        method: str = "GET",
        path: str = "/view/",
        query: bytes = b"",
        **more: Any,
    ) -> None:
        scope: Scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query,
            "root_path": "",
            "headers": [],
            **more,
        }
        middleware = MediaMiddleware(self.application, *locations)
        # A fresh loop for each exchange, as tables of them want.
        asyncio.run(asyncio.wait_for(middleware(scope, self.receive, self.send), 60))


@pytest.fixture
def internal(tmp_path: Path) -> Location:
    (tmp_path / "internal").mkdir()
    (tmp_path / "internal" / "a.txt").write_bytes(b"the file")
    with open(tmp_path / "internal" / "large.bin", "wb") as file:
        file.truncate(1 << 20)
    return Location(url="/internal/", root=tmp_path / "internal", access="internal")


@pytest.fixture
def public(tmp_path: Path) -> Location:
    return Location(url="/public/", root=tmp_path / "public")


def start(*headers: tuple[bytes, bytes], status: int = 200) -> Message:
    return {"type": "http.response.start", "status": status, "headers": [*headers]}


STREAM: list[Message] = [
    {"type": "http.response.debug", "info": {"template": "a.html"}},
    start((b"Content-Type", b"text/event-stream"), (b"X-Own", b"1"), (b"x-own", b"2"), status=203),
    {"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True},
    {"type": "http.response.body", "body": b"", "more_body": True},
    {"type": "http.response.zerocopysend", "file": 3},
    {"type": "http.response.body", "body": memoryview(b"data: 2\n\n"), "more_body": True},
    {"type": "http.response.push", "path": "/a", "headers": []},
    {"type": "http.response.body"},
    {"type": "http.response.trailers", "headers": []},
]


def test_a_response_without_the_headers_is_passed_on_message_by_message(internal: Location) -> None:
    exchange = Exchange(STREAM)
    exchange.run(internal)
    assert exchange.sent == STREAM
    # The bodies are the very objects.
    for said, sent in zip(STREAM, exchange.sent, strict=True):
        assert sent is said or sent["type"] == "http.response.start"


def test_without_an_internal_location_no_message_is_looked_at(
    internal: Location, public: Location
) -> None:
    exchange = Exchange([{"type": "whatever"}, start((b"x-sendfile", b"/a"))])
    exchange.run(public)
    assert exchange.given[0][1] == exchange.send  # the server's own
    assert exchange.sent == exchange.messages
    exchange = Exchange(STREAM)
    exchange.run(public, internal)
    assert exchange.given[0][1] != exchange.send


def test_the_file_waits_until_the_application_is_done(internal: Location) -> None:
    accel = (b"X-Accel-Redirect", b"/internal/a.txt")
    exchange = Exchange([start(accel, (b"content-length", b"4")), *STREAM[2:4], *STREAM[-2:]])
    exchange.run(internal)
    first, *bodies = exchange.sent
    assert dict(first["headers"])[b"content-length"] == b"8"
    assert b"".join(message["body"] for message in bodies) == b"the file"
    assert exchange.sends == len(exchange.messages)


@pytest.mark.parametrize("length", [8, 1 << 20])
def test_an_application_that_leaves_the_body_of_the_request_unread(
    internal: Location, length: int
) -> None:
    name = b"a.txt" if length == 8 else b"large.bin"
    exchange = Exchange([start((b"x-accel-redirect", b"/internal/" + name))], leaves_body=True)
    exchange.run(internal, method="POST")
    assert exchange.sent[0]["status"] == 200
    assert sum(len(message["body"]) for message in exchange.sent[1:]) == length


def test_an_application_that_fails_after_it_named_a_file(internal: Location) -> None:
    """Nothing has gone out: the server can still say 500."""

    class Failing(Exchange):
        async def application(self, scope: Any, receive: Any, send: Any) -> None:
            await super().application(scope, receive, send)
            raise RuntimeError("too late")

    exchange = Failing([start((b"x-accel-redirect", b"/internal/a.txt"))])
    with pytest.raises(RuntimeError, match="too late"):
        exchange.run(internal)
    assert not exchange.sent


def test_headers_are_any_iterable(internal: Location) -> None:
    for headers in (
        ((name, value) for name, value in [(b"x-own", b"1"), (b"x-sendfile", b"/a")]),
        iter([(b"x-own", b"1")]),
    ):
        exchange = Exchange([{"type": "http.response.start", "status": 404, "headers": headers}])
        exchange.run(internal)
        assert [*exchange.sent[0]["headers"]] == [(b"x-own", b"1")]
    exchange = Exchange([{"type": "http.response.start", "status": 204}])
    exchange.run(internal)
    assert exchange.sent[0]["status"] == 204


def test_several_content_types_of_a_hand_over_are_one_that_is_sandboxed(internal: Location) -> None:
    for types, sent in (
        ([b"image/png", b"text/html"], b"image/png, text/html"),
        ([b"text/html; charset=utf-8", b"image/png"], b"text/html; charset=utf-8, image/png"),
        ([b"image/png", b"image/png"], b"image/png, image/png"),
    ):
        own = [(b"Content-Type", type_) for type_ in types]
        exchange = Exchange([start((b"x-accel-redirect", b"/internal/a.txt"), *own)])
        exchange.run(internal)
        headers = exchange.sent[0]["headers"]
        assert [value for name, value in headers if name == b"content-type"] == [sent]
        (policy,) = [value for name, value in headers if name == b"content-security-policy"]
        assert b"sandbox" in policy
    own = [(b"content-type", b""), (b"content-type", b"text/html; charset=utf-8")]
    exchange = Exchange([start((b"x-accel-redirect", b"/internal/a.txt"), *own)])
    exchange.run(internal)
    assert (b"content-type", b"text/plain; charset=utf-8") in exchange.sent[0]["headers"]


def test_a_callable_that_lets_everyone_share_a_guarded_file_is_an_error(
    internal: Location, caplog: pytest.LogCaptureFixture
) -> None:
    shared = dataclasses.replace(internal, cache_control=lambda path: "public, max-age=5")
    exchange = Exchange([start((b"x-accel-redirect", b"/internal/a.txt"))])
    exchange.run(shared)
    assert exchange.sent[0]["status"] == 500
    assert (b"cache-control", b"no-store") in exchange.sent[0]["headers"]
    (record,) = caplog.records
    assert record.exc_info
    assert "a shared cache would give them to every client" in str(record.exc_info[1])


def test_headers_of_the_request_are_any_iterable(internal: Location) -> None:
    for headers in (iter([(b"Range", b"bytes=4-")]), ([b"range", b"bytes=4-"],)):
        exchange = Exchange([start((b"x-accel-redirect", b"/internal/a.txt"))])
        exchange.run(internal, headers=headers)
        assert [message.get("body") for message in exchange.sent] == [None, b"file"]
    exchange = Exchange([start((b"x-accel-redirect", b"/internal/a.txt"))])
    exchange.run(internal, headers=None)
    assert exchange.sent[1]["body"] == b"the file"


def test_a_file_that_is_missing_in_a_public_location_may_be_handed_over(
    internal: Location, tmp_path: Path
) -> None:
    """Where it falls through, the application that is asked may hand one over."""
    (tmp_path / "public").mkdir()
    falling = Location(url="/public/", root=tmp_path / "public", fallthrough=True)
    exchange = Exchange([start((b"x-accel-redirect", b"/internal/a.txt"))])
    exchange.run(internal, falling, path="/public/thumbnail.txt")
    assert exchange.sent[1]["body"] == b"the file"


def test_a_guarded_folder_in_another_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where case doesn't count, an open file's path is as the client wrote it."""
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "a.txt").write_bytes(b"secret")
    (tmp_path / "Documents").symlink_to("documents")  # both names lead to it, as there
    (tmp_path / "open.txt").write_bytes(b"open")
    real_path = guard.real_path
    monkeypatch.setattr(
        guard, "real_path", lambda fd: real_path(fd).replace("/documents/", "/Documents/")
    )
    public = Location(url="/media/", root=tmp_path)
    guarded = Location(url="/media/documents/", root=documents, access="internal")
    for path, locations, status in (
        ("/media/open.txt", (public, guarded), 200),
        ("/media/Documents/a.txt", (public,), 200),
        ("/media/Documents/a.txt", (public, guarded), 404),
    ):
        exchange = Exchange([])
        exchange.run(*locations, path=path)
        assert exchange.sent[0]["status"] == status


@pytest.mark.parametrize("redirects", [True, False])
def test_a_query_that_is_no_text(tmp_path: Path, *, redirects: bool) -> None:
    """Django's request can't hold it. Daphne and uvicorn refuse it themselves; others don't."""
    asked: list[str] = []

    def refuse(request: Any, path: str) -> bool:
        asked.append(path)
        return False

    location = Location(
        url="/asked/",
        root=tmp_path,
        access=refuse,
        login_redirect=redirects,
    )
    exchange = Exchange([])
    exchange.run(location, path="/asked/a.txt", query=b"a=\xff")
    assert exchange.sent[0]["status"] == 400
    assert not asked
