"""
Opens a file of a location, and makes the response for it.
"""

import dataclasses
import os
import secrets
from collections.abc import Collection, Mapping, Sequence
from urllib.parse import quote

from .access.base import HeaderOverrides
from .http import codings, ranges, response
from .http.headers import pick
from .http.path import file_name
from .http.response import CONDITIONAL, Response
from .known_files import Key, KnownFile, KnownFiles
from .location import Location
from .refusals import DotfileLog
from .sources.base import (
    NOTHING,
    WHOLE,
    FileMissingError,
    Source,
    SourceError,
    SourceFile,
    Wanted,
)
from .sources.memory_cache import MemoryCache
from .statuses import HTTPError
from .types import Headers, Scope

# A cache that revalidates sends both. The date doesn't count then (RFC 9110 section 13.1.3).
_REVALIDATION = frozenset({b"if-none-match", b"if-modified-since"})
_RANGE = frozenset({b"range"})
_ACCEPT_ENCODING = frozenset({b"accept-encoding"})


@dataclasses.dataclass(slots=True)
class FileRequest:
    """A request for a file of a location."""

    method: str
    path: str
    """Of the file, below the root."""
    fields: Mapping[bytes, bytes]
    """The header fields of the request that count here."""
    secure: bool
    headers: Collection[tuple[bytes, bytes]]
    """All header fields of the request."""


class Responder:
    """The files of one location, and the responses for them.

    ``nested``: the prefixes of other locations that begin with this one's.
    """

    def __init__(
        self, location: Location, source: Source, known: KnownFiles, nested: Sequence[str]
    ) -> None:
        self._location = location
        self._source = source
        self._known = known
        self._nested = tuple(nested)
        self._has_variants = location.precompressed
        self._memory = source if isinstance(source, MemoryCache) else None
        self._dotfiles = bool(location.file) or location.dotfiles
        self._dotfile_log = DotfileLog(location)

    def kept_nowait(
        self, path: str, fields: Mapping[bytes, bytes], *, secure: bool
    ) -> tuple[int, Headers, bytes] | None:
        """The status, the headers and the body for a GET, if they are in memory.

        It does what ``respond_nowait`` does for the commonest requests, in a third of the steps.
        """
        known = self._known.get((path, secure, ()))
        if known is None:
            return None
        if fields:
            is_current = self._is_current(known, fields)
            return (304, known.not_modified.headers, b"") if is_current else None
        file = None if self._memory is None else self._memory.kept_nowait(known.name)
        if file is None or file.info.version != known.version:
            return None
        return 200, known.full.headers, file.content

    def respond_nowait(
        self, request: FileRequest, changes: HeaderOverrides | None
    ) -> tuple[Response, SourceFile | None] | None:
        """The response and its file, or ``None`` if that needs waiting."""
        method, path, fields = request.method, request.path, request.fields
        is_whole = method == "GET" and (not fields or CONDITIONAL.isdisjoint(fields))
        wanted = WHOLE if is_whole else NOTHING
        preferred: tuple[bytes, ...] = ()
        if self._has_variants:
            wanted, preferred = _with_codings(wanted, request)
        key = (path, request.secure, preferred)
        known = self._known.get(key)
        if known is None:
            name = self._name(path)
        else:
            name = known.name
            if fields and method == "GET" and changes is None and self._is_current(known, fields):
                return known.not_modified, None
        file = self._source.open_nowait(name, wanted)
        if file is None:
            return None
        if (
            is_whole
            and changes is None
            and known is not None
            and known.version == file.info.version
        ):
            return known.full, file
        return self._response_for(file, name, request, key, changes), file

    async def respond(
        self, request: FileRequest, changes: HeaderOverrides | None
    ) -> tuple[Response, SourceFile]:
        name = self._name(request.path)
        wanted, preferred = _with_codings(_wanted(request), request)
        file = await self._source.open(name, wanted)
        key = (request.path, request.secure, preferred if self._has_variants else ())
        return self._response_for(file, name, request, key, changes), file

    async def respond_first(
        self, request: FileRequest, candidates: list[str], changes: HeaderOverrides
    ) -> tuple[FileRequest, Response, SourceFile | None]:
        for number, path in enumerate(candidates, 1):
            one = dataclasses.replace(request, path=path)
            try:
                found = self.respond_nowait(one, changes) or await self.respond(one, changes)
                return one, *found
            except FileMissingError:
                if number == len(candidates):
                    raise
        raise AssertionError("there is always a candidate")

    async def folder_redirect(
        self, index: str, request: FileRequest, scope: Scope
    ) -> HTTPError | SourceError | None:
        """A redirect to the slash at the end, if the path is that of a folder with an index."""
        path, query = request.path, scope.get("query_string") or b""
        try:
            file = await self._source.open(self._name(f"{path}/{index}"), NOTHING)
        except FileMissingError:
            return None
        except SourceError as error:
            return error
        file.close()
        # Relative, since only the client knows the whole URL: a proxy may have cut it. With "./" a
        # name can be neither a scheme nor, after "//", another host (RFC 3986 section 4.2).
        location = f"./{quote(os.fsencode(path.rpartition('/')[2]), safe='')}/"
        if query:
            location += "?" + quote(query, safe="%!$&'()*+,/:;=?@[]")
        return HTTPError(301, [(b"location", location.encode("ascii"))])

    def file_path(self, path: str) -> str:
        file_path = self._location.policy.file_path(path)
        # A folder's signature counts for its own location, and not for one whose URL lies below.
        if file_path != path and (self._location.prefix + file_path).startswith(self._nested):
            raise FileMissingError
        return file_path

    def _name(self, path: str) -> bytes:
        name = file_name(path, dotfiles=self._dotfiles)
        if name is None:
            self._dotfile_log.log(path)
            raise FileMissingError
        return name

    def _is_current(self, known: KnownFile, fields: Mapping[bytes, bytes]) -> bool:
        """Has the client the file as it is now, and does it ask for nothing else?"""
        return (
            fields.get(b"if-none-match") == known.representation.etag
            and (len(fields) == 1 or fields.keys() <= _REVALIDATION)
            and self._source.version_nowait(known.name) == known.version
        )

    def _response_for(
        self,
        file: SourceFile,
        name: bytes,
        request: FileRequest,
        key: Key,
        changes: HeaderOverrides | None,
    ) -> Response:
        """The response for an open file, which is closed if that fails."""
        try:
            known = self._known.describe(file.info, name, key)
            current = known.representation
            if changes is not None:
                current = self._known.changed(known, file.info, changes, key)
            return response.respond(request.method, request.fields, current, _boundary)
        except BaseException:
            file.close()
            raise


def _wanted(request: FileRequest) -> Wanted:
    """What the source is told to fetch at once."""
    if request.method != "GET":
        return NOTHING
    asked = request.fields.keys() & CONDITIONAL
    if asked == _RANGE and (one := ranges.single(request.fields[b"range"])):
        return Wanted(*one)
    return NOTHING if asked else WHOLE


def _with_codings(wanted: Wanted, request: FileRequest) -> tuple[Wanted, tuple[bytes, ...]]:
    """The same with the codings that the request takes, and those that it prefers."""
    accept_encoding = pick(request.headers, _ACCEPT_ENCODING).get(b"accept-encoding")
    if accept_encoding is None:
        return wanted, ()
    return wanted._replace(accept_encoding=accept_encoding), codings.preferred(accept_encoding)


def _boundary() -> bytes:
    """A string that no file contains, since nobody knows it before."""
    return secrets.token_hex(16).encode("ascii")
