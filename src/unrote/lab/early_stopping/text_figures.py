"""Drawings of text: losses, copies and distances over steps, onsets over P, and copied text beside its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from unrote.contracts import Estimate
from unrote.jobs.audit_text_page import pieces
from unrote.lab.claims import Row
from unrote.lab.early_stopping.law_rules import Definition
from unrote.lab.early_stopping.rhm_figures import over_steps
from unrote.lab.early_stopping.rhm_rules import Time, law_of
from unrote.lab.early_stopping.text_rules import (
    at_end,
    at_minimum,
    copies_at_end,
    gained,
    inexact_at_end,
    minimum,
    of,
    sizes,
)
from unrote.lab.early_stopping.text_runs import SHARE
from unrote.measure.estimate import estimate
from unrote.measure.onset import at_step
from unrote.measure.power_law import over_seeds
from unrote.measure.text import copy_threshold
from unrote.report.blocks import Block, Collation, Collations, Column, Reading, Table
from unrote.report.format import percent, quantity, ratio
from unrote.report.plots import Curve, curves

LAWS = (
    *(Definition("gap", bits, "averaged") for bits in (0.4, 0.8, 1.6, 3.2)),
    *(Definition("copies", share, "averaged") for share in (0.05, 0.1, 0.2, 0.5)),
)
"""Onsets in the table and in the figure, in bits a character and shares of copies."""
SEEN = 6
"""Bits a character up to which losses are drawn; a blind guess has 4.75."""
MOMENTS = {
    "end": "At the last step",
    "minimum": "Where the validation loss is least",
}
"""When samples were kept, in words."""


def show(rows: Sequence[Row]) -> tuple[Block, ...]:
    """Curves at every P, the law, tables, and texts."""
    found = [
        losses(rows),
        copying(rows),
        distances(rows),
        *times(rows),
        laws(rows),
        stopped(rows),
        ended(rows),
    ]
    return *found, *texts(rows)


def words(definition: Definition) -> str:
    """An onset in a few words."""
    if definition.kind == "gap":
        return f"losses {definition.threshold:g} bits apart"
    return f"{definition.threshold:.0%} copies"


def below(line: Curve, most: float | int) -> Curve:
    """A line up to where it first exceeds a height."""
    n = next((k for k, y in enumerate(line.y) if y is not None and y > most), len(line.y))
    ends = [None if end is None else end[:n] for end in (line.low, line.high)]
    return Curve(line.name, line.x[:n], line.y[:n], *ends)


def by_size(rows: Sequence[Row], key: str, unit: float | int = 1, prefix: str = "") -> list[Curve]:
    """A measurement of the averaged weights over the steps, a line with its interval for each P."""
    lines = []
    for trained in sizes(rows):
        mine = of(rows, trained)
        values = [[value / unit for value in row["result"]["averaged"][key]] for row in mine]
        lines.append(over_steps(mine, values, f"{prefix}P = {trained}"))
    return lines


def losses(rows: Sequence[Row]) -> Block:
    """Figure 3: both losses over the steps."""
    lines = [
        below(line, SEEN)
        for key, name in (("train", "training, "), ("validation", "validation, "))
        for line in by_size(rows, key, prefix=name)
    ]
    return curves(
        lines,
        x_label="step",
        y_label="bound, bits a character",
        log_x=True,
        caption="Figure 3: training and validation bound under the same noise, averaged weights, 95 % intervals over "
        f"seeds; lines end where they exceed {SEEN} bits.",
        alt="Losses over training steps, two lines for each number of windows: they fall together and then part.",
    )


def copying(rows: Sequence[Row]) -> Block:
    """Figure 3: copied text over the steps."""
    return curves(
        by_size(rows, "copies", rows[0]["configuration"]["samples"]),
        x_label="step",
        y_label="samples that are copies",
        log_x=True,
        show_y=percent,
        caption=f"Figure 3: samples that differ from a training window in at most {SHARE:.0%} of their characters, "
        "95 % intervals over seeds.",
        alt="Share of copies over training steps, one line for each number of windows.",
    )


def distances(rows: Sequence[Row]) -> Block:
    """Figure 3, as the paper measures it: the mean distance to the nearest window, with that of fresh text."""
    fresh = [
        Curve(f"fresh text, P = {trained}", steps, [_mean(of(rows, trained), "hamming").value] * 2)
        for trained in sizes(rows)
        for steps in ([rows[0]["result"]["steps"][0], max(row["result"]["steps"][-1] for row in rows)],)
    ]
    return curves(
        [*by_size(rows, "hamming"), *fresh],
        x_label="step",
        y_label="share of characters that differ",
        log_x=True,
        caption="Mean Hamming distance of samples to the nearest training window over their length, 95 % intervals "
        "over seeds; straight lines: windows of held-out text.",
        alt="Mean distance to the nearest training window over training steps: at that of fresh text, then falling.",
    )


def _mean(rows: Sequence[Row], key: str) -> Estimate:
    """A number of fresh text, over seeds."""
    return estimate(torch.tensor([row["result"]["fresh"][key] for row in rows], dtype=torch.float64))


def times(rows: Sequence[Row]) -> tuple[Block, ...]:
    """Figure 9b: onsets over P."""
    known: Mapping[str, Time] = {words(d): d.onset for d in LAWS} | {"validation loss least": minimum}
    lines = [line for name, time in known.items() for line in _line(rows, name, time)]
    if not lines:
        return ()
    drawn = curves(
        lines,
        x_label="P, training windows",
        y_label="step",
        log_x=True,
        log_y=True,
        caption="Figure 9b: onsets by several thresholds (loss gaps in bits a character), 95 % intervals over seeds.",
        alt="Steps over the number of training windows, one line for each definition of the onset.",
    )
    return (drawn,)


def _line(rows: Sequence[Row], name: str, time: Time) -> list[Curve]:
    """Typical steps over P; no line where nothing came."""
    found = [(trained, over_seeds([time(row) for row in of(rows, trained)])) for trained in sizes(rows)]
    seen = [(trained, one) for trained, one in found if one.value is not None]
    whole = all(one.low is not None and one.high is not None for _, one in seen)
    low, high = ([one.low for _, one in seen], [one.high for _, one in seen]) if whole else (None, None)
    return [Curve(name, [p for p, _ in seen], [one.value for _, one in seen], low, high)] if seen else []


def laws(rows: Sequence[Row]) -> Table:
    """Typical steps at every P, and the exponent, by every definition."""
    cells: list[tuple[str | Estimate | None, ...]] = []
    for d in LAWS:
        law = law_of(rows, d.onset)
        known = sum(d.onset(row).value is not None for row in rows)
        steps = [over_seeds([d.onset(row) for row in of(rows, trained)]) for trained in sizes(rows)]
        cells.append((words(d), f"{known} of {len(rows)}", *steps, None if law is None else law.exponent))
    columns = (
        Column("onset by"),
        Column("runs that reached it"),
        *(Column(f"P = {trained}", quantity) for trained in sizes(rows)),
        Column("exponent b", quantity),
    )
    return Table(columns, tuple(cells), "Steps of the onset and tau = a P^b, 95 % intervals over seeds")


def stopped(rows: Sequence[Row]) -> Table:
    """What is reached where the validation bound is least."""
    cells: list[tuple[str | Estimate | None, ...]] = []
    for trained in sizes(rows):
        mine = of(rows, trained)
        samples = mine[0]["configuration"]["samples"]
        cells.append(
            (
                str(trained),
                _over([at_minimum(row, "validation") for row in mine]),
                _over([gained(row) for row in mine]),
                _over([at_minimum(row, "copies") / samples for row in mine]),
                _over([at_minimum(row, "passage") for row in mine]),
                _mean(mine, "passage"),
            )
        )
    columns = (
        Column("P"),
        Column("bound, bits", quantity),
        Column("below the best without context", quantity),
        Column("copies", ratio),
        Column("longest passage", quantity),
        Column("of fresh text", quantity),
    )
    caption = (
        "Where the validation bound is least, 95 % intervals over seeds. The best without context knows how often each "
        "character is; passages are the mean of the longest that a text shares with a training window, in characters"
    )
    return Table(columns, tuple(cells), caption)


def ended(rows: Sequence[Row]) -> Table:
    """What is reached at the last step."""
    cells: list[tuple[str | Estimate | None, ...]] = []
    for trained in sizes(rows):
        mine = of(rows, trained)
        inexact = [share for row in mine if (share := inexact_at_end(row)) is not None]
        cells.append(
            (
                str(trained),
                over_seeds([at_step(row["result"]["steps"][-1]) for row in mine]),
                _over([copies_at_end(row) for row in mine]),
                _over([at_end(row, "wrong") for row in mine]),
                _over(inexact),
            )
        )
    columns = (
        Column("P"),
        Column("last step", quantity),
        Column("copies", ratio),
        Column("wrong characters of the median copy", quantity),
        Column("copies with a wrong character", ratio),
    )
    return Table(columns, tuple(cells), "At the last step, 95 % intervals over seeds")


def _over(values: Sequence[float]) -> Estimate | None:
    """A mean over seeds."""
    return estimate(torch.tensor(values, dtype=torch.float64)) if values else None


def texts(rows: Sequence[Row]) -> list[Block]:
    """Figure 13: the first samples as drawn, beside the training windows nearest to them."""
    found: list[Block] = []
    for row in rows:
        shown, asked = row["result"]["shown"], row["configuration"]
        for moment, when in MOMENTS.items():
            if shown.get(moment):
                caption = (
                    f"{when} (P = {asked['trained']}, seed {asked['seed']}): the first samples as drawn, beside their "
                    "nearest training window. Characters that differ are marked, copies framed."
                )
                limit = copy_threshold(asked["length"], SHARE)
                found.append(Collations(tuple(beside(one, limit) for one in shown[moment]), caption))
    return found


def beside(one: Mapping[str, Any], limit: int) -> Collation:
    """A sample beside its source, differences marked; a frame if they differ in at most `limit` characters."""
    sample, source = one["sample"], one["source"]
    marks = [a != b for a, b in zip(sample, source, strict=True)]
    readings = (
        Reading("sample", pieces(sample, marks)),
        Reading("training text", pieces(source, marks), f"from character {one['from']:,}"),
    )
    said = f"{sum(marks)} of {len(sample)} characters differ" if any(marks) else "equal in every character"
    return Collation(readings, said, "copy" if sum(marks) <= limit else "")
