"""
Checks and prepares the options of a location. An invalid option is ``ImproperlyConfigured``.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from . import conf, conf_urls
from .access import access_policy
from .manifest import ManifestNames
from .signing import seconds
from .sources.base import Source
from .sources.disk_cache import DiskCache

_set = object.__setattr__


def prepare(one: Any) -> None:
    """Replace the options by what the package works with."""
    _prepare_place(one)
    _prepare_access(one)
    folder = one.folders[0] if len(one.roots) == len(one.folders) == 1 else ""
    _set(one, "file", conf_urls.single_file(one.url, folder) if folder else "")
    if one.file:
        _set(one, "prefix", one.prefix.rstrip("/"))
    if not folder and conf_urls.is_of_one_file(one.url):
        raise ImproperlyConfigured(
            f"url of the location {one.url!r} is that of one file, which can't come from "
            f"{one.root or one.source!r}. Give one file of this machine as root, or end url with "
            "a slash."
        )
    for name, why in _conflicts(one):
        if value := getattr(one, name):
            raise ImproperlyConfigured(f"{one._option(name)} is {value!r}, but {why}")
    for name, prepared in (_REQUIRED | _OPTIONAL).items():
        value = getattr(one, name)
        if value is not None or name in _REQUIRED:
            _set(one, name, prepared(one._option(name), value))
    if one.cache_control is not None and not callable(one.cache_control):
        _set(one, "cache_control", one._checked_cache_control(one.cache_control))
    if one.cache is not None and not any(hasattr(root, "place") for root in one.roots):
        raise ImproperlyConfigured(
            f"{one._option('cache')} is set, but keeps only objects of a bucket, and not files of "
            f"{one.root or one.source!r}. Leave cache out."
        )


def _prepare_place(one: Any) -> None:
    """Where it is: host, prefix and roots."""
    if one.host is not None:
        _set(one, "host", conf_urls.host_pattern(one._option("host"), one.host))
    elif isinstance(one.url, str):
        _set(one, "host", conf_urls.own_host(one.url))
    _set(one, "prefix", conf_urls.url_prefix(one.url, one.host))
    _set(one, "roots", _roots(one))


def _prepare_access(one: Any) -> None:
    """Who may have the files."""
    if one.access is None:
        if conf.requires_login():
            raise ImproperlyConfigured(
                f"{one._option('access')} is not set, but LoginRequiredMiddleware keeps the "
                "rest of the site for users who are logged in. Set access='public' if all "
                "clients may have these files, or set a predicate, such as "
                "media_asgi.access.authenticated."
            )
        _set(one, "access", "public")
    _set(one, "policy", access_policy(one))
    if one.owns_host and (one.fallthrough or one.error_pages or not one.policy.answers_clients):
        raise ImproperlyConfigured(
            f"The location with the host {one.host!r} has it for itself (its url is "
            f"{one.url!r}), so nothing on it reaches the application. Leave fallthrough, "
            "error_pages and access='internal' out, or give it a path of its own."
        )


def _leeway(option: str, value: Any) -> Any:
    try:
        seconds("leeway", value, or_zero=True)
    except ValueError as error:
        raise ImproperlyConfigured(f"{option}: {error}") from error
    return value


def _headers(option: str, value: Any) -> Any:
    return conf.check_sync(option, value) if callable(value) else conf.check_headers(option, value)


def _immutable(option: str, value: Any) -> Any:
    return value if isinstance(value, ManifestNames) else conf.path_pattern(option, value)


def _cache(option: str, value: Any) -> DiskCache:
    if not isinstance(value, DiskCache):
        raise ImproperlyConfigured(f"{option} is {value!r}. Give a media_asgi.DiskCache.")
    return value


_FLAGS = ("sandbox", "fallthrough", "login_redirect", "error_pages", "precompressed")

_Prepare = Callable[[str, Any], Any]
"""Gets the option's name for an error, and the value. Returns what takes its place."""

_REQUIRED: dict[str, _Prepare] = {
    **dict.fromkeys(_FLAGS, conf.check_bool),
    "dotfiles": conf.dotfiles,
    "follow_symlinks": conf.follow_symlinks,
    "leeway": _leeway,
    "limit_rate_after": partial(conf.check_bytes, least=0),
}

# These may be None.
_OPTIONAL: dict[str, _Prepare] = {
    "cache_control": conf.check_sync,
    "headers": _headers,
    "immutable": _immutable,
    "content_types": conf.content_types,
    "cors": conf.cors,
    "index": conf.check_index,
    "limit_rate": partial(conf.check_bytes, least=1),
    "cache": _cache,
}


def _conflicts(one: Any) -> Iterator[tuple[str, str]]:
    """Options that this location can't have, and why."""
    if not one.policy.answers_clients:
        for name in ("fallthrough", "error_pages"):
            yield (
                name,
                "an internal location doesn't answer clients: its URLs go to the application "
                f"anyway. Leave {name} out.",
            )
        yield "index", "the application names each file of an internal one. Leave index out."
    elif one.limit_rate is None:
        yield "limit_rate_after", "limit_rate is not set. Set it, or leave limit_rate_after out."
    if one.file:
        names = ("follow_symlinks", "dotfiles", "index")
        for name in names if one.policy.is_public else (*names, "access"):
            yield (
                name,
                f"root is {one.root!r}, one file, which is public, whatever its name is and "
                f"wherever a link leads. Leave {name} out, or give the folder as root.",
            )
    if one.roots and not one.folders:
        yield "follow_symlinks", "a store has no links. Leave follow_symlinks out."
        yield (
            "precompressed",
            "its files are in a store, where each look for a variant takes a round trip. Leave "
            "precompressed out. Upload the files with Content-Encoding: gzip instead.",
        )


def _roots(one: Any) -> list[str | Source]:
    """Folders and sources; none if the root depends on the host."""
    if one.credentials not in (None, "instance"):
        raise ImproperlyConfigured(
            f"{one._option('credentials')} is {one.credentials!r}. Leave it out, or give "
            "'instance', for the role of the machine."
        )
    if callable(one.root) and not hasattr(one.root, "open_nowait"):
        conf.check_sync(one._option("root"), one.root)
        if one.host is None or one.source is not None:
            raise ImproperlyConfigured(
                f"{one._option('root')} is a callable of the host, so the location requires "
                'the hosts that it may be called with, host=".example.com", and no source.'
            )
        return []
    if one.source is not None:
        if one.root is not None or not hasattr(one.source, "open_nowait"):
            raise ImproperlyConfigured(
                f"{one._option('source')} is {one.source!r}. Give a source such as "
                "ObjectSource(store), and no root beside it."
            )
        return [one.source]
    roots = one.root if isinstance(one.root, list | tuple) and one.root else (one.root,)
    if one.credentials is not None and not any(map(_is_bucket, roots)):
        raise ImproperlyConfigured(
            f"{one._option('credentials')} is {one.credentials!r}, but only a bucket has any. Give "
            'one as root, such as "s3://bucket/prefix", or leave credentials out.'
        )
    return [_root(one, root) for root in roots]


def _is_bucket(root: Any) -> bool:
    return isinstance(root, str) and root.startswith(("s3://", "gs://", "az://"))


def _root(one: Any, root: Any) -> str | Source:
    if _is_bucket(root):
        from .sources.object_settings import from_url

        return from_url(root, one._option("root"), one.credentials)
    return root if hasattr(root, "open_nowait") else conf_urls.root_folder(root, one.url)
