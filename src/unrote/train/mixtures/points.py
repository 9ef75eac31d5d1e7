"""Points to be clustered: checked, centred, and what every pass over them computes."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrote.contracts import InputError

SLACK = 1e-11
"""A gain below this share of the mean squared radius counts as none, which ends every loop."""

BLOCK = 2**21
"""Numbers in one block of a distance matrix (16 MB)."""

Reals = NDArray[np.float64]
Whole = NDArray[np.int64]


@dataclass(frozen=True)
class Frame:
    """The data around its centre, with what every pass needs."""

    original: Reals
    centre: Reals
    x: Reals
    tolerance: float
    lifted: Reals = field(repr=False)

    @classmethod
    def of(cls, x: Tensor) -> Frame:
        """Check and centre a table of points (N,D); InputError for none, for NaN and for overflow."""
        original = rows_of(x, "points")
        if len(original) == 0:
            raise InputError("There are no points to cluster; k-means needs at least one; pass more data.")
        centre = original.mean(0)
        centred = original - centre
        norm = np.einsum("nd,nd->n", centred, centred)
        if not norm.sum() < np.inf:
            raise InputError(
                f"The points reach {np.abs(original).max():.1e}, so that their squares overflow; "
                "squared distances must be below 1e308; divide the data by its scale."
            )
        lifted = np.concatenate([centred, norm[:, None], np.ones((len(norm), 1))], 1)
        return cls(original, centre, centred, SLACK * float(norm.mean()), lifted)


def rows_of(x: Tensor, name: str) -> Reals:
    """A table of finite real numbers as float64 on the CPU, or InputError."""
    if x.ndim != 2 or x.is_complex() or x.dtype == torch.bool:
        raise InputError(
            f"The {name} have shape {tuple(x.shape)} and type {x.dtype}; k-means needs a table of real numbers, "
            "one row per point; flatten images with .flatten(1) and convert with .double()."
        )
    rows = cast(Reals, x.detach().cpu().double().numpy())
    if not np.isfinite(rows).all():
        raise InputError(
            f"The {name} hold NaN or infinite numbers; k-means needs finite numbers; "
            "remove or repair the rows for which torch.isfinite is false."
        )
    return rows


def check_dimension(x: Reals, means: Reals) -> None:
    """InputError unless there are means and they are as long as points."""
    if len(means) == 0 or means.shape[1] != x.shape[1]:
        raise InputError(
            f"The starting means have shape {means.shape}, the points {x.shape}; there must be at least one "
            "mean, with as many numbers as a point; draw them from the data, for example by partial_start."
        )


def check_count(count: int, points: int) -> None:
    """InputError unless there can be so many clusters."""
    if not 1 <= count <= points:
        raise InputError(
            f"{count} clusters were asked of {points} points; there can be 1 to {points}, because more means than "
            "points only repeat points; ask for fewer or pass more data."
        )


def centroids(x: Reals, found: Whole, empty: Reals) -> Reals:
    """Means of the clusters; clusters without points keep their row of `empty`."""
    counts = np.bincount(found, minlength=len(empty))
    order = np.argsort(found, kind="stable")
    filled = counts > 0
    first = (np.cumsum(counts) - counts)[filled]
    means = empty.copy()
    means[filled] = np.add.reduceat(x[order], first, axis=0) / counts[filled, None]
    return means


def own_square(x: Reals, means: Reals, found: Whole) -> Reals:
    """Squared distance to the own mean by differences, in blocks."""
    step = max(1, BLOCK // max(1, x.shape[1]))
    out = np.empty(len(x))
    for i in range(0, len(x), step):
        part = x[i : i + step] - means[found[i : i + step]]
        np.einsum("nd,nd->n", part, part, out=out[i : i + step])
    return out


def lowest(
    frame: Frame, rows: Whole, means: Reals, factor: Reals, banned: Whole | None
) -> tuple[Reals, Whole]:
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


def condensed_distances(x: Reals) -> Reals:
    """All distances between points in scipy's condensed order, by products; near pairs by differences."""
    n, norm = len(x), np.einsum("nd,nd->n", x, x)
    out = np.empty(n * (n - 1) // 2)
    rows, edges = max(1, BLOCK // max(1, x.shape[1])), [*range(0, n, max(1, BLOCK // n)), n]
    for i, j in pairwise(edges):
        square = norm[i:j, None] + norm[i:] - 2 * (x[i:j] @ x[i:].T)
        first, second = np.nonzero(square < 1e-6 * (norm[i:j, None] + norm[i:]))
        for k in range(0, len(first), rows):
            f, s = first[k : k + rows], second[k : k + rows]
            square[f, s] = own_square(x[i + f], x[i:], s)
        np.sqrt(square, out=square)
        for row in range(i, j):
            start = row * (2 * n - row - 1) // 2
            out[start : start + n - row - 1] = square[row - i, row - i + 1 :]
    return out
