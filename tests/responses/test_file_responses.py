"""Files that Django's views answer with, on real servers."""

import gzip
import hashlib
import os
import time
from collections import Counter
from collections.abc import Callable

import pytest

from ..support.client import Connection, Response, Truncated
from ..support.site import Site
from .support import FILES, GIB, LARGE, LETTERS, counted

TAKEN = ["open", "unbuffered", "django", "twice", "field", "positioned", "temporary", "unlinked"]
NOT_TAKEN = [
    *("bytesio", "content", "gzip", "own-read", "decrypting", "pipe", "read-write", "generator")
]


def is_taken(response: Response) -> bool:
    return response.all("accept-ranges") == ["bytes"] and "etag" in response


@pytest.mark.parametrize("view", ["sync", "async"])
@pytest.mark.parametrize("kind", TAKEN)
def test_a_plain_file_is_sent_with_ranges_and_validators(site: Site, kind: str, view: str) -> None:
    expected = LETTERS[1001:] if kind == "positioned" else LETTERS
    url = f"/{view}/{kind}/letters.bin"
    whole = site.get(url)
    assert whole.status == 200
    assert whole.body == expected
    assert is_taken(whole)
    assert whole["cache-control"] == "private, no-cache"
    assert "content-security-policy" not in whole
    part = site.get(url, ("Range", "bytes=10-19"))
    assert (part.status, part.body) == (206, expected[10:20])
    assert part["content-range"] == f"bytes 10-19/{len(expected)}"
    if kind not in ("temporary", "unlinked"):  # each of these is a new file
        assert part["etag"] == whole["etag"]
        assert site.get(url, ("If-None-Match", whole["etag"])).status == 304
        assert site.get(url, ("If-Match", '"other"')).status == 412
    assert site.get(url, ("Range", f"bytes={len(expected)}-")).status == 416
    head = site.get(url, method="HEAD")
    assert (head.status, head.body, head.length) == (200, b"", len(expected))


@pytest.mark.parametrize("kind", NOT_TAKEN)
def test_what_is_not_a_plain_file_passes_as_it_is(
    start: Callable[..., Site], site: Site, kind: str
) -> None:
    bare = start(site.kind, "without")
    url = f"/sync/{kind}/letters.bin"
    given, expected = (one.get(url, ("Range", "bytes=0-9")) for one in (site, bare))
    names = {"date"}
    assert [pair for pair in given.headers if pair[0] not in names] == [
        pair for pair in expected.headers if pair[0] not in names
    ]
    assert (given.status, given.body) == (expected.status, expected.body)
    assert "etag" not in given


CHANGED = {
    "another status": "status=201",
    "a status of its own": "status=206&header=Content-Range:%20bytes%200-1999/2000",
    "an error": "status=404",
    "a range of its own": "header=Content-Range:%20bytes%200-1999/2000",
    "no length": "without=Content-Length",
    "a stream in place of the file's": "mapped=1",
    "a response class with a stream of its own": "class=upper",
    "no ranges": "header=Accept-Ranges:%20none",
}


@pytest.mark.parametrize("query", CHANGED.values(), ids=CHANGED)
def test_a_response_that_is_more_than_the_file_passes_as_it_is(
    start: Callable[..., Site], query: str
) -> None:
    given, expected = (
        start("daphne", stack).get(f"/sync/open/text.txt?{query}", ("If-None-Match", "*"))
        for stack in ("async", "without")
    )
    assert given.headers == expected.headers
    assert (given.status, given.body) == (expected.status, expected.body)
    assert "etag" not in given


def test_a_file_of_another_length_than_the_view_says_passes_as_it_is(site: Site) -> None:
    with Connection(site.server) as client:
        client.request("/sync/open/text.txt?header=Content-Length:%202001")
        response = client.head()
    assert response.length == 2001
    assert "etag" not in response


def test_headers_of_the_view_stay(site: Site) -> None:
    url = (
        "/sync/open/letters.bin?attachment&cookie&type=text/x-own&header=X-Own:%201"
        "&header=X-Frame-Options:%20DENY&header=Content-Encoding:%20x-own&header=Content-Language:%20fi"
        "&header=Vary:%20Cookie&header=Cache-Control:%20max-age=7"
    )
    for status, headers in ((200, ()), (206, (("Range", "bytes=1-2"),))):
        response = site.get(url, *headers)
        assert response.status == status
        assert response["content-disposition"] == 'attachment; filename="letters.bin"'
        assert response["content-type"] == "text/x-own"
        assert response["cache-control"] == "max-age=7"
        assert response["x-own"] == "1"
        assert response["x-frame-options"] == "DENY"
        assert response["content-encoding"] == "x-own"
        assert response["content-language"] == "fi"
        assert response["vary"] == "Cookie"
        assert "a=b" in response["set-cookie"]
    unchanged = site.get(url, ("If-None-Match", response["etag"]))
    assert unchanged.status == 304
    assert unchanged["vary"] == "Cookie"
    assert unchanged["cache-control"] == "max-age=7"
    assert "content-type" not in unchanged


