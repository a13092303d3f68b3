import asyncio
import dataclasses
import functools
import itertools
import os
import re
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Unpack, get_type_hints
from unittest.mock import AsyncMock, MagicMock

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import FileSystemStorage, InMemoryStorage
from django.core.handlers.base import BaseHandler
from django.core.handlers.wsgi import WSGIHandler
from django.test import override_settings

from media_asgi import DiskCache, Location, MediaMiddleware
from media_asgi.access import authenticated
from media_asgi.options import Options
from media_asgi.signing import sign_url
from media_asgi.sources.django_storage import StorageSource
from media_asgi.sources.objects import ObjectSource

from ..support.servers import ROOT

FILES = "django.core.files.storage.FileSystemStorage"


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """A project as ``startproject`` lays it: ``BASE_DIR`` with the settings module's folder."""
    base = tmp_path / "project"
    (base / "mysite").mkdir(parents=True)
    module = types.ModuleType("mysite_settings")
    module.__file__ = str(base / "mysite" / "settings.py")
    sys.modules["mysite_settings"] = module
    with override_settings(SETTINGS_MODULE="mysite_settings", BASE_DIR=base):
        yield base
    del sys.modules["mysite_settings"]


async def looks_up(path: str) -> str:
    raise NotImplementedError


class LooksUp:
    async def __call__(self, path: str) -> str:
        raise NotImplementedError


async def application(scope: Any, receive: Any, send: Any) -> None:
    raise NotImplementedError


def refusal(call: Any, /, *args: Any, **options: Any) -> str:
    with pytest.raises(ImproperlyConfigured) as raised:
        call(*args, **options)
    return str(raised.value)


CACHE = DiskCache("/srv/cache", max_size=1)

