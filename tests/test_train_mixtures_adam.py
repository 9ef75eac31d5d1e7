"""The short Adam: never above its start, as low as the literal recipe, for every kind of covariance."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from mixture_modules import Shared
from torch import Tensor, nn

from unrote.contracts import InputError
from unrote.data.mixtures import Full, GaussianMixture, coloured_templates
from unrote.denoise.mixture import MixtureDenoiser
from unrote.train.mixtures.adam import AUTOMATIC, BRIEF, adam, adam_denoiser
from unrote.train.mixtures.automatic import (
    further,
    parameters_of,
    plain_slope,
    stratified_slope,
)
from unrote.train.mixtures.kmeans import lloyd, ward
from unrote.train.mixtures.losses import distortion, plain, stein
from unrote.train.mixtures.reference import QUICK, finish, reference, vp_grid

GRID = torch.tensor(vp_grid(), dtype=torch.float64)


@pytest.fixture
def x() -> Tensor:
    """40 points of 3 clusters in 12 dimensions, float64: means on the sphere of radius sqrt(12), unit variance."""
    g = torch.Generator().manual_seed(0)
    means = torch.randn(3, 12, generator=g, dtype=torch.float64)
    means *= math.sqrt(12) / means.norm(dim=1, keepdim=True)
    return means[torch.randint(3, (40,), generator=g)] + torch.randn(40, 12, generator=g, dtype=torch.float64)


def judged(means: Tensor, variance: float, x: Tensor) -> float:
    """The loss on noise that no one trained on."""
    return stein(means.to(x), variance, x, GRID, torch.Generator().manual_seed(99), 16).loss


@pytest.mark.parametrize("count", [4, 32])
def test_reaches_the_literal_recipes_loss_in_a_hundred_steps(x: Tensor, count: int) -> None:
    start = QUICK.means(x, count, torch.Generator().manual_seed(count))
    # From s = 0.05 and at a higher rate the recipe arrives in a sixth of the steps.
    descent = replace(QUICK.procedure.descent, steps=1_000, peak=4e-3)
    recipe = replace(QUICK, procedure=replace(QUICK.procedure, descent=descent, looks=20), deviation=0.05)
    theirs = finish(reference(x.float(), start.float(), torch.Generator().manual_seed(1), recipe))
    ours = adam(x, start, GRID, torch.Generator().manual_seed(1))
    assert theirs.settled and ours.settled and ours.steps == 100
    assert judged(ours.means, ours.variance, x) < 1.01 * judged(theirs.means, theirs.variance, x)


@pytest.mark.parametrize("count", [4, 32])
def test_never_above_its_start_and_ward_is_already_there(x: Tensor, count: int) -> None:
    first = QUICK.means(x, count, torch.Generator().manual_seed(count))
    for start in (first, lloyd(x, first).means, next(iter(ward(x, [count]))).means):
        fit = adam(x, start, GRID, torch.Generator().manual_seed(1))
        before = judged(start, distortion(start, x) / 12, x)
        assert judged(fit.means, fit.variance, x) <= before * (1 + 1e-4)
        assert fit.loss == pytest.approx(judged(fit.means, fit.variance, x), rel=0.01)
    assert fit.loss > 0.99 * before  # Ward's tree leaves almost nothing to do


def test_the_loss_knows_no_units(x: Tensor) -> None:
    """Data, means and levels in other units: the same softmaxes, the same loss, the same path."""
    start = x[:10]
    one = adam(x, start, GRID, torch.Generator().manual_seed(2))
    other = adam(1000 * x + 5, 1000 * start + 5, 1000 * GRID, torch.Generator().manual_seed(2))
    assert other.loss == pytest.approx(one.loss, rel=1e-6)
    assert other.variance == pytest.approx(1e6 * one.variance, rel=1e-6)


def test_one_mean_per_sample_leaves_nothing_to_train(x: Tensor) -> None:
    fit = adam(x, x.clone(), GRID, torch.Generator())
    assert (fit.variance, fit.steps, fit.settled) == (0.0, 0, True) and torch.equal(fit.means, x)


def test_one_component_is_the_linear_denoiser(x: Tensor) -> None:
    """M = 1: mu = mean, s^2 = mean squared deviation / d, in closed form (l is convex in s^2 there)."""
    fit = adam(x, x[:1], GRID, torch.Generator().manual_seed(0), descent=replace(BRIEF, steps=300))
    spread = float((x - x.mean(0)).square().sum(1).mean())
    torch.testing.assert_close(fit.means[0], x.mean(0), rtol=0, atol=2e-3)
    assert fit.variance == pytest.approx(spread / 12, rel=1e-3)
    wanted = (spread / (spread / 12 + GRID**2)).mean()
    assert fit.loss == pytest.approx(float(wanted), rel=1e-4)


def test_automatic_gradients_are_those_by_hand(x: Tensor) -> None:
    g = torch.Generator().manual_seed(3)
    sigma = GRID[torch.randint(26, (40,), generator=g)]
    z = torch.randn(40, 3, 12, generator=g, dtype=torch.float64)
    denoiser = Shared(x[:10], 0.2)
    automatic, hand = plain_slope(denoiser, x, sigma, z), plain(x[:10], 0.2, x, sigma, z)
    assert automatic.loss == pytest.approx(hand.loss, rel=1e-10)
    torch.testing.assert_close(automatic.slope[:-1].view(10, 12), hand.means, rtol=1e-10, atol=1e-12)
    assert float(automatic.slope[-1]) == pytest.approx(0.2 * hand.variance, rel=1e-10)


def test_stratified_pairs_have_the_mean_of_stein_and_less_noise_than_the_recipe(x: Tensor) -> None:
    denoiser, g = Shared(x[:10], 0.5), torch.Generator().manual_seed(4)
    ours = [stratified_slope(denoiser, x, GRID, GRID**-2, g) for _ in range(60)]
    hand = [stein(x[:10], 0.5, x, GRID, g, 8) for _ in range(60)]
    theirs = []
    for _ in range(60):
        sigma = GRID[torch.randint(26, (40,), generator=g)]
        theirs.append(
            plain_slope(denoiser, x, sigma, torch.randn(40, 52, 12, generator=g, dtype=torch.float64))
        )
    a, b = torch.tensor([s.loss for s in ours]), torch.tensor([s.loss for s in hand])
    assert abs(a.mean() - b.mean()) < 4.5 * ((a.var() + b.var()) / 60).sqrt()
    assert torch.tensor([s.loss for s in theirs]).var() > 10 * a.var()
    few, many = (torch.stack([s.slope for s in one]).var(0).sum() for one in (ours, theirs))
    assert many > 3 * few


def test_blocks_and_weights_of_levels(x: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    denoiser = Shared(x[:10], 0.5)
    one = stratified_slope(denoiser, x, GRID, GRID**-2, torch.Generator().manual_seed(0))
    monkeypatch.setattr("unrote.train.mixtures.automatic.ROWS", 77)
    other = stratified_slope(denoiser, x, GRID, 3 * GRID**-2, torch.Generator().manual_seed(0))
    assert other.loss == pytest.approx(3 * one.loss, rel=1e-12)
    torch.testing.assert_close(other.slope, 3 * one.slope, rtol=1e-9, atol=1e-12)


def test_isotropic_denoiser_ends_where_the_solver_by_hand_does(x: Tensor) -> None:
    denoiser = Shared(x[:10], distortion(x[:10], x) / 12)
    outcome = adam_denoiser(denoiser, x, GRID, GRID**-2, torch.Generator().manual_seed(1))
    by_hand = adam(x, x[:10], GRID, torch.Generator().manual_seed(1))
    assert outcome.settled
    assert outcome.loss == pytest.approx(by_hand.loss, rel=0.02)
    variance = float(denoiser.log_variance.exp().detach())
    assert variance == pytest.approx(distortion(denoiser.means.detach(), x) / 12, rel=0.05)


def test_full_covariance_learns_the_sample_covariance() -> None:
    """K = 1: the best Gaussian denoiser has the sample mean and the sample covariance, at every level."""
    g = torch.Generator().manual_seed(0)
    mixing = torch.tensor([[1.5, 0.0, 0.0], [0.7, 0.8, 0.0], [-0.3, 0.2, 0.5]], dtype=torch.float64)
    x = torch.randn(60, 3, generator=g, dtype=torch.float64) @ mixing.T + 1
    start = GaussianMixture(
        torch.ones(1).double(), torch.zeros(1, 3).double(), Full(torch.eye(3).double()[None])
    )
    denoiser = MixtureDenoiser(start, trainable=True)
    outcome = adam_denoiser(denoiser, x, GRID, GRID**-2, g, descent=replace(AUTOMATIC, steps=300))
    found = denoiser.mixture
    torch.testing.assert_close(found.means[0], x.mean(0), rtol=0, atol=0.03)
    torch.testing.assert_close(found.covariance.matrix[0], torch.cov(x.T, correction=0), rtol=0, atol=0.06)
    assert outcome.settled


def test_low_rank_templates_are_found() -> None:
    g = torch.Generator().manual_seed(1)
    true = torch.rand(2, 16, generator=g, dtype=torch.float64)
    label = torch.randint(2, (50,), generator=g)
    x = torch.randn(50, 1, generator=g, dtype=torch.float64) * true[label]
    levels = GRID[
        GRID > 0.01
    ]  # without noise around the rays, errors at the smallest levels are only rounding
    rough = true + 0.3 * torch.rand(2, 16, generator=g, dtype=torch.float64)
    denoiser = MixtureDenoiser(coloured_templates(rough, channels=1), trainable=True)
    start = stratified_slope(denoiser, x, levels, levels**-2, torch.Generator().manual_seed(0)).loss
    outcome = adam_denoiser(denoiser, x, levels, levels**-2, g)
    cosine = torch.cosine_similarity(denoiser.mixture.covariance.factor[..., 0], true)
    assert cosine.min() > 0.9999
    best = MixtureDenoiser(coloured_templates(true, channels=1), trainable=True)
    least = stratified_slope(best, x, levels, levels**-2, torch.Generator().manual_seed(0)).loss
    assert outcome.loss < 1.02 * least < 0.2 * start


def test_a_rate_that_is_too_low_is_not_called_settled(x: Tensor) -> None:
    """A rate that falls to 0 makes any loss flat; the slope along the way that was come tells."""
    denoiser = Shared(x[:10], 1e-3)
    slow = adam_denoiser(
        denoiser, x, GRID, GRID**-2, torch.Generator().manual_seed(1), descent=replace(AUTOMATIC, peak=5e-3)
    )
    assert not slow.settled and "on their way" in slow.note
    end = stratified_slope(denoiser, x, GRID, GRID**-2, torch.Generator().manual_seed(1))
    assert further(end, torch.zeros_like(end.slope)) == 0


def test_a_start_that_is_better_comes_back_unchanged(x: Tensor) -> None:
    best = adam(x, x[:10], GRID, torch.Generator().manual_seed(1), descent=replace(BRIEF, steps=400))
    denoiser = Shared(best.means, best.variance)
    wild = replace(AUTOMATIC, steps=10, peak=0.5, last=0.5)
    before = nn.utils.parameters_to_vector(denoiser.parameters()).detach().clone()
    adam_denoiser(denoiser, x, GRID, GRID**-2, torch.Generator().manual_seed(1), descent=wild)
    assert torch.equal(nn.utils.parameters_to_vector(denoiser.parameters()).detach(), before)


def test_bad_input_is_refused(x: Tensor) -> None:
    denoiser = Shared(x[:10], 0.5)
    mixed = Shared(x[:10], 0.5)
    mixed.log_variance = nn.Parameter(torch.zeros(()))
    for wrong in (
        lambda: adam(x, x[:10], GRID, torch.Generator(), tail=0.0),
        lambda: adam(x, x[:10], GRID, torch.Generator(), draws=0),
        lambda: adam_denoiser(denoiser, x, GRID, GRID[1:], torch.Generator()),
        lambda: stratified_slope(denoiser, x, GRID, GRID, torch.Generator(), 0),
        lambda: parameters_of(nn.Identity()),
        lambda: parameters_of(mixed),
    ):
        with pytest.raises(InputError):
            wrong()
