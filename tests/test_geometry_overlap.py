from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unrote.contracts import InputError
from unrote.geometry.overlap import Shell, two_shell


def values(ratios: list[float], shell: Shell) -> list[float]:
    return two_shell(torch.tensor(ratios, dtype=torch.float64), shell).tolist()


@pytest.mark.parametrize(
    ("dimension", "inner", "outer", "probability"),
    [
        (3, 0.0, 4.554774055034435, 0.9998811298731102),
        (1024, 29.67981889163095, 34.309012672474076, 0.998937775970629),
        (3072, 53.142535, 57.705034, 0.99874613),
        (12288, 108.59216422783668, 113.10942431254148, 0.9985979989567136),
    ],
)
def test_radii_and_probability(dimension: int, inner: float, outer: float, probability: float) -> None:
    shell = Shell(dimension)
    assert shell.inner == pytest.approx(inner, rel=2e-8)
    assert shell.outer == pytest.approx(outer, rel=2e-8)
    assert shell.probability == pytest.approx(probability, rel=1e-8)
    assert shell.bound == pytest.approx(0.986524106001829, rel=1e-12)
    assert shell.bound <= shell.probability


def test_the_published_table() -> None:
    table = {
        5: 0.99784962, 10: 0.97310397, 12: 0.91643764, 14: 0.77251511,
        16: 0.51217807, 18: 0.22265934, 20: 0.051651356, 25: 2.2869324e-5,
    }  # fmt: skip
    found = values([float(r) for r in table], Shell(3072))
    assert found == pytest.approx(list(table.values()), rel=1e-7)
    assert values([6.0], Shell(64)) == pytest.approx([0.734402731119711], rel=1e-8)
    assert values([22.0], Shell(12288)) == pytest.approx([0.5547599264954527], rel=1e-8)


@pytest.mark.parametrize(("dimension", "half"), [(64, 6.8294860952256204), (3072, 16.080597278154084)])
def test_half_overlap_radius(dimension: int, half: float) -> None:
    shell = Shell(dimension)
    assert shell.half_overlap == pytest.approx(half, rel=1e-9)
    approximate = math.sqrt(2 * math.sqrt(dimension * 5) + 10)
    assert shell.half_overlap == pytest.approx(approximate, rel=0.02)
    assert values([shell.half_overlap], shell)[0] == pytest.approx(0.5, rel=1e-7)


@pytest.mark.parametrize("dimension", [1, 2, 17, 64, 784, 3072, 12288, 200_000])
@pytest.mark.parametrize("tail", [2.0, 5.0])
def test_relative_error_against_many_digits(dimension: int, tail: float) -> None:
    mpmath = pytest.importorskip("mpmath")
    shell = Shell(dimension, tail)
    with mpmath.workdps(40):
        a, rising = mpmath.mpf(dimension) / 2, []
        for end in (shell.inner, shell.outer):
            x = mpmath.mpf(end) ** 2 / 2
            # Poisson tail sums from afar: Pr(chi^2_{d+2k} <= 2x) = sum_{j >= k} x^(a+j) e^-x / Gamma(a+j+1)
            n = int(max(x - a, 0) + 40 * mpmath.sqrt(x) + 60)
            term = (
                mpmath.exp((a + n) * mpmath.log(x) - x - mpmath.loggamma(a + n + 1)) if x else mpmath.mpf(0)
            )
            sums, total = [], mpmath.mpf(0)
            for k in range(n, -1, -1):
                total += term
                sums.append(total)
                term = term * (a + k) / x if x else term
            rising.append(sums[::-1])
        between = [o - (rising[0][k] if k < len(rising[0]) else 0) for k, o in enumerate(rising[1])]
        for share in (0.0, 0.03, 0.6, 1.3, 1.9):
            r = share * math.sqrt(2 * math.sqrt(dimension * tail) + 2 * tail)
            mean, weight, true = mpmath.mpf(r) ** 2 / 2, None, mpmath.mpf(0)
            weight = mpmath.exp(-mean)
            for k, value in enumerate(between):
                true += weight * value
                weight = weight * mean / (k + 1)
                if k > mean and weight < mpmath.mpf(10) ** -60:
                    break
            if true > 1e-12:
                assert values([r], shell)[0] == pytest.approx(float(true), rel=1e-8), (dimension, r)


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 5000), st.floats(0.5, 8), st.lists(st.floats(0, 60), min_size=2, max_size=30))
def test_it_falls_from_self_coverage_to_nothing(dimension: int, tail: float, ratios: list[float]) -> None:
    shell = Shell(dimension, tail)
    found = values(sorted(ratios), shell)
    assert values([0.0], shell)[0] == pytest.approx(shell.probability, rel=1e-9)
    assert all(0 <= c <= shell.probability * (1 + 1e-9) for c in found)
    assert all(later <= before * (1 + 1e-8) for before, later in pairwise(found))
    assert values([1e9], shell) == [0.0]


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 4000), st.floats(1, 6), st.floats(0, 1))
def test_monte_carlo_of_two_variables_agrees(dimension: int, tail: float, share: float) -> None:
    shell = Shell(dimension, tail)
    r = share * 1.6 * math.sqrt(2 * math.sqrt(dimension * tail) + 2 * tail)
    g = torch.Generator().manual_seed(dimension)
    n = 20_000
    along = torch.randn(n, generator=g, dtype=torch.float64)
    torch.manual_seed(dimension)
    across = torch._standard_gamma(torch.full((n,), (dimension - 1) / 2 + 1e-30, dtype=torch.float64)) * 2
    square = (along + r) ** 2 + (across if dimension > 1 else 0)
    hits = int(((square >= shell.inner**2) & (square <= shell.outer**2)).sum())
    from scipy.stats import binomtest

    assert binomtest(hits, n, min(1.0, values([r], shell)[0])).pvalue > 1e-6


def test_any_shape_and_refusals() -> None:
    shell = Shell(10)
    assert two_shell(torch.zeros(2, 3, 0), shell).shape == (2, 3, 0)
    assert two_shell(torch.rand(2, 3), shell).shape == (2, 3)
    for wrong in (-1.0, math.nan):
        with pytest.raises(ValueError, match="not be negative"):
            values([wrong], shell)
    for dimension, tail in ((0, 5.0), (3, 0.0), (3, math.inf), (3, math.nan)):
        with pytest.raises(InputError, match="positive tail"):
            Shell(dimension, tail)
    with pytest.raises(InputError, match="longer tail"):
        _ = Shell(3072, 0.01).half_overlap
