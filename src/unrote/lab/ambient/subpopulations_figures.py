"""The tables of the subpopulations."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from unrote.lab.claims import Row
from unrote.lab.crossover.drawing import seeds_in_words
from unrote.measure.estimate import estimate
from unrote.report.blocks import Block, Column, Table
from unrote.report.format import Value, quantity

PARTS = ("no example", "one example", "two examples", "more")


def show(rows: Sequence[Row]) -> tuple[Block, ...]:
    """Both sides of the identity, and singletons."""
    return (identity(rows), singletons(rows))


def identity(rows: Sequence[Row]) -> Block:
    """Measured error, what the identity says, and their ratio, part by part."""
    lines: list[tuple[Value, ...]] = []
    for law, algorithms in rows[0]["result"]["identity"].items():
        for made in algorithms:
            sides = [row["result"]["identity"][law][made] for row in rows]
            truth = torch.tensor([s["truth"] for s in sides], dtype=torch.float64)
            said = torch.tensor([s["said"] for s in sides], dtype=torch.float64)
            for part, name in enumerate(PARTS):
                lines.append(
                    (
                        law,
                        made,
                        name,
                        float(truth[:, part].mean()),
                        float(said[:, part].mean()),
                        estimate(said[:, part] / truth[:, part]),
                    )
                )
    columns = (
        Column("frequencies"),
        Column("denoiser"),
        Column("subpopulations with"),
        Column("measured error", quantity),
        Column("tau times error", quantity),
        Column("ratio", quantity),
    )
    return Table(columns, tuple(lines), f"Both sides of Theorem A.1. {seeds_in_words(len(rows))}")


def singletons(rows: Sequence[Row]) -> Block:
    """Counted, expected, promised and promised with the correction."""
    lines: list[tuple[Value, ...]] = []
    for name, first in rows[0]["result"]["singletons"].items():
        seen = torch.tensor(
            [row["result"]["singletons"][name]["number"] for row in rows], dtype=torch.float64
        )
        lines.append((name, estimate(seen), first["expected"], first["printed"], first["corrected"]))
    columns = (
        Column("list"),
        Column("singletons counted", quantity),
        Column("expected", quantity),
        Column("(n/2) weight([0, 1/n])", quantity),
        Column("n (1 - 1/n)^(n-1) weight", quantity),
    )
    return Table(columns, tuple(lines), f"Singletons among 1,000 examples. {seeds_in_words(len(rows))}")
