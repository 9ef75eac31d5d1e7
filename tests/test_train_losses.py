from __future__ import annotations

from dataclasses import replace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unrote.contracts import over
from unrote.train.losses import Batch, denoising_loss, held_out_loss


def scaled(factor: float):
    """The linear denoiser D = factor x."""

    def denoiser(x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        return factor * x

    return denoiser


def shifted_by_label(x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
    return 0.3 * x + over(sigma, x) + (0.0 if condition is None else over(condition.double(), x))


def batch_of(
    n: int, generator: torch.Generator, level: float = 0.0, shape: tuple[int, ...] = (3, 2)
) -> Batch:
    def numbers(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64)

    sigma = level + numbers(n).exp()
    return Batch(
        x=numbers(n, *shape),
        level=torch.full((n,), level, dtype=torch.float64),
        sigma=sigma,
        z=numbers(n, *shape),
        weight=sigma**-2,
        label=torch.arange(n) % 3,
    )


def test_on_clean_rows_it_is_ordinary_denoising_bit_for_bit(generator):
    batch = batch_of(20, generator)
    x = batch.x + over(batch.sigma, batch.x) * batch.z
    plain = (shifted_by_label(x, batch.sigma, batch.label) - batch.x).square().flatten(1).mean(1)
    assert torch.equal(denoising_loss(shifted_by_label, batch), batch.weight * plain)


@settings(max_examples=10, deadline=None)
@given(st.floats(0.1, 2.0), st.floats(1.2, 4.0), st.floats(0.3, 3.0))
def test_on_noisy_gaussian_rows_the_best_linear_denoiser_is_the_clean_posterior_mean(level, factor, spread):
    # x0 ~ N(0, s^2): E[x0|x] = s^2/(s^2 + sigma^2) x, which no clean row was needed for.
    sigma, n = level * factor, 100_000
    generator = torch.Generator().manual_seed(0)
    # Draws with exact second moments, so that the sample's optimum is the population's.
    raw = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    q = torch.linalg.qr(raw).Q * n**0.5
    noisy = (spread**2 + level**2) ** 0.5 * q[:, :1]
    full = torch.full((n,), 1.0, dtype=torch.float64)
    batch = Batch(noisy, level * full, sigma * full, q[:, 1:], full)
    below, here, beyond = (float(denoising_loss(scaled(a), batch).mean()) for a in (-1.0, 0.0, 1.0))
    # The loss is a parabola in the factor: its minimum from three points.
    best = (below - beyond) / (2 * (below - 2 * here + beyond))
    assert abs(best - spread**2 / (spread**2 + sigma**2)) < 1e-9


def test_the_exact_ambient_optimum_leaves_only_the_spread_of_the_noisy_posterior(generator):
    # h = (sigma^2 y - level^2 x)/(sigma^2 - level^2) with y = E[x_level | x] over the noisy set.
    batch = batch_of(12, generator, level=0.7)
    noisy = batch.x.flatten(1)

    def posterior_mean(x: Tensor, sigma: Tensor) -> Tensor:
        variance = sigma**2 - 0.7**2
        weights = torch.softmax(-(torch.cdist(x.flatten(1), noisy) ** 2) / (2 * variance[:, None]), dim=1)
        return (weights @ noisy).reshape(x.shape)

    def optimum(x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        s2 = over(sigma, x) ** 2
        return (s2 * posterior_mean(x, sigma) - 0.7**2 * x) / (s2 - 0.7**2)

    x = batch.x + over((batch.sigma**2 - 0.7**2).sqrt(), batch.x) * batch.z
    spread = (posterior_mean(x, batch.sigma) - batch.x).square().flatten(1).mean(1)
    assert torch.allclose(denoising_loss(optimum, batch), batch.weight * spread, rtol=1e-9)


def test_it_is_a_mean_over_dimensions_times_the_weight(generator):
    batch = batch_of(5, generator)
    assert torch.allclose(
        denoising_loss(scaled(0.0), batch), batch.weight * batch.x.square().sum((1, 2)) / 6, rtol=1e-12
    )


def test_each_row_has_its_own_value_whatever_rides_beside_it(generator):
    batch = batch_of(9, generator, level=0.4)
    order = torch.randperm(9, generator=generator)
    mixed = replace(batch, **{name: getattr(batch, name)[order] for name in vars(batch)})
    assert torch.equal(
        denoising_loss(shifted_by_label, mixed), denoising_loss(shifted_by_label, batch)[order]
    )


def test_the_held_out_loss_is_the_clean_loss_and_does_not_depend_on_the_batch_size(generator):
    batch = batch_of(11, generator)

    def weight(sigma: Tensor) -> Tensor:
        return sigma**-2

    given_rows = (batch.x, batch.sigma, batch.z, weight, batch.label)
    whole = held_out_loss(shifted_by_label, *given_rows)
    assert torch.equal(whole, denoising_loss(shifted_by_label, batch))
    assert torch.equal(held_out_loss(shifted_by_label, *given_rows, batch_size=4), whole)
    assert len(held_out_loss(shifted_by_label, *(g[:0] for g in given_rows[:3]), weight)) == 0


def test_the_held_out_loss_keeps_no_graph(generator):
    layer = torch.nn.Linear(2, 2, dtype=torch.float64)
    batch = batch_of(4, generator)
    values = held_out_loss(lambda x, s, c: layer(x), batch.x, batch.sigma, batch.z, torch.ones_like)
    assert not values.requires_grad
