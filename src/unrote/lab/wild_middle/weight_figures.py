"""The drawing of Figure 7 and the table of Remark 4.3."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from unrote.lab.claims import Row
from unrote.lab.crossover.drawing import over_seeds, seeds_in_words
from unrote.measure.estimate import estimate
from unrote.report.blocks import Block, Column, Table
from unrote.report.format import percent, quantity
from unrote.report.plots import curves

FORMS = {
    "paper": "Theorem 4.2",
    "moment": "half moment",
    "every": "all distances",
    "free": "free thresholds",
    "near": "nearest m",
    "mean": "averaged exponent",
    "near_mean": "averaged, nearest m",
    "true": "Monte Carlo",
}


def show(rows: Sequence[Row]) -> tuple[Block, ...]:
    """Largest and own weight over EDM's levels by both protocols; thresholds by every form."""
    first = rows[0]["result"]
    edm = first["edm"]
    sigma = [first["levels"][i] for i in edm]

    def table(way: str, key: str) -> torch.Tensor:
        found = torch.tensor([row["result"][way][key] for row in rows], dtype=torch.float64)
        return found[:, edm] if way == "ours" else found

    asked = rows[0]["configuration"]
    few = f"{asked['base']} base points, {asked['noises']} noises"
    drawn = curves(
        (
            over_seeds("largest, all images", sigma, table("ours", "maximum")),
            over_seeds("own, all images", sigma, table("ours", "own")),
            over_seeds(f"largest, {few}", sigma, table("paper", "maximum")),
            over_seeds(f"own, {few}", sigma, table("paper", "own")),
        ),
        x_label="noise level sigma",
        y_label="posterior weight",
        log_x=True,
        y_limits=(0, 1.02),
        show_y=percent,
        caption=f"Figure 7: largest and own posterior weight of {asked['N']:,} images at EDM's 40 levels. "
        f"{seeds_in_words(len(rows))}.",
        alt="Both weights are 1 at small noise and fall together; in the middle the own weight is lower.",
    )
    return drawn, remark(rows)


def remark(rows: Sequence[Row]) -> Table:
    """Thresholds averaged over points and seeds."""
    lines = []
    for name in rows[0]["result"]["remark"]["mean"]:
        side, tau, epsilon = name.split()
        forms = [row["result"]["remark"]["mean"][name] for row in rows]
        cells = [
            estimate(torch.tensor([one[form] for one in forms], dtype=torch.float64))
            if form in forms[0]
            else None
            for form in FORMS
        ]
        words = f"weight at least {tau} up to" if side == "low" else f"weight at most {tau} from"
        lines.append((f"{words}, but for {epsilon}", *cells))
    columns = (Column("sigma"), *(Column(words, quantity) for words in FORMS.values()))
    return Table(
        columns, tuple(lines), "Remark 4.3: levels that are guaranteed, and those that are so", sortable=False
    )
