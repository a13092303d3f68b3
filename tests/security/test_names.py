"""Response splitting: no byte of a path, a setting or a request gets into a header unchecked."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
from django.core.exceptions import ImproperlyConfigured

from media_asgi import Location, MediaMiddleware, signing
from media_asgi.http.media_types import SANDBOX, content_type, runs_no_script

from ..fuzz.target import NAME, VALUE, Target, scope
from ..support.client import Connection
from ..support.servers import Server, media

SPLITS = [
    "a\r\nSet-Cookie: a=b",
    "a\nSet-Cookie: a=b",
    "a\rSet-Cookie: a=b",
    "a\r\n\r\n<script>",
    "a\x00b",
    "a\x0bb",
    "a\x7fb",
    "a\x1b[31m",
    "a\u0100b",
    "a\u560a\u560dSet-Cookie: a=b",  # whose low bytes are CR and LF
    "a\u2028b",
    "\ud800",
    " a",
    "a ",
    "\ta",
    "a\n",
    "\n",
    "\r\n a: b",
]


@pytest.mark.parametrize("option", ["headers", "cache_control"])
@pytest.mark.parametrize("value", [*SPLITS, "", b"bytes", 5])
def test_no_such_header_is_configured(value: Any, option: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {option: {"X-Own": value} if option == "headers" else value}
    with pytest.raises(ImproperlyConfigured):
        Location(url="/media/", root=tmp_path, **options)


@pytest.mark.parametrize(
    "type_",
    [
        "",
        "text",
        "text/",
        "/plain",
        "text/plain ",
        " text/plain",
        "text/plain; ",
        "text/plain;\t",
        "text/plain\n",
        "text/plain\r\nSet-Cookie: a=b",
        "text/plain; a=\r\nSet-Cookie: a=b",
        "text/plain\x00",
        "text/plain; a=\x00",
        "text/pl\xe4in",
        "text/plain; a=\xe4",
        "text/plain; a=\u560a",
        "text plain",
        b"text/plain",
        None,
    ],
)
def test_no_such_type_is_configured(type_: Any, tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured):
        Location(url="/media/", root=tmp_path, content_types={".x": type_})


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "null",
        "*",
        "app.example",
        "https://",
        "https://app.example/",
        "https://APP.example",
        "https://a b",
        "https://a,https://b",
        "https://a\r\nSet-Cookie: a=b",
        "https://a\n",
        "https://a\x00",
        "https://a\x7f",
        "https://\xe4",
        "https://\u560a",
        b"https://app.example",
        None,
    ],
)
def test_no_such_origin_is_configured(origin: Any, tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured):
        Location(url="/media/", root=tmp_path, cors=[origin])


@pytest.mark.parametrize(
    "name", ["", "a b", "a:b", "a\r\nb", "a\n", "é", "a\x00", "(a)", "a/b", b"a", None, " a", "a "]
)
def test_no_such_name_is_configured(name: Any, tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured):
        Location(url="/media/", root=tmp_path, headers={name: "value"})


@pytest.mark.parametrize("value", SPLITS)
@pytest.mark.parametrize("option", ["headers", "cache_control"])
def test_nor_made_by_a_callable(option: str, value: str, tmp_path: Path) -> None:
    """At a request it is an error of the project's, and no header."""
    (tmp_path / "a.txt").write_text("a file")
    choices: dict[str, dict[str, Any]] = {
        "headers": {"headers": lambda path: {"X-Own": value}},
        "cache_control": {"cache_control": lambda path: value},
    }
    options = choices[option]
    (status, headers), *_ = _ask(Location(url="/media/", root=tmp_path, **options))
    assert status == 500
    assert b"Set-Cookie" not in repr(headers).encode()
    for name, sent in headers:
        assert NAME.fullmatch(name)
        assert VALUE.fullmatch(sent)


