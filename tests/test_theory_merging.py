"""Merging of components: total variation by quadrature, exact levels, groups, modes, information about components."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from unrote.theory.merging import (
    label_information,
    label_information_bounds,
    level_of,
    merged_from,
    merged_share,
    mode_groups,
    modes,
    printed_level,
    separated_up_to,
    simple_merged_from,
    total_variation,
    total_variation_along,
    tree,
)


def reals(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def time_of(sigma: torch.Tensor) -> float:
    return float(sigma / (1 + sigma**2).sqrt())


@pytest.mark.parametrize("gap", [0.1, 1.0, 6.0])
@pytest.mark.parametrize("sigma", [0.0, 0.5, 3.0])
def test_total_variation_against_quadrature(gap: float, sigma: float) -> None:
    s = math.sqrt(0.4 + sigma**2)
    direct = integrate.quad(lambda y: stats.norm.pdf(y, 0, s) - stats.norm.pdf(y, gap, s), -40, gap / 2)[0]
    assert float(total_variation(reals(gap), reals(sigma), 0.4)) == pytest.approx(direct, rel=1e-8)


def test_other_covariances_agree_with_the_round_one_and_with_a_rotation() -> None:
    difference, sigma = reals(1, 2, 2)[None], reals(0.3, 2.0)
    along = total_variation_along(difference, torch.full((3,), 0.5), sigma)
    torch.testing.assert_close(along, total_variation(reals(3), sigma, 0.5))
    one = total_variation_along(reals(0, 2)[None], reals(9, 1), reals(1.0))
    torch.testing.assert_close(one, total_variation(reals(2), reals(1.0), 1.0))


@pytest.mark.parametrize(
    ("gap", "epsilon", "merge", "apart", "printed", "there"),
    [
        (4.0, 0.1, 0.9980242013481648, 0.9919444598026518, 0.9944968033750726, 0.16596848296314515),
        (1.0, 0.05, 0.9921045509420475, 0.9679033544865288, 0.9914385795448896, 0.05205446686616377),
    ],
)
def test_levels_of_worked_examples(
    gap: float, epsilon: float, merge: float, apart: float, printed: float, there: float
) -> None:
    assert time_of(merged_from(reals(gap), epsilon)) == pytest.approx(merge, rel=1e-10)
    assert time_of(separated_up_to(reals(gap), epsilon)) == pytest.approx(apart, rel=1e-10)
    level = printed_level(reals(gap), epsilon)
    assert time_of(level) == pytest.approx(printed, rel=1e-10)
    assert float(total_variation(reals(gap), level)) == pytest.approx(there, rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.floats(0.01, 40), st.floats(1e-3, 0.45), st.floats(0.01, 10))
def test_levels_are_where_the_variation_is_what_was_asked(gap: float, epsilon: float, spread: float) -> None:
    g = reals(gap)
    level = level_of(epsilon, g, spread)
    there = float(total_variation(g, level, spread))
    assert there == pytest.approx(epsilon, rel=1e-7) if float(level) > 0 else there <= epsilon * (1 + 1e-12)
    # the simple condition suffices; the printed one is true for separation and false for merging
    simple = simple_merged_from(g, epsilon, spread)
    assert float(total_variation(g, simple, spread)) <= epsilon * (1 + 1e-9)
    assert float(simple) >= float(level) * (1 - 1e-9)
    assert float(printed_level(g, 2 * epsilon, spread)) <= float(separated_up_to(g, epsilon, spread)) + 1e-6
    assert float(printed_level(g, epsilon, spread)) <= float(level) + 1e-6


def test_nothing_is_separated_by_more_than_one() -> None:
    assert float(separated_up_to(reals(100), 0.5)) == 0


def test_groups_have_only_members_that_are_merged_and_grow(generator) -> None:
    means = 5 * torch.randn(15, 3, generator=generator, dtype=torch.float64)
    joined = tree(means, 0.1, 0.5)
    assert bool((joined.level.diff() >= 0).all())
    levels = torch.cat([reals(0), joined.level - 1e-9, joined.level + 1e-9]).sort().values
    counts = joined.counts(levels)
    before = None
    for sigma, count in zip(levels.tolist(), counts.tolist(), strict=True):
        label = joined.groups(sigma)
        assert int(label.max()) + 1 == count
        for i, j in itertools.combinations(range(15), 2):
            if label[i] == label[j]:
                gap = (means[i] - means[j]).norm()[None]
                assert float(total_variation(gap, reals(max(sigma, 1e-9)), 0.5)) <= 0.1 + 1e-6
        if before is not None:  # groups are only ever joined
            for group in range(int(before.max()) + 1):
                assert len(label[before == group].unique()) == 1
        before = label
    assert int(joined.groups(1e9).max()) == 0
    assert joined.groups(0.0).tolist() == list(range(15))
    assert len(tree(means[:1], 0.1).level) == 0


def test_shares_of_pairs_run_from_separated_to_merged(generator) -> None:
    means, weights = (
        4 * torch.randn(8, 2, generator=generator, dtype=torch.float64),
        torch.rand(8, generator=generator),
    )
    weights = weights / weights.sum()
    merged, separated = merged_share(
        means, weights, 0.05, torch.logspace(-3, 4, 30, dtype=torch.float64), 0.01
    )
    assert (float(merged[0]), float(separated[0])) == (0, pytest.approx(1))
    assert (float(merged[-1]), float(separated[-1])) == (pytest.approx(1), 0)
    assert bool((merged.diff() >= 0).all())
    assert bool((separated.diff() <= 0).all())
    assert bool((merged + separated <= 1 + 1e-12).all())


def test_two_equal_hills_become_one_at_half_their_distance() -> None:
    means, even = reals(0, 4)[:, None], reals(0.5, 0.5)
    for variance, count in ((3.9, 2), (4.1, 1)):
        found = modes(means, even, reals(math.sqrt(variance - 1)), 1.0)[0]
        assert len(mode_groups(found, variance).unique()) == count
    x = modes(means, even, reals(1.0), 1.0)[0, 0, 0]
    slope = (torch.softmax(-((x - means[:, 0]) ** 2) / 4, 0) * means[:, 0]).sum() - x
    assert abs(float(slope)) < 1e-8


def test_modes_are_tops_of_the_density(generator) -> None:
    means, weights = 3 * torch.randn(6, 2, generator=generator, dtype=torch.float64), torch.full((6,), 1 / 6)
    for sigma in (0.5, 1.5, 4.0):
        found = modes(means, weights, reals(sigma), 0.1)[0]

        def height(x: torch.Tensor, v: float = 0.1 + sigma**2) -> torch.Tensor:
            return torch.logsumexp(-torch.cdist(x, means).square() / (2 * v), 1)

        around = found[:, None] + 0.02 * torch.randn(6, 50, 2, generator=generator, dtype=torch.float64)
        assert bool((height(around.flatten(0, 1)).reshape(6, 50) <= height(found)[:, None] + 1e-9).all())


def test_information_about_components_between_bounds_and_against_quadrature(generator) -> None:
    means, weights = reals(0, 2, 7)[:, None], reals(0.5, 0.3, 0.2)
    sigma = reals(0.05, 0.8, 3.0, 50.0)
    found = label_information(means, weights, sigma, generator, 0.2, 20_000)
    low, high = label_information_bounds(means, weights, sigma, 0.2)
    error = 4.5 * found.std(0) / math.sqrt(20_000)
    assert bool((found.mean(0) > low - error).all())
    assert bool((found.mean(0) < high + error).all())
    prior = -float((weights * weights.log()).sum())
    assert float(found[:, 0].mean()) <= prior

    for column, level in enumerate(sigma.tolist()):
        s = math.sqrt(0.2 + level**2)

        def density(y: float, s: float = s) -> float:
            parts = [w * stats.norm.pdf(y, m, s) for w, m in zip((0.5, 0.3, 0.2), (0, 2, 7), strict=True)]
            p = sum(parts)
            return -sum(part * math.log(part / p) for part in parts if part > 0)

        lost = integrate.quad(density, -9 * s, 7 + 9 * s, limit=400, points=(0, 1, 2, 4.5, 7))[0]
        assert abs(float(found[:, column].mean()) - (prior - lost)) < float(error[column]) + 1e-7
    even = label_information_bounds(reals(0, 1e3)[:, None], reals(0.5, 0.5), reals(1e-3), 0.0)
    assert [float(e) for e in even] == pytest.approx([math.log(2)] * 2)


def test_a_variation_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        level_of(1.0, reals(1))
    with pytest.raises(ValueError, match="at least 0"):
        total_variation(reals(1), reals(1), -1.0)
