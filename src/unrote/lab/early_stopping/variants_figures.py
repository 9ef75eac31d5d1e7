"""Drawings of the variants: one table of exponents and onsets, and the onsets over the number of pictures."""

from __future__ import annotations

from collections.abc import Sequence

from unrote.lab.claims import Row
from unrote.lab.early_stopping.law_figures import onset_lines, over_sizes
from unrote.lab.early_stopping.law_rules import Definition, law_of
from unrote.lab.early_stopping.variants_rules import of_variant, over_base
from unrote.report.blocks import Block, Column, Table
from unrote.report.format import quantity

SHOWN = (
    Definition("relative", 0.5, "averaged"),
    Definition("relative", 1.0, "averaged"),
    Definition("relative", 1.0, "raw"),
    Definition("copies", 0.05, "averaged"),
    Definition("copies", 0.1, "averaged"),
)
"""Definitions in the tables; two of them are judged."""


def show(rows: Sequence[Row]) -> tuple[Block, ...]:
    """Onsets by losses and by copies, then a table for every definition."""
    return *onsets(rows, SHOWN[1]), *onsets(rows, SHOWN[4]), *(table(rows, d) for d in SHOWN)


def variants(rows: Sequence[Row]) -> list[str]:
    """Names of the variants in their order."""
    return list(dict.fromkeys(row["configuration"]["variant"] for row in rows))


def onsets(rows: Sequence[Row], definition: Definition) -> tuple[Block, ...]:
    """Onsets over P, one line for each variant."""
    lines = [
        line
        for name in variants(rows)
        for line in onset_lines(of_variant(rows, name), {name: definition.onset})
    ]
    return over_sizes(lines, f"Onsets by {definition.words}, with 95 % intervals over seeds.")


def table(rows: Sequence[Row], definition: Definition) -> Table:
    """Exponents, and onsets over those of the base."""
    cells = []
    for name in variants(rows):
        mine = of_variant(rows, name)
        law = law_of(mine, definition)
        known = sum(definition.onset(row).value is not None for row in mine)
        cells.append(
            (
                name,
                f"{known} of {len(mine)}",
                None if law is None else law.exponent,
                None if name == "base" else over_base(rows, name, definition),
            )
        )
    columns = (
        Column("training"),
        Column("runs that reached it"),
        Column("exponent b", quantity),
        Column("onset / that of the base", quantity),
    )
    return Table(columns, tuple(cells), f"Onset by {definition.words}: tau = a P^b, 95 % intervals")
