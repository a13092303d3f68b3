"""The access log: what a line says, and when there is none."""

import asyncio
import errno
import logging
import os
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from media_asgi.delivery import access_log
from media_asgi.signals import file_sent

from .support import LARGE, Failing, Serve, ask, asked

NAME = "media_asgi.access"


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records if record.name == NAME]
    caplog.clear()
    return found


def without_seconds(line: str) -> str:
    method, path, status, sent, _, ending = line.split(" ")
    return f"{method} {path} {status} {sent} {ending}"


def test_it_is_off_though_the_project_logs_everything(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, "media_asgi"):
        assert ask(serve(), "/media/a.txt").status == 200
    assert lines(caplog) == []


def test_warnings_alone_are_not_asked_for_lines(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, NAME):
        assert ask(serve(), "/media/a.txt").status == 200
    assert lines(caplog) == []


# The phrase of the standard library, which Python 3.13 has changed.
UNSATISFIABLE = len(f"416 {HTTPStatus(416).phrase}\n")
RANGE = (b"range", b"bytes=0-1")


@pytest.mark.parametrize(
    ("method", "path", "headers", "line"),
    [
        ("GET", "/media/a.txt", [], "GET /media/a.txt 200 5 complete"),
        ("GET", "/media/large.bin", [], "GET /media/large.bin 200 10240 complete"),
        ("GET", "/media/none.bin", [], "GET /media/none.bin 200 0 complete"),
        ("GET", "/media/a.txt", [RANGE], "GET /media/a.txt 206 2 complete"),
        ("HEAD", "/media/a.txt", [], "HEAD /media/a.txt 200 0 complete"),
        ("GET", "/media/b.txt", [], "GET /media/b.txt 404 14 complete"),
        ("HEAD", "/media/b.txt", [], "HEAD /media/b.txt 404 0 complete"),
        ("POST", "/media/a.txt", [], "POST /media/a.txt 405 23 complete"),
        (
            "GET",
            "/media/a.txt",
            [(b"range", b"bytes=9-")],
            f"GET /media/a.txt 416 {UNSATISFIABLE} complete",
        ),
        ("GET", "/media/a.txt", [(b"if-match", b'"x"')], "GET /media/a.txt 412 24 complete"),
        (
            "GET",
            "/media/a.txt",
            [(b"service-worker", b"script")],
            "GET /media/a.txt 403 14 complete",
        ),
    ],
)
def test_a_line_for_each_answer(
    method: str,
    path: str,
    headers: list[Any],
    line: str,
    serve: Serve,
    caplog: pytest.LogCaptureFixture,
) -> None:
    application = serve()
    with caplog.at_level(logging.INFO, NAME):
        answer = ask(application, path, method, headers)
    assert [without_seconds(one) for one in lines(caplog)] == [line]
    # The answer is the same.
    assert answer[:4] == ask(application, path, method, headers)[:4]


def test_a_304_has_a_line(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    application = serve()
    tag = ask(application, "/media/a.txt").headers["etag"].encode()
    with caplog.at_level(logging.INFO, NAME):
        assert ask(application, "/media/a.txt", headers=[(b"if-none-match", tag)]).status == 304
    assert [without_seconds(one) for one in lines(caplog)] == ["GET /media/a.txt 304 0 complete"]


def test_the_record_has_the_fields_of_the_line(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, NAME):
        ask(serve(), "/media/a.txt")
    (record,) = (vars(record) for record in caplog.records if record.name == NAME)
    assert 0 <= record["seconds"] < 60
    expected = {"method": "GET", "path": "/media/a.txt", "status": 200, "bytes": 5}
    assert {name: record[name] for name in expected} == expected
    assert record["ending"] == "complete"
    fields = ("method", "path", "status", "bytes", "seconds", "ending")
    assert record["args"] == tuple(record[name] for name in fields)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/media/x 200 5 0.000 complete\nGET /media/secret"),
        ("GET", "/media/\r\n\x1b[2J\u2028\x85"),
        ("GET", "/media/\ud800\udcff"),
        ("GET", "/media/ä %0a%n"),
        ("G\nET 'x' 200", "/media/a.txt"),
        ("G\x0bET", "/media/a.txt"),
    ],
)
def test_a_client_forges_neither_a_line_nor_a_field(
    method: str, path: str, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, NAME):
        assert ask(serve(), path, method).status in (404, 405)
    (record,) = (record for record in caplog.records if record.name == NAME)
    line = record.getMessage()
    assert line.isascii()
    assert line.isprintable()
    assert len(line.split(" ")) == 6
    assert (vars(record)["method"], vars(record)["path"]) == tuple(line.split(" ")[:2])


@pytest.mark.parametrize("listening", ["to the log", "to the signal"])
def test_a_small_file_that_cant_be_read_is_500_though_somebody_listens(
    listening: str,
    serve: Serve,
    media: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def receiver(**told: Any) -> None:
        raise AssertionError("this is not a download")

    monkeypatch.setattr(os, "preadv", Failing(errno.EIO))
    if listening == "to the log":
        caplog.set_level(logging.INFO, NAME)
    else:
        file_sent.connect(receiver)
    try:
        assert ask(serve(), "/media/a.txt").status == 500
    finally:
        file_sent.disconnect(receiver)
    expected = ["GET /media/a.txt 500 26 complete"] if listening == "to the log" else []
    assert [without_seconds(one) for one in lines(caplog)] == expected


def test_receivers_go_on_when_the_server_cancels_the_request(serve: Serve) -> None:
    heard: list[bool] = []

    async def main() -> None:
        may_end, has_begun, has_ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def receiver(complete: bool, **told: Any) -> None:
            has_begun.set()
            await may_end.wait()
            heard.append(complete)
            has_ended.set()

        file_sent.connect(receiver)
        try:
            request = asyncio.ensure_future(asked(serve(), "/media/a.txt"))
            await has_begun.wait()
            request.cancel()
            with pytest.raises(asyncio.CancelledError):
                await request
            may_end.set()
            await asyncio.wait_for(has_ended.wait(), 60)
        finally:
            file_sent.disconnect(receiver)

    asyncio.run(main())
    assert heard == [True]


def test_a_client_that_leaves_with_the_last_byte_had_it_all(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """Some servers then cancel the request before it has sent its end."""

    async def main() -> None:
        got = 0

        def leave(message: dict[str, Any]) -> None:
            nonlocal got
            got += len(message.get("body", b""))
            if got == len(LARGE):
                request.cancel()

        request = asyncio.ensure_future(asked(serve(), "/media/large.bin", on_message=leave))
        with pytest.raises(asyncio.CancelledError):
            await request

    with caplog.at_level(logging.INFO, NAME):
        asyncio.run(main())
    assert [without_seconds(one) for one in lines(caplog)] == [
        "GET /media/large.bin 200 10240 complete"
    ]


def test_the_logger_has_no_level_of_its_own() -> None:
    assert access_log.level == logging.NOTSET
