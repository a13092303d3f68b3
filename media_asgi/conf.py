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
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from asgiref.sync import iscoroutinefunction
from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from .http.cors import CORS
from .http.host import host_name
from .http.media_types import DEFAULT_TYPE, content_type

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# RFC 9110 section 5.5: visible characters, with spaces and tabs between them. No CR, LF or NUL.
_FIELD_VALUE = re.compile(r"[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?")
_MEDIA_TYPE = re.compile(rf"{_TOKEN.pattern}/{_TOKEN.pattern}(?:[ \t]*;[\t\x20-\x7e]*)?")

_SHARED = re.compile(r"\b(?:public|s-maxage)\b", re.IGNORECASE)
# private="field" is about that field alone (RFC 9111 section 5.2.2.7), and doesn't count here.
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_UNSHARED = re.compile(r"(?:\A|,)[ \t]*(?:private|no-store)[ \t]*(?:,|\Z)", re.IGNORECASE)

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[\x21-\x29\x2b\x2d\x2e\x30-\x40\x5b-\x7e]+")

# Headers that the package makes for each response, and the option to use instead.
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


def url_and_root(
    kind: str, content: str, folder: str, host: str | None
) -> tuple[str, str | os.PathLike[str]]:
    """``MEDIA_URL`` and ``MEDIA_ROOT``, or those of another kind."""
    root = getattr(settings, f"{kind}_ROOT")
    if not root:
        # Django's default of MEDIA_ROOT is "". As a path that is the current folder, with the
        # settings and the database.
        raise ImproperlyConfigured(
            f"{kind}_ROOT is not set, so there is nothing to serve. Set it to the folder of "
            f'{content}, such as {kind}_ROOT = BASE_DIR / "{folder}".'
        )
    url = getattr(settings, f"{kind}_URL")
    if not (host or own_host(url or "")) and split_url(url or "").path in ("", "/"):
        raise ImproperlyConfigured(
            f"{kind}_URL is {url!r}, so every page of the site would be taken for a file. Set it "
            f'to a path of its own, such as {kind}_URL = "{kind.lower()}/".'
        )
    return url, root


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


def check_sync(option: str, value: object) -> None:
    if is_async(value):
        raise ImproperlyConfigured(
            f"{option} is {value!r}, which is async. Give a sync callable. If it gets a path, it "
            "must not wait: hand the file over from a view that has asked the database."
        )


