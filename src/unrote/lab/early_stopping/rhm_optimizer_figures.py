"""Figure 15: copies and losses over the steps, one line for each way to train, and the times in a table."""

from __future__ import annotations

from collections.abc import Sequence

from unrote.lab.claims import Row
from unrote.lab.early_stopping.rhm_figures import over_steps, table
from unrote.lab.early_stopping.rhm_rules import of, share, sizes
from unrote.report.blocks import Block
from unrote.report.format import percent
from unrote.report.plots import curves


def show(rows: Sequence[Row]) -> tuple[Block, ...]:
    """Copies and the losses' gap at every P, then times of every way to train."""
    ways = list(dict.fromkeys(row["configuration"]["way"] for row in rows))
    found: list[Block] = []
    for trained in sorted(set(sizes(rows))):
        mine = {way: some for way in ways if (some := of(rows, way, trained))}
        copies = [over_steps(some, [share(row, "copies") for row in some], way) for way, some in mine.items()]
        gaps = [over_steps(some, [apart(row) for row in some], way) for way, some in mine.items()]
        found += [
            curves(
                copies,
                x_label="step",
                y_label="samples that are copies",
                log_x=True,
                show_y=percent,
                caption=f"P = {trained}: copies over training, averaged weights, 95 % intervals over seeds.",
                alt="Share of copies over training steps, one line for each way to train.",
            ),
            curves(
                gaps,
                x_label="step",
                y_label="held-out less training loss, nats a token",
                log_x=True,
                caption=f"P = {trained}: how far the losses are apart, each less that of the exact denoiser.",
                alt="Gap of the losses over training steps, one line for each way to train.",
            ),
        ]
    return (*found, *(table(of(rows, way), way) for way in ways))


def apart(row: Row) -> list[float]:
    """Held-out less training loss, each less the exact one, at every checkpoint."""
    seen, exact = row["result"]["averaged"], row["result"]["exact"]
    chance = exact["validation"] - exact["train"]
    return [held - train - chance for train, held in zip(seen["train"], seen["validation"], strict=True)]
