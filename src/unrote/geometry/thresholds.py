"""High-probability thresholds on the posterior weight of the point that was noised (001 Theorem 4.2), and sharper ones.

Fix a point x_1 with distances D_j to the others, y = x_1 + sigma Z and w its posterior weight.  The exponents
Delta_j / 2 sigma^2 of w = 1 / (1 + sum_j exp(-Delta_j / 2 sigma^2)) are normal, Delta_j ~ N(D_j^2, 4 sigma^2 D_j^2), so
that for a = log((N-1) tau / (1-tau))

    Pr(w < tau) <= sum_j Phi(sigma a / D_j - D_j / (2 sigma)),

and likewise from above.  The theorem bounds every term by the worst; the sharper forms keep them apart.  What is
bounded from above is the weight of x_1, not the largest weight.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from unrote.contracts import InputError

HALVINGS = 45
"""Bisections in log sigma; the end that is returned is the one on the safe side."""

SHIFTS = 24
"""Bisections for the free thresholds; what is left is paid by a shift that makes them valid."""


@dataclass(frozen=True)
class Constants:
    """The factors of Theorem 4.2: sigma_low = low * D_min, sigma_high = high * D_max.

    Args:
        a: log((N-1) tau / (1-tau)).
        q: the normal quantile of 1 - epsilon / (N-1).
        low: (sqrt(q^2 + 2 a) - q) / (2 a).
        high: (sqrt(q^2 + 2 a) + q) / (2 a).
        half_moment: 1 / sqrt(8 log((N-1) sqrt(tau / (1-tau)) / epsilon)), another valid factor of D_min, mostly larger.
    """

    a: float
    q: float
    low: float
    high: float
    half_moment: float


def constants(size: int, tau: float, epsilon: float) -> Constants:
    """The factors of Theorem 4.2 for N points.

    Args:
        size: N, at least 2.
        tau: weight, between 1/N and 1.
        epsilon: probability of failure, between 0 and 1.

    Raises:
        InputError: for numbers outside these ranges.

    Source: 001 Theorem 4.2; the half moment is ours: Pr(w < tau) <= sqrt(tau/(1-tau)) sum_j exp(-D_j^2 / 8 sigma^2).
    """
    _check(size, tau, epsilon)
    a = math.log((size - 1) * tau / (1 - tau))
    q = -float(torch.special.ndtri(torch.tensor(epsilon / (size - 1), dtype=torch.float64)))
    root = math.sqrt(q * q + 2 * a)
    # tau > 1/N keeps this above log(sqrt(N-1) / epsilon) > 0.
    moment = math.log((size - 1) * math.sqrt(tau / (1 - tau)) / epsilon)
    return Constants(a, q, 1 / (root + q), (root + q) / (2 * a), 1 / math.sqrt(8 * moment))


@dataclass(frozen=True)
class LowThresholds:
    """Levels up to which a point keeps weight tau with probability 1 - epsilon, one for each point.

    Args:
        paper: kappa D_min, Theorem 4.2.
        every: L1, all distances: the root of sum_j Phi(sigma a / D_j - D_j / 2 sigma) = epsilon.
        free: L2, a threshold a_j for each point with sum_j exp(-a_j) <= (1-tau)/tau, optimised.
        moment: L3, the root of sqrt(tau/(1-tau)) sum_j exp(-D_j^2 / 8 sigma^2) = epsilon; for one level at a time.
            `paper` and `every` hold for all lower levels at once, `free` too from tau = 1/2 on.
    """

    paper: Float[Tensor, "*B"]
    every: Float[Tensor, "*B"]
    free: Float[Tensor, "*B"]
    moment: Float[Tensor, "*B"]


def weight_low(distances: Float[Tensor, "*B M"], tau: float, epsilon: float) -> LowThresholds:
    """For which sigma is Pr(w >= tau) >= 1 - epsilon: four valid answers, `free` the largest of the first three.

    Args:
        distances: from each point to all others (*B,M), M = N - 1, in any order.
        tau: weight, between 1/N and 1.
        epsilon: probability of failure, between 0 and 1.

    Returns:
        sigma in the units of the distances; 0 for points that have a duplicate.

    Raises:
        InputError: for numbers outside these ranges.

    Source: 001 Theorem 4.2, part 1; L1 to L3 are ours.
    """
    d, c = distances.double().sort(-1).values, constants(distances.shape[-1] + 1, tau, epsilon)
    nearest = d[..., 0]
    paper = c.low * nearest
    # One term alone exceeds epsilon from here on.
    most = nearest * _factor(c.a, epsilon)
    every = _largest(lambda sigma: _failure(d, sigma, c.a), epsilon, paper, most)
    most = torch.maximum(every, nearest * _factor(math.log(tau / (1 - tau)), epsilon))
    free = _largest(lambda sigma: _free_failure(d, sigma, (1 - tau) / tau), epsilon, every, most, 30)
    odds = math.sqrt(tau / (1 - tau))
    start = nearest * c.half_moment
    far = 1e6 * d[..., -1]
    moment = _largest(
        lambda sigma: odds * torch.exp(-(d**2) / (8 * sigma[..., None] ** 2)).sum(-1), epsilon, start, far
    )
    alone = nearest > 0
    return LowThresholds(*(torch.where(alone, s, 0.0) for s in (paper, every, free, moment)))


@dataclass(frozen=True)
class HighThresholds:
    """Levels from which a point has at most weight tau with probability 1 - epsilon, one for each point.

    Args:
        paper: kappa D_max, Theorem 4.2.
        near: H1, the same with the m nearest points alone, the best m.
        mean: H2 with all points: the averaged exponent, no union bound.
        near_mean: H2 with the m nearest points, the best m.
    """

    paper: Float[Tensor, "*B"]
    near: Float[Tensor, "*B"]
    mean: Float[Tensor, "*B"]
    near_mean: Float[Tensor, "*B"]


def weight_high(
    distances: Float[Tensor, "*B M"],
    tau: float,
    epsilon: float,
    radii: Float[Tensor, "*B M"] | None = None,
) -> HighThresholds:
    """For which sigma is Pr(w <= tau) >= 1 - epsilon: four valid answers, the last the smallest.

    H1: sigma >= D_(m) (q_m + sqrt(q_m^2 + 2 a_m)) / (2 a_m),  a_m = log(m tau / (1-tau)) > 0,  q_m = Phi^-1(1 - eps/m).
    H2: sigma >= (q_1 R_m + sqrt(q_1^2 R_m^2 + 2 a_m M_m)) / (2 a_m),  M_m mean of the m smallest D_j^2, R_m = |x_1 -
    mean of these points|.  All hold for all higher levels at once.

    Args:
        distances: from each point to all others (*B,M), M = N - 1, in any order.
        tau: weight, between 1/N and 1.
        epsilon: probability of failure, between 0 and 1.
        radii: R_m for m = 1..M (*B,M), see `neighbour_radii`; without them sqrt(M_m) >= R_m is used.

    Raises:
        InputError: for numbers outside these ranges.

    Source: 001 Theorem 4.2, part 2; H1 and H2 are ours.
    """
    d, c = distances.double().sort(-1).values, constants(distances.shape[-1] + 1, tau, epsilon)
    m = torch.arange(1, d.shape[-1] + 1, dtype=torch.float64, device=d.device)
    a = (m * tau / (1 - tau)).log()
    a = torch.where(a > 0, a, torch.nan)
    q = -torch.special.ndtri(epsilon / m)
    near = d * (q + (q**2 + 2 * a).sqrt()) / (2 * a)
    mean = d.square().cumsum(-1) / m
    r = mean.sqrt() if radii is None else radii.double()
    q1 = -float(torch.special.ndtri(torch.tensor(epsilon, dtype=torch.float64)))
    averaged = (q1 * r + ((q1 * r) ** 2 + 2 * a * mean).sqrt()) / (2 * a)

    def least(values: Tensor) -> Tensor:
        return torch.where(values.isnan(), torch.inf, values).amin(-1)

    return HighThresholds(c.high * d[..., -1], least(near), averaged[..., -1], least(averaged))


def neighbour_radii(
    point: Float[Tensor, "*E"], others: Float[Tensor, "M *E"]
) -> tuple[Float[Tensor, " M"], Float[Tensor, " M"]]:
    """Distances from a point to others in ascending order, and from it to the mean of the m nearest, m = 1..M.

    Args:
        point: (*E).
        others: all other points (M,*E).
    """
    difference = (others.double() - point.double()).reshape(len(others), -1)
    distance, order = difference.norm(dim=1).sort()
    m = torch.arange(1, len(others) + 1, dtype=torch.float64, device=others.device)
    return distance, difference[order].cumsum(0).norm(dim=1) / m


def failure_probability(distances: Float[Tensor, "*B M"], sigma: float, tau: float) -> Float[Tensor, "*B"]:
    """delta(sigma) = sum_j Phi(sigma a / D_j - D_j / (2 sigma)) >= Pr(w < tau), at most 1.

    Args:
        distances: from each point to all others (*B,M).
        sigma: the level.
        tau: weight, between 1/N and 1.

    Raises:
        InputError: for a weight outside (1/N, 1) or a level that is not positive.

    Source: 001 Lemma A.1, with the sum in place of N - 1 times its largest term.
    """
    a = constants(distances.shape[-1] + 1, tau, 0.5).a
    if not 0 < sigma < math.inf:
        raise InputError(f"The noise level is {sigma:g}; it must be a positive number.")
    d = distances.double()
    return _failure(d, d.new_full(d.shape[:-1], sigma), a).clamp_max(1)


def _failure(d: Tensor, sigma: Tensor, a: float) -> Tensor:
    s = sigma[..., None]
    return torch.special.ndtr(s * a / d - d / (2 * s)).sum(-1)


def _free_failure(d: Tensor, sigma: Tensor, odds: float) -> Tensor:
    """The least failure probability over thresholds a_j with sum_j exp(-a_j) <= odds, found by one multiplier.

    With s_j = sigma^2 / D_j^2 the stationary point is a_j = (3/2 - sqrt(2 + s_j log s_j - 2 s_j c)) / s_j.  Any c gives
    valid thresholds once they are shifted to the constraint; the best is sought through the threshold of the nearest.
    """
    s = (sigma[..., None] / d) ** 2
    entropy = 2 + torch.xlogy(s, s)
    low = s[..., 0].new_full(s.shape[:-1], -math.log(odds))
    high = torch.maximum(1.5 / s[..., 0], low)

    def thresholds(a: Tensor) -> Tensor:
        first = s[..., 0]
        c = (entropy[..., 0] - (1.5 - first * a) ** 2) / (2 * first)
        return (1.5 - (entropy - 2 * s * c[..., None]).clamp_min(0).sqrt()) / s

    for _ in range(SHIFTS):
        middle = (low + high) / 2
        enough = torch.logsumexp(-thresholds(middle), -1) <= math.log(odds)
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    a = thresholds(high)
    a = a + (torch.logsumexp(-a, -1) - math.log(odds))[..., None]
    root = s.sqrt()
    return torch.special.ndtr(root * a - 1 / (2 * root)).sum(-1)


def _factor(a: float, epsilon: float) -> float:
    """sigma / D at which a single term Phi(sigma a / D - D / 2 sigma) is epsilon; infinite where none is."""
    q = -float(torch.special.ndtri(torch.tensor(epsilon, dtype=torch.float64)))
    square = q * q + 2 * a
    return 1 / (math.sqrt(square) + q) if square >= 0 and math.sqrt(square) + q > 0 else 1e6


def _largest(
    failure: Callable[[Tensor], Tensor], epsilon: float, low: Tensor, high: Tensor, halvings: int = HALVINGS
) -> Float[Tensor, "*B"]:
    """A level between low, known to be safe, and high where the failure is at most epsilon: the largest if it grows."""
    first, tiny = low, torch.finfo(torch.float64).tiny
    low, high = (low.clamp_min(tiny).log(), high.clamp_min(tiny).log())
    for _ in range(halvings):
        middle = (low + high) / 2
        safe = failure(middle.exp()) <= epsilon
        low, high = torch.where(safe, middle, low), torch.where(safe, high, middle)
    return torch.maximum(low.exp(), first)


def _check(size: int, tau: float, epsilon: float) -> None:
    if size < 2 or not 1 / size < tau < 1 or not 0 < epsilon < 1:
        raise InputError(
            f"Thresholds need 2 or more points, a weight between 1/N and 1 and a probability between 0 and 1; got N = "
            f"{size}, tau = {tau:g}, epsilon = {epsilon:g}."
        )
