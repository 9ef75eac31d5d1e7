"""Improved DDPM's hybrid objective: the error of the noise, and a small part of the likelihood to learn variances by.

The denoiser that is trained returns twice the channels, [D, v]: see `unrote.denoise.variance.LearnedVariance`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from unrote.contracts import Denoiser, InputError, over
from unrote.train.losses import Batch, Loss

LogVariance = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(v (B,*E), level (B,), next_level (B,)) -> log variance (B,*E): `unrote.denoise.variance.log_variance`."""

VALUES = 256
"""Values of a pixel, evenly spaced from -1 to 1."""

PER = 1000
"""The likelihood counts T/1000: T times a term of the bound that is drawn uniformly, over the program's 1,000."""

LEAST = 1e-12
"""Smallest probability of a pixel's value, as in the authors' program."""

NOISY = (
    "The hybrid objective trains on rows without noise, and some rows hold noise: the likelihood of a noisy row is not "
    "what it bounds. Use it without `ambient` and `noisy_only`, or train by the denoising loss."
)


def hybrid_loss(levels: Float[Tensor, " T"], log_variance: LogVariance, part: float | None = None) -> Loss:
    """The weighted denoising loss, and `part` of one term of the variational bound in bits per number.

    l = weight (1/dim) |D - x0|^2 + part L_t, with the weight 1/sigma^2 the error of the noise; L_t is `bound_term` with
    D held fixed, so that it teaches v alone.

    Args:
        levels: sigma at the timesteps 0..T-1, ascending (T,); a level of the batch counts as the nearest of them.
        log_variance: what v stands for.
        part: how much the bound counts; None for T/1000.

    Raises:
        InputError: on use, for rows that hold noise, or a denoiser that tells no variance.

    Source: Nichol and Dhariwal 2021, eq. 16 and their program, whose terms are in bits and whose lambda is T/1000.
    """
    share = len(levels) / PER if part is None else part

    def loss(denoiser: Denoiser, batch: Batch) -> Tensor:
        if bool((batch.level > 0).any()):
            raise InputError(NOISY)
        x = batch.x + over(batch.sigma, batch.x) * batch.z
        told = denoiser(x, batch.sigma, batch.label)
        mean, v = halves(told, x)
        simple = batch.weight * (mean - batch.x).square().flatten(1).mean(1)
        return simple + share * bound_term(mean.detach(), v, batch.x, batch.sigma, levels, log_variance)

    return loss


def halves(told: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """D and v of what a denoiser with a variance returns.

    Raises:
        InputError: if it has not twice the channels of x.
    """
    if told.shape[1] != 2 * x.shape[1]:
        raise InputError(
            f"The hybrid objective needs a denoiser that returns {2 * x.shape[1]} channels for images of {x.shape[1]}, "
            f"the second half for the variance, and this one returns {told.shape[1]}. Build the network with "
            f"channels_out={2 * x.shape[1]} and wrap it in LearnedVariance, or train by the denoising loss."
        )
    mean, v = told.chunk(2, 1)
    return mean, v


def bound_term(
    mean: Float[Tensor, "B *E"],
    v: Float[Tensor, "B *E"],
    x0: Float[Tensor, "B *E"],
    sigma: Float[Tensor, " B"],
    levels: Float[Tensor, " T"],
    log_variance: LogVariance,
) -> Float[Tensor, " B"]:
    """One term of the variational bound for each row, in bits per number.

    Above the lowest level KL(q(x_s | x_sigma, x0) || p(x_s | x_sigma)), two normal laws whose means differ by
    (1 - s^2/sigma^2)(x0 - D); at the lowest level, from which a step leads to 0, -log P(x0), the mass that
    N(D, variance) has on each pixel's value (`discretised_nll`).

    Args:
        mean: D.
        v: what the variance is made of by `log_variance`.
        x0: clean rows with 256 values from -1 to 1.
        sigma: their levels.
        levels: of all timesteps, ascending.

    Source: Nichol and Dhariwal 2021, eq. 4 to 7.
    """
    table = levels.to(sigma.device).double()
    # Nearest in log sigma: levels are drawn in float32.
    place = torch.bucketize(sigma.double(), (table[1:] * table[:-1]).sqrt())
    level = table[place]
    next_level = torch.where(place > 0, table[(place - 1).clamp(min=0)], 0.0)
    told = log_variance(v, level, next_level)
    last = over(place == 0, x0)
    # Both terms for all rows, so that nothing waits for the device; at the lowest level any ratio serves the first.
    ratio = torch.where(place > 0, (next_level / level) ** 2, 0.5)
    exact = over((level**2 * ratio * (1 - ratio)).log().to(told.dtype), told)
    kl = normal_kl(over((1 - ratio).to(mean.dtype), mean) * (x0 - mean), exact, told)
    nll = discretised_nll(x0, mean, told)
    return torch.where(last, nll, kl).flatten(1).mean(1) / math.log(2)


def normal_kl(
    apart: Float[Tensor, "*n"], log_variance: Float[Tensor, "*m"], other_log_variance: Float[Tensor, "*n"]
) -> Float[Tensor, "*n"]:
    """KL(N(m1, v1) || N(m2, v2)) = (log v2/v1 - 1 + v1/v2 + (m1 - m2)^2/v2)/2, in nats.

    Args:
        apart: m1 - m2.
        log_variance, other_log_variance: log v1, which broadcasts, and log v2.
    """
    wider = other_log_variance - log_variance
    return 0.5 * (wider - 1 + (-wider).exp() + apart.square() * (-other_log_variance).exp())


def discretised_nll(
    x: Float[Tensor, "B *E"],
    mean: Float[Tensor, "B *E"],
    log_variance: Float[Tensor, "B *E"],
    values: int = VALUES,
) -> Float[Tensor, "B *E"]:
    """-log of the mass that a normal law has on the value of each pixel, in nats.

    Values are evenly spaced from -1 to 1; the mass of one reaches half way to its neighbours, that of the first and
    last to infinity, so that all sum to 1.

    Source: Ho et al. 2020, eq. 13. Deviation: the normal law's own distribution function; the authors' programs
    approximate it by a tanh.
    """
    half = 1 / (values - 1)
    scale = (-0.5 * log_variance).exp()
    below, above = (x - mean - half) * scale, (x - mean + half) * scale
    # Both ends on the lower side of the law, where differences of its distribution function keep their digits.
    flipped = x > mean
    low, high = torch.where(flipped, -above, below), torch.where(flipped, -below, above)
    first, last = x < -1 + half, x > 1 - half
    open_low, open_high = torch.where(flipped, last, first), torch.where(flipped, first, last)
    lower = torch.where(open_low, 0.0, torch.special.ndtr(low))
    upper = torch.where(open_high, 1.0, torch.special.ndtr(high))
    return -(upper - lower).clamp(min=LEAST).log()
