"""Which points lie in which balls, exactly: the joint pass behind precision, recall, density and coverage.

Around every reference point lies a ball that reaches to its k-th neighbour among its own kind, and around every
query another.  One pass over floors (`unrote.distances`), projected where that pays, dismisses the pairs that
lie outside both; what is left is measured in float64, so that a point on the surface of a ball is inside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from unrote.contracts import InputError
from unrote.distances import MEMORY, frame, full_precision, margin, raised, roundoff, squared
from unrote.measure.neighbors import neighbors, paying_index
from unrote.measure.projection import MEASURING, views


def radii(x: Shaped[Tensor, "N ..."], k: int, *, memory: int = MEMORY) -> Float[Tensor, " N"]:
    """Distance of every point to its k-th nearest neighbour, itself not counted.

    Of equal points each counts the others, so that k + 1 equal points have radius 0.

    Raises:
        InputError: unless 1 <= k < N; NaN or infinity.
    """
    if not 1 <= k < len(x):
        raise InputError(
            f"The {k}. nearest neighbour was asked for among {len(x)} points; k must be at least 1 and, as a point is "
            "not its own neighbour, below the number of points."
        )
    # Of the k + 1 nearest one is the point itself, or one that is equal to it: the last is the k-th other.
    return neighbors(x, x, k + 1, memory=memory).distance[:, k]


@dataclass(frozen=True)
class Contacts:
    """Which balls a block of queries and all reference points lie in.

    Args:
        start: the first query of the block.
        in_reference: whether query b lies in the ball of reference point n (B, N).
        in_query: whether reference point n lies in the ball of query b (B, N).
    """

    start: int
    in_reference: Bool[Tensor, "B N"]
    in_query: Bool[Tensor, "B N"]


def contacts(
    query: Shaped[Tensor, "Q ..."],
    reference: Shaped[Tensor, "N ..."],
    query_radius: Float[Tensor, " Q"],
    reference_radius: Float[Tensor, " N"],
    *,
    memory: int = MEMORY,
) -> Iterator[Contacts]:
    """Membership of all pairs, block by block of queries in their order; balls are closed.

    Args:
        query, reference: points in the same units.
        query_radius, reference_radius: of the ball around each, see `radii`.
        memory: budget in bytes beyond the data.

    Raises:
        InputError: for NaN or infinity, or events of different sizes.
    """
    query, reference = query.flatten(1), reference.flatten(1)
    scale = frame(query, reference).scale
    for seen in _floors(query, reference, memory):
        rows = torch.arange(seen.start, seen.start + len(seen.floor), device=query.device)
        reach = reference_radius[None], query_radius[rows][:, None]
        limits = [((radius * scale).square() / 2).float() for radius in reach]
        crowd = max(256, len(reference) * query.shape[1] / MEASURING) * len(rows)
        crowded = seen.ceiling is None and float(_open(seen.floor, limits).sum()) > crowd
        block = _sharp(query, reference, rows, memory) if crowded else seen
        yield Contacts(block.start, *_members(block, limits, reach, query, reference, scale))


def _open(floor: Tensor, limits: Sequence[Tensor]) -> Tensor:
    """Pairs of which one may lie in the ball of the other."""
    return (floor <= limits[0] * _WIDER + _TINY) | (floor <= limits[1] * _WIDER + _TINY)


def _members(
    block: _Floors,
    limits: Sequence[Tensor],
    reach: Sequence[Tensor],
    query: Tensor,
    reference: Tensor,
    scale: float,
) -> Iterator[Tensor]:
    """Membership in the balls of either side: by the ceilings where they decide, else by measuring."""
    unclear = _open(block.floor, limits)
    inside = [torch.zeros_like(unclear) for _ in limits]
    if block.ceiling is not None:
        inside = [block.ceiling <= limit / _WIDER - _TINY for limit in limits]
        unclear &= ~(inside[0] & inside[1])
    i, j = unclear.nonzero(as_tuple=True)
    distance = squared(query, reference, i + block.start, j, scale).sqrt() / scale
    for found, radius in zip(inside, reach, strict=True):
        found[i, j] = distance <= radius.expand_as(found)[i, j]
        yield found


_WIDER = 1 + 2.0**-20
_TINY = torch.finfo(torch.float32).tiny


def _half(radius: Tensor, scale: float) -> Tensor:
    """Half squared radii in the unit of floors."""
    return ((radius * scale).square() / 2).float()


@dataclass(frozen=True)
class _Floors:
    """Bounds on half squared distances of a block of queries; no ceiling where only a projection was seen."""

    start: int
    floor: Tensor
    ceiling: Tensor | None


def _floors(query: Tensor, reference: Tensor, memory: int) -> Iterator[_Floors]:
    index = paying_index(query, reference, memory // 2)
    if index is not None:
        start = 0
        for view in views(index, query, memory // 4):
            yield _Floors(start, view.floor[:, : len(reference)], None)
            start += view.bags
        return
    rows = max(1, min(1024, memory // (32 * (len(reference) + query.shape[1]))))
    for block in torch.arange(len(query), device=query.device).split(rows) if len(query) else ():
        yield _sharp(query, reference, block, memory)


def _sharp(query: Tensor, reference: Tensor, rows: Tensor, memory: int) -> _Floors:
    """Bounds from all coordinates.

    A floor lies below the true value by e/2 (|f| + |g|)^2 and the error of the product, which is no larger; so
    floor + e (|f| + |g|)^2 lies above it.  3 e (|f|^2 + |g|^2) is more than that.
    """
    m = query.shape[1]
    dtype = torch.float32 if margin(m, torch.float32, 0.0) < 0.05 else torch.float64
    setting, slack = frame(query, reference), 1.01 * roundoff(dtype)
    e = margin(m, dtype, slack)
    turned = raised(query, rows, setting, dtype, turned=True)
    floor = torch.empty(len(rows), len(reference), dtype=dtype, device=query.device)
    ceiling = torch.empty_like(floor)
    step = max(1, min(2048, memory // (8 * turned.element_size() * (m + 3))))
    for points in torch.arange(len(reference), device=query.device).split(step):
        straight = raised(reference, points, setting, dtype, turned=False)
        part = slice(int(points[0]), int(points[-1]) + 1)
        with full_precision():
            floor[:, part] = turned @ straight.T
        spread = 3 * e * turned[:, m + 2, None].square() + 3 / e * straight[:, m + 2].square()
        ceiling[:, part] = floor[:, part] + spread + 8 * (m + 4) * torch.finfo(dtype).tiny
    return _Floors(int(rows[0]), floor, ceiling)
