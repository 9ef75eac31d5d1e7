"""DDIM is Euler in sigma; Heun is of second order; samples do not depend on their batch."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from problems import GaussianData

from unrote.contracts import Denoiser
from unrote.noise.levels import edm_levels, end_at_zero, vp_levels
from unrote.noise.schedule import to_vp, vp_time
from unrote.sample import steps

PROBLEM = GaussianData()


def last(step, denoiser, x, levels, generator=None):
    *_, x = steps.trajectory(step, denoiser, x, levels, generator)
    return x


def test_ddim_is_euler(generator) -> None:
    """000 H.2's update in VP coordinates equals Euler's step in sigma, at every level."""
    levels = vp_levels(25)
    x = steps.vp_start(torch.randn(5, 4, generator=generator, dtype=torch.float64), float(levels[0]))
    states = list(steps.trajectory(steps.euler, PROBLEM.denoise, x, levels))
    state = to_vp(x, levels[:1].expand(5))
    t = vp_time(levels)
    alpha = torch.sqrt(1 - t**2)
    for i in range(len(levels) - 1):
        sigma = levels[i].expand(5)
        clean = PROBLEM.denoise(state / alpha[i], sigma)
        ratio = t[i + 1] / t[i]
        state = ratio * state + (alpha[i + 1] - ratio * alpha[i]) * clean
        torch.testing.assert_close(
            state, to_vp(states[i + 1], levels[i + 1].expand(5)), rtol=1e-10, atol=1e-10
        )


@pytest.mark.parametrize(("step", "order"), [(steps.euler, 1), (steps.heun, 2)])
def test_order_of_convergence_on_the_closed_form_flow(step, order, generator) -> None:
    x = steps.edm_start(torch.randn(7, 3, generator=generator, dtype=torch.float64), 10.0)
    exact = PROBLEM.flow(x, 10.0, 0.1)
    errors = [
        float((last(step, PROBLEM.denoise, x, edm_levels(n, 0.1, 10.0)) - exact).abs().max())
        for n in (41, 81, 161)
    ]
    for coarse, fine in itertools.pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.12)


def test_the_flow_carries_noise_to_the_data_law(generator) -> None:
    levels = end_at_zero(edm_levels(40))
    x = last(
        steps.heun,
        PROBLEM.denoise,
        steps.edm_start(torch.randn(20000, 1, generator=generator).double(), 80.0),
        levels,
    )
    assert float(x.mean()) == pytest.approx(PROBLEM.mean, abs=0.02)
    assert float(x.std()) == pytest.approx(PROBLEM.spread, abs=0.02)


def test_churn_keeps_the_marginal_law() -> None:
    levels = edm_levels(60, 0.02, 20.0)
    step = steps.churn(steps.heun, amount=30.0, steps=59)
    g = torch.Generator().manual_seed(3)
    start = PROBLEM.mean + math.sqrt(PROBLEM.spread**2 + 400) * torch.randn(20000, 1, generator=g).double()
    x = last(step, PROBLEM.denoise, start, levels, g)
    assert float(x.std()) == pytest.approx(math.sqrt(PROBLEM.spread**2 + 0.02**2), abs=0.015)
    with pytest.raises(ValueError, match="generator"):
        last(step, PROBLEM.denoise, start, levels)


def test_churn_outside_its_window_is_the_plain_step(generator) -> None:
    x = torch.randn(3, 2, generator=generator, dtype=torch.float64)
    levels = edm_levels(5, 0.1, 1.0)
    quiet = steps.churn(steps.heun, amount=10.0, low=2.0)
    assert torch.equal(
        last(quiet, PROBLEM.denoise, x, levels, generator), last(steps.heun, PROBLEM.denoise, x, levels)
    )


def test_the_last_step_to_zero_returns_the_denoised_state() -> None:
    x = torch.tensor([[0.123456]])
    levels = torch.tensor([0.7, 0.0])
    for step in (steps.euler, steps.heun):
        assert torch.equal(last(step, PROBLEM.denoise, x, levels), PROBLEM.denoise(x, levels[:1]))


def test_a_sample_does_not_depend_on_its_batch() -> None:
    levels = end_at_zero(edm_levels(8))
    step = steps.churn(steps.heun, amount=5.0)
    whole = steps.generate(PROBLEM.denoise, (3,), range(10, 17), levels, step, batch_size=7)
    split = steps.generate(PROBLEM.denoise, (3,), range(10, 17), levels, step, batch_size=2)
    assert torch.equal(whole, split)


def test_starts_have_their_variance() -> None:
    z = torch.tensor([[1.0]])
    assert float(steps.edm_start(z, 3.0)) == pytest.approx(3.0)
    assert float(steps.vp_start(z, 3.0)) == pytest.approx(math.sqrt(10))


def test_levels_must_decrease() -> None:
    with pytest.raises(ValueError, match="decrease"):
        last(steps.euler, PROBLEM.denoise, torch.zeros(1, 1), torch.tensor([0.1, 0.2]))


def test_the_closed_form_is_a_denoiser() -> None:
    assert isinstance(PROBLEM.denoise, Denoiser)
