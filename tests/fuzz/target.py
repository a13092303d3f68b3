"""
The middleware as an attacker meets it: folders full of traps, and what every answer must be.

The fuzzers and the property tests share it.
"""

import asyncio
import email
import email.policy
import os
import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from django.http import HttpRequest

from media_asgi import Location, MediaMiddleware
from media_asgi.sources import openat2

# Nobody may ever read this; it is in every file that is not to be served.
SECRET = b"SECRET: nobody outside may read this"

# RFC 9110 sections 5.1 and 5.5; ASGI asks for lower-case names.
NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
VALUE = re.compile(rb"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?")

SPAN = 256
BIG = bytes(range(256)) * 4 + b"end"

# Every name that is served under /media/ and /through/, and what it holds.
FILES: dict[bytes, bytes] = {
    b"a.txt": b"the first",
    b"sub/b.svg": b"<svg/>",
    b"sub/deep/c.pdf": b"%PDF-1.7",
    "å/ø.txt".encode(): b"beyond ASCII",
    b"\xff\xfe.bin": b"no UTF-8",
    b"line\nfeed.html": b"<p>",
    b"return\r\nSet-Cookie: a=b.js": b"alert()",
    b"big.bin": BIG,
    b"empty.png": b"",
    b"%2e%2e": b"a name with escapes",
    b"a b+c;d=e,f.mp4": b"a name with marks",
    b"back\\slash.txt": b"one name",
    b"CON.txt": b"no device",
    b"c:d.txt": b"no drive",
    b"trailing.": b"a dot",
    # Links that stay below.
    b"inside": b"the first",
    b"sub/up.txt": b"the first",
    b"folder/b.svg": b"<svg/>",
    b"folder/up.txt": b"the first",
    b"folder/deep/c.pdf": b"%PDF-1.7",
}
_LINKS = {
    "inside": "a.txt",
    "sub/up.txt": "../a.txt",
    "folder": "sub",
    # What is not to be followed.
    "out": "../secret.txt",
    "sub/out": "../../secret.txt",
    "outside": "..",
    "absolute": "/etc/passwd",
    "around": "../media/a.txt",
    "loop": "loop",
    "dangling": "nothing",
    "proc": "/proc/self/environ",
    "to-vip": "vip",
}
_SECRETS = ("../secret.txt", ".env", ".git/config", "sub/.hidden", "vip/x.txt")

PROTECTED: dict[bytes, bytes] = {
    b"p.txt": b"handed over",
    "é ü.pdf".encode(): b"beyond ASCII, handed over",
    b"\xff.bin": b"no UTF-8, handed over",
    b"100%.txt": b"a percent sign",
    b"sub/=?utf-8?q?x?=": b"named like an encoded word",
}


# Under /any/, where dotfiles are.
ANY: dict[bytes, bytes] = {
    b".well-known/x": b"a dotfile",
    b"...": b"three dots",
    b"..a": b"two dots and more",
    b"a.\xc2\x85b\x01\t\x7f": b"control characters",
}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    is_inner: bool
    """Is it the application's own?"""

    def __getitem__(self, name: bytes) -> bytes:
        (value,) = (value for key, value in self.headers if key == name)
        return value

    def has(self, name: bytes) -> bool:
        return any(key == name for key, _ in self.headers)


