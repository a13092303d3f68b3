"""Links that expire: from a model's file to a template to a client, on real servers."""

import os
import re
import time
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

import pytest
from django.conf import settings

from media_asgi.signing import sign_url

from ..support.client import Response
from ..support.site import Browser, Site
from .support import BOTH, Lookout, browser_of, on

DATA = bytes(range(256)) * 40
# As the project has it: what is signed here is good there.
SECRET_KEY = "for these tests alone"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vars(settings), "SECRET_KEY", SECRET_KEY)


def check(response: Response) -> None:
    """What each answer of a location of signed links has."""
    assert response["referrer-policy"] == "no-referrer"
    assert response["x-content-type-options"] == "nosniff"
    assert "set-cookie" not in response
    if response.status == 403:
        assert response["cache-control"] == "no-store"
        assert response.body in (b"", b"403 Forbidden\n")
        assert "etag" not in response
        assert "content-disposition" not in response


def max_age(response: Response) -> int:
    match = re.fullmatch(r"private, max-age=(\d+)", response["cache-control"])
    assert match, response.headers
    return int(match[1])


def refused(site: Site, *targets: str) -> None:
    """403 to each, and nothing is opened."""
    with Lookout(site.root / "signed") as lookout:
        for target in targets:
            for fields in ([], [("Range", "bytes=0-9")], [("If-None-Match", "*")]):
                response = site.get(target.encode(), *fields)
                assert (target, response.status) == (target, 403)
                check(response)
            response = site.get(target.encode(), method="HEAD")
            assert response.status == 403
            check(response)
        assert not lookout.opened


@on(*BOTH)
def test_a_file_field_and_a_template(site: Site) -> None:
    """Who may see the page has links in it, and whoever has a link may see its file."""
    name = "Bücher & 日本 (1) 100%.bin"
    added = site.get("/reports/add/", method="POST", body=DATA, name=name)
    assert added.status == 200
    links = site.get("/reports/").body.decode().split()
    assert links
    url = next(link for link in links if "B%C3%BCcher" in link)
    parts = urlsplit(url)
    assert parts.path.startswith("/signed/reports/")
    os.utime(site.root / unquote(parts.path)[1:], (9**9, 9**9))  # old enough for If-Range
    assert set(parse_qs(parts.query)) == {"media-expires", "media-signature"}
    with Lookout(site.root / "signed/reports") as lookout:
        whole = site.get(url)
        assert (whole.status, whole.body) == (200, DATA)
        assert lookout.opened
    check(whole)
    assert 3540 <= max_age(whole) <= 3600
    etag = whole["etag"]
    for fields, status, body in (
        ([("Range", "bytes=10-19")], 206, DATA[10:20]),
        ([("Range", "bytes=-5"), ("If-Range", etag)], 206, DATA[-5:]),
        ([("Range", f"bytes={len(DATA)}-")], 416, None),
        ([("If-None-Match", etag)], 304, b""),
        ([("If-Match", '"other"')], 412, None),
    ):
        response = site.get(url, *fields)
        assert response.status == status
        assert body is None or response.body == body
        check(response)
        if status in (206, 304):
            assert 3540 <= max_age(response) <= 3600
    head = site.get(url, method="HEAD")
    assert head.length == len(DATA)
    check(head)
    assert site.get(url, method="POST").status == 405
    # Without the link it is no one's, logged in or not.
    for browser in (Browser(site), browser_of(site, "alice")):
        assert browser.get(parts.path).status == 403


@on(*BOTH)
def test_a_link_that_ends(site: Site) -> None:
    site.put("signed/ending.bin", DATA)
    url = sign_url("/signed/ending.bin", expires_in=2)
    ends = int(parse_qs(urlsplit(url).query)["media-expires"][0])
    while (now := time.time()) < ends:
        response = site.get(url, ("Range", "bytes=0-9"))
        if time.time() >= ends:
            break  # on a busy machine it may have been asked too late
        assert (response.status, response.body) == (206, DATA[:10])
        # The file is no one's to keep for longer than the link.
        assert now + max_age(response) <= ends + 0.01
        time.sleep(0.1)
    time.sleep(max(0, ends - time.time()))
    refused(site, url)


@on(*BOTH)
def test_what_is_begun_before_the_end_is_finished(site: Site) -> None:
    """The link is asked for, not the time that a download takes."""
    from ..support.client import Connection

    data = DATA * 1000
    site.put("signed/long.bin", data)
    for seconds in (1, 5, 25):  # a busy machine may be too late for the first
        url = sign_url("/signed/long.bin", expires_in=seconds)
        with Connection(site.server, rcvbuf=1 << 16) as client:
            client.request(url)
            response = client.head()
            if response.status != 200:
                continue
            time.sleep(max(0, int(parse_qs(urlsplit(url).query)["media-expires"][0]) - time.time()))
            refused(site, url)
            assert b"".join(client.body(response)) == data
            return
    pytest.fail("no link was good for as long as one request")


