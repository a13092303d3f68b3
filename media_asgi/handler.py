"""
One location at work: may they, is it there, what to answer, and off it goes.
"""

import dataclasses
import logging
import re
import secrets
import time
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

from .access import x_accel
from .access.base import AccessDenied, HeaderOverrides
from .http import cors, ranges, response
from .http.headers import NOSNIFF, override, pick
from .http.media_types import SANDBOX, content_type, runs_no_script
from .http.path import file_name, hidden_segment, is_traversal
from .http.representation import FileInfo, KeptHeaders, Representation, describe
from .http.response import CONDITIONAL, Response
from .location import Location
from .security import SecuritySettings
from .servers.send import read_body_nowait, response_writer, send_response
from .sources.base import (
    NOTHING,
    WHOLE,
    FileForbiddenError,
    FileMissingError,
    Source,
    SourceBusyError,
    SourceError,
    SourceFile,
    SourceTimeoutError,
    SourceUnreachableError,
    Wanted,
)
from .types import ASGIApp, Headers, Receive, Scope, Send

logger = logging.getLogger("media_asgi")


# The status for an error of a source; 500 for any other.
_STATUS: dict[type[SourceError], int] = {
    FileMissingError: 404,
    FileForbiddenError: 403,
    SourceBusyError: 503,
    SourceUnreachableError: 502,
    SourceTimeoutError: 504,
}

# A location remembers the commonest responses for so many files.
_MAX_KNOWN = 1024

# The log tells of so many dotfiles that a location refuses.
_DOTFILES = 100

# A cache that revalidates sends both. The date doesn't count then (RFC 9110 section 13.1.3).
_REVALIDATION = frozenset({b"if-none-match", b"if-modified-since"})
_RANGE = frozenset({b"range"})

_ADDRESS = re.compile(r"[\w.:%-]*", re.ASCII)

# The fields of a request that count here.
_FIELDS = CONDITIONAL | {b"origin", b"access-control-request-method", b"service-worker"}


@dataclasses.dataclass(frozen=True, slots=True)
class HandlerContext:
    """What all locations of a middleware share."""

    chunk_size: int
    """Bytes."""
    send_timeout: float
    """Seconds."""
    security: SecuritySettings


class _KnownFile(NamedTuple):
    """What is remembered of a file. It holds as long as the version is the same."""

    name: bytes
    version: Hashable
    representation: Representation
    full: Response
    not_modified: Response


class HTTPError(Exception):
    def __init__(self, status: int, headers: Headers) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers


