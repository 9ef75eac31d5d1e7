"""k-means: Lloyd's algorithm, Hartigan's single-point moves, and Ward's tree for every model size at once.

Where the softmax of an isotropic mixture denoiser is one-hot, its training loss is an increasing function of
the distortion D2 = (1/N) sum_n min_i |x_n - mu_i|^2 alone (docs/kmeans.md), so that these algorithms train it.

Everything runs in float64 on the CPU and is deterministic. Matrix products only propose: they are formed
around the centre of the data, and a change of the partition is accepted when differences of coordinates say
so and it is worth more than `SLACK` times the mean squared radius of the data, which rounding cannot imitate.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from unrote.contracts import InputError
from unrote.train.mixtures.points import (
    Frame,
    Reals,
    Whole,
    centroids,
    check_count,
    check_dimension,
    condensed_distances,
    lowest,
    own_square,
    rows_of,
)

SMALL = 1024
"""Up to so many points, distances for the tree are differences of coordinates (faster there, too)."""


@dataclass(frozen=True)
class Clusters:
    """A partition of the data and its means.

    Args:
        means: one mean per cluster (M,D), float64, in the units of the data.
        assignment: the cluster of every point (N,), int64.
        distortion: D2 = (1/N) sum_n |x_n - mu_{a(n)}|^2, in squared units of the data.
    """

    means: Float[Tensor, "M D"]
    assignment: Int[Tensor, " N"]
    distortion: float

    @property
    def variance(self) -> float:
        """s^2 = D2 / D, the best variance at every level in the one-hot regime; 0 for D = 0 numbers."""
        return self.distortion / max(1, self.means.shape[1])

    @property
    def sizes(self) -> Int[Tensor, " M"]:
        """Points per cluster (M,)."""
        return torch.bincount(self.assignment, minlength=len(self.means))


@dataclass(frozen=True)
class WardTree:
    """The merges of Ward's method in ascending order of height.

    Args:
        merges: the two clusters of every merge (N-1,2); cluster i < N is point i, cluster N+j is merge j.
        height: height of every merge (N-1,): sqrt(2 m), where m is by how much the merge raises the sum of
            squared distances to the means; the convention of scipy.cluster.hierarchy.
    """

    merges: Int[Tensor, "J 2"]
    height: Float[Tensor, " J"]

    @property
    def points(self) -> int:
        """How many points the tree was grown on."""
        return len(self.merges) + 1


def lloyd(x: Float[Tensor, "N D"], start: Float[Tensor, "M _"], *, sweeps: int = 1000) -> Clusters:
    """Lloyd's algorithm from given means, until no point changes its cluster.

    a(n) = argmin_i |x_n - mu_i|^2,  mu_i = mean of {x_n : a(n) = i}.

    Ties: a first assignment takes the lowest index; later a point stays unless another mean is nearer by
    more than rounding. An empty cluster keeps its mean, as it does in gradient training, where a component
    without responsibility has no gradient; `hartigan` fills empty clusters.

    Args:
        x: data (N,D), of any floating type.
        start: first means (M,D), in the units of the data.
        sweeps: at most so many alternations, at least 1; the distortion falls with each.

    Raises:
        InputError: if the points or means are not finite, differ in dimension, or there are none.

    Source: Lloyd (1982).
    """
    frame = Frame.of(x)
    means = rows_of(start, "starting means")
    check_dimension(frame.x, means)
    means = means - frame.centre
    if sweeps < 1:
        raise InputError(
            f"Lloyd's algorithm was given {sweeps} sweeps; it needs at least 1; leave it out for 1000."
        )
    found = lowest(frame, np.arange(len(frame.x)), means, np.ones(len(means)), None)[1]
    touched = np.ones(len(means), dtype=bool)
    for _ in range(sweeps - 1):
        means, before = centroids(frame.x, found, means), found.copy()
        _reassign(frame, means, found, touched)
        changed = found != before
        if not changed.any():
            break
        touched = np.zeros(len(means), dtype=bool)
        touched[found[changed]] = touched[before[changed]] = True
    return _clusters(frame, found, means)


def hartigan(x: Float[Tensor, "N D"], clusters: Clusters) -> Clusters:
    """Hartigan's method: move single points while that lowers the distortion.

    Moving x_n from cluster a to b lowers the sum of squares by
        c_a/(c_a-1) |x_n - mu_a|^2 - c_b/(c_b+1) |x_n - mu_b|^2,   c = sizes before the move, c_a > 1.
    A partition without improving moves is also a fixed point of Lloyd's algorithm, never the reverse by need.

    Every sweep finds the best move of each point, then makes the moves in descending order of their gain
    (ties: lower point first; of equal targets the lower), each checked against the means of that moment, so
    that no move raises the distortion. A sweep looks only at what the last one changed. An empty cluster
    costs nothing to enter and is filled first. Means are those of the clusters when it ends.

    Args:
        x: data (N,D), of any floating type.
        clusters: where to start; its means are not used, only its assignment and how many means it has.

    Raises:
        InputError: if the points are not finite, or the clusters are not of these points.

    Source: Hartigan (1975); Telgarsky and Vattani (2010).
    """
    frame = Frame.of(x)
    if len(clusters.assignment) != len(frame.x) or clusters.means.shape[1] != frame.x.shape[1]:
        raise InputError(
            f"The clusters hold {len(clusters.assignment)} points of {clusters.means.shape[1]} numbers, the data "
            f"{len(frame.x)} of {frame.x.shape[1]}; both must be the same points; cluster this data first."
        )
    count = len(clusters.means)
    means = centroids(frame.x, clusters.assignment.numpy(), np.zeros((count, frame.x.shape[1])))
    return _settle(frame, clusters.assignment.numpy(), means)


def ward_tree(x: Float[Tensor, "N D"]) -> WardTree:
    """Ward's tree: merge the two clusters whose union raises the sum of squares least, N-1 times.

    m(a, b) = c_a c_b / (c_a + c_b) |mu_a - mu_b|^2.

    By a chain of nearest neighbours (scipy) on a condensed distance matrix. Ties: the chain goes back to where
    it came from if that is as near, otherwise to the lower index; equal heights keep the order of the chain.
    Time grows as N^2 (D + const), memory is 8 N^2 bytes (3.2 GB for N = 20,000).

    Args:
        x: data (N,D), of any floating type.

    Raises:
        InputError: if the points are not finite or there are none.

    Source: Ward (1963); Murtagh (1983) for the chain.
    """
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import pdist

    frame = Frame.of(x)
    if len(frame.x) == 1:
        return WardTree(torch.empty(0, 2, dtype=torch.int64), torch.empty(0, dtype=torch.float64))
    condensed = pdist(frame.x) if len(frame.x) <= SMALL else condensed_distances(frame.x)
    tree = linkage(condensed, "ward")
    return WardTree(torch.from_numpy(tree[:, :2].astype(np.int64)), torch.from_numpy(tree[:, 2].copy()))


def cut(tree: WardTree, x: Float[Tensor, "N D"], count: int) -> Clusters:
    """The partition into `count` clusters: the tree without its last count-1 merges.

    Clusters are numbered by their lowest point.

    Args:
        tree: Ward's tree of these points.
        x: the same data (N,D).
        count: how many clusters, from 1 to N.

    Raises:
        InputError: if the count is out of range, or the tree belongs to other data.
    """
    return _clusters(*_cut(tree, Frame.of(x), count))


def ward(x: Float[Tensor, "N D"], counts: Iterable[int]) -> Iterator[Clusters]:
    """`cut` and then `hartigan` for every asked model size, all from one tree.

    What a size gets does not depend on the other sizes asked.

    Args:
        x: data (N,D), of any floating type.
        counts: model sizes, each from 1 to N, in any order; results come in this order.

    Raises:
        InputError: if a count is out of range or the points are not finite.
    """
    frame, tree = Frame.of(x), ward_tree(x)
    for count in counts:
        _, found, means = _cut(tree, frame, count)
        yield _settle(frame, found, means)


def partial_start(x: Float[Tensor, "N D"], count: int, generator: torch.Generator) -> Float[Tensor, "M D"]:
    """Training points drawn without replacement as means: partial memorization, where the paper starts.

    Args:
        x: data (N,D).
        count: how many, from 1 to N; the result is (count,D) in float64.
        generator: decides which; the first m of a larger draw are a draw of m.

    Raises:
        InputError: if the count is out of range.

    Source: 000, appendix H.1.
    """
    check_count(count, len(x))
    return x[torch.randperm(len(x), generator=generator)[:count]].double()


def _clusters(frame: Frame, found: Whole, means: Reals) -> Clusters:
    """The value that leaves: means from the original numbers, so that a single point is its own mean exactly."""
    final = centroids(frame.original, found, means + frame.centre)
    distortion = float(own_square(frame.original, final, found).sum()) / len(found)
    return Clusters(torch.from_numpy(final), torch.from_numpy(found.astype(np.int64)), distortion)


def _reassign(frame: Frame, means: Reals, found: Whole, touched: NDArray[np.bool_]) -> None:
    """Send points to nearer means, in place; a point whose own mean rests looks only at those that moved."""
    fresh = touched[found]
    for rows, columns in (
        (np.flatnonzero(fresh), np.arange(len(means))),
        (np.flatnonzero(~fresh), np.flatnonzero(touched)),
    ):
        if len(rows) == 0:
            continue
        value, place = lowest(frame, rows, means[columns], np.ones(len(columns)), None)
        nearer = own_square(frame.x[rows], means, found[rows]) - value > frame.tolerance
        found[rows[nearer]] = columns[place[nearer]]


def _cut(tree: WardTree, frame: Frame, count: int) -> tuple[Frame, Whole, Reals]:
    n = len(frame.x)
    if tree.points != n:
        raise InputError(
            f"The tree was grown on {tree.points} points and there are {n} here; both must be the same points; "
            "grow a tree on this data."
        )
    check_count(count, n)
    parent = np.arange(2 * n - 1)
    merges = tree.merges.numpy()[: n - count]
    parent[merges] = np.arange(n, 2 * n - count)[:, None]
    root = parent[:n]
    while (parent[root] != root).any():
        root = parent[root]
    _, first, inverse = np.unique(root, return_index=True, return_inverse=True)
    rank = np.empty(count, dtype=np.int64)
    rank[np.argsort(first)] = np.arange(count)
    found = rank[inverse]
    return frame, found, centroids(frame.x, found, np.zeros((count, frame.x.shape[1])))


def _settle(frame: Frame, start: Whole, start_means: Reals) -> Clusters:
    """Single-point moves until none helps, see `hartigan`."""
    found, means = start.copy(), start_means.copy()
    counts = np.bincount(found, minlength=len(means))
    everything = np.arange(len(means))
    rows, columns = np.arange(len(found)), everything
    stale = np.empty(0, dtype=np.int64)
    while True:
        movable = rows[counts[found[rows]] > 1]
        moves = _moves(frame, movable, columns, found, means, counts)
        if columns is not everything:
            moves += _moves(frame, stale, everything, found, means, counts)
        touched, refused = _make(frame, moves, found, means, counts)
        if not touched.any():
            return _clusters(frame, found, means)
        # A point needs a fresh look at all clusters if its own cost changed or its best target was spoiled.
        fresh = touched[found]
        fresh[refused] = True
        fresh &= counts[found] > 1
        stale, rows, columns = np.flatnonzero(fresh), np.flatnonzero(~fresh), np.flatnonzero(touched)


@dataclass(frozen=True)
class _Moves:
    gain: Reals
    point: Whole
    target: Whole

    def __add__(self, other: _Moves) -> _Moves:
        return _Moves(
            np.concatenate([self.gain, other.gain]),
            np.concatenate([self.point, other.point]),
            np.concatenate([self.target, other.target]),
        )


def _moves(frame: Frame, rows: Whole, columns: Whole, found: Whole, means: Reals, counts: Whole) -> _Moves:
    """The best improving move of each of these points into one of these clusters."""
    if len(rows) == 0 or len(means) < 2:
        return _Moves(np.empty(0), np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
    own = found[rows]
    leave = own_square(frame.x[rows], means, own) * (counts[own] / (counts[own] - 1.0))
    where = np.full(len(means), -1)
    where[columns] = np.arange(len(columns))
    factor = counts[columns] / (counts[columns] + 1.0)
    enter, place = lowest(frame, rows, means[columns], factor, where[own])
    better = np.flatnonzero(leave - enter > frame.tolerance)
    return _Moves((leave - enter)[better], rows[better], columns[place[better]])


def _make(
    frame: Frame, moves: _Moves, found: Whole, means: Reals, counts: Whole
) -> tuple[NDArray[np.bool_], list[int]]:
    """Make the moves that still help, in place; which clusters changed, which points were refused."""
    touched, refused = np.zeros(len(means), dtype=bool), []
    order = np.lexsort((moves.point, -moves.gain))
    for n, b in zip(moves.point[order].tolist(), moves.target[order].tolist(), strict=True):
        a = found[n]
        size, other = int(counts[a]), int(counts[b])
        away, into = frame.x[n] - means[a], frame.x[n] - means[b]
        enter = other / (other + 1) * float(into @ into)
        if size < 2 or size / (size - 1) * float(away @ away) - enter <= frame.tolerance:
            refused.append(n)
            continue
        means[a] -= away / (size - 1)
        means[b] += into / (other + 1)
        counts[a], counts[b], found[n] = size - 1, other + 1, b
        touched[a] = touched[b] = True
    return touched, refused
