"""The projected bound: floors hold, and what is searched through them is what direct distances give."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unrote import distances
from unrote.contracts import InputError
from unrote.distances import frame, top_k
from unrote.measure.projection import View, look, pairs_within, projected_index, search, views


def structured(n: int, d: int, generator: torch.Generator, rank: int = 12) -> torch.Tensor:
    """Points near a subspace, as images are: variances fall along random directions."""
    scale = 3.0 / torch.arange(1, rank + 1)
    directions = torch.randn(rank, d, generator=generator)
    low = torch.randn(n, rank, generator=generator) * scale @ directions
    return 5 + low + 0.05 * torch.randn(n, d, generator=generator)


def identical(found: object, expected: object) -> bool:
    return torch.equal(found.index, expected.index) and torch.equal(found.distance, expected.distance)


@pytest.mark.parametrize("n", [1, 63, 64, 1000])
@pytest.mark.parametrize("rank", [1, 8, 500])
def test_projected_search_is_brute_force_on_structured_data(
    n: int, rank: int, generator: torch.Generator
) -> None:
    x = structured(n + 70, 200, generator)
    query, reference = x[:70], x[70:]
    k = min(n, 3)
    assert identical(search(projected_index(reference, rank), query, k), top_k(query, reference, k))


def test_projected_search_is_brute_force_on_data_without_structure(generator: torch.Generator) -> None:
    x = torch.randn(1560, 100, generator=generator)
    index = projected_index(x[60:], 4)
    view = next(views(index, x[:60]))
    assert (view.crowd(view.ceiling(2), torch.arange(60)) > 1000).float().mean() > 0.5
    assert identical(search(index, x[:60], 2), top_k(x[:60], x[60:], 2))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float64])
def test_projected_search_is_brute_force_for_every_type(
    dtype: torch.dtype, generator: torch.Generator
) -> None:
    x = structured(500, 150, generator).mul(20).add(100).clamp(0, 255).to(dtype)
    query, reference = torch.cat([x[:50], x[100:110]]), x[50:]
    found = search(projected_index(reference, 16), query, 2)
    assert identical(found, top_k(query, reference, 2))
    assert (found.distance[-10:, 0] == 0).all()


def test_queries_far_from_all_points_and_ties_are_searched_exactly(generator: torch.Generator) -> None:
    reference = structured(300, 128, generator)
    reference = torch.cat([reference, reference[:40], reference[:40]])
    query = torch.cat([reference[:20], 30 * torch.randn(40, 128, generator=generator), torch.zeros(1, 128)])
    found = search(projected_index(reference, 8), query, 3)
    assert identical(found, top_k(query, reference, 3))
    assert found.index[:20].tolist() == [[i, 300 + i, 340 + i] for i in range(20)]


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(2, 200),
    d=st.integers(1, 80),
    rank=st.integers(1, 20),
    size=st.sampled_from([1e-25, 1.0, 1e5, 1e25]),
    memory=st.sampled_from([1, 2**14, 2**29]),
    seed=st.integers(0, 10**6),
)
def test_neither_shape_nor_size_nor_memory_changes_the_result(
    n: int, d: int, rank: int, size: float, memory: int, seed: int
) -> None:
    g = torch.Generator().manual_seed(seed)
    x = structured(n + 9, d, g) * size
    query, reference = x[:9], x[9:]
    index = projected_index(reference, rank, memory=memory)
    assert identical(search(index, query, 2, memory=memory), top_k(query, reference, 2))


@pytest.mark.parametrize("rank", [1, 10, 64])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_floors_lie_below_half_the_squared_distance(
    rank: int, offset: float, generator: torch.Generator
) -> None:
    x = structured(400, 64, generator).double() + offset * torch.randn(64, generator=generator)
    x[200:300] = x[:100] + 1e-5 * torch.randn(100, 64, generator=generator)
    view = look(projected_index(x[100:], rank), x[:100, None])
    half = torch.stack([(x[100:] - q).square().sum(1) / 2 for q in x[:100]])
    assert (view.floor[:, :300].double() <= half).all()
    if rank == 64:
        assert ((half - view.floor[:, :300]) / half.mean()).max() < 1e-4


@pytest.mark.parametrize("residue", [0.0, 1e-6, 1.0])
def test_features_are_known_to_within_their_slack(residue: float, generator: torch.Generator) -> None:
    x = torch.randn(300, 3, generator=generator) @ torch.randn(3, 90, generator=generator)
    x = x.double() + residue * torch.randn(300, 90, generator=generator)
    index = projected_index(x, 3)
    y, basis = x - index.frame.centre, index.basis
    truth = torch.cat([y @ basis, (y - y @ basis @ basis.T).norm(dim=1, keepdim=True)], 1)
    error = (index.lifted[:300, :4] - truth).norm(dim=1) / y.norm(dim=1)
    assert error.max() <= index.slack < 1e-5
    assert error.max() > 2.0**-26
    assert identical(search(index, x, 2), top_k(x, x, 2))


def explicit_minimum(
    bags: torch.Tensor, reference: torch.Tensor, k: int
) -> tuple[torch.Tensor, torch.Tensor]:
    rows = [
        torch.stack([(reference.double() - member.double()).square().sum(1).sqrt() for member in bag]).amin(0)
        for bag in bags
    ]
    value, index = torch.stack(rows).sort(dim=1, stable=True)
    return value[:, :k], index[:, :k]


@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("size", [2, 7])
def test_the_distance_of_a_bag_is_that_of_its_nearest_member(
    size: int, noisy: bool, generator: torch.Generator
) -> None:
    x = structured(400 + 20 * size, 60, generator)
    x = torch.randn(x.shape, generator=generator) if noisy else x
    bags, reference = x[400:].view(20, size, 60), x[:400]
    bags[3, -1] = reference[17]
    found = search(projected_index(reference, 6), bags, 4)
    distance, index = explicit_minimum(bags, reference, 4)
    assert torch.equal(found.index, index)
    torch.testing.assert_close(found.distance, distance, rtol=1e-13, atol=0)
    assert found.distance[3, 0] == 0


def test_points_that_were_rounded_are_ranked_by_what_is_measured_at_the_end(
    generator: torch.Generator,
) -> None:
    truth = structured(40, 80, generator).double().repeat_interleave(8, 0)
    truth += 1e-6 * torch.randn(320, 80, generator=generator)
    query = truth[::16] + 1e-6 * torch.randn(20, 80, generator=generator)
    rounded, members = truth.float(), query.float()
    blur = float((truth - rounded).norm(dim=1).max() + (query - members).norm(dim=1).max())
    index = projected_index(rounded, 8, blur=blur)

    def exact(member: torch.Tensor, point: torch.Tensor) -> torch.Tensor:
        return distances.squared(query, truth, member, point, index.frame.scale)

    view = look(index, members[:, None], exact)
    d2, place = view.verified(2, view.ceiling(2), torch.arange(20))
    expected = top_k(query, truth, 2)
    assert not torch.equal(top_k(members, rounded, 2).index, expected.index)
    assert torch.equal(place, expected.index)
    assert torch.equal(d2.sqrt() / index.frame.scale, expected.distance)


def test_a_sharpened_view_gives_the_same_answer(generator: torch.Generator) -> None:
    x = structured(500, 70, generator)
    view = look(projected_index(x[50:], 5), x[:50, None])
    some = torch.tensor([3, 8, 41])
    sharp = view.sharpened(some)
    assert isinstance(sharp, View)
    assert (sharp.floor[:, :450] >= view.floor[some, :450] - 1e-2).all()
    d2, place = sharp.verified(2, sharp.ceiling(2), torch.arange(3))
    expected = top_k(x[some], x[50:], 2)
    assert torch.equal(place, expected.index)
    assert torch.equal(d2.sqrt(), expected.distance)


@pytest.mark.parametrize("radius", [0.0, 1e-3, 1.5, 4.0])
def test_projected_pairs_are_those_of_brute_force(radius: float, generator: torch.Generator) -> None:
    x = structured(300, 160, generator)
    x[100:120] = x[:20]
    x[200:230] = x[:30] + 1e-5 * torch.randn(30, 160, generator=generator)
    found, expected = pairs_within(x, radius, rank=16), distances.pairs_within(x, radius)
    assert len(expected[0]) >= 20
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])
    small = pairs_within(x, radius, rank=16, memory=60_000)
    assert torch.equal(small[0], expected[0])


def test_an_index_refuses_what_it_cannot_search(generator: torch.Generator) -> None:
    x = structured(100, 30, generator)
    index = projected_index(x, 4)
    with pytest.raises(InputError, match="at most"):
        search(index, x[:3], 101)
    with pytest.raises(InputError, match="NaN"):
        search(index, x[:3] / 0 * 0, 1)
    with pytest.raises(InputError, match="resize"):
        search(index, x[:3, :7], 1)
    with pytest.raises(InputError, match="NaN"):
        projected_index(torch.full((3, 3), torch.inf), 4)
    with pytest.raises(ValueError, match="rank"):
        projected_index(x, 0)
    with pytest.raises(ValueError, match="common frame"):
        search(index, x[:3] * 1e30, 1)
    common = frame(x[:3] * 1e30, x)
    assert identical(
        search(projected_index(x, 4, setting=common), x[:3] * 1e30, 1), top_k(x[:3] * 1e30, x, 1)
    )


def test_no_queries_have_an_empty_answer(generator: torch.Generator) -> None:
    x = structured(100, 30, generator)
    assert search(projected_index(x, 4), x[:0], 2).index.shape == (0, 2)