class Target:
    """A middleware with a location of each kind, and the loop that it runs in."""

    def __init__(self, base: Path, *, portable: bool = False) -> None:
        self.base = base
        self.portable = portable
        self.root = base / "media"
        if not self.root.exists():
            _lay(base)
        self.handed_over: Mapping[str, Any] | None = None
        self._loop = asyncio.new_event_loop()
        self.middleware = MediaMiddleware(
            self._application,
            Location(
                url="/media/",
                root=self.root,
                cors=["https://app.example"],
                content_types={".txt": "text/plain; charset=utf-8"},
            ),
            Location(url="/media/vip/", root=self.root / "vip", access=_never),
            Location(url="/through/", root=self.root, fallthrough=True, cors="*"),
            Location(url="/any/", root=base / "any", dotfiles=True, headers=_echo, sandbox=False),
            Location(url="/protected/", root=base / "protected", access="internal"),
            Location(url="/signed/", root=base / "signed", access="signed"),
            Location(url="/members/", root=base / "signed", access=_members),
            chunk_size=SPAN,
            threads=2,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    async def _application(self, scope: Any, receive: Any, send: Any) -> None:
        """Hands over what it was told to, or says that it was here."""
        start = self.handed_over or {"status": 200, "headers": [(b"x-inner", b"1")]}
        await send({"type": "http.response.start", **start})
        await send({"type": "http.response.body", "body": b"inner"})

    def ask(self, scope: dict[str, Any]) -> Answer:
        """The answer to this scope: whatever it is, it must be one."""
        before = openat2.KERNEL.openat2, openat2.KERNEL.cached
        if self.portable:
            openat2.KERNEL.openat2 = openat2.KERNEL.cached = False
        try:
            messages = self._loop.run_until_complete(self._call(scope))
        finally:
            openat2.KERNEL.openat2, openat2.KERNEL.cached = before
        is_inner_at_fault = self.handed_over is not None or not _is_text(scope["path"])
        return checked(messages, scope["method"], is_inner_at_fault=is_inner_at_fault)

    def get(
        self,
        path: str,
        headers: Iterable[tuple[bytes, bytes]] = (),
        *,
        method: str = "GET",
        **changes: Any,
    ) -> Answer:
        return self.ask(scope(path, headers, method=method) | changes)

    async def _call(self, scope: dict[str, Any]) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []

        async def send(message: Any) -> None:
            messages.append(dict(message))

        async def receive() -> Any:
            await asyncio.get_running_loop().create_future()

        async with asyncio.timeout(30):
            await self.middleware(scope, receive, send)
        return messages


def scope(
    path: str,
    headers: Iterable[tuple[bytes, bytes]] = (),
    *,
    method: str = "GET",
    raw_path: bytes | None = None,
    query_string: bytes = b"",
) -> dict[str, Any]:
    """A scope as a well-behaved server makes it."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": raw_path,
        "query_string": query_string,
        "root_path": "",
        "headers": list(headers),
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "extensions": {},
    }


def checked(
    messages: list[dict[str, Any]], method: str, *, is_inner_at_fault: bool = False
) -> Answer:
    """What holds for every answer, whatever was asked.

    A 500 is the application's fault where it hands over a path that leads nowhere, and Django's for
    a path with surrogates, which no server makes: its own page for a 404 can't be written then.
    """
    assert messages, "no answer"
    start, *bodies = messages
    assert start["type"] == "http.response.start"
    status, headers = start["status"], [(name, value) for name, value in start["headers"]]
    for name, value in headers:
        assert type(name) is type(value) is bytes
        assert NAME.fullmatch(name), f"no header name: {name!r}"
        assert VALUE.fullmatch(value), f"no header value: {name!r}: {value!r}"
    assert bodies
    for number, message in enumerate(bodies, 1):
        assert message["type"] == "http.response.body"
        assert message.get("more_body", False) is (number < len(bodies))
    body = b"".join(message.get("body", b"") for message in bodies)
    assert SECRET not in body
    is_inner = body == b"inner" or any(name == b"x-inner" for name, _ in headers)
    answer = Answer(status, headers, body, is_inner)
    if answer.is_inner:
        return answer
    if body.lstrip().startswith(b"<!doctype html>") or (status in (400, 405) and not body):
        # Django's own: a predicate refuses, can't be asked, would get a NUL, or gets OPTIONS
        assert status in (400, 403, 404, 405) or (is_inner_at_fault and status == 500)
        return answer
    assert status < 500 or (is_inner_at_fault and status == 500), (
        f"{status} for which no file system is to blame"
    )
    assert answer[b"x-content-type-options"] == b"nosniff"
    if status in (200, 206) or status >= 400:
        length = int(answer[b"content-length"])
        assert len(body) == (0 if method == "HEAD" else length)
    else:
        assert not body or status == 302
    # An application's own may be there twice.
    single = {name for name, _ in headers} - {b"vary", b"content-security-policy"}
    assert is_inner_at_fault or sum(name in single for name, _ in headers) == len(single), (
        "a field twice"
    )
    return answer


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_file(answer: Answer, content: bytes, method: str = "GET") -> None:
    """Is this answer, with some part of a file, true of the file?"""
    if method == "HEAD" or answer.status not in (200, 206):
        return
    if answer.status == 200:
        assert answer.body == content
    elif answer[b"content-type"].startswith(b"multipart/byteranges"):
        message = email.message_from_bytes(
            b"Content-Type: %b\r\n\r\n%b" % (answer[b"content-type"], answer.body),
            policy=email.policy.HTTP,
        )
        parts = list(message.iter_parts())
        assert len(parts) > 1
        for part in parts:
            payload = part.get_payload(decode=True)
            assert isinstance(payload, bytes)
            _check_part(part["Content-Range"].encode(), payload, content)
    else:
        _check_part(answer[b"content-range"], answer.body, content)


def _check_part(range_: bytes, body: bytes, content: bytes) -> None:
    match = re.fullmatch(rb"bytes ([0-9]+)-([0-9]+)/([0-9]+)", range_)
    assert match
    first, last, size = map(int, match.groups())
    assert size == len(content)
    assert 0 <= first <= last < size
    assert body == content[first : last + 1]


def check_path(answer: Answer, path: bytes, method: str = "GET") -> None:
    """Is it the answer to a request without conditions for this decoded path?"""
    path = re.sub(b"//+", b"/", path)
    if path.startswith((b"/media/vip/", b"/signed/", b"/members/")):
        is_no_name = b"\0" in path and not path.startswith(b"/signed/")
        assert answer.status == (404 if is_no_name else 403)
    else:
        for prefix, contents in ((b"/media/", FILES), (b"/through/", FILES), (b"/any/", ANY)):
            if path.startswith(prefix):
                content = contents.get(path.removeprefix(prefix))
                if content is not None:
                    assert answer.status == 200, path
                    assert method == "HEAD" or answer.body == content
                    return
                if prefix != b"/through/":
                    assert answer.status == 404, path
                    return
        assert answer.is_inner, path


def _lay(base: Path) -> None:
    for folder, contents in (("media", FILES), ("protected", PROTECTED), ("any", ANY)):
        for key, content in contents.items():
            raw = os.path.join(os.fsencode(base / folder), key)
            if os.fsdecode(key).split("/")[0] == "folder" or os.fsdecode(key) in _LINKS:
                continue
            os.makedirs(os.path.dirname(raw), exist_ok=True)
            Path(os.fsdecode(raw)).write_bytes(content)
            os.utime(raw, (1e9, 1e9))
    root = base / "media"
    for name in _SECRETS:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(SECRET)
    for link, to in _LINKS.items():
        (root / link).symlink_to(to)
    os.mkfifo(root / "fifo.mp4")
    with socket.socket(socket.AF_UNIX) as listener:
        # The address of a socket is short, the path of a temporary folder need not be.
        here = os.open(root, os.O_PATH)
        listener.bind(f"/proc/self/fd/{here}/socket.png")
        os.close(here)
    (base / "signed").mkdir()
    (base / "signed" / "s.txt").write_bytes(b"signed for")
    os.utime(base / "signed" / "s.txt", (1e9, 1e9))


async def _never(request: HttpRequest, path: str) -> bool:
    return False


async def _members(request: HttpRequest, path: str) -> bool:
    return bool(request.headers.get("X-Member") == "yes")


def _echo(path: str) -> dict[str, str]:
    """A project's own headers, made of the path as a careless one may do."""
    return {"X-Folder": path.partition("/")[0].encode("unicode_escape").decode("ascii") or "-"}
