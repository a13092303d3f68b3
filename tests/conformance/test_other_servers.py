"""Other servers, and other ways to run them."""

from collections.abc import Iterator, Sequence

import pytest

from ..support.client import HTTP2, Connection, head
from .support import Media, check, grouped, noise, running, unhurried


def ways(*names: str, slow: Sequence[str] = ()) -> pytest.MarkDecorator:
    params = [*grouped(names), *grouped(slow, pytest.mark.slow)]
    return pytest.mark.parametrize("way", params, indirect=True)


@pytest.fixture(scope="session")
def way(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Media]:
    with running(request.param, tmp_path_factory.mktemp(request.param)) as media:
        yield media


# What another process manager or loop serves is one of the four servers, or its twin.
@ways(
    *("daphne-unix", "daphne-tls", "uvicorn-tls", "hypercorn-tls", "granian-tls"),
    slow=("uvicorn-h11", "uvicorn-asyncio", "anycorn", "gunicorn"),
)
def test_files_over_tls_unix_sockets_and_other_servers(way: Media) -> None:
    data = noise(12_000_000)
    unhurried(way.server, way.put("slow.bin", data), data)
    data = noise(3_000_000)
    url = way.put("a.bin", data)
    whole = way.get(url)
    assert whole.body == data
    assert way.get(url, method="HEAD").length == len(data)
    assert way.get(url, ("Range", "bytes=-70000")).body == data[-70000:]
    assert way.status(url, ("Range", "bytes=1-2,5-6")) == 206
    assert way.status(url, ("If-None-Match", whole["etag"])) == 304
    assert way.status(url, ("Range", "bytes=3000000-")) == 416
    assert way.status("/media/../secret.txt") == 404
    assert way.get(url, method="POST").status == 405
    assert way.passed_on("/other")["path"] == "/other"
    with Connection(way.server) as client:
        client.send(head(url) * 4)
        for _ in range(4):
            assert client.response().body == data
        assert client.surplus() == b""


@ways("daphne", "daphne-unix", "daphne-tls")
def test_twisted_has_every_name_that_flow_control_needs(way: Media) -> None:
    data = noise(1_000_000)
    url = way.put("flow.bin", data)
    assert way.get(url).body == data
    if way.server.tls:
        with HTTP2(way.server) as client:
            assert client.get(url).body == data
    assert "flow control is off" not in way.server.log


@ways("daphne-tls", "hypercorn-tls", "granian-tls")
def test_files_over_http_2_on_one_connection(way: Media) -> None:
    files = [noise(size, seed=size) for size in (0, 10, 70_000, 3_000_000)]
    urls = [way.put(f"{len(data)}.bin", data) for data in files]
    with HTTP2(way.server) as client:
        for url, data in zip(urls, files, strict=True):
            whole = client.get(url)
            check(whole)
            assert whole.status == 200
            assert whole.body == data
            assert client.get(url, method="HEAD").length == len(data)
        # Several streams at once.
        streams = [
            (client.request(url), data) for url, data in [*zip(urls, files, strict=True)] * 2
        ]
        for number, data in streams:
            assert client.response(number).body == data
        part = client.get(urls[3], [("Range", "bytes=5-9")])
        assert (part.status, part.body) == (206, files[3][5:10])
        for target, headers, status in [
            (urls[3], [("If-None-Match", whole["etag"])], 304),
            (urls[3], [("Range", "bytes=3000000-")], 416),
            (urls[3], [("If-Match", '"other"')], 412),
            ("/media/missing", [], 404),
            ("/media/../secret.txt", [], 404),
        ]:
            response = client.get(target, headers)
            check(response)
            assert response.status == status
        assert client.get("/inner")["x-inner"] == "1"
