"""One disk that hangs: a file system in user space whose process is stopped."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..support.client import Connection, Response
from ..support.programs import not_installed, program
from .support import MIB, WatchedSite, pattern, read, serve

MIRROR = Path(__file__).with_name("mirror.py")
PYTHON = "/usr/bin/python3"
LIMIT = 1.0


class Disk:
    def __init__(self, folder: Path, mount: Path) -> None:
        self.folder = folder
        self.mount = mount
        self.process = subprocess.Popen([PYTHON, MIRROR, folder, mount])
        deadline = time.monotonic() + 60
        while not os.path.ismount(mount):
            assert time.monotonic() < deadline
            assert self.process.poll() is None
            time.sleep(0.02)

    def put(self, name: str, data: bytes) -> str:
        (self.folder / name).write_bytes(data)
        return f"/hung/{name}"

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self.go_on()
        subprocess.run(
            [program("fusermount"), "-u", "-z", self.mount], check=False, capture_output=True
        )
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def need_fuse() -> None:
    program("fusermount")
    command = [PYTHON, "-c", "import fusepy"]
    if not os.path.exists(PYTHON) or subprocess.run(command, capture_output=True).returncode:
        not_installed("fusepy")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):  # of a container it is the host's to give
        pytest.skip("/dev/fuse may not be opened")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    need_fuse()
    for name in ("behind", "mount"):
        (tmp_path / name).mkdir()
    disk = Disk(tmp_path / "behind", tmp_path / "mount")
    try:
        yield disk
    finally:
        disk.close()


@contextlib.contextmanager
def site_on(kind: str, disk: Disk, tmp_path: Path) -> Iterator[WatchedSite]:
    with serve(
        kind,
        tmp_path / "root",
        module="tests.faults.hung_disk",
        env={"FAULTS_HUNG": str(disk.mount)},
        middleware={"threads": 2, "disk_timeout": LIMIT},
    ) as site:
        try:
            yield site
        finally:
            disk.go_on()  # not even SIGKILL ends who waits for an answer that is being made


def hang(disk: Disk, site: WatchedSite) -> None:
    """While it has nothing to do: see above."""
    site.wait(lambda: not any(str(disk.mount) + "/" in name for name in site.server.descriptors()))
    time.sleep(0.2)  # closed, and told so
    disk.process.send_signal(signal.SIGSTOP)


def visits(site: WatchedSite, urls: list[str], ends: list[Response]) -> list[threading.Thread]:
    def visit(url: str) -> None:
        with Connection(site.server, timeout=60) as client:
            ends.append(client.get(url))

    threads = [threading.Thread(target=visit, args=(url,)) for url in urls]
    for thread in threads:
        thread.start()
    return threads


KINDS = [
    "daphne",
    *[pytest.param(k, marks=pytest.mark.slow) for k in ("uvicorn", "hypercorn", "granian")],
]


@pytest.mark.xdist_group("others")
@pytest.mark.parametrize("kind", KINDS)
def test_a_hung_disk_stops_nothing_else(kind: str, disk: Disk, tmp_path: Path) -> None:
    with site_on(kind, disk, tmp_path) as site:
        urls = [disk.put(f"{number}.txt", b"%d" % number) for number in range(12)]
        cached = site.put("cached.txt", b"cached")
        with Connection(site.server) as client:
            assert client.get(urls[0]).body == b"0"
            assert client.get(cached).body == b"cached"
        hang(disk, site)
        ends: list[Response] = []
        threads = visits(site, urls, ends)
        begin = time.monotonic()
        with Connection(site.server) as client:
            number = 0
            while any(thread.is_alive() for thread in threads):
                number += 1
                fresh = site.put(f"fresh{number}.txt", b"fresh")
                assert client.get(fresh).body == b"fresh"
                assert client.get(cached).body == b"cached"
                assert client.get("/inner").status == 200
                assert time.monotonic() - begin < 30
                time.sleep(0.02)
        assert number > 5
        for thread in threads:
            thread.join()
        assert {end.status for end in ends} == {503}
        assert all(end["retry-after"] == "1" for end in ends)
        assert site.server.log.count("has not answered for 1 s") == 1
        assert "'/hung/" in site.server.log
        disk.go_on()
        with Connection(site.server) as client:
            site.wait(lambda: client.get(urls[5]).body == b"5")


@pytest.mark.slow
@pytest.mark.xdist_group("others")
@pytest.mark.parametrize("kind", ["daphne", "uvicorn", "hypercorn"])  # granian reads by itself
def test_a_disk_that_hangs_in_the_middle_of_a_download(
    kind: str, disk: Disk, tmp_path: Path
) -> None:
    """The download is cut, and to close its file the loop does not wait for the disk either."""
    data = pattern(64 * MIB)
    with site_on(kind, disk, tmp_path) as site, Connection(site.server, timeout=60) as client:
        cached = site.put("cached.txt", b"cached")
        client.request(disk.put("large.bin", data))
        response = client.head()
        assert response.status == 200
        disk.process.send_signal(signal.SIGSTOP)
        got, is_whole = read(client, response)
        assert not is_whole
        assert data.startswith(got)
        with Connection(site.server) as other:
            assert other.get(cached).body == b"cached"
        disk.go_on()
        site.wait(lambda: not any("large.bin" in name for name in site.server.descriptors()))


@pytest.mark.xdist_group("others")
@pytest.mark.parametrize("kind", KINDS)
def test_a_server_ends_though_a_disk_hangs(kind: str, disk: Disk, tmp_path: Path) -> None:
    with site_on(kind, disk, tmp_path) as site:
        urls = [disk.put(f"{number}.txt", b"%d" % number) for number in range(4)]
        with Connection(site.server) as client:
            assert client.get(urls[0]).body == b"0"
        hang(disk, site)
        ends: list[Response] = []
        for thread in visits(site, urls, ends):
            thread.join()
        assert {end.status for end in ends} == {503}
        site.server.terminate(30)
