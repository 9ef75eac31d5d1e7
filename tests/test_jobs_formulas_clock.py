"""The calculators of memorization times: the constants' checked values, powers, steps, and refusals."""

from __future__ import annotations

import math

import pytest

from unrote.contracts import InputError
from unrote.jobs import theory
from unrote.jobs.calculators_clock import KernelConstantsOptions, MemorizationTimeOptions


def test_kernel_constants_are_those_that_were_checked_by_simulation() -> None:
    found = theory(KernelConstantsOptions(dimension=8, nu=1.0))
    assert set(found.value) == {"beta", "gamma", "ratio"}
    assert found.value["beta"] == pytest.approx(-1.93862, rel=1e-5)
    assert found.value["ratio"] == pytest.approx(found.value["beta"] / 8, rel=1e-14)
    assert found.more["exact_over_that"] == pytest.approx(0.9693, abs=5e-5)
    two = theory(KernelConstantsOptions(dimension=1000, nu=2.0))
    assert two.value["beta"] == pytest.approx(-2000, rel=1e-9)
    assert two.more["exact_over_that"] == pytest.approx(1, rel=1e-9)
    assert math.isfinite(theory(KernelConstantsOptions(dimension=10**6, nu=20.0)).value["beta"])


def test_time_is_proportional_to_points_and_falls_with_the_level() -> None:
    found = theory(MemorizationTimeOptions(points=(64, 128), sigma=(0.1, 0.2), dimension=64, rate=2.0)).value
    assert found["points"] == [64, 64, 128, 128] and found["sigma"] == [0.1, 0.2, 0.1, 0.2]
    first = found["time"][0]
    assert found["time"] == pytest.approx([first, first / 2, 2 * first, first])
    assert found["steps"] == pytest.approx([t / 2 for t in found["time"]])
    features = theory(MemorizationTimeOptions(points=(64,), sigma=(0.1, 0.2), dimension=64, nu=2.0)).value
    # lambda = C 2 sigma^2 / P with C = 1 / (2 d)
    assert features["time"] == pytest.approx([64 * 64 / 0.01, 64 * 64 / 0.04])
    assert features["time_in_many_dimensions"] == pytest.approx(features["time"])
    own = MemorizationTimeOptions(points=(64,), sigma=(0.1,), dimension=64, nu=3.0, coefficient=2.0)
    twice = MemorizationTimeOptions(points=(64,), sigma=(0.1,), dimension=64, nu=3.0, coefficient=4.0)
    assert theory(own).value["time"][0] == pytest.approx(2 * theory(twice).value["time"][0])


def test_what_cannot_be_used_is_refused() -> None:
    with pytest.raises(InputError, match="needs --coefficient"):
        theory(MemorizationTimeOptions(points=(64,), sigma=(0.1,), dimension=64, nu=3.0))
    with pytest.raises(InputError, match="more than 100,000 rows"):
        theory(MemorizationTimeOptions(points=(64,) * 1000, sigma=(0.1,) * 101, dimension=64))
    for wrong in ({"nu": 0.0}, {"sigma": (0.0,)}, {"points": (0,)}, {"dimension": 0}, {"rate": -1.0}):
        options = {"points": (64,), "sigma": (0.1,), "dimension": 64} | wrong
        with pytest.raises(InputError, match="cannot be used; it lies between"):
            theory(MemorizationTimeOptions(**options))
