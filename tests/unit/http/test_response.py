import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_asgi.http.ranges import ByteRange
from media_asgi.http.representation import Representation
from media_asgi.http.response import Response, error_response, full_response, respond

from .. import models
from ..models import Meant, State, Tag

BOUNDARY = b"5eba"
CONTENT = bytes(range(100))
TYPE = b"text/plain; charset=utf-8"
NOSNIFF = (b"x-content-type-options", b"nosniff")
POLICY = (b"content-security-policy", b"sandbox")
OWN = (b"x-own", b"1")
STRONG = State(Tag(b"5e-64", weak=False), 1_000_000_000, settled=True)
LAST_MODIFIED = b"Sun, 09 Sep 2001 01:46:40 GMT"


def representation(state: State = STRONG, size: int = len(CONTENT)) -> Representation:
    return Representation(
        size=size,
        content_type=TYPE,
        etag=state.etag,
        modified=state.modified,
        last_modified=models.http_dates(state.modified or 0)[0].encode(),
        settled=state.settled,
        dated=state.dated,
        lasting=True,
        cache_control=b"no-cache",
        extra=[NOSNIFF, POLICY, OWN],
    )


def body_of(response: Response, content: bytes = CONTENT) -> bytes:
    return b"".join(
        content[part.start : part.stop] if isinstance(part, ByteRange) else part
        for part in response.body
    )


def answer(fields: Mapping[bytes, bytes], method: str = "GET") -> tuple[int, dict[bytes, bytes]]:
    response = respond(method, fields, representation(), lambda: BOUNDARY)
    headers = dict(response.headers)
    assert len(headers) == len(response.headers), "a field twice"
    assert len(body_of(response)) == response.length
    return response.status, headers


OF_A_FILE = {
    b"content-type": TYPE,
    b"content-length": b"100",
    b"etag": b'"5e-64"',
    b"last-modified": LAST_MODIFIED,
    b"accept-ranges": b"bytes",
    b"cache-control": b"no-cache",
    **dict([NOSNIFF, POLICY, OWN]),
}
OF_AN_ERROR = {b"content-type", b"content-length", b"cache-control", NOSNIFF[0], OWN[0]}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_whole_file_is_200(method: str) -> None:
    # Section 15.3.1.
    response = respond(method, {}, representation(), lambda: BOUNDARY)
    assert (response.status, dict(response.headers)) == (200, OF_A_FILE)
    assert body_of(response) == (CONTENT if method == "GET" else b"")
    assert full_response(representation()).headers == response.headers


HALF_A_GIB = 512 << 20


