"""Request targets, byte by byte: each gets the file that it names, if that is one to be served."""

import re
from urllib.parse import unquote_to_bytes

from harness import fuzz, target, targets

PREFIXES = [
    b"/media/",
    b"/through/",
    b"/any/",
    b"/media/vip/",
    b"/protected/",
    b"/signed/",
    b"/members/",
    b"",
]
TARGETS = targets()


def one(data: bytes) -> None:
    if not data:
        return
    kind, rest = data[0], data[1:]
    asked = PREFIXES[kind & 7] + rest
    raw = asked.partition(b"?")[0]
    path = unquote_to_bytes(raw).decode("utf-8", "replace")
    has_raw_path = bool(kind & 8)
    name = unquote_to_bytes(raw) if has_raw_path else path.encode()
    root_path: str | None = ["", "/app", None, "/app/"][kind >> 6]
    if root_path and kind & 16:
        path = "/app" + path
        asked = b"/app" + asked
    elif root_path and re.match("/+app/", path):
        name = re.sub(b"^/+app", b"", name)
    for one in TARGETS:
        scope = target.scope(path, raw_path=asked if has_raw_path else None)
        scope["root_path"] = root_path
        answer = one.ask(scope)
        target.check_path(answer, name)


SEEDS = [
    bytes([kind]) + seed
    for kind in (8, 0, 8 | 1, 8 | 2, 8 | 16 | 64)
    for seed in [
        *target.FILES,
        *target.ANY,
        b"../secret.txt",
        b"%2e%2e/secret.txt",
        b"%2e%2e%2fsecret.txt",
        b"..%5csecret.txt",
        b"%252e%252e%252fsecret.txt",
        b"..%c0%afsecret.txt",
        b"%c0%ae%c0%ae/secret.txt",
        b"..%ef%bc%8fsecret.txt",
        b"%uff0e%uff0e/secret.txt",
        b"sub/../../secret.txt",
        b"sub//b.svg",
        b"./a.txt",
        b"a.txt/",
        b"a.txt%00.png",
        b".env",
        b"%2eenv",
        b"out",
        b"outside/secret.txt",
        b"absolute",
        b"loop",
        b"dangling",
        b"proc",
        b"fifo.mp4",
        b"socket.png",
        b"to-vip/x.txt",
        b"vip/x.txt",
        b"a.txt?x=..",
        b"%ff%fe.bin",
        b"%C3%A5/%C3%B8.txt",
        b"a" * 300,
        b"a/" * 3000,
    ]
]

if __name__ == "__main__":
    fuzz(one, SEEDS, [b"..", b"%2e", b"%2f", b"%00", b"/media/", b"/app", b"%ff", b"\xef\xbf\xbd"])
