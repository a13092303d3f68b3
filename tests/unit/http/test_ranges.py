import email
import email.policy
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_asgi.http.ranges import (
    MAX_RANGES,
    ByteRange,
    RangeNotSatisfiable,
    content_range,
    multipart,
    parse,
)

from .. import models

SIZE = 100

# A field of RFC 9110, and the half-open spans it asks of a file of 100 bytes.
SPANS = [
    pytest.param(b"bytes=0-9", [(0, 10)], id="14.1.2-int-range"),
    pytest.param(b"bytes=0-0", [(0, 1)], id="14.1.2-one-byte"),
    pytest.param(b"bytes=99-99", [(99, 100)], id="14.1.2-last-byte"),
    pytest.param(b"bytes=90-", [(90, 100)], id="14.1.2-open-end"),
    pytest.param(b"bytes=0-", [(0, 100)], id="14.1.2-everything"),
    pytest.param(b"bytes=0-99", [(0, 100)], id="14.1.2-everything-named"),
    pytest.param(b"bytes=-10", [(90, 100)], id="14.1.2-suffix"),
    pytest.param(b"bytes=-100", [(0, 100)], id="14.1.2-suffix-of-all"),
    pytest.param(b"bytes=-101", [(0, 100)], id="14.1.2-suffix-longer-than-the-file"),
    pytest.param(b"bytes=-" + b"9" * 5000, [(0, 100)], id="14.1.2-suffix-of-5000-digits"),
    pytest.param(b"bytes=90-100", [(90, 100)], id="14.1.2-clamped-by-one"),
    pytest.param(b"bytes=90-" + b"9" * 5000, [(90, 100)], id="14.1.2-clamped-from-5000-digits"),
    pytest.param(b"bytes=" + b"0" * 5000 + b"5-006", [(5, 7)], id="14.1.1-leading-zeros"),
    pytest.param(b"BYTES=0-9", [(0, 10)], id="14.1-unit-in-capitals"),
    pytest.param(b"bytes=0-9,20-29", [(0, 10), (20, 30)], id="14.2-two"),
    pytest.param(b"bytes=20-29,0-9", [(20, 30), (0, 10)], id="14.2-in-the-order-asked"),
    pytest.param(b"bytes=0-0,-1", [(0, 1), (99, 100)], id="14.1.2-first-and-last"),
    pytest.param(b"bytes= 0-9 ,\t20-29\t", [(0, 10), (20, 30)], id="5.6.1-whitespace"),
    pytest.param(b"bytes=,0-9, ,,20-29,", [(0, 10), (20, 30)], id="5.6.1.2-empty-elements"),
    pytest.param(b"bytes=0-9,100-,200-300,-0", [(0, 10)], id="14.1.2-some-unsatisfiable"),
    pytest.param(b"bytes=0-9,5-14", [(0, 15)], id="15.3.7.2-overlap"),
    pytest.param(b"bytes=5-14,0-9", [(0, 15)], id="15.3.7.2-overlap-from-below"),
    pytest.param(b"bytes=0-9,0-9", [(0, 10)], id="15.3.7.2-twice-the-same"),
    pytest.param(b"bytes=0-29,10-12", [(0, 30)], id="15.3.7.2-one-in-another"),
    pytest.param(b"bytes=10-12,0-29", [(0, 30)], id="15.3.7.2-one-around-another"),
    pytest.param(b"bytes=0-9,10-19", [(0, 10), (10, 20)], id="15.3.7.2-neighbours-stay-two"),
    pytest.param(b"bytes=50-59,0-9,8-12", [(50, 60), (0, 13)], id="15.3.7.2-joined-in-its-place"),
    pytest.param(b"bytes=20-29,0-9,5-22", [(0, 30)], id="15.3.7.2-three-joined-by-the-last"),
    pytest.param(b"bytes=0-9,50-59,5-14", [(0, 15), (50, 60)], id="15.3.7.2-at-the-first-of-them"),
    pytest.param(b"bytes=20-29,60-69,15-24", [(15, 30), (60, 70)], id="15.3.7.2-before-the-second"),
    pytest.param(b"bytes=0-49,50-", [(0, 50), (50, 100)], id="14.2-as-many-bytes-as-there-are"),
    pytest.param(
        b"bytes=" + b",".join(b"%d-%d" % (n, n) for n in range(0, 2 * MAX_RANGES, 2)),
        [(n, n + 1) for n in range(0, SIZE, 2)],
        id="14.2-as-many-ranges-as-may-be",
    ),
    pytest.param(
        b"bytes=0-9" + b"," * (2 * MAX_RANGES), [(0, 10)], id="5.6.1.2-as-many-commas-as-may-be"
    ),
]

