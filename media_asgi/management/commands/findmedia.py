"""
``manage.py findmedia URL``: which location answers, with which file, status and headers.
"""

import asyncio
import logging
import os
from http.client import responses
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.module_loading import import_string

from ...middleware import MediaMiddleware
from ...refusals import file_of


class Command(BaseCommand):
    help = "Asks the project's MediaMiddleware for a URL, as a client without cookies does."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("url", help="a path such as /media/a.png, or a full URL")

    def handle(self, *args: Any, url: str, **options: Any) -> None:
        if not (name := getattr(settings, "ASGI_APPLICATION", None)):
            raise CommandError("Set ASGI_APPLICATION, such as 'mysite.asgi.application'.")
        application = import_string(name)  # noqa: F841, keeps the instances alive
        try:
            scope = _scope(url)
        except ValueError as error:
            raise CommandError(
                f"{url!r} is not a URL ({error}). Give a path, or a full URL."
            ) from error
        asyncio.run(self._report(scope, settings.FORCE_SCRIPT_NAME or ""))

    async def _report(self, scope: Any, mount: str) -> None:
        for middleware in MediaMiddleware.instances:
            router = middleware.router
            host, handlers = router.of_host(scope)
            if found := router.find(scope, mount, handlers):
                break
        else:
            raise CommandError(f"{scope['path']!r} is not below a location. Django answers it.")
        location = (await router.at_host(found[0], handlers, host)).location
        path = location.policy.file_path(found[1])
        if not path or path.endswith("/"):
            path += location.index or ""
        self.stdout.write(f"Location: {location.url} with {location.policy.value}")
        file = os.fsencode(file_of(location, path)).decode("utf-8", "backslashreplace")
        self.stdout.write(f"File:     {file}")
        if found[0].is_internal:
            self.stdout.write("Answer:   Django's. It hands the file over, or not.")
            return
        start = await self._ask(middleware, scope)
        status = start["status"]
        self.stdout.write(f"Answer:   {status} {responses.get(status, '')}")
        for name, value in start["headers"]:
            self.stdout.write(f"Header:   {name.decode('latin-1')}: {value.decode('latin-1')}")

    async def _ask(self, middleware: MediaMiddleware, scope: Any) -> Any:
        """The start of the response. What the package logs is written out."""
        messages: list[Any] = []

        async def send(message: Any) -> None:
            messages.append(message)

        async def receive() -> Any:
            await asyncio.Event().wait()

        logger = logging.getLogger("media_asgi")
        level, handler = logger.level, logging.StreamHandler(self.stdout)
        handler.setFormatter(logging.Formatter("Log:      %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
        try:
            await middleware(scope, receive, send)
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)
        return messages[0]


def _scope(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    path = os.fsencode(parts.path or "/" * bool(parts.netloc))
    hosts = [parts.netloc.rpartition("@")[2], *settings.ALLOWED_HOSTS, "localhost"]
    host = next(host for host in hosts if host.strip(".*"))
    return {
        "type": "http",
        "method": "HEAD",  # the headers of a GET
        "scheme": parts.scheme or "https",
        "path": unquote_to_bytes(path).decode("utf-8", "replace"),
        "raw_path": path,
        "query_string": os.fsencode(parts.query),
        "headers": [(b"host", host.encode())],
    }
