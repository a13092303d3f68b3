"""
Locations of Django's settings: ``MEDIA_ROOT``, ``STATIC_ROOT``, and the storages of ``STORAGES``.

``cls`` is ``Location``, or a subclass of it.
"""

import inspect
from functools import partial
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from . import conf_urls
from .manifest import ManifestNames
from .options import Options
from .sources.base import Source


def media(cls: Any, options: Options) -> Any:
    url, root = conf_urls.url_and_root("MEDIA", "the uploads", "media", options.get("host"))
    # Django resolves a relative MEDIA_URL against the current script name, and keeps the
    # result. Drop it, so that a request gets one with its own script name.
    vars(settings).pop("MEDIA_URL", None)
    found: Options = {"url": url, "root": root}
    location = cls(**(found | options))
    object.__setattr__(location, "remake", partial(cls.media, **options))
    return location


def static(cls: Any, options: Options) -> Any:
    remake = partial(cls.static, **options)
    url, root = conf_urls.url_and_root(
        "STATIC", "collectstatic", "staticfiles", options.get("host")
    )
    found: Options = {
        "url": url,
        "root": root,
        "access": "public",
        "sandbox": False,
        "precompressed": True,
    }
    if "immutable" not in options:
        found["immutable"] = ManifestNames()
    vars(settings).pop("STATIC_URL", None)  # for the same reason as in `media`
    location = cls(**(found | options))
    object.__setattr__(location, "remake", remake)
    return location


def storage(cls: Any, alias: str, options: Options) -> Any:
    from django.core.files.storage import FileSystemStorage, storages

    from .sources.django_storage import reads_by_itself
    from .storage import ServedStorage, SignedMediaStorage

    remake = partial(cls.storage, alias, **options)
    storage = storages[alias]
    if isinstance(storage, ServedStorage | SignedMediaStorage):
        if storage.signed:
            options.setdefault("access", "signed")
        if isinstance(storage.host, str):
            options.setdefault("host", storage.host)
    if not isinstance(storage, FileSystemStorage) or reads_by_itself(storage, FileSystemStorage):
        url = getattr(storage, "base_url", None) or settings.MEDIA_URL
        vars(storage).pop("base_url", None)  # as below
        vars(settings).pop("MEDIA_URL", None)
        source = _source(storage, alias, options.get("credentials"))
        stored: Options = {"url": url, "source": source}
        location = cls(**(stored | options))
        object.__setattr__(location, "alias", alias)
        object.__setattr__(location, "remake", remake)
        return location
    _refuse_tenants(storage, alias)
    if not storage.base_location:
        raise ImproperlyConfigured(
            f"STORAGES[{alias!r}] lacks a location, and MEDIA_ROOT is not set, so there is "
            'nothing to serve. Set MEDIA_ROOT = BASE_DIR / "media", or location in its OPTIONS.'
        )
    url = storage.base_url
    # For the same reason as in `media`: base_url may come from MEDIA_URL.
    vars(storage).pop("base_url", None)
    vars(settings).pop("MEDIA_URL", None)
    if url is None:
        raise ImproperlyConfigured(
            f"STORAGES[{alias!r}] lacks a base_url. Set it in its OPTIONS, such as "
            '"base_url": "/files/".'
        )
    found: Options = {"url": url, "root": storage.location}
    location = cls(**(found | options))
    object.__setattr__(location, "remake", remake)
    return location


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
    from .sources.django_storage import StorageSource, kind_and_class, reads_by_itself

    kind, base = kind_and_class(storage)
    if kind is None or reads_by_itself(storage, base):
        return StorageSource(storage)
    _refuse_tenants(storage, alias)
    from .sources.object_settings import from_storage

    return from_storage(storage, f"STORAGES[{alias!r}]", credentials)
