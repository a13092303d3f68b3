"""Files that change under a download."""

import os
import time
from pathlib import Path
from typing import Self

import pytest

from ..support.client import Connection
from .support import KIB, MIB, WatchedSite, on, pattern, pipelined, read, serve, some, stalled

SIZE = 32 * MIB
# Long before send_timeout (60 s) or a timeout of the server's own would end the connection.
SOON = 30
DATA = pattern(SIZE)
RANGE = [("Range", "bytes=1000-")]
BOTH = pytest.mark.parametrize("headers", [[], RANGE], ids=["whole", "range"])
OTHERS = ("daphne-tls", "daphne-unix", "uvicorn-tls", "hypercorn-tls", "granian-tls")


class Download:
    """One that has begun, and is far from its end."""

    def __init__(self, site: WatchedSite, name: str, headers: list[tuple[str, str]]) -> None:
        self.path = site.root / name
        url = site.put(name, DATA)
        self.expected = DATA[1000:] if headers else DATA
        self.client = Connection(site.server, rcvbuf=64 * KIB)
        self.client.request(url, headers)
        self.response = self.client.head()
        assert self.response.length == len(self.expected)
        self.first = some(self.client, self.response, 100 * KIB)
        time.sleep(0.3)  # the server waits for the client

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.client.close()

    def rest(self) -> tuple[bytes, bool]:
        self.response.headers = [("content-length", str(len(self.expected) - len(self.first)))]
        rest, is_whole = read(self.client, self.response)
        return self.first + rest, is_whole


@BOTH
@pytest.mark.parametrize("size", [pytest.param(0, marks=pytest.mark.slow), 8 * MIB + 100])
@on("daphne", "uvicorn", slow=("hypercorn", "granian", *OTHERS))
def test_a_file_truncated_while_it_is_sent(
    site: WatchedSite, headers: list[tuple[str, str]], size: int
) -> None:
    """The client sees the connection end too early, and soon."""
    if site.kind.startswith("granian") and not headers:
        pytest.skip("granian itself reads the file: the next test")
    name = f"truncated-{size}-{len(headers)}.bin"
    with site.unharmed(), Download(site, name, headers) as download:
        os.truncate(download.path, size)
        begin = time.monotonic()
        got, is_whole = download.rest()
        assert time.monotonic() - begin < SOON
        assert not is_whole
        assert len(got) <= max(size, 6 * MIB)
        if size % 4096:
            # The kernel clears the end of the last page, though that is being sent.
            got = got[: size - size % 4096 - 1000]
        assert download.expected.startswith(got)
    lines = [line for line in site.server.log.splitlines() if name in line]
    assert len(lines) == 1, site.server.log[-2000:]
    # Where the file was to go on.
    assert any(int(word) >= size for word in lines[0].replace(":", " ").split() if word.isdigit())
    assert "Traceback" not in site.server.log


@pytest.mark.slow
@on("granian", "granian-tls")
def test_truncated_where_the_server_reads(site: WatchedSite) -> None:
    with site.unharmed(), Download(site, "truncated.bin", []) as download:
        os.truncate(download.path, 0)
        begin = time.monotonic()
        got, is_whole = download.rest()
        assert time.monotonic() - begin < SOON
        assert not is_whole
        assert download.expected.startswith(got)


@on("daphne", slow=("daphne-tls", "daphne-unix"))
def test_truncated_before_others(site: WatchedSite) -> None:
    """What was pipelined behind it doesn't stand in for what is missing."""
    url = site.put("truncated-first.bin", DATA)
    small = site.put("small.txt", b"small")
    with site.unharmed(), Connection(site.server, rcvbuf=64 * KIB) as client:
        client.send(pipelined([url, small, small]))
        response = client.head()
        first = some(client, response, 100 * KIB)
        time.sleep(0.3)
        os.truncate(site.root / "truncated-first.bin", 0)
        response.headers = [("content-length", str(SIZE - len(first)))]
        rest, is_whole = read(client, response)
        assert not is_whole
        assert DATA.startswith(first + rest)


