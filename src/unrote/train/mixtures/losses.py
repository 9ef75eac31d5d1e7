"""The noise-prediction loss of an isotropic mixture denoiser with one shared variance, and its slope by hand.

With x = x0 + sigma z, u = s^2 + sigma^2, p = softmax_i(-|x - mu_i|^2 / (2u)) and m = sum_i p_i mu_i the denoiser
is D = (s^2 x + sigma^2 m)/u (000 eq. 11), and psi |D - x0|^2 = |D - x0|^2 / sigma^2 is

    plain   l = |s^2 z - sigma (x0 - m)|^2 / u^2,
    Stein   l = {sigma^2 [(1 - 2b) |x0 - m|^2 + 2b sum_i p_i |x0 - mu_i|^2] + s^4 d} / u^2,   b = s^2/u,

where the second has the mean of the first: E z.m = sigma/u E tr Cov_p(mu) by Stein's lemma, so that noise acts
through p alone.  Where p is one-hot, l = (sigma^2 |x0 - mu_b|^2 + s^4 d)/u^2 holds no noise at all: there the sum
over samples is k-means.  `one_hot_below` says up to which level that is so, and only the rest draws noise.
In numbers, the softmax sees |x0 - mu_i|^2 in float64 and <z, mu_i> alone in working precision: at sigma = 1e-3
and s = 1e-3 the exponents are 1e7, which |x - mu_i|^2 in float32 would know only to several nats.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unrote.contracts import InputError, normal

ROWS_TIMES_MEANS = 2**18
"""Entries of one block of responsibilities; 1 MiB in float32 stays in a core's cache."""

REACH, NATS = 5.0, 15.0
"""`stein` calls a row one-hot where a rival is NATS below the winner unless noise beyond REACH deviations comes."""


@dataclass(frozen=True)
class Slope:
    """A mean loss and how it changes.

    Args:
        loss: mean over samples, draws and (for `stein`) levels.
        means: d loss / d means (M,D).
        variance: d loss / d s^2.
    """

    loss: float
    means: Float[Tensor, "M D"]
    variance: float


