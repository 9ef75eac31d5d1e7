"""A law of noise levels and a weighting of them: what every loss that is one number is averaged with.

A loss L(sigma) becomes the number E[lambda L] / E[lambda]: sigma is drawn from a law of levels (a grid with equal
mass, or quadrature nodes of a continuous law), and a weighting lambda says how much each level counts.  In terms of
the signal-to-noise ratio psi = 1 / sigma^2 of x = x0 + sigma z, and of 000's time t with t^2 = 1 / (1 + psi):

==============  ==========================
flat            1
training        psi = 1 / sigma^2, the weight of noise prediction
signal          1 - t^2 = 1 / (1 + sigma^2)
noise           t^2 = sigma^2 / (1 + sigma^2)
capped(c)       min(psi, c)
inverse         1 / psi = sigma^2
==============  ==========================
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Weighting = Callable[[Tensor], Tensor] | Tensor
"""lambda as a function of sigma (L,) -> (L,), or its values on the levels at hand (L,)."""


@dataclass(frozen=True)
class Levels:
    """A law of noise levels as points with masses.

    Args:
        sigma: the levels (L,), positive.
        mass: their probabilities (L,), which sum to one.
    """

    sigma: Float[Tensor, " L"]
    mass: Float[Tensor, " L"]

    def __post_init__(self) -> None:
        if not len(self.sigma) or not bool(torch.isfinite(self.sigma).all() and (self.sigma > 0).all()):
            raise ValueError("levels must be one or more positive finite numbers")
        if not bool((self.mass >= 0).all()) or abs(float(self.mass.sum()) - 1) > 1e-9:
            raise ValueError("the masses of levels must be positive and sum to one")

    def mean(self, values: Float[Tensor, "*S L"], weighting: Weighting) -> Float[Tensor, "*S"]:
        """E[lambda values] / E[lambda], over the last axis.

        Raises:
            ValueError: for a weighting with a negative or no positive value.
        """
        weight = self.weights(weighting)
        return (values.double() * weight).sum(-1) / weight.sum()

    def weights(self, weighting: Weighting) -> Float[Tensor, " L"]:
        """lambda times mass, scaled so that the greatest is one (L,), float64."""
        chosen = weighting if isinstance(weighting, Tensor) else weighting(self.sigma.double())
        if chosen.shape != self.sigma.shape or not bool((chosen >= 0).all() and (chosen > 0).any()):
            raise ValueError(
                f"a weighting must give one number >= 0 for each of the {len(self.sigma)} levels, not all zero"
            )
        weight = chosen.double() * self.mass.double()
        return weight / weight.max()


def on_grid(sigma: Float[Tensor, " L"]) -> Levels:
    """Levels with equal mass, as in 000's experiments (for example ``noise.levels.vp_levels()``)."""
    return Levels(sigma.double(), torch.full((len(sigma),), 1 / max(1, len(sigma)), dtype=torch.float64))


def spread_evenly(
    low: float, high: float, translate: Callable[[Tensor], Tensor], step: float = 0.02
) -> Levels:
    """A quantity that is uniform on [low, high], translated to sigma: nodes of a double-exponential rule.

    For 000's time give ``noise.schedule.sigma_of_vp_time`` as `translate`.  The rule stands singularities at the
    ends as long as the integrals converge, and reaches rounding error for the weightings of this module.

    Args:
        low, high: ends of the interval.
        translate: the quantity (L,) -> sigma (L,).
        step: of the rule, in the variable u of x = low + (high - low) / (1 + exp(-pi sinh u)).

    Source: Takahasi and Mori, "Double exponential formulas for numerical integration", 1974.
    """
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"an interval needs low < high, got {low} and {high}")
    u = torch.arange(-3.2, 3.2 + step / 2, step, dtype=torch.float64)
    share = torch.sigmoid(math.pi * torch.sinh(u))
    mass = share * torch.sigmoid(-math.pi * torch.sinh(u)) * torch.cosh(u)
    value = low + (high - low) * share
    inside = (value > low) & (value < high)
    return Levels(translate(value[inside]).double(), mass[inside] / mass[inside].sum())


def flat(sigma: Float[Tensor, " L"]) -> Float[Tensor, " L"]:
    """Weigh every level alike."""
    return torch.ones_like(sigma)


def training(sigma: Float[Tensor, " L"]) -> Float[Tensor, " L"]:
    """Weigh by psi = 1 / sigma^2, as noise prediction does (000 section 4)."""
    return sigma**-2


def signal(sigma: Float[Tensor, " L"]) -> Float[Tensor, " L"]:
    """Weigh by 1 - t^2 = 1 / (1 + sigma^2), the share of signal."""
    return 1 / (1 + sigma**2)


def noise(sigma: Float[Tensor, " L"]) -> Float[Tensor, " L"]:
    """Weigh by t^2 = sigma^2 / (1 + sigma^2), the share of noise."""
    return sigma**2 / (1 + sigma**2)


def inverse(sigma: Float[Tensor, " L"]) -> Float[Tensor, " L"]:
    """Weigh by 1 / psi = sigma^2."""
    return sigma**2


def capped(limit: float) -> Callable[[Tensor], Tensor]:
    """The weighting min(psi, limit)."""
    if not limit > 0:
        raise ValueError(f"a cap must be positive, got {limit}")
    return lambda sigma: (sigma**-2).clamp(max=limit)


NAMED: dict[str, Callable[[Tensor], Tensor]] = {
    "flat": flat,
    "psi": training,
    "1-t^2": signal,
    "t^2": noise,
    "min(psi,1)": capped(1.0),
    "min(psi,5)": capped(5.0),
    "1/psi": inverse,
}
"""The weightings under the names that the command line and figures use."""


def probabilities(weights: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
    """Weights of clusters in float64, summing to one exactly where they did within a millionth.

    Raises:
        ValueError: for negative weights, or another sum.
    """
    w = weights.double()
    if not len(w) or not bool((w >= 0).all()) or abs(float(w.sum()) - 1) > 1e-6:
        raise ValueError(f"weights must be >= 0 and sum to one, got {len(w)} with sum {float(w.sum()):.9g}")
    return w / w.sum()
