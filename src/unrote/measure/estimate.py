"""Intervals: a number is reported only together with the interval that it stands in.

`Estimate.n` is always the number of independent observations, 0 where there were none; then nothing is known
and the interval is as wide as it can be.  All intervals are two-sided.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import torch
from jaxtyping import Float, Shaped
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
    quantile = student_quantile(n - 1, confidence) if n > 1 else normal_quantile(confidence)
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
    z = normal_quantile(confidence)
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
    z = normal_quantile(confidence)
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
    downwards, see `unrote.measure.unseen.distinct`.

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
    normal_quantile(confidence)
    n = len(values)
    if n == 0:
        return Estimate(None, None, None, 0)
    drawn = torch.empty(repeats, dtype=torch.float64)
    for repeat in range(repeats):
        rows = torch.randint(n, (n,), generator=generator, device=generator.device).to(values.device)
        drawn[repeat] = float(statistic(values[rows]))
    low, high = quantiles(drawn, confidence)
    return Estimate(float(statistic(values)), low, high, n)


def percentile(values: Shaped[Tensor, " n"], share: float, confidence: float = 0.95) -> Estimate:
    """A percentile of a population with the interval that order statistics give, for any distribution.

    value = linear interpolation between order statistics at 1 + share (n - 1);
    [v_(l), v_(u)] with Pr(Bin(n, share) < l) <= (1 - confidence)/2 and Pr(Bin(n, share) >= u) the same.

    Args:
        values: one per sample (n,), finite.
        share: 0.95 for the 95th percentile.
        confidence: between 0 and 1.

    Returns:
        The percentile; an end for which there are too few values is None.

    Raises:
        InputError: for a share or a confidence outside (0, 1).
        ValueError: for NaN or infinity.

    Source: Thompson, "On confidence ranges for the median and other expectation distributions", 1936.
    """
    from scipy.stats import binom

    normal_quantile(confidence)
    if not 0 < share < 1:
        raise InputError(
            f"The percentile asked for is {share}; it must be a share between 0 and 1, such as 0.95."
        )
    n = len(values)
    if n == 0:
        return Estimate(None, None, None, 0)
    if not torch.isfinite(values).all():
        raise ValueError("values must be finite; a metric that is undefined for a sample has no percentile")
    ordered, tail = values.double().sort().values, (1 - confidence) / 2
    # ppf gives the least k with cdf(k) >= q, so that cdf(k - 1) < q: the rank l = k of the lower end.
    low, high = int(binom.ppf(tail, n, share)), int(binom.ppf(1 - tail, n, share)) + 1
    place = share * (n - 1)
    floor = math.floor(place)
    value = float(ordered[floor].lerp(ordered[min(floor + 1, n - 1)], place - floor))
    return Estimate(
        value, float(ordered[low - 1]) if low else None, float(ordered[high - 1]) if high <= n else None, n
    )


def quantiles(values: Float[Tensor, " n"], confidence: float) -> tuple[float, float]:
    """The two ends between which a share `confidence` of the values lies."""
    tail = (1 - confidence) / 2
    low, high = torch.quantile(values, torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return low, high


def normal_quantile(confidence: float) -> float:
    """The two-sided quantile z of the normal distribution: 1.96 for 0.95.

    Raises:
        InputError: for a confidence outside (0, 1).
    """
    if not 0 < confidence < 1:
        raise InputError(f"The confidence is {confidence}; it must lie between 0 and 1, for example 0.95.")
    return NormalDist().inv_cdf((1 + confidence) / 2)


def student_quantile(freedom: int, confidence: float) -> float:
    """The two-sided quantile of Student's t: 2.26 for 9 degrees of freedom and 0.95.

    Raises:
        InputError: for a confidence outside (0, 1).
    """
    from scipy.special import stdtrit

    normal_quantile(confidence)
    return float(stdtrit(freedom, (1 + confidence) / 2))
