"""
Header fields: those of a request that count, and those of an answer that replace others.

Pure. Names are in lower case.
"""

from collections.abc import Collection, Iterable, Set

from ..types import Headers

# A browser is to take a file for what it is said to be, and nothing else.
NOSNIFF = (b"x-content-type-options", b"nosniff")

# Of these every line counts (RFC 9110 section 12.5.5, CSP3 section 3.1).
_ADDED = frozenset({b"vary", b"content-security-policy"})


def override(base: Iterable[tuple[bytes, bytes]], over: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Headers in which those of ``over`` take the place of their namesakes."""
    over = list(over)
    names = {name for name, _ in over} - _ADDED
    return [*(pair for pair in base if pair[0] not in names), *over]


def pick(headers: Collection[tuple[bytes, bytes]], names: Set[bytes]) -> dict[bytes, bytes]:
    """The fields of these names in a request. Several lines of a name become one list."""
    given = dict(headers)
    # Most requests have none of them. Names are in lower case, as ASGI has it; not everywhere.
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
        fields[name] = b", ".join(values)  # as a list in one line (RFC 9110 section 5.3)
    return fields
