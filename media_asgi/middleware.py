"""
``MediaMiddleware``: which location serves a request. Everything else goes to the application.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import ClassVar
from weakref import WeakSet

from asgiref.sync import AsyncToSync
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from .access.grant import AnswerCutError
from .access.x_accel import ResponseInterceptor
from .assembly import Assembly
from .conf import check_bool, check_number, django_setting, middleware_of, takes
from .handler import HandlerContext, Match
from .http import response
from .http.headers import NOSNIFF
from .location import Location
from .responses import SENDER, FileResponseMiddleware, FileSender
from .routing import Router
from .security import SecuritySettings
from .servers.backpressure import BackpressureSend
from .servers.daphne_request import request_of, root_path
from .servers.send import response_writer, send_response
from .sources.workers import Workers
from .tenants import Tenants
from .types import ASGIApp, Receive, Scope, Send

logger = logging.getLogger("media_asgi")


class MediaMiddleware:
    """Serves files, and passes every other request, websocket and lifespan to ``app``.

    ``app``: an ASGI 3 application, such as ``get_asgi_application()`` or a ``ProtocolTypeRouter``.

    ``locations``: the locations to serve. The one with the longest prefix of a request's path
    serves it. By default ``Location.media()``: ``MEDIA_ROOT`` under ``MEDIA_URL``.

    ``chunk_size``: the most bytes of a file that a download holds in memory, an ``int`` above 0. By
    default 262144.

    ``threads``: the most threads of each location that wait for its disk, an ``int`` above 0. By
    default 8.

    ``disk_timeout``: seconds above 0. A request that waits for the disk for so long is answered
    by 503. By default 30.

    ``send_timeout``: seconds above 0. A client that doesn't take a byte for so long is
    disconnected. By default 60.

    ``backpressure``: under Daphne, let every response of ``app`` wait for its client, so that a
    large export to a slow client doesn't pile up in memory. ``send_timeout`` counts for it. Other
    servers do so by themselves. By default ``False``.

    Raises ``ImproperlyConfigured`` if an argument is invalid.
    """

    instances: ClassVar[WeakSet["MediaMiddleware"]] = WeakSet()
    """The instances of this process, for the system checks."""

    def __init__(
        self,
        app: ASGIApp,
        *locations: Location,
        chunk_size: int = 256 * 1024,
        threads: int = 8,
        disk_timeout: float = 30.0,
        send_timeout: float = 60.0,
        backpressure: bool = False,
    ) -> None:
        if isinstance(app, MediaMiddleware):
            raise ImproperlyConfigured(
                "MediaMiddleware got another MediaMiddleware. Give all locations to one: "
                "MediaMiddleware(get_asgi_application(), Location(...), Location(...))."
            )
        # Django gives a middleware of MIDDLEWARE the next one, as AsyncToSync if that is async.
        if not callable(app) or not takes(app, 3) or isinstance(app, AsyncToSync):
            raise ImproperlyConfigured(
                f"MediaMiddleware got {app!r}, which is not an ASGI application: that takes scope, "
                "receive and send. MediaMiddleware belongs in asgi.py, and not in MIDDLEWARE or "
                "wsgi.py: application = MediaMiddleware(get_asgi_application())."
            )
        check_number("chunk_size", chunk_size, int)
        check_number("threads", threads, int)
        check_number("disk_timeout", disk_timeout, int, float)
        check_number("send_timeout", send_timeout, int, float)
        check_bool("backpressure of MediaMiddleware", backpressure)
        self.app = app
        self._given = locations
        self._limits = (chunk_size, float(send_timeout))
        self._workers = partial(Workers, threads, timeout=float(disk_timeout))
        self._backpressure = backpressure
        self._set_up()
        self.instances.add(self)

    def _set_up(self) -> None:
        """Make the handlers, with Django's settings as they are now."""
        self._context = HandlerContext(*self._limits, SecuritySettings.from_django())
        given = [
            one.remake() if isinstance(one, Location) and one.remake else one for one in self._given
        ]
        assembly = Assembly(given or [Location.media()], self._context, self._workers)
        tenants = Tenants(assembly.build, self._context, self._workers(folder="the hosts' roots"))
        self._handlers = assembly.handlers
        self.router = Router(assembly.handlers, tenants)
        # The threads for the files of the application's own responses.
        self._file_workers: Workers | None = None
        if middleware_of(FileResponseMiddleware) is not None:
            self._file_workers = self._workers(folder="the application")
        self._has_internal = any(handler.is_internal for handler in self._handlers)
        self._watches_app = (
            self._has_internal or self._file_workers is not None or self._backpressure
        )
        self._prefixes = tuple(handler.prefix for handler in self._handlers)
        self._has_hosts = self.router.has_hosts
        self._script_name: str = django_setting("FORCE_SCRIPT_NAME") or ""
        self._is_stale = False

    @classmethod
    def settings_changed(cls, **_: object) -> None:
        """A test has changed a setting of Django. The next request sees it.

        Other receivers, such as those of Django's storages, may run after this one.
        """
        for one in cls.instances:
            # Both, so that a request looks at one of them only.
            one._is_stale = one._has_hosts = True

    @property
    def locations(self) -> list[Location]:
        if self._is_stale:
            self._set_up()
        return [handler.location for handler in self._handlers]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        handlers, host = self._handlers, ""
        if self._has_hosts and scope["type"] in ("http", "websocket"):
            scope = _with_headers(scope)
            if self._is_stale:
                self._set_up()
            host, handlers = self.router.of_host(scope)
            if scope["type"] == "websocket" and handlers and handlers[-1].location.owns_host:
                await send({"type": "websocket.close"})
                return
        if scope["type"] == "http":
            mount = self._script_name or root_path(scope, send)
            path = scope["path"]
            if mount or host or path.startswith(self._prefixes) or "//" in path:
                found = self.router.find(scope, mount, handlers)
                if found is None and handlers and handlers[-1].location.owns_host:
                    # A target such as "*", or a full URL. The empty path would be the index.
                    found = handlers[-1], path, ("",)
                if found is not None and not found[0].is_internal:
                    handler, rest, urls = found
                    if host:
                        handler = await self.router.at_host(handler, handlers, host)
                    if type(scope.get("headers")) is not list:
                        scope = _with_headers(scope)
                    match = Match(rest, urls, mount, host)
                    await handler.serve(self._call_app, match, scope, receive, send)
                    return
            if self._watches_app:
                await self._call_app(_with_headers(scope), receive, send)
                return
        await self.app(scope, receive, send)

    async def _call_app(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        through: Callable[[ASGIApp], ASGIApp] | None = None,
    ) -> None:
        """Pass a request to the application, or to what ``through`` makes of it."""
        app = self.app if through is None else through(self.app)
        waiting: BackpressureSend | None = None
        if self._backpressure and request_of(send) is not None:
            waiting = BackpressureSend(scope, receive, send, self._context.send_timeout)
        try:
            await self._watch(app, scope, receive, send, waiting.send if waiting else send)
        except AnswerCutError:
            # On Daphne neither a return nor an exception would end the response.
            writer = response_writer(scope, receive, send, self._context.send_timeout)
            await writer.abort()
            writer.close()
        finally:
            if waiting is not None:
                await waiting.end()

    async def _watch(
        self, app: ASGIApp, scope: Scope, receive: Receive, send: Send, onward: Send
    ) -> None:
        """Call ``app``, which may answer with a file, or with its name.

        ``onward`` gets every other answer.
        """
        given, drop_body, sender = scope, None, None
        if self._file_workers is not None and SENDER not in scope:
            sender = FileSender(self._context, self._file_workers, scope, send, onward)
            given = {**scope, SENDER: sender}
            onward, drop_body = sender.send, sender.drop_body
        if not self._has_internal:
            await app(given, receive, onward)
            return
        interceptor = ResponseInterceptor(onward, drop_body)
        await app(given, receive, interceptor.send)
        if interceptor.target is None:
            return
        host, handlers = self.router.of_host(scope) if self._has_hosts else ("", self._handlers)
        found = await self.router.internal(interceptor.target, handlers, host)
        if found is None:
            logger.error(
                "%r: the application hands over %r, which is not in an internal location",
                scope["path"],
                interceptor.target.raw,
            )
            answer = response.error_response(500, [NOSNIFF], scope["method"])
            connection = response_writer(scope, receive, send, self._context.send_timeout)
            await send_response(connection, answer, None, scope["path"], self._context.chunk_size)
            return
        handler, candidates = found
        user = sender and sender.user
        await handler.hand_over(candidates, interceptor.headers, scope, receive, send, user)


setting_changed.connect(MediaMiddleware.settings_changed)


def _with_headers(scope: Scope) -> Scope:
    """The scope with a list of headers. ASGI allows any iterable, and they are read twice."""
    headers = scope.get("headers")
    if type(headers) is list or type(headers) is tuple:
        return scope
    return {**scope, "headers": [*(headers or ())]}
