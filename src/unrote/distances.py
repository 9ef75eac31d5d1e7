"""Blocked exact distances: the nearest reference points and all close pairs under a memory budget."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from unrote.contracts import InputError, Neighbors

MEMORY = 512 * 2**20
"""Default budget in bytes beyond the data."""


def top_k(
    query: Shaped[Tensor, "Q D"], reference: Shaped[Tensor, "N D"], k: int, *, memory: int = MEMORY
) -> Neighbors:
    """The k nearest reference points of every query in Euclidean distance, exact in float64."""
    if not 1 <= k <= len(reference):
        raise InputError(
            f"{k} nearest neighbours were asked of {len(reference)} reference points; "
            f"ask for at least 1 and at most {len(reference)}, or pass more reference points."
        )
    rows = max(1, memory // (8 * (4 * len(reference) + 1)))
    distance, index = [], []
    wide = reference.double()
    for block in query.split(rows):
        d = torch.cdist(block.double(), wide, compute_mode="donot_use_mm_for_euclid_dist")
        value, order = d.sort(dim=1, stable=True)
        distance.append(value[:, :k])
        index.append(order[:, :k])
    if not distance:
        return Neighbors(torch.empty(0, k, dtype=torch.float64), torch.empty(0, k, dtype=torch.int64))
    return Neighbors(torch.cat(distance), torch.cat(index))


def pairs_within(
    x: Shaped[Tensor, "N D"], radius: float, *, memory: int = MEMORY
) -> tuple[Int[Tensor, "E 2"], Float[Tensor, " E"]]:
    """All pairs i < j at distance at most radius, in lexicographic order, exact in float64."""
    rows = max(1, memory // (8 * (4 * len(x) + 1)))
    pairs, distance = [torch.empty(0, 2, dtype=torch.int64)], [torch.empty(0, dtype=torch.float64)]
    wide = x.double()
    for start in range(0, len(x), rows):
        d = torch.cdist(wide[start : start + rows], wide[start:], compute_mode="donot_use_mm_for_euclid_dist")
        found = torch.triu(d <= radius, diagonal=1).nonzero()
        pairs.append(found + start)
        distance.append(d[found[:, 0], found[:, 1]])
    return torch.cat(pairs), torch.cat(distance)
