"""
Range requests: RFC 9110 section 14, and multipart/byteranges (section 14.6).

Pure. A ``ByteRange`` is half-open, as a slice of Python is.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

# Readers of documents ask for fewer ranges at once. A header with more is ignored, which section
# 14.2 allows. "Many small ranges" is its own example of an attack.
MAX_RANGES = 64

# Only ASCII digits: int() would also take "+5", "1_0" and Arabic digits. OWS is that of section
# 5.6.3.
_SPEC = re.compile(rb"(?:([0-9]+)-([0-9]*)|-([0-9]+))")
_OWS = b" \t"

# The form that browsers and players send, which needs no more than one look.
_ORDINARY = re.compile(rb"bytes=([0-9]{1,18})-([0-9]{1,18})")

# 19 digits hold every file offset. int() raises ValueError for thousands of digits.
_MAX_DIGITS = 19
_BEYOND: int = 10**_MAX_DIGITS


class ByteRange(NamedTuple):
    """Bytes of a file, by their offsets."""

    start: int
    stop: int
    """One past the last byte."""

    def __len__(self) -> int:
        return self.stop - self.start


class RangeNotSatisfiable(Exception):
    """All ranges lie past the end: the status is 416."""


def parse(value: bytes, size: int) -> list[ByteRange] | None:
    """The ranges of a ``Range`` field in a representation of ``size`` bytes, in its order.

    ``None`` if the field is to be ignored: its unit is another one, the set is malformed (section
    14.1.1), the representation is empty, the field has more than ``MAX_RANGES`` ranges, or they
    have more bytes together than the representation. A range past the end is dropped. Overlapping
    ranges are joined, in the place of the first one.

    Raises ``RangeNotSatisfiable`` if all ranges were dropped.
    """
    ordinary = _ORDINARY.fullmatch(value)
    if ordinary is not None:
        start, end = int(ordinary[1]), int(ordinary[2])
        if start <= end < size:
            return [ByteRange(start, end + 1)]
    unit, equals, set_ = value.partition(b"=")
    # Units are case-insensitive (section 14.1). A list may have a few extra commas (section
    # 5.6.1.2), but not an unlimited number.
    if not equals or unit.lower() != b"bytes" or set_.count(b",") > 2 * MAX_RANGES:
        return None
    selected: list[ByteRange] = []
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
                    return None  # an invalid int-range makes the set invalid (14.1.1)
                stop = min(end + 1, size)
        count += 1
        if count > MAX_RANGES:
            return None
        if start < stop:
            selected.append(ByteRange(start, stop))
            asked += stop - start
    if not count or not size or asked > size:
        return None
    if not selected:
        raise RangeNotSatisfiable
    return _joined(selected) if len(selected) > 1 else selected


def single(value: bytes) -> tuple[int | None, int | None] | None:
    """Start and stop of the only range of a ``Range`` field; ``None`` if it hasn't exactly one.

    ``start`` is ``None`` for a suffix, and ``stop`` is then the number of its bytes. ``stop`` is
    ``None`` if the range goes to the end of the file.
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
    """Is ``first`` the greater number? Both may have any number of digits."""
    first, last = first.lstrip(b"0"), last.lstrip(b"0")
    return (len(first), first) > (len(last), last)


def _int(digits: bytes) -> int:
    if len(digits) > _MAX_DIGITS:
        digits = digits.lstrip(b"0")
        if len(digits) > _MAX_DIGITS:
            return _BEYOND
    return int(digits or b"0")


def _joined(selected: Sequence[ByteRange]) -> list[ByteRange]:
    """The ranges with overlapping ones joined, each group in the place of its first member."""
    groups: list[tuple[int, int, int]] = []  # start, stop, place
    for (start, stop), place in sorted((each, place) for place, each in enumerate(selected)):
        if groups and start < groups[-1][1]:
            before = groups[-1]
            groups[-1] = (before[0], max(before[1], stop), min(before[2], place))
        else:
            groups.append((start, stop, place))
    groups.sort(key=lambda group: group[2])
    return [ByteRange(start, stop) for start, stop, _ in groups]


def content_range(byte_range: ByteRange, size: int) -> bytes:
    """The value of ``Content-Range`` for one part (section 14.4)."""
    return b"bytes %d-%d/%d" % (byte_range.start, byte_range.stop - 1, size)


def multipart(
    selected: Sequence[ByteRange], size: int, content_type: bytes, boundary: bytes
) -> tuple[list[bytes | ByteRange], int]:
    """The body of a multipart/byteranges response, in order, and its length in bytes."""
    body: list[bytes | ByteRange] = []
    for byte_range in selected:
        body += (
            b"\r\n--%b\r\nContent-Type: %b\r\nContent-Range: %b\r\n\r\n"
            % (boundary, content_type, content_range(byte_range, size)),
            byte_range,
        )
    body.append(b"\r\n--%b--\r\n" % boundary)
    return body, sum(map(len, body))
