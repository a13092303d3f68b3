import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_asgi.http.conditional import evaluate, if_range

from .. import models
from ..models import Meant, State, Tag

# RFC 9110's own example, section 5.6.7.
MODIFIED = 784111777
AT, RFC_850, ASCTIME = (date.encode() for date in models.http_dates(MODIFIED))
BEFORE = models.http_dates(MODIFIED - 1)[0].encode()
AFTER = models.http_dates(MODIFIED + 1)[0].encode()

STRONG = State(Tag(b"a", weak=False), MODIFIED, settled=True)
WEAK = State(Tag(b"a", weak=True), MODIFIED, settled=False)
COMMA = State(Tag(b"a,b", weak=False), MODIFIED, settled=True)

GO_ON = None


def test_the_dates_of_this_test() -> None:
    assert AT == b"Sun, 06 Nov 1994 08:49:37 GMT"
    assert RFC_850 == b"Sunday, 06-Nov-94 08:49:37 GMT"
    assert ASCTIME == b"Sun Nov  6 08:49:37 1994"


IF_MATCH = [
    pytest.param(b'"a"', STRONG, GO_ON, id="13.1.1-the-tag"),
    pytest.param(b'"b"', STRONG, 412, id="13.1.1-another"),
    pytest.param(b'"A"', STRONG, 412, id="8.8.3-case-counts"),
    pytest.param(b"*", STRONG, GO_ON, id="13.1.1-any"),
    pytest.param(b" * ", STRONG, GO_ON, id="5.5-any-with-whitespace"),
    pytest.param(b"*", WEAK, GO_ON, id="13.1.1-any-of-weak"),
    pytest.param(b'W/"a"', STRONG, 412, id="8.8.3.2-weak-asked"),
    pytest.param(b'"a"', WEAK, 412, id="8.8.3.2-weak-now"),
    pytest.param(b'W/"a"', WEAK, 412, id="8.8.3.2-both-weak"),
    pytest.param(b'"x", W/"y" ,"a"', STRONG, GO_ON, id="13.1.1-last-of-a-list"),
    pytest.param(b'"x","y"', STRONG, 412, id="13.1.1-none-of-a-list"),
    pytest.param(b'W/"a", "a"', STRONG, GO_ON, id="13.1.1-weak-and-strong"),
    pytest.param(b',, "a" ,', STRONG, GO_ON, id="5.6.1.2-empty-elements"),
    pytest.param(b'"a,b"', COMMA, GO_ON, id="8.8.3-comma-within"),
    pytest.param(b'"a,b"', STRONG, 412, id="8.8.3-comma-is-no-separator-within"),
    pytest.param(b'"x,"a","', STRONG, 412, id="8.8.3-not-from-the-middle"),
    pytest.param(b"a", STRONG, 412, id="8.8.3-no-quotes"),
    pytest.param(b"'a'", STRONG, 412, id="8.8.3-other-quotes"),
    pytest.param(b'"a', STRONG, 412, id="8.8.3-no-closing-quote"),
    pytest.param(b'"a"x', STRONG, 412, id="8.8.3-something-behind"),
    pytest.param(b'"a""b"', STRONG, 412, id="8.8.3-no-comma"),
    pytest.param(b'"\\a"', STRONG, 412, id="8.8.3-backslash-escapes-nothing"),
    pytest.param(b"", STRONG, 412, id="13.1.1-empty"),
    pytest.param(b'*, "b"', STRONG, 412, id="13.1.1-any-is-no-member"),
]
IF_NONE_MATCH = [
    pytest.param(b'"a"', STRONG, 304, id="13.1.2-the-tag"),
    pytest.param(b'"b"', STRONG, GO_ON, id="13.1.2-another"),
    pytest.param(b"*", STRONG, 304, id="13.1.2-any"),
    pytest.param(b"X*", STRONG, GO_ON, id="13.1.2-not-any"),
    pytest.param(b"\x0b*", STRONG, GO_ON, id="13.1.2-no-white-space"),
    pytest.param(b'W/"a"', STRONG, 304, id="8.8.3.2-weak-asked"),
    pytest.param(b'"a"', WEAK, 304, id="8.8.3.2-weak-now"),
    pytest.param(b'W/"a"', WEAK, 304, id="8.8.3.2-both-weak"),
    pytest.param(b'w/"a"', STRONG, GO_ON, id="8.8.3-the-w-is-a-capital"),
    pytest.param(b'W/ "a"', STRONG, GO_ON, id="8.8.3-no-space-behind-it"),
    pytest.param(b'"x", "y",W/"a"', STRONG, 304, id="13.1.2-last-of-a-list"),
    pytest.param(b'"a,b"', COMMA, 304, id="8.8.3-comma-within"),
    pytest.param(b'"a", x', STRONG, 304, id="13.1.2-garbage-behind"),
    pytest.param(b'x, "a"', STRONG, GO_ON, id="13.1.2-garbage-before"),
    pytest.param(b"a", STRONG, GO_ON, id="8.8.3-no-quotes"),
    pytest.param(b"", STRONG, GO_ON, id="13.1.2-empty"),
    pytest.param(b'"\xe4"', State(Tag(b"\xe4", False), 0, True), 304, id="8.8.3-obs-text"),
    pytest.param(b'"x y", "a"', STRONG, 304, id="8.8.3-another-server's-tag-before"),
]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(("field", "current", "status"), IF_MATCH)
def test_if_match(method: str, field: bytes, current: State, status: int | None) -> None:
    assert evaluate(method, {b"if-match": field}, current) == status


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(("field", "current", "status"), IF_NONE_MATCH)
def test_if_none_match(method: str, field: bytes, current: State, status: int | None) -> None:
    assert evaluate(method, {b"if-none-match": field}, current) == status


