"""Precision, recall, density and coverage: do generated samples lie where real data do, and everywhere they do?

The first argument is always the *generated* set, the second the *real* one; swapped, precision becomes recall.
Balls reach from a point to its k-th nearest neighbour of its own kind, itself not counted, and are closed.

What other programs do, read in their sources: that of Naeem and others (and the copies of it in dgm-eval and
synthcity) uses open balls, in which an exact copy of an image that occurs k + 1 times lies outside; torch-fidelity
calls real data the first argument and generated data the second.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from unrote.contracts import Estimate
from unrote.distances import MEMORY
from unrote.measure.balls import contacts, radii
from unrote.measure.estimate import estimate, wilson


@dataclass(frozen=True)
class Manifolds:
    """Precision, recall, density and coverage with the decisions they are means of.

    Args:
        precise: generated samples that lie in the ball of a real point (n,).
        density_of: for every generated sample, in how many balls of real points it lies, divided by k (n,).
        recalled: real points that lie in the ball of a generated sample (N,).
        covered: real points in whose ball a generated sample lies (N,).
        precision, recall, density, coverage: their means with intervals.
        k: which neighbour the balls reach to.
    """

    precise: Bool[Tensor, " n"]
    density_of: Float[Tensor, " n"]
    recalled: Bool[Tensor, " N"]
    covered: Bool[Tensor, " N"]
    precision: Estimate
    recall: Estimate
    density: Estimate
    coverage: Estimate
    k: int


def manifolds(
    generated: Shaped[Tensor, "n ..."],
    real: Shaped[Tensor, "N ..."],
    k: int = 5,
    *,
    memory: int = MEMORY,
    confidence: float = 0.95,
) -> Manifolds:
    """Precision, recall, density and coverage by exact neighbours: two searches and one pass over all pairs.

    precision = mean_j 1(g_j in some B(x_i)),      recall   = mean_i 1(x_i in some B(g_j)),
    density   = mean_j #{i : g_j in B(x_i)} / k,   coverage = mean_i 1(some g_j in B(x_i)),
    B(a) = {y : |y - a| <= distance of a to its k-th nearest neighbour in its own set}.

    The intervals of precision and density are over generated samples with the real set as it is, that of recall
    over real points with the generated set as it is.  One generated sample may cover many real points, which are
    therefore not independent: the interval of coverage is Wilson's for as many points as would give the variance
    of the jackknife over generated samples, where that is the larger one.  All four depend on n and N: compare
    with held-out data in place of generated ones, or with `expected_coverage`.

    Args:
        generated: features or pixels of the samples (n, *E).
        real: of real data, in the same units (N, *E).
        k: 3 in the work on precision and recall, 5 in that on density and coverage.
        memory: budget in bytes beyond the data.
        confidence: of the intervals.

    Raises:
        InputError: unless k is below n and N; NaN or infinity, events of different sizes.

    Source: Kynkaanniemi and others, "Improved precision and recall metric for assessing generative models", 2019,
    equations 1 and 2; Naeem and others, "Reliable fidelity and diversity metrics for generative models", 2020,
    equations 4 and 5.
    """
    own, other = radii(generated, k, memory=memory), radii(real, k, memory=memory)
    counts = torch.zeros(len(generated), dtype=torch.int64, device=generated.device)
    recalled = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    hits, hitter = (torch.zeros(len(real), dtype=torch.int64, device=real.device) for _ in range(2))
    for block in contacts(generated, real, own, other, memory=memory):
        counts[block.start : block.start + len(block.in_reference)] = block.in_reference.sum(1)
        inside = block.in_reference.to(torch.uint8)
        found = inside.sum(0)
        hitter = torch.where(found > 0, inside.argmax(0) + block.start, hitter)
        hits += found
        recalled |= block.in_query.any(0)
    precise, density, covered = counts > 0, counts.double() / k, hits > 0
    alone = torch.bincount(hitter[hits == 1], minlength=len(generated)).double()
    return Manifolds(
        precise,
        density,
        recalled,
        covered,
        estimate(precise, confidence),
        estimate(recalled, confidence),
        estimate(density, confidence),
        _coverage(covered, alone, confidence),
        k,
    )


def _coverage(covered: Tensor, alone: Tensor, confidence: float) -> Estimate:
    """The share of covered points; `alone` counts the points that one generated sample alone covers.

    Leaving sample j out loses a_j points, which gives the jackknife's variance (n - 1)/n sum (a_j - mean)^2 / N^2.
    """
    n, points = len(alone), len(covered)
    share = float(covered.double().mean())
    plain = share * (1 - share) / points
    jackknife = float((alone - alone.mean()).square().sum()) * (n - 1) / n / points**2
    effective = max(1, math.floor(points * min(1.0, plain / jackknife))) if jackknife else points
    found = wilson(round(share * effective), effective, confidence)
    assert found.low is not None and found.high is not None
    return Estimate(share, min(share, found.low), max(share, found.high), points)


def expected_coverage(generated: int, real: int, k: int = 5) -> float:
    """The mean coverage if generated and real data come from one continuous distribution.

    1 - prod_{i = 1..k} (N - i) / (n + N - i): none of the n generated is among the k nearest of all n + N - 1
    other points.

    Args:
        generated, real: sizes n and N of the sets.
        k: which neighbour the balls reach to, below N.

    Raises:
        ValueError: unless 1 <= k < N.

    Source: Naeem and others 2020, lemma 2.
    """
    if not 1 <= k < real:
        raise ValueError(f"k must be at least 1 and below the number of real points, got {k} and {real}")
    missed = 1.0
    for i in range(1, k + 1):
        missed *= (real - i) / (generated + real - i)
    return 1 - missed
