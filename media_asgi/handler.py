"""
One location at work: may they, is it there, what to answer, and off it goes.
"""

import dataclasses
import errno
import logging
import operator
import os
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from django.core.exceptions import BadRequest, SuspiciousOperation
from django.core.signing import BadSignature

from . import signing
from .access import x_accel
from .access.predicate import Predicate
from .http import cors, response
from .http.path import file_name, hidden_segment, is_traversal
from .http.representation import (
    NOSNIFF,
    SANDBOX,
    KeptHeaders,
    Representation,
    content_type,
    describe,
    is_settled,
    override,
    runs_no_script,
)
from .http.response import CONDITIONAL, Response
from .location import Location
from .security import Security
from .servers.send import read_body_nowait, response_writer, send_response
from .sources.base import FileMissingError, TruncatedFileError
from .sources.guard import ExcludedFolder, Place
from .sources.local import LocalSource
from .sources.local_file import LocalFile
from .sources.workers import DiskTimeoutError, Workers
from .types import ASGIApp, Headers, Receive, Scope, Send

logger = logging.getLogger("media_asgi")


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
        errno.EOPNOTSUPP,  # a socket, on macOS
    }
)
# No descriptor or memory left, or a name that could not be resolved for all the renames: later.
_LATER = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN})

# A location remembers the headers of so many files.
_REMEMBERED = 1024

# And so many of its single ranges.
_PARTS = 2

# What is asked for again and again is read but once in so long (seconds), so many bytes of it in a
# location: to see that a file is still the same takes half as long as to read a small one. Not for
# longer, since one change leaves no time stamp: what is stored through a mapping into a page that
# has not been written to the disk yet.
_HELD_FOR, _HELD = 0.5, 4 * 1024 * 1024

# The log tells of so many dotfiles that a location refuses.
_DOTFILES = 100

# A cache that asks again sends both, and the date doesn't count (RFC 9110 section 13.1.3).
_AGAIN = frozenset({b"if-none-match", b"if-modified-since"})
_RANGE = frozenset({b"range"})

_ADDRESS = re.compile(r"[\w.:%-]*", re.ASCII)

