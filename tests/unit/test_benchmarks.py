"""The parts of the benchmarks that compute."""

import pytest

from benchmarks.media import CASES
from benchmarks.paired import by_start, ratio
from benchmarks.promises import OTHERS, TARGETS, UNITS, Target, judge, summary
from benchmarks.servers import SERVERS


@pytest.mark.parametrize(
    ("values", "starts", "expected"),
    [
        ([1.0, 2.0, 9.0], 1, [1.0, 2.0, 9.0]),
        ([1.0, 2.0, 9.0, 4.0, 5.0, 6.0], 2, [2.0, 5.0]),
        ([7.0, 8.0, 9.0], 3, [7.0, 8.0, 9.0]),
    ],
    ids=["one start keeps its rounds", "the median of each start", "one round a start"],
)
def test_rounds_become_one_figure_a_start(
    values: list[float], starts: int, expected: list[float]
) -> None:
    assert by_start(values, starts) == expected


def test_a_ratio_over_starts_is_the_median_of_their_medians() -> None:
    own = [1.0, 1.0, 8.0, 2.0, 2.0, 2.0, 3.0, 3.0, 3.0]
    spread = ratio(own, [1.0] * 9, starts=3)
    assert (spread.low, spread.median, spread.high) == (1.0, 2.0, 3.0)


@pytest.mark.parametrize(
    ("against", "bound", "figures", "passed"),
    [
        ("floor", 0.9, [0.8, 0.9, 1.0], True),
        ("floor", 0.9, [0.8, 0.89, 1.0], False),
        ("worst", 40, [39.0, 40.0, 90.0], True),
        ("worst", 40, [39.0, 41.0, 42.0], False),
        ("floor", 0.9, [], False),
        ("worst", 40, [], False),
    ],
)
def test_a_ratio_has_a_lower_bound_and_a_cost_an_upper_one(
    against: str, bound: float, figures: list[float], passed: bool
) -> None:
    case = "1KiB" if against == "floor" else "cold"
    assert judge(Target("daphne", case, against, bound), figures).passed is passed


def test_the_summary_names_what_falls_short_and_by_how_much() -> None:
    holds = judge(Target("daphne", "1KiB", "floor", 0.9), [0.95])
    short = judge(Target("daphne-tls", "304", "floor", 0.9), [0.85])
    missing = judge(Target("uvicorn", "cold", "worst", 40), [])
    assert summary([holds]) == ["All 1 targets hold."]
    assert summary([holds, short, missing]) == [
        "2 of 3 targets fall short:",
        "Daphne over TLS, 304 Not Modified: × floor: 0.850, promised ≥ 0.9 ×",
        "uvicorn (asyncio), a page beside 32 cold downloads of 50 MiB: worst ms: "
        "not measured, promised ≤ 40",
    ]


def test_each_target_is_of_a_server_and_a_case_that_exist() -> None:
    for target in TARGETS:
        assert target.server in SERVERS
        assert (target.case in OTHERS) != (target.case in CASES)
        assert judge(target, []).title
    assert len({(each.server, each.case, each.against) for each in TARGETS}) == len(TARGETS)
    assert {each.against for each in TARGETS if each.case in OTHERS} <= set(UNITS)
