"""Signed URLs: what holds, what doesn't, and what an attacker would try."""

import math
import os
import re
import string
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, unquote, unquote_to_bytes, urlsplit

import pytest
from django.conf import settings
from django.core import signing as django_signing
from django.core.signing import BadSignature, SignatureExpired, Signer
from django.test import override_settings
from django.urls import set_script_prefix
from hypothesis import assume, example, given
from hypothesis import strategies as st

from media_asgi import Location, signing
from media_asgi.signing import Grant, headers, sign_prefix, sign_url, verify

NOW = 1_700_000_000.0
KEY, OLD_KEY, OTHER_KEY = "now" * 20, "before" * 10, "elsewhere" * 8


@pytest.fixture(autouse=True, scope="module")
def _secret_key() -> None:
    settings.SECRET_KEY = KEY  # override_settings could not go back to having none


@pytest.fixture(autouse=True, scope="module")
def _no_locations() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:  # those of other tests may still be there
        patch.setattr(signing, "location_prefixes", {})
        yield


def sign(url: str = "/private/a.pdf", **options: Any) -> str:
    return sign_url(url, **({"now": NOW} | options))


def as_asgi(url: str) -> tuple[str, bytes]:
    """Path and query as a server gives them, and as ``paths.request_path`` mends them."""
    parts = urlsplit(url)
    return os.fsdecode(unquote_to_bytes(parts.path)), parts.query.encode("ascii")


def check(url: str, now: float = NOW, **options: Any) -> Grant:
    return verify(*as_asgi(url), now=now, **options)


def expiry(url: str) -> int:
    match = re.search(r"[?&]media-expires=([0-9]+)&", url)
    assert match
    return int(match[1])


# Strategies

# What a path's bytes may be, NUL and bytes that are no UTF-8 included.
path_bytes = st.lists(st.binary(max_size=12), max_size=4).map(lambda names: b"/" + b"/".join(names))
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
downloads = st.one_of(st.none(), st.booleans(), names)
own_queries = st.text(
    string.ascii_letters + string.digits + "&=%;:@/?+-._~!$'()*,", max_size=40
).filter(lambda query: "media-" not in unquote(query))
lifetimes = st.one_of(
    st.integers(1, 10**13),
    st.floats(0.001, 1e13),
    st.timedeltas(min_value=timedelta(milliseconds=1)),
)


@st.composite
def signed_urls(draw: st.DrawFn) -> str:
    path = draw(path_bytes.filter(lambda path: not path.startswith(b"//")))
    return sign(quote(path), download=draw(downloads), expires_in=draw(st.integers(1, 10**6)))


# What a link looks like