def test_a_date_of_the_view_is_not_sent_beside_the_real_one(site: Site) -> None:
    date = "Mon, 02 Jan 2006 15:04:05 GMT"
    url = f"/sync/open/letters.bin?header=Date:%20{date.replace(' ', '%20')}"
    assert site.get(url)["date"] != date


def test_validators_of_the_view_count(site: Site) -> None:
    date = "Mon, 02 Jan 2006 15:04:05 GMT"
    url = f"/sync/open/letters.bin?header=ETag:%20%22own%22&header=Last-Modified:%20{date}"
    url = url.replace(" ", "%20")
    response = site.get(url)
    assert (response["etag"], response["last-modified"]) == ('"own"', date)
    assert site.get(url, ("If-None-Match", '"own"')).status == 304
    assert site.get(url, ("If-Modified-Since", date)).status == 304
    assert site.get(url, ("Range", "bytes=0-0"), ("If-Range", '"own"')).status == 206
    assert site.get(url, ("Range", "bytes=0-0"), ("If-Range", '"old"')).status == 200
    # The view's date is its word, and not a strong validator.
    assert site.get(url, ("Range", "bytes=0-0"), ("If-Range", date)).status == 200


def test_two_files_under_one_url_have_two_tags(start: Callable[..., Site]) -> None:
    site = start("daphne")
    (site.root / "twin.bin").write_bytes(LETTERS)
    known = (site.root / "letters.bin").stat()
    os.utime(site.root / "twin.bin", ns=(known.st_mtime_ns, known.st_mtime_ns))
    tags = {
        site.get(f"/sync/{kind}/{name}")["etag"]
        for kind in ("open", "positioned")
        for name in ("letters.bin", "twin.bin")
    }
    tags |= {
        site.get(f"/page?header=X-Accel-Redirect:%20/internal/{name}")["etag"]
        for name in ("letters.bin", "twin.bin")
    }
    assert len(tags) == 6


@pytest.mark.parametrize("name", ["letters.bin", "large.bin"])
@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("Range", "bytes=5-9,100-109"),),
        (("If-None-Match", "*"),),
        (("Range", "bytes=9999999-"),),
    ],
    ids=["whole", "ranges", "unchanged", "unsatisfiable"],
)
def test_the_response_is_closed_once_after_the_file(
    site: Site, name: str, headers: tuple[tuple[str, str], ...]
) -> None:
    site.ask("/told")
    site.get(f"/sync/open/{name}", *headers)
    told: Counter[str] = Counter()

    def has_finished() -> bool:
        told.update(site.ask("/told"))
        return told["finished"] > 0

    site.wait(has_finished)
    assert (told["closed"], told["after the file"]) == (1, 1)
    assert told["finished"] == 1
    site.wait(lambda: not site.open_files())


def test_several_ranges_are_sent(site: Site) -> None:
    response = site.get("/sync/positioned/letters.bin", ("Range", "bytes=0-9,100-109"))
    assert response.status == 206
    assert response["content-type"].startswith("multipart/byteranges; boundary=")
    assert LETTERS[1001:1011] in response.body
    assert LETTERS[1101:1111] in response.body


def test_a_post_gets_the_whole_file(site: Site) -> None:
    with Connection(site.server) as client:
        client.request(
            "/sync/open/letters.bin", [("Range", "bytes=0-9")], method="POST", body=b"ab"
        )
        response = client.response()
    assert (response.status, response.body) == (200, LETTERS)


def test_an_empty_file_is_sent(site: Site) -> None:
    response = site.get("/sync/open/empty.bin", ("Range", "bytes=0-9"))
    assert (response.status, response.body, response.length) == (200, b"", 0)


def test_a_large_file_is_sent_whole(site: Site) -> None:
    response = site.get("/async/open/large.bin")
    assert hashlib.sha256(response.body).digest() == hashlib.sha256(LARGE).digest()
    part = site.get("/async/open/large.bin", ("Range", "bytes=1000000-"))
    assert part.body == LARGE[1_000_000:]


@pytest.mark.parametrize("stack", ["sync", "sync-below", "conditional"])
def test_other_middleware_around_changes_nothing(start: Callable[..., Site], stack: str) -> None:
    response = start("daphne", stack).get("/async/open/letters.bin", ("Range", "bytes=1-9"))
    assert (response.status, response.body) == (206, LETTERS[1:10])
    assert is_taken(response)


@pytest.mark.parametrize("stack", ["gzip", "gzip-outside"])
def test_a_file_that_other_middleware_packs_passes_as_it_is(
    start: Callable[..., Site], stack: str
) -> None:
    site = start("daphne", stack)
    response = site.get("/sync/open/text.txt", ("Accept-Encoding", "gzip"), ("Range", "bytes=0-3"))
    assert response.status == 200
    assert response["content-encoding"] == "gzip"
    assert gzip.decompress(response.body) == FILES["text.txt"]
    assert is_taken(site.get("/sync/open/text.txt"))


