"""Where the curves of posterior weight and coverage meet: three regimes, the danger zone, and what to do about it.

At small noise a noisy test point is in no training point's shell; at large noise no training point owns a noisy one.
Between them both happen, and there a network can learn to copy.  The rule is the same for all data: means of both
curves, made monotone, interpolated linearly in log sigma.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from unrote.contracts import Estimate, InputError
from unrote.geometry.crossings import (
    Samples,
    apart,
    ends,
    interval,
    meeting,
    resampled_means,
    rising,
    used_height,
)
from unrote.geometry.inputs import ascending
from unrote.geometry.overlap import Shell, two_shell
from unrote.geometry.thresholds import weight_low
from unrote.measure.estimate import normal_quantile

FEW = 100
"""Below so many training points the floor 1/N of the posterior weight is taken off."""


@dataclass(frozen=True)
class Zone:
    """An interval of noise levels.

    Args:
        low, high: sigma, in the units of the data.
    """

    low: float
    high: float


@dataclass(frozen=True)
class Regimes:
    """Regimes of noise levels and the danger zone, each end with its interval; a value is None for a reason.

    Args:
        levels: the grid (T,).
        weight: monotone mean posterior weight (T,), rescaled where there are fewer than 100 training points.
        covered: monotone mean coverage (T,).
        crossing: the level at which the smaller of both is largest.
        height: its value there.
        asked: the level p of the danger zone that was asked for.
        level: the level that was used: `asked`, or 0.95 of the crossing's height where that is lower.
        danger_low, danger_high: ends of the danger zone: coverage at least p and weight at least p.
        small_below: below this level noisy test points are mostly outside all shells.
        large_above: above this level no training point owns a noisy one.
        reasons: why a value is None, by the name of its field.
        rescaled: whether the weight is (W - 1/N) / (1 - 1/N).
        samples: curves drawn anew by the bootstrap, for other zones (see `zone_at`).
    """

    levels: Float[Tensor, " T"]
    weight: Float[Tensor, " T"]
    covered: Float[Tensor, " T"]
    crossing: Estimate
    height: Estimate
    asked: float
    level: float | None
    danger_low: Estimate
    danger_high: Estimate
    small_below: Estimate
    large_above: Estimate
    reasons: Mapping[str, str]
    rescaled: bool
    samples: Samples

    @property
    def danger(self) -> Zone | None:
        """The danger zone, or None if an end is not known."""
        return zone_of(self.danger_low, self.danger_high)

    @property
    def medium(self) -> Zone | None:
        """What lies between the calm ends, or None if an end is not known."""
        return zone_of(self.small_below, self.large_above)


def regimes(
    levels: Float[Tensor, " T"],
    weight: Float[Tensor, "T n"],
    covered: Float[Tensor, "T q"],
    *,
    count: int,
    generator: torch.Generator,
    p: float = 0.95,
    small: float = 0.05,
    large: float = 0.05,
    repeats: int = 200,
    confidence: float = 0.95,
) -> Regimes:
    """Regimes and danger zone from both curves, with bootstrap intervals over base and test points.

    sigma_C(p) = inf {sigma : Cov >= p},  sigma_W(p) = sup {sigma : W >= p} of the isotonic projections of both means,
    linear in log sigma between levels.  Danger zone [sigma_C(p), sigma_W(p)]; small noise below sigma_C(small), large
    noise above sigma_W(large); crossing argmax min(W, Cov).  For N < 100 the weight is (W - 1/N) / (1 - 1/N).

    The intervals tell how well these points determine the curves of this training set; another training set differs
    by more, in the example of docs/geometry.md by twice as much.

    Args:
        levels: sigma, ascending, best 12 or more per factor e (T,).
        weight: posterior weight of each base point (T,n), see `WeightCurve.maximum`.
        covered: coverage of each test point (T,q), see `coverage`.
        count: number of training points N.
        generator: draws points with replacement.
        p: level of the danger zone; above 0.99 coverage may never reach it.
        small, large: levels of the calm ends.
        repeats: bootstrap samples.
        confidence: of the intervals.

    Raises:
        InputError: for levels that are not positive and ascending, thresholds outside (0, 1), or fewer than 3 points.
        ValueError: for curves that do not fit the levels.

    Source: the thresholds are this program's; the regimes are 001 section 4.  Isotonic projection: Barlow and others,
    "Statistical inference under order restrictions", 1972.  Intervals: Efron 1979.
    """
    sigma = ascending(levels)
    _check(sigma, weight, covered, count, (p, small, large), confidence)
    shift = 1 / count if count < FEW else 0.0
    samples = Samples(
        sigma.log(),
        1 - rising(1 - (resampled_means(weight, repeats, generator) - shift) / (1 - shift)),
        rising(resampled_means(covered, repeats, generator)),
        (weight.shape[1], covered.shape[1]),
        confidence,
    )
    at, height = meeting(samples)
    reasons: dict[str, str] = {}
    fewest = min(samples.points)
    crossing = interval(at, fewest, confidence)
    value = interval(height, fewest, confidence)
    if crossing.value is None:
        reasons["crossing"] = reasons["height"] = reasons["level"] = apart(samples, sigma)
        value = Estimate(None, None, None, fewest)
    used = used_height(p, height)
    low, high, why = ends(samples, used if crossing.value is not None else torch.full_like(used, p))
    reasons |= {f"danger_{key}": text for key, text in why.items()}
    below, _, why = ends(samples, torch.full_like(used, small))
    reasons |= {"small_below": why["low"]} if "low" in why else {}
    _, above, why = ends(samples, torch.full_like(used, large))
    reasons |= {"large_above": why["high"]} if "high" in why else {}
    return Regimes(
        sigma,
        samples.weight[:, 0],
        samples.covered[:, 0],
        crossing,
        value,
        p,
        float(used[0]) if crossing.value is not None else None,
        low,
        high,
        below,
        above,
        reasons,
        shift > 0,
        samples,
    )


def zone_at(found: Regimes, p: float) -> tuple[Estimate, Estimate, float, Mapping[str, str]]:
    """The zone of another level: its ends, the level that was used (0.95 of a lower crossing), and reasons.

    Args:
        found: what `regimes` returned.
        p: the level, between 0 and 1.

    Raises:
        InputError: for a level outside (0, 1).
    """
    check_shares(p)
    _, height = meeting(found.samples)
    used = used_height(p, height) if found.crossing.value is not None else torch.full_like(height, p)
    low, high, why = ends(found.samples, used)
    return low, high, float(used[0]), why


def zone_without_noise(
    nearest: Float[Tensor, " Q"],
    distances: Float[Tensor, "B M"],
    shell: Shell,
    p: float = 0.95,
    epsilon: float = 0.05,
) -> Zone | None:
    """A conservative part of the danger zone from distances alone, without drawing noise; None where it is empty.

    From the level at which E c(D_NN / sigma) = p, which bounds coverage from below, to the mean of the levels up to
    which a training point keeps weight p with probability 1 - epsilon.

    Args:
        nearest: distance of each test point to its nearest training point (Q,).
        distances: from some training points to all others (B,M), M = N - 1.
        shell: whose dimension is that of the data.
        p: level of the zone, below `shell.probability`.
        epsilon: probability of failure of the upper end.

    Raises:
        InputError: for a level outside (1/N, 1), or above what one shell holds.

    Source: 001 Theorems 4.2 and 4.8 in their sharper forms.
    """
    if not p < shell.probability:
        raise InputError(
            f"One shell holds {shell.probability:.4g} of the noise, so that coverage of {p:g} is not certain at any "
            "level; use a lower one."
        )
    high = float(weight_low(distances, p, epsilon).every.mean())
    wide = nearest.double()
    top = float(wide.max())
    below, above = 1e-6 * top / shell.outer, 1e6 * top
    for _ in range(60):
        middle = (below * above) ** 0.5
        enough = float(two_shell(wide / middle, shell).mean()) >= p
        below, above = (below, middle) if enough else (middle, above)
    return Zone(above, high) if top > 0 and above <= high else None


@runtime_checkable
class Law(Protocol):
    """A law of training levels."""

    def probability(self, low: float, high: float) -> float:
        """The share of training updates whose level lies in (low, high]."""
        ...


def share_removed(zone: Zone, law: Law) -> float:
    """The share of training updates that a gap over a zone removes.

    Args:
        zone: levels that are left out.
        law: of training levels, for example EDM's.

    Raises:
        InputError: for a zone that removes everything.
    """
    share = law.probability(zone.low, zone.high)
    if share >= 1 - 1e-9:
        raise InputError(
            f"A gap from {zone.low:g} to {zone.high:g} removes every level of this training law; nothing would be left "
            "to learn from. Choose a narrower zone or a wider law."
        )
    return share


def zone_of(low: Estimate, high: Estimate) -> Zone | None:
    """The interval of two ends, or None if one is not known or they are in the wrong order."""
    if low.value is None or high.value is None or low.value > high.value:
        return None
    return Zone(low.value, high.value)


def _check(
    sigma: Tensor,
    weight: Tensor,
    covered: Tensor,
    count: int,
    shares: tuple[float, float, float],
    confidence: float,
) -> None:
    normal_quantile(confidence)
    check_shares(*shares)
    if weight.shape[0] != len(sigma) or covered.shape[0] != len(sigma) or len(sigma) < 2:
        raise ValueError(
            f"curves need one row for each of 2 or more levels; got {len(sigma)} levels, {tuple(weight.shape)} and "
            f"{tuple(covered.shape)}"
        )
    if min(count, weight.shape[1], covered.shape[1]) < 3:
        raise InputError(
            f"Regimes need at least 3 training, base and test points; got {count}, {weight.shape[1]} and "
            f"{covered.shape[1]}."
        )


def check_shares(*shares: float) -> None:
    """Refuse thresholds of the curves that are no shares.

    Raises:
        InputError: outside (0, 1).
    """
    if not all(0 < share < 1 for share in shares):
        raise InputError(
            f"Levels of the curves must lie between 0 and 1, got {', '.join(f'{s:g}' for s in shares)}."
        )
