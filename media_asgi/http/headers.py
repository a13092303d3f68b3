"""
Header fields: the fields of a request that count, and the fields of a response that replace others.

Pure. Names are in lower case.
"""

from collections.abc import Collection, Iterable, Set
from typing import Any

from ..types import Headers

# A browser must not guess another media type (https://fetch.spec.whatwg.org/#x-content-type-options-header).
NOSNIFF = (b"x-content-type-options", b"nosniff")

# Every line of these counts (RFC 9110 section 12.5.5, CSP3 section 3.1), so they are added.
_ADDED = frozenset({b"vary", b"content-security-policy"})


class FinalHeaders(list[tuple[bytes, bytes]]):
    """The header fields of a response, or of many, which nobody changes any more.

    ``joined``: for a server's writer, to remember what it makes of them.
    """

    joined: Any = None


def override(base: Iterable[tuple[bytes, bytes]], over: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The headers of ``base``, in which those of ``over`` replace the ones with the same name."""
    over = list(over)
    names = {name for name, _ in over} - _ADDED
    return [*(pair for pair in base if pair[0] not in names), *over]


def with_one_vary(headers: Headers) -> Headers:
    """The headers with all lines of ``Vary`` in one: nginx before 1.23 caches by one line alone."""
    values = [value for name, value in headers if name == b"vary"]
    if len(values) < 2:
        return headers
    return [*(pair for pair in headers if pair[0] != b"vary"), (b"vary", b", ".join(values))]


def pick(headers: Collection[tuple[bytes, bytes]], names: Set[bytes]) -> dict[bytes, bytes]:
    """The fields of these names in a request. Several lines of a name become one list."""
    given = dict(headers)
    # Most requests don't have one. ASGI wants names in lower case, but not every server does that.
    if names.isdisjoint(given) and b"".join(given).islower():
        return {}
    fields: dict[bytes, bytes] = {}
    lines: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        name = name.lower()
        if name in names:
            if name in fields:
                lines.setdefault(name, [fields[name]]).append(value)
            else:
                fields[name] = value
    for name, values in lines.items():
        fields[name] = b", ".join(values)  # a list in one line (RFC 9110 section 5.3)
    return fields
