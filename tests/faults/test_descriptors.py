"""When no descriptor is left: 503, and all is well again as soon as there is one."""

import contextlib
from pathlib import Path

import pytest

from ..client import Connection, Response
from .support import MIB, Site, pattern, read, serve

# How many each server needs for itself varies: the connections take the rest.
LIMIT = 96


def exhausted(site: Site, url: str, stack: contextlib.ExitStack) -> list[Connection]:
    """Connections, each of which was answered, until the last one takes the last descriptor."""
    clients: list[Connection] = []
    for _ in range(LIMIT):
        client = stack.enter_context(Connection(site.server))
        clients.append(client)
        response = client.get(url)
        if response.status != 200:
            unavailable(response)
            return clients
    raise AssertionError("there was always one more")


def unavailable(response: Response) -> None:
    assert response.status == 503
    assert response["retry-after"].isdigit()
    assert response["cache-control"] == "no-store" or "cache-control" not in response


@pytest.mark.xdist_group("others")
@pytest.mark.parametrize(
    "kind",
    [
        "daphne",
        "uvicorn",
        *[
            pytest.param(kind, marks=pytest.mark.slow)
            for kind in ("hypercorn", "granian", "daphne-tls", "daphne-unix")
        ],
    ],
)
def test_no_descriptor_is_left(kind: str, tmp_path: Path) -> None:
    with serve(kind, tmp_path, nofile=LIMIT) as site, contextlib.ExitStack() as stack:
        small, big = site.put("small.txt", b"small"), site.put("big.bin", data := pattern(8 * MIB))
        clients = exhausted(site, small, stack)
        last = clients[-1]
        for url in (small, big):
            unavailable(last.get(url))
        assert last.get("/inner").status == 200
        assert last.get("/media/missing.txt").status in (404, 503)
        assert "Too many open files" in site.server.log
        assert "/media/small.txt" in site.server.log
        # One is free, for the file: what needs a second goes without.
        clients[0].close()
        site.wait(lambda: last.get(small).status == 200)
        for headers in ([], [("Range", "bytes=1-")]):
            if kind == "granian" and not headers:
                continue  # it opens the file once more itself, and can't
            response = last.get(big, headers)
            if response.status != 503:
                assert response.body == data[len(headers) :]
        for client in clients[1:-1]:
            client.close()
        site.wait(lambda: last.get(big).status == 200)
        with Connection(site.server) as client:
            client.request(big)
            assert read(client, client.head()) == (data, True)
        assert "media_asgi/" not in site.server.log  # no traceback leads there
