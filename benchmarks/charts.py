"""Charts as SVG, readable on light and dark: bars, and lines over one or more panels."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from html import escape

from benchmarks.paired import significant

WIDTH = 760
MARGIN = 24
FONT = "-apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

# name: (on light, on dark). One colour a contender, the same in every chart.
COLOURS = {
    "package": ("#1f6feb", "#58a6ff"),
    "starlette": ("#d9570b", "#ff9a57"),
    "servestatic": ("#2b8a57", "#56d392"),
    "django": ("#8b49c9", "#c79bf7"),
    "floor": ("#7a828c", "#9ea7b3"),
    "nginx": ("#b3880a", "#e3bb4a"),
}

STYLE = f"""
text {{ font-family: {FONT}; font-size: 12px; fill: #1f2328 }}
.title {{ font-size: 16px; font-weight: 600 }}
.about, .tick, .axis {{ fill: #59636e }}
.strong {{ font-weight: 600 }}
.back {{ fill: #ffffff; stroke: #d1d9e0 }}
.grid {{ stroke: #e3e8ed }}
.zero {{ stroke: #9aa4af }}
.line {{ fill: none; stroke-width: 2.25; stroke-linejoin: round; stroke-linecap: round }}
.floor.line {{ stroke-dasharray: 6 4 }}
.whisker {{ stroke: #1f2328; stroke-opacity: .55 }}
"""
DARK_STYLE = """
text { fill: #e6edf3 }
.about, .tick, .axis { fill: #9198a1 }
.back { fill: #0d1117; stroke: #3d444d }
.grid { stroke: #262c36 }
.zero { stroke: #6a737d }
.whisker { stroke: #e6edf3 }
"""


@dataclass(frozen=True)
class Bar:
    contender: str
    label: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Line:
    contender: str
    label: str
    points: list[tuple[float, float]]


@dataclass(frozen=True)
class Axis:
    label: str
    log: bool = False
    # Where to write what; without it, round numbers.
    ticks: tuple[tuple[float, str], ...] = ()


@dataclass(frozen=True)
class Panel:
    y: Axis
    lines: list[Line]


def bars(title: str, about: str, unit: str, groups: list[tuple[str, list[Bar]]]) -> str:
    """Horizontal bars in groups, each with its median and a whisker from lowest to highest."""
    groups = [(name, group) for name, group in groups if group]
    left = MARGIN + max(_width(bar.label) for _, group in groups for bar in group) + 10
    right = WIDTH - MARGIN - 120
    most = max(bar.high for _, group in groups for bar in group)
    ticks = _round_ticks(most)
    scale = (right - left) / max(most, ticks[-1][0])
    top, thickness, gap = 78, 16, 5
    body: list[str] = []
    y = top
    for name, group in groups:
        body.append(_text(MARGIN, y + 13, name, "strong"))
        y += 22
        for bar in group:
            end = left + bar.value * scale
            middle = y + thickness / 2
            bold = "strong" if bar.contender == "package" else ""
            body += [
                _text(left - 8, middle + 4, bar.label, bold, "end"),
                f'<rect class="{bar.contender} area" x="{left:.1f}" y="{y}" rx="2" '
                f'width="{max(end - left, 1):.1f}" height="{thickness}"/>',
                f'<path class="whisker" d="M{left + bar.low * scale:.1f} {middle}'
                f'H{left + bar.high * scale:.1f}"/>',
                _text(left + bar.high * scale + 6, middle + 4, significant(bar.value), bold),
            ]
            y += thickness + gap
        y += 10
    grid = []
    for value, label in ticks:
        x = left + value * scale
        kind = "grid" if value else "zero"
        grid.append(f'<path class="{kind}" d="M{x:.1f} {top + 4}V{y}"/>')
        grid.append(_text(x, y + 16, label, "tick", "middle"))
    axis = _text((left + right) / 2, y + 36, unit, "axis", "middle")
    return _svg(title, about, y + 52, [*grid, *body, axis])


def lines(title: str, about: str, x: Axis, panels: list[Panel], height: int = 260) -> str:
    """Lines over a common x axis, each named at its end, one panel above the other."""
    labels = [line.label for panel in panels for line in panel.lines]
    left, right = MARGIN + 62, WIDTH - MARGIN - max(map(_width, labels)) - 16
    xs = [point[0] for panel in panels for line in panel.lines for point in line.points]
    x_at, x_ticks = _scale(x, xs, left, right, tight=True)
    top = 86
    body: list[str] = []
    for panel in panels:
        bottom = top + height
        ys = [point[1] for line in panel.lines for point in line.points]
        y_at, y_ticks = _scale(panel.y, ys, bottom, top)
        for value, label in y_ticks:
            at = y_at(value)
            kind = "zero" if value == 0 else "grid"
            body.append(f'<path class="{kind}" d="M{left} {at:.1f}H{right:.1f}"/>')
            body.append(_text(left - 8, at + 4, label, "tick", "end"))
        for value, label in x_ticks:
            at = x_at(value)
            body.append(f'<path class="grid" d="M{at:.1f} {top}V{bottom}"/>')
            body.append(_text(at, bottom + 18, label, "tick", "middle"))
        body.append(_text(left - 8, top - 12, panel.y.label, "axis"))
        ends = []
        # The package last, so that its line lies above the others.
        for line in sorted(panel.lines, key=lambda line: line.contender == "package"):
            points = [(x_at(a), y_at(b)) for a, b in line.points]
            path = "L".join(f"{a:.1f} {b:.1f}" for a, b in points)
            body.append(f'<path class="{line.contender} line" d="M{path}"/>')
            if len(points) <= 12:
                body += [
                    f'<circle class="{line.contender} area" cx="{a:.1f}" cy="{b:.1f}" r="3"/>'
                    for a, b in points
                ]
            ends.append((points[-1][1], line))
        for at, (_, line) in zip(_apart([end for end, _ in ends], bottom), ends, strict=True):
            kind = f"{line.contender} ink" + (" strong" if line.contender == "package" else "")
            body.append(_text(right + 10, at + 4, line.label, kind))
        top = bottom + 64
    bottom = top - 64
    body.append(_text((left + right) / 2, bottom + 40, x.label, "axis", "middle"))
    return _svg(title, about, bottom + 58, body)


def _svg(title: str, about: str, height: float, body: list[str]) -> str:
    def colours(index: int) -> str:
        return "".join(
            f".{name}.area, .{name}.ink {{ fill: {pair[index]} }}\n"
            f".{name}.line {{ stroke: {pair[index]} }}\n"
            for name, pair in COLOURS.items()
        )

    dark = f"@media (prefers-color-scheme: dark) {{{DARK_STYLE}{colours(1)}}}"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0f}" '
            f'viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}">',
            f"<style>{STYLE}{colours(0)}{dark}</style>",
            f'<rect class="back" x=".5" y=".5" rx="6" '
            f'width="{WIDTH - 1}" height="{height - 1:.0f}"/>',
            _text(MARGIN, 34, title, "title"),
            _text(MARGIN, 54, about, "about"),
            *body,
            "</svg>",
            "",
        ]
    )


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'
    )


def _width(text: str) -> float:
    """About as wide as the text is at 12 px, bold."""
    return 6.8 * len(text)


def _scale(
    axis: Axis, values: list[float], start: float, end: float, tight: bool = False
) -> tuple[Callable[[float], float], list[tuple[float, str]]]:
    """Where a value lies between two ends, and the ticks; tight: to the last value, no further."""
    ticks = list(axis.ticks)
    if axis.log:
        low, high = min(values), max(values)
        if not ticks:
            decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            ticks = [(10.0**decade, _plain(10.0**decade)) for decade in decades]
            low, high = min(low, ticks[0][0]), max(high, ticks[-1][0])
        span = math.log(high / low) or 1.0

        def at(value: float) -> float:
            return start + (end - start) * math.log(value / low) / span
    else:
        ticks = ticks or _round_ticks(max(values))
        most = max(values) or 1.0
        if tight:
            ticks = [tick for tick in ticks if tick[0] <= most]
        most = max(most, ticks[-1][0])

        def at(value: float) -> float:
            return start + (end - start) * value / most

    return at, ticks


def _round_ticks(most: float) -> list[tuple[float, str]]:
    """Round numbers from 0 to just above the greatest value."""
    raw = (most or 1.0) / 5
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(step * magnitude for step in (1, 2, 2.5, 5, 10) if step * magnitude >= raw)
    return [(step * i, _plain(step * i)) for i in range(math.ceil((most or 1.0) / step) + 1)]


def _plain(number: float) -> str:
    return f"{number:,.0f}" if number == int(number) else f"{number:.10f}".rstrip("0")


def _apart(ends: list[float], bottom: float, distance: float = 15) -> list[float]:
    """The labels' heights, moved so that none covers another or the axis."""
    order = sorted(range(len(ends)), key=lambda i: ends[i])
    placed = [ends[i] for i in order]
    for _ in range(200):
        for i in range(1, len(placed)):
            overlap = distance - (placed[i] - placed[i - 1])
            if overlap > 0.01:
                placed[i] += overlap / 2
                placed[i - 1] -= overlap / 2
        placed[-1] = min(placed[-1], bottom - 4)
    moved = [0.0] * len(ends)
    for i, at in zip(order, placed, strict=True):
        moved[i] = at
    return moved
