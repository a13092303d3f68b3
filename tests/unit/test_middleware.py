import asyncio
import contextlib
import errno
import functools
import logging
import mmap
import os
import re
import resource
import sys
import threading
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.test import override_settings

from media_asgi import Location, MediaMiddleware, known_files
from media_asgi.servers import daphne_request
from media_asgi.signing import sign_url
from media_asgi.sources import local, local_file, memory_cache, openat2

from .support import (
    RESOLVERS,
    Answer,
    Clock,
    Failing,
    Gate,
    answer_of,
    ask,
    asked,
    opened,
    opened_files,
    resolve_by,
)

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


@pytest.fixture
def inner() -> Inner:
    return Inner()


@pytest.fixture
def media(tmp_path: Path) -> Path:
    root = tmp_path / "media"
    (root / "folder").mkdir(parents=True)
    (root / ".git").mkdir()
    (tmp_path / "media-secret").mkdir()
    for path, content in {
        "media/a.txt": b"hello",
        "media/folder/b.html": b"<script>",
        "media/none.bin": b"",
        "media/large.bin": LARGE,
        "media/.hidden": b"hidden",
        "media/.git/config": b"config",
        "media-secret/x.txt": b"SECRET",
    }.items():
        (tmp_path / path).write_bytes(content)
    age(root, 60)
    return root


def age(root: Path, seconds: float) -> None:
    """Make the files below this folder older than their time stamps need to count."""
    moment = time.time_ns() - int(seconds * 1e9)
    for path in root.rglob("*"):
        os.utime(path, ns=(moment, moment))


@pytest.fixture
def serve(media: Path, inner: Inner) -> Callable[..., MediaMiddleware]:
    def make(chunk_size: int = 1024, threads: int = 2, **options: Any) -> MediaMiddleware:
        location = Location(**({"url": "/media/", "root": media} | options))
        return MediaMiddleware(inner, location, chunk_size=chunk_size, threads=threads)

    return make


Serve = Callable[..., MediaMiddleware]


def left_open(media: Path) -> list[str]:
    """What stays open, once the workers have ended."""
    for _ in range(3000):
        if not opened_files(media):
            break
        time.sleep(0.01)
    return opened_files(media)


# --- What is ours -------------------------------------------------------------------------------


@pytest.mark.parametrize("type_", ["websocket", "lifespan", "something-new"])
def test_other_scopes_pass_through(type_: str, serve: Serve, inner: Inner) -> None:
    scope = {"type": type_, "path": "/media/a.txt"}
    if type_ == "lifespan":
        del scope["path"]
    receive, send = object(), object()
    asyncio.run(serve()(scope, receive, send))  # type: ignore[arg-type]
    assert inner.calls == [(scope, receive, send)]
    assert inner.calls[0][0] is scope


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "",
        "*",
        "/media",
        "/mediax/a.txt",
        "/Media/a.txt",
        "/media-secret/x.txt",
        "/media../media/a.txt",
        "media/a.txt",
        "/./media/a.txt",
        "/x/../media/a.txt",
        "/x/media/a.txt",
        "http://testserver/media/a.txt",
        "/%6dedia/a.txt",
    ],
)
def test_other_paths_pass_through(path: str, serve: Serve, inner: Inner) -> None:
    headers = [(b"range", b"bytes=0-0")]
    answer = ask(serve(), path, headers=headers, extensions={})
    assert (answer.status, answer.body) == (200, b"inner")
    ((scope, _, _),) = inner.calls
    assert scope == {
        "type": "http",
        "method": "GET",
        "path": path,
        "headers": headers,
        "extensions": {},
    }


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"raw_path": None, "root_path": "", "query_string": b"v=1", "extensions": None},
        {"raw_path": b"/media/a.txt?v=1", "client": None, "server": None},
        {"root_path": "/"},
        {"root_path": None},
        {"headers": []},
        {"headers": ()},
        {"headers": None},
        {"headers": [[b"host", b"x"], [b"user-agent", b"y"]]},
        {"extensions": {"http.response.debug": {}}, "state": {}},
    ],
    ids=repr,
)
def test_scopes_with_little_or_much(more: dict[str, Any], serve: Serve) -> None:
    answer = ask(serve(), "/media/a.txt", **more)
    assert (answer.status, answer.body) == (200, b"hello")


@pytest.mark.parametrize("make", [list, tuple, iter])
def test_headers_are_any_iterable(make: Callable[[Any], Any], serve: Serve, inner: Inner) -> None:
    lines = [(b"Host", b"x"), (b"RANGE", b"bytes=1-2")]
    answer = ask(serve(), "/media/a.txt", headers=make(lines))
    assert (answer.status, answer.body) == (206, b"el")
    ask(serve(fallthrough=True), "/media/nope", headers=make(lines))
    assert [*inner.calls[0][0]["headers"]] == lines  # whoever is asked next has them all


def test_a_scope_without_headers(serve: Serve) -> None:
    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)

    scope = {"type": "http", "method": "GET", "path": "/media/a.txt"}
    asyncio.run(serve()(scope, None, send))  # type: ignore[arg-type]
    assert (answer_of(messages).status, answer_of(messages).body) == (200, b"hello")
    assert scope == {"type": "http", "method": "GET", "path": "/media/a.txt"}


# url, FORCE_SCRIPT_NAME, root_path, path, and is it the file?
MOUNTS = [
    ("/media/", None, "", "/media/a.txt", True),
    ("/media/", None, "", "/app/media/a.txt", False),
    # ASGI: the path holds the root_path.
    ("/media/", None, "/app", "/app/media/a.txt", True),
    ("/app/media/", None, "/app", "/app/media/a.txt", True),
    ("/media/", None, "/app/", "/app/media/a.txt", True),
    ("/media/", None, "/a/b", "/a/b/media/a.txt", True),
    # A proxy has stripped it, or Daphne's --root-path adds none.
    ("/media/", None, "/app", "/media/a.txt", True),
    ("/app/media/", None, "/app", "/media/a.txt", True),
    ("/app/media/", None, "/app/", "/media/a.txt", True),
    # Django's FORCE_SCRIPT_NAME, whatever the server knows.
    ("/media/", "/app", "", "/app/media/a.txt", True),
    ("/media/", "/app", "", "/media/a.txt", True),
    ("/app/media/", "/app", "", "/media/a.txt", True),
    ("/app/media/", "/app", "", "/app/media/a.txt", True),
    ("/app/media/", "/app/", "", "/media/a.txt", True),
    ("/media/", "/app", "/other", "/app/media/a.txt", True),
    ("/media/", "/app", "/other", "/other/media/a.txt", False),
    # Another's.
    ("/media/", None, "/app", "/other/media/a.txt", False),
    ("/media/", None, "/app", "/application/media/a.txt", False),
    ("/media/", None, "/app", "/appmedia/a.txt", False),
    ("/media/", None, "/app", "/app/app/media/a.txt", False),
    ("/app/media/", None, "", "/media/a.txt", False),
    ("/app/media/", None, "/other", "/media/a.txt", False),
]


