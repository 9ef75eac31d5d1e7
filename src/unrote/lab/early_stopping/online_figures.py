"""Drawings of runs under early stopping: copies with what was said of them, and what each setting had at its onset."""

from __future__ import annotations

import math
from collections.abc import Sequence

from unrote.contracts import Estimate
from unrote.lab.claims import Row
from unrote.lab.early_stopping.law_figures import mean_of
from unrote.lab.early_stopping.online_rules import (
    check_at_gap,
    check_at_stop,
    excess_copies,
    group_of,
    kept,
    of_group,
    off_by,
    off_by_later,
    off_by_pictures,
    off_by_recall,
    onset_of,
    over_best,
    over_clean,
    typical,
)
from unrote.lab.ratios import geometric
from unrote.measure.power_law import over_seeds
from unrote.report.blocks import Block, Column, Table
from unrote.report.canvas import Interval, Line
from unrote.report.format import Value, percent, quantity
from unrote.report.plots import Curve, curves

GAPS = (0.7, 1.0, 1.4, 2.0, 2.8, 4.0)
"""Gaps at which the expectation is drawn."""
AT_ONSET = (("gap", ""), ("low levels", "_0"), ("middle levels", "_1"), ("high levels", "_2"))
"""Gaps over all levels and in thirds of them, and how their losses are called."""


def show(rows: Sequence[Row]) -> tuple[Block, ...]:
    """Every setting's copies, then the settings side by side."""
    groups = list(dict.fromkeys(map(group_of, rows)))
    drawn = [copying(of_group(rows, name), name) for name in groups]
    expected = expectations(rows, groups)
    return (*drawn, *expected, stops(rows, groups), estimates(rows, groups), at_onset(rows, groups))


def copying(rows: Sequence[Row], name: str) -> Block:
    """Copies and quality over the steps of one setting, the stop and what was then expected."""
    samples, images = rows[0]["configuration"]["samples"], rows[0]["configuration"]["pictures"]["images"]
    steps = rows[0]["result"]["steps"]
    line = Curve("copies", steps, [count / samples for count in mean_of(rows, "copies")])
    said = [seen for row in rows if (seen := check_at_stop(row)) is not None and seen["onset"] is not None]
    onset = over_seeds([onset_of(row) for row in rows]).value
    marks = [("kept", mean([row["result"]["kept"] for row in rows])), ("onset", onset)]
    ranges = []
    if said:
        low, value, high = (
            mean([seen[end] for seen in said]) for end in ("onset_low", "onset", "onset_high")
        )
        assert low is not None and high is not None
        ranges = [Interval(max(low, steps[0]), min(high, steps[-1]), "expected at the stop")]
        marks.append(("expected", value))
    return curves(
        [line],
        x_label="step",
        y_label="samples that are copies",
        log_x=True,
        show_y=percent,
        lines=[
            Line(step, word) for word, step in marks if step is not None and steps[0] <= step <= steps[-1]
        ],
        intervals=ranges,
        caption=f"{name}, P = {images}: copies of the averaged weights, mean over seeds; marked are the step that was "
        "kept, the onset of 5 % copies, and what was expected of it when the run was stopped (geometric means).",
        alt="Copy ratio over training steps with the kept step, the onset and the expected onset.",
    )


def mean(values: Sequence[float | int | None]) -> float | None:
    """The geometric mean of what is known."""
    known = [value for value in values if value]
    return math.exp(sum(map(math.log, known)) / len(known)) if known else None


def expectations(rows: Sequence[Row], groups: Sequence[str]) -> tuple[Block, ...]:
    """The onset over what was expected of it, as the gap grows."""
    lines = []
    for name in groups:
        found = [among(of_group(rows, name), gap) for gap in GAPS]
        if any(one is not None for one in found):
            lines.append(Curve(name, GAPS, found))
    if not lines:
        return ()
    return (
        curves(
            lines,
            x_label="relative gap of the losses",
            y_label="onset / expected onset",
            log_x=True,
            log_y=True,
            caption="What the losses say of the copies, the first time that the gap is so large: 1 is right, above it "
            "copies come later than expected. Geometric means over seeds.",
            alt="Measured over expected onset of copies against the gap, one line for each setting.",
        ),
    )


def among(rows: Sequence[Row], gap: float) -> float | None:
    """The typical onset over what was expected at a gap, of the runs that have both."""
    found = [off_by(row, lambda one: check_at_gap(one, gap)) for row in rows]
    known = [one for one in found if one is not None]
    return math.exp(sum(known) / len(known)) if known else None


