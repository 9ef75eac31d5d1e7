"""The drawing of Figure 1."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from unrote.lab.claims import Row
from unrote.lab.crossover.drawing import over_seeds, seeds_in_words
from unrote.lab.crossover.settings import LEVELS, SHOWN
from unrote.report.blocks import Block
from unrote.report.plots import Curve, curves


def show(rows: Sequence[Row]) -> tuple[Block, ...]:
    """Losses at the paper's level over M, and over all levels."""
    first, asked = rows[0]["result"], rows[0]["configuration"]
    d, N = asked["d"], asked["N"]
    share = [size / N for size in first["sizes"]]
    sigma = float(LEVELS[SHOWN])

    def table(key: str) -> torch.Tensor:
        return torch.tensor([row["result"][key] for row in rows], dtype=torch.float64)

    flat = table("generalising")[:, SHOWN, None].expand(-1, len(share))
    at_shown = curves(
        (
            over_seeds("partially memorizing", share, table("partial")[..., SHOWN]),
            over_seeds("nearest kept point (exact)", share, table("nearest_kept")),
            Curve("Theorem 3.2 with C = 2", share, [2 * d * (1 - m) for m in share]),
            Curve("Theorem 3.2 with C = 1", share, [d * (1 - m) for m in share]),
            over_seeds("generalising", share, flat),
            Curve("Theorem 3.1", share, [d / (1 + 1 / sigma**2)] * len(share)),
        ),
        x_label="model size M / N",
        y_label="training loss",
        caption=f"Losses at t = 0.360 (psi = 6.70). {seeds_in_words(len(rows))}. The generalising loss is what Theorem "
        "3.1 says; the partially memorizing one is the mean squared distance to the nearest kept point, for which a "
        "constant C of 1 or 2 is a rough bracket that M = 20 even leaves.",
        alt="The partially memorizing loss falls to zero along the exact curve, between the two approximations for "
        "most sizes; the generalising loss is flat and equal to its approximation.",
    )
    half = first["sizes"].index(N // 2)
    levels = first["levels"][1:]  # the first one is out of scale
    by_level = curves(
        (
            over_seeds("memorizing", levels, table("memorizing")[:, 1:]),
            over_seeds("generalising", levels, table("generalising")[:, 1:]),
            over_seeds("partially memorizing, M = N/2", levels, table("partial")[:, half, 1:]),
        ),
        x_label="noise level sigma",
        y_label="training loss",
        log_x=True,
        caption="The same three denoisers at every level of the paper's grid.",
        alt="Memorizing loss near zero up to sigma one; generalising loss rises with sigma; partial loss is flat.",
    )
    return (at_shown, by_level)
