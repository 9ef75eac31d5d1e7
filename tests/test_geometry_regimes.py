from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from real_images import rows_of
from torch import Tensor

from unrote.contracts import InputError
from unrote.geometry.crossings import rising
from unrote.geometry.posterior import weight_curve
from unrote.geometry.regimes import (
    Regimes,
    Zone,
    regimes,
    share_removed,
    zone_at,
    zone_without_noise,
)
from unrote.geometry.shells import Shell, coverage, coverage_bounds, coverage_without_test, nearest_distances
from unrote.noise.levels import LogNormal, edm_levels

GRID = torch.logspace(-2, 2, 81, dtype=torch.float64)


def line(low: float, high: float) -> Tensor:
    """A curve that is linear in log sigma from 0 at one level to 1 at another (T,1)."""
    return ((GRID.log() - math.log(low)) / math.log(high / low)).clamp(0, 1)[:, None]


def known(weight: Tensor, covered: Tensor, count: int = 10**6, **more: object) -> Regimes:
    generator = torch.Generator().manual_seed(0)
    return regimes(
        GRID, weight.expand(-1, 5), covered.expand(-1, 4), count=count, generator=generator, **more
    )


def test_curves_that_are_lines_give_the_levels_of_lines() -> None:
    found = known(1 - line(1.0, 100.0), line(0.01, 1.0))  # both 1 at sigma = 1 alone
    at = lambda p: 0.01 * 100**p  # noqa: E731
    assert found.crossing.value == pytest.approx(1, rel=1e-6)
    assert found.height.value == pytest.approx(1, rel=1e-6)
    assert found.level == found.asked == 0.95
    for zone, p in ((found.danger, 0.95), (found.medium, 0.05)):
        assert (zone.low, zone.high) == (pytest.approx(at(p)), pytest.approx(1 / at(p)))
    low, high, used, reasons = zone_at(found, 0.5)
    assert (low.value, high.value, used, reasons) == (pytest.approx(0.1), pytest.approx(10), 0.5, {})
    assert (found.danger_low.low, found.danger_low.high) == (pytest.approx(at(0.95)), pytest.approx(at(0.95)))
    assert (found.danger_low.n, found.danger_high.n, found.crossing.n) == (4, 5, 4)
    assert found.reasons == {}


def test_a_low_crossing_takes_a_share_of_its_height() -> None:
    found = known(1 - line(0.1, 1.0), line(0.1, 10.0))  # meet at 0.1 * 10^(2/3), height 1/3
    assert found.crossing.value == pytest.approx(0.1 * 10 ** (2 / 3), rel=1e-3)
    assert found.height.value == pytest.approx(1 / 3, rel=2e-3)
    assert found.level == pytest.approx(0.95 / 3, rel=2e-3)
    assert found.danger is not None
    assert found.danger.low < found.crossing.value < found.danger.high


def test_where_nothing_is_crossed_it_is_none_with_the_reason() -> None:
    always = torch.ones(81, 1, dtype=torch.float64)
    found = known(0.99 * always, line(0.01, 1.0))
    assert found.danger_high.value is None and found.large_above.value is None
    assert "highest of the levels" in found.reasons["danger_high"]
    assert "highest of the levels" in found.reasons["large_above"]
    assert found.danger is None
    found = known(1 - line(1.0, 100.0), 0.03 * always)
    assert found.small_below.value is None and "does not reach 0.05" in found.reasons["small_below"]
    assert found.crossing.value is not None and found.height.value == pytest.approx(0.03)
    found = known(1 - line(0.001, 0.002), 0.5 + 0.5 * always)
    assert found.crossing.value is found.height.value is found.level is None
    assert "cross below" in found.reasons["crossing"]
    assert found.danger_low.value is found.danger_high.value is None
    assert "lowest of the levels" in found.reasons["danger_low"]
    assert "below 0.95" in found.reasons["danger_high"]
    found = known(always, 0 * always)
    assert "cross above" in found.reasons["crossing"]


def test_few_points_are_rescaled_by_their_floor() -> None:
    weight = (1 - line(1.0, 100.0)) * 0.9 + 0.1
    few, many = known(weight, line(0.01, 1.0), count=10), known(weight, line(0.01, 1.0))
    assert few.rescaled and not many.rescaled
    assert many.large_above.value is None
    assert few.large_above.value == pytest.approx(100**0.95)
    assert few.danger_high.value == pytest.approx(100**0.05)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=1, max_size=12))
