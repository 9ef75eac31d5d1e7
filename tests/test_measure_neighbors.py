"""Neighbours and copy decisions: one exact answer, whichever way it was found."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unrote.contracts import InputError
from unrote.distances import top_k
from unrote.measure import neighbors as module
from unrote.measure.neighbors import copy_decisions, neighbors
from unrote.measure.projection import projected_index, views


def images(n: int, generator: torch.Generator) -> torch.Tensor:
    """Smooth 8-bit images (n, 2, 16, 16)."""
    coarse = torch.rand(n, 2, 4, 4, generator=generator) * 200
    smooth = torch.nn.functional.interpolate(coarse, 16, mode="bilinear")
    return (smooth + 20 * torch.rand(n, 2, 16, 16, generator=generator)).to(torch.uint8)


def some_copies(n: int, training: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Fresh images, and training images behind noise of every strength from none to all."""
    fresh = images(n, generator).float()
    share = torch.linspace(0, 1, n).reshape(-1, 1, 1, 1)
    source = torch.randint(len(training), (n,), generator=generator)
    mixed = share * fresh + (1 - share) * training[source].float()
    return torch.cat([mixed, training[source[: n // 4]].float(), fresh]).round().to(torch.uint8)


def test_large_problems_go_through_the_projection_and_give_the_same_bits(generator: torch.Generator) -> None:
    training = images(2100, generator)
    training[50:60] = training[:10]
    query = some_copies(850, training, generator)
    assert module.paying_index(query.flatten(1), training.flatten(1), 2**29) is not None
    found, expected = neighbors(query, training, 3), top_k(query.flatten(1), training.flatten(1), 3)
    assert torch.equal(found.index, expected.index)
    assert torch.equal(found.distance, expected.distance)
    copies = (expected.distance[:, 0] < expected.distance[:, 1] / 3) | (expected.distance[:, 0] == 0)
    assert 200 < copies.sum() < len(query) - 200
    assert torch.equal(copy_decisions(query, training), copies)


def test_a_bound_that_dismisses_too_little_is_given_up(generator: torch.Generator) -> None:
    training = torch.randn(2100, 512, generator=generator)
    query = torch.randn(1900, 512, generator=generator)
    assert module.paying_index(query, training, 2**29) is None
    found, expected = neighbors(query, training, 1), top_k(query, training, 1)
    assert torch.equal(found.index, expected.index)


def test_small_problems_are_exact_over_whole_events(digits: torch.Tensor) -> None:
    query, training = digits[:90].unflatten(1, (1, 8, 8)), digits[90:].unflatten(1, (1, 8, 8))
    found = neighbors(query, training)
    direct = torch.cdist(
        digits[:90].double(), digits[90:].double(), compute_mode="donot_use_mm_for_euclid_dist"
    )
    torch.testing.assert_close(found.distance, direct.topk(2, largest=False).values, rtol=1e-13, atol=0)


@pytest.mark.parametrize("factor", [1.0, 2.0, 3.0, 10.0])
@pytest.mark.parametrize("rank", [2, 40])
def test_decisions_by_bounds_are_the_decisions_by_neighbours(
    factor: float, rank: int, generator: torch.Generator
) -> None:
    training = images(700, generator).flatten(1)
    training[100:130] = training[:30]
    training[130:160] = training[:30] ^ 1
    query = some_copies(160, training.unflatten(1, (2, 16, 16)), generator).flatten(1)
    query = torch.cat([query, training[:200], torch.zeros_like(query[:3]), 255 - query[:20]])
    distance = top_k(query, training, 2).distance
    expected = (distance[:, 0] < distance[:, 1] / factor) | (distance[:, 0] == 0)
    index = projected_index(training, rank)
    decided = torch.cat([module._decided(view, factor) for view in views(index, query)])
    assert torch.equal(decided, expected)
    assert 100 < expected.sum() < len(expected)
    assert torch.equal(copy_decisions(query, training, factor), expected)


def test_the_rule_is_strict_and_exact_copies_of_duplicates_count() -> None:
    training = torch.zeros(6, 4)
    training[:, 0] = torch.tensor([1.0, -3.0, 50.0, 50.0, 90.0, 94.0])
    query = torch.zeros(5, 4)
    query[:, 0] = torch.tensor([0.0, 50.0, 90.0, 91.0, 90.9])
    index = projected_index(training, 2)
    expected = [False, True, True, False, True]
    assert copy_decisions(query, training).tolist() == expected
    assert torch.cat([module._decided(view, 3.0) for view in views(index, query)]).tolist() == expected


@settings(max_examples=30, deadline=None)
@given(n=st.integers(2, 60), d=st.integers(1, 12), rank=st.integers(1, 5), seed=st.integers(0, 10**6))
def test_decisions_hold_on_lattices_full_of_ties(n: int, d: int, rank: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    training = torch.randint(0, 4, (n, d), generator=g, dtype=torch.uint8)
    query = torch.randint(0, 4, (20, d), generator=g, dtype=torch.uint8)
    distance = top_k(query, training, 2).distance
    expected = (distance[:, 0] < distance[:, 1] / 3) | (distance[:, 0] == 0)
    view = next(views(projected_index(training, rank), query))
    assert torch.equal(module._decided(view, 3.0), expected)


def test_no_queries_have_empty_answers(digits: torch.Tensor) -> None:
    assert neighbors(digits[:0], digits).index.shape == (0, 2)
    assert copy_decisions(digits[:0], digits).shape == (0,)


def test_two_training_events_are_needed_for_a_ratio(digits: torch.Tensor) -> None:
    with pytest.raises(InputError, match="at most"):
        copy_decisions(digits[:3], digits[:1])
    with pytest.raises(InputError, match="at most"):
        neighbors(digits[:3], digits[:1])
    with pytest.raises(ValueError, match="factor"):
        copy_decisions(digits[:3], digits, 0.5)
    with pytest.raises(InputError, match="resize"):
        neighbors(digits[:3, :9], digits)
