"""Optimal matchings against closed forms, and how slowly samples approach their distribution."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch

from unrote.theory.wasserstein import (
    empirical_distances,
    enough_samples,
    gaussian_floor,
    rate,
    squared_distance,
)


def gaussian(dimension: int):
    def draw(count: int, generator: torch.Generator) -> torch.Tensor:
        return torch.randn(count, dimension, generator=generator, dtype=torch.float64)

    return draw


def mixture(clusters: int, dimension: int, generator: torch.Generator):
    mu = torch.randn(clusters, dimension, generator=generator, dtype=torch.float64)
    mu = mu / mu.norm(dim=1, keepdim=True) * dimension**0.5

    def draw(count: int, generator: torch.Generator) -> torch.Tensor:
        label = torch.randint(clusters, (count,), generator=generator)
        return mu[label] + torch.randn(count, dimension, generator=generator, dtype=torch.float64)

    return draw


def test_on_the_line_the_matching_is_in_order(generator) -> None:
    x, y = torch.randn(2, 40, 1, generator=generator, dtype=torch.float64)
    sorted_distance = (x.sort(0).values - y.sort(0).values).square().mean()
    assert squared_distance(x, y) == pytest.approx(float(sorted_distance), rel=1e-12)


def test_no_permutation_is_better(generator) -> None:
    x, y = torch.randn(2, 6, 3, generator=generator, dtype=torch.float64)
    best = min(float((x - y[list(order)]).square().sum(1).mean()) for order in permutations(range(6)))
    assert squared_distance(x, y) == pytest.approx(best, rel=1e-12)


def test_a_shift_costs_its_square_and_order_nothing(generator) -> None:
    x = torch.randn(50, 4, generator=generator, dtype=torch.float64)
    shift = torch.tensor([1.0, -2.0, 0.0, 0.5], dtype=torch.float64)
    moved = (x + shift)[torch.randperm(50, generator=generator)]
    assert squared_distance(x, moved) == pytest.approx(float(shift.square().sum()), rel=1e-10)
    assert squared_distance(x, x.flip(0)) == 0


def test_the_nearest_sample_is_a_floor_that_needs_no_draw(generator) -> None:
    for found in empirical_distances(gaussian(10), [20, 80, 320], generator, 8):
        assert bool((found.floor <= found.squared).all())
        exact = gaussian_floor(found.count, found.dimension)
        error = float(found.floor.std()) / 8**0.5
        assert abs(float(found.floor.mean()) - exact) < 6 * error
        assert found.squared.shape == (8,)


def test_distances_fall_with_samples_ever_more_slowly_in_higher_dimension(generator) -> None:
    counts = [40, 80, 160, 320, 640]
    rates = {}
    for dimension in (1, 4, 10, 50):
        found = empirical_distances(gaussian(dimension), counts, generator, 4)
        mean = torch.stack([f.squared.mean() for f in found])
        rates[dimension] = rate(mean, torch.tensor(counts, dtype=torch.float64))
        assert bool((mean.diff() < 0).all())
    assert rates[1] == pytest.approx(0.5, abs=0.12)
    assert rates[10] == pytest.approx(1 / 10, abs=0.03)
    assert rates[1] > rates[4] > rates[10] > rates[50] > 0
    assert rates[50] < 0.05


def test_with_polynomially_many_samples_a_mixture_stays_as_far_as_its_variance(generator) -> None:
    for dimension in (4, 8, 16, 32):
        (found,) = empirical_distances(mixture(3, dimension, generator), [dimension**2], generator, 2)
        assert float(found.floor.mean()) > 0.5 * dimension
    assert gaussian_floor(1000**2, 1000) / 1000 > 1.5  # -> 2
    assert [gaussian_floor(d**2, d) / d for d in (10, 100, 1000)] == sorted(
        gaussian_floor(d**2, d) / d for d in (10, 100, 1000)
    )


def test_rates_and_numbers() -> None:
    counts = torch.tensor([10.0, 100.0, 1000.0])
    assert rate(3 * counts**-0.5, counts) == pytest.approx(0.25)
    assert enough_samples(10) == pytest.approx(10)
    assert enough_samples(50) == pytest.approx(math.log10(math.exp(50 * math.log(50))))
    with pytest.raises(ValueError, match="two positive"):
        rate(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 2.0]))
    with pytest.raises(ValueError, match="at least 1"):
        enough_samples(0)
