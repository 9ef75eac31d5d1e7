from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unrote.contracts import InputError
from unrote.geometry.locality import image_spectrum, locality, reach, sensitivity


def power(n: int) -> Tensor:
    k = torch.arange(n, dtype=torch.float64)
    return (1 + torch.minimum(k, n - k)) ** -2


@pytest.mark.parametrize(
    ("sigma", "variation", "jacobian"),
    [
        (0.05, 1.4577391310173193, (0.1662435565838121, 0.014345211970414308, -0.0003518634672349517)),
        (0.2, 1.878194, None),
        (1.0, 0.9981651376146787, (0.02200886664122517, 0.018934349685487392, 0.009781722030617956)),
    ],
)
def test_the_published_spectrum(sigma: float, variation: float, jacobian: tuple[float, ...] | None) -> None:
    found, row = locality(power(64), sigma), sensitivity(power(64), sigma)
    assert found.variation == pytest.approx(variation, rel=1e-6)
    assert float(found.bound[7]) == pytest.approx(variation / (128 * math.sin(math.pi / 8)), rel=1e-6)
    assert float(found.simple[7]) == pytest.approx(variation / 32, rel=1e-6)
    if jacobian is not None:
        assert [float(row[r]) for r in (1, 2, 8)] == pytest.approx(jacobian, rel=1e-8)
        assert [float(found.jacobian[r - 1]) for r in (1, 2, 8)] == pytest.approx(
            [abs(j) for j in jacobian], rel=1e-8
        )


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 50), st.floats(0.01, 10), st.integers(1, 3), st.integers(0, 10**6))
def test_the_bound_holds_for_any_spectrum(n: int, sigma: float, order: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    half = torch.rand(n, generator=g, dtype=torch.float64) ** 4
    spectrum = half + half.roll(-1).flip(0)  # lambda_k = lambda_{n-k}: a real covariance
    found = locality(spectrum, sigma, order=order)
    assert bool((found.jacobian <= found.bound * (1 + 1e-9) + 1e-12).all())
    if order == 1:
        assert bool((found.bound <= found.simple * (1 + 1e-9)).all())
    covariance = torch.fft.ifft(spectrum).real
    index = (torch.arange(n)[:, None] - torch.arange(n)) % n
    matrix = covariance[index]
    jacobian = matrix @ torch.linalg.inv(matrix + sigma**2 * torch.eye(n, dtype=torch.float64))
    torch.testing.assert_close(jacobian[:, 0], sensitivity(spectrum, sigma), rtol=0, atol=1e-8)


def test_unimodal_spectra_have_a_constant_of_at_most_a_half() -> None:
    for n in (5, 32, 64):
        for sigma in (0.01, 0.1, 1.0):
            assert locality(power(n), sigma).variation / 4 <= 0.5


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 9), st.integers(2, 9), st.floats(0.05, 3), st.integers(0, 10**6))
def test_the_bound_holds_along_each_axis_of_a_plane(h: int, w: int, sigma: float, seed: int) -> None:
    x = torch.randn(30, 2, h, w, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    spectrum = image_spectrum(x)
    row = sensitivity(spectrum, sigma).abs()
    for axis in (0, 1):
        found = locality(spectrum, sigma, axis=axis)
        assert bool((found.jacobian <= found.bound * (1 + 1e-9)).all())
        assert float(found.jacobian[0]) == pytest.approx(float(row.movedim(axis, -1)[..., 1].max()), rel=1e-6)


def test_image_spectrum_is_the_variance_of_the_fourier_coefficients(digits: Tensor) -> None:
    x = digits[:500].reshape(-1, 1, 8, 8)
    spectrum = image_spectrum(x)
    centred = x.double() - x.double().mean(0)
    assert float(spectrum.mean()) == pytest.approx(float(centred.square().mean()), rel=1e-9)
    levels = [0.05, 0.2, 0.5, 2.0]
    reaches = [reach(sensitivity(spectrum, s)) for s in levels]
    assert reaches == sorted(reaches)  # the denoiser of digits looks further as noise grows
    assert reaches[0] <= reaches[-1]


def test_reach_of_known_sensitivities() -> None:
    row = torch.zeros(9, dtype=torch.float64)
    row[0], row[1], row[8], row[3], row[6] = 5.0, 1.0, 1.0, 0.5, 0.5
    assert reach(row, 0.7) == 1
    assert reach(row, 0.9) == 3


def test_refusals() -> None:
    for spectrum, sigma in (
        (torch.tensor([-1.0, 1.0]), 1.0),
        (torch.ones(0), 1.0),
        (torch.tensor([math.nan]), 1.0),
    ):
        with pytest.raises(InputError, match="eigenvalues"):
            locality(spectrum, sigma)
    for sigma in (0.0, math.inf, math.nan):
        with pytest.raises(InputError, match="noise level"):
            sensitivity(torch.ones(4), sigma)
    with pytest.raises(InputError, match="too few"):
        locality(torch.ones(1), 1.0)
    with pytest.raises(InputError, match="share"):
        reach(torch.ones(4), 1.0)
