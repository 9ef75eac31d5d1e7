"""The constant of the nearest kept sample: published values, independent quadrature, simulation, limits."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from unrote.theory import nearest
from unrote.theory.nearest import binomial_constant, expected_nearest, missing_cost, nearest_constant


def equal(clusters: int) -> torch.Tensor:
    return torch.full((clusters,), 1 / clusters, dtype=torch.float64)


@pytest.mark.parametrize(
    ("kept", "dimension", "value"),
    [
        (1, 50, 2.0),
        (2, 50, 1.805533692),
        (4, 50, 1.6549629653),
        (8, 50, 1.5340),
        (12, 50, 1.4733306032),
        (20, 50, 1.4050),
        (8, 10, 1.0462488856),
        (8, 200, 1.760),
        (8, 1000, 1.8909987481),
    ],
)
def test_values_from_double_quadrature(kept: int, dimension: int, value: float) -> None:
    places = len(str(value).split(".")[1])
    found = float(nearest_constant(kept, dimension))
    assert found == pytest.approx(value, abs=5e-4 if places < 6 else 1e-8)


@pytest.mark.parametrize(("kept", "dimension"), [(3, 1), (7, 2), (50, 3), (1000, 7), (5, 120)])
def test_an_independent_quadrature_agrees(kept: int, dimension: int) -> None:
    def inner(noncentral: float) -> float:
        law = stats.ncx2(dimension, noncentral)
        edges = law.ppf([1e-13, 1e-9, 1e-6, 1e-4, 0.01, 0.1, 0.5, 0.9, 0.999]).tolist()
        edges = [0.0, *edges, edges[-1] + 60 + 20 * law.std()]
        pieces = pairwise(edges)
        return sum(integrate.fixed_quad(lambda u: law.sf(u) ** kept, a, b, n=40)[0] for a, b in pieces)

    node, weight = np.polynomial.legendre.leggauss(60)
    root = stats.chi(dimension)
    low, high = root.ppf(1e-13), root.isf(1e-13)
    r = low + (high - low) * (node + 1) / 2
    mean = sum(w * (high - low) / 2 * root.pdf(x) * inner(x**2) for x, w in zip(r, weight, strict=True))
    assert float(nearest_constant(kept, dimension)) == pytest.approx(mean / dimension, rel=2e-7)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 20000))
def test_one_neighbour_is_at_twice_the_variance(dimension: int) -> None:
    assert float(nearest_constant(1, dimension)) == pytest.approx(2, rel=1e-11)


def test_it_falls_with_neighbours_and_rises_to_two_with_dimension() -> None:
    kept = torch.tensor([1, 2, 3, 10, 100, 1000, 10**5])
    dimension = torch.tensor([1, 2, 5, 30, 300, 3000, 10**5])
    table = nearest_constant(kept[:, None], dimension)
    assert table.shape == (7, 7)
    assert bool((table.diff(dim=0) < 0).all())
    assert bool((table[1:].diff(dim=1) > 0).all())
    assert float(table[1, -1]) > 1.995
    assert bool((table > 0).all())


def test_many_neighbours_in_many_dimensions_take_moments_and_are_settled(monkeypatch) -> None:
    hard = [(10**5, 10**5), (10**5, 50), (10**5, 1), (1, 10**5)]
    nearest._law.cache_clear()
    coarse = [float(nearest_constant(m, d)) for m, d in hard]
    monkeypatch.setattr(nearest, "NODES", 1500)
    monkeypatch.setattr(nearest, "REACH", 12.0)
    nearest._law.cache_clear()
    assert [float(nearest_constant(m, d)) for m, d in hard] == pytest.approx(coarse, rel=1e-9)
    nearest._law.cache_clear()


def test_simulated_neighbours_are_as_far(generator) -> None:
    kept, dimension, repeats = 6, 20, 20000
    x = torch.randn(repeats, 1, dimension, generator=generator, dtype=torch.float64)
    others = torch.randn(repeats, kept, dimension, generator=generator, dtype=torch.float64)
    found = (x - others).square().sum(2).min(1).values / dimension
    error = float(found.std()) / repeats**0.5
    assert abs(float(found.mean()) - float(nearest_constant(kept, dimension))) < 5 * error


def test_the_average_over_who_was_kept_is_the_binomial_sum() -> None:
    weights, missing = torch.tensor([0.7, 0.3], dtype=torch.float64), torch.tensor([3.0, 4.0])
    sizes = torch.tensor([1, 5, 30])
    found = binomial_constant(sizes, weights, 12, missing.double())
    for s, size in enumerate(sizes.tolist()):
        for k, weight in enumerate(weights.tolist()):
            law = stats.binom(size, weight)
            direct = law.pmf(0) * float(missing[k])
            direct += sum(law.pmf(m) * float(nearest_constant(m, 12)) for m in range(1, size + 1))
            assert float(found[s, k]) == pytest.approx(direct, rel=1e-10)


@pytest.mark.parametrize(
    ("kept", "value", "error"), [(100, 1.544, 0.007), (140, 1.491, 0.009), (180, 1.439, 0.011)]
)
def test_it_explains_the_measured_constants_of_figure_1(kept: int, value: float, error: float) -> None:
    found = binomial_constant(torch.tensor([kept]), equal(12), 50, torch.full((12,), 4.0).double())
    assert float(found[0, 0]) == pytest.approx(value, abs=2 * error)


def sphere(clusters: int, dimension: int, generator: torch.Generator) -> torch.Tensor:
    mu = torch.randn(clusters, dimension, generator=generator, dtype=torch.float64)
    return mu / mu.norm(dim=1, keepdim=True) * dimension**0.5


def test_one_cluster_needs_no_mixture(generator) -> None:
    sizes = torch.tensor([1, 10, 200])
    found = expected_nearest(torch.zeros(1, 9).double(), 1.7, torch.ones(1), sizes, generator, 4000)
    exact = 1.7 * 9 * nearest_constant(sizes, 9)
    error = found.std(0) / 4000**0.5
    assert bool(((found.mean(0) - exact).abs() < 5 * error).all())


def test_overlapping_clusters_against_a_simulation(generator) -> None:
    mu = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    weights = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
    size, repeats = 5, 20000
    label = torch.multinomial(weights, repeats * (size + 1), replacement=True, generator=generator)
    x = mu[label] + 0.5 * torch.randn(len(label), 4, generator=generator, dtype=torch.float64)
    x = x.reshape(repeats, size + 1, 4)
    brute = (x[:, :1] - x[:, 1:]).square().sum(2).min(1).values
    found = expected_nearest(mu, 0.25, weights, torch.tensor([size]), generator, 4000)[:, 0]
    error = float(brute.var() / repeats + found.var() / 4000) ** 0.5
    assert abs(float(found.mean() - brute.mean())) < 5 * error


def test_missed_clusters_make_the_constant_exceed_two(generator) -> None:
    # 92.25 +- .98 was measured for M = 20, N = 200, d = 50, K = 12; the paper's bound with C = 2 is 90.
    found = expected_nearest(sphere(12, 50, generator), 1.0, equal(12), torch.tensor([20]), generator, 1000)
    assert 0.9 * float(found.mean()) == pytest.approx(92.25, abs=3.9)
    bound = float(binomial_constant(torch.tensor([20]), equal(12), 50, torch.full((12,), 4.0).double())[0, 0])
    assert float(found.mean()) / 50 < bound
    assert missing_cost(100.0, 50, 1.0) == 4


def test_counts_below_one_are_refused(generator) -> None:
    for kept, dimension in ((0, 5), (5, 0)):
        with pytest.raises(ValueError, match="m >= 1 and d >= 1"):
            nearest_constant(kept, dimension)
    with pytest.raises(ValueError, match="at least 1"):
        binomial_constant(torch.tensor([0]), equal(2), 5, torch.ones(2).double())
    with pytest.raises(ValueError, match="at least 1"):
        expected_nearest(torch.zeros(1, 2), 1.0, torch.ones(1), torch.tensor([0]), generator)
