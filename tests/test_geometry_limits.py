from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unrote.contracts import InputError
from unrote.denoise.exact import Empirical
from unrote.geometry.limits import copying_denoiser, linear_gap, linear_limit, shell_loss, shell_noise
from unrote.geometry.overlap import Shell
from unrote.geometry.shells import disjoint_below


def test_the_linear_denoiser_is_that_of_a_gaussian(generator: torch.Generator) -> None:
    x = torch.randn(7, 4, 3, generator=generator, dtype=torch.float64)
    flat = x.flatten(1)
    mean, covariance = flat.mean(0), torch.cov(flat.T, correction=0)
    y, sigma = (
        torch.randn(5, 12, generator=generator, dtype=torch.float64),
        torch.tensor([0.01, 0.3, 1.0, 4.0, 90.0]),
    )
    found = linear_limit(x)(y.reshape(5, 4, 3), sigma).flatten(1)
    for row, level in enumerate(sigma.double().tolist()):
        matrix = covariance @ torch.linalg.inv(covariance + level**2 * torch.eye(12, dtype=torch.float64))
        torch.testing.assert_close(found[row], mean + matrix @ (y[row] - mean), rtol=1e-7, atol=1e-9)


@settings(max_examples=10, deadline=None)
@given(st.integers(3, 25), st.integers(1, 8), st.floats(0.2, 4), st.integers(0, 10**6))
def test_the_gap_is_bounded_at_every_level_and_has_the_predicted_order(
    size: int, dimension: int, scale: float, seed: int
) -> None:
    g = torch.Generator().manual_seed(seed)
    x = scale * torch.rand(size, dimension, generator=g, dtype=torch.float64) ** 2
    u = torch.randn(4, dimension, generator=g, dtype=torch.float64)
    levels = linear_limit(x).radius * torch.tensor([0.1, 1.0, 10.0, 300.0, 900.0], dtype=torch.float64)
    found = linear_gap(x, u, levels)
    assert bool((found.gap <= found.bound).all())
    clear = found.leading[-1] > 0.2 * found.leading[-1].max().clamp_min(1e-12)
    torch.testing.assert_close(found.gap[-1][clear], found.leading[-1][clear], rtol=0.5, atol=0)


def test_order_two_and_order_three_where_third_moments_vanish(generator: torch.Generator) -> None:
    x = torch.rand(20, 5, generator=generator, dtype=torch.float64) ** 3
    u, levels = torch.randn(6, 5, generator=generator, dtype=torch.float64), torch.tensor([100.0, 200.0])
    skewed = linear_gap(x, u, levels)
    assert skewed.order.tolist() == pytest.approx([2] * 6, abs=0.05)
    torch.testing.assert_close(skewed.gap[1], skewed.leading[1], rtol=0.05, atol=0)
    symmetric = linear_gap(torch.cat([x, -x]), u, levels)
    assert symmetric.order.tolist() == pytest.approx([3] * 6, abs=0.05)
    assert float(symmetric.leading.abs().max()) < 1e-12
    with pytest.raises(ValueError, match="2 or more levels"):
        linear_gap(x, u, levels[:1])


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 500), st.floats(0.3, 6), st.integers(0, 10**6))
def test_shell_noise_is_uniform_in_volume(dimension: int, tail: float, seed: int) -> None:
    from scipy.stats import kstest

    shell = Shell(dimension, tail)
    length = shell_noise((400, dimension), shell, torch.Generator().manual_seed(seed)).norm(dim=1)
    assert bool((length >= shell.inner * (1 - 1e-9)).all() and (length <= shell.outer * (1 + 1e-9)).all())
    least = (shell.inner / shell.outer) ** dimension
    volume = ((length / shell.outer) ** dimension - least) / (1 - least)
    assert kstest(volume.numpy(), "uniform").pvalue > 1e-6


def test_two_denoisers_of_equal_loss_that_differ_elsewhere(
    digits: Tensor, generator: torch.Generator
) -> None:
    x, shell = digits[:40].double(), Shell(64)
    closest = float(torch.nn.functional.pdist(x).min())
    sigma = 0.99 * disjoint_below(closest, shell)
    one = copying_denoiser(x, sigma, shell, torch.zeros_like)
    other = copying_denoiser(x, sigma, shell, lambda y: y)
    for denoiser in (one, other):
        assert float(shell_loss(denoiser, x, sigma, shell, generator, draws=3).abs().max()) == 0
    fresh = digits[400:420].double() + sigma * torch.randn(20, 64, generator=generator, dtype=torch.float64)
    assert float((one(fresh) - other(fresh)).norm(dim=1).min()) > 1
    empirical = Empirical(x)
    best = shell_loss(lambda y: empirical(y, torch.full((len(y),), sigma)), x, sigma, shell, generator)
    assert float(best.max()) < 1e-6
    with pytest.raises(InputError, match="two shells meet"):
        copying_denoiser(x, 1.02 * sigma, shell, lambda y: y)
