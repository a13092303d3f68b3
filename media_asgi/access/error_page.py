"""
``error_pages=True``: the project's own error handlers answer for a 403 or 404 of media.
"""

from collections.abc import Collection

from django.core.exceptions import PermissionDenied
from django.core.signing import SignatureExpired
from django.db import connections
from django.http import Http404, HttpRequest, HttpResponse

from ..explain import wants_html
from ..http.headers import override
from ..types import Headers, Message, Receive, Scope, Send
from .base import LocationOptions
from .grant import Grant, PredicateHandler
from .predicate import Predicate


class ErrorPage(Predicate):
    """A view that raises, inside the project's middleware, as if the media were a page."""

    def __init__(
        self, location: LocationOptions, status: int, error: Exception, headers: Headers
    ) -> None:
        """``headers``: more of the response."""
        cause = error.__cause__
        text = "The link has expired." if isinstance(cause, SignatureExpired) else ""
        raised = Http404() if status == 404 else PermissionDenied(text)
        raised.__cause__ = cause  # for the project's handler403

        async def view(request: HttpRequest, path: str) -> HttpResponse:
            raise raised

        view.login_required = False  # type: ignore[attr-defined]  # of LoginRequiredMiddleware
        # With ATOMIC_REQUESTS, Django refuses to call an async view without this.
        view._non_atomic_requests = set(connections)  # type: ignore[attr-defined]
        self._prefix = location.prefix
        self._view = view
        self._headers = [*headers, (b"cache-control", b"no-store")]

    @staticmethod
    def answers(status: int, page: bytes | None, headers: Collection[tuple[bytes, bytes]]) -> bool:
        """Should the site answer? With ``DEBUG``, Django too has a ``page`` of its own for 404."""
        return (status == 403 or (status == 404 and page is None)) and wants_html(headers)

    async def ask(
        self, handler: PredicateHandler, scope: Scope, path: str, receive: Receive, send: Send
    ) -> Grant | None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": override(message["headers"], self._headers)}
            await send(message)

        return await super().ask(handler, scope, path, receive, with_headers)
