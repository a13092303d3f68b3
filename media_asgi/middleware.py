"""
``MediaMiddleware``: which location serves a request. Everything else goes to the application.
"""

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar
from weakref import WeakSet

from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from .access.x_accel import ResponseInterceptor, Target
from .conf import check_bool, check_number, django_setting, middleware_of
from .handler import HandlerContext, LocationHandler
from .http import response
from .http.headers import NOSNIFF
from .http.host import host_rank, is_host, request_host
from .http.path import merge_slashes, request_path
from .location import Location
from .responses import STREAMED, FileResponseMiddleware, FileSender
from .security import SecuritySettings
from .servers.backpressure import BackpressureSend
from .servers.daphne_request import request_of, root_path
from .servers.send import response_writer, send_response
from .sources.base import Source
from .sources.disk_cache import DiskCacheSource
from .sources.first import FirstSource
from .sources.guard import ExcludedFolder, Place
from .sources.gunzip import GunzipSource
from .sources.local import LocalSource
from .sources.memory_cache import MemoryCache
from .sources.precompressed import Precompressed
from .sources.without import WithoutPrefixes
from .sources.workers import Workers
from .tenants import Tenants
from .types import ASGIApp, Receive, Scope, Send

logger = logging.getLogger("media_asgi")

_Key = tuple[str | None, str]
_Handlers = Sequence[LocationHandler]
_Found = tuple[LocationHandler, str]


