"""
One location at work: authorize, open, respond, send.
"""

import dataclasses
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from .access import x_accel
from .access.base import HeaderOverrides
from .access.error_page import ErrorPage
from .access.grant import Grant, PredicateHandler
from .access.predicate import Predicate
from .delivery import Subject, access_log, deliver
from .explain import explain
from .http import response
from .http.cors import CORS
from .http.headers import pick, with_one_vary
from .http.path import request_path
from .http.response import CONDITIONAL, Response
from .known_files import KnownFiles
from .location import Location
from .refusals import why
from .responder import FileRequest, Responder
from .security import SecuritySettings
from .servers.send import read_body_nowait, response_writer, send_response
from .signals import file_sent
from .sources.base import FileMissingError, Source, SourceError, SourceFile
from .sources.guard import Place
from .statuses import HTTPError, status_of
from .types import ASGIApp, CallApp, Headers, Receive, Scope, Send

logger = logging.getLogger("media_asgi")

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


@dataclasses.dataclass(slots=True)
class Match:
    """What a request asks of a location."""

    path: str
    """Of the file, below the root."""
    urls: Sequence[str]
    """The paths under which clients know the file. The request's is the first."""
    mount: str = ""
    """The root path that the server has set."""
    host: str = ""
    """The request's, as ``http.host.request_host`` gives it."""


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
        self._security = context.security if context.security.depend_on_scheme else None
        self._source = source
        self.places = places or {}
        self._is_public = location.policy.is_public
        self._predicate = location.policy if isinstance(location.policy, Predicate) else None
        self._cors = location.cors if isinstance(location.cors, CORS) else None
        self._has_origins = self._cors is not None and self._cors.origins is not None
        # Does nothing of a request but its path, its method and its conditions decide the answer?
        self._is_plain = self._is_public and not (
            self._has_origins or location.limit_rate or location.precompressed
        )
        self._known = KnownFiles(location, context.security)
        self._responder = Responder(location, source, self._known, nested)

    async def serve(
        self, app: CallApp, match: Match, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer a request. ``app`` answers it if the location falls through."""
        path, mount = match.path, match.mount
        secure = self._security is not None and self._security.is_secure(scope)
        if self._security is not None and not secure and self._security.redirects(scope["path"]):
            await self._redirect_to_tls(app, match.host, scope, receive, send)
            return
        if self._has_names and (not path or path[-1] == "/"):
            path += self.location.file or self.location.index or ""
        method, headers = scope["method"], scope["headers"]
        fields = pick(headers, _FIELDS)
        if method == "GET" and self._is_plain and not (file_sent.receivers or access_log.level):
            kept = self._responder.kept_nowait(path, fields, secure=secure)
            if kept is not None:
                writer = response_writer(scope, receive, send, self._context.send_timeout)
                await writer.send(*kept)
                return
        request = FileRequest(method, path, fields, secure, headers)
        answer: Response | None
        file: SourceFile | None = None
        body = changes = grant = None
        try:
            if request.fields or method != "GET":
                self._check_request(request)
            if self._predicate is not None:
                grant = await self._ask(app, request, mount, scope, receive, send)
                if grant is None:
                    return
                receive = grant.replay
            elif not self._is_public:
                request, changes = await self._authorize(request, match, scope)
            answer, file = self._responder.respond_nowait(
                request, changes
            ) or await self._responder.respond(request, changes)
            if answer.length <= self._at_once and not (file_sent.receivers or access_log.level):
                body = read_body_nowait(answer, file)
        except Exception as error:
            if file is not None:
                file.close()
                file = None
            answer = await self._fail(error, app, request, grant, mount, scope, receive, send)
            if answer is None:
                return
        if self._has_origins:
            answer = self._with_cors(answer, request)
        if grant is not None:
            answer = answer._replace(headers=grant.merged(answer.headers, answer.status))
        if body is None:
            user, rate = grant and grant.user, self.location.limit_rate
            await self._send(answer, file, request, scope, receive, send, rate, user)
            return
        if file is not None:
            file.close()
        writer = response_writer(scope, receive, send, self._context.send_timeout)
        await writer.send(answer.status, answer.headers, body)

    async def _authorize(
        self, request: FileRequest, match: Match, scope: Scope
    ) -> tuple[FileRequest, HeaderOverrides | None]:
        """The request for the file itself, and what its access changes. Raises ``AccessDenied``."""
        trusted = {**scope, "root_path": match.mount}  # the scope's own may be the client's
        host = match.host if self.location.host else None
        changes = await self.location.policy.authorize(trusted, request.path, match.urls, host)
        return dataclasses.replace(request, path=self._responder.file_path(request.path)), changes

    async def _ask(
        self,
        app: CallApp,
        request: FileRequest,
        mount: str,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> Grant | None:
        """Let Django ask the predicate. ``None`` if Django has answered the request itself."""
        assert self._predicate is not None
        predicate, django, grant = self._predicate, self._context.django, None

        async def ask(scope: Scope, receive: Receive, send: Send) -> None:
            nonlocal grant
            trusted = {**scope, "root_path": mount}
            grant = await predicate.ask(django, trusted, request.path, receive, send)

        # Its answer may be or name a file, as any answer of the application.
        await app(scope, receive, send, lambda _: ask)
        return grant

    async def _fail(
        self,
        error: Exception,
        app: CallApp,
        request: FileRequest,
        grant: Grant | None,
        mount: str,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> Response | None:
        """The response for an error; ``None`` if the application or Django has answered."""
        if self.location.index is not None and isinstance(error, FileMissingError):
            found = await self._responder.folder_redirect(self.location.index, request, scope)
            error = found or error
        status, headers = status_of(error, scope)
        falls_through = status in (404, 405) and self.location.fallthrough
        page = None if falls_through else self._explain(request, status, error)
        has_page = self.location.error_pages and ErrorPage.answers(status, page, request.headers)
        if not falls_through and not has_page:
            return self._error_response(request, status, headers, page)

        async def show(scope: Scope, receive: Receive, send: Send) -> None:
            common = self._known.common_headers(secure=request.secure)
            site_page = ErrorPage(self.location, status, error, [*common, *headers])
            trusted = {**scope, "root_path": mount}
            await site_page.ask(self._context.django, trusted, request.path, receive, send)

        def through(app: ASGIApp) -> ASGIApp:
            app = app if falls_through else show
            return app if grant is None else grant.onward(app)

        await app(scope, receive, send, through)
        return None

    async def hand_over(
        self,
        candidates: list[str],
        headers: Headers,
        scope: Scope,
        receive: Receive,
        send: Send,
        user: Any = None,
    ) -> None:
        """Send a file in place of the application's response, which had these ``headers``.

        ``candidates``: what its path below the root may be, the likeliest first. ``user``: the
        one whom the application knows, for ``file_sent``.
        """
        method, fields = scope["method"], pick(scope["headers"], _FIELDS)
        if method not in ("GET", "HEAD"):
            # Validators and ranges are for these two. Any other method gets the file.
            method, fields = "GET", {}
        request = FileRequest(method, candidates[0], fields, False, scope["headers"])
        headers = x_accel.with_expiry(headers, time.time())
        changes = x_accel.overrides(headers)
        file: SourceFile | None = None
        try:
            if fields:
                self._check_request(request)
            request, answer, file = await self._responder.respond_first(
                request, candidates, changes
            )
            answer = answer._replace(headers=x_accel.merged(headers, answer.headers, answer.status))
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
        rate = x_accel.limit_rate(headers)
        if rate is None:
            rate = self.location.limit_rate
        await self._send(answer, file, request, scope, receive, send, rate, user)

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
        elif method != "OPTIONS" or self._predicate is None or self.location.fallthrough:
            # Else Django's middleware answers. If the location falls through, the application does.
            raise HTTPError(405, [(b"allow", b"GET, HEAD")])

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

    async def _redirect_to_tls(
        self, app: CallApp, host: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """To TLS, by SecurityMiddleware; here on a host where nothing reaches the application."""
        if not self.location.owns_host:
            await app(scope, receive, send)
            return
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
        def on_error(error: SourceError) -> Response:
            return self._error_response(request, *status_of(error, scope))

        writer = response_writer(scope, receive, send, self._context.send_timeout)
        subject = Subject(type(self.location), self.location, request.path, user)
        limit = (rate or 0, self.location.limit_rate_after)
        await deliver(writer, answer, file, self._context.chunk_size, on_error, subject, *limit)
