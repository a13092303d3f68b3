"""A source of a bucket, without what belongs to a more restricted location."""

from collections.abc import Hashable, Sequence
from functools import cached_property
from typing import Protocol

from .base import FileMissingError, Source, SourceFile, Wanted


class PlacedSource(Source, Protocol):
    def place(self) -> tuple[Hashable, str]:
        """The name of the bucket, and the prefix of the keys in it. Raises ``SourceError``."""


class WithoutPrefixes:
    """``source``, over the bucket of ``root``, without the objects of ``others``.

    It stands around caches: one may have kept an object before the other location was there, or
    for a location that may serve it.
    """

    def __init__(self, source: Source, root: PlacedSource, others: Sequence[PlacedSource]) -> None:
        self._source = source
        self._root = root
        self._others = others

    def version_nowait(self, name: bytes) -> Hashable | None:
        return None if self._is_excluded(name) else self._source.version_nowait(name)

    def open_nowait(self, name: bytes, wanted: Wanted) -> SourceFile | None:
        if self._is_excluded(name):
            raise FileMissingError
        return self._source.open_nowait(name, wanted)

    async def open(self, name: bytes, wanted: Wanted) -> SourceFile:
        if self._is_excluded(name):
            raise FileMissingError
        return await self._source.open(name, wanted)

    def _is_excluded(self, name: bytes) -> bool:
        # Azure takes a backslash in a name for a slash.
        return name.replace(b"\\", b"/").startswith(self._prefixes)

    @cached_property
    def _prefixes(self) -> tuple[bytes, ...]:
        """Those below the root's own. Found at the first request, when the stores are made."""
        bucket, prefix = self._root.place()
        # One bucket may have several endpoints, so the name alone counts.
        others = [other for name, other in (one.place() for one in self._others) if name == bucket]
        return tuple(
            other.removeprefix(prefix).encode()
            for other in others
            if other.startswith(prefix) and other != prefix
        )
