"""The storage whose URLs are signed: as Django's storages, fields, templates and migrations go."""

import functools
import io
import math
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import pytest
from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, SuspiciousFileOperation
from django.core.files.base import ContentFile
from django.core.files.images import ImageFile
from django.core.files.storage import FileSystemStorage, Storage, StorageHandler, storages
from django.core.signing import BadSignature
from django.db import models
from django.db.migrations.writer import MigrationWriter
from django.template import Context, Engine
from django.test import override_settings
from django.urls import set_script_prefix
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from storages.backends.s3 import S3Storage

import media_asgi.storage
from media_asgi import Location, signing
from media_asgi.signing import Grant, verify
from media_asgi.sources.django_storage import StorageSource
from media_asgi.storage import ServedStorage, SignedMediaStorage

BACKEND = "media_asgi.storage.SignedMediaStorage"


def shout(name: str) -> str | bool:
    return name.rpartition("/")[2].upper() if name.endswith(".txt") else False


@pytest.fixture(autouse=True, scope="module")
def _django() -> None:
    settings.SECRET_KEY = "storage" * 8  # override_settings could not go back to having none
    if not apps.ready:
        apps.populate(settings.INSTALLED_APPS)


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    # The same second all along, so that two links to one file are the same.
    sign = functools.partial(signing.sign_url, now=1000)
    monkeypatch.setattr(media_asgi.storage, "sign_url", sign)


def check(url: str) -> Grant:
    parts = urlsplit(url)
    path = unquote_to_bytes(parts.path).decode("utf-8", "surrogateescape")
    return verify(path, parts.query.encode(), now=1000)


@pytest.mark.parametrize(
    ("options", "overrides", "grant"),
    [
        ({}, {}, Grant(4600, False)),
        ({"expires_in": 60}, {}, Grant(1060, False)),
        ({"expires_in": timedelta(hours=2)}, {}, Grant(8200, False)),
        ({"expires_in": 60}, {"expires_in": 5.5}, Grant(1006, False)),
        ({"window": 1000}, {}, Grant(5000, False)),
        ({"window": timedelta(minutes=10)}, {"expires_in": 60}, Grant(1200, False)),
        ({"download": True}, {}, Grant(4600, True)),
        ({"download": True}, {"download": False}, Grant(4600, False)),
        ({"download": True}, {"download": "b.txt"}, Grant(4600, "b.txt")),
        ({"download": None}, {"download": True}, Grant(4600, True)),
        ({"download": "b.txt"}, {}, Grant(4600, "b.txt")),
        ({"download": shout}, {}, Grant(4600, "Ä B.TXT")),
        ({"download": shout}, {"download": True}, Grant(4600, True)),
    ],
)
def test_options(options: dict[str, Any], overrides: dict[str, Any], grant: Grant) -> None:
    storage = SignedMediaStorage("/srv/files", "/files/", **options)
    url = storage.url("2024/ä b.txt", **overrides)
    assert url.startswith("/files/2024/%C3%A4%20b.txt?media-expires=")
    assert check(url) == grant


@pytest.mark.parametrize(
    ("options", "cure"),
    [
        *(
            ({"expires_in": value}, "expires_in is .*Give a number of seconds, above 0")
            for value in (0, -1, math.nan, math.inf, "3600", None, True, timedelta(0))
        ),
        *(
            ({"window": value}, "window is .*Give a number of seconds, 0 or more")
            for value in (-1, math.nan, "600", None, timedelta(-1))
        ),
        *(({"download": value}, "download is .*Give") for value in ("", 1, b"a", "\ud800")),
        ({"base_url": "files/"}, 'base_url is .*Give a path such as "/private/"'),
        ({"base_url": ""}, "base_url is .*Give"),
    ],
)
def test_what_cannot_be_meant(options: dict[str, Any], cure: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"^SignedMediaStorage: {cure}"):
        SignedMediaStorage(**options)


