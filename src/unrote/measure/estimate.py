"""Intervals: a number is reported only together with the interval that it stands in.

`Estimate.n` is always the number of independent observations, 0 where there were none; then nothing is known
and the interval is as wide as it can be.  All intervals are two-sided.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from unrote.contracts import Estimate, InputError


def estimate(values: Shaped[Tensor, " n"], confidence: float = 0.95) -> Estimate:
    """The mean of independent values: Wilson's interval for decisions, Student's for measurements.

    mean +- t_{n-1} s / sqrt(n) with s^2 = sum (v - mean)^2 / (n - 1); for n = 1 the ends are None.

    Args:
        values: one value per sample (n,), boolean or floating point.
        confidence: between 0 and 1.

    Raises:
        InputError: for a confidence outside (0, 1).
        ValueError: for values of another type, or NaN and infinity.

    Source: Wilson 1927; Student 1908.
    """
    n = len(values)
    if values.dtype == torch.bool:
        return wilson(int(values.sum()), n, confidence)
    if not values.is_floating_point():
        raise ValueError(f"values must be boolean decisions or floating point, got {values.dtype}")
    quantile = _student(n - 1, confidence) if n > 1 else _normal(confidence)
    if n == 0:
        return Estimate(None, None, None, 0)
    if not torch.isfinite(values).all():
        raise ValueError("values must be finite; a metric that is undefined for a sample has no mean")
    mean = float(values.double().mean())
    if n == 1:
        return Estimate(mean, None, None, 1)
    half = quantile * float(values.double().std()) / math.sqrt(n)
    return Estimate(mean, mean - half, mean + half, n)


def wilson(successes: int, n: int, confidence: float = 0.95) -> Estimate:
    """A proportion with Wilson's score interval.

    (p + z^2/2n +- z sqrt(p (1 - p)/n + z^2/4n^2)) / (1 + z^2/n), p = k/n: all rates that a score test keeps.
    Zero successes give the upper bound z^2 / (n + z^2).

    Args:
        successes: k, between 0 and n.
        n: independent trials; for 0 the interval is [0, 1] and the value None.
        confidence: between 0 and 1.

    Raises:
        InputError: for a confidence outside (0, 1).
        ValueError: unless 0 <= k <= n.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    z = _normal(confidence)
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes among {n} trials are impossible")
    if n == 0:
        return Estimate(None, 0.0, 1.0, 0)
    p, share = successes / n, z * z / n
    centre, half = p + share / 2, z * math.sqrt(p * (1 - p) / n + share / (4 * n))
    low = 0.0 if successes == 0 else (centre - half) / (1 + share)
    high = 1.0 if successes == n else (centre + half) / (1 + share)
    return Estimate(p, low, high, n)


def newcombe(k1: int, n1: int, k2: int, n2: int, confidence: float = 0.95) -> Estimate:
    """The difference of two independent proportions k1/n1 - k2/n2, from Wilson's intervals of both.

    low  = p1 - p2 - sqrt((p1 - l1)^2 + (u2 - p2)^2),
    high = p1 - p2 + sqrt((u1 - p1)^2 + (p2 - l2)^2),  n = n1 + n2.

    Raises:
        InputError: for a confidence outside (0, 1).
        ValueError: unless 0 <= k <= n in both.

    Source: Newcombe, "Interval estimation for the difference between independent proportions", 1998,
    method 10 (hybrid score).
    """
    first, second = wilson(k1, n1, confidence), wilson(k2, n2, confidence)
    if first.value is None or second.value is None:
        return Estimate(None, -1.0, 1.0, n1 + n2)
    assert first.low is not None and first.high is not None
    assert second.low is not None and second.high is not None
    difference = first.value - second.value
    below = math.hypot(first.value - first.low, second.high - second.value)
    above = math.hypot(first.high - first.value, second.value - second.low)
    return Estimate(difference, max(-1.0, difference - below), min(1.0, difference + above), n1 + n2)


def samples_to_bound(rate: float, confidence: float = 0.95) -> int:
    """How many samples without a single copy make Wilson's upper bound at most `rate`.

    The least n with z^2 / (n + z^2) <= rate, that is ceil(z^2 (1 - rate) / rate).

    Args:
        rate: the copy ratio to exclude, between 0 and 1.
        confidence: between 0 and 1.

    Raises:
        InputError: for a rate or a confidence outside (0, 1).
    """
    if not 0 < rate < 1:
        raise InputError(f"The rate to exclude is {rate}; it must lie between 0 and 1, for example 0.001.")
    z = _normal(confidence)
    return math.ceil(z * z * (1 - rate) / rate - 1e-9)


