"""
The content codings that a client takes: RFC 9110 section 12.5.3.

Pure.
"""

import re
from functools import lru_cache

# codings [ OWS ";" OWS "q=" qvalue ] (section 12.4.2). Another member doesn't count.
_MEMBER = re.compile(
    rb"[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*"
    rb"(?:;[ \t]*[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)[ \t]*)?"
)

# What is remembered of values that clients choose. Browsers send some few.
_MAX_VALUES, _MAX_LENGTH = 128, 256

# The codings that are served, in the server's order: the smallest first.
CODINGS = (b"br", b"zstd", b"gzip")


def is_accepted(accept_encoding: bytes | None, coding: bytes) -> bool:
    """Does a client with this ``Accept-Encoding`` take this coding?

    A client that doesn't send the field may get any coding, the RFC says. But programs that don't
    decode any don't send it either.
    """
    weights = _weights(accept_encoding or b"")
    return weights.get(coding, weights.get(b"*", 0)) > 0


def preferred(accept_encoding: bytes | None) -> tuple[bytes, ...]:
    """The codings that a client prefers to a file without a coding, the best first.

    ``identity;q=0`` makes it prefer each coding that it takes. Where none is there, it gets the
    file without a coding all the same: that is better than 406.
    """
    if accept_encoding is None:
        return ()
    if len(accept_encoding) > _MAX_LENGTH:
        return _preferred(accept_encoding)
    return _remembered(accept_encoding)


def _preferred(accept_encoding: bytes) -> tuple[bytes, ...]:
    weights = _weights(accept_encoding)
    other = weights.get(b"*", 0)
    # "*" is also about a file without a coding: "*;q=0" refuses it.
    identity = weights.get(b"identity", other)
    chosen = []
    for coding in CODINGS:
        weight = weights.get(coding, 0)
        # For equal weights the client's own word for a coding counts, and "*" is not one.
        if weight and weight >= identity:
            chosen.append((weight, coding))
        elif coding not in weights and other > identity:
            chosen.append((other, coding))
    chosen.sort(key=lambda pair: -pair[0])  # stable
    return tuple(coding for _, coding in chosen)


_remembered = lru_cache(maxsize=_MAX_VALUES)(_preferred)


def _weights(accept_encoding: bytes) -> dict[bytes, float]:
    weights: dict[bytes, float] = {}
    for member in accept_encoding.split(b","):
        if match := _MEMBER.fullmatch(member):
            # "x-gzip" is an old name of gzip (section 8.4.1.3).
            coding = match[1].lower().removeprefix(b"x-")
            weights[coding] = 1 if match[2] is None else float(match[2])
    return weights
