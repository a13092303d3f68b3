"""
Locations whose root depends on the request's host, such as one folder for each tenant.

Each root has a handler of its own, so no memory of files is shared between two roots.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple, NoReturn

from django.db import close_old_connections

from .conf import django_setting
from .handler import HandlerContext, LocationHandler
from .http.host import is_plain_name
from .location import Location
from .sources.base import FileMissingError, Wanted
from .sources.workers import Workers, in_worker

# A root is asked for again after so long, so that a tenant that is removed is soon not served.
# Seconds.
_LIFETIME = 5.0

# Handlers of one middleware. Clients invent hosts.
_MAX_HANDLERS = 64

Build = Callable[[Location, Sequence[Location]], LocationHandler]

_Key = tuple[str, str | None, str]
"""The host, and the key of the location."""


class FailingSource:
    """Has no file, for the same reason each time."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def version_nowait(self, name: bytes) -> Hashable | None:
        return None

    def open_nowait(self, name: bytes, wanted: Wanted) -> None:
        return None

    async def open(self, name: bytes, wanted: Wanted) -> NoReturn:
        raise self._error


class _Kept(NamedTuple):
    handler: LocationHandler
    roots: Sequence[object]
    """Of all siblings: a handler serves no file of a more restricted one."""
    until: float


class Tenants:
    """The handlers of the locations with a callable root.

    ``build`` makes one of a location whose root is known, and of all such locations of the host.
    """

    def __init__(self, build: Build, context: HandlerContext, workers: Workers) -> None:
        self._build = build
        self._context = context
        self._workers = workers
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()
        # Requests for one host share a call, so that a host that is slow takes one thread.
        self._asking: dict[_Key, asyncio.Task[tuple[LocationHandler, Sequence[object]]]] = {}

    async def handler(
        self, location: Location, siblings: Sequence[Location], host: str
    ) -> LocationHandler:
        """The handler of ``location`` at this host. If it has no root there, all its files fail.

        ``siblings``: all locations with a callable root that answer this host.
        """
        key = (host, *location.key)
        kept = self._kept.get(key)
        if kept is not None and time.monotonic() < kept.until:
            return kept.handler
        try:
            if not is_plain_name(host):
                raise FileMissingError
            asking = self._asking.get(key)
            if asking is None:
                asking = self._asking[key] = in_worker(
                    self._workers, (), self._ask, location, siblings, host, kept
                )
                asking.add_done_callback(lambda _: self._asking.pop(key))
            handler, roots = await asyncio.shield(asking)
        except Exception as error:
            self._kept.pop(key, None)
            return LocationHandler(location, self._context, FailingSource(error))
        self._kept[key] = _Kept(handler, roots, time.monotonic() + _LIFETIME)
        self._kept.move_to_end(key)
        if len(self._kept) > _MAX_HANDLERS:
            self._kept.popitem(last=False)
        return handler

    def _ask(
        self, location: Location, siblings: Sequence[Location], host: str, kept: _Kept | None
    ) -> tuple[LocationHandler, Sequence[object]]:
        # The callables may ask a database. A thread has connections of its own.
        refresh = close_old_connections if django_setting("DATABASES") else bool
        refresh()
        try:
            roots = [one.root(host) for one in siblings if callable(one.root)]
        finally:
            refresh()
        at_host = {
            one.key: one.at(root)
            for one, root in zip(siblings, roots, strict=True)
            if root is not None
        }
        if location.key not in at_host:
            raise FileMissingError
        if kept is not None and kept.roots == roots:
            return kept.handler, roots
        return self._build(at_host[location.key], [*at_host.values()]), roots
