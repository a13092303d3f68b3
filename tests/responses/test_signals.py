"""``file_sent`` on real servers: what receivers are told after a download."""

from collections.abc import Callable
from typing import Any

import pytest

from ..support.client import Connection
from ..support.site import Site
from .support import FILES, GIB

ALL = "fail fail-later sync async"


@pytest.fixture
def site(server: str, start: Callable[..., Site]) -> Site:
    return start(server, FILES_RECEIVERS=ALL)


def heard(site: Site) -> dict[str, Any]:
    """What both receivers were told of one download."""
    told: list[dict[str, Any]] = []

    def has_come() -> bool:
        told.extend(site.ask("/signals"))
        return len(told) >= 2

    site.wait(has_come)
    assert {one.pop("by") for one in told} == {"sync", "async"}
    first, second = told
    assert first == second
    assert 0 <= first.pop("seconds") < 60
    return first


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("by", ["url", "hand-over"])
def test_a_whole_file_is_told(site: Site, name: str, by: str) -> None:
    url = f"/media/{name}"
    if by == "hand-over":
        url = f"/page?header=X-Accel-Redirect:%20/internal/{name}"
    assert site.get(url).body == FILES[name]
    assert heard(site) == {
        "location": "/media/" if by == "url" else "/internal/",
        "path": name,
        "status": 200,
        "bytes_sent": len(FILES[name]),
        "complete": True,
        "user": None,
    }


@pytest.mark.parametrize("name", ["letters.bin", "large.bin"])
@pytest.mark.parametrize("ranges", ["0-9", "0-9,20000-29999", "5-2999998"])
def test_ranges_are_told(site: Site, name: str, ranges: str) -> None:
    response = site.get(f"/media/{name}", ("Range", f"bytes={ranges}"))
    assert response.status == 206
    told = heard(site)
    assert (told["status"], told["bytes_sent"]) == (206, len(response.body))
    assert told["complete"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("view", ["sync", "async"])
def test_a_file_response_is_told(site: Site, name: str, view: str) -> None:
    assert site.get(f"/{view}/open/{name}").body == FILES[name]
    assert heard(site) == {
        "location": None,
        "path": str(site.root / name),
        "status": 200,
        "bytes_sent": len(FILES[name]),
        "complete": True,
        "user": None,
    }


def test_a_range_of_a_file_response_is_told(site: Site) -> None:
    assert site.get("/async/open/large.bin", ("Range", "bytes=0-9")).status == 206
    told = heard(site)
    assert (told["status"], told["bytes_sent"], told["complete"]) == (206, 10, True)


def test_a_file_response_without_a_name_is_told(site: Site) -> None:
    assert site.get("/async/temporary/letters.bin").status == 200
    assert heard(site)["path"] == ""


def test_only_downloads_are_told(site: Site) -> None:
    response = site.get("/media/letters.bin")
    heard(site)
    assert site.get("/media/letters.bin", ("If-None-Match", response["etag"])).status == 304
    assert site.get("/media/letters.bin", method="HEAD").status == 200
    assert site.get("/media/letters.bin", ("Range", "bytes=9999999-")).status == 416
    assert site.get("/media/missing.bin").status == 404
    assert site.get("/media/letters.bin", method="POST").status == 405
    assert site.get("/page").status == 200
    response = site.get("/async/open/letters.bin")
    heard(site)
    url = "/async/open/letters.bin"
    assert site.get(url, ("If-None-Match", response["etag"])).status == 304
    assert site.get(url, method="HEAD").status == 200
    assert site.get(url, ("Range", "bytes=9999999-")).status == 416
    assert site.ask("/signals") == []


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("url", ["/media/huge.bin", "/async/open/huge.bin"])
def test_a_download_that_the_client_ends_is_told_with_what_was_sent(
    site: Site, end: str, url: str
) -> None:
    with open(site.root / "huge.bin", "wb") as file:
        file.truncate(2 * GIB)
    read = 20_000_000
    with Connection(site.server) as client:
        client.request(url)
        response = client.head()
        body, got = client.body(response), 0
        while got < read:
            got += len(next(body))
        getattr(client, end)()
    told = heard(site)
    assert told["complete"] is False
    assert read < told["bytes_sent"] < GIB


def test_an_exception_in_a_receiver_is_logged(site: Site) -> None:
    assert site.get("/media/letters.bin").status == 200
    heard(site)
    site.wait(lambda: "a sync receiver fails" in site.server.log)
    site.wait(lambda: "an async receiver fails" in site.server.log)
