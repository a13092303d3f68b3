"""
A location: a URL prefix, the folder it stands for, and every option.

What is wrong is refused here, at start, with a sentence that says what to do.
"""

import os
import re
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, Self
from urllib.parse import SplitResult, unquote, urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from .signing import seconds

Access = Literal["public", "internal", "signed"] | Callable[..., bool | Awaitable[bool]]

FOREVER = "max-age=31536000, immutable"

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# RFC 9110 section 5.5: visible characters, with spaces and tabs between them. No CR, LF or NUL.
_FIELD_VALUE = re.compile(r"[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?")
_SHARED = re.compile(r"\b(?:public|s-maxage)\b", re.IGNORECASE)
# private="field" is about that field alone (RFC 9111 section 5.2.2.7), and counts for nothing here.
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_UNSHARED = re.compile(r"(?:\A|,)[ \t]*(?:private|no-store)[ \t]*(?:,|\Z)", re.IGNORECASE)
_MEDIA_TYPE = re.compile(rf"{_TOKEN.pattern}/{_TOKEN.pattern}(?:[ \t]*;[\t\x20-\x7e]*)?")

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[\x21-\x29\x2b\x2d\x2e\x30-\x40\x5b-\x7e]+")

# Headers that are worked out for each answer, and what to use instead where there is something.
_OWN_HEADERS = {
    "accept-ranges": "",
    "cache-control": "; use cache_control",
    "connection": "",
    "content-length": "",
    "content-range": "",
    "content-type": "; use content_types",
    "date": "",
    "etag": "",
    "last-modified": "",
    "transfer-encoding": "",
    "x-content-type-options": "; it is always nosniff",
}


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

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "prefix", _prefix(self.url))
        set_(self, "folder", _folder(self.root, self.url))
        self._check_access()
        if self.cache_control is not None and not callable(self.cache_control):
            value = self._checked_cache_control(self.cache_control, self._option("cache_control"))
            set_(self, "cache_control", value)
        if self.immutable is not None:
            try:
                pattern = re.compile(self.immutable)
                pattern.search("")
            except (re.error, TypeError) as error:
                raise ImproperlyConfigured(
                    f"{self._option('immutable')} is {self.immutable!r}, which is no regular "
                    f"expression for a path ({error}). Give one such as r'\\.[0-9a-f]{{12}}\\.'."
                ) from error
            set_(self, "immutable", pattern)
        if self.headers is not None and not callable(self.headers):
            set_(self, "headers", dict(self.checked_headers(self.headers)))
        if self.cors is not None and self.cors != "*":
            set_(self, "cors", self._checked_origins(self.cors))
        if self.content_types is not None:
            set_(self, "content_types", self._checked_types(self.content_types))
        if not isinstance(self.dotfiles, bool):
            set_(self, "dotfiles", self._checked_dotfiles(self.dotfiles))
        if not isinstance(self.follow_symlinks, bool):
            set_(self, "follow_symlinks", self._checked_folders(self.follow_symlinks))
        for name in ("sandbox", "fallthrough", "login_redirect"):
            if not isinstance(value := getattr(self, name), bool):
                raise ImproperlyConfigured(
                    f"{self._option(name)} is {value!r}. Give True or False."
                )

    @classmethod
    def media(cls, **options: Any) -> Self:
        """``MEDIA_URL`` and ``MEDIA_ROOT`` of Django's settings, with these options."""
        if not settings.MEDIA_ROOT:
            # As a path, Django's default "" is the current folder, settings and database included.
            raise ImproperlyConfigured(
                "MEDIA_ROOT is not set, so there is no folder to serve. Set it to the folder that "
                'uploads go to, such as MEDIA_ROOT = BASE_DIR / "media".'
            )
        if _split(settings.MEDIA_URL).path in ("", "/"):
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

    @property
    def is_public(self) -> bool:
        return self.access == "public"

    def cache_control_for(self, path: str) -> str:
        """The ``Cache-Control`` of the file at ``path`` beneath the root."""
        private = "" if self.is_public else "private, "
        assert not isinstance(self.immutable, str)
        if self.immutable is not None and self.immutable.search(path):
            return private + FOREVER
        if self.cache_control is None:
            return private + "no-cache"
        if not callable(self.cache_control):
            return self.cache_control
        option = f"{self._option('cache_control')} of {path!r}"
        return self._checked_cache_control(self.cache_control(path), option)

    def _checked_cache_control(self, value: str, option: str) -> str:
        check_header("cache-control", value, option)
        if self.is_public:
            return value
        if _SHARED.search(value):
            raise ImproperlyConfigured(
                f"{option} is {value!r}, with which a shared cache gives the files to anyone, "
                "whatever access says. Leave it out, or give one with 'private'."
            )
        # With max-age alone a shared cache may store, too (RFC 9111 section 3).
        return value if _UNSHARED.search(_QUOTED.sub('""', value)) else f"private, {value}"

    def headers_for(self, path: str) -> list[tuple[bytes, bytes]]:
        """The configured headers of the file at ``path`` beneath the root."""
        headers = self.headers
        if headers is None:
            return []
        if callable(headers):
            headers = self.checked_headers(headers(path), f" of {path!r}")
        return [
            (name.lower().encode("ascii"), value.encode("latin-1"))
            for name, value in headers.items()
        ]

    @property
    def varies(self) -> bool:
        """Does a callable decide of a file's headers? Then no answer stands for the next one."""
        return callable(self.headers) or callable(self.cache_control)

    def checked_headers(self, headers: Mapping[str, str], of: str = "") -> Mapping[str, str]:
        option = self._option("headers") + of
        if not isinstance(headers, Mapping):
            raise ImproperlyConfigured(
                f"{option} is {headers!r}. Give a mapping of names to values, or a callable of the "
                "path that returns one."
            )
        for name, value in headers.items():
            check_header(name, value, option)
            instead = _OWN_HEADERS.get(name.lower())
            if instead is not None:
                raise ImproperlyConfigured(
                    f"{option} sets {name}, which is worked out for each answer{instead}."
                )
        return headers

    def _option(self, name: str) -> str:
        return f"{name} of the location {self.url!r}"

    def _check_access(self) -> None:
        if not callable(self.access) and self.access not in ("public", "internal", "signed"):
            raise ImproperlyConfigured(
                f"{self._option('access')} is {self.access!r}. Give 'public', 'internal', "
                "'signed', or a callable of the request and the path."
            )
        if self.access == "internal" and self.fallthrough:
            raise ImproperlyConfigured(
                f"{self._option('fallthrough')} can't be: an internal location answers no client, "
                "and its URLs go to the application anyway. Leave fallthrough out."
            )
        if self.access == "signed" and not django_setting("SECRET_KEY"):
            raise ImproperlyConfigured(
                f"{self._option('access')} is 'signed', and Django's SECRET_KEY, which signs, is "
                "not set. Set it, or build the location where Django's settings are."
            )
        try:
            seconds("leeway", self.leeway, or_zero=True)
        except ValueError as error:
            raise ImproperlyConfigured(f"{self._option('leeway')}: {error}") from error
        if self.leeway and self.access != "signed":
            raise ImproperlyConfigured(
                f"{self._option('leeway')} allows for clocks that differ on a signed link. Set "
                "access='signed', or leave leeway out."
            )
        if self.login_redirect and not callable(self.access):
            raise ImproperlyConfigured(
                f"{self._option('login_redirect')} asks for a predicate to redirect for. Give "
                "access a callable of the request and the path, or leave login_redirect out."
            )

    def _checked_folders(self, folders: object) -> tuple[str, ...]:
        if isinstance(folders, Collection) and not isinstance(folders, str | bytes) and folders:
            paths = [
                os.fspath(folder) for folder in folders if isinstance(folder, str | os.PathLike)
            ]
            if len(paths) == len(folders) and all(
                isinstance(path, str) and os.path.isabs(path) and "\0" not in path for path in paths
            ):
                return tuple(paths)
        raise ImproperlyConfigured(
            f"{self._option('follow_symlinks')} is {folders!r}. Give True, False or a list of the "
            'absolute folders into which links may lead, such as ["/srv/shared"].'
        )

    def _checked_origins(self, origins: object) -> frozenset[str]:
        if (
            isinstance(origins, Collection)
            and not isinstance(origins, str | bytes)
            and origins
            and all(isinstance(origin, str) and _ORIGIN.fullmatch(origin) for origin in origins)
        ):
            return frozenset(origins)
        raise ImproperlyConfigured(
            f"{self._option('cors')} is {origins!r}. Give '*' or a list of origins, each a scheme, "
            "a host and perhaps a port, as a browser sends them: ['https://app.example']."
        )

    def _checked_dotfiles(self, names: object) -> frozenset[str]:
        if isinstance(names, Collection) and not isinstance(names, str | bytes):
            for name in names:
                if (
                    not isinstance(name, str)
                    or name[:1] != "."
                    or name in (".", "..")
                    or "/" in name
                    or "\0" in name
                ):
                    raise ImproperlyConfigured(
                        f"{self._option('dotfiles')} has {name!r}. Give names of one segment each "
                        'that begin with a dot, such as ".well-known".'
                    )
            return frozenset(names)
        raise ImproperlyConfigured(
            f"{self._option('dotfiles')} is {names!r}. Give True, False, or a list of names, such "
            'as [".thumbnails", ".well-known"].'
        )

    def _checked_types(self, types: Mapping[str, str]) -> dict[str, str]:
        option = self._option("content_types")
        if not isinstance(types, Mapping):
            raise ImproperlyConfigured(
                f"{option} is {types!r}. Give a mapping of endings to types, such as "
                '{".md": "text/markdown; charset=utf-8"}.'
            )
        for extension, type_ in types.items():
            if not isinstance(extension, str) or not extension.strip("."):
                raise ImproperlyConfigured(
                    f'{option} has the ending {extension!r}. Give one such as ".md".'
                )
            if (
                not isinstance(type_, str)
                or not _MEDIA_TYPE.fullmatch(type_)
                or not _FIELD_VALUE.fullmatch(type_)
            ):
                raise ImproperlyConfigured(
                    f"{option} maps {extension!r} to {type_!r}, which is no media type. Give one "
                    'such as "text/plain; charset=utf-8".'
                )
        return {"." + extension.lstrip(".").lower(): type_ for extension, type_ in types.items()}


