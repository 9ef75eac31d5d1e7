"""The Frechet distance against closed forms, against SciPy's matrix root, and its interval by coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import linalg

from unrote.contracts import InputError
from unrote.measure.fidelity import Moments, fidelity, frechet, gaussian_frechet, moments


def _covariance(generator: torch.Generator, dimension: int, rank: int) -> torch.Tensor:
    a = torch.randn(dimension, rank, generator=generator, dtype=torch.float64)
    return a @ a.T


def _moments(mean: torch.Tensor, covariance: torch.Tensor) -> Moments:
    return Moments(mean.double(), covariance.double(), 100)


def test_commuting_covariances_have_a_closed_form(generator: torch.Generator) -> None:
    q = torch.linalg.qr(torch.randn(7, 7, generator=generator, dtype=torch.float64)).Q
    s, t = torch.rand(2, 7, generator=generator, dtype=torch.float64)
    mean = torch.randn(7, generator=generator, dtype=torch.float64)
    first, second = _moments(mean, q * s.square() @ q.T), _moments(0 * mean, q * t.square() @ q.T)
    expected = float(mean.square().sum() + (s - t).square().sum())
    assert gaussian_frechet(first, second) == pytest.approx(expected, rel=1e-12)


def test_general_covariances_agree_with_the_matrix_root(generator: torch.Generator) -> None:
    a, b = _covariance(generator, 12, 20), _covariance(generator, 12, 30)
    mean = torch.randn(2, 12, generator=generator, dtype=torch.float64)
    root = linalg.sqrtm((a @ b).numpy())
    expected = float((mean[0] - mean[1]).square().sum() + (a + b).trace()) - 2 * np.trace(root).real
    assert gaussian_frechet(_moments(mean[0], a), _moments(mean[1], b)) == pytest.approx(expected, rel=1e-10)
    assert gaussian_frechet(_moments(mean[1], b), _moments(mean[0], a)) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("rank", [1, 5, 11])
def test_singular_covariances_need_no_offset(rank: int, generator: torch.Generator) -> None:
    a = _covariance(generator, 12, rank)
    zero = torch.zeros(12, dtype=torch.float64)
    assert gaussian_frechet(_moments(zero, a), _moments(zero, a)) < 1e-10 * float(a.trace())
    assert gaussian_frechet(_moments(zero, a), _moments(zero, 4 * a)) == pytest.approx(
        float(a.trace()), rel=1e-9
    )
    # disjoint supports: the root of the product is 0 and the traces add up
    half = torch.zeros(12, 12, dtype=torch.float64)
    half[:6, :6], other = torch.eye(6), torch.eye(12, dtype=torch.float64)
    other[:6, :6] = 0
    assert gaussian_frechet(_moments(zero, half), _moments(zero, other)) == pytest.approx(12, rel=1e-12)
    assert gaussian_frechet(_moments(zero, 0 * a), _moments(zero, a)) == pytest.approx(float(a.trace()))


def test_moments_are_those_of_numpy_far_from_the_origin(generator: torch.Generator) -> None:
    x = torch.randn(5000, 6, generator=generator) @ torch.randn(6, 6, generator=generator) + 1000
    found = moments(x)
    assert np.allclose(found.mean, x.double().mean(0))
    assert np.allclose(found.covariance, np.cov(x.double().numpy(), rowvar=False), rtol=1e-9, atol=1e-9)
    pixels = torch.randint(0, 256, (40, 3), generator=generator, dtype=torch.uint8)
    assert np.allclose(moments(pixels).covariance, np.cov(pixels.double().numpy(), rowvar=False))


@pytest.mark.parametrize(("n", "dimension", "shift", "scale"), [(200, 16, 0.5, 1.0), (64, 16, 0.3, 1.3)])
def test_the_jackknife_takes_the_bias_away_and_covers_the_truth(
    n: int, dimension: int, shift: float, scale: float, generator: torch.Generator
) -> None:
    truth = dimension * (shift**2 + (scale - 1) ** 2)
    found = [
        frechet(
            scale * torch.randn(n, dimension, generator=generator) + shift,
            torch.randn(n, dimension, generator=generator),
            generator,
        )
        for _ in range(80)
    ]
    values = [f.distance.value for f in found]
    error = 4 * np.std(values) / math.sqrt(80)
    assert np.mean(values) == pytest.approx(truth, abs=error)
    assert np.mean([f.at_n for f in found]) > truth + 2 * error
    assert np.mean([f.distance.low <= truth <= f.distance.high for f in found]) > 0.9


def test_two_samples_of_one_distribution_have_distance_zero_in_their_interval(
    generator: torch.Generator,
) -> None:
    found = [
        frechet(torch.randn(60, 12, generator=generator), torch.randn(60, 12, generator=generator), generator)
        for _ in range(60)
    ]
    assert all(f.at_n > 0.5 for f in found)
    assert np.mean([f.distance.low == 0 for f in found]) > 0.95
    assert np.mean([f.distance.value for f in found]) < 0.3


def test_generated_stands_beside_a_baseline_of_the_same_size(
    digits: torch.Tensor, generator: torch.Generator
) -> None:
    x = digits[:, 20:36]
    noisy = x[:500] + 0.3 * torch.randn(500, 16, generator=generator)
    found = fidelity(noisy, x[500:1100], generator, x[1100:1500])
    assert found.n == found.generated.n == found.baseline.n == 400
    assert found.generated.distance.low > found.baseline.distance.high
    halves = fidelity(x[:400], x[400:1200], generator)
    assert halves.n == 400
    assert halves.generated.at_n == pytest.approx(halves.baseline.at_n, rel=0.5)
    again = fidelity(x[:400], x[400:1200], torch.Generator().manual_seed(3))
    assert again == fidelity(x[:400], x[400:1200], torch.Generator().manual_seed(3))


def test_what_cannot_be_estimated_is_refused(digits: torch.Tensor, generator: torch.Generator) -> None:
    with pytest.raises(InputError, match="principal components of which there are at most 50"):
        frechet(digits[:100], digits[100:200], generator)
    with pytest.raises(InputError, match="draw 130 at random"):
        frechet(digits[:130], digits[:140], generator)
    with pytest.raises(InputError, match="64 numbers in one set and 3"):
        frechet(digits[:130], digits[:130, :3], generator)
    broken = digits[:130].clone()
    broken[3, 3] = math.nan
    with pytest.raises(InputError, match="NaN or infinite"):
        frechet(broken, digits[:130], generator)
    with pytest.raises(ValueError, match="at least 2 groups"):
        frechet(digits[:130], digits[:130], generator, groups=1)
