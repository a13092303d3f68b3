"""A store that fails as it is told: a small HTTP server, whose every answer a test writes."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from .engines import ACCESS_KEY, SECRET_KEY

TAG = '"0123456789abcdef"'


class Request(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    number: int
    """How many came before it."""

    def range(self, size: int) -> tuple[int, int] | None:
        """The first byte, and one past the last one."""
        value = self.headers.get("range")
        if value is None:
            return None
        start, _, stop = value.removeprefix("bytes=").partition("-")
        if not start:
            return max(0, size - int(stop)), size
        return int(start), min(size, int(stop) + 1) if stop else size


Answerer = Callable[[socket.socket, Request], None]


class RawStore:
    """``answer`` is called for each request, in the thread of its connection."""

    def __init__(self, answer: Answerer) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self.open = 0
        """Connections that the client has not closed."""
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def config(self) -> Any:
        return {
            "endpoint": self.url,
            "access_key_id": ACCESS_KEY,
            "secret_access_key": SECRET_KEY,
            "region": "us-east-1",
        }

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with self._lock:
            self.open += 1
        try:
            with client, client.makefile("rb") as lines, contextlib.suppress(OSError):
                while line := lines.readline():
                    method, path, _ = line.decode().split(" ")
                    headers = {}
                    while (field := lines.readline().decode().strip()) != "":
                        name, _, value = field.partition(":")
                        headers[name.lower()] = value.strip()
                    with self._lock:
                        request = Request(method, path, headers, len(self.requests))
                        self.requests.append(request)
                    self.answer(client, request)
        finally:
            with self._lock:
                self.open -= 1

    def __enter__(self) -> "RawStore":
        return self

    def __exit__(self, *exception: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # which ends accept(), too
        self._listener.close()


def head(status: str, length: int, **fields: str) -> bytes:
    fields = {
        "ETag": TAG,
        "Last-Modified": "Mon, 02 Nov 2026 10:00:00 GMT",
        "Content-Length": str(length),
        **{name.replace("_", "-"): value for name, value in fields.items()},
    }
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in fields.items() if value)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def send_object(
    client: socket.socket, request: Request, data: bytes, *, stop: int | None = None, **fields: str
) -> None:
    """A right answer, or its bytes before ``stop`` alone."""
    span = request.range(len(data))
    if span is None:
        start, end, status = 0, len(data), "200 OK"
    else:
        (start, end), status = span, "206 Partial Content"
        fields = {"Content_Range": f"bytes {start}-{end - 1}/{len(data)}"} | fields
    body = b"" if request.method == "HEAD" else data[start : end if stop is None else stop]
    client.sendall(head(status, end - start, **fields) + body)


def refuse(client: socket.socket, status: str, code: str = "InternalError") -> None:
    body = f"<Error><Code>{code}</Code><Message>a secret of the store</Message></Error>".encode()
    client.sendall(head(status, len(body), ETag="", Content_Type="application/xml") + body)


def reset(client: socket.socket) -> None:
    """End the connection as a store does that has died."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def raw_store(answer: Answerer) -> Iterator[RawStore]:
    with RawStore(answer) as store:
        yield store
