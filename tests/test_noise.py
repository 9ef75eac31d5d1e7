"""Units translate there and back; grids equal the papers' tables; laws have the promised shares."""

from __future__ import annotations

import math

import pytest
import torch

from unrote.noise import levels as grids
from unrote.noise import schedule as s
from unrote.noise.process import Gaussian

LEVELS = torch.logspace(-3, 2, 41, dtype=torch.float64)


@pytest.mark.parametrize(
    ("there", "back"),
    [(s.vp_time, s.sigma_of_vp_time), (s.alpha_bar, s.sigma_of_alpha_bar), (s.log_snr, s.sigma_of_log_snr)],
)
def test_every_unit_translates_there_and_back(there, back) -> None:
    torch.testing.assert_close(back(there(LEVELS)), LEVELS, rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    "alpha_bars", [s.linear_alpha_bars(), s.cosine_alpha_bars(), s.cosine_alpha_bars(4000)]
)
def test_timesteps_translate_there_and_back(alpha_bars) -> None:
    index = torch.linspace(0, len(alpha_bars) - 1, 137, dtype=torch.float64)
    torch.testing.assert_close(
        s.timestep(s.sigma_of_timestep(index, alpha_bars), alpha_bars), index, rtol=0, atol=1e-6
    )
    whole = torch.arange(len(alpha_bars))
    torch.testing.assert_close(s.sigma_of_timestep(whole, alpha_bars), s.sigma_of_alpha_bar(alpha_bars))
    assert torch.isnan(s.timestep(torch.tensor([1e-9, 1e9]), alpha_bars)).all()


def test_ddpm_linear_schedule_has_the_published_levels() -> None:
    # The window used for grey CelebA: timesteps 100, 125, 325, 350.
    got = s.sigma_of_timestep(torch.tensor([100, 125, 325, 350]), s.linear_alpha_bars())
    torch.testing.assert_close(
        got, torch.tensor([0.342, 0.430, 1.405, 1.591], dtype=torch.float64), rtol=0, atol=6e-4
    )


def test_cosine_schedule_follows_its_formula_where_betas_are_not_capped() -> None:
    bars = s.cosine_alpha_bars(1000)
    t = torch.arange(1, 1001, dtype=torch.float64) / 1000
    shape = torch.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    torch.testing.assert_close(bars[:990], shape[:990], rtol=1e-10, atol=0)


def test_one_level_in_every_unit() -> None:
    u = s.units(1.0)
    assert u.vp_time == pytest.approx(math.sqrt(0.5))
    assert u.alpha_bar == pytest.approx(0.5)
    assert u.log_snr == pytest.approx(0.0)
    assert u.ddpm_linear_timestep is not None
    assert float(s.linear_alpha_bars()[int(u.ddpm_linear_timestep)]) == pytest.approx(0.5, abs=0.005)
    assert s.units(1e-3).ddpm_linear_timestep is None
    with pytest.raises(ValueError, match="positive"):
        s.units(0.0)


def test_units_refuse_what_no_level_has() -> None:
    with pytest.raises(ValueError, match="before t = 1"):
        s.sigma_of_vp_time(torch.tensor([1.0]))
    with pytest.raises(ValueError, match="alpha-bar"):
        s.sigma_of_alpha_bar(torch.tensor([0.0]))
    with pytest.raises(ValueError, match="timesteps run from 0"):
        s.sigma_of_timestep(torch.tensor([1000]), s.linear_alpha_bars())


def test_vp_states_scale_there_and_back_and_have_unit_variance(generator) -> None:
    x0 = torch.randn(20000, 2, generator=generator, dtype=torch.float64)
    sigma = torch.full((20000,), 1.7, dtype=torch.float64)
    x = Gaussian().noise(x0, sigma, generator)
    assert float(s.to_vp(x, sigma).var()) == pytest.approx(1.0, abs=0.02)
    torch.testing.assert_close(s.from_vp(s.to_vp(x, sigma), sigma), x)


