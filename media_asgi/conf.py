"""
Validation of options, and Django's settings.

An invalid option raises ``ImproperlyConfigured`` at start. The text names the option, the value and
the cure. The argument ``option`` is the name in this text, such as ``cors of the location
'/media/'``. Each function returns the value in the form that the package uses.
"""

import os
import re
import sys
from collections.abc import Collection, Mapping
from inspect import signature
from pathlib import Path
from typing import Any, TypeGuard

from asgiref.sync import iscoroutinefunction
from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from .http.cors import CORS

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# RFC 9110 section 5.5: visible characters, with spaces and tabs between them. No CR, LF or NUL.
_FIELD_VALUE = re.compile(r"[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?")
_MEDIA_TYPE = re.compile(
    rf"{_TOKEN.pattern}/{_TOKEN.pattern}(?:[ \t]*;(?:[\t\x20-\x7e]*[\x21-\x7e])?)?"
)

_SHARED = re.compile(r"\b(?:public|s-maxage)\b", re.IGNORECASE)
# private="field" is about that field alone (RFC 9111 section 5.2.2.7), and doesn't count here.
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_UNSHARED = re.compile(r"(?:\A|,)[ \t]*(?:private|no-store)[ \t]*(?:,|\Z)", re.IGNORECASE)

# One segment that begins with a dot, and is neither "." nor "..".
_DOTFILE = re.compile(r"\.(?!\.\Z)[^/\0]+")

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[\x21-\x29\x2b\x2d\x2e\x30-\x40\x5b-\x7e]+")

# Headers that the package makes for each response, and the option to use instead.
_OWN_HEADERS = {
    "cache-control": "; use cache_control",
    "content-type": "; use content_types",
    "x-content-type-options": "; it is always nosniff",
    **dict.fromkeys(("accept-ranges", "connection", "content-length", "content-range"), ""),
    **dict.fromkeys(("date", "etag", "last-modified", "transfer-encoding"), ""),
}


def django_setting(name: str) -> Any:
    """A setting of the Django project; ``None`` if the setting or the project is missing."""
    if not settings.configured and "DJANGO_SETTINGS_MODULE" not in os.environ:
        return None
    return getattr(settings, name, None)


def project_folders() -> list[str]:
    """The folders of the project's own code: of its settings module, and ``BASE_DIR``."""
    folders = []
    module = sys.modules.get(str(django_setting("SETTINGS_MODULE")))
    if (source := getattr(module, "__file__", None)) is not None:
        folders.append(os.path.dirname(os.path.realpath(source)))
    base = django_setting("BASE_DIR")
    if isinstance(base, str | os.PathLike) and os.fspath(base):
        folders.append(os.path.realpath(base))
    return folders


def path_text(value: object) -> str | None:
    """A path as text; ``None`` if it can't be the path of a file."""
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    return path if isinstance(path, str) and path and "\0" not in path else None


def is_in(path: Any, folder: Any) -> bool:
    """Is ``path`` this folder, or does it lie below it?"""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def is_same(folder: Any, other: Any) -> bool:
    return Path(os.path.realpath(folder)) == Path(os.path.realpath(other))


def middleware_of(kind: type) -> type | None:
    """The installed Django middleware that is this class or a subclass of it."""
    for name in django_setting("MIDDLEWARE") or ():
        middleware = import_string(name)
        if isinstance(middleware, type) and issubclass(middleware, kind):
            return middleware
    return None


def requires_login() -> bool:
    """Is Django's LoginRequiredMiddleware, or a subclass of it, installed?"""
    if apps.ready and apps.is_installed("django.contrib.auth"):
        # Its module imports models.
        from django.contrib.auth.middleware import LoginRequiredMiddleware

        return middleware_of(LoginRequiredMiddleware) is not None
    name = "django.contrib.auth.middleware.LoginRequiredMiddleware"
    return name in (django_setting("MIDDLEWARE") or ())


def check_number(name: str, value: object, *kinds: type) -> None:
    if isinstance(value, bool) or not isinstance(value, kinds) or not value > 0:  # type: ignore[operator]
        raise ImproperlyConfigured(f"MediaMiddleware got {name}={value!r}. Give a number above 0.")


def is_async(call: object) -> bool:
    """Must the result of this callable be awaited?"""
    return iscoroutinefunction(call) or iscoroutinefunction(getattr(call, "__call__", None))  # noqa: B004


def takes(call: Any, count: int) -> bool:
    """Can this be called with so many arguments? ``True`` too if Python can't tell."""
    try:
        signature(call).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:  # some callables of C
        return True
    return True


def check_sync(option: str, value: Any) -> Any:
    if is_async(value):
        raise ImproperlyConfigured(
            f"{option} is {value!r}, which is async. Give a sync callable. If it gets a path, it "
            "must not wait: hand the file over from a view that has asked the database."
        )
    return value


