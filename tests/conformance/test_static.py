"""Static files on real servers: collected and compressed by WhiteNoise's storage, served by us."""

import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from ..support.client import Connection, Response
from ..support.servers import ROOT, Server

CSS = b"body { color: red }\n" * 20_000
"""More than one chunk, so that it is streamed."""
FOREVER = "max-age=31536000, immutable"


class Site(NamedTuple):
    server: Server
    base: Path

    def get(
        self, target: str, headers: dict[str, str] | None = None, method: str = "GET"
    ) -> Response:
        with Connection(self.server) as client:
            response = client.get(target, [*(headers or {}).items()], method=method)
            assert client.get("/behind").status == 200  # the answer ends where its head says
        return response

    def collect(self, css: bytes) -> str:
        """Deploys this app.css, and tells its name."""
        source = self.base / "assets" / "app.css"
        source.write_bytes(css)
        later = time.time() + 60  # collectstatic looks at whole seconds
        os.utime(source, (later, later))
        run = [sys.executable, "-m", "tests.apps.static"]
        subprocess.run(run, check=True, cwd=ROOT, env=environment(self.base), timeout=120)
        manifest = json.loads((self.base / "static" / "staticfiles.json").read_text())
        name: str = manifest["paths"]["app.css"]
        return name


def environment(base: Path) -> dict[str, str]:
    return {**os.environ, "STATIC_BASE": str(base)}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("daphne", marks=pytest.mark.xdist_group("static-daphne")),
        pytest.param(
            "uvicorn", marks=[pytest.mark.xdist_group("static-uvicorn"), pytest.mark.slow]
        ),
    ],
)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    base = tmp_path_factory.mktemp("static")
    for folder in ("assets", "site/docs"):
        (base / folder).mkdir(parents=True)
    (base / "robots.txt").write_bytes(b"User-agent: *\n")
    (base / "site" / "docs" / "index.html").write_bytes(b"docs")
    (base / "assets" / "plain.bin").write_bytes(b"plain")
    with Server(request.param, "tests.apps.static:application", env=environment(base)) as server:
        yield Site(server, base)


@pytest.fixture
def name(site: Site) -> str:
    return site.collect(CSS)


def test_a_variant_its_ranges_and_its_conditions(site: Site, name: str) -> None:
    packed = (site.base / "static" / f"{name}.gz").read_bytes()
    assert gzip.decompress(packed) == CSS
    for url in (f"/static/{name}", "/static/app.css"):
        whole = site.get(url)
        assert (whole.status, whole.body) == (200, CSS)
        assert "content-encoding" not in whole
        small = site.get(url, {"Accept-Encoding": "gzip, deflate"})
        assert small.body == packed
        assert small["content-encoding"] == "gzip"
        assert small["etag"] != whole["etag"]
        for response in (whole, small):
            assert response["content-type"] == "text/css; charset=utf-8"
            assert response["vary"] == "Accept-Encoding"
            assert response["access-control-allow-origin"] == "*"
            assert response["cache-control"] == (FOREVER if name in url else "no-cache")
            assert "content-security-policy" not in response
        asked = {"Accept-Encoding": "gzip", "If-None-Match": small["etag"]}
        same = site.get(url, asked)
        assert same.status == 304
        assert same["vary"] == "Accept-Encoding"
        assert "content-encoding" not in same
        assert site.get(url, {"If-None-Match": small["etag"]}).status == 200
        part = site.get(url, {"Accept-Encoding": "gzip", "Range": "bytes=3-9"})
        assert (part.status, part.body) == (206, packed[3:10])
        assert part["content-encoding"] == "gzip"
        assert part["content-range"] == f"bytes 3-9/{len(packed)}"
        part = site.get(url, {"Range": f"bytes=-{len(CSS) - 5}"})
        assert (part.status, part.body) == (206, CSS[5:])
    assert site.get("/static/app.css.gz", {"Accept-Encoding": "gzip"}).body == packed
    head = site.get(f"/static/{name}", {"Accept-Encoding": "gzip"}, "HEAD")
    assert head.length == len(packed)
    assert site.get("/static/plain.bin", {"Accept-Encoding": "gzip"}).body == b"plain"


def test_a_deployment_while_the_server_runs(site: Site, name: str) -> None:
    assert site.get(f"/static/{name}")["cache-control"] == FOREVER
    second = site.collect(CSS + b"a { color: blue }\n")
    assert second != name
    for each in (second, name):
        assert site.get(f"/static/{each}")["cache-control"] == FOREVER
    for accept in ("", "gzip"):
        body = site.get("/static/app.css", {"Accept-Encoding": accept}).body
        assert (gzip.decompress(body) if accept else body).endswith(b"blue }\n")
    # One that was packed before, of a file that is newer.
    later = time.time() + 1
    (site.base / "static" / "app.css").write_bytes(b"newer")
    os.utime(site.base / "static" / "app.css", (later, later))
    assert site.get("/static/app.css", {"Accept-Encoding": "gzip"}).body == b"newer"


def test_one_file_on_a_server(site: Site) -> None:
    robots = site.get("/robots.txt")
    assert (robots.status, robots.body) == (200, b"User-agent: *\n")
    assert site.get("/robots.txt", {"If-None-Match": robots["etag"]}).status == 304
    assert site.get("/robots.txt", {"Range": "bytes=0-3"}).body == b"User"
    for path in ("/robots.txt/", "/robots.txtx", "/robots.txt/../site/docs/index.html"):
        assert "x-inner" in site.get(path)


def test_an_index_on_a_server(site: Site) -> None:
    assert site.get("/site/docs/").body == b"docs"
    for path in ("/site/docs", "//site/docs", "/site//docs"):
        response = site.get(f"{path}?a=b")
        assert response.status == 301
        assert response["location"] == "./docs/?a=b"
    assert site.get("/site/").status == 404
