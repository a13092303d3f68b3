"""``manage.py demo --objects``, as somebody who tries it would."""

import contextlib
import os
import random
import re
import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ..support.servers import ROOT, Process, reserved_port
from ..support.site import Browser, Site


class Demo(Process):
    def __init__(self, data: Path) -> None:
        super().__init__()
        self.port = reserved_port()
        options = ["--objects", "--no-video", "--port", str(self.port)]
        command = [sys.executable, "manage.py", "demo", *options]
        self._start(command, ROOT / "tests" / "site", {"SITE_DATA": str(data)})

    def connect(self, *, timeout: float | None = 60, rcvbuf: int | None = None) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout)


@pytest.mark.slow
def test_the_demonstration_uploads_into_a_store_and_serves_from_it(tmp_path: Path) -> None:
    with Demo(tmp_path) as demo:
        site = Site(demo, tmp_path)  # type: ignore[arg-type]
        site.logged("Stop with Ctrl-C", wait=120)
        browser = Browser(site)
        browser.log_in()
        data = random.Random(1).randbytes(300_000)
        url = "/admin/gallery/upload/add/"
        assert browser.submit(url, {"title": "Mine"}, ("stored.bin", data)).status == 302
        assert site.get("/media/uploads/stored.bin").body == data
        assert not (tmp_path / "media" / "uploads").exists()
        assert "/media/samples/dawn.jpg" in browser.get("/").body.decode()
        found = re.search(r"http://\S+/media/samples/dawn.jpg", demo.log)
        assert found
        store = urlsplit(found[0])
        assert store.port
        with socket.create_connection(("127.0.0.1", store.port), 60):
            pass
        assert processes_with(tmp_path)
        assert demo.terminate() == 0
        assert not processes_with(tmp_path)


def processes_with(folder: Path) -> list[bytes]:
    """The command lines that name it. A port may be another process's by now."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (process / "cmdline").read_bytes()
            if os.fsencode(folder) in line:
                found.append(line)
    return found
