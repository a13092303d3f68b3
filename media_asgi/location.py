"""
A location: a URL prefix, the folder it stands for, and every option.
"""

import os
import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, Self

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from . import conf
from .access import access_policy
from .access.base import AccessPolicy
from .signing import seconds

Access = Literal["public", "internal", "signed"] | Callable[..., bool | Awaitable[bool]]

FOREVER = "max-age=31536000, immutable"


@dataclass(frozen=True, kw_only=True)
class Location:
    """Files of one folder under one URL.

    ``url``: the prefix, ``"/media/"``; of a full URL the path counts. A percent-encoded one is
    decoded.

    ``root``: the folder, ``str`` or ``Path``. It may be a link, and need not exist yet.

    ``access``: who may see the files. ``"public"`` (the default); ``"internal"``: no client, only
    the application with ``X-Accel-Redirect`` or ``X-Sendfile``; ``"signed"``: whoever has a link
    from ``media_asgi.signing``; or a callable of Django's request and the path beneath the root,
    sync or async, that says ``True`` or ``False``.

    ``cache_control``: the ``Cache-Control`` of the files (RFC 9111 section 5.2.2), or a callable of
    the path. By default ``"no-cache"``: stored, but asked for again each time, and answered by a
    304 while nothing changed; ``"private, no-cache"`` where ``access`` isn't ``"public"``. There
    ``private`` is added to yours where it is missing.

    ``immutable``: a regular expression, searched in the path, for files that never change; they
    are kept for a year.

    ``headers``: more headers of each file, or a callable of the path that gives them.

    ``content_types``: media types by ending, ``{".log": "text/plain; charset=utf-8"}``, before the
    built-in ones.

    ``follow_symlinks``: follow links that leave the root too; or a list of absolute folders into
    which they may lead. By default ``False``.

    ``dotfiles``: serve names that begin with a dot too: all, or those of a list, such as
    ``[".well-known"]``. By default ``False``.

    ``sandbox``: keep files that a browser would run, such as HTML and SVG, from running in the
    site's origin when they are opened as a page. By default ``True``.

    ``fallthrough``: ask the application where no such file exists. By default ``False``.

    ``login_redirect``: with a callable ``access``, send who is refused to ``LOGIN_URL`` instead of
    answering 403. By default ``False``.

    ``cors``: the origins whose scripts may read the files, ``["https://app.example"]``, or ``"*"``
    for any. By default none.

    ``leeway``: with ``access="signed"``, seconds or a ``timedelta`` for which a link is good after
    its end, where the clocks of several machines differ. By default 0.

    Raises ``ImproperlyConfigured`` for what can't be meant.
    """

    url: str
    root: str | os.PathLike[str]
    access: Access = "public"
    cache_control: str | Callable[[str], str] | None = None
    immutable: str | re.Pattern[str] | None = None
    headers: Mapping[str, str] | Callable[[str], Mapping[str, str]] | None = None
    content_types: Mapping[str, str] | None = None
    follow_symlinks: bool | Collection[str | os.PathLike[str]] = False
    dotfiles: bool | Collection[str] = False
    sandbox: bool = True
    fallthrough: bool = False
    login_redirect: bool = False
    cors: str | Collection[str] | None = None
    leeway: float | timedelta = 0

    folder: str = field(init=False, repr=False)
    """The absolute path of ``root``."""
    prefix: str = field(init=False, repr=False)
    """The decoded path that the URLs begin with, ``/`` at both ends."""
    policy: AccessPolicy = field(init=False, repr=False, compare=False)
    """Decides who may have the files."""

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "prefix", conf.url_prefix(self.url))
        set_(self, "folder", conf.root_folder(self.root, self.url))
        for name in ("sandbox", "fallthrough", "login_redirect"):
            conf.check_bool(self._option(name), getattr(self, name))
        try:
            seconds("leeway", self.leeway, or_zero=True)
        except ValueError as error:
            raise ImproperlyConfigured(f"{self._option('leeway')}: {error}") from error
        set_(self, "policy", access_policy(self))
        if self.fallthrough and not self.policy.answers_clients:
            raise ImproperlyConfigured(
                f"{self._option('fallthrough')} can't be: an internal location answers no client, "
                "and its URLs go to the application anyway. Leave fallthrough out."
            )
        if self.cache_control is not None and not callable(self.cache_control):
            set_(self, "cache_control", self._checked_cache_control(self.cache_control))
        if self.immutable is not None:
            set_(self, "immutable", conf.path_pattern(self._option("immutable"), self.immutable))
        if self.headers is not None and not callable(self.headers):
            conf.check_headers(self._option("headers"), self.headers)
            set_(self, "headers", dict(self.headers))
        if self.cors is not None and self.cors != "*":
            set_(self, "cors", conf.origins(self._option("cors"), self.cors))
        if self.content_types is not None:
            types = conf.content_types(self._option("content_types"), self.content_types)
            set_(self, "content_types", types)
        if not isinstance(self.dotfiles, bool):
            set_(self, "dotfiles", conf.dotfiles(self._option("dotfiles"), self.dotfiles))
        if not isinstance(self.follow_symlinks, bool):
            folders = conf.absolute_folders(self._option("follow_symlinks"), self.follow_symlinks)
            set_(self, "follow_symlinks", folders)

    @classmethod
    def media(cls, **options: Any) -> Self:
        """``MEDIA_URL`` and ``MEDIA_ROOT`` of Django's settings, with these options."""
        if not settings.MEDIA_ROOT:
            # As a path, Django's default "" is the current folder, settings and database included.
            raise ImproperlyConfigured(
                "MEDIA_ROOT is not set, so there is no folder to serve. Set it to the folder that "
                'uploads go to, such as MEDIA_ROOT = BASE_DIR / "media".'
            )
        if conf.split_url(settings.MEDIA_URL).path in ("", "/"):
            raise ImproperlyConfigured(
                f"MEDIA_URL is {settings.MEDIA_URL!r}, under which every page of the site would be "
                'taken for a file. Set it to a path of its own, such as MEDIA_URL = "media/".'
            )
        url = settings.MEDIA_URL
        # A relative one was just resolved against the script name of this moment, and would be kept
        # so: asked again in a request, it is resolved against that request's.
        vars(settings).pop("MEDIA_URL", None)
        return cls(**({"url": url, "root": settings.MEDIA_ROOT} | options))

    @classmethod
    def storage(cls, alias: str = "default", **options: Any) -> Self:
        """URL and folder of a file-system storage of ``STORAGES``, with these options."""
        from django.core.files.storage import FileSystemStorage, storages

        from .storage import SignedMediaStorage

        storage = storages[alias]
        if not isinstance(storage, FileSystemStorage):
            raise ImproperlyConfigured(
                f"STORAGES[{alias!r}] is a {type(storage).__name__}, whose files are in no folder "
                "of this machine. Name a FileSystemStorage, or leave this location out."
            )
        if not storage.base_location:
            raise ImproperlyConfigured(
                f"STORAGES[{alias!r}] has no location, and MEDIA_ROOT is not set, so there is no "
                'folder to serve. Set MEDIA_ROOT = BASE_DIR / "media", or location in its OPTIONS.'
            )
        url = storage.base_url
        if isinstance(storage, SignedMediaStorage):
            options.setdefault("access", "signed")
        # As for MEDIA_URL, which it may stand for.
        vars(storage).pop("base_url", None)
        vars(settings).pop("MEDIA_URL", None)
        if url is None:
            raise ImproperlyConfigured(
                f"STORAGES[{alias!r}] has no base_url. Set it in its OPTIONS, such as "
                '"base_url": "/files/".'
            )
        return cls(**({"url": url, "root": storage.location} | options))

    def cache_control_for(self, path: str) -> str:
        """The ``Cache-Control`` of the file at ``path`` beneath the root."""
        private = "" if self.policy.is_public else "private, "
        assert not isinstance(self.immutable, str)
        if self.immutable is not None and self.immutable.search(path):
            return private + FOREVER
        if self.cache_control is None:
            return private + "no-cache"
        if not callable(self.cache_control):
            return self.cache_control
        return self._checked_cache_control(self.cache_control(path), f" of {path!r}")

    def _checked_cache_control(self, value: str, of: str = "") -> str:
        option = self._option("cache_control") + of
        return conf.cache_control(option, value, is_public=self.policy.is_public)

    def headers_for(self, path: str) -> list[tuple[bytes, bytes]]:
        """The configured headers of the file at ``path`` beneath the root."""
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
    def varies(self) -> bool:
        """Does a callable decide of a file's headers? Then no answer stands for the next one."""
        return callable(self.headers) or callable(self.cache_control)

    def _option(self, name: str) -> str:
        return f"{name} of the location {self.url!r}"
