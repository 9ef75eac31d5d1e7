"""What the confusion of clusters costs: the error of guessing which of K points a noisy observation came from.

The loss of the true mixture's denoiser, averaged over data sets, is the least possible, and it splits exactly:

    loss(sigma) = d s sigma^2 / (s + sigma^2) + (sigma^2 / (s + sigma^2))^2 e(s + sigma^2),   s = sigma*^2,

where e(v) = E|mu_k - E[mu_k | y]|^2 for y = mu_k + sqrt(v) z.  The first term is 000's Theorem 3.1; the second is what
it lacks when sigma is large or clusters overlap.  For two points e is one integral.  For more it lies between two sums
over pairs, which meet where confusion is rare, and is otherwise an average over draws.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from unrote.theory.levels import probabilities

NODES = 481
"""Of the trapezoid rule; its error is below 1e-12 of the value."""


def pair_error(
    gap: Float[Tensor, " P"], share: Float[Tensor, " P"], variance: Float[Tensor, " P"]
) -> Float[Tensor, " P"]:
    """e(v) for two points: gap^2 E[p (1 - p)], p the posterior probability of the first.

    E[p (1 - p)] = (1/2) sqrt(q (1 - q)) exp(-a^2/2) E[1 / cosh(a z + c)],
    a = gap / (2 sqrt(v)), c = log((1 - q)/q) / 2, z standard normal.

    Args:
        gap: distance between the points (P,).
        share: q, prior probability of the first (P,), inside (0, 1).
        variance: v (P,), positive.
    """
    a = gap.double() / (2 * variance.double().sqrt())
    q = share.double()
    c = torch.log((1 - q) / q) / 2
    # The integrand is gone where either factor is: |z| > 10, or |a z + c| > 45.
    reach = torch.minimum(torch.full_like(a, 10.0), (45 + c.abs()) / a.clamp(min=1e-300))
    z = torch.linspace(-1, 1, NODES, dtype=torch.float64) * reach[:, None]
    log_density = -(z**2) / 2 - a[:, None] ** 2 / 2
    angle = (a[:, None] * z + c[:, None]).abs()
    value = torch.exp(log_density - angle) * 2 / (1 + torch.exp(-2 * angle))
    mean = value.sum(1) * 2 * reach / (NODES - 1) / math.sqrt(2 * math.pi)
    return gap.double() ** 2 * 0.5 * torch.sqrt(q * (1 - q)) * mean


def confusion_bounds(
    points: Float[Tensor, "K D"], weights: Float[Tensor, " K"], variance: Float[Tensor, " L"]
) -> tuple[Float[Tensor, " L"], Float[Tensor, " L"]]:
    """Between which numbers e(v) lies, without any draw: (low, high), equal for two points.

    high = min(sum_{i<j} (w_i + w_j) e_ij(v),  tr(v S (S + v I)^-1)),  S the covariance of the points: since
    p_i p_j <= p_i p_j / (p_i + p_j), and since a linear estimate is one estimate.
    low = sum_{i<j} (w_i + w_j) e_ij(v) / (K - 1): someone who names the truth and one wrong point at random can
    only help.

    Args:
        points: mu (K,D).
        weights: (K,), positive, summing to one.
        variance: v (L,), positive.
    """
    count = len(points)
    if count < 2:
        nothing = torch.zeros(len(variance), dtype=torch.float64)
        return nothing, nothing
    x, w = points.double(), probabilities(weights)
    i, j = torch.triu_indices(count, count, 1)
    gap, both = (x[i] - x[j]).norm(dim=1), w[i] + w[j]
    pairs = torch.stack([(both * _blocks(gap, w[i] / both, float(v))).sum() for v in variance.tolist()])
    centred = (x - w @ x) * w.sqrt()[:, None]
    spectrum = torch.linalg.eigvalsh(centred @ centred.T).clamp(min=0)
    v = variance.double()[:, None]
    linear = (spectrum * v / (spectrum + v)).sum(1)
    return pairs / (count - 1), torch.minimum(pairs, linear) if count > 2 else pairs


def confusion(
    points: Float[Tensor, "K D"],
    weights: Float[Tensor, " K"],
    variance: Float[Tensor, " L"],
    generator: torch.Generator,
    draws: int = 1000,
) -> Float[Tensor, "R L"]:
    """e(v) by draws: the posterior variance of the point given y, one value per draw, all levels with the same noise.

    Args:
        points: mu (K,D).
        weights: (K,), summing to one.
        variance: v (L,), positive.
        generator: draws the point and the noise.
        draws: how many.
    """
    x, w = points.double(), probabilities(weights)
    label = torch.multinomial(w, draws, replacement=True, generator=generator)
    z = torch.randn(draws, x.shape[1], dtype=torch.float64, generator=generator)
    square = torch.cdist(x, x).square()[label]  # (R,K)
    along = (z * x[label]).sum(1, keepdim=True) - z @ x.T  # <z, mu_k - mu_j>  (R,K)
    centred = x - w @ x
    norms = centred.square().sum(1)
    out = torch.empty(draws, len(variance), dtype=torch.float64)
    for at, v in enumerate(variance.tolist()):
        p = torch.softmax(torch.log(w) - (square + 2 * math.sqrt(v) * along) / (2 * v), 1)
        out[:, at] = (p @ norms - (p @ centred).square().sum(1)).clamp(min=0)
    return out


def generalising_loss(
    sigma: Float[Tensor, " L"], dimension: int, spread: float, confused: Float[Tensor, "*R L"]
) -> Float[Tensor, "*R L"]:
    """Loss of the true mixture's denoiser, averaged over data sets: the exact form of 000's Theorem 3.1.

    d s sigma^2 / (s + sigma^2) + (sigma^2 / (s + sigma^2))^2 e(s + sigma^2), s = sigma*^2.

    Args:
        sigma: levels (L,), positive.
        dimension: d.
        spread: sigma*^2.
        confused: e at v = spread + sigma^2, from `confusion` (R,L) or one of `confusion_bounds` (L,); zeros give the
            paper's term.
    """
    level = sigma.double() ** 2
    share = level / (spread + level)
    return dimension * spread * share + share**2 * confused


def _blocks(gap: Tensor, share: Tensor, variance: float, size: int = 4096) -> Tensor:
    """`pair_error` of many pairs at one level, a few thousand at a time."""
    parts = [
        pair_error(g, q, torch.full_like(g, variance))
        for g, q in zip(gap.split(size), share.split(size), strict=True)
    ]
    return torch.cat(parts)
