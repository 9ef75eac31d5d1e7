"""Bounds against simulation (each would be refuted once in a million), exact values against enumeration."""

from __future__ import annotations

import math
from math import comb

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from unrote.theory.concentration import (
    chi_square_above,
    chi_square_away,
    chi_square_below,
    chi_square_exactly,
    covered,
    covered_at_least,
    expected_collection,
    expected_uncovered,
    needed_samples,
    norm_away,
    softmax_distance,
    softmax_gap,
    twice_covered,
)


def equal(clusters: int) -> torch.Tensor:
    return torch.full((clusters,), 1 / clusters, dtype=torch.float64)


def not_refuted(failures: int, trials: int, bound: float) -> bool:
    """Whether so many failures are compatible with a probability of at most `bound`."""
    return stats.binomtest(failures, trials, min(1.0, bound), alternative="greater").pvalue > 1e-6


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5000), st.floats(0.001, 1))
def test_theorem_c1_holds_exactly(dimension: int, epsilon: float) -> None:
    below, above = chi_square_exactly(dimension, epsilon)
    assert below == pytest.approx(stats.chi2.cdf((1 - epsilon) * dimension, dimension), rel=1e-8, abs=1e-300)
    assert above == pytest.approx(stats.chi2.sf((1 + epsilon) * dimension, dimension), rel=1e-8, abs=1e-300)
    slack = 1 + 1e-9
    assert below <= chi_square_below(dimension, epsilon) * slack
    assert above <= chi_square_above(dimension, epsilon) * slack
    assert below + above <= chi_square_away(dimension, epsilon) * slack
    both = chi_square_below(dimension, epsilon) + chi_square_above(dimension, epsilon)
    assert min(1.0, both) <= chi_square_away(dimension, epsilon) * slack


def test_the_inequality_of_its_proof_needs_a_third_and_not_a_sixth() -> None:
    x = np.linspace(0, 1, 1001)
    left = np.log1p(x) - x
    assert (left <= -(x**2) / 2 + x**3 / 3 + 1e-15).all()
    assert left[-1] > -1 / 2 + 1 / 6
    assert (-(x**2) / 2 + x**3 / 3 <= -(x**2) / 8).all()


@pytest.mark.parametrize(("dimension", "epsilon"), [(20, 0.9), (60, 0.5), (200, 0.3)])
@pytest.mark.parametrize("norm", [0.0, 1.0, 40.0])
def test_lemma_c2_by_simulation(dimension: int, epsilon: float, norm: float) -> None:
    rng, sigma, trials = np.random.default_rng(0), 0.7, 20_000
    g = sigma * rng.standard_normal((trials, dimension))
    g[:, 0] += norm
    width = epsilon * sigma * math.sqrt(dimension) * (sigma * math.sqrt(dimension) + norm)
    away = np.abs((g**2).sum(1) - norm**2 - sigma**2 * dimension) >= width
    assert not_refuted(int(away.sum()), trials, norm_away(dimension, epsilon))


@pytest.mark.parametrize(("count", "dimension", "epsilon"), [(5, 200, 0.45), (20, 400, 0.35), (2, 100, 0.6)])
@pytest.mark.parametrize("temperature", [1e-3, 1.0, 1e3])
def test_proposition_c3_by_simulation_even_if_weights_see_the_vectors(
    count, dimension, epsilon, temperature
) -> None:
    rng, trials, spread = np.random.default_rng(1), 2000, 1.7
    low, high, failure = softmax_distance(count, dimension, epsilon, spread)
    assert 0 < failure < 1
    g = math.sqrt(spread) * rng.standard_normal((trials, count, dimension))
    square = ((g[:, :-1] - g[:, -1:]) ** 2).sum(2)
    weight = np.exp(-(square - square.min(1, keepdims=True)) / temperature)
    weight /= weight.sum(1, keepdims=True)
    distance = ((np.einsum("rj,rjd->rd", weight, g[:, :-1]) - g[:, -1]) ** 2).sum(1)
    outside = (distance < low) | (distance > high)
    assert not_refuted(int(outside.sum()), trials, failure)


def test_the_condition_of_theorem_32_at_the_setting_of_figure_1() -> None:
    assert math.ceil(needed_samples(12, 50)) == 147
    assert needed_samples(1, 50) == 0
    assert twice_covered(1, 3) == 1


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 40), st.integers(1, 2000))
def test_proposition_c4_holds_as_corrected(clusters: int, dimension: int) -> None:
    kept = math.ceil(needed_samples(clusters, dimension))
    exact = covered(kept, equal(clusters), 2)
    assert twice_covered(clusters, dimension) <= exact + 1e-12
    assert twice_covered(clusters, dimension) <= covered_at_least(kept, equal(clusters), 2) + 1e-12


