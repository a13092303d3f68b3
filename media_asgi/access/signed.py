"""
``access="signed"``: a client with a link from ``media_asgi.signing`` may have the file, or the
files of the folder, until the link expires.
"""

import time
from collections.abc import Sequence

from django.core.exceptions import ImproperlyConfigured
from django.core.signing import BadSignature

from .. import signing
from ..conf import django_setting
from ..types import Scope
from .base import AccessDenied, AccessPolicy, HeaderOverrides, LocationOptions


class Signed(AccessPolicy):
    value = "access='signed'"
    decides_by_url = True
    options = frozenset({"leeway"})
    # A link is a key. No other site may learn it.
    common_headers = ((b"referrer-policy", b"no-referrer"),)

    def __init__(self, options: LocationOptions) -> None:
        if not django_setting("SECRET_KEY"):
            raise ImproperlyConfigured(
                f"access of the location {options.url!r} is 'signed', but Django's SECRET_KEY, "
                "which signs the links, is not set. Set it, or build the location where Django's "
                "settings are."
            )
        signing.location_prefixes[self] = options.prefix
        self._leeway = options.leeway
        # If the location has not a Cache-Control, caches keep a file until its link expires.
        self._until_expiry = options.cache_control is None

    def file_path(self, path: str) -> str:
        return signing.without_signature(path)

    async def authorize(
        self, scope: Scope, path: str, urls: Sequence[str], host: str | None = None
    ) -> HeaderOverrides | None:
        now = time.time()
        query = scope.get("query_string") or b""
        try:
            grant = signing.verify(
                urls[0], query, aliases=urls[1:], host=host, leeway=self._leeway, now=now
            )
        except BadSignature as error:
            raise AccessDenied(403, reason=str(error)) from error
        headers = dict(signing.headers(grant, now))
        cache_control = headers.pop(b"cache-control")
        del headers[b"referrer-policy"]  # is one of the common headers
        return HeaderOverrides(
            cache_control=cache_control if self._until_expiry else None,
            headers=tuple(headers.items()),
        )
