"""Behind nginx as it comes, which takes up to 1 GiB ahead of its client."""

import os
import time
from pathlib import Path

import pytest

from ..support.client import Connection
from ..support.nginx import Nginx
from .support import MIB, serve, some

HALF_A_GIB = 512 * MIB


def ahead(nginx: Nginx) -> int:
    """The bytes that nginx holds in files for its clients."""
    folder = f"/proc/{nginx._process.pid}/fd"
    return sum(
        os.stat(f"{folder}/{name}").st_size
        for name in os.listdir(folder)
        if "/proxy/" in os.readlink(f"{folder}/{name}")
    )


@pytest.mark.slow
@pytest.mark.xdist_group("others")
@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
def test_nginx_takes_nothing_ahead_of_a_large_body_and_all_of_a_smaller_one(
    kind: str, tmp_path: Path
) -> None:
    """So that a client that reads slowly is no stall of nginx's."""
    with serve(kind, tmp_path / "root") as site, Nginx(site.server.port, tmp_path) as nginx:
        large = site.sparse("large.bin", HALF_A_GIB + MIB).replace("/media/", "/impatient/")
        small = site.sparse("small.bin", 100 * MIB).replace("/media/", "/impatient/")
        with Connection(nginx, rcvbuf=64 << 10) as client:
            client.request(small)
            some(client, client.head(), MIB)
            site.wait(lambda: ahead(nginx) > 80 * MIB, 30)
        with Connection(nginx, rcvbuf=64 << 10) as client:
            client.request(large)
            response = client.head()
            end = time.monotonic() + 6  # three times as long as one may take nothing
            got = 0
            pieces = client.body(response, size=64 << 10, pause=0.02)
            while time.monotonic() < end:
                got += len(next(pieces))
            assert ahead(nginx) == 0
            response.headers = [("content-length", str(HALF_A_GIB + MIB - got))]
            assert sum(map(len, client.body(response, size=MIB))) == HALF_A_GIB + MIB - got
        assert "cut off" not in site.server.log
