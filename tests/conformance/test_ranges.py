"""Range requests: RFC 9110 section 14."""

import email
import email.policy
import os
import re

import pytest

from ..support.client import Response
from .support import Media, noise

N = 1000


GIGANTIC = "9" * 40


RANGES: list[tuple[str, list[tuple[int, int]] | int]] = [
    ("bytes=0-0", [(0, 1)]),
    ("bytes=0-", [(0, N)]),
    ("bytes=5-9", [(5, 10)]),
    ("bytes=005-009", [(5, 10)]),
    ("bytes=999-", [(999, N)]),
    ("bytes=990-5000", [(990, N)]),
    (f"bytes=990-{GIGANTIC}", [(990, N)]),
    ("bytes=-1", [(999, N)]),
    ("bytes=-1000", [(0, N)]),
    ("bytes=-5000", [(0, N)]),
    (f"bytes=-{GIGANTIC}", [(0, N)]),
    ("BYTES=0-9", [(0, 10)]),
    ("bytes=,0-9", [(0, 10)]),
    ("bytes=0-1,5-6", [(0, 2), (5, 7)]),
    ("bytes=0-1 ,\t5-6", [(0, 2), (5, 7)]),
    ("bytes=5-6,0-1", [(5, 7), (0, 2)]),
    ("bytes=-5,0-4,500-509", [(995, N), (0, 5), (500, 510)]),
    ("bytes=0-1,2000-2001,5-6", [(0, 2), (5, 7)]),
    ("bytes=2000-,5-6", [(5, 7)]),
    ("bytes=0-1,-0", [(0, 2)]),
    ("bytes=0-9,5-19", [(0, 20)]),
    ("bytes=5-19,100-109,0-9", [(0, 20), (100, 110)]),
    ("bytes=0-999,0-999", 200),  # more bytes than there are
    ("bytes=0-,-1", 200),
    ("bytes=1000-", 416),
    ("bytes=1000-2000", 416),
    (f"bytes={GIGANTIC}-", 416),
    ("bytes=-0", 416),
    ("bytes=1000-,2000-3000", 416),
    ("bytes=5-4", 200),
    ("bytes=0-1,5-4", 200),
    ("bytes=", 200),
    ("bytes", 200),
    ("bytes=-", 200),
    ("bytes=a-b", 200),
    ("bytes=0-1,x", 200),
    ("bytes=0x1-5", 200),
    ("bytes=+1-5", 200),
    ("bytes=1_0-20", 200),
    ("bytes=1.0-5", 200),
    ("bytes=1-2-3", 200),
    ("bytes=--1", 200),
    ("bytes=0 - 5", 200),
    ("bytes 0-5", 200),
    ("bytes=0-1;5-6", 200),
    ("bytes=0-1, bytes=5-6", 200),
    ("bytes:0-5", 200),
    ("items=0-5", 200),
    ("=0-5", 200),
    ("0-5", 200),
    ("", 200),
]


def parts(response: Response) -> list[tuple[int, int, bytes]]:
    """The start, the stop and the bytes of each range of a 206, its framing taken apart by hand."""
    kind = response["content-type"]
    if not kind.startswith("multipart/byteranges"):
        return [(*content_range(response["content-range"]), response.body)]
    assert "content-range" not in response  # RFC 9110 section 15.3.7.2
    match = re.fullmatch(
        r"multipart/byteranges; ?boundary=\"?([A-Za-z0-9'()+_,./:=? -]{1,70})\"?", kind
    )
    assert match
    delimiter = b"\r\n--" + match[1].encode()
    first, *pieces, last = (b"\r\n" + response.body).split(delimiter)
    assert first in (b"", b"\r\n")
    assert last in (b"--", b"--\r\n")
    found = []
    for piece in pieces:
        start, _, data = piece.partition(b"\r\n\r\n")
        blank, *lines = start.split(b"\r\n")
        assert blank == b""
        fields = dict(line.decode().split(": ", 1) for line in lines)
        fields = {name.lower(): value for name, value in fields.items()}
        assert fields["content-type"] == "application/octet-stream"
        found.append((*content_range(fields["content-range"]), data))
    return found


def content_range(value: str) -> tuple[int, int]:
    match = re.fullmatch(r"bytes (0|[1-9]\d*)-(0|[1-9]\d*)/(\d+)", value)
    assert match
    start, last, size = map(int, match.groups())
    assert start <= last < size == N
    return start, last + 1


