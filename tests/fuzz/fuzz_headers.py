"""Request headers, line by line: each answer is well formed, and true of the file."""

from harness import fuzz, target, targets

FILES = [b"a.txt", b"big.bin", b"empty.png", b"sub/b.svg", b"missing"]
PREFIXES = ["/media/", "/through/"]
METHODS = ["GET", "HEAD", "GET", "OPTIONS", "GET", "POST", "GET", "get"]
TARGETS = targets()


def one(data: bytes) -> None:
    if not data:
        return
    kind, rest = data[0], data[1:]
    headers = []
    for line in rest.split(b"\n"):
        name, _, value = line.partition(b":")
        headers.append((name, value))
    name = FILES[(kind & 7) % len(FILES)]
    method = METHODS[kind >> 3 & 7]
    path = PREFIXES[kind >> 6 & 1] + name.decode()
    for one in TARGETS:
        answer = one.get(path, headers, method=method)
        if not answer.is_inner and name in target.FILES:
            target.check_file(answer, target.FILES[name], method)
        if method in ("GET", "HEAD") and not answer.is_inner:
            assert answer.status in (200, 206, 304, 403, 404, 412, 416)


TAG = b'"%x-%x"' % (10**18, len(target.BIG))
DATE = b"Sun, 09 Sep 2001 01:46:40 GMT"
SEEDS = [
    bytes([kind]) + seed
    for kind in (1, 1 | 8, 0, 2, 3 | 3 << 3)
    for seed in [
        b"",
        b"range:bytes=0-1",
        b"range:bytes=0-1,4-5,-1",
        b"range:bytes=1-,0-5",
        b"range:bytes=9999-",
        b"range:bytes=-0",
        b"range:bytes=0-1\nrange:bytes=4-5",
        b"range:bytes=0-1\nif-range:" + TAG,
        b"range:bytes=0-1\nif-range:" + DATE,
        b'if-match:"a", ' + TAG,
        b'if-none-match:W/"a", W/' + TAG,
        b"if-none-match:*",
        b"if-modified-since:" + DATE,
        b"if-unmodified-since:Sunday, 09-Sep-01 01:46:39 GMT",
        b"if-modified-since:Sun Sep  9 01:46:40 2001",
        b"origin:https://app.example",
        b"origin:https://app.example\naccess-control-request-method:GET",
        b"service-worker:script",
        b"Range:bytes=0-1\nRANGE:x",
    ]
]
WORDS = [
    b"range:",
    b"bytes=",
    b"if-range:",
    b"if-match:",
    b"if-none-match:",
    b"if-modified-since:",
    b"if-unmodified-since:",
    b"origin:",
    b"\nrange:",
    b'W/"',
    TAG,
    DATE,
    b"9" * 20,
    b", ",
]

if __name__ == "__main__":
    fuzz(one, SEEDS, WORDS)
