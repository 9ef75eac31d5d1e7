"""The Frechet distance between two sets of features, with its bias, its interval and a real baseline beside it.

Published values (FID, FD) are the *squared* Frechet distance between two normal distributions with the sample
means and covariances.  Even for two samples of one distribution it is not 0, but about 1/n: a number says
something only beside the one that real data of the same size get, and two numbers compare only at one n.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from unrote.contracts import Estimate, InputError
from unrote.measure.estimate import student_quantile

GROUPS = 20
"""Parts that the jackknife leaves out in turn."""

_BLOCK = 2048


@dataclass(frozen=True)
class Moments:
    """Mean and covariance of features.

    Args:
        mean: (F,), float64.
        covariance: (F, F), with n - 1 below the line, float64.
        n: how many samples.
    """

    mean: Float[Tensor, " F"]
    covariance: Float[Tensor, "F F"]
    n: int


@dataclass(frozen=True)
class Frechet:
    """A squared Frechet distance between two sets of equal size.

    Args:
        at_n: as published, from n samples on each side; biased upwards.
        distance: without the part of the bias that falls like 1/n, with its interval.
        n: samples on each side.
    """

    at_n: float
    distance: Estimate
    n: int


@dataclass(frozen=True)
class Fidelity:
    """Generated against real, and real against real with the same number of samples.

    Args:
        generated: generated against real.
        baseline: other real data against the same real data.
        n: samples on each side of both.
    """

    generated: Frechet
    baseline: Frechet
    n: int


def moments(x: Shaped[Tensor, "N F"]) -> Moments:
    """Mean and covariance in float64, block by block; memory 2 F^2 numbers beyond the data.

    Raises:
        InputError: for fewer than 2 samples, NaN or infinity.
    """
    return _Sums.of(x).moments()


def gaussian_frechet(first: Moments, second: Moments) -> float:
    """The squared Frechet distance between two normal distributions.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1^1/2 C2 C1^1/2)^1/2), where the last trace is the sum of the singular values
    of C1^1/2 C2^1/2.  Both roots come from symmetric eigendecompositions in which eigenvalues below rounding
    (F eps times the largest) are 0, so that singular covariances, as of constant pixels or of fewer samples than
    features, need no offset on the diagonal and give no imaginary parts.  Never negative.

    Args:
        first, second: moments of features of one dimension.

    Raises:
        ValueError: for different dimensions.

    Source: Dowson and Landau 1982; Heusel and others, "GANs trained by a two time-scale update rule", 2017.
    """
    if first.mean.shape != second.mean.shape:
        raise ValueError(f"features of {len(first.mean)} and {len(second.mean)} dimensions have no distance")
    common = torch.linalg.svdvals(_root(first.covariance) @ _root(second.covariance)).sum()
    spread = first.covariance.trace() + second.covariance.trace() - 2 * common
    return max(0.0, float((first.mean - second.mean).square().sum() + spread))


def frechet(
    first: Shaped[Tensor, "n F"],
    second: Shaped[Tensor, "m _"],
    generator: torch.Generator,
    *,
    groups: int = GROUPS,
    confidence: float = 0.95,
) -> Frechet:
    """The squared Frechet distance between two sets of equal size, and what the jackknife makes of it.

    Both sets are cut into G random parts; d_g is the distance without part g on both sides.  Then
    distance = G d - (G - 1) mean d_g  has no bias of order 1/n, and its variance is (G - 1)/G sum (d_g - mean)^2,
    with Student's quantile of G - 1 degrees.  The plain bootstrap would not do: drawing rows twice adds the bias
    a second time, and its interval lies above the truth.  The interval is cut at 0.

    For two equal distributions the distance is 0, where it has no slope; the variance is then too large and the
    interval covers more often than it says.  What the jackknife leaves of the bias is of order (F/n)^2.

    Args:
        first, second: features, equally many rows; draw them at random where one set is larger.
        generator: cuts the sets into parts.
        groups: how many parts; each costs two eigendecompositions of F x F matrices.
        confidence: of the interval.

    Raises:
        InputError: for sets of different size or dimension, fewer than 2 F samples, NaN or infinity.
        ValueError: for fewer than 2 groups.

    Source: as `gaussian_frechet`; jackknife: Quenouille 1956, Tukey 1958; the bias: Binkowski and others,
    "Demystifying MMD GANs", 2018, and Chong and Forsyth, "Effectively unbiased FID", 2020, who extrapolate to
    infinitely many samples along a line in 1/n, as this does with two points.
    """
    _check(first, second)
    if groups < 2:
        raise ValueError(f"a jackknife needs at least 2 groups, got {groups}")
    n = len(first)
    groups = min(groups, n // 2)
    order = [torch.randperm(n, generator=generator, device=generator.device) for _ in range(2)]
    parts = [x.to(first.device).tensor_split(groups) for x in order]
    whole = _Sums.of(first), _Sums.of(second)
    at_n = gaussian_frechet(whole[0].moments(), whole[1].moments())
    left_out = [
        gaussian_frechet(whole[0].without(first[a]).moments(), whole[1].without(second[b]).moments())
        for a, b in zip(*parts, strict=True)
    ]
    found = torch.tensor(left_out, dtype=torch.float64)
    value = groups * at_n - (groups - 1) * float(found.mean())
    deviation = ((groups - 1) * float(found.var(correction=0))) ** 0.5
    half = student_quantile(groups - 1, confidence) * deviation
    return Frechet(at_n, Estimate(max(0.0, value), max(0.0, value - half), max(0.0, value + half), n), n)


def fidelity(
    generated: Shaped[Tensor, "n F"],
    real: Shaped[Tensor, "N _"],
    generator: torch.Generator,
    other_real: Shaped[Tensor, "M _"] | None = None,
    *,
    groups: int = GROUPS,
    confidence: float = 0.95,
) -> Fidelity:
    """Generated against real, beside real against real, all with the same number of samples.

    n is the size of the smallest set; of larger ones n rows are drawn at random, and n is in the result.

    Args:
        generated: features of the samples (n, F).
        real: features of real data (N, F).
        generator: draws rows and parts.
        other_real: features of real data that are not in `real`, such as a held-out set; without them `real` is
            cut into two halves, one for the reference and one for the baseline, and n is at most N/2.
        groups, confidence: as for `frechet`.

    Raises:
        InputError: as for `frechet`.

    Source: as `frechet`.
    """
    if other_real is None:
        order = torch.randperm(len(real), generator=generator, device=generator.device).to(real.device)
        real, other_real = real[order[0::2]], real[order[1::2]]
    n = min(len(generated), len(real), len(other_real))
    sets = []
    for x in (generated, real, other_real):
        rows = torch.randperm(len(x), generator=generator, device=generator.device)[:n]
        sets.append(x if len(x) == n else x[rows.to(x.device)])
    return Fidelity(
        frechet(sets[0], sets[1], generator, groups=groups, confidence=confidence),
        frechet(sets[2], sets[1], generator, groups=groups, confidence=confidence),
        n,
    )


def _check(first: Tensor, second: Tensor) -> None:
    (n, dimension), (m, other) = first.shape, second.shape
    if dimension != other:
        raise InputError(
            f"The features have {dimension} numbers in one set and {other} in the other; both need the same kind."
        )
    if n != m:
        raise InputError(
            f"The Frechet distance depends on the number of samples, so both sides need as many, and there are {n} "
            f"and {m}; draw {min(n, m)} at random of the larger set."
        )
    if n < 2 * dimension:
        raise InputError(
            f"{n} samples on each side cannot determine the covariance of {dimension} features: below "
            f"{2 * dimension} samples (2 for each feature) the Frechet distance is mostly bias. Give at least "
            f"{2 * dimension} samples, or fewer features, such as principal components of which there are at most "
            f"{n // 2}; pixels are rarely few enough."
        )


def _root(covariance: Tensor) -> Tensor:
    value, vector = torch.linalg.eigh((covariance + covariance.T) / 2)
    noise = len(value) * torch.finfo(value.dtype).eps * float(value.abs().max())
    value = torch.where(value > noise, value, torch.zeros_like(value))
    return (vector * value.sqrt()) @ vector.T


@dataclass(frozen=True)
class _Sums:
    """Sums that parts can be taken out of, about a common origin so that little is lost."""

    n: int
    origin: Tensor
    first: Tensor
    second: Tensor

    @classmethod
    def of(cls, x: Tensor, origin: Tensor | None = None) -> _Sums:
        """Sums about an origin, by default the mean."""
        if origin is None:
            origin = torch.zeros(x.shape[1], dtype=torch.float64, device=x.device)
            for block in x.split(_BLOCK):
                origin += block.double().sum(0)
            origin /= max(1, len(x))
        first = torch.zeros_like(origin)
        second = torch.zeros(len(origin), len(origin), dtype=torch.float64, device=x.device)
        for block in x.split(_BLOCK):
            y = block.double() - origin
            first += y.sum(0)
            second.addmm_(y.T, y)
        if not torch.isfinite(second).all():
            raise InputError(
                "The features hold NaN or infinite numbers; the Frechet distance needs finite ones; remove or repair "
                "the rows for which torch.isfinite is false."
            )
        return cls(len(x), origin, first, second)

    def without(self, rows: Tensor) -> _Sums:
        """The sums of all but some rows."""
        part = _Sums.of(rows, self.origin)
        return _Sums(self.n - part.n, self.origin, self.first - part.first, self.second - part.second)

    def moments(self) -> Moments:
        """Mean and covariance from the sums."""
        if self.n < 2:
            raise InputError(
                f"A covariance needs at least 2 samples, and there are {self.n}; give more samples."
            )
        shift = self.first / self.n
        covariance = (self.second - self.n * torch.outer(shift, shift)) / (self.n - 1)
        return Moments(self.origin + shift, covariance, self.n)