def plain(
    means: Float[Tensor, "M D"],
    variance: float,
    x0: Float[Tensor, "N _"],
    sigma: Float[Tensor, " S"],
    z: Float[Tensor, "Z R _"],
) -> Slope:
    """The loss at given noise, as the paper's recipe estimates it: one level per sample, shared by its draws.

    (1/(N R)) sum_n sum_r |s^2 z - sigma (x0 - m)|^2 / u^2.

    Args:
        means: mu (M,D), float32 or float64; the products run in this precision.
        variance: s^2 >= 0.
        x0: training data (N,D).
        sigma: level of each sample (N,).
        z: standard normal draws (N,R,D).

    Raises:
        InputError: if shapes do not fit or s^2 is negative.

    Source: 000 section 4.1 and H.1, with lambda = psi.
    """
    work = _Work(means, variance, x0)
    n, draws = z.shape[:2]
    if not len(sigma) == n == len(x0) or z.shape[-1] != means.shape[1]:
        raise InputError(
            f"Noise (samples, draws, dimension) = {tuple(z.shape)} and {len(sigma)} levels do not fit "
            f"{len(x0)} samples in {means.shape[1]} dimensions: give one level and one row of draws per sample."
        )
    total = _Sum(work)
    step = max(1, ROWS_TIMES_MEANS // (len(means) * draws))
    nats = math.log(len(means)) - math.log(torch.finfo(means.dtype).eps)
    length = z.square().sum(2)
    for first, near in work.blocks():
        part = slice(first, first + len(near.best))
        levels, noise, lengths = sigma[part].to(means.dtype), z[part], length[part]
        # No direction of noise is longer than the noise itself, so this screen changes nothing that is visible.
        wide = levels > near.one_hot_below(lengths.amax(1).sqrt(), nats)
        _plain_one_hot(total, near, levels, noise, lengths, ~wide)
        for rows in _split(wide.nonzero()[:, 0], step):
            flat = noise[rows].reshape(-1, means.shape[1])
            block = _Rows(
                work, near, rows.repeat_interleave(draws), levels[rows].repeat_interleave(draws), flat
            )
            total.add(block, *_plain_terms(block))
    return total.slope(n * draws)


def stein(
    means: Float[Tensor, "M D"],
    variance: float,
    x0: Float[Tensor, "N _"],
    sigmas: Float[Tensor, " L"],
    generator: torch.Generator,
    draws: int = 2,
) -> Slope:
    """The same loss averaged over all levels for every sample, noise integrated out as far as it goes.

    (1/(N L)) sum_n sum_l (1/draws) sum_r l_Stein; no noise where the softmax is one-hot.

    Args:
        means: mu (M,D), float32 or float64.
        variance: s^2 >= 0.
        x0: training data (N,D).
        sigmas: every level of the grid (L,).
        generator: of the noise.
        draws: noises for each sample and level whose softmax is not one-hot.

    Raises:
        InputError: if shapes do not fit, s^2 is negative, or draws < 1.

    Deviation: rows are called one-hot unless noise beyond REACH = 5 standard deviations lifts a rival to within
    NATS = 15 of the winner, which leaves out at most M (3e-7 + e^-15) of a row's probability.
    """
    if draws < 1:
        raise InputError(f"At least one draw of noise per level is needed, got draws = {draws}.")
    work = _Work(means, variance, x0)
    total = _Sum(work)
    sigmas = sigmas.to(means.dtype)
    step = max(1, ROWS_TIMES_MEANS // (len(means) * draws))
    for _, near in work.blocks(len(sigmas) * draws * means.shape[1]):
        # Noise for all levels, used or not: models that are compared then meet the same noise.
        shape = (len(near.best), len(sigmas), draws, means.shape[1])
        z = normal(shape, generator, means.dtype, means.device)
        wide = sigmas > near.one_hot_below(torch.full_like(near.least, REACH), NATS)[:, None]
        _stein_one_hot(total, near, sigmas, ~wide)
        for pairs in _split(wide.nonzero(), step):
            rows, level = pairs.unbind(1)
            noise = z[rows, level].flatten(0, 1)
            sigma = sigmas[level].repeat_interleave(draws)
            block = _Rows(work, near, rows.repeat_interleave(draws), sigma, noise)
            total.add(block, *_stein_terms(block), 1 / draws)
    return total.slope(len(x0) * len(sigmas))


def one_hot_below(
    gap: Float[Tensor, "N M"],
    spread: Float[Tensor, "N M"],
    variance: float,
    reach: Float[Tensor, " N"],
    nats: float,
) -> Float[Tensor, " N"]:
    """The level up to which the softmax of each sample is one-hot.

    log p_b - log p_i = (gap_i/2 - sigma z.(mu_i - mu_b)) / u, at least nats for every rival i while
    gap_i/2 - reach spread_i sigma >= nats (s^2 + sigma^2), a quadratic in sigma.

    Args:
        gap: |x0 - mu_i|^2 - |x0 - mu_b|^2 (N,M), infinite for the winner b itself.
        spread: |mu_i - mu_b| (N,M).
        variance: s^2.
        reach: bound on z along any direction (N,): |z| for certainty, or a number of standard deviations.
        nats: how far below the winner a rival is out of sight.
    """
    push = reach[:, None] * spread
    room = (gap / 2 - nats * variance).clamp_min(0)
    # The stable root of nats s^2 + push s - room = 0; infinite room (a lone mean) means every level.
    root = 2 * room / (push + (push.square() + 4 * nats * room).sqrt()).clamp_min(torch.finfo(gap.dtype).tiny)
    return torch.where(room.isinf(), math.inf, root).amin(1)


def distortion(means: Float[Tensor, "M D"], x0: Float[Tensor, "N D"]) -> float:
    """D2 = (1/N) sum_n min_i |x_n - mu_i|^2; in the one-hot regime the best variance at every level is D2/d."""
    least = torch.cat([near.least for _, near in _Work(means.double(), 0.0, x0).blocks()])
    return float(least.mean())


@final
class _Work:
    """Means and data about a common centre, and what is shared by all blocks."""

    def __init__(self, means: Tensor, variance: float, x0: Tensor) -> None:
        if means.ndim != 2 or x0.ndim != 2 or means.shape[1] != x0.shape[1] or not len(means) or not len(x0):
            raise InputError(
                f"Means {tuple(means.shape)} and data {tuple(x0.shape)} do not fit: both are tables of "
                "vectors of one length, with at least one row."
            )
        if not 0 <= variance < math.inf:
            raise InputError(f"The variance of a component is finite and at least 0, got s^2 = {variance:g}.")
        centre = means.double().mean(0)
        self.exact_means, self.exact_x0 = means.double() - centre, x0.double() - centre
        self.means, self.x0 = self.exact_means.to(means.dtype), self.exact_x0.to(means.dtype)
        self.variance, self.dimension = variance, means.shape[1]

    def blocks(self, noise: int = 0) -> Iterator[tuple[int, _Near]]:
        """Samples in blocks whose tables of distances, and `noise` numbers per sample, stay small."""
        size = max(1, 4 * ROWS_TIMES_MEANS // max(len(self.means), noise // 4))
        return ((first, _Near(self, slice(first, first + size))) for first in range(0, len(self.x0), size))


@final
class _Near:
    """Squared distances from a block of samples to all means, and the nearest mean of each."""

    def __init__(self, work: _Work, part: slice) -> None:
        self.work, self.x0 = work, work.x0[part]
        exact = _squared_distances(work.exact_x0[part], work.exact_means)
        least, self.best = exact.min(1)
        self.gap = (exact - least[:, None]).to(work.means.dtype)
        residual = work.exact_x0[part] - work.exact_means[self.best]
        # By differences, so that a sample that is its own mean is at distance 0.
        self.least, self.residual = residual.square().sum(1).to(self.gap), residual.to(self.gap)

    def one_hot_below(self, reach: Tensor, nats: float) -> Tensor:
        """See the function of this name; for this block."""
        means = self.work.means
        spread = _squared_distances(means[self.best], means).sqrt()
        rival = self.gap.scatter(1, self.best[:, None], math.inf)
        return one_hot_below(rival, spread, self.work.variance, reach, nats)


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    norms = x.square().sum(1)[:, None] + y.square().sum(1)
    return torch.addmm(norms, x, y.T, alpha=-2).clamp_min_(0)


def _split(index: Tensor, size: int) -> tuple[Tensor, ...]:
    """Blocks of rows; none at all of nothing, where torch gives out one that is empty."""
    return index.split(size) if len(index) else ()


@final
class _Rows:
    """Noisy points whose softmax is computed: responsibilities, their logarithm, the mean m."""

    def __init__(self, work: _Work, near: _Near, rows: Int[Tensor, " B"], sigma: Tensor, z: Tensor) -> None:
        self.sigma, self.z, self.u = sigma, z, work.variance + sigma**2
        self.variance, self.dimension = work.variance, work.dimension
        self.x0, self.gap, self.least = near.x0[rows], near.gap[rows], near.least[rows]
        logits = torch.addcmul(
            z * (sigma / self.u)[:, None] @ work.means.T, self.gap, (-0.5 / self.u)[:, None]
        )
        self.log_p = torch.log_softmax(logits, 1)
        self.p = self.log_p.exp()
        self.mean = self.p @ work.means
        self.residual = self.x0 - self.mean


def _plain_terms(b: _Rows) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    """Loss per row, its slope in m, in sum p_i |x0 - mu_i|^2 (none), and in s^2 at fixed p."""
    error = (b.variance * b.z - b.sigma[:, None] * b.residual) / b.u[:, None]
    loss = error.square().sum(1)
    in_variance = 2 * ((error * b.z).sum(1) - loss) / b.u
    return loss, error * (2 * b.sigma / b.u)[:, None], None, in_variance


def _stein_terms(b: _Rows) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    near, power = b.residual.square().sum(1), b.sigma**2
    all_ = torch.linalg.vecdot(b.p, b.gap) + b.least
    share = b.variance / b.u
    loss = (power * ((1 - 2 * share) * near + 2 * share * all_) + b.variance**2 * b.dimension) / b.u**2
    in_mean = b.residual * (-2 * power * (1 - 2 * share) / b.u**2)[:, None]
    spread = 2 * power**2 / b.u**2 * (all_ - near)
    in_variance = (spread + 2 * b.variance * b.dimension) / b.u**2 - 2 * loss / b.u
    return loss, in_mean, 2 * share * power / b.u**2, in_variance


def _plain_one_hot(total: _Sum, near: _Near, sigma: Tensor, z: Tensor, lengths: Tensor, rows: Tensor) -> None:
    """Samples whose every draw has one responsible mean: sums over draws replace the draws."""
    v, r = total.variance, near.residual
    u, draws = v + sigma**2, z.shape[1]
    z_sum, z_square = z.sum(1), lengths.sum(1)
    cross = sigma * (r * z_sum).sum(1)
    near_square = r.square().sum(1)
    loss = (v**2 * z_square - 2 * v * cross + draws * sigma**2 * near_square) / u**2
    in_mean = (v * z_sum - (draws * sigma)[:, None] * r) * (2 * sigma / u**2)[:, None]
    in_variance = 2 * (v * z_square - cross) / u**2 - 2 * loss / u
    total.add_one_hot(near, loss * rows, in_mean * rows[:, None], in_variance * rows)


def _stein_one_hot(total: _Sum, near: _Near, sigmas: Tensor, rows: Tensor) -> None:
    """(sigma^2 |x0 - mu_b|^2 + s^4 d)/u^2, summed over the levels of each sample (rows (n,L)) that are one-hot."""
    v, u = total.variance, total.variance + sigmas**2
    constant, factor = v**2 * total.dimension / u**2, (sigmas / u) ** 2
    near_square, some = near.residual.square().sum(1), rows.to(u.dtype)
    factors = some @ factor
    loss = near_square * factors + some @ constant
    in_variance = some @ (2 * v * total.dimension / u**2 - 2 * constant / u)
    in_variance = in_variance - near_square * (some @ (2 * factor / u))
    total.add_one_hot(near, loss, near.residual * (-2 * factors)[:, None], in_variance)


@final
class _Sum:
    """Sums of losses and slopes over blocks."""

    def __init__(self, work: _Work) -> None:
        self.work, self.variance, self.dimension = work, work.variance, work.dimension
        self.loss = torch.zeros((), dtype=torch.float64, device=work.means.device)
        self.in_variance = torch.zeros_like(self.loss)
        self.in_means = torch.zeros_like(work.means)

    def add_one_hot(self, near: _Near, loss: Tensor, in_mean: Tensor, in_variance: Tensor) -> None:
        """Add sums per sample; the slope in m is the slope in the nearest mean."""
        self.loss += loss.double().sum()
        self.in_variance += in_variance.double().sum()
        self.in_means.index_add_(0, near.best, in_mean)

    def add(
        self,
        b: _Rows,
        loss: Tensor,
        in_mean: Tensor,
        in_all: Tensor | None,
        in_variance: Tensor,
        weight: float = 1.0,
    ) -> None:
        """Add a block, the slope carried back through the softmax: 4 products and 4 passes."""
        means, p = self.work.means, b.p
        back = in_mean @ means.T
        level = (in_mean * b.mean).sum(1)
        direct = in_mean
        if in_all is not None:
            # sum p_i |x0 - mu_i|^2 = least + sum p_i gap_i; the constant does not pass the softmax.
            back.addcmul_(b.gap, in_all[:, None])
            level = level + in_all * torch.linalg.vecdot(p, b.gap)
            direct = in_mean - 2 * in_all[:, None] * b.x0
        back.sub_(level[:, None]).mul_(p)  # d loss / d logits
        x = torch.addcmul(b.x0, b.sigma[:, None], b.z) / b.u[:, None]
        own = -((1 / b.u) @ back)
        if in_all is not None:
            own = own + 2 * (in_all @ p)
        slope = torch.addmm(p.T @ direct, back.T, x)
        self.in_means.add_(torch.addcmul(slope, own[:, None], means), alpha=weight)
        self.loss += loss.double().sum() * weight
        inner = in_variance - torch.linalg.vecdot(back, b.log_p) / b.u
        self.in_variance += inner.double().sum() * weight

    def slope(self, count: int) -> Slope:
        """Sums over `count` terms as means."""
        loss, in_variance = float(self.loss / count), float(self.in_variance / count)
        return Slope(loss, self.in_means / count, in_variance)
