"""Variants that lie beside their files, as an application gets them asked for."""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from media_asgi import Location, MediaMiddleware, known_files
from media_asgi.http import representation

from ..support import RESOLVERS, Answer, ask, asked, opened_files, resolve_by

CSS = b"body { color: red }\n" * 20
VARIANTS = {"br": b"BR" * 30, "zst": b"ZST" * 20, "gz": b"GZIP" * 15}
"""All of one size."""
BROWSER = b"gzip, deflate, br, zstd"
NOW = 1_700_000_000_123_456_789


async def inner(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b"inner"})


def put(path: Path, content: bytes, ns: int = NOW) -> None:
    path.write_bytes(content)
    os.utime(path, ns=(ns, ns))


@pytest.fixture(params=RESOLVERS)
def root(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    resolve_by(request.param, monkeypatch)
    put(tmp_path / "app.css", CSS)
    for ending, content in VARIANTS.items():
        put(tmp_path / f"app.css.{ending}", content)
    put(tmp_path / "plain.css", CSS)
    yield tmp_path
    for _ in range(1000):
        if not opened_files(tmp_path):
            return
        time.sleep(0.01)
    assert not opened_files(tmp_path)


Get = Callable[..., Answer]


@pytest.fixture
def get(root: Path) -> Get:
    application = MediaMiddleware(
        inner, Location(url="/static/", root=root, precompressed=True, sandbox=False), chunk_size=32
    )

    def get(name: str, accept: bytes | None = None, method: str = "GET", **fields: str) -> Answer:
        headers = [(name.replace("_", "-").encode(), v.encode()) for name, v in fields.items()]
        if accept is not None:
            headers.append((b"accept-encoding", accept))
        answer = ask(application, f"/static/{name}", method, headers)
        assert answer.headers["vary"] == "Accept-Encoding"  # on every answer
        return answer

    return get


@pytest.mark.parametrize(
    ("accept", "coding", "body"),
    [
        (None, None, CSS),
        (b"", None, CSS),
        (b"*", None, CSS),
        (b"deflate", None, CSS),
        (b"gzip", "gzip", VARIANTS["gz"]),
        (b"gzip, br", "br", VARIANTS["br"]),
        (b"gzip, br;q=0.5", "gzip", VARIANTS["gz"]),
        (b"zstd", "zstd", VARIANTS["zst"]),
        (BROWSER, "br", VARIANTS["br"]),
        (b"identity;q=0, *", "br", VARIANTS["br"]),
        (b"identity;q=0", None, CSS),
        (b"*;q=0", None, CSS),
        (b"gzip;q=0", None, CSS),
    ],
)
def test_the_variant_that_the_client_prefers(
    get: Get, accept: bytes | None, coding: str | None, body: bytes
) -> None:
    for _ in range(3):  # remembered answers are the same
        for method in ("GET", "HEAD"):
            answer = get("app.css", accept, method)
            assert answer.status == 200
            assert answer.headers.get("content-encoding") == coding
            assert answer.headers["content-type"] == "text/css; charset=utf-8"
            assert answer.headers["content-length"] == str(len(body))
            assert answer.body == (body if method == "GET" else b"")


def test_a_file_without_variants(get: Get) -> None:
    for accept in (BROWSER, None, b"identity;q=0"):
        answer = get("plain.css", accept)
        assert answer.status == 200
        assert answer.body == CSS
        assert "content-encoding" not in answer.headers


def test_a_client_gets_the_next_best_variant(get: Get, root: Path) -> None:
    (root / "app.css.br").unlink()
    assert get("app.css", BROWSER).headers["content-encoding"] == "zstd"
    (root / "app.css.zst").unlink()
    assert get("app.css", BROWSER).headers["content-encoding"] == "gzip"
    (root / "app.css.gz").unlink()
    assert "content-encoding" not in get("app.css", BROWSER).headers
    put(root / "app.css.br", b"new")
    assert get("app.css", BROWSER).body == b"new"


def test_each_variant_has_a_tag_of_its_own(get: Get) -> None:
    tags = {get("app.css", accept).headers["etag"] for accept in (b"br", b"zstd", b"gzip", None)}
    assert len(tags) == 4
    assert all(tag[0] == tag[-1] == '"' for tag in tags)  # strong, for ranges


def test_conditions_are_about_the_variant(get: Get) -> None:
    tags = {accept: get("app.css", accept).headers["etag"] for accept in (b"br", b"gzip", None)}
    for accept, tag in tags.items():
        for other, asked_ in tags.items():
            answer = get("app.css", accept, if_none_match=asked_)
            assert answer.status == (304 if accept == other else 200)
            assert answer.headers["etag"] == tag
            if answer.status == 304:
                assert not {"content-encoding", "content-type"} & answer.headers.keys()
            answer = get("app.css", accept, if_match=asked_)
            assert answer.status == (200 if accept == other else 412)


def test_ranges_are_of_the_variant(get: Get) -> None:
    answer = get("app.css", b"gzip", range="bytes=5-9")
    assert answer.status == 206
    assert answer.body == VARIANTS["gz"][5:10]
    assert answer.has(content_range="bytes 5-9/60", content_encoding="gzip")
    tag = get("app.css", b"gzip").headers["etag"]
    assert get("app.css", b"gzip", range="bytes=5-9", if_range=tag).status == 206
    assert get("app.css", b"br", range="bytes=5-9", if_range=tag).body == VARIANTS["br"]
    answer = get("app.css", b"gzip", range="bytes=60-")
    assert answer.status == 416
    assert answer.headers["content-range"] == "bytes */60"
    assert "content-encoding" not in answer.headers
    assert get("app.css", None, range="bytes=60-").status == 206
    assert get("app.css", b"br", range="bytes=0-1,5-6").status == 206


def test_two_clients_in_turn_get_their_own(get: Get) -> None:
    tags: dict[bytes, set[str]] = {b"gzip": set(), b"br": set(), b"": set()}
    for _ in range(5):
        for accept, body in ((b"gzip", VARIANTS["gz"]), (b"br", VARIANTS["br"]), (b"", CSS)):
            answer = get("app.css", accept)
            assert answer.body == body
            tags[accept].add(answer.headers["etag"])
            assert get("app.css", accept, if_none_match=answer.headers["etag"]).status == 304
    assert all(len(one) == 1 for one in tags.values())


def test_two_clients_in_turn_are_remembered(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    application = MediaMiddleware(inner, Location(url="/static/", root=root, precompressed=True))
    described: list[object] = []
    describe = representation.describe

    def counted(*args: Any, **more: Any) -> representation.Representation:
        described.append(args)
        return describe(*args, **more)

    monkeypatch.setattr(known_files, "describe", counted)
    for _ in range(5):
        for accept in (b"gzip", b"br, gzip;q=0.5", b"br;q=1.0, gzip;q=0.1", b"identity"):
            ask(application, "/static/app.css", headers=[(b"accept-encoding", accept)])
    assert len(described) == 3


def test_values_that_clients_invent_are_not_remembered(root: Path) -> None:
    application = MediaMiddleware(inner, Location(url="/static/", root=root, precompressed=True))

    async def many() -> None:
        for number in range(300):
            accept = b"gzip, x%d" % number
            await asked(application, "/static/app.css", "GET", [(b"accept-encoding", accept)])

    asyncio.run(many())
    assert len(application._handlers[0]._known._files) == 1


@pytest.mark.parametrize(
    ("original", "variant", "served"),
    [
        (NOW, NOW, True),
        (NOW, NOW + 1, True),
        (NOW, NOW - 10**9, False),
        (NOW, NOW - 10**6, False),
        # As a float, which os.utime takes, and cut to a second, as an archive has it.
        (1_700_000_000_123_456_789, 1_700_000_000_123_456_600, True),
        (1_700_000_000_123_456_789, 1_700_000_000_000_000_000, True),
        (1_700_000_000_123_456_789, 1_699_999_999_000_000_000, False),
        # Builders set the time of each file to one of the first seconds.
        (1_000_000_000, 1_000_000_000, True),
        (NOW, 1_000_000_000, False),
        (1_000_000_000, NOW, True),
    ],
)
def test_a_variant_older_than_its_file_is_not_served(
    get: Get, root: Path, original: int, variant: int, served: bool
) -> None:
    put(root / "app.css", CSS, original)
    for ending, content in VARIANTS.items():
        put(root / f"app.css.{ending}", content, variant)
    for _ in range(2):
        answer = get("app.css", BROWSER)
        assert answer.body == (VARIANTS["br"] if served else CSS)
        assert ("content-encoding" in answer.headers) is served


def test_a_file_that_changes_leaves_its_variants(get: Get, root: Path) -> None:
    old = get("app.css", BROWSER)
    assert old.body == VARIANTS["br"]
    put(root / "app.css", b"new", NOW + 10**9)
    new = get("app.css", BROWSER, if_none_match=old.headers["etag"])
    assert (new.status, new.body) == (200, b"new")
    put(root / "app.css.gz", b"packed", NOW + 10**9)
    assert get("app.css", BROWSER).body == b"packed"
    assert get("app.css").body == b"new"


@pytest.mark.parametrize("accept", [None, b"gzip", BROWSER])
def test_a_variant_by_its_own_name_is_a_file(get: Get, accept: bytes | None) -> None:
    answer = get("app.css.gz", accept)
    assert answer.status == 200
    assert answer.body == VARIANTS["gz"]
    assert answer.headers["content-type"] == "application/gzip"
    assert "content-encoding" not in answer.headers
    # Also after it was asked for as a variant.
    assert get("app.css", b"gzip").headers["content-encoding"] == "gzip"
    assert "content-encoding" not in get("app.css.gz", accept).headers


def test_a_variant_without_its_file_is_none(get: Get, root: Path) -> None:
    (root / "app.css").unlink()
    assert get("app.css", BROWSER).status == 404
    assert get("app.css.br", BROWSER).status == 200


@pytest.mark.parametrize("kind", ["folder", "dangling", "outside", "fifo"])
def test_a_variant_that_is_not_a_file_below_the_root_is_none(
    get: Get, root: Path, kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    variant = root / "app.css.br"
    variant.unlink()
    if kind == "folder":
        variant.mkdir()
    elif kind == "fifo":
        os.mkfifo(variant)
    elif kind == "dangling":
        variant.symlink_to("missing")
    else:
        secret = tmp_path_factory.mktemp("outside") / "secret"
        put(secret, b"SECRET")
        variant.symlink_to(secret)
    assert get("app.css", b"br").body == CSS
    assert get("app.css", BROWSER).headers["content-encoding"] == "zstd"


def test_errors_vary_by_the_coding_too(get: Get) -> None:
    assert get("missing.css", BROWSER).status == 404
    assert get("app.css", BROWSER, "POST").status == 405


def test_a_location_without_variants_has_none(root: Path) -> None:
    application = MediaMiddleware(inner, Location(url="/media/", root=root))
    answer = ask(application, "/media/app.css", headers=[(b"accept-encoding", BROWSER)])
    assert answer.body == CSS
    assert not {"vary", "content-encoding"} & answer.headers.keys()


def test_an_answer_that_depends_on_the_origin_too_says_so_in_one_line(root: Path) -> None:
    location = Location(url="/s/", root=root, precompressed=True, cors=["https://a.example"])
    application = MediaMiddleware(inner, location)
    for path in ("/s/app.css", "/s/missing"):
        answer = ask(application, path, headers=[(b"accept-encoding", b"br")])
        assert answer.headers["vary"] == "Accept-Encoding, Origin"


def test_a_file_that_is_handed_over_has_variants(root: Path) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"x-accel-redirect", b"/private/app.css"), (b"content-encoding", b"gzip")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    private = Location(url="/private/", root=root, access="internal", precompressed=True)
    served = MediaMiddleware(application, private)
    answer = ask(served, "/x", headers=[(b"accept-encoding", b"br")])
    assert (answer.body, answer.headers["content-encoding"]) == (VARIANTS["br"], "br")
    answer = ask(served, "/x")
    assert answer.body == CSS
    assert "content-encoding" not in answer.headers
    assert answer.headers["vary"] == "Accept-Encoding"


def test_variants_of_a_store_are_refused() -> None:
    from django.core.files.storage import InMemoryStorage

    from media_asgi.sources.django_storage import StorageSource

    with pytest.raises(ImproperlyConfigured, match=r"precompressed of .*'/s/'.*store.*Leave"):
        Location(url="/s/", source=StorageSource(InMemoryStorage()), precompressed=True)
