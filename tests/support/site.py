"""A served folder, and a browser that finds its way through a site."""

import json
import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes, unquote, urlencode

from .client import Connection, Response
from .servers import Server

HOUR = 3600


class Site:
    """A folder with a server in front of it. `url` is where the server has the folder."""

    def __init__(self, server: Server, root: Path, *, kind: str = "", url: str = "/media/") -> None:
        self.server = server
        self.root = root
        self.kind = kind
        self.url = url

    def put(self, name: str | bytes, data: bytes, *, age: float = HOUR) -> str:
        """Makes a file, modified so many seconds ago, and tells its URL."""
        path = os.path.join(os.fsencode(self.root), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
        modified = time.time() - age
        os.utime(path, (modified, modified))
        return self.url + quote_from_bytes(os.fsencode(name))

    def get(
        self,
        target: str | bytes,
        *headers: tuple[str, str],
        method: str = "GET",
        body: bytes = b"",
        **query: str | Sequence[str],
    ) -> Response:
        """One exchange on a connection of its own, with proof that it ends where it says."""
        with Connection(self.server) as client:
            headers = (*headers, ("Connection", "close"))
            client.request(with_query(target, **query), headers, method=method, body=body)
            response = client.response(method)
            assert client.ended()
        return response

    def ask(self, path: str, client: Connection | None = None) -> Any:
        """What the application behind the middleware tells as JSON."""
        if client is not None:
            return json.loads(client.get(path).body)
        return json.loads(self.get(path).body)

    def open_files(self) -> list[str]:
        """Which files of the folder the server holds open."""
        return [target for target in self.server.descriptors() if str(self.root) in target]

    def wait(self, condition: Callable[[], bool], timeout: float = 45) -> float:
        """The seconds until the condition holds."""
        begin = time.monotonic()
        while not condition():
            assert time.monotonic() - begin < timeout, self.server.log[-3000:]
            time.sleep(0.05)
        return time.monotonic() - begin

    def logged(self, text: str, wait: float = 60) -> str:
        """Waits for the line of the server's log that holds this text."""
        deadline = time.monotonic() + wait
        while True:
            for line in self.server.log.splitlines():
                if text in line:
                    return line
            assert time.monotonic() < deadline, f"{text!r} is not in the log"
            time.sleep(0.02)


def with_query(target: str | bytes, **query: str | Sequence[str]) -> str | bytes:
    if not query:
        return target
    assert isinstance(target, str)
    return f"{target}?{urlencode(query, doseq=True)}"


class Browser:
    """Keeps its cookies, and fills in forms."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.cookies: dict[str, str] = {}

    def get(
        self,
        target: str,
        *headers: tuple[str, str],
        method: str = "GET",
        body: bytes = b"",
        **query: str | Sequence[str],
    ) -> Response:
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        own = [("Cookie", cookies)] if cookies else []
        response = self.site.get(target, *own, *headers, method=method, body=body, **query)
        for cookie in response.all("set-cookie"):
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        return response

    def submit(self, path: str, fields: dict[str, str], file: tuple[str, bytes]) -> Response:
        """Fetches the form at `path` for its token, and posts it with a file."""
        boundary = "a-line-that-is-in-no-field"
        body = b""
        for name, value in {"csrfmiddlewaretoken": self.token(path), **fields}.items():
            disposition = f'Content-Disposition: form-data; name="{name}"'
            body += f"--{boundary}\r\n{disposition}\r\n\r\n{value}\r\n".encode()
        disposition = f'Content-Disposition: form-data; name="file"; filename="{file[0]}"'
        body += f"--{boundary}\r\n{disposition}\r\n\r\n".encode() + file[1]
        body += f"\r\n--{boundary}--\r\n".encode()
        form = ("Content-Type", f"multipart/form-data; boundary={boundary}")
        return self.get(path, form, method="POST", body=body)

    def send(self, path: str, fields: dict[str, str], page: str = "") -> Response:
        """Posts the form at `path`, with the token of the page that it is on."""
        body = urlencode({**fields, "csrfmiddlewaretoken": self.token(page or path)})
        form = ("Content-Type", "application/x-www-form-urlencoded")
        return self.get(path, form, method="POST", body=body.encode())

    def log_in(self, name: str = "admin", path: str = "/admin/login/?next=/admin/") -> None:
        answer = self.send(path, {"username": name, "password": name})
        assert answer.status == 302
        assert answer["location"] == unquote(path.partition("next=")[2])

    def token(self, path: str) -> str:
        """The token of the form on this page."""
        page = self.get(path)
        assert page.status == 200
        match = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.body.decode())
        assert match
        return match[1]
