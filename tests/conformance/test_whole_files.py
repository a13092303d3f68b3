"""Whole files: GET, HEAD, other methods, validators."""

import os
import re
import time

import pytest

from ..support.client import Connection
from ..support.site import HOUR
from .support import Media, check, noise


@pytest.mark.parametrize("size", [0, 1, 1000, 65536, 65537, 262144, 262145, (3 << 20) + 7])
def test_a_file_arrives_byte_for_byte(served: Media, size: int) -> None:
    data = noise(size)
    response = served.get(served.put(f"whole/{size}.bin", data))
    assert response.status == 200
    assert response.body == data
    assert response["content-type"] == "application/octet-stream"
    assert response["accept-ranges"] == "bytes"
    assert response["cache-control"] == "no-cache"


@pytest.mark.parametrize("size", [0, 1000, 300_000])
def test_head_is_get_without_its_body(served: Media, size: int) -> None:
    url = served.put(f"head/{size}.bin", noise(size))
    etag = served.get(url)["etag"]
    for target, headers in [
        (url, []),
        (url, [("If-None-Match", etag)]),
        (url, [("If-Match", '"other"')]),
        (url + ".missing", []),
        ("/media/head", []),
    ]:
        get = served.get(target, *headers)
        other = served.get(target, *headers, method="HEAD")
        assert other.status == get.status
        assert other.body == b""
        assert sorted(other.headers) == sorted(
            [(name, other["date"] if name == "date" else value) for name, value in get.headers]
        )


def test_a_range_is_for_get_alone(served: Media) -> None:
    url = served.put("range/head.bin", noise(1000))
    for value in ("bytes=0-9", "bytes=5000-"):
        response = served.get(url, ("Range", value), method="HEAD")
        assert response.status == 200
        assert response.length == 1000


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
def test_other_methods_are_not_allowed(served: Media, method: str) -> None:
    bodies = [b"", b"x" * 100_000]
    if served.server.tls and served.server.name in ("hypercorn", "granian"):
        # They close before they have read it all, and over TLS the answer can be lost with it.
        bodies = [b""]
    for url in (served.put("method.txt", b"as it was"), "/media/missing.txt"):
        for body in bodies:
            with Connection(served.server) as client:
                client.request(url, method=method, body=body)
                response = client.response(method)
                check(response, method)
                assert response.status == 405
                assert {m.strip() for m in response["allow"].split(",")} == {"GET", "HEAD"}
    assert served.get("/media/method.txt").body == b"as it was"


def test_the_query_is_no_part_of_the_name(served: Media) -> None:
    url = served.put("query.txt", b"here")
    assert served.get(url + "?v=2&x=../../secret.txt").body == b"here"


def test_the_validators_of_a_file(served: Media) -> None:
    url = served.put("validators.txt", b"x")
    os.utime(served.root / "validators.txt", (784111777, 784111777))
    response = served.get(url)
    assert response["last-modified"] == "Sun, 06 Nov 1994 08:49:37 GMT"
    assert response["etag"].startswith('"')


def test_versions_within_one_second_differ(served: Media) -> None:
    url = served.put("versions.txt", b"one")
    path = served.root / "versions.txt"
    tags: list[str] = []
    for nanosecond in (0, 1_000, 5_000_000):
        path.write_bytes(b"%03d" % len(tags))
        os.utime(path, ns=(0, 1_700_000_000_000_000_000 + nanosecond))
        tags.append(served.get(url)["etag"])
    path.write_bytes(b"longer")
    os.utime(path, ns=(0, 1_700_000_000_000_000_000))
    tags.append(served.get(url)["etag"])
    assert len(set(tags)) == 4


def test_a_replaced_file_has_another_tag_at_once(served: Media) -> None:
    url = served.put("replaced.txt", b"one", age=0)
    first = served.get(url)
    path = served.root / "replaced.txt"
    before = path.stat().st_mtime_ns
    while path.stat().st_mtime_ns == before:  # the file system's tick, some milliseconds
        (served.root / "replaced.new").write_bytes(b"two")
        (served.root / "replaced.new").rename(path)
    second = served.get(url, ("If-None-Match", first["etag"]))
    assert second.status == 200
    assert second.body == b"two"
    assert second["etag"] != first["etag"]


def test_a_copy_on_another_replica_has_the_same_tag(served: Media) -> None:
    urls = [served.put("replica/a.txt", b"same"), served.put("replica/b.txt", b"same")]
    for name in "ab":
        os.utime(served.root / f"replica/{name}.txt", ns=(0, 1_700_000_000_123_456_789))
    assert len({served.get(url)["etag"] for url in urls}) == 1


def test_a_tag_stays_while_the_file_does(served: Media) -> None:
    # DuckDB, nginx's slice module and download managers give up where it changes.
    url = served.put("fresh.txt", b"fresh", age=0)
    tag = served.get(url)["etag"]
    assert re.fullmatch(r'"[\x21\x23-\x7e]*"', tag)
    assert served.status(url, ("If-Match", tag)) == 200
    assert served.status(url, ("If-None-Match", tag)) == 304
    assert served.status(url, ("Range", "bytes=0-0")) == 206
    modified = (served.root / "fresh.txt").stat().st_mtime
    while time.time() < modified + 2.1:
        time.sleep(0.1)
    assert served.get(url)["etag"] == tag
    assert served.status(url, ("Range", "bytes=0-1"), ("If-Range", tag)) == 206


def test_a_file_whose_time_lies_ahead(served: Media) -> None:
    url = served.put("ahead.txt", b"x", age=-HOUR)
    response = served.get(url)
    for validator, status in ((response["etag"], 206), (response["last-modified"], 200)):
        assert served.status(url, ("Range", "bytes=0-0"), ("If-Range", validator)) == status


def test_a_file_whose_time_a_builder_set(served: Media) -> None:
    url = served.put("built.txt", b"built")
    os.utime(served.root / "built.txt", (1, 1))
    response = served.get(url)
    assert "last-modified" not in response
    assert served.status(url, ("If-None-Match", response["etag"])) == 304
    assert served.status(url, ("If-Modified-Since", "Sat, 01 Jan 2050 00:00:00 GMT")) == 200
