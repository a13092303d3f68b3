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
from .engines import ACCESS_KEY, SECRET_KEY, running
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


@pytest.mark.slow
@pytest.mark.parametrize("name", ["uvicorn", "daphne"])
def test_a_store_that_is_killed_a_hundred_times(name: str, tmp_path: Path) -> None:
    """No wrong byte is ever served, and nothing is left open."""
    kills = int(os.environ.get("KILLS", "100"))
    with (
        running("seaweedfs", tmp_path / "store") as engine,
        serving(name, engine, tmp_path) as bucket,
    ):
        data = noise(30_000_000)
        url = bucket.put("killed.bin", data)
        assert bucket.get(url).body == data
        open_before = len([one for one in bucket.server.descriptors() if "socket" in one])
        ended, wrong, whole = threading.Event(), [], []

        def download() -> None:
            while not ended.is_set():
                body = b""
                try:
                    with Connection(bucket.server) as client:
                        client.request(url)
                        response = client.head()
                        if response.status != 200:
                            time.sleep(0.05)
                            continue
                        for piece in client.body(response, size=1 << 16):
                            body += piece
                        whole.append(1)
                except (OSError, EOFError, AssertionError):
                    pass
                if not data.startswith(body):
                    wrong.append(len(body))

        threads = [threading.Thread(target=download) for _ in range(4)]
        for thread in threads:
            thread.start()
        dice = random.Random(1)
        try:
            for _ in range(kills):
                time.sleep(dice.random() * 0.4)
                engine.restart()
        finally:
            ended.set()
            for thread in threads:
                thread.join()
        assert not wrong
        assert whole
        deadline = time.monotonic() + 60
        while bucket.get(url).body != data:
            assert time.monotonic() < deadline
        # Some connections to the store are kept for the next requests.
        while True:
            now = len([one for one in bucket.server.descriptors() if "socket" in one])
            if now <= open_before + 8:
                break
            assert time.monotonic() < deadline
            time.sleep(0.1)
