"""
One location at work: authorize, open, respond, send.

Each error becomes a status here, and nowhere else.
"""

import dataclasses
import logging
import os
import secrets
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from .access import x_accel
from .access.base import AccessDenied, HeaderOverrides
from .access.error_page import ErrorPage
from .access.grant import PredicateHandler
from .access.predicate import Predicate
from .explain import explain
from .http import codings, ranges, response
from .http.cors import CORS
from .http.headers import pick, with_one_vary
from .http.path import file_name, is_traversal, request_path
from .http.response import CONDITIONAL, Response
from .known_files import Key, KnownFile, KnownFiles
from .location import Location
from .refusals import DotfileLog, log_refused, why
from .security import SecuritySettings
from .servers.send import read_body_nowait, response_writer, send_response
from .servers.tracked import TrackedWriter
from .signals import file_sent, send_file_sent
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
from .sources.guard import Place
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

# A cache that revalidates sends both. The date doesn't count then (RFC 9110 section 13.1.3).
_REVALIDATION = frozenset({b"if-none-match", b"if-modified-since"})
_RANGE = frozenset({b"range"})
_ACCEPT_ENCODING = frozenset({b"accept-encoding"})

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
    django: PredicateHandler = dataclasses.field(default_factory=PredicateHandler)
    """Asks the predicates."""


class FileRequest(NamedTuple):
    """A request for a file of a location."""

    method: str
    path: str
    """Of the file, below the root."""
    fields: Mapping[bytes, bytes]
    """The header fields of the request that count here."""
    secure: bool
    headers: Collection[tuple[bytes, bytes]]
    """All header fields of the request."""


class HTTPError(Exception):
    reason = "a location with a sandbox has no service workers"
    """Of a 403."""

    def __init__(self, status: int, headers: Headers) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers


