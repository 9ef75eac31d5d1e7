"""The table of the recipe against k-means."""

from __future__ import annotations

from collections.abc import Sequence

from unrote.lab.claims import Row
from unrote.report.blocks import Block, Column, Table
from unrote.report.format import percent, quantity

MODELS = ("recipe", "lloyd", "ward")


def show(rows: Sequence[Row]) -> tuple[Block, ...]:
    """Loss, learned variance and copies of all three, run by run."""
    cells = []
    for row in rows:
        asked, found = row["configuration"], row["result"]
        cells.append(
            (
                f"M = {asked['M']}, seed {asked['seed']}",
                *(found[name]["loss"] for name in MODELS),
                *(found[name]["variance"] for name in MODELS),
                *(found[name]["copies"] / found[name]["samples"] for name in MODELS),
                found["recipe"]["settled"],
            )
        )
    columns = (
        Column("model"),
        *(Column(f"loss, {name}", quantity) for name in MODELS),
        *(Column(f"variance, {name}", quantity) for name in MODELS),
        *(Column(f"copies, {name}", percent) for name in MODELS),  # type: ignore[arg-type]
        Column("recipe settled"),
    )
    return (
        Table(
            columns, tuple(cells), "Training loss (noise prediction), learned variance, memorization ratio"
        ),
    )
