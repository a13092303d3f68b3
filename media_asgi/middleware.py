"""
``MediaMiddleware``: an ASGI application that serves its locations, and passes everything else on.
"""

import errno
import logging
import os
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from django.core.exceptions import ImproperlyConfigured

from . import paths, response, transfer
from .files import File, Missing, Root, Shrunk
from .location import Location, django_setting
from .ranges import Span
from .representation import SANDBOX, Representation, content_type, describe, is_passive
from .response import CONDITIONAL, Response
from .servers import Receive, Scope, Send

logger = logging.getLogger("media_asgi")

Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_NOSNIFF = (b"x-content-type-options", b"nosniff")

# Errors of open(2) that say that there is no such file to be served: not there, below a file, a
# link that climbs, loops or dangles, a name that is too long or that this file system can't have,
# a socket, a device without a driver.
_NO_FILE = frozenset(
    {
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ELOOP,
        errno.EXDEV,
        errno.ENAMETOOLONG,
        errno.EILSEQ,
        errno.EINVAL,
        errno.ENXIO,
        errno.ENODEV,
    }
)
# No descriptor or memory left, or a name that could not be resolved for all the renames: later.
_LATER = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN})

# A location remembers the headers of so many files.
_REMEMBERED = 1024


class _Served:
    """A location with its root, and what is remembered of its files."""

    def __init__(
        self, location: Location, executor: ThreadPoolExecutor, guarded: tuple[str, ...]
    ) -> None:
        self.location = location
        self.prefix = location.prefix
        self.root = Root(
            str(location.root),
            executor,
            follow_symlinks=location.follow_symlinks,
            guarded=guarded,
        )
        self._remembered: dict[bytes, tuple[tuple[int, ...], Representation, Response]] = {}

    def describe(self, name: bytes, path: str, file: File) -> tuple[Representation, Response]:
        """The representation of an open file, and the answer to a GET without conditions.

        Remembered by name, and believed only while device, inode, time and size are those of this
        request's own ``fstat``.
        """
        status = file.status
        identity = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
        known = self._remembered.get(name)
        if known is not None and known[0] == identity:
            return known[1], known[2]
        location = self.location
        type_ = content_type(path, location.content_types)
        extra = [_NOSNIFF]
        if location.sandbox and not is_passive(type_):
            extra.append((b"content-security-policy", SANDBOX))
        extra += location.headers_for(path)
        current = describe(
            status,
            time.time(),
            content_type=type_.encode("latin-1"),
            cache_control=location.cache_control_for(path).encode("latin-1"),
            extra=extra,
        )
        whole = Response(200, response.whole(current), [Span(0, current.size)], current.size)
        # While the validators are weak they change with time alone.
        if current.strong and not location.varies:
            if len(self._remembered) >= _REMEMBERED:
                del self._remembered[next(iter(self._remembered))]
            self._remembered[name] = (identity, current, whole)
        return current, whole


