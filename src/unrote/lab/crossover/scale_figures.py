"""The drawing of the transition at growing sizes."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from unrote.lab.claims import Row
from unrote.lab.crossover.learned import CRITERION, FACTORS
from unrote.report.blocks import Block
from unrote.report.format import percent
from unrote.report.plots import Curve, curves


def show(rows: Sequence[Row]) -> tuple[Block, ...]:
    """Memorization ratio over M/N for every problem size, measured and foretold."""
    at, lines = FACTORS.index(CRITERION), []
    for n in sorted({row["configuration"]["N"] for row in rows}):
        mine = [row for row in rows if row["configuration"]["N"] == n]
        found, d = [row["result"]["ward"] for row in mine], mine[0]["configuration"]["d"]
        share = [size / n for size in found[0]["sizes"]]
        seen = torch.tensor([[c[at] / f["samples"] for c in f["copies"]] for f in found], dtype=torch.float64)
        lines.append(Curve(f"N = {n:,}, d = {d}", share, seen.mean(0).tolist()))
    told = torch.tensor([f["foretold"] for f in found], dtype=torch.float64).mean(0)
    lines.append(Curve("foretold at the largest", share, told.tolist()))
    return (
        curves(
            lines,
            x_label="model size M / N",
            y_label="samples that are copies",
            show_y=percent,
            y_limits=(0, 1),
            caption="The transition of the best known solution as the problem grows, and what the geometry of its "
            "clusters foretells without a sampler; mean over seeds.",
            alt="Memorization ratio over model size for growing N and d.",
        ),
    )
