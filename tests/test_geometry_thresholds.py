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
from unrote.geometry.thresholds import (
    constants,
    failure_probability,
    neighbour_radii,
    weight_high,
    weight_low,
)


def tiny() -> Tensor:
    """Six points in three dimensions: sin(1.3 i + 0.7 k) + 0.5 cos(0.9 i k)."""
    i, k = torch.meshgrid(torch.arange(6.0).double(), torch.arange(3.0).double(), indexing="ij")
    return torch.sin(1.3 * i + 0.7 * k) + 0.5 * torch.cos(0.9 * i * k)


def weights(x: Tensor, sigma: float, draws: int, generator: torch.Generator) -> Tensor:
    """The weight of the first point at x_1 + sigma Z."""
    z = torch.randn(draws, x.shape[1], generator=generator, dtype=torch.float64)
    away = x - x[0]
    return torch.softmax(-(away.square().sum(1) / 2 - sigma * z @ away.T) / sigma**2, 1)[:, 0]


def test_constants_of_the_theorem() -> None:
    for tau, epsilon, true in (
        (0.9, 0.1, (9.103979355985, 3.718763729171, 0.1066222919200, 0.5150990232218, 0.1101206609412)),
        (0.99, 0.01, (11.501874628783, 4.264667399441, 0.09360929706440, 0.4643894991690, 0.09514068345752)),
    ):
        c = constants(1000, tau, epsilon)
        assert (c.a, c.q, c.low, c.high, c.half_moment) == pytest.approx(true, rel=1e-10)
        assert c.low * c.high == pytest.approx(1 / (2 * c.a), rel=1e-12)


def test_six_points() -> None:
    x = tiny()
    d, radii = neighbour_radii(x[0], x[1:])
    c = constants(6, 0.95, 0.05)
    assert (c.a, c.q) == pytest.approx((4.55387689160054, 2.3263478740408408), rel=1e-9)
    low = weight_low(d, 0.95, 0.05)
    assert float(low.paper) == pytest.approx(0.17411127076529717, rel=1e-8)
    assert float(low.moment) == pytest.approx(0.1785134308555705, rel=1e-6)
    assert float(weight_low(d, 0.9, 0.1).every) == pytest.approx(0.24417886387708912, rel=1e-6)
    assert float(weight_low(d, 0.9, 0.1).paper) == pytest.approx(0.19450397093469324, rel=1e-8)
    for tau, epsilon, by_m in (
        (0.5, 0.1, [2.7217331117692396, 2.115281621018678, 2.3033273119283684, 2.363370187729617]),
        (0.3, 0.05, [8.961124969585585, 5.9467595913094184, 5.065673792411623]),
    ):
        high = weight_high(d, tau, epsilon, radii)
        assert float(high.near_mean) == pytest.approx(min(by_m), rel=1e-8)
        assert float(high.mean) == pytest.approx(by_m[-1], rel=1e-8)


@settings(max_examples=12, deadline=None)
@given(
    st.integers(2, 40),
    st.integers(2, 30),
    st.floats(0.02, 0.98),
    st.floats(0.01, 0.4),
    st.integers(0, 10**6),
)
def test_probabilities_hold_and_sharper_forms_are_sharper(
    size: int, dimension: int, part: float, epsilon: float, seed: int
) -> None:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(size, dimension, generator=g, dtype=torch.float64) * (
        0.1 + torch.rand(size, 1, generator=g, dtype=torch.float64)
    )
    tau = 1 / size + part * (1 - 1 / size)
    d, radii = neighbour_radii(x[0], x[1:])
    low, high = weight_low(d, tau, epsilon), weight_high(d, tau, epsilon, radii)
    slack = 1 + 1e-9
    assert float(low.paper) <= float(low.every) * slack
    assert float(low.every) <= float(low.free) * slack
    assert float(low.moment) >= constants(size, tau, epsilon).half_moment * float(d[0]) / slack
    assert float(high.near) <= float(high.paper) * slack
    assert float(high.near_mean) <= float(high.mean) * slack
    if epsilon <= 0.5:
        assert float(high.near_mean) <= float(high.near) * slack
    assert float(weight_high(d, tau, epsilon).near_mean) >= float(high.near_mean) / slack
    draws, allowed = 4000, 0.0
    from scipy.stats import binomtest

    for sigma in (low.paper, low.every, low.free, low.moment):
        fails = int((weights(x, float(sigma), draws, g) < tau - allowed).sum())
        assert binomtest(fails, draws, epsilon, alternative="greater").pvalue > 1e-6
    for sigma in (high.paper, high.near, high.mean, high.near_mean):
        fails = int((weights(x, float(sigma), draws, g) > tau).sum())
        assert binomtest(fails, draws, epsilon, alternative="greater").pvalue > 1e-6


