"""Authenticity: is a generated sample further from its nearest training point than that point's neighbours are?

A low share of authentic samples speaks of copying, but what is low must be measured: a fresh real point is
authentic unless it and its nearest training point are nearest to *each other*, and how often that happens
depends on the dimension: 1/3 of fresh points are authentic on a line, 1/2 in many dimensions if they are dense
(`expected_share`), more if they are not.
So the share of held-out real data stands beside it (`against_held_out`).

What other programs compute under this name, read in their sources: FLD returns the percentage minus 50, as if
fresh data gave 50 %, from at most 10,000 points of each set, and its words state the opposite inequality;
synthcity, and the auditing script of the authors, start from each *real* point's nearest generated one and use
the number of that generated point to look up a distance between real points, a pair with no relation; FLD and
dgm-eval take distances from a product of matrices in single precision, in which an exact copy is not at 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from unrote.contracts import Estimate, InputError
from unrote.measure.copies import Search, distance_ratio, grouped_neighbors
from unrote.measure.estimate import newcombe, wilson
from unrote.measure.neighbors import neighbors


@dataclass(frozen=True)
class Authenticity:
    """The decision for every generated sample, and the share of authentic ones.

    Args:
        nearest: nearest training point of every sample (n,).
        distance: distance to it (n,), in the units of the data.
        gap: distance of that training point to the nearest other one, outside its group (n,).
        authentic: whether distance > gap (n,).
        share: of authentic samples; published as AuthPct when given in percent.
    """

    nearest: Int[Tensor, " n"]
    distance: Float[Tensor, " n"]
    gap: Float[Tensor, " n"]
    authentic: Bool[Tensor, " n"]
    share: Estimate

    @property
    def ratio(self) -> Float[Tensor, " n"]:
        """distance / gap, small for copies: a statistic for `calibrated_threshold` and `rank_p_value`."""
        return distance_ratio(self.distance, self.gap)


def is_authentic(distance: Float[Tensor, "..."], gap: Float[Tensor, "..."]) -> Bool[Tensor, "..."]:
    """Whether a sample is further from its nearest training point than that is from its own: distance > gap.

    Strict: at equal distances a sample is not authentic, and an exact copy never is, not even of a training
    point that occurs twice, whose gap is 0.

    Args:
        distance: of the sample to its nearest training point.
        gap: of that training point to the nearest other one.

    Source: Alaa, van Breugel, Saveliev and van der Schaar, "How faithful is your synthetic data?", 2022
    (authenticity; strict in their program).
    """
    return distance > gap


def gaps(
    training: Shaped[Tensor, "N ..."],
    group: Int[Tensor, " N"] | None = None,
    rows: Int[Tensor, " R"] | None = None,
    *,
    search: Search = neighbors,
) -> Float[Tensor, " R"]:
    """Distances of training points to the nearest other training point, outside their own group.

    g_i = min {|x_i - x_j| : j != i, group_j != group_i}.  A point is never its own neighbour, whatever the
    order in which equal points are found; without groups an exact duplicate is a neighbour at distance 0.

    Args:
        training: (N, *E).
        group: groups of near-duplicates (N,), see `unrote.measure.duplicates`; None for groups of one.
        rows: which points (R,); None for all.
        search: how neighbours are found.

    Raises:
        InputError: for fewer than 2 training points, or if all are in one group; what `search` raises.
    """
    rows = torch.arange(len(training), device=training.device) if rows is None else rows
    if len(training) < 2:
        raise InputError(
            f"There are {len(training)} training points; authenticity compares with the distance between training "
            "points and needs at least 2."
        )
    if group is None:
        found = search(training[rows], training, 2)
        # With three equal points the two found may both be others; then both are at distance 0.
        itself = found.index[:, 0] == rows
        return torch.where(itself, found.distance[:, 1], found.distance[:, 0])
    found = grouped_neighbors(training[rows], training, group, search=search)
    inside = group[found.index[:, 0]] == group[rows]
    if inside.all():
        return found.distance[:, 1]
    # An equal point of another group was found first: it is the nearest outside, at distance 0.
    return torch.where(inside, found.distance[:, 1], found.distance[:, 0])


def authenticity(
    generated: Shaped[Tensor, "n ..."],
    training: Shaped[Tensor, "N ..."],
    group: Int[Tensor, " N"] | None = None,
    *,
    search: Search = neighbors,
    confidence: float = 0.95,
) -> Authenticity:
    """Which generated samples are authentic: a_j = (|g_j - x_i| > min_k |x_i - x_k|), x_i the nearest to g_j.

    Two exact searches: of the samples, and of the training points that are nearest to one of them.  Given the
    model and the training set, samples are independent, and the interval is Wilson's.

    Args:
        generated: samples (n, *E).
        training: the training set in the same units (N, *E).
        group: groups of near-duplicates (N,), which count as one point: the gap of a duplicated image is
            nearly 0, so that without them its copies pass as authentic.
        search: how neighbours are found.
        confidence: of the interval.

    Raises:
        InputError: for fewer than 2 training points, or all of them in one group; what `search` raises.

    Source: as `is_authentic`; groups are our addition.
    """
    found = search(generated, training, 1)
    nearest, distance = found.index[:, 0], found.distance[:, 0]
    used, place = nearest.unique(return_inverse=True)
    gap = gaps(training, group, used, search=search)[place]
    authentic = is_authentic(distance, gap)
    return Authenticity(
        nearest, distance, gap, authentic, wilson(int(authentic.sum()), len(authentic), confidence)
    )


def against_held_out(generated: Authenticity, held_out: Authenticity, confidence: float = 0.95) -> Estimate:
    """By how much fewer generated samples are authentic than fresh real data would be: negative for copying.

    share(generated) - share(held-out), with the interval of a difference of two proportions.

    Args:
        generated: the decisions for the samples.
        held_out: those for real data that were not trained on, against the same training set; without
            near-duplicates of training points, see `unrote.measure.duplicates.cross_duplicates`.
        confidence: between 0 and 1.

    Raises:
        InputError: for a confidence outside (0, 1).

    Source: `unrote.measure.estimate.newcombe`.
    """
    first, second = generated.authentic, held_out.authentic
    return newcombe(int(first.sum()), len(first), int(second.sum()), len(second), confidence)


def expected_share(dimension: int) -> float:
    """The share of authentic samples that fresh data of a smooth density in `dimension` dimensions have.

    A fresh point is not authentic if it and its nearest training point are nearest to each other.  With
    s = I_{3/4}((D + 1)/2, 1/2), the share of a unit ball in the ball around a point of its surface, that happens
    with probability 1/(2 - s), the ratio of the ball to the union of both; so the share is (1 - s)/(2 - s):
    1/3 on a line, 0.378 in the plane, 1/2 in infinitely many dimensions.  `dimension` is that of the surface on
    which the data lie, not the number of pixels.  It holds where the data are dense; 4,000 uniform points of a
    64-dimensional cube, which are not, measure 0.71, so that only held-out data say what is usual.

    Raises:
        ValueError: for a dimension below 1.

    Source: the probability of mutual nearest neighbours, Clark and Evans, "On some aspects of spatial pattern
    in biological populations", 1955; Pickard, "Isolated nearest neighbors", 1982.
    """
    from scipy.special import betainc

    if dimension < 1:
        raise ValueError(f"a dimension is at least 1, got {dimension}")
    overlap = float(betainc((dimension + 1) / 2, 0.5, 0.75))
    return (1 - overlap) / (2 - overlap)
