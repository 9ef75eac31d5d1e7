"""Drawings of the variants: one table of exponents and onsets, and the onsets over the number of pictures."""

from __future__ import annotations

from collections.abc import Sequence

from unrote.lab.claims import Row
from unrote.lab.early_stopping.law_figures import by_size
from unrote.lab.early_stopping.law_rules import Definition, law_of
from unrote.lab.early_stopping.variants_rules import of_variant, over_base
from unrote.measure.power_law import over_seeds
from unrote.report.blocks import Block, Column, Table
from unrote.report.format import quantity
from unrote.report.plots import Curve, curves

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
    drawn = [onsets(rows, d) for d in (SHOWN[1], SHOWN[4])]
    return (*(block for block in drawn if block is not None), *(table(rows, d) for d in SHOWN))


def variants(rows: Sequence[Row]) -> list[str]:
    """Names of the variants in their order."""
    return list(dict.fromkeys(row["configuration"]["variant"] for row in rows))


def onsets(rows: Sequence[Row], definition: Definition) -> Block | None:
    """Onsets over P, one line for each variant; None where no run reached any."""
    lines = []
    for name in variants(rows):
        sizes = by_size(of_variant(rows, name)).items()
        found = [(size, over_seeds([definition.onset(row) for row in some])) for size, some in sizes]
        seen = [(size, one) for size, one in found if one.value is not None]
        if seen:
            lines.append(Curve(name, [size for size, _ in seen], [one.value for _, one in seen]))
    if not lines:
        return None
    return curves(
        lines,
        x_label="P, training pictures",
        y_label="onset (step)",
        log_x=True,
        log_y=True,
        caption=f"Onsets by {definition.words}, typical of all seeds.",
        alt="Step of the onset over the number of training pictures, one line for each variant of training.",
    )


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
