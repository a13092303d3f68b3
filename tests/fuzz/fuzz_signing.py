"""Signed links: what is signed holds, what is altered does not, whatever it is altered to."""

from urllib.parse import quote_from_bytes, unquote_to_bytes

from django.core.signing import BadSignature, SignatureExpired
from harness import fuzz, target, targets

from media_asgi import signing

TARGETS = targets()
NOW = 1_700_000_000.0


def one(data: bytes) -> None:
    if not data:
        return
    kind, rest = data[0], data[1:]
    [_forge, _sign, _alter][kind % 3](rest)


def _forge(data: bytes) -> None:
    """Nothing that was not signed is let in, and nothing is an error."""
    path, _, query = data.partition(b"?")
    try:
        signing.verify(path.decode("utf-8", "surrogateescape"), query, now=NOW)
    except BadSignature:
        pass
    else:
        raise AssertionError("a link that nobody signed")
    for one in TARGETS:
        assert one.get("/signed/s.txt", query_string=data).status == 403


def _sign(data: bytes) -> None:
    """A link is good for the file, the time and the name that it was signed with."""
    name, _, download = data.partition(b"\n")
    url = "/signed/" + quote_from_bytes(name)
    saved = download.decode("utf-8", "replace") or None
    link = signing.sign_url(url, expires_in=60, download=saved, now=NOW)
    path, query = split(link)
    grant = signing.verify(path, query, now=NOW + 59)
    assert grant == signing.Grant(int(NOW) + 60, saved or False)
    for field, value in signing.headers(grant, NOW):
        assert target.NAME.fullmatch(field)
        assert target.VALUE.fullmatch(value)
    try:
        signing.verify(path, query, now=NOW + 60)
    except SignatureExpired:
        pass
    else:
        raise AssertionError("a link that has ended")
    link = signing.sign_url("/signed/s.txt", download=saved)
    for one in TARGETS:
        answer = one.get("/signed/s.txt", query_string=split(link)[1])
        assert (answer.status, answer.body) == (200, b"signed for")


def _alter(data: bytes) -> None:
    """Bytes put in anywhere: the link breaks, or says what it said."""
    if len(data) < 3:
        return
    place, count, put = data[0], data[1] & 3, data[2:]
    link = signing.sign_url("/signed/s.txt", download="a b.pdf", expires_in=60, now=NOW)
    place = place * len(link) // 256
    altered = link[:place].encode() + put + link[place + count :].encode()
    path_, _, query = altered.partition(b"?")
    path = unquote_to_bytes(path_).decode("utf-8", "surrogateescape")
    try:
        grant = signing.verify(path, query, now=NOW)
    except BadSignature:
        return
    assert path == "/signed/s.txt"
    assert grant == signing.Grant(int(NOW) + 60, "a b.pdf")


def split(link: str) -> tuple[str, bytes]:
    path, _, query = link.partition("?")
    return unquote_to_bytes(path).decode("utf-8", "surrogateescape"), query.encode()


# It has ended, so that nothing made of it holds.
LINK = signing.sign_url("/signed/s.txt", download="é.pdf", now=0).encode()
SEEDS = [
    b"\x00" + LINK,
    b"\x00" + LINK.partition(b"?")[2],
    b"\x00/signed/s.txt?media-expires=1&media-signature=a",
    b"\x00media-expires=1&media-expires=2",
    b"\x00media-download=%ff&media-expires=99999999999999999999&media-signature=%3A",
    b"\x01a.txt\nreport.pdf",
    b"\x01\xff\n\xff\r\n\"\\;/'",
    "\x01é\nü\u2028.pdf".encode(),
    b"\x02\x10\x01%70",
    b"\x02\x40\x00&x=1",
    b"\x02\xff\x01=",
]
WORDS = [b"media-expires=", b"media-download=", b"media-signature=", b"&", b"%2", b"=", b"?"]

if __name__ == "__main__":
    fuzz(one, SEEDS, WORDS)
