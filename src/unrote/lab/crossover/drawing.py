"""Curves over seeds: the mean with the range of all seeds as a band, as Figure 7 draws them."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from unrote.report.plots import Curve


def over_seeds(name: str, x: Sequence[float], values: Float[Tensor, "R S"]) -> Curve:
    """One line: the mean over seeds, from the least to the greatest of them."""
    return Curve(name, list(x), values.mean(0).tolist(), values.amin(0).tolist(), values.amax(0).tolist())


def seeds_in_words(count: int) -> str:
    """'5 seeds: mean, and the range of all'; begins a sentence."""
    return f"{count} seeds: mean, and the range of all" if count > 1 else "One seed"