IGNORED = [
    pytest.param(b"", id="14.2-empty"),
    pytest.param(b"bytes", id="14.2-no-equals"),
    pytest.param(b"bytes=", id="14.1.1-no-range"),
    pytest.param(b"bytes=,", id="14.1.1-no-range-but-a-comma"),
    pytest.param(b"=0-9", id="14.2-no-unit"),
    pytest.param(b"items=0-9", id="14.2-unknown-unit"),
    pytest.param(b"bytes =0-9", id="14.2-space-in-the-unit"),
    pytest.param(b"bytes: 0-9", id="14.2-colon"),
    pytest.param(b"bytes=0", id="14.1.1-no-dash"),
    pytest.param(b"bytes=-", id="14.1.1-dash-alone"),
    pytest.param(b"bytes=--1", id="14.1.1-two-dashes"),
    pytest.param(b"bytes=1-2-3", id="14.1.1-three-numbers"),
    pytest.param(b"bytes=a-b", id="14.1.1-letters"),
    pytest.param(b"bytes=0x1-0x2", id="14.1.1-hexadecimal"),
    pytest.param(b"bytes=+5-9", id="14.1.1-sign"),
    pytest.param(b"bytes=1_0-2_0", id="14.1.1-underscore"),
    pytest.param(b"bytes=1.0-2", id="14.1.1-fraction"),
    pytest.param(b"bytes=0 - 9", id="14.1.1-whitespace-within"),
    pytest.param(b"bytes=0-9\n", id="14.1.1-line-feed"),
    pytest.param(b"bytes=0-9\x0b", id="5.6.3-vertical-tab-is-no-whitespace"),
    pytest.param(b"bytes=0-9;20-29", id="14.1.1-semicolon"),
    pytest.param(b"bytes=0-9,x", id="14.1.1-one-malformed"),
    pytest.param("bytes=٠-٩".encode(), id="14.1.1-arabic-digits"),
    pytest.param(b"bytes=\xb2-\xb3", id="14.1.1-superscripts"),
    pytest.param(b"bytes=9-0", id="14.1.1-last-before-first"),
    pytest.param(b"bytes=0-9,30-20", id="14.1.1-last-before-first-in-one"),
    pytest.param(b"bytes=" + b"9" * 30 + b"-0", id="14.1.1-huge-first"),
    pytest.param(
        b"bytes=1" + b"0" * 30 + b"-1" + b"0" * 25, id="14.1.1-both-huge-last-before-first"
    ),
    pytest.param(b"bytes=0-,0-0", id="14.2-one-byte-more-than-there-are"),
    pytest.param(b"bytes=0-,0-,0-", id="17.15-amplification"),
    pytest.param(b"bytes=" + b"0-0," * (MAX_RANGES + 1), id="17.15-too-many"),
    pytest.param(b"bytes=" + b"200-," * (MAX_RANGES + 1), id="17.15-too-many-unsatisfiable"),
    pytest.param(b"bytes=0-9" + b"," * (2 * MAX_RANGES + 1), id="5.6.1.2-too-many-commas"),
    pytest.param(b"bytes=0-9," + b"," * 1_000_000, id="a-megabyte-of-commas"),
    pytest.param(b"bytes=" + b"0-0," * 250_000, id="a-megabyte-of-ranges"),
    pytest.param(b"bytes=" + b"0" * 1_000_000, id="a-megabyte-of-digits"),
    pytest.param(b"bytes=" + b"-" * 1_000_000, id="a-megabyte-of-dashes"),
    pytest.param(b"bytes=" + b"1-" * 500_000, id="a-megabyte-of-both"),
    pytest.param(b"bytes=0-9" + b" " * 1_000_000 + b"x", id="a-megabyte-of-spaces"),
    pytest.param(b"=" * 1_000_000, id="a-megabyte-of-equals"),
    pytest.param(b"\xff" * 1_000_000, id="a-megabyte-of-nothing"),
]

UNSATISFIABLE = [
    pytest.param(b"bytes=100-", id="14.1.2-at-the-end"),
    pytest.param(b"bytes=100-200", id="14.1.2-past-the-end"),
    pytest.param(b"bytes=-0", id="14.1.2-suffix-of-nothing"),
    pytest.param(b"bytes=100-,-0,200-300", id="15.5.17-all-of-them"),
    pytest.param(b"bytes=" + b"9" * 5000 + b"-", id="14.1.2-5000-digits"),
    pytest.param(b"bytes=" + b"9" * 1_000_000 + b"-", id="a-megabyte-of-digits"),
]


@pytest.mark.parametrize(("field", "spans"), SPANS)
def test_range_headers_give_their_spans(field: bytes, spans: list[tuple[int, int]]) -> None:
    assert parse(field, SIZE) == spans


@pytest.mark.parametrize("field", IGNORED)
def test_what_is_ignored(field: bytes) -> None:
    assert parse(field, SIZE) is None


