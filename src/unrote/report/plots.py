"""Four drawings, each with its caption, its numbers and a second version for phones.

Colours are placeholders that the page's theme fills; lines differ in dashes as well as in colour and
are labelled where they end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from unrote.contracts import Estimate
from unrote.report.blocks import Column, Figure, Table
from unrote.report.canvas import (
    DASHES,
    NARROW,
    WIDE,
    End,
    Frame,
    Interval,
    Line,
    draw_marks,
    finish,
    label,
    scale_x,
    scale_y,
)
from unrote.report.format import Number, Value, number, percent, plain, quantity, ratio
from unrote.report.svg import INK, SERIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Curve:
    """One line of a drawing.

    Args:
        name: stands where the line ends.
        x: places, ascending.
        y: heights; None where nothing was measured.
        low, high: ends of the interval at each place, or None.
    """

    name: str
    x: Sequence[Number]
    y: Sequence[Number | None]
    low: Sequence[Number | None] | None = None
    high: Sequence[Number | None] | None = None

    def __post_init__(self) -> None:
        lengths = {len(part) for part in (self.x, self.y, self.low, self.high) if part is not None}
        if len(lengths) != 1:
            raise ValueError(f"curve {self.name!r} has parts of different lengths: {sorted(lengths)}")
        if (self.low is None) != (self.high is None):
            raise ValueError(f"curve {self.name!r} has one end of its intervals and not the other")


def histogram(
    samples: Mapping[str, Sequence[Number]],
    *,
    x_label: str,
    caption: str,
    alt: str,
    bins: int = 40,
    limits: tuple[Number, Number] | None = None,
    log_x: bool = False,
    lines: Sequence[Line] = (),
    intervals: Sequence[Interval] = (),
) -> Figure:
    """Outlines of how several samples are distributed, over shared bins.

    The height is the share of the sample that falls into a bin, so samples of different sizes compare.

    Args:
        samples: values by name; those that are not finite are left out.
        x_label: what the values are.
        caption, alt: words below the figure, words instead of it.
        bins: how many.
        limits: range of the axis; values beyond it are counted in its first and last bin.
        log_x: whether bins are equally wide in the logarithm.
        lines, intervals: marked places and ranges of the axis.

    Raises:
        ValueError: if no sample holds a finite value, or a logarithm is asked of values at or below 0.
    """
    finite = {name: _finite(values) for name, values in samples.items()}
    together = np.concatenate(list(finite.values())) if finite else np.empty(0)
    if not together.size:
        raise ValueError("a histogram needs at least one finite value")
    edges = _edges(together, bins, limits, log_x)
    shares = {
        f"{name} (n = {len(values):,})": np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0]
        / max(1, len(values))
        for name, values in finite.items()
    }

    def paint(axes: Axes, frame: Frame) -> None:
        scale_x(axes, log_x, number)
        scale_y(axes, False, percent)
        for index, (name, share) in enumerate(shares.items()):
            colour, dashes = SERIES[index % len(SERIES)], DASHES[index % len(DASHES)]
            axes.stairs(share, edges, fill=True, alpha=0.13, color=colour)
            axes.stairs(share, edges, linewidth=1.6, linestyle=dashes, color=colour, label=label(name))
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylim(0, 1.08 * max(share.max() for share in shares.values()))
        axes.set_xlabel(label(x_label))
        axes.set_ylabel("share of the sample")
        frame.legend(axes, draw_marks(axes, lines, intervals))

    columns = (Column(f"{x_label}, from"), Column("to"), *(Column(name, ratio) for name in shares))
    rows = tuple(
        (float(edges[i]), float(edges[i + 1]), *(float(share[i]) for share in shares.values()))
        for i in range(len(edges) - 1)
    )
    table = Table(columns, rows, "Share of each sample in each bin")
    return Figure(finish(paint, WIDE), caption, alt, table, finish(paint, NARROW))


def curves(
    series: Sequence[Curve],
    *,
    x_label: str,
    y_label: str,
    caption: str,
    alt: str,
    log_x: bool = False,
    log_y: bool = False,
    y_limits: tuple[Number | None, Number | None] = (None, None),
    show_x: Callable[[Number], str] = number,
    show_y: Callable[[Number], str] = number,
    lines: Sequence[Line] = (),
    intervals: Sequence[Interval] = (),
) -> Figure:
    """Lines with their intervals as bands, each labelled where it ends.

    Args:
        series: what is drawn, the most important first.
        x_label, y_label: what the axes are, with units.
        caption, alt: words below the figure, words instead of it.
        log_x, log_y: whether an axis is logarithmic (values at or below 0 are then not drawn).
        y_limits: ends of the vertical axis; None leaves one to the data.
        show_x, show_y: how numbers of an axis are written; ``percent`` for fractions.
        lines, intervals: marked places and ranges of the horizontal axis.

    Raises:
        ValueError: if there is no point to draw.
    """
    if not any(value is not None and np.isfinite(value) for curve in series for value in curve.y):
        raise ValueError("curves need at least one point that can be drawn")

    def paint(axes: Axes, frame: Frame) -> None:
        scale_x(axes, log_x, show_x)
        scale_y(axes, log_y, show_y)
        ends = []
        for index, curve in enumerate(series):
            end = _draw_curve(axes, curve, index, log_x, log_y)
            ends.extend([end] if end is not None else [])
        low, high = y_limits
        axes.set_ylim(low, high)
        if high is not None and not log_y:  # room for markers that lie on the upper limit
            axes.set_ylim(top=high + 0.02 * (high - axes.get_ylim()[0]))
        axes.set_xlabel(label(x_label))
        axes.set_ylabel(label(y_label))
        frame.name_lines(axes, ends, draw_marks(axes, lines, intervals))

    table = _curve_table(series, x_label, y_label, show_x, show_y)
    return Figure(finish(paint, WIDE), caption, alt, table, finish(paint, NARROW))


MARKERS = ("o", "s", "^", "D", "v")
"""Shapes of points, so that colours are not all that tells series apart."""


def clouds(
    series: Sequence[Curve],
    *,
    x_label: str,
    y_label: str,
    caption: str,
    alt: str,
    diagonal: bool = False,
    show_x: Callable[[Number], str] = number,
    show_y: Callable[[Number], str] = number,
) -> Figure:
    """Points that no line joins, such as predictions against measurements.

    Args:
        series: groups of points; x may stand in any order and repeat.
        x_label, y_label: what the axes are, with units.
        caption, alt: words below the figure, words instead of it.
        diagonal: whether to rule the line on which both coordinates are equal.
        show_x, show_y: how numbers of an axis are written; ``percent`` for fractions.

    Raises:
        ValueError: if there is no point to draw.
    """
    points = [(c.name, x, y) for c in series for x, y in zip(c.x, c.y, strict=True) if y is not None]
    if not points:
        raise ValueError("clouds need at least one point that can be drawn")

    def paint(axes: Axes, frame: Frame) -> None:
        scale_x(axes, False, show_x)
        scale_y(axes, False, show_y)
        for index, cloud in enumerate(series):
            y = _masked(cloud.y, False)
            colour, marker = SERIES[index % len(SERIES)], MARKERS[index % len(MARKERS)]
            axes.scatter(
                np.asarray(cloud.x, float),
                y,
                s=16,
                alpha=0.6,
                linewidths=0,
                color=colour,
                marker=marker,
                label=label(cloud.name),
            )
        if diagonal:
            axes.axline(
                (points[0][1], points[0][1]), slope=1, color=INK, linewidth=1, linestyle=(0, (3, 2)), zorder=1
            )
        axes.set_xlabel(label(x_label))
        axes.set_ylabel(label(y_label))
        frame.legend(axes, 0)

    columns = (Column("series"), Column(x_label, show_x), Column(y_label, show_y))  # type: ignore[arg-type]
    table = Table(columns, tuple(points), f"{y_label} and {x_label}")
    return Figure(finish(paint, WIDE), caption, alt, table, finish(paint, NARROW))


def bars(
    values: Mapping[str, Estimate],
    *,
    x_label: str,
    caption: str,
    alt: str,
    show: Callable[[Value], str] = ratio,
    show_axis: Callable[[Number], str] = percent,
    limits: tuple[Number | None, Number | None] = (0.0, None),
    lines: Sequence[Line] = (),
) -> Figure:
    """Estimates below each other, each a bar with its interval and its number in words.

    Args:
        values: estimates by name, in the order in which they are drawn from the top.
        x_label: what they measure.
        caption, alt: words below the figure, words instead of it.
        show: how an estimate is written; ``quantity`` if it is not a fraction.
        show_axis: how numbers of the axis are written.
        limits: ends of the axis; None leaves one to the data.
        lines: marked places of the axis.

    Raises:
        ValueError: if there is nothing to draw.
    """
    if not values:
        raise ValueError("bars need at least one estimate")
    names = list(values)

    def paint(axes: Axes, frame: Frame) -> None:
        scale_x(axes, False, show_axis)
        for row, (name, value) in enumerate(values.items()):
            _draw_bar(axes, frame, row, name, value, show(value))
        axes.set_yticks([])
        axes.spines["left"].set_visible(True)
        axes.set_ylim(len(names) - 0.55, -0.85)
        axes.set_xlim(*limits)
        axes.set_xlabel(label(x_label))
        draw_marks(axes, lines, ())

    table = Table((Column("name"), Column(x_label, show)), tuple(values.items()), caption)
    wide, narrow = (frame.tall(70 + row * len(values)) for frame, row in ((WIDE, 56), (NARROW, 74)))
    return Figure(finish(paint, wide), caption, alt, table, finish(paint, narrow))


def _draw_bar(axes: Axes, frame: Frame, row: int, name: str, value: Estimate, shown: str) -> None:
    """One bar with its whisker, its name and number above it: side by side where there is room."""
    colour = SERIES[0]
    axes.barh(row, value.value or 0.0, height=0.34, color=colour, alpha=0.28, linewidth=0)
    if value.low is not None and value.high is not None:
        ends = [value.low, value.high]
        axes.plot(ends, [row, row], color=colour, linewidth=2.2, solid_capstyle="butt")
        axes.plot(ends, [row, row], "|", color=colour, markersize=7)
    if value.value is not None:
        axes.plot(value.value, row, "o", color=colour, markersize=5)
    over: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "va": "bottom", "color": INK}
    if frame.roomy:
        axes.annotate(label(name), (0, row - 0.3), weight="bold", **over)
        axes.annotate(label(shown), (1, row - 0.3), ha="right", **over)
    else:
        axes.annotate(label(name), (0, row - 0.5), weight="bold", **over)
        axes.annotate(label(shown), (0, row - 0.25), **over)


def _finite(values: Sequence[Number]) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64).reshape(-1)
    return array[np.isfinite(array)]


def _edges(values: np.ndarray, bins: int, limits: tuple[Number, Number] | None, log: bool) -> np.ndarray:
    """Bin edges over the limits or the data; a single value gets a bin around it."""
    low, high = limits if limits is not None else (float(values.min()), float(values.max()))
    if log and low <= 0:
        raise ValueError(f"a logarithmic axis needs values above 0, the smallest is {low}")
    if low == high:
        low, high = (low / 2, high * 2) if log else (low - 0.5, high + 0.5)
    return np.geomspace(low, high, bins + 1) if log else np.linspace(low, high, bins + 1)


def _masked(values: Sequence[Number | None], log: bool) -> np.ndarray:
    """Values with nan where there is nothing to draw."""
    array = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    return np.where(array > 0, array, np.nan) if log else array


def _draw_curve(axes: Axes, curve: Curve, index: int, log_x: bool, log_y: bool) -> End | None:
    """Draw one line with its band; None if it has no point."""
    colour = SERIES[index % len(SERIES)]
    x, y = _masked(curve.x, log_x), _masked(curve.y, log_y)
    if curve.low is not None and curve.high is not None:
        low, high = _masked(curve.low, log_y), _masked(curve.high, log_y)
        axes.fill_between(x, low, high, color=colour, alpha=0.14, linewidth=0)
    there = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    axes.plot(
        x,
        y,
        color=colour,
        label=label(curve.name),
        linewidth=1.8,
        linestyle=DASHES[index % len(DASHES)],
        marker="o" if len(there) <= 30 else "",
        markersize=3.2,
    )
    return End(curve.name, float(x[there[-1]]), float(y[there[-1]]), colour) if len(there) else None


def _curve_table(
    series: Sequence[Curve],
    x_label: str,
    y_label: str,
    show_x: Callable[[Number], str],
    show_y: Callable[[Number], str],
) -> Table:
    """Every drawn number, one row for each place at which some curve has a point."""

    def place(value: Value) -> str:
        return show_x(value) if isinstance(value, float | int) else plain(value)

    def height(value: Value) -> str:
        return (ratio if show_y is percent else quantity)(value)

    def cell(curve: Curve, x: Number) -> Value:
        if x not in places[curve.name]:
            return None
        index = places[curve.name][x]
        low = curve.low[index] if curve.low is not None else None
        high = curve.high[index] if curve.high is not None else None
        return Estimate(curve.y[index], low, high, 0)

    places = {curve.name: {x: i for i, x in enumerate(curve.x)} for curve in series}
    everywhere = sorted({x for curve in series for x in curve.x})
    columns = (Column(x_label, place), *(Column(curve.name, height) for curve in series))
    rows = tuple((x, *(cell(curve, x) for curve in series)) for x in everywhere)
    return Table(columns, rows, y_label)
