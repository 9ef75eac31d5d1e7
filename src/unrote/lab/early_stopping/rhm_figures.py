"""Drawings of grammars: errors and copies over steps, losses over the exact one, times over P."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from unrote.contracts import Estimate
from unrote.lab.claims import Row
from unrote.lab.early_stopping.law_figures import over_sizes
from unrote.lab.early_stopping.rhm_rules import (
    copied,
    deepest,
    learned,
    new_and_valid,
    of,
    parted,
    share,
    sizes,
)
from unrote.measure.estimate import estimate
from unrote.measure.power_law import over_seeds
from unrote.report.blocks import Block, Column, Table
from unrote.report.format import percent, quantity
from unrote.report.plots import Curve, curves


def show(rows: Sequence[Row]) -> tuple[Block, ...]:
    """Every process with its curves at every P, and the times over P."""
    found: list[Block] = []
    for way in dict.fromkeys(row["configuration"]["way"] for row in rows):
        mine = of(rows, way)
        for trained in sorted(set(sizes(mine))):
            found += [errors(of(rows, way, trained), f"{way}, P = {trained:,}")]
        found += [excesses(mine, way), *times(mine, way), table(mine, way)]
    return tuple(found)


def over_steps(rows: Sequence[Row], values: Sequence[Sequence[float]], name: str) -> Curve:
    """One line with its interval over seeds, at checkpoints that all seeds reached."""
    reached = min(len(one) for one in values)
    table = torch.tensor([list(one[:reached]) for one in values], dtype=torch.float64)
    found = [estimate(column) for column in table.T]
    whole = all(one.low is not None for one in found)
    ends = ([one.low for one in found], [one.high for one in found]) if whole else (None, None)
    steps = rows[0]["result"]["steps"][:reached]
    return Curve(name, steps, [one.value for one in found], *ends)


def errors(rows: Sequence[Row], name: str) -> Block:
    """Figures 4 and 5(a): errors of every layer, copies, and new valid strings over the steps."""
    lines = [
        over_steps(rows, [share(row, f"errors_{layer}") for row in rows], f"errors, layer {layer}")
        for layer in range(1, deepest(rows[0]) + 1)
    ]
    lines.append(over_steps(rows, [share(row, "copies") for row in rows], "copies"))
    lines.append(over_steps(rows, [new_and_valid(row) for row in rows], "valid and new"))
    return curves(
        lines,
        x_label="step",
        y_label="share of samples",
        log_x=True,
        show_y=percent,
        caption=f"{name}: samples that break rules up to each layer, copies, and valid strings that are no copies; "
        "averaged weights, 95 % intervals over seeds.",
        alt="Shares of samples over training steps: errors by layer, copies, and new valid strings.",
    )


def excesses(rows: Sequence[Row], way: str) -> Block:
    """How far the model is from the exact denoiser, on held-out strings."""
    lines = []
    for trained in sorted(set(sizes(rows))):
        mine = [row for row in rows if row["configuration"]["trained"] == trained]
        values = [row["result"]["averaged"]["excess"] for row in mine]
        lines.append(over_steps(mine, values, f"P = {trained:,}"))
    return curves(
        lines,
        x_label="step",
        y_label="KL(exact | model), nats a token",
        log_x=True,
        log_y=True,
        caption=f"{way}: excess over the exact denoiser on held-out strings, mean over levels, averaged weights.",
        alt="Excess loss over training steps, one line for each number of training strings.",
    )


def times(rows: Sequence[Row], way: str) -> tuple[Block, ...]:
    """Onsets and the learning of layers over P."""
    known = {
        "losses part": parted,
        "10 % copies": copied,
        **{f"layer {k} learned": learned(k) for k in range(1, deepest(rows[0]) + 1)},
    }
    lines = []
    for name, time in known.items():
        found = [
            (trained, over_seeds([time(row) for row in rows if row["configuration"]["trained"] == trained]))
            for trained in sorted(set(sizes(rows)))
        ]
        seen = [(trained, one.value) for trained, one in found if one.value is not None]
        if seen:
            lines.append(Curve(name, [p for p, _ in seen], [value for _, value in seen]))
    return over_sizes(
        lines, f"{way}: when losses part, strings are copied, and layers are learned (20 % errors)."
    )


def table(rows: Sequence[Row], way: str) -> Table:
    """Times and what is reached at every P."""
    cells: list[tuple[str | Estimate | float | None, ...]] = []
    for trained in sorted(set(sizes(rows))):
        mine = [row for row in rows if row["configuration"]["trained"] == trained]
        least = [min(row["result"]["averaged"]["excess"]) for row in mine]
        new = [max(new_and_valid(row)) for row in mine]
        cells.append(
            (
                f"{trained:,}",
                *(
                    over_seeds([time(row) for row in mine])
                    for time in (parted, copied, learned(deepest(mine[0])))
                ),
                estimate(torch.tensor(least, dtype=torch.float64)),
                estimate(torch.tensor(new, dtype=torch.float64)),
            )
        )
    columns = (
        Column("P"),
        Column("losses part", quantity),
        Column("10 % copies", quantity),
        Column("20 % errors, all layers", quantity),
        Column("least excess, nats", quantity),
        Column("most valid new strings, share", quantity),
    )
    return Table(columns, tuple(cells), f"{way}: steps and what is reached, 95 % intervals over seeds")
