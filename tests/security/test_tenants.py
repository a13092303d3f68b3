"""A root for each host: no tenant gets another one's files, on real servers."""

import json
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from media_asgi import signing
from media_asgi.signing import sign_prefix, sign_url

from ..support.client import Connection, Response
from ..support.servers import Server

APPLICATION = b"the application"
PLAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")


class Site:
    def __init__(self, server: Server, root: Path) -> None:
        self.server = server
        self.root = root

    def get(self, host: str, target: str, *fields: str) -> Response:
        lines = [f"GET {target} HTTP/1.1", f"Host: {host}", *fields, "Connection: close", "", ""]
        with Connection(self.server) as client:
            client.send("\r\n".join(lines).encode("latin-1"))
            return client.response()

    def asked(self) -> list[list[str]]:
        told: list[list[str]] = json.loads(self.get("x", "/asked").body)
        return told


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (1_700_000_000, 1_700_000_000))


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("tenants")
    for tenant in ("a", "b", "slow"):
        # Alike in name, size and time.
        put(root / tenant / "files/x.txt", f"file of {tenant}")
        put(root / tenant / "files/private/p.txt", f"private of {tenant}")
        put(root / tenant / "internal/i.txt", f"internal of {tenant}")
    put(root / "shared/exposed/p.txt", "exposed")
    put(root / "shared/s.txt", "shared")
    put(root / "code/settings.txt", "secret")
    env = {"ROOT": str(root), "CODE": str(root / "code")}
    with Server(request.param, "tests.security.tenants:application", env=env) as server:
        yield Site(server, root)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    if not settings.configured:
        settings.configure()
    monkeypatch.setitem(vars(settings), "SECRET_KEY", "for these tests alone")
    monkeypatch.setattr(signing, "location_prefixes", {})  # other tests' locations


def test_each_host_gets_its_own_files(site: Site) -> None:
    etags = {}
    for _ in range(20):  # the later ones from memory
        for tenant in ("a", "b"):
            for host in (f"{tenant}.example.com", f"{tenant.upper()}.Example.com.:80"):
                answer = site.get(host, "/files/x.txt")
                assert (answer.status, answer.body) == (200, f"file of {tenant}".encode())
                etags[tenant] = answer["etag"]
            own = f"If-None-Match: {etags[tenant]}"
            assert site.get(f"{tenant}.example.com", "/files/x.txt", own).status == 304
            assert site.get(f"{tenant}.example.com", "/shared/s.txt").body == b"shared"
    threads = {thread for _, thread in site.asked()}
    assert "MainThread" not in threads


def test_a_host_without_a_root_has_no_files_until_it_has_one(site: Site) -> None:
    for _ in range(3):
        assert site.get("new.example.com", "/files/x.txt").status == 404
    put(site.root / "new/files/x.txt", "new")
    assert site.get("new.example.com", "/files/x.txt").body == b"new"


@pytest.mark.parametrize(
    "host",
    [
        *("..", ".", "a..example.com", "..example.com", "a/../b.example.com", "%2e%2e", "[::1]"),
        *("-a.example.com", "a-.example.com", "a_b.example.com", "a\\b.example.com", "b\x0b"),
        *("a" * 254, "a.example.com, b.example.com", "x@a.example.com", "a.example.com#", "é", ""),
        ".a.example.com",
    ],
)
def test_the_callable_gets_only_plain_names(site: Site, host: str) -> None:
    answer = site.get(host, "/files/x.txt")
    assert answer.status in (400, 404) or answer.body == APPLICATION
    assert b"file of" not in answer.body
    assert all(PLAIN.fullmatch(name) for name, _ in site.asked())
    if host in ("..", "[::1]"):
        assert answer.status == 404


