"""Denoising losses at one level, one value per sample: plain, in excess of a reference, and with little noise.

The loss of a sample is E_z |D(x0 + sigma z, sigma) - x0|^2. Its mean over a training set is the training loss
at this level, over fresh data the test loss; `measure.estimate` makes an interval of the values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from unrote.contracts import Denoiser, Randomness, normal

NEGLIGIBLE = 1e-12
"""What leaving out the posterior's tail may move a loss, in units of the loss of a random component."""

BLOCK = 2**22
"""Distances that are held at a time."""


@torch.no_grad()
def loss_draws(
    denoiser: Denoiser,
    x0: Float[Tensor, "N *E"],
    sigma: float,
    generator: Randomness,
    draws: int,
) -> Float[Tensor, "S N"]:
    """Squared errors of single noise draws: |D(x0_i + sigma z_si, sigma) - x0_i|^2, float64.

    The mean over draws (dim 0) is a value per sample, whose interval speaks of the distribution that the samples
    come from; the mean over samples (dim 1) is a value per draw, whose interval speaks of these samples alone.

    Args:
        denoiser: where the rows are.
        x0: clean rows (N,*E).
        sigma: the level, > 0.
        generator: of the noise, or one per row.
        draws: S, at least 1.

    Returns:
        Squared units of the rows, summed over the dimensions, (S,N).

    Raises:
        ValueError: for a level or a number of draws out of range.
    """
    _check(sigma, draws)
    return torch.stack([_square(denoiser(x, level), x0) for x, level in _noised(x0, sigma, generator, draws)])


def fixed_level_loss(
    denoiser: Denoiser,
    x0: Float[Tensor, "N *E"],
    sigma: float,
    generator: Randomness,
    draws: int,
) -> Float[Tensor, " N"]:
    """The loss of every sample at one level, a plain Monte Carlo mean over draws, float64.

    l_i = mean_s |D(x0_i + sigma z_si, sigma) - x0_i|^2.

    Args:
        denoiser, x0, sigma, generator, draws: as for `loss_draws`.

    Raises:
        ValueError: as for `loss_draws`.

    Source: 000 eq. (6), one summand, without a weighting.
    """
    return loss_draws(denoiser, x0, sigma, generator, draws).mean(0)


@torch.no_grad()
def excess_loss(
    denoiser: Denoiser,
    reference: Denoiser,
    x0: Float[Tensor, "N *E"],
    sigma: float,
    generator: Randomness,
    draws: int,
) -> Float[Tensor, " N"]:
    """How far a denoiser is from another one around every sample, float64.

    e_i = mean_s |D(x0_i + sigma z_si, sigma) - D_ref(x0_i + sigma z_si, sigma)|^2. If the reference is the
    memorizing denoiser of these samples, the mean over i is in expectation the difference of the training
    losses of both (000 eq. 13): the memorizing denoiser is E[x0 | x], and errors of E[x0 | x] are orthogonal to
    every function of x. This holds for the mean over all samples and not for each of them.

    Args:
        denoiser, x0, sigma, generator, draws: as for `loss_draws`.
        reference: the denoiser that is measured against.

    Raises:
        ValueError: as for `loss_draws`.

    Source: 000 eq. (13).
    """
    _check(sigma, draws)
    noised = _noised(x0, sigma, generator, draws)
    return torch.stack([_square(denoiser(x, level), reference(x, level)) for x, level in noised]).mean(0)


@torch.no_grad()
def controlled_loss(
    denoiser: Denoiser,
    control: Callable[[Tensor, Tensor], Tensor],
    expected: Float[Tensor, " _N"],
    x0: Float[Tensor, "N *E"],
    sigma: float,
    generator: Randomness,
    draws: int,
) -> Float[Tensor, " N"]:
    """The loss of every sample with the help of a denoiser whose loss is known: unbiased, float64.

    l_i = expected_i + mean_s [|D(x_si) - x0_i|^2 - |C(x_si) - x0_i|^2],  x_si = x0_i + sigma z_si.

    For a mixture the control is its affine part with fixed weights, ``lambda x, s: denoiser.blend(x, s, q)``
    and ``expected = denoiser.blend_loss(x0, sigma, q)``, with q from ``denoiser.responsibilities(x0, level)``.
    Where the posterior is one-hot both agree, and a single draw gives the exact loss for every covariance.

    Args:
        denoiser, x0, sigma, generator: as for `loss_draws`.
        control: called with rows (N,*E) and levels (N,), in the order of x0.
        expected: the exact loss of the control for every sample (N,).
        draws: at least 0; with 0 the result is `expected`.

    Raises:
        ValueError: as for `loss_draws`, or if there is not one expected loss per sample.
    """
    _check(sigma, max(1, draws))
    if draws < 0 or expected.shape != (len(x0),):
        raise ValueError(
            f"{len(x0)} samples need one expected loss each and at least 0 draws, got {tuple(expected.shape)} "
            f"losses and {draws} draws"
        )
    total = torch.zeros(len(x0), dtype=torch.float64, device=x0.device)
    for x, level in _noised(x0, sigma, generator, draws):
        total += _square(denoiser(x, level), x0) - _square(control(x, level), x0)
    return expected.double() + total / max(1, draws)


