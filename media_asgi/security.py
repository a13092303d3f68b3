"""
Django's security settings, applied to media.

Django's SecurityMiddleware doesn't see the responses of this package. The settings are read once,
at start. They count only if SecurityMiddleware is installed.
"""

import re
from dataclasses import dataclass
from typing import Self

from django.conf import settings
from django.middleware.security import SecurityMiddleware

from .conf import middleware_of
from .types import Headers, Scope


@dataclass(frozen=True, slots=True)
class SecuritySettings:
    """What the settings require of each response."""

    referrer_policy: bytes = b""
    hsts: bytes = b""
    redirect_exempt: tuple[re.Pattern[str], ...] | None = None
    """Paths for which an insecure request is served. ``None``: it is served for all paths."""
    proxy_header: tuple[bytes, str] | None = None
    """The header, and its value on a request that a proxy received over TLS."""

    @classmethod
    def from_django(cls) -> Self:
        """The settings of the project. All are off if SecurityMiddleware is not installed."""
        if middleware_of(SecurityMiddleware) is None:
            return cls()
        hsts = ""
        if settings.SECURE_HSTS_SECONDS:
            hsts = f"max-age={settings.SECURE_HSTS_SECONDS}"
            hsts += "; includeSubDomains" if settings.SECURE_HSTS_INCLUDE_SUBDOMAINS else ""
            hsts += "; preload" if settings.SECURE_HSTS_PRELOAD else ""
        policy = settings.SECURE_REFERRER_POLICY or ()
        policies = policy.split(",") if isinstance(policy, str) else policy
        proxy_header = None
        if settings.SECURE_PROXY_SSL_HEADER:
            name, value = settings.SECURE_PROXY_SSL_HEADER
            # The setting has the name as a WSGI environment has it.
            name = name.removeprefix("HTTP_").replace("_", "-").lower()
            proxy_header = (name.encode("latin-1"), value)
        return cls(
            referrer_policy=",".join(name.strip() for name in policies).encode("ascii"),
            hsts=hsts.encode("ascii"),
            redirect_exempt=tuple(map(re.compile, settings.SECURE_REDIRECT_EXEMPT))
            if settings.SECURE_SSL_REDIRECT
            else None,
            proxy_header=proxy_header,
        )

    @property
    def depend_on_scheme(self) -> bool:
        """Does a response depend on whether its request is secure?"""
        return bool(self.hsts) or self.redirect_exempt is not None

    def is_secure(self, scope: Scope) -> bool:
        """Is the request secure, as ``HttpRequest.is_secure()`` says?"""
        if self.proxy_header is not None:
            name, wanted = self.proxy_header
            values = [value for key, value in scope["headers"] if key.lower() == name]
            if values:
                first = b",".join(values).partition(b",")[0]
                return first.decode("latin-1").strip() == wanted
        return bool(scope.get("scheme") == "https")

    def redirects(self, path: str) -> bool:
        """Does SecurityMiddleware redirect an insecure request for this path?"""
        return self.redirect_exempt is not None and not any(
            pattern.search(path.lstrip("/")) for pattern in self.redirect_exempt
        )

    def headers(self, *, secure: bool) -> Headers:
        """The header fields of each response to a request that is secure, or is not."""
        headers = []
        if self.referrer_policy:
            headers.append((b"referrer-policy", self.referrer_policy))
        if secure and self.hsts:
            headers.append((b"strict-transport-security", self.hsts))
        return headers