def check_bytes(option: str, value: object, *, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ImproperlyConfigured(
            f"{option} is {value!r}. Give a whole number of bytes, such as 500_000."
        )


def check_bool(option: str, value: object) -> None:
    if not isinstance(value, bool):
        raise ImproperlyConfigured(f"{option} is {value!r}. Give True or False.")


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


def check_headers(option: str, headers: Mapping[str, str]) -> None:
    if not isinstance(headers, Mapping):
        raise ImproperlyConfigured(
            f"{option} is {headers!r}. Give a mapping of names to values, or a callable that gets "
            "the path and returns one."
        )
    for name, value in headers.items():
        check_header(option, name, value)
        instead = _OWN_HEADERS.get(name.lower())
        if instead is not None:
            raise ImproperlyConfigured(
                f"{option} sets {name}, which is made for each response{instead}."
            )


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
        if (
            not isinstance(type_, str)
            or not _MEDIA_TYPE.fullmatch(type_)
            or not _FIELD_VALUE.fullmatch(type_)
        ):
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
    check_bool(f"credentials in {option}", credentials)
    if credentials and origins == "*":
        raise ImproperlyConfigured(
            f"{option} lets all origins ('*') send credentials: every site could read the files "
            "with its visitors' cookies, and browsers refuse it. List the origins."
        )
    return CORS(None if origins == "*" else frozenset(origins), tuple(names), credentials)


def _are_strings(values: Any, pattern: re.Pattern[str]) -> bool:
    return (
        isinstance(values, Collection)
        and not isinstance(values, str | bytes)
        and bool(values)
        and all(isinstance(one, str) and pattern.fullmatch(one) for one in values)
    )


def dotfiles(option: str, names: object) -> frozenset[str]:
    if not isinstance(names, Collection) or isinstance(names, str | bytes):
        raise ImproperlyConfigured(
            f"{option} is {names!r}. Give True, False, or a list of names, such "
            'as [".thumbnails", ".well-known"].'
        )
    for name in names:
        if (
            not isinstance(name, str)
            or name[:1] != "."
            or name in (".", "..")
            or "/" in name
            or "\0" in name
        ):
            raise ImproperlyConfigured(
                f"{option} has {name!r}. Give names of one segment each "
                'that begin with a dot, such as ".well-known".'
            )
    return frozenset(names)


def absolute_folders(option: str, folders: object) -> tuple[str, ...]:
    if isinstance(folders, Collection) and not isinstance(folders, str | bytes) and folders:
        paths = [os.fspath(folder) for folder in folders if isinstance(folder, str | os.PathLike)]
        if len(paths) == len(folders) and all(
            isinstance(path, str) and os.path.isabs(path) and "\0" not in path for path in paths
        ):
            return tuple(paths)
    raise ImproperlyConfigured(
        f"{option} is {folders!r}. Give True, False or a list of the "
        'absolute folders into which links may lead, such as ["/srv/shared"].'
    )


def check_index(option: str, value: object) -> None:
    if not isinstance(value, str) or not value or value[:1] == "." or {"/", "\0"} & {*value}:
        raise ImproperlyConfigured(
            f"{option} is {value!r}. Give the name of a file, such as 'index.html'."
        )


def single_file(url: str, root: str) -> str:
    """The name of the file that is the root of a location; empty if its root is a folder."""
    name, path = os.path.basename(root), split_url(url).path
    if path.endswith("/"):
        return ""  # a file here is a mistake, which the system checks report
    if os.path.lexists(root):
        return name if os.path.isfile(root) else ""
    return name if _has_type(path) and _has_type(name) else ""


def _has_type(name: str) -> bool:
    return content_type(name) != DEFAULT_TYPE


def split_url(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError as error:
        raise ImproperlyConfigured(
            f"url of a location is {url!r}, which is not a URL ({error}). Give a path such as "
            '"/media/".'
        ) from error


def decoded_prefix(path: str) -> str:
    """A URL's path, decoded and with ``/`` at both ends."""
    path = unquote(path).strip("/")
    return f"/{path}/" if path else "/"


def own_host(url: str) -> str | None:
    """The host of a full URL whose path is ``/``: it has no other files than those of the URL."""
    parts = split_url(url)
    if not parts.netloc or parts.path not in ("", "/"):
        return None
    return host_name(parts.netloc.rpartition("@")[2]) or None


def host_pattern(option: str, pattern: object) -> str:
    """A host, or a pattern of hosts, in lower case."""
    if pattern == "*":
        return "*"
    if isinstance(pattern, str):
        dot = "." * pattern.startswith(".")
        name = pattern.removeprefix(".").rstrip(".").lower()
        if name and host_name(name) == name and ".." not in name:
            return dot + name
    raise ImproperlyConfigured(
        f"{option} is {pattern!r}. Give a name without scheme and port, as it is in ALLOWED_HOSTS: "
        '"media.example.com", or ".example.com" for all names below it. Write a name of other '
        'letters than a to z in its form with "xn--".'
    )


def url_prefix(url: str, host: str | None) -> str:
    """The prefix of a location's URLs, decoded and with ``/`` at both ends."""
    if not isinstance(url, str):
        raise ImproperlyConfigured(
            f'url of a location is {url!r}. Give a path such as "/media/", or a full URL.'
        )
    parts = split_url(url)
    if parts.query or parts.fragment:
        raise ImproperlyConfigured(
            f"url of a location is {url!r}, which has a query or a fragment. Give the path alone. "
            'Write a "?" or "#" of the path as %3F or %23.'
        )
    prefix = decoded_prefix(parts.path)
    if prefix == "/":
        if host is None or host == "*":
            raise ImproperlyConfigured(
                f"url of a location is {url!r}, so every page of the site would be taken for a "
                'file. Give it a path of its own, such as "/media/", or a host of its own: '
                'host="media.example.com".'
            )
        return prefix
    if any(segment in ("", ".", "..") for segment in prefix[1:-1].split("/")) or "\0" in prefix:
        raise ImproperlyConfigured(
            f"url of a location is {url!r}, which can't be the start of a request's path: it has "
            'an empty segment, a ".", a ".." or NUL. Give a path such as "/media/".'
        )
    return prefix


def root_folder(root: str | os.PathLike[str], url: str) -> str:
    """The absolute path of a location's root. The project's code must not be in it."""
    try:
        path = os.fspath(root)
    except TypeError:
        path = None
    if not isinstance(path, str) or not path or "\0" in path:
        raise ImproperlyConfigured(
            f"root of the location {url!r} is {root!r}. Give the folder that holds its files, such "
            'as BASE_DIR / "media".'
        )
    # realpath, to see a link to the project's own folder. The path that is opened later is the one
    # as given, so that a link may be turned to another folder while the server runs.
    resolved = os.path.realpath(path)
    for code in project_folders():
        if code == resolved or code.startswith(resolved.rstrip(os.sep) + os.sep):
            raise ImproperlyConfigured(
                f"root of the location {url!r} is {path!r}, which holds the project's own code "
                f"({code}): settings and database would be public. Give a folder of its own, such "
                'as BASE_DIR / "media".'
            )
    return os.path.abspath(path)