def bootstrap(
    values: Shaped[Tensor, "n ..."],
    statistic: Callable[[Tensor], Tensor | float],
    generator: torch.Generator,
    repeats: int = 2000,
    confidence: float = 0.95,
) -> Estimate:
    """Any statistic of independent rows, with the percentile bootstrap interval.

    The ends are the (1 -+ confidence)/2 quantiles of statistic(rows drawn with replacement).  It suits smooth
    statistics (means, quantiles, distances between distributions); for counts of distinct things it is biased
    downwards, see `distinct`.

    Args:
        values: one row per observation (n, ...).
        statistic: rows -> one number.
        generator: draws the rows.
        repeats: how many sets of rows are drawn.
        confidence: between 0 and 1.

    Raises:
        InputError: for a confidence outside (0, 1).

    Source: Efron, "Bootstrap methods: another look at the jackknife", 1979.
    """
    _normal(confidence)
    n = len(values)
    if n == 0:
        return Estimate(None, None, None, 0)
    drawn = torch.empty(repeats, dtype=torch.float64)
    for repeat in range(repeats):
        rows = torch.randint(n, (n,), generator=generator, device=generator.device).to(values.device)
        drawn[repeat] = float(statistic(values[rows]))
    low, high = _quantiles(drawn, confidence)
    return Estimate(float(statistic(values)), low, high, n)


def chao1(counts: Int[Tensor, " K"], n: int, confidence: float = 0.95) -> Estimate:
    """How many classes would be seen with ever more samples: a lower bound from the rarest that were seen.

    S + A f1 (f1 - 1) / (2 (f2 + 1)),  A = (n - 1)/n,  f_k = number of classes seen k times,  S = those seen.
    The expectation of f1^2 / 2 f2 is at most the number of unseen classes (Cauchy-Schwarz), with equality if
    all rare classes are equally likely; the bias-corrected form needs no f2 > 0.  With T unseen and variance V,
    the interval is [S + T/C, S + T C] with C = exp(z sqrt(log(1 + V/T^2))), which never falls below S.
    A sample may also show no class at all (no copy), which is why n is not the sum of the counts.

    Args:
        counts: how often each class was seen (K,); zeros are ignored.
        n: number of samples, at least the sum of the counts.
        confidence: between 0 and 1.

    Returns:
        The estimated number of classes; with no class seen, nothing is known of it and `high` is None.

    Raises:
        InputError: for a confidence outside (0, 1).
        ValueError: for negative counts, or more counts than samples.

    Source: Chao 1984 (estimator), 1987 (interval); the bias-corrected form and its variance as in
    Chao, "Species estimation and applications", 2005; where nothing hints at unseen classes, as in Chao and
    others, SpadeR, 2016.
    """
    z = _normal(confidence)
    counts = _checked(counts, n)
    seen = len(counts)
    if seen == 0:
        return Estimate(0.0, 0.0, None, n)
    unseen, variance = _unseen(counts, n)
    if unseen == 0:
        return _complete(counts, n, z)
    spread = math.exp(z * math.sqrt(math.log1p(variance / unseen**2)))
    return Estimate(seen + unseen, seen + unseen / spread, seen + unseen * spread, n)


def distinct(
    counts: Int[Tensor, " K"],
    n: int,
    generator: torch.Generator,
    repeats: int = 2000,
    confidence: float = 0.95,
) -> Estimate:
    """How many classes n samples are expected to show, with a bootstrap interval over samples.

    Drawing the samples themselves again would show fewer classes each time (a class that was seen once is
    missed with probability 1/e), so new samples are drawn from the estimated distribution: the frequencies
    of the seen classes, shrunk by the share that Good and Turing give to the unseen, and Chao's number of
    unseen classes sharing that share.  The quantiles are centred on the number seen.

    Args:
        counts: how often each class was seen (K,); zeros are ignored.
        n: number of samples, at least the sum of the counts; the others showed no class.
        generator: draws the samples.
        repeats: how many times.
        confidence: between 0 and 1.

    Raises:
        InputError: for a confidence outside (0, 1).
        ValueError: for negative counts, or more counts than samples.

    Source: Chao and others, "Rarefaction and extrapolation with Hill numbers", 2014, appendix G (bootstrap);
    Good 1953 (coverage).  Deviation: with no class seen the upper end is n times Wilson's bound, because one
    sample shows one class at most.
    """
    z = _normal(confidence)
    counts = _checked(counts, n)
    seen = len(counts)
    if seen == 0:
        return Estimate(0.0 if n else None, 0.0, n * z * z / (n + z * z) if n else None, n)
    community = _Community.of(counts, n)
    found = torch.tensor([community.draw(generator) for _ in range(repeats)], dtype=torch.float64)
    low, high = _quantiles(found - found.mean() + seen, confidence)
    return Estimate(float(seen), max(0.0, low), min(float(n), high), n)


