"""The README's section on proxies: its blocks in front of its project, over TLS."""

import contextlib
import http.client
import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from ..support.proxies import Proxy
from ..support.readme import README, block
from ..support.servers import ROOT, Server
from .test_startproject import Project

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("proxies")]

CLIENT = "127.0.0.2"  # the proxy's own address is 127.0.0.1
FORGED = "203.0.113.9"
DATA = os.urandom(3_000_000)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("project"))
    project.environment.pop("DJANGO_SETTINGS_MODULE")
    project.run("-m", "django", "startproject", "mysite", ".")
    (project.folder / "mysite" / "asgi.py").write_text(block("# mysite/asgi.py"))
    for words in ("MEDIA_ROOT = ", "SECURE_PROXY_SSL_HEADER = ", "SECURE_REDIRECT_EXEMPT = "):
        project.add("settings.py", block(words))
    (project.folder / "media").mkdir()
    (project.folder / "media" / "a.bin").write_bytes(DATA)
    (project.folder / "media" / "health.txt").write_text("well")
    project.run("manage.py", "migrate")
    project.run(
        "manage.py", "createsuperuser", "--noinput", "--username=admin", "--email=a@example.com"
    )
    return project


Serve = Callable[..., Server]


@pytest.fixture
def serve(project: Project, tmp_path: Path) -> Iterator[Serve]:
    """Starts a server as a line of the README's does, but for address and port."""
    with contextlib.ExitStack() as stack:

        def serve(line: str, *, unix: bool = False) -> Server:
            name, *options, application = line.split()
            for option in ("-b", "-p", "-u", "--host"):
                if option in options:
                    at = options.index(option)
                    del options[at : at + 2]
            path = tmp_path / "server.sock" if unix else None
            env = {"PYTHONPATH": f"{ROOT}{os.pathsep}{project.folder}"}
            return stack.enter_context(
                Server(name, application, cwd=project.folder, env=env, unix=path, options=options)
            )

        yield serve


