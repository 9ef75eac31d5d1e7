"""How close the best denoiser comes to a single training point, and flow matching's velocity to a single target.

Flow matching moves along x_t = t x + (1 - t) Z; its state is x = x_t / t at level sigma = (1 - t) / t.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from unrote.contracts import InputError
from unrote.geometry.thresholds import failure_probability


@dataclass(frozen=True)
class DenoiserError:
    """A bound on |m_sigma(x_1 + sigma Z) - x_1| and the probability with which it holds.

    Args:
        bound: (1 - tau) D_max (*B).
        probability: at least this, 1 - delta(sigma), not below 0 (*B).
    """

    bound: Float[Tensor, "*B"]
    probability: Float[Tensor, "*B"]


def denoiser_error(distances: Float[Tensor, "*B M"], sigma: float, tau: float) -> DenoiserError:
    """How far the empirical optimal denoiser is from the point that was noised: at most (1 - tau) D_max.

    Args:
        distances: from each point to all others (*B,M), M = N - 1.
        sigma: the level.
        tau: weight, between 1/N and 1; a larger one bounds better with less probability.

    Raises:
        InputError: for numbers outside these ranges.

    Source: 001 Lemma A.1.
    """
    probability = (1 - failure_probability(distances, sigma, tau)).clamp_min(0)
    return DenoiserError((1 - tau) * distances.double().amax(-1), probability)


@dataclass(frozen=True)
class CosineBound:
    """Lower bounds on the cosine between the velocity towards one point and the best velocity of the data set.

    Args:
        ratio: eta / r, the bound on the error over that on the length of the velocity (*B).
        paper: (1 - ratio) / (1 + ratio), from Cauchy and Schwarz (*B).
        sharp: sqrt(1 - ratio^2), attained by some error (*B); NaN where the ratio is 1 or more.
        probability: with which both hold, not below 0 (*B).
    """

    ratio: Float[Tensor, "*B"]
    paper: Float[Tensor, "*B"]
    sharp: Float[Tensor, "*B"]
    probability: Float[Tensor, "*B"]


def cosine_bound(
    distances: Float[Tensor, "*B M"],
    norm: Float[Tensor, "*B"],
    dimension: int,
    time: float,
    tau: float = 0.99,
    margin_inner: float = 3.0,
    margin_norm: float = 5.0,
) -> CosineBound:
    """How well flow matching's best velocity u* is aligned with u = x_1 - Z at x_t = t x_1 + (1 - t) Z.

    eta = (1 - tau) D_max / (1 - t),  r^2 = |x_1|^2 - 2 c_1 |x_1| + d - 2 sqrt(d c_2):  cos(u, u*) >= (r - eta) /
    (r + eta) and, sharper, >= sqrt(1 - (eta/r)^2), with probability at least 1 - delta((1-t)/t) - Phi(-c_1) -
    exp(-c_2).

    Args:
        distances: from each point to all others (*B,M).
        norm: |x_1| (*B).
        dimension: d.
        time: t between 0 (noise) and 1 (data), both excluded.
        tau: weight, between 1/N and 1.
        margin_inner: c_1 > 0, standard deviations of <x_1, Z> / |x_1|.
        margin_norm: c_2 > 0, in the tail exp(-c_2) of |Z|^2.

    Returns:
        NaN where r^2 is not positive.

    Raises:
        InputError: for numbers outside these ranges.

    Source: 001 Corollary A.2; the sharp form is ours.
    """
    if not (0 < time < 1 and margin_inner > 0 and margin_norm > 0 and dimension >= 1):
        raise InputError(
            f"The alignment bound needs a time between 0 and 1, positive margins and a dimension of at least 1; got "
            f"{time:g}, {margin_inner:g}, {margin_norm:g} and {dimension}."
        )
    error = denoiser_error(distances, (1 - time) / time, tau)
    length = norm.double()
    square = length**2 - 2 * margin_inner * length + dimension - 2 * math.sqrt(dimension * margin_norm)
    radius = torch.where(square > 0, square, torch.nan).sqrt()
    ratio = error.bound / (1 - time) / radius
    tails = 0.5 * math.erfc(margin_inner / math.sqrt(2)) + math.exp(-margin_norm)
    paper, sharp = aligned(ratio)
    return CosineBound(ratio, paper, sharp, (error.probability - tails).clamp_min(0))


def aligned(ratio: Float[Tensor, "*B"]) -> tuple[Float[Tensor, "*B"], Float[Tensor, "*B"]]:
    """Both lower bounds on cos(u, u + e) for |e| <= ratio |u|: (1-q)/(1+q) and sqrt(1-q^2), NaN from q = 1 on.

    Args:
        ratio: q, not negative.
    """
    return (1 - ratio) / (1 + ratio), torch.where(ratio < 1, 1 - ratio**2, torch.nan).sqrt()