def _ask(location: Location, **changes: Any) -> Iterator[tuple[int, list[tuple[bytes, bytes]]]]:
    import asyncio

    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)

    async def receive() -> Any:
        await asyncio.get_running_loop().create_future()

    middleware = MediaMiddleware(_nothing, location)
    # A fresh loop for each call, so that tests without a loop may use it.
    asyncio.run(middleware(scope("/media/a.txt") | changes, receive, send))
    return ((message["status"], message["headers"]) for message in messages if "status" in message)


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("not the application's")


HOSTILE = [
    b"a\r\nSet-Cookie: a=b.txt",
    b"a\nb.html",
    b"\x01\x02\x7f.svg",
    b"\xff\xfe.pdf",
    b'"quoted".png',
    b"a;b=c.txt",
    "\u560d\u560a.txt".encode(),
    b"a.\r\ntext",
    b"a.html\n",
    b"data:text,x.svg",
    b"%0d%0a.txt",
]


@pytest.mark.parametrize("server_name", ["daphne", "granian", "uvicorn"])
def test_a_file_may_be_called_anything(server_name: str, tmp_path: Path) -> None:
    """Over a socket, with a client that takes nothing for a header that is none."""
    for name in HOSTILE:
        Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))).write_bytes(name)
    env = media({"url": "/media/", "root": tmp_path})
    with Server(server_name, env=env) as server, Connection(server) as client:
        for name in HOSTILE:
            response = client.get("/media/" + quote_from_bytes(name))
            assert (response.status, response.body) == (200, name)
            assert "set-cookie" not in response
            assert not client.surplus(0.01)
        for value in ("%0d%0aSet-Cookie:%20a=b", "%0aSet-Cookie:a=b", "%E5%98%8D%E5%98%8A"):
            for path in ("/media/none" + value, "/media/" + value + "/", "/media/?" + value):
                response = client.get(path)
                assert response.status == 404
                assert "set-cookie" not in response


@pytest.mark.parametrize("download", [split for split in SPLITS if split != "\ud800"])
def test_a_name_to_save_under_is_one_header(download: str, target: Target) -> None:
    link = signing.sign_url("/signed/s.txt", download=download)
    answer = target.get("/signed/s.txt", query_string=link.partition("?")[2].encode())
    assert answer.status == 200
    assert answer[b"content-disposition"].startswith(b"attachment")


def test_a_log_line_is_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    name = "a\nCRITICAL:root:forged\x1b[31m.txt"
    (tmp_path / name).write_text("a file")
    location = Location(url="/media/", root=tmp_path, headers=lambda path: {"": path})
    ((status, _),) = _ask(location, path="/media/" + name)
    assert status == 500
    (record,) = caplog.records
    assert "\n" not in record.getMessage()
    assert "\x1b" not in record.getMessage()


# --- Types ---------------------------------------------------------------------------------------

# What a browser, of today or of once, runs or renders as a document of the site's.
ACTIVE = [
    "text/html",
    "text/html; charset=utf-8",
    "TEXT/HTML",
    " text/html",
    "application/xhtml+xml",
    "text/xml",
    "application/xml",
    "application/xml-dtd",
    "application/xslt+xml",
    "text/xsl",
    "application/rss+xml",
    "application/atom+xml",
    "application/rdf+xml",
    "application/mathml+xml",
    "application/vnd.mozilla.xul+xml",
    "application/vnd.google-earth.kml+xml",
    "application/dash+xml",
    "application/wsdl+xml",
    "image/svg+xml",
    "image/svg+xml; charset=utf-8",
    "IMAGE/SVG+XML",
    "image/x-own+xml",
    "audio/x-own+xml",
    "video/x-own+xml",
    "font/x-own+xml",
    "model/x3d+xml",
    "message/rfc822",
    "multipart/related",
    "multipart/x-mixed-replace; boundary=b",
    "application/x-mimearchive",
    "text/x-component",
    "application/hta",
    "text/cache-manifest",
    "text/javascript",
    "application/javascript",
    "application/wasm",
    "application/x-shockwave-flash",
    "application/java-archive",
    "application/x-java-applet",
    "application/x-silverlight-app",
    "application/vnd.wap.xhtml+xml",
    "text/vnd.wap.wml",
    "text/x-server-parsed-html",
    "application/signed-exchange",
    "application/webbundle",
    "unknown/unknown",
    "application/unknown",
    "*/*",
    "",
]
# What must open inline, or is never opened at all.
PASSIVE = [
    "application/octet-stream",
    "application/pdf",
    "application/json",
    "application/zip",
    "application/gzip",
    "text/plain; charset=utf-8",
    "text/css",
    "text/csv",
    "text/calendar",
    "text/markdown",
    "image/png",
    "image/gif",
    "image/jpeg",
    "image/webp",
    "image/avif",
    "image/x-icon",
    "audio/mpeg",
    "audio/ogg",
    "video/mp4",
    "video/webm",
    "font/woff2",
]


