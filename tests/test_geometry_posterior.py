from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unrote.contracts import InputError
from unrote.geometry.posterior import process_weight_curve, weight_curve
from unrote.geometry.thresholds import weight_low
from unrote.noise.process import Gaussian


def tiny() -> Tensor:
    i, k = torch.meshgrid(torch.arange(6.0).double(), torch.arange(3.0).double(), indexing="ij")
    return torch.sin(1.3 * i + 0.7 * k) + 0.5 * torch.cos(0.9 * i * k)


def test_six_points_at_two_levels(generator: torch.Generator) -> None:
    curve = weight_curve(tiny(), torch.tensor([0.4, 2.0]), generator, base=None, draws=2000)
    found = curve.maximum.mean(1)
    assert float(found[0]) == pytest.approx(0.9026620916128896, abs=0.005)
    assert float(found[1]) == pytest.approx(0.3470391952282564, abs=0.004)
    assert curve.base.tolist() == [0, 1, 2, 3, 4, 5]


def test_limits_and_order(digits: Tensor, generator: torch.Generator) -> None:
    levels = torch.logspace(-4, 4, 15, dtype=torch.float64)
    curve = weight_curve(digits[:200], levels, generator, base=40)
    assert (curve.size, curve.draws, len(curve.base)) == (200, 1, 40)
    assert bool((curve.own <= curve.maximum * (1 + 1e-6)).all())
    assert curve.maximum[0].tolist() == pytest.approx([1] * 40)
    assert curve.maximum[-1].tolist() == pytest.approx([1 / 200] * 40, rel=0.01)
    mean = curve.maximum.mean(1)
    assert bool((mean.diff() < 0.02).all())


def test_two_copies_share_the_weight(generator: torch.Generator) -> None:
    x = 10 * torch.eye(4).repeat(2, 1)
    curve = weight_curve(x, torch.tensor([0.1]), generator, base=None)
    assert curve.maximum[0].tolist() == pytest.approx([0.5] * 8)
    assert curve.own[0].tolist() == pytest.approx([0.5] * 8)


@settings(max_examples=10, deadline=None)
@given(st.integers(3, 40), st.integers(1, 12), st.floats(0.05, 5), st.integers(0, 10**6))
def test_weights_of_any_data_lie_between_their_limits(
    size: int, dimension: int, sigma: float, seed: int
) -> None:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(size, dimension, generator=g, dtype=torch.float64)
    curve = weight_curve(x, torch.tensor([sigma]), g, base=None)
    assert bool((curve.maximum >= 1 / size * (1 - 1e-9)).all() and (curve.maximum <= 1 + 1e-9).all())
    assert bool((curve.own >= 0).all() and (curve.own <= curve.maximum + 1e-9).all())


def test_the_curve_is_at_least_what_the_threshold_implies(generator: torch.Generator) -> None:
    x, tau, epsilon = torch.randn(60, 20, generator=generator, dtype=torch.float64), 0.9, 0.1
    distance = torch.cdist(x, x)[~torch.eye(60, dtype=torch.bool)].reshape(60, 59)
    low = weight_low(distance, tau, epsilon).every
    levels = low.quantile(torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64))
    curve = weight_curve(x, levels, generator, base=None, draws=50)
    promised = (1 - epsilon) * tau * (levels[:, None] <= low).double().mean(1)
    assert bool((curve.own.mean(1) >= promised).all())


def test_any_process_and_the_shared_distances_agree(digits: Tensor) -> None:
    levels = torch.tensor([0.2, 0.6, 1.5])
    streams = [torch.Generator().manual_seed(s) for s in (1, 2)]
    one = weight_curve(digits[:120], levels, streams[0], base=None, draws=8)
    other = process_weight_curve(Gaussian(), digits[:120], levels, streams[1], base=None, draws=8)
    for a, b in ((one.maximum, other.maximum), (one.own, other.own)):
        error = (a.std(1) ** 2 + b.std(1) ** 2).sqrt() / 120**0.5
        assert bool(((a.mean(1) - b.mean(1)).abs() <= 5 * error + 1e-9).all())


def test_memory_changes_no_number(digits: Tensor) -> None:
    levels = torch.tensor([0.1, 0.5, 2.0])
    a, b = (
        weight_curve(digits[:300], levels, torch.Generator().manual_seed(5), base=90, memory=m)
        for m in (2**20, 2**28)
    )
    torch.testing.assert_close(a.maximum, b.maximum, rtol=0, atol=2e-6)
    assert torch.equal(a.base, b.base)
    assert len(a.base.unique()) == 90


def test_refusals(generator: torch.Generator) -> None:
    x = torch.rand(5, 3)
    for base, draws in ((0, 1), (3, 0)):
        with pytest.raises(InputError, match="At least 1 base point"):
            weight_curve(x, torch.ones(1), generator, base=base, draws=draws)
    with pytest.raises(InputError, match="at least 3"):
        weight_curve(x[:2], torch.ones(1), generator)
    with pytest.raises(InputError, match="ascend"):
        weight_curve(x, torch.tensor([2.0, 1.0]), generator)