# The options beside a right url and root; what the message must name: option, value and cure.
REFUSED: list[Any] = [
    ({"source": "s3://bucket"}, ["source", "'s3://bucket'", "ObjectSource"]),
    ({"credentials": "keys"}, ["credentials", "'keys'", "'instance'"]),
    ({"root": "s3://"}, ["root", "'s3://'", "s3://bucket/prefix"]),
    ({"root": "s3://MyBucket"}, ["root", "'s3://MyBucket'", "in lower case"]),
    ({"root": "s3://["}, ["root", "'s3://['", "s3://bucket/prefix"]),
    ({"root": "s3://bucket/a?b"}, ["root", "'s3://bucket/a?b'", "s3://bucket/prefix"]),
    *[
        ({"root": None, "source": ObjectSource(MagicMock()), name: True}, [name, "True", "store"])
        for name in ("follow_symlinks", "precompressed")
    ],
    ({"root": "s3://key:secret@bucket"}, ["root", "s3://bucket/prefix", "environment"]),
    ({"root": []}, ["root", "[]", "BASE_DIR"]),
    *(
        ({"url": "/robots.txt", "host": ".a.example", **of}, ["'/robots.txt'", "one file", "slash"])
        for of in (
            *({"root": ["/srv/robots.txt", "/srv/b.txt"]}, {"root": str}),
            {"root": None, "source": StorageSource(InMemoryStorage())},
        )
    ),
    ({"root": ["/srv/media", ""]}, ["root", "''", "BASE_DIR"]),
    ({"url": None}, ["url", "None", '"/media/"']),
    ({"url": b"/media/"}, ["url", "b'/media/'", '"/media/"']),
    ({"url": Path("/media/")}, ["url", "PosixPath", '"/media/"']),
    ({"url": ""}, ["url", "''", '"/media/"']),
    ({"url": "/"}, ["url", "'/'", "every page", '"/media/"']),
    ({"url": "//"}, ["url", "'//'", '"/media/"']),
    ({"url": "%2F"}, ["url", "'%2F'", '"/media/"']),
    ({"host": "*", "url": "/"}, ["every page", "host="]),
    ({"url": "https://bücher.example/"}, ["every page", "host="]),
    *(
        ({"host": host}, ["host", repr(host), "ALLOWED_HOSTS"])
        for host in (
            *("", ".", "..", "a..b", "a:80", "http://a", "a/b", "bücher.example", "a b", "*.a"),
            *("a,b", "a_b", "user@a", "[::1", 1, b"a", ["a"]),
        )
    ),
    (
        {"host": "a", "url": "/", "fallthrough": True},
        ["nothing on it reaches the application", "'a'", "fallthrough"],
    ),
    (
        {"host": "a", "url": "/", "access": "internal"},
        ["nothing on it reaches the application", "access='internal'"],
    ),
    ({"url": "http://[x/media/"}, ["url", "http://[x/media/", '"/media/"']),
    ({"url": "/a//b/"}, ["url", "/a//b/", "empty", '"/media/"']),
    ({"url": "/a/../b/"}, ["url", "/a/../b/", '".."', '"/media/"']),
    ({"url": "/a/%2e%2e/b/"}, ["url", "/a/%2e%2e/b/", '".."', '"/media/"']),
    ({"url": "/./"}, ["url", "/./", '"/media/"']),
    ({"url": "/a%00/"}, ["url", "/a%00/", '"/media/"']),
    ({"url": "/media/?v=1"}, ["url", "/media/?v=1", "query", "%3F"]),
    ({"url": "/media/#top"}, ["url", "/media/#top", "fragment", "%23"]),
    ({"root": None}, ["root", "'/m/'", "None", 'BASE_DIR / "media"']),
    ({"root": ""}, ["root", "'/m/'", "''", 'BASE_DIR / "media"']),
    ({"root": b"/srv/m"}, ["root", "'/m/'", "b'/srv/m'", 'BASE_DIR / "media"']),
    ({"root": 7}, ["root", "'/m/'", "7", 'BASE_DIR / "media"']),
    ({"root": "a\0b"}, ["root", "'/m/'", r"a\x00b", 'BASE_DIR / "media"']),
    ({"access": "everyone"}, ["access", "'everyone'", "'public'", "'internal'", "'signed'"]),
    ({"access": True}, ["access", "True", "'public'"]),
    ({"access": ["public"]}, ["access", "['public']", "'public'"]),
    ({"access": "internal", "error_pages": True}, ["error_pages", "internal", "Leave"]),
    ({"error_pages": 1}, ["error_pages", "1", "True or False"]),
    ({"access": "internal", "fallthrough": True}, ["fallthrough", "internal", "Leave"]),
    ({"leeway": 5}, ["leeway", "signed", "leave leeway out"]),
    ({"leeway": "5"}, ["leeway", "'5'"]),
    ({"leeway": -1}, ["leeway", "-1"]),
    ({"cache": "/srv/cache"}, ["cache", "'/srv/cache'", "DiskCache"]),
    *(
        ({"root": root, "host": ".a.example", "cache": CACHE}, ["cache", "Leave cache out"])
        for root in ("/srv/media", ["/srv/a", "/srv/b"], str, StorageSource(InMemoryStorage()))
    ),
    ({"login_redirect": True}, ["login_redirect", "callable", "leave login_redirect out"]),
    ({"credentials": "instance"}, ["credentials", "only a bucket", "leave credentials out"]),
    ({"root": "s4://bucket"}, ["root", "'s4://bucket'", "s3://bucket/prefix"]),
    ({"cache_control": 60}, ["cache_control", "60", "Give a string"]),
    ({"cache_control": ""}, ["cache_control", "''", "Give a string"]),
    ({"cache_control": "a\r\nb: c"}, ["cache_control", r"'a\r\nb: c'", "control characters"]),
    ({"cache_control": "no-cache "}, ["cache_control", "'no-cache '", "Give a string"]),
    ({"cache_control": "ma≈age"}, ["cache_control", "≈", "Latin-1"]),
    ({"immutable": "("}, ["immutable", "'('", "Give one such as"]),
    ({"immutable": 5}, ["immutable", "5", "Give one such as"]),
    ({"immutable": True}, ["immutable", "True", "Give one such as"]),
    ({"immutable": b"x"}, ["immutable", "b'x'", "Give one such as"]),
    ({"immutable": re.compile(b"x")}, ["immutable", "b'x'", "Give one such as"]),
    ({"headers": "x-a: b"}, ["headers", "'x-a: b'", "Give a mapping"]),
    ({"headers": [("x-a", "b")]}, ["headers", "[('x-a', 'b')]", "Give a mapping"]),
    ({"headers": {"x a": "b"}}, ["headers", "'x a'", "not a header name"]),
    ({"headers": {"": "b"}}, ["headers", "''", "not a header name"]),
    ({"headers": {b"x-a": "b"}}, ["headers", "b'x-a'", "not a header name"]),
    ({"headers": {"x-a\n": "b"}}, ["headers", r"'x-a\n'", "not a header name"]),
    ({"headers": {"x-a": b"b"}}, ["headers", "x-a", "b'b'", "Give a string"]),
    ({"headers": {"x-a": "b\nset-cookie: c"}}, ["headers", r"'b\nset-cookie", "Give a string"]),
    ({"headers": {"x-a": "b\0"}}, ["headers", r"'b\x00'", "control characters"]),
    ({"headers": {"x-a": "\x7f"}}, ["headers", r"'\x7f'", "control characters"]),
    ({"headers": {"x-a": "日本"}}, ["headers", "'日本'", "Latin-1"]),
    ({"headers": {"x-a": None}}, ["headers", "x-a", "None", "Give a string"]),
    ({"headers": {"Cache-Control": "x"}}, ["headers", "Cache-Control", "use cache_control"]),
    ({"headers": {"CONTENT-TYPE": "x"}}, ["headers", "CONTENT-TYPE", "use content_types"]),
    ({"headers": {"x-content-type-options": "x"}}, ["headers", "always nosniff"]),
    *[
        ({"headers": {name: "1"}}, ["headers", name, "made for each", f"Leave {name} out"])
        for name in (
            "Accept-Ranges",
            "Connection",
            "Content-Length",
            "Content-Range",
            "Date",
            "ETag",
            "Last-Modified",
            "Transfer-Encoding",
        )
    ],
    ({"content_types": "text/plain"}, ["content_types", "'text/plain'", "Give a mapping"]),
    ({"content_types": {"": "text/plain"}}, ["content_types", "''", '".md"']),
    ({"content_types": {".": "text/plain"}}, ["content_types", "'.'", '".md"']),
    ({"content_types": {5: "text/plain"}}, ["content_types", "5", '".md"']),
    ({"content_types": {".x": "plain"}}, ["content_types", "'.x'", "'plain'", "text/plain"]),
    ({"content_types": {".x": "a/b/c"}}, ["content_types", "'.x'", "'a/b/c'", "text/plain"]),
    ({"content_types": {".x": "a/b\r\nx: y"}}, ["content_types", "'.x'", r"'a/b\r\nx: y'"]),
    ({"content_types": {".x": "a/b; "}}, ["content_types", "'.x'", "'a/b; '"]),
    ({"content_types": {".x": None}}, ["content_types", "'.x'", "None", "text/plain"]),
    ({"cors": "https://a.example"}, ["cors", "https://a.example", "'*'"]),
    ({"cors": []}, ["cors", "[]", "'*'"]),
    ({"cors": ["https://a.example/"]}, ["cors", "https://a.example/", "'*'"]),
    ({"cors": ["*"]}, ["cors", "['*']", "Give '*'"]),
    ({"cors": [b"https://a.example"]}, ["cors", "b'https://a.example'", "'*'"]),
    ({"cors": 5}, ["cors", "5", "'*'"]),
    ({"cors": {}}, ["cors", "{}", "'*'"]),
    ({"cors": {"origins": ["*"]}}, ["cors", "['*']", "Give '*'"]),
    ({"cors": {"origins": "*", "credentials": True}}, ["cors", "credentials", "List the origins"]),
    ({"cors": {"origins": "*", "credentials": "no"}}, ["credentials", "'no'", "True or False"]),
    ({"cors": {"origins": "*", "header": ["X"]}}, ["cors", "'header'", "'headers'"]),
    ({"cors": {"origins": "*", "headers": "X"}}, ["cors", "'X'", "a list"]),
    ({"cors": {"origins": "*", "headers": ["*"]}}, ["cors", "['*']", "a list"]),
    ({"cors": {"origins": "*", "headers": ["X\r\nY"]}}, ["cors", "a list"]),
    ({"cors": {"origins": "*", "headers": [b"X"]}}, ["cors", "a list"]),
    *[
        ({"dotfiles": value}, ["dotfiles", repr(value), "True, False", '".well-known"'])
        for value in (1, "yes", None, ".env", b".env")
    ],
    *[
        ({"dotfiles": [".ok", name]}, ["dotfiles", repr(name), '".well-known"'])
        for name in ("", ".", "..", "a", "a/.b", ".a/b", ".a/", "/.a", ".a\0", b".a", None)
    ],
    *[
        ({"follow_symlinks": value}, ["follow_symlinks", repr(value), '["/srv/shared"]'])
        for value in (1, "/srv", None, [], ["shared"], [5], [b"/srv"], ["/a\0"], ["/a", "b"])
    ],
    *[
        ({"index": value}, ["index", repr(value), "'index.html'"])
        for value in ("", 5, True, b"index.html", "a/b", "/", ".", "..", ".htaccess", "a\0")
    ],
    *[
        ({"limit_rate": value}, ["limit_rate", repr(value), "500_000"])
        for value in (0, -1, 1.5, True, "1m")
    ],
    *[
        ({"limit_rate": 1, "limit_rate_after": value}, ["limit_rate_after", repr(value), "500_000"])
        for value in (-1, 1.5, False, "1m", None)
    ],
    ({"limit_rate_after": 5}, ["limit_rate_after", "5", "limit_rate is not set"]),
    *[
        ({name: value}, [name, repr(value), "True or False"])
        for name in ("sandbox", "fallthrough", "login_redirect", "error_pages", "precompressed")
        for value in (1, "yes", None)
        if not (name == "login_redirect" and value)  # without a predicate it is refused for that
    ],
]


