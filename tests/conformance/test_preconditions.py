"""Conditional requests: RFC 9110 section 13."""

import os
from email.utils import formatdate, parsedate_to_datetime

import pytest

from .support import Media, noise

# TAG and TIME are those of the file; TIME-1 is a second before.
CONDITIONS: list[tuple[list[tuple[str, str]], int]] = [
    ([("If-Match", "TAG")], 200),
    ([("If-Match", "*")], 200),
    ([("If-Match", '"other"')], 412),
    ([("If-Match", "W/TAG")], 412),
    ([("If-Match", '"a,b", TAG')], 200),
    ([("If-Match", ' , "a" ,TAG,, ')], 200),
    ([("If-Match", '"a"'), ("If-Match", "TAG")], 200),
    ([("If-Match", "TAG"), ("If-Match", '"a"')], 200),
    ([("If-Match", '"a"'), ("If-Match", '"b"')], 412),
    ([("If-Unmodified-Since", "TIME")], 200),
    ([("If-Unmodified-Since", "TIME+1")], 200),
    ([("If-Unmodified-Since", "TIME-1")], 412),
    ([("If-Unmodified-Since", "yesterday")], 200),
    ([("If-Match", "TAG"), ("If-Unmodified-Since", "TIME-1")], 200),
    ([("If-Match", '"other"'), ("If-Unmodified-Since", "TIME")], 412),
    ([("If-None-Match", "TAG")], 304),
    ([("If-None-Match", "W/TAG")], 304),
    ([("If-None-Match", "*")], 304),
    ([("If-None-Match", '"other"')], 200),
    ([("If-None-Match", '"a,b", W/"c", TAG')], 304),
    ([("If-None-Match", '"a,TAG"')], 200),
    ([("If-None-Match", '"a"'), ("If-None-Match", "TAG")], 304),
    ([("If-None-Match", "TAG"), ("If-None-Match", '"a"')], 304),
    ([("If-Modified-Since", "TIME")], 304),
    ([("If-Modified-Since", "TIME+1")], 304),
    ([("If-Modified-Since", "TIME-1")], 200),
    ([("If-Modified-Since", "tomorrow")], 200),
    ([("If-Modified-Since", "")], 200),
    ([("If-None-Match", '"other"'), ("If-Modified-Since", "TIME")], 200),
    ([("If-None-Match", "TAG"), ("If-Modified-Since", "TIME-1")], 304),
    ([("If-Match", '"other"'), ("If-None-Match", "TAG")], 412),
    ([("If-Match", "TAG"), ("If-None-Match", "TAG")], 304),
    ([("If-Unmodified-Since", "TIME-1"), ("If-None-Match", "TAG")], 412),
    ([("If-Unmodified-Since", "TIME"), ("If-Modified-Since", "TIME")], 304),
    ([("Range", "bytes=0-9"), ("If-None-Match", "TAG")], 304),
    ([("Range", "bytes=0-9"), ("If-Match", '"other"')], 412),
    ([("Range", "bytes=0-9"), ("If-Match", "TAG")], 206),
    ([("Range", "bytes=9999-"), ("If-None-Match", "TAG")], 304),
    ([("Range", "bytes=9999-"), ("If-Match", '"other"')], 412),
    ([("Range", "bytes=9999-")], 416),
    ([("Range", "bytes=0-9"), ("If-Range", "TAG")], 206),
    ([("Range", "bytes=0-9"), ("If-Range", "W/TAG")], 200),
    ([("Range", "bytes=0-9"), ("If-Range", '"other"')], 200),
    ([("Range", "bytes=0-9"), ("If-Range", "TIME")], 206),
    ([("Range", "bytes=0-9"), ("If-Range", "TIME+1")], 200),
    ([("Range", "bytes=0-9"), ("If-Range", "TIME-1")], 200),
    ([("Range", "bytes=0-9"), ("If-Range", "garbage")], 200),
    ([("Range", "bytes=9999-"), ("If-Range", "TAG")], 416),
    ([("Range", "bytes=9999-"), ("If-Range", '"other"')], 200),
    ([("Range", "bytes=0-9"), ("If-Match", "TAG"), ("If-Range", "TAG")], 206),
    ([("If-Range", "TAG")], 200),
    ([("If-Range", '"other"')], 200),
]


def test_preconditions_in_the_order_of_the_rfc(served: Media) -> None:
    data = noise(1000)
    url = served.put("conditions.bin", data)
    whole = served.get(url)
    modified = parsedate_to_datetime(whole["last-modified"]).timestamp()

    def meant(value: str) -> str:
        for word, shift in (("TIME+1", 1), ("TIME-1", -1), ("TIME", 0)):
            value = value.replace(word, formatdate(modified + shift, usegmt=True))
        return value.replace("TAG", whole["etag"])

    for conditions, status in CONDITIONS:
        headers = [
            # Inside a longer tag the quotes of ours would end it.
            (name, meant(value) if value != '"a,TAG"' else f'"a,{whole["etag"][1:-1]}"')
            for name, value in conditions
        ]
        assert served.get(url, *headers).status == status, headers
        at_head = {206: 200, 416: 200}.get(status, status)
        assert served.get(url, *headers, method="HEAD").status == at_head, headers


@pytest.mark.parametrize(
    "form",
    ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"],
    ids=["imf-fixdate", "rfc850", "asctime"],
)
def test_each_form_of_a_date(served: Media, form: str) -> None:
    url = served.put("dated.txt", b"x")
    os.utime(served.root / "dated.txt", (784111777, 784111777))
    date = parsedate_to_datetime("Sun, 06 Nov 1994 08:49:37 GMT")
    earlier = date.replace(second=36)
    assert served.status(url, ("If-Modified-Since", date.strftime(form))) == 304
    assert served.status(url, ("If-Modified-Since", earlier.strftime(form))) == 200
    assert served.status(url, ("If-Unmodified-Since", date.strftime(form))) == 200
    assert served.status(url, ("If-Unmodified-Since", earlier.strftime(form))) == 412


def test_an_error_has_no_precondition(served: Media) -> None:
    # RFC 9110 section 13.2.1: they count only where the answer without them is a success.
    for headers in ([("If-None-Match", "*")], [("If-Match", "*")], [("Range", "bytes=0-1")]):
        assert served.status("/media/missing.txt", *headers) == 404
        assert served.get("/media/missing.txt", *headers, method="POST").status == 405
