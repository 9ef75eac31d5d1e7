"""Rank statistics against SciPy and by coverage."""

from __future__ import annotations

import math
from statistics import NormalDist

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from unrote.contracts import Estimate
from unrote.measure.estimate import newcombe, wilson
from unrote.measure.ranks import auc, mann_whitney, placements, weighted

values = st.lists(st.integers(0, 9), min_size=2, max_size=40)


@settings(max_examples=60, deadline=None)
@given(values, values)
def test_mann_whitney_is_that_of_scipy_with_ties(first: list[int], second: list[int]) -> None:
    found = mann_whitney(torch.tensor(first), torch.tensor(second))
    expected = stats.mannwhitneyu(
        first, second, method="asymptotic", use_continuity=False, alternative="less"
    )
    assert found.u == expected.statistic
    if len({*first, *second}) > 1:
        assert NormalDist().cdf(found.z) == pytest.approx(expected.pvalue, abs=1e-12)
    else:
        assert found.z == 0
    assert found.u == sum((a > b) + (a == b) / 2 for a in first for b in second)
    turned = mann_whitney(torch.tensor(second), torch.tensor(first))
    assert turned.z == pytest.approx(-found.z)
    area = auc(torch.tensor(first), torch.tensor(second))
    assert area.value == pytest.approx(found.u / (len(first) * len(second)))
    assert area.low <= area.value <= area.high


def test_delongs_variance_is_reached_in_large_samples(generator: torch.Generator) -> None:
    a = torch.randn(2000, generator=generator) + 1
    b = 3 * torch.randn(3000, generator=generator)
    found = auc(a, b)
    variance = placements(a, b).div(3000).var() / 2000 + placements(b, a).div(2000).var() / 3000
    assert found.high - found.low == pytest.approx(2 * 1.96 * math.sqrt(float(variance)), rel=0.2)
    assert found.high - found.low >= 2 * 1.95 * math.sqrt(float(variance)) * 0.99


def test_newcombes_ends_solve_their_equation() -> None:
    # wholly separated samples: DeLong's variance is 0, and the low end solves 1 - A = z sqrt(V(A))
    found = auc(torch.arange(10.0, 22), torch.arange(0.0, 8))
    a, n, m = found.low, 12, 8
    weight = (n + m) / 2 - 1
    variance = a * (1 - a) * (1 + weight * (1 - a) / (2 - a) + weight * a / (1 + a)) / (n * m)
    assert 1 - a == pytest.approx(1.959964 * math.sqrt(variance), rel=1e-6)
    assert (found.value, found.high) == (1, 1)
    assert 0.7 < found.low < 0.9


@pytest.mark.parametrize(("n", "m", "shift"), [(15, 15, 0.0), (20, 60, 2.0), (100, 100, 1.0)])
def test_the_area_of_normal_scores_is_covered(
    n: int, m: int, shift: float, generator: torch.Generator
) -> None:
    truth = NormalDist().cdf(shift / math.sqrt(2))
    found = [
        auc(torch.randn(n, generator=generator) + shift, torch.randn(m, generator=generator))
        for _ in range(300)
    ]
    assert sum(e.low <= truth <= e.high for e in found) / 300 > 0.93
    mean = sum(e.value for e in found) / 300
    assert mean == pytest.approx(truth, abs=4 * (found[0].high - found[0].low) / 4 / math.sqrt(300))


def test_a_weighted_sum_of_two_shares_is_newcombes_mirrored() -> None:
    # p1 - p2 = p1 + (1 - p2) - 1, and 1 - p2 has the interval of p2 turned around
    found = weighted([wilson(56, 70), wilson(80 - 48, 80)], [1.0, 1.0])
    expected = newcombe(56, 70, 48, 80)
    assert found.value - 1 == pytest.approx(expected.value)
    assert (found.low - 1, found.high - 1) == (pytest.approx(expected.low), pytest.approx(expected.high))
    assert found.n == 150


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        auc(torch.tensor([math.nan]), torch.tensor([1.0]))
    with pytest.raises(ValueError, match="0 and 1 values"):
        mann_whitney(torch.zeros(0), torch.ones(1))
    with pytest.raises(ValueError, match="negative"):
        weighted([wilson(1, 2)], [-1.0])
    with pytest.raises(ValueError, match="both ends"):
        weighted([Estimate(1.0, None, 2.0, 1)], [1.0])
    assert auc(torch.zeros(0), torch.ones(3)).as_dict() == {"value": None, "low": 0, "high": 1, "n": 3}