def altered(url: str) -> dict[str, str]:
    """Each thing that can be changed in a link."""
    path, _, query = url.partition("?")
    fields = dict(pair.split("=", 1) for pair in query.split("&"))
    signature = fields["media-signature"]
    expires = int(fields["media-expires"])
    flipped = signature[:-1] + ("A" if signature[-1] != "A" else "B")

    def with_(**changes: str | None) -> str:
        new = {**fields, **{f"media-{name}": value for name, value in changes.items()}}
        return f"{path}?" + "&".join(f"{k}={v}" for k, v in new.items() if v is not None)

    return {
        "no query": path,
        "an empty query": path + "?",
        "no signature": with_(signature=None),
        "an empty signature": with_(signature=""),
        "another signature": with_(signature=flipped),
        "a shorter one": with_(signature=signature[:-1]),
        "a longer one": with_(signature=signature + "A"),
        "in another case": with_(signature=signature.swapcase()),
        "no expiry": with_(expires=None),
        "later": with_(expires=str(expires + 1)),
        "much later": with_(expires="99999999999999"),
        "earlier": with_(expires=str(expires - 1)),
        "a zero in front": with_(expires=f"0{expires}"),
        "a plus in front": with_(expires=f"%2B{expires}"),
        "a fraction": with_(expires=f"{expires}.0"),
        "other digits": with_(expires=quote("".join(chr(0x660 + int(d)) for d in str(expires)))),
        "twice": url + f"&media-expires={expires + 1000}",
        "twice, first": f"{path}?media-expires={expires + 1000}&{query}",
        "the same twice": url + f"&media-expires={expires}",
        "two signatures": url + f"&media-signature={signature}",
        "a download": url + "&media-download=",
        "a name": url + "&media-download=evil.html",
        "another folder": url.replace("/one.bin", "/folder/one.bin"),
        "another file": url.replace("one.bin", "two.bin"),
        "a file that begins so": url.replace("one.bin", "one.bin.bak"),
        "two slashes": url.replace("/signed/", "/signed//"),
        "a dot": url.replace("/signed/", "/signed/./"),
        "up": url.replace("/signed/", "/signed/folder/../"),
        "a slash at the end": url.replace("?", "/?"),
        "NUL": url.replace("?", "%00?"),
        "another case": url.replace("one.bin", "ONE.bin"),
        "no text": path + "?media-signature=%ff&media-expires=%ff",
        "bytes": path + "?media-signature=\udcff&media-expires=1",
    }


@on(*BOTH)
def test_an_altered_link(site: Site) -> None:
    for name in ("one.bin", "two.bin", "one.bin.bak", "folder/one.bin"):
        site.put(f"signed/{name}", DATA)
    with Lookout(site.root / "signed") as lookout:
        for download in (None, "report.pdf"):
            url = sign_url("/signed/one.bin", download=download)
            assert site.get(url).body == DATA
            assert lookout.opened == {"one.bin"}
            for name, target in altered(url).items():
                if name == "a download" and download:
                    continue
                response = site.get(target.encode("utf-8", "surrogateescape"))
                assert response.status in (400, 403), name
                assert DATA[:10] not in response.body
                if response.status == 403:
                    check(response)
            assert not lookout.opened