def check_header(name: str, value: str, option: str) -> None:
    """Refuse what would be no header, or more than one (response splitting)."""
    if not isinstance(name, str) or not _TOKEN.fullmatch(name):
        raise ImproperlyConfigured(f"{option}: {name!r} is no header name (RFC 9110 section 5.1).")
    if not isinstance(value, str) or not _FIELD_VALUE.fullmatch(value):
        raise ImproperlyConfigured(
            f"{option}: {name} is {value!r}. Give a string of one line, without control characters "
            "and with none beyond Latin-1 (RFC 9110 section 5.5)."
        )


def _prefix(url: str) -> str:
    if not isinstance(url, str):
        raise ImproperlyConfigured(
            f'url of a location is {url!r}. Give a path such as "/media/", or a full URL.'
        )
    parts = _split(url)
    if parts.query or parts.fragment:
        raise ImproperlyConfigured(
            f"url of a location is {url!r}, with a query or a fragment. Give the path alone; a "
            '"?" or "#" of its own is written %3F or %23.'
        )
    prefix = "/" + unquote(parts.path).strip("/") + "/"
    if prefix == "//":
        raise ImproperlyConfigured(
            f"url of a location is {url!r}, under which every page of the site would be taken for "
            'a file. Give it a path of its own, such as "/media/".'
        )
    if any(segment in ("", ".", "..") for segment in prefix[1:-1].split("/")) or "\0" in prefix:
        raise ImproperlyConfigured(
            f"url of a location is {url!r}, which no request's path matches: it has an empty "
            'segment, a "." or a "..". Give a path such as "/media/".'
        )
    return prefix


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError as error:
        raise ImproperlyConfigured(
            f"url of a location is {url!r}, which is no URL ({error}). Give a path such as "
            '"/media/".'
        ) from error


