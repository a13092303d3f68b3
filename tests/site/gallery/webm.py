"""A film without an encoder of films: VP8 knows keyframes, and a lossy WebP is one of them."""

import io
import struct
from collections.abc import Iterator

from PIL import Image


def element(identity: str, *content: bytes) -> bytes:
    """One element of EBML (RFC 8794 section 5), its size always in eight bytes."""
    data = b"".join(content)
    return bytes.fromhex(identity) + (len(data) | 1 << 56).to_bytes(8) + data


def number(identity: str, value: int) -> bytes:
    return element(identity, value.to_bytes(8))


def keyframe(image: Image.Image) -> bytes:
    """The frame of a WebP: RIFF, its size, WEBP, "VP8 ", the size of the frame, the frame."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=60, method=0)
    data = buffer.getvalue()
    assert data[12:16] == b"VP8 "
    return data[20 : 20 + int.from_bytes(data[16:20], "little")]


def webm(frames: Iterator[Image.Image], size: tuple[int, int], fps: int) -> bytes:
    """A WebM (RFC 9559) of one track, with a cluster for each second and an index in front."""
    clusters: list[bytes] = []
    blocks: list[bytes] = []
    shown = 0
    for shown, image in enumerate(frames, 1):
        milliseconds = (shown - 1) % fps * 1000 // fps
        block = struct.pack(">BhB", 0x81, milliseconds, 0x80)  # track 1, and a keyframe
        blocks.append(element("A3", block, keyframe(image)))
        if len(blocks) == fps:
            clusters.append(element("1F43B675", number("E7", len(clusters) * 1000), *blocks))
            blocks = []
    if blocks:
        clusters.append(element("1F43B675", number("E7", len(clusters) * 1000), *blocks))
    head = element(
        "1A45DFA3",
        element("4282", b"webm"),
        number("4287", 2),  # the version of webm, and the oldest that reads it
        number("4285", 2),
    )
    info = element(
        "1549A966",
        number("2AD7B1", 1_000_000),  # times are in milliseconds
        element("4489", struct.pack(">d", shown * 1000 / fps)),
        element("4D80", b"media-asgi"),
        element("5741", b"media-asgi"),
    )
    video = element("E0", number("B0", size[0]), number("BA", size[1]))
    track = (number("D7", 1), number("73C5", 1), number("83", 1), element("86", b"V_VP8"))
    tracks = element("1654AE6B", element("AE", *track, video))

    def cues(start: int) -> bytes:
        points = []
        for second, cluster in enumerate(clusters):
            where = element("B7", number("F7", 1), number("F1", start))
            points.append(element("BB", number("B3", second * 1000), where))
            start += len(cluster)
        return element("1C53BB6B", *points)

    before = len(info) + len(tracks)
    index = cues(before + len(cues(0)))
    return head + element("18538067", info, tracks, index, *clusters)