class MediaMiddleware:
    """Serves files, and passes every other request, websocket and lifespan on to ``app``.

    ``app``: any ASGI 3 application, such as ``get_asgi_application()`` or a ``ProtocolTypeRouter``.

    ``locations``: what to serve; the longest URL prefix that fits decides. Without any,
    ``Location.media()``: ``MEDIA_ROOT`` under ``MEDIA_URL``.

    ``span``: bytes of a file that are held in memory for a download, at most. By default 256 KiB.

    ``threads``: workers that wait for the disk, at most. By default 8.

    ``send_timeout``: seconds after which a client that takes no byte is cut off. By default 60.

    Raises ``ImproperlyConfigured`` for what can't be meant.
    """

    def __init__(
        self,
        app: Application,
        *locations: Location,
        span: int = 256 * 1024,
        threads: int = 8,
        send_timeout: float = 60.0,
    ) -> None:
        if not callable(app):
            raise ImproperlyConfigured(
                f"MediaMiddleware got {app!r}, which is no ASGI application. Give it one first: "
                "MediaMiddleware(get_asgi_application())."
            )
        _check_number("span", span, int)
        _check_number("threads", threads, int)
        _check_number("send_timeout", send_timeout, int, float)
        self.app = app
        self._span = span
        self._send_timeout = float(send_timeout)
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="media-asgi")
        self._served = self._arrange(locations or (Location.media(),))
        self._prefixes = tuple(served.prefix for served in self._served)
        self._script_name: str = django_setting("FORCE_SCRIPT_NAME") or ""

    def _arrange(self, locations: Sequence[Location]) -> list[_Served]:
        by_prefix: dict[str, Location] = {}
        for location in locations:
            if not isinstance(location, Location):
                raise ImproperlyConfigured(
                    f"MediaMiddleware got {location!r} for a location. Give Location(url=..., "
                    "root=...) or Location.media()."
                )
            if (other := by_prefix.setdefault(location.prefix, location)) is not location:
                raise ImproperlyConfigured(
                    f"Two locations have the prefix {location.prefix!r}, with the roots "
                    f"{other.root!r} and {location.root!r}. Give one of them another url."
                )
        longest_first = sorted(by_prefix.values(), key=lambda location: -len(location.prefix))
        return [
            _Served(location, self._executor, _guarded(location, longest_first))
            for location in longest_first
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] == "http"
            and (
                scope["path"].startswith(self._prefixes)
                or scope.get("root_path")
                or self._script_name
            )
            and (found := self._find(scope)) is not None
        ):
            await self._serve(*found, scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _find(self, scope: Scope) -> tuple[_Served, str] | None:
        """The location with the longest prefix of the request's path, and the rest of it.

        Beneath a mount point, ASGI's path holds the ``root_path``, but a proxy may have stripped it
        from the request, and Daphne's ``--root-path`` doesn't add it; MEDIA_URL holds it where the
        project wrote it there. So the path counts as it is, with the mount point before it, and
        without.
        """
        path = paths.request_path(scope)
        readings = [path]
        if mount := (self._script_name or scope.get("root_path") or "").rstrip("/"):
            readings.append(mount + path)
            if path.startswith(mount + "/"):
                readings.append(path[len(mount) :])
        for served in self._served:
            for reading in readings:
                if reading.startswith(served.prefix):
                    return served, reading[len(served.prefix) :]
        return None

    async def _serve(
        self, served: _Served, rest: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        method = scope["method"]
        location = served.location
        file: File | None = None
        if method not in ("GET", "HEAD"):
            if location.fallthrough:
                await self.app(scope, receive, send)
                return
            answer = response.error(405, [_NOSNIFF, (b"allow", b"GET, HEAD")])
        else:
            try:
                name = paths.file_name(rest, dotfiles=location.dotfiles)
                if name is None:
                    raise Missing
                file = served.root.open_now(name) or await served.root.open(name)
            except (Missing, OSError) as error:
                status = _status(error)
                if status == 404 and location.fallthrough:
                    await self.app(scope, receive, send)
                    return
                answer = _refusal(status, method)
                if status >= 500:
                    logger.error("%s: can't be opened: %s", scope["path"], error)
            else:
                try:
                    answer = _answer(served, name, rest, scope, file)
                except Exception:  # in a callable of the location's
                    logger.exception("%s: headers can't be worked out", scope["path"])
                    file.close()
                    file = None
                    answer = _refusal(500, method)
        connection = transfer.connect(scope, receive, send, self._send_timeout)
        try:
            await transfer.send(connection, answer, file, scope["path"], self._span)
        except (Shrunk, OSError) as error:
            logger.error("%s: can't be read: %s", scope["path"], error)
            answer = _refusal(_status(error), method)
            await transfer.send(connection, answer, None, scope["path"], self._span)


def _answer(served: _Served, name: bytes, path: str, scope: Scope, file: File) -> Response:
    current, whole = served.describe(name, path, file)
    fields = _conditional_fields(scope)
    if not fields and scope["method"] == "GET":
        return whole
    boundary = secrets.token_hex(16).encode("ascii")
    return response.decide(scope["method"], fields, current, boundary)


def _conditional_fields(scope: Scope) -> dict[bytes, bytes]:
    fields: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        name = name.lower()
        if name in CONDITIONAL:
            # Several lines of one field are one list (RFC 9110 section 5.3).
            fields[name] = fields[name] + b", " + value if name in fields else value
    return fields


def _status(error: Exception) -> int:
    """The status that says what went wrong with a file."""
    if isinstance(error, Missing):
        return 404
    if isinstance(error, OSError):
        if error.errno in _NO_FILE:
            return 404
        if isinstance(error, PermissionError):
            return 403
        if error.errno in _LATER:
            return 503
    return 500


def _refusal(status: int, method: str) -> Response:
    extra = [_NOSNIFF]
    if status == 503:
        extra.append((b"retry-after", b"1"))
    return response.error(status, extra, method)


def _guarded(location: Location, others: Sequence[Location]) -> tuple[str, ...]:
    """The roots beneath this one whose files are not for whoever may see this one's."""
    if location.access == "internal":
        return ()
    root = os.path.realpath(location.root) + os.sep
    return tuple(
        str(other.root)
        for other in others
        if other.access not in ("public", location.access)
        and os.path.realpath(other.root).startswith(root)
    )


def _check_number(name: str, value: object, *kinds: type) -> None:
    if isinstance(value, bool) or not isinstance(value, kinds) or not value > 0:  # type: ignore[operator]
        raise ImproperlyConfigured(f"MediaMiddleware got {name}={value!r}. Give a number above 0.")
