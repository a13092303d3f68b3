"""
``MediaMiddleware``: an ASGI application that serves its locations, and passes everything else on.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar
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
from .servers import daphne
from .servers.send import response_writer, send_response
from .sources.base import Source
from .sources.guard import ExcludedFolder, Place
from .sources.local import LocalSource
from .sources.memory_cache import MemoryCache
from .sources.workers import Workers
from .types import ASGIApp, Receive, Scope, Send

logger = logging.getLogger("media_asgi")


class MediaMiddleware:
    """Serves files, and passes every other request, websocket and lifespan on to ``app``.

    ``app``: any ASGI 3 application, such as ``get_asgi_application()`` or a ``ProtocolTypeRouter``.

    ``locations``: what to serve; the longest URL prefix that fits decides. Without any,
    ``Location.media()``: ``MEDIA_ROOT`` under ``MEDIA_URL``.

    ``chunk_size``: bytes of a file that a download holds in memory, at most. By default 256 KiB.

    ``threads``: workers of each location that wait for its disk, at most. By default 8.

    ``disk_timeout``: seconds to wait for the disk, after which the answer is 503. By default 30.

    ``send_timeout``: seconds after which a client that takes no byte is cut off. By default 60.

    Raises ``ImproperlyConfigured`` for what can't be meant.
    """

    instances: ClassVar[WeakSet["MediaMiddleware"]] = WeakSet()
    """All that are in use, for the system checks."""

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
                f"MediaMiddleware got {app!r}, which is no ASGI application. Give it one first: "
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
        self._served = self._arrange(locations or (Location.media(),))
        internal = [served for served in self._served if served.is_internal]
        # Where X-Sendfile may point to, the deepest first.
        self._internal = sorted(internal, key=lambda served: -len(served.location.folder))
        self._prefixes = tuple(served.prefix for served in self._served)
        self._script_name: str = django_setting("FORCE_SCRIPT_NAME") or ""
        self.instances.add(self)

    def _arrange(self, locations: Sequence[Location]) -> list[LocationHandler]:
        by_prefix: dict[str, Location] = {}
        for location in locations:
            if not isinstance(location, Location):
                raise ImproperlyConfigured(
                    f"MediaMiddleware got {location!r} for a location. Give Location(url=..., "
                    "root=...) or Location.media()."
                )
            if (other := by_prefix.setdefault(location.prefix, location)) is not location:
                raise ImproperlyConfigured(
                    f"Two locations have the prefix {location.prefix!r}, with the roots "
                    f"{other.root!r} and {location.root!r}. Give one of them another url."
                )
        longest_first = sorted(by_prefix.values(), key=lambda location: -len(location.prefix))
        self._places = {
            location.prefix: Place(location.folder)
            for location in longest_first
            if not location.policy.is_public
        }
        return [
            LocationHandler(
                location,
                self._context,
                self._source(location, _excluded(location, longest_first, self._places)),
            )
            for location in longest_first
        ]

    def _source(self, location: Location, excluded: Sequence[ExcludedFolder]) -> Source:
        folder = LocalSource(
            location.folder,
            self._workers(folder=location.folder),
            follow_symlinks=location.follow_symlinks,
            excluded=excluded,
        )
        return MemoryCache(folder, max_file=self._context.chunk_size)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            mount = self._script_name or daphne.root_path(scope, send)
            path = scope["path"]
            if mount or path.startswith(self._prefixes) or "//" in path:
                found = self._find(scope, mount)
                if found is not None and not found[0].is_internal:
                    served, rest, urls = found
                    if type(scope.get("headers")) is not list:
                        scope = _with_headers(scope)
                    await served.serve(self._call_app, rest, urls, scope, receive, send, mount)
                    return
            if self._internal:
                await self._call_app(_with_headers(scope), receive, send)
                return
        await self.app(scope, receive, send)

    def _find(self, scope: Scope, mount: str) -> tuple[LocationHandler, str, Sequence[str]] | None:
        """The location of a request, the rest of its path, and what that is called outside."""
        sent = path = scope["path"]
        if "\ufffd" in path:
            sent = path = request_path(scope)
        if "//" in path:
            path = merge_slashes(path)
        if mount:
            mount = mount.rstrip("/")
            found = self._locate(path, mount)
            return found and (*found, self._urls(found, mount, sent))
        for served in self._served:
            if path.startswith(served.prefix):
                return served, path[len(served.prefix) :], (sent,)
        return None

    def _urls(self, found: tuple[LocationHandler, str], mount: str, sent: str) -> Sequence[str]:
        """The paths under which a file beneath a mount point is known, and no other file is.

        With the slashes of the request, since a signature is of the path as it is sent.
        """
        url = found[0].prefix + found[1]
        others = {mount + url, url.removeprefix(mount)} - {url}
        urls = (url, *(other for other in others if self._is_alias(other, found, mount)))
        if "//" not in sent:
            return urls
        spellings = {sent, mount + sent, sent.removeprefix(mount)}
        # No link is signed for the empty path.
        return [one for one in spellings if merge_slashes(one) in urls] or ("",)

    def _is_alias(self, url: str, found: tuple[LocationHandler, str], mount: str) -> bool:
        """Does this path lead to that file, and as it stands to no file of another location?"""
        return self._locate(url, mount) == found and self._locate(url, "") in (None, found)

    async def _call_app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on to the application, which may hand over a file for an answer."""
        if not self._internal:
            await self.app(scope, receive, send)
            return
        handover = ResponseInterceptor(send)
        await self.app(scope, receive, handover.send)
        if handover.target is None:
            return
        found = await self._handed_over(handover.target)
        if found is None:
            logger.error(
                "%r: the application hands over %r, which is in no internal location",
                scope["path"],
                handover.target.raw,
            )
            answer = response.error_response(500, [NOSNIFF], scope["method"])
            connection = response_writer(scope, receive, send, self._context.send_timeout)
            await send_response(connection, answer, None, scope["path"], self._context.chunk_size)
            return
        served, candidates = found
        await served.hand_over(candidates, handover.headers, scope, receive, send)

    async def _handed_over(self, target: Target) -> tuple[LocationHandler, list[str]] | None:
        """The internal location of a target, and the readings of its path beneath that root."""
        if target.is_url:
            for served in self._served:
                if rests := _rests(target, served.prefix):
                    return (served, rests) if served.is_internal else None
            return None
        for served in self._internal:
            if rests := _rests(target, served.location.folder):
                return served, rests
        # Links resolved, as the root lies now. The likeliest first: each is asked for.
        for served in sorted(
            self._internal,
            key=lambda served: not _rests(target, self._places[served.prefix].known.path),
        ):
            where = await self._places[served.prefix].told()
            if where and (rests := _rests(target, where.path)):
                return served, rests
        return None

    def _locate(self, path: str, mount: str) -> tuple[LocationHandler, str] | None:
        """The location with the longest prefix of ``path``, and the rest of it.

        Beneath a mount point, ASGI's path holds the ``root_path``, but a proxy may have stripped it
        from the request, and Daphne's ``--root-path`` doesn't add it; MEDIA_URL holds it where the
        project wrote it there. So the path counts as it is, with the mount point before it, and
        without.
        """
        candidates = (path, mount + path, path.removeprefix(mount))
        for served in self._served:
            for reading in candidates:
                if reading.startswith(served.prefix):
                    return served, reading[len(served.prefix) :]
        return None


def _with_headers(scope: Scope) -> Scope:
    """ASGI allows any iterable, and none: they are read more than once."""
    headers = scope.get("headers")
    if type(headers) is list or type(headers) is tuple:
        return scope
    return {**scope, "headers": [*(headers or ())]}


def _rests(target: Target, folder: str) -> list[str]:
    """What the readings of a target are beneath a folder."""
    start = merge_slashes(folder + os.sep)
    return [reading[len(start) :] for reading in target.candidates if reading.startswith(start)]


def _excluded(
    location: Location, others: Sequence[Location], places: Mapping[str, Place]
) -> list[ExcludedFolder]:
    """The folders whose files are another location's, and not for whoever may see this one's."""
    if not location.policy.answers_clients:
        return []
    root = os.path.realpath(location.folder)
    return [
        ExcludedFolder(place := places[other.prefix], may_be_root=place.known.path == root)
        for other in others
        if other is not location
        and not other.policy.is_public
        and not (other.policy.decides_by_url and type(other.policy) is type(location.policy))
    ]