@pytest.mark.parametrize(
    ("size", "range_", "is_unbuffered"),
    [
        (100, None, False),
        (HALF_A_GIB, None, False),
        (HALF_A_GIB + 1, None, True),
        (HALF_A_GIB + 2, b"bytes=1-", True),
        (HALF_A_GIB + 2, b"bytes=2-", False),
        (2 * HALF_A_GIB, b"bytes=0-9", False),
        (4 * HALF_A_GIB, b"bytes=0-9,100-", True),
        (4 * HALF_A_GIB, b"bytes=0-9,20-29", False),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_body_above_512_mib_is_not_to_be_buffered_by_nginx(
    method: str, size: int, range_: bytes | None, is_unbuffered: bool
) -> None:
    if range_ is not None and method == "HEAD":
        return
    fields = {} if range_ is None else {b"range": range_}
    response = respond(method, fields, representation(size=size), lambda: BOUNDARY)
    assert ((b"x-accel-buffering", b"no") in response.headers) == is_unbuffered


def test_a_location_may_say_otherwise_of_buffering() -> None:
    own = (b"x-accel-buffering", b"yes")
    current = dataclasses.replace(representation(size=2 * HALF_A_GIB), extra=[own])
    headers = full_response(current).headers
    assert [pair for pair in headers if pair[0] == own[0]] == [own]


def test_one_range_is_206() -> None:
    # Section 15.3.7.1.
    assert answer({b"range": b"bytes=10-19"}) == (
        206,
        OF_A_FILE | {b"content-length": b"10", b"content-range": b"bytes 10-19/100"},
    )


@pytest.mark.parametrize("validator", [b'"5e-64"', LAST_MODIFIED])
def test_206_after_if_range(validator: bytes) -> None:
    # Section 15.3.7: no more of the headers than must be, where the client has them.
    status, headers = answer({b"range": b"bytes=-1", b"if-range": validator})
    assert status == 206
    assert b"last-modified" not in headers
    assert headers[b"etag"] == b'"5e-64"'
    assert headers[b"cache-control"] == b"no-cache"
    assert headers[b"content-range"] == b"bytes 99-99/100"
    assert headers[b"content-length"] == b"1"


def test_206_of_several() -> None:
    # Sections 14.6 and 15.3.7.2: the parts have the Content-Range, the head must not.
    response = respond("GET", {b"range": b"bytes=90-94,0-4"}, representation(), lambda: BOUNDARY)
    headers = dict(response.headers)
    body = body_of(response)
    assert response.status == 206
    assert headers == OF_A_FILE | {
        b"content-type": b"multipart/byteranges; boundary=5eba",
        b"content-length": b"%d" % len(body),
    }
    parts = body.split(b"\r\n--5eba")
    assert [part.partition(b"\r\n\r\n")[2] for part in parts[1:-1]] == [
        CONTENT[90:95],
        CONTENT[:5],
    ]
    assert body.count(b"Content-Type: " + TYPE + b"\r\n") == 2


def test_206_of_several_that_are_one() -> None:
    status, headers = answer({b"range": b"bytes=10-19,15-24"})
    assert (status, headers[b"content-range"]) == (206, b"bytes 10-24/100")
    status, headers = answer({b"range": b"bytes=10-19,200-"})
    assert (status, headers[b"content-range"]) == (206, b"bytes 10-19/100")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_fresh_copy_is_304(method: str) -> None:
    # Section 15.4.5: what an update of the cached needs, and no more of the representation.
    assert answer({b"if-none-match": b'"5e-64"', b"range": b"bytes=0-1"}, method) == (
        304,
        {b"etag": b'"5e-64"', b"cache-control": b"no-cache", **dict([NOSNIFF, OWN])},
    )


@pytest.mark.parametrize("name", [b"content-location", b"vary", b"expires"])
def test_304_has_what_a_200_would_have(name: bytes) -> None:
    # Section 15.4.5: these must be sent, where the 200 has them.
    current = representation()
    current.extra.append((name, b"x"))
    response = respond("GET", {b"if-none-match": b"*"}, current, lambda: BOUNDARY)
    assert response.status == 304
    assert (name, b"x") in response.headers


def test_a_failed_condition_is_412() -> None:
    # Section 15.5.13; the body is no part of the file.
    status, headers = answer({b"if-match": b'"other"', b"range": b"bytes=0-1"})
    assert status == 412
    assert headers.keys() == OF_AN_ERROR
    assert headers[b"content-type"].startswith(b"text/plain")
    assert headers[b"cache-control"] == b"no-store"


def test_412_of_head() -> None:
    # Section 9.3.2: the headers of the GET, and no body.
    asked = {b"if-match": b'"other"'}
    get = respond("GET", asked, representation(), lambda: BOUNDARY)
    head = respond("HEAD", asked, representation(), lambda: BOUNDARY)
    assert (head.status, dict(head.headers)) == (412, dict(get.headers))
    assert (head.length, body_of(head)) == (0, b"")


def test_a_range_past_the_end_is_416() -> None:
    # Section 15.5.17, with the length that section 14.4 wants.
    status, headers = answer({b"range": b"bytes=100-"})
    assert status == 416
    assert headers[b"content-range"] == b"bytes */100"
    assert headers.keys() == OF_AN_ERROR | {b"content-range"}


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        pytest.param({"if-none-match": b'"x"', "range": b"bytes=0-1"}, 206, id="13.2.2-5"),
        pytest.param({"if-none-match": b'"5e-64"', "range": b"bytes=0-1"}, 304, id="13.2.2-3"),
        pytest.param({"if-match": b'"x"', "range": b"bytes=100-"}, 412, id="13.2.2-1"),
        pytest.param({"if-modified-since": LAST_MODIFIED, "range": b"bytes=100-"}, 304, id="4"),
        pytest.param({"range": b"bytes=0-1", "if-range": b'"x"'}, 200, id="13.1.5-another-tag"),
        pytest.param({"range": b"bytes=100-", "if-range": b'"x"'}, 200, id="13.1.5-before-416"),
        pytest.param({"if-range": b'"5e-64"'}, 200, id="13.1.5-without-range"),
        pytest.param({"range": b"bytes=0-,0-"}, 200, id="17.15-amplification"),
        pytest.param({"range": b"lines=0-1"}, 200, id="14.2-unknown-unit"),
        pytest.param({"range": b"bytes=0-1, bytes=2-3"}, 200, id="5.3-two-lines"),
        pytest.param({"range": b"bytes=0-99"}, 206, id="14.2-all-of-it"),
    ],
)
def test_conditions_come_before_ranges(fields: dict[str, bytes], status: int) -> None:
    assert answer({name.encode(): value for name, value in fields.items()})[0] == status


@pytest.mark.parametrize("field", [b"bytes=0-1", b"bytes=100-", b"bytes=0-1,5-6"])
def test_ranges_are_for_get_alone(field: bytes) -> None:
    # Section 14.2.
    assert answer({b"range": field}, "HEAD") == (200, OF_A_FILE)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("field", [None, b"bytes=0-", b"bytes=-1", b"bytes=7-", b"x"])
def test_an_empty_file(method: str, field: bytes | None) -> None:
    fields = {} if field is None else {b"range": field}
    response = respond(method, fields, representation(size=0), lambda: BOUNDARY)
    assert (response.status, response.length, body_of(response)) == (200, 0, b"")
    assert dict(response.headers) == OF_A_FILE | {b"content-length": b"0"}


