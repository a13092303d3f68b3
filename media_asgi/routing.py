"""
Which location serves a request, or a file that the application names.
"""

import os
from collections.abc import Sequence

from .access.x_accel import Target
from .conf import django_setting
from .handler import LocationHandler
from .http.host import host_rank, is_host, request_host
from .http.path import merge_slashes, request_path
from .tenants import Tenants
from .types import Scope

_Handlers = Sequence[LocationHandler]
_Found = tuple[LocationHandler, str]


class Router:
    """Finds the handler of a request by host and by path.

    ``handlers``: those of all locations, in the order in which they are tried. ``tenants`` knows
    the handlers of locations whose root depends on the host.
    """

    def __init__(self, handlers: _Handlers, tenants: Tenants) -> None:
        self.handlers = handlers
        self._tenants = tenants
        self.has_hosts = any(handler.location.host for handler in handlers)
        self._forwarded = bool(django_setting("USE_X_FORWARDED_HOST"))

    def of_host(self, scope: Scope) -> tuple[str, list[LocationHandler]]:
        """The request's host, and the handlers that answer there, in their order."""
        host = request_host(scope["headers"], forwarded=self._forwarded)
        found = [one for one in self.handlers if is_host(host, one.location.host)]
        # On a host that a location has for itself, only locations of this host answer too.
        owners = [host_rank(one.location.host) for one in found if one.location.owns_host]
        least = max(owners, default=0)
        return host, [one for one in found if host_rank(one.location.host) >= least]

    async def at_host(
        self, handler: LocationHandler, handlers: _Handlers, host: str
    ) -> LocationHandler:
        """The handler with the root that it has at this host."""
        if handler.location.roots:
            return handler
        siblings = [one.location for one in handlers if not one.location.roots]
        return await self._tenants.handler(handler.location, siblings, host)

    def find(
        self, scope: Scope, mount: str, handlers: _Handlers
    ) -> tuple[LocationHandler, str, Sequence[str]] | None:
        """The location of a request, the path below its root, and the URLs of the file."""
        sent = path = scope["path"]
        if "\ufffd" in path:
            sent = path = request_path(scope)
        if "//" in path:
            path = merge_slashes(path)
        if mount:
            mount = mount.rstrip("/")
            found = self._locate(path, mount, handlers)
            return found and (*found, self._urls(found, mount, sent, handlers))
        for handler in handlers:
            if path.startswith(handler.prefix) and (not handler.is_file or path == handler.prefix):
                return handler, path[len(handler.prefix) :], (sent,)
        return None

    def _urls(self, found: _Found, mount: str, sent: str, handlers: _Handlers) -> Sequence[str]:
        """The paths under which clients know a file below a mount point, and that name only it.

        They have the slashes of the request, since a client signs the path that it sends.
        """
        url = found[0].prefix + found[1]
        others = {mount + url, url.removeprefix(mount)} - {url}
        # Those that lead to the file, and without the mount not to another location's.
        urls = [one for one in others if self._locate(one, mount, handlers) == found]
        urls = [url, *(one for one in urls if self._locate(one, "", handlers) in (None, found))]
        if "//" not in sent:
            return urls
        spellings = {sent, mount + sent, sent.removeprefix(mount)}
        # A link is never signed for the empty path.
        return [one for one in spellings if merge_slashes(one) in urls] or ("",)

    async def internal(
        self, target: Target, handlers: _Handlers, host: str
    ) -> tuple[LocationHandler, list[str]] | None:
        """The internal location of a target, and the target's candidates below its root."""
        if target.is_url:
            for handler in handlers:
                if paths := _below(target, handler.prefix):
                    if not handler.is_internal:
                        return None
                    return await self.at_host(handler, handlers, host), paths
            return None
        internal = [
            (folder, found)
            for handler in handlers
            if handler.is_internal
            for found in [await self.at_host(handler, handlers, host)]
            for folder in found.location.folders
        ]
        # The deepest folder comes first.
        internal.sort(key=lambda pair: -len(pair[0]))
        for folder, handler in internal:
            if paths := _below(target, folder):
                return handler, paths
        # Compare with where each root lies now, with its links resolved. To ask for that takes a
        # call, so the likeliest root comes first.
        places = [(handler.places[folder], handler) for folder, handler in internal]
        for place, handler in sorted(
            places, key=lambda pair: not _below(target, pair[0].known.path)
        ):
            where = await place.told()
            if where and (paths := _below(target, where.path)):
                return handler, paths
        return None

    def _locate(self, path: str, mount: str, handlers: _Handlers) -> _Found | None:
        """The location with the longest prefix of ``path``, and the rest of the path.

        Below a mount point, ASGI's path begins with the ``root_path``. But a proxy may have removed
        it, Daphne's ``--root-path`` doesn't add it, and MEDIA_URL has it only if the project wrote
        it there. So three paths are tried: as it is, with the mount point, and without.
        """
        candidates = (path, mount + path, path.removeprefix(mount))
        for handler in handlers:
            for candidate in candidates:
                if candidate.startswith(handler.prefix) and (
                    not handler.is_file or candidate == handler.prefix
                ):
                    return handler, candidate[len(handler.prefix) :]
        return None


def _below(target: Target, folder: str) -> list[str]:
    """The candidates of a target that lie below a folder, as paths below it."""
    start = merge_slashes(folder + os.sep)
    return [path[len(start) :] for path in target.candidates if path.startswith(start)]