@pytest.mark.parametrize("name", ["text.txt", "large.bin", "empty.bin"])
def test_a_file_whose_head_an_asgi_middleware_holds_back_arrives_whole(
    start: Callable[..., Site], name: str
) -> None:
    response = start("daphne", FILES_ASGI="holding").get(f"/sync/open/{name}")
    assert (response.status, response.body) == (200, FILES[name])


def test_a_response_that_other_middleware_has_replaced_stays_so(start: Callable[..., Site]) -> None:
    response = start("daphne", "replaced").get("/sync/open/text.txt", ("Range", "bytes=0-3"))
    assert (response.status, response.body) == (200, b"x" * len(FILES["text.txt"]))
    assert "etag" not in response


@pytest.mark.parametrize("view", ["downloadview", "wagtail"])
def test_downloads_of_packages_are_sent(site: Site, view: str) -> None:
    response = site.get(f"/{view}/letters.bin", ("Range", "bytes=0-9"))
    assert (response.status, response.body) == (206, LETTERS[:10])
    whole = site.get(f"/{view}/letters.bin")
    assert whole.body == LETTERS
    assert is_taken(whole)
    assert site.get(f"/{view}/letters.bin", ("If-None-Match", whole["etag"])).status == 304


def test_a_closed_file_is_django_s_own_error(start: Callable[..., Site]) -> None:
    with Connection(start("daphne").server, timeout=2) as client:
        client.request("/closed")
        with pytest.raises((OSError, AssertionError)):
            client.response()


def test_a_range_of_a_huge_file_reads_no_more_than_the_range(site: Site) -> None:
    with open(site.root / "huge.bin", "wb") as file:
        file.truncate(2 * GIB)
    before = site.server.rss()
    begin = time.monotonic()
    response = site.get("/sync/open/huge.bin", ("Range", "bytes=0-99"))
    assert (response.status, response.body) == (206, bytes(100))
    assert time.monotonic() - begin < 5
    assert site.server.rss() - before < 16 << 20


@pytest.mark.parametrize("header", ["X-Accel-Redirect:%20/internal/letters.bin", "X-Sendfile"])
def test_a_hand_over_does_not_wait_for_the_body_that_is_dropped(site: Site, header: str) -> None:
    with open(site.root / "huge.bin", "wb") as file:
        file.truncate(2 * GIB)
    if header == "X-Sendfile":
        header = f"X-Sendfile:%20{site.root}/letters.bin"
    before = site.server.rss()
    is_closed = counted(site, "closed")
    for kind in ("open", "generator"):
        response = site.get(f"/sync/{kind}/huge.bin?header={header}", ("Range", "bytes=1-5"))
        assert (response.status, response.body) == (206, LETTERS[1:6])
    assert site.server.rss() - before < 16 << 20
    site.wait(lambda: is_closed(2))


def test_a_hand_over_without_an_internal_location_passes_as_it_is(site: Site) -> None:
    url = "/sync/open/letters.bin?status=404&header=X-Accel-Redirect:%20/internal/letters.bin"
    response = site.get(url)
    assert (response.status, response.body) == (404, LETTERS)


@pytest.mark.parametrize("name", ["large.bin", "huge.bin"])
def test_a_client_that_goes_leaves_nothing_open(site: Site, name: str) -> None:
    if name == "huge.bin":
        with open(site.root / name, "wb") as file:
            file.truncate(2 * GIB)
    is_closed = counted(site, "closed")
    for end in ("close", "reset"):
        with Connection(site.server, rcvbuf=4096) as client:
            client.request(f"/sync/open/{name}")
            client.head()
            getattr(client, end)()
    site.wait(lambda: is_closed(2))
    site.wait(lambda: not site.open_files())
    assert site.get("/page").status == 200


def test_a_file_that_is_truncated_while_it_is_sent_is_cut_off(site: Site) -> None:
    with open(site.root / "short.bin", "wb") as file:
        file.truncate(GIB)
    is_closed = counted(site, "closed")
    with Connection(site.server, rcvbuf=4096) as client:
        client.request("/sync/open/short.bin")
        response = client.head()
        os.truncate(site.root / "short.bin", 0)
        with pytest.raises(Truncated):
            for _ in client.body(response):
                pass
    site.wait(lambda: "cut off: the file ends at byte" in site.server.log)
    site.wait(lambda: is_closed(1))


def test_without_the_middleware_a_file_passes_as_it_is(start: Callable[..., Site]) -> None:
    response = start("daphne", "without").get("/sync/open/letters.bin", ("Range", "bytes=0-9"))
    assert (response.status, response.body) == (200, LETTERS)
    assert "etag" not in response
