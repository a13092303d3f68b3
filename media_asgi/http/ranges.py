"""
Range requests: RFC 9110 section 14, and multipart/byteranges (section 14.6).

Pure. A span is a half-open pair of byte offsets, as Python's slices are.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

# More ranges than any reader of a document asks for at once; above it the header is ignored, which
# section 14.2 allows ("many small ranges" are its own example of an attack).
MAX_RANGES = 64

# Digits are ASCII alone: int() would take "+5", "1_0" and Arabic ones. OWS as in section 5.6.3.
_SPEC = re.compile(rb"(?:([0-9]+)-([0-9]*)|-([0-9]+))")
_OWS = b" \t"

# 19 digits hold every file offset; int() refuses to read thousands.
_MAX_DIGITS = 19
_BEYOND: int = 10**_MAX_DIGITS


class ByteRange(NamedTuple):
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


class RangeNotSatisfiable(Exception):
    """Every range lies past the end: 416."""


def parse(value: bytes, size: int) -> list[ByteRange] | None:
    """The spans that a ``Range`` field asks of a representation of ``size`` bytes, in its order.

    ``None`` where the field is to be ignored: another unit, a malformed set (section 14.1.1), an
    empty representation, more than ``MAX_RANGES`` ranges, or more bytes asked than there are.
    Unsatisfiable ranges are dropped, overlapping ones joined where the first of them stands.

    Raises ``RangeNotSatisfiable`` where no range is left.
    """
    unit, equals, set_ = value.partition(b"=")
    # Units are case-insensitive (section 14.1). A few commas too many are allowed in a list
    # (section 5.6.1.2), no end of them is not.
    if not equals or unit.lower() != b"bytes" or set_.count(b",") > 2 * MAX_RANGES:
        return None
    spans: list[ByteRange] = []
    count = asked = 0
    for spec in set_.split(b","):
        spec = spec.strip(_OWS)
        if not spec:
            continue
        match = _SPEC.fullmatch(spec)
        if match is None:
            return None
        first, last, suffix = match.groups()
        if suffix is not None:
            start, stop = max(size - _int(suffix), 0), size
        else:
            start, stop = _int(first), size
            if last:
                end = _int(last)
                if start > end or (start == end == _BEYOND and _longer(first, last)):
                    return None  # an int-range is invalid so, and with it the set (14.1.1)
                stop = min(end + 1, size)
        count += 1
        if count > MAX_RANGES:
            return None
        if start < stop:
            spans.append(ByteRange(start, stop))
            asked += stop - start
    if not count or not size or asked > size:
        return None
    if not spans:
        raise RangeNotSatisfiable
    return _joined(spans) if len(spans) > 1 else spans


def single(value: bytes) -> tuple[int | None, int | None] | None:
    """The one range that a ``Range`` field names: start and stop, ``None`` where it is open.

    Of a suffix, ``stop`` is how many bytes. ``None`` for several ranges and for anything else.
    """
    unit, _, spec = value.partition(b"=")
    match = _SPEC.fullmatch(spec.strip(_OWS))
    if match is None or unit.lower() != b"bytes":
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        return None, _int(suffix)
    return _int(first), _int(last) + 1 if last else None


def _longer(first: bytes, last: bytes) -> bool:
    """Is ``first`` the greater number, however many digits they have?"""
    first, last = first.lstrip(b"0"), last.lstrip(b"0")
    return (len(first), first) > (len(last), last)


def _int(digits: bytes) -> int:
    if len(digits) > _MAX_DIGITS:
        digits = digits.lstrip(b"0")
        if len(digits) > _MAX_DIGITS:
            return _BEYOND
    return int(digits or b"0")


def _joined(spans: Sequence[ByteRange]) -> list[ByteRange]:
    """Overlapping spans joined, each group in the place of its first member."""
    groups: list[tuple[int, int, int]] = []  # start, stop, place
    for (start, stop), place in sorted((span, place) for place, span in enumerate(spans)):
        if groups and start < groups[-1][1]:
            before = groups[-1]
            groups[-1] = (before[0], max(before[1], stop), min(before[2], place))
        else:
            groups.append((start, stop, place))
    groups.sort(key=lambda group: group[2])
    return [ByteRange(start, stop) for start, stop, _ in groups]


def content_range(span: ByteRange, size: int) -> bytes:
    """The value of ``Content-Range`` for one part (section 14.4)."""
    return b"bytes %d-%d/%d" % (span.start, span.stop - 1, size)


def multipart(
    spans: Sequence[ByteRange], size: int, content_type: bytes, boundary: bytes
) -> tuple[list[bytes | ByteRange], int]:
    """The body of a multipart/byteranges answer, in order, and its exact length in bytes."""
    body: list[bytes | ByteRange] = []
    for span in spans:
        body += (
            b"\r\n--%b\r\nContent-Type: %b\r\nContent-Range: %b\r\n\r\n"
            % (boundary, content_type, content_range(span, size)),
            span,
        )
    body.append(b"\r\n--%b--\r\n" % boundary)
    return body, sum(map(len, body))