def test_each_range_gives_its_bytes_or_is_refused(served: Media) -> None:
    data = noise(N, seed=1)
    url = served.put("ranges.bin", data)
    whole = served.get(url)
    for value, expected in RANGES:
        response = served.get(url, ("Range", value))
        if expected == 416:
            assert response.status == 416, value
            assert response["content-range"] == f"bytes */{N}"
        elif expected == 200:
            assert response.status == 200, value
            assert response.body == data
        else:
            assert response.status == 206, value
            found = parts(response)
            assert [(start, stop) for start, stop, _ in found] == expected, value
            assert all(piece == data[start:stop] for start, stop, piece in found)
            assert response["etag"] == whole["etag"]


def test_one_range_is_never_a_multipart(served: Media) -> None:
    # RFC 9110 section 15.3.7.2: a client that asked for one may not know the type.
    url = served.put("one.bin", noise(N))
    response = served.get(url, ("Range", "bytes=10-19"))
    assert response["content-type"] == "application/octet-stream"
    assert response.length == 10


def test_adjacent_ranges_lose_and_double_nothing(served: Media) -> None:
    data = noise(N, seed=2)
    url = served.put("adjacent.bin", data)
    found = parts(served.get(url, ("Range", "bytes=0-4,5-9,10-19")))
    assert b"".join(piece for _, _, piece in found) == data[:20]


def test_a_multipart_as_a_library_reads_it(served: Media) -> None:
    # Data that looks like framing.
    data = (b"\r\n--\r\nContent-Range: bytes 0-1/2\r\n\r\n" * N)[:N]
    url = served.put("framing.bin", data)
    response = served.get(url, ("Range", "bytes=1-100,300-399,200-209"))
    message = email.message_from_bytes(
        f"Content-Type: {response['content-type']}\r\n\r\n".encode() + response.body,
        policy=email.policy.HTTP,
    )
    assert not message.defects
    assert message.get_content_type() == "multipart/byteranges"
    assert [
        (part["Content-Range"], part.get_payload(decode=True)) for part in message.iter_parts()
    ] == [
        (f"bytes 1-100/{N}", data[1:101]),
        (f"bytes 300-399/{N}", data[300:400]),
        (f"bytes 200-209/{N}", data[200:210]),
    ]


@pytest.mark.parametrize(
    "value",
    [
        "bytes=" + ",".join(["0-"] * 5),
        "bytes=" + ",".join(["0-999"] * 1000),
        "bytes=" + ",".join(f"{i}-{i}" for i in range(0, 240, 2)),
        "bytes=" + ",".join(f"{i}-{i}" for i in range(0, 1000, 2)),
        "bytes=" + ",".join(f"{i}-" for i in range(1000)),
        "bytes=" + ",".join(f"-{i}" for i in range(1, 1000)),
        "bytes=" + "," * 4000 + "0-1",
    ],
)
def test_no_set_of_ranges_amplifies(served: Media, value: str) -> None:
    data = noise(N, seed=3)
    response = served.get(served.put("amplify.bin", data), ("Range", value))
    if response.status == 200:
        assert response.body == data
    else:
        found = parts(response)
        assert sum(len(piece) for _, _, piece in found) <= N
        assert len(found) <= 100
        assert all(piece == data[start:stop] for start, stop, piece in found)
    assert len(response.body) <= N + 100 * 200


@pytest.mark.parametrize("value", ["bytes=0-", "bytes=0-0", "bytes=-1", "bytes=5-6,7-8", "x=1-2"])
def test_an_empty_file_has_no_ranges(served: Media, value: str) -> None:
    response = served.get(served.put("empty.bin", b""), ("Range", value))
    assert response.status == 200
    assert response.body == b""


def test_ranges_far_into_a_file_larger_than_4_gib(served: Media) -> None:
    url = served.put("huge.bin", b"")
    marks = {0: b"start", (1 << 31) - 2: b"2GiB", (1 << 32) - 2: b"4GiB", (5 << 30) - 3: b"end"}
    with open(served.root / "huge.bin", "r+b") as file:
        file.truncate(5 << 30)
        for offset, mark in marks.items():
            os.pwrite(file.fileno(), mark, offset)
    for offset, mark in marks.items():
        last = offset + len(mark) - 1
        response = served.get(url, ("Range", f"bytes={offset}-{last}"))
        assert response.body == mark
        assert response["content-range"] == f"bytes {offset}-{last}/{5 << 30}"
    assert served.get(url, method="HEAD").length == 5 << 30
