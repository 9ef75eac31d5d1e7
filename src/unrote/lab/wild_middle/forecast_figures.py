"""Drawings of the forecast: crossing against measured peak, copies by level, and every data set in a table."""

from __future__ import annotations

from collections.abc import Sequence

from unrote.lab.claims import Row
from unrote.lab.wild_middle.forecasts import Setting, calibrated, errors, jaccards, middle, settings_of
from unrote.report.blocks import Block, Column, Table
from unrote.report.format import number, percent, quantity
from unrote.report.plots import Curve, clouds, curves

WAYS = {"crossing": "geometry", "level": "a constant level", "nearest": "distance to the nearest picture"}


def show(rows: Sequence[Row]) -> tuple[Block, ...]:
    """Three figures and two tables, of the data sets whose network copies."""
    found = settings_of(rows)
    if len(found) < 3:
        return ()
    return (
        against(found),
        by_level(found, scaled=False),
        by_level(found, scaled=True),
        table(found),
        ways(found),
    )


def against(found: Sequence[Setting]) -> Block:
    """The crossing known before training against the peak measured after."""
    return clouds(
        [Curve("data sets", [one.crossing for one in found], [one.peak for one in found])],
        x_label="crossing, before training (sigma)",
        y_label="measured peak (sigma)",
        caption="Each point is a data set; on the line both levels are equal.",
        alt="Measured level of most copies against the crossing of posterior weight and coverage",
        diagonal=True,
    )


def by_level(found: Sequence[Setting], scaled: bool) -> Block:
    """Copies by level, each curve divided by its top; over sigma or over sigma / crossing."""
    return curves(
        [
            Curve(
                one.name,
                [float(s) / (one.crossing if scaled else 1) for s in one.level],
                (one.copies / one.copies.max()).tolist(),
            )
            for one in found
        ],
        x_label="sigma / crossing" if scaled else "noise level sigma",
        y_label="copies / most copies",
        log_x=True,
        y_limits=(0, 1),
        caption="Share of noised test pictures that one step turns into a copy, divided by its highest value"
        + (", over the level in units of the crossing." if scaled else "."),
        alt="Relative copies after one step by noise level, one line for each data set",
    )


def table(found: Sequence[Setting]) -> Table:
    """Every data set: what was foretold and what was measured."""
    rule = calibrated(found[0::2])

    def spell(zone: tuple[float, float]) -> str:
        return f"{number(zone[0])} to {number(zone[1])}"

    rows = tuple(
        (
            one.name,
            one.crossing,
            one.peak,
            one.nearest,
            spell(one.zone(0.95, 0.95)) if one.zone(0.95, 0.95)[0] < one.zone(0.95, 0.95)[1] else "empty",
            spell(one.zone(*rule)),
            spell(one.measured),
            one.jaccard(one.zone(*rule)),
            float(one.copies.max()),
            one.samples,
        )
        for one in found
    )
    columns = (
        Column("data set"),
        Column("crossing", quantity),
        Column("measured peak", quantity),
        Column("median distance to the nearest training picture", quantity),
        Column("danger zone, p = .95"),
        Column(f"calibrated zone (coverage {rule[0]:g}, weight {rule[1]:g})"),
        Column("measured zone"),
        Column("Jaccard index", quantity),
        Column("most copies in one step", percent),  # type: ignore[arg-type]
        Column("copies among samples", percent),  # type: ignore[arg-type]
    )
    return Table(columns, rows, "Levels as sigma; every second data set, from the first, calibrated the zone")


def ways(found: Sequence[Setting]) -> Table:
    """The predictors side by side."""
    rows = [
        (
            words,
            middle(errors(found, of, fitted=False)) if of == "crossing" else None,
            middle(errors(found, of)),
            float(jaccards(found, "zone" if of == "crossing" else of).mean()),
        )
        for of, words in WAYS.items()
    ]
    columns = (
        Column("prediction from"),
        Column("median |log error| of the peak, nothing fitted", quantity),
        Column("with one constant from the other sets", quantity),
        Column("mean Jaccard index, fitted on the other sets", quantity),
    )
    return Table(columns, tuple(rows), "Geometry and baselines, leaving one data set out")
