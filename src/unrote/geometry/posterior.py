"""The posterior weight curve: how surely a noisy training point points back to one training point, level by level.

W(sigma) = (1/N) sum_b E max_i w_i(x_b + sigma Z), from 1 at small sigma (distinct points) to 1/N at large sigma.  The
thresholds of Theorem 4.2 that bound where it falls are in `thresholds`, the alignment of flow matching in `alignment`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from unrote import likelihoods
from unrote.contracts import InputError, Process, normal
from unrote.denoise.exact import posterior_curve, posterior_weights
from unrote.geometry.inputs import ascending, images

ROWS = 1024
"""Base points that draw their noise together; fixed, so that the memory does not change the numbers."""


@dataclass(frozen=True)
class WeightCurve:
    """Posterior weights along the levels, one row per level and one column per base point, averaged over draws.

    Args:
        levels: sigma, ascending (T,).
        maximum: mean over draws of the largest weight (T,n), float64.
        own: mean over draws of the weight of the base point itself (T,n), at most `maximum`.
        base: rows of the training set that were used, ascending (n,).
        size: number of training points N.
        draws: noises per base point.
    """

    levels: Float[Tensor, " T"]
    maximum: Float[Tensor, "T n"]
    own: Float[Tensor, "T n"]
    base: Int[Tensor, " n"]
    size: int
    draws: int


def weight_curve(
    x: Shaped[Tensor, "N ..."],
    levels: Float[Tensor, " T"],
    generator: torch.Generator,
    *,
    base: int | None = 1000,
    draws: int = 1,
    memory: int = likelihoods.DEFAULT_MEMORY,
) -> WeightCurve:
    """Largest and own posterior weight of noisy training points at every level, from one distance computation.

    w_i(y) = exp(-|y - x_i|^2 / 2 sigma^2) / sum_j exp(-|y - x_j|^2 / 2 sigma^2),  y = x_b + sigma z, with the same z
    at all levels, so that the curves of one point are smooth.

    Args:
        x: training events (N,*E), near-duplicates removed: a pair of them never gets more than 1/2 each.
        levels: ascending, in the units of the data (T,).
        generator: draws the base points, then their noise.
        base: how many training points are used, without replacement; None or N and more for all.
        draws: noises per base point.
        memory: bytes beyond the data and the curves.

    Raises:
        InputError: for fewer than 3 or only equal events, levels that are not positive and ascending, or a count
            below 1.

    Source: 001 Definition 4.1, and its self version.
    """
    data, sigma = images(x), ascending(levels)
    rows = base_rows(len(data), base, draws, generator)
    maximum = torch.zeros(len(sigma), len(rows), dtype=torch.float64, device=data.device)
    own = torch.zeros_like(maximum)
    for start in range(0, len(rows), ROWS):
        some = rows[start : start + ROWS].to(data.device)
        for part in torch.arange(draws).split(max(1, ROWS // len(some))):
            chosen = some.repeat(len(part))
            place = start + torch.arange(len(some), device=data.device).repeat(len(part))
            points = data[chosen]
            z = normal(points.shape, generator, dtype=points.dtype, device=points.device)
            for found in posterior_curve(data, points, z, sigma, memory=memory):
                at = place[found.rows]
                maximum[found.index].index_add_(0, at, found.maximum / draws)
                own[found.index].index_add_(0, at, found.of(chosen[found.rows]) / draws)
    return WeightCurve(sigma, maximum, own, rows, len(data), draws)


def process_weight_curve(
    process: Process,
    x: Shaped[Tensor, "N ..."],
    levels: Float[Tensor, " T"],
    generator: torch.Generator,
    *,
    base: int | None = 1000,
    draws: int = 1,
) -> WeightCurve:
    """`weight_curve` of any process that destroys data; every level draws anew and measures anew.

    Args:
        process: how data is destroyed.
        x: training events (N,*E).
        levels: ascending, in the units of the process (T,).
        generator: draws the base points, then the noise.
        base: how many training points are used; None or N and more for all.
        draws: noises per base point and level.

    Raises:
        InputError: as `weight_curve`.

    Source: 001 Definition 4.1 with the likelihood of the process.
    """
    sigma = ascending(levels)
    rows = base_rows(len(x), base, draws, generator)
    maximum = torch.zeros(len(sigma), len(rows), dtype=torch.float64, device=x.device)
    own = torch.zeros_like(maximum)
    for index, value in enumerate(sigma):
        for part in torch.arange(len(rows)).split(ROWS):
            chosen = rows[part]
            level = value.expand(len(chosen)).to(x.device)
            for _ in range(draws):
                noisy = process.noise(x[chosen], level, generator)
                weights = posterior_weights(process, noisy, x, level)
                maximum[index, part] += weights.amax(1) / draws
                own[index, part] += weights.gather(1, chosen[:, None])[:, 0] / draws
    return WeightCurve(sigma, maximum, own, rows, len(x), draws)


def base_rows(size: int, base: int | None, draws: int, generator: torch.Generator) -> Int[Tensor, " n"]:
    """Which rows of a data set are used: all, or so many of them at random, ascending.

    Raises:
        InputError: for a number of base points or of draws below 1.
    """
    if draws < 1 or (base is not None and base < 1):
        raise InputError(
            f"At least 1 base point and 1 noise for each are needed; {base} base points and {draws} draws were asked "
            "for."
        )
    if base is None or base >= size:
        return torch.arange(size)
    return torch.randperm(size, generator=generator, device=generator.device)[:base].sort().values.cpu()