def test_links_and_variants_of_a_root_that_depends_on_the_host() -> None:
    for name in ("follow_symlinks", "precompressed"):
        options: Any = {"url": "/m/", "root": lambda host: None, "host": "a.example", name: True}
        assert getattr(Location(**options), name) is True


@pytest.mark.parametrize("option", ["cache_control", "headers", "root"])
@pytest.mark.parametrize("kind", ["function", "object", "partial"])
def test_an_async_callable_is_refused(tmp_path: Path, option: str, kind: str) -> None:
    value = {"function": looks_up, "object": LooksUp(), "partial": functools.partial(looks_up)}
    options: dict[str, Any] = {"url": "/m/", "root": tmp_path, "host": "a.example"}
    options[option] = value[kind]
    message = refusal(Location, **options)
    for word in (option, repr(value[kind]), "async", "view"):
        assert word in message


# Before the apps are ready, such a subclass can't be told.
LOGIN_REQUIRED = "django.contrib.auth.middleware.LoginRequiredMiddleware"


def test_a_site_that_requires_a_login_names_the_access_of_each_location(tmp_path: Path) -> None:
    options: dict[str, Any] = {"url": "/m/", "root": tmp_path / "media"}
    media = {"MEDIA_ROOT": tmp_path / "media", "MEDIA_URL": "/m/"}
    assert Location(**options).access == "public"
    with override_settings(MIDDLEWARE=[LOGIN_REQUIRED], **media):
        for make in (functools.partial(Location, **options), Location.media):
            with pytest.raises(ImproperlyConfigured) as raised:
                make()
            for word in ("'/m/'", "LoginRequiredMiddleware", "'public'", "access.authenticated"):
                assert word in str(raised.value)
        for access in ("public", "internal", authenticated):
            assert Location(**options, access=access).access == access
            assert Location.media(access=access).access == access


