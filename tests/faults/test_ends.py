"""However a download ends, its client learns it, and nothing of it is left in the server."""

import contextlib
import os
import random
import time

import pytest

from ..support.client import Connection
from .support import FOUR, MIB, WatchedSite, on, pattern, read, some

RANGE = [("Range", "bytes=1000-")]
SIZE = 64 * MIB


@pytest.mark.slow
@pytest.mark.parametrize("headers", [[], RANGE], ids=["whole", "range"])
@on(*FOUR, "daphne-tls")
def test_a_file_that_shrinks(site: WatchedSite, headers: list[tuple[str, str]]) -> None:
    url = site.put("shrinks.bin", bytes(SIZE))
    with site.unharmed(timeout=40), Connection(site.server) as client:
        client.request(url, headers)
        response = client.head()
        some(client, response, 1000)
        os.truncate(site.root / "shrinks.bin", 500)
        begin = time.monotonic()
        body, is_whole = read(client, response)
        assert not is_whole
        assert len(body) < SIZE - MIB
        assert time.monotonic() - begin < 5
    if site.kind != "granian" or headers:  # a whole file granian sends by itself
        site.wait(lambda: "/media/shrinks.bin" in site.server.log)
        assert "the file ends at byte " in site.server.log


@pytest.mark.slow
@on(*FOUR)
def test_a_file_that_is_deleted_and_replaced(site: WatchedSite) -> None:
    data = pattern(SIZE)
    url = site.put("replaced.bin", data)
    with site.unharmed(timeout=40), Connection(site.server) as client:
        client.request(url)
        pieces = client.body(client.head())
        begun = next(pieces)
        (site.root / "replaced.bin").unlink()
        site.put("replaced.bin", b"new")
        assert begun + b"".join(pieces) == data
        assert client.get(url).body == b"new"


@pytest.mark.slow
@on(*FOUR, "daphne-tls")
def test_clients_that_go(site: WatchedSite) -> None:
    """In each phase: before the head, in the first bytes, in the middle, and after the last."""
    large, small = site.put("gone.bin", bytes(8 * MIB)), site.put("gone.txt", b"gone")
    chance = random.Random(1)
    with site.unharmed(timeout=60):
        for _ in range(300):
            with contextlib.suppress(Exception), Connection(site.server) as client:
                client.request(
                    chance.choice((large, large, small)), chance.choice(([], RANGE, RANGE))
                )
                wanted = chance.choice((0, 0, 100, 100_000, 4_000_000))
                while wanted > 0 and (data := client.socket.recv(min(wanted, 1 << 16))):
                    wanted -= len(data)
