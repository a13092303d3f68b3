"""
Slow and obvious models of RFC 9110, and the requests to hold the package against them.

They read nothing of the package, and share no code with it.
"""

import string
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hypothesis import strategies as st

# --- Ranges: section 14 -------------------------------------------------------------------------

MAX_RANGES = 64


def ranges(value: bytes, size: int) -> list[tuple[int, int]] | str:
    """First and last byte of each part; or that the field is ``ignored``, or ``unsatisfiable``.

    Every range is the set of the positions in it.
    """
    text = value.decode("latin-1")
    unit, equals, members = text.partition("=")
    if unit.lower() != "bytes" or not equals or members.count(",") > 2 * MAX_RANGES:
        return "ignored"
    asked = []
    for member in members.split(","):
        member = member.strip(" \t")
        if not member:
            continue
        first, dash, last = member.partition("-")
        digits = set(first + last)
        if not dash or not digits or not digits <= set(string.digits):
            return "ignored"
        if first and last and int(last) < int(first):
            return "ignored"
        if not first:
            wanted = range(size)[-int(last) :] if int(last) else range(0)
        else:
            stop = min(int(last), size - 1) + 1 if last else size
            wanted = range(min(int(first), size), stop)
        asked.append(set(wanted))
    if not asked or not size or len(asked) > MAX_RANGES or sum(map(len, asked)) > size:
        return "ignored"
    parts: list[set[int]] = []
    for positions in asked:
        if not positions:
            continue
        parts.append(positions)
        joined = True
        while joined:
            joined = False
            for here, part in enumerate(parts):
                for there in range(len(parts) - 1, here, -1):
                    if part & parts[there]:
                        part |= parts.pop(there)
                        joined = True
    if not parts:
        return "unsatisfiable"
    for part in parts:
        assert part == set(range(min(part), max(part) + 1))
    return [(min(part), max(part)) for part in parts]


# Beyond every file, and beyond what 64 bits hold.
_HUGE = ["9" * 18, "9" * 19, "9" * 20, "1" + "0" * 25, "2" + "0" * 25]


def _member(kind: str, one: int, other: int) -> str:
    low, high = sorted((one, other))
    huge = _HUGE[one % len(_HUGE)]
    return {
        "short": f"{one}-{one + other % 4}",
        "int-range": f"{low}-{high}",
        "open": f" {one}-",
        "suffix": f"-{other}\t",
        "zeros": f"{'0' * 30}{low}-0{high}",
        "huge last": f"{one}-{huge}",
        "huge first": f"{huge}-",
        "huge suffix": f"-{huge}",
        "both huge": f"{huge}-{_HUGE[other % len(_HUGE)]}",
        "any": f"{one}-{other}",
        "none": " ",
    }[kind]


_KINDS = st.sampled_from(
    ["short"] * 6 + ["int-range"] * 2 + ["open", "suffix", "zeros", "huge last", "none"] * 2
    + ["huge first", "huge suffix", "both huge", "any"]
)  # fmt: skip
_UNITS = st.sampled_from(["bytes="] * 9 + ["BYTES=", "items=", "bytes"])
_ENDS = st.sampled_from([""] * 12 + ["x", "-", "\N{NO-BREAK SPACE}"])


def range_fields(size: int) -> st.SearchStrategy[bytes]:
    """``Range`` fields, nearly all of them well formed."""
    number = st.integers(0, size + 3)
    members = st.lists(st.builds(_member, _KINDS, number, number), min_size=1, max_size=9)
    return st.builds(
        lambda unit, members, end: (unit + ",".join(members) + end).encode("latin-1"),
        _UNITS,
        members,
        _ENDS,
    )


# --- Preconditions: section 13 ------------------------------------------------------------------


class Tag(NamedTuple):
    opaque: bytes
    weak: bool

    def __bytes__(self) -> bytes:
        return b"W/" * self.weak + b'"' + self.opaque + b'"'


class State(NamedTuple):
    """What the validators of the representation are."""

    tag: Tag
    modified: int | None
    settled: bool

    @property
    def etag(self) -> bytes:
        return bytes(self.tag)

    @property
    def dated(self) -> bool:
        return self.settled and self.modified is not None


class Meant(NamedTuple):
    """What a request's conditions mean; ``None`` where a field isn't there or means nothing."""

    if_match: list[Tag] | str | None = None
    if_none_match: list[Tag] | str | None = None
    if_modified_since: int | None = None
    if_unmodified_since: int | None = None
    if_range: Tag | int | str | None = None


