"""
Who may see a file: a predicate, asked with Django's request before anything is opened.
"""

import contextlib
import inspect
import io
import logging
from collections.abc import Callable, Sequence
from typing import Any, Literal

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.apps import apps
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.core.exceptions import BadRequest, SuspiciousOperation
from django.core.handlers.asgi import ASGIRequest, get_script_prefix
from django.db import close_old_connections
from django.http import HttpRequest, HttpResponse
from django.urls import set_script_prefix
from django.utils.module_loading import import_string

from ..conf import middleware_of
from ..types import Scope
from .base import AccessDenied, AccessPolicy, HeaderOverrides, LocationOptions

logger = logging.getLogger("media_asgi")


class Predicate(AccessPolicy):
    """A location's callable ``access``."""

    value = "a callable access"
    options = frozenset({"login_redirect"})
    common_headers = ((b"vary", b"Cookie"),)

    def __init__(self, location: LocationOptions) -> None:
        self._ask: Any = location.access
        self._redirects = location.login_redirect
        self._is_async = inspect.iscoroutinefunction(self._ask) or inspect.iscoroutinefunction(
            getattr(self._ask, "__call__", None)  # noqa: B004
        )
        self._loaders: list[Callable[[HttpRequest], object]] | None = None

    async def authorize(
        self, scope: Scope, path: str, urls: Sequence[str]
    ) -> HeaderOverrides | None:
        try:
            admitted = await self._admits(scope, path)
        except (BadRequest, SuspiciousOperation):
            # The predicate has looked at what Django can't take, such as a host that isn't allowed
            # or a query of thousands of fields.
            raise AccessDenied(400) from None
        if isinstance(admitted, str):
            raise AccessDenied(302, [(b"location", admitted.encode("ascii"))])
        if not admitted:
            raise AccessDenied(403)
        return None

    async def _admits(self, scope: Scope, path: str) -> bool | str:
        """May this request have the file at ``path`` beneath the root?

        A string is the URL to send it to instead. Raises whatever the predicate does, and
        ``TypeError`` where it doesn't say ``True`` or ``False``.
        """
        # There is no body for a Content-Type to describe, and Django raises on some.
        headers = [pair for pair in scope["headers"] if pair[0].lower() != b"content-type"]
        scope = {**scope, "headers": headers}
        # As Django's own handler does, each request has a thread of its own for what is sync.
        async with ThreadSensitiveContext():
            set_script_prefix(get_script_prefix(scope))  # for whoever reverses a URL
            try:
                request = self._request(scope)
            except UnicodeDecodeError:  # of the query, to which Django says 400
                return False
            if self._is_async:
                try:
                    allowed = await self._ask(request, path)
                finally:
                    await sync_to_async(close_old_connections)()
            else:
                allowed = await sync_to_async(self._ask_in_thread)(request, path)
            if allowed is True:
                return True
            if allowed is not False:
                raise TypeError(
                    f"access={self._ask!r} returned {allowed!r}. It must return True or False."
                )
            if self._redirects:
                with contextlib.suppress(UnicodeError):  # a path that no URL can hold
                    return await sync_to_async(_login_url)(request)
            return False

    def _ask_in_thread(self, request: HttpRequest, path: str) -> object:
        close_old_connections()
        try:
            return self._ask(request, path)
        finally:
            close_old_connections()

    def _request(self, scope: Scope) -> ASGIRequest:
        """Django's request, with session and user as Django's own middlewares load them: lazily."""
        if self._loaders is None:
            self._loaders = _loaders()
        request = ASGIRequest(scope, io.BytesIO())
        for load in self._loaders:
            load(request)
        return request


def _loaders() -> list[Callable[[HttpRequest], object]]:
    loaders = []
    for app, name in (
        ("django.contrib.sessions", "django.contrib.sessions.middleware.SessionMiddleware"),
        ("django.contrib.auth", "django.contrib.auth.middleware.AuthenticationMiddleware"),
    ):
        # Their models can be imported only where they are installed.
        if apps.ready and apps.is_installed(app):
            middleware: Any = middleware_of(import_string(name))
            if middleware is not None:
                loaders.append(middleware(_no_response).process_request)
    return loaders


def _no_response(request: HttpRequest) -> HttpResponse:
    raise AssertionError("only the request is wanted")


def _login_url(request: Any) -> str | Literal[False]:
    """Where to log in, for who hasn't yet."""
    from django.contrib.auth.views import redirect_to_login

    try:
        if hasattr(request, "user") and request.user.is_authenticated:
            return False
        return redirect_to_login(
            request.get_full_path(), redirect_field_name=REDIRECT_FIELD_NAME
        ).headers["Location"]
    finally:
        close_old_connections()
