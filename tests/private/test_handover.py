"""Files that Django's views hand over, by each package that does so, on real servers."""

import hashlib
import random
import time
from collections.abc import Callable
from email.header import Header
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from ..support.client import Connection, Response
from ..support.site import Browser, Site, with_query
from .support import BOTH, Lookout, browser_of, on

DATA = random.Random(6).randbytes(100_000)
OWN_BODY = b"the application's own body"
SECRET = b"SECRET: not for the public"

Query = dict[str, Any]
Way = Callable[[Site, str], tuple[str, Query]]


def accel(path: str) -> str:
    return f"X-Accel-Redirect: {path}"


def by_accel(view: str) -> Way:
    return lambda site, name: (view, {"header": accel("/protected/" + quote(name))})


def by_raw_accel(view: str) -> Way:
    return lambda site, name: (view, {"header": accel("/protected/" + name)})


def by_x_sendfile(view: str) -> Way:
    return lambda site, name: (view, {"header": f"X-Sendfile: {site.root}/protected/{name}"})


def by_x_sendfile_bytes(view: str) -> Way:
    return lambda site, name: (view, {"bytes": f"X-Sendfile: {site.root}/protected/{name}"})


def by_path(view: str, **query: str) -> Way:
    return lambda site, name: (view, {"path": name, **query})


# By hand, and by django-sendfile2, whose backend is nginx or xsendfile as the kind of site says.
BY_HAND: dict[str, Way] = {
    f"{name}-{view.split('/')[1]}": way(view)
    for name, way in {"accel": by_accel, "x-sendfile": by_x_sendfile}.items()
    for view in ("/sync/answer/", "/async/answer/")
}
SENDFILE2: dict[str, Way] = {
    "sendfile2-sync": by_path("/sync/sendfile/"),
    "sendfile2-async": by_path("/async/sendfile/"),
}
DOWNLOADVIEW: dict[str, Way] = {
    "downloadview-nginx": by_path("/downloadview/nginx/"),
    "downloadview-apache": by_path("/downloadview/apache/"),
    "downloadview-nginx-async": by_path("/downloadview/later/"),
    "downloadview-apache-async": by_path("/downloadview/later/", apache="1"),
}
STORED: dict[str, Way] = {"downloadview-middleware": by_path("/downloadview/stored/")}