@torch.no_grad()
def stein_loss(
    means: Float[Tensor, "M _D"],
    variance: float,
    x0: Float[Tensor, "N D"],
    sigma: float,
    generator: Randomness,
    draws: int,
) -> Float[Tensor, " N"]:
    """The loss of an isotropic mixture of equal weights, the noise integrated out by Stein's identity, float64.

    l_i = mean_s (sigma^4 [|x0 - m|^2 + (2 variance / v) sum_k p_k |mu_k - m|^2] + variance^2 sigma^2 D) / v^2

    with v = variance + sigma^2, p the posterior at x0_i + sigma z_si and m = sum_k p_k mu_k: the noise acts only
    through p. Unbiased. Where p is one-hot with all but a negligible probability (proven row by row by
    Chernoff's bound on E min(1, p_j / p_i)) no noise is drawn at all. The difference between a
    model's value and that with ``means=x0, variance=0`` is a low-variance form of `excess_loss`.

    Args:
        means: centres (M,D).
        variance: of all components, at least 0.
        x0: clean rows (N,D).
        sigma: the level, > 0.
        generator: of the noise, or one per row.
        draws: for the rows that need noise, at least 1.

    Raises:
        ValueError: for a level, a variance, a dimension or a number of draws out of range.

    Source: the isotropic denoiser of 000 eq. (11) under Stein, "Estimation of the mean of a multivariate normal
    distribution", 1981.
    """
    _check(sigma, draws)
    if not 0 <= variance < math.inf or x0.shape[1] != means.shape[1]:
        raise ValueError(
            f"a variance is at least 0 and finite, and rows and means have one dimension; got {variance}, "
            f"{x0.shape[1]} and {means.shape[1]}"
        )
    mu, data = means.double(), x0.double()
    loss = torch.empty(len(data), dtype=torch.float64, device=data.device)
    rows = max(1, BLOCK // len(mu))
    for start in range(0, len(data), rows):
        part = slice(start, start + rows)
        streams = generator if isinstance(generator, torch.Generator) else generator[part]
        loss[part] = _stein_rows(mu, variance, data[part], sigma, streams, draws)
    return loss


def _stein_rows(
    mu: Tensor, variance: float, x0: Tensor, sigma: float, generator: Randomness, draws: int
) -> Tensor:
    v, dimension = variance + sigma**2, x0.shape[1]
    square = (mu.square().sum(1) - 2 * x0 @ mu.mT + x0.square().sum(1, keepdim=True)).clamp(min=0)
    own = square.argmin(1)
    nearest = (x0 - mu[own]).square().sum(1)
    gain, constant = sigma**4 / v**2, variance**2 * sigma**2 * dimension / v**2
    loss = gain * nearest + constant
    between = torch.cdist(mu, mu)[own] if len(mu) < len(x0) else torch.cdist(mu[own], mu)
    tail = gain * _tail(square, nearest, between, variance, sigma)
    noisy = (tail > NEGLIGIBLE * (loss + gain * square.mean(1))).nonzero().flatten()
    if len(noisy) == 0:
        return loss
    streams = generator if isinstance(generator, torch.Generator) else [generator[i] for i in noisy.tolist()]
    rows, half = x0[noisy], square[noisy] / (2 * v)
    total = torch.zeros(len(noisy), dtype=torch.float64, device=x0.device)
    norms = mu.square().sum(1)
    for _ in range(draws):
        z = normal(rows.shape, streams, torch.float64, x0.device)
        # |x - mu|^2 = |x0 - mu|^2 + 2 sigma z (x0 - mu) + const.
        p = torch.softmax(torch.addmm(half, z, mu.mT, beta=-1, alpha=sigma / v), 1)
        m = p @ mu
        spread = (p @ norms - m.square().sum(1)).clamp(min=0)
        total += (rows - m).square().sum(1) + 2 * variance / v * spread
    loss[noisy] = gain * total / draws + constant
    return loss


def _tail(square: Tensor, nearest: Tensor, between: Tensor, variance: float, sigma: float) -> Tensor:
    """Bound on what all components but the nearest change in E[|x0 - m|^2 + (2 variance / v) tr Cov_p(mu)], (N,).

    With G = log p_i - log p_j ~ N(a, b^2), a = (|x0 - mu_j|^2 - |x0 - mu_i|^2) / 2v and b = sigma |mu_i - mu_j| / v,
    E p_j <= E min(1, exp(-G)) <= exp(theta^2 b^2 / 2 - theta a) for all theta in [0, 1]; best is a / b^2.
    """
    v = variance + sigma**2
    a = (square - nearest[:, None]) / (2 * v)
    b2 = (sigma / v * between).square().clamp(min=1e-300)
    theta = (a / b2).clamp(0, 1)
    share = torch.exp(theta * (theta * b2 / 2 - a))
    change = torch.maximum((square - nearest[:, None]).abs(), 2 * nearest.sqrt()[:, None] * between)
    return (share * (change + 2 * variance / v * between.square())).sum(1)


def _noised(x0: Tensor, sigma: float, generator: Randomness, draws: int) -> Iterator[tuple[Tensor, Tensor]]:
    level = torch.full((len(x0),), sigma, dtype=x0.dtype, device=x0.device)
    for _ in range(draws):
        yield x0 + sigma * normal(x0.shape, generator, x0.dtype, x0.device), level


def _square(a: Tensor, b: Tensor) -> Tensor:
    return (a.double() - b.double()).square().flatten(1).sum(1)


def _check(sigma: float, draws: int) -> None:
    if not 0 < sigma < math.inf or draws < 1:
        raise ValueError(
            f"a loss needs a positive, finite level and at least one draw, got {sigma} and {draws}"
        )