@pytest.mark.parametrize(("url", "script_name", "root_path", "path", "ours"), MOUNTS)
def test_beneath_a_mount_point(
    url: str, script_name: str | None, root_path: str, path: str, ours: bool, serve: Serve
) -> None:
    with override_settings(FORCE_SCRIPT_NAME=script_name):
        application = serve(url=url)
    answer = ask(application, path, root_path=root_path)
    assert answer.status == 200
    assert answer.body == (b"hello" if ours else b"inner")


@pytest.mark.parametrize(
    "path",
    [
        "/media//a.txt",
        "/media///a.txt",
        "//media/a.txt",
        "///media//a.txt",
    ],
)
@pytest.mark.parametrize("root_path", ["", "/app"])
def test_runs_of_slashes_are_one(path: str, root_path: str, serve: Serve, inner: Inner) -> None:
    application = serve(fallthrough=True)
    assert ask(application, path, root_path=root_path).body == b"hello"
    if root_path:
        assert ask(application, f"//app/{path}", root_path=root_path).body == b"hello"
    # The application is asked as the client has asked.
    for other in ("/media//nope.txt", "/media/a.txt//", "/page//a", "//page"):
        inner.calls.clear()
        assert ask(application, other, root_path=root_path).body == b"inner"
        assert inner.calls[0][0]["path"] == other


def test_runs_of_slashes_lead_to_the_location_that_guards(media: Path, inner: Inner) -> None:
    application = MediaMiddleware(
        inner,
        Location(url="/media/", root=media),
        Location(url="/media/folder/", root=media / "folder", access=lambda request, path: False),
    )
    for path in ("/media/folder/b.html", "/media//folder/b.html", "//media//folder//b.html"):
        assert ask(application, path, query_string=b"", client=None).status == 403


def signed(media: Path, inner: Inner) -> MediaMiddleware:
    return MediaMiddleware(
        inner,
        Location(url="/files/", root=media),
        Location(url="/private/", root=media, access="signed"),
    )


