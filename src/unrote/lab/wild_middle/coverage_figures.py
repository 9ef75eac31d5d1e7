"""The drawing of Figure 6, of coverage without held-out images, and of two shells."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from unrote.lab.claims import Row
from unrote.lab.crossover.drawing import over_seeds, seeds_in_words
from unrote.report.blocks import Block
from unrote.report.format import percent
from unrote.report.plots import Curve, curves


def show(rows: Sequence[Row]) -> tuple[Block, ...]:
    """Coverage with its bounds for every set, and the probability of two shells."""
    kinds = sorted({kind(row) for row in rows})
    return (
        *(_bounds([row for row in rows if kind(row) == name], name) for name in kinds),
        _two_shells(rows),
    )


def kind(row: Row) -> str:
    """A set in words."""
    asked = row["configuration"]
    named = asked["set"] if asked["label"] is None else f"{asked['set']}, class {asked['label']}"
    return f"{asked['N']:,} images of {named}"


def _bounds(rows: Sequence[Row], words: str) -> Block:
    sigma = rows[0]["result"]["levels"]
    inner = [i for i, s in enumerate(sigma) if 0.1 <= s <= 20]

    def table(key: str) -> torch.Tensor:
        return torch.tensor([row["result"][key] for row in rows], dtype=torch.float64)[:, inner]

    tried = torch.tensor([row["result"]["trials"] for row in rows], dtype=torch.float64).mean(1)[:, inner]
    x = [sigma[i] for i in inner]
    return curves(
        (
            over_seeds("coverage", x, table("coverage")),
            over_seeds("lower bound", x, table("lower")),
            over_seeds("upper bound", x, table("upper")),
            over_seeds("coverage, leaving one out", x, table("left_out")),
            over_seeds("coverage, a fresh subset for each test image", x, tried),
        ),
        x_label="noise level sigma",
        y_label="share of noisy fresh images",
        log_x=True,
        y_limits=(0, 1.02),
        show_y=percent,
        caption=f"Figure 6: coverage and both bounds of Theorem 4.8, {words}. {seeds_in_words(len(rows))}.",
        alt="Coverage rises from 0 to 1 with its lower bound just below it; the upper bound reaches 1 far earlier.",
    )


def _two_shells(rows: Sequence[Row]) -> Block:
    found = rows[0]["result"]["two_shells"]
    keep = [i for i, value in enumerate(found["exact"]) if value > 1e-15]
    drawn = [found["drawn"][i] or None for i in keep]
    x = [found["ratio"][i] for i in keep]
    return curves(
        (
            Curve("exact", x, [found["exact"][i] for i in keep]),
            Curve(f"{rows[0]['configuration']['gaussians']:,} Gaussians", x, drawn),
        ),
        x_label="distance of two points / sigma",
        y_label="probability",
        log_y=True,
        caption="How often a noisy copy of one point lies in the shell of another: the Monte Carlo ends where it draws "
        "nothing any more.",
        alt="Both fall together; the Monte Carlo ends at a hundred-thousandth.",
    )
