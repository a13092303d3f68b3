"""Names: what a URL may be called, and what can't be a name."""

import os
import re
from urllib.parse import quote, quote_from_bytes

from .support import Media

NAMES: list[str | bytes] = [
    "plain.txt",
    "with  space.txt",
    " leading and trailing ",
    "ünïcödé.txt",
    "u\u0308nicode, decomposed.txt",
    "日本語.txt",
    "emoji 😀.txt",
    "\u202egnp.exe",
    "100%.txt",
    "%41.txt",
    "%2e%2e",
    "%00",
    "what?.txt",
    "#hash.txt",
    "a+b.txt",
    "semi;colon=1.txt",
    "a&b=c.txt",
    "'single'.txt",
    '"double".txt',
    "new\nline.txt",
    "carriage\rreturn\r\n.txt",
    "tab\t.txt",
    "\x01\x7f.txt",
    "back\\slash.txt",
    "<b>(round)[square]{curly}.txt",
    "C:drive.txt",
    "CON",
    "~tilde@at!bang$*.txt",
    "-dash",
    "dots...",
    "a" * 255,
    b"\xff\xfe.txt",
    b"latin-1 \xe9.txt",
    b"\xc0\xae\xc0\xae",
    b"half \xe6\x97.txt",
]


def test_every_name_is_served_under_its_encoded_url(served: Media) -> None:
    for number, name in enumerate(NAMES):
        data = b"file %d" % number
        raw = os.fsencode(name)
        if raw.startswith(b"."):
            continue
        if served.server.name == "anycorn" and isinstance(name, bytes):
            continue  # it refuses each path that is no UTF-8 by itself
        served.put(b"names/" + raw, data)
        for safe in ("", "!$&'()*+,;=:@"):
            encoded = quote_from_bytes(raw, safe=safe)
            assert served.get(f"/media/names/{encoded}").body == data, name
            lower = re.sub("%..", lambda match: match[0].lower(), encoded)
            assert served.get(f"/media/names/{lower}").body == data, name
        everything = "".join(f"%{byte:02X}" for byte in raw)
        assert served.get(f"/media/names/{everything}").body == data, name


def test_a_deep_folder(served: Media) -> None:
    assert served.get(served.put("d/" * 60 + "deep.txt", b"deep")).body == b"deep"


def test_what_can_be_no_name(served: Media) -> None:
    served.put("plain.txt", b"x")
    served.put("sub/plain.txt", b"x")
    for target in [
        "/media/",
        "/media/sub",
        "/media/sub/",
        "/media/plain.txt/",
        "/media/plain.txt/more",
        "/media/plain.txt//",
        "/media//./plain.txt",
        "/media/./plain.txt",
        "/media/sub/../plain.txt",
        "/media/%2e/plain.txt",
        "/media/plain.txt%00",
        "/media/plain%00.txt",
        "/media/%00",
        "/media/" + "a" * 256,
        "/media/" + quote("ü" * 128),
        "/media/" + "/".join(["a" * 200] * 25),
        "/media/" + "a/" * 4000,
        "/media/" + "%61" * 5000,
    ]:
        assert served.status(target) == 404, target


def test_runs_of_slashes_are_one(served: Media) -> None:
    served.put("sub/slashes.txt", b"merged")
    for path in (
        "/media//sub/slashes.txt",
        "/media/sub//slashes.txt",
        "/media///sub////slashes.txt",
        "/media/%2fsub%2F/slashes.txt",
    ):
        assert served.get(path).body == b"merged", path