@settings(max_examples=10, deadline=None)
@given(st.integers(2, 30), st.integers(1, 20), st.floats(0.05, 3), st.floats(0.1, 0.9), st.integers(0, 10**6))
def test_the_failure_probability_bounds_the_failures(
    size: int, dimension: int, sigma: float, part: float, seed: int
) -> None:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(size, dimension, generator=g, dtype=torch.float64)
    tau = 1 / size + part * (1 - 1 / size)
    d = (x[1:] - x[0]).norm(dim=1)
    delta = float(failure_probability(d, sigma, tau))
    worst = (size - 1) * float(
        torch.special.ndtr(sigma * constants(size, tau, 0.5).a / d.min() - d.min() / (2 * sigma))
    )
    assert delta <= 1
    if sigma < float(d.min()) / math.sqrt(2 * constants(size, tau, 0.5).a):
        assert delta <= worst * (1 + 1e-9)
    from scipy.stats import binomtest

    fails = int((weights(x, sigma, 3000, g) < tau).sum())
    assert binomtest(fails, 3000, delta, alternative="greater").pvalue > 1e-6


def test_the_paper_form_holds_for_all_lower_levels_with_one_noise() -> None:
    x, g = tiny(), torch.Generator().manual_seed(1)
    d, radii = neighbour_radii(x[0], x[1:])
    z = torch.randn(20_000, 3, generator=g, dtype=torch.float64)
    away = x - x[0]

    def own(sigma: float) -> Tensor:
        return torch.softmax(-(away.square().sum(1) / 2 - sigma * z @ away.T) / sigma**2, 1)[:, 0]

    low, high = weight_low(d, 0.9, 0.1), weight_high(d, 0.5, 0.1, radii)
    below = torch.stack([own(float(low.free) * part) for part in (1.0, 0.8, 0.5, 0.2)])
    assert float((below < 0.9).any(0).double().mean()) <= 0.1
    above = torch.stack([own(float(high.near_mean) * times) for times in (1.0, 1.3, 2.0, 8.0)])
    assert float((above > 0.5).any(0).double().mean()) <= 0.1


def test_scale_order_batch_and_duplicates() -> None:
    d = torch.tensor([[3.0, 1.0, 2.0, 5.0], [0.0, 1.0, 2.0, 5.0]])
    low, high = weight_low(d, 0.8, 0.1), weight_high(d, 0.8, 0.1)
    for name in ("paper", "every", "free", "moment"):
        found = getattr(low, name)
        assert float(found[1]) == 0
        alone = getattr(weight_low(2.5 * d[0].sort().values, 0.8, 0.1), name)
        assert float(alone) == pytest.approx(2.5 * float(found[0]), rel=1e-6)
    for name in ("paper", "near", "mean", "near_mean"):
        alone = getattr(weight_high(2.5 * d[0].sort().values, 0.8, 0.1), name)
        assert float(alone) == pytest.approx(2.5 * float(getattr(high, name)[0]), rel=1e-12)


def test_refusals() -> None:
    d = torch.ones(4)
    for tau, epsilon in ((0.2, 0.1), (1.0, 0.1), (0.9, 0.0), (0.9, 1.0), (math.nan, 0.1)):
        with pytest.raises(InputError, match="between 1/N and 1"):
            weight_low(d, tau, epsilon)
        with pytest.raises(InputError, match="between 1/N and 1"):
            weight_high(d, tau, epsilon)
    with pytest.raises(InputError, match="positive number"):
        failure_probability(d, 0.0, 0.9)


@pytest.mark.shared_data
@pytest.mark.slow
def test_the_remark_on_real_images(shared_data: Path) -> None:
    chosen = np.sort(np.random.default_rng(0).choice(50000, 1000, replace=False))
    data = rows_of(shared_data / "cifar10", "train", chosen).double()
    base = np.random.default_rng(1).choice(1000, 20, replace=False).tolist()
    others = [torch.cat([data[:i], data[i + 1 :]]) for i in base]
    d, radii = (
        torch.stack(t)
        for t in zip(*(neighbour_radii(data[i], o) for i, o in zip(base, others, strict=True)), strict=True)
    )
    assert float(d[:, 0].mean()) == pytest.approx(21.5, abs=0.06)
    assert float(d[:, -1].mean()) == pytest.approx(61.3, abs=0.06)
    for tau, epsilon, true in (
        (0.95, 0.05, (2.19, 2.89, 3.08)),
        (0.9, 0.1, (2.289604, 3.066160, 3.266829)),
        (0.99, 0.01, (2.01, 2.56, 2.74)),
        (0.5, 0.05, (2.316324, 3.103797, 3.321306)),
    ):
        low = weight_low(d, tau, epsilon)
        found = [float(getattr(low, n).mean()) for n in ("paper", "every", "free")]
        assert found == pytest.approx(true, rel=0.005)
        assert float(low.moment.mean()) > found[0]
    for tau, epsilon, bounds in (
        (0.05, 0.05, (67.2, 46.7, 20.3, 19.4)),
        (0.1, 0.1, (55.569474, 36.879282, 16.680770, 15.595391)),
        (0.5, 0.05, (41.131481, 24.438726, 14.003161, 12.511742)),
        (0.95, 0.05, (30.461182, 15.270294, 11.179172, 9.374323)),
    ):
        high = weight_high(d, tau, epsilon, radii)
        got = [float(getattr(high, n).mean()) for n in ("paper", "near", "mean", "near_mean")]
        assert got == pytest.approx(bounds, rel=0.003)