@pytest.mark.parametrize("overrides", [{"expires_in": 0}, {"expires_in": "60"}, {"download": ""}])
def test_overrides_that_cannot_be_meant(overrides: dict[str, Any]) -> None:
    storage = SignedMediaStorage("/srv/files", "/files/", download=True)
    with pytest.raises(ValueError, match="Give"):
        storage.url("a.txt", **overrides)


@pytest.mark.parametrize(
    "name", ["../a.txt", "a/../../b.txt", "..", "..\\a.txt", "/../a.txt", "./../a.txt"]
)
def test_a_name_that_climbs_is_not_signed(name: str) -> None:
    with pytest.raises(SuspiciousFileOperation):
        SignedMediaStorage("/srv/files", "/files/").url(name)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_any_name_has_the_url_that_a_file_system_storage_gives(name: str) -> None:
    signed = SignedMediaStorage("/srv/files", "/files/")
    plain = FileSystemStorage("/srv/files", "/files/").url(name)
    try:
        url = signed.url(name)
    except SuspiciousFileOperation:
        assert not plain.startswith("/files/")
    else:
        assert url.startswith(plain + "?media-expires=4600&media-signature=")
        assert check(url) == Grant(4600, False)


# With Django


def test_in_storages(tmp_path: Path) -> None:
    # django-stubs has the storages themselves here.
    backends: Any = {
        "private": {
            "BACKEND": BACKEND,
            "OPTIONS": {
                "location": tmp_path,
                "base_url": "/private",
                "expires_in": 600,
                "window": 600,
                "download": True,
                "file_permissions_mode": 0o600,
                "allow_overwrite": True,
            },
        }
    }
    storage = StorageHandler(backends)["private"]
    name = storage.save("a/ü.txt", ContentFile(b"1"))
    assert storage.save("a/ü.txt", ContentFile(b"22")) == name == "a/ü.txt"
    path = tmp_path / "a" / "ü.txt"
    assert path.read_bytes() == b"22"
    assert path.stat().st_mode & 0o777 == 0o600
    assert storage.url(name).startswith("/private/a/%C3%BC.txt?media-expires=1800&media-download=&")


def test_settings_that_change(tmp_path: Path) -> None:
    storage = SignedMediaStorage()
    for folder, url in [
        ("one", "/one/"),
        ("two", "https://cdn.test/two/"),
        ("three", "//c.test/3/"),
    ]:
        with override_settings(MEDIA_ROOT=tmp_path / folder, MEDIA_URL=url, SECRET_KEY=folder):
            assert storage.path("a.txt") == str(tmp_path / folder / "a.txt")
            assert storage.url("a.txt").startswith(f"{url}a.txt?media-expires=")
            assert check(storage.url("a.txt")) == Grant(4600, False)


def test_beneath_a_script_name() -> None:
    with override_settings(MEDIA_URL="media/"):
        set_script_prefix("/app/")
        try:
            url = SignedMediaStorage().url("a.txt")
        finally:
            set_script_prefix("/")
    assert url.startswith("/app/media/a.txt?")
    query = urlsplit(url).query.encode()
    assert verify("/media/a.txt", query, aliases=["/app/media/a.txt"], now=1000).expires == 4600


def test_as_a_location(tmp_path: Path) -> None:
    options = {"location": tmp_path, "base_url": "/private/"}
    with override_settings(STORAGES={"private": {"BACKEND": BACKEND, "OPTIONS": options}}):
        location = Location.storage("private", access="signed")
        assert (location.prefix, location.root) == ("/private/", str(tmp_path))
        assert storages["private"].url("a.txt").startswith(location.prefix)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"expires_in": 60, "window": 10.5, "download": True},
        {"expires_in": timedelta(hours=2), "window": timedelta(minutes=1), "download": "a.txt"},
        {"download": shout, "allow_overwrite": True},
    ],
)
def test_in_a_migration(options: dict[str, Any]) -> None:
    storage = SignedMediaStorage("/srv/files", "/files/", **options)
    field = models.FileField(storage=storage)
    source, imports = MigrationWriter.serialize(field)
    assert f"{BACKEND}(" in source
    scope: dict[str, Any] = {}
    for line in imports:
        exec(line, scope)  # as a migration file is run
    again = eval(source, {"models": models} | scope)
    assert isinstance(again.storage, SignedMediaStorage)
    assert again.storage.deconstruct() == storage.deconstruct()
    assert again.storage.url("x/a.txt") == storage.url("x/a.txt")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("private")
    fields = {
        "file": models.FileField(storage=SignedMediaStorage(root, "/private/", window=600)),
        "picture": models.ImageField(
            storage=lambda: SignedMediaStorage(root, "/pictures/", download=True),
            width_field="width",
            height_field="height",
        ),
        "width": models.IntegerField(null=True),
        "height": models.IntegerField(null=True),
    }
    meta = type("Meta", (), {"app_label": "unit"})
    return type("Document", (models.Model,), {"__module__": __name__, "Meta": meta} | fields)


