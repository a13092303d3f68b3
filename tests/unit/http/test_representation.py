import os
import re
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_asgi.http.representation import FileInfo, describe
from media_asgi.sources.local_file import file_info

NOW = 1_700_000_000
NS = 1_000_000_000


def info(
    size: int = 10,
    mtime_ns: int = (NOW - 60) * NS,
    inode: int = 1,
    device: int = 2,
    ctime_ns: int = (NOW - 30) * NS,
) -> FileInfo:
    values = (0o100644, inode, device, 1, 0, 0, size, 0, mtime_ns // NS, ctime_ns // NS)
    stat_result = os.stat_result(values, {"st_mtime_ns": mtime_ns, "st_ctime_ns": ctime_ns})
    return file_info(stat_result)


def test_a_file_is_described_by_its_headers() -> None:
    extra = [(b"x-own", b"1")]
    current = describe(
        info(size=0x2F, mtime_ns=10**9 * NS),
        NOW,
        content_type=b"image/png",
        cache_control=b"no-store",
        extra=extra,
    )
    assert current.size == 0x2F
    assert current.content_type == b"image/png"
    assert current.cache_control == b"no-store"
    assert current.extra == extra
    assert current.etag == b'"%x-2f"' % (10**9 * NS)
    assert (current.modified, current.settled, current.dated) == (10**9, True, True)
    assert current.last_modified == b"Sun, 09 Sep 2001 01:46:40 GMT"


@pytest.mark.parametrize(
    ("age_ns", "settled", "dated", "lasting"),
    [
        pytest.param(60 * NS, True, True, True, id="a-minute"),
        pytest.param(2 * NS, True, True, True, id="two-seconds"),
        pytest.param(2 * NS - 1_000_000, False, False, False, id="a-millisecond-less"),
        pytest.param(0, False, False, False, id="this-moment"),
        pytest.param(-1_000_000, True, False, False, id="a-millisecond-ahead"),
        pytest.param(-3600 * NS, True, False, False, id="an-hour-ahead"),
    ],
)
def test_what_a_time_stamp_vouches_for(
    age_ns: int, settled: bool, dated: bool, lasting: bool
) -> None:
    # Sections 8.8.1 and 8.8.2.2.
    moment = NOW + 0.5
    stamp = NOW * NS + NS // 2 - age_ns
    current = describe(info(mtime_ns=stamp), moment)
    assert (current.settled, current.dated, current.lasting) == (settled, dated, lasting)
    assert current.etag == b'"%x-a"' % stamp


@pytest.mark.parametrize("mtime_ns", [0, 1, NS, 2 * NS - 1])
def test_a_time_that_builders_set_vouches_for_nothing(mtime_ns: int) -> None:
    def tag(**of: int) -> bytes:
        current = describe(info(mtime_ns=mtime_ns, **of), NOW)
        assert (current.modified, current.dated) == (None, False)
        assert (current.settled, current.lasting) == (True, True)
        return current.etag

    tags = [tag(), tag(size=11), tag(inode=7), tag(ctime_ns=NOW * NS - 4 * NS)]
    assert len(set(tags)) == 4
    assert tag() == tags[0]
    # What no one outside is to know, isn't in it.
    assert re.fullmatch(b'"[0-9a-f]{32}"', tags[0])
    young = describe(info(mtime_ns=mtime_ns, ctime_ns=NOW * NS - NS), NOW)
    assert (young.settled, young.lasting) == (False, False)


def test_the_seconds_beside_those_of_builders() -> None:
    for mtime_ns in (-1, 2 * NS):
        current = describe(info(mtime_ns=mtime_ns), NOW)
        assert current.etag == b'"%x-a"' % mtime_ns
        assert current.modified == max(0, mtime_ns // NS)


def test_the_tag_is_the_same_on_every_replica() -> None:
    here = describe(info(inode=1, device=1), NOW)
    there = describe(info(inode=7, device=9), NOW + 1000)
    assert here.etag == there.etag
    assert here.last_modified == there.last_modified


MOMENTS = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.integers((NOW - 10) * NS, (NOW + 10) * NS),
)
SIZES = st.integers(0, 2**63 - 1)


@given(mtime_ns=MOMENTS, size=SIZES, now=st.floats(1_600_000_000, 4_000_000_000))
def test_validators_of_a_file(mtime_ns: int, size: int, now: float) -> None:
    current = describe(info(size, mtime_ns), now)
    # Section 8.8.3: entity-tag = [ weak ] opaque-tag.
    assert re.fullmatch(rb'"[\x21\x23-\x7e]*"', current.etag)
    if current.modified is None:
        assert 0 <= mtime_ns < 2 * NS
        return
    # Section 8.8.2.1: never later than the message itself.
    assert 0 <= current.modified <= now
    if 0 <= mtime_ns <= now * NS:
        assert current.modified == mtime_ns // NS
    assert re.fullmatch(rb"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", current.last_modified)
    moment = parsedate_to_datetime(current.last_modified.decode())
    assert moment.timestamp() == current.modified


@given(one=st.tuples(SIZES, MOMENTS), other=st.tuples(SIZES, MOMENTS))
def test_two_versions_have_two_tags(one: tuple[int, int], other: tuple[int, int]) -> None:
    tags = [describe(info(*version), NOW).etag for version in (one, other)]
    set_by_builders = all(0 <= mtime_ns < 2 * NS for _, mtime_ns in (one, other))
    assert (tags[0] == tags[1]) == (one[0] == other[0] if set_by_builders else one == other)


def test_two_versions_within_a_second() -> None:
    tags = {describe(info(mtime_ns=(NOW - 60) * NS + n), NOW).etag for n in range(10)}
    assert len(tags) == 10
