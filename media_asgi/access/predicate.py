"""
``access=callable``: Django calls a predicate in place of a view, inside the project's middleware.
"""

import asyncio
import contextlib
import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Never

from asgiref.sync import sync_to_async
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseForbidden,
    HttpResponseNotAllowed,
)
from django.http.response import HttpResponseBase
from django.template import TemplateDoesNotExist
from django.template.loader import get_template
from django.urls import get_resolver, get_urlconf
from django.views.defaults import permission_denied

from ..conf import is_async, takes
from ..explain import Why, explain
from ..http.media_types import SANDBOX
from ..http.response import CONDITIONAL
from ..types import Receive, Scope, Send
from .base import AccessDenied, AccessPolicy, LocationOptions
from .grant import GRANT, AnswerCutError, Grant, PredicateHandler

logger = logging.getLogger("media_asgi")

Answer = bool | HttpResponseBase

# Conditions and ranges are about the file. There is no body, and Django raises on some values of
# Content-Type.
_HIDDEN = CONDITIONAL | {b"content-length", b"content-type"}


class Predicate(AccessPolicy):
    """A location's callable ``access``. It decides by ``ask``, since Django may answer instead."""

    value = "a callable access"
    options = frozenset({"login_redirect"})
    common_headers = ((b"vary", b"Cookie"),)

    def __init__(self, location: LocationOptions) -> None:
        if not takes(location.access, 2):
            raise ImproperlyConfigured(
                f"access of the location {location.url!r} is {location.access!r}, which can't be "
                "called with a request and a path. Give a callable of two arguments, such as "
                "media_asgi.access.authenticated."
            )
        self._prefix = location.prefix
        self._view = _view(
            location.access, login_required(_refuse) if location.login_redirect else _refuse
        )

    async def authorize(
        self, scope: Scope, path: str, urls: Sequence[str], host: str | None = None
    ) -> Never:
        raise AccessDenied(403)  # without a grant

    async def ask(
        self, handler: PredicateHandler, scope: Scope, path: str, receive: Receive, send: Send
    ) -> Grant | None:
        """May this request have the file at ``path`` beneath the root?

        ``scope``: the request's. Its ``root_path`` is the server's, and never one of the client's.

        ``None``: Django has answered the request, or the client is gone. Raises ``AnswerCutError``.
        """
        grant = Grant(self._view, self._prefix, path, receive, send)
        headers = [pair for pair in scope["headers"] if pair[0].lower() not in _HIDDEN]
        scope = {**scope, "headers": headers, GRANT: grant}
        answered = asyncio.ensure_future(handler(scope, grant.receive, grant.send))
        listening = asyncio.ensure_future(grant.listen())
        try:
            await asyncio.shield(answered)
        except asyncio.CancelledError:
            grant.is_gone.set()
            raise
        except Exception as error:
            if not grant.has_started:
                raise
            path = scope["path"]
            logger.error("%r: the answer of a predicate ended early", path, exc_info=error)
            raise AnswerCutError from error
        finally:
            listening.cancel()
        await asyncio.wait([listening])
        return grant if grant.is_given else None


def _view(ask: Any, refuse: Callable[[HttpRequest], HttpResponse]) -> Any:
    def answer(request: Any, allowed: object) -> HttpResponseBase:
        if allowed is True:
            stand_in: HttpResponse = request.scope[GRANT].stand_in()
            return stand_in
        if allowed is False:
            return refuse(request)
        if isinstance(allowed, HttpResponseBase):
            return allowed
        raise TypeError(
            f"access={ask!r} returned {allowed!r}. It must return True, False or an HttpResponse."
        )

    async def async_view(request: Any, path: str) -> HttpResponseBase:
        if request.method == "OPTIONS":
            return HttpResponseNotAllowed(["GET", "HEAD"])
        with _named(path):
            allowed = await ask(request, path)
        if allowed is False:
            return await sync_to_async(refuse)(request)
        return answer(request, allowed)

    def sync_view(request: Any, path: str) -> HttpResponseBase:
        if request.method == "OPTIONS":
            return HttpResponseNotAllowed(["GET", "HEAD"])
        with _named(path):
            allowed = ask(request, path)
        return answer(request, allowed)

    # With its marks, such as that of login_not_required.
    return functools.update_wrapper(async_view if is_async(ask) else sync_view, ask)


@contextlib.contextmanager
def _named(path: str) -> Iterator[None]:
    """A database raises on some paths that clients can send. They are the names of no rows."""
    if "\0" in path:  # nor of files
        raise Http404
    try:
        yield
    except UnicodeEncodeError as error:
        if error.object[error.start : error.end] in path:  # bytes of a name that isn't UTF-8
            raise Http404 from None
        raise


def _refuse(request: Any) -> HttpResponse:
    scope, reason = request.scope, Why("the predicate refuses")
    page = explain(403, scope["headers"], scope["path"], scope[GRANT].prefix, reason)
    if page is None or not _has_bare_403():
        raise PermissionDenied
    headers = {"Content-Security-Policy": SANDBOX.decode(), "Cache-Control": "no-store"}
    return HttpResponseForbidden(page, headers=headers)


def _has_bare_403() -> bool:
    """Is the project's page for 403 that of Django, which says nothing?"""
    view: Any = get_resolver(get_urlconf()).resolve_error_handler(403)
    if view is not permission_denied:
        return False
    try:
        get_template("403.html")
    except TemplateDoesNotExist:
        return True
    return False


def authenticated(request: Any, path: str) -> bool:
    """``Location(access=authenticated)``: whoever is logged in may have the files."""
    # A sync predicate runs in a thread, where reading the user may ask the database.
    return bool(request.user.is_authenticated)