class Visitor(http.client.HTTPSConnection):
    """A browser at CLIENT, which lies about its address and keeps its cookies."""

    def __init__(self, proxy: Proxy) -> None:
        super().__init__("example.com", timeout=60)
        self.cookies: dict[str, str] = {}
        self.proxy = proxy

    def connect(self) -> None:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        address = ("127.0.0.1", self.proxy.port)
        bare = socket.create_connection(address, 60, source_address=(CLIENT, 0))
        self.sock = context.wrap_socket(bare, server_hostname="example.com")

    def ask(
        self, method: str, path: str, body: str | None = None, **headers: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        sent = {
            "X-Forwarded-For": FORGED,
            "X-Forwarded-Proto": "http",
            "Origin": "https://example.com",
            "Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        self.request(method, path, body, sent)
        answer = self.getresponse()
        for cookie in answer.headers.get_all("set-cookie", []):
            assert "; Secure" in cookie
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        return answer.status, answer.headers, answer.read()


@contextlib.contextmanager
def visitor(name: str, server: Server) -> Iterator[Visitor]:
    with Proxy(name, server) as proxy, contextlib.closing(Visitor(proxy)) as visitor:
        yield visitor


def clients_logged(server: Server) -> list[str]:
    deadline = time.monotonic() + 60
    while not (found := re.findall(r"refused client=(\S*)", server.log)):
        assert time.monotonic() < deadline, server.log
        time.sleep(0.05)
    return found


def check_site(visitor: Visitor) -> None:
    status, headers, body = visitor.ask("GET", "/media/a.bin")
    assert (status, body) == (200, DATA)
    status, _, body = visitor.ask("GET", "/media/a.bin", Range="bytes=-7", If_Range=headers["etag"])
    assert (status, body) == (206, DATA[-7:])
    login = "/admin/login/?next=/admin/"
    status, _, body = visitor.ask("GET", login)
    assert status == 200
    token = re.search(rb'name="csrfmiddlewaretoken" value="(\w+)"', body)
    assert token
    form = {"csrfmiddlewaretoken": token[1].decode(), "username": "admin", "password": "admin"}
    status, headers, _ = visitor.ask(
        "POST", login, urlencode(form), Content_Type="application/x-www-form-urlencoded"
    )
    assert (status, headers["location"]) == (302, "/admin/")
    assert visitor.ask("GET", "/admin/")[0] == 200


@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
@pytest.mark.parametrize("name", ["nginx", "caddy"])
def test_the_site_behind_it_and_whom_the_log_calls_client(
    name: str, unix: bool, serve: Serve
) -> None:
    tcp, socket = block("daphne -b 127.0.0.1").splitlines()
    server = serve(socket if unix else tcp, unix=unix)
    with visitor(name, server) as client:
        check_site(client)
        client.ask("GET", "/media/..%2fsettings.py")
    assert clients_logged(server) == [CLIENT]


def test_the_site_behind_a_balancer_of_a_cloud(serve: Serve) -> None:
    line = block("--forwarded-allow-ips 10.0.0.0/16")
    server = serve(line.replace("10.0.0.0/16", "127.0.0.1/32"))
    with visitor("balancer", server) as client:
        check_site(client)
        client.ask("GET", "/media/..%2fsettings.py")
    assert clients_logged(server) == [CLIENT]


@pytest.mark.parametrize(
    ("line", "logged"),
    [
        ("daphne mysite.asgi:application", "127.0.0.1"),
        ("daphne --proxy-headers mysite.asgi:application", FORGED),  # which the README warns of
    ],
)
def test_daphne_behind_a_balancer_of_a_cloud(line: str, logged: str, serve: Serve) -> None:
    server = serve(line)
    with visitor("balancer", server) as client:
        check_site(client)
        client.ask("GET", "/media/..%2fsettings.py")
    assert clients_logged(server) == [logged]


def test_the_health_check_of_a_balancer(serve: Serve) -> None:
    server = serve(block("daphne -b 127.0.0.1").splitlines()[0])
    for path, expected in (("/media/health.txt", 200), ("/media/a.bin", 400)):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        with contextlib.closing(connection):
            connection.request("GET", path)  # Host is an address
            assert connection.getresponse().status == expected


# A row of the README's table: server and options, and the client over TCP and a Unix socket.
FIRST, LAST = "192.0.2.1", "198.51.100.7"
ROWS = [
    ("daphne", "", "127.0.0.1", "-"),
    ("daphne", "--proxy-headers", FIRST, FIRST),
    ("uvicorn", "", LAST, "-"),
    ("gunicorn", "", LAST, "-"),
    ("uvicorn", "--forwarded-allow-ips *", FIRST, FIRST),
    ("gunicorn", "--forwarded-allow-ips *", FIRST, FIRST),
    ("hypercorn", "", "127.0.0.1", "-"),
    ("granian", "", "127.0.0.1", "-"),
]


@pytest.mark.parametrize(("name", "options", "tcp", "unix"), ROWS)
def test_the_table_of_clients(
    name: str, options: str, tcp: str, unix: str, serve: Serve, tmp_path: Path
) -> None:
    words = " with `" + options.replace("*", '"*"') + "` |" if options else "|"
    assert re.search(rf"^\|.*\b{name}\b.*{re.escape(words)}", README, re.MULTILINE)
    for expected, over_unix in ((tcp, False), (unix, True)):
        server = serve(f"{name} {options} mysite.asgi:application", unix=over_unix)
        with server.connect() as client:
            client.sendall(
                b"GET /media/..%2fsettings.py HTTP/1.1\r\nHost: example.com\r\n"
                b"X-Forwarded-Proto: https\r\nConnection: close\r\n"
                + f"X-Forwarded-For: {FIRST}, {LAST}\r\n\r\n".encode()
            )
            assert client.recv(100).startswith(b"HTTP/1.1 404 ")
        assert clients_logged(server) == [expected]
