"""
Options of locations by Django's settings: ``MEDIA_ROOT``, ``STATIC_ROOT``, and the storages of
``STORAGES``. Each function gets those that the project gives, and returns the others.

Django resolves a relative ``MEDIA_URL`` against the current script name, and keeps the result. It
is dropped here, so that a request gets one with its own script name.
"""

import inspect
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import FileSystemStorage, storages

from .conf_urls import own_host, split_url
from .manifest import ManifestNames
from .options import Options
from .sources.base import Source
from .sources.django_storage import StorageSource, kind_and_class, reads_by_itself
from .storage import ServedStorage, SignedMediaStorage


def media(given: Options) -> Options:
    found = _url_and_root("MEDIA", "the uploads", "media", given)
    vars(settings).pop("MEDIA_URL", None)
    return found


def static(given: Options) -> Options:
    found = _url_and_root("STATIC", "collectstatic", "staticfiles", given)
    if "immutable" not in given:
        found["immutable"] = ManifestNames()  # reads STATIC_URL
    vars(settings).pop("STATIC_URL", None)
    return {**found, "access": "public", "sandbox": False, "precompressed": True}


def _url_and_root(kind: str, content: str, folder: str, given: Options) -> Options:
    root = getattr(settings, f"{kind}_ROOT")
    if not root:
        # Django's default of MEDIA_ROOT is "". As a path that is the current folder, with the
        # settings and the database.
        raise ImproperlyConfigured(
            f"{kind}_ROOT is not set, so there is nothing to serve. Set it to the folder of "
            f'{content}, such as {kind}_ROOT = BASE_DIR / "{folder}".'
        )
    url = getattr(settings, f"{kind}_URL")
    has_host = given.get("host") or own_host(url or "")
    if not has_host and split_url(url or "").path in ("", "/"):
        raise ImproperlyConfigured(
            f"{kind}_URL is {url!r}, so every page of the site would be taken for a file. Set it "
            f'to a path of its own, such as {kind}_URL = "/{kind.lower()}/".'
        )
    return {"url": url, "root": root}


def storage(alias: str, given: Options) -> Options:
    storage: Any = storages[alias]
    found: Options = {}
    if isinstance(storage, ServedStorage | SignedMediaStorage):
        if storage.signed:
            found["access"] = "signed"
        if isinstance(storage.host, str):
            found["host"] = storage.host
    if isinstance(storage, FileSystemStorage) and not reads_by_itself(storage, FileSystemStorage):
        _refuse_tenants(storage, alias)
        if not storage.base_location:
            raise ImproperlyConfigured(
                f"STORAGES[{alias!r}] lacks a location, and MEDIA_ROOT is not set, so there is "
                'nothing to serve. Set MEDIA_ROOT = BASE_DIR / "media", or location in its OPTIONS.'
            )
        if storage.base_url is None:
            raise ImproperlyConfigured(
                f"STORAGES[{alias!r}] lacks a base_url. Set it in its OPTIONS, such as "
                '"base_url": "/files/".'
            )
        found["url"], found["root"] = storage.base_url, storage.location
    else:
        found["url"] = getattr(storage, "base_url", None) or settings.MEDIA_URL
        found["source"] = _source(storage, alias, given.get("credentials"))
    vars(storage).pop("base_url", None)  # may come from MEDIA_URL
    vars(settings).pop("MEDIA_URL", None)
    return found


def _refuse_tenants(storage: Any, alias: str) -> None:
    for name in ("base_location", "location", "bucket_name", "azure_container"):
        # FileSystemStorage has a cached_property, which is one folder for all requests.
        if isinstance(inspect.getattr_static(type(storage), name, None), property):
            raise ImproperlyConfigured(
                f"STORAGES[{alias!r}] is a {type(storage).__name__}, which works out its "
                f"{name} each time, as for the current tenant. All clients would get the files "
                "of the first. Give Location(url=..., host='.example.com', root=callable), "
                "whose callable returns the folder of a host; or, for a bucket, a location for "
                "each host: Location(url=..., host='a.example.com', root='s3://bucket/a')."
            )


def _source(storage: Any, alias: str, credentials: Any) -> Source:
    kind, base = kind_and_class(storage)
    if kind is None or reads_by_itself(storage, base):
        return StorageSource(storage)
    _refuse_tenants(storage, alias)
    from .sources.object_settings import from_storage  # requires obstore

    return from_storage(storage, f"STORAGES[{alias!r}]", credentials)
