"""A learned variance lies between two natural ones in the logarithm; its denoiser is the plain one beside it."""

from __future__ import annotations

import pytest
import torch

from unrote.denoise.compose import Precondition, vp_eps
from unrote.denoise.networks import MLP
from unrote.denoise.variance import LearnedVariance, MeanOf, log_variance
from unrote.noise.levels import CosineTimesteps, respaced
from unrote.noise.schedule import (
    CosineTime,
    cosine_alpha_bars,
    cosine_levels,
    fixed_large,
    fixed_small,
)

SHAPE = (2, 3, 4)


def betas(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """alpha-bar, beta and posterior beta of all timesteps, as DDPM's programs compute them."""
    bars = cosine_alpha_bars(count)
    before = torch.cat([torch.ones(1, dtype=torch.float64), bars[:-1]])
    beta = 1 - bars / before
    return bars, beta, beta * (1 - before) / (1 - bars)


def test_the_bounds_are_beta_and_posterior_beta() -> None:
    bars, beta, posterior = betas(4000)
    levels = cosine_levels(4000)
    now, below = levels[1:], levels[:-1]
    torch.testing.assert_close(fixed_large(now, below) * bars[:-1], beta[1:], rtol=1e-8, atol=0)
    torch.testing.assert_close(fixed_small(now, below) * bars[:-1], posterior[1:], rtol=1e-8, atol=0)
    zero = torch.zeros(1, dtype=torch.float64)
    torch.testing.assert_close(fixed_large(levels[:1], zero), beta[:1], rtol=1e-8, atol=0)
    assert float(fixed_small(levels[:1], zero)) == 0


def test_v_interpolates_logarithms_and_the_last_step_borrows_its_lower_bound() -> None:
    bars, beta, posterior = betas(4000)
    made = log_variance(cosine_levels(4000))
    levels = cosine_levels(4000)
    for t in (1, 2000, 3999):
        pair = levels[t : t + 1], levels[t - 1 : t]
        for v in (-1.0, 0.0, 0.5, 1.0):
            part = (1 + v) / 2
            theirs = part * beta[t].log() + (1 - part) * posterior[t].log() - bars[t - 1].log()
            mine = made(torch.full((1, 1), v, dtype=torch.float64), *pair)
            assert float(mine) == pytest.approx(float(theirs), abs=1e-7)
    last = levels[:1], torch.zeros(1, dtype=torch.float64)
    lowest = made(torch.full((1, 1), -1.0, dtype=torch.float64), *last)
    assert float(lowest.exp()) == pytest.approx(float(posterior[1]), rel=1e-8)


def test_a_subset_of_timesteps_has_variances_of_its_own() -> None:
    few = respaced(cosine_levels(4000), 50).flip(0)
    whole = cosine_levels(4000)
    assert log_variance(few).first > 1.9 * log_variance(whole).first
    assert log_variance(few).first < float(
        fixed_large(whole[:1], torch.zeros(1))
    )  # the last step's upper bound
    with pytest.raises(ValueError, match="ascending"):
        log_variance(few.flip(0))


def test_the_first_half_is_the_plain_denoiser_and_v_begins_at_zero(generator) -> None:
    network = MLP(width=32, depth=1).build(SHAPE, None, generator, channels_out=4)
    torch.nn.init.normal_(network.get_submodule("last").weight, std=0.1, generator=generator)
    model = LearnedVariance(network, vp_eps(CosineTime()))

    class FirstHalf(torch.nn.Module):
        def forward(self, x, c_noise, condition):
            return network(x, c_noise, condition)[:, :2]

    plain = Precondition(FirstHalf(), model.coefficients)
    x, sigma = torch.randn(5, *SHAPE, generator=generator), CosineTimesteps()(5, generator)
    torch.testing.assert_close(MeanOf(model)(x, sigma), plain(x, sigma))
    torch.testing.assert_close(model.weight(sigma), sigma**-2)
    fresh = LearnedVariance(
        MLP(width=8, depth=1).build(SHAPE, None, generator, channels_out=4), vp_eps(CosineTime())
    )
    assert not bool(fresh(x, sigma)[:, 2:].any())  # half way between the bounds
    with pytest.raises(ValueError, match="channels_out=4"):
        LearnedVariance(MLP(width=8, depth=1).build(SHAPE, None, generator), vp_eps())(x, sigma)
