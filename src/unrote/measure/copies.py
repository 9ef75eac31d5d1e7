"""Copy or not, one decision per sample: the ratio rule, groups of duplicates, calibration, what was copied."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from unrote.contracts import Estimate, InputError, Neighbors
from unrote.measure.neighbors import neighbors
from unrote.measure.unseen import chao1, distinct

Search = Callable[[Tensor, Tensor, int], Neighbors]
"""(query, reference, k) -> the k nearest reference points of every query, nearest first."""

CLOSE = 0.05
"""Root-mean-square pixel distance, pixels from 0 to 1, within which the absolute rule speaks of a copy."""

_STAGES = (8, 128)
"""Neighbours asked for at first, and of the queries whose first neighbours all lie in one group."""


def is_copy(d1: Float[Tensor, "..."], d2: Float[Tensor, "..."], factor: float = 3.0) -> Bool[Tensor, "..."]:
    """Whether the nearest training point is much nearer than the second: d1 < d2 / factor, or d1 = 0.

    On squared distances the factor is squared (1/9 for 3).  An exact copy counts even where the second
    neighbour is one too.

    Args:
        d1: distance to the nearest training point.
        d2: distance to the second nearest, or to the nearest outside the first one's group.
        factor: how many times nearer the first must be, at least 1.

    Raises:
        ValueError: for a factor below 1.

    Source: Yoon and others, "Diffusion probabilistic models generalize when they fail to memorize", 2023
    (d1/d2 < 1/3); on squares: On the Edge of Memorization in Diffusion Models, definition 2.2.
    """
    if not factor >= 1:
        raise ValueError(f"a copy is nearer to its first neighbour than to its second, got factor {factor}")
    return (d1 < d2 / factor) | (d1 == 0)


def distance_ratio(d1: Float[Tensor, "..."], d2: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """d1 / d2 in [0, 1]: small for copies; 0 where d1 = 0, also where d2 = 0 too."""
    return torch.where(d1 == 0, torch.zeros_like(d1), d1 / d2)


def root_mean_square(
    distance: Float[Tensor, "..."], dimension: int, width: float = 1.0
) -> Float[Tensor, "..."]:
    """Euclidean distances as root-mean-square pixel distances on the scale from 0 to 1: d / (width sqrt(D)).

    Args:
        distance: in the units of the pixels.
        dimension: numbers in one image, D = C H W.
        width: distance between black and white in those units: 255 for 8-bit pixels, 2 for [-1, 1].
    """
    return distance / (width * math.sqrt(dimension))


def below(statistic: Float[Tensor, " n"], threshold: float) -> Bool[Tensor, " n"]:
    """Whether a statistic that is small for copies lies strictly below a threshold."""
    return statistic < threshold


def second_outside_group(found: Neighbors, group: Int[Tensor, " N"]) -> tuple[Neighbors, Bool[Tensor, " Q"]]:
    """The nearest neighbour and the nearest one outside its group of near-duplicates, among those found.

    Args:
        found: the k nearest training points of every query (Q,K).
        group: the group of every training point (N,).

    Returns:
        Two neighbours of every query (Q,2), and whether the second was among the k (Q,); where it was not,
        its distance is infinite and its index -1.
    """
    member = group[found.index]
    outside = member != member[:, :1]
    resolved = outside.any(1)
    place = outside.to(torch.uint8).argmax(1, keepdim=True)
    distance = found.distance.gather(1, place).masked_fill(~resolved[:, None], math.inf)
    index = found.index.gather(1, place).masked_fill(~resolved[:, None], -1)
    pair = Neighbors(
        torch.cat([found.distance[:, :1], distance], 1), torch.cat([found.index[:, :1], index], 1)
    )
    return pair, resolved


def grouped_neighbors(
    query: Shaped[Tensor, "Q ..."],
    reference: Shaped[Tensor, "N ..."],
    group: Int[Tensor, " M"],
    *,
    search: Search = neighbors,
) -> Neighbors:
    """The nearest training point of every query, and the nearest outside the group of the first, exactly.

    d2 = min {|q - x_j| : group_j != group_i}, i the nearest.  A copy of a duplicated image has two neighbours
    at the same distance, so that the plain ratio misses it; with the duplicates as one neighbour it is found.
    More neighbours are asked for only where the first few lie in one group.

    Args:
        query: generated events (Q, *E).
        reference: training events (N, *E).
        group: which training events are near-duplicates (N,), see `unrote.measure.duplicates`.
        search: how neighbours are found.

    Raises:
        InputError: if all training points are in one group; what `search` raises.
        ValueError: unless there is one group number for each training point.
    """
    if len(group) != len(reference):
        raise ValueError(f"{len(reference)} training points need as many group numbers, got {len(group)}")
    if len(group) == 0 or (group == group[0]).all():
        raise InputError(
            f"All {len(group)} training points are near-duplicates of each other, so there is no second neighbour "
            "to compare with; check that this is the right training set, or lower the duplicate threshold."
        )
    pair, resolved = second_outside_group(search(query, reference, min(_STAGES[0], len(group))), group)
    for k in _STAGES[1:]:
        rest = (~resolved).nonzero()[:, 0]
        if len(rest) and len(group) > _STAGES[0]:
            more, resolved[rest] = second_outside_group(
                search(query[rest], reference, min(k, len(group))), group
            )
            pair.distance[rest], pair.index[rest] = more.distance, more.index
    first = group[pair.index[:, 0]]
    for large in first[~resolved].unique():
        # A group with more members than the last stage asks for; there can only be a few of these.
        rest = (~resolved & (first == large)).nonzero()[:, 0]
        others = (group != large).nonzero()[:, 0]
        second = search(query[rest], reference[others], 1)
        pair.distance[rest, 1], pair.index[rest, 1] = second.distance[:, 0], others[second.index[:, 0]]
    return pair


def calibrated_threshold(held_out: Float[Tensor, " m"], rate: float = 0.01) -> float | None:
    """The threshold below which fresh real data fall with a probability of at most `rate`.

    The j-th smallest held-out statistic, j = floor(rate (m + 1)): a fresh exchangeable one lies strictly below
    it with probability at most j / (m + 1) <= rate.  Below it lie exactly the samples whose `rank_p_value` is
    at most `rate`.  Ties make it stricter, never looser.  The probability is over held-out sets as well; given
    one set, it varies by about sqrt(rate / m).

    Args:
        held_out: statistic (small for copies) of real data that were not trained on (m,).
        rate: accepted share of false positives, between 0 and 1.

    Returns:
        The threshold, or None if m < 1 / rate - 1: fewer held-out data cannot promise so low a rate.

    Raises:
        InputError: for a rate outside (0, 1).
        ValueError: for NaN.

    Source: the rank argument of conformal prediction, Vovk, Gammerman and Shafer, "Algorithmic learning in a
    random world", 2005.
    """
    if not 0 < rate < 1:
        raise InputError(
            f"The accepted share of false positives is {rate}; it must lie between 0 and 1, for example 0.01."
        )
    if held_out.isnan().any():
        raise ValueError("a held-out statistic is NaN")
    # The small addition keeps 0.07 * 100 from being 7 - 1e-15.
    j = math.floor(rate * (len(held_out) + 1) + 1e-9)
    return float(held_out.double().kthvalue(j).values) if j else None


def rank_p_value(statistic: Float[Tensor, " n"], held_out: Float[Tensor, " m"]) -> Float[Tensor, " n"]:
    """How unusual a sample would be among real data: p = (1 + #{held-out <= s}) / (m + 1).

    A fresh real sample has Pr(p <= u) <= u for every u.  The smallest possible value is 1 / (m + 1).

    Args:
        statistic: of the generated samples, small for copies (n,).
        held_out: of real data that were not trained on (m,).

    Raises:
        ValueError: for NaN.

    Source: as `calibrated_threshold`.
    """
    if statistic.isnan().any() or held_out.isnan().any():
        raise ValueError("a statistic is NaN")
    ordered = held_out.double().sort().values
    rank = torch.searchsorted(ordered, statistic.double().contiguous(), right=True)
    return (1 + rank).double() / (len(held_out) + 1)


@dataclass(frozen=True)
class CopiedTraining:
    """Which training data were copied; a group of near-duplicates counts as one, under its representative.

    Args:
        index: representatives of the copied groups (K,), most often copied first, then by lower index.
        count: how many samples copy each (K,).
        share: copied groups among all groups: what n samples show, with a bootstrap interval over samples.
        unseen: the share that ever more samples would show: Chao's estimate of a lower bound and its interval;
            where no group was copied twice there is no estimate and the interval reaches up to 1.
    """

    index: Int[Tensor, " K"]
    count: Int[Tensor, " K"]
    share: Estimate
    unseen: Estimate


def copied_training(
    nearest: Int[Tensor, " n"],
    copied: Bool[Tensor, " n"],
    group: Int[Tensor, " N"],
    generator: torch.Generator,
    *,
    repeats: int = 2000,
    confidence: float = 0.95,
) -> CopiedTraining:
    """Which training data the copies are of, how often each, and what share of the training set that is.

    Args:
        nearest: nearest training point of every sample (n,).
        copied: whether the sample is a copy of it (n,).
        group: the representative of every training point's group (N,): the lowest index in it.
        generator: draws the bootstrap samples.
        repeats: how many bootstrap samples.
        confidence: of the intervals.

    Raises:
        InputError: for a confidence outside (0, 1).

    Source: `unrote.measure.unseen.distinct` and `chao1`.
    """
    n, groups = len(nearest), len(group.unique())
    index, count = group[nearest[copied]].cpu().unique(return_counts=True)
    order = count.argsort(descending=True, stable=True)
    share = _share(distinct(count, n, generator, repeats, confidence), groups)
    unseen = _share(chao1(count, n, confidence), groups)
    return CopiedTraining(index[order], count[order], share, unseen)


def _share(number: Estimate, total: int) -> Estimate:
    """A number of things as a share of all there are, which also bounds what nothing else does."""
    value, low, high = (
        None if end is None else min(1.0, end / total) for end in (number.value, number.low, number.high)
    )
    return replace(number, value=value, low=low, high=1.0 if high is None and number.n else high)
