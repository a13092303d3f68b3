"""Errors of the system, and what a client gets then."""

import asyncio
import errno
import os
import resource
from pathlib import Path
from typing import Any

import pytest

from media_asgi.sources import local, openat2

from .support import (
    LARGE,
    RESOLVERS,
    Answer,
    Clock,
    Failing,
    Inner,
    Serve,
    ask,
    asked,
    fail,
    left_open,
    resolve_by,
)

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("error", "status"),
    [
        *[
            (getattr(errno, name), 404)
            for name in (
                "ENOENT",
                "ENOTDIR",
                "EISDIR",
                "ELOOP",
                "EXDEV",
                "ENAMETOOLONG",
                "EILSEQ",
                "EINVAL",
                "ENXIO",
                "ENODEV",
            )
        ],
        (errno.EACCES, 403),
        (errno.EPERM, 403),
        (errno.EIO, 500),
        (errno.ESTALE, 500),
        (errno.EMFILE, 503),
        (errno.ENFILE, 503),
        (errno.ENOMEM, 503),
        (errno.EAGAIN, 503),
    ],
    ids=lambda value: errno.errorcode.get(value, "") if value < 200 else str(value),
)
@pytest.mark.parametrize("resolver", RESOLVERS)
def test_what_opening_fails_with(
    error: int,
    status: int,
    resolver: str,
    serve: Serve,
    inner: Inner,
    media: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    resolve_by(resolver, monkeypatch)
    monkeypatch.setattr(local, "time", Clock())
    for fallthrough in (False, True):
        application = serve(fallthrough=fallthrough)
        with monkeypatch.context() as broken:
            if resolver == "openat2":
                broken.setattr(openat2.KERNEL, "open", Failing(error))
            else:
                broken.setattr(os, "open", Failing(error))
            caplog.clear()
            answer = ask(application, "/media/a.txt")
        if status == 404 and fallthrough:
            assert answer.body == b"inner"
            continue
        assert (answer.status, answer.ended) == (status, True)
        assert answer.headers["cache-control"] == "no-store"
        assert ("retry-after" in answer.headers) == (status == 503)
        logged = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
        assert len(logged) == (status >= 500)
        assert all("/media/a.txt" in line and os.strerror(error) in line for line in logged)
        # And the server goes on.
        assert ask(application, "/media/a.txt").body == b"hello"
    assert left_open(media) == []


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("resolver", RESOLVERS)
async def test_no_descriptor_left(
    warm: bool,
    resolver: str,
    serve: Serve,
    media: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    resolve_by(resolver, monkeypatch)
    application = serve()
    if warm:
        await asked(application, "/media/a.txt")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def main() -> Answer:
        free = os.open(os.devnull, os.O_RDONLY)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
        try:
            return await asked(application, "/media/a.txt")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    answer = await main()
    assert (answer.status, answer.ended) == (503, True)
    assert answer.headers["retry-after"].isdigit()
    assert "/media/a.txt" in caplog.text
    assert (await asked(application, "/media/a.txt")).body == b"hello"
    assert await asyncio.to_thread(left_open, media) == []


@pytest.mark.parametrize("what", ["callable", "open", "read", "stream"])
def test_a_log_line_is_one_line(
    what: str,
    serve: Serve,
    media: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    name = "a\nCRITICAL: forged\x1b[31m\udcff"
    (media / name).write_bytes(LARGE if what == "stream" else b"a")
    resolve_by("walk", monkeypatch)
    if what == "open":
        monkeypatch.setattr(os, "open", Failing(errno.EIO))
    elif what != "callable":
        for call in ("pread", "preadv"):
            monkeypatch.setattr(os, call, Failing(errno.EIO))
    application = serve(headers=fail) if what == "callable" else serve()
    ask(application, f"/media/{name}")
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    line = record.getMessage()
    assert "forged" in line
    assert line.isprintable()
    assert line.encode()


@pytest.mark.parametrize(
    ("client", "told"),
    [
        (["203.0.113.5", 1], "client=203.0.113.5 path="),
        (["2001:db8::1%eth0", 1], "client=2001:db8::1%eth0 path="),
        (None, "client=- path="),
        (["203.0.113.5 path='x'", 1], """client="203.0.113.5 path='x'" path="""),
        (["a\nrefused client=203.0.113.5", 1], "client='a\\nrefused client=203.0.113.5' path="),
    ],
)
def test_a_forged_address_is_no_other_clients_line(
    client: Any, told: str, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    ask(serve(), "/media/../x", client=client)
    (record,) = caplog.records
    assert record.getMessage().startswith(f"refused {told}'/media/../x'")
