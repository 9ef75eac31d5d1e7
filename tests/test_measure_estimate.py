"""Intervals against published worked examples, against their defining equations and by coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from unrote.contracts import InputError
from unrote.measure.estimate import (
    bootstrap,
    estimate,
    newcombe,
    percentile,
    samples_to_bound,
    wilson,
)

Z = 1.959963984540054


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [  # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_the_published_intervals(k: int, n: int, low: float, high: float) -> None:
    found = wilson(k, n)
    assert found.value == k / n
    assert found.low == pytest.approx(low, abs=5e-5)
    assert found.high == pytest.approx(high, abs=5e-5)
    assert found.n == n


def test_no_copies_among_497_leave_at_most_point_77_percent() -> None:
    found = wilson(0, 497)
    assert found.low == 0
    assert found.value == 0
    assert found.high == pytest.approx(0.00767, abs=5e-6)
    assert found.high == pytest.approx(Z**2 / (497 + Z**2))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 3000), st.floats(0, 1), st.floats(0.5, 0.999))
def test_wilson_ends_solve_the_score_equation(n: int, share: float, confidence: float) -> None:
    k = round(share * n)
    found, z = wilson(k, n, confidence), stats.norm.ppf((1 + confidence) / 2)
    for end in (found.low, found.high):
        assert abs(k / n - end) == pytest.approx(z * math.sqrt(end * (1 - end) / n), abs=1e-9)
    assert found.low <= k / n <= found.high
    mirrored = wilson(n - k, n, confidence)
    assert mirrored.low == pytest.approx(1 - found.high, abs=1e-12)


def test_wilson_covers_the_truth_as_often_as_it_says_on_average() -> None:
    n, rates = 60, np.linspace(0.02, 0.98, 97)
    found = [wilson(k, n) for k in range(n + 1)]
    covers = np.array([[e.low <= p <= e.high for e in found] for p in rates])
    coverage = (covers * stats.binom.pmf(np.arange(n + 1)[None], n, rates[:, None])).sum(1)
    assert coverage.mean() == pytest.approx(0.95, abs=0.01)
    assert coverage.min() > 0.89


def test_without_samples_nothing_is_known() -> None:
    assert wilson(0, 0).as_dict() == {"value": None, "low": 0.0, "high": 1.0, "n": 0}
    assert newcombe(0, 0, 3, 9).as_dict() == {"value": None, "low": -1.0, "high": 1.0, "n": 9}
    assert estimate(torch.zeros(0)).as_dict() == {"value": None, "low": None, "high": None, "n": 0}
    assert bootstrap(torch.zeros(0), torch.mean, torch.Generator()).value is None


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [  # Newcombe 1998, "Interval estimation for the difference between independent proportions", table II, method 10
        ((56, 70, 48, 80), 0.0524, 0.3339),
        ((9, 10, 3, 10), 0.1705, 0.8090),
        ((6, 7, 2, 7), 0.0582, 0.8062),
        ((5, 56, 0, 29), -0.0381, 0.1926),
        ((0, 10, 0, 20), -0.1611, 0.2775),
        ((0, 10, 0, 10), -0.2775, 0.2775),
        ((10, 10, 0, 20), 0.6791, 1.0),
        ((10, 10, 0, 10), 0.6075, 1.0),
    ],
)
def test_newcombe_gives_the_published_intervals(
    counts: tuple[int, int, int, int], low: float, high: float
) -> None:
    k1, n1, k2, n2 = counts
    found, swapped = newcombe(*counts), newcombe(k2, n2, k1, n1)
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))
    assert found.n == n1 + n2
    assert (swapped.low, swapped.high) == (pytest.approx(-found.high), pytest.approx(-found.low))


@settings(max_examples=50, deadline=None)
@given(st.floats(1e-4, 0.9), st.floats(0.5, 0.999))
def test_samples_to_bound_is_the_least_number_that_bounds(rate: float, confidence: float) -> None:
    n = samples_to_bound(rate, confidence)
    assert wilson(0, n, confidence).high <= rate * (1 + 1e-9)
    assert n == 1 or wilson(0, n - 1, confidence).high > rate


def test_3838_samples_bound_a_tenth_of_a_percent() -> None:
    assert samples_to_bound(0.001) == 3838


def test_estimate_of_decisions_is_wilson_and_of_numbers_is_student() -> None:
    decisions = torch.arange(40) < 7
    assert estimate(decisions, 0.9) == wilson(7, 40, 0.9)
    values = torch.tensor([1.0, 4.0, 2.5, 7.25, 3.0], dtype=torch.float64)
    found = estimate(values, 0.9)
    low, high = stats.t.interval(0.9, 4, values.mean().item(), stats.sem(values.numpy()))
    assert (found.value, found.n) == (pytest.approx(3.55), 5)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    single = estimate(values[:1])
    assert (single.value, single.low, single.high, single.n) == (1.0, None, None, 1)


def test_student_interval_covers_the_mean_of_few_normal_values(generator: torch.Generator) -> None:
    draws = torch.randn(2000, 5, generator=generator) * 3 + 7
    hits = [e.low <= 7 <= e.high for e in (estimate(row) for row in draws)]
    assert np.mean(hits) == pytest.approx(0.95, abs=0.015)


def test_estimate_refuses_what_is_no_measurement() -> None:
    with pytest.raises(ValueError, match="boolean decisions or floating point"):
        estimate(torch.arange(3))
    with pytest.raises(ValueError, match="finite"):
        estimate(torch.tensor([1.0, math.nan]))
    with pytest.raises(InputError, match="confidence is 95"):
        estimate(torch.ones(3), 95.0)
    with pytest.raises(ValueError, match="impossible"):
        wilson(4, 3)
    with pytest.raises(InputError, match="between 0 and 1"):
        samples_to_bound(0.0)


def test_bootstrap_of_the_mean_agrees_with_student_and_repeats_itself() -> None:
    values = torch.randn(300, 1, generator=torch.Generator().manual_seed(3))
    found = bootstrap(values, torch.mean, torch.Generator().manual_seed(1))
    exact = estimate(values[:, 0])
    assert found.value == pytest.approx(exact.value, abs=1e-6)
    assert found.low == pytest.approx(exact.low, abs=0.01)
    assert found.high == pytest.approx(exact.high, abs=0.01)
    assert found == bootstrap(values, torch.mean, torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("n", "share"), [(40, 0.5), (300, 0.95), (700, 0.99)])
def test_a_percentile_covers_that_of_the_population(n: int, share: float, generator: torch.Generator) -> None:
    rows = torch.rand(2000, n, generator=generator, dtype=torch.float64)
    found = [percentile(row, share) for row in rows]
    caught = np.mean([e.low <= share <= e.high for e in found])
    assert 0.945 < caught < 0.985
    assert [e.value for e in found[:50]] == pytest.approx(
        np.quantile(rows[:50].numpy(), share, axis=1).tolist()
    )
    assert np.mean([share < e.low for e in found]) < 0.03
    assert np.mean([share > e.high for e in found]) < 0.03


def test_a_percentile_without_enough_values_has_open_ends() -> None:
    # 99 of 100 below: an upper end needs 0.99^n <= 0.025, that is n >= 368
    assert percentile(torch.arange(367.0), 0.99).high is None
    assert percentile(torch.arange(368.0), 0.99).high == 367
    assert percentile(torch.arange(5.0), 0.5).as_dict() == {"value": 2, "low": None, "high": None, "n": 5}
    assert percentile(torch.zeros(0), 0.5).value is None
    with pytest.raises(InputError, match="percentile asked for is 95"):
        percentile(torch.arange(5.0), 95.0)
    with pytest.raises(ValueError, match="finite"):
        percentile(torch.tensor([math.nan]), 0.5)
