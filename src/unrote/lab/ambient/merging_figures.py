"""The drawings of merging components."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from unrote.lab.claims import Row
from unrote.lab.crossover.drawing import over_seeds, seeds_in_words
from unrote.measure.estimate import estimate
from unrote.report.blocks import Block, Column, Table
from unrote.report.format import Value, quantity
from unrote.report.plots import Curve, curves


def show(rows: Sequence[Row]) -> tuple[Block, ...]:
    """Hills over levels, what is left of five components, and singletons of a mixture that merges."""
    return (hills(rows), counts(rows), singletons(rows), pairs(rows))


def hills(rows: Sequence[Row]) -> Block:
    """The mode that each component's mean leads to."""
    first = rows[0]["result"]["picture"]
    table, levels = torch.tensor(first["hills"], dtype=torch.float64), first["levels"]
    ends = table[0].tolist()
    return curves(
        [Curve(f"from {start:.0f}", levels, table[:, k].tolist()) for k, start in enumerate(ends)],
        x_label="noise level sigma",
        y_label="where the hill is",
        log_x=True,
        caption="Five components of variance 1 on a line, and the hill of the noisy density uphill of each mean. Where "
        "two lines meet, noise has made two hills one.",
        alt="Five lines that meet one after the other as noise grows, until one is left.",
    )


def counts(rows: Sequence[Row]) -> Block:
    """Hills, groups, and components that can be told apart."""
    first = rows[0]["result"]["picture"]
    levels = first["levels"]
    told = torch.tensor([row["result"]["picture"]["told"] for row in rows], dtype=torch.float64)
    return curves(
        (
            Curve("groups (TV <= 0.1)", levels, [float(n) for n in first["groups"]]),
            Curve("hills", levels, [float(n) for n in first["modes"]]),
            over_seeds("told apart", levels, told),
        ),
        x_label="noise level sigma",
        y_label="components",
        log_x=True,
        caption="The same components counted in three ways: groups any two of which are merged, hills of the density, "
        "and exp of what a point tells about its component. Hills merge long before total variation is small. "
        f"{seeds_in_words(len(rows))}.",
        alt="Three falling curves; hills and what can be told apart fall together, groups far later.",
    )


def singletons(rows: Sequence[Row]) -> Block:
    """tau_1 and the share of singletons over the number of groups."""
    lines: list[tuple[Value, ...]] = []

    def column(name: str, at: int) -> Value:
        values = [row["result"]["merging"][name][at] for row in rows]
        return estimate(torch.tensor(values, dtype=torch.float64))

    for at, groups in enumerate(rows[0]["result"]["merging"]["groups"]):
        names = ("sigma", "tau_1", "number", "mass", "told")
        lines.append((int(groups), *(column(name, at) for name in names)))
    headings = (
        Column("groups"),
        Column("from sigma", quantity),
        Column("tau_1", quantity),
        Column("singletons", quantity),
        Column("their share of the population", quantity),
        Column("information about the component (nats)", quantity),
    )
    caption = f"500 subpopulations with Zipf's frequencies as noise merges them. {seeds_in_words(len(rows))}"
    return Table(headings, tuple(lines), caption)


def pairs(rows: Sequence[Row]) -> Block:
    """Measured total variation at the exact and the printed levels."""
    lines: list[tuple[Value, ...]] = []
    names = ("merged", "printed_merged", "separated", "printed_separated")
    for i, cell in enumerate(rows[0]["result"]["pairs"]):
        seen = [
            estimate(
                torch.tensor([row["result"]["pairs"][i]["seen"][name] for row in rows], dtype=torch.float64)
            )
            for name in names
        ]
        lines.append((f"{cell['gap']:g} apart, epsilon {cell['epsilon']:g}", *seen))
    headings = (
        Column("components"),
        Column("merged from (exact)", quantity),
        Column("merged from (printed)", quantity),
        Column("separated up to (exact)", quantity),
        Column("separated up to (printed)", quantity),
    )
    return Table(headings, tuple(lines), f"Measured total variation. {seeds_in_words(len(rows))}")
