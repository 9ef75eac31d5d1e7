"""The constants of memorization times: closed forms, quadrature against them, simulations, and limits."""

from __future__ import annotations

import math

import pytest
import torch

from unrote.theory.kernels import random_features, relu_ntk
from unrote.theory.timescales import (
    Expansion,
    asymptotic_ratio,
    asymptotic_time,
    beta_constant,
    constant_ratio,
    gamma_constant,
    isotropic_rate,
    memorization_time,
    relu_features_expansion,
    relu_ntk_expansion,
    small_noise_rate,
    time_to_lose,
)


def number(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


@pytest.mark.parametrize(
    ("dimension", "nu", "simulated", "error"),
    [
        (8, 0.5, -0.47693, 0.0092),
        (8, 1, -1.94185, 0.0197),
        (8, 2, -16.0707, 0.103),
        (8, 3, -104.644, 0.6),
        (64, 1, -5.4066, 0.145),
        (64, 2, -128.151, 1.71),
    ],
)
def test_beta_is_what_simulations_of_it_saw(dimension, nu, simulated, error) -> None:
    assert abs(beta_constant(dimension, float(nu)) - simulated) < 4 * error


def test_beta_in_closed_form() -> None:
    assert beta_constant(8, 1.0) == pytest.approx(-1.93862, rel=1e-5)
    assert beta_constant(64, 1.0) == pytest.approx(-5.6348, rel=1e-5)
    assert beta_constant(8, 3.0) == pytest.approx(-104.69, rel=1e-4)
    for d in (1, 3, 50):
        assert beta_constant(d, 2.0) == pytest.approx(-2 * d, rel=1e-13)
        assert gamma_constant(d) == d


@pytest.mark.parametrize("dimension", [2, 3, 8, 64])
@pytest.mark.parametrize("nu", [0.5, 1.0, 2.0, 3.0])
def test_quadrature_with_a_cutoff_of_one_is_the_closed_form(dimension, nu) -> None:
    assert beta_constant(dimension, nu, torch.ones_like) == pytest.approx(
        beta_constant(dimension, nu), rel=1e-5
    )
    assert gamma_constant(dimension, torch.ones_like) == pytest.approx(dimension, rel=1e-10)


def test_constants_with_the_papers_cutoff() -> None:
    def cutoff(radius: torch.Tensor) -> torch.Tensor:
        return (-radius).exp()

    assert gamma_constant(8, cutoff) == pytest.approx(0.0399515, rel=1e-5)
    assert abs(beta_constant(8, 1.0, cutoff) + 0.0075396) < 3 * 7.3e-5


def test_the_ratio_approaches_its_limit_and_is_it_for_two() -> None:
    assert constant_ratio(8, 1.0) / asymptotic_ratio(8, 1.0) == pytest.approx(0.9693, abs=5e-5)
    assert constant_ratio(64, 1.0) / asymptotic_ratio(64, 1.0) == pytest.approx(1 - 1 / 256, abs=1e-4)
    for d in (1, 7, 300):
        assert constant_ratio(d, 2.0) == pytest.approx(asymptotic_ratio(d, 2.0), rel=1e-12)


def test_the_rate_of_a_laplace_kernel_is_the_simulated_one_and_tends_to_the_formula() -> None:
    def laplace(radius: torch.Tensor) -> torch.Tensor:
        return (-radius / 20).exp()

    points, told = number(32.0), Expansion(1.0, 1 / 20)
    found = float(isotropic_rate(points, number(0.1), 16, laplace))
    assert abs(found - 2.6585e-5) < 3 * 5.1e-7
    assert float(small_noise_rate(points, number(0.1), 16, told)) == pytest.approx(2.7193404509e-5, rel=1e-9)
    sigma = torch.tensor([1e-2, 1e-3, 1e-4], dtype=torch.float64)
    off = isotropic_rate(points, sigma, 16, laplace) / small_noise_rate(points, sigma, 16, told) - 1
    assert off.abs().tolist() == sorted(off.abs().tolist(), reverse=True) and abs(float(off[-1])) < 1e-4


def test_a_kernel_that_is_its_own_expansion_has_the_formulas_rate_at_every_level() -> None:
    sigma = torch.tensor([0.1, 1.0, 10.0], dtype=torch.float64)
    for nu in (1.0, 2.0, 2.5):
        exact = isotropic_rate(number(5.0), sigma, 6, lambda radius, nu=nu: 1 - 0.3 * radius**nu)
        told = small_noise_rate(number(5.0), sigma, 6, Expansion(nu, 0.3))
        assert torch.allclose(exact, told, rtol=1e-9)


def test_times_are_inverse_rates_and_near_their_limit_in_many_dimensions() -> None:
    points, sigma = torch.tensor([10.0, 20.0]).double(), torch.tensor([0.1, 0.1]).double()
    kernel = relu_ntk_expansion(400)
    tau = memorization_time(points, sigma, 400, kernel)
    assert torch.allclose(tau * small_noise_rate(points, sigma, 400, kernel), torch.ones(2).double())
    assert float(tau[1] / tau[0]) == pytest.approx(2)
    assert torch.allclose(tau, asymptotic_time(points, sigma, 400, kernel), rtol=1 / 1500)
    # At the rate lambda the time 1 / lambda takes 1 - exp(-2) of the squared error.
    assert float(time_to_lose(number(0.25), 1 - math.exp(-2))) == pytest.approx(4)
    assert float(time_to_lose(number(0.25), 0.5)) == pytest.approx(2 * math.log(2))


def test_the_expansions_of_relu_kernels_are_those_of_the_kernels() -> None:
    d = 9
    x = torch.zeros(1, d, dtype=torch.float64)
    x[0, 0] = math.sqrt(d)
    step = torch.zeros(1, d, dtype=torch.float64)
    step[0, 1] = 1e-4  # across x, which is where the angle changes
    ntk, features = relu_ntk_expansion(d), relu_features_expansion(d)
    assert float(1 - relu_ntk(x, x + step)) == pytest.approx(ntk.coefficient * 1e-4, rel=1e-3)
    same_length = (x + step) * (x.norm() / (x + step).norm())
    lost = 1 - 2 * float(random_features(x, same_length))
    assert lost == pytest.approx(features.coefficient * 1e-8, rel=1e-3)
    assert (ntk.exponent, features.exponent) == (1.0, 2.0)


def test_impossible_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="positive exponent"):
        beta_constant(8, 0.0)
    with pytest.raises(ValueError, match="dimension"):
        gamma_constant(0)
    with pytest.raises(ValueError, match="two dimensions"):
        beta_constant(1, 1.0, torch.ones_like)
    with pytest.raises(ValueError, match="levels positive"):
        memorization_time(number(3.0), number(0.0), 8, relu_ntk_expansion(8))
    with pytest.raises(ValueError, match="share"):
        time_to_lose(number(1.0), 1.0)
