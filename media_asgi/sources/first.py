"""Several sources under one URL: the first that has a file serves it."""

from collections.abc import Hashable, Sequence

from .base import FileMissingError, Source, SourceFile, Wanted


class FirstSource:
    """Only a missing file goes on to the next source. Any other failure is the answer.

    Else a store that is down would be taken for one without the file, and an old one served.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources

    def version_nowait(self, name: bytes) -> Hashable | None:
        return self._sources[0].version_nowait(name)

    def open_nowait(self, name: bytes, wanted: Wanted) -> SourceFile | None:
        missing = FileMissingError()
        for source in self._sources:
            try:
                return source.open_nowait(name, wanted)
            except FileMissingError as error:
                missing = missing if missing.reason else error
        raise missing

    async def open(self, name: bytes, wanted: Wanted) -> SourceFile:
        missing = FileMissingError()
        for source in self._sources:
            try:
                return await source.open(name, wanted)
            except FileMissingError as error:
                missing = missing if missing.reason else error
        raise missing
