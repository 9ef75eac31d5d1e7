"""Drawings of the learning rates: losses over rates by width, and the best and largest stable rates in a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from unrote.contracts import Estimate
from unrote.lab.claims import Row
from unrote.lab.early_stopping.rhm_rates_rules import best, in_mup, losses, stable, standard
from unrote.lab.ratios import geometric
from unrote.measure.estimate import estimate
from unrote.report.blocks import Block, Column, Table
from unrote.report.format import quantity
from unrote.report.plots import Curve, curves

DRAWN = {"maximal-update": in_mup, "standard": standard}
"""Parametrisations by name."""


def show(rows: Sequence[Row]) -> tuple[Block, ...]:
    """Both parametrisations, then the table."""
    found: list[Block] = []
    for name, chosen in DRAWN.items():
        mine = [row for row in rows if chosen(row)]
        if mine:
            found += [sweep(mine, name), table(mine, name)]
    return tuple(found)


def by_width(rows: Sequence[Row]) -> dict[int, list[Row]]:
    """The runs of every width."""
    widths = sorted({row["configuration"]["width"] for row in rows})
    return {width: [row for row in rows if row["configuration"]["width"] == width] for width in widths}


def sweep(rows: Sequence[Row], name: str) -> Block:
    """The loss over the learning rate, up to the last rate at which all seeds learn something."""
    lines = []
    for width, mine in by_width(rows).items():
        learned = [losses(row) for row in mine]
        seen = [estimate(torch.tensor(one, dtype=torch.float64)) for one in zip(*learned, strict=False)]
        whole = bool(seen) and all(one.low is not None for one in seen)
        ends = ([one.low for one in seen], [one.high for one in seen]) if whole else (None, None)
        rates = mine[0]["configuration"]["rates"][: len(seen)]
        if seen:
            lines.append(Curve(f"width {width}", rates, [one.value for one in seen], *ends))
    if not lines:
        return Table((Column("width"),), (), f"{name} parametrisation: nothing was learned at any rate")
    asked = rows[0]["configuration"]
    return curves(
        lines,
        x_label="learning rate",
        y_label="training loss, nats a token",
        log_x=True,
        show_x=lambda rate: f"{rate:.0e}".replace("e-0", "e-"),
        caption=f"{name} parametrisation: loss after {asked['options']['steps']} steps of {asked['trained']:,} strings "
        "at every rate at which all seeds learn, 95 % intervals over seeds.",
        alt="Training loss over the learning rate, one line for each width.",
    )


def table(rows: Sequence[Row], name: str) -> Table:
    """The best and the largest stable rate of every width, and the loss at the best."""
    cells: list[tuple[str | Estimate | None, ...]] = []
    for width, mine in by_width(rows).items():
        least = torch.tensor([min(losses(row)) for row in mine if losses(row)], dtype=torch.float64)
        lowest = estimate(least) if len(least) else None
        cells.append((str(width), typical(mine, best), typical(mine, stable), lowest))
    columns = (
        Column("width"),
        Column("best rate", quantity),
        Column("largest stable rate", quantity),
        Column("loss at the best rate of the grid", quantity),
    )
    return Table(columns, tuple(cells), f"{name} parametrisation: rates, 95 % intervals over seeds")


def typical(rows: Sequence[Row], of: Callable[[Row], float | None]) -> Estimate | None:
    """Geometric mean of a rate over the seeds that have it."""
    logs = [math.log(rate) for row in rows if (rate := of(row)) is not None]
    return geometric(logs) if logs else None
