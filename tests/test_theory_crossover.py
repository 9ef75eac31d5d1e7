"""Equation (14) and what surrounds it: published numbers, closed forms, equations that solutions must solve."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unrote.noise.levels import vp_levels
from unrote.noise.schedule import sigma_of_vp_time, vp_time
from unrote.theory.crossover import (
    Spectrum,
    constant_for,
    copying_distortion,
    crossing,
    crossover,
    crossover_at_dimension,
    crossover_from_distortion,
    distortion_loss,
    generalising_excess,
    isotropic_spectrum,
    partial_excess,
    rho,
    valid_up_to,
)
from unrote.theory.levels import NAMED, flat, on_grid, spread_evenly, training
from unrote.theory.nearest import binomial_constant, nearest_constant

GRID = on_grid(vp_levels())

TABLE = [  # weighting, rho, M*/N at C = 1, 1.5, 2, the C that gives 4/5
    ("flat", ".33964", (".6604", ".7736", ".8302"), "1.698"),
    ("1-t^2", ".19420", (".8058", ".8705", ".9029"), ".971"),
    ("t^2", ".62241", (".3776", ".5851", ".6888"), "3.11"),
    ("min(psi,1)", ".23016", (".7698", ".8466", ".8849"), "1.151"),
    ("min(psi,5)", ".13170", (".8683", ".9122", ".9341"), ".659"),
    ("1/psi", ".98335", (".0167", ".3444", ".5083"), "4.92"),
]


def printed(value: float, digits: str) -> bool:
    """Whether a value rounds to the digits that are printed."""
    places = len(digits.split(".")[1])
    return f"{value:.{places}f}".lstrip("0") == digits.lstrip("0")


@pytest.mark.parametrize(("name", "share", "sizes", "constant"), TABLE)
def test_the_table_of_equation_14_to_all_printed_digits(name, share, sizes, constant) -> None:
    found = rho(GRID, NAMED[name], isotropic_spectrum(50, 1.0))
    assert printed(found, share)
    for c, size in zip((1.0, 1.5, 2.0), sizes, strict=True):
        assert printed(crossover(found, c), size)
    assert printed(constant_for(found, 0.8), constant)


@pytest.mark.parametrize(
    ("name", "share", "constant"),
    [
        ("psi", 1.7153139620506285e-05, 8.576569810253142e-05),
        ("t^2", 0.6224103612521035, 3.112051806260517),
        ("1/psi", 0.9833490626949318, 4.916745313474659),
        ("min(psi,5)", 0.1317023429081296, 0.658511714540648),
    ],
)
def test_the_same_in_full_precision(name: str, share: float, constant: float) -> None:
    found = rho(GRID, NAMED[name], isotropic_spectrum(7, 1.0))
    assert found == pytest.approx(share, rel=1e-12)
    assert constant_for(found, 0.8) == pytest.approx(constant, rel=1e-12)
    assert crossover(found, constant) == pytest.approx(0.8, rel=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.01, 100).filter(lambda s: abs(s - 1) > 1e-3))
def test_rho_of_a_flat_weighting_in_the_continuum_for_any_spread(spread: float) -> None:
    rest = 1 - spread  # int_0^1 t^2 / (s + (1 - s) t^2) dt
    if rest > 0:
        integral = (1 - math.sqrt(spread / rest) * math.atan(math.sqrt(rest / spread))) / rest
    else:
        integral = (1 - math.sqrt(-spread / rest) * math.atanh(math.sqrt(-rest / spread))) / rest
    law = spread_evenly(0.0, 1.0, sigma_of_vp_time)
    assert rho(law, flat, isotropic_spectrum(3, spread)) == pytest.approx(integral, rel=1e-10)


def test_the_generalising_excess_is_d_t_squared_for_unit_clusters() -> None:
    sigma = vp_levels()
    torch.testing.assert_close(
        generalising_excess(sigma, isotropic_spectrum(50, 1.0)), 50 * vp_time(sigma) ** 2
    )
    s = 2.5
    torch.testing.assert_close(
        generalising_excess(sigma, isotropic_spectrum(50, s)), 50 * s / (s / sigma**2 + 1), rtol=1e-13, atol=0
    )


def test_it_is_the_error_of_the_linear_denoiser_of_one_anisotropic_gaussian(generator) -> None:
    eigenvalues = torch.tensor([4.0, 1.0, 0.25, 0.0], dtype=torch.float64)
    spectrum = Spectrum(eigenvalues[None], torch.ones(1))
    x = eigenvalues.sqrt() * torch.randn(200_000, 4, generator=generator, dtype=torch.float64)
    for sigma in (0.3, 2.0):
        y = x + sigma * torch.randn(200_000, 4, generator=generator, dtype=torch.float64)
        error = (eigenvalues / (eigenvalues + sigma**2) * y - x).square().sum(1)
        found = float(generalising_excess(torch.tensor([sigma]), spectrum)[0])
        assert abs(float(error.mean()) - found) < 5 * float(error.std()) / 200_000**0.5
    assert spectrum.trace == pytest.approx(5.25)


def test_spectra_agree_where_they_say_the_same() -> None:
    sigma = vp_levels()
    one = isotropic_spectrum(6, 0.7)
    listed = Spectrum(torch.full((2, 6), 0.7).double(), torch.tensor([0.4, 0.6]))
    low_rank = Spectrum(torch.tensor([[1.4, 1.4, 1.4, 0.0, 0.0, 0.0]]).double(), torch.ones(1))
    torch.testing.assert_close(generalising_excess(sigma, listed), generalising_excess(sigma, one))
    assert low_rank.trace == pytest.approx(one.trace)
    assert rho(GRID, flat, listed) == pytest.approx(rho(GRID, flat, one))
    # the same variance in fewer directions is easier to denoise
    assert rho(GRID, flat, low_rank) < rho(GRID, flat, one)
    assert rho(GRID, flat, low_rank) == pytest.approx(rho(GRID, flat, isotropic_spectrum(3, 1.4)))


def test_where_the_approximations_are_claimed() -> None:
    assert 1 / valid_up_to(50) ** 2 == pytest.approx(0.306, abs=5e-4)
    assert float(vp_time(torch.tensor(valid_up_to(50)))) == pytest.approx(0.875, abs=5e-4)
    assert valid_up_to(1) == math.inf


def test_partial_excess() -> None:
    assert partial_excess(0.1, 2.0, isotropic_spectrum(50, 1.0)) == pytest.approx(90)
    assert partial_excess(1.0, 2.0, isotropic_spectrum(50, 3.0)) == 0


def test_the_crossover_at_dimension_solves_its_equation() -> None:
    weights = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    spreads, missing = torch.tensor([1.0, 2.0, 0.5]).double(), torch.full((3,), 4.0).double()
    share, count = 0.34, 300
    at = crossover_at_dimension(share, count, 30, weights, missing, spreads)
    assert at is not None
    assert 1 < at < count
    low = torch.tensor([math.floor(at), math.floor(at) + 1])
    each = weights * spreads / (weights * spreads).sum()
    losses = (1 - low.double() / count) * (binomial_constant(low, weights, 30, missing) @ each)
    part = at - math.floor(at)
    assert float(losses[0] * (1 - part) + losses[1] * part) == pytest.approx(share, rel=1e-12)


def test_with_one_cluster_in_many_dimensions_it_is_the_papers_with_constant_two() -> None:
    one = torch.ones(1, dtype=torch.float64)
    at = crossover_at_dimension(0.3, 100, 10**5, one, one)
    constant = float(nearest_constant(85, 10**5))
    assert at is not None
    assert at / 100 == pytest.approx(crossover(0.3, constant), abs=1e-4)
    assert at / 100 == pytest.approx(crossover(0.3, 2.0), abs=4e-3)
    assert crossover_at_dimension(5.0, 100, 50, one, one) is None


def test_a_weighting_that_only_sees_small_noise_puts_the_crossover_at_n() -> None:
    equal = torch.full((12,), 1 / 12, dtype=torch.float64)
    share = rho(GRID, training, isotropic_spectrum(50, 1.0))
    at = crossover_at_dimension(share, 200, 50, equal, torch.full((12,), 4.0).double())
    assert at is not None
    assert at / 200 == pytest.approx(0.999988, abs=1e-6)


def test_crossing_interpolates_and_says_when_there_is_none() -> None:
    sizes, values = torch.tensor([10, 20, 40]), torch.tensor([5.0, 3.0, 1.0])
    assert crossing(sizes, values, 4.0) == pytest.approx(15)
    assert crossing(sizes, values, 1.0) == pytest.approx(40)
    assert crossing(sizes, values, 0.5) is None
    assert crossing(sizes, values, 9.0) == 10
    assert crossing(sizes, torch.tensor([5.0, 1.0, 4.0]), 3.0) == pytest.approx(15)
    with pytest.raises(ValueError, match="increase"):
        crossing(torch.tensor([2, 1]), torch.tensor([1.0, 2.0]), 1.0)


def test_the_loss_of_a_distortion_is_the_generalising_loss_of_that_variance() -> None:
    d2 = torch.tensor([0.0, 5.0, 25.0, 50.0], dtype=torch.float64)
    found = distortion_loss(d2, 50, GRID, flat)
    assert float(found[0]) == 0
    assert bool((found.diff() > 0).all())
    for value, loss in zip(d2[1:].tolist(), found[1:].tolist(), strict=True):
        assert loss == pytest.approx(value * rho(GRID, flat, isotropic_spectrum(50, value / 50)))


@pytest.mark.parametrize("name", NAMED)
def test_a_trained_mixture_meets_the_generalising_loss_where_its_distortion_is_the_variance(
    name: str,
) -> None:
    sizes = torch.tensor([4, 8, 12, 16, 20])
    d2 = torch.tensor([110.0, 80.0, 50.0, 40.0, 30.0], dtype=torch.float64)
    spectrum = isotropic_spectrum(50, 1.0)
    loss = rho(GRID, NAMED[name], spectrum) * spectrum.trace * (1 + 1e-12)
    assert crossover_from_distortion(sizes, d2, loss, 50, GRID, NAMED[name]) == pytest.approx(12)


@pytest.mark.parametrize("side", [0.8, 1.25])
def test_samples_near_a_point_are_copies_on_one_side_of_the_threshold(side: float, generator) -> None:
    others, dimension, spread = 15, 400, 0.5
    constant = float(nearest_constant(others, dimension))
    v = side * copying_distortion(constant, dimension, spread) / dimension
    x = spread**0.5 * torch.randn(300, others + 1, dimension, generator=generator)
    sample = x[:, 0] + v**0.5 * torch.randn(300, dimension, generator=generator)
    distance = (sample[:, None] - x).norm(dim=2).sort(1).values
    copies = float((distance[:, 0] < distance[:, 1] / 3).float().mean())
    assert (copies > 0.9) if side < 1 else (copies < 0.1)


def test_settings_that_are_none_are_refused() -> None:
    for wrong in (
        lambda: isotropic_spectrum(0, 1.0),
        lambda: isotropic_spectrum(3, -1.0),
        lambda: Spectrum(torch.zeros(1, 2), torch.ones(1)),
        lambda: Spectrum(torch.tensor([[-1.0, 2.0]]), torch.ones(1)),
        lambda: partial_excess(1.5, 1.0, isotropic_spectrum(3, 1.0)),
        lambda: partial_excess(0.5, 0.0, isotropic_spectrum(3, 1.0)),
        lambda: crossover(0.3, 0.0),
        lambda: constant_for(0.3, 1.0),
        lambda: valid_up_to(0),
        lambda: crossover_at_dimension(0.3, 1, 5, torch.ones(1), torch.ones(1)),
        lambda: distortion_loss(torch.tensor([-1.0]), 5, GRID, flat),
        lambda: copying_distortion(1.0, 5, 1.0, 1.0),
    ):
        with pytest.raises(ValueError, match=r"\w"):
            wrong()
