"""
A location: a URL prefix, the folder that it serves, and its options; or one file with its URL.
"""

import copy
import inspect
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, Literal, Self, Unpack

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from . import conf
from .access import Access, access_policy
from .access.base import AccessPolicy
from .http.cors import CORS
from .manifest import ManifestNames
from .options import Options, Root
from .signing import seconds
from .sources.base import Source
from .sources.disk_cache import DiskCache

FOREVER = "max-age=31536000, immutable"


@dataclass(frozen=True, kw_only=True)
class Location:
    """Serves the files of one folder under one URL, or one file.

    ``url``: the prefix of the files' URLs, such as ``"/media/"``. The path of a full URL counts. It
    is percent-decoded.

    ``root``: the folder, a ``str`` or a ``Path``. It may be a link. It may be created later. Or the
    path of a file, which this URL alone gives, such as ``url="/robots.txt"``. A file that is not
    there yet is known by the ending, which ``url`` must have too. One file is always public.

    Or a bucket, ``"s3://bucket/prefix"`` (``gs://``, ``az://``), with credentials from the
    environment. Or a list of roots: the first that has a file serves it.

    Or a callable that gets the request's host and returns the folder for it, or ``None``: then the
    host has no files. It runs in a thread, and its result counts for some seconds. It requires
    ``host``, and gets only names whose labels are letters, digits and inner hyphens.

    ``host``: the host that the location answers, and no other: ``"media.example.com"``, or
    ``".example.com"`` for all names below a domain, as in ``ALLOWED_HOSTS``. Its port doesn't
    count. With it, ``url`` may be ``"/"``: then nothing on that host reaches the application. By
    default the host of a full URL whose path is ``/``, else ``None``: all hosts.

    ``source``: in place of ``root``, such as ``ObjectSource(store)``.

    ``credentials``: ``"instance"`` lets a bucket be read with the role of the machine.

    ``access``: who may have the files. ``"public"``: all clients. ``"internal"``: clients don't
    reach them, and the application hands them over with ``X-Accel-Redirect`` or ``X-Sendfile``.
    ``"signed"``: clients with a link from ``media_asgi.signing``. Or a predicate. By default
    ``"public"``, but if LoginRequiredMiddleware is installed there is not a default.

    A predicate is a callable, sync or async, of Django's request and the path below the root.
    Django calls it like a view, inside the project's middleware. It returns ``True``, ``False``
    (403), or an ``HttpResponse`` that the client gets instead. It may raise what a view may raise.
    With ``media_asgi.access.authenticated``, users who are logged in may have the files.

    ``cache_control``: the ``Cache-Control`` of the files (RFC 9111 section 5.2.2), or a callable
    that gets the path and returns it. By default ``"no-cache"`` if the location is public: a cache
    keeps a file, and asks each time if it has changed. Else the default is ``"private, no-cache"``,
    and ``private`` is added to a value that lacks it.

    ``immutable``: a regular expression that is searched in the path. A file that it matches never
    changes, and caches keep it for a year. By default ``None``: every file may change.
    ``Location.static()`` takes the names in the manifest of the static files' storage.

    ``headers``: a mapping of names to values, more headers of each file; or a callable that gets
    the path and returns one. By default ``None``.

    A callable for ``cache_control`` or ``headers`` sees the path alone. It runs on the event loop
    and must not wait. To look something up in a database, hand the file over from a view.

    ``content_types``: a mapping of endings to media types, such as ``{".log": "text/plain"}``. It
    comes before the table of ``http/media_types.py``. By default ``None``.

    ``follow_symlinks``: follow links that leave the root. A list names the absolute folders into
    which such links may lead. By default ``False``. Links that stay below the root always work.

    ``dotfiles``: serve names that begin with a dot: all of them, or the names in a list, such as
    ``[".well-known"]``. By default ``False``.

    ``sandbox``: keep files that a browser would run, such as HTML and SVG, from running in the
    site's origin when they are opened as a page. By default ``True``.

    ``fallthrough``: call the application if the file does not exist. By default ``False``.

    ``login_redirect``: if a predicate returns ``False`` and the user is not logged in, redirect to
    ``LOGIN_URL`` as ``login_required`` does, instead of answering 403. By default ``False``.

    ``error_pages``: answer 403 and 404 by Django's own error handlers and templates, if the client
    accepts HTML. The exception of an expired link says so, and its ``__cause__`` is Django's
    ``SignatureExpired``. By default ``False``: a line of text.

    ``cors``: a list of the origins whose scripts may read the files, such as
    ``["https://app.example"]``, or ``"*"`` for all origins; or a mapping with these ``origins``,
    with ``headers``, a list of more request headers that scripts may set, and with
    ``credentials=True`` if requests may carry cookies. By default ``None``.

    ``index``: the name of a file, such as ``"index.html"``, that answers for the folder that it
    lies in. A client that asks for the folder without a slash at the end is redirected. By default
    ``None``.

    ``precompressed``: serve ``app.css.br``, ``app.css.zst`` or ``app.css.gz`` in place of
    ``app.css`` to a client whose ``Accept-Encoding`` prefers it, unless it is the older one of the
    two. It is about the folders of a location, and not about its stores. By default ``False``.

    ``leeway``: with ``access="signed"``, seconds or a ``timedelta`` for which a link is valid after
    its end, for machines whose clocks differ. By default 0.

    ``limit_rate``: bytes a second that each response is sent at, at most. By default ``None``:
    there is not a limit. ``X-Accel-Limit-Rate`` of a response that hands a file over comes first.

    ``limit_rate_after``: how many bytes of each response are sent before the limit counts. By
    default 0.

    ``cache``: a ``DiskCache``, a folder of this machine that keeps objects of a store. By default
    ``None``: each answer comes from the store.

    Raises ``ImproperlyConfigured`` if an option is invalid.
    """

    url: str
    root: Root | Sequence[Root] | Callable[[str], str | os.PathLike[str] | None] | None = None
    host: str | None = None
    source: Source | None = None
    credentials: Literal["instance"] | None = None
    access: Access | None = None
    cache_control: str | Callable[[str], str] | None = None
    immutable: str | re.Pattern[str] | ManifestNames | None = None
    headers: Mapping[str, str] | Callable[[str], Mapping[str, str]] | None = None
    content_types: Mapping[str, str] | None = None
    follow_symlinks: bool | Collection[str | os.PathLike[str]] = False
    dotfiles: bool | Collection[str] = False
    sandbox: bool = True
    fallthrough: bool = False
    login_redirect: bool = False
    error_pages: bool = False
    cors: str | Collection[str] | Mapping[str, Any] | CORS | None = None
    index: str | None = None
    precompressed: bool = False
    leeway: float | timedelta = 0
    limit_rate: int | None = None
    limit_rate_after: int = 0
    cache: DiskCache | None = None

    roots: Sequence[str | Source] = field(init=False, repr=False)
    """Absolute paths of folders, and other sources. The first that has a file serves it.

    There are none if ``root`` is a callable.
    """
    prefix: str = field(init=False, repr=False)
    """The decoded path with which the URLs begin. It has ``/`` at both ends, but for one file."""
    file: str = field(init=False, repr=False)
    """The name of the one file that is served; empty if ``root`` is a folder."""
    alias: str | None = field(init=False, repr=False, compare=False, default=None)
    """The storage of ``STORAGES`` whose files it serves, if they are in no folder."""
    policy: AccessPolicy = field(init=False, repr=False, compare=False)
    """Decides who may have the files."""
    remake: "Callable[[], Location] | None" = field(
        init=False, repr=False, compare=False, default=None
    )
    """Makes the location again, after Django's settings have changed."""

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        if self.host is not None:
            set_(self, "host", conf.host_pattern(self._option("host"), self.host))
        elif isinstance(self.url, str):
            set_(self, "host", conf.own_host(self.url))
        set_(self, "prefix", conf.url_prefix(self.url, self.host))
        set_(self, "roots", self._roots())
        for name in ("sandbox", "fallthrough", "login_redirect", "error_pages", "precompressed"):
            conf.check_bool(self._option(name), getattr(self, name))
        for name in ("cache_control", "headers"):
            conf.check_sync(self._option(name), getattr(self, name))
        try:
            seconds("leeway", self.leeway, or_zero=True)
        except ValueError as error:
            raise ImproperlyConfigured(f"{self._option('leeway')}: {error}") from error
        if self.access is None:
            if conf.requires_login():
                raise ImproperlyConfigured(
                    f"{self._option('access')} is not set, but LoginRequiredMiddleware keeps the "
                    "rest of the site for users who are logged in. Set access='public' if all "
                    "clients may have these files, or set a predicate, such as "
                    "media_asgi.access.authenticated."
                )
            set_(self, "access", "public")
        set_(self, "policy", access_policy(self))
        for name in ("fallthrough", "error_pages"):
            if getattr(self, name) and not self.policy.answers_clients:
                raise ImproperlyConfigured(
                    f"{self._option(name)} is True, but an internal location doesn't answer "
                    f"clients: its URLs go to the application anyway. Leave {name} out."
                )
        if self.owns_host and (
            self.fallthrough or self.error_pages or not self.policy.answers_clients
        ):
            raise ImproperlyConfigured(
                f"The location with the host {self.host!r} has it for itself (its url is "
                f"{self.url!r}), so nothing on it reaches the application. Leave fallthrough, "
                "error_pages and access='internal' out, or give it a path of its own."
            )
        folder = self.folders[0] if len(self.roots) == len(self.folders) == 1 else ""
        set_(self, "file", conf.single_file(self.url, folder) if folder else "")
        if self.file:
            self._check_single_file()
            set_(self, "prefix", self.prefix.rstrip("/"))
        if self.precompressed and not self.folders:
            raise ImproperlyConfigured(
                f"{self._option('precompressed')} is True, but its files are in a store, where "
                "each look for a variant takes a round trip. Leave precompressed out. Upload the "
                "files with Content-Encoding: gzip instead."
            )
        if self.index is not None:
            conf.check_index(self._option("index"), self.index)
            if not self.policy.answers_clients:
                raise ImproperlyConfigured(
                    f"{self._option('index')} is {self.index!r}, but the application names each "
                    "file of an internal location. Leave index out."
                )
        if self.cache_control is not None and not callable(self.cache_control):
            set_(self, "cache_control", self._checked_cache_control(self.cache_control))
        if self.immutable is not None and not isinstance(self.immutable, ManifestNames):
            set_(self, "immutable", conf.path_pattern(self._option("immutable"), self.immutable))
        if self.headers is not None and not callable(self.headers):
            conf.check_headers(self._option("headers"), self.headers)
            set_(self, "headers", dict(self.headers))
        if self.cors is not None:
            set_(self, "cors", conf.cors(self._option("cors"), self.cors))
        if self.content_types is not None:
            types = conf.content_types(self._option("content_types"), self.content_types)
            set_(self, "content_types", types)
        if not isinstance(self.dotfiles, bool):
            set_(self, "dotfiles", conf.dotfiles(self._option("dotfiles"), self.dotfiles))
        if not isinstance(self.follow_symlinks, bool):
            folders = conf.absolute_folders(self._option("follow_symlinks"), self.follow_symlinks)
            set_(self, "follow_symlinks", folders)
        if self.limit_rate is not None:
            conf.check_bytes(self._option("limit_rate"), self.limit_rate, least=1)
        conf.check_bytes(self._option("limit_rate_after"), self.limit_rate_after, least=0)
        if self.limit_rate_after and self.limit_rate is None and self.policy.answers_clients:
            raise ImproperlyConfigured(
                f"{self._option('limit_rate_after')} is {self.limit_rate_after!r}, but limit_rate "
                "is not set. Set it, or leave limit_rate_after out."
            )
        if self.cache is not None:
            if not isinstance(self.cache, DiskCache):
                raise ImproperlyConfigured(
                    f"{self._option('cache')} is {self.cache!r}. Give a media_asgi.DiskCache."
                )
            if isinstance(self.root, str | os.PathLike):
                raise ImproperlyConfigured(
                    f"{self._option('cache')} is set, but its root is the folder {self.root!r}, "
                    "whose files are on this machine anyway. Leave cache out."
                )

    def _check_single_file(self) -> None:
        refused = [name for name in ("follow_symlinks", "dotfiles", "index") if getattr(self, name)]
        if not self.policy.is_public:
            refused.append("access")
        for name in refused:
            raise ImproperlyConfigured(
                f"{self._option(name)} is {getattr(self, name)!r}, but root is {self.root!r}, "
                "one file, which is public, whatever its name is and wherever a link leads. Leave "
                f"{name} out, or give the folder as root."
            )

    @classmethod
    def media(cls, **options: Unpack[Options]) -> Self:
        """A location with ``MEDIA_URL`` and ``MEDIA_ROOT`` of Django's settings.

        ``options``: those of ``Location``. Raises ``ImproperlyConfigured`` if a setting is missing
        or invalid.
        """
        url, root = conf.url_and_root("MEDIA", "the uploads", "media", options.get("host"))
        # Django resolves a relative MEDIA_URL against the current script name, and keeps the
        # result. Drop it, so that a request gets one with its own script name.
        vars(settings).pop("MEDIA_URL", None)
        found: Options = {"url": url, "root": root}
        location = cls(**(found | options))
        object.__setattr__(location, "remake", partial(cls.media, **options))
        return location

    @classmethod
    def static(cls, **options: Unpack[Options]) -> Self:
        """A location with ``STATIC_URL`` and ``STATIC_ROOT`` of Django's settings.

        By default it is public, it has ``precompressed=True`` and not a sandbox, and its files are
        ``immutable`` whose names the manifest of the static files' storage has made.

        ``options``: those of ``Location``. Raises ``ImproperlyConfigured`` if a setting is missing
        or invalid.
        """
        remake = partial(cls.static, **options)
        url, root = conf.url_and_root("STATIC", "collectstatic", "staticfiles", options.get("host"))
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

    @classmethod
    def storage(cls, alias: str = "default", **options: Unpack[Options]) -> Self:
        """URL and files of a storage of ``STORAGES``, with these options.

        Its own URL, or else ``MEDIA_URL``. The objects of an ``S3Storage``, ``GoogleCloudStorage``
        or ``AzureStorage`` of django-storages are read from their store. The files of any other
        storage that has no folder are read by its ``open()``.
        """
        from django.core.files.storage import FileSystemStorage, storages

        from .storage import ServedStorage, SignedMediaStorage

        remake = partial(cls.storage, alias, **options)
        storage = storages[alias]
        if not isinstance(storage, FileSystemStorage):
            if isinstance(storage, ServedStorage):
                if storage.signed:
                    options.setdefault("access", "signed")
                if isinstance(storage.host, str):
                    options.setdefault("host", storage.host)
            url = getattr(storage, "base_url", None) or settings.MEDIA_URL
            vars(settings).pop("MEDIA_URL", None)  # as in media()
            source = _source(storage, f"STORAGES[{alias!r}]", options.get("credentials"))
            stored: Options = {"url": url, "source": source}
            location = cls(**(stored | options))
            object.__setattr__(location, "alias", alias)
            object.__setattr__(location, "remake", remake)
            return location
        for name in ("base_location", "location"):
            # FileSystemStorage has a cached_property, which is one folder for all requests.
            if isinstance(inspect.getattr_static(type(storage), name), property):
                raise ImproperlyConfigured(
                    f"STORAGES[{alias!r}] is a {type(storage).__name__}, which works out its "
                    f"{name} each time, as for the current tenant. All clients would get the files "
                    "of the first. Give Location(url=..., host='.example.com', root=callable), "
                    "whose callable returns the folder of a host."
                )
        if not storage.base_location:
            raise ImproperlyConfigured(
                f"STORAGES[{alias!r}] lacks a location, and MEDIA_ROOT is not set, so there is "
                'nothing to serve. Set MEDIA_ROOT = BASE_DIR / "media", or location in its OPTIONS.'
            )
        url = storage.base_url
        if isinstance(storage, SignedMediaStorage):
            options.setdefault("access", "signed")
            if isinstance(storage.host, str):
                options.setdefault("host", storage.host)
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

    def at(self, root: str | os.PathLike[str]) -> Self:
        """This location, with the root that the callable returned."""
        location = copy.copy(self)
        object.__setattr__(location, "root", root)
        object.__setattr__(location, "roots", [conf.root_folder(root, self.url)])
        return location

    def cache_control_for(self, path: str) -> str:
        """The ``Cache-Control`` of the file at ``path`` below the root.

        Raises ``ImproperlyConfigured`` if a callable returned an invalid one.
        """
        private = "" if self.policy.is_public else "private, "
        if self.is_immutable(path):
            return private + FOREVER
        if self.cache_control is None:
            return private + "no-cache"
        if not callable(self.cache_control):
            return self.cache_control
        return self._checked_cache_control(self.cache_control(path), f" of {path!r}")

    def is_immutable(self, path: str) -> bool:
        immutable = self.immutable
        if isinstance(immutable, ManifestNames):
            return immutable.has(path)
        assert not isinstance(immutable, str)
        return immutable is not None and immutable.search(path) is not None

    def _checked_cache_control(self, value: str, of: str = "") -> str:
        option = self._option("cache_control") + of
        return conf.cache_control(option, value, is_public=self.policy.is_public)

    def headers_for(self, path: str) -> list[tuple[bytes, bytes]]:
        """The configured headers of the file at ``path`` below the root. Names are in lower case.

        Raises ``ImproperlyConfigured`` if a callable returned invalid ones.
        """
        headers = self.headers
        if headers is None:
            return []
        if callable(headers):
            headers = headers(path)
            conf.check_headers(f"{self._option('headers')} of {path!r}", headers)
        return [
            (name.lower().encode("ascii"), value.encode("latin-1"))
            for name, value in headers.items()
        ]

    @property
    def key(self) -> tuple[str | None, str]:
        """What no other location of a middleware may have."""
        return self.host, self.prefix

    @property
    def owns_host(self) -> bool:
        """Does nothing on its host reach the application?"""
        return self.prefix == "/"

    def varies(self, path: str) -> bool:
        """May the headers of the file change? Then a response can't be used again."""
        immutable = self.immutable
        return (
            callable(self.headers)
            or callable(self.cache_control)
            or (isinstance(immutable, ManifestNames) and not immutable.knows(path))
        )

    @property
    def folders(self) -> list[str]:
        """The absolute paths of those roots that are folders."""
        return [root for root in self.roots if isinstance(root, str)]

    def _roots(self) -> list[str | Source]:
        if self.credentials not in (None, "instance"):
            raise ImproperlyConfigured(
                f"{self._option('credentials')} is {self.credentials!r}. Leave it out, or give "
                "'instance', for the role of the machine."
            )
        if callable(self.root) and not hasattr(self.root, "open_nowait"):
            conf.check_sync(self._option("root"), self.root)
            if self.host is None or self.source is not None:
                raise ImproperlyConfigured(
                    f"{self._option('root')} is a callable of the host, so the location requires "
                    'the hosts that it may be called with, host=".example.com", and no source.'
                )
            return []
        if self.source is not None:
            if self.root is not None or not hasattr(self.source, "open_nowait"):
                raise ImproperlyConfigured(
                    f"{self._option('source')} is {self.source!r}. Give a source such as "
                    "ObjectSource(store), and no root beside it."
                )
            return [self.source]
        roots = self.root if isinstance(self.root, list | tuple) and self.root else (self.root,)
        return [self._root(root) for root in roots]

    def _root(self, root: Any) -> str | Source:
        if isinstance(root, str) and root.startswith(("s3://", "gs://", "az://")):
            from .sources.object_settings import from_url

            return from_url(root, self._option("root"), self.credentials)
        return root if hasattr(root, "open_nowait") else conf.root_folder(root, self.url)

    def _option(self, name: str) -> str:
        return f"{name} of the location {self.url!r}"


def _source(storage: Any, name: str, credentials: Any) -> Source:
    from .sources.django_storage import StorageSource, kind_of

    if kind_of(storage) is None:
        return StorageSource(storage)
    from .sources.object_settings import from_storage

    return from_storage(storage, name, credentials)
