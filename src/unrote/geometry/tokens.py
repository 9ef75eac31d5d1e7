"""The danger zone of strings: at which levels a noisy training string points back to one, and a fresh one to any.

The level t in [0, 1] is the probability with which a token has been destroyed, by a mask or by another token. Both
curves of 001 carry over: the posterior weight with the likelihood of the process in place of the Gaussian one, the
coverage with "a training string explains it as well as its own" in place of the shell. Beside them stands what images
do not have, the weight that the whole language gives to the true string: a perfect model's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Integer
from torch import Tensor

from unrote import likelihoods
from unrote.contracts import Estimate, InputError
from unrote.geometry.advice import COVERED, WEIGHT
from unrote.geometry.crossings import Samples, ends, resampled_means, rising
from unrote.geometry.inputs import ascending
from unrote.geometry.posterior import ROWS, WeightCurve, base_rows
from unrote.geometry.regimes import Regimes, Zone, regimes, zone_of
from unrote.noise.tokens import TokenProcess, check_tokens, evidence

LogEvidence = Callable[[Tensor, Tensor], Tensor]
"""(noisy strings (B,L), t (B,)) -> log p(x) (B,), as `GrammarDenoiser.log_evidence` says it."""

ROUNDING = 1e-9
"""Two log-likelihoods that are nearer are equal: they are counts of tokens times two numbers."""
HALF = 0.5
"""The height at which a curve is said to fall or to rise."""


def token_weight_curve(
    process: TokenProcess,
    x0: Integer[Tensor, "N L"],
    levels: Float[Tensor, " T"],
    generator: torch.Generator,
    *,
    base: int | None = 256,
    draws: int = 4,
    memory: int = likelihoods.DEFAULT_MEMORY,
) -> WeightCurve:
    """Largest and own posterior weight of noisy training strings at every level.

    w_n(x) = q(x | x0_n) / sum_m q(x | x0_m),  x ~ q(. | x0_b) at level t, with the same noise at all levels: what is
    destroyed at one level is so at all higher ones. The mean of `maximum` is how often the likeliest training string
    is the right one, that of `own` how often one drawn from the posterior is. For masks and different strings both are
    E 1/K, K the training strings that agree with all that is visible.

    Args:
        process: how strings are destroyed.
        x0: training strings (N,L), two or more; of r equal ones each has at most 1/r.
        levels: t, ascending in (0, 1] (T,).
        generator: draws the base strings, then their noise.
        base: how many training strings are used, without replacement; None or N and more for all.
        draws: noises per base string.
        memory: bytes beyond the data and the curves; the process has a budget of its own.

    Raises:
        InputError: for fewer than two strings, unknown tokens, levels outside (0, 1] or not ascending, counts below 1.

    Source: 001 Definition 4.1 with the likelihood of the process.
    """
    t = token_levels(levels)
    _check_strings(process, x0)
    rows = base_rows(len(x0), base, draws, generator)
    maximum = torch.zeros(len(t), len(rows), dtype=torch.float64, device=x0.device)
    own = torch.zeros_like(maximum)
    for at, place, x, level in _noisy(process, x0[rows], t, generator, draws):
        for part in _blocks(len(x), len(x0), memory):
            weights = torch.softmax(process.log_likelihood(x[part], x0, level[part]), 1)
            maximum[at].index_add_(0, place[part], weights.amax(1) / draws)
            mine = weights.gather(1, rows[place[part]].to(x0.device)[:, None])[:, 0]
            own[at].index_add_(0, place[part], mine / draws)
    return WeightCurve(t, maximum, own, rows, len(x0), draws)


def language_weight(
    process: TokenProcess,
    x0: Integer[Tensor, "Q L"],
    levels: Float[Tensor, " T"],
    log_evidence: LogEvidence,
    log_count: float,
    generator: torch.Generator,
    draws: int = 4,
) -> Float[Tensor, "T Q"]:
    """The weight that the whole language gives to the true string, where all its strings are equally likely.

    w(x0 | x) = q(x | x0) / (N p(x)): how often a perfect model, shown x, brings back the very string. Where it is near
    1, a copy is what a perfect model would return, too.

    Args:
        process: how strings are destroyed.
        x0: strings of the language (Q,L).
        levels: t, ascending in (0, 1] (T,).
        log_evidence: log p(x) under the language.
        log_count: log N, N the number of strings, which may be too large for a float.
        generator: draws the noise, the same at all levels.
        draws: noises per string.

    Raises:
        InputError: for unknown tokens, or levels outside (0, 1] or not ascending.

    Source: 001 Definition 4.1 for the distribution itself; not in the paper, whose images have no exact posterior.
    """
    t = token_levels(levels)
    check_tokens(x0, process.vocabulary)
    out = torch.zeros(len(t), len(x0), dtype=torch.float64, device=x0.device)
    for at, place, x, level in _noisy(process, x0, t, generator, draws):
        found = (_own(process, x, x0[place], level) - log_count - log_evidence(x, level)).exp()
        out[at].index_add_(0, place, found.clamp(max=1) / draws)
    return out


def token_coverage(
    process: TokenProcess,
    train: Integer[Tensor, "N L"],
    fresh: Integer[Tensor, "Q _L"],
    levels: Float[Tensor, " T"],
    generator: torch.Generator,
    draws: int = 4,
    *,
    memory: int = likelihoods.DEFAULT_MEMORY,
) -> Float[Tensor, "T Q"]:
    """The share of draws in which a training string explains a noisy fresh string as well as its own does.

    Cov(t) = Pr(max_n log q(x | x0_n) >= log q(x | x0)), x ~ q(. | x0), x0 a fresh string. For masks: some training
    string agrees with everything that is visible, so that x could have come from it. For replaced tokens: some training
    string is no farther from x than x0. 0 at small t, 1 at t = 1.

    Args:
        process: how strings are destroyed.
        train: training strings (N,L).
        fresh: strings that were not trained on (Q,L).
        levels: t, ascending in (0, 1] (T,).
        generator: draws the noise, the same at all levels.
        draws: noises per fresh string.
        memory: bytes beyond the data; the process has a budget of its own.

    Raises:
        InputError: for unknown tokens, or levels outside (0, 1] or not ascending.

    Source: 001 Definition 4.6. Deviation: there a point is covered where the noise it would take lies in a shell. For
    masks the place of the shell is the support of q(. | x0_n), which is sharp; for replaced tokens a ball whose radius
    is the noise of this very draw takes it, because the shell of a short string is as thick as wide.
    """
    t = token_levels(levels)
    _check_strings(process, train)
    check_tokens(fresh, process.vocabulary)
    return _covered(process, train, fresh, t, generator, draws, None, memory)


def token_coverage_without_fresh(
    process: TokenProcess,
    train: Integer[Tensor, "N L"],
    levels: Float[Tensor, " T"],
    generator: torch.Generator,
    base: int | None = 256,
    draws: int = 4,
    *,
    memory: int = likelihoods.DEFAULT_MEMORY,
) -> Float[Tensor, "T n"]:
    """`token_coverage` of training strings by the others: that of a training set of N - 1, if strings are independent.

    Equal strings cover each other at every level: remove them first.

    Args:
        process, train, levels, draws, memory: as there.
        generator: draws the base strings, then their noise.
        base: how many training strings play the fresh one; None or N and more for all.

    Raises:
        InputError: as there, and for counts below 1.

    Source: 001 Definition 4.6, with the training set in place of a test set.
    """
    t = token_levels(levels)
    _check_strings(process, train)
    rows = base_rows(len(train), base, draws, generator)
    return _covered(process, train, train[rows], t, generator, draws, rows.to(train.device), memory)


@dataclass(frozen=True)
class TokenZone:
    """What the curves of strings say about the levels at which a model of them will copy.

    Args:
        regimes: 001's regimes and danger zone, in t.
        weight_half: the highest level at which the own weight is one half or more: above it noisy training strings
            can no longer be told apart.
        covered_half: the lowest level at which every second noisy fresh string could be a training string.
        language_half: the highest level at which a perfect model gives the true string half of the weight; None if the
            language is not known.
        reasons: why a value is None, by the name of its field.
    """

    regimes: Regimes
    weight_half: Estimate
    covered_half: Estimate
    language_half: Estimate | None
    reasons: dict[str, str]

    @property
    def danger(self) -> Zone | None:
        """Where by heart and by rule part: from `language_half`, or 0 if it is not known, to `weight_half`.

        Below it a perfect model would bring back the string, too; above it the training set does not name one.
        """
        if self.language_half is None:
            return None if self.weight_half.value is None else Zone(0.0, self.weight_half.value)
        return zone_of(self.language_half, self.weight_half)

    @property
    def gap(self) -> Zone | None:
        """The levels that `advice.recommended_gap` would leave out, whose thresholds were found on images."""
        samples = self.regimes.samples
        low, _, _ = ends(samples, torch.full_like(samples.covered[0], COVERED))
        _, high, _ = ends(samples, torch.full_like(samples.weight[0], WEIGHT))
        return zone_of(low, high)


def token_zone(
    weight: WeightCurve,
    covered: Float[Tensor, "T q"],
    generator: torch.Generator,
    language: Float[Tensor, "T Q"] | None = None,
    repeats: int = 200,
    confidence: float = 0.95,
) -> TokenZone:
    """Regimes and both danger zones of strings, with bootstrap intervals over the strings of each curve.

    001's zone is where weight and coverage are both high. That of strings is [t_language(1/2), t_W(1/2)], between the
    levels at which the true string is half certain for a perfect model and for one that knows the training strings
    alone. All curves are made monotone and interpolated linearly in log t.

    Args:
        weight: of `token_weight_curve`, at the levels of the others.
        covered: of `token_coverage` or `token_coverage_without_fresh` (T,q).
        generator: draws strings with replacement.
        language: of `language_weight` (T,Q), or None.
        repeats: bootstrap samples.
        confidence: of the intervals.

    Raises:
        InputError: for fewer than 3 strings in a curve.
        ValueError: for curves that do not fit the levels.

    Source: 001 section 4; see `unrote.geometry.regimes.regimes`.
    """
    t = weight.levels
    found = regimes(
        t,
        weight.maximum,
        covered,
        count=weight.size,
        generator=generator,
        repeats=repeats,
        confidence=confidence,
    )
    owned = _falling(t, weight.own, covered, generator, repeats, confidence)
    low, high, why = _halves(owned)
    reasons = {
        **({"covered_half": why["low"]} if "low" in why else {}),
        **({"weight_half": why["high"]} if "high" in why else {}),
    }
    if language is None:
        return TokenZone(found, high, low, None, reasons)
    _, known, why = _halves(_falling(t, language, covered, generator, repeats, confidence))
    reasons |= {"language_half": why["high"]} if "high" in why else {}
    return TokenZone(found, high, low, known, reasons)


def token_levels(levels: Float[Tensor, " T"]) -> Float[Tensor, " T"]:
    """Levels of tokens in float64, checked.

    Raises:
        InputError: unless they ascend within (0, 1].
    """
    t = ascending(levels)
    if float(t[-1]) > 1:
        raise InputError(
            f"The level of tokens is the probability that one has been destroyed; {float(t[-1]):g} is above 1. Give "
            "levels in (0, 1]; a sigma has no meaning here."
        )
    return t


def _halves(samples: Samples) -> tuple[Estimate, Estimate, dict[str, str]]:
    return ends(samples, torch.full_like(samples.weight[0], HALF))


def _falling(
    t: Tensor, weight: Tensor, covered: Tensor, generator: torch.Generator, repeats: int, confidence: float
) -> Samples:
    return Samples(
        t.log(),
        1 - rising(1 - resampled_means(weight, repeats, generator)),
        rising(resampled_means(covered, repeats, generator)),
        (weight.shape[1], covered.shape[1]),
        confidence,
    )


def _noisy(
    process: TokenProcess, x0: Tensor, levels: Tensor, generator: torch.Generator, draws: int
) -> Iterator[tuple[int, Int[Tensor, " n"], Tensor, Tensor]]:
    """Index of a level, which strings, what noise made of them, and their level; the same noise at all levels."""
    seed = int(torch.randint(2**52, (), generator=generator, device=generator.device))
    every = torch.arange(len(x0), device=x0.device).repeat_interleave(draws)
    for index, place in enumerate(every.split(ROWS)):
        for at, value in enumerate(levels.tolist()):
            again = torch.Generator().manual_seed(seed + index)
            level = torch.full((len(place),), value, dtype=torch.float64, device=x0.device)
            yield at, place, process.noise(x0[place], level, again), level


def _covered(
    process: TokenProcess,
    train: Tensor,
    points: Tensor,
    levels: Tensor,
    generator: torch.Generator,
    draws: int,
    left_out: Tensor | None,
    memory: int,
) -> Float[Tensor, "T Q"]:
    base_rows(len(points), None, draws, generator)
    out = torch.zeros(len(levels), len(points), dtype=torch.float64, device=train.device)
    for at, place, x, level in _noisy(process, points, levels, generator, draws):
        least = _own(process, x, points[place], level) - ROUNDING
        for part in _blocks(len(x), len(train), memory):
            likely = process.log_likelihood(x[part], train, level[part])
            if left_out is not None:
                likely.scatter_(1, left_out[place[part]][:, None], -torch.inf)
            hit: Bool[Tensor, " b"] = likely.amax(1) >= least[part]
            out[at].index_add_(0, place[part], hit.double() / draws)
    return out


def _own(process: TokenProcess, x: Tensor, x0: Tensor, level: Tensor) -> Float[Tensor, " B"]:
    """log q(x_b | x0_b), pair by pair."""
    return evidence(process, x, level).gather(2, x0.long()[..., None])[..., 0].sum(1)


def _blocks(rows: int, count: int, memory: int) -> list[slice]:
    """Rows whose likelihoods, softmax and a copy fit the memory."""
    size = max(1, memory // (24 * count))
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]


def _check_strings(process: TokenProcess, x0: Any) -> None:
    if len(x0) < 2:
        raise InputError(
            f"The geometry of strings needs at least two of them, got {len(x0)}: a single string is its own only "
            "origin at every level."
        )
    check_tokens(x0, process.vocabulary)
