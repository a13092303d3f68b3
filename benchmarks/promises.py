"""The targets, as data, and the verdict about each."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.contenders import CONTENDERS
from benchmarks.media import CASES
from benchmarks.paired import Spread, significant
from benchmarks.servers import SERVERS


@dataclass(frozen=True)
class Target:
    server: str
    case: str  # of CASES, or of OTHERS
    against: str  # the contender that the ratio is to, or what is measured: of UNITS
    bound: float  # a ratio is at least this, and what is measured at most


# What is not a case of `http`, but a situation of `beside` or a kind of `crowd`.
OTHERS = {
    "cold": "a page beside 32 cold downloads of 50 MiB",
    "warm": "1 KiB beside 4 downloads of 10 MiB",
    "slow": "1,600 slow downloads",
}
UNITS = {
    "cpu": "CPU s/GiB",
    "worst": "worst ms",
    "usual": "median ms",
    "core": "% of a core",
    "memory": "KiB each",
}

TARGETS = (
    Target("daphne", "1KiB", "floor", 0.95),
    Target("daphne", "1KiB", "calls", 0.95),
    Target("daphne", "1KiB", "starlette", 6),
    Target("daphne", "100KiB", "floor", 0.95),
    Target("daphne", "206", "floor", 0.88),
    Target("daphne", "206", "calls", 0.88),
    Target("daphne", "304", "floor", 0.92),
    Target("daphne", "304", "calls", 0.92),
    Target("daphne", "10MiB", "starlette", 4),
    Target("daphne", "10MiB", "nginx", 0.92),
    Target("daphne", "1GiB", "starlette", 6),
    Target("daphne", "1GiB", "cpu", 0.45),
    Target("daphne-tls", "1KiB", "floor", 0.90),
    Target("daphne-tls", "304", "floor", 0.90),
    Target("daphne-tls", "100KiB", "floor", 0.87),
    Target("daphne-tls", "10MiB", "floor", 1.2),
    Target("uvicorn-uvloop", "1KiB", "floor", 0.70),
    Target("uvicorn-uvloop", "1KiB", "starlette", 8),
    Target("uvicorn-uvloop", "10MiB", "starlette", 2.5),
    Target("granian", "10MiB", "starlette", 1.0),
    Target("granian", "206", "starlette", 6),
    Target("granian-tls", "10MiB", "nginx", 1.3),
    Target("granian-tls", "10MiB", "calls", 0.95),
    Target("daphne", "cold", "worst", 40),
    Target("uvicorn", "cold", "worst", 40),
    Target("daphne", "warm", "usual", 2),
    Target("daphne", "slow", "core", 5),
    Target("uvicorn", "slow", "core", 10),
    # A chunk, 256 KiB, and 64 KiB.
    Target("daphne", "slow", "memory", 320),
    Target("uvicorn", "slow", "memory", 320),
)


@dataclass(frozen=True)
class Verdict:
    title: str
    promised: str
    measured: Spread | None
    passed: bool
    note: str = ""


def judge(target: Target, figures: Sequence[float], note: str = "") -> Verdict:
    """`figures`: one of each start, or of each round if there is one start. None: not measured."""
    case = OTHERS[target.case] if target.case in OTHERS else CASES[target.case].title
    title = f"{SERVERS[target.server].title}, {case}"
    measured = Spread.of(list(figures)) if figures else None
    if target.against in UNITS:
        title, promised = f"{title}: {UNITS[target.against]}", f"≤ {target.bound:g}"
        passed = measured is not None and measured.median <= target.bound
    else:
        title = f"{title}: × {CONTENDERS[target.against].title}"
        promised = f"≥ {target.bound:g} ×"
        passed = measured is not None and measured.median >= target.bound
    return Verdict(title, promised, measured, passed, note)


def summary(verdicts: Sequence[Verdict]) -> list[str]:
    """Which targets fall short, in words."""
    short = [each for each in verdicts if not each.passed]
    if not short:
        return [f"All {len(verdicts)} targets hold."]
    lines = [f"{len(short)} of {len(verdicts)} targets fall short:"]
    for each in short:
        found = significant(each.measured.median) if each.measured else "not measured"
        lines.append(f"{each.title}: {found}, promised {each.promised}")
    return lines