@pytest.mark.parametrize("tenant", ["broken", "code", "empty"])
def test_a_callable_that_fails_is_a_500(site: Site, tenant: str) -> None:
    for _ in range(2):
        answer = site.get(f"{tenant}.example.com", "/files/settings.txt")
        assert (answer.status, answer["cache-control"]) == (500, "no-store")
        assert b"secret" not in answer.body
    told = {"broken": "the database is away", "code": "holds the project's own code"}
    assert told.get(tenant, "Give the folder that holds its files") in site.server.log
    assert site.get("a.example.com", "/files/x.txt").status == 200


def test_a_slow_callable_delays_only_its_own_host(site: Site) -> None:
    slow: list[Response] = []
    (site.root / "go").unlink(missing_ok=True)
    # More than the middleware has threads.
    threads = [
        threading.Thread(target=lambda: slow.append(site.get("slow.example.com", "/files/x.txt")))
        for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    try:
        deadline = time.monotonic() + 60
        while not any(host == "slow.example.com" for host, _ in site.asked()):
            assert time.monotonic() < deadline
        for tenant in ("a", "b"):
            assert site.get(f"{tenant}.new.example.com", "/files/x.txt").status == 200
        assert site.get("a.example.com", "/shared/s.txt").status == 200
        assert not slow
    finally:
        (site.root / "go").touch()
        for thread in threads:
            thread.join()
    assert [answer.body for answer in slow] == [b"file of slow"] * 12
    assert sum(host == "slow.example.com" for host, _ in site.asked()) < 12


def test_links_are_for_the_host_that_they_were_signed_for(site: Site) -> None:
    for tenant, other in (("a", "b"), ("b", "a")):
        host = f"{tenant}.example.com"
        for url in (
            sign_url("/private/p.txt", host=host),
            sign_prefix("/private/", host=host) + "p.txt",
        ):
            assert site.get(host, url).body == f"private of {tenant}".encode()
            for wrong in (f"{other}.example.com", f"x.{host}", "example.com"):
                assert site.get(wrong, url).status == 403
    assert site.get("a.example.com", sign_url("/private/p.txt")).status == 403


def test_a_private_folder_in_a_tenants_public_one_is_not_public(site: Site) -> None:
    for tenant in ("a", "b"):
        for _ in range(3):
            assert site.get(f"{tenant}.example.com", "/files/private/p.txt").status == 404


def test_a_private_folder_of_a_host_below_a_public_root_is_refused(site: Site) -> None:
    (site.root / "exposed/files").mkdir(parents=True, exist_ok=True)
    url = sign_url("/private/p.txt", host="exposed.example.com")
    assert site.get("exposed.example.com", url).status == 500
    assert "which lies in that of '/shared/'" in site.server.log


def test_a_hand_over_finds_the_tenants_own_file(site: Site) -> None:
    for tenant, other in (("a", "b"), ("b", "a")):
        host, body = f"{tenant}.example.com", f"internal of {tenant}".encode()
        own = site.root / tenant / "internal/i.txt"
        for _ in range(3):
            assert site.get(host, "/hand-over?/in/i.txt").body == body
            assert site.get(host, f"/send-file?{own}").body == body
            foreign = site.root / other / "internal/i.txt"
            assert site.get(host, f"/send-file?{foreign}").status == 500
            assert site.get(host, f"/hand-over?/in/../../{other}/internal/i.txt").status >= 400
    for host in ("none.example.com", "x.test", ".."):
        answer = site.get(host, f"/send-file?{site.root}/a/internal/i.txt")
        assert answer.status == 500
        assert site.get(host, "/hand-over?/in/i.txt").status in (404, 500)


def test_open_roots_are_bounded(site: Site) -> None:
    for number in range(150):
        put(site.root / f"t{number}/files/x.txt", str(number))
        assert site.get(f"t{number}.example.com", "/files/x.txt").body == str(number).encode()
    held = [path for path in site.server.descriptors() if path.startswith(str(site.root))]
    assert len(held) <= 2 * 64 + 5
    assert site.server.threads() < 64
