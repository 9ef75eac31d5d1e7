"""Authenticity by hand-made configurations, by its law for smooth densities, and with duplicates."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unrote.contracts import InputError
from unrote.measure.authenticity import (
    against_held_out,
    authenticity,
    expected_share,
    gaps,
    is_authentic,
)
from unrote.measure.copies import below, calibrated_threshold
from unrote.measure.duplicates import duplicate_groups
from unrote.measure.estimate import newcombe, wilson


def _line(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def test_a_sample_nearer_than_its_neighbours_neighbour_is_not_authentic() -> None:
    # training at 0, 1, 10; gaps 1, 1, 9
    training = _line(0, 1, 10)
    found = authenticity(_line(-0.5, -1.5, 12, 19.5, 4, 1.9), training)
    assert found.nearest.tolist() == [0, 0, 2, 2, 1, 1]
    assert found.distance.tolist() == pytest.approx([0.5, 1.5, 2, 9.5, 3, 0.9])
    assert found.gap.tolist() == [1, 1, 9, 9, 1, 1]
    assert found.authentic.tolist() == [False, True, False, True, True, False]
    assert found.share == wilson(3, 6)
    assert found.ratio.tolist() == pytest.approx([0.5, 1.5, 2 / 9, 9.5 / 9, 3, 0.9])


def test_the_gap_is_that_of_the_nearest_training_point_and_not_of_the_sample_or_itself() -> None:
    # with its own gap counted as 0 (itself its neighbour), with gaps looked up under the number of the sample, or
    # with the sign turned, the second sample would be authentic, the first would not, or both would change
    training = _line(0, 100, 101)
    assert gaps(training).tolist() == [100, 1, 1]
    assert authenticity(_line(103, 50.0 - 1), training).authentic.tolist() == [True, False]
    assert authenticity(training, training).authentic.tolist() == [False, False, False]


def test_equal_distances_are_not_authentic() -> None:
    assert authenticity(_line(2, 2.0000001), _line(0, 1)).authentic.tolist() == [False, True]
    assert is_authentic(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0])).tolist() == [False, False]


def test_copies_of_duplicated_images_pass_unless_duplicates_are_one(
    digits: torch.Tensor, generator: torch.Generator
) -> None:
    training = torch.cat([digits[:300], digits[:30]])
    samples = digits[:60] + 0.02 * torch.randn(60, 64, generator=generator)
    plain = authenticity(samples, training)
    assert plain.authentic[:30].all()
    group = duplicate_groups(training, 0.1).group
    found = authenticity(samples, training, group)
    assert not found.authentic.any()
    assert torch.equal(found.gap[30:], plain.gap[30:])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 30), st.integers(2, 5))
def test_gaps_by_hand_with_ties_and_any_groups(seed: int, n: int, groups: int) -> None:
    g = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 3, (n, 2), generator=g, dtype=torch.uint8)
    group = torch.randint(groups, (n,), generator=g)
    group[:2] = torch.tensor([0, 1])
    d = torch.cdist(x.double(), x.double(), compute_mode="donot_use_mm_for_euclid_dist")
    alone = d.clone().fill_diagonal_(math.inf)
    assert torch.allclose(gaps(x), alone.min(1).values)
    apart = d.masked_fill(group[:, None] == group, math.inf)
    assert torch.allclose(gaps(x, group), apart.min(1).values)
    rows = torch.tensor([n - 1, 0])
    assert torch.equal(gaps(x, group, rows), gaps(x, group)[rows])


@pytest.mark.parametrize(("dimension", "share"), [(1, 1 / 3), (2, 0.378495), (3, 11 / 27)])
def test_fresh_data_are_authentic_as_often_as_mutual_neighbours_are_missing(
    dimension: int, share: float, generator: torch.Generator
) -> None:
    assert expected_share(dimension) == pytest.approx(share, abs=1e-6)
    pi = math.pi
    assert expected_share(2) == pytest.approx(1 - pi / (4 * pi / 3 + math.sqrt(3) / 2))
    x = torch.rand(8000, dimension, generator=generator, dtype=torch.float64)
    found = authenticity(x[:4000], x[4000:])
    assert found.share.value == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 4000))
    assert expected_share(500) == pytest.approx(0.5)


def test_a_copying_model_falls_below_held_out_data(digits: torch.Tensor, generator: torch.Generator) -> None:
    training, fresh = digits[:600], digits[600:1200]
    held_out = authenticity(fresh, training)
    copies = authenticity(training[:200] + 0.1 * torch.randn(200, 64, generator=generator), training)
    found = against_held_out(copies, held_out)
    expected = newcombe(int(copies.authentic.sum()), 200, int(held_out.authentic.sum()), 600)
    assert found == expected
    assert found.high < -0.3
    again = against_held_out(authenticity(digits[1200:], training), held_out)
    assert again.low < 0 < again.high
    threshold = calibrated_threshold(held_out.ratio, 0.05)
    assert below(held_out.ratio, threshold).double().mean() <= 0.05
    assert below(copies.ratio, threshold).double().mean() > 0.95


def test_what_cannot_be_judged_is_refused() -> None:
    with pytest.raises(InputError, match="at least 2"):
        authenticity(_line(0), _line(1))
    with pytest.raises(InputError, match="near-duplicates of each other"):
        authenticity(_line(0), _line(1, 2), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match="at least 1"):
        expected_share(0)
    assert authenticity(torch.zeros(0, 1), _line(1, 2)).share.high == 1
