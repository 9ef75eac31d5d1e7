"""Near-duplicates in a training set: groups by complete linkage, cut at a stated distance.

Complete linkage merges two groups only if *all* their members are close: chains of alike images, each close
to the next, do not swallow the set, and every pair inside a group is within the threshold.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from unrote.contracts import InputError
from unrote.distances import MEMORY
from unrote.measure.neighbors import neighbors
from unrote.measure.projection import pairs_within

NEAR = 0.05
"""Root-mean-square pixel distance, pixels from 0 to 1, within which images are near-duplicates."""

_PILOT = 512
"""Points among which the number of close pairs is estimated before all are listed."""

_PAIR_BYTES = 48
"""What one close pair takes while pairs are listed and sorted."""


@dataclass(frozen=True)
class DuplicateGroups:
    """A training set divided into groups of near-duplicates.

    Args:
        group: for every point the lowest index in its group (N,); its own index if it has no near-duplicate.
        threshold: largest distance allowed inside a group, in the units of the data.
        groups: indices of the members of each group of more than one, ascending; largest group first, then
            by lowest index.
        diameter: largest distance inside each of these groups.
    """

    group: Int[Tensor, " N"]
    threshold: float
    groups: tuple[Tensor, ...]
    diameter: Float[Tensor, " G"]


def radius(root_mean_square: float, dimension: int, width: float = 1.0) -> float:
    """The Euclidean distance that a root-mean-square pixel distance (pixels 0 to 1) stands for.

    Args:
        root_mean_square: for example `NEAR`.
        dimension: numbers in one image, D = C H W.
        width: distance between black and white in the units of the data: 255 for 8-bit pixels, 2 for [-1, 1].
    """
    return root_mean_square * width * math.sqrt(dimension)


def duplicate_groups(
    x: Shaped[Tensor, "N ..."], threshold: float, *, memory: int = MEMORY
) -> DuplicateGroups:
    """Groups of near-duplicates: complete linkage of Euclidean distances, cut at the threshold.

    Two groups merge if max {|x_i - x_j| : i in A, j in B} <= threshold, the closest first.  Exact
    duplicates are one point; equal distances are taken in the order of their pairs (i, j), i < j, so that the
    result is unique.

    Args:
        x: the training set (N, *E), any integer or floating point type.
        threshold: in the units of the data, not negative; 0 finds exact duplicates.
        memory: budget in bytes beyond the data.

    Raises:
        InputError: for a negative or undefined threshold, NaN or infinity in x, or more close pairs than the
            memory holds.

    Source: Sorensen 1948 (complete linkage).
    """
    flat = x.flatten(1)
    first, original = _exact(flat)
    points = flat if len(first) == len(flat) else flat[first]
    _check_number(points, threshold, memory)
    pairs, distance = pairs_within(points, threshold, memory=memory)
    linked, height = _complete_linkage(len(points), pairs.cpu(), distance.cpu())
    group = first[linked][original]
    return _collected(group, {int(first[root]): d for root, d in height.items()}, threshold, x.device)


def cross_duplicates(
    test: Shaped[Tensor, "T ..."],
    training: Shaped[Tensor, "N ..."],
    threshold: float,
    *,
    memory: int = MEMORY,
) -> Bool[Tensor, " T"]:
    """Which test points have a training point within the threshold: no fair calibration rests on these.

    Args:
        test: held-out points (T, *E).
        training: training points (N, *E).
        threshold: distance in the units of the data, not negative.
        memory: budget in bytes beyond the data.

    Raises:
        InputError: for a negative or undefined threshold, NaN or infinity, or events of different sizes.
    """
    _check_threshold(threshold)
    return neighbors(test, training, 1, memory=memory).distance[:, 0] <= threshold


def _check_threshold(threshold: float) -> None:
    if not 0 <= threshold < math.inf:
        raise InputError(
            f"The distance for near-duplicates is {threshold}; it must be a number of at least 0, in the units of "
            "the data."
        )


def _exact(flat: Tensor) -> tuple[Tensor, Tensor]:
    """Rows that are the first of their kind, and for every row the place of its first among these."""
    seen: dict[bytes, int] = {}
    first: list[int] = []
    original: list[int] = []
    for row, point in enumerate((flat + 0).cpu() if flat.is_floating_point() else flat.cpu()):
        name = blake2b(point.contiguous().view(torch.uint8).numpy().data, digest_size=16).digest()
        if name not in seen:
            seen[name] = len(first)
            first.append(row)
        original.append(seen[name])
    return torch.tensor(first, dtype=torch.int64), torch.tensor(original, dtype=torch.int64)


def _check_number(points: Tensor, threshold: float, memory: int) -> None:
    """Refuse a threshold that makes so many pairs close that they could not be held."""
    _check_threshold(threshold)
    n = len(points)
    total, most = n * (n - 1) // 2, memory // _PAIR_BYTES
    if total <= most:
        return
    sample = points[:: -(-n // _PILOT)]
    share = len(pairs_within(sample, threshold)[0]) / max(1, len(sample) * (len(sample) - 1) // 2)
    if share * total > most:
        raise InputError(
            f"About {share:.1%} of all pairs among {n:,} different training images lie within the distance "
            f"{threshold:g} for near-duplicates: {share * total:,.0f} pairs, and the memory of {memory >> 20:,} MiB "
            f"holds {most:,}. A distance that calls so many images duplicates is too large; lower it (or raise the "
            "memory)."
        )


def _complete_linkage(
    n: int, pairs: Int[Tensor, "E 2"], distance: Float[Tensor, " E"]
) -> tuple[Tensor, dict[int, float]]:
    """Complete linkage on the graph of close pairs: the lowest member of every point's group, and diameters.

    Pairs are met in ascending order of (distance, i, j), and those between two groups are counted.  The count
    reaches |A| |B| exactly when the last and longest of the cross pairs is met, whose length is the linkage
    distance; so groups merge in the order of complete linkage, and those that never fill up stay apart.
    """
    size, parent = [1] * n, list(range(n))
    met: list[dict[int, int]] = [{} for _ in range(n)]
    height: dict[int, float] = {}

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, j, d in _ascending(pairs, distance):
        a, b = root(i), root(j)
        count = met[a].get(b, 0) + 1
        if count < size[a] * size[b]:
            met[a][b] = met[b][a] = count
            continue
        met[a].pop(b, None)
        met[b].pop(a, None)
        if len(met[a]) < len(met[b]):
            a, b = b, a
        for other, crossed in met[b].items():
            total = met[a].get(other, 0) + crossed
            met[a][other] = met[other][a] = total
            del met[other][b]
        met[b] = {}
        parent[b], size[a], height[a] = a, size[a] + size[b], d
    roots = torch.tensor([root(i) for i in range(n)], dtype=torch.int64)
    lowest = torch.full((n,), n).scatter_reduce_(0, roots, torch.arange(n), "amin")
    return lowest[roots], {int(lowest[a]): d for a, d in height.items() if parent[a] == a}


def _ascending(pairs: Tensor, distance: Tensor) -> Iterator[tuple[int, int, float]]:
    """Pairs in the order of (distance, i, j), as Python numbers, a block at a time."""
    # Pairs come in lexicographic order, so that a stable sort leaves equal distances in it.
    for block in distance.argsort(stable=True).split(2**18):
        chosen = pairs[block]
        yield from zip(chosen[:, 0].tolist(), chosen[:, 1].tolist(), distance[block].tolist(), strict=True)


def _collected(
    group: Tensor, height: dict[int, float], threshold: float, device: torch.device
) -> DuplicateGroups:
    order = group.argsort(stable=True)
    parts = order.split(group.unique(return_counts=True)[1].tolist())
    groups = sorted((part for part in parts if len(part) > 1), key=lambda part: (-len(part), int(part[0])))
    diameter = [height.get(int(part[0]), 0.0) for part in groups]
    return DuplicateGroups(
        group.to(device),
        float(threshold),
        tuple(part.to(device) for part in groups),
        torch.tensor(diameter, dtype=torch.float64, device=device),
    )
