"""The drawing of the learned laws' transition at growing sizes."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from unrote.lab.claims import Row
from unrote.report.blocks import Block
from unrote.report.format import percent
from unrote.report.plots import Curve, curves

WAYS = {"law": "draws from the learned mixture itself", "fine": "samples of many steps"}


def show(rows: Sequence[Row]) -> tuple[Block, ...]:
    """Share of copies over M/N for every problem size, drawn and sampled finely, with what was foretold."""
    drawn: list[Block] = []
    for way, words in WAYS.items():
        lines = []
        for n in sorted({row["configuration"]["N"] for row in rows}):
            mine = [row for row in rows if row["configuration"]["N"] == n and way in row["result"]]
            if not mine:
                continue
            share = [size / n for size in mine[0]["result"]["sizes"]]
            seen = [[c / row["result"][way]["samples"] for c in row["result"][way]["copies"]] for row in mine]
            lines.append(Curve(f"N = {n:,}", share, torch.tensor(seen, dtype=torch.float64).mean(0).tolist()))
        told = torch.tensor(
            [row["result"]["foretold"] for row in mine or rows[-1:]], dtype=torch.float64
        ).mean(0)
        lines.append(Curve("foretold", share, told.tolist()))
        drawn.append(
            curves(
                lines,
                x_label="model size M / N",
                y_label="copies",
                show_y=percent,
                y_limits=(0, 1),
                caption=f"Copies among {words}, mean over seeds, and what the clusters foretell.",
                alt=f"Share of copies over model size among {words}.",
            )
        )
    return tuple(drawn)