@pytest.mark.parametrize(
    ("url", "options", "start", "end"),
    [
        ("/m/a.pdf", {}, "/m/a.pdf?media-expires=1700003600&media-signature=", ""),
        ("/m/a.pdf#page=2", {}, "/m/a.pdf?media-expires=", "#page=2"),
        ("/m/a.pdf?v=1&&w", {}, "/m/a.pdf?v=1&&w&media-expires=", ""),
        ("/m/a.pdf?v=1#?x", {}, "/m/a.pdf?v=1&media-expires=", "#?x"),
        ("/m/a.pdf?", {}, "/m/a.pdf?media-expires=", ""),
        ("/m/a.pdf#", {}, "/m/a.pdf?media-expires=", "#"),
        ("/m/%2f%3F%23é", {}, "/m/%2f%3F%23é?media-expires=", ""),
        ("https://cdn.test/m/a", {}, "https://cdn.test/m/a?media-expires=", ""),
        ("//cdn.test:81/m/a", {}, "//cdn.test:81/m/a?media-expires=", ""),
        ("/m/a", {"download": True}, "/m/a?media-expires=1700003600&media-download=&media-sig", ""),
        (
            "/m/a",
            {"download": "a/ü &+.pdf"},
            "/m/a?media-expires=1700003600&media-download=a%2F",
            "",
        ),
        ("/m/a", {"download": False}, "/m/a?media-expires=1700003600&media-signature=", ""),
        ("/m/a", {"expires_in": 60}, "/m/a?media-expires=1700000060&", ""),
        ("/m/a", {"expires_in": 0.1}, "/m/a?media-expires=1700000001&", ""),
        ("/m/a", {"expires_in": timedelta(days=1)}, "/m/a?media-expires=1700086400&", ""),
        ("/m/a", {"expires_in": timedelta.max}, "/m/a?media-expires=86401700000000&", ""),
        ("/m/a", {"window": 1000}, "/m/a?media-expires=1700004000&", ""),
        ("/m/a", {"window": timedelta(minutes=10)}, "/m/a?media-expires=1700004000&", ""),
        ("/m/a", {"window": 0.5}, "/m/a?media-expires=1700003600&", ""),
        ("/m/a", {"now": NOW + 0.5}, "/m/a?media-expires=1700003601&", ""),
    ],
)
def test_a_link(url: str, options: dict[str, Any], start: str, end: str) -> None:
    signed = sign(url, **options)
    assert signed.startswith(start)
    assert re.fullmatch(r"[0-9A-Za-z_-]{43}", signed.partition("signature=")[2].partition("#")[0])
    assert signed.endswith(end)
    if signed.isascii():
        assert check(signed, options.get("now", NOW)).expires == expiry(signed)


@pytest.mark.parametrize(
    ("url", "options", "cure"),
    [
        ("a.pdf", {}, "full URL"),
        ("", {}, "full URL"),
        ("?x=/", {}, "full URL"),
        ("https://cdn.test", {}, "full URL"),
        ("mailto:a@b", {}, "full URL"),
        *(
            ("/m/a", {"expires_in": value}, r"^expires_in is .*Give .*above 0 .*timedelta")
            for value in (
                *(0, -1, -0.5, math.nan, math.inf, -math.inf, 1e14, 10**400),
                *(timedelta(0), timedelta(-1), True, "3600", None, b"1", 1j),
            )
        ),
        *(
            ("/m/a", {"window": value}, r"^window is .*Give .*0 or more .*timedelta")
            for value in (-1, math.nan, math.inf, 1e14, timedelta(-1), False, "600", None)
        ),
        *(
            ("/m/a", {"download": value}, r"^download is .*Give .*True")
            for value in ("", "\udcff.pdf", "\ud800", 1, 0, b"a.pdf", ["a.pdf"])
        ),
    ],
)
def test_what_cannot_be_meant(url: str, options: dict[str, Any], cure: str) -> None:
    with pytest.raises(ValueError, match=cure):
        sign(url, **options)


@pytest.mark.parametrize("leeway", [-1, math.nan, math.inf, None, "5", timedelta(-1)])
def test_a_skew_that_cannot_be_meant(leeway: Any) -> None:
    with pytest.raises(ValueError, match=r"^leeway is .*Give .*0 or more"):
        check(sign(), leeway=leeway)


@given(st.floats(0, 1e11), lifetimes, st.one_of(st.integers(0, 10**7), st.floats(0, 1e7)))
def test_a_link_lives_as_long_as_promised(now: float, lifetime: Any, window: Any) -> None:
    url = sign(now=now, expires_in=lifetime, window=window)
    wanted = lifetime.total_seconds() if isinstance(lifetime, timedelta) else lifetime
    end = expiry(url)
    # Floats around 10**13 are some milliseconds apart.
    assert now + wanted <= end < now + wanted + max(1, math.ceil(window)) + 0.01
    assert end % max(1, math.ceil(window)) == 0
    assert check(url, now).expires == end


