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

# The codings that are served, in the server's order: the smallest first.
CODINGS = (b"br", b"zstd", b"gzip")

# Bytes. No browser sends so many. Values are remembered, and clients invent them.
_MAX_LENGTH = 256


def is_accepted(accept_encoding: bytes | None, coding: bytes) -> bool:
    """Does a client with this ``Accept-Encoding`` take this coding?

    A client that doesn't send the field may get any coding, the RFC says. But programs that don't
    decode any don't send it either.
    """
    weights = _weights(accept_encoding or b"")
    return weights.get(coding, weights.get(b"*", 0)) > 0


def preferred(accept_encoding: bytes | None) -> tuple[bytes, ...]:
    """The codings that a client prefers to a file without a coding, the best first.

    If it refuses ``identity`` and none of them is there, it gets the file all the same, since that
    is better than 406.
    """
    if accept_encoding is None or len(accept_encoding) > _MAX_LENGTH:
        return ()
    return _preferred(accept_encoding)


@lru_cache(maxsize=128)
def _preferred(accept_encoding: bytes) -> tuple[bytes, ...]:
    weights = _weights(accept_encoding)
    other = weights.get(b"*", 0)
    # "*" is also about a file without a coding: "*;q=0" refuses it.
    identity = weights.get(b"identity", other)
    # At the same weight a coding that the client names counts before identity, and "*" does not.
    chosen = [
        coding
        for coding in CODINGS
        if (weights[coding] >= max(identity, 0.001) if coding in weights else other > identity)
    ]
    return tuple(sorted(chosen, key=lambda coding: -weights.get(coding, other)))


def _weights(accept_encoding: bytes) -> dict[bytes, float]:
    weights: dict[bytes, float] = {}
    for member in accept_encoding.split(b","):
        if match := _MEMBER.fullmatch(member):
            # "x-gzip" is an old name of gzip (section 8.4.1.3).
            coding = match[1].lower().removeprefix(b"x-")
            weights[coding] = 1 if match[2] is None else float(match[2])
    return weights