def _checked(counts: Tensor, n: int) -> Tensor:
    if (counts < 0).any() or int(counts.sum()) > n:
        raise ValueError(
            f"counts must not be negative and their sum {int(counts.sum())} not above {n} samples"
        )
    return counts[counts > 0]


def _unseen(counts: Tensor, n: int) -> tuple[float, float]:
    """Chao's number of unseen classes and its variance."""
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    a = (n - 1) / n
    unseen = a * once * (once - 1) / (2 * (twice + 1))
    variance = unseen + a**2 * once * (2 * once - 1) ** 2 / (4 * (twice + 1) ** 2)
    if twice:
        return unseen, variance + a**2 * once**2 * twice * (once - 1) ** 2 / (4 * (twice + 1) ** 4)
    return unseen, variance - a**2 * once**4 / (4 * (len(counts) + unseen))


def _complete(counts: Tensor, n: int, z: float) -> Estimate:
    """The interval where nothing hints at unseen classes: a class seen i times might have been missed."""
    i = counts.double()
    seen, missed = len(counts), torch.exp(-i)
    p = float(missed.sum()) / seen
    variance = float((missed - missed**2).sum()) - float((i * missed).sum()) ** 2 / n
    half = z * math.sqrt(max(0.0, variance))
    return Estimate(float(seen), max(float(seen), (seen - half) / (1 - p)), (seen + half) / (1 - p), n)


@dataclass(frozen=True)
class _Community:
    """What samples may show: the classes that were seen, and Chao's number of unseen ones."""

    n: int
    copies: float
    bounds: Tensor
    each: float

    @classmethod
    def of(cls, counts: Tensor, n: int) -> _Community:
        frequency = counts.double() / n
        once, twice = int((counts == 1).sum()), int((counts == 2).sum())
        unseen, missing = math.ceil(_unseen(counts, n)[0]), 0.0
        if unseen:
            singles, pairs = (n - 1) * (once if twice else once - 1), 2 * max(1, twice)
            missing = once / n * singles / (singles + pairs)
            weight = frequency * (1 - frequency) ** n
            frequency = frequency - min(1.0, missing / float(weight.sum())) * weight
        total = float(frequency.sum()) + missing
        return cls(n, float(counts.sum()) / n, frequency.cumsum(0) / total, missing / total / max(1, unseen))

    def draw(self, generator: torch.Generator) -> int:
        """The number of distinct classes among n new samples."""
        place = generator.device
        chance = torch.full((self.n,), self.copies, dtype=torch.float64, device=place)
        copies = int(torch.bernoulli(chance, generator=generator).sum())
        u = torch.rand(copies, dtype=torch.float64, generator=generator, device=place).cpu()
        shown = torch.searchsorted(self.bounds.cpu(), u, right=True)
        beyond = shown == len(self.bounds)
        if self.each:
            shown[beyond] += ((u[beyond] - float(self.bounds[-1])) / self.each).long()
        else:
            shown[beyond] = len(self.bounds) - 1
        return len(shown.unique())


def _quantiles(values: Tensor, confidence: float) -> tuple[float, float]:
    tail = (1 - confidence) / 2
    low, high = torch.quantile(values, torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return low, high


def _normal(confidence: float) -> float:
    """The two-sided normal quantile z."""
    if not 0 < confidence < 1:
        raise InputError(f"The confidence is {confidence}; it must lie between 0 and 1, for example 0.95.")
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _student(freedom: int, confidence: float) -> float:
    """The two-sided quantile of Student's t."""
    from scipy.special import stdtrit

    _normal(confidence)
    return float(stdtrit(freedom, (1 + confidence) / 2))
