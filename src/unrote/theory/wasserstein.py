"""How many samples until an empirical distribution is near its source: why 000 takes N = poly(d), as a simulation.

000 argues that with N = exp(d log d) samples there is no difference between memorizing and generalising, because
W2(pi, pi_N) <= C N^(-1/(2d)) (Weed and Bach 2019), and that N = poly(d) is where the question has a meaning.  Here
W2 is measured between two independent samples of the same size, which brackets the distance to the source:

    E W2^2(pi_N, pi) <= E W2^2(pi_N, pi'_N) <= 4 E W2^2(pi_N, pi),

the first because W2^2 is convex and E pi'_N = pi, the second by the triangle inequality.  From below,

    E W2^2(pi_N, pi) >= E min_i |x - x_i|^2,

because every coupling carries a fresh x to some sample: that is `nearest`'s constant with M = N, and for N = poly(d)
it is of the order of d sigma*^2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from unrote.theory.nearest import nearest_constant

Draw = Callable[[int, torch.Generator], Tensor]
"""How to draw from a distribution: count, generator -> (count, D)."""


@dataclass(frozen=True)
class Distances:
    """Distances between pairs of independent samples of one distribution.

    Args:
        count: N, samples in each.
        dimension: d.
        squared: W2^2 of every repeat (R,), float64.
        floor: mean squared distance from a fresh sample to the nearest of N, per repeat (R,): below W2^2(pi_N, pi).
    """

    count: int
    dimension: int
    squared: Float[Tensor, " R"]
    floor: Float[Tensor, " R"]


def squared_distance(x: Float[Tensor, "N D"], y: Float[Tensor, "N D"]) -> float:
    """W2^2 between two sets of N points with equal masses, exactly: min over matchings s of mean |x_i - y_s(i)|^2.

    Source: Kuhn, "The Hungarian method for the assignment problem", 1955 (solved by SciPy, N^3 at worst).
    """
    from scipy.optimize import linear_sum_assignment

    if x.shape != y.shape or not len(x):
        raise ValueError(
            f"two samples of one size and dimension are needed, got {tuple(x.shape)}, {tuple(y.shape)}"
        )
    cost = torch.cdist(x.double(), y.double(), compute_mode="donot_use_mm_for_euclid_dist").square()
    row, column = linear_sum_assignment(cost.numpy())
    return float(cost[torch.as_tensor(row), torch.as_tensor(column)].mean())


def empirical_distances(
    draw: Draw, counts: Sequence[int], generator: torch.Generator, repeats: int = 8
) -> list[Distances]:
    """W2^2 between independent samples of one distribution as their size grows.

    Args:
        draw: the distribution.
        counts: N of each measurement.
        generator: draws all samples.
        repeats: independent pairs for each N; values are returned one for each.

    Source: 000 section 2 and Weed and Bach 2019, Theorem 1 and Proposition 7.
    """
    out = []
    for count in counts:
        squared, floor = torch.empty(2, repeats, dtype=torch.float64)
        dimension = 0
        for repeat in range(repeats):
            x, y = draw(count, generator).double(), draw(count, generator).double()
            dimension = x.shape[1]
            squared[repeat] = squared_distance(x, y)
            floor[repeat] = torch.cdist(y, x).min(1).values.square().mean()
        out.append(Distances(count, dimension, squared, floor))
    return out


def gaussian_floor(count: int, dimension: int, spread: float = 1.0) -> float:
    """At least E W2^2(pi_N, pi) for one Gaussian cluster: C0(N, d) d sigma*^2, with no draw."""
    return float(nearest_constant(count, dimension)) * dimension * spread


def rate(values: Float[Tensor, " S"], counts: Float[Tensor, " S"]) -> float:
    """The exponent a of the power law W2 ~ N^-a that fits squared distances best, by least squares in logarithms.

    Known: a = 1/d for d >= 5 and a = 1/4 for d <= 3 (in the worst case; W2 of smooth laws on the line has a = 1/2).

    Args:
        values: W2^2 (S,), positive.
        counts: N (S,).

    Source: Fournier and Guillin, "On the rate of convergence in Wasserstein distance of the empirical measure", 2015.
    """
    if len(values) < 2 or bool((values <= 0).any()):
        raise ValueError("a rate needs at least two positive distances")
    x, y = counts.double().log(), values.double().log() / 2
    x = x - x.mean()
    return -float((x @ y) / (x @ x))


def enough_samples(dimension: int) -> float:
    """log10 of N = exp(d log d): where memorizing and generalising can no longer be told apart (000 section 2)."""
    if dimension < 1:
        raise ValueError(f"a dimension is at least 1, got {dimension}")
    return dimension * math.log10(dimension)
