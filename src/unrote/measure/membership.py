"""Membership: can training data be told from fresh data by how well a model denoises them?

Scores are large for members: an error is a score with its sign turned.  The level at which an attack works best
is part of the attack; chosen on the data it is judged by, it would flatter itself, so that choices are made on
one half of both sets and judged on the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unrote.contracts import Estimate, InputError
from unrote.measure.estimate import normal_quantile, wilson
from unrote.measure.ranks import auc

RATE = 0.001
"""False-positive rate at which attacks are compared: 0.1 %."""


@dataclass(frozen=True)
class Roc:
    """The points of a ROC curve, from nothing accepted to all; equal scores are accepted together.

    Args:
        threshold: scores at or above which a row is called a member (K,), infinity first.
        false_positive: share of non-members called members (K,).
        true_positive: share of members called members (K,).
    """

    threshold: Float[Tensor, " K"]
    false_positive: Float[Tensor, " K"]
    true_positive: Float[Tensor, " K"]


@dataclass(frozen=True)
class Attack:
    """How well scores tell members from others.

    Args:
        members, others: the scores, large for members (n,), (m,).
        auc: area under the ROC curve: chance that a member scores above another, ties half.
        true_positive: true-positive rate at the false-positive rate.
        rate: that false-positive rate.
        curve: the ROC curve.
    """

    members: Float[Tensor, " n"]
    others: Float[Tensor, " m"]
    auc: Estimate
    true_positive: Estimate
    rate: float
    curve: Roc


@dataclass(frozen=True)
class ChosenAttack:
    """An attack whose choices were made on one part of the data, judged on the rest.

    Args:
        attack: on the rows that played no part in the choice.
        fitted: on the rows by which it was chosen; optimistic, for comparison only.
        weight: weight of every level in the score (T,).
        member_rows, other_rows: rows that the attack was judged on.
    """

    attack: Attack
    fitted: Attack
    weight: Float[Tensor, " T"]
    member_rows: Int[Tensor, " a"]
    other_rows: Int[Tensor, " b"]


def roc(members: Float[Tensor, " n"], others: Float[Tensor, " m"]) -> Roc:
    """The ROC curve of scores: one point for every distinct score, so that ties are never split.

    Args:
        members, others: scores, large for members, not NaN, at least one of each.

    Raises:
        ValueError: for NaN or an empty set.
    """
    if len(members) == 0 or len(others) == 0:
        raise ValueError(f"a ROC curve needs members and others, got {len(members)} and {len(others)}")
    both = torch.cat([members.double(), others.double()])
    if both.isnan().any():
        raise ValueError("a score is NaN")
    threshold = both.unique().flip(0)

    def share(x: Tensor) -> Tensor:
        ordered = x.double().sort().values
        above = len(x) - torch.searchsorted(ordered, threshold)
        return torch.cat([above.new_zeros(1), above]).double() / len(x)

    first = torch.full((1,), math.inf, dtype=torch.float64, device=both.device)
    return Roc(torch.cat([first, threshold]), share(others), share(members))


def true_positive_rate(
    members: Float[Tensor, " n"],
    others: Float[Tensor, " m"],
    rate: float = RATE,
    confidence: float = 0.95,
) -> Estimate:
    """The share of members that can be found while at most a share `rate` of others is accused.

    value = max {share of members >= t : share of others >= t is at most rate}, t a score.  The interval holds for
    the rate in the population, not only among these m others: the threshold itself is known to lie between two
    order statistics of theirs, with confidence 1 - alpha/2, and Wilson's bounds are taken at these, with
    1 - alpha/2.

    Args:
        members, others: scores, large for members.
        rate: accepted share of false positives.
        confidence: of the interval.

    Returns:
        The rate.  With m < 1 / rate others, a single false positive is more than the rate allows, so that it is
        not defined and `value` is None; with fewer than `others_needed`, the population's threshold has no upper
        bound, and `low` is 0.

    Raises:
        InputError: for a rate or a confidence outside (0, 1).
        ValueError: for NaN.

    Source: Carlini and others, "Membership inference attacks from first principles", 2022 (the quantity);
    Thompson 1936 (order statistics).
    """
    from scipy.stats import binom

    _check_rate(rate)
    normal_quantile(confidence)
    n, m = len(members), len(others)
    if n == 0 or m == 0:
        return Estimate(None, 0.0, 1.0, n)
    member, other = members.double(), others.double().sort(descending=True).values
    if member.isnan().any() or other.isnan().any():
        raise ValueError("a score is NaN")
    allowed = math.floor(rate * m + 1e-9)
    # At most `allowed` others are accused by a threshold above the next one of theirs.
    value = float((member > other[allowed]).double().mean()) if allowed < m else 1.0
    tail, inner = (1 - confidence) / 4, 1 - (1 - confidence) / 2
    # X ~ Bin(m, rate) others lie above the population's threshold: it lies below the a-th and above the b-th.
    few, many = int(binom.ppf(tail, m, rate)), int(binom.ppf(1 - tail, m, rate))
    low = 0.0
    if few >= 1:
        low = wilson(int((member > other[few - 1]).sum()), n, inner).low or 0.0
    high = wilson(int((member >= other[many]).sum()), n, inner).high if many < m else 1.0
    return Estimate(value if rate * m >= 1 - 1e-9 else None, min(low, value), max(high or 0.0, value), n)


def others_needed(rate: float = RATE, confidence: float = 0.95) -> int:
    """How many non-members bound the true-positive rate from below: the least m with (1 - rate)^m < alpha/4.

    With fewer, the score that a share `rate` of all others exceeds may lie above every one that was seen.

    Raises:
        InputError: for a rate or a confidence outside (0, 1).
    """
    _check_rate(rate)
    normal_quantile(confidence)
    return math.floor(math.log((1 - confidence) / 4) / math.log1p(-rate)) + 1


def attack(
    members: Float[Tensor, " n"],
    others: Float[Tensor, " m"],
    *,
    rate: float = RATE,
    confidence: float = 0.95,
) -> Attack:
    """Scores of members and others as an attack: curve, area and true-positive rate, with intervals.

    Args:
        members, others: scores, large for members.
        rate: false-positive rate at which true positives are given.
        confidence: of the intervals.

    Raises:
        InputError: for a rate or a confidence outside (0, 1).
        ValueError: for NaN or an empty set.

    Source: `auc`, `true_positive_rate`.
    """
    return Attack(
        members,
        others,
        auc(members, others, confidence),
        true_positive_rate(members, others, rate, confidence),
        rate,
        roc(members, others),
    )


def loss_attack(
    members: Float[Tensor, "T n"],
    others: Float[Tensor, "_ m"],
    weight: Float[Tensor, " T"] | None = None,
    *,
    rate: float = RATE,
    confidence: float = 0.95,
) -> Attack:
    """The loss-threshold attack: score = -sum_t w_t e_t / sum_t w_t, the training loss with its sign turned.

    Args:
        members, others: denoising errors per level and row, see `unrote.measure.denoising.denoising_error`.
        weight: of every level (T,), not negative, such as the loss weighting; None for equal weights.
        rate, confidence: as for `attack`.

    Raises:
        ValueError: for different numbers of levels, negative weights or weights that are all 0; NaN.
        InputError: for a rate or a confidence outside (0, 1).

    Source: Yeom and others, "Privacy risk in machine learning", 2018; for diffusion models, Matsumoto and others,
    "Membership inference attacks against diffusion models", 2023.
    """
    _check_levels(members, others)
    w = torch.ones(len(members), dtype=torch.float64) if weight is None else weight.double()
    if len(w) != len(members) or (w < 0).any() or not w.sum() > 0:
        raise ValueError("weights must be one for each level, not negative and not all 0")
    w = (w / w.sum()).to(members.device)
    return attack(-(w @ members.double()), -(w @ others.double()), rate=rate, confidence=confidence)


def level_attacks(
    members: Float[Tensor, "T n"],
    others: Float[Tensor, "_ m"],
    *,
    rate: float = RATE,
    confidence: float = 0.95,
) -> tuple[Attack, ...]:
    """The attack at every level by itself: score = -e_t.

    The best of these is optimistic; see `best_level`.

    Args:
        members, others: errors per level and row.
        rate, confidence: as for `attack`.

    Raises:
        ValueError: for different numbers of levels, or NaN.
        InputError: for a rate or a confidence outside (0, 1).

    Source: Carlini and others, "Extracting training data from diffusion models", 2023, section 5 (loss at one
    timestep).
    """
    _check_levels(members, others)
    return tuple(
        attack(-a.double(), -b.double(), rate=rate, confidence=confidence)
        for a, b in zip(members, others, strict=True)
    )


def best_level(
    members: Float[Tensor, "T n"],
    others: Float[Tensor, "_ m"],
    generator: torch.Generator,
    *,
    rate: float = RATE,
    confidence: float = 0.95,
) -> ChosenAttack:
    """The attack at the level of largest area on one half, judged on the other half.

    Args:
        members, others: errors per level and row; at least 2 rows of each.
        generator: draws the halves.
        rate, confidence: as for `attack`.

    Raises:
        InputError: for fewer than 2 members or others; for a rate or a confidence outside (0, 1).
        ValueError: for different numbers of levels, or NaN.

    Source: as `level_attacks`; the split is ours.
    """

    def choose(a: Tensor, b: Tensor) -> Tensor:
        areas = torch.tensor([auc(-x, -y).value for x, y in zip(a, b, strict=True)])
        return torch.nn.functional.one_hot(areas.argmax(), len(a)).double()

    return _chosen(members, others, generator, choose, rate, confidence)


def combined_levels(
    members: Float[Tensor, "T n"],
    others: Float[Tensor, "_ m"],
    generator: torch.Generator,
    *,
    rate: float = RATE,
    confidence: float = 0.95,
) -> ChosenAttack:
    """All levels together: Fisher's linear discriminant of log errors, fitted on one half, judged on the other.

    score = -<w, log e>,  w = (S + t I)^-1 (mean_others - mean_members) of log errors on the first half, S their
    pooled covariance and t a tenth of its mean diagonal, which keeps w finite where levels move together.

    Args:
        members, others: positive errors per level and row; at least 4 rows of each.
        generator: draws the halves.
        rate, confidence: as for `attack`.

    Raises:
        InputError: for fewer than 4 members or others; for a rate or a confidence outside (0, 1).
        ValueError: for different numbers of levels, or NaN.

    Source: Fisher 1936; shrinkage towards a multiple of the identity as Ledoit and Wolf 2004, with a fixed weight.
    """
    tiny = torch.finfo(torch.float64).tiny
    a, b = (x.double().clamp(min=tiny).log() for x in (members, others))

    def choose(a: Tensor, b: Tensor) -> Tensor:
        shift = b.mean(1) - a.mean(1)
        centred = torch.cat([a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)], 1)
        pooled = centred @ centred.T / max(1, centred.shape[1] - 2)
        ridge = 0.1 * pooled.diagonal().mean() + tiny
        return torch.linalg.solve(pooled + ridge * torch.eye(len(a), dtype=a.dtype, device=a.device), shift)

    return _chosen(a, b, generator, choose, rate, confidence, least=4)


def _chosen(
    members: Tensor,
    others: Tensor,
    generator: torch.Generator,
    choose: Callable[[Tensor, Tensor], Tensor],
    rate: float,
    confidence: float,
    least: int = 2,
) -> ChosenAttack:
    """Weights chosen on one half, scores -<w, e> judged on the other."""
    _check_levels(members, others)
    halves = []
    for x, name in ((members, "members"), (others, "non-members")):
        if x.shape[1] < least:
            raise InputError(
                f"There are {x.shape[1]} {name}; half of them choose the attack and half judge it, which needs at "
                f"least {least}; give more data."
            )
        order = torch.randperm(x.shape[1], generator=generator, device=generator.device).to(x.device)
        halves.append((order[::2].sort().values, order[1::2].sort().values))
    (fit_a, a), (fit_b, b) = halves
    members, others = members.double(), others.double()
    weight = choose(members[:, fit_a], others[:, fit_b]).to(members.device)
    fitted = attack(
        -(weight @ members[:, fit_a]), -(weight @ others[:, fit_b]), rate=rate, confidence=confidence
    )
    judged = attack(-(weight @ members[:, a]), -(weight @ others[:, b]), rate=rate, confidence=confidence)
    return ChosenAttack(judged, fitted, weight, a, b)


def _check_levels(members: Tensor, others: Tensor) -> None:
    if len(members) != len(others) or len(members) == 0:
        raise ValueError(
            f"members and others need errors at the same levels, got {len(members)} and {len(others)} levels"
        )


def _check_rate(rate: float) -> None:
    if not 0 < rate < 1:
        raise InputError(
            f"The false-positive rate is {rate}; it must lie between 0 and 1, for example 0.001."
        )
