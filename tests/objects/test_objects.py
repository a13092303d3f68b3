"""What only objects have, over real stores and real servers."""

import gzip
import os
import time

import pytest
from obstore import delete

from ..conformance.support import noise
from ..support.client import Connection
from .engines import Engine
from .support import Bucket, serving

TEXT = b"body { color: red }\n" * 20_000
PLAIN = [("Accept-Encoding", "identity")]
GZIP = [("Accept-Encoding", "gzip")]


def test_an_object_stored_with_gzip(served: Bucket) -> None:
    stored = gzip.compress(TEXT, mtime=0)
    url = served.put("a.css", stored, attributes={"Content-Encoding": "gzip"})
    packed = served.exchange(url, *GZIP)
    assert (packed.status, packed.body) == (200, stored)
    assert packed["content-encoding"] == "gzip"
    assert packed["content-type"] == "text/css; charset=utf-8"
    part = served.exchange(url, *GZIP, ("Range", "bytes=3-9"))
    assert (part.status, part.body, part["content-encoding"]) == (206, stored[3:10], "gzip")
    for headers in ([], PLAIN, [("Range", "bytes=3-9")]):
        plain = served.exchange(url, *headers)
        assert (plain.status, plain.body) == (200, TEXT)
        assert "content-encoding" not in plain
        assert plain["accept-ranges"] == "none"
        assert plain["etag"] != packed["etag"]
    for response in (packed, plain):
        assert response["vary"] == "Accept-Encoding"
    assert served.exchange(url, *GZIP, ("If-None-Match", packed["etag"])).status == 304
    assert served.exchange(url, *PLAIN, ("If-None-Match", plain["etag"])).status == 304
    assert served.exchange(url, *PLAIN, ("If-None-Match", packed["etag"])).status == 200
    assert served.exchange(url, *PLAIN, method="HEAD").length == len(TEXT)


def test_the_disposition_of_an_object_is_kept(served: Bucket) -> None:
    disposition = "attachment; filename*=UTF-8''%C3%B6.pdf"
    url = served.put("b.pdf", b"%PDF", attributes={"Content-Disposition": disposition})
    assert served.get(url)["content-disposition"] == disposition
    assert served.get(url, ("Range", "bytes=1-2"))["content-disposition"] == disposition


@pytest.mark.parametrize("path", ["", "a//b.txt", "/a.txt", "%2e%2e/a.txt", "folder/"])
def test_a_path_that_is_no_key_is_missing(served: Bucket, path: str) -> None:
    served.put("folder/b.txt", b"x")
    assert served.exchange(f"/media/{path}").status in (
        (404, 200) if path == "a//b.txt" else (404,)
    )
    assert served.exchange("/media/folder").status == 404


def test_an_object_beyond_the_prefix_is_missing(served: Bucket) -> None:
    served.put("inside.txt", b"x")
    assert served.get("/media/inside.txt").status == 200
    for path in ("..%2finside.txt", "..\\inside.txt", "a\\..\\inside.txt", "%2e%2e%5cinside.txt"):
        assert served.exchange(f"/media/{path}").status == 404


def test_several_roots(served: Bucket) -> None:
    served.put("both/bucket.txt", b"bucket")
    served.put("both/both.txt", b"bucket")
    folder = served.base / "disk" / "both"
    folder.mkdir(exist_ok=True)
    (folder / "both.txt").write_bytes(b"disk")
    assert served.get("/both/both/both.txt").body == b"disk"
    assert served.get("/both/both/bucket.txt").body == b"bucket"
    assert served.status("/both/both/neither.txt") == 404
    (folder / "closed.txt").write_bytes(b"disk")
    served.put("both/closed.txt", b"bucket")
    (folder / "closed.txt").chmod(0)
    if os.geteuid():
        assert served.status("/both/both/closed.txt") == 403


def test_a_replaced_object_is_served_at_once(served: Bucket) -> None:
    url = served.put("replaced.txt", b"one")
    first = served.get(url)
    served.put("replaced.txt", b"two")
    second = served.get(url, ("If-None-Match", first["etag"]))
    assert (second.status, second.body) == (200, b"two")
    delete(served.store, "replaced.txt")
    assert served.status(url) == 404


def test_a_large_object_byte_for_byte(served: Bucket) -> None:
    data = noise(20_000_003)
    url = served.put("large.bin", data)
    with Connection(served.server, rcvbuf=64 << 10) as client:
        client.request(url)
        response = client.head()
        assert b"".join(client.body(response, size=128 << 10)) == data
    assert served.get(url, ("Range", "bytes=9000000-19999999")).body == data[9_000_000:20_000_000]


def growth(bucket: Bucket, url: str, clients: int) -> int:
    """Bytes that so many clients cost who read the head of a download, and then nothing."""
    assert bucket.get("/media/missing").status == 404
    before = bucket.server.rss()
    connections = [Connection(bucket.server, rcvbuf=64 << 10) for _ in range(clients)]
    try:
        for client in connections:
            client.request(url)
        for client in connections:
            client.head()
        time.sleep(3)
        return bucket.server.rss() - before
    finally:
        for client in connections:
            client.__exit__(None, None, None)


@pytest.mark.slow
def test_clients_that_read_nothing_cost_little_memory(served: Bucket) -> None:
    url = served.put("growth.bin", noise(100_000_000))
    growth(served, url, 4)
    assert growth(served, url, 32) <= 32 * 2**20


@pytest.mark.slow
def test_wrong_keys_are_a_502_and_nothing_of_it_reaches_a_client(
    seaweedfs: Engine, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    from . import support

    monkeypatch.setattr(support, "SECRET_KEY", "wrong")
    with serving("uvicorn", seaweedfs, tmp_path) as bucket:  # type: ignore[arg-type]
        for method in ("GET", "HEAD"):
            response = bucket.exchange("/media/a.txt", method=method)
            assert response.status == 502
            assert response["cache-control"] == "no-store"
            assert response.body in (b"502 Bad Gateway\n", b"")
        assert "SignatureDoesNotMatch" in bucket.server.log