@given(st.integers(0, 10**10), st.integers(1, 10**5), st.integers(1, 10**5), st.data())
def test_one_url_within_a_window(now: int, lifetime: int, window: int, data: st.DataObject) -> None:
    first = sign(now=now, expires_in=lifetime, window=window)
    last = expiry(first) - lifetime
    later = data.draw(st.integers(now, last))
    assert sign(now=later, expires_in=lifetime, window=window) == first
    assert sign(now=last + 1, expires_in=lifetime, window=window) != first


# What holds


@given(path_bytes, own_queries, downloads, st.integers(1, 10**6))
@example(b"/private/\xff\xc3\xa9/\xed\xa0\x80?#%41&;", "a=1&b", "\n\u202e\0/\U0001f600 +&=%.pdf", 1)
def test_round_trip(path: bytes, query: str, download: Any, lifetime: int) -> None:
    url = "https://cdn.test" + quote(path) + (f"?{query}" if query else "") + "#media-expires=1"
    signed = sign(url, download=download, expires_in=lifetime)
    grant = check(signed)
    assert grant == Grant(int(NOW) + lifetime, download or False)
    assert signed.startswith(url.partition("#")[0])
    assert signed.endswith("#media-expires=1")
    assert signed.isascii()
    # Signing again replaces, and does not grow, the parameters.
    again = sign(signed, expires_in=7)
    assert again == sign(url, expires_in=7)
    assert sign(signed, download=download, expires_in=lifetime) == signed


@given(path_bytes, names, st.randoms())
def test_any_spelling_of_a_link(path: bytes, download: str, random: Any) -> None:
    def respell(text: bytes, plus: bool) -> str:
        return "".join(
            "+"
            if plus and byte == 0x20 and random.random() < 0.5
            else random.choice([f"%{byte:02X}", f"%{byte:02x}"])
            if random.random() < 0.5
            else quote(bytes([byte]))
            for byte in text
        )

    signed = sign("https://cdn.test" + quote(path), download=download)
    (_, expires), _, (_, signature) = (
        pair.split("=", 1) for pair in urlsplit(signed).query.split("&")
    )
    pairs = [
        f"media-expires={expires}",
        f"media-download={respell(download.encode(), True)}",
        f"media-signature={signature}",
    ]
    random.shuffle(pairs)
    url = "https://cdn.test/" + respell(path[1:], False) + "?" + "&".join(pairs)
    assert check(url) == Grant(int(expires), download)
    assert quote_plus(download) == quote(download, safe="").replace("%20", "+")


def test_a_raw_name_in_the_query() -> None:
    path, query = as_asgi(sign(download="Grüße.pdf"))
    raw = unquote_to_bytes(query)
    assert raw != query
    assert verify(path, raw, now=NOW).download == "Grüße.pdf"
    with pytest.raises(BadSignature):
        verify(path, raw.replace(b"\xbc", b""), now=NOW)


@pytest.mark.parametrize(
    "other",
    [
        b"utm_source=x",
        b"media-expire=1",
        b"media%2Dexpires=1",
        b"Media-Expires=1",
        b"media-\xff=1",
        b"media-x=1&media-x=2",
    ],
)
def test_another_parameter_changes_nothing(other: bytes) -> None:
    path, query = as_asgi(sign())
    for joined in (query + b"&" + other, other + b"&" + query):
        assert verify(path, joined, now=NOW) == check(sign())


@given(signed_urls(), st.lists(st.binary(max_size=30), max_size=5), st.randoms())
def test_any_other_parameters_change_nothing(url: str, others: list[bytes], random: Any) -> None:
    path, query = as_asgi(url)
    pairs = query.split(b"&") + [piece for other in others for piece in other.split(b"&")]
    random.shuffle(pairs)
    assert verify(path, b"&".join(pairs), now=NOW) == check(url)


