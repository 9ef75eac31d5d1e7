"""Ancestral steps are exact where their variance is, meet DDPM's formulas and DDIM, and do not know their batch."""

from __future__ import annotations

import itertools

import pytest
import torch
from problems import GaussianData
from torch import Tensor

from unrote.denoise.exact import Empirical
from unrote.denoise.variance import log_variance
from unrote.noise.levels import end_at_zero, respaced
from unrote.noise.schedule import alpha_bar, cosine_levels, fixed_large, fixed_small, from_vp, to_vp
from unrote.sample.ancestral import ancestral, implicit, learned_ancestral
from unrote.sample.steps import euler, generate, seeded, trajectory, vp_start

TABLE = cosine_levels(200)


def nothing(level: Tensor, next_level: Tensor) -> Tensor:
    return torch.zeros_like(level)


def law_of_step(
    data: GaussianData, variance, level: Tensor, next_level: Tensor
) -> tuple[float, float, float]:
    """A step on Gaussian data is x' = a x + b + sqrt(c) z: (a, b, c), read off the step itself."""
    x = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    pair = level.expand(2), next_level.expand(2)
    at = ancestral(nothing)(data.denoise, x, *pair, seeded([0, 1]))
    moved = ancestral(variance)(data.denoise, x, *pair, seeded([0, 1]))
    z = torch.cat([torch.randn(1, 1, generator=g, dtype=torch.float64) for g in seeded([0, 1])])
    spread = ((moved - at) / z).flatten()
    assert float(spread[0]) == pytest.approx(float(spread[1]), abs=1e-12)
    return float(at[1] - at[0]), float(at[0]), float(spread[0]) ** 2


@pytest.mark.parametrize("count", [2, 7, 200])
@pytest.mark.parametrize(
    ("variance", "spread"), [(fixed_small, 0.0), (fixed_large, 1.0)], ids=["one point", "white data"]
)
def test_the_law_of_x_is_exact_for_the_data_that_a_variance_is_made_for(variance, spread, count) -> None:
    data = GaussianData(0.4 if spread == 0 else 0.0, spread)
    levels = end_at_zero(respaced(TABLE, count))
    mean, square = data.mean, spread**2 + float(levels[0]) ** 2
    for level, next_level in itertools.pairwise(levels[:, None]):
        a, b, c = law_of_step(data, variance, level, next_level)
        mean, square = a * mean + b, a**2 * square + c
        if float(next_level) > 0:
            assert mean == pytest.approx(data.mean, abs=1e-9)
            assert square == pytest.approx(spread**2 + float(next_level) ** 2, rel=1e-9)


def test_all_timesteps_are_exact_in_the_limit_and_few_are_not() -> None:
    data = GaussianData(0.2, 0.5)

    def end(steps: int) -> float:
        levels = end_at_zero(respaced(cosine_levels(4000), steps))
        square = data.spread**2 + float(levels[0]) ** 2
        for level, next_level in itertools.pairwise(levels[:, None]):
            a, _, c = law_of_step(data, fixed_small, level, next_level)
            square = a**2 * square + c
        return square

    found = [end(steps) for steps in (25, 100, 400)]
    wrong = [abs(one - data.spread**2) for one in found]
    assert wrong[0] > 3 * wrong[1] > 9 * wrong[2]
    assert wrong[2] < 0.005


def test_the_step_is_ddpms_in_its_own_coordinates(generator) -> None:
    """Ho et al. 2020, eq. 7 and algorithm 2, written with betas."""
    data, bars = GaussianData(), alpha_bar(TABLE)
    beta = 1 - bars[1:] / bars[:-1]
    x = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    for t in (1, 60, 198):
        level, below = TABLE[t].expand(4), TABLE[t - 1].expand(4)
        now, then, b = bars[t], bars[t - 1], beta[t - 1]
        clean = data.denoise(from_vp(x, level), level)
        mean = (then.sqrt() * b * clean + (1 - b).sqrt() * (1 - then) * x) / (1 - now)
        z = torch.cat([torch.randn(1, 3, generator=g, dtype=torch.float64) for g in seeded(range(4))])
        for variance, theirs in ((fixed_small, b * (1 - then) / (1 - now)), (fixed_large, b)):
            moved = ancestral(variance)(data.denoise, from_vp(x, level), level, below, seeded(range(4)))
            torch.testing.assert_close(to_vp(moved, below), mean + theirs.sqrt() * z)


