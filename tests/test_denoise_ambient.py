"""The ambient optimum: its read-out, where its flow ends, and what a switch to clean data makes of it."""

from __future__ import annotations

import pytest
import torch

from unrote.contracts import Denoiser, InputError, over
from unrote.denoise.ambient import AmbientOptimum, added_level, ambient_above, total_level
from unrote.denoise.exact import Empirical
from unrote.measure.neighbors import neighbors
from unrote.noise.levels import LogNormal, edm_levels, end_at_zero
from unrote.sample.steps import euler, heun, trajectory
from unrote.train.losses import Batch, denoising_loss

LEVEL = 0.7


def stored(n: int = 12, dimension: int = 5, level: float = LEVEL, seed: int = 0) -> tuple:
    g = torch.Generator().manual_seed(seed)
    clean = torch.randn(n, dimension, generator=g, dtype=torch.float64)
    return clean, clean + level * torch.randn(n, dimension, generator=g, dtype=torch.float64)


def last(denoiser: Denoiser, x: torch.Tensor, levels: torch.Tensor, step=heun) -> torch.Tensor:
    *_, end = trajectory(step, denoiser, x, levels)
    return end


@pytest.mark.parametrize("factor", [1 + 1e-6, 1.01, 1.5, 10.0, 200.0])
def test_the_composition_is_the_read_out_of_the_posterior_over_copies(factor, generator):
    _, noisy = stored()
    sigma = torch.full((7,), LEVEL * factor, dtype=torch.float64)
    added = (sigma**2 - LEVEL**2).sqrt()
    origin = noisy[torch.arange(7)]
    x = origin + over(added, origin) * torch.randn(7, 5, generator=generator, dtype=torch.float64)
    h = AmbientOptimum(noisy, LEVEL)(x, sigma)
    w = over(1 - (LEVEL / sigma) ** 2, x)
    # w h + (1 - w) x must be the mean of the stored copies: 003 Lemma B.1 in x = x0 + sigma z.
    log = -((torch.cdist(x, noisy) / added[:, None]) ** 2) / 2
    torch.testing.assert_close(w * h + (1 - w) * x, torch.softmax(log, 1) @ noisy, rtol=1e-6, atol=1e-8)
    # ... and the formula as printed, where it is not yet lost to rounding.
    if factor > 1.001:
        y = Empirical(noisy)(x, added)
        v = over(sigma**2 - LEVEL**2, x)
        torch.testing.assert_close(h, (over(sigma**2, x) * y - LEVEL**2 * x) / v, rtol=1e-9, atol=1e-9)


def test_no_other_value_at_a_state_has_a_smaller_ambient_loss(generator):
    _, noisy = stored(4, 3)
    sigma = torch.tensor([1.1], dtype=torch.float64)
    added = added_level(sigma, LEVEL)
    x = torch.randn(1, 3, generator=generator, dtype=torch.float64)
    z = (x - noisy) / added
    posterior = torch.softmax(-z.square().sum(1) / 2, 0)
    four = torch.ones(4, dtype=torch.float64)
    batch = Batch(noisy, LEVEL * four, sigma * four, z, posterior)

    def loss(h: torch.Tensor) -> float:
        return float(denoising_loss(lambda x, sigma, condition=None: h.expand_as(x), batch).sum())

    best = AmbientOptimum(noisy, LEVEL)(x, sigma)
    for _ in range(20):
        other = best + 1e-3 * torch.randn(1, 3, generator=generator, dtype=torch.float64)
        assert loss(best) < loss(other)


def test_with_a_vanishing_level_it_is_the_empirical_optimum(generator):
    clean, _ = stored()
    x = torch.randn(6, 5, generator=generator, dtype=torch.float64)
    sigma = torch.logspace(-1, 1, 6, dtype=torch.float64)
    torch.testing.assert_close(
        AmbientOptimum(clean, 1e-6)(x, sigma), Empirical(clean)(x, sigma), rtol=1e-8, atol=1e-8
    )


def test_labels_restrict_the_copies(generator):
    _, noisy = stored()
    label = torch.arange(12) % 2
    x = torch.randn(4, 5, generator=generator, dtype=torch.float64)
    sigma = torch.full((4,), 1.5, dtype=torch.float64)
    which = torch.tensor([0, 1, 1, 0])
    found = AmbientOptimum(noisy, LEVEL, label)(x, sigma, which)
    for value in (0, 1):
        rows = which == value
        alone = AmbientOptimum(noisy[label == value], LEVEL)(x[rows], sigma[rows])
        torch.testing.assert_close(found[rows], alone, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("level", "dtype"), [(0.1, torch.float32), (0.7, torch.float64), (3.0, torch.float32)]
)
def test_lemma_4_1_samples_end_on_stored_copies_and_on_all_of_them_alike(level, dtype):
    n, dimension, samples = 6, 4, 600
    _, noisy = stored(n, dimension, level, seed=1)
    noisy = noisy.to(dtype)
    added = edm_levels(24, sigma_min=1e-3)
    z = torch.randn(samples, dimension, generator=torch.Generator().manual_seed(2), dtype=dtype)
    end = last(AmbientOptimum(noisy, level), 80 * z, total_level(added, level))
    found = neighbors(end, noisy, 1)
    # At u = 1e-3 a state of the flow is a copy plus noise of this level.
    apart = float(torch.pdist(noisy).min())
    landed = found.distance[:, 0] < 0.05 * apart
    assert float(landed.double().mean()) > 0.99
    counts = found.index[:, 0].bincount(minlength=n).double()
    chi_squared = float(((counts - samples / n) ** 2 / (samples / n)).sum())
    assert (
        chi_squared < 25
    )  # five degrees of freedom: 1e-4; the start at 80 is the data's law up to one part in 80


