"""How many things there are of which samples show only some: training images that a model can copy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from unrote.contracts import Estimate
from unrote.measure.estimate import normal_quantile, quantiles

_PAIRS = 10
"""Classes seen twice from which on Chao's interval is trusted by itself."""


def chao1(counts: Int[Tensor, " K"], n: int, confidence: float = 0.95) -> Estimate:
    """How many classes would be seen with ever more samples: a lower bound from the rarest that were seen.

    S + A f1 (f1 - 1) / (2 (f2 + 1)),  A = (n - 1)/n,  f_k = number of classes seen k times,  S = those seen.
    The expectation of f1^2 / 2 f2 is at most the number of unseen classes (Cauchy-Schwarz), with equality if
    all rare classes are equally likely; the bias-corrected form needs no f2 > 0.  With T unseen and variance V,
    the interval is [S + T/C, S + T C] with C = exp(z sqrt(log(1 + V/T^2))), which never falls below S.
    A sample may also show no class at all (no copy), which is why n is not the sum of the counts.

    That interval rests on f2.  Where fewer than 10 classes were seen twice, its lower end is cut down to
    `fewest_classes`, which is exact, and its upper end is raised to what Poisson's lower limit of E f2 allows;
    where none was, nothing limits the unseen and `high` is None; where every class was seen once only, there is
    no estimate at all, `value` is None and `low` says all that is known.

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
    others, SpadeR, 2016.  Deviation: the ends for few pairs, where Chao's interval lies wholly above 300
    equally likely classes after 40 different ones, and wholly below 5,000.
    """
    z = normal_quantile(confidence)
    counts = _checked(counts, n)
    seen, total, twice = len(counts), int(counts.sum()), int((counts == 2).sum())
    if seen == 0:
        return Estimate(0.0, 0.0, None, n)
    unseen, variance = _unseen(counts, n)
    if unseen == 0 and total > 1:
        return _complete(counts, n, z)
    if total == seen:
        return Estimate(None, float(fewest_classes(seen, total, confidence)), None, n)
    spread = math.exp(z * math.sqrt(math.log1p(variance / unseen**2)))
    low, high = seen + unseen / spread, seen + unseen * spread
    if twice >= _PAIRS:
        return Estimate(seen + unseen, low, high, n)
    low = min(low, float(fewest_classes(seen, total, confidence)))
    return Estimate(seen + unseen, low, _most(counts, n, high, confidence), n)


def _most(counts: Tensor, n: int, high: float, confidence: float) -> float | None:
    """The upper end where few classes were seen twice: their expected number may be as low as Poisson's limit."""
    from scipy.special import gammaincinv

    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    if not twice:
        return None
    limit = float(gammaincinv(twice, (1 - confidence) / 2))
    return max(high, len(counts) + (n - 1) / n * once * (once - 1) / (2 * limit))


def fewest_classes(seen: int, draws: int, confidence: float = 0.95) -> int:
    """The lower end of an exact interval for the number of classes, whatever their frequencies.

    min {K : Pr(draws from K equally likely classes show at least `seen`) >= (1 - confidence)/2}.  Unequal
    frequencies show fewer classes, so that no distribution over fewer than this many is likely to show `seen`.
    The upper end would be infinite: classes may be as rare as one likes.

    Args:
        seen: how many different classes were shown.
        draws: by how many draws, each of which shows one.
        confidence: of the two-sided interval.

    Raises:
        InputError: for a confidence outside (0, 1).
        ValueError: unless 0 <= seen <= draws, with one class at least if there is a draw.

    Source: the birthday problem; Schur-concavity of the number of distinct classes, Wong and Yue 1973.
    """
    normal_quantile(confidence)
    if not 0 <= seen <= draws or (draws > 0 and seen == 0):
        raise ValueError(f"{draws} draws cannot show {seen} classes")
    tail, low, high = (1 - confidence) / 2, max(seen, 1), max(seen, 1)
    if seen <= 1 or 1 - seen * (1 - 1 / seen) ** draws >= tail:
        return seen
    while _chance_of_distinct(seen, draws, high) < tail:
        low, high = high, 2 * high
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _chance_of_distinct(seen, draws, middle) >= tail else (middle + 1, high)
    return low


def _chance_of_distinct(seen: int, draws: int, classes: int) -> float:
    """The probability that so many draws from equally likely classes show at least `seen` of them."""
    repeats = torch.arange(draws - seen + 1, dtype=torch.float64)
    chance = torch.zeros_like(repeats)
    chance[0] = 1.0
    for draw in range(draws):
        known = ((draw - repeats) / classes).clamp(0, 1)
        again = chance * known
        chance = chance - again
        chance[1:] += again[:-1]
    return float(chance.sum())


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
    z = normal_quantile(confidence)
    counts = _checked(counts, n)
    seen = len(counts)
    if seen == 0:
        return Estimate(0.0 if n else None, 0.0, n * z * z / (n + z * z) if n else None, n)
    community = _Community.of(counts, n)
    found = torch.tensor([community.draw(generator) for _ in range(repeats)], dtype=torch.float64)
    low, high = quantiles(found - found.mean() + seen, confidence)
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