def each(ways: dict[str, Way]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("way", ways.values(), ids=ways.keys())


def ask(site: Site, way: Way, name: str, *headers: tuple[str, str], **options: Any) -> Response:
    target, query = way(site, name)
    response = site.get(target, *headers, **options, **query)
    check(response, options.get("method", "GET"))
    return response


def check(response: Response, method: str = "GET") -> None:
    """What holds for each answer, whatever the application said."""
    names = [name for name, _ in response.headers]
    assert not [name for name in names if name.startswith("x-accel-") or name == "x-sendfile"]
    for name in set(names) - {"set-cookie", "vary", "content-security-policy"}:
        assert names.count(name) == 1, f"{name} twice: {response.headers}"
    assert OWN_BODY not in response.body
    if response.status != 304:
        assert len(response.body) == (0 if method == "HEAD" else response.length)


def check_file(ask: Callable[..., Response], data: bytes) -> None:
    """All that HTTP has for a file."""
    whole = ask()
    assert whole.status == 200
    assert whole.body == data
    assert whole["accept-ranges"] == "bytes"
    assert whole["x-content-type-options"] == "nosniff"
    assert "content-encoding" not in whole
    etag = whole["etag"]
    head = ask(method="HEAD")
    assert head.status == 200
    assert head.length == len(data)
    part = ask(("Range", "bytes=10-19"))
    assert part.status == 206
    assert part.body == data[10:20]
    assert part["content-range"] == f"bytes 10-19/{len(data)}"
    assert part["content-type"] == whole["content-type"]
    assert ask(("Range", "bytes=-5")).body == data[-5:]
    parts = ask(("Range", "bytes=0-0,50-59"))
    assert parts.status == 206
    assert parts["content-type"].startswith("multipart/byteranges")
    assert b"\r\n\r\n" + data[50:60] + b"\r\n" in parts.body
    assert f"Content-Type: {whole['content-type']}\r\n".encode() in parts.body
    assert ask(("Range", "bytes=0-9"), ("If-Range", etag)).status == 206
    assert ask(("Range", "bytes=0-9"), ("If-Range", '"other"')).body == data
    beyond = ask(("Range", f"bytes={len(data)}-"))
    assert beyond.status == 416
    assert beyond["content-range"] == f"bytes */{len(data)}"
    unchanged = ask(("If-None-Match", etag))
    assert unchanged.status == 304
    assert unchanged["etag"] == etag
    assert ask(("If-Match", '"other"')).status == 412
    # A form's answer: validators and ranges are for GET and HEAD alone.
    posted = ask(("Range", "bytes=0-9"), ("If-None-Match", etag), method="POST", body=b"a=1")
    assert posted.status == 200
    assert posted.body == data


@on(*BOTH)
@each({**BY_HAND, **SENDFILE2, **DOWNLOADVIEW})
def test_every_way_gives_every_answer(site: Site, way: Way) -> None:
    site.put("protected/every way.bin", DATA)

    def once(*headers: tuple[str, str], **options: Any) -> Response:
        if options.get("method") == "POST" and "downloadview" in way(site, "")[0]:
            options["method"] = "GET"  # PathDownloadView has no post()
            headers = ()
        return ask(site, way, "every way.bin", *headers, **options)

    check_file(once, DATA)


@on("daphne-mounted", slow=["uvicorn-mounted"])
@each({**SENDFILE2, **STORED})
def test_the_other_backend_of_sendfile2_and_the_middleware_of_downloadview(
    site: Site, way: Way
) -> None:
    site.put("protected/every way.bin", DATA)

    def once(*headers: tuple[str, str], **options: Any) -> Response:
        if options.get("method") == "POST" and "downloadview" in way(site, "")[0]:
            options["method"] = "GET"
            headers = ()
        return ask(site, way, "every way.bin", *headers, **options)

    check_file(once, DATA)


@on(*BOTH)
def test_if_modified_since_by_hand(site: Site) -> None:
    site.put("protected/dated.bin", DATA)
    way = BY_HAND["accel-async"]
    modified = ask(site, way, "dated.bin")["last-modified"]
    assert ask(site, way, "dated.bin", ("If-Modified-Since", modified)).status == 304
    before = ("If-Unmodified-Since", "Thu, 01 Jan 1970 00:00:00 GMT")
    assert ask(site, way, "dated.bin", before).status == 412


NAMES = [
    "a b.pdf",
    "100%.pdf",
    "%41.pdf",
    "%2e%2e%2fa.pdf",
    "a+b&c=d;e,f.pdf",
    "a?b#c.pdf",
    "back\\slash\"quote'.pdf",
    " at both ends ",
    "ü Latin-1 ÿ.pdf",
    "u\u0308 decomposed.pdf",
    "Ã¼ that looks like UTF-8.pdf",
    "Αθήνα.pdf",
    "日本語 👋.pdf",
    "日" * 80 + ".pdf",
    "=?utf-8?b?YS5wZGY=?=",
    "=?utf-8?q?=E6=97=A5?= 日",
    "folder/=?utf-8?b?YS5wZGY=?=",
]
WITH_NEWLINES = ["a\nb.pdf", "a\r\nX-Injected: 1\r\n.pdf"]
NO_TEXT = b"\xff\xfe no text.pdf"


@on(*BOTH)
def test_names_by_x_accel_redirect(site: Site) -> None:
    for name in [*NAMES, *WITH_NEWLINES]:
        site.put(f"protected/{name}", name.encode())
        # django-sendfile2 would put a line feed into Content-Disposition, where Django refuses it.
        as_name = {"name": "a"} if name in WITH_NEWLINES else {}
        for way in (BY_HAND["accel-sync"], by_path("/async/sendfile/", **as_name)):
            response = ask(site, way, name)
            assert (name, response.status, response.body) == (name, 200, name.encode())
            assert "x-injected" not in response
    escaped = site.put(b"protected/" + NO_TEXT, NO_TEXT)
    response = site.get("/async/answer/", header=accel(escaped))
    assert response.body == NO_TEXT


@on(*BOTH)
def test_names_by_x_accel_redirect_that_are_not_escaped(site: Site) -> None:
    """As django-downloadview writes the names of files without a URL, and many a view does."""
    for name in NAMES:
        if "%" in name or "?" in name:  # what an unescaped URL can't say
            continue
        site.put(f"protected/{name}", name.encode())
        for way in (
            by_raw_accel("/sync/answer/"),
            by_path("/downloadview/nginx/"),
            by_path("/downloadview/later/", inline="1"),
        ):
            response = ask(site, way, name)
            assert (name, response.status, response.body) == (name, 200, name.encode())


@on(*BOTH)
def test_names_by_x_sendfile(site: Site) -> None:
    for name in NAMES:
        site.put(f"protected/{name}", name.encode())
        for way in (BY_HAND["x-sendfile-async"], DOWNLOADVIEW["downloadview-apache"]):
            response = ask(site, way, name)
            assert (name, response.status, response.body) == (name, 200, name.encode())
    site.put("protected/日本 as bytes.pdf", b"bytes")
    assert ask(site, by_x_sendfile_bytes("/sync/answer/"), "日本 as bytes.pdf").body == b"bytes"


@on("daphne-mounted", slow=["uvicorn-mounted"])
def test_names_by_sendfile2_and_x_sendfile(site: Site) -> None:
    for name in NAMES:
        site.put(f"protected/{name}", name.encode())
        response = ask(site, SENDFILE2["sendfile2-sync"], name)
        assert (name, response.status, response.body) == (name, 200, name.encode())
    # Django itself lets no header with a line feed out.
    for name in WITH_NEWLINES:
        site.put(f"protected/{name}", name.encode())
        assert site.get("/sync/sendfile/", path=name).status == 500


@on("daphne-mounted", slow=["uvicorn-mounted"])
def test_names_by_the_middleware_of_downloadview(site: Site) -> None:
    for name in NAMES:
        if "\\" in name:  # of which a storage's url() makes a slash
            continue
        site.put(f"protected/{name}", name.encode())
        response = ask(site, STORED["downloadview-middleware"], name)
        assert (name, response.status, response.body) == (name, 200, name.encode())


@on("daphne")
def test_a_name_is_never_taken_for_another(site: Site) -> None:
    """No reading of a header leads to another file while the one that it names is there."""
    for name in ("a", "a ", " a", "ü", "Ã¼", "日", "=?utf-8?b?5pel?="):
        site.put(f"protected/alike/{name}", name.encode())
    for name in ("a", "a ", " a", "ü", "Ã¼", "日", "=?utf-8?b?5pel?="):
        for way in BY_HAND.values():
            assert ask(site, way, f"alike/{name}").body == name.encode()
    (site.root / "protected/alike/a ").unlink()
    for way in BY_HAND.values():
        assert ask(site, way, "alike/a ").status == 404


KEPT = {
    "Content-Type": "application/x-chosen",
    "Content-Disposition": 'attachment; filename="b.pdf"',
    "Cache-Control": "private, max-age=7",
    "Expires": "Thu, 01 Jan 2032 00:00:00 GMT",
    "X-Own": "mine",
    "Link": "</a>; rel=next",
    "X-Frame-Options": "ALLOWALL",
    "Referrer-Policy": "origin",
    "Content-Security-Policy": "frame-ancestors 'self'",
    "Cross-Origin-Resource-Policy": "same-site",
    "X-Robots-Tag": "noindex",
}
DROPPED = {
    "Content-Language": "de",
    "Content-Length": "3",
    "ETag": '"the empty body"',
    "Last-Modified": "Thu, 01 Jan 1970 00:00:00 GMT",
    "Accept-Ranges": "none",
    "Content-Range": "bytes 0-2/3",
    "Content-Encoding": "gzip",
    "X-Accel-Buffering": "no",
    "X-Accel-Charset": "None",
    "X-Accel-Expires": "off",
    "X-Accel-Limit-Rate": "100000000",
    "X-accel-anything": "1",
}


@on(*BOTH)
@pytest.mark.parametrize("view", ["/sync/answer/", "/async/answer/"])
@pytest.mark.parametrize("by", ["X-Accel-Redirect", "x-sendfile"])
def test_headers_of_the_application(site: Site, view: str, by: str) -> None:
    path = site.put("protected/headers.pdf", DATA)
    target = path if by == "X-Accel-Redirect" else f"{site.root}{path}"
    headers = [f"{name}: {value}" for name, value in {by: target, **KEPT, **DROPPED}.items()]
    headers.append("Vary: Cookie, Accept-Language")

    def get(*fields: tuple[str, str]) -> Response:
        response = site.get(view, *fields, header=headers, cookie="1")
        check(response)
        assert "cookie, accept-language" in ", ".join(response.all("vary")).lower()
        assert [cookie.partition(";")[0] for cookie in response.all("set-cookie")] == ["a=1", "b=1"]
        for name in DROPPED:
            assert DROPPED[name] not in response.all(name)
        return response

    for status, *fields in ((200,), (206, ("Range", "bytes=0-9"))):
        response = get(*fields)
        assert response.status == status
        for name, value in KEPT.items():
            assert value in response.all(name)
    # About the file are the others; what is about the answer stays.
    unchanged = get(("If-None-Match", response["etag"]))
    assert unchanged.status == 304
    beyond = get(("Range", "bytes=999999-"))
    assert beyond.status == 416
    for answer in (unchanged, beyond):
        for name in ("X-Own", "Expires", "Link"):
            assert answer[name] == KEPT[name]
        assert not [name for name in KEPT if name in answer and name.startswith("Content-D")]
    assert unchanged["cache-control"] == KEPT["Cache-Control"]
    assert "content-type" not in unchanged
    assert beyond["content-type"] == "text/plain; charset=utf-8"


@on("daphne")
def test_a_hand_over_may_be_framed_by_the_site_itself(site: Site) -> None:
    path = site.put("protected/framed.pdf", DATA)
    for given, sent in (("DENY", "SAMEORIGIN"), ("deny ", "SAMEORIGIN"), ("SAMEORIGIN", None)):
        for fields in ((), (("Range", "bytes=0-0"),), (("If-None-Match", "*"),)):
            headers = [accel(path), f"X-Frame-Options: {given}"]
            response = site.get("/sync/answer/", *fields, header=headers)
            assert response["x-frame-options"] == (sent or given)
    page = site.get("/sync/answer/", header=["X-Frame-Options: DENY", "Content-Language: de"])
    assert (page["x-frame-options"], page["content-language"]) == ("DENY", "de")


@on("daphne")
def test_a_hand_over_has_one_date_whatever_the_application_says(site: Site) -> None:
    path = site.put("protected/dated.pdf", DATA)
    date = "Mon, 02 Jan 2006 15:04:05 GMT"
    for fields in ((), (("Range", "bytes=0-0"),), (("If-None-Match", "*"),)):
        response = site.get("/sync/answer/", *fields, header=[accel(path), f"Date: {date}"])
        assert response["date"] != date


@on("daphne")
def test_an_application_without_a_cache_control_of_its_own(site: Site) -> None:
    site.put("protected/uncached.pdf", DATA)
    for way in (*BY_HAND.values(), *DOWNLOADVIEW.values()):
        assert ask(site, way, "uncached.pdf")["cache-control"] == "private, no-cache"


@on("daphne")
def test_types_of_files_that_are_handed_over(site: Site) -> None:
    """Django's default makes no HTML of a file; a type that was chosen stays."""
    path = site.put("protected/typed.pdf", b"%PDF-1.7")
    page = site.put("protected/typed", b"<p>hello</p>")

    def type_of(target: str, **query: Any) -> str:
        response = site.get("/sync/answer/", header=accel(target), **query)
        assert response.status == 200
        return response["content-type"]

    assert type_of(path) == "application/pdf"
    assert type_of(path, type="") == "application/pdf"
    assert type_of(path, type="image/x-own") == "image/x-own"
    assert type_of(path, type="text/plain") == "text/plain"
    assert type_of(path, type="text/html") == "text/html"
    assert type_of(page) == "application/octet-stream"
    assert type_of(page, type="text/html") == "text/html"
    # Chosen or not, what a browser would run is kept from the site's own origin.
    run = site.get("/sync/answer/", header=accel(page), type="text/html")
    assert "sandbox" in run["content-security-policy"]
    policy = "Content-Security-Policy: default-src 'self'"
    both = site.get("/sync/answer/", header=[accel(page), policy], type="text/html")
    assert "default-src 'self'" in both.all("content-security-policy")
    assert any("sandbox" in value for value in both.all("content-security-policy"))
    assert "content-security-policy" not in site.get("/sync/answer/", header=accel(path))
    # Of several types a browser takes one, and not the first of them.
    for type_ in ("image/png, text/html", "image/png; a, text/html", "image/png;", "*/*", "x"):
        odd = site.get("/sync/answer/", header=accel(path), type=type_)
        assert odd["content-type"] == type_
        assert "sandbox" in odd["content-security-policy"]


@on("daphne", "daphne-mounted")
def test_an_archive_is_not_decompressed(site: Site) -> None:
    site.put("protected/code.tar.gz", DATA)
    response = ask(site, SENDFILE2["sendfile2-sync"], "code.tar.gz")
    assert "content-encoding" not in response  # which django-sendfile2 says of it
    assert response.body == DATA
    target = f"X-Sendfile: {site.root}/protected/code.tar.gz"
    # As Wagtail leaves it there.
    response = site.get("/sync/answer/", header=[target, "Content-Encoding: None"])
    assert "content-encoding" not in response


@on("daphne", "daphne-mounted")
def test_a_download_has_its_name(site: Site) -> None:
    site.put("protected/named.pdf", DATA)
    response = site.get("/sync/sendfile/", path="named.pdf", attachment="1", name="Bücher 日.pdf")
    assert response.status == 200
    assert response["content-disposition"] == (
        "attachment; filename=\"Bucher .pdf\"; filename*=UTF-8''B%C3%BCcher%20%E6%97%A5.pdf"
    )
    assert ask(site, DOWNLOADVIEW["downloadview-nginx"], "named.pdf")["content-disposition"] == (
        'attachment; filename="named.pdf"'
    )


@on(*BOTH)
def test_the_status_is_that_of_the_file(site: Site) -> None:
    header = accel(site.put("protected/status.bin", DATA))
    for status in ("201", "202", "203", "206", "299"):
        response = site.get("/async/answer/", header=header, status=status)
        assert (response.status, response.body) == (200, DATA)
        part = site.get("/async/answer/", ("Range", "bytes=0-9"), header=header, status=status)
        assert (part.status, part.body) == (206, DATA[:10])


@on(*BOTH)
@pytest.mark.parametrize("status", [302, 304, 400, 403, 404, 410, 500, 503])
def test_any_other_status_is_passed_on_without_the_header(site: Site, status: int) -> None:
    site.put("protected/refused.bin", DATA)
    for name, value in (
        ("X-Accel-Redirect", "/protected/refused.bin"),
        ("X-Sendfile", f"{site.root}/protected/refused.bin"),
    ):
        headers = [f"{name}: {value}", "X-Own: 1", "X-Accel-Expires: 1", "Cache-Control: max-age=9"]
        headers.append("X-Accel-Buffering: no")
        response = site.get(
            "/sync/answer/", ("Range", "bytes=0-1"), header=headers, status=str(status), cookie="1"
        )
        assert response.status == status
        assert response.body == (b"" if status == 304 else OWN_BODY)
        assert response["x-own"] == "1"
        assert response["cache-control"] == "max-age=9"
        assert len(response.all("set-cookie")) == 2
        assert "x-accel-redirect" not in response
        assert "x-sendfile" not in response
        # For a proxy in front, which is to send an event stream on at once.
        assert response["x-accel-buffering"] == "no"
        assert response["x-accel-expires"] == "1"


# What comes of a target that can't be served: status, and what the log says beside the target.
OUTSIDE = "which is not in an internal location"
REFUSED = "which can't be served"


@on(*BOTH)
def test_targets_that_are_not_to_be_served(site: Site) -> None:
    site.put("secret.txt", SECRET)
    site.put("media/public.txt", SECRET)
    site.put("protected/.hidden", SECRET)
    site.put("protected/folder/a.txt", SECRET)
    link = site.root / "protected/climbing"
    if not link.is_symlink():
        link.symlink_to("../secret.txt")
        (site.root / "protected/absolute").symlink_to(site.root / "secret.txt")
    data = str(site.root)
    for header, value, status, reason in [
        ("X-Accel-Redirect", "/protected/not-there.txt", 404, REFUSED),
        ("X-Accel-Redirect", "/protected/../secret.txt", 404, REFUSED),
        ("X-Accel-Redirect", "/protected/%2e%2e/secret.txt", 404, REFUSED),
        ("X-Accel-Redirect", "/protected/..%2fsecret.txt", 404, REFUSED),
        ("X-Accel-Redirect", "/protected/folder/../folder/a.txt", 404, REFUSED),
        ("X-Accel-Redirect", "/protected/folder/%2e%2e/%2e%2e/secret.txt", 404, REFUSED),
        ("X-Accel-Redirect", "/protected/folder%00/a.txt", 404, REFUSED),
        ("X-Accel-Redirect", "/protected/folder", 404, REFUSED),
        ("X-Accel-Redirect", "/protected/folder/", 404, REFUSED),
        ("X-Accel-Redirect", "/protected/.hidden", 404, REFUSED),
        ("X-Accel-Redirect", "/protected/climbing", 404, REFUSED),
        ("X-Accel-Redirect", "/protected/absolute", 404, REFUSED),
        ("X-Accel-Redirect", "/protected/" + "x" * 300, 404, REFUSED),
        ("X-Accel-Redirect", "/protected/", 404, REFUSED),
        ("X-Accel-Redirect", "/protected", 500, OUTSIDE),
        ("X-Accel-Redirect", "/elsewhere/secret.txt", 500, OUTSIDE),
        ("X-Accel-Redirect", "/media/public.txt", 500, OUTSIDE),
        ("X-Accel-Redirect", "/members/alice/a.txt", 500, OUTSIDE),
        ("X-Accel-Redirect", "/signed/a.txt", 500, OUTSIDE),
        ("X-Accel-Redirect", "//media//public.txt", 500, OUTSIDE),
        ("X-Accel-Redirect", "protected/folder/a.txt", 500, OUTSIDE),
        ("X-Accel-Redirect", "http://127.0.0.1/protected/folder/a.txt", 500, OUTSIDE),
        ("X-Accel-Redirect", "/PROTECTED/folder/a.txt", 500, OUTSIDE),
        ("X-Accel-Redirect", "@protected", 500, OUTSIDE),
        ("X-Accel-Redirect", "", 500, OUTSIDE),
        ("X-Sendfile", f"{data}/protected/../secret.txt", 404, REFUSED),
        ("X-Sendfile", f"{data}/protected/climbing", 404, REFUSED),
        ("X-Sendfile", f"{data}/protected/absolute", 404, REFUSED),
        ("X-Sendfile", f"{data}/protected/not-there.txt", 404, REFUSED),
        ("X-Sendfile", f"{data}/secret.txt", 500, OUTSIDE),
        ("X-Sendfile", f"{data}/media/public.txt", 500, OUTSIDE),
        ("X-Sendfile", f"{data}/protected-not/secret.txt", 500, OUTSIDE),
        ("X-Sendfile", f"/{data}//secret.txt", 500, OUTSIDE),
        ("X-Sendfile", "folder/a.txt", 500, OUTSIDE),
        ("X-Sendfile", "/etc/passwd", 500, OUTSIDE),
        ("X-Sendfile", "/protected/folder/a.txt", 500, OUTSIDE),
    ]:
        before = len(site.server.log)
        for method in ("GET", "POST", "HEAD"):
            response = site.get("/sync/answer/", method=method, header=f"{header}: {value}")
            assert (value, response.status) == (value, status)
            check(response, method)
            told = (response.body + repr(response.headers).encode()).lower()
            for word in (b"secret", b"protected", b"folder", b"not-there", data.encode().lower()):
                assert word not in told
            assert response["cache-control"] == "no-store"
        line = next(line for line in site.server.log[before:].splitlines() if reason in line)
        assert "/sync/answer/" in line
        name = value.removeprefix("/protected/").removeprefix(f"{data}/protected/")
        if "%" not in value and value:
            assert name in line


@on(*BOTH)
def test_runs_of_slashes_in_a_target_are_one(site: Site) -> None:
    site.put("protected/folder/slashes.txt", DATA)
    site.put("media/documents/slashes.txt", DATA)
    for header in (
        "X-Accel-Redirect: //protected//folder///slashes.txt",
        "X-Accel-Redirect: /protected/%2ffolder/slashes.txt",
        "X-Accel-Redirect: /media//documents/slashes.txt",
        f"X-Sendfile: /{site.root}//protected//folder/slashes.txt",
    ):
        assert site.get("/sync/answer/", header=header).body == DATA, header


@on("daphne")
def test_encoded_words_climb_no_more_than_text(site: Site) -> None:
    site.put("日.txt", SECRET)
    site.put("protected/日/a.txt", b"within")

    def encoded(path: str) -> Response:
        # As Django does it, and in the other of the two encodings.
        response = site.get("/sync/answer/", header=accel(path))
        base64 = Header(path, "utf-8", maxlinelen=10**6).encode()
        assert base64.startswith("=?utf-8?")
        assert site.get("/sync/answer/", header=accel(base64)).status == response.status
        return response

    assert encoded("/protected/日/a.txt").body == b"within"
    assert encoded("/protected/日/../日/a.txt").status == 404
    assert encoded("/protected/../日.txt").status == 404
    assert encoded("/protected/%2e%2e/日.txt").status == 404
    assert encoded("/日.txt").status == 500
    # Several words, and those of other charsets, which Django doesn't write but may.
    words = "=?utf-8?q?/protected/?= =?iso-2022-jp?b?GyRCRnwbKEI=?= =?us-ascii?q?/a.txt?="
    assert site.get("/sync/answer/", header=accel(words)).body == b"within"
    for nonsense in ("=?no-such?b?YQ==?=", "=?utf-8?b?!?=", "=?utf-8?b?/w==?=", "=?idna?q?xn--?="):
        assert site.get("/sync/answer/", header=accel(nonsense)).status == 500


@on(*BOTH)
def test_an_unreadable_file_that_is_handed_over(site: Site) -> None:
    site.put("protected/unreadable.bin", DATA)
    (site.root / "protected/unreadable.bin").chmod(0)
    response = ask(site, BY_HAND["accel-sync"], "unreadable.bin")
    assert response.status == 403
    assert b"unreadable" not in response.body
    site.logged("unreadable.bin")


@on(*BOTH)
def test_both_headers_and_either_case(site: Site) -> None:
    """nginx knows the one, Apache the other; an application that sends both means one file."""
    accel_ = "x-accel-REDIRECT: " + site.put("protected/both.bin", DATA)
    path = f"X-SendFile: {site.root}/protected/both.bin"
    assert site.get("/sync/answer/", header=[accel_, path]).body == DATA
    query = site.get("/sync/answer/", header=accel("/protected/both.bin?a=b/../c"))
    assert query.body == DATA  # nginx takes it off, too


@on(*BOTH)
def test_an_internal_url_is_the_applications(site: Site) -> None:
    site.put("protected/direct.txt", SECRET)
    site.put("media/documents/direct.txt", SECRET)
    with Lookout(site.root / "protected") as one, Lookout(site.root / "media/documents") as two:
        for target in ("/protected/direct.txt", "/media/documents/direct.txt", "/protected/"):
            for method in ("GET", "HEAD", "POST", "OPTIONS"):
                response = site.get(target, method=method)
                assert response.status == 404
                assert response["content-type"].startswith("text/html")  # Django's
                assert SECRET not in response.body
        assert not one.opened | two.opened


@on(*BOTH)
def test_responses_without_the_headers_stream_as_they_come(site: Site) -> None:
    with Connection(site.server) as client:
        client.request("/stream/")
        response = client.head()
        assert response["x-own"] == "1"
        pieces = client.body(response)
        assert next(pieces) == b"part 0\n"
        assert site.get("/allow/").status == 204
        assert b"".join(pieces) == b"part 1\n"
    # And every other answer of Django's.
    answer = site.get("/sync/answer/", header=["X-Own: 1", 'ETag: "own"'], status="201")
    assert (answer.status, answer.body) == (201, OWN_BODY)
    assert (answer["x-own"], answer["etag"]) == ("1", '"own"')


@on(*BOTH)
def test_a_large_file_arrives_whole_and_in_part(site: Site) -> None:
    data = random.Random(7).randbytes(12 << 20)
    site.put("protected/large.bin", data)
    for way in (BY_HAND["accel-async"], SENDFILE2["sendfile2-sync"]):
        whole = ask(site, way, "large.bin")
        assert hashlib.sha256(whole.body).digest() == hashlib.sha256(data).digest()
        part = ask(site, way, "large.bin", ("Range", "bytes=1000000-9999999"))
        assert part.body == data[1_000_000:10_000_000]


@on(*BOTH)
def test_a_client_that_stops_reading_costs_no_memory(site: Site) -> None:
    with open(site.root / "protected/sparse.bin", "wb") as file:
        file.truncate(256 << 20)
    before = site.server.rss()
    target, query = BY_HAND["accel-sync"](site, "sparse.bin")
    clients = [Connection(site.server, rcvbuf=1 << 16) for _ in range(4)]
    for client in clients:
        client.request(with_query(target, **query))
        assert client.head().status == 200
    time.sleep(1)
    assert site.server.rss() - before < 20 << 20
    held = [path for path in site.server.descriptors() if path.endswith("sparse.bin")]
    assert held
    for client in clients:
        client.reset()
    closed(site, "sparse.bin")


def closed(site: Site, name: str) -> None:
    """Waits until the server holds no file of this name."""
    deadline = time.monotonic() + 60
    while [path for path in site.server.descriptors() if path.endswith(name)]:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@on(*BOTH)
def test_a_client_that_leaves_before_the_file_is_handed_over(site: Site) -> None:
    with open(site.root / "protected/left.bin", "wb") as file:
        file.truncate(64 << 20)
    target, query = BY_HAND["accel-async"](site, "left.bin")
    before = len(site.server.log)
    for end in (Connection.reset, Connection.close):
        client = Connection(site.server)
        client.request(with_query(target, after="0.3", **query))
        time.sleep(0.1)
        end(client)
    time.sleep(0.5)
    assert site.get("/sync/answer/").body == OWN_BODY
    closed(site, "left.bin")
    assert "Traceback" not in site.server.log[before:]


# -- A guarded folder within a public one, as Wagtail has its documents.


def nest(site: Site) -> dict[str, str]:
    """Fills the public folder, the guarded ones within, and every link that may lead there.

    Gives what each spelling of a guarded file's path is called.
    """
    for folder in ("documents", "members/alice", "signed"):
        site.put(f"media/{folder}/a.txt", SECRET)
        site.put(f"media/{folder}/deeper/a.txt", SECRET)
    site.put("media/open.txt", b"open")
    site.put("media/open/open.txt", b"open")
    site.put("protected/a.txt", SECRET)
    media, linked = site.root / "media", site.root / "linked"
    links: dict[Path, str | Path] = {
        media / "to-documents": "documents",
        media / "to-members": "members",
        media / "to-signed": "./signed",
        media / "to-link": "to-documents",
        media / "to-file": "documents/a.txt",
        media / "open" / "up": "../documents",
        media / "open" / "up-file": "../to-link/a.txt",
        media / "absolute": media / "documents",
        media / "to-open.txt": "open/open.txt",
        linked / "media": media,
        linked / "documents": media / "documents",
        linked / "file": media / "documents" / "a.txt",
        linked / "protected": site.root / "protected",
        linked / "signed": "../media/signed",
    }
    for link, target in links.items():
        if not link.is_symlink():
            link.symlink_to(target)
    spellings: dict[str, str] = {}
    for folder in ("documents", "members/alice", "signed"):
        path = f"/media/{folder}/a.txt"
        spellings |= {
            f"{folder} {name}": spelling
            for name, spelling in {
                "as it is": path,
                "two slashes first": "/" + path,
                "two slashes after the prefix": path.replace("/media/", "/media//"),
                "three slashes": path.replace("/media/", "/media///"),
                "two slashes within": path.replace("/a.txt", "//a.txt"),
                "a dot": path.replace("/media/", "/media/./"),
                "a dot within": path.replace("/a.txt", "/./a.txt"),
                "up": path.replace("/media/", "/media/open/../"),
                "up and back": path.replace("/media/", "/media/../media/"),
                "up from above": "/open/.." + path,
                "an escaped dot": path.replace("/media/", "/media/%2e/"),
                "escaped up": path.replace("/media/", "/media/open/%2e%2e/"),
                "an escaped slash": path.replace("/a.txt", "%2Fa.txt"),
                "an escaped slash after the prefix": path.replace("/media/", "/media%2F"),
                "two escaped slashes": path.replace("/media/", "/media/%2f"),
                "all escaped": "".join(f"%{byte:02x}" for byte in path.encode()),
                "a letter escaped": path.replace("/media/", "/m%65dia/").replace(
                    "a.txt", "%61.txt"
                ),
                "escaped twice": path.replace("/a.txt", "%252Fa.txt"),
                "upper case": path.replace(f"/{folder}/", f"/{folder.upper()}/"),
                "upper case prefix": path.replace("/media/", "/MEDIA/"),
                "a backslash": path.replace("/a.txt", "\\a.txt"),
                "an escaped backslash": path.replace("/a.txt", "%5ca.txt"),
                "a slash at the end": path + "/",
                "NUL at the end": path + "%00",
                "NUL in the folder": path.replace("/a.txt", "%00/a.txt"),
                "a parameter": path + ";a=b",
                "a parameter of the folder": path.replace("/a.txt", ";a=b/a.txt"),
                "a space": path.replace("/a.txt", "%20/a.txt"),
                "a dot at the end": path + ".",
                "a stream of NTFS": path + "::$DATA",
                "overlong UTF-8": path.replace("/a.txt", "%c0%afa.txt"),
                "a slash beyond ASCII": path.replace("/a.txt", "%ef%bc%8fa.txt"),
                "absolute": f"http://127.0.0.1{path}",
                "absolute, another host": f"http://example.com/{path}",
                "a query": path + "?/media/open.txt",
                "a fragment": path + "#/media/open.txt",
                "deeper": path.replace("/a.txt", "/deeper/a.txt"),
                "mounted": "/app" + path,
                "mounted twice": "/app/app" + path,
                "mounted within": path.replace("/media/", "/media/app/media/"),
            }.items()
        }
    for number, path in enumerate(
        [
            "/media/to-documents/a.txt",
            "/media/to-documents/deeper/a.txt",
            "/media/to-members/alice/a.txt",
            "/media/to-signed/a.txt",
            "/media/to-link/a.txt",
            "/media/to-file",
            "/media/open/up/a.txt",
            "/media/open/up-file",
            "/media/absolute/a.txt",
            "/linked/media/documents/a.txt",
            "/linked/media/to-documents/a.txt",
            "/linked/media/members/alice/a.txt",
            "/linked/documents/a.txt",
            "/linked/file",
            "/linked/protected/a.txt",
            "/linked/signed/a.txt",
        ]
    ):
        spellings[f"link {number}"] = path
        spellings[f"mounted link {number}"] = "/app" + path
    return spellings


@on(*BOTH, "daphne-forced", "daphne-mounted", slow=["uvicorn-mounted"])
def test_no_spelling_and_no_link_leads_from_the_public_folder_to_a_guarded_one(site: Site) -> None:
    spellings = nest(site)
    for target in ("/media/open.txt", "/media/open/open.txt", "/media/to-open.txt"):
        assert site.get(target).body == b"open"  # there is something to be had
        assert site.get(f"/linked{target}").body == b"open"
    for name, target in spellings.items():
        for method, fields in (("GET", []), ("GET", [("Range", "bytes=0-5")]), ("HEAD", [])):
            with Connection(site.server) as client:
                client.request(target.encode(), fields, method=method)
                response = client.response(method)
                assert (name, response.status) not in ((name, 200), (name, 206))
                assert "etag" not in response
                assert SECRET[:6] not in response.body + client.surplus(0.001)


@on(*BOTH)
def test_a_hand_over_does_not_lead_from_the_public_folder_to_a_guarded_one(site: Site) -> None:
    """A target in a public, an asked or a signed location is none, however it is spelled."""
    nest(site)
    for target in (
        "/media/open.txt",
        "/media/to-documents/a.txt",
        "/media//members/alice/a.txt",
        "/media/members/alice/a.txt",
        "/media/signed/a.txt",
        "/media/open/../documents/a.txt",
    ):
        response = site.get("/sync/answer/", header=accel(target))
        assert (target, response.status) == (target, 500)
        assert SECRET not in response.body
    assert site.get("/sync/answer/", header=accel("/media/documents/a.txt")).body == SECRET
    path = f"X-Sendfile: {site.root}/media/documents/a.txt"
    assert site.get("/sync/answer/", header=path).body == SECRET


@on(*BOTH)
def test_a_link_turned_while_it_is_asked_for(site: Site) -> None:
    """A public file's folder becomes a link to the guarded one and back, again and again."""
    nest(site)
    turning = site.root / "media" / "turning"
    site.put("media/open/a.txt", b"open")
    seen = set()
    with Connection(site.server) as client:
        for number in range(500):
            link = turning.with_name("turned")
            link.symlink_to("documents" if number % 2 else "open")
            link.replace(turning)
            response = client.get("/media/turning/a.txt")
            seen.add(response.status)
            assert SECRET not in response.body
    assert seen == {200, 404}


def test_hand_overs_are_for_members_only(site_with_users: Site) -> None:
    """A stranger, a logged-out user and another get nothing; the owner gets parts."""
    site = site_with_users
    site.put("protected/alice/own.bin", DATA)
    with Lookout(site.root / "protected/alice") as lookout:
        stranger = Browser(site)
        assert stranger.get("/own/", path="alice/own.bin").status == 401
        bob = browser_of(site, "bob")
        assert bob.get("/own/", path="alice/own.bin").status == 403
        left = browser_of(site, "alice")
        kept = dict(left.cookies)
        left.get("/log-out/", method="POST")
        left.cookies = kept
        assert left.get("/own/", path="alice/own.bin").status == 401
        assert not lookout.opened
        alice = browser_of(site, "alice")
        part = alice.get("/own/", ("Range", "bytes=0-9"), path="alice/own.bin")
        assert (part.status, part.body) == (206, DATA[:10])
        assert part["cache-control"] == "private, no-cache"
        assert "cookie" in part["vary"].lower()
        assert lookout.opened == {"own.bin"}


@pytest.fixture(
    params=[
        pytest.param(kind, marks=pytest.mark.xdist_group(f"private-{kind.partition('-')[0]}"))
        for kind in (*BOTH, "daphne-mounted")
    ]
)
def site_with_users(request: pytest.FixtureRequest, start: Callable[[str], Site]) -> Site:
    return start(request.param)
