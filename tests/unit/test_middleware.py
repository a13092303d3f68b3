"""Which requests the middleware answers, and which it passes on."""

import asyncio
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from media_asgi import Location, MediaMiddleware
from media_asgi.servers import daphne_request
from media_asgi.signing import sign_url

from .support import (
    Inner,
    Serve,
    answer_of,
    ask,
)

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("type_", ["websocket", "lifespan", "something-new"])
async def test_other_scopes_pass_through(type_: str, serve: Serve, inner: Inner) -> None:
    scope = {"type": type_, "path": "/media/a.txt"}
    if type_ == "lifespan":
        del scope["path"]
    receive, send = object(), object()
    (await serve()(scope, receive, send))  # type: ignore[arg-type]
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


async def test_a_scope_without_headers(serve: Serve) -> None:
    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)

    scope = {"type": "http", "method": "GET", "path": "/media/a.txt"}
    (await serve()(scope, None, send))  # type: ignore[arg-type]
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
        answer = ask(serve(url=url), path, root_path=root_path)
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
async def test_a_root_path_counts_where_something_wraps_send_unless_daphne_runs(
    running: bool, counts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask() -> str:
        loop = asyncio.get_running_loop() if running else None
        monkeypatch.setitem(sys.modules, "daphne.server", SimpleNamespace(twisted_loop=loop))
        sends: list[Any] = [print, functools.partial(print, 1), functools.partial(print)]
        (found,) = {daphne_request.root_path({"root_path": "/app"}, send) for send in sends}
        return found

    assert await ask() == counts


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
def test_a_location_serves_beneath_its_url(url: str, path: str, serve: Serve) -> None:
    assert ask(serve(url=url), path).body == b"hello"


def test_the_default_location(media: Path, inner: Inner) -> None:
    with override_settings(MEDIA_URL="files/", MEDIA_ROOT=str(media)):
        application = MediaMiddleware(inner)
        assert ask(application, "/files/a.txt").body == b"hello"
        assert ask(application, "/media/a.txt").body == b"inner"


def test_a_setting_that_changes_holds_for_a_middleware_that_is_there(
    media: Path, inner: Inner, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.txt").write_text("other")
    with override_settings(MEDIA_URL="/files/", MEDIA_ROOT=str(media)):
        plain = MediaMiddleware(inner)
        own = MediaMiddleware(inner, Location.media(sandbox=False), Location.storage(url="/s/"))
        for application in (plain, own):
            assert ask(application, "/files/a.txt").body == b"hello"
            with override_settings(MEDIA_ROOT=str(other)):
                for _ in range(2):
                    assert ask(application, "/files/a.txt").body == b"other"
                assert application.locations[-1].folders == [str(other)]
                with override_settings(MEDIA_URL="/m/"):
                    assert ask(application, "/m/a.txt").body == b"other"
                    assert ask(application, "/files/a.txt").body == b"inner"
            assert ask(application, "/files/a.txt").body == b"hello"
            with override_settings(MEDIA_ROOT=""):
                with pytest.raises(ImproperlyConfigured, match="MEDIA_ROOT"):
                    ask(application, "/files/a.txt")
            assert ask(application, "/files/a.txt").body == b"hello"
        assert ask(own, "/s/a.txt").body == b"hello"
        with override_settings(MEDIA_ROOT=str(other)):
            assert ask(own, "/s/a.txt").body == b"other"
        html = "/files/folder/b.html"
        assert "content-security-policy" not in ask(own, html).headers
        assert "content-security-policy" in ask(plain, html).headers


def test_a_middleware_that_is_made_in_a_test_outlives_its_settings(
    media: Path, inner: Inner, tmp_path: Path
) -> None:
    with override_settings(MEDIA_URL="/files/", MEDIA_ROOT=str(media)):
        with override_settings(MEDIA_ROOT=str(tmp_path / "none")):
            application = MediaMiddleware(inner)
        assert ask(application, "/files/a.txt").body == b"hello"