@on(*BOTH)
def test_a_link_of_another_key_or_another_file(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.put("signed/mine.bin", DATA)
    site.put("media/signed/mine.bin", DATA)
    mine, other = sign_url("/signed/mine.bin"), sign_url("/media/signed/mine.bin")
    assert site.get(mine).body == site.get(other).body == DATA
    query_of = {url: urlsplit(url).query for url in (mine, other)}
    with monkeypatch.context() as another:
        another.setitem(vars(settings), "SECRET_KEY", "of another site")
        foreign = sign_url("/signed/mine.bin")
    refused(site, foreign, f"/signed/mine.bin?{query_of[other]}")
    assert site.get(f"/media/signed/mine.bin?{query_of[mine]}").status == 403
    # It opens nothing else: neither what is asked for otherwise nor what is internal.
    site.put("asked/alice/mine.bin", DATA)
    for path in ("/members/alice/mine.bin", "/protected/mine.bin"):
        assert site.get(sign_url(path)).status in (403, 404)


@on(*BOTH)
def test_other_spellings_of_the_same_url(site: Site) -> None:
    """Proxies and clients write escapes their own way, and add parameters of their own."""
    site.put("signed/a b+ü~.bin", DATA)
    url = sign_url("/signed/" + quote("a b+ü~.bin"))
    path, _, query = url.partition("?")
    pairs = query.split("&")
    for target in (
        url,
        path.replace("%20", "%20").replace("%2B", "+") + "?" + query,
        path.replace("%C3%BC", "%c3%bc").replace("~", "%7E") + "?" + query,
        path.replace("/signed/", "/%73igned/") + "?" + query,
        f"{path}?" + "&".join(reversed(pairs)),
        f"{path}?utm_source=a&{query}&fbclid=b",
        f"{path}?expires=1&{query}&download=x&signature=y&Expires=99999999999",
        f"{path}?&{query}&",
        f"{path}?media-other=1&{query}",
    ):
        response = site.get(target)
        assert (target, response.status, response.body) == (target, 200, DATA)


@on(*BOTH)
def test_a_name_to_save_it_under(site: Site) -> None:
    site.put("signed/0815.pdf", DATA)
    assert "content-disposition" not in site.get(sign_url("/signed/0815.pdf"))
    downloads: list[tuple[str | bool, str]] = [
        (True, "attachment"),
        ("report.pdf", 'attachment; filename="report.pdf"'),
        ("Bücher.pdf", "attachment; filename*=utf-8''B%C3%BCcher.pdf"),
        ('a"b\\c.pdf', 'attachment; filename="a\\"b_c.pdf"'),
        ("a\r\nX-Injected: 1", 'attachment; filename="a__X-Injected: 1"'),
        ("../../a.pdf", 'attachment; filename=".._.._a.pdf"'),
    ]
    for download, disposition in downloads:
        url = sign_url("/signed/0815.pdf", download=download)
        for fields in ((), (("Range", "bytes=0-9"),)):
            response = site.get(url, *fields)
            assert response["content-disposition"] == disposition
            assert "x-injected" not in response
        unchanged = site.get(url, ("If-None-Match", response["etag"]))
        assert unchanged.status == 304
        assert "content-disposition" not in unchanged
        # The name is signed with the rest.
        assert site.get(url.replace("media-download=", "media-download=b")).status == 403


@on(*BOTH)
def test_a_page_rendered_twice(site: Site) -> None:
    """Within the window it has the same links, and so a browser its copies."""
    site.put("signed/windowed.bin", DATA)
    now = time.time()
    urls = {
        sign_url("/signed/windowed.bin", expires_in=60, window=600, now=now + later)
        for later in range(0, 300, 10)
    }
    assert len(urls) <= 2
    for url in urls:
        response = site.get(url)
        assert response.status == 200
        assert 60 <= max_age(response) + 30 <= 990


@on(*BOTH)
def test_signed_links_to_missing_files(site: Site) -> None:
    """Only who has a link learns that its file is gone."""
    assert site.get("/signed/gone.bin").status == 403
    gone = site.get(sign_url("/signed/gone.bin"))
    assert gone.status == 404
    check(gone)
    assert gone["cache-control"] == "no-store"
    for path in ("/signed/", "/signed/folder", "/signed/.hidden", "/signed/%2e%2e/db.sqlite3"):
        site.put("signed/folder/a.bin", DATA)
        site.put("signed/.hidden", DATA)
        assert site.get(path).status == 403
        assert site.get(sign_url(path)).status == 404


@on("daphne-forced", "daphne-mounted", "uvicorn-mounted")
def test_beneath_a_script_name(site: Site) -> None:
    """As the storage signs it, with the script name or without, it is the same file's link."""
    site.put("signed/mounted.bin", DATA)
    site.put("signed/app/signed/mounted.bin", b"another file")
    mount = "/app"
    for signed in ("/signed/mounted.bin", mount + "/signed/mounted.bin"):
        query = urlsplit(sign_url(signed)).query
        assert site.get(f"/signed/mounted.bin?{query}").body == DATA
        if site.kind != "uvicorn-mounted":  # which puts the mount before whatever it is asked for
            assert site.get(f"{mount}/signed/mounted.bin?{query}").body == DATA
        refused(
            site,
            f"/signed/app/signed/mounted.bin?{query}",
            f"{mount}/signed/app/signed/mounted.bin?{query}"
            if site.kind != "uvicorn-mounted"
            else "/signed/mounted.bin",
        )
    added = site.get("/reports/add/", method="POST", body=DATA, name="of the storage.bin")
    page = "/reports/"
    if added.status == 404:  # FORCE_SCRIPT_NAME is before the paths of Django's views, too
        page = mount + page
        added = site.get(
            f"{mount}/reports/add/", method="POST", body=DATA, name="of the storage.bin"
        )
    assert added.status == 200
    (url,) = (link for link in site.get(page).body.decode().split() if "of_the_storage" in link)
    assert site.get(url).body == DATA


def test_urlencode_is_not_what_is_signed() -> None:
    """A link may be taken apart and put together again by any library."""
    url = sign_url("/signed/a%20b.bin?c=d+e&f=%20", download="a b+c&d.pdf")
    pairs: dict[str, Any] = parse_qs(urlsplit(url).query, strict_parsing=True)
    again = f"{urlsplit(url).path}?{urlencode(pairs, doseq=True)}"
    from media_asgi.signing import verify

    query = urlsplit(again).query.encode()
    assert verify("/signed/a b.bin", query).download == "a b+c&d.pdf"
