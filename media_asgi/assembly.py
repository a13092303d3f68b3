"""
Makes the handlers of locations: the source of each one, and the folders that it may not serve.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from .handler import HandlerContext, LocationHandler
from .http.host import host_rank
from .location import Location
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


class Assembly:
    """The handlers of one middleware.

    ``workers`` makes the threads for a folder. Raises ``ImproperlyConfigured`` if two locations
    have the same prefix and host.
    """

    def __init__(
        self, locations: Sequence[Location], context: HandlerContext, workers: "partial[Workers]"
    ) -> None:
        self._context = context
        self._workers = workers
        by_key: dict[tuple[str | None, str], Location] = {}
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
        self._prefixes = {prefix for _, prefix in by_key}
        self.handlers = [self._handler(one, self._fixed, self._places) for one in longest_first]
        """In the order in which they are tried."""

    def build(self, location: Location, at_host: Sequence[Location]) -> LocationHandler:
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
        prefixes = self._prefixes - {location.prefix}
        nested = [prefix for prefix in prefixes if prefix.startswith(location.prefix)]
        source = self._source(location, others, places)
        return LocationHandler(location, self._context, source, nested, places)

    def _source(
        self, location: Location, others: Sequence[Location], places: Mapping[str, Place]
    ) -> Source:
        restricted = [] if location.file else [one for one in others if _hides(one, location)]
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