def test_without_fresh_noise_the_family_is_ddim_and_with_the_small_variance_ddpm(generator) -> None:
    data = GaussianData()
    x = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    pair = TABLE[120].expand(5), TABLE[80].expand(5)
    given = seeded(range(5))
    torch.testing.assert_close(
        implicit(nothing)(data.denoise, x, *pair, given),
        euler(data.denoise, x, *pair),
        rtol=1e-12,
        atol=1e-12,
    )
    torch.testing.assert_close(
        implicit(fixed_small)(data.denoise, x, *pair, seeded(range(5))),
        ancestral(fixed_small)(data.denoise, x, *pair, seeded(range(5))),
        rtol=1e-12,
        atol=1e-12,
    )
    with pytest.raises(ValueError, match="must not exceed"):
        implicit(lambda level, below: 2 * below**2)(data.denoise, x, *pair, seeded(range(5)))


def told(v: float):
    """A denoiser with a variance, the same v everywhere, of images with one channel."""
    data = GaussianData()

    def denoise(x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        return torch.cat([data.denoise(x, sigma), torch.full_like(x, v)], 1)

    return denoise


@pytest.mark.parametrize(("v", "variance"), [(-1.0, fixed_small), (1.0, fixed_large)])
def test_a_learned_variance_at_its_bounds_is_a_fixed_one(v, variance, generator) -> None:
    levels = end_at_zero(respaced(TABLE, 12))
    x = vp_start(torch.randn(3, 1, 2, generator=generator, dtype=torch.float64), float(levels[0]))
    learned, fixed = (
        list(trajectory(step, denoiser, x, levels, seeded(range(3))))
        for step, denoiser in (
            (learned_ancestral(log_variance(levels[:-1].flip(0)), 1.0), told(v)),
            (ancestral(variance, 1.0), GaussianData().denoise),
        )
    )
    for one, other in zip(learned, fixed, strict=True):
        torch.testing.assert_close(one, other)


def test_a_sample_does_not_know_its_batch_and_ends_at_its_last_denoised_state() -> None:
    points = torch.tensor([[0.5, -0.5], [-0.25, 1.0]])
    denoiser, levels = Empirical(points), end_at_zero(respaced(cosine_levels(4000), 25))
    step = ancestral(fixed_small, 1.0)
    whole = generate(denoiser, (2,), [4, 5, 6], levels, step)
    alone = generate(denoiser, (2,), [5], levels, step)
    torch.testing.assert_close(whole[1], alone[0])
    assert float(torch.cdist(whole, points).min(1).values.max()) < 1e-4  # samples of points are points


def test_what_is_denoised_is_cut_and_noise_needs_a_generator(generator) -> None:
    x = torch.randn(4, 2, generator=generator)
    pair = torch.full((4,), 2.0), torch.zeros(4)
    far = ancestral(fixed_small, 1.0)(lambda x, sigma: 10 * x, x, *pair, seeded(range(4)))
    assert torch.equal(far, (10 * x).clamp(-1, 1))
    for step in (ancestral(fixed_small), implicit(fixed_small)):
        with pytest.raises(ValueError, match="generator"):
            step(GaussianData().denoise, x, *pair, None)
    with pytest.raises(ValueError, match="learned variance"):
        learned_ancestral(log_variance(TABLE))(GaussianData().denoise, x, *pair, seeded(range(4)))