class LocationHandler:
    """A location with the source of its files, and what is remembered of them."""

    def __init__(self, location: Location, context: HandlerContext, source: Source) -> None:
        self.location = location
        self.prefix = location.prefix
        self._context = context
        self._source = source
        self._security = context.security
        self._asks = context.security.depend_on_scheme
        self.is_internal = not location.policy.answers_clients
        self._is_public = location.policy.is_public
        self._origins = location.cors if isinstance(location.cors, frozenset) else None
        # Headers of any answer, by whether the request is secure.
        self._common = (self._common_headers(secure=False), self._common_headers(secure=True))
        self._dotfiles_told: set[str] = set()
        # By the path below the root, and whether the request is secure.
        self._known: dict[tuple[str, bool], _KnownFile] = {}

    async def serve(
        self,
        app: ASGIApp,
        path: str,
        urls: Sequence[str],
        scope: Scope,
        receive: Receive,
        send: Send,
        mount: str = "",
    ) -> None:
        """Answer a request for ``path`` beneath the root.

        ``urls``: its whole path, and what else that may be called outside; for signatures. ``app``
        is asked where the location falls through. ``mount``: where all of this is mounted, for the
        predicate.
        """
        method = scope["method"]
        fields = pick(scope["headers"], _FIELDS)
        secure = False
        if self._asks:
            secure = self._security.is_secure(scope)
            if not secure and self._security.redirects(scope["path"]):
                await app(scope, receive, send)
                return
        file: SourceFile | None = None
        body = None
        try:
            if method != "GET" or fields:
                self._check_request(method, fields)
            changes = None
            if not self._is_public:
                trusted = {**scope, "root_path": mount}  # the scope's own may be the client's
                changes = await self.location.policy.authorize(trusted, path, urls)
            found = self._respond_nowait(path, method, fields, changes, secure)
            if found is None:
                found = await self._respond(path, method, fields, changes, secure)
            answer, file = found
            if answer.length <= self._context.chunk_size:
                body = read_body_nowait(answer, file)
        except Exception as error:
            if file is not None:
                file.close()
                file = None
            status, headers = self._failed(error, scope)
            if status in (404, 405) and self.location.fallthrough:
                await app(scope, receive, send)
                return
            answer = self._error(status, method, headers, secure=secure)
        if self._origins is not None:
            answer = self._for_origin(answer, fields)
        if body is None:
            await self._send(answer, file, scope, receive, send, secure=secure)
            return
        # The ordinary hit, without a detour.
        if file is not None:
            file.close()
        writer = response_writer(scope, receive, send, self._context.send_timeout)
        await writer.whole(answer.status, answer.headers, body)

    def _respond_nowait(
        self,
        path: str,
        method: str,
        fields: Mapping[bytes, bytes],
        changes: HeaderOverrides | None,
        secure: bool,
    ) -> tuple[Response, SourceFile | None] | None:
        """The response and its file, or ``None`` if that needs waiting."""
        known = self._known.get((path, secure))
        if known is None:
            name = self._name(path)
        else:
            name = known.name
            if fields and method == "GET" and changes is None and self._is_current(known, fields):
                return known.not_modified, None
        wanted = WHOLE if method == "GET" and CONDITIONAL.isdisjoint(fields) else NOTHING
        file = self._source.open_nowait(name, wanted)
        if file is None:
            return None
        if (
            wanted is WHOLE
            and changes is None
            and known is not None
            and known.version == file.info.version
        ):
            return known.full, file
        return self._response_for(file, name, path, method, fields, changes, secure), file

    async def _respond(
        self,
        path: str,
        method: str,
        fields: Mapping[bytes, bytes],
        changes: HeaderOverrides | None,
        secure: bool,
    ) -> tuple[Response, SourceFile]:
        name = self._name(path)
        file = await self._source.open(name, _wanted(method, fields))
        return self._response_for(file, name, path, method, fields, changes, secure), file

    async def hand_over(
        self, candidates: list[str], headers: Headers, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Serve a file in place of the application's response, which had these ``headers``.

        ``candidates``: what its path beneath the root may be, likeliest first.
        """
        # Validators and ranges are for GET and HEAD alone; any other method gets the file.
        fields = pick(scope["headers"], _FIELDS) if scope["method"] in ("GET", "HEAD") else {}
        method = "HEAD" if scope["method"] == "HEAD" else "GET"
        changes = HeaderOverrides(
            x_accel.deliberate_type(headers), x_accel.value(headers, b"cache-control")
        )
        file: SourceFile | None = None
        try:
            if fields:
                self._check_request(method, fields)
            path, name, file = await self._open_first(candidates, _wanted(method, fields))
            answer = self._response_for(file, name, path, method, fields, changes, False)
            merged = x_accel.merged(headers, answer.headers, answer.status)
            answer = answer._replace(headers=merged)
        except Exception as error:
            if file is not None:
                file.close()
                file = None
            status, more = self._failed(error, scope)
            if status < 500:
                logger.warning(
                    "%r: the application hands over %r beneath %s, which can't be served: %r",
                    scope["path"],
                    candidates[0],
                    self.location.folder,
                    error,
                )
            answer = self._error(status, method, more, secure=False)
        if self._origins is not None:
            answer = self._for_origin(answer, fields)
        await self._send(answer, file, scope, receive, send, secure=False)

    async def _open_first(
        self, candidates: list[str], wanted: Wanted
    ) -> tuple[str, bytes, SourceFile]:
        for number, path in enumerate(candidates, 1):
            try:
                name = self._name(path)
                file = self._source.open_nowait(name, wanted)
                return path, name, file or await self._source.open(name, wanted)
            except FileMissingError:
                if number == len(candidates):
                    raise
        raise AssertionError("there is always a candidate")

    def _common_headers(self, *, secure: bool) -> Headers:
        policy = self.location.policy
        headers = [NOSNIFF]
        if policy.answers_clients:  # else the application's own middleware adds them
            headers += self._security.headers(secure=secure)
        headers = override(headers, policy.common_headers)
        if self.location.cors == "*":
            headers += cors.headers("*", {})
        return headers

    def _check_request(self, method: str, fields: Mapping[bytes, bytes]) -> None:
        if method == "GET" or method == "HEAD":
            if self.location.sandbox and fields.get(b"service-worker") == b"script":
                # It would go on answering for the site's pages below its path, from an upload.
                raise HTTPError(403, [])
        elif (
            method == "OPTIONS"
            and self.location.cors is not None
            and b"access-control-request-method" in fields
        ):
            raise HTTPError(204, cors.PREFLIGHT)
        else:
            raise HTTPError(405, [(b"allow", b"GET, HEAD")])

    def _name(self, path: str) -> bytes:
        name = file_name(path, dotfiles=self.location.dotfiles)
        if name is None:
            self._tell_of_dotfile(path)
            raise FileMissingError
        return name

    def _tell_of_dotfile(self, path: str) -> None:
        """One line for each name that is refused because it begins with a dot.

        Clients invent names, and none is longer than a file system has it.
        """
        name = hidden_segment(path, self.location.dotfiles)
        told = self._dotfiles_told
        if name in (None, ".", "..") or name in told or len(told) >= _DOTFILES or len(name) > 255:
            return
        told.add(name)
        logger.warning(
            "%r beneath %s is not served, since it begins with a dot. If clients are to have it, "
            "set dotfiles=[%r]. The log says so once of each name, and of %d names at most.",
            name,
            self.location.folder,
            name,
            _DOTFILES,
        )

    def _is_current(self, known: _KnownFile, fields: Mapping[bytes, bytes]) -> bool:
        """Has the client the file as it is now, and does it ask for nothing else?"""
        return (
            fields.get(b"if-none-match") == known.representation.etag
            and fields.keys() <= _REVALIDATION
            and self._source.version_nowait(known.name) == known.version
        )

    def _response_for(
        self,
        file: SourceFile,
        name: bytes,
        path: str,
        method: str,
        fields: Mapping[bytes, bytes],
        changes: HeaderOverrides | None,
        secure: bool,
    ) -> Response:
        """The response for an open file, which is closed if that fails."""
        try:
            known = self._describe(file.info, name, path, secure=secure)
            current = known.representation
            if changes is not None:
                type_ = changes.content_type or current.content_type
                extra = self._extra(file.info, type_, path, secure=secure)
                current = dataclasses.replace(
                    current,
                    content_type=type_,
                    cache_control=changes.cache_control or current.cache_control,
                    extra=override(extra, changes.headers),
                )
            return response.respond(method, fields, current, _boundary)
        except BaseException:
            file.close()
            raise

    def _describe(self, info: FileInfo, name: bytes, path: str, *, secure: bool) -> _KnownFile:
        """What there is to say of a file: remembered for as long as the version is the same."""
        known = self._known.get((path, secure))
        if known is not None and known.version == info.version:
            return known
        type_ = content_type(path, self.location.content_types).encode("latin-1")
        current = describe(
            info,
            time.time(),
            content_type=type_,
            cache_control=self.location.cache_control_for(path).encode("latin-1"),
            extra=self._extra(info, type_, path, secure=secure),
        )
        full, not_modified = response.full_response(current), response.not_modified(current)
        if not current.lasting or self.location.varies:
            return _KnownFile(name, info.version, current, full, not_modified)
        known = _KnownFile(name, info.version, current, _kept(full), _kept(not_modified))
        if len(self._known) >= _MAX_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[path, secure] = known
        return known

    def _extra(self, info: FileInfo, type_: bytes, path: str, *, secure: bool) -> Headers:
        headers = [*self._common[secure], *info.headers]
        if self.location.sandbox and not runs_no_script(type_.decode("latin-1")):
            headers.append((b"content-security-policy", SANDBOX))
        return override(headers, self.location.headers_for(path))

    def _for_origin(self, answer: Response, fields: Mapping[bytes, bytes]) -> Response:
        assert self._origins is not None
        more = cors.headers(self._origins, fields)
        return answer._replace(headers=[*answer.headers, *more])

    def _failed(self, error: Exception, scope: Scope) -> tuple[int, Headers]:
        """Status and headers that say what went wrong; the log says the rest."""
        if isinstance(error, HTTPError | AccessDenied):
            return error.status, error.headers
        if isinstance(error, SourceError):
            status = _STATUS.get(type(error), 500)
            if isinstance(error, FileMissingError):
                if reason := error.reason or (is_traversal(scope["path"]) and "the path climbs"):
                    _log_refused(scope, reason)
            elif status >= 500 and error.is_news:
                logger.error("%r can't be read: %s", scope["path"], error)
            return status, [(b"retry-after", b"1")] if status == 503 else []
        if isinstance(error, RuntimeError) and str(error) == "can't start new thread":
            # asgiref got none in which to ask the predicate.
            logger.error("%r: access can't be asked: %s", scope["path"], error)
            return 503, [(b"retry-after", b"1")]
        # A callable of the location's.
        logger.error("%r: no answer could be made", scope["path"], exc_info=error)
        return 500, []

    def _error(self, status: int, method: str, headers: Headers, *, secure: bool) -> Response:
        return response.error_response(status, [*self._common[secure], *headers], method)

    async def _send(
        self,
        answer: Response,
        file: SourceFile | None,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        secure: bool,
    ) -> None:
        connection = response_writer(scope, receive, send, self._context.send_timeout)
        path, chunk_size = scope["path"], self._context.chunk_size
        try:
            await send_response(connection, answer, file, path, chunk_size)
        except SourceError as error:
            status, headers = self._failed(error, scope)
            answer = self._error(status, scope["method"], headers, secure=secure)
            await send_response(connection, answer, None, path, chunk_size)


def _wanted(method: str, fields: Mapping[bytes, bytes]) -> Wanted:
    """What the source is told to fetch at once."""
    if method != "GET":
        return NOTHING
    if not fields:
        return WHOLE
    asked = fields.keys() & CONDITIONAL
    if asked == _RANGE and (one := ranges.single(fields[b"range"])):
        return Wanted(*one)
    return NOTHING if asked else WHOLE


def _kept(answer: Response) -> Response:
    return answer._replace(headers=KeptHeaders(answer.headers))


def _boundary() -> bytes:
    """What no file holds, since nobody knows it before."""
    return secrets.token_hex(16).encode("ascii")


def _log_refused(scope: Scope, why: str) -> None:
    """A line for fail2ban and the like."""
    client = str((scope.get("client") or ("-",))[0])
    if not _ADDRESS.fullmatch(client):
        # A server that trusts X-Forwarded-For takes any text from it.
        client = repr(client)
    logger.warning("refused client=%s path=%r: %s", client, scope["path"], why)
