"""A predicate is asked while the server cuts the request off, cancels it, or sends its body."""

import asyncio
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from media_asgi import Location, MediaMiddleware

from ..support import Answer, answer_of, ask, asked


async def no_app(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError


class Slow:
    """An async predicate that waits until it is allowed, or cancelled."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.allowed = asyncio.Event()
        self.is_cancelled = False

    async def __call__(self, request: Any, path: str) -> bool:
        self.asked.set()
        try:
            await self.allowed.wait()
        except asyncio.CancelledError:
            self.is_cancelled = True
            raise
        return True


def middleware(tmp_path: Path, access: Callable[..., Any]) -> MediaMiddleware:
    (tmp_path / "a.txt").write_bytes(b"a")
    return MediaMiddleware(no_app, Location(url="/p/", root=tmp_path, access=access))


async def question(slow: Slow, request: asyncio.Task[Answer]) -> None:
    """Waits until the predicate is asked. A request that ends before fails the test."""
    asking = asyncio.create_task(slow.asked.wait())
    await asyncio.wait([asking, request], return_when=asyncio.FIRST_COMPLETED)
    asking.cancel()
    assert slow.asked.is_set(), await request


async def settled() -> None:
    """Waits until no other task is left."""
    async with asyncio.timeout(60):
        while len(asyncio.all_tasks()) > 1:  # noqa: ASYNC110, tasks of Django's
            await asyncio.sleep(0.01)


def test_a_cancelled_request_leaves_no_task_of_django_s(tmp_path: Path) -> None:
    async def main() -> None:
        slow = Slow()
        request = asyncio.create_task(asked(middleware(tmp_path, slow), "/p/a.txt"))
        await question(slow, request)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        await settled()
        assert slow.is_cancelled

    asyncio.run(main())


def test_a_request_that_is_cancelled_at_any_moment_leaves_no_task(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def may(request: Any, path: str) -> bool:
        await asyncio.sleep(0)
        return True

    async def main() -> None:
        application = middleware(tmp_path, may)
        await asked(application, "/p/a.txt")
        for turns in range(60):
            request = asyncio.create_task(asked(application, "/p/a.txt"))
            for _ in range(turns):
                await asyncio.sleep(0)
            request.cancel()
            await asyncio.wait([request])
            await settled()

    asyncio.run(main())
    gc.collect()
    assert not caplog.records  # "Task exception was never retrieved"


def test_a_client_that_leaves_ends_an_async_predicate_and_gets_no_answer(tmp_path: Path) -> None:
    async def main() -> None:
        slow = Slow()
        gone = asyncio.Event()

        async def receive() -> Any:
            if not gone.is_set():
                await gone.wait()
            return {"type": "http.disconnect"}

        request = asyncio.create_task(
            asked(middleware(tmp_path, slow), "/p/a.txt", receive=receive)
        )
        await question(slow, request)
        gone.set()
        answer = await request
        assert not answer.messages
        assert slow.is_cancelled
        await settled()

    asyncio.run(main())


def test_a_body_is_left_to_the_server_and_then_to_the_application(tmp_path: Path) -> None:
    body = [b"%d" % number for number in range(100)]

    async def main() -> None:
        slow = Slow()
        slow.allowed.set()
        given: list[bytes] = []

        async def receive() -> Any:
            await asyncio.sleep(0)
            given.append(body[len(given)])
            return {
                "type": "http.request",
                "body": given[-1],
                "more_body": len(given) < len(body),
            }

        async def app(scope: Any, receive: Any, send: Any) -> None:
            assert len(given) <= 1
            while (message := await receive())["more_body"]:
                got.append(message["body"])
            got.append(message["body"])
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"the application"})

        got: list[bytes] = []
        location = Location(url="/p/", root=tmp_path, access=slow, fallthrough=True)
        answer = await asked(MediaMiddleware(app, location), "/p/missing", receive=receive)
        assert answer.body == b"the application"
        assert got == body

    asyncio.run(main())


def test_a_predicate_is_not_asked_for_a_name_that_no_file_has(tmp_path: Path) -> None:
    """PostgreSQL raises on NUL."""
    paths: list[str] = []

    def predicate(request: Any, path: str) -> bool:
        paths.append(path)
        return True

    application = middleware(tmp_path, predicate)
    assert ask(application, "/p/a\0b", query_string=b"", client=None).status == 404
    assert not paths


@pytest.mark.parametrize("is_async", [True, False])
def test_a_predicate_that_fails_after_its_answer_has_begun(
    tmp_path: Path, is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """No second answer follows the first."""
    from django.http import StreamingHttpResponse

    async def parts() -> Any:
        yield b"part"
        raise RuntimeError("the stream fails")

    def may(request: Any, path: str) -> Any:
        return StreamingHttpResponse(parts())

    async def may_later(request: Any, path: str) -> Any:
        return may(request, path)

    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def main() -> None:
        scope = {"type": "http", "method": "GET", "path": "/p/a.txt", "headers": []}
        await middleware(tmp_path, may_later if is_async else may)(scope, receive, send)

    asyncio.run(main())
    answer = answer_of(messages)
    assert (answer.status, answer.body, answer.ended) == (200, b"part", False)
    assert "the stream fails" in caplog.text