@pytest.fixture
def document(model: Any) -> Iterator[Any]:
    picture = io.BytesIO()
    Image.new("RGB", (3, 2)).save(picture, "png")
    document = model(picture=ImageFile(picture, "dot.png"))
    document.file.save("a & b's.txt", ContentFile(b"text"), save=False)
    document.picture.save("dot.png", document.picture, save=False)
    yield document
    document.file.close()
    document.picture.close()


def test_fields(document: Any) -> None:
    assert (document.width, document.height) == (3, 2)
    assert (document.picture.width, document.picture.height) == (3, 2)
    assert document.file.read() == b"text"
    assert document.file.size == 4
    assert check(document.file.url) == Grant(4800, False)
    assert check(document.picture.url) == Grant(4600, True)


def test_templates(document: Any) -> None:
    html = (
        Engine()
        .from_string('<a href="{{ document.file.url }}">')
        .render(Context({"document": document}))
    )
    url = html.removeprefix('<a href="').removesuffix('">')
    # As a browser reads an attribute: "&amp;" is "&".
    assert check(url.replace("&amp;", "&").replace("&#x27;", "'")) == Grant(4800, False)


class Elsewhere(Storage):
    """A storage whose links lead to a store."""

    def __init__(self, bucket: str = "b") -> None:
        self.bucket = bucket

    def url(self, name: str | None, parameters: Any = None) -> str:
        return f"https://{self.bucket}.example/{name}"


class Served(ServedStorage, Elsewhere):
    pass


def test_links_of_a_served_storage_lead_to_the_middleware() -> None:
    with override_settings(MEDIA_URL="/media/"):
        assert Served("b").url("a b/ö.txt") == "/media/a%20b/%C3%B6.txt"
        assert Served("b").url("a.txt", parameters={"x": 1}) == "/media/a.txt"
    storage = Served(bucket="c", base_url="https://cdn.example/files")
    assert storage.bucket == "c"
    assert storage.url("a.txt") == "https://cdn.example/files/a.txt"
    for name in ("../a.txt", "a/../../b.txt", "..\\a.txt"):
        with pytest.raises(SuspiciousFileOperation):
            storage.url(name)


def test_links_of_a_signed_served_storage_are_signed() -> None:
    storage = Served(base_url="/private/", signed=True, expires_in=60, download=shout)
    url = urlsplit(storage.url("a/b.txt"))
    grant = verify(url.path, url.query.encode(), now=1000)
    assert grant.download == "B.TXT"
    with pytest.raises(ImproperlyConfigured, match="Served: expires_in"):
        Served(expires_in=-1)
    with pytest.raises(ImproperlyConfigured, match="Served: base_url"):
        Served(base_url="private/")


def test_a_location_of_a_served_storage() -> None:
    backend = f"{__name__}.Served"
    served = {"default": {"BACKEND": backend, "OPTIONS": {"base_url": "/private/", "signed": True}}}
    with override_settings(STORAGES=served, MEDIA_URL="/media/"):
        location = Location.storage()
        assert (location.prefix, location.access) == ("/private/", "signed")
        assert Location.storage(access="public").access == "public"
    with override_settings(STORAGES={"default": {"BACKEND": backend}}, MEDIA_URL="/media/"):
        location = Location.storage()
        assert (location.prefix, location.access) == ("/media/", "public")


