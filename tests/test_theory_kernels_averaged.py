"""Averaged kernels against quadrature over directions, against simulated noise, and their limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from unrote.theory.kernels import arc_cosine, random_features, relu_ntk
from unrote.theory.kernels_averaged import features_gram, ntk_gram


def centres(count: int, dimension: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, dimension, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def directions() -> tuple[torch.Tensor, torch.Tensor]:
    """A product quadrature over the unit sphere in three dimensions."""
    z, weight = np.polynomial.legendre.leggauss(120)
    turn = 2 * math.pi * (np.arange(240) + 0.5) / 240
    ring = np.sqrt(1 - z**2)[:, None]
    w = np.stack([ring * np.cos(turn), ring * np.sin(turn), np.broadcast_to(z[:, None], (120, 240))], -1)
    return torch.from_numpy(w.reshape(-1, 3)), torch.from_numpy(np.repeat(weight / 2 / 240, 240))


def averaged_features(x: torch.Tensor, w: torch.Tensor, sigma: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Gaussian integrals of relu(w.x) and of x relu'(w.x) against 1 and u, for unit w: (n,E) and (n,E,D)."""
    m = w @ x
    density = (-((m / sigma) ** 2) / 2).exp() / math.sqrt(2 * math.pi)
    step = torch.special.ndtr(m / sigma)
    value = torch.cat([(m * step + sigma * density)[:, None], sigma * w * step[:, None]], 1)
    slope = torch.empty(len(w), 4, 3, dtype=torch.float64)
    slope[:, 0] = x * step[:, None] + sigma * w * density[:, None]
    slope[:, 1:] = w[:, :, None] * x * density[:, None, None] + sigma * torch.eye(3) * step[:, None, None]
    slope[:, 1:] -= (m * density)[:, None, None] * w[:, :, None] * w[:, None, :]
    return value, slope


def test_all_averages_are_those_of_a_quadrature_over_directions() -> None:
    x, sigma = centres(3, 3), 0.4
    w, weight = directions()
    parts = [averaged_features(each, w, sigma) for each in x]
    features, ntk = features_gram(x, x[:2], sigma), ntk_gram(x, x[:2], sigma)
    for i in range(3):
        for j in range(2):
            told = torch.einsum("n,na,nb->ab", weight, parts[i][0], parts[j][0])
            assert torch.allclose(features[i, :, j], told, atol=1e-9)
            told = told + torch.einsum("n,nac,nbc->ab", weight, parts[i][1], parts[j][1]) / 3
            assert torch.allclose(ntk[i, :, j], told, atol=1e-9)


@pytest.mark.parametrize(("kernel", "gram"), [(random_features, features_gram), (relu_ntk, ntk_gram)])
def test_a_monte_carlo_gram_matrix_agrees(kernel, gram) -> None:
    x, sigma, draws, repeats = centres(2, 6, 1), 0.5, 200, 30
    generator = torch.Generator().manual_seed(2)
    seen = torch.empty(repeats, 2, 7, 2, 7, dtype=torch.float64)
    for at in range(repeats):
        u, v = torch.randn(2, draws, 6, generator=generator, dtype=torch.float64)
        e, f = (torch.cat([torch.ones(draws, 1).double(), part], 1) for part in (u, v))
        for i in range(2):
            for j in range(2):
                seen[at, i, :, j] = e.T @ kernel(x[i] + sigma * u, x[j] + sigma * v) @ f / draws**2
    score = (seen.mean(0) - gram(x, x, sigma)) / (seen.std(0) / math.sqrt(repeats))
    assert float(score.abs().max()) < 4.5
    assert 0.7 < float(score.square().mean().sqrt()) < 1.4


def test_without_noise_the_mean_is_the_kernel_and_its_slopes_are_its_derivatives() -> None:
    x, y, sigma = centres(2, 5, 3), centres(2, 5, 4), 0.03
    for kernel, gram in ((random_features, features_gram), (relu_ntk, ntk_gram)):
        found = gram(x, y, sigma)
        assert torch.allclose(found[:, 0, :, 0], kernel(x, y), atol=5e-4)
        bump = 1e-5 * torch.eye(5, dtype=torch.float64)[2]
        slope = (kernel(x + bump, y) - kernel(x - bump, y)) / 2e-5
        assert torch.allclose(found[:, 3, :, 0] / sigma, slope, atol=4e-3)


def test_gram_matrices_are_symmetric_positive_and_turn_with_the_points() -> None:
    x = centres(4, 5, 5)
    turn = torch.linalg.qr(centres(5, 5, 6)).Q
    for gram in (features_gram, ntk_gram):
        found = gram(x, x, 0.3)
        flat = found.reshape(24, 24)
        assert torch.allclose(flat, flat.T, atol=1e-12)
        assert float(torch.linalg.eigvalsh(flat).min()) > 0
        turned = gram(x @ turn, x @ turn, 0.3)
        back = torch.einsum("ab,ibjc,dc->iajd", turn, turned[:, 1:, :, 1:], turn)
        assert torch.allclose(back, found[:, 1:, :, 1:], atol=1e-10)


def test_angles_at_their_ends() -> None:
    k0, k1 = arc_cosine(torch.tensor([1.0, 0.0, -1.0]).double())
    assert k0.tolist() == pytest.approx([1, 0.5, 0]) and k1.tolist() == pytest.approx(
        [1, 1 / math.pi, 0], abs=1e-12
    )


def test_what_the_expansion_cannot_reach_is_refused() -> None:
    with pytest.raises(ValueError, match="three dimensions"):
        ntk_gram(torch.ones(1, 2), torch.ones(1, 2), 0.1)
    with pytest.raises(ValueError, match="harmonics"):
        ntk_gram(centres(1, 5), centres(1, 5), 1e-4)
    with pytest.raises(ValueError, match="no point may be 0"):
        relu_ntk(torch.zeros(1, 3), torch.ones(1, 3))
