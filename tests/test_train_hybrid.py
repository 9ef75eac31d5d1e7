"""The hybrid objective: its bound in closed form, means that it does not touch, pixels whose masses sum to one."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from unrote.contracts import Examples, InputError
from unrote.denoise.compose import vp_eps
from unrote.denoise.networks import MLP
from unrote.denoise.variance import LearnedVariance, log_variance
from unrote.noise.levels import CosineTimesteps
from unrote.noise.schedule import CosineTime, alpha_bar, cosine_levels, to_vp
from unrote.train.hybrid import bound_term, discretised_nll, hybrid_loss, normal_kl
from unrote.train.interventions import ambient, compose
from unrote.train.loop import Options, train
from unrote.train.losses import Batch, denoising_loss
from unrote.train.recipe import baseline

STEPS = 400
LEVELS = cosine_levels(STEPS)
MEANING = log_variance(LEVELS)


def batch_of(t: list[int], seed: int = 0) -> Batch:
    """Rows with two 8-bit channels, each at the level of a timestep, float64."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randint(256, (len(t), 2, 3), generator=g).double() / 127.5 - 1
    z = torch.randn(x.shape, generator=g, dtype=torch.float64)
    sigma = LEVELS[t]
    return Batch(x, torch.zeros(len(t), dtype=torch.float64), sigma, z, sigma**-2)


def told(mean: Tensor, v: Tensor):
    return lambda x, sigma, condition=None: torch.cat([mean, v], 1)


def test_kl_of_normal_laws_is_what_their_logarithms_differ_by(generator) -> None:
    apart, first, second = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    p, q = (
        torch.distributions.Normal(mean, (0.5 * log).exp())
        for mean, log in ((apart, first), (torch.zeros_like(apart), second))
    )
    torch.testing.assert_close(normal_kl(apart, first, second), torch.distributions.kl_divergence(p, q))
    assert not bool(normal_kl(torch.zeros(4), first.float(), first.float()).any())


@pytest.mark.parametrize("values", [2, 16, 256])
def test_masses_of_the_values_of_a_pixel_sum_to_one(values) -> None:
    x = torch.linspace(-1, 1, values, dtype=torch.float64)[:, None]
    for mean in (-1.0, -0.31, 0.004, 0.9, 1.4):
        for log in (-8.0, -3.0, 0.5):
            like = torch.full_like(x, log)
            mass = (-discretised_nll(x, torch.full_like(x, mean), like, values)).exp()
            assert float(mass.sum()) == pytest.approx(1, abs=values * 2e-12)


