"""
A location: a URL prefix, the folder that it serves, and its options; or one file with its URL.
"""

import copy
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, Literal, Self, Unpack

from . import conf, conf_urls, django_locations
from .access import Access
from .access.base import AccessPolicy
from .http.cors import CORS
from .location_options import prepare
from .manifest import ManifestNames
from .options import Options, Root
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

    ``content_types``: a mapping of endings, or of whole names, to media types, such as
    ``{".log": "text/plain"}``. It comes before the table of ``http/media_types.py``. By default
    ``None``.

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
        prepare(self)

    @classmethod
    def media(cls, **options: Unpack[Options]) -> Self:
        """A location with ``MEDIA_URL`` and ``MEDIA_ROOT`` of Django's settings.

        ``options``: those of ``Location``. Raises ``ImproperlyConfigured`` if a setting is missing
        or invalid.
        """
        found = django_locations.media(options)
        return cls._made(partial(cls.media, **options), found | options)

    @classmethod
    def static(cls, **options: Unpack[Options]) -> Self:
        """A location with ``STATIC_URL`` and ``STATIC_ROOT`` of Django's settings.

        By default it is public, it has ``precompressed=True`` and not a sandbox, and its files are
        ``immutable`` whose names the manifest of the static files' storage has made.

        ``options``: those of ``Location``. Raises ``ImproperlyConfigured`` if a setting is missing
        or invalid.
        """
        found = django_locations.static(options)
        return cls._made(partial(cls.static, **options), found | options)

    @classmethod
    def storage(cls, alias: str = "default", **options: Unpack[Options]) -> Self:
        """URL and files of a storage of ``STORAGES``, with these options.

        Its own URL, or else ``MEDIA_URL``. The objects of an ``S3Storage``, ``GoogleCloudStorage``
        or ``AzureStorage`` of django-storages are read from their store. The files of any other
        storage that has no folder are read by its ``open()``.
        """
        found = django_locations.storage(alias, options)
        location = cls._made(partial(cls.storage, alias, **options), found | options)
        if "source" in found:
            object.__setattr__(location, "alias", alias)
        return location

    @classmethod
    def _made(cls, remake: Callable[[], Self], options: Options) -> Self:
        location = cls(**options)
        object.__setattr__(location, "remake", remake)
        return location

    def at(self, root: str | os.PathLike[str]) -> Self:
        """This location, with the root that the callable returned."""
        location = copy.copy(self)
        object.__setattr__(location, "root", root)
        object.__setattr__(location, "roots", [conf_urls.root_folder(root, self.url)])
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
            headers = conf.check_headers(f"{self._option('headers')} of {path!r}", headers(path))
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

    def _option(self, name: str) -> str:
        return f"{name} of the location {self.url!r}"
