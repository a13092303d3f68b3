"""Which codings a client takes, and in which order it prefers them."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_asgi.http.codings import CODINGS, is_accepted, preferred

BR, ZSTD, GZIP = b"br", b"zstd", b"gzip"

PREFERRED: list[tuple[bytes | None, tuple[bytes, ...]]] = [
    (None, ()),
    (b"", ()),
    (b"gzip", (GZIP,)),
    (b"GZip", (GZIP,)),
    (b"x-gzip", (GZIP,)),
    (b"br", (BR,)),
    (b"deflate", ()),
    (b"compress, gzip", (GZIP,)),
    (b"gzip, deflate", (GZIP,)),
    (b"gzip, deflate, br, zstd", (BR, ZSTD, GZIP)),
    (b"gzip,br", (BR, GZIP)),
    (b" gzip\t,\tbr ", (BR, GZIP)),
    (b"gzip;q=1.0, br;q=0.5", (GZIP, BR)),
    (b"gzip;q=0.4, br;q=0.5, zstd;q=0.6", (ZSTD, BR, GZIP)),
    (b"gzip ; q=0.001", (GZIP,)),
    (b"gzip;Q=0.5", (GZIP,)),
    (b"gzip;q=1.", (GZIP,)),
    (b"gzip;q=1.000", (GZIP,)),
    # What is refused.
    (b"gzip;q=0", ()),
    (b"gzip;q=0.000", ()),
    (b"gzip;q=0, br", (BR,)),
    # A file without a coding counts as its own weight.
    (b"identity", ()),
    (b"identity, gzip", (GZIP,)),
    (b"identity;q=1, gzip;q=0.5", ()),
    (b"identity;q=0.5, gzip;q=1", (GZIP,)),
    (b"identity;q=0.5, gzip;q=0.5, br;q=0.4", (GZIP,)),
    (b"identity;q=0", ()),
    (b"identity;q=0, gzip;q=0.1", (GZIP,)),
    # "*" is each coding that isn't named, a file without one included.
    (b"*", ()),
    (b"*;q=0.5", ()),
    (b"*;q=0", ()),
    (b"gzip, *;q=0", (GZIP,)),
    (b"gzip;q=1.0, *;q=0.5", (GZIP,)),
    (b"gzip;q=0.5, *", ()),
    (b"identity;q=0, *", (BR, ZSTD, GZIP)),
    (b"identity;q=0.5, *;q=1", (BR, ZSTD, GZIP)),
    (b"identity;q=0.5, *;q=0.5", ()),
    (b"*, br;q=0, identity;q=0", (ZSTD, GZIP)),
    # The last word counts.
    (b"gzip, gzip;q=0", ()),
    (b"gzip;q=0, gzip", (GZIP,)),
    # A member that is none doesn't count, and the others do.
    (b"gzip;q=2", ()),
    (b"gzip;q=-1", ()),
    (b"gzip;q=0.0001", ()),
    (b"gzip;q=", ()),
    (b"gzip;q", ()),
    (b"gzip;", ()),
    (b"gzip;q=1;x=y", ()),
    (b"gzip q=1", ()),
    (b"gzip;q=\xb2, br", (BR,)),
    (b"gzip br", ()),
    (b",, ,gzip,,", (GZIP,)),
    (b"xgzip", ()),
    (b"gzip\x00", ()),
]


@pytest.mark.parametrize(("value", "expected"), PREFERRED)
def test_preferred(value: bytes | None, expected: tuple[bytes, ...]) -> None:
    assert preferred(value) == expected


@pytest.mark.parametrize(
    ("value", "accepted"),
    [
        (None, False),
        (b"", False),
        (b"gzip", True),
        (b"x-gzip;q=0.1", True),
        (b"gzip;q=0", False),
        (b"br", False),
        (b"*", True),
        (b"*;q=0", False),
        (b"gzip;q=0, *", False),
        (b"gzip, *;q=0", True),
        (b"identity, gzip;q=0.1", True),
    ],
)
def test_is_accepted(value: bytes | None, accepted: bool) -> None:
    assert is_accepted(value, b"gzip") is accepted


WEIGHTS = st.sampled_from([None, 0, 0.1, 0.5, 1])


@given(
    members=st.permutations(
        [*CODINGS, b"identity", b"*", b"deflate"],
    ).flatmap(lambda names: st.tuples(*(st.tuples(st.just(name), WEIGHTS) for name in names)))
)
def test_the_weights_decide(members: tuple[tuple[bytes, float | None], ...]) -> None:
    given_ = {name: weight for name, weight in members if weight is not None}
    value = b",".join(b"%s;q=%g" % pair for pair in given_.items())
    weight = {name: given_.get(name, given_.get(b"*", 0)) for name in [*CODINGS, b"identity"]}
    chosen = preferred(value)
    assert len(set(chosen)) == len(chosen)
    assert [weight[coding] for coding in chosen] == sorted(
        (weight[coding] for coding in chosen), reverse=True
    )
    for coding in CODINGS:
        assert coding not in chosen or weight[coding] >= max(weight[b"identity"], 0.001)
        assert coding in chosen or weight[coding] <= weight[b"identity"]
        assert is_accepted(value, coding) is (weight[coding] > 0)


@given(value=st.binary(max_size=600))
def test_every_value_is_read(value: bytes) -> None:
    assert set(preferred(value)) <= {*CODINGS}


@pytest.mark.parametrize("part", [b"gzip;q=0.1,", b"a", b" ", b",", b";", b"a;q=0."])
def test_a_long_value_takes_time_in_proportion(part: bytes) -> None:
    def seconds(length: int) -> float:
        value = (part * length)[:length]
        start = time.process_time()
        preferred(value)
        return time.process_time() - start

    assert seconds(1 << 20) < 20  # a square would take hours
