"""Losses on a data set: brute force, enumeration of all subsets, limits, and the published simulation."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch

from unrote.noise.levels import vp_levels
from unrote.theory.levels import NAMED, on_grid
from unrote.theory.surrogates import (
    SurrogateLosses,
    expected_nearest_kept,
    isotropic_denoiser,
    memorizing_loss,
    nearest_kept,
    surrogate_losses,
)

EQUAL = torch.full((12,), 1 / 12, dtype=torch.float64)


def data(
    count: int, dimension: int, clusters: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """A data set of unit clusters around means on the sphere, and the means."""
    mu = torch.randn(clusters, dimension, generator=generator, dtype=torch.float64)
    mu = mu / mu.norm(dim=1, keepdim=True) * dimension**0.5
    label = torch.randint(clusters, (count,), generator=generator)
    return mu[label] + torch.randn(count, dimension, generator=generator, dtype=torch.float64), mu


@pytest.fixture(scope="module")
def figure_1() -> SurrogateLosses:
    """Losses of 30 data sets with N = 200, d = 50, K = 12, one row each."""
    g = torch.Generator().manual_seed(1)
    sizes = torch.arange(10, 201, 10)
    parts = []
    for _ in range(30):
        x, mu = data(200, 50, 12, g)
        parts.append(surrogate_losses(x, isotropic_denoiser(mu, 1.0, EQUAL), on_grid(vp_levels()), sizes, g))
    generalising, partial = torch.cat([p.generalising for p in parts]), torch.cat([p.partial for p in parts])
    return SurrogateLosses(on_grid(vp_levels()), sizes, generalising, partial)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("flat", 0.7988, 0.0016),
        ("psi", 0.999988, 1e-6),
        ("1-t^2", 0.869699, 0.0010),
        ("t^2", 0.632, 0.002),
        ("min(psi,5)", 0.910803, 0.0009),
    ],
)
def test_the_true_crossovers_are_those_published(figure_1, name: str, value: float, error: float) -> None:
    found = figure_1.crossover(NAMED[name])
    assert found is not None
    assert found / 200 == pytest.approx(value, abs=4 * error)


def test_losses_of_figure_1_are_those_published(figure_1) -> None:
    generalising, partial = figure_1.generalising.mean(0), figure_1.partial.mean(0)
    assert float(generalising[16]) == pytest.approx(6.493, abs=0.06)
    assert [float(partial[16, at]) for at in (1, 9, 17)] == pytest.approx([92.23, 38.60, 7.206], rel=0.04)
    memorizing = partial[:, -1]
    assert float(memorizing[10:].max()) < 1e-3  # t <= .6


def test_nested_softmaxes_are_the_denoisers_of_their_prefixes(generator) -> None:
    x, mu = data(30, 4, 3, generator)
    levels = on_grid(torch.tensor([1e-3, 0.4, 2.0, 50.0]))
    sizes = torch.tensor([1, 2, 11, 30])
    state = generator.get_state()
    weights = torch.tensor([0.2, 0.3, 0.5])
    found = surrogate_losses(x, isotropic_denoiser(mu, 0.7, weights), levels, sizes, generator)
    generator.set_state(state)
    rows = x[torch.randperm(30, generator=generator)]
    chosen = torch.randperm(30, generator=generator)
    z = torch.randn(30, 4, dtype=torch.float64, generator=generator)
    for at, sigma in enumerate(levels.sigma.tolist()):
        y = rows[chosen] + sigma * z
        for s, size in enumerate(sizes.tolist()):
            logits = -(y[:, None] - rows[:size]).square().sum(2) / (2 * sigma**2)
            guess = torch.softmax(logits, 1) @ rows[:size]
            direct = (guess - rows[chosen]).square().sum(1).mean()
            assert float(found.partial[0, at, s]) == pytest.approx(float(direct), rel=1e-10, abs=1e-12)
        v = 0.7 + sigma**2
        p = torch.softmax(weights.double().log() - (y[:, None] - mu).square().sum(2) / (2 * v), 1)
        guess = (0.7 * y + sigma**2 * p @ mu) / v
        direct = (guess - rows[chosen]).square().sum(1).mean()
        assert float(found.generalising[0, at]) == pytest.approx(float(direct), rel=1e-10)


def test_without_noise_the_partial_loss_is_the_distance_to_the_nearest_kept(generator) -> None:
    x, mu = data(60, 20, 3, generator)
    state = generator.get_state()
    truth = isotropic_denoiser(mu, 1.0, torch.full((3,), 1 / 3))
    found = surrogate_losses(x, truth, on_grid(torch.tensor([1e-3])), torch.tensor([15, 60]), generator)
    generator.set_state(state)
    kept = torch.randperm(60, generator=generator)[:15]
    assert float(found.partial[0, 0, 0]) == pytest.approx(float(nearest_kept(x, kept).mean()), rel=1e-6)
    assert float(found.partial[0, 0, 1]) == pytest.approx(0, abs=1e-12)


def test_the_expected_distance_is_the_mean_over_all_subsets(generator) -> None:
    x = torch.randn(7, 2, generator=generator, dtype=torch.float64)
    sizes = torch.arange(1, 8)
    found = expected_nearest_kept(x, sizes)
    for s, size in enumerate(sizes.tolist()):
        every = [nearest_kept(x, torch.tensor(kept)) for kept in combinations(range(7), size)]
        torch.testing.assert_close(found[:, s], torch.stack(every).mean(0), rtol=1e-12, atol=1e-12)


def test_duplicates_are_at_no_distance(generator) -> None:
    x = torch.randn(5, 3, generator=generator, dtype=torch.float64).repeat_interleave(2, 0)
    found = expected_nearest_kept(x, torch.tensor([9]))
    torch.testing.assert_close(found, torch.zeros(10, 1).double(), atol=1e-12, rtol=0)
    assert float(expected_nearest_kept(x[:1], torch.tensor([1])).sum()) == 0


def test_the_memorizing_loss_rises_from_nothing_to_the_variance(generator) -> None:
    x, mu = data(40, 10, 2, generator)
    levels = on_grid(torch.tensor([0.05, 1.0, 1e4]))
    found = memorizing_loss(x, levels, generator, 20).mean(0)
    assert float(found[0]) < 1e-9
    assert float(found[2]) == pytest.approx(float((x - x.mean(0)).square().sum(1).mean()), rel=1e-3)
    truth = isotropic_denoiser(mu, 1.0, torch.ones(2) / 2)
    partial = surrogate_losses(x, truth, levels, torch.tensor([40]), generator, 20).partial.mean(0)[:, 0]
    torch.testing.assert_close(found, partial, rtol=0.2, atol=1e-9)


def test_some_rows_estimate_the_mean_over_all(generator) -> None:
    x, mu = data(100, 10, 2, generator)
    truth = isotropic_denoiser(mu, 1.0, torch.ones(2) / 2)
    levels, sizes = on_grid(torch.tensor([0.5])), torch.tensor([50])
    some = surrogate_losses(x, truth, levels, sizes, generator, repeats=300, rows=10).partial[:, 0, 0]
    every = surrogate_losses(x, truth, levels, sizes, generator, repeats=100).partial[:, 0, 0]
    error = float(some.var() / 300 + every.var() / 100) ** 0.5
    assert abs(float(some.mean() - every.mean())) < 5 * error


def test_a_mixture_that_has_one_component_more_can_do_the_same(generator) -> None:
    """Appendix B: an extra component that is far away changes nothing, unless its mean is the origin."""
    mu = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    y = torch.randn(50, 6, generator=generator, dtype=torch.float64)
    sigma = torch.full((50,), 0.8, dtype=torch.float64)
    smaller = isotropic_denoiser(mu, 0.5, torch.full((4,), 0.25))(y, sigma)

    def larger(extra: torch.Tensor) -> torch.Tensor:
        return isotropic_denoiser(torch.cat([mu, extra]), 0.5, torch.full((5,), 0.2))(y, sigma)

    far = [float((larger(m * mu[3:]) - smaller).abs().max()) for m in (1, 3, 30)]
    assert far[0] > 1e-2
    assert far[2] < 1e-12
    mu[3] = 0
    smaller = isotropic_denoiser(mu, 0.5, torch.full((4,), 0.25))(y, sigma)
    assert float((larger(1e6 * mu[3:]) - smaller).abs().max()) > 1e-2


def test_sizes_that_cannot_be_are_refused(generator) -> None:
    x, mu = data(10, 3, 2, generator)
    truth, levels = isotropic_denoiser(mu, 1.0, torch.ones(2) / 2), on_grid(torch.tensor([1.0]))
    for sizes in ([0, 5], [5, 11], [5, 5]):
        with pytest.raises(ValueError, match="increase"):
            surrogate_losses(x, truth, levels, torch.tensor(sizes), generator)
    with pytest.raises(ValueError, match="averaged over"):
        surrogate_losses(x, truth, levels, torch.tensor([5]), generator, rows=11)
    with pytest.raises(ValueError, match="between 1 and N"):
        expected_nearest_kept(x, torch.tensor([11]))
    with pytest.raises(ValueError, match="at least one"):
        nearest_kept(x, torch.tensor([], dtype=torch.int64))
    with pytest.raises(ValueError, match="no condition"):
        truth(x, torch.ones(10), torch.ones(10))
