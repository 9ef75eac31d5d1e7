"""The test for data-copying: against SciPy, without copying, with it, and with missing cells."""

from __future__ import annotations

import math
from statistics import NormalDist

import pytest
import torch
from scipy import stats

from unrote.contracts import InputError
from unrote.measure.data_copying import data_copying


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_one_cell_is_mann_whitney_of_distances_to_the_training_set(digits: torch.Tensor) -> None:
    training, held_out, samples = digits[:500], digits[500:800], digits[800:1000] + 0.02
    found = data_copying(samples, held_out, training, _seeded(0), cells=1)
    d = [torch.cdist(x.double(), training.double()).min(1).values for x in (samples, held_out)]
    expected = stats.mannwhitneyu(
        d[0].numpy().round(9),
        d[1].numpy().round(9),
        method="asymptotic",
        use_continuity=False,
        alternative="less",
    )
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-6)
    assert found.z == found.statistic.value == found.cells[0].z
    assert found.closer.value == pytest.approx(1 - expected.statistic / (200 * 300))
    assert torch.allclose(found.distance, d[0])


def test_the_statistic_is_the_weighted_mean_over_cells(digits: torch.Tensor) -> None:
    training, held_out, samples = digits[:600], digits[600:1100], digits[1100:1700]
    found = data_copying(samples, held_out, training, _seeded(1), cells=4, least=5)
    weights = torch.tensor([c.held_out for c in found.cells]).double()
    z = torch.tensor([c.z for c in found.cells]).double()
    assert found.statistic.value == pytest.approx(float((weights * z).sum() / weights.sum()))
    share = weights / weights.sum()
    assert found.z == pytest.approx(found.statistic.value / float(share.square().sum().sqrt()))
    assert found.p_value == pytest.approx(NormalDist().cdf(found.z))
    for c, cell in enumerate(found.cells):
        own, fresh = found.distance[found.cell == c], found.held_out_distance[found.held_out_cell == c]
        tied = stats.mannwhitneyu(own, fresh, method="asymptotic", use_continuity=False, alternative="less")
        assert NormalDist().cdf(cell.z) == pytest.approx(tied.pvalue)
        assert cell.z == pytest.approx(cell.deviation_shift * (cell.closer.value - 0.5))
    assert found.statistic.low <= found.statistic.value <= found.statistic.high


def test_without_copying_p_is_uniform_and_closer_is_one_half() -> None:
    results = []
    for seed in range(100):
        g = _seeded(seed)
        x = torch.randn(360, 3, generator=g)
        results.append(data_copying(x[:120], x[120:240], x[240:], g, cells=3, least=10))
    p = torch.tensor([r.p_value for r in results])
    assert stats.kstest(p.numpy(), "uniform").pvalue > 0.01
    assert sum(r.closer.low <= 0.5 <= r.closer.high for r in results) / 100 > 0.92
    assert sum(r.statistic.low <= 0 <= r.statistic.high for r in results) / 100 > 0.92


def test_copies_give_negative_and_misses_positive_values(digits: torch.Tensor) -> None:
    g = _seeded(2)
    training, held_out = digits[:700], digits[700:1200]
    near = training[:300] + 0.02 * torch.randn(300, 64, generator=g)
    far = digits[1200:1500] + 0.5 * torch.randn(300, 64, generator=g)
    copied = data_copying(near, held_out, training, _seeded(0), least=5)
    missed = data_copying(far, held_out, training, _seeded(0), least=5)
    assert copied.statistic.high < 0 < missed.statistic.low
    assert copied.p_value < 1e-10
    assert missed.p_value > 1 - 1e-10
    assert copied.closer.low > 0.9
    assert missed.closer.high < 0.1


def test_copying_in_one_cell_shows_there_and_empty_cells_are_left_out() -> None:
    g = _seeded(3)
    centre = torch.tensor([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0]])
    training = centre.repeat_interleave(60, 0) + torch.randn(180, 2, generator=g)
    held_out = centre.repeat_interleave(60, 0) + torch.randn(180, 2, generator=g)
    samples = torch.cat([training[:60] + 0.001, centre[1] + torch.randn(60, 2, generator=g)])
    found = data_copying(samples, held_out, training, g, cells=3)
    z = sorted((c.z, c.generated) for c in found.cells if c.z is not None)
    assert len(z) == 2
    assert z[0][0] < -7
    assert abs(z[1][0]) < 3.5
    assert [c.z for c in found.cells if c.generated == 0] == [None]
    assert all(math.isfinite(d) for d in found.distance.tolist())


def test_too_few_samples_are_refused() -> None:
    x = torch.randn(40, 2, generator=_seeded(0))
    with pytest.raises(InputError, match="None of 5 cells"):
        data_copying(x[:10], x[10:20], x[20:], _seeded(0))
    same = torch.ones(30, 2)
    found = data_copying(same, same, same, _seeded(0), cells=1)
    assert (found.z, found.p_value, found.closer.value) == (0, 0.5, 0.5)
