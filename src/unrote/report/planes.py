"""A drawing of two measured numbers against each other, such as quality and copying, with intervals both ways."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from unrote.contracts import Estimate
from unrote.report.blocks import Column, Figure, Table
from unrote.report.canvas import (
    DASHES,
    NARROW,
    WIDE,
    Frame,
    Line,
    draw_marks,
    finish,
    label,
    scale_x,
    scale_y,
)
from unrote.report.format import Number, Value, number, percent, quantity, ratio
from unrote.report.plots import MARKERS
from unrote.report.svg import PAPER, SERIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Track:
    """Where something went in the plane, and where it ended.

    Args:
        name: what it is.
        x, y: the two numbers at each of its points, in order.
        places: names the points, such as training steps.
        end: which point is the one that counts.
    """

    name: str
    x: Sequence[Estimate]
    y: Sequence[Estimate]
    places: Sequence[Value]
    end: int = -1

    def __post_init__(self) -> None:
        if not len(self.x) == len(self.y) == len(self.places) > 0:
            raise ValueError(f"track {self.name!r} has parts of different lengths, or no point")


def plane(
    tracks: Sequence[Track],
    *,
    x_label: str,
    y_label: str,
    place_label: str,
    caption: str,
    alt: str,
    log_x: bool = False,
    show_x: Callable[[Number], str] = number,
    show_y: Callable[[Number], str] = percent,
    lines: Sequence[Line] = (),
) -> Figure:
    """Tracks as thin lines through small points, their ends large, with the intervals of both numbers as bars.

    Args:
        tracks: what is drawn; points without a value are left out.
        x_label, y_label: what the axes are, with units.
        place_label: what `Track.places` are.
        caption, alt: words below the figure, words instead of it.
        log_x: whether the horizontal axis is logarithmic (values at or below 0 are then not drawn).
        show_x, show_y: how numbers of an axis are written; ``percent`` for fractions.
        lines: marked places of the horizontal axis.

    Raises:
        ValueError: if there is no track.
    """
    if not tracks:
        raise ValueError("a plane needs at least one track")

    def paint(axes: Axes, frame: Frame) -> None:
        scale_x(axes, log_x, show_x)
        scale_y(axes, False, show_y)
        for index, track in enumerate(tracks):
            _draw(axes, track, index)
        axes.set_xlabel(label(x_label))
        axes.set_ylabel(label(y_label))
        frame.legend(axes, draw_marks(axes, lines, ()))

    def shown(show: Callable[[Number], str]) -> Callable[[Value], str]:
        return ratio if show is percent else quantity

    columns = (
        Column("series"),
        Column(place_label),
        Column(x_label, shown(show_x)),
        Column(y_label, shown(show_y)),
    )
    rows = tuple(
        (track.name, place, x, y)
        for track in tracks
        for place, x, y in zip(track.places, track.x, track.y, strict=True)
    )
    table = Table(columns, rows, f"{y_label} and {x_label}")
    wide, narrow = WIDE.tall(380), NARROW.tall(340)
    return Figure(finish(paint, wide), caption, alt, table, finish(paint, narrow))


def _draw(axes: Axes, track: Track, index: int) -> None:
    """One track; intervals that are not known are not drawn."""
    colour = SERIES[index % len(SERIES)]
    x, y = (np.array([np.nan if e.value is None else e.value for e in part]) for part in (track.x, track.y))
    dashes = DASHES[index % len(DASHES)]
    axes.plot(x, y, color=colour, linewidth=1, alpha=0.45, linestyle=dashes, marker=".", markersize=4)
    end_x, end_y = track.x[track.end], track.y[track.end]
    if end_x.value is None or end_y.value is None:
        return
    if end_x.low is not None and end_x.high is not None:
        axes.hlines(end_y.value, end_x.low, end_x.high, color=colour, linewidth=1.6)
    if end_y.low is not None and end_y.high is not None:
        axes.vlines(end_x.value, end_y.low, end_y.high, color=colour, linewidth=1.6)
    axes.plot(
        [end_x.value],
        [end_y.value],
        linestyle="",
        marker=MARKERS[index % len(MARKERS)],
        markersize=8,
        color=colour,
        markeredgecolor=PAPER,
        label=label(track.name),
    )
