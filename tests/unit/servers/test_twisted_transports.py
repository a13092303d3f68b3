"""Twisted's private names: each is looked up once, and a missing one is logged."""

from types import SimpleNamespace
from typing import Any

import pytest
from twisted import __version__
from twisted.internet import tcp
from twisted.protocols.tls import BufferingTLSTransport
from twisted.web._http2 import H2Stream

from media_asgi.servers import twisted_transports
from media_asgi.servers.daphne_http2 import DaphneHTTP2ResponseWriter
from media_asgi.servers.twisted_transports import (
    below_tls,
    buffered,
    buffered_above,
    is_plain,
)


@pytest.fixture(autouse=True)
def _first_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twisted_transports, "_have_names", {})


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage().partition(". ")[0] for record in caplog.records]


class Wrapper:
    """Above a transport, as a proxy's protocol is."""

    def __init__(self, **names: object) -> None:
        vars(self).update(names)


def server() -> Any:
    """A transport of Twisted's own class, without a socket."""
    transport = tcp.Server.__new__(tcp.Server)
    transport.offset, transport._tempDataLen = 1, 5
    transport.TLS = False
    return transport


def test_a_plain_socket_tells_what_it_buffers(caplog: pytest.LogCaptureFixture) -> None:
    transport = server()
    transport.dataBuffer = b"abc"
    assert is_plain(transport)
    assert buffered(transport) == 2 + 5
    transport.TLS = True
    assert not is_plain(transport)
    assert logged(caplog) == []


def test_a_socket_without_a_name_is_not_plain_and_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(
        twisted_transports, "PLAIN_NAMES", (*twisted_transports.PLAIN_NAMES, "_gone", "_lost")
    )
    transport = server()
    transport.dataBuffer = b"abc"
    for _ in range(3):
        assert not is_plain(transport)
        assert buffered_above(transport) == 0
    assert logged(caplog) == [
        f"flow control is off for plain sockets: Twisted {__version__} has no _gone, _lost"
    ]


def over_tls(transport: object, kind: Any = BufferingTLSTransport) -> Any:
    tls = kind.__new__(kind)
    tls.transport, tls._appSendBuffer = transport, []
    tls._aggregator = SimpleNamespace(_buffer=[], flush=list)
    return tls


def test_a_socket_is_known_below_tls_only_if_nothing_else_lies_between(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Other(BufferingTLSTransport):
        pass

    socket = server()
    assert below_tls(over_tls(socket)) is socket
    assert below_tls(over_tls(socket, Other)) is None
    assert below_tls(over_tls(over_tls(socket))) is None
    assert below_tls(over_tls(Wrapper(dataBuffer=b"", offset=0, _tempDataLen=0))) is None
    assert below_tls(socket) is None
    assert below_tls(None) is None
    assert logged(caplog) == []


def test_a_wrapper_without_a_name_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    complete = Wrapper(dataBuffer=b"abc", offset=1, _tempDataLen=5)
    assert buffered_above(complete) == 7
    assert logged(caplog) == []

    class Other(Wrapper):
        pass

    for _ in range(3):
        assert buffered_above(Other(dataBuffer=b"abc", offset=1)) == 0
    assert logged(caplog) == [
        f"flow control is off for Other: Twisted {__version__} has no _tempDataLen"
    ]


def test_a_stream_without_a_name_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    channel = H2Stream.__new__(H2Stream)
    channel.streamID = 1
    channel._conn = SimpleNamespace(conn=None, transport=None, _consumerBlocked=None)
    request = SimpleNamespace(channel=channel)
    for _ in range(3):
        writer = DaphneHTTP2ResponseWriter({}, print, request, 60)  # type: ignore[arg-type]
        assert writer._queued() == 0
        assert writer._window() > 1 << 40
        assert writer._progress() is None
    assert logged(caplog) == [
        f"flow control is off for HTTP/2: Twisted {__version__} has no _conn._outboundStreamQueues"
    ]
