"""Requests by the thousand, and those that were found to break something once."""

import itertools
import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

import pytest
from django.core.signing import BadSignature
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from media_asgi import handler, signing
from media_asgi.access import x_accel
from media_asgi.http import conditional as preconditions
from media_asgi.http import ranges
from media_asgi.http.headers import pick

from ..fuzz import target as fuzz
from ..fuzz.target import FILES, SECRET, Target, check_file, check_path, scope

many = settings(
    max_examples=300,
    deadline=None,
    derandomize=False,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

# --- Paths ---------------------------------------------------------------------------------------

PREFIXES = ["/media/", "/through/", "/any/", "/media/vip/", "/protected/", "/signed/", "/members/"]

# One step up, as it has been written to get past somebody.
UP = [
    b"..",
    b"%2e%2e",
    b"%2E%2E",
    b".%2e",
    b"%2e.",
    b"%252e%252e",
    b"%25252e%25252e",
    b"%c0%ae%c0%ae",
    b"%e0%80%ae%e0%80%ae",
    b"%f0%80%80%ae%f0%80%80%ae",
    b"%uff0e%uff0e",
    b"%u002e%u002e",
    b"%ef%bc%8e%ef%bc%8e",
    b"\xef\xbc\x8e\xef\xbc\x8e",
    b"\xc0\xae\xc0\xae",
    b"%e2%80%a5",
    b"..%00",
    b"%00..",
    b"..%0a",
    b"..%0d",
    b"..%09",
    b"..%20",
    b"..;",
    b"..;a=b",
    b"...",
    b"....",
    b"+..",
    b".%00.",
    b".%0a.",
    b"sub/..",
    b"sub%2f..",
    b"folder/..",
    b"a.txt/..",
    b"outside",
    b"..%3f",
    b"..%23",
]
SEPARATORS = [
    b"/",
    b"%2f",
    b"%2F",
    b"%252f",
    b"\\",
    b"%5c",
    b"%255c",
    b"//",
    b"/./",
    b"%c0%af",
    b"%e0%80%af",
    b"%c1%9c",
    b"%ef%bc%8f",
    b"%e2%88%95",
    b"%u2215",
    b"/%00/",
    b":",
]
TARGETS = [b"secret.txt", b"etc/passwd", b"media/.env"]


def request(raw: bytes, *, has_raw_path: bool = True) -> dict[str, Any]:
    """As a server makes it of a request target."""
    path = unquote_to_bytes(raw.partition(b"?")[0]).decode("utf-8", "replace")
    return scope(path, raw_path=raw if has_raw_path else None)


@pytest.mark.parametrize("prefix", [b"/media/", b"/through/", b"/any/"])
def test_no_way_to_write_a_path_leads_out(prefix: bytes, target: Target) -> None:
    for up, separator, wanted in itertools.product(UP, SEPARATORS, TARGETS):
        for depth in (1, 3):
            raw = prefix + (up + separator) * depth + wanted
            asked = request(raw)
            # Without the bytes, only what is no UTF-8 is something else.
            for raw_path in {raw, None} if "\ufffd" in asked["path"] else {raw}:
                answer = target.ask(asked | {"raw_path": raw_path})
                assert answer.is_inner or answer.status == 404, raw
                assert b"root:" not in answer.body


@pytest.mark.parametrize("prefix", [b"/media/", b"/any/"])
@pytest.mark.parametrize(
    "path",
    [
        b"/etc/passwd",
        b"//etc/passwd",
        b"%2fetc%2fpasswd",
        b"file:///etc/passwd",
        b"C:/Windows/win.ini",
        b"%00",
        b"a.txt%00",
        b"a.txt%00.png",
        b"a.txt/",
        b"a.txt/.",
        b"./a.txt",
        b"sub/b.svg//",
        b"sub/./b.svg",
        b"sub/",
        b"sub",
        b"",
        b".",
        b"..",
        b"%ff",
        b"a" * 256,
        b"a" * 5000,
        b"a/" * 2500,
        b"\xf0\x9f\x92\xa9" * 70,
        b"~root/.ssh/id_rsa",
        b"a.txt::$DATA",
        b"A.TXT",
    ],
)
def test_what_names_no_file_is_a_404(prefix: bytes, path: bytes, target: Target) -> None:
    for has_raw_path in (True, False):
        assert target.ask(request(prefix + path, has_raw_path=has_raw_path)).status == 404


def test_every_file_is_there_by_every_spelling_of_its_name(target: Target) -> None:
    for name, content in FILES.items():
        everything = b"".join(b"%%%02X" % byte for byte in name)
        for spelling in (quote_from_bytes(name).encode(), everything, everything.lower()):
            answer = target.ask(request(b"/media/" + spelling))
            assert (answer.status, answer.body) == (200, content)


_segment = st.one_of(
    st.sampled_from([b"..", b".", b"", b".env", b".git", b"vip", b"x.txt", b"outside", b"proc"]),
    st.sampled_from([segment for name in [*FILES, *fuzz.ANY] for segment in name.split(b"/")]),
    st.binary(max_size=6),
)


@st.composite
def _targets(draw: st.DrawFn) -> bytes:
    """Request targets of such segments, some bytes of them escaped, some twice."""
    path = draw(st.sampled_from(PREFIXES)).encode() + b"/".join(draw(st.lists(_segment)))
    raw = b""
    for byte in path:
        times = draw(st.sampled_from([0, 0, 0, 1, 2])) if byte not in b"?%" else 1
        raw += [b"%c" % byte, b"%%%02x" % byte, b"%%25%02x" % byte][times]
    return raw


@many
@given(raw=_targets(), has_raw_path=st.booleans())
def test_a_path_gets_its_file_or_nothing(raw: bytes, has_raw_path: bool, target: Target) -> None:
    asked = request(raw, has_raw_path=has_raw_path)
    name = unquote_to_bytes(raw) if has_raw_path else asked["path"].encode()
    check_path(target.ask(asked), name)


# --- Headers -------------------------------------------------------------------------------------

_names = st.one_of(
    st.sampled_from([*sorted(handler._FIELDS), b"host", b"x-member", b"cookie"]),
    st.binary(max_size=8),
).flatmap(lambda name: st.sampled_from([name, name.upper(), name.title()]))
_values = st.one_of(
    st.binary(max_size=40),
    st.text("bytes=0123456789-, ", max_size=20).map(lambda text: b"bytes=" + text.encode()),
    st.sampled_from([b"*", b"script", b"https://app.example", b'"a"', b'W/"a", "b', b"\r\n\r\n"]),
)
_iterables: list[Callable[[Any], Any]] = [
    list,
    tuple,
    iter,
    lambda pairs: (pair for pair in pairs),
    lambda pairs: [list(pair) for pair in pairs],
    lambda pairs: dict(pairs).items(),
]


@many
@given(
    pairs=st.lists(st.tuples(_names, _values), max_size=6),
    as_=st.sampled_from(_iterables),
    name=st.sampled_from([b"a.txt", b"big.bin", b"empty.png", b"nothing"]),
    method=st.sampled_from(["GET", "GET", "HEAD", "OPTIONS", "POST", "get", "\n"]),
)
def test_headers_of_any_kind_get_an_answer(
    pairs: Any, as_: Any, name: bytes, method: str, target: Target
) -> None:
    asked = scope("/media/" + name.decode(), method=method) | {"headers": as_(pairs)}
    answer = target.ask(asked)
    if name in FILES:
        check_file(answer, FILES[name], method)


# --- Scopes --------------------------------------------------------------------------------------

_odd: dict[str, st.SearchStrategy[Any]] = {
    "raw_path": st.none() | st.binary(max_size=10),
    "root_path": st.none() | st.sampled_from(["", "/", "/app", "/media", "//", "x"]) | st.text(),
    "query_string": st.none() | st.binary(max_size=20),
    "scheme": st.none() | st.sampled_from(["http", "https", "", "ws"]),
    "http_version": st.none() | st.sampled_from(["1.0", "1.1", "2", "3", ""]),
    "client": st.sampled_from([None, (), ["", None], ("127.0.0.1", 1), ("/s", None), ("::1", 1)]),
    "server": st.sampled_from([None, (), ["", None], ("127.0.0.1", 1), ("/s", None), ("::1", 1)]),
    "extensions": st.sampled_from([None, {}, {"tls": None}, {"http.response.trailers": {}}]),
    "headers": st.just(()),
    "asgi": st.sampled_from([{}, {"version": "3.0"}]),
    "state": st.just({}),
}
_characters = st.characters(exclude_categories=())  # lone surrogates too


@many
@given(
    prefix=st.sampled_from([*PREFIXES, ""]),
    rest=st.sampled_from(["a.txt", "big.bin", ".env"]) | st.text(_characters, max_size=8),
    method=st.sampled_from(["GET", "HEAD"]) | st.text(max_size=4),
    odd=st.fixed_dictionaries({}, optional=_odd),
)
def test_scopes_with_missing_and_odd_keys_get_an_answer(
    prefix: str, rest: str, method: str, odd: dict[str, Any], target: Target
) -> None:
    answer = target.ask({"type": "http", "path": prefix + rest, "method": method, **odd})
    if prefix == "/media/" and rest == "a.txt" and not odd.get("root_path") and method == "GET":
        assert answer.body == FILES[b"a.txt"]


def test_the_application_sees_headers_that_can_be_walked_over_once(target: Target) -> None:
    """Found by reading: ours had used up what the application was to read."""
    seen = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        seen.extend(scope["headers"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-inner", b"1")]})
        await send({"type": "http.response.body", "body": b"inner"})

    before = target.middleware.app
    target.middleware.app = application
    try:
        pairs = [(b"Cookie", b"a=b"), (b"range", b"bytes=0-1")]
        target.ask(scope("/through/nothing") | {"headers": (pair for pair in pairs)})
    finally:
        target.middleware.app = before
    assert [tuple(pair) for pair in seen] == pairs


def test_a_predicate_sees_headers_that_can_be_walked_over_once(target: Target) -> None:
    for as_ in _iterables:
        answer = target.ask(scope("/members/s.txt") | {"headers": as_([(b"X-Member", b"yes")])})
        assert answer.body == b"signed for"


# --- What the application hands over -------------------------------------------------------------


def hand_over(target: Target, *headers: tuple[bytes, bytes], as_: Any = list) -> fuzz.Answer:
    target.handed_over = {"status": 200, "headers": as_(headers)}
    try:
        return target.get("/application")
    finally:
        target.handed_over = None


@pytest.mark.parametrize(
    ("value", "name"),
    [
        # Django sends what Latin-1 can hold as that: it was an error out of the callable.
        (b"/protected/\xe9 \xfc.pdf", "é ü.pdf"),
        ("/protected/é ü.pdf".encode(), "é ü.pdf"),
        (b"/protected/%C3%A9%20%C3%BC.pdf", "é ü.pdf"),
        (b"=?utf-8?b?L3Byb3RlY3RlZC/DqSDDvC5wZGY=?=", "é ü.pdf"),
        (b"/protected/%ff.bin", "\udcff.bin"),
        (b"/protected/\xff.bin", "\udcff.bin"),
    ],
)
def test_a_name_beyond_ascii_is_handed_over(value: bytes, name: str, target: Target) -> None:
    answer = hand_over(target, (b"X-Accel-Redirect", value))
    assert answer.body == fuzz.PROTECTED[name.encode("utf-8", "surrogateescape")]


@pytest.mark.parametrize(
    "value",
    [
        # Codecs that fail with UnicodeError itself.
        b"=?idna?q?xn--=FF=FE?=",
        b"=?punycode?q?-=FF?=",
        b"=?undefined?q?x?=",
        b"=?zlib?q?x?=",
        b"=?no-such?b?eA==?=",
        b"=?utf-8?b?x?=",
        b"=?utf-16?b?//79?=",
        b"/protected/../secret.txt",
        b"/protected/%2e%2e/secret.txt",
        b"/protected/",
        b"/protected",
        b"/media/a.txt",
        b"/nowhere",
        b"\xff\xfe",
        b"",
    ],
)
def test_a_path_that_leads_nowhere_is_an_answer_too(value: bytes, target: Target) -> None:
    for field in (b"x-accel-redirect", b"x-sendfile"):
        assert hand_over(target, (field, value)).status in (200, 404, 500)
    assert hand_over(target, (b"x-sendfile", bytes(target.base) + b"/secret.txt")).status == 500


@pytest.mark.parametrize("as_", _iterables)
def test_an_application_may_give_its_headers_in_any_iterable(as_: Any, target: Target) -> None:
    answer = hand_over(target, (b"x-inner", b"1"), (b"x-more", b"2"), as_=as_)
    assert answer.headers == [(b"x-inner", b"1"), (b"x-more", b"2")]
    answer = hand_over(
        target, (b"x-accel-redirect", b"/protected/p.txt"), (b"x-more", b"2"), as_=as_
    )
    assert answer.body == b"handed over"
    assert answer[b"x-more"] == b"2"


@many
@given(raw=st.binary(max_size=30) | st.sampled_from([b"=?idna?q?", b"=?utf-7?b?"]))
def test_a_target_is_read_without_an_error(raw: bytes) -> None:
    for field in (b"x-accel-redirect", b"x-sendfile"):
        found = x_accel.target([(field, raw)])
        assert found
        for candidate in found.candidates:
            candidate.encode("utf-8", "surrogateescape")


# --- Time ----------------------------------------------------------------------------------------


def steps(call: Callable[[], object]) -> int:
    """Lines of Python that this takes."""
    count = 0

    def local(frame: Any, event: str, argument: object) -> Any:
        nonlocal count
        count += event == "line"
        return local

    before = sys.gettrace()
    sys.settrace(lambda frame, event, argument: local)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


def cpu(call: Callable[[], object]) -> float:
    """The least CPU time of several runs, in seconds."""
    times = []
    for _ in range(5):
        begin = time.thread_time()
        call()
        times.append(time.thread_time() - begin)
    return min(times)


class Current:
    etag = b'"current"'
    modified = 10**9
    settled = dated = True


class Copied(bytes):
    """Counts what is copied to put one together with another."""

    copied = 0

    def __add__(self, other: Any) -> "Copied":
        Copied.copied += len(self) + len(other)
        return Copied(bytes.__add__(self, other))


def _fields() -> Iterator[Any]:
    ask = preconditions.evaluate
    for name, piece in {
        "ranges": b"0-0,",
        "commas": b",",
        "digits": b"9",
        "spaces": b" ",
        "dashes": b"-",
    }.items():
        yield pytest.param(
            lambda size, piece=piece: ranges.parse(b"bytes=" + piece * size, 10**6), id=name
        )
    for name, piece in {
        "tags": b'"a",',
        "weak tags": b'W/"a", ',
        "quotes": b'"',
        "open tag": b"a",
        "commas of tags": b", ",
        "blanks": b'"a" ',
        "W": b"W/",
    }.items():
        for field in (b"if-none-match", b"if-match"):
            yield pytest.param(
                lambda size, piece=piece, field=field: ask(
                    "GET", {field: b'"' + piece * size + b"x"}, Current()
                ),
                id=f"{field.decode()} of {name}",
            )
    for field in (b"if-modified-since", b"if-unmodified-since"):
        yield pytest.param(
            lambda size, field=field: ask("GET", {field: b"Sun, " * size}, Current()),
            id=field.decode(),
        )
    yield pytest.param(
        lambda size: preconditions.if_range(b'"' * size, Current()), id="if-range of quotes"
    )
    yield pytest.param(
        lambda size: x_accel.target([(b"x-sendfile", b"=?a?q?x?= " * size)]), id="encoded words"
    )
    yield pytest.param(
        lambda size: pick([(b"range", b"bytes=0-1")] * size, {b"range"}),
        id="lines of one field",
    )
    yield pytest.param(lambda size: _verify(b"&media-x=1" * size), id="query")
    yield pytest.param(lambda size: _verify(b"media-expires=" + b"9" * size), id="query of digits")


def _verify(query: bytes) -> None:
    with pytest.raises(BadSignature):
        signing.verify("/a", query)


@pytest.mark.parametrize("call", [*_fields()])
def test_a_field_of_any_size_takes_linear_time(call: Callable[[int], object]) -> None:
    small, large = 5_000, 40_000  # eight times the size: quadratic would be 64 times the work
    assert steps(lambda: call(large)) <= 12 * steps(lambda: call(small)) + 200
    begin = cpu(lambda: call(small))
    assert cpu(lambda: call(large)) <= 24 * begin + 0.005


def test_lines_of_one_field_are_put_together_once() -> None:
    Copied.copied = 0
    lines = [(b"range", Copied(b"x")) for _ in range(10_000)]
    pick(lines, {b"range"})
    assert Copied.copied <= 100_000


def test_a_download_of_many_ranges_is_no_more_than_the_file(target: Target) -> None:
    size = len(FILES[b"big.bin"])
    for count in (2, 10, 63, 64, 65, 1000):
        value = b"bytes=" + b",".join(b"0-" for _ in range(count))
        answer = target.get("/media/big.bin", [(b"range", value)])
        assert (answer.status, len(answer.body)) == (200, size)
    every = b"bytes=" + b",".join(b"%d-%d" % (at, at) for at in range(0, 128, 2))
    answer = target.get("/media/big.bin", [(b"range", every)])
    assert answer.status == 206
    assert len(re.findall(rb"Content-Range: ", answer.body)) == 64


def test_the_secret_is_where_the_traps_are(target: Target) -> None:
    """The control of the oracle: without it nothing above would prove anything."""
    for name in ("../secret.txt", "out", "sub/out", ".env", "vip/x.txt", "to-vip/x.txt"):
        assert (target.root / name).read_bytes() == SECRET
