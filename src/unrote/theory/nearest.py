"""How far the nearest of m Gaussian neighbours is: the constant of the partially memorizing denoiser.

As the noise vanishes, the denoiser that has memorized M of N samples gives back the nearest of the M, and its excess
loss is the mean squared distance from a sample to it: zero for those that were kept, C d sigma*^2 for the others.
000's Theorem 3.2 says 1 <= C <= 2; here C is exact at every dimension.

With lambda = |w|^2 ~ chi^2_d for the sample itself, the squared distance to one neighbour has the survival function
S(u) = 1 - F(u; d, lambda) of a noncentral chi-square, and the nearest of m has S^m.  F is a Poisson mixture of
central chi-squares whose terms follow from each other by adding positive numbers, so one table of F over (lambda, u)
costs milliseconds at any dimension and keeps its relative accuracy where F is small, which is what m = 10^5 needs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy import special
from torch import Tensor

from unrote.theory.levels import probabilities

Array = NDArray[np.float64]

NODES = 640
"""Gauss-Legendre nodes in log u."""

REACH = 10.0
"""How many standard deviations of the Poisson and chi-square laws are followed."""


def nearest_constant(kept: Tensor | int, dimension: Tensor | int) -> Float[Tensor, "*S"]:
    """C0(m, d): expected squared distance to the nearest of m neighbours in one Gaussian cluster, per d sigma*^2.

    C0(m, d) = (1/d) E_{lambda ~ chi^2_d} int_0^inf (1 - F(u; d, lambda))^m du,  C0(1, d) = 2,  decreasing in m,
    and -> 2 as d -> inf with m fixed.  Relative error below 1e-9 for m and d up to 10^5.

    Args:
        kept: m, how many samples of the cluster were kept, at least 1; broadcasts against `dimension`.
        dimension: d, at least 1.

    Raises:
        ValueError: for a count or a dimension below 1.

    Source: 000 Theorem 3.2, whose constant between 1 and 2 this replaces.
    """
    m, d = torch.broadcast_tensors(torch.as_tensor(kept), torch.as_tensor(dimension))
    if bool((m < 1).any()) or bool((d < 1).any()):
        raise ValueError("the nearest of m neighbours in d dimensions needs m >= 1 and d >= 1")
    out = torch.empty(m.shape, dtype=torch.float64)
    for size in d.unique().tolist():
        here = d == size
        law = law_of_distance(int(size), float(m[here].max()))
        out[here] = (
            torch.tensor([law.mean(_power(float(k))) for k in m[here].tolist()], dtype=torch.float64) / size
        )
    return out


def binomial_constant(
    kept: Int[Tensor, " S"], weights: Float[Tensor, " K"], dimension: int, missing: Float[Tensor, " K"]
) -> Float[Tensor, "S K"]:
    """C for each cluster when M samples are kept of a mixture: C0(m, d) averaged over m ~ Bin(M, w_k).

    C_k = E[C0(m, d); m >= 1] + (1 - w_k)^M missing_k.  The average needs no sum over m: E[S^m] = (1 - w_k F)^M.
    With unequal weights the partial excess is (1 - M/N) d sum_k w_k sigma_k^2 C_k.

    Args:
        kept: model sizes M (S,), at least 1.
        weights: of the clusters (K,), summing to one.
        dimension: d.
        missing: cost of a sample none of whose cluster was kept (K,), in units of d sigma*^2: the squared distance to
            the nearest kept sample of another cluster; `missing_cost` bounds it.

    Source: 000 Theorem 3.2 and Proposition C.4, whose condition M >= (1 + log d) K log K keeps the last term small.
    """
    if bool((kept < 1).any()) or len(missing) != len(weights):
        raise ValueError("model sizes must be at least 1, and every cluster needs a cost of missing it")
    weights = probabilities(weights)
    law = law_of_distance(dimension, float(kept.max()))
    out = torch.empty(len(kept), len(weights), dtype=torch.float64)
    same: dict[tuple[int, float], float] = {}
    for s, size in enumerate(kept.tolist()):
        for k, weight in enumerate(weights.tolist()):
            if (size, weight) not in same:
                same[size, weight] = law.mean(_binomial(size, weight)) / dimension
            out[s, k] = same[size, weight] + (1 - weight) ** size * float(missing[k])
    return out


def missing_cost(gap: float, dimension: int, spread: float) -> float:
    """At most what a sample costs whose cluster was missed: 2 + |mu - mu'|^2 / (d sigma*^2), in units of d sigma*^2.

    It is exact for a single kept sample, and above the truth for more, the nearest of which is nearer.

    Args:
        gap: squared distance between the two means; 2d on average for means on the sphere of radius sqrt(d).
        dimension: d.
        spread: sigma*^2.
    """
    return 2 + gap / (dimension * spread)


def expected_nearest(
    means: Float[Tensor, "K D"],
    spread: float,
    weights: Float[Tensor, " K"],
    kept: Int[Tensor, " S"],
    generator: torch.Generator,
    draws: int = 256,
) -> Float[Tensor, "R S"]:
    """Squared distance from a fresh sample to the nearest of M kept ones of any isotropic mixture, whatever overlaps.

    int_0^inf (sum_k w_k S(u; |x - mu_k|^2))^M du for x from the mixture: exact over what is kept, clusters that
    were missed included; only x is drawn.  The partial excess is (1 - M/N) times its mean.

    Args:
        means: of the clusters (K,D).
        spread: sigma*^2, the same for all.
        weights: (K,), summing to one.
        kept: model sizes M (S,).
        generator: draws x.
        draws: how many x.

    Returns:
        One value per draw and size (R,S), float64.

    Source: the limit of small noise of 000's Theorem 3.2, without its separation assumption.
    """
    dimension = means.shape[1]
    if bool((kept < 1).any()):
        raise ValueError("model sizes must be at least 1")
    weights = probabilities(weights)
    label = torch.multinomial(weights, draws, replacement=True, generator=generator)
    w = torch.randn(draws, dimension, dtype=torch.float64, generator=generator)
    x = means.double()[label] + math.sqrt(spread) * w
    noncentral = torch.cdist(x, means.double()).square().numpy() / spread
    own, others = noncentral.min(1), noncentral.max()
    u, weight, start = _nodes(dimension, float(own.min()), float(others), float(kept.max()))
    out = np.empty((draws, len(kept)))
    for first in range(0, draws, 32):
        block = noncentral[first : first + 32]
        table = _cumulative(dimension, block.reshape(-1), u).reshape(*block.shape, len(u))
        below = np.einsum("k,rku->ru", weights.numpy(), table)
        for s, size in enumerate(kept.tolist()):
            out[first : first + 32, s] = start + np.exp(size * _log_survival(below)) @ weight
    return torch.from_numpy(out * spread)


@dataclass(frozen=True)
class DistanceLaw:
    """The law of the squared distance between two standard Gaussians in d dimensions, given one of them.

    Args:
        weight: of the nodes of lambda (J,) and of u (U,).
        below: F(u; d, lambda) (J,U).
        start: u below which F vanishes.
    """

    lambda_weight: Array
    u_weight: Array
    below: Array
    start: float

    def mean(self, survival: Callable[[Array], Array]) -> float:
        """E int_0^inf survival(F) du: the mean of a distance whose survival function is a function of F."""
        at_zero = float(survival(np.zeros(1))[0])
        return float(self.lambda_weight @ (survival(self.below) @ self.u_weight) + self.start * at_zero)


def law_of_distance(dimension: int, most: float) -> DistanceLaw:
    """The table that serves every m up to `most`; tables are kept."""
    return _law(dimension, max(0, math.ceil(math.log10(most))))


@lru_cache(maxsize=64)
def _law(dimension: int, decade: int) -> DistanceLaw:
    half = dimension / 2
    low, high = (math.log(2 * f(half, 1e-16)) for f in (special.gammaincinv, special.gammainccinv))
    # The trapezoid rule in log lambda converges exponentially, because the integrand decays at both ends.
    count = math.ceil((high - low) / min(0.25, 0.4 * math.sqrt(2 / dimension))) + 1
    s = np.linspace(low, high, count)
    density = np.exp(half * (s - math.log(dimension)) - (np.exp(s) - dimension) / 2)
    noncentral = np.exp(s)
    u, weight, start = _nodes(dimension, float(noncentral[0]), float(noncentral[-1]), 10.0**decade)
    return DistanceLaw(density / density.sum(), weight, _cumulative(dimension, noncentral, u), start)


def _nodes(dimension: int, least: float, most: float, kept: float) -> tuple[Array, Array, float]:
    """Nodes and weights in u, and where they start: below it even the nearest of `kept` is never found."""
    tail = math.sqrt(2 * math.log(kept * 1e16))
    central = 2 * float(special.gammaincinv(dimension / 2, 1e-16 / kept))
    low = max(central, dimension + least - tail * math.sqrt(2 * dimension + 4 * least))
    high = dimension + most + (REACH + 2) * math.sqrt(2 * dimension + 4 * most) + 80
    x, weight = np.polynomial.legendre.leggauss(NODES)
    half = (math.log(high) - math.log(low)) / 2
    u = np.exp(math.log(low) + half * (x + 1))
    return u, weight * half * u, low


def _cumulative(dimension: int, noncentral: Array, u: Array) -> Array:
    """F(u; d, lambda) = sum_j Pois(j; lambda/2) P(d/2 + j, u/2), on all pairs: (J,), (U,) -> (J,U)."""
    rate = noncentral / 2
    first = max(0, math.floor(rate.min() - REACH * math.sqrt(rate.min())) - 10)
    last = math.ceil(rate.max() + REACH * math.sqrt(rate.max())) + 40
    out = np.zeros((len(rate), len(u)))
    above = special.gammainc(dimension / 2 + last + 1, u / 2)
    for stop in range(last + 1, first, -2048):
        j = np.arange(max(first, stop - 2048), stop, dtype=float)
        a = dimension / 2 + j
        # P(a, x) = P(a + 1, x) + x^a e^-x / Gamma(a + 1): downwards in a, only positive numbers are added.
        step = np.exp(a[:, None] * np.log(u / 2) - u / 2 - special.gammaln(a + 1)[:, None])
        central = above + np.cumsum(step[::-1], 0)[::-1]
        above = central[0]
        log_rate = np.log(np.maximum(rate, 1e-300))
        out += np.exp(j * log_rate[:, None] - rate[:, None] - special.gammaln(j + 1)) @ central
    return np.minimum(out, 1.0)


def _log_survival(below: Array) -> Array:
    with np.errstate(divide="ignore"):
        return np.asarray(np.log1p(-np.minimum(below, 1.0)))


def _power(kept: float) -> Callable[[Array], Array]:
    return lambda below: np.exp(kept * _log_survival(below))


def _binomial(kept: int, weight: float) -> Callable[[Array], Array]:
    def survival(below: Array) -> Array:
        return np.exp(kept * _log_survival(weight * below)) - (1 - weight) ** kept

    return survival
