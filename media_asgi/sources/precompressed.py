"""
A source whose files may have variants beside them that were compressed before: ``app.css.br`` of
``app.css``.
"""

import contextlib

from ..http.codings import preferred
from ..http.representation import FileInfo, etag_of
from .base import NOTHING, WHOLE, Source, SourceError, SourceFile, Wanted

_ENDINGS = {b"br": b".br", b"zstd": b".zst", b"gzip": b".gz"}


class _Variant:
    """An open file, with the information of a variant."""

    def __init__(self, file: SourceFile, info: FileInfo) -> None:
        self.info = info
        self.read_nowait = file.read_nowait
        self.stream = file.stream
        self.region = file.region
        self.close = file.close


class Precompressed:
    """Gives the variant that ``Wanted.accept_encoding`` prefers, or the file itself.

    A variant that can't be opened, or that is older than its file, is passed over. A file that is
    named with the ending of a variant is a file as any other.
    """

    def __init__(self, source: Source) -> None:
        self._source = source

    def version_nowait(self, name: bytes) -> None:
        return None  # which variant that is about depends on the request

    def open_nowait(self, name: bytes, wanted: Wanted) -> SourceFile | None:
        plain = WHOLE if wanted[:2] == WHOLE[:2] else NOTHING
        original = self._source.open_nowait(name, plain)
        if original is None:
            return None
        for coding in preferred(wanted.accept_encoding):
            try:
                variant = self._source.open_nowait(name + _ENDINGS[coding], plain)
            except SourceError:
                continue
            if variant is None:
                original.close()
                return None
            if chosen := _chosen(variant, original, coding):
                return chosen
        return original

    async def open(self, name: bytes, wanted: Wanted) -> SourceFile:
        original = await self._source.open(name, wanted)
        plain = wanted._replace(accept_encoding=None)
        try:
            for coding in preferred(wanted.accept_encoding):
                with contextlib.suppress(SourceError):
                    variant = await self._source.open(name + _ENDINGS[coding], plain)
                    if chosen := _chosen(variant, original, coding):
                        return chosen
        except BaseException:
            original.close()
            raise
        return original


def _chosen(variant: SourceFile, original: SourceFile, coding: bytes) -> SourceFile | None:
    """The variant, unless it is older than its original. The other one is closed."""
    info, newer = variant.info, original.info.modified or 0
    # A tool gives a variant the time of its original, and may lose the fraction of a second, or by
    # a float, as WhiteNoise does, some of the nanoseconds.
    older = info.modified or 0
    if newer - older >= (1_000 if older % 1_000_000_000 else 1_000_000_000):
        variant.close()
        return None
    original.close()
    info = info._replace(
        # Variants may have the same time and the same size.
        changed=info.changed if info.modified is None else info.modified,
        etag=b'%s-%s"' % (etag_of(info)[:-1], coding),
        headers=[*info.headers, (b"content-encoding", coding)],
    )
    return _Variant(variant, info)