def test_a_signature_is_of_the_path_as_it_is_sent(
    media: Path, inner: Inner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(vars(settings), "SECRET_KEY", "a test's")
    application = signed(media, inner)
    paths = {"/private/a.txt", "/private//a.txt", "//private/a.txt"}
    for path in paths:
        # urlsplit would take two slashes at the start for a host.
        query = sign_url(f"http://site{path}").partition("?")[2].encode()
        for root_path in ("", "/app"):
            scope = {"query_string": query, "root_path": root_path}
            assert ask(application, path, **scope).body == b"hello"
            for other in paths - {path}:
                assert ask(application, other, **scope).status == 403
            mounted = b"hello" if root_path else b"inner"
            assert ask(application, "/app" + path, **scope).body == mounted


def test_a_signed_path_of_another_location_is_no_alias(
    media: Path, inner: Inner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(vars(settings), "SECRET_KEY", "a test's")
    application = signed(media, inner)
    for path, status in (("/private/a.txt", 200), ("/files/private/a.txt", 403)):
        query = sign_url(path).partition("?")[2].encode()
        scope = {"query_string": query, "root_path": "/files"}
        assert ask(application, "/private/a.txt", **scope).status == status


class DaphnesRequest:
    """What Daphne's ``send`` holds."""

    channel = None
    registerProducer = unregisterProducer = notifyFinish = write = print  # noqa: N815

    def __init__(self, root_path: str) -> None:
        self.server = SimpleNamespace(root_path=root_path)


# What the server's option is, what the client's header makes of root_path, and which one counts.
CLAIMED = [("", "/app", ""), ("/app", "", "/app"), ("/app", "/other", "/app"), ("", None, "")]


@pytest.mark.parametrize(("option", "claimed", "counts"), CLAIMED)
def test_the_root_path_is_daphnes_own_and_not_the_clients(
    option: str, claimed: str | None, counts: str
) -> None:
    send: Any = functools.partial(print, DaphnesRequest(option))
    assert daphne_request.root_path({"root_path": claimed}, send) == counts


@pytest.mark.parametrize(("running", "counts"), [(True, ""), (False, "/app")])
def test_a_root_path_counts_where_something_wraps_send_unless_daphne_runs(
    running: bool, counts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask() -> str:
        loop = asyncio.get_running_loop() if running else None
        monkeypatch.setitem(sys.modules, "daphne.server", SimpleNamespace(twisted_loop=loop))
        sends: list[Any] = [print, functools.partial(print, 1), functools.partial(print)]
        (found,) = {daphne_request.root_path({"root_path": "/app"}, send) for send in sends}
        return found

    assert asyncio.run(ask()) == counts


def test_the_longest_prefix_wins(media: Path, inner: Inner) -> None:
    locations = [
        Location(url="/media/", root=media),
        Location(url="/media/secret/", root=media.parent / "media-secret"),
        Location(url="/media/secret/nothing/", root=media.parent / "nothing"),
    ]
    for order in (locations, locations[::-1]):
        application = MediaMiddleware(inner, *order)
        assert ask(application, "/media/a.txt").body == b"hello"
        assert ask(application, "/media/secret/x.txt").body == b"SECRET"
        # It alone: no other is asked where it has no such file.
        assert ask(application, "/media/secret/a.txt").status == 404
        assert ask(application, "/media/secret/nothing/x.txt").status == 404
        assert ask(application, "/media/secrets").status == 404


def test_a_name_that_is_not_utf_8(serve: Serve, media: Path) -> None:
    (media / "\udcff.txt").write_text("bytes")
    for root_path in ("", "/app"):
        scope = {"raw_path": b"/media/%FF.txt", "root_path": root_path}
        assert ask(serve(), "/media/\ufffd.txt", **scope).body == b"bytes"
        assert ask(serve(), "/media/\ufffd.txt", raw_path=None).status == 404


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("/m%C3%A9dias/", "/médias/a.txt"),
        ("/a%20b%3Fc/", "/a b?c/a.txt"),
        ("https://cdn.example/media/", "/media/a.txt"),
        ("media", "/media/a.txt"),
    ],
)
def test_prefixes(url: str, path: str, serve: Serve) -> None:
    assert ask(serve(url=url), path).body == b"hello"


def test_the_default_location(media: Path, inner: Inner) -> None:
    with override_settings(MEDIA_URL="files/", MEDIA_ROOT=str(media)):
        application = MediaMiddleware(inner)
    assert ask(application, "/files/a.txt").body == b"hello"
    assert ask(application, "/media/a.txt").body == b"inner"


# --- The answers --------------------------------------------------------------------------------


def test_200(serve: Serve, media: Path) -> None:
    status = (media / "a.txt").stat()
    application = serve()
    for _ in range(3):
        answer = ask(application, "/media/a.txt")
        assert (answer.status, answer.body, answer.ended) == (200, b"hello", True)
        assert answer.headers == {
            "content-type": "text/plain; charset=utf-8",
            "content-length": "5",
            "etag": f'"{status.st_mtime_ns:x}-5"',
            "last-modified": time.strftime(
                "%a, %d %b %Y %H:%M:%S GMT", time.gmtime(status.st_mtime)
            ),
            "accept-ranges": "bytes",
            "cache-control": "no-cache",
            "x-content-type-options": "nosniff",
        }
        head = ask(application, "/media/a.txt", "HEAD")
        assert (head.status, head.headers, head.body) == (200, answer.headers, b"")
        assert head.ended
        # One start, one body, nothing else.
        assert len(answer.messages) == len(head.messages) == 2
    assert left_open(media) == []


def test_an_empty_file(serve: Serve) -> None:
    for headers in ([], [(b"range", b"bytes=0-")]):
        answer = ask(serve(), "/media/none.bin", headers=headers)
        assert (answer.status, answer.body, answer.ended) == (200, b"", True)
        assert answer.headers["content-length"] == "0"


def test_conditions(serve: Serve) -> None:
    application = serve()
    tag = ask(application, "/media/a.txt").headers["etag"].encode()

    def status(*headers: tuple[bytes, bytes], method: str = "GET") -> int | None:
        return ask(application, "/media/a.txt", method, headers).status

    assert status((b"if-none-match", tag)) == 304
    assert status((b"If-None-Match", tag)) == 304
    assert status((b"if-none-match", tag), method="HEAD") == 304
    assert status((b"if-match", b'"x"')) == 412
    assert status((b"range", b"bytes=9-")) == 416
    assert status((b"range", b"bytes=1-1"), (b"if-range", tag)) == 206
    # Section 5.3: several lines are one list.
    assert status((b"if-none-match", b'"x"'), (b"if-none-match", tag)) == 304
    assert status((b"if-match", b'"x"'), (b"accept", b"*/*"), (b"if-match", tag)) == 200
    assert status((b"range", b"bytes=0-0"), (b"range", b"bytes=1-1")) == 200
    assert status((b"range", b"bytes=0-0"), (b"range", b"1-1")) == 206


@pytest.mark.parametrize(
    "path",
    [
        "nope.txt",
        "",
        "folder",
        "folder/",
        "a.txt/",
        "a.txt/b",
        "../media-secret/x.txt",
        "folder/../a.txt",
        "..",
        "/etc/passwd",
        "//etc/passwd",
        ".hidden",
        ".git/config",
        "a.txt\0",
        "a\ud800",
        "x" * 300,
        "x/" * 3000,
        "\udcff",
        "\n",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("resolver", RESOLVERS)
def test_404(
    path: str,
    method: str,
    resolver: str,
    serve: Serve,
    inner: Inner,
    media: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolve_by(resolver, monkeypatch)
    application = serve()
    ask(application, "/media/a.txt")
    answer = ask(application, f"/media/{path}", method)
    assert answer.status == 404
    assert answer.headers == {
        "content-type": "text/plain; charset=utf-8",
        "content-length": "14",
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
    }
    assert answer.body == (b"404 Not Found\n" if method == "GET" else b"")
    assert answer.ended
    assert inner.calls == []
    # Where it falls through, the application is asked.
    answer = ask(serve(fallthrough=True), f"/media/{path}", method)
    assert (answer.status, answer.body) == (200, b"inner")
    ((scope, _, _),) = inner.calls
    assert scope["path"] == f"/media/{path}"
    assert left_open(media) == []


def test_dotfiles(serve: Serve) -> None:
    application = serve(dotfiles=True)
    assert ask(application, "/media/.hidden").body == b"hidden"
    assert ask(application, "/media/.git/config").body == b"config"
    assert ask(application, "/media/../media-secret/x.txt").status == 404


def test_dotfiles_of_a_list(serve: Serve, media: Path) -> None:
    application = serve(dotfiles=[".git"])
    assert ask(application, "/media/.git/config").body == b"config"
    assert ask(application, "/media/.hidden").status == 404


def test_a_file_of_which_only_the_ending_is_left(serve: Serve, media: Path) -> None:
    application = serve(content_types={".hidden": "text/plain"})
    for name, type_ in ((".pdf", "application/pdf"), (".jpg_m4tgpwS", "image/jpeg")):
        (media / name).write_bytes(b"upload")
        answer = ask(application, f"/media/{name}")
        assert (answer.status, answer.body) == (200, b"upload")
        assert answer.headers["content-type"] == type_
        assert "content-security-policy" not in answer.headers
    (media / "folder" / ".svg").write_bytes(b"<svg/>")
    assert "sandbox" in ask(application, "/media/folder/.svg").headers["content-security-policy"]
    assert ask(application, "/media/.hidden").status == 404


def test_what_django_stores_without_a_name(serve: Serve, media: Path) -> None:
    storage = FileSystemStorage(media)
    for given in ("!!!.mp4", "!!!.mp4", "\N{GRINNING FACE}.jpg", "\N{GRINNING FACE}.jpg"):
        name = storage.save(storage.generate_filename(given), ContentFile(b"upload"))
        assert name.startswith(".")
        answer = ask(serve(), f"/media/{name}")
        assert (name, answer.status, answer.body) == (name, 200, b"upload")


def test_the_log_tells_of_each_refused_dotfile_once(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    application = serve()
    for _ in range(3):
        for path in (".git/config", ".git/HEAD", "a/.hidden", "nope", ".jpg", "a/./b"):
            assert ask(application, f"/media/{path}").status == 404
    names = [".git", ".hidden"]
    assert [record.args[0] for record in caplog.records if record.args] == names
    assert all("dotfiles=['" in record.getMessage() for record in caplog.records)
    # Clients invent names.
    for number in range(200):
        ask(application, f"/media/.invented-{number}\n")
        ask(application, f"/media/.{'x' * 255}{number}")
    assert len(caplog.records) == 100
    assert not any("\n" in record.getMessage() for record in caplog.records)


def test_links(serve: Serve, media: Path) -> None:
    (media / "out").symlink_to(media.parent / "media-secret")
    assert ask(serve(), "/media/out/x.txt").status == 404
    assert ask(serve(follow_symlinks=True), "/media/out/x.txt").body == b"SECRET"


@pytest.mark.parametrize("resolver", RESOLVERS)
def test_files_of_a_location_that_is_not_public(
    resolver: str, media: Path, inner: Inner, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_by(resolver, monkeypatch)
    (media / "link").symlink_to("folder/b.html")
    application = MediaMiddleware(
        inner,
        Location(url="/media/", root=media),
        Location(url="/private/", root=media / "folder", access="internal"),
    )
    for _ in range(2):
        assert ask(application, "/media/a.txt").body == b"hello"
        assert ask(application, "/media/folder/b.html").status == 404
        assert ask(application, "/media/link").status == 404
        assert ask(application, "/private/b.html").body == b"inner"


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get"]
)
@pytest.mark.parametrize("path", ["/media/a.txt", "/media/nope", "/media/../x"])
def test_405(method: str, path: str, serve: Serve, inner: Inner) -> None:
    # Section 15.5.6.
    answer = ask(serve(), path, method)
    assert answer.status == 405
    assert answer.headers == {
        "content-type": "text/plain; charset=utf-8",
        "content-length": str(len(answer.body)),
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        "allow": "GET, HEAD",
    }
    assert inner.calls == []
    assert ask(serve(fallthrough=True), path, method).body == b"inner"


def test_what_a_browser_would_run(serve: Serve, media: Path) -> None:
    (media / "c.svg").write_bytes(b"<svg/>")
    for path in ("folder/b.html", "c.svg"):
        assert "sandbox" in ask(serve(), f"/media/{path}").headers["content-security-policy"]
        assert "content-security-policy" not in ask(serve(sandbox=False), f"/media/{path}").headers
    assert "content-security-policy" not in ask(serve(), "/media/a.txt").headers
    html = {"content_types": {".txt": "text/html"}}
    assert "content-security-policy" in ask(serve(**html), "/media/a.txt").headers


def test_options(serve: Serve) -> None:
    application = serve(
        cache_control="max-age=5",
        immutable=r"^folder/",
        headers={"X-One": "1"},
        content_types={"html": "text/x-own"},
    )
    answer = ask(application, "/media/a.txt")
    assert answer.has(cache_control="max-age=5", x_one="1", content_length="5")
    answer = ask(application, "/media/folder/b.html")
    assert answer.has(
        cache_control="max-age=31536000, immutable", content_type="text/x-own", x_one="1"
    )
    # They are said of files, and of what says that one hasn't changed.
    assert "x-one" not in ask(application, "/media/nope").headers
    tag = answer.headers["etag"].encode()
    answer = ask(application, "/media/folder/b.html", headers=[(b"if-none-match", tag)])
    assert answer.status == 304
    assert answer.has(cache_control="max-age=31536000, immutable", x_one="1")


def test_callables_are_asked_each_time(serve: Serve) -> None:
    paths = []

    def headers(path: str) -> dict[str, str]:
        paths.append(path)
        return {"x-count": str(len(paths))}

    application = serve(headers=headers)
    for count in range(1, 4):
        assert ask(application, "/media/folder/b.html").headers["x-count"] == str(count)
    assert paths == ["folder/b.html"] * 3
    times = iter(range(10))
    application = serve(cache_control=lambda path: f"max-age={next(times)}")
    assert ask(application, "/media/a.txt").headers["cache-control"] == "max-age=0"
    assert ask(application, "/media/a.txt").headers["cache-control"] == "max-age=1"


def fail(path: str) -> Any:
    raise ValueError("a mistake of the project's")


@pytest.mark.parametrize(
    "options",
    [
        {"headers": fail},
        {"headers": lambda path: None},
        {"headers": lambda path: {"x": "a\r\nset-cookie: b"}},
        {"headers": lambda path: {"ETag": "x"}},
        {"cache_control": fail},
        {"cache_control": lambda path: None},
        {"cache_control": lambda path: "a\nb"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_callable_that_fails(
    options: dict[str, Any],
    method: str,
    serve: Serve,
    media: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # And the server goes on.
    application = serve(fallthrough=True, **options)
    for _ in range(2):
        answer = ask(application, "/media/a.txt", method)
        assert answer.status == 500
        assert answer.headers["cache-control"] == "no-store"
        assert answer.body == (b"500 Internal Server Error\n" if method == "GET" else b"")
    assert ask(application, "/media/nope").body == b"inner"
    assert left_open(media) == []
    lines = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(lines) == 2
    assert all("/media/a.txt" in record.getMessage() for record in lines)
    assert all(record.exc_info for record in lines)


def test_nobody_else_has_the_headers(serve: Serve) -> None:
    # A server, or a middleware around us, may add to what it gets.
    application = serve()

    def add(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"].append((b"x-added", b"1"))

    for headers in ([], [(b"range", b"bytes=0-0")], [(b"if-none-match", b"*")]):
        for path in ("a.txt", "nope"):
            for _ in range(2):
                answer = ask(application, f"/media/{path}", headers=headers, on_message=add)
                assert "x-added" in answer.headers  # once: twice would have been noticed


# --- A file that changes ------------------------------------------------------------------------


def test_a_file_that_is_written_anew(serve: Serve, media: Path) -> None:
    application = serve()
    first = ask(application, "/media/a.txt")
    (media / "a.txt").write_bytes(b"other")
    second = ask(application, "/media/a.txt")
    assert second.body == b"other"
    assert second.headers["etag"] != first.headers["etag"]
    age(media, 60)
    third = ask(application, "/media/a.txt")
    assert third.headers["etag"] not in (first.headers["etag"], second.headers["etag"])
    (media / "a.txt").write_bytes(b"a longer one")
    assert ask(application, "/media/a.txt").has(content_length="12")


def if_range(application: MediaMiddleware, path: str, value: str) -> int | None:
    headers = [(b"range", b"bytes=0-0"), (b"if-range", value.encode())]
    return ask(application, path, headers=headers).status


def test_the_tag_of_a_new_file_stays_and_ranges_depend_on_it_only_later(
    serve: Serve, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = (media / "a.txt").stat()
    clock = Clock(status.st_mtime + 0.5)
    monkeypatch.setattr(known_files, "time", clock)
    application = serve()
    seen = []
    for _ in range(5):
        answer = ask(application, "/media/a.txt")
        assert answer.headers["etag"] == f'"{status.st_mtime_ns:x}-5"'
        seen.append(
            [
                if_range(application, "/media/a.txt", answer.headers[name])
                for name in ("etag", "last-modified")
            ]
        )
        etag = answer.headers["etag"].encode()
        assert ask(application, "/media/a.txt", headers=[(b"if-none-match", etag)]).status == 304
        assert ask(application, "/media/a.txt", headers=[(b"range", b"bytes=0-0")]).status == 206
        clock.moment += 0.6
    assert seen == [[200, 200]] * 3 + [[206, 206]] * 2


def test_a_file_of_tomorrow(serve: Serve, media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (media / "a.txt").write_bytes(b"hello")
    age(media, -86400)
    stamp = (media / "a.txt").stat().st_mtime
    clock = Clock(stamp - 86400)
    monkeypatch.setattr(known_files, "time", clock)
    application = serve()
    etag = ask(application, "/media/a.txt").headers["etag"]
    # A write would set the time back, and change the tag. The moment that it names comes, though.
    for after, tag, date in [(-86400, 206, 200), (-5, 206, 200), (0.5, 200, 200), (3, 206, 206)]:
        clock.moment = stamp + after
        answer = ask(application, "/media/a.txt")
        assert answer.headers["etag"] == etag
        # Section 8.8.2.1: never later than Date.
        modified = parsedate_to_datetime(answer.headers["last-modified"]).timestamp()
        assert modified == min(int(stamp), int(clock.moment))
        assert if_range(application, "/media/a.txt", etag) == tag
        assert if_range(application, "/media/a.txt", answer.headers["last-modified"]) == date


@pytest.mark.parametrize("second", [0, 1])
def test_a_file_whose_time_says_nothing(
    second: int, serve: Serve, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = media / "a.txt"
    clock = Clock(path.stat().st_ctime + 3600)
    monkeypatch.setattr(known_files, "time", clock)
    application = serve()

    def write(content: bytes) -> Answer:
        path.write_bytes(content)
        os.utime(path, (second, second))
        answer = ask(application, "/media/a.txt")
        assert answer.status == 200
        assert answer.body == content
        assert "last-modified" not in answer.headers
        return answer

    first = write(b"first")
    etag = first.headers["etag"]
    assert re.fullmatch('"[0-9a-f]{32}"', etag)
    assert ask(application, "/media/a.txt").headers["etag"] == etag
    assert if_range(application, "/media/a.txt", etag) == 206
    for name in (b"if-modified-since", b"if-unmodified-since"):
        for date in (b"Thu, 01 Jan 1970 00:00:00 GMT", b"Sat, 01 Jan 2050 00:00:00 GMT"):
            assert ask(application, "/media/a.txt", headers=[(name, date)]).status == 200
    known = [(b"if-none-match", etag.encode())]
    assert ask(application, "/media/a.txt", headers=known).status == 304
    before = path.stat().st_ctime_ns
    while path.stat().st_ctime_ns == before:  # the file system's tick, some milliseconds
        second_ = write(b"other")
    assert second_.headers["etag"] != etag
    assert ask(application, "/media/a.txt", headers=known).status == 200


class Held:
    """A file whose content the middleware holds, and the reads since then."""

    def __init__(self, application: MediaMiddleware, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = Clock(time.time() + 60)
        monkeypatch.setattr(memory_cache, "time", self.clock)
        monkeypatch.setattr(known_files, "time", self.clock)
        self.reads: list[int] = []
        read_nowait = local_file.LocalFile.read_nowait

        def counted(file: local_file.LocalFile, offset: int, count: int) -> bytes | None:
            self.reads.append(count)
            return read_nowait(file, offset, count)

        monkeypatch.setattr(local_file.LocalFile, "read_nowait", counted)
        self.application = application
        for _ in range(3):
            assert self.ask().body == b"hello"
        self.reads.clear()

    def ask(self, *headers: tuple[bytes, bytes]) -> Answer:
        return ask(self.application, "/media/folder/held.txt", "GET", headers)


@pytest.fixture
def held(media: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> Held:
    (media / "folder" / "held.txt").write_bytes(b"hello")
    age(media, 60)
    with open(media / "a.txt", "rb") as file:
        if not openat2.KERNEL.cached or not openat2.KERNEL.is_local(file.fileno()):
            pytest.skip("what is on this disk is not looked at on the loop")
    return Held(serve(), monkeypatch)


def test_what_is_asked_for_again_is_held(held: Held) -> None:
    first = held.ask()
    etag = first.headers["etag"].encode()
    for _ in range(3):
        assert held.ask() == first
        assert held.ask((b"if-none-match", etag)).status == 304
    assert held.reads == []
    assert held.ask((b"range", b"bytes=1-2")).body == b"el"
    assert ask(held.application, "/media/folder/held.txt", "HEAD").has(content_length="5")
    assert held.ask() == first


def test_a_larger_one_is_not(held: Held, media: Path) -> None:
    (media / "folder" / "held.txt").write_bytes(bytes(4097))  # of several spans
    for _ in range(3):
        assert len(held.ask().body) == 4097
    assert sum(held.reads) == 3 * 4097


def test_what_is_held_has_a_bound(held: Held, media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_again(*numbers: int) -> list[int]:
        held.reads.clear()
        for number in numbers:
            body = ask(held.application, f"/media/{number}.txt").body
            assert body == str(number).encode() * 4
        return held.reads

    for number in range(5):
        (media / f"{number}.txt").write_text(str(number) * 4)
    age(media, 60)
    held.clock.moment += 1
    monkeypatch.setattr(memory_cache, "_CAPACITY", 10)
    read_again(*range(5))
    assert read_again(0, 1, 2, 3, 4) == [4] * 5
    assert read_again(4, 3, 4, 3) == []
    assert read_again(2, 4, 3) == [4, 4]  # the oldest had to go
    (served,) = held.application._handlers
    source = served._source
    assert isinstance(source, memory_cache.MemoryCache)
    assert source._size == sum(file.info.size for file in source._files.values()) == 8


def test_nor_one_whose_status_is_new(
    held: Held, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change in the same tick of the clock would not show."""
    path = media / "folder" / "held.txt"
    path.chmod(0o600)
    monkeypatch.setattr(memory_cache, "time", Clock(path.stat().st_ctime + 1.9))
    for _ in range(3):
        assert held.ask().body == b"hello"
    assert held.reads == [5, 5, 5]


def test_what_is_stored_through_a_mapping_is_seen_soon(held: Held, media: Path) -> None:
    with (
        open(media / "folder" / "held.txt", "r+b") as file,
        mmap.mmap(file.fileno(), 5) as mapping,
    ):
        mapping[:] = b"first"
        held.clock.moment += 60
        for _ in range(3):
            assert held.ask().body == b"first"
        mapping[:] = b"other"  # into the same page: no time stamp changes
        held.clock.moment += 0.6
        assert held.ask().body == b"other"
        held.reads.clear()
        assert held.ask().body == b"other"
        assert held.reads == []


def _write(path: Path) -> None:
    with open(path, "r+b") as file:
        file.write(b"jello")


def _write_and_set_back(path: Path) -> None:
    status = path.stat()
    _write(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _replace(path: Path) -> None:
    status = path.stat()
    other = path.with_name("other.txt")
    other.write_bytes(b"jello")
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)


def _replace_by_a_link_out(path: Path) -> None:
    outside = path.parents[2] / "outside.txt"
    path.rename(outside)
    path.symlink_to(outside)


def _replace_by_a_relative_link_out(path: Path) -> None:
    path.rename(path.parents[2] / "outside.txt")
    path.symlink_to("../../outside.txt")


def _move_the_folder_out(path: Path) -> None:
    outside = path.parents[2] / "outside"
    path.parent.rename(outside)
    path.parent.symlink_to(outside)


def _replace_by_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _replace_by_a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (_write, b"jello"),
        (_write_and_set_back, b"jello"),
        (_replace, b"jello"),
        (lambda path: os.truncate(path, 2), b"he"),
        (lambda path: os.truncate(path, 0), b""),
        (Path.unlink, None),
        (_replace_by_a_link_out, None),
        (_replace_by_a_relative_link_out, None),
        (_move_the_folder_out, None),
        (_replace_by_a_folder, None),
        (_replace_by_a_fifo, None),
    ],
)
def test_what_is_held_is_the_file_as_it_is(
    change: Callable[[Path], Any], found: bytes | None, held: Held, media: Path
) -> None:
    etag = held.ask().headers["etag"].encode()
    change(media / "folder" / "held.txt")
    for _ in range(3):
        answer = held.ask()
        assert (answer.status, answer.body if found is not None else None) == (
            200 if found is not None else 404,
            found,
        )
        if found is None:
            assert held.ask((b"if-none-match", etag)).status == 404


def test_what_is_held_but_moved_among_the_private_ones(
    media: Path, inner: Inner, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = media / "private"
    private.mkdir()
    (media / "folder" / "held.txt").write_bytes(b"hello")
    age(media, 60)
    application = MediaMiddleware(
        inner,
        Location(url="/media/", root=media),
        Location(url="/private/", root=private, access="internal"),
    )
    held = Held(application, monkeypatch)
    etag = held.ask().headers["etag"].encode()
    (media / "folder").rename(private / "folder")
    (media / "folder").symlink_to("private/folder")
    for _ in range(3):
        assert held.ask().status == 404
        assert held.ask((b"if-none-match", etag)).status == 404


def test_no_descriptor_is_left_for_what_is_held(
    held: Held, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held.ask()
    assert left_open(media) == []
    fstat = os.fstat
    monkeypatch.setattr(local.os, "fstat", Failing(errno.EIO, fstat, times=2))
    assert held.ask().status == 500
    monkeypatch.setattr(local.os, "fstat", fstat)
    assert held.ask().body == b"hello"
    assert left_open(media) == []


def test_what_is_remembered_has_a_bound(
    serve: Serve, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_files, "_MAX_KNOWN", 3)
    for number in range(10):
        (media / f"{number}.txt").write_text(str(number))
    age(media, 60)
    application = serve()
    for _ in range(2):
        for number in range(10):
            assert ask(application, f"/media/{number}.txt").body == str(number).encode()
    (served,) = application._handlers
    assert len(served._known._files) == 3


def test_the_same_name_in_two_locations(media: Path, inner: Inner) -> None:
    application = MediaMiddleware(
        inner,
        Location(url="/a/", root=media, cache_control="max-age=1"),
        Location(url="/b/", root=media, cache_control="max-age=2"),
    )
    for _ in range(2):
        assert ask(application, "/a/a.txt").headers["cache-control"] == "max-age=1"
        assert ask(application, "/b/a.txt").headers["cache-control"] == "max-age=2"


# --- Sending ------------------------------------------------------------------------------------


@pytest.fixture(params=["cached", "would wait", "no RWF_NOWAIT"])
def cache(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether the page cache has what is read, as far as the package can tell."""
    if request.param != "cached" and hasattr(os, "preadv"):
        error = errno.EAGAIN if request.param == "would wait" else errno.EOPNOTSUPP
        monkeypatch.setattr(local_file, "_refusing_nowait", set())
        monkeypatch.setattr(os, "preadv", Failing(error))
    name: str = request.param
    return name


def bodies(answer: Answer) -> list[bytes]:
    return [message["body"] for message in answer.messages[1:]]


@pytest.mark.parametrize("chunk_size", [1, 100, 1024, 10_239, 10_240, 10_241, 1_000_000])
def test_spans(chunk_size: int, serve: Serve, media: Path, cache: str) -> None:
    if chunk_size == 1:
        (media / "large.bin").write_bytes(LARGE[:50])
    size = (media / "large.bin").stat().st_size
    answer = ask(serve(chunk_size=chunk_size), "/media/large.bin")
    assert (answer.status, answer.ended) == (200, True)
    assert answer.body == LARGE[:size]
    assert answer.headers["content-length"] == str(size)
    assert max(map(len, bodies(answer))) <= chunk_size
    assert left_open(media) == []


def test_ranges_of_several_spans(serve: Serve, media: Path, cache: str) -> None:
    answer = ask(serve(), "/media/large.bin", headers=[(b"range", b"bytes=100-5000")])
    assert (answer.status, answer.ended) == (206, True)
    assert answer.body == LARGE[100:5001]
    headers = [(b"range", b"bytes=5000-8999, 0-3999")]
    answer = ask(serve(), "/media/large.bin", headers=headers)
    assert (answer.status, answer.ended) == (206, True)
    assert len(answer.body) == int(answer.headers["content-length"])
    boundary = answer.headers["content-type"].partition("boundary=")[2].encode()
    _, one, other, _ = answer.body.split(b"\r\n--" + boundary)
    assert one.partition(b"\r\n\r\n")[2] == LARGE[5000:9000]
    assert other.partition(b"\r\n\r\n")[2] == LARGE[:4000]
    assert max(map(len, bodies(answer))) <= 1024
    again = ask(serve(), "/media/large.bin", headers=headers)
    assert again.headers["content-type"] != answer.headers["content-type"]
    assert left_open(media) == []


def test_the_head_of_a_large_file_reads_nothing(
    serve: Serve, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pread", "preadv", "read"):
        monkeypatch.setattr(os, name, Failing(errno.EIO))
    answer = ask(serve(), "/media/large.bin", "HEAD")
    assert (answer.status, answer.body, answer.ended) == (200, b"", True)
    assert answer.headers["content-length"] == str(len(LARGE))
    assert left_open(media) == []


def test_others_get_their_turn(serve: Serve) -> None:
    async def main() -> None:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        answer = await asked(serve(), "/media/large.bin")
        counting.cancel()
        assert turns >= len(answer.messages) - 2

    asyncio.run(main())


def test_many_at_once(serve: Serve, media: Path, cache: str) -> None:
    async def main() -> None:
        application = serve(threads=2)
        names = ["a.txt", "large.bin", "nope", "none.bin"] * 25
        answers = await asyncio.gather(*[asked(application, f"/media/{name}") for name in names])
        contents = {"a.txt": b"hello", "large.bin": LARGE, "nope": b"404 Not Found\n"}
        for name, answer in zip(names, answers, strict=True):
            assert answer.ended
            assert answer.body == contents.get(name, b"")

    asyncio.run(main())
    assert left_open(media) == []


def test_a_file_that_shrinks_before_it_is_sent(
    serve: Serve, media: Path, cache: str, caplog: pytest.LogCaptureFixture
) -> None:
    def shrink(path: str) -> dict[str, str]:
        os.truncate(media / path, 3)
        return {}

    answer = ask(serve(headers=shrink), "/media/a.txt")
    # Nothing was sent, so that it can be said; and never with the validators of the file.
    assert (answer.status, answer.ended) == (500, True)
    assert answer.headers["cache-control"] == "no-store"
    assert "etag" not in answer.headers
    assert "/media/a.txt" in caplog.text
    assert left_open(media) == []


def test_a_file_that_shrinks_while_it_is_sent(
    serve: Serve, media: Path, cache: str, caplog: pytest.LogCaptureFixture
) -> None:
    def shrink(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body":
            with contextlib.suppress(FileNotFoundError):
                os.truncate(media / "large.bin", 3000)

    application = serve()
    answer = ask(application, "/media/large.bin", on_message=shrink)
    # Never a body that seems to be all: the server ends the connection.
    assert answer.status == 200
    assert not answer.ended
    assert len(answer.body) < len(LARGE)
    assert LARGE.startswith(answer.body)
    assert "/media/large.bin" in caplog.text
    assert left_open(media) == []
    assert ask(application, "/media/a.txt").body == b"hello"


@pytest.mark.parametrize("change", ["grows", "is replaced", "is removed"])
def test_a_file_that_changes_while_it_is_sent(
    change: str, serve: Serve, media: Path, cache: str
) -> None:
    path = media / "large.bin"

    def touch(message: dict[str, Any]) -> None:
        if message["type"] != "http.response.start":
            return
        if change == "grows":
            with open(path, "ab") as file:
                file.write(b"more" * 1000)
        elif change == "is replaced":
            (media / "new").write_bytes(b"new" * 10_000)
            (media / "new").rename(path)
        else:
            path.unlink()

    answer = ask(serve(), "/media/large.bin", on_message=touch)
    assert answer.ended
    assert answer.body == LARGE


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_disk_that_fails_before_the_start(
    method: str,
    serve: Serve,
    media: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    application = serve(fallthrough=True)
    for name in ("pread", "preadv"):
        monkeypatch.setattr(os, name, Failing(errno.EIO))
    answer = ask(application, "/media/a.txt", method)
    if method == "HEAD":
        assert answer.status == 200  # nothing is read
    else:
        assert (answer.status, answer.ended) == (500, True)
        assert answer.body == b"500 Internal Server Error\n"
        assert answer.headers["cache-control"] == "no-store"
        assert "/media/a.txt" in caplog.text
    monkeypatch.undo()
    assert left_open(media) == []
    assert ask(application, "/media/a.txt").body == b"hello"


def test_a_disk_that_fails_after_the_start(
    serve: Serve,
    media: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(os, "preadv", Failing(errno.EAGAIN))
    pread = os.pread

    def pread_some(fd: int, count: int, offset: int) -> bytes:
        if offset >= 3000:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return pread(fd, count, offset)

    monkeypatch.setattr(os, "pread", pread_some)
    answer = ask(serve(), "/media/large.bin")
    assert answer.status == 200
    assert not answer.ended
    assert LARGE.startswith(answer.body)
    assert 2000 < len(answer.body) < 5000
    assert "/media/large.bin" in caplog.text
    assert "Input/output" in caplog.text
    assert left_open(media) == []


@pytest.mark.parametrize("path", ["a.txt", "large.bin"])
def test_a_client_that_has_gone(path: str, serve: Serve, media: Path, cache: str) -> None:
    # ASGI 2.4: send() raises OSError.
    for step in ("http.response.start", "http.response.body"):

        def gone(message: dict[str, Any], step: str = step) -> None:
            if message["type"] == step:
                raise ConnectionResetError("gone")

        messages = ask(serve(), f"/media/{path}", on_message=gone).messages
        assert len(messages) <= 2
        assert left_open(media) == []


@pytest.mark.parametrize("path", ["a.txt", "large.bin"])
def test_a_server_that_fails(path: str, serve: Serve, media: Path, cache: str) -> None:
    def broken(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body":
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ask(serve(), f"/media/{path}", on_message=broken)
    assert left_open(media) == []


def test_a_disconnect_ends_the_reading(serve: Serve, media: Path, cache: str) -> None:
    async def main() -> Answer:
        gone = asyncio.Event()
        sent = []

        def count(message: Any) -> None:
            sent.append(message)
            if len(sent) == 3:
                gone.set()

        async def receive() -> dict[str, Any]:
            await gone.wait()
            return {"type": "http.disconnect"}

        return await asked(
            serve(chunk_size=100), "/media/large.bin", receive=receive, on_message=count
        )

    answer = asyncio.run(main())
    assert not answer.ended
    assert 3 <= len(answer.messages) < 20
    assert left_open(media) == []


def test_the_body_of_a_request_is_no_disconnect(serve: Serve) -> None:
    parts = iter([{"type": "http.request", "body": b"x", "more_body": False}])

    async def receive() -> dict[str, Any]:
        for part in parts:
            return part
        await asyncio.Event().wait()
        raise AssertionError

    answer = ask(serve(chunk_size=100), "/media/large.bin", receive=receive)
    assert answer.ended
    assert answer.body == LARGE


# --- Errors of the system -----------------------------------------------------------------------


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
def test_no_descriptor_left(
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
        ask(application, "/media/a.txt")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def main() -> Answer:
        free = os.open(os.devnull, os.O_RDONLY)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
        try:
            return await asked(application, "/media/a.txt")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    answer = asyncio.run(main())
    assert (answer.status, answer.ended) == (503, True)
    assert answer.headers["retry-after"].isdigit()
    assert "/media/a.txt" in caplog.text
    assert ask(application, "/media/a.txt").body == b"hello"
    assert left_open(media) == []


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


# --- Cancellation -------------------------------------------------------------------------------


async def cancelled(application: MediaMiddleware, path: str, gate: Gate) -> None:
    request = asyncio.create_task(asked(application, path))
    assert await asyncio.to_thread(gate.reached.wait, 10)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request


@pytest.mark.parametrize("resolver", RESOLVERS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_cancelled_while_opening(
    when: str, resolver: str, serve: Serve, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_by(resolver, monkeypatch)
    application = serve()
    checked = local._checked
    opening = local.LocalSource._open
    gate = Gate(checked if when == "after" else opening)
    if when == "after":  # the file is open already
        monkeypatch.setattr(local, "_checked", gate)
    else:
        monkeypatch.setattr(local.LocalSource, "_open", lambda *args: gate(*args))
    asyncio.run(cancelled(application, "/media/a.txt", gate))
    gate.open.set()
    assert left_open(media) == []
    monkeypatch.undo()
    assert ask(application, "/media/a.txt").body == b"hello"


@pytest.mark.parametrize("path", ["a.txt", "large.bin"])
def test_cancelled_while_reading(
    path: str, serve: Serve, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "preadv", Failing(errno.EAGAIN))
    gate = Gate(os.pread)
    monkeypatch.setattr(os, "pread", gate)
    application = serve()
    asyncio.run(cancelled(application, f"/media/{path}", gate))
    # The worker reads on: until it has ended, the number must be nobody else's.
    assert opened_files(media) == [path]
    gate.open.set()
    assert left_open(media) == []
    monkeypatch.undo()
    assert ask(application, f"/media/{path}").ended


def test_cancelled_while_the_next_span_is_read(
    serve: Serve, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "preadv", Failing(errno.EAGAIN))
    pread = os.pread
    gate = Gate(pread)
    monkeypatch.setattr(os, "pread", lambda *args: (pread if args[2] < 1024 else gate)(*args))
    application = serve()

    async def main() -> None:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)
            if len(sent) == 2:  # the start, and the first chunk
                await asyncio.Event().wait()

        async def receive() -> Any:
            await asyncio.Event().wait()

        scope = {"type": "http", "method": "GET", "path": "/media/large.bin", "headers": []}
        request = asyncio.create_task(application(scope, receive, send))  # type: ignore[arg-type]
        assert await asyncio.to_thread(gate.reached.wait, 10)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert opened_files(media) == ["large.bin"]
        gate.open.set()

    asyncio.run(main())
    assert left_open(media) == []


@pytest.mark.parametrize("turns", range(12))
@pytest.mark.parametrize("path", ["a.txt", "large.bin", "nope"])
def test_cancelled_at_any_time(
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
    asyncio.run(main())
    assert left_open(media) == []
    assert threading.active_count() <= before + 2
    assert len(opened(media)) <= 1


def test_a_predicate_for_which_no_thread_can_be_started_is_503(
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

    async def main() -> None:
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

    asyncio.run(main())
    assert calls == ["a.txt"]