class LocationHandler:
    """A location with the source of its files."""

    def __init__(
        self,
        location: Location,
        context: HandlerContext,
        source: Source,
        nested: Sequence[str] = (),
        places: Mapping[str, Place] | None = None,
    ) -> None:
        """``nested``: the prefixes of other locations that begin with this one's.

        ``places``: where the folders of locations lie that are not public.
        """
        self.location = location
        self.prefix = location.prefix
        self.is_file = bool(location.file)
        self._has_names = self.is_file or location.index is not None
        self.is_internal = not location.policy.answers_clients
        self._context = context
        # The longest body that is sent at once.
        self._at_once = 0 if location.limit_rate else context.chunk_size
        self._source = source
        self._nested = tuple(nested)
        self.places = places or {}
        self._is_public = location.policy.is_public
        self._predicate = location.policy if isinstance(location.policy, Predicate) else None
        self._cors = location.cors if isinstance(location.cors, CORS) else None
        self._has_origins = self._cors is not None and self._cors.origins is not None
        self._has_variants = location.precompressed
        self._known = KnownFiles(location, context.security)
        self._dotfile_log = DotfileLog(location)

    async def serve(
        self,
        app: ASGIApp,
        path: str,
        urls: Sequence[str],
        scope: Scope,
        receive: Receive,
        send: Send,
        mount: str = "",
        host: str = "",
    ) -> None:
        """Answer a request for ``path``, which is below the root.

        ``app`` answers if the location falls through. ``urls``: the paths under which clients know
        the file, for signatures; that of the request is the first. ``mount``: the root path that
        the server has set. ``host``: the request's, as ``http.host.request_host`` gives it.
        """
        secure, security = False, self._context.security
        if security.depend_on_scheme:
            secure = security.is_secure(scope)
            if not secure and security.redirects(scope["path"]):
                if self.location.owns_host:
                    await self._redirect_to_tls(host, scope, receive, send)
                else:
                    await app(scope, receive, send)
                return
        if self._has_names and (not path or path[-1] == "/"):
            path += self.location.file or self.location.index or ""
        headers = scope["headers"]
        request = FileRequest(scope["method"], path, pick(headers, _FIELDS), secure, headers)
        file: SourceFile | None = None
        body = changes = grant = None
        try:
            if request.method != "GET" or request.fields:
                self._check_request(request)
            if not self._is_public:
                trusted = {**scope, "root_path": mount}  # the scope's own may be the client's
                if self._predicate is None:
                    own_host = host if self.location.host else None
                    changes = await self.location.policy.authorize(trusted, path, urls, own_host)
                    request = request._replace(path=self._file_path(path))
                else:
                    django = self._context.django
                    grant = await self._predicate.ask(django, trusted, path, receive, send)
                    if grant is None:
                        return
                    receive = grant.replay
            found = self._respond_nowait(request, changes) or await self._respond(request, changes)
            answer, file = found
            if answer.length <= self._at_once and not file_sent.receivers:
                body = read_body_nowait(answer, file)
        except Exception as error:
            if file is not None:
                file.close()
                file = None
            if self.location.index is not None and isinstance(error, FileMissingError):
                error = await self._redirect(self.location.index, request, scope) or error
            status, headers = status_of(error, scope)
            if status in (404, 405) and self.location.fallthrough:
                if grant is not None:
                    scope, send = grant.onward(scope)
                await app(scope, receive, send)
                return
            page = self._explain(request, status, error)
            if self.location.error_pages and ErrorPage.answers(status, page, request.headers):
                if grant is not None:
                    scope, send = grant.onward(scope)
                headers = [*self._known.common_headers(secure=secure), *headers]
                trusted, django = {**scope, "root_path": mount}, self._context.django
                site_page = ErrorPage(self.location, status, error, headers)
                await site_page.ask(django, trusted, path, receive, send)
                return
            answer = self._error_response(request, status, headers, page)
        if self._has_origins:
            answer = self._with_cors(answer, request)
        if grant is not None:
            answer = answer._replace(headers=grant.merged(answer.headers, answer.status))
        if body is None:
            user = None if grant is None else grant.user
            rate = self.location.limit_rate
            await self._send(answer, file, request, scope, receive, send, rate, user)
            return
        # The ordinary hit, without a detour.
        if file is not None:
            file.close()
        writer = response_writer(scope, receive, send, self._context.send_timeout)
        await writer.send(answer.status, answer.headers, body)

    async def hand_over(
        self, candidates: list[str], headers: Headers, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Send a file in place of the application's response, which had these ``headers``.

        ``candidates``: what its path below the root may be, the likeliest first.
        """
        method, fields = scope["method"], pick(scope["headers"], _FIELDS)
        if method not in ("GET", "HEAD"):
            # Validators and ranges are for these two. Any other method gets the file.
            method, fields = "GET", {}
        request = FileRequest(method, candidates[0], fields, False, scope["headers"])
        headers = x_accel.with_expiry(headers, time.time())
        changes = HeaderOverrides(
            x_accel.deliberate_type(headers), x_accel.value(headers, b"cache-control")
        )
        rate = x_accel.limit_rate(headers)
        if rate is None:
            rate = self.location.limit_rate
        file: SourceFile | None = None
        try:
            if fields:
                self._check_request(request)
            request, answer, file = await self._respond_first(request, candidates, changes)
            merged = x_accel.merged(headers, answer.headers, answer.status)
            answer = answer._replace(headers=merged)
        except Exception as error:
            if file is not None:
                file.close()
                file = None
            status, more = status_of(error, scope)
            if status < 500:
                logger.warning(
                    "%r: the application hands over %r beneath %s, which can't be served: %r",
                    scope["path"],
                    candidates[0],
                    self.location.root or self.location.url,
                    error,
                )
            page = self._explain(request, status, error)
            answer = self._error_response(request, status, more, page)
        if self._has_origins:
            answer = self._with_cors(answer, request)
        await self._send(answer, file, request, scope, receive, send, rate)

    def _check_request(self, request: FileRequest) -> None:
        method, fields = request.method, request.fields
        if method == "GET" or method == "HEAD":
            if self.location.sandbox and fields.get(b"service-worker") == b"script":
                # It would go on answering for the site's pages below its path, from an upload.
                raise HTTPError(403, [])
        elif (
            method == "OPTIONS"
            and self._cors is not None
            and b"access-control-request-method" in fields
        ):
            raise HTTPError(204, self._cors.preflight())
        elif method != "OPTIONS" or self._predicate is None:  # the project's middleware answers it
            raise HTTPError(405, [(b"allow", b"GET, HEAD")])

    def _respond_nowait(
        self, request: FileRequest, changes: HeaderOverrides | None
    ) -> tuple[Response, SourceFile | None] | None:
        """The response and its file, or ``None`` if that needs waiting."""
        method, path, fields, secure, _ = request
        is_whole = method == "GET" and (not fields or CONDITIONAL.isdisjoint(fields))
        wanted = WHOLE if is_whole else NOTHING
        preferred: tuple[bytes, ...] = ()
        if self._has_variants:
            wanted, preferred = _with_codings(wanted, request)
        key = (path, secure, preferred)
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

    async def _respond(
        self, request: FileRequest, changes: HeaderOverrides | None
    ) -> tuple[Response, SourceFile]:
        name = self._name(request.path)
        wanted, preferred = _with_codings(_wanted(request), request)
        file = await self._source.open(name, wanted)
        key = (request.path, request.secure, preferred if self._has_variants else ())
        return self._response_for(file, name, request, key, changes), file

    async def _redirect(
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

    async def _respond_first(
        self, request: FileRequest, candidates: list[str], changes: HeaderOverrides
    ) -> tuple[FileRequest, Response, SourceFile | None]:
        for number, path in enumerate(candidates, 1):
            one = request._replace(path=path)
            try:
                found = self._respond_nowait(one, changes) or await self._respond(one, changes)
                return one, *found
            except FileMissingError:
                if number == len(candidates):
                    raise
        raise AssertionError("there is always a candidate")

    def _file_path(self, path: str) -> str:
        file_path = self.location.policy.file_path(path)
        # A folder's signature counts for its own location, and not for one whose URL lies below.
        if file_path != path and (self.prefix + file_path).startswith(self._nested):
            raise FileMissingError
        return file_path

    def _name(self, path: str) -> bytes:
        name = file_name(path, dotfiles=self.is_file or self.location.dotfiles)
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

    def _with_cors(self, answer: Response, request: FileRequest) -> Response:
        assert self._cors is not None
        more = self._cors.headers(request.fields)
        return answer._replace(headers=with_one_vary([*answer.headers, *more]))

    def _explain(self, request: FileRequest, status: int, error: Exception) -> bytes | None:
        if status not in (403, 404):
            return None
        reason = why(error, self.location, request.path)
        path = self.prefix + request.path
        return explain(status, request.headers, path, self.location.url, reason)

    def _error_response(
        self, request: FileRequest, status: int, headers: Headers, page: bytes | None = None
    ) -> Response:
        common = self._known.common_headers(secure=request.secure)
        return response.error_response(status, [*common, *headers], request.method, page)

    async def _redirect_to_tls(self, host: str, scope: Scope, receive: Receive, send: Send) -> None:
        """To TLS, as SecurityMiddleware does, on a host where nothing reaches the application."""
        path = quote(request_path(scope).lstrip("/").encode("utf-8", "surrogateescape"))
        query = quote(scope.get("query_string") or b"", safe="%/:;=&?@+!$',()*[]")
        url = f"https://{host}/{path}" + (f"?{query}" if query else "")
        answer = response.error_response(301, [(b"location", url.encode("ascii"))], scope["method"])
        writer = response_writer(scope, receive, send, self._context.send_timeout)
        await send_response(writer, answer, None, scope["path"], self._context.chunk_size)

    async def _send(
        self,
        answer: Response,
        file: SourceFile | None,
        request: FileRequest,
        scope: Scope,
        receive: Receive,
        send: Send,
        rate: int | None,
        user: Any = None,
    ) -> None:
        writer = response_writer(scope, receive, send, self._context.send_timeout)
        path, chunk_size = scope["path"], self._context.chunk_size
        tracked: TrackedWriter | None = None
        if (
            (rate or file_sent.receivers)
            and (file is not None and answer.status in (200, 206))
            and request.method == "GET"
        ):
            tracked = TrackedWriter(writer, rate or 0, self.location.limit_rate_after)
        try:
            await send_response(tracked or writer, answer, file, path, chunk_size)
        except SourceError as error:
            tracked = None
            answer = self._error_response(request, *status_of(error, scope))
            await send_response(writer, answer, None, path, chunk_size)
        finally:
            if tracked is not None and file_sent.receivers:
                await send_file_sent(
                    type(self.location),
                    location=self.location,
                    path=request.path,
                    status=answer.status,
                    bytes_sent=tracked.sent,
                    complete=tracked.is_complete,
                    seconds=tracked.seconds,
                    user=user,
                )


def status_of(error: Exception, scope: Scope) -> tuple[int, Headers]:
    """The status and the headers for an error. The log has the rest."""
    if isinstance(error, HTTPError | AccessDenied):
        return error.status, error.headers
    if isinstance(error, SourceError):
        status = _STATUS.get(type(error), 500)
        if isinstance(error, FileMissingError):
            if reason := error.reason or (is_traversal(scope["path"]) and "the path climbs"):
                log_refused(scope, reason)
        elif status >= 500 and error.is_news:
            logger.error("%r can't be read: %s", scope["path"], error)
        return status, [(b"retry-after", b"1")] if status == 503 else []
    if isinstance(error, RuntimeError) and str(error) == "can't start new thread":
        # asgiref needs a thread to call the predicate.
        logger.error("%r: access can't be asked: %s", scope["path"], error)
        return 503, [(b"retry-after", b"1")]
    # A callable of the location's.
    logger.error("%r: no answer could be made", scope["path"], exc_info=error)
    return 500, []


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