@pytest.mark.parametrize(
    ("after", "leeway", "holds"),
    [
        (-3601, 0, True),
        (0, 0, True),
        (3599, 0, True),
        (3599.999, 0, True),
        (3600, 0, False),
        (3600, 1, True),
        (3600, 0.001, True),
        (3629, timedelta(seconds=30), True),
        (3630, timedelta(seconds=30), False),
        (10**9, 0, False),
    ],
)
def test_the_end(after: float, leeway: Any, holds: bool) -> None:
    url = sign()
    if holds:
        assert check(url, NOW + after, leeway=leeway).expires == NOW + 3600
    else:
        with pytest.raises(SignatureExpired, match="1700003600"):
            check(url, NOW + after, leeway=leeway)


def test_by_the_clock() -> None:
    verify(*as_asgi(sign_url("/private/a.pdf", expires_in=60)))
    with pytest.raises(SignatureExpired):
        verify(*as_asgi(sign("/private/a.pdf")))


def test_with_a_script_name() -> None:
    path, query = as_asgi(sign("/app/private/a.pdf"))
    assert path == "/app/private/a.pdf"
    assert verify("/private/a.pdf", query, aliases=[path], now=NOW) == check(sign())
    for aliases in [(), ["/private/b.pdf", "/private"], ["\ud800"]]:
        with pytest.raises(BadSignature):
            verify("/private/a.pdf", query, aliases=aliases, now=NOW)


# What doesn't hold

OURS = frozenset({b"media-expires", b"media-download", b"media-signature"})
VISIBLE = [chr(code) for code in range(0x21, 0x7F)]


def meaning(url: str) -> tuple[bytes, list[tuple[str, str]]]:
    """All that a link says to ``verify``: two URLs with one meaning are one link."""
    parts = urlsplit(url)
    pairs = [pair.partition("=") for pair in parts.query.split("&")]
    return unquote_to_bytes(parts.path), sorted(
        (name, unquote(value.replace("+", " "), errors="surrogateescape"))
        for name, _, value in pairs
        if name.encode() in OURS
    )


@given(signed_urls(), st.data())
def test_any_single_change_is_refused(url: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(1, len(url) - 1))
    changed = data.draw(
        st.one_of(
            st.sampled_from(VISIBLE).map(lambda new: url[:place] + new + url[place + 1 :]),
            st.sampled_from(VISIBLE).map(lambda new: url[:place] + new + url[place:]),
            st.just(url[:place] + url[place + 1 :]),
        )
    )
    assume(meaning(changed) != meaning(url))
    with pytest.raises(BadSignature):
        check(changed)


@pytest.mark.parametrize(
    "place", range(len("/private/a.pdf?media-expires=1700003600&media-signature="))
)
def test_each_character_counts(place: int) -> None:
    url = sign()
    for new in ("", "0", "9", "x", "X", "%", "&", "=", "-", "\u0660", " ", "\0"):
        changed = url[:place] + new + url[place + 1 :]
        if changed != url:
            path, _, query = changed.partition("?")
            with pytest.raises(BadSignature):
                verify(unquote(path), query.encode(), now=NOW)


def test_each_character_of_the_signature_counts() -> None:
    start, equals, signature = sign().partition("signature=")
    for place in range(len(signature)):
        for new in ("", *string.ascii_letters, *string.digits, "-", "_", "=", "%41", "+", ":"):
            changed = signature[:place] + new + signature[place + 1 :]
            if changed != signature:
                with pytest.raises(BadSignature):
                    check(start + equals + changed)


LINK = "media-expires=1700003600&media-signature=" + "A" * 43


