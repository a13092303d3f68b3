"""
Checks the URL, the host and the root of a location.
"""

import os
from urllib.parse import SplitResult, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

from .conf import is_in, path_text, project_folders
from .http.host import host_name
from .http.media_types import DEFAULT_TYPE, content_type


def single_file(url: str, root: str) -> str:
    """The name of the file that is the root of a location; empty if its root is a folder."""
    name, path = os.path.basename(root), split_url(url).path
    if path.endswith("/"):
        return ""  # a file here is a mistake, which the system checks report
    if os.path.lexists(root):
        return name if os.path.isfile(root) else ""
    return name if _has_type(path) and _has_type(name) else ""


def is_of_one_file(url: str) -> bool:
    """Does a location's URL end in the name of a file?"""
    return _has_type(split_url(url).path)


def _has_type(name: str) -> bool:
    return content_type(name) != DEFAULT_TYPE


def is_relative(url: str) -> bool:
    """Does what the URL means depend on a page, or in a setting on the script name?"""
    return url != "" and not url.startswith(("/", "http://", "https://"))


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
    if (path := path_text(root)) is None or "://" in path:
        raise ImproperlyConfigured(
            f"root of the location {url!r} is {root!r}. Give the folder that holds its files, such "
            'as BASE_DIR / "media"; or, unless a callable of the host returns it, a bucket: '
            '"s3://bucket/prefix", "gs://..." or "az://...".'
        )
    # A link to the project's own folder counts too. The path that is opened later is the one as
    # given, so that a link may be turned to another folder while the server runs.
    for code in project_folders():
        if is_in(code, path):
            raise ImproperlyConfigured(
                f"root of the location {url!r} is {path!r}, which holds the project's own code "
                f"({code}): settings and database would be public. Give a folder of its own, such "
                'as BASE_DIR / "media".'
            )
    return os.path.abspath(path)
