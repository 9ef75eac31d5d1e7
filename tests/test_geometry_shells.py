from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unrote.contracts import InputError
from unrote.geometry.inside import inside_any
from unrote.geometry.shells import (
    Shell,
    coverage,
    coverage_bounds,
    coverage_without_test,
    disjoint_below,
    nearest_distances,
    nearest_others,
    pair_distances,
    two_shell,
)

LEVELS = torch.logspace(-2, 1, 13, dtype=torch.float64)


def direct(
    data: Tensor, base: Tensor, z: Tensor, levels: Tensor, shell: Shell, same: Tensor | None = None
) -> Tensor:
    """Every difference in float64."""
    out = []
    for sigma in levels.tolist():
        y = base.double() + sigma * z.double()
        distance = (y[:, None] - data.double()).norm(dim=2) / sigma
        hit = (distance >= shell.inner) & (distance <= shell.outer)
        out.append((hit if same is None else hit & ~same).any(1))
    return torch.stack(out)


@pytest.mark.parametrize("offset", [0.0, 300.0])
def test_union_equals_direct_differences_with_near_duplicates(
    offset: float, digits: Tensor, generator: torch.Generator
) -> None:
    data = torch.cat([digits[:150], digits[:40] + 0.01 * torch.randn(40, 64, generator=generator)]) + offset
    base = torch.cat([digits[400:430], digits[:20], digits[20:40] + 0.003]) + offset
    z = torch.randn(base.shape, generator=generator)
    levels, shell = torch.logspace(-4, 2, 40, dtype=torch.float64), Shell(64)
    true = direct(data, base, z, levels, shell)
    for memory in (2**16, 2**26):
        assert torch.equal(inside_any(data, base, z, levels, (shell.inner, shell.outer), None, memory), true)
    assert 0.1 < float(true.double().mean()) < 0.9


@settings(max_examples=10, deadline=None)
@given(st.integers(3, 60), st.integers(1, 40), st.floats(1e-3, 1e3), st.floats(0.3, 8), st.integers(0, 10**6))
def test_union_equals_direct_differences_on_any_data(
    size: int, dimension: int, scale: float, tail: float, seed: int
) -> None:
    g = torch.Generator().manual_seed(seed)
    x = scale * torch.randn(size + 9, dimension, generator=g)
    z, shell = torch.randn(9, dimension, generator=g), Shell(dimension, tail)
    levels = scale * LEVELS
    found = inside_any(x[9:], x[:9], z, levels, (shell.inner, shell.outer))
    assert torch.equal(found, direct(x[9:], x[:9], z, levels, shell))


def test_left_out_groups(digits: Tensor, generator: torch.Generator) -> None:
    data, rows, shell = digits[:100], torch.arange(0, 100, 7), Shell(64)
    group = torch.arange(100) // 3
    z = torch.randn(len(rows), 64, generator=generator)
    same = group[rows, None] == group
    found = inside_any(data, data[rows], z, LEVELS, (shell.inner, shell.outer), (group[rows], group))
    assert torch.equal(found, direct(data, data[rows], z, LEVELS, shell, same))


@settings(max_examples=6, deadline=None)
@given(st.integers(3, 200), st.integers(1, 80), st.floats(0.15, 3), st.integers(0, 10**6))
def test_bounds_of_the_theorem(size: int, dimension: int, sigma: float, seed: int) -> None:
    """1,500 independent training sets and test points would be slow; sets are drawn anew, few points each."""
    from scipy.stats import binomtest

    g = torch.Generator().manual_seed(seed)
    shell, level = Shell(dimension), torch.tensor([sigma], dtype=torch.float64)
    hits, lower, upper, sets = 0, [], [], 60
    for _ in range(sets):
        x = torch.randn(size + 1, dimension, generator=g, dtype=torch.float64)
        z = torch.randn(1, dimension, generator=g, dtype=torch.float64)
        hits += int(inside_any(x[1:], x[:1], z, level, (shell.inner, shell.outer)))
        distance = (x[1:] - x[0]).norm(dim=1)
        low, high = coverage_bounds(distance.min()[None], distance, size, level, shell)
        lower.append(float(low))
        upper.append(float(high))
        assert float(low) <= float(high) + 1e-12  # c(D_NN) <= sum_i c(D_i)
    low, high = sum(lower) / sets, min(1.0, sum(upper) / sets * 1.0)
    assert binomtest(hits, sets, min(1.0, low), alternative="less").pvalue > 1e-6
    assert binomtest(hits, sets, high, alternative="greater").pvalue > 1e-6


def test_conditional_coverage_lies_between_the_largest_term_and_their_sum(generator: torch.Generator) -> None:
    """Given the points, Pr(inside the union) lies between max_i c(D_i/sigma) and sum_i c(D_i/sigma)."""
    from scipy.stats import binomtest

    x = torch.randn(30, 10, generator=generator, dtype=torch.float64)
    shell, draws = Shell(10, 2.0), 4000
    for sigma in (0.3, 0.6, 1.0, 2.0):
        level = torch.tensor([sigma], dtype=torch.float64)
        z = torch.randn(draws, 10, generator=generator, dtype=torch.float64)
        hits = int(inside_any(x[1:], x[:1].expand(draws, 10), z, level, (shell.inner, shell.outer)).sum())
        each = two_shell((x[1:] - x[0]).norm(dim=1) / sigma, shell)
        assert binomtest(hits, draws, float(each.max()), alternative="less").pvalue > 1e-6
        assert binomtest(hits, draws, min(1.0, float(each.sum())), alternative="greater").pvalue > 1e-6