@pytest.mark.parametrize(
    ("options", "words"), REFUSED, ids=[repr(case[0])[:60] for case in REFUSED]
)
def test_what_is_refused(tmp_path: Path, options: dict[str, Any], words: list[str]) -> None:
    message = refusal(Location, **({"url": "/m/", "root": tmp_path / "media"} | options))
    for word in words:
        assert word in message
    if "url" not in options:
        assert "/m/" in message  # of several locations it is this one
    assert message.endswith((".", ").", ")"))


def test_every_option_can_be_refused() -> None:
    refused = {name for options, _ in REFUSED for name in options}
    assert refused == {field.name for field in dataclasses.fields(Location) if field.init}


# Values that each option may have by itself, for all pairs of them.
SOME: dict[str, list[Any]] = {
    "access": ["internal", "signed", lambda request, path: True],
    "cache_control": ["max-age=60", lambda path: "no-store"],
    "immutable": ["a"],
    "headers": [{"X-Own": "1", "Vary": "X-Own"}],
    "content_types": [{".txt": "text/x-own"}],
    "follow_symlinks": [True, ["/srv"]],
    "dotfiles": [True, [".a"]],
    "sandbox": [False],
    "fallthrough": [True],
    "error_pages": [True],
    "login_redirect": [True],
    "cors": ["*", ["https://a.example"]],
    "index": ["a.txt"],
    "precompressed": [True],
    "leeway": [5],
}


@pytest.mark.parametrize("url", ["/m/", "/m"])
def test_each_pair_of_options_is_refused_or_served(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(vars(settings), "SECRET_KEY", "a test's")
    file = tmp_path / "a.txt"
    file.write_bytes(b"hello")
    (tmp_path / "a.txt.gz").write_bytes(b"packed")
    values = [{name: value} for name, some in SOME.items() for value in some]
    outcomes = set()
    for one, other in itertools.combinations_with_replacement(values, 2):
        options: dict[str, Any] = {"url": url, "root": tmp_path if url == "/m/" else file}
        options |= one | other
        try:
            location = Location(**options)
        except ImproperlyConfigured as error:
            text = str(error)
            outcomes.add("refused")
            if not re.search(r"'/m/?'.*(Give|Set|Leave|leave) ", text):
                pytest.fail(text)
            continue
        if location.access == "internal":
            continue
        path, query = "/m/a.txt" if url == "/m/" else "/m", ""
        if location.access == "signed":
            path, _, query = sign_url(path).partition("?")
        served = MediaMiddleware(application, location)
        fields = [(b"accept-encoding", b"gzip"), (b"origin", b"https://a.example")]
        for headers in (fields, [*fields, (b"range", b"bytes=0-3")]):
            start, *bodies = asyncio.run(messages(served, path, query.encode(), headers))
            assert start["status"] == (200 if headers is fields else 206), options
            whole = b"packed" if location.precompressed else b"hello"
            body = b"".join(message["body"] for message in bodies)
            assert body == (whole if headers is fields else whole[:4])
            outcomes.add("served")
    assert outcomes == {"refused", "served"}


async def messages(served: Any, path: str, query: bytes, headers: Any) -> list[Any]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "headers": headers}
    await served({**scope, "query_string": query}, lambda: asyncio.sleep(60), send)
    return sent


