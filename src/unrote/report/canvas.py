"""The sheet that drawings are made on: size, type, axes, labels, and the way out to SVG."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from unrote.report.format import Number, printable
from unrote.report.svg import GRID, INK, MUTED, PAPER, themed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.ticker import Locator, LogLocator

# one fewer than there are colours, so that the seventh line differs from the first
DASHES = ("-", (0, (5, 2)), (0, (1.2, 1.4)), (0, (6, 2, 1.2, 2)), (0, (9, 3)))
ROW = 15  # height of a row of names above a drawing, in CSS pixels


@dataclass(frozen=True)
class Line:
    """A marked place of the horizontal axis."""

    x: Number
    label: str


@dataclass(frozen=True)
class Interval:
    """A marked range of the horizontal axis."""

    low: Number
    high: Number
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

    def legend(self, axes: Axes, rows: int) -> None:
        """Names above the drawing and its ``rows`` of marks, each with a piece of its line."""
        from matplotlib.transforms import ScaledTranslation

        handles, names = axes.get_legend_handles_labels()
        longest = max(len(name) for name in names)
        fitting = (self.width // 7) // (longest + 8)  # a letter is about 7 wide, a piece of line 8 letters
        root = axes.get_figure(root=True)
        lift = ScaledTranslation(0, (5 + ROW * rows) / 72, root.dpi_scale_trans) if root else axes.transAxes
        axes.legend(
            handles,
            names,
            loc="lower left",
            bbox_to_anchor=(0, 1),
            bbox_transform=axes.transAxes + lift,
            ncols=max(1, min(len(names), fitting)),
            frameon=False,
            borderaxespad=0,
            borderpad=0,
            handlelength=2.4,
        )

    def name_lines(self, axes: Axes, ends: Sequence[End], rows: int) -> None:
        """Names beside the ends of the lines where there is room, above the drawing where there is not."""
        if self.roomy:
            _direct_labels(axes, self, ends)
        else:
            self.legend(axes, rows)


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


def label(text: str, longest: int = 44) -> str:
    """A name that fits into a drawing: on one line, printable, and cut in its middle if it is long."""
    text = printable(" ".join(text.split()))
    if text.startswith("_"):  # matplotlib leaves such names out of its legend
        text = f"\u200b{text}"
    if len(text) <= longest:
        return text
    half = (longest - 1) // 2
    return f"{text[:half]}…{text[-half:]}"


def scale_x(axes: Axes, log: bool, show: Callable[[Number], str]) -> None:
    """Scale the horizontal axis and write its numbers with ``show``."""
    axes.set_xscale("log" if log else "linear")
    _number_axis(axes.xaxis, log, show)


def scale_y(axes: Axes, log: bool, show: Callable[[Number], str]) -> None:
    """Scale the vertical axis and write its numbers with ``show``."""
    axes.set_yscale("log" if log else "linear")
    _number_axis(axes.yaxis, log, show)


def _number_axis(axis: Axis, log: bool, show: Callable[[Number], str]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    if log:
        axis.set_major_locator(_decades(LogLocator(10, numticks=9), LogLocator(10, subs=(1.0, 2.0, 5.0))))
        axis.set_minor_formatter(NullFormatter())
    else:
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _short(show(float(f"{value:.12g}")))))


def _decades(wide: LogLocator, fine: LogLocator) -> Locator:
    """Ticks at whole decades, and at 2 and 5 between them where the axis spans fewer than two."""
    from matplotlib.ticker import Locator

    class Decades(Locator):
        def __call__(self) -> Any:
            assert self.axis is not None
            return self.tick_values(*self.axis.get_view_interval())

        def tick_values(self, vmin: float, vmax: float) -> Any:
            few = vmin > 0 and vmax < 100 * vmin
            return (fine if few else wide).tick_values(vmin, vmax)

        def set_axis(self, axis: Any) -> None:
            super().set_axis(axis)
            wide.set_axis(axis)
            fine.set_axis(axis)

    return Decades()


def _short(text: str) -> str:
    """A number on an axis needs no zeros to show its precision: 25.0 % is written 25 %."""
    return re.sub(r"\.0+ %$", " %", text)


def draw_marks(axes: Axes, lines: Sequence[Line], intervals: Sequence[Interval]) -> int:
    """Shade ranges and rule places, each named above the drawing; returns how many rows the names take.

    Raises:
        ValueError: if a line cannot stand on the axis: not finite, or at or below 0 on a logarithmic one.
    """
    log = axes.get_xscale() == "log"
    for line in lines:
        if not math.isfinite(line.x) or (log and line.x <= 0):
            raise ValueError(f"the line {line.label!r} at {line.x} has no place on this axis")
        axes.axvline(line.x, color=INK, linewidth=1, linestyle=(0, (3, 2)), zorder=1)
    left, right = axes.get_xlim()
    names = [(line.x, line.label) for line in lines]
    for interval in intervals:
        low, high = max(interval.low, left), min(interval.high, right)
        if low < high:
            axes.axvspan(low, high, color=INK, alpha=0.07, linewidth=0, zorder=0)
            names.append((low, interval.label))
    axes.set_xlim(left, right)
    return _name_marks(axes, names)


def _name_marks(axes: Axes, names: Sequence[tuple[float, str]]) -> int:
    """Names above the drawing, one row lower than the last where they would touch; returns the rows."""
    to_axes = axes.transData + axes.transAxes.inverted()
    free: list[float] = []  # where each row's last name ends, as a fraction of the axis
    for x, text in sorted(names):
        at = float(to_axes.transform((x, 0.5))[0])
        width = len(label(text)) * 7 / (0.8 * axes.get_window_extent().width)
        start = at - width if at + width > 1 else at
        row = next((i for i, end in enumerate(free) if end < start), len(free))
        free[row : row + 1] = [start + width + 0.02]
        axes.annotate(
            label(text),
            (x, 1),
            (0, 4 + ROW * row),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            va="bottom",
            ha="right" if start < at else "left",
            color=INK,
            fontsize=11,
        )
    return len(free)


def _direct_labels(axes: Axes, frame: Frame, ends: Sequence[End]) -> None:
    """Write each line's name where the line ends, moved apart so that no two names touch."""
    axes.get_xlim(), axes.get_ylim()  # settles the limits, which the transformation below needs
    height = 0.8 * frame.height  # of the axes, before the layout settles it
    to_axes = axes.transData + axes.transAxes.inverted()
    places = [to_axes.transform((end.x, end.y)) for end in ends]
    order = sorted(range(len(ends)), key=lambda i: (float(places[i][1]), i))
    moved = _apart([height * float(places[i][1]) for i in order], float(ROW), height)
    for i, place in zip(order, moved, strict=True):
        end, (x, y) = ends[i], places[i]
        if x < 0.97 or abs(place - height * y) > ROW / 2:  # lead the eye from the line to a name further off
            (leader,) = axes.plot([x, 1.01], [y, place / height], color=end.colour, transform=axes.transAxes)
            leader.set(linewidth=0.8, alpha=0.5, clip_on=False)
        axes.annotate(
            label(end.name, 32),
            (1, place / height),
            (8, 0),
            xycoords="axes fraction",
            textcoords="offset points",
            va="center",
            color=end.colour,
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