# What changes with a file; ctime does whatever else is set back.
_identity = operator.attrgetter("st_dev", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns")

# The fields of a request that count here.
_FIELDS = CONDITIONAL | {b"origin", b"access-control-request-method", b"service-worker"}


@dataclasses.dataclass(frozen=True, slots=True)
class HandlerContext:
    """What all locations of a middleware share."""

    chunk_size: int
    send_timeout: float
    threads: int
    disk_timeout: float
    security: Security


class HeaderOverrides(NamedTuple):
    """What one request changes in the headers of its file."""

    content_type: bytes | None = None
    cache_control: bytes | None = None
    headers: Sequence[tuple[bytes, bytes]] = ()


_Key = tuple[str, bool]
"""The path beneath the root, and whether the request is secure."""


class _Known(NamedTuple):
    """What is remembered of a file: its identity, and the commonest answers."""

    name: bytes
    identity: tuple[int, ...]
    representation: Representation
    whole: Response
    not_modified: Response
    parts: dict[bytes, Response]
    """By ``Range``: players and viewers ask for the same ones, such as ``bytes=0-``."""


class _Held(NamedTuple):
    """The content of a file."""

    known: _Known
    content: bytes
    until: float
    """By the monotonic clock."""


class HTTPError(Exception):
    def __init__(self, status: int, headers: Headers) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers


class LocationHandler:
    """A location with its root, and what is remembered of its files."""

    def __init__(
        self,
        location: Location,
        limits: HandlerContext,
        place: Place | None,
        excluded: Sequence[ExcludedFolder],
    ) -> None:
        """``place``: where the root of a location that isn't public lies."""
        self.location = location
        self.place = place
        self.prefix = location.prefix
        self._limits = limits
        self._security = limits.security
        self._asks = limits.security.asks
        self.is_internal = location.access == "internal"
        self._is_public = location.access == "public"
        self._origins = location.cors if isinstance(location.cors, frozenset) else None
        self._predicate = Predicate(location) if callable(location.access) else None
        self._root = LocalSource(
            location.folder,
            Workers(limits.threads, location.folder, limits.disk_timeout),
            follow_symlinks=location.follow_symlinks,
            excluded=excluded,
        )
        # Headers of any answer, by whether the request is secure.
        self._any = (self._of_any(secure=False), self._of_any(secure=True))
        self._dotfiles_told: set[str] = set()
        self._remembered: dict[_Key, _Known] = {}
        self._held: dict[_Key, _Held] = {}
        self._held_bytes = 0

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
        fields = _fields(scope)
        secure = False
        if self._asks:
            secure = self._security.is_secure(scope)
            if not secure and self._security.redirects(scope["path"]):
                await app(scope, receive, send)
                return
        limits = self._limits
        file: LocalFile | None = None
        body = None
        try:
            if method != "GET" or fields:
                self._check_request(method, fields)
            changes = None if self._is_public else await self._admit(scope, path, urls, mount)
            ready = None
            if changes is None and method == "GET":
                ready = self._at_hand((path, secure), fields)
            if ready is not None:
                answer, body = ready
            else:
                name = self._name(path)
                file = now = self._root.open_nowait(name)
                if file is None:
                    file = await self._root.open(name)
                answer = self._answer(file, path, method, fields, changes, secure=secure)
                if answer.length <= limits.chunk_size:
                    body = read_body_nowait(answer, file)
                # Where another location's files may be below the root, each one is opened, and
                # looked at where it lies.
                if now and body and not self._root.is_guarded:
                    self._hold((path, secure), answer, body, now.status)
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
        connection = response_writer(scope, receive, send, limits.send_timeout)
        await connection.whole(answer.status, answer.headers, body)

    async def hand_over(
        self, candidates: list[str], headers: Headers, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Serve a file in place of the application's response, which had these ``headers``.

        ``candidates``: what its path beneath the root may be, likeliest first.
        """
        # Validators and ranges are for GET and HEAD alone; any other method gets the file.
        fields = _fields(scope) if scope["method"] in ("GET", "HEAD") else {}
        method = "HEAD" if scope["method"] == "HEAD" else "GET"
        changes = HeaderOverrides(
            x_accel.deliberate_type(headers), x_accel.value(headers, b"cache-control")
        )
        file: LocalFile | None = None
        try:
            if fields:
                self._check_request(method, fields)
            path, file = await self._open_first(candidates)
            answer = self._answer(file, path, method, fields, changes, secure=False)
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

    async def _open_first(self, candidates: list[str]) -> tuple[str, LocalFile]:
        for path in candidates[:-1]:
            try:
                return path, await self._root.open(self._name(path))
            except (FileMissingError, OSError) as error:
                if isinstance(error, OSError) and error.errno not in _NO_FILE:
                    raise
        name = self._name(candidates[-1])
        return candidates[-1], self._root.open_nowait(name) or await self._root.open(name)

    def _of_any(self, *, secure: bool) -> Headers:
        headers = [NOSNIFF]
        if self.location.access == "signed":
            # A link is a key: no other site is to learn it.
            headers.append((b"referrer-policy", b"no-referrer"))
            headers += self._security.headers(secure=secure)[bool(self._security.referrer_policy) :]
        elif self.location.access != "internal":  # there the application's own middleware did it
            headers += self._security.headers(secure=secure)
        if self._predicate is not None:
            headers.append((b"vary", b"Cookie"))
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

    async def _admit(
        self, scope: Scope, path: str, urls: Sequence[str], mount: str
    ) -> HeaderOverrides | None:
        """What changes for who may see the file. Raises ``HTTPError``."""
        if self._predicate is None:
            now = time.time()
            try:
                grant = signing.verify(
                    urls[0],
                    scope.get("query_string") or b"",
                    aliases=urls[1:],
                    leeway=self.location.leeway,
                    now=now,
                )
            except BadSignature:
                raise HTTPError(403, []) from None
            headers = dict(signing.headers(grant, now))
            until = headers.pop(b"cache-control")
            del headers[b"referrer-policy"]  # has every answer here
            return HeaderOverrides(
                cache_control=until if self.location.cache_control is None else None,
                headers=tuple(headers.items()),
            )
        try:
            admitted = await self._predicate(scope, path, mount)
        except (BadRequest, SuspiciousOperation):
            # The predicate has looked at what Django can't take, such as a host that isn't allowed
            # or a query of thousands of fields.
            raise HTTPError(400, []) from None
        if isinstance(admitted, str):
            raise HTTPError(302, [(b"location", admitted.encode("ascii"))])
        if not admitted:
            raise HTTPError(403, [])
        return None

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

    def _at_hand(self, key: _Key, fields: Mapping[bytes, bytes]) -> tuple[Response, bytes] | None:
        """The answer to a GET and its body, remembered, if the file is still the same."""
        if not fields:
            held = self._held.get(key)
            if held is None or time.monotonic() > held.until:
                return None
            known = held.known
            ready = known.whole, held.content
        else:
            remembered = self._remembered.get(key)
            if remembered is None or not _is_unchanged(remembered, fields):
                return None
            known = remembered
            ready = known.not_modified, b""
        status = self._root.stat_nowait(known.name)
        return ready if status is not None and _identity(status) == known.identity else None

    def _hold(self, key: _Key, answer: Response, body: bytes, status: os.stat_result) -> None:
        """Remember the content of a file that is remembered.

        Only what was opened on the loop: on a server's file system a ``stat`` may be an old one.
        """
        known = self._remembered.get(key)
        if known is None or known.whole is not answer or len(body) > _HELD:
            return
        if not is_settled(status.st_ctime_ns, time.time()):
            return
        self._let_go(key)
        self._held[key] = _Held(known, body, time.monotonic() + _HELD_FOR)
        self._held_bytes += len(body)
        while self._held_bytes > _HELD:
            self._let_go(next(iter(self._held)))

    def _let_go(self, key: _Key) -> None:
        held = self._held.pop(key, None)
        if held is not None:
            self._held_bytes -= len(held.content)

    def _answer(
        self,
        file: LocalFile,
        path: str,
        method: str,
        fields: Mapping[bytes, bytes],
        changes: HeaderOverrides | None,
        *,
        secure: bool,
    ) -> Response:
        known = self._describe(file, path, secure=secure)
        current = known.representation
        if changes is None and method == "GET":
            if not fields:
                return known.whole
            if _is_unchanged(known, fields):
                return known.not_modified
            if fields.keys() == _RANGE:
                return self._part(known, fields)
        if changes is not None:
            type_ = changes.content_type or current.content_type
            current = dataclasses.replace(
                current,
                content_type=type_,
                cache_control=changes.cache_control or current.cache_control,
                extra=override(self._extra(type_, path, secure=secure), changes.headers),
            )
        return response.respond(method, fields, current, _boundary)

    def _part(self, known: _Known, fields: Mapping[bytes, bytes]) -> Response:
        asked = fields[b"range"]
        answer = known.parts.get(asked)
        if answer is None:
            answer = response.respond("GET", fields, known.representation, _boundary)
            # Not the multipart ones, each with a boundary that nobody knows before.
            if answer.status == 206 and len(answer.body) == 1 and len(asked) < 64:
                answer = _kept(answer)
                if len(known.parts) >= _PARTS:
                    del known.parts[next(iter(known.parts))]
                known.parts[asked] = answer
        return answer

    def _describe(self, file: LocalFile, path: str, *, secure: bool) -> _Known:
        """What there is to say of an open file.

        Remembered by name, and believed only while it is the same file by this request's own
        ``fstat``.
        """
        status = file.status
        identity = _identity(status)
        known = self._remembered.get((path, secure))
        if known is not None and known.identity == identity:
            return known
        type_ = content_type(path, self.location.content_types).encode("latin-1")
        current = describe(
            status,
            time.time(),
            content_type=type_,
            cache_control=self.location.cache_control_for(path).encode("latin-1"),
            extra=self._extra(type_, path, secure=secure),
        )
        whole, not_modified = response.whole(current), response.not_modified(current)
        name = self._name(path)
        if not current.lasting or self.location.varies:
            return _Known(name, identity, current, whole, not_modified, {})
        known = _Known(name, identity, current, _kept(whole), _kept(not_modified), {})
        if len(self._remembered) >= _REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[path, secure] = known
        return known

    def _extra(self, type_: bytes, path: str, *, secure: bool) -> Headers:
        headers = [*self._any[secure]]
        if self.location.sandbox and not runs_no_script(type_.decode("latin-1")):
            headers.append((b"content-security-policy", SANDBOX))
        return override(headers, self.location.headers_for(path))

    def _for_origin(self, answer: Response, fields: Mapping[bytes, bytes]) -> Response:
        assert self._origins is not None
        more = cors.headers(self._origins, fields)
        return answer._replace(headers=[*answer.headers, *more])

    def _failed(self, error: Exception, scope: Scope) -> tuple[int, Headers]:
        """Status and headers that say what went wrong; the log says the rest."""
        if isinstance(error, HTTPError):
            return error.status, error.headers
        if isinstance(error, FileMissingError):
            if is_traversal(scope["path"]):
                _log_refused(scope, "the path climbs")
            return 404, []
        if isinstance(error, OSError):
            if error.errno in _NO_FILE:
                if error.errno == errno.EXDEV:
                    _log_refused(scope, "a link leads out of the folder")
                return 404, []
            if isinstance(error, PermissionError):
                return 403, []
        if isinstance(error, DiskTimeoutError):
            if error.is_news:
                logger.error("%r can't be read: %s", scope["path"], error)
            return 503, [(b"retry-after", b"1")]
        if isinstance(error, OSError | TruncatedFileError):
            logger.error("%r can't be read: %s", scope["path"], error)
            if isinstance(error, OSError) and error.errno in _LATER:
                return 503, [(b"retry-after", b"1")]
            return 500, []
        if isinstance(error, RuntimeError) and str(error) == "can't start new thread":
            # asgiref got none in which to ask the predicate.
            logger.error("%r: access can't be asked: %s", scope["path"], error)
            return 503, [(b"retry-after", b"1")]
        # A callable of the location's.
        logger.error("%r: no answer could be made", scope["path"], exc_info=error)
        return 500, []

    def _error(self, status: int, method: str, headers: Headers, *, secure: bool) -> Response:
        return response.error(status, [*self._any[secure], *headers], method)

    async def _send(
        self,
        answer: Response,
        file: LocalFile | None,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        secure: bool,
    ) -> None:
        connection = response_writer(scope, receive, send, self._limits.send_timeout)
        path, chunk_size = scope["path"], self._limits.chunk_size
        try:
            await send_response(connection, answer, file, path, chunk_size)
        except (TruncatedFileError, DiskTimeoutError, OSError) as error:
            status, headers = self._failed(error, scope)
            answer = self._error(status, scope["method"], headers, secure=secure)
            await send_response(connection, answer, None, path, chunk_size)


def _is_unchanged(known: _Known, fields: Mapping[bytes, bytes]) -> bool:
    """Has the client the file as it is, and asks for nothing else?"""
    return fields.get(b"if-none-match") == known.representation.etag and fields.keys() <= _AGAIN


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


def _fields(scope: Scope) -> dict[bytes, bytes]:
    given = dict(scope["headers"])
    # Most requests have none of them. Names are in lower case, as ASGI has it; not everywhere.
    if _FIELDS.isdisjoint(given) and b"".join(given).islower():
        return {}
    fields: dict[bytes, bytes] = {}
    lines: dict[bytes, list[bytes]] = {}
    for name, value in scope["headers"]:
        name = name.lower()
        if name in _FIELDS:
            if name in fields:
                lines.setdefault(name, [fields[name]]).append(value)
            else:
                fields[name] = value
    for name, values in lines.items():
        fields[name] = b", ".join(values)  # as a list in one line (RFC 9110 section 5.3)
    return fields