@pytest.mark.parametrize(
    ("options", "host"),
    [
        ({"base_url": "https://media.example.com/"}, "media.example.com"),
        ({"base_url": "/m/", "host": "a.example"}, "a.example"),
        ({"base_url": "/m/", "host": lambda: "b.example"}, "b.example"),
        ({"base_url": "https://cdn.example/m/"}, None),
    ],
)
def test_links_are_signed_for_the_host_of_the_location(
    options: dict[str, Any], host: str | None, tmp_path: Path
) -> None:
    for storage in (SignedMediaStorage(tmp_path, **options), Served(signed=True, **options)):
        parts = urlsplit(storage.url("a.txt"))
        verify(parts.path, parts.query.encode(), host=host, now=1000)
        for other in {"other.example", "a.example", None} - {host}:
            with pytest.raises(BadSignature):
                verify(parts.path, parts.query.encode(), host=other, now=1000)


class OnDisk(ServedStorage, FileSystemStorage):
    pass


class Sealed(FileSystemStorage):
    """Its files are not what lies in its folder."""

    def _open(self, name: str, mode: str = "rb") -> Any:
        with super()._open(name, mode) as file:  # type: ignore[misc]
            return ContentFile(file.read()[::-1])


class Spread(FileSystemStorage):
    def path(self, name: str) -> str:
        return super().path(f"{name[:1]}/{name}")


class SealedAndSigned(Sealed, SignedMediaStorage):
    pass


class SealedBucket(S3Storage):  # type: ignore[misc]
    _open = Sealed._open


class SpreadBucket(S3Storage):  # type: ignore[misc]
    def _normalize_name(self, name: str) -> str:
        return f"{name[:1]}/{super()._normalize_name(name)}"


class TenantBucket(S3Storage):  # type: ignore[misc]
    @property
    def location(self) -> str:
        return "tenant"


KEYS = {"bucket_name": "b", "access_key": "key", "secret_key": "secret"}


def backend(kind: type, **options: Any) -> dict[str, Any]:
    return {"default": {"BACKEND": f"{__name__}.{kind.__name__}", "OPTIONS": options}}


@pytest.mark.parametrize("kind", [SignedMediaStorage, SealedAndSigned])
def test_a_storage_that_signs_is_never_public_by_itself(kind: type, tmp_path: Path) -> None:
    options = {"location": str(tmp_path), "base_url": "https://m.example/"}
    with override_settings(STORAGES=backend(kind, **options)):
        location = Location.storage()
        assert (location.access, location.host, location.prefix) == ("signed", "m.example", "/")
    with override_settings(STORAGES=backend(OnDisk, signed=True, host="h.example", **options)):
        location = Location.storage()
        assert (location.access, location.host) == ("signed", "h.example")


@pytest.mark.parametrize("kind", [Sealed, Spread, SealedAndSigned])
def test_a_storage_of_a_folder_that_opens_its_files_by_itself_does_so(
    kind: type, tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    for path in ("a.txt", "a/a.txt"):
        (tmp_path / path).write_bytes(b"within")
    options = {"location": str(tmp_path), "base_url": "/m/"}
    with override_settings(STORAGES=backend(kind, **options)):
        [source] = Location.storage().roots
        assert isinstance(source, StorageSource)


@pytest.mark.parametrize("kind", [SealedBucket, SpreadBucket])
def test_a_storage_of_a_bucket_that_opens_its_files_by_itself_does_so(kind: type) -> None:
    with override_settings(STORAGES=backend(kind, **KEYS), MEDIA_URL="/media/"):
        [source] = Location.storage().roots
        assert isinstance(source, StorageSource)


def test_a_bucket_of_the_current_tenant_is_refused() -> None:
    with override_settings(STORAGES=backend(TenantBucket, **KEYS), MEDIA_URL="/media/"):
        with pytest.raises(ImproperlyConfigured, match=r"the current tenant.*root='s3://"):
            Location.storage()
