"""Charts as SVG, on white: bars, and lines over one or more panels."""

import io
import math
from dataclasses import dataclass
from statistics import median

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.contenders import CONTENDERS
from benchmarks.paired import significant

# One colour a contender, the same in every chart.
COLOURS = {
    "package": "#1f6feb",
    "starlette": "#d9570b",
    "servestatic": "#2b8a57",
    "django": "#8b49c9",
    "floor": "#7a828c",
    "calls": "#a9b0b8",
    "nginx": "#b3880a",
}
INK, PALE = "#59636e", "#e3e8ed"
WIDTH = 7.9  # inches, at 72 points each

matplotlib.rcParams.update(
    {
        "svg.fonttype": "none",  # text stays text: a third of the size, and it can be searched
        "svg.hashsalt": "media-asgi",  # the same ids, and so the same file, at every run
        "axes.axisbelow": True,
        "axes.edgecolor": PALE,
        "axes.grid": True,
        "axes.labelcolor": INK,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "figure.constrained_layout.h_pad": 0.1,
        "figure.constrained_layout.w_pad": 0.1,
        "font.size": 9,
        "grid.color": PALE,
        "legend.frameon": False,
        "xtick.color": INK,
        "ytick.color": INK,
    }
)


@dataclass(frozen=True)
class Bar:
    contender: str
    values: list[float]  # of all rounds


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
    count = sum(len(group) + 1.3 for _, group in groups)
    figure = Figure((WIDTH, 1 + 0.22 * count), layout="constrained")
    axes = figure.subplots()
    y, ticks = 0.0, {}
    for name, group in groups:
        axes.text(0, y, f" {name}", va="center", weight="bold")
        for bar in group:
            y += 1
            ticks[y] = CONTENDERS[bar.contender].title
            value, low, high = median(bar.values), min(bar.values), max(bar.values)
            axes.barh(y, value, 0.75, color=COLOURS[bar.contender])
            axes.plot([low, high], [y, y], color="black", alpha=0.5, linewidth=1)
            weight = "bold" if bar.contender == "package" else "normal"
            axes.text(high, y, f"  {significant(value)}", va="center", weight=weight)
        y += 1.3
    axes.set_yticks(list(ticks), list(ticks.values()), color="black")
    axes.tick_params(length=0)
    axes.set_ylim(y - 0.6, -0.6)
    axes.set_xlim(0, 1.12 * max(max(bar.values) for _, group in groups for bar in group))
    axes.grid(visible=False, axis="y")
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.set_xlabel(unit)
    return _svg(figure, title, about)


def lines(title: str, about: str, x: Axis, panels: list[Panel], height: int = 260) -> str:
    """Lines over a common x axis, one panel above the other; `height` is a panel's, in pixels."""
    figure = Figure((WIDTH, 0.9 + len(panels) * height / 96), layout="constrained")
    rows = figure.subplots(len(panels), sharex=True, squeeze=False)
    for axes, panel in zip(rows.flat, panels, strict=True):
        # The package last, so that its line lies above the others.
        for line in sorted(panel.lines, key=lambda line: line.contender == "package"):
            axes.plot(
                *zip(*line.points, strict=True),
                color=COLOURS[line.contender],
                label=line.label,
                linestyle="--" if line.contender == "floor" else "-",
                linewidth=2,
                marker="o" if len(line.points) <= 12 else "",
                markersize=4,
                clip_on=False,  # or a line along an axis is cut in half
            )
        axes.margins(x=0.01)
        _scale(axes, x, panel.y, [value for line in panel.lines for _, value in line.points])
        # In the order of the lines' ends, from above.
        ends = [line.get_ydata()[-1] for line in axes.lines]
        order = sorted(range(len(ends)), key=lambda i: -ends[i])
        handles = [axes.lines[i] for i in order]
        axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.axes[-1].set_xlabel(x.label)
    return _svg(figure, title, about)


def _scale(axes: Axes, x: Axis, y: Axis, values: list[float]) -> None:
    axes.set_ylabel(y.label)
    if x.log:
        axes.set_xscale("log")
    if x.ticks:
        axes.set_xticks([at for at, _ in x.ticks], [label for _, label in x.ticks])
    if y.log:  # whole decades
        low, high = math.log10(min(values)), math.log10(max(values))
        axes.set_yscale("log")
        axes.set_ylim(10 ** math.floor(low), 10 ** math.ceil(high))
    else:
        axes.set_ylim(0, 1.08 * max(values) or 1)
    axes.minorticks_off()
    axes.yaxis.set_major_formatter("{x:,g}")


def _svg(figure: Figure, title: str, about: str) -> str:
    figure.suptitle(title, x=0.01, ha="left", size=12, weight="bold")
    figure.axes[0].set_title(about, loc="left", size=9, color=INK, pad=10)
    text = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(text, format="svg", metadata=nothing)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"
