"""
What a location says of its files, and its commonest responses, remembered.
"""

import dataclasses
import os
import time
from collections.abc import Hashable
from typing import NamedTuple

from .access.base import HeaderOverrides
from .http import response
from .http.cors import CORS
from .http.headers import NOSNIFF, FinalHeaders, override
from .http.media_types import SANDBOX, content_type, runs_no_script
from .http.representation import FileInfo, Representation, describe, etag_with
from .http.response import Response
from .location import Location
from .security import SecuritySettings
from .types import Headers

# Files of one location.
_MAX_KNOWN = 1024

Key = tuple[str, bool, tuple[bytes, ...]]
"""The path below the root; whether the request is secure; the content codings that it prefers,
``()`` where the location has no variants. A file is described anew where one of them differs."""


class KnownFile(NamedTuple):
    """What is remembered of a file. It holds as long as the version is the same."""

    name: bytes
    version: Hashable
    representation: Representation
    full: Response
    not_modified: Response


class KnownFiles:
    """The files of a location, by what of a request decides the response's headers."""

    def __init__(self, location: Location, security: SecuritySettings) -> None:
        self._location = location
        self._files: dict[Key, KnownFile] = {}
        self._common = tuple(
            _common_headers(location, security, secure=secure) for secure in (False, True)
        )
        self.get = self._files.get

    def common_headers(self, *, secure: bool) -> Headers:
        """The header fields of every response, errors included."""
        return self._common[secure]

    def describe(self, info: FileInfo, name: bytes, key: Key) -> KnownFile:
        known = self._files.get(key)
        if known is not None and known.version == info.version:
            return known
        location, (path, secure, _) = self._location, key
        type_ = content_type(path, location.content_types).encode("latin-1")
        current = describe(
            info,
            time.time(),
            content_type=type_,
            cache_control=location.cache_control_for(path).encode("latin-1"),
            extra=self._extra(info, type_, path, secure=secure),
        )
        if not location.policy.answers_clients:
            # The application may hand over several files under one URL.
            tag = etag_with(current.etag, os.fsencode(location.prefix + path))
            current = dataclasses.replace(current, etag=tag)
        full, not_modified = response.full_response(current), response.not_modified(current)
        known = KnownFile(name, info.version, current, full, not_modified)
        if not current.lasting or location.varies(path):
            return known
        if len(self._files) >= _MAX_KNOWN:
            del self._files[next(iter(self._files))]
        known = known._replace(full=_kept(full), not_modified=_kept(not_modified))
        self._files[key] = known
        return known

    def changed(
        self, known: KnownFile, info: FileInfo, changes: HeaderOverrides, key: Key
    ) -> Representation:
        """The representation of a file for one request, which changes header fields."""
        path, secure, _ = key
        current = known.representation
        type_ = changes.content_type or current.content_type
        return dataclasses.replace(
            current,
            content_type=type_,
            cache_control=changes.cache_control or current.cache_control,
            extra=override(self._extra(info, type_, path, secure=secure), changes.headers),
        )

    def _extra(self, info: FileInfo, type_: bytes, path: str, *, secure: bool) -> Headers:
        headers = [*self._common[secure], *info.headers]
        if self._location.sandbox and not runs_no_script(type_.decode("latin-1")):
            headers.append((b"content-security-policy", SANDBOX))
        return override(headers, self._location.headers_for(path))


def _kept(answer: Response) -> Response:
    return answer._replace(headers=FinalHeaders(answer.headers))


def _common_headers(location: Location, security: SecuritySettings, *, secure: bool) -> Headers:
    headers = [NOSNIFF]
    if location.policy.answers_clients:  # else the application's own middleware adds them
        headers += security.headers(secure=secure)
    headers = override(headers, location.policy.common_headers)
    if isinstance(location.cors, CORS) and location.cors.origins is None:
        headers += location.cors.headers({})
    if location.precompressed:
        # Also where there is no variant: one may be there tomorrow, and a cache must not give it to
        # a client that can't decode it (RFC 9110 section 12.5.5).
        headers.append((b"vary", b"Accept-Encoding"))
    return headers
