"""Training losses of 000's two surrogates on a data set, exactly at every level and for every model size at once.

For one order of the data the partially memorizing denoisers are nested: M grows by adding terms to one softmax.  So
all sizes together cost as much as the largest, N^2 d for each level.  Only the noise and the order are drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unrote.contracts import Denoiser, over
from unrote.theory.crossover import crossing
from unrote.theory.levels import Levels, Weighting, probabilities

BLOCK = 2**22
"""Numbers in one (rows, N) table."""


@dataclass(frozen=True)
class SurrogateLosses:
    """Mean losses over the samples of a data set, one row per repeat (a fresh order and fresh noise).

    Args:
        levels: at which losses were taken.
        sizes: M (S,), increasing.
        generalising: (R,L).
        partial: (R,L,S); at M = N it is the memorizing loss.
    """

    levels: Levels
    sizes: Int[Tensor, " S"]
    generalising: Float[Tensor, "R L"]
    partial: Float[Tensor, "R L S"]

    def crossover(self, weighting: Weighting) -> float | None:
        """M* in this weighting, from the mean over repeats; as `crossover.crossing`."""
        partial = self.levels.mean(self.partial.mean(0).T, weighting)
        return crossing(self.sizes, partial, float(self.levels.mean(self.generalising.mean(0), weighting)))


def surrogate_losses(
    x: Float[Tensor, "N D"],
    truth: Denoiser,
    levels: Levels,
    sizes: Int[Tensor, " S"],
    generator: torch.Generator,
    repeats: int = 1,
    rows: int | None = None,
) -> SurrogateLosses:
    """Losses of the true mixture's denoiser and of those that have memorized the first M samples of a random order.

    Args:
        x: training data (N,D).
        truth: E[x0 | x] of the true distribution, with any covariance: `isotropic_denoiser` or `denoise.mixture`'s.
        levels: noise levels; their masses serve `SurrogateLosses.crossover`.
        sizes: M (S,), increasing, from 1 to N.
        generator: draws the order and the noise.
        repeats: how many orders and noises.
        rows: over how many samples, chosen at random, losses are averaged; all of them by default.

    Source: 000 equations (10), (11) and (13).
    """
    count = len(x)
    if len(sizes) == 0 or int(sizes[0]) < 1 or int(sizes[-1]) > count or bool((sizes.diff() <= 0).any()):
        raise ValueError(f"model sizes must increase from 1 or more to at most N = {count}")
    if rows is not None and not 1 <= rows <= count:
        raise ValueError(f"losses can be averaged over 1 to {count} samples, got {rows}")
    used = count if rows is None else rows
    x = x.double()
    partial = torch.zeros(repeats, len(levels.sigma), len(sizes), dtype=torch.float64)
    generalising = torch.zeros(repeats, len(levels.sigma), dtype=torch.float64)
    for repeat in range(repeats):
        data = x[torch.randperm(count, generator=generator)]
        chosen = torch.randperm(count, generator=generator)[:used]
        z = torch.randn(used, x.shape[1], dtype=torch.float64, generator=generator)
        for part in torch.arange(used).split(max(1, BLOCK // count)):
            at, noise = data[chosen[part]], z[part]
            logits = _Logits(at, noise, data)
            for level, sigma in enumerate(levels.sigma.tolist()):
                partial[repeat, level] += _nested(logits.at(sigma), data, at, sizes) / used
                guess = truth(at + sigma * noise, torch.full((len(at),), sigma, dtype=torch.float64))
                generalising[repeat, level] += (guess - at).square().sum() / used
    return SurrogateLosses(levels, sizes, generalising, partial)


def isotropic_denoiser(means: Float[Tensor, "K D"], spread: float, weights: Float[Tensor, " K"]) -> Denoiser:
    """E[x0 | x] of a mixture with covariances sigma*^2 I: (s x + sigma^2 sum_k p_k mu_k) / (s + sigma^2), s = sigma*^2.

    p is the softmax of log w_k - |x - mu_k|^2 / (2 (s + sigma^2)).

    Args:
        means: (K,D).
        spread: sigma*^2.
        weights: (K,), summing to one.

    Source: 000 equations (11) and (12), in x = x0 + sigma z.
    """
    mu, w = means.double(), probabilities(weights)

    def denoise(x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        if condition is not None:
            raise ValueError("the mixture has no condition")
        level = over(sigma.double(), x) ** 2
        v = spread + level
        p = torch.softmax(torch.log(w) + (x.double() @ mu.T - mu.square().sum(1) / 2) / v, 1)
        return (spread * x.double() + level * (p @ mu)) / v

    return denoise


def memorizing_loss(
    x: Float[Tensor, "N D"], levels: Levels, generator: torch.Generator, repeats: int = 1
) -> Float[Tensor, "R L"]:
    """Loss of the denoiser that has memorized everything: what 000 takes to be zero; about 0 for t <= 0.6 at d = 50.

    Args:
        x: training data (N,D).
        levels: noise levels.
        generator: draws the noise.
        repeats: how often.

    Returns:
        Means over the samples, one row per repeat (R,L).

    Source: 000 equations (7) and (13).
    """
    x = x.double()
    every = torch.tensor([len(x)])
    out = torch.zeros(repeats, len(levels.sigma), dtype=torch.float64)
    for repeat in range(repeats):
        z = torch.randn(*x.shape, dtype=torch.float64, generator=generator)
        for part in torch.arange(len(x)).split(max(1, BLOCK // len(x))):
            logits = _Logits(x[part], z[part], x)
            for level, sigma in enumerate(levels.sigma.tolist()):
                out[repeat, level] += float(_nested(logits.at(sigma), x, x[part], every)) / len(x)
    return out


def nearest_kept(x: Float[Tensor, "N D"], kept: Int[Tensor, " M"]) -> Float[Tensor, " N"]:
    """Squared distance from every sample to the nearest of the kept ones, 0 for those: the small-noise partial loss.

    Its mean matches the partial excess within 0.5 % at every small level.

    Args:
        x: training data (N,D).
        kept: rows that are memorized (M,).
    """
    if not len(kept):
        raise ValueError("at least one sample must be kept")
    x = x.double()
    return torch.cat(
        [torch.cdist(part, x[kept]).square().min(1).values for part in x.split(1024)]
    ).index_fill(0, kept, 0.0)


def expected_nearest_kept(x: Float[Tensor, "N D"], sizes: Int[Tensor, " S"]) -> Float[Tensor, "N S"]:
    """The same, averaged exactly over all sets of M kept samples: no subset is drawn.

    (1 - M/N) sum_r p_r d_(r)^2 with d_(0) <= d_(1) <= ... the distances to the N - 1 others, and the probability
    p_r = C(N - 2 - r, M - 1) / C(N - 1, M) that none of the r nearest was kept and the next one was.

    Args:
        x: training data (N,D).
        sizes: M (S,), from 1 to N.

    Returns:
        One value per sample and size (N,S), float64.
    """
    count = len(x)
    if bool(((sizes < 1) | (sizes > count)).any()):
        raise ValueError(f"model sizes must lie between 1 and N = {count}")
    if count == 1:
        return torch.zeros(1, len(sizes), dtype=torch.float64)
    x = x.double() - x.double().mean(0)
    size = sizes.double()[:, None].clamp(max=count - 1)
    rank = torch.arange(count - 2, dtype=torch.float64)
    passed = ((count - 1 - size - rank) / (count - 1 - rank)).clamp(min=0)  # the next one was not kept either
    chance = torch.cat([torch.ones(len(sizes), 1, dtype=torch.float64), passed.cumprod(1)], 1)
    left = count - 1 - torch.arange(count - 1, dtype=torch.float64)
    chance = chance * (size / left).clamp(max=1) * (1 - sizes.double()[:, None] / count)
    out = torch.empty(count, len(sizes), dtype=torch.float64)
    norms = x.square().sum(1)
    for part in torch.arange(count).split(max(1, BLOCK // count)):
        square = (norms[part, None] + norms - 2 * x[part] @ x.T).clamp(min=0)
        square[torch.arange(len(part)), part] = math.inf
        out[part] = square.sort(1).values[:, :-1] @ chance.T
    return out


class _Logits:
    """-|x_i + sigma z_i - x_j|^2 / (2 sigma^2) + |z_i|^2 / 2, from differences that do not depend on sigma."""

    def __init__(self, x: Tensor, z: Tensor, data: Tensor) -> None:
        self.square = torch.cdist(x, data, compute_mode="donot_use_mm_for_euclid_dist").square()
        self.along = (z * x).sum(1, keepdim=True) - z @ data.T

    def at(self, sigma: float) -> Tensor:
        return -(self.square + 2 * sigma * self.along) / (2 * sigma**2)


def _nested(logits: Tensor, data: Tensor, target: Tensor, sizes: Tensor) -> Tensor:
    """Summed squared errors of the softmaxes over the first M columns, for every M: (B,N), (N,D), (B,D) -> (S,)."""
    total = torch.zeros_like(target)
    weight = torch.zeros(len(target), dtype=torch.float64)
    top = torch.full((len(target),), -math.inf, dtype=torch.float64)
    out = torch.empty(len(sizes), dtype=torch.float64)
    start = 0
    for s, size in enumerate(sizes.tolist()):
        part = logits[:, start:size]
        raised = torch.maximum(top, part.max(1).values)
        shrink, p = torch.exp(top - raised), torch.exp(part - raised[:, None])
        total = total * shrink[:, None] + p @ data[start:size]
        weight, top, start = weight * shrink + p.sum(1), raised, size
        out[s] = (total / weight[:, None] - target).square().sum()
    return out
