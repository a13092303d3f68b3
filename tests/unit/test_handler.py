"""The answers of one location."""

import logging
import time
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage

from media_asgi import Location, MediaMiddleware, known_files
from media_asgi.sources import memory_cache

from .support import (
    RESOLVERS,
    Clock,
    Inner,
    Serve,
    ask,
    fail,
    left_open,
    resolve_by,
)


def test_a_whole_file_is_200(serve: Serve, media: Path) -> None:
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


def test_conditions_are_answered(serve: Serve) -> None:
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
def test_each_name_that_is_no_file_is_404(
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


def test_dotfiles_are_served_where_allowed(serve: Serve) -> None:
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
    found = [record.args[0] for record in caplog.records if isinstance(record.args, tuple)]
    assert found == names
    assert all("dotfiles=['" in record.getMessage() for record in caplog.records)
    # Clients invent names.
    for number in range(200):
        ask(application, f"/media/.invented-{number}\n")
        ask(application, f"/media/.{'x' * 255}{number}")
    assert len(caplog.records) == 100
    assert not any("\n" in record.getMessage() for record in caplog.records)


def test_links_are_followed_where_allowed(serve: Serve, media: Path) -> None:
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
def test_other_methods_are_405(method: str, path: str, serve: Serve, inner: Inner) -> None:
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


def test_options_of_the_location_are_headers(serve: Serve) -> None:
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


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"headers": {"X-A": "b"}},
        {"headers": lambda path: {"X-A": path}},
        {"cache_control": lambda path: f"max-age={len(path)}"},
        {"cors": "*"},
        {"cors": ["https://a.example"]},
        {"limit_rate": 10**9},
        {"precompressed": True},
        {"index": "a.txt"},
        {"fallthrough": True},
        {"sandbox": False},
        {"follow_symlinks": True},
    ],
    ids=lambda options: ",".join(options),
)
def test_a_file_that_is_kept_is_answered_as_one_that_is_read(
    options: dict[str, Any], serve: Serve, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (media / "a.txt.gz").write_bytes(b"packed")
    # Kept are only files whose last change is some seconds ago.
    later = Clock(time.time() + 60)
    monkeypatch.setattr(memory_cache, "time", later)
    monkeypatch.setattr(known_files, "time", later)
    application, reading = serve(**options), serve(**options)
    asked_for = [
        (path, method, headers)
        for path in ("a.txt", "", "folder", "folder/b.html", "none.bin", "missing.txt")
        for method in ("GET", "HEAD", "POST")
        for headers in [
            [],
            [(b"Origin", b"https://a.example")],
            [(b"origin", b"https://b.example")],
            [(b"Range", b"bytes=1-2")],
            [(b"If-None-Match", b"*")],
            [(b"accept-encoding", b"gzip")],
            [(b"service-worker", b"script")],
        ]
    ]
    for path, method, headers in asked_for * 2:
        for _ in range(2):
            answer = ask(application, f"/media/{path}", method, headers)
            with monkeypatch.context() as patched:
                patched.setattr(memory_cache.MemoryCache, "kept_nowait", lambda *_: None)
                assert ask(reading, f"/media/{path}", method, headers) == answer