@pytest.mark.parametrize(
    "query",
    [
        b"",
        b"&",
        b"=",
        b"?",
        b"media-expires",
        b"media-signature=",
        b"media-expires=1700003600",
        LINK.encode(),
        LINK.replace("1700003600", "").encode(),
        LINK.replace("1700003600", "-1").encode(),
        LINK.replace("1700003600", "1e12").encode(),
        LINK.replace("1700003600", "inf").encode(),
        LINK.replace("1700003600", "0x7fffffff").encode(),
        LINK.replace("1700003600", "1_700").encode(),
        LINK.replace("1700003600", "١٧").encode(),
        LINK.replace("1700003600", "9" * 5000).encode(),
        LINK.replace("1700003600", "9" * 1_000_000).encode(),
        LINK.replace("A" * 43, "A:" * 20).encode(),
        LINK.replace("A" * 43, "\udcff").encode("utf-8", "surrogateescape"),
        LINK.replace("A" * 43, "é" * 43).encode(),
        LINK.replace("A" * 43, "A" * 1_000_000).encode(),
        f"{LINK}&media-download=%ff".encode(),
        f"{LINK}&media-download=%ED%A0%80".encode(),
        f"{LINK}&media-download=%".encode(),
        f"{LINK}&media-download=".encode() + b"%41" * 20_000,
        LINK.encode() + b"&" * 100_000,
        LINK.encode() + b"&media-x=1" * 100_000,
        b"\xff\xfe\0" * 1000,
        LINK.replace("&", ";").encode(),
        LINK.replace("&", "&amp;").encode(),
    ],
    ids=lambda query: repr(query[:60]),
)
def test_garbage_is_no_link(query: bytes) -> None:
    with pytest.raises(BadSignature) as caught:
        verify("/private/a.pdf", query, now=NOW)
    assert type(caught.value) is BadSignature


@given(
    st.text(st.characters(), max_size=20),
    st.lists(
        st.one_of(
            st.binary(max_size=20),
            st.tuples(
                st.sampled_from(sorted(OURS)), st.sampled_from([b"=", b""]), st.binary(max_size=50)
            ).map(b"".join),
        ),
        max_size=6,
    ).map(b"&".join),
)
def test_any_garbage_is_no_link(path: str, query: bytes) -> None:
    with pytest.raises(BadSignature):
        verify(path, query, aliases=[path + "x"], now=NOW)


@pytest.mark.parametrize("name", ["media-expires", "media-download", "media-signature"])
def test_a_repeated_parameter_is_refused(name: str) -> None:
    path, query = as_asgi(sign(download="a.pdf"))
    pair = next(pair for pair in query.split(b"&") if pair.startswith(name.encode()))
    for extra in (pair, pair.partition(b"=")[0], pair.partition(b"=")[0] + b"=9999999999"):
        for repeated in (query + b"&" + extra, extra + b"&" + query):
            with pytest.raises(BadSignature, match=f"more than one {name}"):
                verify(path, repeated, now=NOW)


def test_a_link_to_one_file_opens_no_other() -> None:
    _, query = as_asgi(sign("/private/a.pdf", download="b.pdf"))
    for path in (
        *(
            "/private/b.pdf",
            "/private/A.pdf",
            "/private/a.pdf/",
            "/private//a.pdf",
            "private/a.pdf",
        ),
        *("/private/./a.pdf", "/x/../private/a.pdf", "/private/a.pdf\0", "/private/a.pdf?", ""),
        *("/private/a%2Epdf", "/private/a.pdf?media-expires=1700003600", "/private/a.pdf\n"),
    ):
        with pytest.raises(BadSignature):
            verify(path, query, now=NOW)


def test_nothing_moves_between_path_and_parameters() -> None:
    # A file may be named so that its path reads like the parameters of another link.
    signature = sign("/m/a", download="x").rpartition("=")[2]
    for path, query in [
        ("/m/a?media-expires=1700003600", "media-download=x"),
        ("/m/a?media-expires=1700003600&media-download=x", ""),
        ("/m/a", "media-expires=1700003600&media-download=x%26media-expires=1700003600"),
        ("/m/a", "media-expires=1700003600%26media-download=x"),
    ]:
        with pytest.raises(BadSignature):
            verify(path, f"{query}&media-signature={signature}".encode(), now=NOW)


