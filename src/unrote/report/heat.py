"""A number for every pair of places, as a grid of squares: the more colour, the larger the number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from unrote.report.blocks import Column, Figure, Table
from unrote.report.canvas import DASHES, NARROW, WIDE, Frame, finish, label
from unrote.report.format import Number, Value, number, plain
from unrote.report.svg import INK, MUTED, PAPER, SERIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PALEST = 0.05
"""Colour of the smallest number, so that it is told from a pair that has none."""
DARK = 0.55
"""Colour from which on numbers are written in the colour of the paper."""
FIT = 30
"""Pixels that a square needs for its number."""


@dataclass(frozen=True)
class Layer:
    """Numbers of pairs as the strength of one colour.

    Args:
        name: what the numbers are.
        cells: by column and row, both from 0; None, or no entry, leaves a place empty.
        limits: numbers of no colour and of the full one, in this order: the first may be the larger.
        log: whether the colour grows with the logarithm.
        show: how a number is written in the table.
    """

    name: str
    cells: Mapping[tuple[int, int], Number | None]
    limits: tuple[Number, Number]
    log: bool = False
    show: Callable[[Value], str] = plain

    def strength(self, place: tuple[int, int]) -> float | None:
        """The colour of a place from 0 to 1, or None where nothing is known."""
        value = self.cells.get(place)
        if value is None or not np.isfinite(value):
            return None
        ends = [float(end) for end in self.limits]
        here = float(value)
        if self.log:
            here, *ends = (float(np.log(max(number, 1e-12))) for number in (here, *ends))
        return min(1.0, max(0.0, (here - ends[0]) / (ends[1] - ends[0])))


@dataclass(frozen=True)
class Route:
    """A line across the squares.

    Args:
        name: what it is.
        x, y: columns and rows, from 0, fractions between two of them.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]


def layers(
    below: Layer,
    above: Layer,
    *,
    across: Sequence[str],
    down: Sequence[str],
    x_label: str,
    y_label: str,
    caption: str,
    alt: str,
    routes: Sequence[Route] = (),
) -> Figure:
    """Two numbers of every pair in one grid: the second covers the first as it grows; lines run across.

    Args:
        below: the first number.
        above: the second.
        across, down: names of the columns from the left and of the rows from the top.
        x_label, y_label: what columns and rows are.
        caption, alt: words below the figure, words instead of it.
        routes: lines.

    Raises:
        ValueError: if there is no number of the first kind.
    """
    places = sorted((place for place in below.cells if below.strength(place) is not None), key=_row_first)
    if not places:
        raise ValueError("a grid needs at least one number")

    def paint(axes: Axes, frame: Frame) -> None:
        for x, y in places:
            _square(axes, x, y, PALEST + 0.75 * (below.strength((x, y)) or 0.0), "")
            covering = above.strength((x, y))
            if covering:
                # The root lets one sample in a hundred be seen.
                _square(axes, x, y, covering**0.5, "", SERIES[1])
        for index, route in enumerate(routes):
            dashes = DASHES[index % len(DASHES)]
            axes.plot(route.x, route.y, color=INK, linewidth=1.6, linestyle=dashes, label=label(route.name))
        _name(axes, across, down, 0.85 * frame.width / len(across))
        axes.set_xlabel(label(x_label))
        axes.set_ylabel(label(y_label))
        if routes:
            frame.legend(axes, 0)

    columns = (
        Column(y_label),
        Column(x_label),
        Column(below.name, below.show),
        Column(above.name, above.show),
    )
    rows = tuple((down[y], across[x], below.cells[x, y], above.cells.get((x, y))) for x, y in places)
    table = Table(columns, rows, f"{below.name} and {above.name}")
    wide, narrow = (f.tall(round(110 + 34 * len(down))) for f in (WIDE, NARROW))
    return Figure(finish(paint, wide), caption, alt, table, finish(paint, narrow))


def heat(
    cells: Mapping[tuple[int, int], Number | None],
    *,
    across: Sequence[str],
    down: Sequence[str],
    x_label: str,
    y_label: str,
    caption: str,
    alt: str,
    value_label: str,
    limits: tuple[Number, Number] | None = None,
    write: Callable[[Number], str] = number,
    show: Callable[[Value], str] = plain,
) -> Figure:
    """Numbers of pairs as squares whose colour is the number, which also stands in them where there is room.

    Args:
        cells: numbers by column and row, both from 0; None, or no entry, leaves a place empty.
        across, down: names of the columns from the left and of the rows from the top.
        x_label, y_label: what columns and rows are.
        caption, alt: words below the figure, words instead of it.
        value_label: what the numbers are.
        limits: numbers of the palest and of the fullest colour; None for the least and the largest.
        write: how a number is written into its square, in two or three letters.
        show: how a number is written in the table.

    Raises:
        ValueError: if there is no number to draw, or one beyond the columns and rows.
    """
    there = {place: value for place, value in cells.items() if value is not None and np.isfinite(value)}
    if not there:
        raise ValueError("a grid needs at least one number")
    if any(not (0 <= x < len(across) and 0 <= y < len(down)) for x, y in cells):
        raise ValueError(f"a number lies beyond the {len(across)} columns and {len(down)} rows")
    low, high = limits or (min(there.values()), max(there.values()))

    def colour(value: Number) -> float:
        share = (value - low) / (high - low) if high > low else 1.0
        return PALEST + (1 - PALEST) * min(1.0, max(0.0, float(share)))

    def paint(axes: Axes, frame: Frame) -> None:
        roomy = 0.85 * frame.width / len(across) >= FIT
        for (x, y), value in there.items():
            _square(axes, x, y, colour(value), write(value) if roomy else "")
        _name(axes, across, down, 0.85 * frame.width / len(across))
        axes.set_xlabel(label(x_label))
        axes.set_ylabel(label(y_label))

    columns = (Column(y_label), Column(x_label), Column(value_label, show))
    rows = tuple(
        (down[y], across[x], value)
        for (x, y), value in sorted(there.items(), key=lambda item: _row_first(item[0]))
    )
    table = Table(columns, rows, value_label)
    wide, narrow = (
        f.tall(round(60 + 0.8 * len(down) * f.width / max(len(across), 12))) for f in (WIDE, NARROW)
    )
    return Figure(finish(paint, wide), caption, alt, table, finish(paint, narrow))


def _row_first(place: tuple[int, int]) -> tuple[int, int]:
    return place[1], place[0]


def _square(axes: Axes, x: int, y: int, colour: float, text: str, series: str = SERIES[0]) -> None:
    axes.fill_between([x - 0.47, x + 0.47], y - 0.45, y + 0.45, color=series, alpha=colour, linewidth=0)
    if text:
        ink = PAPER if colour >= DARK else INK
        axes.annotate(label(text, 8), (x, y), ha="center", va="center", color=ink, fontsize=10.5)


def _name(axes: Axes, across: Sequence[str], down: Sequence[str], width: float) -> None:
    """Names of columns and rows, and no axes."""
    longest = max(len(name) for name in across)
    every = max(1, -(-6 * longest // int(max(1, width))))  # columns whose names would touch go without
    axes.set_xticks(range(0, len(across), every), [label(name) for name in across[::every]])
    axes.set_yticks(range(len(down)), [label(name) for name in down])
    axes.tick_params(length=0, colors=MUTED)
    axes.set_xlim(-0.6, len(across) - 0.4)
    axes.set_ylim(len(down) - 0.4, -0.6)
    axes.grid(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
