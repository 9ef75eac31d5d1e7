"""The sheet that drawings are made on: size, type, axes, labels, and the way out to SVG."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from unrote.report.format import printable
from unrote.report.svg import GRID, INK, MUTED, PAPER, themed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

DASHES = ("-", (0, (5, 2)), (0, (1.2, 1.4)), (0, (6, 2, 1.2, 2)), (0, (9, 3)), (0, (3, 1.2)))


@dataclass(frozen=True)
class Line:
    """A marked place of the horizontal axis."""

    x: float
    label: str


@dataclass(frozen=True)
class Interval:
    """A marked range of the horizontal axis."""

    low: float
    high: float
    label: str


@dataclass(frozen=True)
class End:
    """The last point of a line, in data coordinates, and the name that belongs there."""

    name: str
    x: float
    y: float
    colour: str


@dataclass(frozen=True)
class Frame:
    """Size of a drawing in CSS pixels, and where it has room for names.

    Args:
        width, height: of the whole drawing.
        roomy: whether names stand beside the ends of lines (else above the drawing).
    """

    width: int
    height: int
    roomy: bool

    def tall(self, height: int) -> Frame:
        """The same frame with another height."""
        return replace(self, height=height)

    def legend(self, axes: Axes) -> None:
        """Names above the drawing, each with a piece of its line."""
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(0, 1.01),
            ncols=3 if self.roomy else 1,
            frameon=False,
            borderaxespad=0,
            borderpad=0.2,
            handlelength=2.4,
        )

    def name_lines(self, axes: Axes, ends: Sequence[End]) -> None:
        """Names beside the ends of the lines where there is room, above the drawing where there is not."""
        if self.roomy:
            _direct_labels(axes, self, ends)
        else:
            self.legend(axes)


WIDE = Frame(736, 320, roomy=True)
NARROW = Frame(344, 290, roomy=False)


def finish(paint: Callable[[Axes, Frame], None], frame: Frame) -> str:
    """Draw in a frame and return one themed <svg> element, byte for byte the same every time."""
    import matplotlib
    from matplotlib.figure import Figure

    buffer = io.StringIO()
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # the reader's fonts have it
        matplotlib.rcdefaults()  # a user's own style must not change a report
        matplotlib.rcParams.update(_style())
        figure = Figure(figsize=(frame.width / 72, frame.height / 72), layout="constrained")
        axes = figure.add_subplot()
        paint(axes, frame)
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return themed(printable(buffer.getvalue()))


def scale_x(axes: Axes, log: bool, show: Callable[[float], str]) -> None:
    """Scale the horizontal axis and write its numbers with ``show``."""
    axes.set_xscale("log" if log else "linear")
    _number_axis(axes.xaxis, log, show)


def scale_y(axes: Axes, log: bool, show: Callable[[float], str]) -> None:
    """Scale the vertical axis and write its numbers with ``show``."""
    axes.set_yscale("log" if log else "linear")
    _number_axis(axes.yaxis, log, show)


def _number_axis(axis: Axis, log: bool, show: Callable[[float], str]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    if log:
        axis.set_major_locator(LogLocator(10, numticks=9))
        axis.set_minor_formatter(NullFormatter())
    else:
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _short(show(float(f"{value:.12g}")))))


def _short(text: str) -> str:
    """A number on an axis needs no zeros to show its precision: 25.0 % is written 25 %."""
    return re.sub(r"\.0+ %$", " %", text)


def draw_marks(axes: Axes, lines: Sequence[Line], intervals: Sequence[Interval]) -> None:
    """Shade ranges and rule places, each named at the top of the drawing."""
    at_top: dict[str, Any] = {
        "xycoords": ("data", "axes fraction"),
        "textcoords": "offset points",
        "va": "top",
    }
    for interval in intervals:
        axes.axvspan(interval.low, interval.high, color=INK, alpha=0.07, linewidth=0, zorder=0)
        axes.annotate(interval.label, (interval.low, 1), (4, -4), color=MUTED, **at_top)
    for line in lines:
        axes.axvline(line.x, color=INK, linewidth=1, linestyle=(0, (3, 2)), zorder=1)
        axes.annotate(line.label, (line.x, 1), (5, -4), color=INK, **at_top)


def _direct_labels(axes: Axes, frame: Frame, ends: Sequence[End], gap: float = 15) -> None:
    """Write each line's name where the line ends, moved apart so that no two names touch."""
    axes.get_xlim(), axes.get_ylim()  # settles the limits, which the transformation below needs
    height = 0.8 * frame.height  # of the axes, before the layout settles it
    to_axes = axes.transData + axes.transAxes.inverted()
    heights = sorted((height * float(to_axes.transform((end.x, end.y))[1]), i) for i, end in enumerate(ends))
    for (_, i), place in zip(heights, _apart([at for at, _ in heights], gap, height), strict=True):
        axes.annotate(
            ends[i].name,
            (1, place / height),
            (8, 0),
            xycoords="axes fraction",
            textcoords="offset points",
            va="center",
            color=ends[i].colour,
            annotation_clip=False,
        )


def _apart(places: Sequence[float], gap: float, height: float) -> list[float]:
    """Ascending places moved as little as a single pass allows so that neighbours are a gap apart."""
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + gap) if moved else max(place, 0))
    ceiling = height
    for index in range(len(moved) - 1, -1, -1):
        moved[index] = min(moved[index], ceiling)
        ceiling = moved[index] - gap
    return moved


def _style() -> dict[str, Any]:
    return {
        "svg.fonttype": "none",
        "svg.hashsalt": "unrote",
        "text.parse_math": False,
        "font.size": 12,
        "axes.labelsize": 12,
        "axes.labelcolor": MUTED,
        "axes.edgecolor": MUTED,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.facecolor": "none",
        "axes.unicode_minus": True,
        "grid.color": GRID,
        "grid.linewidth": 0.8,
        "figure.facecolor": "none",
        "text.color": INK,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelsize": 11,
        "ytick.labelsize": 11,
        "xtick.major.size": 3.5,
        "ytick.major.size": 0,
        "xtick.minor.size": 0,
        "ytick.minor.size": 0,
        "legend.fontsize": 11.5,
        "legend.labelcolor": INK,
        "patch.edgecolor": PAPER,
    }
