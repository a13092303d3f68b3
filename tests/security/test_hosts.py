"""Locations of one host: what another host sees of them, on real servers."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from django.conf import settings

from media_asgi import signing
from media_asgi.signing import sign_prefix, sign_url

from ..support.client import HTTP2, Connection, Response
from ..support.servers import Server

OWN, OTHER = "media.example.com", "www.example.com"
APPLICATION = b"the application"


class Site:
    def __init__(self, server: Server) -> None:
        self.server = server

    def raw(self, target: str, *lines: str, method: str = "GET") -> Response:
        """One exchange with exactly these lines in its head."""
        head = "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "Connection: close", "", ""])
        with Connection(self.server) as client:
            client.send(head.encode("latin-1"))
            return client.response(method)

    def get(self, host: str, target: str, method: str = "GET") -> Response:
        return self.raw(target, f"Host: {host}", method=method)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    for folder in ("own", "media", "a", "b", "pattern", "signed", "internal-a", "internal-b"):
        for name in ("x.txt", "media/x.txt"):
            (root / folder / name).parent.mkdir(parents=True, exist_ok=True)
            (root / folder / name).write_text(f"{folder}/{name}")
    return root


def locations(root: Path) -> str:
    options: list[dict[str, str]] = [
        {"host": OWN, "url": "/", "root": "own"},
        {"url": "/media/", "root": "media"},
        {"host": "A.example.com.", "url": "/files/", "root": "a"},
        {"host": "b.example.com", "url": "/files/", "root": "b"},
        {"host": ".example.com", "url": "/files/", "root": "pattern"},
        {"host": ".example.com", "url": "/signed/", "root": "signed", "access": "signed"},
        {"url": "/any/", "root": "signed", "access": "signed"},
        {"host": "a.example.com", "url": "/in/", "root": "internal-a", "access": "internal"},
        {"host": "b.example.com", "url": "/in/", "root": "internal-b", "access": "internal"},
    ]
    return json.dumps([{**one, "root": str(root / one["root"])} for one in options])


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def site(request: pytest.FixtureRequest, root: Path) -> Iterator[Site]:
    env = {"LOCATIONS": locations(root)}
    with Server(request.param, "tests.security.sites:application", env=env) as server:
        yield Site(server)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    if not settings.configured:
        settings.configure()
    monkeypatch.setitem(vars(settings), "SECRET_KEY", "for these tests alone")
    monkeypatch.setattr(signing, "location_prefixes", {})  # other tests' locations


@pytest.mark.parametrize(
    "host", [OWN, OWN.upper(), f"{OWN}.", f"{OWN}:80", f"{OWN}:8443", f"{OWN}.:1"]
)
def test_a_host_of_its_own_answers_in_every_spelling(site: Site, host: str) -> None:
    for _ in range(3):  # the later ones from memory
        assert site.get(host, "/x.txt").body == b"own/x.txt"
    # The prefix of a location without a host means nothing there.
    assert site.get(host, "/media/x.txt").body == b"own/media/x.txt"
    assert site.get(host, "/x.txt", "HEAD").status == 200


@pytest.mark.parametrize(
    "lines",
    [
        [f"Host: {OTHER}"],
        [f"Host: x{OWN}"],
        [f"Host: x.{OWN}"],
        [f"Host: {OWN}.evil.example"],
        ["Host: example.com"],
        [f"Host: {OWN}", f"Host: {OWN}"],
        [f"Host: {OWN}", f"Host: {OTHER}"],
        [f"Host: {OTHER}", f"host: {OWN}"],
        [f"Host: {OWN},{OTHER}"],
        [f"Host: {OWN}/x"],
        [f"Host: user@{OWN}"],
        [f"Host: {OTHER}", f"X-Forwarded-Host: {OWN}"],
        [f"Host: {OTHER}", f"Forwarded: host={OWN}"],
        [f"Host: {OTHER}", f"X-Host: {OWN}", f":authority: {OWN}"],
        [f"Host: {OWN}%00"],
        ["Host: [::1]"],
        ["Host: .."],
        ["Host:"],
        [],
    ],
    ids=" | ".join,
)
def test_no_other_host_sees_its_files(site: Site, lines: Sequence[str]) -> None:
    for target in ("/x.txt", f"http://{OWN}/x.txt", f"//{OWN}/x.txt", f"/{OWN}/x.txt"):
        try:
            answer = site.raw(target, *lines)
        except ConnectionError:  # the server itself refuses such a request
            continue
        assert b"own/" not in answer.body
        assert answer.body == APPLICATION or answer.status == 400


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "DELETE", "X"])
@pytest.mark.parametrize(
    "target", ["/", "/admin/", "/page", "/hand-over?/in/x.txt", "*", f"http://{OTHER}/page", "//"]
)
def test_nothing_on_a_host_of_its_own_reaches_the_application(
    site: Site, method: str, target: str
) -> None:
    answer = site.get(OWN, target, method)
    assert answer.status in (400, 404, 405)
    assert APPLICATION not in answer.body


def test_no_websocket_of_a_host_of_its_own_reaches_the_application(site: Site) -> None:
    upgrade = ["Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + "a" * 22]
    for host, status in ((OWN, 403), (OTHER, 101)):
        lines = [f"Host: {host}", "Connection: Upgrade", *(upgrade[:2]), upgrade[2] + "=="]
        with Connection(site.server) as client:
            client.send("\r\n".join(["GET /ws HTTP/1.1", *lines, "", ""]).encode())
            assert client.head().status == status


def test_two_hosts_with_the_same_prefix(site: Site) -> None:
    for _ in range(3):  # the later ones from memory
        for host, folder in (("a", "a"), ("b", "b"), ("c", "pattern"), ("d.c", "pattern")):
            assert (
                site.get(f"{host}.example.com", "/files/x.txt").body == f"{folder}/x.txt".encode()
            )
        assert site.get("example.com", "/files/x.txt").body == b"pattern/x.txt"
        assert site.get("other.test", "/files/x.txt").body == APPLICATION
        for host in ("a.example.com", "other.test", ""):
            assert site.get(host, "/media/x.txt").body == b"media/x.txt"


def test_a_hand_over_is_of_the_requests_own_host(site: Site, root: Path) -> None:
    for host in ("a", "b"):
        name = f"internal-{host}/x.txt".encode()
        assert site.get(f"{host}.example.com", "/hand-over?/in/x.txt").body == name
        file = root / f"internal-{host}/x.txt"
        assert site.get(f"{host}.example.com", f"/send-file?{file}").body == name
    for host, target in (
        ("a.example.com", f"/send-file?{root}/internal-b/x.txt"),
        ("c.example.com", "/hand-over?/in/x.txt"),
        ("c.example.com", f"/send-file?{root}/internal-a/x.txt"),
        ("other.test", "/hand-over?/in/x.txt"),
    ):
        assert site.get(host, target).status == 500


def test_a_link_is_for_one_host(site: Site) -> None:
    link = sign_url("/signed/x.txt", host="A.example.com:8443")
    folder = sign_prefix("/signed/", host="a.example.com") + "x.txt"
    unbound = [sign_url("/signed/x.txt"), sign_prefix("/signed/") + "x.txt"]
    for url in (link, folder):
        for host in ("a.example.com", "A.EXAMPLE.com.:1"):
            assert site.get(host, url).body == b"signed/x.txt"
        for host in ("b.example.com", "example.com", "xa.example.com"):
            assert site.get(host, url).status == 403
        assert site.get("a.example.com", url.replace("/signed/", "/any/")).status == 403
        assert site.get("other.test", url).body == APPLICATION
    for url in unbound:
        assert site.get("a.example.com", url).status == 403
    # A host in the path is not the host.
    forged = sign_url("https://x//a.example.com/signed/x.txt").removeprefix("https://x")
    query = forged.partition("?")[2]
    assert site.get("a.example.com", f"/signed/x.txt?{query}").status == 403
    anywhere = sign_url("/any/x.txt")
    for host in ("a.example.com", "other.test", ""):
        assert site.get(host, anywhere).body == b"signed/x.txt"
    bound = sign_url("/any/x.txt", host="a.example.com")
    assert site.get("a.example.com", bound).status == 403


@pytest.mark.parametrize("name", ["daphne", "uvicorn"])
def test_the_host_of_a_proxy_counts_where_django_is_told_so(name: str, root: Path) -> None:
    env = {
        "LOCATIONS": locations(root),
        "SETTINGS": json.dumps({"USE_X_FORWARDED_HOST": True}),
    }
    with Server(name, "tests.security.sites:application", env=env) as server:
        site = Site(server)
        for lines, body in (
            ([f"Host: {OTHER}", f"X-Forwarded-Host: {OWN}"], b"own/x.txt"),
            ([f"Host: {OWN}"], b"own/x.txt"),
            ([f"Host: {OWN}", f"X-Forwarded-Host: {OTHER}"], APPLICATION),
            ([f"Host: {OWN}", f"X-Forwarded-Host: {OWN}, {OTHER}"], APPLICATION),
            ([f"Host: {OTHER}", f"Forwarded: host={OWN}"], APPLICATION),
        ):
            assert site.raw("/x.txt", *lines).body == body


def test_the_authority_of_http2_is_the_host(root: Path) -> None:
    env = {"LOCATIONS": locations(root).replace(OWN, "127.0.0.1")}
    with Server("daphne", "tests.security.sites:application", env=env, tls=True) as server:
        with HTTP2(server) as client:
            assert client.get("/x.txt").body == b"own/x.txt"


def test_an_insecure_request_is_redirected_on_its_own_host(root: Path) -> None:
    django = {
        "SECURE_SSL_REDIRECT": True,
        "MIDDLEWARE": ["django.middleware.security.SecurityMiddleware"],
    }
    env = {"LOCATIONS": locations(root), "SETTINGS": json.dumps(django)}
    with Server("daphne", "tests.security.sites:application", env=env) as server:
        for target, url in (
            ("/x.txt", "/x.txt"),
            ("/%C3%BC%20?a=%20&b", "/%C3%BC%20?a=%20&b"),
            ("//evil.test/x", "/evil.test/x"),
            ("@evil.test", "/%40evil.test"),
        ):
            answer = Site(server).get(f"{OWN}:8000", target)
            assert answer.status == 301
            assert answer["location"] == f"https://{OWN}{url}"