def stops(rows: Sequence[Row], groups: Sequence[str]) -> Table:
    """What was kept in every setting."""
    cells: list[tuple[Value, ...]] = []
    for name in groups:
        some = of_group(rows, name)
        models = [model for row in some if (model := kept(row)) is not None]
        samples = some[0]["configuration"]["samples"]
        tested = some[0]["configuration"]["pictures"]["test"]
        cells.append(
            (
                name,
                f"{sum(row['result']['stopped'] is not None for row in some)} of {len(some)}",
                mean([row["result"]["kept"] for row in some]),
                sum(model["copies"] for model in models) / (samples * len(models)) if models else None,
                sum(row["result"]["fresh"] for row in some) / (tested * len(some)),
                excess_copies(some),
                sum(row["result"]["averaged"]["copies"][-1] for row in some) / (samples * len(some)),
                typical(some, over_clean),
                typical(some, over_best),
            )
        )
    columns = (
        Column("setting"),
        Column("runs stopped"),
        Column("last clean step", quantity),
        Column("copies there", share),
        Column("among fresh pictures", share),
        Column("difference", shares),
        Column("copies at the end", share),
        Column("Frechet distance / best before 5 % copies", quantity),
        Column("/ best of the run", quantity),
    )
    return Table(columns, tuple(cells), "What early stopping kept, and what it cost")


def estimates(rows: Sequence[Row], groups: Sequence[str]) -> Table:
    """What was expected at the stop, and what came."""
    cells: list[tuple[Value, ...]] = []
    for name in groups:
        some = of_group(rows, name)
        cells.append(
            (
                name,
                over_seeds([onset_of(row) for row in some]),
                typical(some, off_by),
                typical(some, off_by_later),
                typical(some, off_by_recall),
                typical(some, off_by_pictures),
            )
        )
    columns = (
        Column("setting"),
        Column("5 % copies at step", quantity),
        Column("/ expected at the stop", quantity),
        Column("/ expected at a gap of 2", quantity),
        Column("/ 10 % recalled", quantity),
        Column("/ 16 steps a picture", quantity),
    )
    return Table(
        columns, tuple(cells), "When copies came, over what was expected; geometric means over seeds"
    )


def at_onset(rows: Sequence[Row], groups: Sequence[str]) -> Table:
    """Gaps by level, and recall, where copies begin: what might serve as a sign of it."""
    cells: list[tuple[Value, ...]] = []
    for name in groups:
        some = of_group(rows, name)
        found: list[Value] = [name]
        for _, band in AT_ONSET:
            values = [there for row in some if (there := gap_there(row, band)) is not None]
            found.append(geometric([math.log(v) for v in values if v > 0]) if len(values) > 1 else None)
        shares_there = [there for row in some if (there := at_its_onset(row, "recalled")) is not None]
        found.append(sum(shares_there) / len(shares_there) if shares_there else None)
        cells.append(tuple(found))
    names = (*(word for word, _ in AT_ONSET), "training pictures recalled")
    shown = [quantity] * len(AT_ONSET)
    columns = (Column("setting"), *map(Column, names[:-1], shown), Column(names[-1], share))
    return Table(
        columns,
        tuple(cells),
        "Where 5 % of the samples are copies: relative gap over all levels and in each third of them, and the share of "
        "training pictures that one step finds again at the largest noise at which the best denoiser does",
    )


def at_its_onset(row: Row, key: str) -> float | None:
    """A measurement at the onset of copies, straight between checkpoints over log steps; None without an onset."""
    onset, steps, values = onset_of(row), row["result"]["steps"], row["result"]["averaged"][key]
    if onset.value is None or onset.low not in steps:
        return None
    place = steps.index(onset.low)
    after = min(place + 1, len(steps) - 1)
    way = (
        0.0
        if after == place
        else math.log(onset.value / steps[place]) / math.log(steps[after] / steps[place])
    )
    return float(values[place] + way * (values[after] - values[place]))


def gap_there(row: Row, band: str) -> float | None:
    """The relative gap of a band at the onset of copies."""
    train, validation = (at_its_onset(row, f"{name}{band}") for name in ("train", "validation"))
    return None if train is None or validation is None or train <= 0 else validation / train - 1


def share(value: Value) -> str:
    """A share, or nothing."""
    return percent(value if isinstance(value, int | float) else None)


def shares(value: Value) -> str:
    """A difference of shares with its interval."""
    if not isinstance(value, Estimate) or value.value is None:
        return percent(None)
    return f"{percent(value.value)} [{percent(value.low)}, {percent(value.high)}]"
