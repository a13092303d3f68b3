"""``manage.py findmedia`` and ``manage.py signmedia``."""

import io
import os
import sys
import types
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakSet

import pytest
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.http import HttpResponse
from django.test import override_settings

from media_asgi import Location, MediaMiddleware, signing
from media_asgi.management.commands import findmedia, signmedia
from media_asgi.signing import sign_prefix, sign_url, verify


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vars(settings), "SECRET_KEY", "for these tests alone")


async def no_app(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError(scope)


@pytest.fixture
def site(media: Path, key: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MediaMiddleware, "instances", WeakSet())
    module: Any = types.ModuleType("asgi_of_the_commands")
    module.application = MediaMiddleware(
        no_app,
        Location(url="/media/", root=media, headers={"X-One": "1"}),
        Location(url="/app/media/", root=media / "folder"),
        Location(url="/signed/", root=media, access="signed"),
        Location(url="/", host="tenants.example", root=lambda host: media / "folder"),
        Location(url="/inner/", root=media, access="internal"),
        Location(url="/asked/", root=media, access=lambda request, path: HttpResponse(status=299)),
    )
    monkeypatch.setitem(sys.modules, "asgi_of_the_commands", module)
    monkeypatch.setitem(vars(settings), "ASGI_APPLICATION", "asgi_of_the_commands.application")


def find(url: str) -> list[str]:
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")  # which refuses a lone surrogate
    call_command(findmedia.Command(), url, stdout=out)
    out.seek(0)
    return out.read().splitlines()


def test_findmedia_tells_location_file_answer_and_headers(site: None, media: Path) -> None:
    for url in ("/media/a.txt", "https://cdn.example/media/a%2Etxt?v=2#x"):
        lines = find(url)
        assert lines[:3] == [
            "Location: /media/ with access='public'",
            f"File:     {media}/a.txt",
            "Answer:   200 OK",
        ]
        assert {"Header:   content-length: 5", "Header:   x-one: 1"} <= set(lines)


def test_findmedia_says_why_there_is_no_file(site: None, media: Path) -> None:
    lines = find("/media/no-such.txt")
    assert lines[2:4] == [
        "Log:      '/media/no-such.txt': 404 by the location '/media/': No such file or directory "
        f"('{media}/no-such.txt')",
        "Answer:   404 Not Found",
    ]


def test_findmedia_follows_a_signature(site: None, media: Path) -> None:
    refused = find("/signed/a.txt")
    assert "Answer:   403 Forbidden" in refused
    assert any("has no media-expires" in line for line in refused)
    for link in (sign_url("/signed/a.txt"), sign_prefix("/signed/folder/") + "b.html"):
        lines = find(link)
        assert lines[2] == "Answer:   200 OK"
        assert lines[1] in (f"File:     {media}/a.txt", f"File:     {media}/folder/b.html")


def test_findmedia_asks_for_the_root_of_a_host(site: None, media: Path) -> None:
    lines = find("https://tenants.example/b.html")
    assert lines[1:3] == [f"File:     {media}/folder/b.html", "Answer:   200 OK"]


def test_findmedia_takes_any_url(site: None, media: Path) -> None:
    (media / os.fsdecode(b"f\xff.txt")).touch()
    for url in ("/media/f%FF.txt", os.fsdecode(b"/media/f\xff.txt")):
        lines = find(url)
        assert lines[1:3] == [f"File:     {media}/f\\xff.txt", "Answer:   200 OK"]
    assert "Answer:   404 Not Found" in find("https://name:pass@tenants.example")
    with pytest.raises(CommandError, match="is not a URL"):
        find("http://[::1")


def test_findmedia_tells_a_status_that_has_no_name(site: None) -> None:
    name = settings.ASGI_APPLICATION
    with override_settings(ASGI_APPLICATION=name, ROOT_URLCONF="none", MIDDLEWARE=[]):
        assert "Answer:   299 " in find("/asked/a.txt")


def test_findmedia_does_not_ask_the_application(site: None, media: Path) -> None:
    assert find("/inner/a.txt") == [
        "Location: /inner/ with access='internal'",
        f"File:     {media}/a.txt",
        "Answer:   Django's. It hands the file over, or not.",
    ]
    with pytest.raises(CommandError, match="is not below a location"):
        find("/other/a.txt")


def test_findmedia_names_a_missing_setting() -> None:
    with override_settings(ASGI_APPLICATION=None), pytest.raises(CommandError, match="Set ASGI_A"):
        find("/media/a.txt")


@pytest.mark.parametrize(
    ("given", "seconds"), [([], 3600), (["--expires", "90s"], 90), (["--expires", "7d"], 604800)]
)
def test_signmedia_prints_a_link(
    key: None, monkeypatch: pytest.MonkeyPatch, given: list[str], seconds: int
) -> None:
    monkeypatch.setattr("media_asgi.signing.time.time", lambda: 1_000_000)
    out = io.StringIO()
    call_command(signmedia.Command(), "/private/a.pdf", *given, stdout=out)
    parts = urlsplit(out.getvalue().strip())
    assert parts.path == "/private/a.pdf"
    grant = verify(parts.path, parts.query.encode())
    assert grant.expires == 1_000_000 + seconds


def test_signmedia_signs_for_a_host(key: None) -> None:
    out = io.StringIO()
    given = ["https://media.example/a.pdf", "--host", "media.example"]
    call_command(signmedia.Command(), *given, stdout=out)
    parts = urlsplit(out.getvalue().strip())
    assert verify(parts.path, parts.query.encode(), host="media.example")


def test_signmedia_signs_a_folder(key: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing, "location_prefixes", {})  # those of other tests
    out = io.StringIO()
    call_command(signmedia.Command(), "/private/hls/", stdout=out)
    assert verify(out.getvalue().strip() + "a.m3u8", b"")


@pytest.mark.parametrize(
    "arguments",
    [["/a", "--expires", "soon"], ["/a", "--expires", "0s"], ["a"], ["/a", "--host", "a b"]],
)
def test_signmedia_refuses_with_a_sentence(key: None, arguments: list[str]) -> None:
    with pytest.raises(CommandError, match="Give "):
        call_command(signmedia.Command(), *arguments)
