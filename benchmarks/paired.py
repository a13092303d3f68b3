"""Rounds in turn; ratios and differences taken round by round."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

T = TypeVar("T")


def in_turn(contenders: Sequence[T], rounds: int) -> Iterator[T]:
    """Each contender once a round, in a rotating order."""
    for number in range(rounds):
        for i in range(len(contenders)):
            yield contenders[(number + i) % len(contenders)]


@dataclass(frozen=True)
class Spread:
    """The median of some rounds or starts, and how far they lie apart."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        return cls(median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{significant(self.median)} [{significant(self.low)}–{significant(self.high)}]"


def by_start(values: list[float], starts: int) -> list[float]:
    """The median of each start, of all rounds in their order. One start: the rounds themselves."""
    if starts == 1:
        return values
    rounds = len(values) // starts
    return [median(values[i : i + rounds]) for i in range(0, rounds * starts, rounds)]


def ratio(numerators: list[float], denominators: list[float], starts: int = 1) -> Spread:
    """The ratio within each round, then the median of each start, then of them."""
    ratios = [a / b for a, b in zip(numerators, denominators, strict=True)]
    return Spread.of(by_start(ratios, starts))


def difference(minuends: list[float], subtrahends: list[float]) -> Spread:
    return Spread.of([a - b for a, b in zip(minuends, subtrahends, strict=True)])


def significant(number: float) -> str:
    """Three significant digits, without an exponent: 0.0123, 1.23, 12.3, 1,234."""
    if number == 0:
        return "0"
    if abs(number) >= 100:
        return f"{number:,.0f}"
    digits = 0
    while abs(number) * 10**digits < 100 and digits < 6:
        digits += 1
    return f"{number:.{digits}f}"
