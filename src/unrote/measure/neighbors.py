"""Exact nearest neighbours of whole events (images, vectors) and the decision copy or not."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor

from unrote.contracts import Neighbors
from unrote.distances import MEMORY, check_count, frame, top_k
from unrote.measure.projection import MEASURING, RANK, ProjectedIndex, View, projected_index, search, views

PILOT = 64
"""Queries on which the projected bound is tried before it is used."""


def neighbors(
    query: Shaped[Tensor, "Q ..."], reference: Shaped[Tensor, "N ..."], k: int = 2, *, memory: int = MEMORY
) -> Neighbors:
    """The k nearest reference events of every query, exact in float64; ties go to the lower index.

    d(q, x) = |q - x|, the Euclidean distance over all entries of an event.  Large problems go through a
    projected bound where a pilot shows that it dismisses most points, all others through brute force; both
    are exact, so that the choice shows in the time only.

    Args:
        query: events in the units of the data, any integer or floating point type.
        reference: events of the same shape in the same units.
        k: how many neighbours, at most N.
        memory: budget in bytes beyond the data.

    Returns:
        Distances (Q, k) float64, exactly 0 for exact copies alone, and indices (Q, k).

    Raises:
        InputError: for k outside 1..N, NaN or infinity, or events of different sizes.
    """
    query, reference = query.flatten(1), reference.flatten(1)
    check_count(k, len(reference))
    index = paying_index(query, reference, memory)
    if index is None:
        return top_k(query, reference, k, memory=memory)
    return search(index, query, k, memory=memory)


def copy_decisions(
    query: Shaped[Tensor, "Q ..."],
    reference: Shaped[Tensor, "N ..."],
    factor: float = 3.0,
    *,
    memory: int = MEMORY,
) -> Bool[Tensor, " Q"]:
    """Whether d1 < d2 / factor or d1 = 0 for every query, exact, without finding neighbours where bounds do.

    With the measured distances of the 8 points of least floor and the floor F of all others, a query is a
    copy if d1 < min(d2, F) / factor and none if 0 < min(d1, F) >= d2 / factor; the others are searched.

    Args:
        query: generated events (Q, *E).
        reference: training events (N, *E).
        factor: how many times nearer than the second the first neighbour must be, at least 1.
        memory: budget in bytes beyond the data.

    Raises:
        InputError: for fewer than 2 training events, NaN or infinity, or events of different sizes.
        ValueError: for a factor below 1.
    """
    if not factor >= 1:
        raise ValueError(f"a copy is nearer to its first neighbour than to its second, got factor {factor}")
    query, reference = query.flatten(1), reference.flatten(1)
    check_count(2, len(reference))
    index = paying_index(query, reference, memory)
    if index is None:
        return _is_copy(top_k(query, reference, 2, memory=memory).distance, factor)
    return torch.cat([_decided(view, factor) for view in views(index, query, memory)])


def _is_copy(distance: Tensor, factor: float) -> Tensor:
    return (distance[:, 0] < distance[:, 1] / factor) | (distance[:, 0] == 0)


def _decided(view: View, factor: float) -> Tensor:
    available = len(view.index.reference)
    floor, point, member = view.candidates(min(available, 8))
    low, high = (d.view_as(point) for d in view.measured(member.flatten(), point.flatten()))
    others = (2 * floor[:, -1].double().clamp(min=0)).sqrt() if available > 8 else low[:, 0] + float("inf")
    first, second = high.topk(2, largest=False).values.unbind(1)
    rest = low.scatter(1, high.argmin(1, keepdim=True), float("inf")).amin(1).minimum(others)
    least = low.amin(1).minimum(others)
    yes = first * factor * (1 + 2.0**-40) < rest
    no = (least > 0) & (least * factor >= second * (1 + 2.0**-40))
    unclear = (~yes & ~no).nonzero()[:, 0]
    d2, _ = view.verified(2, second[unclear], unclear)
    yes[unclear] = _is_copy(d2.sqrt() / view.index.frame.scale, factor)
    return yes


def paying_index(
    query: Shaped[Tensor, "Q D"], reference: Shaped[Tensor, "N _"], memory: int = MEMORY
) -> ProjectedIndex | None:
    """A projected index, if it can pay for itself and a pilot on a few queries says that it will.

    Times are counted in entries of a product: brute force takes Q N D of them, the index 2 N D r (float64)
    and the directions 5 r D for each of at most 4,096 points.
    """
    (q, d), n = query.shape, len(reference)
    making = 2 * n * d * RANK + 5 * RANK * d * min(n, 4096)
    if d < 4 * RANK or n < 16 * RANK or q * n * d < 2 * making or 8 * n * (RANK + 4) > memory:
        return None
    index = projected_index(reference, setting=frame(query, reference), memory=memory)
    pilot = next(views(index, query[:: -(-q // PILOT)], memory))
    crowd = pilot.crowd(pilot.ceiling(2), torch.arange(pilot.bags, device=query.device))
    return index if crowd.mean() < n * d / MEASURING / 2 else None
