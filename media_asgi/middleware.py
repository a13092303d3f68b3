"""
``MediaMiddleware``: which location serves a request. Everything else goes to the application.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar
from weakref import WeakSet

from django.core.exceptions import ImproperlyConfigured

from .access.x_accel import ResponseInterceptor, Target
from .conf import check_number, django_setting
from .handler import HandlerContext, LocationHandler
from .http import response
from .http.headers import NOSNIFF
from .http.path import merge_slashes, request_path
from .location import Location
from .security import SecuritySettings
from .servers.daphne_request import root_path
from .servers.send import response_writer, send_response
from .sources.base import Source
from .sources.disk_cache import DiskCacheSource
from .sources.first import FirstSource
from .sources.guard import ExcludedFolder, Place
from .sources.gunzip import GunzipSource
from .sources.local import LocalSource
from .sources.memory_cache import MemoryCache
from .sources.precompressed import Precompressed
from .sources.workers import Workers
from .types import ASGIApp, Receive, Scope, Send

logger = logging.getLogger("media_asgi")


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
        self.app = app
        self._context = HandlerContext(
            chunk_size=chunk_size,
            send_timeout=float(send_timeout),
            security=SecuritySettings.from_django(),
        )
        self._workers = partial(Workers, threads, timeout=float(disk_timeout))
        self._handlers = self._arrange(locations or (Location.media(),))
        # X-Sendfile may name a file of these. The deepest folder comes first.
        self._internal = sorted(
            (
                (folder, handler)
                for handler in self._handlers
                if handler.is_internal
                for folder in (handler.location.folders or ("",))
            ),
            key=lambda pair: -len(pair[0]),
        )
        self._prefixes = tuple(handler.prefix for handler in self._handlers)
        self._script_name: str = django_setting("FORCE_SCRIPT_NAME") or ""
        self.instances.add(self)

    def _arrange(self, locations: Sequence[Location]) -> list[LocationHandler]:
        by_prefix: dict[str, Location] = {}
        for location in locations:
            if not isinstance(location, Location):
                raise ImproperlyConfigured(
                    f"MediaMiddleware got {location!r} as a location. Give Location(url=..., "
                    "root=...) or Location.media()."
                )
            if (other := by_prefix.setdefault(location.prefix, location)) is not location:
                raise ImproperlyConfigured(
                    f"Two locations have the prefix {location.prefix!r}, with the roots "
                    f"{other.root!r} and {location.root!r}. Give one of them another url."
                )
        longest_first = sorted(by_prefix.values(), key=lambda location: -len(location.prefix))
        self._places = {
            folder: Place(folder)
            for location in longest_first
            if not location.policy.is_public
            for folder in location.folders
        }
        return [
            LocationHandler(
                location,
                self._context,
                self._source(location, longest_first),
                [p for p in by_prefix if p.startswith(location.prefix) and p != location.prefix],
            )
            for location in longest_first
        ]

    def _source(self, location: Location, locations: Sequence[Location]) -> Source:
        restricted = _more_restricted(location, locations)
        sources = [
            self._folder(location, root, restricted)
            if isinstance(root, str)
            else self._store(location, root, restricted)
            for root in location.roots
        ]
        return sources[0] if len(sources) == 1 else FirstSource(sources)

    def _store(self, location: Location, root: Any, restricted: Sequence[Location]) -> Source:
        source = _without(root, restricted)
        if location.cache is not None and hasattr(root, "identity"):
            workers = self._workers(folder=os.fspath(location.cache.path))
            cached = DiskCacheSource(
                root,
                location.cache,
                workers,
                lambda name: location.is_immutable(os.fsdecode(name)),
            )
            source = MemoryCache(cached, max_file=self._context.chunk_size)
        return GunzipSource(source)

    def _folder(self, location: Location, root: str, restricted: Sequence[Location]) -> Source:
        path = os.path.dirname(root) if location.file else root
        folder = LocalSource(
            path,
            self._workers(folder=path),
            # One file may be a link, as a root may. No client names it.
            follow_symlinks=location.follow_symlinks or bool(location.file),
            excluded=_excluded(root, restricted, self._places),
        )
        files = MemoryCache(folder, max_file=self._context.chunk_size)
        return Precompressed(files) if location.precompressed else files

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            mount = self._script_name or root_path(scope, send)
            path = scope["path"]
            if mount or path.startswith(self._prefixes) or "//" in path:
                found = self._find(scope, mount)
                if found is not None and not found[0].is_internal:
                    handler, rest, urls = found
                    if type(scope.get("headers")) is not list:
                        scope = _with_headers(scope)
                    await handler.serve(self._call_app, rest, urls, scope, receive, send, mount)
                    return
            if self._internal:
                await self._call_app(_with_headers(scope), receive, send)
                return
        await self.app(scope, receive, send)

    def _find(self, scope: Scope, mount: str) -> tuple[LocationHandler, str, Sequence[str]] | None:
        """The location of a request, the path below its root, and the URLs of the file."""
        sent = path = scope["path"]
        if "\ufffd" in path:
            sent = path = request_path(scope)
        if "//" in path:
            path = merge_slashes(path)
        if mount:
            mount = mount.rstrip("/")
            found = self._locate(path, mount)
            return found and (*found, self._urls(found, mount, sent))
        for handler in self._handlers:
            if path.startswith(handler.prefix) and (not handler.is_file or path == handler.prefix):
                return handler, path[len(handler.prefix) :], (sent,)
        return None

    def _urls(self, found: tuple[LocationHandler, str], mount: str, sent: str) -> Sequence[str]:
        """The paths under which clients know a file below a mount point, and that name only it.

        They have the slashes of the request, since a client signs the path that it sends.
        """
        url = found[0].prefix + found[1]
        others = {mount + url, url.removeprefix(mount)} - {url}
        urls = (url, *(other for other in others if self._is_alias(other, found, mount)))
        if "//" not in sent:
            return urls
        spellings = {sent, mount + sent, sent.removeprefix(mount)}
        # A link is never signed for the empty path.
        return [one for one in spellings if merge_slashes(one) in urls] or ("",)

    def _is_alias(self, url: str, found: tuple[LocationHandler, str], mount: str) -> bool:
        """Does this path lead to the file, and without the mount not to another location's?"""
        return self._locate(url, mount) == found and self._locate(url, "") in (None, found)

    async def _call_app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request to the application, which may answer with the name of a file to serve."""
        if not self._internal:
            await self.app(scope, receive, send)
            return
        interceptor = ResponseInterceptor(send)
        await self.app(scope, receive, interceptor.send)
        if interceptor.target is None:
            return
        found = await self._handed_over(interceptor.target)
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

    async def _handed_over(self, target: Target) -> tuple[LocationHandler, list[str]] | None:
        """The internal location of a target, and the target's candidates below its root."""
        if target.is_url:
            for handler in self._handlers:
                if paths := _below(target, handler.prefix):
                    return (handler, paths) if handler.is_internal else None
            return None
        for folder, handler in self._internal:
            if folder and (paths := _below(target, folder)):
                return handler, paths
        # Compare with where each root lies now, with its links resolved. To ask for that takes a
        # call, so the likeliest root comes first.
        places = [(self._places[folder], handler) for folder, handler in self._internal if folder]
        for place, handler in sorted(
            places, key=lambda pair: not _below(target, pair[0].known.path)
        ):
            where = await place.told()
            if where and (paths := _below(target, where.path)):
                return handler, paths
        return None

    def _locate(self, path: str, mount: str) -> tuple[LocationHandler, str] | None:
        """The location with the longest prefix of ``path``, and the rest of the path.

        Below a mount point, ASGI's path begins with the ``root_path``. But a proxy may have removed
        it, Daphne's ``--root-path`` doesn't add it, and MEDIA_URL has it only if the project wrote
        it there. So three paths are tried: as it is, with the mount point, and without.
        """
        candidates = (path, mount + path, path.removeprefix(mount))
        for handler in self._handlers:
            for candidate in candidates:
                if candidate.startswith(handler.prefix) and (
                    not handler.is_file or candidate == handler.prefix
                ):
                    return handler, candidate[len(handler.prefix) :]
        return None


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


def _more_restricted(location: Location, others: Sequence[Location]) -> list[Location]:
    """Locations whose files are not for everybody who may have this one's."""
    if not location.policy.answers_clients or location.file:
        return []
    return [
        other
        for other in others
        if other is not location
        and not other.policy.is_public
        and not (other.policy.decides_by_url and type(other.policy) is type(location.policy))
    ]


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


def _without(source: Any, restricted: Sequence[Location]) -> Source:
    """The source of a bucket without the prefixes that belong to a more restricted location."""
    if (bucket := getattr(source, "bucket", None)) is not None:
        others: list[Any] = [root for other in restricted for root in other.roots]
        prefixes = {one.prefix for one in others if getattr(one, "bucket", None) == bucket}
        source.excluded = tuple(prefixes - {source.prefix})
    return source  # type: ignore[no-any-return]
