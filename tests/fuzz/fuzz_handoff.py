"""What an application answers, with names in it that a stranger chose: only internal files go out.

A path of its own making that leads nowhere is the application's fault, and a 500.
"""

from harness import fuzz, target, targets

TARGETS = targets()
PROTECTED = set(target.PROTECTED.values())
STATUSES = [200, 201, 404, 206]
FIELDS = [
    b"x-accel-redirect",
    b"X-Sendfile",
    b"content-type",
    b"cache-control",
    b"content-disposition",
    b"etag",
    b"x-accel-buffering",
    b"content-length",
    b"vary",
]


def start(kind: int, data: bytes, base: bytes) -> dict[str, object]:
    headers = []
    for number, value in enumerate(data.split(b"\n")):
        # An ASGI server takes no other values, so that no application sends them.
        if target.VALUE.fullmatch(value):
            field = FIELDS[0 if number == 0 and kind & 1 else (kind + number) % len(FIELDS)]
            headers.append((field, value.replace(b"BASE", base)))
    return {
        "status": STATUSES[kind >> 1 & 3],
        "headers": (pair for pair in headers) if kind & 8 else headers,
    }


def one(data: bytes) -> None:
    if not data:
        return
    kind, rest = data[0], data[1:]
    for one in TARGETS:
        one.handed_over = start(kind, rest, bytes(one.base))
        headers = [(b"range", b"bytes=1-2,4-4")] if kind & 16 else []
        method = "HEAD" if kind & 32 else "GET"
        answer = one.get("/application", headers, method=method)
        names = {name.lower() for name, _ in answer.headers}
        assert not names & {b"x-accel-redirect", b"x-sendfile"}
        if answer.body not in (b"inner", b"") and answer.status == 200:
            assert answer.body in PROTECTED
        if answer.status == 500 and method == "GET":
            assert answer.body == b"500 Internal Server Error\n"


SEEDS = [
    bytes([kind]) + seed
    for kind in (1, 1 | 16, 9, 0)
    for seed in [
        b"/protected/p.txt",
        b"/protected/p.txt\nimage/png\nprivate\nattachment",
        b"/protected/\xe9 \xfc.pdf",
        "/protected/é ü.pdf".encode(),
        b"/protected/%C3%A9%20%C3%BC.pdf",
        b"/protected/%ff.bin",
        b"/protected/\xff.bin",
        b"/protected/100%.txt",
        b"/protected/sub/=?utf-8?q?x?=",
        b"=?utf-8?b?L3Byb3RlY3RlZC/DqSDDvC5wZGY=?=",
        b"=?utf-8?q?/protected/p.txt?=",
        b"=?idna?q?xn--=FF=FE?=",
        b"=?utf-16?b?//79?= =?utf-7?q?+?=",
        b"/protected/../secret.txt",
        b"/protected/%2e%2e/secret.txt",
        b"/media/a.txt",
        b"/nowhere",
        b"BASE/protected/p.txt",
        b"BASE/protected/../secret.txt",
        b"BASE/secret.txt",
        b"protected/p.txt",
    ]
]

WORDS = [b"/protected/", b"=?utf-8?q?", b"=?utf-8?b?", b"?=", b"%2e", b"../", b"BASE/", b"\n"]

if __name__ == "__main__":
    fuzz(one, SEEDS, WORDS)
