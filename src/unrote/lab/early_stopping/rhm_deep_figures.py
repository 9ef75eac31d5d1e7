"""Drawings of twins on a deep grammar: errors by layer, and how far the twins are apart."""

from __future__ import annotations

from collections.abc import Sequence

from unrote.contracts import Estimate
from unrote.lab.claims import Row
from unrote.lab.early_stopping.rhm_deep_rules import best, fallen, second_of
from unrote.lab.early_stopping.rhm_figures import errors, over_steps
from unrote.lab.early_stopping.rhm_rules import complexity, copied, deepest, of, parted, share
from unrote.lab.early_stopping.rhm_runs import WAYS
from unrote.measure.power_law import over_seeds
from unrote.report.blocks import Block, Column, Table
from unrote.report.format import quantity
from unrote.report.plots import curves

SHOWN = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Levels at which the twins' distance is drawn."""


def show(rows: Sequence[Row]) -> tuple[Block, ...]:
    """Both figures for every process that was run, and when things happen."""
    found: list[Block] = []
    for way in WAYS:
        mine = of(rows, way)
        if mine:
            trained = mine[0]["configuration"]["trained"]
            found += [
                errors(mine, f"{way}, P = {trained:,}"),
                twins(mine, way),
                levels(mine, way),
                times(mine, way),
            ]
    return tuple(found)


def twins(rows: Sequence[Row], way: str) -> Block:
    """Figure 5(b): the twins' distance, that from the exact denoiser, and copies."""
    both = [row["result"]["pair"] for row in rows]
    shares = [
        [*map(_mean, zip(share(row, "copies"), share(second_of(row), "copies"), strict=True))] for row in rows
    ]
    lines = [
        over_steps(rows, [one["apart"] for one in both], "twins apart"),
        over_steps(rows, [one["short"] for one in both], "from the exact denoiser"),
        over_steps(rows, shares, "copies"),
    ]
    return curves(
        lines,
        x_label="step",
        y_label="Hellinger distance; share of samples",
        log_x=True,
        caption=f"{way}: how far the outputs of twins on disjoint strings are apart on fresh strings, how far they are "
        "from the exact denoiser (mean of both), and the share of copies among their samples; 95 % intervals over "
        "seeds.",
        alt="Hellinger distance between twins and share of copies over training steps.",
    )


def levels(rows: Sequence[Row], way: str) -> Block:
    """The twins' distance level by level."""
    lines = [
        over_steps(rows, [row["result"]["pair"][f"apart_{level:.1f}"] for row in rows], f"level {level:g}")
        for level in SHOWN
    ]
    return curves(
        lines,
        x_label="step",
        y_label="Hellinger distance",
        log_x=True,
        caption=f"{way}: the twins' distance by the share of tokens that were destroyed.",
        alt="Hellinger distance between twins over training steps, one line for each level.",
    )


def times(rows: Sequence[Row], way: str) -> Table:
    """When layers' errors fall, losses part and copies come, and how far the twins are apart then."""
    known = {f"layer {k}: half keep the rules": fallen(k) for k in range(1, deepest(rows[0]) + 1)}
    known |= {"least held-out loss": best, "losses part": parted, "10 % copies": copied}
    cells: list[tuple[str | Estimate | float | None, ...]] = []
    for place, (name, time) in enumerate(known.items(), 1):
        least = complexity(rows[0], place) if place <= deepest(rows[0]) else None
        onsets = [time(row) for row in rows]
        reached = sum(one.value is not None for one in onsets)
        # An interval that rests on few onsets would be wider than the run.
        found = over_seeds(onsets) if reached == len(rows) else f"in {reached} of {len(rows)} runs"
        cells.append((name, None if least is None else f"{least:,}", found))
    columns = (Column("what"), Column("P*"), Column("step", quantity))
    return Table(
        columns, tuple(cells), f"{way}: when it happens to the first twin, 95 % intervals over seeds"
    )


def _mean(pair: tuple[float, float]) -> float:
    return sum(pair) / 2