def test_coverage_rises_to_one_and_the_bounds_enclose_it(digits: Tensor, generator: torch.Generator) -> None:
    train, test, shell = digits[:800], digits[800:1200], Shell(64)
    found = coverage(train, test, LEVELS, shell, generator, draws=2).mean(1)
    assert float(found[0]) == 0
    assert float(found[-1]) > 0.999
    pairs = pair_distances(train, generator, base=None)
    assert len(pairs) == 800 * 799 // 2
    lower, upper = coverage_bounds(nearest_distances(train, test), pairs, 800, LEVELS, shell)
    error = 5 * (found * (1 - found) / 400).sqrt() + 0.005
    assert bool((lower.mean(1) <= found + error).all())
    assert bool((found <= upper + error).all())
    assert bool((upper.diff() >= 0).all())


def test_rounding_many_pairs_keeps_an_upper_bound(generator: torch.Generator) -> None:
    pairs = 5 * torch.rand(40_000, generator=generator, dtype=torch.float64) ** 2
    shell, few = Shell(5), torch.ones(1)
    _, rounded = coverage_bounds(few, pairs, 2, LEVELS[:6], shell)
    exact = torch.stack([2 * two_shell(pairs / s, shell).mean() for s in LEVELS[:6].tolist()]).clamp_max(1)
    assert bool((rounded >= exact * (1 - 1e-12)).all())
    torch.testing.assert_close(rounded, exact, rtol=1e-3, atol=0)


def test_without_a_test_set_it_is_the_coverage_of_one_point_less(digits: Tensor) -> None:
    """A training point against the others is a fresh point against N - 1: no bias beyond the noise."""
    g = torch.Generator().manual_seed(3)
    train, test, shell = digits[:600], digits[600:1797], Shell(64)
    within = coverage_without_test(train, LEVELS, shell, g, base=None, draws=2)
    fresh = coverage(train, test, LEVELS, shell, g, draws=2)
    assert within.shape == (13, 600)
    error = (within.std(1) ** 2 / 600 + fresh.std(1) ** 2 / 1197).sqrt()
    assert bool(((within.mean(1) - fresh.mean(1)).abs() <= 4.5 * error + 1e-9).all())


def test_duplicates_raise_it_unless_they_are_named(digits: Tensor) -> None:
    x, shell = torch.cat([digits[:100], digits[:100]]), Shell(64)
    blind, named, once = (
        coverage_without_test(*a, torch.Generator().manual_seed(1), base=None, **k)
        for a, k in (
            ((x, LEVELS, shell), {}),
            ((x, LEVELS, shell), {"group": torch.arange(200) % 100}),
            ((digits[:100], LEVELS, shell), {}),
        )
    )
    assert float(blind.mean(1)[0]) == pytest.approx(shell.probability, abs=0.02)
    assert float(once.mean(1)[0]) == 0
    assert torch.equal(named[:, :100], once)  # the first half draws the same noise


def test_distances(digits: Tensor, generator: torch.Generator) -> None:
    x = digits[:50]
    full = (x[:, None].double() - x.double()).norm(dim=2)
    pairs = pair_distances(x, generator, base=None)
    torch.testing.assert_close(pairs.sort().values, full[full > 0].sort().values[::2], rtol=1e-9, atol=0)
    full.fill_diagonal_(torch.inf)
    rows = torch.tensor([4, 7])
    torch.testing.assert_close(nearest_others(x, rows), full[rows].amin(1))
    shell = Shell(64)
    assert disjoint_below(float(full.min()), shell) == pytest.approx(float(full.min()) / (2 * shell.outer))


def test_refusals(digits: Tensor, generator: torch.Generator) -> None:
    x, shell = digits[:20], Shell(64)
    with pytest.raises(ValueError, match="does not fit"):
        coverage_without_test(x, LEVELS, Shell(63), generator)
    with pytest.raises(InputError, match="coverage would be 1"):
        coverage(x, x[3:6], LEVELS, shell, generator)
    with pytest.raises(InputError, match="near-duplicates of each other"):
        coverage_without_test(x, LEVELS, shell, generator, group=torch.zeros(20, dtype=torch.int64))
    with pytest.raises(ValueError, match="as many group numbers"):
        coverage_without_test(x, LEVELS, shell, generator, group=torch.zeros(2, dtype=torch.int64))
    with pytest.raises(InputError, match="draws"):
        coverage(x, digits[30:33], LEVELS, shell, generator, draws=0)
    with pytest.raises(ValueError, match="at least one"):
        coverage_bounds(torch.ones(0), torch.ones(3), 3, LEVELS, shell)
