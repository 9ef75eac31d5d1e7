"""Drawings of the best level: copies left over sigma_n for every data set, prediction against measurement, a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from unrote.lab.ambient.levels import LEVELS, Measured, errors, measured, regrets
from unrote.lab.claims import Row
from unrote.lab.wild_middle.forecasts import middle
from unrote.report.blocks import Block, Column, Table
from unrote.report.format import percent, quantity
from unrote.report.plots import Curve, clouds, curves

WAYS = {
    "crossing": "geometry: the crossing",
    "covered": "geometry: half covered",
    "level": "a constant level",
    "nearest": "distance to the nearest picture",
}


def show(rows: Sequence[Row]) -> tuple[Block, ...]:
    """Two curves over sigma_n, one cloud and two tables, of the data sets whose baseline copies."""
    found = measured(rows)
    if len(found) < 3:
        return ()
    return (
        over_levels(found, scaled=False),
        over_levels(found, scaled=True),
        against(found),
        table(found),
        at_levels(found),
        ways(found),
    )


def over_levels(found: Sequence[Measured], scaled: bool) -> Block:
    """Copies left over sigma_n, or over sigma_n in units of the crossing."""
    return curves(
        [
            Curve(
                one.name,
                [level / (one.crossing if scaled else 1) for level in LEVELS],
                [math.exp(log) for log in one.logs],
            )
            for one in found
        ],
        x_label="sigma_n / crossing" if scaled else "sigma_n",
        y_label="copies / copies of the baseline",
        log_x=True,
        y_limits=(0, None),
        caption="What ambient training leaves of the baseline's copies, geometric means over seeds"
        + (", over the level in units of the crossing." if scaled else "."),
        alt="Copies left over the level of ambient training, one line for each data set.",
    )


def against(found: Sequence[Measured]) -> Block:
    """The crossing against the levels of fewest copies and of the best at equal quality."""
    crossing = [one.crossing for one in found]
    return clouds(
        [
            Curve("fewest copies", crossing, [one.fewest for one in found]),
            Curve("best at equal quality", crossing, [one.best for one in found]),
        ],
        x_label="crossing, before training (sigma)",
        y_label="best sigma_n, measured",
        caption="Each point is a data set; on the line both levels are equal.",
        alt="Measured best level of ambient training against the crossing.",
        diagonal=True,
    )


def table(found: Sequence[Measured]) -> Table:
    """Every data set."""
    columns = (
        Column("data set"),
        Column("copies of the baseline", percent),  # type: ignore[arg-type]
        Column("crossing", quantity),
        Column("half covered", quantity),
        Column("nearest picture", quantity),
        Column("sigma_n of fewest copies", quantity),
        Column("copies left there", quantity),
        Column("best at equal quality", quantity),
    )
    rows = tuple(
        (
            one.name,
            one.baseline,
            one.crossing,
            one.covered,
            one.nearest,
            one.fewest,
            math.exp(min(one.logs)),
            one.best,
        )
        for one in found
    )
    words = "Levels as sigma; nearest picture: the median distance of test pictures to the nearest training picture"
    return Table(columns, rows, words)


def at_levels(found: Sequence[Measured]) -> Table:
    """Copies left and Frechet distances at every level."""
    rows: tuple[tuple[Any, ...], ...] = tuple(
        row
        for one in found
        for row in (
            (one.name, "copies", *(math.exp(log) for log in one.logs)),
            (one.name, "Frechet distance", *one.frechet),
        )
    )
    columns = (
        Column("data set"),
        Column("over the baseline's"),
        *(Column(f"{level:g}", quantity) for level in LEVELS),
    )
    return Table(columns, rows, "Over the baseline's, by sigma_n: geometric means over seeds")


def ways(found: Sequence[Measured]) -> Table:
    """The predictors side by side."""
    rows = tuple(
        (
            words,
            middle(errors(found, lambda one: one.fewest, name)),
            middle(errors(found, lambda one: one.best, name)),
            middle(regrets(found, name)),
        )
        for name, words in WAYS.items()
    )
    columns = (
        Column("a constant times"),
        Column("median |log error| of the level of fewest copies", quantity),
        Column("of the best at equal quality", quantity),
        Column("median log regret", quantity),
    )
    return Table(columns, rows, "Predictions, each constant fitted on all other data sets")
