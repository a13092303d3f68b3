"""The fields of a response under Daphne: what Twisted writes of the joined ones."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.testing import StringTransport
from twisted.web._http2 import H2Stream
from twisted.web.http import HTTPChannel
from twisted.web.http_headers import Headers as TwistedHeaders

from media_asgi.http.headers import FinalHeaders
from media_asgi.http.representation import FileInfo, describe
from media_asgi.http.response import respond
from media_asgi.servers.daphne_fields import joined_fields

HEADERS = FinalHeaders(
    [(b"content-length", b"3"), (b"etag", b'"a"'), (b"vary", b"Cookie"), (b"vary", b"Origin")]
)


def request_on(channel: Any) -> Any:
    """A request whose channel is of this type, as far as a response looks at it."""
    return SimpleNamespace(channel=channel.__new__(channel), responseHeaders=TwistedHeaders())


def written(headers: Any) -> list[bytes]:
    """The lines that Twisted writes, without the status line."""
    channel: Any = HTTPChannel()
    transport = StringTransport()
    channel.transport = transport
    channel.writeHeaders(b"HTTP/1.1", b"200", b"OK", headers)
    head: bytes = transport.value()
    _, *lines, empty, rest = head.split(b"\r\n")
    assert empty == rest == b""
    return lines


def name_of(line: bytes) -> bytes:
    return line.partition(b":")[0]


NAMES = st.sampled_from([b"content-length", b"etag", b"vary", b"x-a", b"X-B", b"www-authenticate"])
VALUES = st.binary(max_size=20)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=6))
def test_twisted_writes_joined_fields_as_it_writes_them_one_by_one(
    headers: list[tuple[bytes, bytes]],
) -> None:
    one_by_one = TwistedHeaders()
    for name, value in headers:
        one_by_one.addRawHeader(name, value)
    joined = joined_fields(request_on(HTTPChannel), FinalHeaders(headers), b"now")
    first, *lines = written(joined)
    assert first == b"Date: now"
    # Twisted puts the lines of one name together. Their own order is what counts.
    assert sorted(lines, key=name_of) == sorted(written(one_by_one), key=name_of)


def test_twisted_and_daphne_add_fields_to_one_response_alone() -> None:
    first, second = (joined_fields(request_on(HTTPChannel), HEADERS, b"now") for _ in range(2))
    first.setRawHeaders(b"server", [b"daphne"])
    assert written(first)[0] == b"Server: daphne"
    assert first.hasHeader("Server")
    assert not second.hasHeader("Server")
    assert written(second) == written(first)[1:]
    first.getRawHeaders(b"vary").clear()
    assert second.getRawHeaders(b"vary") == [b"Cookie", b"Origin"]


def test_twisted_finds_a_joined_field_by_its_name() -> None:
    fields = joined_fields(request_on(HTTPChannel), HEADERS, b"now")
    assert fields.getRawHeaders(b"Content-Length") == [b"3"]
    assert fields.getRawHeaders("vary") == ["Cookie", "Origin"]
    assert fields.hasHeader(b"etag")
    assert fields.getRawHeaders(b"x-none") is None
    assert not fields.hasHeader("x-none")


def test_fields_of_one_response_alone_go_one_by_one() -> None:
    assert joined_fields(request_on(HTTPChannel), [*HEADERS], b"now") is None


def test_a_connection_that_twisted_closes_gets_its_fields_one_by_one() -> None:
    request = request_on(HTTPChannel)
    request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
    assert joined_fields(request, HEADERS, b"now") is None


class OldChannel(HTTPChannel):
    """Checks each field again, as Twisted did once."""

    def writeHeaders(self, version: Any, code: Any, reason: Any, headers: Any) -> None:  # noqa: N802
        again = TwistedHeaders()
        for name, values in headers.getAllRawHeaders():
            for value in values:
                again.addRawHeader(name, value)
        sequence = [b" ".join([version, code, reason]), b"\r\n"]
        for name, values in again.getAllRawHeaders():
            sequence += [name, b": ", *values, b"\r\n"]
        transport: Any = self.transport
        transport.writeSequence([*sequence, b"\r\n"])


@pytest.mark.parametrize("channel", [OldChannel, H2Stream, type(None)])
def test_a_channel_of_another_kind_gets_its_fields_one_by_one(channel: type) -> None:
    request = SimpleNamespace(channel=None, responseHeaders=TwistedHeaders())
    if channel is not type(None):
        request = request_on(channel)
    assert joined_fields(request, HEADERS, b"now") is None


def test_the_fields_of_one_range_go_in_one_piece() -> None:
    current = describe(FileInfo(100, 10**18, (1,)), 2e9)
    answer = respond("GET", {b"range": b"bytes=1-5"}, current, lambda: b"")
    joined = joined_fields(request_on(HTTPChannel), answer.headers, b"now")
    lines = written(joined)
    assert b"Content-Range: bytes 1-5/100" in lines
    assert b"Content-Length: 5" in lines
    assert len(lines) == len(answer.headers) + 1
    assert joined.getRawHeaders(b"Content-Length") == [b"5"]
