"""Exact nearest neighbours of strings in Hamming distance.

Tokens are packed into words of 64 bits, several of them in each. The exclusive or of two words has bits where
tokens differ; these are folded into one bit per token and counted.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Integer
from torch import Tensor

from unrote.contracts import InputError, Neighbors

BLOCK = 2**14
"""Reference strings that are compared at a time, because their words fit the cache."""


def hamming_neighbors(
    query: Integer[Tensor, "Q L"], reference: Integer[Tensor, "N _L"], k: int = 1
) -> Neighbors:
    """The k nearest reference strings of every query, exact; ties go to the lower index.

    d(q, x) = #{l : q_l != x_l}.

    Args:
        query: generated strings (Q,L), of any integer type.
        reference: training strings (N,L).
        k: how many neighbours, at most N.

    Returns:
        Distances in tokens (Q,k) float64, 0 for exact copies, and indices (Q,k), where the queries are; the work is
        done on the CPU.

    Raises:
        InputError: for k outside 1..N, or strings of different lengths.
    """
    if query.shape[1] != reference.shape[1]:
        raise InputError(
            f"Strings of {query.shape[1]} tokens cannot be compared with training strings of {reference.shape[1]}: "
            "cut both into windows of one length."
        )
    if not 1 <= k <= len(reference):
        raise InputError(
            f"{k} nearest strings were asked for among {len(reference)}; ask for 1 to {len(reference)}."
        )
    bits, base = _bits(query, reference)
    q, x = _packed(query, bits, base), _packed(reference, bits, base)
    # Equal queries have equal answers, and samples of a model that copies are often equal.
    q, back = np.unique(q, axis=0, return_inverse=True)
    distance = np.full((len(q), k), np.iinfo(np.int64).max)
    index = np.zeros((len(q), k), dtype=np.int64)
    found = _Search(q, bits, x.shape[1])
    for start in range(0, len(x), BLOCK):
        found.block(np.ascontiguousarray(x[start : start + BLOCK].T), start, distance, index)
    place = back.reshape(-1)
    return Neighbors(
        torch.from_numpy(distance[place].astype(np.float64)).to(query.device),
        torch.from_numpy(index[place]).to(query.device),
    )


class _Search:
    """Comparison of all queries with a block of reference strings."""

    def __init__(self, query: np.ndarray, bits: int, words: int) -> None:
        self.query = query
        self.mask = np.uint64(sum(1 << (bits * token) for token in range(64 // bits)))
        self.shifts: list[np.uint64] = []
        reach = 1
        # A token's lowest bit gathers its own bits and none of the next token's.
        while reach < bits:
            step = min(reach, bits - reach)
            self.shifts.append(np.uint64(step))
            reach += step
        self.count = np.uint8 if words * (64 // bits) < 256 else np.int64

    def block(self, words: np.ndarray, start: int, distance: np.ndarray, index: np.ndarray) -> None:
        """Put what of a block (words,n) is nearer than what was found into distance and index (Q,k)."""
        k, n = distance.shape[1], words.shape[1]
        differ, moved = np.empty(n, np.uint64), np.empty(n, np.uint64)
        bits, total = np.empty(n, np.uint8), np.empty(n, self.count)
        for row, one in enumerate(self.query):
            total[:] = 0
            for word, mine in zip(words, one, strict=True):
                np.bitwise_xor(word, mine, out=differ)
                for shift in self.shifts:
                    np.right_shift(differ, shift, out=moved)
                    np.bitwise_or(differ, moved, out=differ)
                np.bitwise_and(differ, self.mask, out=differ)
                np.bitwise_count(differ, out=bits)
                np.add(total, bits, out=total, casting="unsafe")
            if total.min() >= distance[row, -1]:
                continue
            near = np.flatnonzero(total < distance[row, -1])
            near = near[np.argsort(total[near], kind="stable")[:k]]
            # Those found before have lower indices, and stay first among equals.
            both = np.concatenate([distance[row], total[near].astype(np.int64)])
            which = np.concatenate([index[row], near + start])
            order = np.argsort(both, kind="stable")[:k]
            distance[row], index[row] = both[order], which[order]


def _bits(query: Tensor, reference: Tensor) -> tuple[int, int]:
    """How many bits a token needs, and the least token."""
    parts = [part for part in (query, reference) if part.numel()]
    if not parts:
        return 1, 0
    low, high = min(int(part.min()) for part in parts), max(int(part.max()) for part in parts)
    return max(1, (high - low).bit_length()), low


def _packed(x: Tensor, bits: int, base: int) -> np.ndarray:
    """Strings as words (N,words), the same place of all strings in the same bits."""
    tokens = (x.cpu().long() - base).numpy().astype(np.uint64)
    each = 64 // bits
    words = np.zeros((len(tokens), -(-tokens.shape[1] // each)), np.uint64)
    for place in range(tokens.shape[1]):
        words[:, place // each] |= tokens[:, place] << np.uint64(bits * (place % each))
    return words
