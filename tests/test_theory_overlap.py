"""The error of guessing a point: quadrature, simulation, limits, and the exact loss of the true denoiser."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from unrote.theory.overlap import confusion, confusion_bounds, generalising_loss, pair_error
from unrote.theory.surrogates import isotropic_denoiser


def one(value: float) -> torch.Tensor:
    return torch.tensor([value], dtype=torch.float64)


@pytest.mark.parametrize("gap", [0.01, 0.7, 3.0, 12.0])
@pytest.mark.parametrize("share", [0.5, 0.1, 0.999])
@pytest.mark.parametrize("variance", [0.5, 4.0])
def test_two_points_against_quadrature(gap: float, share: float, variance: float) -> None:
    s = math.sqrt(variance)

    def density(y: float) -> float:
        first, second = share * stats.norm.pdf(y, 0, s), (1 - share) * stats.norm.pdf(y, gap, s)
        return gap**2 * first * second / (first + second)

    edges = np.linspace(-9 * s, gap + 9 * s, 13)
    direct = sum(integrate.quad(density, a, b, epsabs=0)[0] for a, b in pairwise(edges))
    assert float(pair_error(one(gap), one(share), one(variance))) == pytest.approx(direct, rel=1e-9)


def test_two_points_far_apart_are_never_confused_and_close_ones_always() -> None:
    assert float(pair_error(one(1e3), one(0.5), one(1.0))) == 0
    assert float(pair_error(one(0.0), one(0.3), one(1.0))) == 0
    assert float(pair_error(one(1.0), one(0.3), one(1e9))) == pytest.approx(0.21, rel=1e-6)


def test_draws_agree_with_the_integral_for_two_points_in_any_dimension(generator) -> None:
    points = torch.randn(2, 6, generator=generator, dtype=torch.float64)
    weights, variance = torch.tensor([0.8, 0.2]), torch.tensor([0.3, 1.0, 5.0])
    low, high = confusion_bounds(points, weights, variance)
    torch.testing.assert_close(low, high)
    found = confusion(points, weights, variance, generator, 40_000)
    error = found.std(0) / 200
    assert bool(((found.mean(0) - high).abs() < 5 * error).all())


def test_bounds_hold_and_meet_where_confusion_is_rare_or_total(generator) -> None:
    mu = torch.randn(7, 10, generator=generator, dtype=torch.float64)
    weights = torch.tensor([0.3, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1])
    variance = torch.tensor([0.3, 1.0, 3.0, 10.0, 100.0, 1e6])
    low, high = confusion_bounds(mu, weights, variance)
    found = confusion(mu, weights, variance, generator, 20_000)
    error = 5 * found.std(0) / 20_000**0.5
    assert bool((found.mean(0) < high + error).all())
    assert bool((found.mean(0) > low - error).all())
    centred = mu - weights.double() @ mu
    total = float(weights.double() @ centred.square().sum(1))
    assert float(high[-1]) == pytest.approx(total, rel=1e-4)
    assert float(found.mean(0)[-1]) == pytest.approx(total, rel=1e-3)
    assert abs(float(found.mean(0)[0] - high[0])) < float(error[0]) + 0.05 * float(high[0])


def test_one_point_is_never_confused() -> None:
    low, high = confusion_bounds(torch.zeros(1, 3), torch.ones(1), torch.ones(2))
    assert float(low.sum() + high.sum()) == 0


def test_the_loss_of_the_true_denoiser_splits_exactly(generator) -> None:
    mu = 1.5 * torch.randn(3, 5, generator=generator, dtype=torch.float64)
    weights, spread = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), 0.6
    sigma = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)
    count = 100_000
    label = torch.multinomial(weights, count, replacement=True, generator=generator)
    x = mu[label] + spread**0.5 * torch.randn(count, 5, generator=generator, dtype=torch.float64)
    z = torch.randn(count, 5, generator=generator, dtype=torch.float64)
    denoise = isotropic_denoiser(mu, spread, weights)
    confused = confusion(mu, weights, spread + sigma**2, generator, count)
    split = generalising_loss(sigma, 5, spread, confused)
    for at, level in enumerate(sigma.tolist()):
        error = (denoise(x + level * z, torch.full((count,), level).double()) - x).square().sum(1)
        slack = 5 * float(error.var() / count + split[:, at].var() / count) ** 0.5
        assert abs(float(error.mean() - split[:, at].mean())) < slack


def test_means_on_the_sphere_at_d_50_as_published(generator) -> None:
    # excess + memorizing loss of the table: 32.34 + .229, 36.81 + 8.55, 22.30 + 39.5 at t = .8, .9, .95
    t = torch.tensor([0.1, 0.6, 0.8, 0.9, 0.95], dtype=torch.float64)
    sigma = t / torch.sqrt(1 - t**2)
    equal = torch.full((12,), 1 / 12, dtype=torch.float64)
    found = torch.zeros(5, dtype=torch.float64)
    for _ in range(20):
        mu = torch.randn(12, 50, generator=generator, dtype=torch.float64)
        mu = mu / mu.norm(dim=1, keepdim=True) * 50**0.5
        confused = confusion(mu, equal, 1 + sigma**2, generator, 500).mean(0)
        found += generalising_loss(sigma, 50, 1.0, confused) / 20
    expected = torch.tensor([0.5, 18.06, 32.57, 45.36, 61.8], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=0.012, atol=0)
