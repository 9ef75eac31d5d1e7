"""k-means: Lloyd's algorithm, Hartigan's single-point moves, and Ward's tree for every model size at once.

Where the softmax of an isotropic mixture denoiser is one-hot, its training loss is an increasing function of
the distortion D2 = (1/N) sum_n min_i |x_n - mu_i|^2 alone (docs/kmeans.md), so that these algorithms train it.

Everything runs in float64 on the CPU and is deterministic. Matrix products only propose: they are formed
around the centre of the data, and a change of the partition is accepted when differences of coordinates say
so and it is worth more than `SLACK` times the mean squared radius of the data, which rounding cannot imitate.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from unrote.contracts import InputError

SLACK = 1e-11
"""A gain below this share of the mean squared radius counts as none, which ends every loop."""

BLOCK = 2**21
"""Numbers in one block of a distance matrix (16 MB)."""

SMALL = 1024
"""Up to so many points, distances for the tree are differences of coordinates (faster there, too)."""

_Reals = NDArray[np.float64]
_Whole = NDArray[np.int64]


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


def lloyd(x: Float[Tensor, "N D"], start: Float[Tensor, "M D"], *, sweeps: int = 1000) -> Clusters:
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
    frame = _Frame.of(x)
    means = _rows(start, "starting means") - frame.centre
    _check_dimension(frame.x, means)
    if sweeps < 1:
        raise InputError(
            f"Lloyd's algorithm was given {sweeps} sweeps; it needs at least 1; leave it out for 1000."
        )
    found = np.full(len(frame.x), -1)
    for _ in range(sweeps):
        before = found.copy()
        _reassign(frame, means, found)
        if (found == before).all():
            break
        means = _centroids(frame.x, found, means)
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
    frame = _Frame.of(x)
    if len(clusters.assignment) != len(frame.x) or clusters.means.shape[1] != frame.x.shape[1]:
        raise InputError(
            f"The clusters hold {len(clusters.assignment)} points of {clusters.means.shape[1]} numbers, the data "
            f"{len(frame.x)} of {frame.x.shape[1]}; both must be the same points; cluster this data first."
        )
    count = len(clusters.means)
    means = _centroids(frame.x, clusters.assignment.numpy(), np.zeros((count, frame.x.shape[1])))
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

    frame = _Frame.of(x)
    if len(frame.x) == 1:
        return WardTree(torch.empty(0, 2, dtype=torch.int64), torch.empty(0, dtype=torch.float64))
    condensed = pdist(frame.x) if len(frame.x) <= SMALL else _condensed(frame.x)
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
    return _clusters(*_cut(tree, _Frame.of(x), count))


def ward(x: Float[Tensor, "N D"], counts: Iterable[int]) -> Iterator[Clusters]:
    """`cut` and then `hartigan` for every asked model size, all from one tree.

    What a size gets does not depend on the other sizes asked.

    Args:
        x: data (N,D), of any floating type.
        counts: model sizes, each from 1 to N, in any order; results come in this order.

    Raises:
        InputError: if a count is out of range or the points are not finite.
    """
    frame, tree = _Frame.of(x), ward_tree(x)
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
    _check_count(count, len(x))
    return x[torch.randperm(len(x), generator=generator)[:count]].double()


@dataclass(frozen=True)
class _Frame:
    """The data around its centre, with what every pass needs."""

    original: _Reals
    centre: _Reals
    x: _Reals
    tolerance: float
    lifted: _Reals = field(repr=False)

    @classmethod
    def of(cls, x: Tensor) -> _Frame:
        original = _rows(x, "points")
        if len(original) == 0:
            raise InputError("There are no points to cluster; k-means needs at least one; pass more data.")
        centre = original.mean(0)
        centred = original - centre
        norm = np.einsum("nd,nd->n", centred, centred)
        lifted = np.concatenate([centred, norm[:, None], np.ones((len(norm), 1))], 1)
        return cls(original, centre, centred, SLACK * float(norm.mean()), lifted)


def _rows(x: Tensor, name: str) -> _Reals:
    if x.ndim != 2 or x.is_complex() or x.dtype == torch.bool:
        raise InputError(
            f"The {name} have shape {tuple(x.shape)} and type {x.dtype}; k-means needs a table of real numbers, "
            "one row per point; flatten images with .flatten(1) and convert with .double()."
        )
    rows = cast(_Reals, x.detach().cpu().double().numpy())
    if not np.isfinite(rows).all():
        raise InputError(
            f"The {name} hold NaN or infinite numbers; k-means needs finite numbers; "
            "remove or repair the rows for which torch.isfinite is false."
        )
    return rows


def _check_dimension(x: _Reals, means: _Reals) -> None:
    if len(means) == 0 or means.shape[1] != x.shape[1]:
        raise InputError(
            f"The starting means have shape {means.shape}, the points {x.shape}; there must be at least one "
            "mean, with as many numbers as a point; draw them from the data, for example by partial_start."
        )


def _check_count(count: int, points: int) -> None:
    if not 1 <= count <= points:
        raise InputError(
            f"{count} clusters were asked of {points} points; there can be 1 to {points}, because more means than "
            "points only repeat points; ask for fewer or pass more data."
        )


def _centroids(x: _Reals, found: _Whole, empty: _Reals) -> _Reals:
    """Means of the clusters; clusters without points keep their row of `empty`."""
    counts = np.bincount(found, minlength=len(empty))
    order = np.argsort(found, kind="stable")
    filled = counts > 0
    first = (np.cumsum(counts) - counts)[filled]
    means = empty.copy()
    means[filled] = np.add.reduceat(x[order], first, axis=0) / counts[filled, None]
    return means


def _clusters(frame: _Frame, found: _Whole, means: _Reals) -> Clusters:
    """The value that leaves: means from the original numbers, so that a single point is its own mean exactly."""
    final = _centroids(frame.original, found, means + frame.centre)
    distortion = float(_own(frame.original, final, found).sum()) / len(found)
    return Clusters(torch.from_numpy(final), torch.from_numpy(found.astype(np.int64)), distortion)


def _own(x: _Reals, means: _Reals, found: _Whole) -> _Reals:
    """Squared distance to the own mean by differences, in blocks."""
    step = max(1, BLOCK // max(1, x.shape[1]))
    parts = [x[i : i + step] - means[found[i : i + step]] for i in range(0, len(x), step)]
    return np.concatenate([np.einsum("nd,nd->n", part, part) for part in parts])


def _lowest(
    frame: _Frame, rows: _Whole, means: _Reals, factor: _Reals, banned: _Whole | None
) -> tuple[_Reals, _Whole]:
    """min and argmin over i of factor_i |x_n - mu_i|^2 for chosen points, without each one's banned column."""
    norm = np.einsum("md,md->m", means, means)
    side = np.concatenate([-2 * means, np.ones((len(means), 1)), norm[:, None]], 1) * factor[:, None]
    value, place = np.empty(len(rows)), np.empty(len(rows), dtype=np.int64)
    step = max(1, BLOCK // len(means))
    for i in range(0, len(rows), step):
        part = slice(i, i + step)
        cost = frame.lifted[rows[part]] @ side.T
        if banned is not None:
            inside = np.flatnonzero(banned[part] >= 0)
            cost[inside, banned[part][inside]] = np.inf
        place[part] = cost.argmin(1)
        value[part] = np.take_along_axis(cost, place[part, None], 1)[:, 0]
    return value, place


def _reassign(frame: _Frame, means: _Reals, found: _Whole) -> None:
    """Send every point to its nearest mean, in place; -1 has no mean yet."""
    every = np.arange(len(found))
    value, place = _lowest(frame, every, means, np.ones(len(means)), None)
    leaves = np.flatnonzero(found < 0)
    if len(leaves) == 0:
        leaves = np.flatnonzero(_own(frame.x, means, found) - value > frame.tolerance)
    found[leaves] = place[leaves]


def _cut(tree: WardTree, frame: _Frame, count: int) -> tuple[_Frame, _Whole, _Reals]:
    n = len(frame.x)
    if tree.points != n:
        raise InputError(
            f"The tree was grown on {tree.points} points and there are {n} here; both must be the same points; "
            "grow a tree on this data."
        )
    _check_count(count, n)
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
    return frame, found, _centroids(frame.x, found, np.zeros((count, frame.x.shape[1])))


def _settle(frame: _Frame, start: _Whole, start_means: _Reals) -> Clusters:
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
            moves = np.concatenate([moves, _moves(frame, stale, everything, found, means, counts)])
        touched, refused = _make(frame, moves, found, means, counts)
        if not touched.any():
            return _clusters(frame, found, means)
        # A point needs a fresh look at all clusters if its own cost changed or its best target was spoiled.
        fresh = touched[found]
        fresh[refused] = True
        fresh &= counts[found] > 1
        stale, rows, columns = np.flatnonzero(fresh), np.flatnonzero(~fresh), np.flatnonzero(touched)


_MOVE = np.dtype([("gain", np.float64), ("point", np.int64), ("target", np.int64)])


def _moves(
    frame: _Frame, rows: _Whole, columns: _Whole, found: _Whole, means: _Reals, counts: _Whole
) -> NDArray[np.void]:
    """The best improving move of each of these points into one of these clusters."""
    if len(rows) == 0 or len(means) < 2:
        return np.empty(0, dtype=_MOVE)
    own = found[rows]
    leave = _own(frame.x[rows], means, own) * (counts[own] / (counts[own] - 1.0))
    where = np.full(len(means), -1)
    where[columns] = np.arange(len(columns))
    factor = counts[columns] / (counts[columns] + 1.0)
    enter, place = _lowest(frame, rows, means[columns], factor, where[own])
    better = np.flatnonzero(leave - enter > frame.tolerance)
    moves = np.empty(len(better), dtype=_MOVE)
    moves["gain"] = (leave - enter)[better]
    moves["point"], moves["target"] = rows[better], columns[place[better]]
    return moves


def _make(
    frame: _Frame, moves: NDArray[np.void], found: _Whole, means: _Reals, counts: _Whole
) -> tuple[NDArray[np.bool_], list[int]]:
    """Make the moves that still help, in place; which clusters changed, which points were refused."""
    touched, refused = np.zeros(len(means), dtype=bool), []
    order = np.lexsort((moves["point"], -moves["gain"]))
    for n, b in zip(moves["point"][order].tolist(), moves["target"][order].tolist(), strict=True):
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


def _condensed(x: _Reals) -> _Reals:
    """All distances between points in scipy's condensed order, by products; near pairs by differences."""
    n, norm = len(x), np.einsum("nd,nd->n", x, x)
    out = np.empty(n * (n - 1) // 2)
    edges = [*range(0, n, max(1, BLOCK // n)), n]
    for i, j in pairwise(edges):
        square = norm[i:j, None] + norm[i:] - 2 * (x[i:j] @ x[i:].T)
        near = np.nonzero(square < 1e-6 * (norm[i:j, None] + norm[i:]))
        difference = x[i + near[0]] - x[i + near[1]]
        square[near] = np.einsum("nd,nd->n", difference, difference)
        np.sqrt(square, out=square)
        for row in range(i, j):
            first = row * (2 * n - row - 1) // 2
            out[first : first + n - row - 1] = square[row - i, row - i + 1 :]
    return out