def test_nothing_moves_between_parameters_and_signature() -> None:
    # Django's signer divides at the last ":".
    other = sign(quote("/m/a?media-expires=9999999999:x"))
    signature = other.rpartition("=")[2]
    forged = f"media-expires=9999999999&media-signature=x?media-expires=1700003600:{signature}"
    with pytest.raises(BadSignature):
        verify("/m/a", forged.encode(), now=NOW)


def test_only_the_replacement_character_is_the_replacement_character() -> None:
    path, query = as_asgi(sign(download="\ufffd"))
    assert verify(path, query, now=NOW).download == "\ufffd"
    for other in (b"%FF", b"\xff"):
        with pytest.raises(BadSignature):
            verify(path, query.replace(b"%EF%BF%BD", other), now=NOW)


def test_download_can_be_neither_added_nor_dropped() -> None:
    plain, named, unnamed = sign(), sign(download="a.pdf"), sign(download=True)
    assert check(unnamed.replace("media-download=", "media-download")).download is True
    for url in (
        plain.replace("&media-sig", "&media-download=&media-sig"),
        plain.replace("&media-sig", "&media-download=a.pdf&media-sig"),
        named.replace("&media-download=a.pdf", ""),
        named.replace("a.pdf", "a.exe"),
        named.replace("a.pdf", ""),
        unnamed.replace("&media-download=", ""),
        unnamed.replace("download=", "download=True"),
    ):
        with pytest.raises(BadSignature):
            check(url)


# Keys


def test_rotated_keys() -> None:
    url = sign()
    with override_settings(SECRET_KEY=OTHER_KEY, SECRET_KEY_FALLBACKS=[OLD_KEY, KEY]):
        assert check(url) == Grant(int(NOW) + 3600, False)
        assert sign() != url
    with override_settings(SECRET_KEY=OTHER_KEY, SECRET_KEY_FALLBACKS=[OLD_KEY]):
        with pytest.raises(BadSignature):
            check(url)
    with override_settings(SECRET_KEY=KEY.encode()):
        assert sign() == url


def test_the_signature_is_for_nothing_else() -> None:
    start, _, signature = sign("/m/a").rpartition("&media-signature=")
    assert Signer(salt="media_asgi.signing").unsign(f"{start}:{signature}") == start
    for salt in (None, "django.core.signing", "media_asgi", "media_asgi.signings"):
        with pytest.raises(BadSignature):
            Signer(salt=salt).unsign(f"{start}:{signature}")
        with pytest.raises(BadSignature):
            check(f"{start}&media-signature={Signer(salt=salt).signature(start)}")
    with pytest.raises(BadSignature):
        django_signing.loads(f"{start}:{signature}")


def test_signatures_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[str, str]] = []
    from django.utils.crypto import constant_time_compare as original

    def compare(one: str, other: str) -> bool:
        compared.append((one, other))
        return original(one, other)

    monkeypatch.setattr(django_signing, "constant_time_compare", compare)
    url = sign()
    check(url)
    signature = url.rpartition("=")[2]
    assert compared == [(signature, signature)]


# What is served with a link


@pytest.mark.parametrize(
    ("now", "max_age"),
    [(NOW, 3600), (NOW + 0.5, 3599), (NOW + 3599.5, 0), (NOW + 3600, 0), (NOW + 9999.5, 0)],
)
def test_caches_keep_it_until_the_end(now: float, max_age: int) -> None:
    assert headers(Grant(int(NOW) + 3600, False), now) == [
        (b"cache-control", b"private, max-age=%d" % max_age),
        (b"referrer-policy", b"no-referrer"),
    ]


