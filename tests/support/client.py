"""HTTP clients that see every byte: HTTP/1.1 by hand on a bare socket, HTTP/2 on h2.

No library client would do: they normalise paths, forgive bad framing and read ahead.
"""

import contextlib
import re
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, Self

import h2.config
import h2.connection
import h2.events
import h2.settings

from .servers import Server

STATUS_LINE = re.compile(rb"HTTP/(1\.[01]) ([1-5][0-9]{2}) ([\t\x20-\x7e\x80-\xff]*)\r\n")
FIELD_LINE = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*((?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*"
    rb"[\x21-\x7e\x80-\xff])?)?)[ \t]*\r\n"
)

Headers = Iterable[tuple[str, str]]


class Truncated(ConnectionError):
    """The server closed the connection before the end that it had promised."""

    def __init__(self, received: int, promised: int | None) -> None:
        super().__init__(f"{received} bytes of {promised}")
        self.received = received
        self.promised = promised


@dataclass
class Response:
    status: int
    headers: list[tuple[str, str]]
    """In the order of arrival, with the names in lower case."""
    body: bytes = b""

    def all(self, name: str) -> list[str]:
        return [value for field, value in self.headers if field == name.lower()]

    def __getitem__(self, name: str) -> str:
        """The value of a field that must be there exactly once."""
        (value,) = self.all(name)
        return value

    def __contains__(self, name: str) -> bool:
        return bool(self.all(name))

    @property
    def length(self) -> int | None:
        values = self.all("content-length")
        if not values:
            return None
        (value,) = values
        assert value.isascii()
        assert value.isdigit()
        return int(value)


class Peer(Protocol):
    """What a client connects to."""

    def connect(
        self, *, timeout: float | None = ..., rcvbuf: int | None = ...
    ) -> socket.socket: ...


class Connection:
    """One HTTP/1.1 connection. Nothing is read before it is asked for."""

    def __init__(self, server: Peer, *, rcvbuf: int | None = None, timeout: float = 60) -> None:
        self.socket = server.connect(rcvbuf=rcvbuf, timeout=timeout)
        self._buffer = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """Ends the connection with a RST, as a client that crashes or loses its network does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def request(
        self, target: str | bytes, headers: Headers = (), *, method: str = "GET", body: bytes = b""
    ) -> None:
        self.send(head(target, headers, method=method, body=body) + body)

    def get(self, target: str | bytes, headers: Headers = (), *, method: str = "GET") -> Response:
        """One whole exchange."""
        self.request(target, headers, method=method)
        return self.response(method)

    def response(self, method: str = "GET") -> Response:
        """The next response, whole. `method` is that of its request."""
        response = self.head()
        response.body = b"".join(self.body(response, method))
        return response

    def head(self) -> Response:
        """The next response up to its body."""
        line = self._line()
        match = STATUS_LINE.fullmatch(line)
        assert match, f"not a status line: {line!r}"
        response = Response(int(match[2]), [])
        while (line := self._line()) != b"\r\n":
            match = FIELD_LINE.fullmatch(line)
            assert match, f"not a field line: {line!r}"
            response.headers.append((match[1].decode().lower(), match[2].decode("latin-1")))
        return response

    def body(
        self, response: Response, method: str = "GET", *, size: int = 1 << 18, pause: float = 0
    ) -> Iterator[bytes]:
        """The body in pieces of at most `size` bytes, with a pause before each."""
        length = response.length
        coding = response.all("transfer-encoding")
        assert not (coding and length is not None), "both Transfer-Encoding and Content-Length"
        if method == "HEAD" or response.status < 200 or response.status in (204, 304):
            return
        if coding:
            assert coding == ["chunked"]
            yield from self._chunks()
        elif length is not None:
            yield from self._exactly(length, size, pause)
        else:
            while piece := self._receive(size):
                yield piece

    def _exactly(self, length: int, size: int, pause: float = 0) -> Iterator[bytes]:
        left = length
        while left:
            if pause:
                time.sleep(pause)
            piece = self._receive(min(size, left))
            if not piece:
                raise Truncated(length - left, length)
            left -= len(piece)
            yield piece

    def _chunks(self) -> Iterator[bytes]:
        while True:
            line = self._line()
            assert re.fullmatch(rb"[0-9A-Fa-f]+\r\n", line), f"not a chunk's head: {line!r}"
            length = int(line, 16)
            if length:
                yield from self._exactly(length, 1 << 18)
            assert self._line() == b"\r\n"
            if not length:
                return

    def _line(self) -> bytes:
        while (end := self._buffer.find(b"\n")) < 0:
            piece = self.socket.recv(1 << 16)
            if not piece:
                raise Truncated(len(self._buffer), None)
            self._buffer += piece
        line = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        assert line.endswith(b"\r\n"), f"a bare line feed: {line!r}"
        return line

    def _receive(self, size: int) -> bytes:
        if self._buffer:
            piece = bytes(self._buffer[:size])
            del self._buffer[:size]
            return piece
        try:
            return self.socket.recv(size)
        except ConnectionResetError:
            return b""

    def surplus(self, wait: float = 0.05) -> bytes:
        """What has come in, or comes in while we wait, after the last response that was read."""
        timeout = self.socket.gettimeout()
        self.socket.settimeout(wait)
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while piece := self.socket.recv(1 << 16):
                self._buffer += piece
        self.socket.settimeout(timeout)
        return bytes(self._buffer)

    def ended(self) -> bool:
        """Waits for the server to close or to say more; true if it closes."""
        return not self._receive(1)


def head(
    target: str | bytes,
    headers: Headers = (),
    *,
    method: str = "GET",
    body: bytes = b"",
    version: str = "1.1",
) -> bytes:
    """The exact bytes of a request's head; `target` goes out as it is."""
    if isinstance(target, str):
        target = target.encode()
    fields = [("Host", "127.0.0.1"), *headers]
    if body:
        fields.append(("Content-Length", str(len(body))))
    lines = [b"%b %b HTTP/%b" % (method.encode(), target, version.encode())]
    lines += [f"{name}: {value}".encode("latin-1") for name, value in fields]
    return b"\r\n".join([*lines, b"", b""])


class Stream:
    """One exchange on an HTTP/2 connection."""

    def __init__(self) -> None:
        self.response: Response | None = None
        self.body = bytearray()
        self.received = 0
        self.ended = False
        self.reset: int | None = None


class HTTP2:
    """One HTTP/2 connection over TLS, chosen by ALPN.

    `window` is what the client grants each stream, and the connection at least; frames are read,
    and windows opened again, only inside `response`, `until` and `pump`.
    """

    def __init__(
        self,
        server: Server,
        *,
        window: int = 1 << 20,
        rcvbuf: int | None = None,
        timeout: float = 60,
    ) -> None:
        self.socket = server.connect(alpn=("h2",), rcvbuf=rcvbuf, timeout=timeout)
        assert self.socket.selected_alpn_protocol() == "h2"  # type: ignore[attr-defined]
        self.streams: dict[int, Stream] = {}
        self.goaway = False
        self._h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=True, header_encoding="latin-1")
        )
        self._h2.local_settings = h2.settings.Settings(
            client=True,
            initial_values={
                h2.settings.SettingCodes.ENABLE_PUSH: 0,
                h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window,
            },
        )
        self._h2.initiate_connection()
        if window > 65535:
            self._h2.increment_flow_control_window(window - 65535)
        self._flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def _flush(self) -> None:
        self.socket.sendall(self._h2.data_to_send())

    def request(self, target: str, headers: Headers = (), *, method: str = "GET") -> int:
        number = self._h2.get_next_available_stream_id()
        self.streams[number] = Stream()
        fields = [
            (":method", method),
            (":scheme", "https"),
            (":authority", "127.0.0.1"),
            (":path", target),
        ]
        fields += [(name.lower(), value) for name, value in headers]
        self._h2.send_headers(number, fields, end_stream=True)
        self._flush()
        return number

    def get(self, target: str, headers: Headers = (), *, method: str = "GET") -> Response:
        return self.response(self.request(target, headers, method=method))

    def response(self, number: int) -> Response:
        """The whole response of a stream."""
        stream = self.streams[number]
        while not stream.ended:
            self.pump()
        assert stream.response
        stream.response.body = bytes(stream.body)
        promised = stream.response.length
        if stream.reset is not None:
            raise Truncated(stream.received, promised)
        return stream.response

    def pump(self) -> None:
        """Reads once, and opens the windows again for what came."""
        data = self.socket.recv(1 << 18)
        if not data:
            for stream in self.streams.values():
                if not stream.ended:
                    stream.ended, stream.reset = True, -1
            if all(stream.ended for stream in self.streams.values()):
                return
        for event in self._h2.receive_data(data):
            if isinstance(event, h2.events.ConnectionTerminated):
                self.goaway = True
                continue
            number = getattr(event, "stream_id", None)
            if number not in self.streams:
                continue
            stream = self.streams[number]
            if isinstance(event, h2.events.ResponseReceived):
                fields = [(str(name), str(value)) for name, value in event.headers or ()]
                status = int(dict(fields)[":status"])
                stream.response = Response(status, [f for f in fields if f[0] != ":status"])
            elif isinstance(event, h2.events.DataReceived):
                stream.body += event.data or b""
                stream.received += len(event.data or b"")
                if event.flow_controlled_length:
                    self._h2.acknowledge_received_data(
                        event.flow_controlled_length, event.stream_id
                    )
            elif isinstance(event, h2.events.StreamEnded):
                stream.ended = True
            elif isinstance(event, h2.events.StreamReset):
                stream.ended, stream.reset = True, int(event.error_code or 0)
        self._flush()

    def cancel(self, number: int) -> None:
        self._h2.reset_stream(number, error_code=8)
        self._flush()
