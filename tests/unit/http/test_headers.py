import pytest

from media_asgi.http.headers import override, pick, with_one_vary
from media_asgi.types import Headers

NAMES = frozenset({b"range", b"if-none-match"})


@pytest.mark.parametrize(
    ("headers", "fields"),
    [
        ([], {}),
        ([(b"host", b"a"), (b"cookie", b"b")], {}),
        ([(b"host", b"a"), (b"range", b"bytes=0-1")], {b"range": b"bytes=0-1"}),
        # ASGI has names in lower case, but not every server does.
        ([(b"Range", b"bytes=0-1")], {b"range": b"bytes=0-1"}),
        ([(b"HOST", b"a")], {}),
        # RFC 9110 section 5.3: lines of one name are one list, in their order.
        (
            [(b"if-none-match", b'"a"'), (b"range", b"x"), (b"If-None-Match", b'"b", "c"')],
            {b"if-none-match": b'"a", "b", "c"', b"range": b"x"},
        ),
    ],
)
def test_picked_fields(headers: Headers, fields: dict[bytes, bytes]) -> None:
    assert pick(headers, NAMES) == fields


def test_a_header_replaces_its_namesake() -> None:
    base = [(b"etag", b"a"), (b"x-a", b"1"), (b"x-a", b"2")]
    assert override(base, [(b"x-a", b"3")]) == [(b"etag", b"a"), (b"x-a", b"3")]


@pytest.mark.parametrize("name", [b"vary", b"content-security-policy"])
def test_every_line_of_these_headers_counts(name: bytes) -> None:
    assert override([(name, b"a")], [(name, b"b")]) == [(name, b"a"), (name, b"b")]


def test_several_lines_of_vary_become_one() -> None:
    other = (b"etag", b"a")
    headers = [(b"vary", b"Cookie"), other, (b"vary", b"Accept-Encoding, Origin")]
    assert with_one_vary(headers) == [other, (b"vary", b"Cookie, Accept-Encoding, Origin")]
    for one in ([], [other], [(b"vary", b"a"), other]):
        assert with_one_vary(one) == one