@pytest.mark.parametrize("field", UNSATISFIABLE)
def test_what_is_unsatisfiable(field: bytes) -> None:
    with pytest.raises(RangeNotSatisfiable):
        parse(field, SIZE)


@pytest.mark.parametrize(
    "field", [b"bytes=0-", b"bytes=0-0", b"bytes=-5", b"bytes=-0", b"bytes=9-"]
)
def test_an_empty_file_has_no_ranges(field: bytes) -> None:
    assert parse(field, 0) is None


def test_a_file_of_the_greatest_size() -> None:
    size = 2**63 - 1
    assert parse(b"bytes=%d-" % (size - 1), size) == [(size - 1, size)]
    assert parse(b"bytes=-1", size) == [(size - 1, size)]
    assert parse(b"bytes=0-" + b"9" * 19, size) == [(0, size)]
    with pytest.raises(RangeNotSatisfiable):
        parse(b"bytes=%d-" % size, size)


def check(field: bytes, size: int) -> None:
    expected = models.ranges(field, size)
    try:
        spans = parse(field, size)
    except RangeNotSatisfiable:
        assert expected == "unsatisfiable"
        return
    if spans is None:
        assert expected == "ignored"
        return
    assert [(start, stop - 1) for start, stop in spans] == expected
    assert sum(map(len, spans)) <= size
    assert all(len(span) == span.stop - span.start > 0 for span in spans)


@given(st.integers(0, 40).flatmap(lambda size: st.tuples(models.range_fields(size), st.just(size))))
def test_against_sets_of_positions(case: tuple[bytes, int]) -> None:
    check(*case)


@given(size=st.integers(0, 400), count=st.integers(62, 67), seed=st.integers(0, 2**32))
def test_against_sets_of_positions_near_the_limit(size: int, count: int, seed: int) -> None:
    random = Random(seed)
    firsts = [random.randrange(size + 10) for _ in range(count)]
    specs = [b"%d-%d" % (first, first + random.randrange(4)) for first in firsts]
    check(b"bytes=" + b",".join(specs), size)


@given(
    rest=st.one_of(st.binary(), st.text("0123456789-,= \t").map(str.encode)),
    unit=st.sampled_from([b"bytes=", b""]),
    size=st.integers(0, 40),
)
def test_against_sets_of_positions_whatever_is_asked(rest: bytes, unit: bytes, size: int) -> None:
    check(unit + rest, size)


def test_content_range() -> None:
    # Section 14.4.
    assert content_range(ByteRange(0, 1), 1) == b"bytes 0-0/1"
    assert content_range(ByteRange(42, 1234), 1234) == b"bytes 42-1233/1234"
    assert content_range(ByteRange(0, 2**63 - 1), 2**63 - 1) == b"bytes 0-%d/%d" % (
        2**63 - 2,
        2**63 - 1,
    )


@given(
    size=st.integers(1, 300),
    ends=st.lists(st.tuples(st.integers(0, 299), st.integers(1, 300)), min_size=2, max_size=8),
    content_type=st.sampled_from(["text/plain", "video/mp4"]),
    byte=st.sampled_from([b"x", b"\r\n", b"-", b"\0"]),
)
def test_multipart_bodies_have_the_promised_length(
    size: int, ends: list[tuple[int, int]], content_type: str, byte: bytes
) -> None:
    # Section 14.6, read by a parser of mail.
    spans = [ByteRange(first % size, min(first % size + count, size)) for first, count in ends]
    content = bytes(byte[n % len(byte)] for n in range(size))
    body, length = multipart(spans, size, content_type.encode(), b"5eba")
    sent = b"".join(
        content[part.start : part.stop] if isinstance(part, ByteRange) else part for part in body
    )
    assert len(sent) == length
    assert [part for part in body if isinstance(part, ByteRange)] == spans
    head = b"Content-Type: multipart/byteranges; boundary=5eba\r\n\r\n"
    message = email.message_from_bytes(head + sent, policy=email.policy.HTTP)
    assert not message.defects
    parts = list(message.iter_parts())
    assert len(parts) == len(spans)
    for part, span in zip(parts, spans, strict=True):
        assert part["content-type"] == content_type
        assert part["content-range"] == f"bytes {span.start}-{span.stop - 1}/{size}"
        assert part.keys() == ["Content-Type", "Content-Range"]
    assert sent.count(b"--5eba") == len(spans) + 1
    # Byte by byte, which the parser of mail doesn't leave as they are.
    for section, span in zip(sent.split(b"\r\n--5eba")[1:-1], spans, strict=True):
        assert section.startswith(b"\r\n")
        assert section.partition(b"\r\n\r\n")[2] == content[span.start : span.stop]
    assert sent.endswith(b"\r\n--5eba--\r\n")