def test_its_flow_in_sigma_is_the_flow_of_the_copies_in_the_added_level():
    _, noisy = stored()
    added = edm_levels(80, sigma_min=0.02)
    z = torch.randn(20, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    ambient = last(AmbientOptimum(noisy, LEVEL), 80 * z, total_level(added, LEVEL))
    plain = last(Empirical(noisy), 80 * z, added)
    assert float((ambient - plain).norm(dim=1).median()) < 0.01
    # Above the copies the flow of a single one is known: x - x_n shrinks with u.
    one = noisy[:1]
    far = last(AmbientOptimum(one, LEVEL), 80 * z, total_level(added, LEVEL))
    torch.testing.assert_close(far, one + (80 * z - one) * (added[-1] / added[0]), rtol=0, atol=0.01)


def test_an_euler_step_to_the_level_of_the_copies_goes_half_of_the_way():
    """x' = x + sigma/(sigma + sigma_n) (y - x): so grids of sigma stop short, grids of u do not."""
    _, noisy = stored()
    sigma = LEVEL * (1 + 1e-3)
    x = noisy[:1] + 0.01
    end = last(AmbientOptimum(noisy, LEVEL), x, torch.tensor([sigma, LEVEL], dtype=torch.float64), euler)
    torch.testing.assert_close(
        end - noisy[:1], (1 - sigma / (sigma + LEVEL)) * (x - noisy[:1]), rtol=1e-6, atol=1e-12
    )


def test_the_levels_translate_back_and_forth_down_to_the_last_digits():
    added = torch.logspace(-6, 2, 30, dtype=torch.float64)
    torch.testing.assert_close(added_level(total_level(added, 1e-3), 1e-3), added, rtol=1e-9, atol=0)
    assert float(added_level(torch.tensor([LEVEL]), LEVEL)) == pytest.approx(0, abs=2e-4)  # float32 of 0.7


def test_clean_data_below_bring_each_copy_back_to_its_own_image_where_the_posterior_is_concentrated():
    level = 0.15
    clean, noisy = stored(10, 8, level)
    pair = ambient_above(noisy, level, Empirical(clean))
    grid = torch.cat([total_level(edm_levels(20, 0.002, 80.0), level), edm_levels(12, 0.002, level * 0.99)])
    z = torch.randn(60, 8, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    end = last(pair, 80 * z, end_at_zero(grid))
    to_noisy = neighbors(last(pair, 80 * z, grid[:20]), noisy, 1)
    found = neighbors(end, clean, 1)
    assert float(found.distance.max()) < 1e-4
    assert float((found.index == to_noisy.index).double().mean()) == 1.0


def test_the_denoiser_below_is_in_charge_at_the_level_itself_in_both_precisions():
    clean, noisy = stored()
    for dtype in (torch.float32, torch.float64):
        for level in (0.7, 0.1, 1 / 3, 3.3):
            pair = ambient_above(noisy.to(dtype), level, Empirical(clean.to(dtype)))
            x = torch.ones(1, 5, dtype=dtype)
            here = torch.tensor([level], dtype=dtype)
            assert torch.equal(pair(x, here), Empirical(clean.to(dtype))(x, here))
            above = here * (1 + 1e-5)
            assert torch.equal(pair(x, above), AmbientOptimum(noisy.to(dtype), level)(x, above))


@pytest.mark.parametrize("sigma", [LEVEL, 0.5, 0.0])
def test_levels_that_the_copies_cannot_teach_are_refused(sigma):
    _, noisy = stored()
    levels = torch.tensor([2.0, sigma], dtype=torch.float64)
    with pytest.raises(InputError, match=r"hold noise of sigma_n = 0\.7.*clean rows"):
        AmbientOptimum(noisy, LEVEL)(noisy[:2], levels)


@pytest.mark.parametrize("level", [0.0, -1.0, float("nan"), float("inf")])
def test_a_level_that_is_no_positive_number_is_refused(level):
    with pytest.raises(InputError, match="positive number"):
        AmbientOptimum(stored()[1], level)


def test_averaged_over_stored_noise_a_sample_at_the_level_has_the_law_of_plain_diffusion():
    """x_n = x_i + sigma_n z for both: exact ambient training changes no average over the frozen noise."""
    clean = torch.tensor([[-1.0], [0.2], [1.1]], dtype=torch.float64)
    level, sets, g = 0.4, 100, torch.Generator().manual_seed(5)
    added = total_level(edm_levels(12, 0.01, 80.0), level)
    ends = []
    for _ in range(sets):
        noisy = clean + level * torch.randn(3, 1, generator=g, dtype=torch.float64)
        z = torch.randn(4, 1, generator=g, dtype=torch.float64)
        ends.append(last(AmbientOptimum(noisy, level), 80 * z, added))
    end = torch.cat(ends).squeeze(1).sort().values
    normal = torch.distributions.Normal(clean.squeeze(1), level)
    gap = (normal.cdf(end[:, None]).mean(1) - (torch.arange(len(end)) + 0.5) / len(end)).abs().max()
    # Four samples share three copies: at least one look in four is new, so at most a quarter is independent.
    assert float(gap) < 1.95 / (len(end) / 4) ** 0.5


def test_training_levels_of_its_rows_are_where_it_exists():
    sigma = LogNormal()(2000, torch.Generator().manual_seed(0)).double()
    kept = sigma[sigma > LEVEL]
    _, noisy = stored()
    assert AmbientOptimum(noisy, LEVEL)(noisy[:1].expand(len(kept), -1), kept).isfinite().all()