def test_options_have_names(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        Location("/m/", tmp_path)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Location(url="/m/", root=tmp_path, cached=True)  # type: ignore[call-arg]
    location = Location(url="/m/", root=tmp_path)
    with pytest.raises(dataclasses.FrozenInstanceError):
        location.url = "/n/"  # type: ignore[misc]


def test_defaults_of_a_location(tmp_path: Path) -> None:
    location = Location(url="/m/", root=tmp_path)
    assert location.access == "public"
    assert location.sandbox is True
    assert not location.follow_symlinks
    assert not location.dotfiles
    assert not location.fallthrough
    assert location.headers_for("a.txt") == []
    assert location.cache_control_for("a.txt") == "no-cache"


@pytest.mark.parametrize(
    ("url", "prefix"),
    [
        ("/media/", "/media/"),
        ("/media", "/media/"),
        ("media/", "/media/"),
        ("media", "/media/"),
        ("/a/b/", "/a/b/"),
        ("https://cdn.example/media/", "/media/"),
        ("https://cdn.example:8443/a/b", "/a/b/"),
        ("//cdn.example/media/", "/media/"),
        ("/m%C3%A9dias/", "/médias/"),
        ("/médias/", "/médias/"),
        ("/a%20b/", "/a b/"),
        ("/a%3Fb%23c/", "/a?b#c/"),
        ("/a%252Fb/", "/a%2Fb/"),
        ("/a;b/", "/a;b/"),
    ],
)
def test_the_prefix_of_a_locations_url(tmp_path: Path, url: str, prefix: str) -> None:
    assert Location(url=url, root=tmp_path).prefix == prefix
    with override_settings(MEDIA_URL=url, MEDIA_ROOT=str(tmp_path)):
        assert Location.media().prefix == prefix


@pytest.mark.parametrize("root", ["s3://bucket/prefix", ["/srv/media", "s3://bucket"]])
def test_a_bucket_by_its_url_may_have_a_cache(root: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "tests")
    assert Location(url="/m/", root=root, cache=CACHE).cache is CACHE


def test_roots_that_a_location_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    for root in (tmp_path / "real", str(tmp_path / "real"), f"{tmp_path}/x/../real/"):
        assert Location(url="/m/", root=root).folders == [str(tmp_path / "real")]
    # A link stays one, so that it may be turned; and what isn't there yet may come.
    assert Location(url="/m/", root=tmp_path / "link").folders == [str(tmp_path / "link")]
    assert Location(url="/m/", root=tmp_path / "later").folders == [str(tmp_path / "later")]
    monkeypatch.chdir(tmp_path)
    assert Location(url="/m/", root="real").folders == [str(tmp_path / "real")]


def test_the_projects_own_folder_is_refused(project: Path) -> None:
    link = project.parent / "link"
    link.symlink_to(project)
    for root in (project, project / "mysite", project.parent, "/", link, f"{project}/x/.."):
        for options in ({"root": root}, {"root": str(root)}):
            message = refusal(Location, url="/m/", **options)
            for word in ("root", repr(str(root)), "'/m/'", str(project), 'BASE_DIR / "media"'):
                assert word in message


def test_a_folder_beside_the_projects_code_is_not(project: Path) -> None:
    for root in (project / "media", project / "mysite" / "media", project.parent / "project2"):
        assert Location(url="/m/", root=root).folders == [str(root)]
    # A name that another's begins with is no folder above it.
    (project.parent / "proj").mkdir()
    assert Location(url="/m/", root=project.parent / "proj").folders


def test_the_settings_modules_folder_is_enough(project: Path) -> None:
    with override_settings(SETTINGS_MODULE="mysite_settings", BASE_DIR=None):
        assert "own code" in refusal(Location, url="/m/", root=project)
        assert "own code" in refusal(Location, url="/m/", root=project / "mysite")
    with override_settings(SETTINGS_MODULE=None, BASE_DIR=project):
        assert "own code" in refusal(Location, url="/m/", root=project)
        assert Location(url="/m/", root=project / "mysite")


def test_base_dir_as_a_string(project: Path) -> None:
    with override_settings(BASE_DIR=str(project), SETTINGS_MODULE=None):
        assert "own code" in refusal(Location, url="/m/", root=project)


def test_the_media_location_follows_djangos_settings(tmp_path: Path) -> None:
    for root in (tmp_path, str(tmp_path)):
        with override_settings(MEDIA_URL="/files/", MEDIA_ROOT=root):
            location = Location.media(dotfiles=True)
            assert (location.prefix, location.folders) == ("/files/", [str(tmp_path)])
            assert location.dotfiles
            assert Location.media(url="/other/").prefix == "/other/"


@pytest.mark.parametrize("root", ["", None])
def test_media_without_a_root(
    root: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a path, "" is the current folder, whatever that holds.
    monkeypatch.chdir(tmp_path)
    with override_settings(MEDIA_URL="/media/", MEDIA_ROOT=root):
        for call in (Location.media, lambda: MediaMiddleware(application)):
            message = refusal(call)
            assert 'MEDIA_ROOT = BASE_DIR / "media"' in message
            assert "not set" in message


@pytest.mark.parametrize("url", ["", "/", None])
def test_media_without_a_url(url: str | None, tmp_path: Path) -> None:
    with override_settings(MEDIA_URL=url, MEDIA_ROOT=str(tmp_path)):
        message = refusal(Location.media)
        assert "/media/" in message
        assert repr(url or "/" if url is not None else None) in message


def test_a_media_url_that_is_no_url(tmp_path: Path) -> None:
    with override_settings(MEDIA_URL="http://[x/media/", MEDIA_ROOT=str(tmp_path)):
        assert "http://[x/media/" in refusal(Location.media)


def test_a_media_url_below_a_script_name(tmp_path: Path) -> None:
    # Django puts a relative MEDIA_URL below the script name; and goes on doing it for each request.
    from django.conf import settings
    from django.urls import get_script_prefix, set_script_prefix

    before = get_script_prefix()
    try:
        with override_settings(MEDIA_URL="media/", MEDIA_ROOT=str(tmp_path)):
            set_script_prefix("/app/")
            assert Location.media().prefix == "/app/media/"
            set_script_prefix("/other/")
            assert settings.MEDIA_URL == "/other/media/"
    finally:
        set_script_prefix(before)


def storages(**options: Any) -> Any:
    backend = {"BACKEND": options.pop("backend", FILES), "OPTIONS": options}
    return override_settings(STORAGES={"default": {"BACKEND": FILES}, "own": backend})


def test_a_location_of_a_storage(tmp_path: Path) -> None:
    with override_settings(MEDIA_URL="/media/", MEDIA_ROOT=str(tmp_path)):
        location = Location.storage(cache_control="no-store")
        assert (location.prefix, location.folders) == ("/media/", [str(tmp_path)])
        assert location.cache_control == "no-store"
        with storages(location=str(tmp_path / "own"), base_url="https://cdn.example/own"):
            location = Location.storage("own")
            assert (location.prefix, location.folders) == ("/own/", [str(tmp_path / "own")])
            assert Location.storage("default").prefix == "/media/"
        with storages(location=tmp_path / "own"):
            assert Location.storage("own").prefix == "/media/"


def test_a_storage_without_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with override_settings(MEDIA_URL="/media/", MEDIA_ROOT=str(tmp_path)):
        backend = f"{InMemoryStorage.__module__}.{InMemoryStorage.__qualname__}"
        with storages(backend=backend, base_url="/memory/"):
            location = Location.storage("own")
            assert (location.prefix, location.folders) == ("/memory/", [])
            assert isinstance(location.source, StorageSource)
        assert "nosuch" in refusal(Location.storage, "nosuch")
        with storages(base_url="/"):
            assert "every page" in refusal(Location.storage, "own")
    with override_settings(MEDIA_URL="/media/", MEDIA_ROOT=""):
        message = refusal(Location.storage)
        for word in ("STORAGES['default']", "MEDIA_ROOT", 'BASE_DIR / "media"'):
            assert word in message
    with override_settings(MEDIA_URL=None, MEDIA_ROOT=str(tmp_path)):
        message = refusal(Location.storage)
        for word in ("STORAGES['default']", "base_url", '"/files/"'):
            assert word in message


def test_cache_control(tmp_path: Path) -> None:
    def of(path: str, **options: Any) -> str:
        return Location(url="/m/", root=tmp_path, **options).cache_control_for(path)

    assert of("a.txt", cache_control="public, max-age=60") == "public, max-age=60"
    assert of("a.txt", cache_control=lambda path: f"max-age={len(path)}") == "max-age=5"
    # RFC 9111 section 5.2.2.7: what not all may see is for no shared cache.
    assert of("a.txt", access="internal") == "private, no-cache"
    assert of("a.txt", access=lambda request, path: True) == "private, no-cache"
    for given, sent in [
        ("max-age=5", "private, max-age=5"),
        ("no-cache", "private, no-cache"),
        ("private", "private"),
        ("max-age=5, Private", "max-age=5, Private"),
        ("private,max-age=5", "private,max-age=5"),
        ("no-store", "no-store"),
        ("max-age=0 ,\tNO-STORE", "max-age=0 ,\tNO-STORE"),
        # Only that field is private.
        ('private="set-cookie", max-age=5', 'private, private="set-cookie", max-age=5'),
        ('a="b, private, c"', 'private, a="b, private, c"'),
        ("privately, x-private", "private, privately, x-private"),
    ]:
        for value in (given, lambda path, given=given: given):
            assert of("a.txt", access="internal", cache_control=value) == sent
            assert of("a.txt", cache_control=value) == given
    # RFC 8246.
    for pattern in (r"\.[0-9a-f]{4}\.", re.compile(r"\.[0-9a-f]{4}\.")):
        options: dict[str, Any] = {"immutable": pattern, "cache_control": "max-age=5"}
        assert of("a/b.0c1d.js", **options) == "max-age=31536000, immutable"
        assert of("a/b.0c1.js", **options) == "max-age=5"
    assert of("x", immutable="x", access="internal") == "private, max-age=31536000, immutable"


@pytest.mark.parametrize("value", [None, 5, "", "a\nb", "a\r\nset-cookie: b"])
def test_a_callable_that_gives_no_cache_control(tmp_path: Path, value: Any) -> None:
    location = Location(url="/m/", root=tmp_path, cache_control=lambda path: value)
    message = refusal(location.cache_control_for, "a.txt")
    for word in ("cache_control", "'/m/'", "'a.txt'", repr(value)):
        assert word in message


@pytest.mark.parametrize("value", ["public, max-age=5", "max-age=5, S-maxage=9"])
def test_a_callable_that_lets_everyone_share_what_is_not_public(tmp_path: Path, value: str) -> None:
    location = Location(
        url="/m/", root=tmp_path, access=lambda request, path: True, cache_control=lambda _: value
    )
    message = refusal(location.cache_control_for, "a.txt")
    for word in ("cache_control", "'/m/'", "'a.txt'", repr(value), "private"):
        assert word in message


def test_headers_that_a_location_takes(tmp_path: Path) -> None:
    given = {"X-One": "1", "x-two": "café"}
    location = Location(url="/m/", root=tmp_path, headers=given)
    given["X-Three"] = "3"  # what is changed later would go unchecked
    expected = [(b"x-one", b"1"), (b"x-two", b"caf\xe9")]
    assert location.headers_for("a.txt") == expected
    assert not location.varies("a.txt")
    location = Location(url="/m/", root=tmp_path, headers=lambda path: {"X-Path": path})
    assert location.headers_for("b.txt") == [(b"x-path", b"b.txt")]
    assert location.varies("a.txt")
    assert Location(url="/m/", root=tmp_path, cache_control=lambda path: "no-store").varies("a.txt")


@pytest.mark.parametrize(
    "value", [None, "x: y", [("x", "y")], {"x": "y\r\nz: 1"}, {"x": 5}, {"Date": "x"}, {"x y": "z"}]
)
def test_a_callable_that_gives_no_headers(tmp_path: Path, value: Any) -> None:
    location = Location(url="/m/", root=tmp_path, headers=lambda path: value)
    message = refusal(location.headers_for, "a.txt")
    for word in ("headers", "'/m/'", "'a.txt'"):
        assert word in message


def test_content_types(tmp_path: Path) -> None:
    given = {"md": "text/markdown", ".LOG": "text/plain; charset=utf-8", ".tar.gz": "a/b"}
    location = Location(url="/m/", root=tmp_path, content_types=given)
    assert location.content_types == {
        ".md": "text/markdown",
        ".log": "text/plain; charset=utf-8",
        ".tar.gz": "a/b",
    }


@pytest.mark.parametrize("name", ["chunk_size", "threads", "disk_timeout", "send_timeout"])
@pytest.mark.parametrize("value", [0, -1, True, None, "5", float("nan")])
def test_numbers_of_the_middleware(tmp_path: Path, name: str, value: Any) -> None:
    location = Location(url="/m/", root=tmp_path)
    message = refusal(MediaMiddleware, application, location, **{name: value})
    for word in (f"{name}={value!r}", "above 0"):
        assert word in message


def view(request: Any) -> None: ...


def wsgi(environ: Any, start_response: Any) -> None: ...


@pytest.mark.parametrize(
    "app",
    [get_asgi_application, view, wsgi, object.__new__(WSGIHandler), async_to_sync(application)],
)
def test_what_is_not_an_asgi_application_is_refused(tmp_path: Path, app: Any) -> None:
    message = refusal(MediaMiddleware, app, Location(url="/m/", root=tmp_path))
    assert repr(app) in message
    assert "MediaMiddleware(get_asgi_application())" in message


class Handler:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...

    async def method(self, *args: Any) -> None: ...


CALLABLES = [application, functools.partial(application), AsyncMock(), Handler(), Handler().method]


@pytest.mark.parametrize("app", CALLABLES)
def test_any_callable_of_three_arguments_may_be_the_application(tmp_path: Path, app: Any) -> None:
    assert MediaMiddleware(app, Location(url="/m/", root=tmp_path))


def test_one_middleware_around_another_is_refused(tmp_path: Path) -> None:
    inner = MediaMiddleware(application, Location(url="/a/", root=tmp_path))
    message = refusal(MediaMiddleware, inner, Location(url="/b/", root=tmp_path))
    assert "Give all locations to one" in message


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("others", [[], ["django.middleware.common.CommonMiddleware"]])
def test_the_middleware_in_django_s_middleware_is_refused_at_start(
    asynchronous: bool, others: list[str]
) -> None:
    name = "media_asgi.MediaMiddleware"
    for middleware in ([*others, name], [name, *others]):
        with override_settings(MIDDLEWARE=middleware):
            message = refusal(BaseHandler().load_middleware, is_async=asynchronous)
        assert "belongs in asgi.py, and not in MIDDLEWARE" in message


@pytest.mark.parametrize(
    "access", [lambda request: True, lambda: True, lambda r, p, user: True, type("P", (), {})]
)
def test_a_predicate_of_other_arguments_is_refused(tmp_path: Path, access: Any) -> None:
    message = refusal(Location, url="/m/", root=tmp_path, access=access)
    assert repr(access) in message
    assert "two arguments" in message


def test_fractions_are_for_seconds(tmp_path: Path) -> None:
    location = Location(url="/m/", root=tmp_path)
    assert MediaMiddleware(application, location, send_timeout=0.5, disk_timeout=0.5)
    for name in ("chunk_size", "threads"):
        assert f"{name}=0.5" in refusal(MediaMiddleware, application, location, **{name: 0.5})


def test_what_the_middleware_refuses(tmp_path: Path) -> None:
    one = Location(url="/m/", root=tmp_path / "one")
    two = Location(url="https://cdn.example/m", root=tmp_path / "two")
    message = refusal(MediaMiddleware, application, one, two)
    for word in ("'/m/'", str(tmp_path / "one"), str(tmp_path / "two"), "another url"):
        assert word in message
    message = refusal(MediaMiddleware, one)
    for word in ("Location(", "MediaMiddleware(get_asgi_application())"):
        assert word in message
    message = refusal(MediaMiddleware, application, "/media/")
    for word in ("'/media/'", "Location(url="):
        assert word in message


def test_without_a_django_project(tmp_path: Path) -> None:
    # Any ASGI application will do; the settings are a default only.
    program = (
        "import sys\n"
        "from media_asgi import Location, MediaMiddleware\n"
        "async def application(scope, receive, send): ...\n"
        "MediaMiddleware(application, Location(url='/m/', root=sys.argv[1]))\n"
        "from django.conf import settings\n"
        "assert not settings.configured\n"
        "unwanted = {'starlette', 'daphne', 'twisted', 'channels', 'uvicorn'}\n"
        "assert not unwanted & {name.partition('.')[0] for name in sys.modules}\n"
    )
    environment = {name: value for name, value in os.environ.items() if "DJANGO" not in name}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    subprocess.run([sys.executable, "-c", program, tmp_path], check=True, env=environment)


@pytest.mark.parametrize(
    ("options", "host", "prefix"),
    [
        ({"url": "/m/"}, None, "/m/"),
        ({"url": "https://cdn.example/m/"}, None, "/m/"),
        ({"url": "https://cdn.example/"}, "cdn.example", "/"),
        ({"url": "//user@CDN.example:8000"}, "cdn.example", "/"),
        ({"url": "https://[::1]:8000/"}, "[::1]", "/"),
        ({"url": "https://cdn.example/", "host": "b.example"}, "b.example", "/"),
        ({"url": "/", "host": "A.Example."}, "a.example", "/"),
        ({"url": "/m/", "host": ".Example.com"}, ".example.com", "/m/"),
        ({"url": "/m/", "host": "*"}, "*", "/m/"),
        ({"url": "/m/", "host": "[::1]"}, "[::1]", "/m/"),
    ],
)
def test_the_host_of_a_location(
    options: dict[str, Any], host: str | None, prefix: str, tmp_path: Path
) -> None:
    location = Location(root=tmp_path, **options)
    assert (location.host, location.prefix) == (host, prefix)


def test_a_full_media_url_without_a_path_is_a_host(tmp_path: Path) -> None:
    with override_settings(MEDIA_URL="https://media.example.com/", MEDIA_ROOT=str(tmp_path)):
        location = Location.media()
    assert (location.host, location.prefix) == ("media.example.com", "/")


class PerRequest(FileSystemStorage):
    """As the storage of django-tenants."""

    @property
    def base_location(self) -> str:
        return "/srv/tenant"

    @property
    def location(self) -> str:
        return self.base_location


class PerRequestLocation(FileSystemStorage):
    @property
    def location(self) -> str:
        return "/srv/tenant"


class Fixed(FileSystemStorage):
    base_location = "/srv/fixed"
    location = "/srv/fixed"


@pytest.mark.parametrize("kind", [PerRequest, PerRequestLocation])
def test_a_storage_of_the_current_tenant_is_refused(kind: type) -> None:
    backend = {"default": {"BACKEND": f"{__name__}.{kind.__name__}"}}
    with override_settings(STORAGES=backend, MEDIA_URL="/media/"):
        with pytest.raises(ImproperlyConfigured, match=r"the current tenant.*root=callable"):
            Location.storage()


def test_a_storage_with_a_fixed_folder_is_taken() -> None:
    backend = {"default": {"BACKEND": f"{__name__}.Fixed"}}
    with override_settings(STORAGES=backend, MEDIA_URL="/media/"):
        assert Location.storage().folders == ["/srv/fixed"]


def test_a_callable_root_requires_a_host() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"root of the location.*host="):
        Location(url="/m/", root=lambda host: None)
    assert Location(url="/m/", root=lambda host: None, host=".a").roots == []


def test_the_typed_options_are_those_of_a_location() -> None:
    hints = get_type_hints(Location)
    fields = {field.name: hints[field.name] for field in dataclasses.fields(Location) if field.init}
    assert get_type_hints(Options) == fields
    for make in (Location.media, Location.static, Location.storage):
        assert get_type_hints(make)["options"] == Unpack[Options]


@pytest.mark.slow
def test_mypy_checks_the_options(tmp_path: Path) -> None:
    (tmp_path / "asgi_of_a_site.py").write_text(
        "from media_asgi import Location\n"
        'Location.media(access="signed", leeway=3, dotfiles=[".well-known"])\n'
        "Location.static(sandbax=True)\n"
        "Location.media(sandbox=3)\n"
        "Location.storage(url=b'')\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file=", "asgi_of_a_site.py"],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    found = [line for line in done.stdout.splitlines() if line.startswith("asgi_of_a_site.py")]
    assert [line.split(":")[1] for line in found if ": error:" in line] == ["3", "4", "5"]
