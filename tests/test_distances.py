"""The distance kernel: exact against direct float64, whatever the blocks, the dtype and the size of the numbers."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unrote.contracts import InputError
from unrote.distances import (
    below,
    frame,
    full_precision,
    margin,
    pairs_within,
    raised,
    smallest,
    squared,
    top_k,
)


def direct(query: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """All distances by differences in float64, one query at a time."""
    return torch.stack([(reference.double() - q.double()).square().sum(1).sqrt() for q in query])


def exact(query: torch.Tensor, reference: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    value, index = direct(query, reference).sort(dim=1, stable=True)
    return value[:, :k], index[:, :k]


def two_far_clusters(n: int, d: int, generator: torch.Generator) -> torch.Tensor:
    """Pairs of points 1e-3 apart, in two clusters of spread 1 that lie 2,000 apart."""
    x = torch.randn(n, d, generator=generator)
    x[: n // 2, 0] += 1000
    x[n // 2 :, 0] -= 1000
    step = torch.randn(n, d, generator=generator)
    twin = x + 1e-3 * step / step.norm(dim=1, keepdim=True)
    return torch.stack([x, twin], 1).flatten(0, 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_neighbours_of_digits_are_those_of_float64(digits: torch.Tensor, dtype: torch.dtype) -> None:
    query, reference = digits[:200].to(dtype), digits[200:].to(dtype)
    distance, index = exact(query, reference, 5)
    found = top_k(query, reference, 5)
    torch.testing.assert_close(found.distance, distance, rtol=1e-13, atol=0)
    apart = (distance.diff(dim=1) > 1e-12).all(1)
    assert apart.float().mean() > 0.3
    assert torch.equal(found.index[apart], index[apart])


def test_near_duplicates_far_from_the_origin_are_told_apart_where_float32_cannot(
    generator: torch.Generator,
) -> None:
    reference = two_far_clusters(100, 64, generator)
    query = reference[::2] + 2e-4 * torch.randn(100, 64, generator=generator)
    distance, index = exact(query, reference, 2)
    norm = reference.square().sum(1)
    product = query.square().sum(1)[:, None] + norm - 2 * query @ reference.T
    naive = product.topk(2, largest=False)
    wrong = (naive.indices[:, 0] != index[:, 0]).float().mean()
    assert wrong > 0.2
    found = top_k(query, reference, 2)
    assert torch.equal(found.index, index)
    torch.testing.assert_close(found.distance, distance, rtol=1e-13, atol=0)


def test_eight_bit_copies_are_at_distance_zero_and_nothing_else_is(generator: torch.Generator) -> None:
    reference = torch.randint(0, 256, (300, 192), dtype=torch.uint8, generator=generator)
    query = reference[:50].clone()
    query[25:, 7] ^= 1
    found = top_k(query, reference, 2)
    assert (found.distance[:25, 0] == 0).all()
    assert (found.distance[25:, 0] == 1).all()
    assert torch.equal(found.index[:, 0], torch.arange(50))
    whole = (query[:, None].long() - reference[None].long()).square().sum(2)
    assert torch.equal(found.distance.square().round().long(), whole.topk(2, largest=False).values)


def test_mixed_types_are_compared_as_numbers() -> None:
    reference = torch.tensor([[0, 255], [3, 4]], dtype=torch.uint8)
    found = top_k(torch.tensor([[0.0, 0.0], [3.5, 4.0]]), reference, 2)
    assert found.distance.tolist() == [[5.0, 255.0], [0.5, (3.5**2 + 251.0**2) ** 0.5]]


@pytest.mark.parametrize("copies", [3, 30, 700])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.uint8])
def test_ties_go_to_the_lower_index_however_many_there_are(
    copies: int, dtype: torch.dtype, digits: torch.Tensor
) -> None:
    x = ((digits + 1) * 8).to(dtype)
    reference = torch.cat([x[:5], x[7].expand(copies, -1), x[5:7]])
    found = top_k(x[7:8], reference, 3)
    assert found.index.tolist() == [[5, 6, 7]]
    assert found.distance.tolist() == [[0.0, 0.0, 0.0]]


def test_points_that_float32_sees_at_one_distance_are_still_ordered(generator: torch.Generator) -> None:
    direction = torch.linalg.qr(torch.randn(80, 80, generator=generator, dtype=torch.float64)).Q
    radius = 1 + 1e-10 * torch.randperm(80, generator=generator).double()
    found = top_k(torch.zeros(1, 80, dtype=torch.float64), direction * radius[:, None], 80)
    assert torch.equal(found.index[0], radius.argsort())
    few = top_k(torch.zeros(1, 80, dtype=torch.float64), direction * radius[:, None], 3)
    assert torch.equal(few.index[0], radius.argsort()[:3])


@pytest.mark.parametrize("memory", [1, 10_000, 300_000])
def test_the_memory_budget_changes_no_bit_of_the_result(memory: int, digits: torch.Tensor) -> None:
    reference = torch.cat([digits[40:70], digits[40:70] + 1e-6])
    usual, small = top_k(digits[:10], reference, 3), top_k(digits[:10], reference, 3, memory=memory)
    assert torch.equal(usual.index, small.index)
    assert torch.equal(usual.distance, small.distance)
    pairs, distance = pairs_within(digits[:60], 5.0)
    small_pairs, small_distance = pairs_within(digits[:60], 5.0, memory=memory)
    assert len(pairs) > 20
    assert torch.equal(pairs, small_pairs)
    assert torch.equal(distance, small_distance)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_top_k_is_a_sort_of_direct_distances_for_all_shapes_and_sizes(data: st.DataObject) -> None:
    # whole numbers times a power of two: every sum of squares is exact, so equal means equal
    q, n, d = (data.draw(st.integers(1, top)) for top in (6, 90, 40))
    k = data.draw(st.integers(1, min(n, 12)))
    dtype = data.draw(st.sampled_from([torch.float32, torch.float64]))
    size = data.draw(st.sampled_from([2.0**-100, 2.0**-10, 1.0, 2.0**30, 2.0**100]))
    offset = data.draw(st.sampled_from([0, 1, 10**5]))
    levels = data.draw(st.sampled_from([2, 5, 10**6]))
    g = torch.Generator().manual_seed(data.draw(st.integers(0, 10**6)))
    points = torch.randint(levels, (q + n, d), generator=g).to(dtype) + offset
    distance, index = exact(points[:q], points[q:], k)
    points, before = points * size, points * size
    found = top_k(points[:q], points[q:], k, memory=data.draw(st.sampled_from([1, 4096, 2**29])))
    assert torch.equal(found.distance, distance * size)
    assert torch.equal(found.index, index)
    assert torch.equal(points, before)


def test_numbers_near_the_ends_of_float64_neither_overflow_nor_vanish() -> None:
    for size in (1e-200, 1e-300, 1e200, 1e307):
        reference = torch.tensor([[4.0, 3.0], [0.0, 1.0], [5.0, -2.0]], dtype=torch.float64) * size
        found = top_k(torch.zeros(1, 2, dtype=torch.float64), reference, 3)
        assert found.index.tolist() == [[1, 0, 2]]
        torch.testing.assert_close(
            found.distance / size, torch.tensor([[1, 5, 29**0.5]], dtype=torch.float64), rtol=1e-14, atol=0
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("spread", [1e-6, 1.0, 1e4])
def test_floors_lie_below_half_the_squared_distance_and_not_far_below(
    dtype: torch.dtype, spread: float, generator: torch.Generator
) -> None:
    x = 100 + spread * torch.randn(120, 700, generator=generator).double()
    x[60:] = x[:60] + 1e-7 * torch.randn(60, 700, generator=generator)
    setting = frame(x, x)
    every = torch.arange(120)
    with full_precision():
        floor = (
            raised(x, every, setting, dtype, turned=True) @ raised(x, every, setting, dtype, turned=False).T
        )
    pairs = torch.tensor(list(itertools.product(range(120), repeat=2)))
    half = squared(x, x, pairs[:, 0], pairs[:, 1], setting.scale).view(120, 120) / 2
    norm = ((x - setting.centre) * setting.scale).norm(dim=1)
    assert (floor.double() <= half).all()
    lost = (
        margin(700, dtype, 2.0 ** (-24 if dtype == torch.float32 else -53)) * (norm + norm[:, None]).square()
    )
    assert (floor.double() >= half - lost - 1e-30).all()


def test_a_reduced_precision_of_products_is_neither_used_nor_forgotten(digits: torch.Tensor) -> None:
    expected = top_k(digits[:30], digits[30:], 2)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        found = top_k(digits[:30], digits[30:], 2)
        assert torch.get_float32_matmul_precision() == "medium"
        with full_precision():
            assert torch.get_float32_matmul_precision() == "highest"
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(found.index, expected.index)


@settings(max_examples=30, deadline=None)
@given(width=st.integers(1, 1500), k=st.integers(1, 9), seed=st.integers(0, 1000))
def test_grouped_minima_find_what_a_full_scan_finds(width: int, k: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    floor = torch.randint(-50, 50, (3, width), generator=g).float()
    k = min(k, width)
    value, column = smallest(floor, k)
    assert torch.equal(value, floor.sort(1).values[:, :k])
    assert torch.equal(floor.gather(1, column), value)
    assert all(len(set(row)) == k for row in column.tolist())
    limit = torch.tensor([-49.0, -60.0, -20.0])
    row, column = below(floor, limit)
    assert set(zip(row.tolist(), column.tolist(), strict=True)) == {
        (r, c) for r, c in (floor <= limit[:, None]).nonzero().tolist()
    }
    assert len(row) == int((floor <= limit[:, None]).sum())


@pytest.mark.parametrize("place", [0, 700, 1279, 1280, 1299])
def test_the_least_entry_is_found_in_every_group_and_behind_the_last(place: int) -> None:
    floor = torch.ones(2, 1300)
    floor[1, place] = -1.0
    value, column = smallest(floor, 3)
    assert value.tolist() == [[1, 1, 1], [-1, 1, 1]]
    assert column[1, 0] == place
    row, column = below(floor, torch.tensor([0.5, 0.0]))
    assert (row.tolist(), column.tolist()) == ([1], [place])


@pytest.mark.parametrize("radius", [0.0, 1.0, 2.5, 5.0])
def test_close_pairs_are_all_pairs_up_to_and_including_the_radius(radius: float) -> None:
    x = torch.randint(0, 3, (150, 6), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    d = direct(x, x)
    expected = torch.triu(d <= radius, diagonal=1).nonzero()
    pairs, distance = pairs_within(x, radius)
    assert len(pairs) > 10
    assert torch.equal(pairs, expected)
    assert torch.equal(distance, d[pairs[:, 0], pairs[:, 1]])


def test_close_pairs_of_near_duplicates_are_exactly_the_twins(generator: torch.Generator) -> None:
    x = two_far_clusters(60, 64, generator)
    pairs, distance = pairs_within(x, 2e-3)
    assert torch.equal(pairs, torch.arange(120).view(60, 2))
    torch.testing.assert_close(distance, direct(x, x)[pairs[:, 0], pairs[:, 1]], rtol=1e-13, atol=0)


def test_no_queries_and_single_points_have_empty_answers(digits: torch.Tensor) -> None:
    assert top_k(digits[:0], digits, 2).index.shape == (0, 2)
    assert pairs_within(digits[:1], 1.0)[0].shape == (0, 2)
    assert pairs_within(digits[:0], 1.0)[1].shape == (0,)


@pytest.mark.parametrize(
    ("query", "reference", "k", "says"),
    [
        (torch.zeros(1, 3), torch.zeros(2, 3), 3, "at most"),
        (torch.zeros(1, 3), torch.zeros(2, 3), 0, "at least 1"),
        (torch.zeros(1, 3), torch.zeros(2, 4), 1, "resize"),
        (torch.tensor([[float("nan")]]), torch.zeros(2, 1), 1, "queries hold NaN"),
        (torch.zeros(1, 1), torch.tensor([[0.0], [float("inf")]]), 1, "reference points hold NaN or inf"),
        (torch.zeros(1, 1, dtype=torch.bool), torch.zeros(2, 1), 1, "convert"),
        (torch.zeros(1, 1), torch.zeros(2, 1, dtype=torch.complex64), 1, "convert"),
    ],
)
def test_unusable_input_is_refused_with_a_remedy(
    query: torch.Tensor, reference: torch.Tensor, k: int, says: str
) -> None:
    with pytest.raises(InputError, match=says):
        top_k(query, reference, k)


@pytest.mark.parametrize("radius", [-1.0, float("nan")])
def test_a_radius_must_be_a_length(radius: float) -> None:
    with pytest.raises(InputError, match="at least 0"):
        pairs_within(torch.zeros(3, 2), radius)
