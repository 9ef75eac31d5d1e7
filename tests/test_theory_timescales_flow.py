"""Gradient flow in closed form: against descent in small steps, and against the rate of one cluster."""

from __future__ import annotations

import math

import pytest
import torch

from unrote.theory.kernels_averaged import features_gram, ntk_gram
from unrote.theory.timescales import (
    constant_ratio,
    relu_features_expansion,
    relu_ntk_expansion,
    small_noise_rate,
)
from unrote.theory.timescales_flow import noise_target, rayleigh, spectrum, test_loss, training_loss

test_loss.__test__ = False  # the loss around test points is no test


def points(count: int, dimension: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, dimension, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_flow_is_the_limit_of_small_steps() -> None:
    x, fresh, sigma = points(6, 4), points(5, 4, 1), 0.3
    gram, between = ntk_gram(x, x, sigma), ntk_gram(fresh, x, sigma)
    matrix, reach = gram.reshape(30, 30) / 6, between.reshape(25, 30) / 6**0.5
    target, wanted = noise_target(6, 5), noise_target(5, 5) * 5**0.5
    weight, step, count = torch.zeros_like(target), 0.02, 5000
    for _ in range(count):
        weight = weight + step * (target - matrix @ weight)
    times = torch.tensor([step * count], dtype=torch.float64)
    found = spectrum(gram)
    off = matrix @ weight - target
    assert float(training_loss(found, times)) == pytest.approx(float(off.square().sum()) / 4, rel=2e-3)
    told = float((reach @ weight - wanted).square().sum()) / (5 * 4)
    assert float(test_loss(found, between, times)) == pytest.approx(told, rel=2e-3)


def test_losses_start_at_one_and_around_the_training_points_are_the_training_loss() -> None:
    x = points(8, 5, 2)
    gram = features_gram(x, x, 0.2)
    found = spectrum(gram)
    times = torch.tensor([0.0, 1.0, 100.0, 1e4, 1e9], dtype=torch.float64)
    training = training_loss(found, times)
    assert float(training[0]) == pytest.approx(1) and bool((training.diff() < 0).all())
    assert torch.allclose(test_loss(found, gram, times), training, atol=1e-7)
    assert float(found.share.sum()) == pytest.approx(1)
    assert float(found.rates.sum()) == pytest.approx(float(gram.reshape(48, 48).trace()) / 8)


def test_one_cluster_is_learned_at_the_rate_of_its_rayleigh_quotient() -> None:
    x = points(1, 12, 3)
    gram = ntk_gram(x, x, 0.1)
    rate, found = float(rayleigh(gram)), spectrum(gram)
    # All directions but the one along x are alike, and hardly mix with the constant.
    time = math.log(2) / (2 * rate)
    assert float(training_loss(found, torch.tensor([time]).double())) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("dimension", [8, 16])
def test_rates_tend_to_those_of_equation_22(dimension) -> None:
    x = points(2, dimension, 4)
    x = x * math.sqrt(dimension) / x.norm(dim=1, keepdim=True)
    count, levels = torch.tensor(2.0).double(), (0.1, 0.05)
    ntk, features = [], []
    for level in levels:
        at = torch.tensor(level).double()
        told = small_noise_rate(count, at, dimension, relu_ntk_expansion(dimension))
        ntk.append(float(rayleigh(ntk_gram(x, x, level)).mean() / told))
        told = (
            small_noise_rate(count, at, dimension, relu_features_expansion(dimension)) / 2
        )  # K(x, x) is 1/2
        features.append(float(rayleigh(features_gram(x, x, level)).mean() / told))
    # Terms in sigma^2 are as large as the formula's at sigma = 0.1; without noise displacements across x are left.
    assert ntk[0] > 1.5
    across = (
        (dimension - 1) * constant_ratio(dimension - 1, 1.0) / (dimension * constant_ratio(dimension, 1.0))
    )
    assert 2 * ntk[1] - ntk[0] == pytest.approx(across, abs=0.04)
    assert features == pytest.approx([1, 1], abs=0.05)