def test_projection_on_rising_sequences(values: list[float]) -> None:
    from sklearn.isotonic import isotonic_regression

    found = rising(torch.tensor(values, dtype=torch.float64)[:, None])[:, 0]
    assert found.tolist() == pytest.approx(isotonic_regression(values).tolist(), abs=1e-9)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 40), st.floats(0.05, 0.98))
def test_laws_of_any_curves(seed: int, size: int, p: float) -> None:
    g = torch.Generator().manual_seed(seed)
    weight = torch.rand(81, size, generator=g, dtype=torch.float64).sort(0, descending=True).values
    covered = torch.rand(81, size, generator=g, dtype=torch.float64).sort(0).values
    found = regimes(GRID, weight, covered, count=10**4, generator=g, p=p, repeats=20)
    assert bool((found.weight.diff() <= 0).all() and (found.covered.diff() >= 0).all())
    if found.danger is not None and found.crossing.value is not None:
        assert found.danger.low <= found.crossing.value * (1 + 1e-9) <= found.danger.high * (1 + 2e-9)
        assert found.level <= found.height.value * (1 + 1e-9)
        wider = zone_at(found, p / 2)
        if not wider[3] and wider[2] <= found.level:  # a height just above p/2 gives p/2, below p 0.95 of it
            assert wider[0].value <= found.danger.low * (1 + 1e-9)
            assert wider[1].value >= found.danger.high / (1 + 1e-9)
    scaled = regimes(3 * GRID, weight, covered, count=10**4, generator=g, p=p, repeats=2)
    for a, b in ((found.danger_low, scaled.danger_low), (found.crossing, scaled.crossing)):
        assert (a.value is None) == (b.value is None)
        assert a.value is None or b.value == pytest.approx(3 * a.value, rel=1e-9)


def test_intervals_cover_the_curves_of_all_points(digits: Tensor) -> None:
    """Of points drawn from many, the interval covers what many give; 40 times, at least 32."""
    g = torch.Generator().manual_seed(2)
    shell, levels = Shell(64), torch.logspace(-1.2, 0.6, 40, dtype=torch.float64)
    train, test = digits[:400], digits[400:]
    weight = weight_curve(train, levels, g, base=None, draws=5).maximum
    covered = coverage(train, test, levels, shell, g)
    true = regimes(levels, weight, covered, count=400, generator=g, repeats=2)
    names = ("danger_high", "small_below", "large_above", "crossing")
    hits = dict.fromkeys(names, 0)
    for _ in range(40):
        rows, more = (torch.randint(n, (100,), generator=g) for n in (400, len(test)))
        found = regimes(levels, weight[:, rows], covered[:, more], count=400, generator=g, repeats=60)
        for name in names:
            at, wide = getattr(true, name).value, getattr(found, name)
            hits[name] += (wide.low or 0) <= at <= (wide.high or math.inf)
    assert min(hits.values()) >= 32, hits


def test_the_zone_without_noise_is_inside_the_zone(generator: torch.Generator) -> None:
    levels = torch.logspace(-1, 2, 60, dtype=torch.float64)
    train, test = 3 * torch.randn(300, 64, generator=generator), 3 * torch.randn(400, 64, generator=generator)
    distance = torch.cdist(train, train)[~torch.eye(300, dtype=torch.bool)].reshape(300, 299)
    shell = Shell(64)
    inner = zone_without_noise(nearest_distances(train, test), distance, shell, p=0.3)
    weight = weight_curve(train, levels, generator, base=None).maximum
    found = regimes(
        levels, weight, coverage(train, test, levels, shell, generator), count=300, generator=generator
    )
    low, high, _, _ = zone_at(found, 0.3)
    assert low.low <= inner.low <= inner.high <= high.high
    assert zone_without_noise(torch.full((3,), 100.0), torch.ones(2, 9), shell) is None
    one = zone_without_noise(torch.full((3,), 2.0), torch.full((1, 999), 40.0), Shell(64), p=0.5)
    assert one.low == pytest.approx(2 / shell.half_overlap, rel=1e-6)
    with pytest.raises(InputError, match="One shell holds"):
        zone_without_noise(torch.ones(3), torch.ones(2, 9), Shell(64), p=0.9999)


def test_published_zones_on_the_grid_of_18_steps() -> None:
    steps = edm_levels(18)
    inside = lambda low, high: ((steps >= low) & (steps <= high)).nonzero()[:, 0].tolist()  # noqa: E731
    assert inside(2.04, 3.90) == [8]
    assert inside(1.30, 7.09) == [7, 8, 9]
    assert inside(0.81, 17.2) == [5, 6, 7, 8, 9, 10]


