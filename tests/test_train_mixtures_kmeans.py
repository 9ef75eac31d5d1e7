"""k-means against other programs, by its fixed points, and on bad input."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import cut_tree, linkage
from sklearn.cluster import KMeans
from torch import Tensor

from unrote.contracts import InputError
from unrote.train.mixtures import kmeans, points
from unrote.train.mixtures.kmeans import Clusters, cut, hartigan, lloyd, partial_start, ward, ward_tree


def mixture(n: int, d: int, k: int, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    means = torch.randn(k, d, generator=g, dtype=torch.float64)
    means *= math.sqrt(d) / torch.linalg.vector_norm(means, dim=1, keepdim=True)
    return means[torch.randint(k, (n,), generator=g)] + torch.randn(n, d, generator=g, dtype=torch.float64)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def partition(assignment: Tensor) -> set[frozenset[int]]:
    return {frozenset((assignment == k).nonzero()[:, 0].tolist()) for k in assignment.unique().tolist()}


def squares(x: Tensor, means: Tensor) -> Tensor:
    return (x[:, None] - means).square().sum(2)


def gains(x: Tensor, clusters: Clusters) -> Tensor:
    """By how much every allowed single-point move lowers the sum of squares, from the definition."""
    size, own = clusters.sizes.double(), clusters.assignment
    cost = squares(x, clusters.means)
    leave = size[own] / (size[own] - 1) * cost.gather(1, own[:, None])[:, 0]
    gain = leave[:, None] - size / (size + 1) * cost
    gain[size[own] == 1] = -torch.inf
    return gain.scatter(1, own[:, None], -torch.inf)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 60), st.integers(1, 6))
def test_lloyd_ends_where_means_are_centroids_and_points_sit_at_their_nearest_mean(
    seed: int, n: int, d: int
) -> None:
    x = mixture(n, d, 3, seed)
    found = lloyd(x, partial_start(x, max(1, n // 3), generator(seed)))
    cost = squares(x, found.means)
    assert torch.allclose(cost.gather(1, found.assignment[:, None])[:, 0], cost.amin(1), atol=1e-9)
    for k in found.assignment.unique():
        assert torch.allclose(found.means[k], x[found.assignment == k].mean(0), atol=1e-12)
    assert found.distortion == pytest.approx(float(cost.amin(1).mean()))


def test_lloyd_equals_scikit_learn_from_the_same_start() -> None:
    x = mixture(200, 10, 6)
    for count in (3, 20, 80, 150):
        start = partial_start(x, count, generator(count))
        other = KMeans(count, init=start.numpy(), n_init=1, tol=0, algorithm="lloyd").fit(x.numpy())
        found = lloyd(x, start)
        assert found.distortion * len(x) == pytest.approx(other.inertia_, rel=1e-10)
        assert (found.assignment.numpy() == other.labels_).all()


def test_each_sweep_of_lloyd_lowers_the_distortion() -> None:
    x = mixture(300, 5, 4)
    start = partial_start(x, 20, generator())
    falls = [lloyd(x, start, sweeps=k).distortion for k in range(1, 12)]
    assert all(b <= a for a, b in itertools.pairwise(falls)) and falls[-1] < falls[0]


def test_lloyd_keeps_an_empty_mean_where_it_was_and_hartigan_fills_it() -> None:
    x = mixture(50, 4, 2)
    far = torch.full((1, 4), 1e3, dtype=torch.float64)
    found = lloyd(x, torch.cat([x[:3], far]))
    assert (found.means[3] == far[0]).all() and found.sizes[3] == 0
    filled = hartigan(x, found)
    assert (filled.sizes > 0).all() and filled.distortion < found.distortion


def test_ties_go_to_the_lower_index_at_first_and_then_stay() -> None:
    x = torch.tensor([[-1.0], [0.0], [1.0]])
    assert lloyd(x, torch.tensor([[1.0], [-1.0]])).assignment.tolist() == [1, 0, 0]
    assert lloyd(x, torch.tensor([[-1.0], [1.0]])).assignment.tolist() == [0, 0, 1]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 60), st.integers(1, 6), st.integers(1, 20))
def test_hartigan_ends_where_no_single_move_helps_and_is_a_fixed_point_of_lloyd(
    seed: int, n: int, d: int, count: int
) -> None:
    x = mixture(n, d, 3, seed)
    count = min(n, count)
    start = lloyd(x, partial_start(x, count, generator(seed)))
    found = hartigan(x, start)
    assert found.distortion <= start.distortion + 1e-12
    assert float(gains(x, found).amax()) < 1e-8
    again = lloyd(x, found.means)
    assert again.distortion == pytest.approx(found.distortion, abs=1e-10)


def test_every_single_move_lowers_the_distortion_by_its_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    x, made = mixture(120, 8, 5), []
    make = kmeans._make

    def watched(frame, moves, found, means, counts):  # type: ignore[no-untyped-def]
        before = points.own_square(frame.x, means, found).sum()
        result = make(frame, moves, found, means, counts)
        exact = points.centroids(frame.x, found, means)
        assert np.allclose(means, exact, atol=1e-12)
        made.append(before - points.own_square(frame.x, means, found).sum())
        return result

    monkeypatch.setattr(kmeans, "_make", watched)
    hartigan(x, lloyd(x, partial_start(x, 30, generator())))
    assert len(made) > 1 and all(gain > 0 for gain in made[:-1]) and made[-1] == 0


def test_ward_merges_equal_scipy() -> None:
    x = mixture(80, 6, 4)
    other = linkage(x.numpy(), "ward")
    tree = ward_tree(x)
    assert (tree.merges.numpy() == other[:, :2]).all()
    assert np.allclose(tree.height.numpy(), other[:, 2], rtol=1e-12)
    for count in (1, 2, 7, 40, 79, 80):
        labels = torch.from_numpy(cut_tree(other, count)[:, 0])
        assert partition(cut(tree, x, count).assignment) == partition(labels)


def test_the_height_of_a_merge_is_what_it_adds_to_the_sum_of_squares() -> None:
    x = mixture(60, 5, 3)
    tree = ward_tree(x)
    total = torch.tensor([cut(tree, x, 60 - j).distortion * 60 for j in range(60)], dtype=torch.float64)
    assert torch.allclose(total.diff(), tree.height.square() / 2, atol=1e-9)


def test_distances_by_products_give_the_same_tree_even_with_near_duplicates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = mixture(150, 12, 4) + 1e4
    x[100:130] = x[:30] + 1e-6 * mixture(30, 12, 1, seed=1)
    x[140] = x[141]
    exact = ward_tree(x)
    monkeypatch.setattr(kmeans, "SMALL", 1)
    monkeypatch.setattr(points, "BLOCK", 1000)
    fast = ward_tree(x)
    assert (fast.merges == exact.merges).all()
    assert torch.allclose(fast.height, exact.height, rtol=1e-9, atol=0)


def test_ward_never_loses_to_the_plain_cut_nor_to_lloyd_from_it() -> None:
    x = mixture(150, 20, 6)
    tree, counts = ward_tree(x), list(range(6, 151, 9))
    found = list(ward(x, counts))
    for count, clusters in zip(counts, found, strict=True):
        plain = cut(tree, x, count)
        assert len(clusters.means) == count and (clusters.sizes > 0).all()
        assert clusters.distortion <= plain.distortion
        assert clusters.distortion <= lloyd(x, plain.means).distortion * (1 + 1e-12)
    falls = [c.distortion for c in found]
    assert all(b < a for a, b in itertools.pairwise(falls))


def test_ward_beats_the_best_of_ten_runs_of_scikit_learn_for_large_models() -> None:
    x = mixture(200, 50, 12)
    for count, clusters in zip((120, 160), ward(x, (120, 160)), strict=True):
        other = KMeans(count, n_init=10, random_state=0).fit(x.numpy())
        assert clusters.distortion < 0.95 * other.inertia_ / len(x)


def test_the_ends_are_closed_forms() -> None:
    x = mixture(40, 7, 3) * 3 + 5
    one, every = ward(x, (1, 40))
    assert one.distortion == pytest.approx(float(x.var(0, correction=0).sum()), rel=1e-12)
    assert every.distortion == 0.0 and every.variance == 0.0
    assert (every.means[every.assignment] == x).all()
    assert lloyd(x, x).distortion == 0.0
    assert one.variance == pytest.approx(one.distortion / 7)


def test_a_size_gets_the_same_whatever_other_sizes_are_asked_and_in_whatever_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = mixture(90, 10, 4)
    (alone,) = ward(x, [30])
    _, among, _ = ward(x, [60, 30, 10])
    monkeypatch.setattr(points, "BLOCK", 97)
    (blocked,) = ward(x, [30])
    assert (alone.assignment == among.assignment).all() and (alone.means == among.means).all()
    assert (alone.assignment == blocked.assignment).all()


def test_clusters_do_not_depend_on_where_the_origin_is() -> None:
    x = mixture(100, 6, 4)
    (near,), (far,) = ward(x, [25]), ward(x + 1e6, [25])
    assert (near.assignment == far.assignment).all()
    assert near.distortion == pytest.approx(far.distortion, rel=1e-8)


def test_equal_points_are_one_point() -> None:
    x = mixture(10, 3, 2).repeat(3, 1)
    (found,) = ward(x, [10])
    assert found.distortion == pytest.approx(0, abs=1e-24)
    assert ward_tree(torch.ones(5, 2)).height.tolist() == [0.0] * 4
    assert lloyd(torch.ones(5, 2), torch.ones(2, 2)).assignment.tolist() == [0] * 5


def test_one_point_and_one_number_are_data() -> None:
    (found,) = ward(torch.tensor([[2.0]]), [1])
    assert found.means.tolist() == [[2.0]] and found.distortion == 0.0
    (pair,) = ward(torch.tensor([[0.0], [1.0], [10.0]]), [2])
    assert pair.assignment.tolist() == [0, 0, 1] and pair.distortion == pytest.approx(0.5 / 3)


def test_a_partial_start_holds_different_points_and_smaller_ones_begin_larger_ones() -> None:
    x = mixture(50, 3, 2)
    start = partial_start(x, 50, generator(3))
    assert {tuple(row) for row in start.tolist()} == {tuple(row) for row in x.tolist()}
    assert (partial_start(x, 20, generator(3)) == start[:20]).all()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda x: list(ward(x, [11])), "11 clusters were asked of 10 points"),
        (lambda x: list(ward(x, [0])), "1 to 10"),
        (lambda x: partial_start(x, 11, generator()), "11 clusters"),
        (lambda x: cut(ward_tree(x[:5]), x, 2), "grown on 5 points"),
        (lambda x: lloyd(x, x[:0]), "at least one"),
        (lambda x: lloyd(x, x[:2, :1]), "as many numbers"),
        (lambda x: lloyd(x, x[:2], sweeps=0), "at least 1"),
        (lambda x: lloyd(x, x[:2] * math.nan), "starting means hold NaN"),
        (lambda x: ward_tree(x * math.inf), "NaN or infinite"),
        (lambda x: ward_tree(x * 1e200), "overflow"),
        (lambda x: ward_tree(x[:0]), "no points"),
        (lambda x: hartigan(x[:5], lloyd(x, x[:2])), "same points"),
    ],
)
def test_bad_input_is_one_paragraph(call, says) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=says) as caught:
        call(mixture(10, 3, 2))
    assert "\n" not in str(caught.value)
