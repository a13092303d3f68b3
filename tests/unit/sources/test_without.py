"""A location over a bucket doesn't give what a more restricted location has of the same bucket."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from obstore.store import AzureStore, MemoryStore, S3Store

from media_asgi import DiskCache, Location, MediaMiddleware, signing
from media_asgi.sources.base import WHOLE, FileMissingError, SourceUnreachableError, Wanted
from media_asgi.sources.objects import ObjectSource
from media_asgi.sources.without import WithoutPrefixes

from ...objects.raw import RawStore, raw_store, send_object
from ..support import asked

CONTENT = b"an object"


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    settings.SECRET_KEY = "x" * 50


def bucket(prefix: str = "", *, name: str = "media", own: str | None = None, **more: Any) -> Any:
    return ObjectSource(lambda: S3Store(name, prefix=own, **more), prefix)


class Everything:
    """A source that has a file of each name, at once."""

    def version_nowait(self, name: bytes) -> int:
        return 1

    def open_nowait(self, name: bytes, wanted: Wanted) -> Any:
        return name

    async def open(self, name: bytes, wanted: Wanted) -> Any:
        return name


def is_served(source: WithoutPrefixes, name: bytes) -> bool:
    answers = [source.version_nowait(name) is not None]
    for call in (lambda: source.open_nowait(name, WHOLE), lambda: asyncio.run(open_(source, name))):
        try:
            answers.append(call() is not None)
        except FileMissingError:
            answers.append(False)
    assert len({*answers}) == 1
    return answers[0]


async def open_(source: WithoutPrefixes, name: bytes) -> Any:
    return await source.open(name, WHOLE)


MEMORY = MemoryStore()


@pytest.mark.parametrize(
    ("root", "other"),
    [
        (bucket(), bucket("private")),
        (bucket("pre"), bucket("pre/private/")),
        (bucket("pre"), bucket("private", own="pre")),
        (bucket(own="pre"), bucket("/pre/private/")),
        (bucket("fix", own="pre"), bucket("x", own="pre/fix/private")),
        (bucket(), bucket("private", endpoint="https://store.example")),
        (bucket(endpoint="https://a.example"), bucket("private", endpoint="https://b.example")),
        (ObjectSource(S3Store("media")), bucket("private")),
        (bucket(), ObjectSource(S3Store("media", prefix="private"))),
        (ObjectSource(S3Store.from_url("s3://media")), bucket("private")),
        (
            ObjectSource(S3Store.from_url("https://media.s3.eu-west-1.amazonaws.com")),
            bucket("private"),
        ),
        (
            ObjectSource(AzureStore("media", account_name="a")),
            ObjectSource(AzureStore.from_url("az://media", account_name="a"), "private"),
        ),
        (ObjectSource(MEMORY), ObjectSource(MEMORY, "private")),
    ],
)
def test_one_bucket_that_is_named_in_two_ways(root: Any, other: Any) -> None:
    source = WithoutPrefixes(Everything(), root, [other])
    for name in (b"private/x/a.txt", b"private\\x\\a.txt", b"private/x\\a.txt"):
        assert not is_served(source, name)
    for name in (b"a.txt", b"private", b"private.txt", b"x/private/a.txt"):
        assert is_served(source, name)


@pytest.mark.parametrize(
    ("root", "other"),
    [
        (bucket(), bucket("private", name="other")),
        (bucket(), bucket()),
        (bucket("private"), bucket("private")),
        (bucket("private"), bucket()),
        (bucket("private/x"), bucket("private")),
        (bucket("pre"), bucket("prefix/private")),
        (ObjectSource(MemoryStore()), ObjectSource(MEMORY, "private")),
    ],
)
def test_what_is_not_below_the_root_excludes_nothing(root: Any, other: Any) -> None:
    source = WithoutPrefixes(Everything(), root, [other])
    for name in (b"a.txt", b"private/a.txt", b"fix/private/a.txt"):
        assert is_served(source, name)


def test_while_a_store_cannot_be_made_nothing_is_served() -> None:
    def fail() -> Any:
        raise ValueError("no such profile")

    source = WithoutPrefixes(Everything(), bucket(), [ObjectSource(fail)])
    for _ in range(2):
        with pytest.raises(SourceUnreachableError):
            source.open_nowait(b"a.txt", WHOLE)


def test_no_two_buckets_have_one_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = [
        *(bucket(), bucket("a"), bucket(name="other"), bucket(endpoint="https://store.example")),
        bucket(region="cn-north-1"),
        ObjectSource(AzureStore("media", account_name="a")),
        ObjectSource(AzureStore("media", account_name="b")),
        *(ObjectSource(MEMORY), ObjectSource(MEMORY, "a"), ObjectSource(MemoryStore())),
    ]
    identities = [one.identity for one in sources]
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://other.example")
    identities.append(bucket().identity)
    monkeypatch.setenv("AWS_REGION", "us-gov-west-1")
    identities.append(bucket().identity)
    assert len({*identities}) == len(identities)
    assert bucket("a").identity == bucket("/a/").identity == bucket(own="a").identity


def test_a_store_whose_configuration_cannot_be_told_is_refused_at_start() -> None:
    with pytest.raises(ImproperlyConfigured, match="client_options"):
        ObjectSource(S3Store("media", allow_http=True))


# Behind locations


@pytest.fixture
def raw() -> Iterator[RawStore]:
    with raw_store(lambda client, request: send_object(client, request, CONTENT)) as store:
        yield store


def source(raw: RawStore, prefix: str = "") -> ObjectSource:
    return ObjectSource(
        S3Store("media", **raw.config(), client_options={"allow_http": True}), prefix
    )


async def status(application: Any, path: str) -> int | None:
    path, _, query = path.partition("?")
    return (await asked(application, path, headers=[], query_string=query.encode())).status


def test_a_source_that_two_locations_have_is_whole_in_the_restricted_one(
    raw: RawStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", raw.url)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    shared = source(raw)
    application: Any = MediaMiddleware(
        lambda *_: None,  # type: ignore[arg-type]
        Location(url="/media/", source=shared),
        Location(url="/all/", source=shared, access="signed"),
        Location(url="/private/", root="s3://media/private", access="signed"),
    )

    async def main() -> None:
        assert await status(application, "/media/a.txt") == 200
        assert await status(application, "/media/private/a.txt") == 404
        assert await status(application, "/private/a.txt") == 403
        assert await status(application, signing.sign_url("/private/a.txt")) == 200
        assert await status(application, signing.sign_url("/all/private/a.txt")) == 200

    asyncio.run(main())
    assert [one.path for one in raw.requests] == ["/media/a.txt", *["/media/private/a.txt"] * 2]


@pytest.mark.parametrize("immutable", [r".*", None])
def test_a_cached_object_of_a_restricted_location_stays_out(
    raw: RawStore, tmp_path: Path, immutable: str | None
) -> None:
    """Though the same cache has it under the same name: of a time before the other location."""
    cache = DiskCache(tmp_path / "cache", 2**20, stale_if_error=3600)

    def application(*more: Location) -> Any:
        media = Location(url="/media/", source=source(raw), cache=cache, immutable=immutable)
        return MediaMiddleware(lambda *_: None, media, *more)  # type: ignore[arg-type]

    async def main() -> None:
        before = application()
        assert await status(before, "/media/private/a.txt") == 200
        deadline = time.monotonic() + 60
        while not cached():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        after = application(
            Location(url="/private/", source=source(raw, "private"), access="internal")
        )
        for _ in range(2):
            assert await status(after, "/media/private/a.txt") == 404
            assert await status(before, "/media/private/a.txt") == 200

    def cached() -> list[Path]:
        """What is known of objects in the cache."""
        return [one for one in (tmp_path / "cache").glob("*") if len(one.name) == 64]

    asyncio.run(main())