def test_share_of_the_law_and_a_gap_that_removes_everything() -> None:
    law = LogNormal()
    middle = math.exp(-1.2)
    assert share_removed(Zone(middle / math.exp(1.2), middle * math.exp(1.2)), law) == pytest.approx(
        0.6826895
    )
    with pytest.raises(InputError, match="removes every level"):
        share_removed(Zone(1e-9, 1e9), law)


def test_refusals() -> None:
    g, w = torch.Generator(), torch.rand(81, 4, dtype=torch.float64)
    for more in ({"p": 0.0}, {"small": 1.0}, {"large": math.nan}, {"confidence": 1.0}, {"count": 2}):
        with pytest.raises(InputError):
            regimes(GRID, w, w, **({"count": 500, "generator": g} | more))
    with pytest.raises(InputError, match="at least 3"):
        regimes(GRID, w[:, :2], w, count=500, generator=g)
    with pytest.raises(InputError, match="ascend"):
        regimes(GRID.flip(0), w, w, count=500, generator=g)
    found = regimes(GRID, w, w, count=500, generator=g, repeats=2)
    with pytest.raises(InputError, match="between 0 and 1"):
        zone_at(found, 1.0)


@pytest.mark.shared_data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "size", "published"),
    [
        (
            "cifar10",
            1000,
            {"zone": (2.04, 3.90), "half": (1.30, 7.09), "medium": (0.81, 17.2), "crossing": (2.89, 0.9938)},
        ),
        (
            "cifar10_cars",
            2000,
            {"zone": (2.09, 4.17), "half": (1.41, 7.00), "medium": (0.98, 15.4), "crossing": (3.16, 0.9954)},
        ),
    ],
)
def test_published_zones_of_real_images(
    shared_data: Path, folder: str, size: int, published: dict[str, tuple[float, float]]
) -> None:
    rng, g = np.random.default_rng(7), torch.Generator().manual_seed(7)
    sizes = (50000, 10000) if folder == "cifar10" else (5000, 1000)
    train, test = (
        rows_of(shared_data / folder, split, rng.choice(n, k, replace=False))
        for split, n, k in (("train", sizes[0], size), ("test", sizes[1], 1000))
    )
    levels, shell = torch.logspace(-0.5, 1.5, 56, dtype=torch.float64), Shell(3072)
    weight = weight_curve(train, levels, g).maximum
    covered = coverage(train, test, levels, shell, g)
    found = regimes(levels, weight, covered, count=size, generator=g)
    low, high, _, _ = zone_at(found, 0.5)
    assert (found.danger.low, found.danger.high) == pytest.approx(published["zone"], rel=0.08)
    assert (low.value, high.value) == pytest.approx(published["half"], rel=0.06)
    assert (found.medium.low, found.medium.high) == pytest.approx(published["medium"], rel=0.06)
    assert found.crossing.value == pytest.approx(published["crossing"][0], rel=0.15)
    assert found.height.value == pytest.approx(published["crossing"][1], abs=0.004)
    # Without a test set: within 10 % of it everywhere.
    within = coverage_without_test(train, levels, shell, g)
    alone = regimes(levels, weight, within, count=size, generator=g)
    assert alone.danger.low == pytest.approx(found.danger.low, rel=0.1)
    assert alone.small_below.value == pytest.approx(found.small_below.value, rel=0.1)
    # The lower bound is close, and the quick rule closer to the level of half coverage.
    lower, _ = coverage_bounds(nearest_distances(train, test), torch.ones(1), size, levels, shell)
    assert float((covered.mean(1) - lower.mean(1)).abs().max()) < 0.06
    rows = torch.arange(0, size, size // 20)
    distance = torch.cdist(train[rows].double(), train.double())
    distance = distance[torch.arange(size) != rows[:, None]].reshape(len(rows), size - 1)
    inner = zone_without_noise(nearest_distances(train, test), distance, shell)
    assert found.danger.low <= inner.low <= inner.high <= found.danger.high
    if folder == "cifar10":
        assert (inner.low, inner.high) == pytest.approx((2.12, 2.89), rel=0.06)
    rule = float(nearest_distances(train, test).median()) / shell.half_overlap
    assert rule == pytest.approx(low.value, rel=0.04)