def test_proposition_c4_as_printed_fails() -> None:
    clusters, dimension = 2, 2
    kept = math.ceil(needed_samples(clusters, dimension))
    log_k, log_d = math.log(clusters), math.log(dimension)
    assert 1 - clusters**-log_d * (1 + log_k * log_d) > 0.08
    assert covered(kept, equal(clusters), 2) == 0  # three samples cannot be two of each of two
    assert twice_covered(clusters, dimension) == 0


@pytest.mark.parametrize(("kept", "clusters"), [(1, 1), (5, 3), (12, 12), (20, 12), (60, 12), (300, 40)])
def test_coverage_by_inclusion_and_exclusion(kept: int, clusters: int) -> None:
    total = sum((-1) ** j * comb(clusters, j) * (clusters - j) ** kept for j in range(clusters + 1))
    exact = total / clusters**kept
    assert covered(kept, equal(clusters)) == pytest.approx(exact, rel=1e-9, abs=1e-13)


@pytest.mark.parametrize("least", [1, 2, 3])
def test_coverage_of_unequal_clusters_by_enumeration(least: int) -> None:
    w, kept, total = [0.5, 0.3, 0.2], 9, 0.0
    for a in range(least, kept + 1):
        for b in range(least, kept + 1 - a):
            c = kept - a - b
            if c >= least:
                total += comb(kept, a) * comb(kept - a, b) * w[0] ** a * w[1] ** b * w[2] ** c
    assert covered(kept, torch.tensor(w), least) == pytest.approx(total, rel=1e-6)
    short = sum(stats.binom(kept, p).cdf(least - 1) for p in w)
    assert covered_at_least(kept, torch.tensor(w, dtype=torch.float64), least) == pytest.approx(
        max(0, 1 - short)
    )


def test_coverage_of_many_clusters_is_quick_and_bounded() -> None:
    assert covered(20_000, equal(1000)) == pytest.approx(covered_at_least(20_000, equal(1000), 1), abs=1e-9)
    assert covered(5, equal(6)) == 0
    assert covered(5, torch.tensor([0.5, 0.5, 0.0])) == 0


@pytest.mark.parametrize("clusters", [1, 2, 12, 500])
def test_the_collector_needs_k_harmonic_numbers(clusters: int) -> None:
    harmonic = sum(1 / k for k in range(1, clusters + 1))
    assert expected_collection(equal(clusters)) == pytest.approx(clusters * harmonic, rel=1e-9)


def test_the_collector_with_unequal_coupons() -> None:
    p, q = 0.9, 0.1  # the second coupon arrives after the first of either kind
    assert expected_collection(torch.tensor([p, q], dtype=torch.float64)) == pytest.approx(
        1 + p / q + q / p, rel=1e-9
    )
    assert expected_collection(torch.tensor([1.0, 0.0])) == math.inf


def test_what_is_not_covered() -> None:
    number, share = expected_uncovered(20, equal(12))
    assert number == pytest.approx(12 * (11 / 12) ** 20)
    assert share == pytest.approx((11 / 12) ** 20)


def test_softmax_is_near_one_hot_as_lemma_d1_says(generator) -> None:
    for count in (2, 5, 30):
        v = torch.randn(200, count, generator=generator, dtype=torch.float64)
        top = v.topk(2, 1).values
        for temperature in (0.05, 0.3):
            p = torch.softmax(v / temperature, 1)
            hot = torch.nn.functional.one_hot(v.argmax(1), count)
            for order in (1, 2, math.inf):
                distance = torch.linalg.vector_norm(p - hot, order, dim=1)
                bound = [softmax_gap(count, float(gap), temperature) for gap in (top[:, 0] - top[:, 1])]
                assert bool((distance <= torch.tensor(bound).double() + 1e-12).all())


def test_settings_outside_the_bounds_are_refused() -> None:
    for wrong in (
        lambda: chi_square_below(0, 0.5),
        lambda: chi_square_above(3, 1.5),
        lambda: norm_away(3, 0.0),
        lambda: softmax_distance(1, 3, 0.5),
        lambda: needed_samples(0, 5),
        lambda: covered(-1, equal(2)),
        lambda: covered(5, equal(2), 0),
        lambda: softmax_gap(3, 1.0, 0.0),
    ):
        with pytest.raises(ValueError, match=r"\w"):
            wrong()
