"""
The host that a request is for, as Django reads it.

Pure.
"""

import re
from collections.abc import Iterable

from django.http.request import split_domain_port, validate_host

_LABEL = "[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_PLAIN_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


def request_host(headers: Iterable[tuple[bytes, bytes]], *, forwarded: bool) -> str:
    """In lower case, without its port; ``""`` if the request doesn't have exactly one.

    ``forwarded``: does ``USE_X_FORWARDED_HOST`` say that a proxy sets ``X-Forwarded-Host``?
    """
    lines: dict[bytes, list[bytes]] = {b"host": [], b"x-forwarded-host": []}
    for name, value in headers:
        if (name := name.lower()) in lines:
            lines[name].append(value)
    values = (forwarded and lines[b"x-forwarded-host"]) or lines[b"host"]
    return host_name(values[0].decode("latin-1")) if len(values) == 1 else ""


def host_name(host: str) -> str:
    """A host, in the form of ``request_host``; ``""`` if it is invalid."""
    return split_domain_port(host)[0]


def is_host(host: str, pattern: str | None) -> bool:
    """Does the host match a pattern of ``ALLOWED_HOSTS``? ``None`` is every host, or none."""
    return pattern is None or (bool(host) and validate_host(host, [pattern]))


def is_plain_name(host: str) -> bool:
    """Is it safe as the name of a folder? An IPv6 address and ``..`` are not."""
    return len(host) < 254 and _PLAIN_NAME.fullmatch(host) is not None


def host_rank(pattern: str | None) -> int:
    """The higher, the fewer hosts a pattern matches."""
    if pattern is None or pattern == "*":
        return 0 if pattern is None else 1
    return len(pattern) if pattern.startswith(".") else 1000  # a name has 253 characters
