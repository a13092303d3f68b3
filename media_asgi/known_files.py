"""
What a location says of its files, and its commonest responses, remembered.
"""

import dataclasses
import time
from collections.abc import Hashable
from typing import NamedTuple

from .access.base import HeaderOverrides
from .http import cors, response
from .http.headers import NOSNIFF, override
from .http.media_types import SANDBOX, content_type, runs_no_script
from .http.representation import FileInfo, Representation, describe
from .http.response import Response
from .location import Location
from .security import SecuritySettings
from .types import Headers

# Files of one location.
_MAX_KNOWN = 1024


class KnownFile(NamedTuple):
    """What is remembered of a file. It holds as long as the version is the same."""

    name: bytes
    version: Hashable
    representation: Representation
    full: Response
    not_modified: Response


class KnownFiles:
    """The files of a location, by path below the root and by whether the request is secure."""

    def __init__(self, location: Location, security: SecuritySettings) -> None:
        self._location = location
        self._files: dict[tuple[str, bool], KnownFile] = {}
        self._common = tuple(
            _common_headers(location, security, secure=secure) for secure in (False, True)
        )
        self.get = self._files.get

    def common_headers(self, *, secure: bool) -> Headers:
        """The header fields of every response, errors included."""
        return self._common[secure]

    def describe(self, info: FileInfo, name: bytes, path: str, *, secure: bool) -> KnownFile:
        known = self._files.get((path, secure))
        if known is not None and known.version == info.version:
            return known
        location = self._location
        type_ = content_type(path, location.content_types).encode("latin-1")
        current = describe(
            info,
            time.time(),
            content_type=type_,
            cache_control=location.cache_control_for(path).encode("latin-1"),
            extra=self._extra(info, type_, path, secure=secure),
        )
        full, not_modified = response.full_response(current), response.not_modified(current)
        known = KnownFile(name, info.version, current, full, not_modified)
        if not current.lasting or location.varies:
            return known
        if len(self._files) >= _MAX_KNOWN:
            del self._files[next(iter(self._files))]
        self._files[path, secure] = known
        return known

    def changed(
        self, known: KnownFile, info: FileInfo, path: str, changes: HeaderOverrides, *, secure: bool
    ) -> Representation:
        """The representation of a file for one request, which changes header fields."""
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


def _common_headers(location: Location, security: SecuritySettings, *, secure: bool) -> Headers:
    headers = [NOSNIFF]
    if location.policy.answers_clients:  # else the application's own middleware adds them
        headers += security.headers(secure=secure)
    headers = override(headers, location.policy.common_headers)
    if location.cors == "*":
        headers += cors.headers("*", {})
    return headers