@pytest.mark.parametrize(
    ("download", "disposition"),
    [
        (True, b"attachment"),
        ("report.pdf", b'attachment; filename="report.pdf"'),
        ('a "b".pdf', b'attachment; filename="a \\"b\\".pdf"'),
        ("Grüße.pdf", b"attachment; filename*=utf-8''Gr%C3%BC%C3%9Fe.pdf"),
        ("../../etc\\passwd", b'attachment; filename=".._.._etc_passwd"'),
        ("a.pdf\n", b'attachment; filename="a.pdf_"'),
        ("a\r\nSet-Cookie: b=c", b'attachment; filename="a__Set-Cookie: b=c"'),
        ("\0\x7f\t", b'attachment; filename="___"'),
        ("\x85\u2028", b"attachment; filename*=utf-8''%C2%85%E2%80%A8"),
    ],
)
def test_the_name_that_is_saved(download: str | bool, disposition: bytes) -> None:
    fields = dict(headers(Grant(int(NOW), download), NOW))
    assert fields[b"content-disposition"] == disposition


@given(names)
def test_any_name_makes_one_line(name: str) -> None:
    value = dict(headers(check(sign(download=name)), NOW))[b"content-disposition"]
    assert re.fullmatch(rb"attachment; filename(=\"[ -~]*\"|\*=utf-8''[!-~]+)", value)


# Folders


@pytest.mark.parametrize(
    "url",
    [
        *("/private/a", "/", "", "private/", "//", "/private//a/", "/private/../a/", "/./"),
        *("/private/a/?v=1", "/private/a/#x", "/private/%2e%2e/a/", "/private/%2F/", "https://a/"),
    ],
)
def test_what_is_not_a_folder_is_not_signed(url: str) -> None:
    with pytest.raises(ValueError, match="folder"):
        sign_prefix(url)


@pytest.mark.parametrize("option", [{"expires_in": 0}, {"expires_in": True}, {"window": -1}])
def test_a_folder_is_not_signed_for_an_impossible_time(option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(option))):
        sign_prefix("/private/a/", **option)


def test_a_folder_is_signed_only_below_one_location(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(signing, "location_prefixes", {})
    assert sign_prefix("/elsewhere/a/")  # a process without locations can't tell
    kept = [
        Location(url=url, root=tmp_path, access="signed") for url in ("/a/private/", "/b/private/")
    ]
    assert sign_prefix("/a/private/")
    assert sign_prefix("https://host.test/b/private/x/")
    for url in ("/a/", "/elsewhere/a/", "/a/privatex/"):
        with pytest.raises(ValueError, match="not below a location"):
            sign_prefix(url)
    set_script_prefix("/app/")
    try:
        assert sign_prefix("/app/a/private/x/")
    finally:
        set_script_prefix("/")
    assert kept


@given(path_bytes, st.lists(names, max_size=3), st.integers(1, 10**6))
@example(b"/private", ["a.ts"], 60)
def test_any_file_below_a_signed_folder(path: bytes, rest: list[str], lifetime: int) -> None:
    segments = path.split(b"/")[1:]
    assume(segments and not {b"", b".", b".."} & {*segments})
    url = sign_prefix(quote(path) + "/", expires_in=lifetime, now=NOW)
    below = "/".join(name.replace("/", "_") for name in rest)
    grant = check(url + quote(below))
    assert (grant.expires, grant.download) == (NOW + lifetime, False)
    with pytest.raises(SignatureExpired):
        check(url + quote(below), NOW + lifetime)
    check(url + quote(below), NOW + lifetime, leeway=1)
    assert signing.without_signature(as_asgi(url + quote(below))[0][1:]) == os.fsdecode(
        path[1:] + b"/" + below.encode()
    )


def test_a_signed_folder_with_rotated_keys() -> None:
    with override_settings(SECRET_KEY=OLD_KEY):
        url = sign_prefix("/private/a/", now=NOW) + "x"
    with override_settings(SECRET_KEY_FALLBACKS=[OLD_KEY]):
        assert check(url)
    with override_settings(SECRET_KEY_FALLBACKS=[OTHER_KEY]), pytest.raises(BadSignature):
        check(url)


def test_a_signed_folder_has_one_url_within_a_window() -> None:
    assert sign_prefix("/private/a/", window=600, now=NOW) == sign_prefix(
        "/private/a/", window=600, now=NOW - 1
    )
