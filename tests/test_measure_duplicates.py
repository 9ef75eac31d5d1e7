"""Groups of near-duplicates against another program's complete linkage, and by their laws."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist

from unrote.contracts import InputError
from unrote.measure.duplicates import (
    NEAR,
    DuplicateGroups,
    cross_duplicates,
    duplicate_groups,
    radius,
)


def _partition(found: DuplicateGroups) -> set[frozenset[int]]:
    members: dict[int, set[int]] = {}
    for i, g in enumerate(found.group.tolist()):
        members.setdefault(g, set()).add(i)
    return {frozenset(m) for m in members.values()}


def _dense(x: torch.Tensor, threshold: float) -> set[frozenset[int]]:
    """Complete linkage: merge the closest groups, equal distances in the order of their pairs; search again."""
    first: dict[tuple[float, ...], int] = {}
    original = [first.setdefault(tuple(row), i) for i, row in enumerate(x.tolist())]
    groups = [{i} for i in first.values()]
    d = torch.linalg.vector_norm(x.double()[:, None] - x.double(), dim=-1)
    while True:
        options = []
        for a in range(len(groups)):
            for b in range(a):
                cross = [(float(d[i, j]), min(i, j), max(i, j)) for i in groups[a] for j in groups[b]]
                options.append((max(cross), a, b))
        options = [o for o in options if o[0][0] <= threshold]
        if not options:
            return {frozenset(i for i, o in enumerate(original) if o in g) for g in groups}
        _, a, b = min(options)
        groups[b] |= groups.pop(a)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 60), st.floats(0.01, 6))
def test_groups_equal_dense_complete_linkage_cut_at_the_threshold(
    seed: int, n: int, threshold: float
) -> None:
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = duplicate_groups(x, threshold)
    labels = fcluster(linkage(pdist(x.numpy()), "complete"), threshold, "distance")
    assert len(set(zip(labels.tolist(), found.group.tolist(), strict=True))) == len(set(labels.tolist()))
    assert len(set(found.group.tolist())) == len(set(labels.tolist()))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.sampled_from([0.0, 1.0, 1.5, 2.0, 2.5]))
def test_equal_distances_are_taken_in_the_order_of_their_pairs(seed: int, n: int, threshold: float) -> None:
    x = torch.randint(0, 4, (n, 2), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    assert _partition(duplicate_groups(x, threshold)) == _dense(x, threshold)


def test_a_chain_of_alike_images_does_not_swallow_the_set() -> None:
    x = torch.arange(100, dtype=torch.float64)[:, None]
    found = duplicate_groups(x, 1.0)
    assert [len(g) for g in found.groups] == [2] * 50
    assert found.group.tolist() == [i - i % 2 for i in range(100)]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 3))
def test_groups_keep_what_they_promise(seed: int, threshold: float) -> None:
    g = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 3, (40, 4), generator=g).float()
    found = duplicate_groups(x, threshold)
    d = torch.linalg.vector_norm(x.double()[:, None] - x.double(), dim=-1)
    together = found.group[:, None] == found.group
    assert (d[together] <= threshold).all()
    assert torch.equal(together, together & (d <= threshold))
    assert (together | (d > 0)).all(), "exact duplicates belong together"
    assert (found.group <= torch.arange(40)).all()
    assert torch.equal(found.group[found.group], found.group)
    for members, diameter in zip(found.groups, found.diameter.tolist(), strict=True):
        assert (found.group[members] == members[0]).all()
        assert float(d[members][:, members].max()) == pytest.approx(diameter, abs=1e-12)
    sizes = [(-len(m), int(m[0])) for m in found.groups]
    assert sizes == sorted(sizes)
    assert sum(-s for s, _ in sizes) == int((together.sum(1) > 1).sum())
    # no two groups could still be merged
    span = torch.stack([d[:, found.group == i].amax(1) for i in found.group.unique()], 1)
    span = torch.stack([span[found.group == i].amax(0) for i in found.group.unique()])
    span.fill_diagonal_(math.inf)
    assert (span > threshold).all()


def test_groups_do_not_depend_on_scale_or_order(digits: torch.Tensor, generator: torch.Generator) -> None:
    x = digits[:600] + 0.01 * torch.randn(600, 64, generator=generator)
    threshold = radius(0.12, 64, 2.0)
    found = duplicate_groups(x, threshold)
    assert len(found.groups) > 20
    assert torch.equal(found.group, duplicate_groups(x * 8, threshold * 8).group)
    order = torch.randperm(600, generator=generator)
    permuted = duplicate_groups(x[order], threshold)
    moved = {frozenset(order[list(g)].tolist()) for g in _partition(permuted)}
    assert moved == _partition(found)


def test_images_of_any_shape_and_type_are_compared_by_value(digits: torch.Tensor) -> None:
    bits = ((digits[:200] + 1) * 127.5).round().to(torch.uint8)
    bits = torch.cat([bits, bits[:30]])
    found = duplicate_groups(bits.view(230, 1, 8, 8), radius(NEAR, 64, 255.0))
    assert torch.equal(found.group, duplicate_groups(bits.double(), radius(NEAR, 64, 255.0)).group)
    assert torch.equal(found.group[200:], torch.arange(30))
    zero = torch.tensor([[0.0, 1.0], [-0.0, 1.0]])
    assert duplicate_groups(zero, 0.0).group.tolist() == [0, 0]


def test_thousands_of_equal_images_are_one_group_at_once() -> None:
    x = torch.cat([torch.zeros(20_000, 16), torch.eye(16)]).to(torch.uint8)
    found = duplicate_groups(x, 0.5, memory=2**20)
    assert [len(g) for g in found.groups] == [20_000]
    assert found.diameter.tolist() == [0.0]


def test_sets_too_small_to_have_duplicates() -> None:
    assert duplicate_groups(torch.zeros(0, 3), 1.0).groups == ()
    assert duplicate_groups(torch.zeros(1, 3), 1.0).group.tolist() == [0]


def test_a_threshold_that_makes_most_pairs_close_is_refused(generator: torch.Generator) -> None:
    x = torch.randn(1000, 5, generator=generator)
    with pytest.raises(InputError, match=r"About 100.0% of all pairs among 1,000 different .* lower it"):
        duplicate_groups(x, 100.0, memory=2**20)
    assert len(duplicate_groups(x, 0.3, memory=2**20).groups) > 10
    for wrong in (-1.0, math.nan, math.inf):
        with pytest.raises(InputError, match="at least 0"):
            duplicate_groups(x, wrong)
        with pytest.raises(InputError, match="at least 0"):
            cross_duplicates(x[:3], x[3:], wrong)


def test_test_images_near_a_training_image_are_found(
    digits: torch.Tensor, generator: torch.Generator
) -> None:
    near = digits[:20] + 0.02 * torch.randn(20, 64, generator=generator)
    test = torch.cat([digits[500:600], near])
    threshold = radius(0.02, 64, 2.0)
    found = cross_duplicates(test, digits[:400], threshold)
    d = torch.linalg.vector_norm(test.double()[:, None] - digits[:400].double(), dim=-1)
    assert torch.equal(found, d.amin(1) <= threshold)
    assert found[100:].all()
    assert not found[:100].any()


def test_radius_speaks_of_pixels_from_0_to_1() -> None:
    a, b = torch.full((1, 3, 4, 4), 0.2), torch.full((1, 3, 4, 4), 0.25)
    d = float(torch.linalg.vector_norm(255 * (a - b)))
    assert radius(0.05, 48, 255.0) == pytest.approx(d, rel=1e-6)
