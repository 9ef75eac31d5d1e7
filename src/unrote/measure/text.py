"""Copies of text by two definitions: characters in their places, and passages wherever they stand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Integer
from torch import Tensor

from unrote.contracts import InputError, Neighbors
from unrote.measure.hamming import hamming_neighbors

BLOCK = 2**16
"""Windows that are compared at a time."""

CHARACTERS = 2**20
"""Characters of the reference whose substrings are sorted at a time."""


def window_neighbors(
    query: Integer[Tensor, "Q L"],
    text: Integer[Tensor, " n"],
    start: Int[Tensor, " P"],
    k: int = 2,
    *,
    block: int = BLOCK,
) -> Neighbors:
    """The k nearest windows of a text in Hamming distance, exact, without holding all windows at once.

    As `unrote.measure.hamming.hamming_neighbors` of the windows text[s : s + L], which may overlap.

    Args:
        query: samples (Q,L).
        text: the training text (n,).
        start: where its windows begin (P,).
        k: how many neighbours, at most P.
        block: windows that are held at a time; it changes no result.

    Raises:
        InputError: for k outside 1..P.
        ValueError: for windows that leave the text.
    """
    length = query.shape[1]
    if not 1 <= k <= len(start):
        raise InputError(f"{k} nearest windows were asked for among {len(start)}; ask for 1 to {len(start)}.")
    if int(start.min()) < 0 or int(start.max()) + length > len(text):
        raise ValueError(f"a window of {length} characters leaves the text of {len(text)}")
    distance = torch.full((len(query), 0), 0.0, dtype=torch.float64)
    index = torch.full((len(query), 0), 0)
    for first in range(0, len(start), block):
        part = text[start[first : first + block, None] + torch.arange(length)]
        found = hamming_neighbors(query, part, min(k, len(part)))
        distance = torch.cat([distance, found.distance], 1)
        index = torch.cat([index, found.index + first], 1)
        order = distance.argsort(dim=1, stable=True)[:, :k]
        distance, index = distance.gather(1, order), index.gather(1, order)
    return Neighbors(distance, index)


def copy_threshold(length: int, share: float) -> int:
    """In how many of its characters a copy may differ at most: floor(share L).

    Raises:
        InputError: for a share outside [0, 1).
    """
    if not 0 <= share < 1:
        raise InputError(
            f"A copy differs from its window in a share of {share:g} of the characters at most; give a share of at "
            "least 0 (exact copies) and less than 1."
        )
    # The small addition keeps 0.29 * 100 from being 29 - 1e-15.
    return int(share * length + 1e-9)


@dataclass(frozen=True)
class Passages:
    """The longest passage that each sample shares with a reference; of equal ones, the first in the sample.

    Args:
        length: its characters (Q,); 0 if no character is shared.
        place: where it begins in the sample (Q,).
        row, source: the reference text in which it stands, and where it begins there (Q,).
    """

    length: Int[Tensor, " Q"]
    place: Int[Tensor, " Q"]
    row: Int[Tensor, " Q"]
    source: Int[Tensor, " Q"]


def longest_passages(
    query: Integer[Tensor, "Q L"],
    reference: Integer[Tensor, "N M"],
    *,
    alphabet: int = 27,
    block: int = CHARACTERS,
) -> Passages:
    """The longest common substring of each sample with any of the reference texts, exact.

    It needs no alignment: a copied sentence is found wherever it stands. Substrings of a block of the reference
    are sorted by their first 2^j >= L characters, j doublings of their ranks; the longest match at a place of a
    sample stands beside it in that order, and its length is read off the ranks of 2^i characters.

    Args:
        query: samples (Q,L); tokens outside the alphabet (masks) match nothing.
        reference: training windows (N,M), which are not joined; or one running text (1,M).
        alphabet: tokens 0..alphabet - 1 count.
        block: characters of the reference that are sorted at a time; it changes no length.

    Raises:
        ValueError: for empty strings.

    Source: ranks by doubling after Karp, Miller and Rosenberg, "Rapid identification of repeated patterns in strings,
    trees and arrays", 1972.
    """
    count, length = query.shape
    if not query.numel() or not reference.numel():
        raise ValueError("passages are looked for in strings of at least one character")
    best = np.zeros((4, count), dtype=np.int64)
    samples = _ended(query, alphabet, alphabet)
    for row, first, part in _blocks(reference, length, block):
        size, place, source = _shared(samples, _ended(part, alphabet, alphabet + 1), length)
        better = size > best[0]
        width = part.shape[1] + 1
        found = np.stack([size, place, row + source // width, first + source % width])
        best[:, better] = found[:, better]
    return Passages(*(torch.from_numpy(one.copy()) for one in best))


def is_passage_copy(found: Passages, threshold: int) -> Bool[Tensor, " Q"]:
    """Whether a sample shares a passage of at least `threshold` characters with the training text.

    Raises:
        InputError: for a threshold below 1.
    """
    if threshold < 1:
        raise InputError(
            f"A shared passage has at least 1 character, got the threshold {threshold}; raise it."
        )
    return found.length >= threshold


def uncovered(found: Passages, length: int) -> Float[Tensor, " Q"]:
    """The share of a sample that its longest shared passage leaves, small for copies: 1 - length / L."""
    return 1 - found.length.double() / length


def _ended(rows: Tensor, alphabet: int, end: int) -> np.ndarray:
    """Rows one after another, each with a sign at its end, which stands for unknown tokens too."""
    kept = np.full((len(rows), rows.shape[1] + 1), end, dtype=np.uint64)
    tokens = rows.cpu().numpy()
    kept[:, :-1] = np.where((tokens >= 0) & (tokens < alphabet), tokens, end)
    return kept.reshape(-1)


def _blocks(reference: Tensor, length: int, block: int) -> Iterator[tuple[int, int, Tensor]]:
    """Parts of the reference in which every substring of `length` characters stands whole, with row and column."""
    rows, width = reference.shape
    if width <= block:
        step = max(1, block // width)
        for row in range(0, rows, step):
            yield row, 0, reference[row : row + step]
        return
    for row in range(rows):
        for first in range(0, max(1, width - length + 1), block):
            yield row, first, reference[row : row + 1, first : first + block + length - 1]


def _shared(
    samples: np.ndarray, reference: np.ndarray, length: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each sample the length, the place and the source of its longest passage in a block."""
    ranks = _ranks(np.concatenate([samples, reference]), length)
    last, n = ranks[-1], len(samples)
    order = np.argsort(last[n:], kind="stable")
    slot = np.searchsorted(last[n:], last[:n], sorter=order)
    size, source = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    for beside in (slot - 1, slot):
        other = order[np.clip(beside, 0, len(order) - 1)]
        common = _common(ranks, np.arange(n), other + n)
        better = common > size
        size[better], source[better] = common[better], other[better]
    table = size.reshape(-1, length + 1)
    place = table.argmax(1)
    each = np.arange(len(table)) * (length + 1) + place
    return size[each], place, source[each]


def _ranks(signs: np.ndarray, length: int) -> list[np.ndarray]:
    """Ranks of the substrings of 1, 2, 4, ... characters from each place on, up to at least `length`."""
    ranks, width = [signs.astype(np.int64)], 1
    while width < length:
        later = np.zeros_like(ranks[-1])
        later[:-width] = ranks[-1][width:] + 1
        # Both halves are in one number: ranks are below the number of places.
        both = ranks[-1] * (int(later.max()) + 1) + later
        ranks.append(np.unique(both, return_inverse=True)[1].reshape(-1) if width > 2 else both)
        width *= 2
    return ranks


def _common(ranks: list[np.ndarray], a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How many characters from the places a and b on are equal."""
    size = np.zeros(len(a), dtype=np.int64)
    end = len(ranks[0]) - 1
    for power in range(len(ranks) - 1, -1, -1):
        rank = ranks[power]
        left, right = np.minimum(a + size, end), np.minimum(b + size, end)
        size += np.where(rank[left] == rank[right], 1 << power, 0)
    return size
