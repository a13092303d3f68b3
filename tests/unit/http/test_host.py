"""The host of a request, in every spelling."""

import pytest

from media_asgi.http.host import host_rank, is_host, request_host

HOST, FORWARDED = b"Host", b"X-Forwarded-Host"


@pytest.mark.parametrize(
    ("value", "host"),
    [
        (b"media.example.com", "media.example.com"),
        (b"MEDIA.Example.COM:8443", "media.example.com"),
        (b"media.example.com.", "media.example.com"),
        (b"media.example.com.:80", "media.example.com"),
        (b"[::1]:8000", "[::1]"),
        (b"[2001:DB8::1]", "[2001:db8::1]"),
        (b"127.0.0.1:1", "127.0.0.1"),
        (b"xn--bcher-kva.example", "xn--bcher-kva.example"),
        *((value, "") for value in (b"", b" ", b":80", b"a:b", b"a:80:80", b"a/b", b"a?b", b"a#b")),
        *((value, "") for value in (b"user@a", b"a,b", b"a b", b"\xe2\x84\xaa.example", b"a\0")),
        *((value, "") for value in (b"http://a", b"[::1", b"::1", b"[..]", b"a%2e", b"\xff", b"*")),
    ],
)
def test_a_host_line(value: bytes, host: str) -> None:
    assert request_host([(HOST, value)], forwarded=False) == host
    assert request_host([(HOST, b"x"), (FORWARDED, value)], forwarded=True) == host


def test_the_lines_that_count() -> None:
    assert request_host([], forwarded=False) == ""
    assert request_host([(HOST, b"a"), (b"host", b"a")], forwarded=False) == ""
    forged = [(HOST, b"a"), (FORWARDED, b"b"), (b"Forwarded", b"host=c")]
    assert request_host(forged, forwarded=False) == "a"
    assert request_host(forged, forwarded=True) == "b"
    assert request_host([(HOST, b"a")], forwarded=True) == "a"
    assert request_host([*forged, (FORWARDED, b"c")], forwarded=True) == ""
    assert request_host([(HOST, b"a"), (FORWARDED, b"b, c")], forwarded=True) == ""


@pytest.mark.parametrize(
    ("host", "pattern", "matches"),
    [
        ("a.example.com", "a.example.com", True),
        ("b.a.example.com", "a.example.com", False),
        ("a.example.com", ".example.com", True),
        ("example.com", ".example.com", True),
        ("badexample.com", ".example.com", False),
        ("example.com.evil", ".example.com", False),
        ("anything", "*", True),
        ("", "*", False),
        ("", ".example.com", False),
        ("", None, True),
        ("a", None, True),
    ],
)
def test_a_pattern(host: str, pattern: str | None, matches: bool) -> None:
    assert is_host(host, pattern) is matches


def test_the_closer_pattern_comes_first() -> None:
    patterns = [None, "*", ".com", ".example.com", "a.example.com", "a"]
    assert sorted(patterns, key=host_rank)[:4] == patterns[:4]
    assert host_rank("a") > host_rank("." + "a" * 253)
