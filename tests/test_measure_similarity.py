"""Cosine similarity: exact against all pairs, ties, backgrounds, shares and percentiles."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unrote.contracts import InputError
from unrote.measure.estimate import wilson
from unrote.measure.similarity import background, most_similar, similarity, summarized


def _cosine(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    a, b = (x.flatten(1).double() for x in (a, b))
    return (a / a.norm(dim=1, keepdim=True)) @ (b / b.norm(dim=1, keepdim=True)).T


def test_the_most_similar_are_those_of_all_pairs(digits: torch.Tensor, generator: torch.Generator) -> None:
    moved = digits + 0.01 * torch.randn(digits.shape, generator=generator)
    found = most_similar(moved[:300], moved[300:], 3)
    expected = _cosine(moved[:300], moved[300:]).topk(3)
    assert torch.equal(found.index, expected.indices)
    assert torch.allclose(similarity(found.distance), expected.values, atol=1e-14)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40))
def test_parallel_and_equal_rows_are_tied_and_go_to_the_lower_index(seed: int, n: int) -> None:
    g = torch.Generator().manual_seed(seed)
    x = torch.randint(1, 3, (n, 3), generator=g, dtype=torch.uint8)  # many equal, some parallel
    q = torch.randint(1, 3, (5, 3), generator=g, dtype=torch.uint8)
    found = most_similar(q, x, 1)
    cosine = _cosine(q, x)
    assert torch.allclose(similarity(found.distance)[:, 0], cosine.max(1).values, atol=1e-14)
    for row, equal in enumerate((q[:, None] == x).all(2)):
        if equal.any():
            assert float(found.distance[row, 0]) < 1e-15
    ones = most_similar(torch.ones(2, 3), torch.full((50, 3), 2.0), 2)
    assert ones.index.tolist() == [[0, 1], [0, 1]]
    assert ones.distance.abs().max() == 0


def test_nearly_parallel_vectors_are_told_apart_beyond_single_precision(generator: torch.Generator) -> None:
    base = torch.randn(64, generator=generator, dtype=torch.float64)
    side = torch.linalg.qr(torch.randn(64, 40, generator=generator, dtype=torch.float64)).Q.T
    x = base + 1e-7 * torch.linspace(1, 2, 40).flip(0)[:, None] * side
    found = most_similar(base[None], x, 2)
    exact = (x / x.norm(dim=1, keepdim=True) - base / base.norm()).norm(dim=1)
    assert torch.equal(found.index[0], exact.topk(2, largest=False).indices)
    assert torch.allclose(found.distance[0], exact.sort().values[:2], rtol=1e-6)


def test_scale_does_not_matter(digits: torch.Tensor) -> None:
    found = most_similar(digits[:50], digits[50:400])
    scaled = most_similar(digits[:50].double() * 1e-200, digits[50:400].double() * 1e200)
    assert torch.equal(found.index, scaled.index)
    assert torch.allclose(found.distance, scaled.distance, atol=1e-12)


def test_the_background_leaves_out_the_example_itself_and_its_group(digits: torch.Tensor) -> None:
    training = torch.cat([digits[:200], digits[:20]])
    plain = background(training)
    assert (plain[:20] > 1 - 1e-12).all()
    group = torch.cat([torch.arange(200), torch.arange(20)])
    grouped = background(training, group)
    cosine = _cosine(training, training).masked_fill(group[:, None] == group, -2)
    assert torch.allclose(grouped, cosine.max(1).values, atol=1e-14)
    assert torch.allclose(background(digits[:200]), grouped[:200], atol=1e-14)


def test_shares_and_percentiles_stand_with_their_intervals(generator: torch.Generator) -> None:
    value = torch.rand(400, generator=generator, dtype=torch.float64)
    value[0] = 0.5
    found = summarized(value)
    above = dict(found.above)
    assert above[0.5] == wilson(int((value > 0.5).sum()), 400)
    assert not found.exceeds(0.5)[0]
    assert int(found.exceeds(0.9).sum()) == round(above[0.9].value * 400)
    for share, percentile in found.percentiles:
        assert percentile.value == pytest.approx(np.quantile(value, share))
        assert percentile.low < share < percentile.high + 0.02
    few = dict(summarized(value[:20], percentiles=(0.99, 0.01)).percentiles)
    assert few[0.99].high == 1
    assert few[0.01].low == -1


def test_what_has_no_direction_is_refused() -> None:
    x = torch.eye(3)
    with pytest.raises(InputError, match="number 1 has features that are all 0"):
        most_similar(torch.tensor([[1.0, 0, 0], [0, 0, 0]]), x)
    with pytest.raises(InputError, match="NaN"):
        most_similar(torch.tensor([[math.nan, 0, 0]]), x)
    with pytest.raises(InputError, match="4 nearest neighbours were asked of 3"):
        most_similar(x, x, 4)
    with pytest.raises(InputError, match="2 features each and the training set 3"):
        most_similar(x[:, :2], x)
