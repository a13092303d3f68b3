"""Connections: kept, pipelined, slow, many."""

import contextlib
import hashlib
import itertools
import os
import random
import time

from ..support.client import Connection, Response, head
from ..support.site import HOUR
from .support import Media, check, noise, unhurried


def test_a_connection_is_kept_after_each_answer(served: Media) -> None:
    data = noise(300_000)
    url = served.put("kept.bin", data)
    etag = served.get(url)["etag"]
    with Connection(served.server) as client:
        for _ in range(3):
            for method, target, headers, status in [
                ("GET", url, [], 200),
                ("HEAD", url, [], 200),
                ("GET", url, [("Range", "bytes=5-9")], 206),
                ("GET", url, [("Range", "bytes=5-9,20-29")], 206),
                ("GET", url, [("Range", "bytes=300000-")], 416),
                ("GET", url, [("If-None-Match", etag)], 304),
                ("GET", url, [("If-Match", '"other"')], 412),
                ("GET", "/media/missing", [], 404),
                ("HEAD", "/media/missing", [], 404),
                ("DELETE", url, [], 405),
                ("GET", "/inner", [], 200),
            ]:
                response = client.get(target, headers, method=method)
                assert response.status == status
                if (method, target, status) == ("GET", url, 200):
                    assert response.body == data
        assert client.surplus() == b""


def test_asked_again_the_answer_is_the_same_until_the_file_is_another(served: Media) -> None:
    """What is remembered of a file is no less than what was found at first."""

    def told(response: Response) -> tuple[int, bytes, set[tuple[str, str]]]:
        check(response)
        of_the_connection = {"date", "connection", "keep-alive"}
        headers = {pair for pair in response.headers if pair[0] not in of_the_connection}
        return response.status, response.body, headers

    small = served.put("small.bin", noise(1000))
    for size in (100_000, 90_000):
        data = noise(size)
        url = served.put("again.bin", data, age=HOUR + size)
        first = served.get(url)
        again, before = ("If-None-Match", first["etag"]), ("If-Modified-Since", "yesterday")
        requests: list[tuple[list[tuple[str, str]], int, bytes]] = [
            ([], 200, data),
            ([again], 304, b""),
            ([again, before], 304, b""),
            ([again, ("Range", "bytes=0-9")], 304, b""),
            ([("If-None-Match", '"other"'), before], 200, data),
            ([("If-Modified-Since", first["last-modified"])], 304, b""),
            ([("Range", "bytes=0-")], 206, data),
            ([("Range", "bytes=5-9")], 206, data[5:10]),
            ([("Range", "bytes=-7")], 206, data[-7:]),
            ([("Range", "bytes=95000-")], *((206, data[95_000:]) if size > 95_000 else (416, b""))),
        ]
        answers = [told(served.get(url, *headers)) for headers, _, _ in requests]
        for (_, status, body), answer in zip(requests, answers, strict=True):
            assert answer[0] == status
            assert answer[1] == body or status == 416
        with Connection(served.server) as client:
            for _ in range(2):
                for (headers, _, _), answer in zip(requests, answers, strict=True):
                    assert told(client.get(url, headers)) == answer
        for (headers, _, _), answer in zip(requests, answers, strict=True):
            with Connection(served.server) as client:
                assert told(client.get(url, [*headers, ("Connection", "close")])) == answer
                assert client.ended()
    # Only the time goes on.
    date = served.get(url)["date"]
    until = time.monotonic() + 60
    while served.get(url)["date"] == date:
        assert time.monotonic() < until
        time.sleep(0.1)
    # A small file is at hand by now.
    with Connection(served.server) as client:
        for seed in range(3):
            for _ in range(3):
                assert client.get(small).body == noise(1000, seed=seed)
            stat = os.stat(served.root / "small.bin")
            with open(served.root / "small.bin", "r+b") as file:
                file.write(noise(1000, seed=seed + 1))
            os.utime(served.root / "small.bin", ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_pipelined_requests_are_answered_in_order(served: Media) -> None:
    files = [noise(size, seed=size) for size in (10, 0, 1000, 300_000, 5, 70_000, 1, 262_144, 9, 2)]
    urls = [served.put(f"pipe/{number}.bin", data) for number, data in enumerate(files)]
    with Connection(served.server) as client:
        client.send(b"".join(map(head, urls)))  # one segment
        for data in files:
            response = client.response()
            check(response)
            assert response.body == data
        assert client.surplus() == b""


def test_pipelined_requests_of_every_kind(served: Media) -> None:
    data = noise(1000)
    url = served.put("pipe/kinds.bin", data)
    with Connection(served.server) as client:
        client.send(
            head(url, method="HEAD")
            + head("/media/missing")
            + head(url, [("Range", "bytes=0-9,20-29")])
            + head("/inner")
            + head(url, [("If-None-Match", "*")])
            + head(url, [("Connection", "close")])
        )
        answers = [client.response("HEAD")] + [client.response() for _ in range(5)]
        assert [answer.status for answer in answers] == [200, 404, 206, 200, 304, 200]
        assert answers[-1].body == data
        assert client.ended()


def test_http_1_0(served: Media) -> None:
    data = noise(300_000)
    url = served.put("one-point-zero.bin", data)
    with Connection(served.server) as client:
        client.send(head(url, version="1.0"))
        response = client.response()
        check(response)
        assert response.body == data
        assert client.ended()


def test_many_clients_at_once(served: Media) -> None:
    data = noise(2 << 20)
    url = served.put("many.bin", data)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Connection(served.server)) for _ in range(16)]
        bodies = []
        for client in clients:
            client.request(url)
        for client in clients:
            bodies.append(client.body(client.head(), size=50_000))
        digests = [hashlib.sha256() for _ in clients]
        for pieces in itertools.zip_longest(*bodies, fillvalue=b""):
            for digest, piece in zip(digests, pieces, strict=True):
                digest.update(piece)
    assert {digest.digest() for digest in digests} == {hashlib.sha256(data).digest()}


