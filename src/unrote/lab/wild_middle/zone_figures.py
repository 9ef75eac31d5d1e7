"""The drawing of Figures 3 and 8, and every level of the regimes with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from unrote.contracts import Estimate
from unrote.lab.claims import Row
from unrote.lab.crossover.drawing import over_seeds, seeds_in_words
from unrote.lab.wild_middle.coverage import by_set
from unrote.lab.wild_middle.coverage_figures import kind
from unrote.measure.estimate import estimate
from unrote.noise.schedule import linear_alpha_bars, timestep
from unrote.report.blocks import Block, Column, Table
from unrote.report.canvas import Interval
from unrote.report.format import percent, quantity
from unrote.report.plots import curves


def show(rows: Sequence[Row]) -> tuple[Block, ...]:
    """Both curves for every set with the zone shaded, and a table of levels."""
    groups = by_set(rows)
    return (*(_curves(group) for group in groups), _levels(groups))


def _mean(values: Sequence[float | None]) -> Estimate | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return estimate(torch.tensor(known, dtype=torch.float64)) if len(known) == len(values) else None


def _curves(group: Sequence[Row]) -> Block:
    sigma = group[0]["result"]["levels"]
    zone = [_mean([row["result"]["zone"][end] for row in group]) for end in (0, 1)]
    low, high = (None if one is None else one.value for one in zone)

    def table(key: str) -> torch.Tensor:
        return torch.tensor([row["result"][key] for row in group], dtype=torch.float64)

    return curves(
        (
            over_seeds("posterior weight", sigma, table("weight")),
            over_seeds("coverage", sigma, table("coverage")),
        ),
        x_label="noise level sigma",
        y_label="share",
        log_x=True,
        y_limits=(0, 1.02),
        show_y=percent,
        intervals=[] if low is None or high is None else [Interval(low, high, "danger zone")],
        caption=f"Figures 3 and 8: {kind(group[0])}. {seeds_in_words(len(group))}; the zone is the mean over seeds.",
        alt="The posterior weight falls and the coverage rises; both are high in a narrow band where they cross.",
    )


def _levels(groups: Sequence[Sequence[Row]]) -> Table:
    lines: list[tuple[Any, ...]] = []
    for group in groups:
        found = [row["result"] for row in group]
        columns = [
            [one["rises"]["0.05"] for one in found],
            [one["rises"]["0.5"] for one in found],
            [one["zone"][0] for one in found],
            [one["crossing"] for one in found],
            [one["zone"][1] for one in found],
            [one["falls"]["0.5"] for one in found],
            [one["falls"]["0.05"] for one in found],
        ]
        lines.append((f"{kind(group[0])}: sigma", *map(_mean, columns)))
        lines.append((f"{kind(group[0])}: DDPM timestep", *(_mean(_steps(column)) for column in columns)))
    heads = ("small noise ends", "coverage 50 %", "zone from", "curves cross", "zone to", "weight 50 %")
    return Table(
        (
            Column("set and unit"),
            *(Column(head, quantity) for head in (*heads, "large noise begins")),
        ),
        tuple(lines),
        "Levels of the regimes, means over seeds with 95 % intervals; timesteps of the linear schedule",
        sortable=False,
    )


def _steps(levels: Sequence[float | None]) -> list[float | None]:
    return [
        None
        if level is None
        else float(timestep(torch.tensor(level, dtype=torch.float64), linear_alpha_bars()))
        for level in levels
    ]
