"""Why a client gets 403 or 404: the line at DEBUG level, and the page with ``DEBUG``."""

import errno
import logging
import os
import shutil
from pathlib import Path

import pytest
from django.conf import settings
from django.test import override_settings
from obstore.store import MemoryStore

from media_asgi.signing import sign_url
from media_asgi.sources import local
from media_asgi.sources.objects import ObjectSource

from .support import RESOLVERS, Clock, Failing, Serve, ask, resolve_by

PAGE = [(b"accept", b"text/html,application/xhtml+xml,*/*;q=0.8")]
IMAGE = [(b"accept", b"image/avif,image/webp,*/*;q=0.8")]

REASONS = [
    ("no-such.txt", 404, "No such file or directory"),
    ("no-such/below.txt", 404, "No such file or directory"),
    ("a.txt/below", 404, "Not a directory"),
    (".git/config", 404, "&#x27;.git&#x27; begins with a dot"),
    ("a//b", 404, ""),
    ("", 404, "a folder is not listed (see the option index)"),
    ("folder/", 404, "a folder is not listed (see the option index)"),
    ("folder", 404, "no such file in this location"),
    ("folder/./b", 404, "it can&#x27;t be the name of a file"),
    ("folder/../..", 404, "the path climbs"),
    ("../x", 404, "the path climbs"),
    ("out", 404, "a link leads out of the folder"),
    ("a.txt/../../x", 404, ""),
]


@pytest.fixture
def linked(media: Path) -> Path:
    (media / "out").symlink_to("../outside")
    (media.parent / "outside").touch()
    return media


@pytest.mark.parametrize("resolver", RESOLVERS)
@pytest.mark.parametrize(("path", "status", "reason"), REASONS)
def test_the_page_names_location_file_and_reason(
    serve: Serve,
    linked: Path,
    monkeypatch: pytest.MonkeyPatch,
    resolver: str,
    path: str,
    status: int,
    reason: str,
) -> None:
    resolve_by(resolver, monkeypatch)
    application = serve()
    with override_settings(DEBUG=True):
        answer = ask(application, f"/media/{path}", headers=PAGE)
        head = ask(application, f"/media/{path}", "HEAD", PAGE)
        other = ask(application, f"/media/{path}", headers=IMAGE)
    assert answer.status == head.status == other.status == status
    assert answer.has(cache_control="no-store", x_content_type_options="nosniff")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "sandbox" in answer.headers["content-security-policy"].split()
    assert answer.headers["content-length"] == str(len(answer.body))
    assert (head.headers, head.body) == (answer.headers, b"")
    assert other.body == b"404 Not Found\n"
    text = answer.body.decode()
    assert "<td>/media/</td>" in text
    if resolver != "name" or path != "out":  # that one follows no link at all
        assert reason in text
    if path and "//" not in path:
        assert f"<td>{linked}/{path}</td>" in text
    # A client gets no page elsewhere.
    assert ask(application, f"/media/{path}", headers=PAGE).body == b"404 Not Found\n"


def test_an_object_that_the_store_lacks_is_named(serve: Serve) -> None:
    application = serve(root=None, source=ObjectSource(MemoryStore()))
    with override_settings(DEBUG=True):
        answer = ask(application, "/media/no-such.txt", headers=PAGE)
    assert answer.status == 404
    assert b"no such file in this location" in answer.body


def test_what_a_client_writes_is_escaped(serve: Serve) -> None:
    with override_settings(DEBUG=True):
        answer = ask(serve(), "/media/<script>{{ 7 }}{% now 'Y' %}\udcff", headers=PAGE)
    assert b"<script>" not in answer.body
    assert b"&lt;script&gt;{{ 7 }}{% now &#x27;Y&#x27; %}\\udcff" in answer.body


def test_a_file_that_the_server_may_not_read(
    serve: Serve, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_by("walk", monkeypatch)
    monkeypatch.setattr(local, "walk", Failing(errno.EACCES))
    with override_settings(DEBUG=True):
        answer = ask(serve(), "/media/a.txt", headers=PAGE)
    assert answer.status == 403
    assert b"Permission denied" in answer.body
    assert f"{media}/a.txt".encode() in answer.body


@pytest.mark.parametrize(
    ("link", "reason"),
    [
        ("", "has no media-expires"),
        ("/media/a.txt", "expired at 1003600"),
        ("/media/b.txt", "signature does not match"),
    ],
    ids=["none", "expired", "another's"],
)
@pytest.mark.parametrize("exists", [True, False])
def test_an_expired_link_and_a_wrong_one_are_told_apart(
    serve: Serve,
    media: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    link: str,
    reason: str,
    exists: bool,
) -> None:
    if not exists:
        (media / "a.txt").unlink()
    with override_settings(DEBUG=True), caplog.at_level(logging.DEBUG, "media_asgi"):
        # override_settings could not go back to having none.
        monkeypatch.setitem(vars(settings), "SECRET_KEY", "for this test alone")
        query = (link and sign_url(link, now=1_000_000)).partition("?")[2].encode()
        answer = ask(serve(access="signed"), "/media/a.txt", headers=PAGE, query_string=query)
    assert answer.status == 403
    (line,) = [record for record in caplog.records if record.name == "media_asgi"]
    assert line.levelno == logging.DEBUG
    assert reason in line.getMessage()
    assert reason in answer.body.decode()
    # Nothing of the file: not where it would lie, and not whether it is there.
    assert str(media) not in answer.body.decode() + line.getMessage()


def test_the_line_says_what_the_page_says(
    serve: Serve, media: Path, caplog: pytest.LogCaptureFixture
) -> None:
    application = serve()
    with caplog.at_level(logging.DEBUG, "media_asgi"):
        ask(application, "/media/a.txt")
        ask(application, "/media/no-such.txt")
    (line,) = [record for record in caplog.records if record.name == "media_asgi"]
    assert line.levelno == logging.DEBUG
    assert line.getMessage() == (
        f"'/media/no-such.txt': 404 by the location '/media/': No such file or directory "
        f"('{media}/no-such.txt')"
    )


def test_no_name_of_a_file_forges_a_line(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    application = serve()
    with caplog.at_level(logging.DEBUG, "media_asgi"):
        for name in ("a\nrefused client=192.0.2.1 path='/x': the path climbs", ".a\rb", "\udcff"):
            ask(application, f"/media/{name}")
    assert len(caplog.records) >= 3
    for record in caplog.records:
        text = record.getMessage()
        assert not {"\n", "\r", "\udcff"}.intersection(text)


@pytest.mark.parametrize("resolver", RESOLVERS[:-1])
def test_a_missing_root_is_a_warning_once_a_minute(
    serve: Serve,
    media: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    resolver: str,
) -> None:
    resolve_by(resolver, monkeypatch)
    application = serve()
    shutil.rmtree(media)
    clock = Clock()
    monkeypatch.setattr(local, "time", clock)
    for _ in range(3):
        assert ask(application, "/media/a.txt").status == 404
    clock.moment += 61
    with override_settings(DEBUG=True):
        answer = ask(application, "/media/a.txt", headers=PAGE)
    assert b"the root: No such file or directory" in answer.body
    lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(lines) == 2
    assert lines[0].startswith(f"the root {str(media)!r} can't be opened: ")


def test_an_unreadable_root_is_a_warning(
    serve: Serve, media: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    resolve_by("walk", monkeypatch)
    monkeypatch.setattr(local, "walk", Failing(errno.EACCES))
    application = serve()
    assert ask(application, "/media/a.txt").status == 403
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert ask(application, "/media/a.txt").status == 403
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert line.startswith(f"the root {str(media)!r} can't be opened: ")