def test_if_none_match_of_a_method_that_changes_something() -> None:
    # Section 13.1.2: 412 for all methods but GET and HEAD.
    assert evaluate("PUT", {b"if-none-match": b'"a"'}, STRONG) == 412
    assert evaluate("PUT", {b"if-none-match": b"*"}, STRONG) == 412
    assert evaluate("PUT", {b"if-none-match": b'"b"'}, STRONG) is None


DATES = [
    # The date, then the status by If-Modified-Since and by If-Unmodified-Since.
    pytest.param(BEFORE, GO_ON, 412, id="a-second-before"),
    pytest.param(AT, 304, GO_ON, id="5.6.7-imf-fixdate"),
    pytest.param(RFC_850, 304, GO_ON, id="5.6.7-rfc-850"),
    pytest.param(ASCTIME, 304, GO_ON, id="5.6.7-asctime"),
    pytest.param(AFTER, 304, GO_ON, id="a-second-after"),
    pytest.param(b"Sat, 01 Jan 2050 00:00:00 GMT", 304, GO_ON, id="far-ahead"),
    pytest.param(b"Thu, 01 Jan 1970 00:00:00 GMT", GO_ON, 412, id="the-epoch"),
    pytest.param(b"Mon, 01 Jan 1900 00:00:00 GMT", GO_ON, 412, id="before-the-epoch"),
    *[pytest.param(date, GO_ON, GO_ON, id=f"no-date-{date[:40]!r}") for date in models.NO_DATES],
]


@pytest.mark.parametrize(("date", "modified_since", "unmodified_since"), DATES)
def test_dates(date: bytes, modified_since: int | None, unmodified_since: int | None) -> None:
    # Sections 13.1.3 and 13.1.4.
    for current in (STRONG, WEAK):
        for method in ("GET", "HEAD"):
            assert evaluate(method, {b"if-modified-since": date}, current) == modified_since
            assert evaluate(method, {b"if-unmodified-since": date}, current) == unmodified_since
    assert evaluate("PUT", {b"if-modified-since": date}, STRONG) is None


@pytest.mark.parametrize(("years", "century"), [(49, 0), (-49, 0), (60, -100)])
def test_a_year_of_two_digits(years: int, century: int) -> None:
    # Section 5.6.7: one that seems to be more than 50 years ahead is the past one.
    year = time.gmtime().tm_year + years
    date = f"Monday, 01-Mar-{year % 100:02} 00:00:00 GMT".encode()
    meant = int(time.mktime((year + century, 3, 1, 0, 0, 0, 0, 0, 0))) - time.timezone
    at, later = (State(Tag(b"a", False), meant + n, True) for n in (0, 1))
    assert evaluate("GET", {b"if-modified-since": date}, at) == 304
    assert evaluate("GET", {b"if-modified-since": date}, later) is None


ORDER = [
    pytest.param({"if-match": b'"a"', "if-unmodified-since": BEFORE}, None, id="1-not-2"),
    pytest.param({"if-match": b'"b"', "if-unmodified-since": AFTER}, 412, id="1-not-2-either"),
    pytest.param({"if-match": b'"b"', "if-none-match": b'"a"'}, 412, id="1-before-3"),
    pytest.param({"if-match": b'"a"', "if-none-match": b'"a"'}, 304, id="1-then-3"),
    pytest.param({"if-match": b'"a"', "if-modified-since": AT}, 304, id="1-then-4"),
    pytest.param({"if-unmodified-since": BEFORE, "if-none-match": b'"a"'}, 412, id="2-before-3"),
    pytest.param({"if-unmodified-since": AT, "if-none-match": b'"a"'}, 304, id="2-then-3"),
    pytest.param({"if-unmodified-since": b"x", "if-modified-since": AT}, 304, id="2-then-4"),
    pytest.param({"if-none-match": b'"b"', "if-modified-since": AT}, None, id="3-not-4"),
    pytest.param({"if-none-match": b"x", "if-modified-since": AT}, None, id="3-malformed-not-4"),
    pytest.param({"if-none-match": b'"a"', "if-modified-since": BEFORE}, 304, id="3-not-4-either"),
]


