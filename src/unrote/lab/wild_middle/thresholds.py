"""Remark 4.3: levels up to which a point keeps its weight, as proved in several ways and as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unrote.geometry.thresholds import neighbour_radii, weight_high, weight_low

LOW = ((0.95, 0.05), (0.90, 0.10), (0.99, 0.01), (0.50, 0.05))
HIGH = ((0.05, 0.05), (0.10, 0.10), (0.50, 0.05), (0.95, 0.05))
"""(tau, epsilon): Pr(w >= tau) >= 1 - epsilon up to which level, Pr(w <= tau) >= 1 - epsilon from which level."""
LOW_FORMS = ("paper", "every", "free", "moment")
HIGH_FORMS = ("paper", "near", "mean", "near_mean")
BISECTIONS = 14
CHANCE = 1e-6
"""A bound counts as broken where so few or fewer sets of draws would fail as often if it held."""


class Weights:
    """The weight of one point itself at many noises, at any level, from one product.

    w = 1 / (1 + sum_j exp(-E_j)),  E_j = D_j^2 / 2 sigma^2 + <z, x_1 - x_j> / sigma.
    """

    def __init__(
        self, point: Float[Tensor, " D"], others: Float[Tensor, "M D"], z: Float[Tensor, "n D"]
    ) -> None:
        away = point - others
        self.half = away.double().square().sum(1).float() / 2
        self.inner = z @ away.T

    def __call__(self, sigma: float) -> Float[Tensor, " n"]:
        """Weights at a level, one for each noise."""
        exponent = self.inner / sigma + self.half / sigma**2
        return 1 / (1 + exponent.neg_().exp_().sum(1))  # E >= -<z, u>^2 / 2: nothing overflows

    def failing(self, sigma: float, tau: float, above: bool) -> int:
        """How many noises leave the weight on the wrong side: above tau, or below it."""
        w = self(sigma)
        return int((w > tau).sum() if above else (w < tau).sum())

    def passing(self, tau: float, epsilon: float, above: bool, low: float, high: float) -> float:
        """The level at which a share epsilon of the noises fails."""
        allowed = epsilon * len(self.inner)
        for _ in range(BISECTIONS):
            middle = (low * high) ** 0.5
            enough = self.failing(middle, tau, above) <= allowed
            low, high = (low, middle) if enough == above else (middle, high)
        return (low * high) ** 0.5


def broken(fails: int, draws: int, epsilon: float) -> bool:
    """Whether so many failures refute a probability of failure of at most epsilon."""
    from scipy.stats import binom

    return bool(binom.sf(fails - 1, draws, epsilon) < CHANCE)


def of_point(
    x: Float[Tensor, "N D"], row: int, draws: int, generator: torch.Generator
) -> tuple[Mapping[str, Mapping[str, float]], list[str]]:
    """All thresholds of one training point, and which of them its noises break.

    Returns:
        By setting and form, with "true" for what the noises give; and the names of broken bounds.
    """
    others = torch.cat([x[:row], x[row + 1 :]])
    distances, radii = neighbour_radii(x[row], others)
    weights = Weights(x[row], others, torch.randn(draws, x.shape[1], generator=generator))
    bottom, top = 0.02 * float(distances[0]), 2.0 * float(distances[-1])
    table: dict[str, Mapping[str, float]] = {}
    wrong: list[str] = []
    for above, asked, forms in ((False, LOW, LOW_FORMS), (True, HIGH, HIGH_FORMS)):
        for tau, epsilon in asked:
            found: Any = (
                weight_high(distances, tau, epsilon, radii) if above else weight_low(distances, tau, epsilon)
            )
            said = {form: float(getattr(found, form)) for form in forms}
            name = f"{'high' if above else 'low'} {tau:g} {epsilon:g}"
            wrong += [
                f"{name} {form}"
                for form, sigma in said.items()
                if broken(weights.failing(sigma, tau, above), draws, epsilon)
            ]
            table[name] = said | {"true": weights.passing(tau, epsilon, above, bottom, top)}
    return table, wrong


def remark(x: Float[Tensor, "N D"], points: int, draws: int, generator: torch.Generator) -> Mapping[str, Any]:
    """Remark 4.3's table: thresholds averaged over some training points, by every form and by Monte Carlo.

    Source: 001 Theorem 4.2 and Remark 4.3; the forms other than "paper" are ours (`geometry.thresholds`).
    """
    rows = torch.randperm(len(x), generator=generator)[:points].tolist()
    found = [of_point(x, row, draws, generator) for row in rows]
    means = {
        name: {form: sum(table[name][form] for table, _ in found) / len(found) for form in found[0][0][name]}
        for name in found[0][0]
    }
    bounds = len(rows) * (len(LOW) * len(LOW_FORMS) + len(HIGH) * len(HIGH_FORMS))
    return {"mean": means, "bounds": bounds, "broken": [name for _, wrong in found for name in wrong]}
