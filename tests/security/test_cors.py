"""Scripts of other origins, with request headers of their own and with cookies."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import sync_playwright

from ..support.client import Connection, Response
from ..support.programs import program
from ..support.servers import Server

APP = "https://app.example"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    (root / "a.txt").write_text("a")
    return root


def serve(root: Path, **cors: Any) -> Server:
    locations = [
        {"url": f"/{name}/", "root": str(root), "cors": option} for name, option in cors.items()
    ]
    env = {"LOCATIONS": json.dumps(locations)}
    return Server("daphne", "tests.security.sites:application", env=env)


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[Server]:
    options = {
        "mapping": {
            "origins": [APP],
            "headers": ["Authorization", "X-Requested-With"],
            "credentials": True,
        },
        "headers": {"origins": "*", "headers": ["X-Trace"]},
        "listed": [APP],
        "all": "*",
    }
    with serve(root, **options) as server:
        yield server


def ask(server: Server, path: str, origin: str, method: str = "GET", *more: str) -> Response:
    fields = [("Origin", origin), *[("Access-Control-Request-" + one, "x") for one in more]]
    with Connection(server) as client:
        return client.get(path, fields, method=method)


def cors_of(answer: Response) -> dict[str, str]:
    start = "access-control-"
    return {name[len(start) :]: value for name, value in answer.headers if name.startswith(start)}


def test_a_listed_origin_may_send_credentials_and_headers(server: Server) -> None:
    for path, status in (("/mapping/a.txt", 200), ("/mapping/none", 404)):
        answer = ask(server, path, APP)
        told = cors_of(answer)
        assert answer.status == status
        assert told["allow-origin"] == APP
        assert told["allow-credentials"] == "true"
        assert "Content-Disposition" in told["expose-headers"]
        assert "Origin" in answer["vary"]
    answer = ask(server, "/mapping/a.txt", APP, "OPTIONS", "Method", "Headers")
    told = cors_of(answer)
    assert (answer.status, told["allow-origin"], told["allow-credentials"]) == (204, APP, "true")
    assert told["allow-headers"].endswith(", Authorization, X-Requested-With")
    assert told["allow-headers"].startswith("Range, If-Range")


@pytest.mark.parametrize(
    "origin", ["https://app.example.evil", "http://app.example", "null", "*", APP + ":8443", "x"]
)
def test_another_origin_may_not(server: Server, origin: str) -> None:
    for method in ("GET", "OPTIONS"):
        answer = ask(server, "/mapping/a.txt", origin, method, "Method")
        told = cors_of(answer)
        assert "allow-origin" not in told
        assert "allow-credentials" not in told
        assert "Origin" in answer["vary"]


def test_every_origin_may_send_headers_and_no_credentials(server: Server) -> None:
    told = cors_of(ask(server, "/headers/a.txt", APP, "OPTIONS", "Method"))
    assert told["allow-origin"] == "*"
    assert told["allow-headers"].endswith(", X-Trace")
    for path in ("/headers/a.txt", "/listed/a.txt", "/all/a.txt"):
        told = cors_of(ask(server, path, APP))
        assert "allow-credentials" not in told
        assert "Content-Disposition" in told["expose-headers"]


@pytest.mark.slow
@pytest.mark.xdist_group("browser")
def test_a_browser_fetches_with_credentials_and_headers(root: Path, tmp_path: Path) -> None:
    fetch = """async url => {
        try {
            const headers = {Authorization: 'Token x', Range: 'bytes=0-0'};
            const answer = await fetch(url, {credentials: 'include', headers});
            return await answer.text();
        } catch (error) { return error.name; }
    }"""
    with contextlib.ExitStack() as stack:
        page_server = stack.enter_context(serve(root, page="*"))
        origin = f"http://127.0.0.1:{page_server.port}"
        server = stack.enter_context(
            serve(
                root,
                both={"origins": [origin], "headers": ["Authorization"], "credentials": True},
                cookies={"origins": [origin], "credentials": True},
                headers={"origins": [origin], "headers": ["Authorization"]},
                other={"origins": [APP], "headers": ["Authorization"], "credentials": True},
                all={"origins": "*", "headers": ["Authorization"]},
            )
        )
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch_persistent_context(
            tmp_path / "profile",
            executable_path=program("chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-sync"],
        )
        stack.callback(browser.close)
        page = browser.pages[0]
        page.goto(f"{origin}/page?x")
        told = {
            name: page.evaluate(fetch, f"http://127.0.0.1:{server.port}/{name}/a.txt")
            for name in ("both", "cookies", "headers", "other", "all")
        }
        refused = dict.fromkeys(("cookies", "headers", "other", "all"), "TypeError")
        assert told == {"both": "a", **refused}