@pytest.mark.parametrize(("fields", "status"), ORDER)
def test_the_order_of_section_13_2_2(fields: dict[str, bytes], status: int | None) -> None:
    lines = {name.encode(): value for name, value in fields.items()}
    assert evaluate("GET", lines, STRONG) == status


def test_without_conditions() -> None:
    for method in ("GET", "HEAD", "PUT"):
        assert evaluate(method, {}, STRONG) is None
        assert evaluate(method, {b"range": b"bytes=0-", b"if-range": b'"b"'}, STRONG) is None


@pytest.mark.parametrize(
    ("value", "current", "counts"),
    [
        pytest.param(None, STRONG, True, id="13.1.5-none"),
        pytest.param(None, WEAK, True, id="13.1.5-none-while-weak"),
        pytest.param(b'"a"', STRONG, True, id="13.1.5-the-tag"),
        pytest.param(b'"b"', STRONG, False, id="13.1.5-another"),
        pytest.param(b'W/"a"', STRONG, False, id="8.8.3.2-weak-asked"),
        pytest.param(b'"a"', WEAK, False, id="8.8.3.2-weak-now"),
        pytest.param(b'W/"a"', WEAK, False, id="8.8.3.2-both-weak"),
        pytest.param(b"a", STRONG, False, id="8.8.3-no-quotes"),
        pytest.param(b"*", STRONG, False, id="13.1.5-no-asterisk"),
        pytest.param(b'"a", "b"', STRONG, False, id="13.1.5-no-list"),
        pytest.param(AT, STRONG, True, id="13.1.5-the-date"),
        pytest.param(RFC_850, STRONG, True, id="13.1.5-the-date-as-rfc-850"),
        pytest.param(ASCTIME, STRONG, True, id="13.1.5-the-date-as-asctime"),
        pytest.param(AT, WEAK, False, id="8.8.2.2-the-date-while-weak"),
        pytest.param(BEFORE, STRONG, False, id="13.1.5-an-earlier-date"),
        pytest.param(AFTER, STRONG, False, id="13.1.5-a-later-date"),
        pytest.param(b"", STRONG, False, id="13.1.5-empty"),
        pytest.param(b"yesterday", STRONG, False, id="13.1.5-garbage"),
    ],
)
def test_if_range(value: bytes | None, current: State, counts: bool) -> None:
    assert if_range(value, current) is counts


@pytest.mark.parametrize(
    "field",
    [
        b"," * 1_000_000,
        b" " * 1_000_000 + b"x",
        b'"' * 1_000_000,
        b'"a' * 500_000,
        b'"x",' * 50_000,
        b'"x" ' * 250_000,
        b"W/" * 500_000,
        b'"x"' + b" " * 1_000_000 + b"x",
        b", " * 500_000 + b'"x' + b" " * 1000,
        b'"' + b"x" * 1_000_000,
    ],
    ids=lambda field: repr(field[:8]),
)
def test_much_of_nothing(field: bytes) -> None:
    for condition, status in ((b"if-match", 412), (b"if-none-match", None)):
        assert evaluate("GET", {condition: field}, STRONG) == status
    for condition in (b"if-modified-since", b"if-unmodified-since"):
        assert evaluate("GET", {condition: field}, STRONG) is None
    assert if_range(field, STRONG) is False


def test_many_tags_and_then_the_one() -> None:
    field = b'"x", W/"y,",' * 30_000 + b'"a"'
    assert evaluate("GET", {b"if-match": field}, STRONG) is None
    assert evaluate("GET", {b"if-none-match": field}, STRONG) == 304


def cases(*names: str) -> Any:
    return models.states.flatmap(
        lambda current: st.tuples(st.just(current), models.conditions(current, names))
    )


@given(case=cases(*Meant._fields), method=st.sampled_from(["GET", "HEAD", "PUT"]))
def test_against_section_13_2_2(case: Any, method: str) -> None:
    current, (fields, meant) = case
    assert evaluate(method, fields, current) == models.precondition(method, meant, current)


@given(case=cases("if_range"))
def test_if_range_against_section_13_1_5(case: Any) -> None:
    current, (fields, meant) = case
    assert if_range(fields.get(b"if-range"), current) == models.ranges_count(meant, current)


@given(
    fields=st.dictionaries(
        st.sampled_from(
            [b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since"]
        ),
        st.one_of(st.binary(), st.text('W/"a, *\t').map(str.encode)),
    ),
    value=st.binary(),
    current=models.states,
)
def test_nothing_fails(fields: dict[bytes, bytes], value: bytes, current: State) -> None:
    assert evaluate("GET", fields, current) in (None, 304, 412)
    assert if_range(value, current) in (True, False)