@on("daphne", "uvicorn", slow=("hypercorn", "granian", "daphne-tls", "daphne-unix"))
def test_truncated_and_stalled(site: WatchedSite) -> None:
    """While nobody reads nothing is known of it; the client that goes is forgotten all the same."""
    url = site.put("truncated-stalled.bin", DATA)
    with site.unharmed():
        with stalled(site, url, 4), stalled(site, url, 4, RANGE):
            time.sleep(0.5)
            os.truncate(site.root / "truncated-stalled.bin", 0)
            time.sleep(0.5)


@BOTH
@on("daphne", slow=("uvicorn", "hypercorn", "granian", "daphne-tls", "daphne-unix"))
def test_a_file_deleted_while_it_is_sent(site: WatchedSite, headers: list[tuple[str, str]]) -> None:
    with site.unharmed(), Download(site, "deleted.bin", headers) as download:
        download.path.unlink()
        assert download.rest() == (download.expected, True)
        assert download.client.get("/media/deleted.bin").status == 404


@BOTH
@on("daphne", slow=("uvicorn", "hypercorn", "granian", "daphne-tls", "daphne-unix"))
def test_a_file_replaced_while_it_is_sent(
    site: WatchedSite, headers: list[tuple[str, str]]
) -> None:
    with site.unharmed(), Download(site, "replaced.bin", headers) as download:
        other = site.root / "replacement.bin"
        other.write_bytes(b"other")
        other.rename(download.path)
        assert download.rest() == (download.expected, True)
        assert download.client.get("/media/replaced.bin").body == b"other"


@BOTH
@on("daphne", slow=("uvicorn", "hypercorn", "granian", "daphne-tls", "daphne-unix"))
def test_a_file_grown_while_it_is_sent(site: WatchedSite, headers: list[tuple[str, str]]) -> None:
    """No more than was promised is sent, and the connection goes on."""
    with site.unharmed(), Download(site, "grown.bin", headers) as download:
        with open(download.path, "ab") as file:
            file.write(b"more" * MIB)
        assert download.rest() == (download.expected, True)
        assert download.client.get("/inner").status == 200


@pytest.mark.xdist_group("others")
@pytest.mark.parametrize(
    "kind",
    [
        "daphne",
        *[
            pytest.param(kind, marks=pytest.mark.slow)
            for kind in ("uvicorn", "hypercorn", "granian", "daphne-tls", "daphne-unix")
        ],
    ],
)
def test_an_input_output_error(kind: str, tmp_path: Path) -> None:
    """In the middle it ends the connection, before the first byte it is a 500."""
    with serve(kind, tmp_path, module="tests.faults.slow_disk") as site, site.unharmed():
        url = site.put("broken-disk.bin", pattern(8 * MIB))
        for headers in ([], RANGE):
            if kind == "granian" and not headers:
                continue  # it reads the file by itself
            with Connection(site.server) as client:
                client.request(url, headers)
                begin = time.monotonic()
                got, is_whole = read(client, client.head())
                assert time.monotonic() - begin < SOON
                assert not is_whole
                assert len(got) <= MIB
                assert pattern(8 * MIB)[1000 * len(headers) :].startswith(got)
            site.wait(lambda: "broken-disk.bin" in site.server.log)
            assert "Input/output error" in site.server.log
        with Connection(site.server) as client:
            assert client.get(url, [("Range", "bytes=2000000-2000100")]).status == 500
            assert client.get("/inner").status == 200
        assert site.ask("/__blocked__") == []
        assert "Traceback" not in site.server.log


@pytest.mark.slow
@pytest.mark.xdist_group("others")
def test_a_peer_hangs(tmp_path: Path) -> None:
    """So the tests above can fail."""
    with serve("daphne", tmp_path, "starlette", module="tests.faults.peers") as site:
        url = site.sparse("truncated.bin", 4 << 30)
        with Connection(site.server, timeout=3) as client:
            client.request(url)
            response = client.head()
            some(client, response, MIB)
            os.truncate(site.root / "truncated.bin", 0)
            with pytest.raises(TimeoutError):
                read(client, response)