def test_whatever_may_run_is_in_the_sandbox() -> None:
    assert [type_ for type_ in ACTIVE if runs_no_script(type_)] == []
    assert [type_ for type_ in PASSIVE if not runs_no_script(type_)] == []


@pytest.mark.parametrize(
    ("name", "type_"),
    [
        ("a.html", "text/html; charset=utf-8"),
        ("a.HTM", "text/html; charset=utf-8"),
        ("a.svg", "image/svg+xml"),
        ("a.SVG", "image/svg+xml"),
        ("a.xml", "text/xml; charset=utf-8"),
        ("a.mht", "message/rfc822"),
        # Not to be told apart from what they may hold, and saved: nosniff is on all of them.
        ("a.svgz", "application/gzip"),
        ("a.html.gz", "application/gzip"),
        ("a.svg.gz", "application/gzip"),
        ("a.html.br", "application/x-brotli"),
        ("a", "application/octet-stream"),
        ("html", "application/octet-stream"),
        ("a.html.", "application/octet-stream"),
        ("a.html ", "application/octet-stream"),
        ("a.html\n", "application/octet-stream"),
        ("a.html;a.png", "image/png"),
        ("a.png;.html", "text/html; charset=utf-8"),
        ("a.html%00.png", "image/png"),
        ("a.php.png", "image/png"),
        ("a.hta", "application/octet-stream"),
        ("a.htc", "text/x-component; charset=utf-8"),  # in the sandbox, see ACTIVE
    ],
)
def test_the_last_ending_decides(name: str, type_: str) -> None:
    assert content_type(name) == type_


@pytest.mark.parametrize("sandbox", [True, False])
def test_the_policy_is_on_every_answer_with_an_active_file(sandbox: bool, tmp_path: Path) -> None:
    for name in ("a.html", "a.svg", "a.xml", "a.pdf", "a.png", "a"):
        (tmp_path / name).write_text("some content")
    location = Location(url="/media/", root=tmp_path, sandbox=sandbox)
    requests: list[list[tuple[bytes, bytes]]] = [
        [],
        [(b"range", b"bytes=0-3")],
        [(b"range", b"bytes=0-3,5-6")],
        [(b"if-none-match", b"*")],  # a cache may have been filled before there was a policy
        [(b"if-match", b'"x"')],
        [(b"range", b"bytes=99-")],
    ]
    for name in ("a.html", "a.svg", "a.xml", "a.pdf", "a.png", "a", "none.html"):
        for headers in requests:
            for method in ("GET", "HEAD", "POST"):
                ((status, sent),) = _ask(
                    location, path=f"/media/{name}", headers=headers, method=method
                )
                fields = dict(sent)
                assert fields[b"x-content-type-options"] == b"nosniff"
                active = sandbox and name in ("a.html", "a.svg", "a.xml")
                if status in (200, 206):
                    policy = fields.get(b"content-security-policy")
                    assert policy == (SANDBOX if active else None)
                elif status == 304:
                    # A stored answer takes over what is sent, and keeps what is not.
                    assert fields.get(b"content-security-policy", SANDBOX) == SANDBOX
                else:
                    # A text of ours, that says what the status does.
                    assert fields[b"content-type"].startswith(b"text/plain")