def test_the_mass_of_a_value_is_its_density_times_its_width_where_the_law_is_wide() -> None:
    x = torch.linspace(-0.9, 0.9, 7, dtype=torch.float64)[:, None]
    mean, log = torch.full_like(x, 0.2), torch.full_like(x, -1.0)
    density = torch.distributions.Normal(mean, math.exp(-0.5)).log_prob(x) + math.log(2 / 255)
    torch.testing.assert_close(discretised_nll(x, mean, log), -density, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("v", [-1.0, 0.3, 1.0])
def test_a_term_of_the_bound_is_ddpms_in_its_own_coordinates(v) -> None:
    batch = batch_of([1, 40, 399])
    mean = 0.8 * batch.x + 0.05
    bars, bits = alpha_bar(LEVELS), []
    for row, t in enumerate((1, 40, 399)):
        now, then = bars[t], bars[t - 1]
        beta = 1 - now / then
        posterior = beta * (1 - then) / (1 - now)
        part = (1 + v) / 2
        variance = (part * beta.log() + (1 - part) * posterior.log()).exp()
        apart = then.sqrt() * beta / (1 - now) * (batch.x[row] - mean[row])
        p, q = (
            torch.distributions.Normal(where, spread.sqrt())
            for where, spread in ((apart, posterior), (torch.zeros_like(apart), variance))
        )
        bits.append(torch.distributions.kl_divergence(p, q).mean() / math.log(2))
    found = bound_term(mean, torch.full_like(mean, v), batch.x, batch.sigma, LEVELS, MEANING)
    torch.testing.assert_close(found, torch.stack(bits), rtol=1e-7, atol=1e-9)


def test_at_the_true_mean_and_the_small_variance_a_step_costs_nothing() -> None:
    batch = batch_of([1, 3, 200])
    found = bound_term(batch.x, -torch.ones_like(batch.x), batch.x, batch.sigma, LEVELS, MEANING)
    assert float(found.abs().max()) < 1e-12


def test_the_lowest_level_is_charged_for_the_values_of_its_pixels() -> None:
    batch = batch_of([0, 0])
    v = torch.full_like(batch.x, 0.5)
    found = bound_term(batch.x, v, batch.x, batch.sigma, LEVELS, MEANING)
    log = MEANING(v, batch.sigma, torch.zeros(2, dtype=torch.float64))
    expected = discretised_nll(batch.x, batch.x, log).flatten(1).mean(1) / math.log(2)
    torch.testing.assert_close(found, expected)
    float32 = bound_term(
        *(part.float() for part in (batch.x, v, batch.x)), batch.sigma.float(), LEVELS, MEANING
    )
    torch.testing.assert_close(float32.double(), expected, rtol=1e-5, atol=1e-6)


def test_the_objective_is_the_error_of_the_noise_and_the_bound_in_its_proportion() -> None:
    batch = batch_of([0, 5, 399])
    eps = 0.9 * batch.z + 0.02
    noisy = batch.x + batch.sigma[:, None, None] * batch.z
    mean = (noisy - batch.sigma[:, None, None] * eps).requires_grad_()
    v = torch.full_like(mean, 0.2).requires_grad_()
    state = to_vp(noisy, batch.sigma)
    assert float((state.square().mean() - 1).abs()) < 1  # the network's own input has unit size
    simple = (eps - batch.z).square().flatten(1).mean(1)
    bound = bound_term(mean, v, batch.x, batch.sigma, LEVELS, MEANING)
    found = hybrid_loss(LEVELS, MEANING)(told(mean, v), batch)
    torch.testing.assert_close(found, simple + STEPS / 1000 * bound)
    plain = denoising_loss(lambda x, sigma, condition=None: mean, batch)
    torch.testing.assert_close(hybrid_loss(LEVELS, MEANING, 0.0)(told(mean, v), batch), plain)


def test_the_bound_teaches_the_variance_and_leaves_the_mean_alone() -> None:
    batch = batch_of([0, 1, 77, 399])
    mean = (0.9 * batch.x).requires_grad_()
    v = torch.zeros_like(mean).requires_grad_()
    hybrid_loss(LEVELS, MEANING)(told(mean, v), batch).sum().backward()
    whole, learned = mean.grad, v.grad
    assert whole is not None and learned is not None
    again = mean.detach().requires_grad_()
    denoising_loss(lambda x, sigma, condition=None: again, batch).sum().backward()
    assert torch.equal(whole, again.grad)
    assert bool(learned.flatten(1).any(1).all()) and bool(learned.isfinite().all())


def test_the_best_v_is_where_the_variance_is_that_of_the_step(generator) -> None:
    """With D = E[x0 | x] on Gaussian data, the best variance is small + (1 - s^2/sigma^2)^2 Var[x0 | x]."""
    spread, t, n = 0.6, 150, 40_000
    x = spread * torch.randn(n, 1, 1, generator=generator, dtype=torch.float64)
    sigma, below = LEVELS[t], LEVELS[t - 1]
    noisy = x + sigma * torch.randn(n, 1, 1, generator=generator, dtype=torch.float64)
    mean = spread**2 / (spread**2 + sigma**2) * noisy
    v = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([v], max_iter=30)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = bound_term(mean, v.expand(n, 1, 1), x, sigma.repeat(n), LEVELS, MEANING).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    found = MEANING(v.detach().reshape(1, 1), sigma[None], below[None]).exp()
    ratio = (below / sigma) ** 2
    exact = below**2 * (1 - ratio) + (1 - ratio) ** 2 * spread**2 * sigma**2 / (spread**2 + sigma**2)
    assert float(found / exact) == pytest.approx(1, abs=4e-3)


def test_rows_with_noise_and_denoisers_without_variance_are_refused(generator) -> None:
    batch = batch_of([3, 4])
    noisy = Batch(batch.x, torch.full((2,), 0.01, dtype=torch.float64), batch.sigma, batch.z, batch.weight)
    with pytest.raises(InputError, match="without `ambient`"):
        hybrid_loss(LEVELS, MEANING)(told(batch.x, batch.x), noisy)
    with pytest.raises(InputError, match="channels_out=4"):
        hybrid_loss(LEVELS, MEANING)(lambda x, sigma, condition=None: x, batch)


def test_training_by_it_lowers_both_parts() -> None:
    g = torch.Generator().manual_seed(0)
    shape = (1, 4, 4)
    x = torch.randint(256, (8, *shape), generator=g).float() / 127.5 - 1
    model = LearnedVariance(MLP(64, 1).build(shape, None, g, channels_out=2), vp_eps(CosineTime(STEPS)))
    law = CosineTimesteps(STEPS)
    recipe = baseline(Examples(x, torch.zeros(8)), law, model.weight)
    recipe = replace(recipe, loss=hybrid_loss(LEVELS, MEANING))
    rows = torch.arange(512) % 8
    sigma, z = law(512, g), torch.randn(512, *shape, generator=g)
    held = Batch(x[rows], torch.zeros(512), sigma, z, model.weight(sigma).float())
    parts = [hybrid_loss(LEVELS, MEANING, share) for share in (0.0, 1.0)]

    def both() -> tuple[float, float]:
        with torch.no_grad():
            simple, whole = (float(loss(model, held).mean()) for loss in parts)
        return simple, whole - simple

    before = both()
    *_, _ = train(model, recipe, g, Options(steps=200, batch_size=64, warmup_steps=0, tick_every=100))
    after = both()
    assert after[0] < 0.8 * before[0] and after[1] < before[1]
    noisy = compose(ambient(0.5, g))(recipe)
    with pytest.raises(InputError, match="noisy row"):
        list(train(model, noisy, g, Options(steps=1, batch_size=64)))