def _folder(root: str | os.PathLike[str], url: str) -> str:
    try:
        path = os.fspath(root)
    except TypeError:
        path = None
    if not isinstance(path, str) or not path or "\0" in path:
        raise ImproperlyConfigured(
            f"root of the location {url!r} is {root!r}. Give the folder that holds its files, such "
            'as BASE_DIR / "media".'
        )
    # realpath, so that a link to the project's own folder is seen; the root as given is what is
    # opened, so that a link may be turned to another folder while the server runs.
    resolved = os.path.realpath(path)
    for code in project_folders():
        if code == resolved or code.startswith(resolved.rstrip(os.sep) + os.sep):
            raise ImproperlyConfigured(
                f"root of the location {url!r} is {path!r}, which holds the project's own code "
                f"({code}): settings and database would be public. Give a folder of its own, such "
                'as BASE_DIR / "media".'
            )
    return os.path.abspath(path)


def project_folders() -> list[str]:
    """Where the project's own code is: its settings module, and ``BASE_DIR`` as Django lays it."""
    folders = []
    module = sys.modules.get(str(django_setting("SETTINGS_MODULE")))
    if (source := getattr(module, "__file__", None)) is not None:
        folders.append(os.path.dirname(os.path.realpath(source)))
    base = django_setting("BASE_DIR")
    if isinstance(base, str | os.PathLike) and os.fspath(base):
        folders.append(os.path.realpath(base))
    return folders


def django_setting(name: str) -> Any:
    """A setting of the Django project, ``None`` where it has none or there is no such project."""
    if not settings.configured and "DJANGO_SETTINGS_MODULE" not in os.environ:
        return None
    return getattr(settings, name, None)