class MediaMiddleware:
    """Serves files, and passes every other request, websocket and lifespan to ``app``.

    ``app``: an ASGI 3 application, such as ``get_asgi_application()`` or a ``ProtocolTypeRouter``.

    ``locations``: the locations to serve. The one with the longest prefix of a request's path
    serves it. By default ``Location.media()``: ``MEDIA_ROOT`` under ``MEDIA_URL``.

    ``chunk_size``: the most bytes of a file that a download holds in memory, an ``int`` above 0. By
    default 262144.

    ``threads``: the most threads of each location that wait for its disk, an ``int`` above 0. By
    default 8.

    ``disk_timeout``: seconds above 0. A request that waits for the disk for so long is answered
    by 503. By default 30.

    ``send_timeout``: seconds above 0. A client that doesn't take a byte for so long is
    disconnected. By default 60.

    ``backpressure``: under Daphne, let every response of ``app`` wait for its client, so that a
    large export to a slow client doesn't pile up in memory. ``send_timeout`` counts for it. Other
    servers do so by themselves. By default ``False``.

    Raises ``ImproperlyConfigured`` if an argument is invalid.
    """

    instances: ClassVar[WeakSet["MediaMiddleware"]] = WeakSet()
    """The instances of this process, for the system checks."""

    def __init__(
        self,
        app: ASGIApp,
        *locations: Location,
        chunk_size: int = 256 * 1024,
        threads: int = 8,
        disk_timeout: float = 30.0,
        send_timeout: float = 60.0,
        backpressure: bool = False,
    ) -> None:
        if not callable(app):
            raise ImproperlyConfigured(
                f"MediaMiddleware got {app!r}, which is not an ASGI application. Give one first: "
                "MediaMiddleware(get_asgi_application())."
            )
        check_number("chunk_size", chunk_size, int)
        check_number("threads", threads, int)
        check_number("disk_timeout", disk_timeout, int, float)
        check_number("send_timeout", send_timeout, int, float)
        check_bool("backpressure of MediaMiddleware", backpressure)
        self.app = app
        self._given = locations
        self._limits = (chunk_size, float(send_timeout))
        self._workers = partial(Workers, threads, timeout=float(disk_timeout))
        self._backpressure = backpressure
        self._set_up()
        self.instances.add(self)

    def _set_up(self) -> None:
        """Make the handlers, with Django's settings as they are now."""
        self._context = HandlerContext(*self._limits, SecuritySettings.from_django())
        self._tenants = Tenants(
            self._build, self._context, self._workers(folder="the hosts' roots")
        )
        given = [
            one.remake() if isinstance(one, Location) and one.remake else one for one in self._given
        ]
        self._handlers = self._arrange(given or [Location.media()])
        # The threads for the files of the application's own responses.
        self._file_workers: Workers | None = None
        if middleware_of(FileResponseMiddleware) is not None:
            self._file_workers = self._workers(folder="the application")
        self._has_internal = any(handler.is_internal for handler in self._handlers)
        self._watches_app = (
            self._has_internal or self._file_workers is not None or self._backpressure
        )
        self._prefixes = tuple(handler.prefix for handler in self._handlers)
        self._has_hosts = any(handler.location.host for handler in self._handlers)
        self._forwarded = bool(django_setting("USE_X_FORWARDED_HOST"))
        self._script_name: str = django_setting("FORCE_SCRIPT_NAME") or ""
        self._is_stale = False

    @classmethod
    def settings_changed(cls, **_: object) -> None:
        """A test has changed a setting of Django. The next request sees it.

        Other receivers, such as those of Django's storages, may run after this one.
        """
        for one in cls.instances:
            # Both, so that a request looks at one of them only.
            one._is_stale = one._has_hosts = True

    @property
    def locations(self) -> list[Location]:
        if self._is_stale:
            self._set_up()
        return [handler.location for handler in self._handlers]

    def _arrange(self, locations: Sequence[Location]) -> list[LocationHandler]:
        by_key: dict[_Key, Location] = {}
        for location in locations:
            if not isinstance(location, Location):
                raise ImproperlyConfigured(
                    f"MediaMiddleware got {location!r} as a location. Give Location(url=..., "
                    "root=...) or Location.media()."
                )
            if (other := by_key.setdefault(location.key, location)) is not location:
                raise ImproperlyConfigured(
                    f"Two locations have the prefix {location.prefix!r}, with the roots "
                    f"{other.root!r} and {location.root!r}. Give one of them another url or host."
                )
        longest_first = sorted(
            by_key.values(), key=lambda one: (-len(one.prefix), -host_rank(one.host))
        )
        self._fixed = [location for location in longest_first if location.roots]
        self._places = _places(self._fixed)
        # All tenants of a location share its threads.
        self._shared_workers = {
            one.key: self._workers(folder=f"the location {one.url!r}")
            for one in longest_first
            if not one.roots
        }
        self._keys = [*by_key]
        return [self._handler(one, self._fixed, self._places) for one in longest_first]

    def _build(self, location: Location, at_host: Sequence[Location]) -> LocationHandler:
        """The handler of a location whose root depends on the host, as one of ``at_host``."""
        path = os.path.realpath(location.folders[0])
        for other in self._fixed:
            folders = tuple(os.path.realpath(folder) + os.sep for folder in other.folders)
            if _hides(location, other) and path.startswith(folders):
                # It would have been served there before anyone asked for this host.
                raise ImproperlyConfigured(
                    f"root of the location {location.url!r} is {path!r}, which lies in that of "
                    f"{other.url!r}, whose files more clients may have. Give the hosts' files a "
                    "folder of their own."
                )
        return self._handler(location, [*self._fixed, *at_host], self._places | _places(at_host))

    def _handler(
        self, location: Location, others: Sequence[Location], places: Mapping[str, Place]
    ) -> LocationHandler:
        prefixes = {prefix for _, prefix in self._keys} - {location.prefix}
        return LocationHandler(
            location,
            self._context,
            self._source(location, others, places),
            [prefix for prefix in prefixes if prefix.startswith(location.prefix)],
            places,
        )

    def _source(
        self, location: Location, others: Sequence[Location], places: Mapping[str, Place]
    ) -> Source:
        restricted = _more_restricted(location, others)
        sources = [
            self._folder(location, root, _excluded(root, restricted, places))
            if isinstance(root, str)
            else self._store(location, root, restricted)
            for root in location.roots
        ]
        return sources[0] if len(sources) == 1 else FirstSource(sources)

    def _store(self, location: Location, root: Any, restricted: Sequence[Location]) -> Source:
        source: Source = root
        if location.cache is not None and hasattr(root, "place"):
            workers = self._workers(folder=os.fspath(location.cache.path))
            cached = DiskCacheSource(
                root,
                location.cache,
                workers,
                lambda name: location.is_immutable(os.fsdecode(name)),
            )
            source = MemoryCache(cached, max_file=self._context.chunk_size)
        roots: list[Any] = [one for other in restricted for one in other.roots]
        others = [one for one in roots if hasattr(one, "place")]
        if others and hasattr(root, "place"):
            source = WithoutPrefixes(source, root, others)
        return GunzipSource(source)

    def _folder(self, location: Location, root: str, excluded: Sequence[ExcludedFolder]) -> Source:
        path = os.path.dirname(root) if location.file else root
        folder = LocalSource(
            path,
            self._shared_workers.get(location.key) or self._workers(folder=path),
            # One file may be a link, as a root may. No client names it.
            follow_symlinks=location.follow_symlinks or bool(location.file),
            excluded=excluded,
        )
        files = MemoryCache(folder, max_file=self._context.chunk_size)
        return Precompressed(files) if location.precompressed else files

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        handlers, host = self._handlers, ""
        if self._has_hosts and scope["type"] in ("http", "websocket"):
            scope = _with_headers(scope)
            if self._is_stale:
                self._set_up()
            host, handlers = self._of_host(scope)
            if scope["type"] == "websocket" and handlers and handlers[-1].location.owns_host:
                await send({"type": "websocket.close"})
                return
        if scope["type"] == "http":
            mount = self._script_name or root_path(scope, send)
            path = scope["path"]
            if mount or host or path.startswith(self._prefixes) or "//" in path:
                found = self._find(scope, mount, handlers)
                if found is None and handlers and handlers[-1].location.owns_host:
                    found = handlers[-1], "", ("",)  # a target such as "*", or a full URL
                if found is not None and not found[0].is_internal:
                    handler, rest, urls = found
                    if host:
                        handler = await self._at_host(handler, handlers, host)
                    if type(scope.get("headers")) is not list:
                        scope = _with_headers(scope)
                    await handler.serve(
                        self._call_app, rest, urls, scope, receive, send, mount, host
                    )
                    return
            if self._watches_app:
                await self._call_app(_with_headers(scope), receive, send)
                return
        await self.app(scope, receive, send)

    def _of_host(self, scope: Scope) -> tuple[str, list[LocationHandler]]:
        """The request's host, and the handlers that answer there, in their order."""
        host = request_host(scope["headers"], forwarded=self._forwarded)
        found = [one for one in self._handlers if is_host(host, one.location.host)]
        # On a host that a location has for itself, only locations of this host answer too.
        owners = [host_rank(one.location.host) for one in found if one.location.owns_host]
        least = max(owners, default=0)
        return host, [one for one in found if host_rank(one.location.host) >= least]

    async def _at_host(
        self, handler: LocationHandler, handlers: _Handlers, host: str
    ) -> LocationHandler:
        """The handler with the root that it has at this host."""
        if handler.location.roots:
            return handler
        siblings = [one.location for one in handlers if not one.location.roots]
        return await self._tenants.handler(handler.location, siblings, host)

    def _find(
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

    async def _call_app(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._backpressure or request_of(send) is None:
            await self._watch_app(scope, receive, send, send)
            return
        waiting = BackpressureSend(scope, receive, send, self._context.send_timeout)
        try:
            await self._watch_app(scope, receive, send, waiting.send)
        finally:
            await waiting.end()

    async def _watch_app(self, scope: Scope, receive: Receive, send: Send, onward: Send) -> None:
        """Pass a request to the application, which may answer with a file, or with its name.

        ``onward`` gets every other answer.
        """
        given, drop_body = scope, None
        if self._file_workers is not None and STREAMED not in scope:
            sender = FileSender(self._context, self._file_workers, scope, send, onward)
            given = {**scope, STREAMED: sender.streamed}
            onward, drop_body = sender.send, sender.streamed.drop_body
        if not self._has_internal:
            await self.app(given, receive, onward)
            return
        interceptor = ResponseInterceptor(onward, drop_body)
        await self.app(given, receive, interceptor.send)
        if interceptor.target is None:
            return
        host, handlers = self._of_host(scope) if self._has_hosts else ("", self._handlers)
        found = await self._handed_over(interceptor.target, handlers, host)
        if found is None:
            logger.error(
                "%r: the application hands over %r, which is not in an internal location",
                scope["path"],
                interceptor.target.raw,
            )
            answer = response.error_response(500, [NOSNIFF], scope["method"])
            connection = response_writer(scope, receive, send, self._context.send_timeout)
            await send_response(connection, answer, None, scope["path"], self._context.chunk_size)
            return
        handler, candidates = found
        await handler.hand_over(candidates, interceptor.headers, scope, receive, send)

    async def _handed_over(
        self, target: Target, handlers: _Handlers, host: str
    ) -> tuple[LocationHandler, list[str]] | None:
        """The internal location of a target, and the target's candidates below its root."""
        if target.is_url:
            for handler in handlers:
                if paths := _below(target, handler.prefix):
                    if not handler.is_internal:
                        return None
                    return await self._at_host(handler, handlers, host), paths
            return None
        internal = [
            (folder, found)
            for handler in handlers
            if handler.is_internal
            for found in [await self._at_host(handler, handlers, host)]
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


setting_changed.connect(MediaMiddleware.settings_changed)


def _with_headers(scope: Scope) -> Scope:
    """The scope with a list of headers. ASGI allows any iterable, and they are read twice."""
    headers = scope.get("headers")
    if type(headers) is list or type(headers) is tuple:
        return scope
    return {**scope, "headers": [*(headers or ())]}


def _below(target: Target, folder: str) -> list[str]:
    """The candidates of a target that lie below a folder, as paths below it."""
    start = merge_slashes(folder + os.sep)
    return [path[len(start) :] for path in target.candidates if path.startswith(start)]


def _places(locations: Iterable[Location]) -> dict[str, Place]:
    """Where the folders lie of locations that are not public."""
    return {
        folder: Place(folder)
        for one in locations
        if not one.policy.is_public
        for folder in one.folders
    }


def _hides(location: Location, other: Location) -> bool:
    """Are the files of a location not for everybody who may have the other's?"""
    return (
        location is not other
        and not location.policy.is_public
        and other.policy.answers_clients
        and not (location.policy.decides_by_url and type(location.policy) is type(other.policy))
    )


def _more_restricted(location: Location, others: Sequence[Location]) -> list[Location]:
    """Locations whose files are not for everybody who may have this one's."""
    if location.file:
        return []
    return [other for other in others if _hides(other, location)]


def _excluded(
    root: str, restricted: Sequence[Location], places: Mapping[str, Place]
) -> list[ExcludedFolder]:
    """Folders below this root that belong to a more restricted location."""
    path = os.path.realpath(root)
    return [
        ExcludedFolder(place := places[folder], may_be_root=place.known.path == path)
        for other in restricted
        for folder in other.folders
    ]
