"""Cells: a partition of space by the nearest of a few centres, found by k-means."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from unrote.contracts import InputError
from unrote.measure.neighbors import neighbors

ROUNDS = 50
"""Most rounds of Lloyd's algorithm; any centres make a valid partition."""

SAMPLE = 8192
"""Most points that centres are placed by; of larger sets, evenly spaced ones."""

_BLOCK = 4096


def centres(
    x: Shaped[Tensor, "N ..."], cells: int, generator: torch.Generator, *, rounds: int = ROUNDS
) -> Float[Tensor, "K F"]:
    """k-means centres: Lloyd's algorithm from starts drawn with probability proportional to squared distance.

    Of more than `SAMPLE` points every second, third, ... is used, since centres only divide space.

    Args:
        x: points (N, *E).
        cells: how many centres K, at most N.
        generator: draws the starts.
        rounds: how often centres move at most; it ends when none does.

    Raises:
        InputError: for a number of cells outside 1..N.

    Source: Lloyd 1982; Arthur and Vassilvitskii, "k-means++", 2007.
    """
    flat = x.flatten(1)
    if not 1 <= cells <= len(flat):
        raise InputError(
            f"{cells} cells were asked for of {len(flat)} points; ask for at least 1 and at most as many as there are."
        )
    flat = flat[:: max(1, -(-len(flat) // max(SAMPLE, cells)))]
    middle = _starts(flat, cells, generator)
    before = None
    for _ in range(rounds):
        cell, distance, total = _nearest(flat, middle)
        if before is not None and torch.equal(cell, before):
            break
        before, count = cell, torch.bincount(cell, minlength=cells)
        middle = total / count.clamp(min=1)[:, None]
        empty = (count == 0).nonzero()[:, 0]
        # A centre without points starts again at the points that are served worst.
        middle[empty] = flat[distance.topk(len(empty)).indices].double()
    return middle.float()


def cell_of(x: Shaped[Tensor, "N ..."], middle: Float[Tensor, "K F"]) -> Int[Tensor, " N"]:
    """The cell of every point: its nearest centre, exactly; at equal distances the first."""
    return neighbors(x, middle, 1).index[:, 0]


def _starts(flat: Tensor, cells: int, generator: torch.Generator) -> Tensor:
    def draw(weight: Tensor) -> int:
        u = torch.rand(1, dtype=torch.float64, generator=generator, device=generator.device).to(weight.device)
        total = weight.cumsum(0)
        return min(int(torch.searchsorted(total, u * total[-1], right=True)), len(weight) - 1)

    chosen = flat[draw(torch.ones(len(flat), dtype=torch.float64, device=flat.device))][None].double()
    weight = _nearest(flat, chosen)[1]
    while len(chosen) < cells:
        new = flat[draw(weight if weight.sum() > 0 else torch.ones_like(weight))][None].double()
        chosen = torch.cat([chosen, new])
        weight = weight.minimum(_nearest(flat, new)[1])
    return chosen


def _nearest(flat: Tensor, middle: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The nearest centre of every point, the squared distance to it and the sums of each centre's points.

    As exact as products in float32 are: centres only divide space, and `cell_of` does so exactly.
    """
    origin = middle.mean(0)
    turned = (middle - origin).T.float()
    norm = turned.square().sum(0)
    total = torch.zeros(middle.shape, dtype=torch.float64, device=flat.device)
    cell = torch.empty(len(flat), dtype=torch.int64, device=flat.device)
    distance = torch.empty(len(flat), dtype=torch.float64, device=flat.device)
    for start in range(0, len(flat), _BLOCK):
        points = flat[start : start + _BLOCK].float() - origin.float()
        d2, best = (norm - 2 * points @ turned).min(1)
        cell[start : start + _BLOCK] = best
        distance[start : start + _BLOCK] = (d2 + points.square().sum(1)).clamp(min=0).double()
        total += torch.nn.functional.one_hot(best, len(middle)).T.float() @ points
    return cell, distance, total + origin * torch.bincount(cell, minlength=len(middle))[:, None]