def test_edm_grid_is_the_published_table() -> None:
    table = [80, 57.585985, 40.785574, 28.374585, 19.352453, 12.910082, 8.400935, 5.315195, 3.256822]
    table += [1.923340, 1.088171, 0.585348, 0.296442, 0.139516, 0.059947, 0.022935, 0.007528, 0.002]
    torch.testing.assert_close(
        grids.edm_levels(18), torch.tensor(table, dtype=torch.float64), rtol=0, atol=1e-6
    )


def test_vp_grid_has_the_published_point() -> None:
    psi = grids.vp_levels(25)[16] ** -2
    assert float(psi) == pytest.approx(6.70406, abs=1e-5)
    assert len(grids.vp_levels(25)) == 26


def test_grids_refuse_levels_that_do_not_decrease_to_a_positive_end() -> None:
    with pytest.raises(ValueError, match="sigma_min"):
        grids.edm_levels(18, 2.0, 1.0)
    assert float(grids.end_at_zero(grids.edm_levels())[-1]) == 0.0
    assert torch.allclose(grids.log_levels(0.1, 10.0, 3), torch.tensor([0.1, 1.0, 10.0], dtype=torch.float64))


@pytest.mark.parametrize("law", [grids.LogNormal(), grids.UniformTime()])
def test_a_law_draws_the_shares_that_it_states(law, generator) -> None:
    sigma = law(200_000, generator).double()
    assert law.probability(0.0, math.inf) == pytest.approx(1.0)
    for low, high in [(0.0, 0.3), (0.3, 1.0), (1.0, 2.5), (2.5, math.inf)]:
        share = float(((sigma > low) & (sigma <= high)).double().mean())
        assert share == pytest.approx(law.probability(low, high), abs=0.005)


def test_edm_law_above_one_has_the_published_share() -> None:
    # The share of updates that a released ambient program gives to noisy rows at sigma_n = 1.
    assert grids.LogNormal().probability(1.0, math.inf) == pytest.approx(0.159, abs=5e-4)


def test_gaussian_noise_has_its_law_and_row_streams() -> None:
    x0 = torch.zeros(2, 3)
    streams = [torch.Generator().manual_seed(i) for i in (4, 5)]
    x = Gaussian().noise(x0, torch.tensor([1.0, 10.0]), streams)
    alone = Gaussian().noise(x0[1:], torch.tensor([10.0]), [torch.Generator().manual_seed(5)])
    assert torch.equal(x[1:], alone)


def test_a_network_hears_a_thousand_times_t_over_capital_t() -> None:
    levels = s.cosine_levels(4000)
    heard = s.CosineTime()(levels.float()) * 100
    torch.testing.assert_close(heard, torch.arange(4000).double() / 4, rtol=0, atol=2e-3)
    beyond = s.CosineTime()(torch.tensor([1e-6, 1e9]))
    torch.testing.assert_close(beyond, torch.tensor([0.0, 9.9975]).double())


def test_levels_are_drawn_as_often_as_each_other(generator) -> None:
    law = grids.CosineTimesteps(50)
    drawn = law(20_000, generator)
    table = s.cosine_levels(50)
    assert set(drawn.tolist()) == set(table.float().tolist())
    middle = float((table[19] * table[20]).sqrt())
    assert float((drawn < middle).double().mean()) == pytest.approx(0.4, abs=0.015)
    assert law.probability(0.0, middle) == pytest.approx(0.4)
    assert law.probability(0.0, float("inf")) == 1
    assert float(s.alpha_bar(table)[0]) == pytest.approx(float(s.cosine_alpha_bars(50)[0]))


def test_respacing_to_all_timesteps_leaves_the_schedule_as_it_is() -> None:
    table = s.cosine_levels(200)
    assert torch.equal(grids.respaced(table, len(table)), table.flip(0))
    few = grids.respaced(s.cosine_levels(4000), 25)
    assert {float(few[0]), float(few[-1])} == {float(s.cosine_levels(4000)[end]) for end in (-1, 0)}
    for wrong in (1, 201):
        with pytest.raises(ValueError, match="can be taken"):
            grids.respaced(table, wrong)
