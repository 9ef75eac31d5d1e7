"""Exact searches of one training set in which what they need of it is made once, not for every block of queries."""

from __future__ import annotations

import torch
from torch import Tensor

from unrote.contracts import Neighbors
from unrote.distances import top_k
from unrote.jobs.comparing import Reference
from unrote.jobs.output import progress
from unrote.measure.alignment import aligned_index, aligned_neighbors
from unrote.measure.authenticity import gaps
from unrote.measure.neighbors import neighbors, paying_index
from unrote.measure.projection import ProjectedIndex, search

ENOUGH = 4096
"""Queries beyond which more of them change nothing in whether an index pays."""

BLOCK = 1024
"""Training images whose neighbours are sought at once."""


class Searches:
    """Searches of a training set; every answer is exact, so that what was kept from earlier ones changes none.

    Args:
        reference: the training set.
        memory: bytes that a search may take beyond the images.
        expected: about how many queries there will be in all.
    """

    def __init__(self, reference: Reference, memory: int, expected: int = 0) -> None:
        self.reference, self.memory = reference, memory
        self._expected, self._tried = expected, 0
        self._index: ProjectedIndex | None = None
        self._crops: ProjectedIndex | None = None
        self._gap = torch.full((len(reference.pixels),), torch.nan, dtype=torch.float64)

    def straight(self, query: Tensor, training: Tensor, k: int) -> Neighbors:
        """The k nearest of some training images (usually all) to every query, by Euclidean distance."""
        if training is not self.reference.pixels:
            return neighbors(query, training, k, memory=self.memory)
        query, training = query.flatten(1), training.flatten(1)
        index = self._projected(query, training)
        if index is None:
            return top_k(query, training, k, memory=self.memory)
        return search(index, query, k, memory=self.memory)

    def aligned(self, query: Tensor, training: Tensor, k: int) -> Neighbors:
        """The same up to a mirror image, a small shift, brightness and contrast."""
        shift = shift_for(self.reference.pixels)
        if training is not self.reference.pixels:
            return aligned_neighbors(query, training, k, shift=shift, memory=self.memory)
        if self._crops is None:
            self._crops = aligned_index(training, shift=shift, memory=self.memory)
        return aligned_neighbors(query, training, k, shift=shift, memory=self.memory, index=self._crops)

    def gaps(self, rows: Tensor) -> Tensor:
        """Distances of training images to the nearest one outside their own group of near-duplicates."""
        wanted = rows.unique()
        new = wanted[self._gap[wanted].isnan()]
        with progress("neighbours of training images", len(new)) as advance:
            for part in new.split(BLOCK):
                self._gap[part] = gaps(
                    self.reference.pixels, self.reference.groups.group, part, search=self.straight
                )
                advance(len(part))
        return self._gap[rows]

    def _projected(self, query: Tensor, training: Tensor) -> ProjectedIndex | None:
        """An index if it pays for all queries that are expected; tried again only where more are asked at once."""
        expected = min(ENOUGH, max(self._expected, len(query)))
        if self._index is None and len(query) and self._tried < expected:
            self._tried = expected
            # Whether it pays is judged by the number of queries: later blocks are taken to be like this one.
            room = self.memory // (16 * query.shape[1] * query.element_size())
            times = max(1, min(-(-expected // len(query)), room // len(query)))
            self._index = paying_index(query.repeat(times, 1), training, self.memory)
        return self._index


def shift_for(pixels: Tensor) -> int:
    """The largest shift that alignment tries: 2 pixels, 1 for images below 16 pixels, which have few."""
    return 2 if min(pixels.shape[2:]) >= 16 else 1 if min(pixels.shape[2:]) >= 8 else 0