def test_a_slow_client_gets_every_byte(served: Media) -> None:
    data = noise(12_000_000)
    unhurried(served.server, served.put("slow.bin", data), data)


def test_two_hundred_megabytes_byte_for_byte(served: Media) -> None:
    size = 200_000_003
    url = served.put("large.bin", b"")
    dice = random.Random(4)
    path = served.root / "large.bin"
    with open(path, "r+b") as file:
        file.truncate(size)
        for offset in [0, size - 100, *(dice.randrange(size - 100) for _ in range(2000))]:
            os.pwrite(file.fileno(), dice.randbytes(100), offset)
    with Connection(served.server) as client, open(path, "rb") as file:
        client.request(url)
        response = client.head()
        assert response.length == size
        for piece in client.body(response, size=1 << 20):
            assert piece == file.read(len(piece))
        assert file.read(1) == b""
        assert client.get("/inner").status == 200
    path.unlink()


def test_every_file_is_closed_again(served: Media) -> None:
    # More would be lent to granian, for a stated time.
    size = 200_000 if served.server.name == "granian" else 300_000
    url = served.put("closed.bin", noise(size))
    etag = served.get(url)["etag"]
    for method in ("GET", "HEAD", "POST"):
        for headers in (
            [],
            [("Range", "bytes=5-9,20-29")],
            [("Range", f"bytes={size}-")],
            [("If-None-Match", etag)],
            [("If-Match", '"other"')],
        ):
            served.get(url, *headers, method=method)
    for name in ("missing", "closed.bin/x", "", "sub", "special/fifo", "links/climbing.txt"):
        served.status(f"/media/{name}")
    # To granian the larger files of other tests are still lent, for 10 s.
    ours = served.root / "closed.bin" if served.server.name == "granian" else f"{served.base}/"
    deadline = time.monotonic() + 60
    while opened := [
        target
        for target in served.server.descriptors()
        if target.startswith(str(ours)) and not os.path.isdir(target)
    ]:
        assert time.monotonic() < deadline, opened
        time.sleep(0.02)
