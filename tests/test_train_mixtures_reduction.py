"""The reduction to k-means against the mixture denoiser's training loss, by brute force."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import linprog
from torch import Tensor

from unrote.contracts import InputError
from unrote.train.mixtures.kmeans import Clusters, hartigan, lloyd, partial_start, ward
from unrote.train.mixtures.reduction import (
    flat,
    noise_prediction,
    one_hot_bound,
    one_hot_error,
    reduced_loss,
    taken,
    worst,
)

TIMES = 0.999 - 0.998 * torch.arange(26, dtype=torch.float64) / 25
LEVELS = TIMES / (1 - TIMES.square()).sqrt()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mixture(n: int, d: int, k: int, seed: int = 0) -> Tensor:
    g = generator(seed)
    means = torch.randn(k, d, generator=g, dtype=torch.float64)
    means *= math.sqrt(d) / torch.linalg.vector_norm(means, dim=1, keepdim=True)
    return means[torch.randint(k, (n,), generator=g)] + torch.randn(n, d, generator=g, dtype=torch.float64)


def brute(
    x: Tensor, means: Tensor, variance: float, sigma: float, z: Tensor, log_weight: Tensor | float = 0.0
) -> Tensor:
    """|D(x + sigma z) - x|^2 of a mixture denoiser, from 000 eq. (11): (R,N)."""
    noisy, u = x + sigma * z, variance + sigma**2
    p = (log_weight - (noisy[..., None, :] - means).square().sum(-1) / (2 * u)).softmax(-1)
    return (variance / u * noisy + sigma**2 / u * (p @ means) - x).square().sum(-1)


def antithetic(draws: int, x: Tensor, seed: int = 0) -> Tensor:
    z = torch.randn(draws, *x.shape, generator=generator(seed), dtype=torch.float64)
    return torch.cat([z, -z])


def best(x: Tensor, count: int) -> Clusters:
    (found,) = ward(x, [count])
    return found


def test_the_reduced_loss_is_that_of_the_vp_formula_in_both_units() -> None:
    d, distortion = 50, 13.7
    a2, sg2, s2 = 1 - TIMES.square(), TIMES.square(), distortion / d
    noise = (a2 * s2 * d / (a2 * s2 + sg2)).mean()
    assert reduced_loss(distortion, d, LEVELS, noise_prediction) == pytest.approx(float(noise), rel=1e-12)
    clean = (d * s2 * LEVELS**2 / (s2 + LEVELS**2)).mean()
    assert reduced_loss(distortion, d, LEVELS) == pytest.approx(float(clean), rel=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 1e3), st.floats(1e-3, 1e3), st.integers(1, 60))
def test_the_reduced_loss_rises_and_is_concave_in_the_distortion(low: float, step: float, d: int) -> None:
    for weighting in (flat, noise_prediction):
        f = [reduced_loss(low + k * step, d, LEVELS[4:18], weighting) for k in range(3)]
        assert f[0] < f[1] < f[2] and f[1] - f[0] >= (f[2] - f[1]) * (1 - 1e-9)


def test_the_reduced_loss_has_the_limits_of_no_noise_and_of_nothing_but_noise() -> None:
    assert reduced_loss(0.0, 5, LEVELS) == 0.0
    assert reduced_loss(3.0, 5, torch.tensor([1e6])) == pytest.approx(3.0)
    assert reduced_loss(1e12, 5, torch.tensor([0.5])) == pytest.approx(5 * 0.25)


def test_the_training_loss_is_the_reduced_loss_where_the_softmax_is_one_hot() -> None:
    x = mixture(60, 30, 3)
    clusters, sigma = best(x, 12), LEVELS[20]
    bound = one_hot_bound(x, clusters, sigma[None])
    value = brute(x, clusters.means, clusters.variance, float(sigma), antithetic(400, x)).mean()
    assert float(bound.above + bound.below) < 1e-4
    assert float(value) == pytest.approx(float(bound.loss), rel=2e-3)


@pytest.mark.parametrize("level", [13, 17, 21])
def test_another_variance_or_other_means_never_lower_the_loss_at_any_one_hot_level(level: int) -> None:
    x = mixture(40, 20, 3)
    clusters, sigma, z = best(x, 8), float(LEVELS[level]), antithetic(300, x)
    z *= (x.shape[1] / z.square().mean((0, 1)).sum()).sqrt()  # so that noise has its exact mean square
    least = brute(x, clusters.means, clusters.variance, sigma, z).mean()
    for factor in (0.8, 0.9, 1.1, 1.25):
        assert brute(x, clusters.means, factor * clusters.variance, sigma, z).mean() > least
    for seed in range(4):
        shift = 0.1 * torch.randn(clusters.means.shape, generator=generator(seed), dtype=torch.float64)
        assert brute(x, clusters.means + shift, clusters.variance, sigma, z).mean() > least


def test_less_distortion_is_less_training_loss() -> None:
    x = mixture(100, 30, 4)
    z, sigma = antithetic(40, x), float(LEVELS[16])
    start = lloyd(x, partial_start(x, 60, generator(1)))
    losses = [
        brute(x, c.means, c.variance, sigma, z).mean().item()
        for c in (start, hartigan(x, start), best(x, 60))
    ]
    assert losses[0] > losses[1] > losses[2]


def test_the_error_is_exactly_what_the_identity_says_for_the_memorizing_denoiser() -> None:
    x = mixture(30, 4, 2)
    error = one_hot_error(x, best(x, 30), LEVELS[2:20], generator(5), draws=1)
    z = torch.randn(x.shape, generator=generator(5), dtype=torch.float64)
    for t, sigma in enumerate(LEVELS[2:20]):
        assert torch.allclose(error[t], brute(x, x, 0.0, float(sigma), z[None])[0], atol=1e-9)


@pytest.mark.parametrize("count", [4, 20, 35])
def test_the_error_of_the_reduction_is_estimated_without_bias(count: int) -> None:
    x = mixture(40, 5, 3)
    clusters, levels = best(x, count), LEVELS[[3, 7, 10, 14]]
    error = one_hot_error(x, clusters, levels, generator(1), draws=400).mean(1)
    for t, sigma in enumerate(levels):
        loss = brute(x, clusters.means, clusters.variance, float(sigma), antithetic(1500, x)).mean(1)
        loss = (loss[:1500] + loss[1500:]) / 2
        deviation = float(loss.std()) / math.sqrt(1500)
        reduced = reduced_loss(clusters.distortion, 5, sigma[None])
        assert abs(float(loss.mean()) - reduced - float(error[t])) < 5 * deviation + 0.02 * abs(
            float(error[t])
        )


def exact_error_of_two(x: Tensor, clusters: Clusters, sigma: Tensor, weights: Tensor) -> Tensor:
    """L - F for two means, where the softmax is a logistic function of one normal number: by quadrature."""
    s2, own = clusters.variance, clusters.assignment
    v, h = s2 + sigma**2, s2 / (s2 + sigma**2)
    gap = (x - clusters.means[1 - own]).square().sum(1) - (x - clusters.means[own]).square().sum(1)
    apart = (clusters.means[0] - clusters.means[1]).square().sum()
    z = torch.linspace(-12, 12, 4801, dtype=torch.float64)
    odds = (weights[1 - own] / weights[own]).log()
    p = torch.sigmoid(odds[:, None] - (gap[:, None] / 2 + sigma * apart.sqrt() * z) / v)
    inside = p * gap[:, None] - (1 - 2 * h) * p * (1 - p) * apart
    density = (-z.square() / 2).exp() / math.sqrt(2 * math.pi)
    return (1 - h) ** 2 * torch.trapezoid(inside * density, z, dim=1).mean()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 20), st.integers(1, 8), st.floats(0.01, 100))
def test_the_bounds_hold_exactly_for_two_means(seed: int, n: int, d: int, weight: float) -> None:
    x, weights = mixture(n, d, 2, seed), torch.tensor([1.0, weight], dtype=torch.float64)
    clusters = best(x, 2)
    bound = one_hot_bound(x, clusters, LEVELS, weights)
    for t, sigma in enumerate(LEVELS):
        error, rounding = exact_error_of_two(x, clusters, sigma, weights), 1e-9 * (1 + clusters.distortion)
        assert -bound.below[t] - rounding <= error <= bound.above[t] + rounding


@pytest.mark.parametrize(
    ("n", "d", "count"), [(40, 3, 1), (40, 3, 12), (30, 12, 25), (25, 6, 25), (40, 1, 8)]
)
def test_the_bounds_hold_at_every_level(n: int, d: int, count: int) -> None:
    x = mixture(n, d, 3, seed=count)
    clusters = best(x, count)
    bound = one_hot_bound(x, clusters, LEVELS)
    runs = torch.stack([one_hot_error(x, clusters, LEVELS, generator(k), draws=8).mean(1) for k in range(16)])
    wobble = 5 * runs.std(0) / 4 + 1e-4 * bound.loss
    assert (runs.mean(0) <= bound.above + wobble).all()
    assert (-runs.mean(0) <= bound.below + wobble).all()
    assert ((bound.softness >= 0) & (bound.softness <= 1)).all()


def test_the_bounds_hold_with_unequal_weights() -> None:
    x = mixture(40, 6, 3)
    clusters, z = best(x, 10), antithetic(500, x)
    weights = torch.rand(10, generator=generator(2), dtype=torch.float64).square() + 1e-3
    bound = one_hot_bound(x, clusters, LEVELS, weights)
    for t in (8, 12, 16, 20):
        values = brute(x, clusters.means, clusters.variance, float(LEVELS[t]), z, weights.log()).mean(1)
        values = (values[:500] + values[500:]) / 2
        wobble, error = 5 * values.std() / math.sqrt(500), values.mean() - bound.loss[t]
        assert -bound.below[t] - wobble <= error <= bound.above[t] + wobble
    equal, scaled = (
        one_hot_bound(x, clusters, LEVELS),
        one_hot_bound(x, clusters, LEVELS, torch.full((10,), 7.0)),
    )
    assert torch.allclose(equal.above, scaled.above) and torch.allclose(equal.softness, scaled.softness)


def test_the_bounds_are_tight_enough_for_the_papers_setting() -> None:
    x = mixture(200, 50, 12)
    bound = one_hot_bound(x, best(x, 160), LEVELS)
    calm = TIMES < 0.6
    assert float(((bound.above + bound.below) / bound.loss)[calm].max()) < 1e-3
    assert float(((bound.above + bound.below) / bound.loss)[TIMES < 0.4].max()) < 1e-8


@pytest.mark.parametrize(
    ("mean", "deviation"), [(3.0, 2.0), (0.0, 1.0), (-2.0, 0.5), (40.0, 6.0), (5.0, 30.0)]
)
def test_what_a_rival_takes_at_most_is_an_integral(mean: float, deviation: float) -> None:
    def integrand(u: float) -> float:
        density = math.exp(-(((u - mean) / deviation) ** 2) / 2) / (deviation * math.sqrt(2 * math.pi))
        return math.exp(min(0.0, -u)) * density

    low, high = mean - 40 * deviation, mean + 40 * deviation
    peaks = sorted({0.0, mean, mean - deviation**2})
    exact = quad(integrand, low, high, points=[p for p in peaks if low < p < high], limit=500)[0]
    found = taken(
        torch.tensor([[mean]], dtype=torch.float64), torch.tensor([[deviation]], dtype=torch.float64)
    )
    assert float(found) == pytest.approx(exact, rel=1e-6)


def test_the_worst_case_is_the_optimum_of_the_linear_program() -> None:
    g = generator(4)
    for scale in (0.1, 1.0):
        limit = scale * torch.rand(5, 6, generator=g, dtype=torch.float64)
        cost = torch.randn(5, 6, generator=g, dtype=torch.float64)
        exact = -sum(
            linprog(-c, A_ub=[[1.0] * 6], b_ub=[1.0], bounds=[(0, b) for b in row]).fun
            for c, row in zip(cost.numpy(), limit.tolist(), strict=True)
        )
        assert float(worst(limit, cost)) == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda x, c: reduced_loss(-1.0, 3, LEVELS), "distortion must be finite"),
        (lambda x, c: reduced_loss(1.0, 0, LEVELS), "dimension at least 1"),
        (lambda x, c: reduced_loss(1.0, 3, torch.tensor([0.0, 1.0])), "positive finite"),
        (lambda x, c: one_hot_bound(x, c, torch.tensor([math.nan])), "positive finite"),
        (lambda x, c: one_hot_bound(x[:5], c, LEVELS), "same points"),
        (lambda x, c: one_hot_bound(x, c, LEVELS, torch.tensor([1.0, 0.0, 1.0])), "one positive number"),
        (lambda x, c: one_hot_bound(x, c, LEVELS, torch.ones(4)), "for 3 means"),
        (lambda x, c: one_hot_error(x, c, LEVELS, generator(), draws=0), "at least 1"),
    ],
)
def test_bad_input_is_one_paragraph(call, says) -> None:  # type: ignore[no-untyped-def]
    x = mixture(10, 3, 2)
    with pytest.raises(InputError, match=says) as caught:
        call(x, best(x, 3))
    assert "\n" not in str(caught.value)
