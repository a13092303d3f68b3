"""``backpressure=True``: the application's own responses to clients that are slow or go."""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..support.client import Connection
from ..support.site import Site
from .support import counted, serve

MIB = 1 << 20
CHUNK = 1 << 16
PER_GIB = 1 << 14
OPTIONS = json.dumps({"backpressure": True, "send_timeout": 5})


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(way, marks=pytest.mark.xdist_group(f"backpressure-{way}"))
        for way in ("plain", "tls")
    ],
)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("files")
    site = serve("daphne", root, tls=request.param == "tls", FILES_OPTIONS=OPTIONS)
    with site.server:
        yield site


@pytest.fixture
def bare(start: Callable[..., Site]) -> Site:
    return start("daphne")


def growth(site: Site, limit: int) -> int:
    """By how much four clients that read nothing of 1 GiB make the server grow, at most."""
    assert site.get("/stream").status == 200
    clients = [Connection(site.server, rcvbuf=4096) for _ in range(4)]
    try:
        before = most = site.server.rss()
        for client in clients:
            client.request(f"/stream?count={PER_GIB}")
        end = time.monotonic() + 3
        while time.monotonic() < end and most - before < limit:
            most = max(most, site.server.rss())
            time.sleep(0.05)
        return most - before
    finally:
        for client in clients:
            client.close()


def test_clients_that_read_nothing_cost_what_is_in_flight(site: Site) -> None:
    assert growth(site, 100 * MIB) < 8 * MIB


@pytest.mark.slow
def test_without_the_option_they_cost_the_whole_response(tmp_path: Path) -> None:
    site = serve("daphne", tmp_path)
    with site.server:
        assert growth(site, 200 * MIB) >= 200 * MIB


def test_a_response_arrives_whole(site: Site) -> None:
    response = site.get("/stream?count=100")
    assert response.body == bytes(100 * CHUNK)


@pytest.mark.parametrize(
    ("method", "size"),
    [
        *(("GET", size) for size in (0, 2, CHUNK, CHUNK + 1, 1_000_000)),
        # Daphne itself answers HEAD with the second part of a larger body.
        *(("HEAD", size) for size in (0, 2, CHUNK)),
    ],
)
def test_a_page_is_the_same_but_for_its_date(
    site: Site, bare: Site, size: int, method: str
) -> None:
    url = f"/page?size={size}&header=Date:%20Mon,%2002%20Jan%202006%2015:04:05%20GMT"
    given, expected = (one.get(url, method=method) for one in (site, bare))
    assert given.body == expected.body
    assert [pair for pair in given.headers if pair[0] != "date"] == [
        pair for pair in expected.headers if pair[0] != "date"
    ]
    assert "2006" not in given["date"]


def test_a_head_has_no_body(site: Site) -> None:
    for url in ("/page?size=100000", "/stream?count=3"):
        response = site.get(url, method="HEAD")
        assert (response.status, response.body) == (200, b"")


def test_an_event_arrives_at_once(site: Site) -> None:
    with Connection(site.server) as client:
        client.request("/stream?count=1&wait")
        body, got = client.body(client.head()), 0
        while got < CHUNK:
            got += len(next(body))


@pytest.mark.parametrize("way", ["whole", "reset"])
def test_several_tasks_of_the_application_may_send_at_a_time(site: Site, way: str) -> None:
    has_ended = counted(site, "several ended")
    with Connection(site.server, rcvbuf=4096) as client:
        client.request("/several")
        body = client.body(client.head())
        length = len(next(body))
        if way == "reset":
            client.reset()
        else:
            time.sleep(0.5)  # so that all of them wait
            length += sum(map(len, body))
            assert length == 300 * CHUNK
    site.wait(lambda: has_ended(1))


def test_the_stream_ends_when_the_client_goes(site: Site) -> None:
    has_ended = counted(site, "stream ended")
    for end in ("close", "reset"):
        with Connection(site.server, rcvbuf=4096) as client:
            client.request(f"/stream?count={PER_GIB}")
            next(client.body(client.head()))
            getattr(client, end)()
    site.wait(lambda: has_ended(2))


def test_a_client_that_reads_nothing_is_cut_off(site: Site) -> None:
    has_ended = counted(site, "stream ended")
    lines = site.server.log.count("'/stream' cut off")
    with Connection(site.server, rcvbuf=4096) as client:
        client.request(f"/stream?count={PER_GIB}")
        site.wait(lambda: site.server.log.count("'/stream' cut off") > lines)
        with pytest.raises(ConnectionError):
            for _ in client.body(client.head()):
                pass
    site.wait(lambda: has_ended(1))


def test_a_stream_that_fails_is_cut_off(site: Site) -> None:
    with Connection(site.server) as client:
        client.request("/stream?count=3&fail")
        response = client.head()
        with pytest.raises(ConnectionError):
            for _ in client.body(response):
                pass
    assert site.get("/page").status == 200


def test_other_responses_wait_for_a_slow_one_on_their_connection(site: Site) -> None:
    with Connection(site.server) as client:
        for url in ("/stream?count=50", "/page?size=2", "/page?size=100000", "/stream?count=2"):
            client.request(url)
        sizes = [len(client.response().body) for _ in range(4)]
    assert sizes == [50 * CHUNK, 2, 100_000, 2 * CHUNK]


def test_files_and_hand_overs_go_their_own_way(site: Site) -> None:
    (site.root / "file.bin").write_bytes(os.urandom(1_000_000))
    data = (site.root / "file.bin").read_bytes()
    for url in (
        "/media/file.bin",
        "/sync/open/file.bin",
        "/page?header=X-Accel-Redirect:%20/internal/file.bin",
    ):
        assert site.get(url).body == data
        assert site.get(url, ("Range", "bytes=1-3")).body == data[1:4]
