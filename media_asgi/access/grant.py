"""
Asks Django for the file of a location with a predicate: ``PredicateHandler`` and ``Grant``.

Facts that this module rests on (Django 5.2 to 6.1):

- ``ASGIHandler`` resolves the view only inside the middleware, in ``resolve_request``.
- It calls ``receive`` for the whole body first, and then, beside the view, for the client's end.
- ``load_middleware`` sets ``_middleware_chain`` last of all.
- When it is cancelled, it leaves the view's task running, and the one that calls ``receive``. When
  ``receive`` says that the client is gone, it cancels the view, waits for its thread, and closes
  the connections to the database.
"""

import asyncio
import io
import threading
from typing import Any

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import ResolverMatch, re_path, set_urlconf
from django.utils.functional import SimpleLazyObject

from ..http.headers import override
from ..types import ASGIApp, Headers, Message, Receive, Scope, Send
from .x_accel import own_fields

# Where Django's scope has the request's ``Grant``.
GRANT = "media_asgi.grant"

# They are about keeping the stand-in. The file always has a Cache-Control of its own.
_OF_THE_STAND_IN = frozenset({b"expires", b"pragma"})


class AnswerCutError(Exception):
    """Django's answer ended early, after its head: the client must not wait for the rest."""


class PredicateHandler(ASGIHandler):
    """Django's handler, whose views are predicates. Its middleware is made at the first request."""

    _middleware_chain: Any = None

    def __init__(self) -> None:  # without super(), which makes the middleware
        self._loading = threading.Lock()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._middleware_chain is None:
            # In a thread: some middleware looks through folders, or asks the database.
            await sync_to_async(self._load_once, thread_sensitive=False)()
        await super().__call__(scope, receive, send)

    def _load_once(self) -> None:
        with self._loading:
            if self._middleware_chain is None:
                self.load_middleware(is_async=True)

    async def read_body(self, receive: Any) -> io.BytesIO:
        return io.BytesIO()

    def resolve_request(self, request: Any) -> ResolverMatch:
        if hasattr(request, "urlconf"):
            set_urlconf(request.urlconf)
        # After a 404, CommonMiddleware and LocaleMiddleware look for a URL like this one, and a
        # site's catch-all pattern has any. Here only this one exists. ``reverse`` and the error
        # handlers go by what ``set_urlconf`` was given.
        request.urlconf = __name__
        grant: Grant = request.scope[GRANT]
        request.resolver_match = ResolverMatch(
            grant.view, (), {"path": grant.path}, route=grant.prefix[1:] + "<path:path>"
        )
        return request.resolver_match  # type: ignore[no-any-return]

    async def get_response_async(self, request: Any) -> HttpResponseBase:
        response: HttpResponseBase = await super().get_response_async(request)
        request.scope[GRANT].settle(response, request)
        return response


def known_user(request: Any) -> Any:
    """The user that the project asked for; ``None`` if it did not: to ask takes the database."""
    given = vars(request)
    user = given.get("user")
    if user is None or isinstance(user, SimpleLazyObject):
        # Where AuthenticationMiddleware keeps what `request.auser()` and `request.user` found.
        user = given.get("_acached_user") or given.get("_cached_user")
    return user


def _nothing(request: HttpRequest) -> HttpResponse:
    raise AssertionError("no request is resolved to it")


urlpatterns = [re_path("", _nothing)]


class Grant:
    """The permission of one request: the response that stands in for its file.

    It counts only if the middleware lets that very object through, with its status and without a
    body.
    """

    def __init__(self, view: Any, prefix: str, path: str, receive: Receive, send: Send) -> None:
        self.view = view
        self.prefix = prefix
        self.path = path
        self.is_given = False
        self.is_gone = asyncio.Event()
        self.has_started = False
        self.headers: Headers = []
        self.user: Any = None
        self._stand_in: HttpResponse | None = None
        self._receive = receive
        self._send = send
        self._received: list[Message] = []

    def stand_in(self) -> HttpResponse:
        self._stand_in = HttpResponse(
            content_type="application/octet-stream",
            headers={"Cache-Control": "private, no-store"},
        )
        return self._stand_in

    def settle(self, response: HttpResponseBase, request: Any) -> None:
        stand_in = self._stand_in
        self.is_given = (
            stand_in is not None
            and response is stand_in
            and stand_in.status_code == 200
            and not stand_in.content
        )
        self.user = known_user(request)

    async def send(self, message: Message) -> None:
        """Keep the stand-in's headers, and pass any other response on."""
        if message["type"] == "http.response.start":
            # ASGI wants names in lower case. Django sends them as they are written.
            self.headers = [(name.lower(), value) for name, value in message["headers"]]
            message = {**message, "headers": self.headers}
        if not self.is_given:
            self.has_started = True
            await self._send(message)

    async def receive(self) -> Message:
        """What Django asks for beside the view: the client's end."""
        await self.is_gone.wait()
        return {"type": "http.disconnect"}

    async def listen(self) -> None:
        """Wait for the client's end. Of a body only one message is taken, for ``replay``."""
        while (message := await self._receive())["type"] != "http.disconnect":
            self._received.append(message)
            if message.get("more_body"):
                return
        self._received.append(message)
        self.is_gone.set()

    async def replay(self) -> Message:
        """``receive`` of who answers after Django."""
        return self._received.pop(0) if self._received else await self._receive()

    def onward(self, app: ASGIApp) -> ASGIApp:
        """``app``, for a request that the location passes on to it.

        The client doesn't have the cookies yet that the middleware has just set, such as a new
        session's in place of one that is deleted. The application is to know them.
        """
        cookies = [(name, value) for name, value in self.headers if name == b"set-cookie"]
        if not cookies:
            return app

        async def with_cookies(scope: Scope, receive: Receive, send: Send) -> None:
            others = [pair for pair in scope["headers"] if pair[0].lower() != b"cookie"]
            pairs = [value for name, value in scope["headers"] if name.lower() == b"cookie"]
            # Of namesakes the last counts.
            pairs += [value.partition(b";")[0] for _, value in cookies]
            scope = {**scope, "headers": [*others, (b"cookie", b"; ".join(pairs))]}

            async def send_cookies(message: Message) -> None:
                if message["type"] == "http.response.start":
                    message = {**message, "headers": [*cookies, *message.get("headers", ())]}
                await send(message)

            await app(scope, receive, send_cookies)

        return with_cookies

    def merged(self, file: Headers, status: int) -> Headers:
        """The headers of the file's answer, with those that the middleware gave the stand-in.

        Of namesakes the file's own count.
        """
        own = []
        for name, value in own_fields(self.headers, status):
            if name == b"vary":  # every file here has "Vary: Cookie"
                fields = [field.strip() for field in value.split(b",")]
                value = b", ".join(field for field in fields if field.lower() != b"cookie")
            if value and name not in _OF_THE_STAND_IN:
                own.append((name, value))
        return override(own, file)