def precondition(method: str, asked: Meant, current: State) -> int | None:
    """Section 13.2.2, step by step, for a representation that exists."""
    since = asked.if_unmodified_since
    if asked.if_match is not None:  # 1
        if asked.if_match != "*" and not any(
            tag.opaque == current.tag.opaque and not tag.weak and not current.tag.weak
            for tag in asked.if_match
            if isinstance(tag, Tag)
        ):
            return 412
    elif since is not None and current.modified is not None and current.modified > since:  # 2
        return 412
    since = asked.if_modified_since
    if asked.if_none_match is not None:  # 3
        if asked.if_none_match == "*" or any(
            tag.opaque == current.tag.opaque for tag in asked.if_none_match if isinstance(tag, Tag)
        ):
            return 304 if method in {"GET", "HEAD"} else 412
    elif method in {"GET", "HEAD"} and since is not None and current.modified is not None:  # 4
        return None if current.modified > since else 304
    return None


def ranges_count(asked: Meant, current: State) -> bool:
    """Section 13.1.5; without ``If-Range`` they do."""
    if asked.if_range is None:
        return True
    if isinstance(asked.if_range, Tag):
        return current.settled and not asked.if_range.weak and asked.if_range == current.tag
    return current.dated and asked.if_range == current.modified


_DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


def http_dates(moment: int) -> tuple[str, str, str]:
    """IMF-fixdate, RFC 850's and asctime's form (section 5.6.7)."""
    year, month, day, hour, minute, second, weekday, *_ = time.gmtime(moment)
    clock = f"{hour:02}:{minute:02}:{second:02}"
    name = _DAYS[weekday]
    return (
        f"{name[:3]}, {day:02} {_MONTHS[month - 1]} {year} {clock} GMT",
        f"{name}, {day:02}-{_MONTHS[month - 1]}-{year % 100:02} {clock} GMT",
        f"{name[:3]} {_MONTHS[month - 1]} {day:2} {clock} {year}",
    )


NO_DATES = [
    b"",
    b"0",
    b"yesterday",
    b"1994-11-06T08:49:37Z",
    b"Sun, 06 Nov 1994 08:49:37",
    b"Sun, 06 Nov 1994 08:49:37 +0100",
    b"Sun, 31 Feb 1994 08:49:37 GMT",
    b"Sun, 06 Nov 1994 25:49:37 GMT",
    b"Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
    b"Sun, 06 Nov 1994 08:49:37 \xff\xff\xff",
    "Sun, ٠٦ Nov 1994 08:49:37 GMT".encode(),
    b'a"',
    b"9" * 100_000,
]

# 2000 to 2029: every clock of this century reads their two-digit years as they are meant.
moments = st.integers(946684800, 1893455999)

_OPAQUE = st.sampled_from([b"", b"a", b"b", b"a,b", b"a,W/", b"\\", b"*", b"\xe4", b"5e1-2f"])
tags = st.builds(Tag, _OPAQUE, st.booleans())
states = st.builds(State, tags, st.one_of(moments, st.none()), st.booleans())


@st.composite
def _tag_fields(draw: st.DrawFn, current: State) -> tuple[bytes, list[Tag] | str]:
    if draw(st.integers(0, 9)) == 0:
        return draw(st.sampled_from([b"*", b" *\t"])), "*"
    listed = draw(st.lists(st.one_of(tags, st.just(current.tag)), max_size=4))
    comma = st.sampled_from([b",", b", ", b" ,\t", b",,", b" , , "])
    field = b"".join(bytes(tag) + draw(comma) for tag in listed)
    if draw(st.booleans()):
        field = field.rstrip(b", \t")
        # What stands behind something that is no tag, doesn't count.
        after = st.sampled_from([b"", b"", b",", b", x", b', "', b', w/"a"', b", *", b', W/ "b"'])
        field += draw(after if listed else st.sampled_from([b"", b",", b"x", b'"', b"W/"]))
    return field, listed


@st.composite
def _dates(draw: st.DrawFn, current: State) -> tuple[bytes, int | None]:
    if draw(st.integers(0, 5)) == 0:
        return draw(st.sampled_from(NO_DATES)), None
    near = moments
    if (modified := current.modified) is not None:
        near = st.integers(-1, 1).map(lambda seconds: modified + seconds)
    moment = draw(st.one_of(near, moments))
    return draw(st.sampled_from(http_dates(moment))).encode("ascii"), moment


@st.composite
def conditions(
    draw: st.DrawFn, current: State, names: Sequence[str] = Meant._fields
) -> tuple[Mapping[bytes, bytes], Meant]:
    """Some conditional fields of a request, and what they mean."""
    fields: dict[bytes, bytes] = {}
    meant: dict[str, object] = {}
    for name in draw(st.sets(st.sampled_from(names))):
        value: bytes
        meaning: object
        if name.endswith("match"):
            value, meaning = draw(_tag_fields(current))
        elif name == "if_range" and draw(st.booleans()):
            meaning = draw(st.one_of(st.just(current.tag), tags))
            value = bytes(meaning)
        else:
            value, meaning = draw(_dates(current))
            if name == "if_range" and meaning is None:
                meaning = "neither"
        fields[name.replace("_", "-").encode("ascii")] = value
        meant[name] = meaning
    return fields, Meant(**meant)  # type: ignore[arg-type]
