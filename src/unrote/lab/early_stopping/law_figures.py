"""Drawings of the law: losses and copies over steps, onsets over sizes with their fits, early stopping in a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch

from unrote.contracts import Estimate
from unrote.lab.claims import Row
from unrote.lab.early_stopping.law_rules import (
    Definition,
    at_stop,
    held_out,
    law_of,
    of_set,
    quality_at_stop,
    sizes,
    stop_of,
)
from unrote.lab.ratios import geometric
from unrote.measure.estimate import estimate
from unrote.measure.onset import Onset
from unrote.measure.power_law import over_seeds
from unrote.report.blocks import Block, Column, Table
from unrote.report.format import percent, quantity
from unrote.report.plots import Curve, curves

DRAWN = (
    Definition("gap", 0.2, "averaged"),
    Definition("gap", 0.8, "averaged"),
    Definition("copies", 0.05, "averaged"),
    Definition("copies", 0.2, "averaged"),
    Definition("gap", 0.2, "raw"),
    Definition("copies", 0.05, "raw"),
)
"""Definitions with a line; the table has more."""
TABLED = tuple(
    Definition(kind, threshold, weights)
    for kind, thresholds in (("gap", (0.2, 0.4, 0.8)), ("copies", (0.05, 0.1, 0.2)))
    for threshold in thresholds
    for weights in ("raw", "averaged")
)


def show(rows: Sequence[Row]) -> tuple[Block, ...]:
    """Every set with its curves, its onsets and its stops."""
    found: list[Block] = []
    for name in dict.fromkeys(row["configuration"]["pictures"]["set"] for row in rows):
        mine = of_set(rows, name)
        found += [dynamics(mine, name), copying(mine, name, scaled=False), copying(mine, name, scaled=True)]
        found += [*onsets(mine, name), laws(mine, name, TABLED, foretold=True)]
        found += [typical_onsets(mine, name, TABLED), stops(mine, name)]
    return tuple(found)


def by_size(rows: Sequence[Row]) -> dict[int, list[Row]]:
    """The runs of every size."""
    return {
        size: [row for row in rows if row["configuration"]["pictures"]["images"] == size]
        for size in sorted(set(sizes(rows)))
    }


def mean_of(rows: Sequence[Row], key: str) -> list[float]:
    """A measurement of the averaged weights at every checkpoint, mean over seeds."""
    values = [row["result"]["averaged"][key] for row in rows]
    return torch.tensor(values, dtype=torch.float64).mean(0).tolist()  # type: ignore[no-any-return]


def dynamics(rows: Sequence[Row], name: str) -> Block:
    """Figure 1, left: both losses over the steps."""
    lines = [
        Curve(f"{words}, P = {size}", some[0]["result"]["steps"], mean_of(some, key))
        for size, some in by_size(rows).items()
        for key, words in (("train", "training"), ("validation", "test"))
    ]
    return curves(
        lines,
        x_label="step",
        y_label="loss",
        log_x=True,
        caption=f"{name}: training and test loss with the same noise, averaged weights, means over seeds.",
        alt="Losses over training steps, two lines for each size of the training set.",
    )


def copying(rows: Sequence[Row], name: str, scaled: bool) -> Block:
    """Figure 1: copies over the steps, or over steps a picture."""
    lines = []
    for size, some in by_size(rows).items():
        samples = some[0]["configuration"]["samples"]
        steps = [step / (size if scaled else 1) for step in some[0]["result"]["steps"]]
        lines.append(Curve(f"P = {size}", steps, [count / samples for count in mean_of(some, "copies")]))
    return curves(
        lines,
        x_label="steps / P" if scaled else "step",
        y_label="samples that are copies",
        log_x=True,
        show_y=percent,
        caption=f"{name}: copies over training, averaged weights, means over seeds"
        + (": one curve, if the law holds." if scaled else "."),
        alt="Copy ratio over training, one line for each size of the training set.",
    )


def onset_lines(rows: Sequence[Row], times: Mapping[str, Callable[[Row], Onset]]) -> list[Curve]:
    """Typical onsets over P with intervals over seeds, one line for each kind of onset that some run reached."""
    lines = []
    for name, onset in times.items():
        found = [(size, over_seeds([onset(row) for row in some])) for size, some in by_size(rows).items()]
        seen = [(size, one) for size, one in found if one.value is not None]
        whole = all(one.low is not None and one.high is not None for _, one in seen)
        ends = ([one.low for _, one in seen], [one.high for _, one in seen]) if whole else (None, None)
        if seen:
            lines.append(Curve(name, [size for size, _ in seen], [one.value for _, one in seen], *ends))
    return lines


def over_sizes(lines: Sequence[Curve], caption: str) -> tuple[Block, ...]:
    """Steps over P on logarithmic axes; nothing where there is no line."""
    if not lines:
        return ()
    drawn = curves(
        lines,
        x_label="P, training pictures",
        y_label="step",
        log_x=True,
        log_y=True,
        caption=caption,
        alt="Steps over the number of training pictures, one line for each name.",
    )
    return (drawn,)


def onsets(rows: Sequence[Row], name: str, drawn: Sequence[Definition] = DRAWN) -> tuple[Block, ...]:
    """Figure 9a: onsets over P by several definitions, with intervals over seeds."""
    lines = onset_lines(rows, {d.words: d.onset for d in drawn})
    return over_sizes(lines, f"{name}: onsets by several definitions, with 95 % intervals over seeds.")


def laws(
    rows: Sequence[Row], caption: str, definitions: Sequence[Definition], foretold: bool = False
) -> Table:
    """Exponents by every definition, and where asked for the largest size over its forecast."""
    cells: list[tuple[str | Estimate | None, ...]] = []
    for d in definitions:
        law, told = law_of(rows, d), held_out(rows, d) if foretold else None
        known = sum(d.onset(row).value is not None for row in rows)
        here = (
            d.words,
            f"{known} of {len(rows)}",
            None if law is None else law.exponent,
            None if law is None else law.constant,
        )
        cells.append((*here, None if told is None else told.factor) if foretold else here)
    columns = (
        Column("onset by"),
        Column("runs that reached it"),
        Column("exponent b", quantity),
        Column("a, steps at P = 1", quantity),
        Column("onset at the largest P / its forecast from the others", quantity),
    )
    return Table(
        columns if foretold else columns[:4], tuple(cells), f"{caption}: tau = a P^b, 95 % intervals"
    )


def typical_onsets(rows: Sequence[Row], name: str, definitions: Sequence[Definition]) -> Table:
    """The typical step of every onset at every size, and how far the losses are apart where samples are copies."""
    known = by_size(rows)
    cells: list[tuple[str | Estimate | None, ...]] = []
    for d in definitions:
        gaps = [gap_at(row, d) for row in rows] if d.kind == "copies" else []
        seen = torch.tensor([gap for gap in gaps if gap is not None], dtype=torch.float64)
        steps = [over_seeds([d.onset(row) for row in some]) for some in known.values()]
        ends = f"{float(seen.min()):.2g} to {float(seen.max()):.2g}" if len(seen) else None
        cells.append((d.words, *steps, ends))
    columns = (
        Column("onset by"),
        *(Column(f"P = {size}", quantity) for size in known),
        Column("relative loss gap there"),
    )
    return Table(columns, tuple(cells), f"{name}: typical step of the onset, 95 % intervals over seeds")


def gap_at(row: Row, definition: Definition) -> float | None:
    """The relative loss gap at an onset, straight between checkpoints over log steps; None without an onset."""
    onset, steps = definition.onset(row), row["result"]["steps"]
    if onset.value is None:
        return None
    gaps, k = row["result"][definition.weights]["gap"], steps.index(int(onset.low))
    way = math.log(onset.value / steps[k]) / math.log(steps[k + 1] / steps[k])
    return float(gaps[k] + way * (gaps[k + 1] - gaps[k]))


def stops(rows: Sequence[Row], name: str) -> Table:
    """Early stopping at every size."""
    cells: list[tuple[str | Estimate | float | None, ...]] = []
    for size, some in by_size(rows).items():
        places = [stop_of(row) for row in some]
        steps = [row["result"]["steps"][one.place or 0] for row, one in zip(some, places, strict=True)]
        samples = some[0]["configuration"]["samples"]
        cells.append(
            (
                str(size),
                f"{sum(one.stopped for one in places)} of {len(places)}",
                geometric([math.log(step) for step in steps]),
                sum(at_stop(some, "copies")) / (samples * len(some)),
                sum(row["result"]["averaged"]["copies"][-1] for row in some) / (samples * len(some)),
                estimate(torch.tensor(quality_at_stop(some), dtype=torch.float64)),
            )
        )
    columns = (
        Column("P"),
        Column("runs stopped"),
        Column("last clean step", quantity),
        Column("copies there", percent),  # type: ignore[arg-type]
        Column("copies at the end", percent),  # type: ignore[arg-type]
        Column("Frechet distance there / best of the run", quantity),
    )
    return Table(columns, tuple(cells), f"{name}: stopping by the relative gap of the averaged weights")