def check_bytes(option: str, value: object, *, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ImproperlyConfigured(
            f"{option} is {value!r}. Give a whole number of bytes, such as 500_000."
        )
    return value


def check_bool(option: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ImproperlyConfigured(f"{option} is {value!r}. Give True or False.")
    return value


def check_header(option: str, name: str, value: str) -> None:
    """Refuse a field that is not a header, or more than one (response splitting)."""
    if not isinstance(name, str) or not _TOKEN.fullmatch(name):
        raise ImproperlyConfigured(
            f"{option}: {name!r} is not a header name (RFC 9110 section 5.1)."
        )
    if not isinstance(value, str) or not _FIELD_VALUE.fullmatch(value):
        raise ImproperlyConfigured(
            f"{option}: {name} is {value!r}. Give a string of one line, of Latin-1 characters and "
            "without control characters (RFC 9110 section 5.5)."
        )


def check_headers(option: str, headers: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(headers, Mapping):
        raise ImproperlyConfigured(
            f"{option} is {headers!r}. Give a mapping of names to values, or a callable that gets "
            "the path and returns one."
        )
    for name, value in headers.items():
        check_header(option, name, value)
        if (instead := _OWN_HEADERS.get(name.lower())) is not None:
            raise ImproperlyConfigured(
                f"{option} sets {name}, which is made for each response{instead}. Leave {name} out."
            )
    return dict(headers)


def cache_control(option: str, value: str, *, is_public: bool) -> str:
    """The ``Cache-Control`` of files. If they are not public, it keeps them from shared caches."""
    check_header(option, "cache-control", value)
    if is_public:
        return value
    if _SHARED.search(value):
        raise ImproperlyConfigured(
            f"{option} is {value!r}, but access restricts the files: a shared cache would give "
            "them to every client. Leave it out, or give one with 'private'."
        )
    # With max-age alone, a shared cache may store the file too (RFC 9111 section 3).
    return value if _UNSHARED.search(_QUOTED.sub('""', value)) else f"private, {value}"


def path_pattern(option: str, value: str | re.Pattern[str]) -> re.Pattern[str]:
    try:
        pattern = re.compile(value)
        pattern.search("")
    except (re.error, TypeError) as error:
        raise ImproperlyConfigured(
            f"{option} is {value!r}, which is not a regular expression for a path ({error}). Give "
            "one such as r'\\.[0-9a-f]{12}\\.'."
        ) from error
    return pattern


def content_types(option: str, types: Mapping[str, str]) -> dict[str, str]:
    """Media types by ending. The endings get lower case and a dot."""
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
        if not isinstance(type_, str) or not _MEDIA_TYPE.fullmatch(type_):
            raise ImproperlyConfigured(
                f"{option} maps {extension!r} to {type_!r}, which is not a media type. Give one "
                'such as "text/plain; charset=utf-8".'
            )
    return {"." + extension.lstrip(".").lower(): type_ for extension, type_ in types.items()}


def cors(option: str, value: object) -> CORS:
    options: Mapping[str, Any] = value if isinstance(value, Mapping) else {"origins": value}
    origins, names = options.get("origins", ()), options.get("headers", [])
    credentials = options.get("credentials", False)
    if not (
        options.keys() <= {"origins", "headers", "credentials"}
        and (origins == "*" or _are_strings(origins, _ORIGIN))
        and (names == [] or _are_strings(names, _TOKEN))
        and "*" not in names  # with credentials it is a name like any other
    ):
        raise ImproperlyConfigured(
            f"{option} is {value!r}. Give '*' or a list of origins, each a scheme, a host and "
            "perhaps a port, as a browser sends them: ['https://app.example']; or a mapping with "
            "these as 'origins', and with 'headers', a list of names, and 'credentials'."
        )
    if check_bool(f"credentials in {option}", credentials) and origins == "*":
        raise ImproperlyConfigured(
            f"{option} lets all origins ('*') send credentials: every site could read the files "
            "with its visitors' cookies, and browsers refuse it. List the origins."
        )
    return CORS(None if origins == "*" else frozenset(origins), tuple(names), credentials)


def _is_list(value: object) -> TypeGuard[Collection[Any]]:
    return isinstance(value, Collection) and not isinstance(value, str | bytes)


def _are_strings(values: object, pattern: re.Pattern[str]) -> bool:
    return (
        _is_list(values)
        and bool(values)
        and all(isinstance(one, str) and pattern.fullmatch(one) for one in values)
    )


def dotfiles(option: str, names: object) -> bool | frozenset[str]:
    if isinstance(names, bool):
        return names
    if not _is_list(names):
        raise ImproperlyConfigured(
            f"{option} is {names!r}. Give True, False, or a list of names, such "
            'as [".thumbnails", ".well-known"].'
        )
    for name in names:
        if not isinstance(name, str) or not _DOTFILE.fullmatch(name):
            raise ImproperlyConfigured(
                f"{option} has {name!r}. Give names of one segment each "
                'that begin with a dot, such as ".well-known".'
            )
    return frozenset(names)


def follow_symlinks(option: str, folders: object) -> bool | tuple[str, ...]:
    if isinstance(folders, bool):
        return folders
    if _is_list(folders) and folders:
        paths = [path for folder in folders if (path := path_text(folder)) and os.path.isabs(path)]
        if len(paths) == len(folders):
            return tuple(paths)
    raise ImproperlyConfigured(
        f"{option} is {folders!r}. Give True, False or a list of the "
        'absolute folders into which links may lead, such as ["/srv/shared"].'
    )


def check_index(option: str, value: object) -> str:
    if not isinstance(value, str) or not value or value[:1] == "." or {"/", "\0"} & {*value}:
        raise ImproperlyConfigured(
            f"{option} is {value!r}. Give the name of a file, such as 'index.html'."
        )
    return value