def test_nothing_of_the_representation_is_shared() -> None:
    current = representation()
    for fields in ({}, {b"range": b"bytes=0-1"}, {b"if-none-match": b"*"}, {b"if-match": b'"x"'}):
        respond("GET", fields, current, lambda: BOUNDARY).headers.append((b"set-cookie", b"1"))
    assert current.extra == [NOSNIFF, POLICY, OWN]


def test_a_204_has_no_content() -> None:
    # Section 15.3.5: no content, and no length of it (8.6).
    answer = error_response(204, [OWN])
    assert dict(answer.headers) == {b"cache-control": b"no-store", b"x-own": b"1"}
    assert (answer.length, body_of(answer)) == (0, b"")


@pytest.mark.parametrize("status", [302, 403, 404, 405, 412, 416, 500, 503])
def test_error_responses_are_plain_text(status: int) -> None:
    # Section 15.1: a cache may keep a 404 or a 405, unless it is told.
    get = error_response(status, [OWN])
    head = error_response(status, [OWN], "HEAD")
    body = body_of(get)
    assert get.status == head.status == status
    assert body.startswith(b"%d " % status)
    assert body.endswith(b"\n")
    assert dict(get.headers) == {
        b"content-type": b"text/plain; charset=utf-8",
        b"content-length": b"%d" % len(body),
        b"cache-control": b"no-store",
        b"x-own": b"1",
    }
    assert get.length == len(body)
    assert head.headers == get.headers
    assert (head.length, body_of(head)) == (0, b"")


@st.composite
def _cases(draw: st.DrawFn) -> tuple[State, int, dict[bytes, bytes], Meant]:
    current = draw(models.states)
    size = draw(st.integers(0, 60))
    fields, meant = draw(models.conditions(current))
    lines = dict(fields)
    if draw(st.integers(0, 3)):
        lines[b"range"] = draw(models.range_fields(size))
    return current, size, lines, meant


@given(case=_cases(), method=st.sampled_from(["GET", "GET", "HEAD"]))
def test_the_response_follows_the_request(case: Any, method: str) -> None:
    state, size, fields, meant = case
    content = os.urandom(size)
    current = representation(state, size)
    response = respond(method, fields, current, lambda: BOUNDARY)
    headers = dict(response.headers)
    assert len(headers) == len(response.headers)
    body = body_of(response, content)
    assert len(body) == response.length
    for part in response.body:
        if isinstance(part, ByteRange):
            assert 0 <= part.start < part.stop <= size

    expected = models.precondition(method, meant, state)
    ranges: Any = "ignored"
    if expected is None:
        if method == "GET" and b"range" in fields and models.ranges_count(meant, state):
            ranges = models.ranges(fields[b"range"], size)
        expected = {"ignored": 200, "unsatisfiable": 416}.get(str(ranges), 206)
    assert response.status == expected

    every = {b"cache-control", b"x-content-type-options", b"x-own"}
    of_an_error = every | {b"content-type", b"content-length"}
    of_a_file = of_an_error | {b"etag", b"accept-ranges", POLICY[0]}
    of_a_file |= set() if state.modified is None else {b"last-modified"}
    assert (
        headers.keys()
        == {
            200: of_a_file,
            206: (of_a_file | ({b"content-range"} if len(ranges) == 1 else set()))
            - ({b"last-modified"} if b"if-range" in fields else set()),
            304: every | {b"etag"},
            412: of_an_error,
            416: of_an_error | {b"content-range"},
        }[response.status]
    )
    if response.status in (200, 206, 304):
        assert headers[b"etag"] == state.etag
        assert headers[b"cache-control"] == b"no-cache"
    else:
        assert headers[b"cache-control"] == b"no-store"

    if response.status == 200:
        assert headers[b"content-length"] == b"%d" % size
        assert headers[b"content-type"] == TYPE
        if state.modified is not None:
            assert headers[b"last-modified"] == current.last_modified
        assert body == (content if method == "GET" else b"")
    elif response.status == 206:
        assert headers[b"content-length"] == b"%d" % len(body)
        if len(ranges) == 1:
            ((first, last),) = ranges
            assert headers[b"content-range"] == b"bytes %d-%d/%d" % (first, last, size)
            assert headers[b"content-type"] == TYPE
            assert body == content[first : last + 1]
        else:
            parts = b"".join(
                b"\r\n--5eba\r\nContent-Type: %b\r\nContent-Range: bytes %d-%d/%d\r\n\r\n"
                % (TYPE, first, last, size) + content[first : last + 1]
                for first, last in ranges
            )  # fmt: skip
            assert headers[b"content-type"] == b"multipart/byteranges; boundary=5eba"
            assert body == parts + b"\r\n--5eba--\r\n"
    elif response.status == 304:
        assert body == b""
    elif response.status == 416:
        assert headers[b"content-range"] == b"bytes */%d" % size

    # Section 9.3.2: HEAD has the headers of GET, and no body.
    if b"range" not in fields:
        other = respond("HEAD" if method == "GET" else "GET", fields, current, lambda: BOUNDARY)
        assert (other.status, dict(other.headers)) == (response.status, headers)
        assert b"" in (body, body_of(other, content))
