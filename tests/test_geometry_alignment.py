from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from real_images import rows_of

from unrote.contracts import InputError
from unrote.denoise.exact import Empirical
from unrote.geometry.alignment import aligned, cosine_bound, denoiser_error


def test_both_forms() -> None:
    paper, sharp = aligned(torch.tensor([0.1, 0.6, 1.2], dtype=torch.float64))
    assert paper.tolist() == pytest.approx([0.8181818181818181, 0.25, -1 / 11], rel=1e-12)
    assert sharp[:2].tolist() == pytest.approx([0.99498743710662, 0.8], rel=1e-12)
    assert math.isnan(float(sharp[2]))


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 0.99), st.integers(2, 30), st.integers(0, 10**6))
def test_no_error_of_that_length_turns_further(ratio: float, dimension: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    u, e = torch.randn(2, 200, dimension, generator=g, dtype=torch.float64)
    e = e / e.norm(dim=1, keepdim=True) * ratio * u.norm(dim=1, keepdim=True)
    paper, sharp = aligned(torch.tensor(ratio, dtype=torch.float64))
    found = torch.cosine_similarity(u, u + e)
    assert bool((found >= sharp - 1e-9).all())
    assert float(sharp) >= float(paper) - 1e-12
    worst = torch.tensor([[-(ratio**2), ratio * math.sqrt(1 - ratio**2)]], dtype=torch.float64)
    along = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    attained = float(torch.cosine_similarity(along, along + worst))
    assert attained == pytest.approx(float(sharp), rel=1e-6)


@settings(max_examples=12, deadline=None)
@given(st.integers(3, 20), st.integers(30, 120), st.floats(0.3, 0.9), st.integers(0, 10**6))
def test_flow_matching_velocities_are_aligned(size: int, dimension: int, time: float, seed: int) -> None:
    from scipy.stats import binomtest

    g = torch.Generator().manual_seed(seed)
    x = torch.randn(size, dimension, generator=g, dtype=torch.float64)
    d, tau, draws, sigma = (x[1:] - x[0]).norm(dim=1), 0.9, 400, (1 - time) / time
    bound = cosine_bound(d, x[0].norm(), dimension, time, tau, 2.0, 2.0)
    error = denoiser_error(d, sigma, tau)
    z = torch.randn(draws, dimension, generator=g, dtype=torch.float64)
    level = torch.full((draws,), sigma, dtype=torch.float64)
    denoised = Empirical(x)(x[0] + sigma * z, level)
    far = int(((denoised - x[0]).norm(dim=1) > error.bound + 1e-9).sum())
    assert binomtest(far, draws, 1 - float(error.probability), alternative="greater").pvalue > 1e-6
    if math.isnan(float(bound.sharp)):
        return
    state = time * x[0] + (1 - time) * z
    u, best = x[0] - z, (denoised - state) / (1 - time)
    off = int((torch.cosine_similarity(u, best) < bound.sharp - 1e-9).sum())
    assert binomtest(off, draws, 1 - float(bound.probability), alternative="greater").pvalue > 1e-6


def test_no_bound_where_the_velocity_may_vanish() -> None:
    found = cosine_bound(torch.ones(3), torch.tensor(1.0), 4, 0.5)
    assert all(math.isnan(float(v)) for v in (found.ratio, found.paper, found.sharp))
    for time, inner, norm in ((0.0, 3.0, 5.0), (1.0, 3.0, 5.0), (0.5, 0.0, 5.0), (0.5, 3.0, -1.0)):
        with pytest.raises(InputError, match="alignment bound"):
            cosine_bound(torch.ones(3), torch.tensor(1.0), 4, time, 0.9, inner, norm)


@pytest.mark.shared_data
@pytest.mark.slow
def test_the_remark_on_real_images(shared_data: Path) -> None:
    """50,000 images; 60 of the 500 base points, so within their sampling error."""
    data = rows_of(shared_data / "cifar10", "train", np.arange(50000))
    base = np.random.default_rng(0).choice(50000, 500, replace=False)[:60]
    points = data[base]
    squared = data.square().sum(1)
    distance = (squared[base][:, None] + squared - 2 * points @ data.T).clamp_min(0).sqrt().double()
    distance = distance[torch.arange(50000) != torch.tensor(base)[:, None]].reshape(60, 49999)
    assert float(distance.amin(1).mean()) == pytest.approx(18.47, abs=2.5)
    assert float(distance.amax(1).mean()) == pytest.approx(70.2, abs=3.5)
    for time, paper, sharp in ((0.5, 0.953393, 0.999714), (0.7, 0.923517, 0.999204)):
        bound = cosine_bound(distance, points.norm(dim=1), 3072, time)
        assert float(bound.paper.mean()) == pytest.approx(paper, abs=0.002)
        assert float(bound.sharp.mean()) == pytest.approx(sharp, abs=3e-5)
        assert float(bound.probability.mean()) == pytest.approx(0.9915, abs=0.03)
