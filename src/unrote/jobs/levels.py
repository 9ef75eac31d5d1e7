"""Noise levels of commands: EDM's, as far as a model knows them, and how many images go through it at once."""

from __future__ import annotations

import math
from dataclasses import replace

from torch import Tensor

from unrote.contracts import InputError
from unrote.noise.levels import edm_levels, end_at_zero
from unrote.train.recipe import Recipe

GRID = (0.002, 80.0)
"""The lowest and the highest level of EDM's grid."""
EVERYWHERE = (0.0, math.inf)
"""The levels that a model knows which was trained under EDM's preconditioning."""
AT_ONCE = 256 * 3 * 32 * 32
"""Numbers in one call of a network: 256 images of 32x32, which large U-Nets answer within some 3 GB."""


def within(recipe: Recipe, known: tuple[float, float]) -> Recipe:
    """A recipe whose levels are those that the model knows."""
    low, high = known
    if known == EVERYWHERE:
        return recipe
    before = recipe.allowed

    def allowed(level: Tensor, sigma: Tensor) -> Tensor:
        return before(level, sigma) & (sigma >= low) & (sigma <= high)

    return replace(recipe, allowed=allowed)


def at_once(x: Tensor, most: int) -> int:
    """How many images go through a network at once: fewer, the larger they are.

    Args:
        x: images (N,C,H,W).
        most: how many of 32x32 in colour or smaller, at least 256.
    """
    return max(1, min(most, AT_ONCE * most // 256 // x[0].numel()))


def sampling_levels(known: tuple[float, float] = EVERYWHERE) -> Tensor:
    """EDM's 18 levels, or as many between the ends of what the model knows, and 0."""
    return end_at_zero(grid_within(18, known))


def grid_within(n: int, known: tuple[float, float]) -> Tensor:
    """n levels spaced as EDM's, from the higher of the two lower ends to the lower of the two upper ends.

    Raises:
        InputError: if the model knows no level of EDM's range.
    """
    low, high = max(GRID[0], known[0]), min(GRID[1], known[1])
    if not low < high:
        raise InputError(
            f"The model knows noise levels sigma = {known[0]:.4g} to {known[1]:.4g} only, and levels are taken between "
            f"{GRID[0]:g} and {GRID[1]:g} for images in [-1, 1]. Check its scheduler."
        )
    return edm_levels(n, low, high)
