"""Two samples compared by their ranks: Mann and Whitney's statistic, and the area under a curve with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from unrote.contracts import Estimate
from unrote.measure.estimate import normal_quantile


@dataclass(frozen=True)
class MannWhitney:
    """How often the values of one sample exceed those of another.

    Args:
        u: pairs (a, b) with a > b, and half of those with a = b.
        deviation: standard deviation of u if both come from one distribution, given the ties.
        z: (u - n m / 2) / deviation, 0 where all values are equal; no continuity correction.
        first, second: sizes n and m of the samples.
    """

    u: float
    deviation: float
    z: float
    first: int
    second: int


def mann_whitney(first: Shaped[Tensor, " n"], second: Shaped[Tensor, " m"]) -> MannWhitney:
    """Compare two samples: u = #{a > b} + #{a = b}/2 over all pairs a of the first, b of the second.

    deviation^2 = n m / 12 (n + m + 1 - sum (t^3 - t) / ((n + m)(n + m - 1))), t the sizes of groups of ties.

    Args:
        first, second: values in one unit, not NaN.

    Raises:
        ValueError: for an empty sample or NaN.

    Source: Mann and Whitney, "On a test of whether one of two random variables is stochastically larger than
    the other", 1947; ties as in Lehmann, "Nonparametrics", 1975.
    """
    n, m = len(first), len(second)
    if n == 0 or m == 0:
        raise ValueError(f"two samples are compared, got {n} and {m} values")
    u = float(placements(first, second).sum())
    tied = torch.cat([first.double(), second.double()]).unique(return_counts=True)[1].double()
    ties = float((tied**3 - tied).sum()) / ((n + m) * (n + m - 1))
    deviation = math.sqrt(n * m / 12 * max(0.0, n + m + 1 - ties))
    return MannWhitney(u, deviation, (u - n * m / 2) / deviation if deviation else 0.0, n, m)


def placements(values: Shaped[Tensor, " n"], among: Shaped[Tensor, " m"]) -> Float[Tensor, " n"]:
    """How many of the others lie below each value, those equal to it counted half.

    Raises:
        ValueError: for NaN.
    """
    values, ordered = values.double().contiguous(), among.double().sort().values
    if values.isnan().any() or ordered.isnan().any():
        raise ValueError("values that are compared must not be NaN")
    below = torch.searchsorted(ordered, values)
    return (below + torch.searchsorted(ordered, values, right=True)).double() / 2


def auc(first: Shaped[Tensor, " n"], second: Shaped[Tensor, " m"], confidence: float = 0.95) -> Estimate:
    """The area under the ROC curve, A = Pr(a > b) + Pr(a = b)/2, with an interval that never collapses.

    The interval is the span of two.  DeLong's, on the scale of log A/(1 - A), is right for all distributions
    in large samples, but has no width where one sample lies wholly above the other.  Newcombe's solves
    |A - u/nm| = z sqrt(V(A)) with V(A) = A (1 - A) (1 + N (1 - A)/(2 - A) + N A/(1 + A)) / nm, N = (n + m)/2 - 1,
    and keeps its width there, but rests on exponential tails.

    Args:
        first: values that should be the larger (n,).
        second: values that should be the smaller (m,).
        confidence: between 0 and 1.

    Returns:
        A with its interval; n is n + m.  With an empty sample nothing is known.

    Raises:
        InputError: for a confidence outside (0, 1).
        ValueError: for NaN.

    Source: DeLong, DeLong and Clarke-Pearson 1988; Newcombe, "Confidence intervals for an effect size measure
    based on the Mann-Whitney statistic, part 2", 2006, method 5; variance: Hanley and McNeil 1982.
    """
    z, n, m = normal_quantile(confidence), len(first), len(second)
    if n == 0 or m == 0:
        return Estimate(None, 0.0, 1.0, n + m)
    above = placements(first, second) / m
    value = float(above.mean())
    low = _score_end(value, n, m, z)
    high = 1 - _score_end(1 - value, n, m, z)
    if n > 1 and m > 1 and 0 < value < 1:
        beneath = placements(second, first) / n
        deviation = math.sqrt(float(above.var()) / n + float(beneath.var()) / m)
        middle, half = math.log(value / (1 - value)), z * deviation / (value * (1 - value))
        low, high = min(low, _logistic(middle - half)), max(high, _logistic(middle + half))
    return Estimate(value, low, high, n + m)


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def _score_end(value: float, n: int, m: int, z: float) -> float:
    """The area below `value` from which it is z standard deviations away."""
    weight, low, high = (n + m) / 2 - 1, 0.0, value
    for _ in range(60):
        a = (low + high) / 2
        variance = a * (1 - a) * (1 + weight * (1 - a) / (2 - a) + weight * a / (1 + a)) / (n * m)
        low, high = (a, high) if (value - a) ** 2 > z * z * variance else (low, a)
    return low


def weighted(parts: Sequence[Estimate], weights: Sequence[float]) -> Estimate:
    """A weighted sum of independent estimates, with the interval that theirs give.

    sum w v - sqrt(sum w^2 (v - l)^2)  and  sum w v + sqrt(sum w^2 (u - v)^2).

    Args:
        parts: estimates with both ends.
        weights: one for each, not negative.

    Raises:
        ValueError: for parts without a value or an end, or a negative weight.

    Source: Zou and Donner, "Construction of confidence limits about effect measures", 2008 (variance recovery);
    for two proportions it is Newcombe's method 10.
    """
    value = below = above = 0.0
    for part, weight in zip(parts, weights, strict=True):
        if part.value is None or part.low is None or part.high is None:
            raise ValueError("only estimates with a value and both ends can be added")
        if weight < 0:
            raise ValueError(f"weights must not be negative, got {weight}")
        down, up = weight * (part.value - part.low), weight * (part.high - part.value)
        value, below, above = value + weight * part.value, math.hypot(below, down), math.hypot(above, up)
    return Estimate(value, value - below, value + above, sum(part.n for part in parts))
