"""A store that fails in the middle of an answer, behind real servers."""

import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ..conformance.support import noise
from ..support.client import Connection
from ..support.servers import Server, media
from .engines import ACCESS_KEY, SECRET_KEY, Engine, gateway
from .raw import RawStore, Request, raw_store, refuse, send_object
from .support import serving

pytestmark = pytest.mark.xdist_group("objects")

DATA = noise(5_000_000)

SERVERS = [
    pytest.param("uvicorn"),
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("daphne", "hypercorn", "granian")),
]


class Faulty:
    """A server that serves from a store whose answers the test writes."""

    def __init__(self, server: Server, store: RawStore) -> None:
        self.server = server
        self.store = store

    def read(self, path: str = "/media/a.bin") -> tuple[int, int | None, bytes]:
        """Status, length, and all that comes before the end."""
        with Connection(self.server) as client:
            client.request(path)
            response = client.head()
            body = b""
            try:
                for piece in client.body(response, size=1 << 16):
                    body += piece
            except (ConnectionError, EOFError, AssertionError):
                pass
            return response.status, response.length, body


@pytest.fixture(scope="module", params=SERVERS)
def faulty(request: pytest.FixtureRequest) -> Iterator[Faulty]:
    with raw_store(lambda client, one: send_object(client, one, DATA)) as store:
        environment = media({"url": "/media/", "root": "s3://media"}) | {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_ENDPOINT_URL": store.url,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        with Server(request.param, env=environment) as server:
            yield Faulty(server, store)


def cut_once(after: Callable[[socket.socket, Request], None]) -> Any:
    """The first answer ends in the middle; the others are ``after``'s."""
    first = [True]

    def answer(client: socket.socket, request: Request) -> None:
        if first.pop() if first else False:
            send_object(client, request, DATA, stop=2_000_000)
            client.shutdown(socket.SHUT_RDWR)
        else:
            after(client, request)

    return answer


def test_a_drop_in_the_middle_is_not_noticed(faulty: Faulty) -> None:
    faulty.store.answer = cut_once(lambda client, one: send_object(client, one, DATA))
    assert faulty.read() == (200, len(DATA), DATA)


@pytest.mark.parametrize(
    "after",
    [
        lambda client, one: send_object(client, one, noise(5_000_000, 1), ETag='"other"'),
        lambda client, one: refuse(client, "412 Precondition Failed", "PreconditionFailed"),
        lambda client, one: refuse(client, "404 Not Found", "NoSuchKey"),
        lambda client, one: refuse(client, "503 Slow Down", "SlowDown"),
    ],
    ids=["another-tag", "412", "404", "503"],
)
def test_an_object_that_changes_or_goes_ends_in_a_cut_and_one_line(
    faulty: Faulty, after: Any
) -> None:
    faulty.store.answer = cut_once(after)
    before = faulty.server.log.count("cut off")
    status, length, body = faulty.read()
    assert (status, length) == (200, len(DATA))
    assert len(body) < len(DATA)
    assert DATA.startswith(body)
    assert faulty.server.log.count("cut off") == before + 1
    faulty.store.answer = lambda client, one: send_object(client, one, DATA)
    assert faulty.read() == (200, len(DATA), DATA)


@pytest.mark.parametrize(
    ("status", "code", "answer"),
    [
        ("404 Not Found", "NoSuchKey", 404),
        ("403 Forbidden", "AccessDenied", 404),
        ("403 Forbidden", "InvalidAccessKeyId", 502),
        ("401 Unauthorized", "Unauthorized", 502),
        ("500 Internal Server Error", "InternalError", 503),
        ("503 Slow Down", "SlowDown", 503),
    ],
)
def test_a_refusal_before_the_start_is_a_status(
    faulty: Faulty, status: str, code: str, answer: int
) -> None:
    faulty.store.answer = lambda client, one: refuse(client, status, code)
    with Connection(faulty.server) as client:
        client.request("/media/a.bin")
        response = client.response()
    assert response.status == answer
    assert response["cache-control"] == "no-store"
    assert b"secret" not in response.body
    assert b"Code" not in response.body


def test_a_client_that_goes_ends_its_get(faulty: Faulty) -> None:
    ended = threading.Event()

    def answer(client: socket.socket, request: Request) -> None:
        try:
            send_object(client, request, b"x" * 200_000_000)
        finally:
            ended.set()

    faulty.store.answer = answer
    with Connection(faulty.server, rcvbuf=64 << 10) as client:
        client.request("/media/a.bin")
        client.head()
        assert not ended.wait(1)
    assert ended.wait(30)


class Downloads:
    """Clients that ask for one object again and again, and compare each byte."""

    def __init__(self, server: Server, url: str, data: bytes, clients: int = 4) -> None:
        self.whole = self.cut = self.refused = 0
        self.faults: list[str] = []
        self._server, self._url, self._data = server, url, memoryview(data)
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(number,)) for number in range(clients)
        ]

    def __enter__(self) -> "Downloads":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        dice = random.Random(number)
        while not self._ended.is_set():
            start = dice.choice([0, dice.randrange(len(self._data))])
            try:
                self._download(start)
            except ConnectionError:  # Truncated, or a reset that overtook the head
                self.cut += 1
            except OSError as error:  # a time-out is one
                self.faults.append(repr(error))

    def _download(self, start: int) -> None:
        with Connection(self._server) as client:
            client.request(self._url, [("Range", f"bytes={start}-")])
            response = client.head()
            if response.status != 206:
                self.refused += 1
                if response.status not in (502, 503, 504):
                    self.faults.append(f"status {response.status}")
                time.sleep(0.05)
                return
            for piece in client.body(response, size=1 << 16):
                if piece != self._data[start : start + len(piece)]:
                    self.faults.append(f"a wrong byte after {start}")
                    return
                start += len(piece)
            self.whole += 1


def sockets(server: Server) -> int:
    return sum("socket" in one for one in server.descriptors())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["uvicorn", "daphne"])
def test_a_store_that_is_killed_a_hundred_times(
    name: str, seaweedfs: Engine, tmp_path: Path
) -> None:
    """No wrong byte is ever served, no client waits for ever, and nothing is left open."""
    kills = int(os.environ.get("KILLS", "100"))
    with gateway(seaweedfs, tmp_path) as engine, serving(name, engine, tmp_path) as bucket:
        data = noise(30_000_000)
        url = bucket.put("killed.bin", data)
        assert bucket.get(url).body == data
        before = sockets(bucket.server)
        dice = random.Random(1)
        with Downloads(bucket.server, url, data) as downloads:
            for _ in range(kills):
                time.sleep(dice.random() * 0.4)
                engine.restart()
        assert not downloads.faults, bucket.server.log[-5000:]
        assert downloads.whole
        assert downloads.cut
        assert bucket.get(url).body == data
        deadline = time.monotonic() + 60
        while sockets(bucket.server) > before + 8:  # some are kept for the next requests
            assert time.monotonic() < deadline
            time.sleep(0.1)
