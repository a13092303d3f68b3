"""The access log on real servers: how each answer ended."""

import os
import time
from collections.abc import Callable

import pytest

from ..support.client import Connection, Truncated, head
from ..support.site import Site
from .support import FILES, GIB

SIZE = 32 << 20


@pytest.fixture
def site(server: str, start: Callable[..., Site]) -> Site:
    return start(server, FILES_ACCESS="INFO", FILES_OPTIONS='{"send_timeout": 2}')


def line(site: Site, path: str) -> list[str]:
    """The fields of the only line about this path, without the seconds."""
    method, _, status, sent, seconds, ending = site.logged(f" {path} ").split(" ")
    assert 0 <= float(seconds) < 120
    assert site.server.log.count(f" {path} ") == 1
    return [method, status, sent, ending]


WAYS = {
    "url": "/media/{}",
    "hand-over": "/page?header=X-Accel-Redirect:%20/internal/{}",
    "file-response": "/async/open/{}",
}


@pytest.mark.parametrize("name", FILES)
def test_a_download_is_complete(site: Site, name: str) -> None:
    os.link(site.root / name, site.root / f"whole-{name}")
    assert site.get(f"/media/whole-{name}").body == FILES[name]
    assert line(site, f"/media/whole-{name}") == ["GET", "200", str(len(FILES[name])), "complete"]


@pytest.mark.parametrize("name", ["letters.bin", "large.bin"])
def test_a_file_response_is_complete(site: Site, name: str) -> None:
    os.link(site.root / name, site.root / f"response-{name}")
    url = f"/async/open/response-{name}"
    assert site.get(url).body == FILES[name]
    assert line(site, url) == ["GET", "200", str(len(FILES[name])), "complete"]


def big(site: Site, name: str, size: int = 2 * GIB) -> None:
    with open(site.root / name, "wb") as file:
        file.truncate(size)


@pytest.mark.parametrize("way", ["url", "file-response"])
def test_a_client_that_leaves(site: Site, way: str) -> None:
    big(site, f"left-{way}.bin")
    url = WAYS[way].format(f"left-{way}.bin")
    with Connection(site.server) as client:
        client.request(url)
        body = client.body(client.head())
        taken = 0
        while taken < 4 << 20:  # what goes out while it leaves is not counted
            taken += len(next(body))
    method, status, sent, ending = line(site, url)
    assert (method, status, ending) == ("GET", "200", "left")
    assert 0 < int(sent) < GIB


def test_a_client_that_leaves_after_another_request(site: Site) -> None:
    big(site, "pipelined.bin")
    url = "/media/pipelined.bin"
    with Connection(site.server, rcvbuf=64 << 10) as client:
        client.send(head(url) + head("/media/letters.bin"))
        next(client.body(client.head()))
        time.sleep(0.5)  # the server waits for its client
        client.reset()
    method, status, _, ending = line(site, url)
    assert (method, status, ending) == ("GET", "200", "left")
    assert "Traceback" not in site.server.log


@pytest.mark.parametrize("way", ["url", "file-response"])
def test_a_client_that_takes_nothing(site: Site, way: str) -> None:
    big(site, f"stalled-{way}.bin")
    url = WAYS[way].format(f"stalled-{way}.bin")
    with Connection(site.server, rcvbuf=1 << 16) as client:
        client.request(url)
        client.head()
        method, status, sent, ending = line(site, url)
    assert (method, status, ending) == ("GET", "200", "stalled")
    assert 0 < int(sent) < GIB
    assert site.server.log.count(f"{url!r} cut off: the client took nothing for 2 s") == 1


def test_a_file_that_ends_early(site: Site) -> None:
    big(site, "short.bin", SIZE)
    with Connection(site.server, rcvbuf=1 << 16) as client:
        client.request("/media/short.bin")
        response = client.head()
        body = client.body(response)
        next(body)
        os.truncate(site.root / "short.bin", 0)
        with pytest.raises((Truncated, ConnectionError)):
            for _ in body:
                pass
    method, status, sent, ending = line(site, "/media/short.bin")
    assert (method, status, ending) == ("GET", "200", "failed")
    assert int(sent) < SIZE


def test_a_path_with_a_line_break_is_one_line(site: Site) -> None:
    assert site.get("/media/x%20200%0AGET%20/media/forged").status == 404
    assert line(site, "/media/x%20200%0AGET%20/media/forged") == ["GET", "404", "14", "complete"]
    assert not site.server.log.count("\nGET /media/forged")


def test_pages_are_not_in_it(site: Site) -> None:
    assert site.get("/page?size=7").status == 200
    assert site.get("/media/not-a-page").status == 404
    site.logged("/media/not-a-page")
    assert "/page" not in site.server.log.replace("/not-a-page", "")
