"""Exact nearest neighbours of whole events: images, vectors."""

from __future__ import annotations

from jaxtyping import Shaped
from torch import Tensor

from unrote.contracts import Neighbors
from unrote.distances import MEMORY, top_k


def neighbors(
    query: Shaped[Tensor, "Q ..."], reference: Shaped[Tensor, "N ..."], k: int = 2, *, memory: int = MEMORY
) -> Neighbors:
    """The k nearest reference events of every query in Euclidean distance, exact in float64."""
    return top_k(query.flatten(1), reference.flatten(1), k, memory=memory)
