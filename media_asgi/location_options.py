"""
Checks and prepares the options of a location. An invalid option is ``ImproperlyConfigured``.
"""

import os
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
    _check_flags(one)
    _prepare_access(one)
    _prepare_files(one)
    _prepare_headers(one)
    _prepare_names(one)
    _check_sending(one)


def _prepare_place(one: Any) -> None:
    """Where it is: host, prefix and roots."""
    if one.host is not None:
        _set(one, "host", conf_urls.host_pattern(one._option("host"), one.host))
    elif isinstance(one.url, str):
        _set(one, "host", conf_urls.own_host(one.url))
    _set(one, "prefix", conf_urls.url_prefix(one.url, one.host))
    _set(one, "roots", roots_of(one))


def _check_flags(one: Any) -> None:
    """Options that are ``True`` or ``False``, callables, and the leeway."""
    for name in ("sandbox", "fallthrough", "login_redirect", "error_pages", "precompressed"):
        conf.check_bool(one._option(name), getattr(one, name))
    for name in ("cache_control", "headers"):
        conf.check_sync(one._option(name), getattr(one, name))
    try:
        seconds("leeway", one.leeway, or_zero=True)
    except ValueError as error:
        raise ImproperlyConfigured(f"{one._option('leeway')}: {error}") from error


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
    for name in ("fallthrough", "error_pages"):
        if getattr(one, name) and not one.policy.answers_clients:
            raise ImproperlyConfigured(
                f"{one._option(name)} is True, but an internal location doesn't answer "
                f"clients: its URLs go to the application anyway. Leave {name} out."
            )
    if one.owns_host and (one.fallthrough or one.error_pages or not one.policy.answers_clients):
        raise ImproperlyConfigured(
            f"The location with the host {one.host!r} has it for itself (its url is "
            f"{one.url!r}), so nothing on it reaches the application. Leave fallthrough, "
            "error_pages and access='internal' out, or give it a path of its own."
        )


def _prepare_files(one: Any) -> None:
    """One file or a folder, variants and index files."""
    folder = one.folders[0] if len(one.roots) == len(one.folders) == 1 else ""
    _set(one, "file", conf_urls.single_file(one.url, folder) if folder else "")
    if one.file:
        _check_single_file(one)
        _set(one, "prefix", one.prefix.rstrip("/"))
    if one.precompressed and not one.folders:
        raise ImproperlyConfigured(
            f"{one._option('precompressed')} is True, but its files are in a store, where "
            "each look for a variant takes a round trip. Leave precompressed out. Upload the "
            "files with Content-Encoding: gzip instead."
        )
    if one.index is not None:
        conf.check_index(one._option("index"), one.index)
        if not one.policy.answers_clients:
            raise ImproperlyConfigured(
                f"{one._option('index')} is {one.index!r}, but the application names each "
                "file of an internal one. Leave index out."
            )


def _prepare_headers(one: Any) -> None:
    """Header fields and types."""
    if one.cache_control is not None and not callable(one.cache_control):
        _set(one, "cache_control", one._checked_cache_control(one.cache_control))
    if one.immutable is not None and not isinstance(one.immutable, ManifestNames):
        _set(
            one,
            "immutable",
            conf.path_pattern(one._option("immutable"), one.immutable),
        )
    if one.headers is not None and not callable(one.headers):
        conf.check_headers(one._option("headers"), one.headers)
        _set(one, "headers", dict(one.headers))
    if one.cors is not None:
        _set(one, "cors", conf.cors(one._option("cors"), one.cors))
    if one.content_types is not None:
        types = conf.content_types(one._option("content_types"), one.content_types)
        _set(one, "content_types", types)


def _prepare_names(one: Any) -> None:
    """Names that begin with a dot, and links."""
    if not isinstance(one.dotfiles, bool):
        _set(one, "dotfiles", conf.dotfiles(one._option("dotfiles"), one.dotfiles))
    if not isinstance(one.follow_symlinks, bool):
        folders = conf.absolute_folders(one._option("follow_symlinks"), one.follow_symlinks)
        _set(one, "follow_symlinks", folders)


def _check_sending(one: Any) -> None:
    """The rate of sending, and the cache."""
    if one.limit_rate is not None:
        conf.check_bytes(one._option("limit_rate"), one.limit_rate, least=1)
    conf.check_bytes(one._option("limit_rate_after"), one.limit_rate_after, least=0)
    if one.limit_rate_after and one.limit_rate is None and one.policy.answers_clients:
        raise ImproperlyConfigured(
            f"{one._option('limit_rate_after')} is {one.limit_rate_after!r}, but limit_rate "
            "is not set. Set it, or leave limit_rate_after out."
        )
    if one.cache is not None:
        if not isinstance(one.cache, DiskCache):
            raise ImproperlyConfigured(
                f"{one._option('cache')} is {one.cache!r}. Give a media_asgi.DiskCache."
            )
        if isinstance(one.root, str | os.PathLike):
            raise ImproperlyConfigured(
                f"{one._option('cache')} is set, but its root is the folder {one.root!r}, "
                "whose files are on this machine anyway. Leave cache out."
            )


def _check_single_file(one: Any) -> None:
    refused = [name for name in ("follow_symlinks", "dotfiles", "index") if getattr(one, name)]
    if not one.policy.is_public:
        refused.append("access")
    for name in refused:
        raise ImproperlyConfigured(
            f"{one._option(name)} is {getattr(one, name)!r}, but root is {one.root!r}, "
            "one file, which is public, whatever its name is and wherever a link leads. Leave "
            f"{name} out, or give the folder as root."
        )


def roots_of(one: Any) -> list[str | Source]:
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
