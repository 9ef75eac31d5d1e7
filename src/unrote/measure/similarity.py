"""Cosine similarity to the training set: the nearest example of every sample, shares above thresholds, percentiles.

This is how replication is measured in features such as SSCD.  A similarity means nothing by itself: the
training set's own background stands beside it, each example against its most similar other one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from unrote.contracts import Estimate, InputError, Neighbors
from unrote.distances import MEMORY, check_count, in_order
from unrote.measure.copies import grouped_neighbors
from unrote.measure.estimate import percentile, wilson
from unrote.measure.neighbors import neighbors

THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Similarities above which shares are given; 0.5 is the usual one for SSCD."""

PERCENTILES = (0.5, 0.95, 0.99)

_SPARE = 2
"""Neighbours that are measured beyond those asked for."""

_BLOCK = 1024
_ERROR = 2.0**-20
"""More than rounding both unit vectors to float32 moves a distance: 2^-24 for each."""


def most_similar(
    query: Shaped[Tensor, "Q ..."], reference: Shaped[Tensor, "N ..."], k: int = 2, *, memory: int = MEMORY
) -> Neighbors:
    """The k reference points of largest cosine for every query, exact in float64; ties go to the lower index.

    cos(q, x) = <q, x> / |q| |x|.  Unit vectors in float32 are searched by distance, |u - v|^2 = 2 - 2 cos; the
    first k + 2 are measured in float64 from the data themselves, and those of a query are final if the k-th is
    nearer than every point beyond them can be; otherwise more are measured.  Memory: 4 bytes for every number
    in both sets, beside the search.

    Args:
        query, reference: features or flattened pixels, any integer or floating point type, not all 0.
        k: how many.
        memory: budget in bytes for the search.

    Returns:
        Neighbours whose `distance` is the chord |u - v| = sqrt(2 - 2 cos), float64, 0 for equal rows; see
        `similarity`.

    Raises:
        InputError: for k outside 1..N, NaN or infinity, rows that are 0, or events of different sizes.
    """
    check_count(k, len(reference))
    query, reference = query.flatten(1), reference.flatten(1)
    if query.shape[1] != reference.shape[1]:
        raise InputError(
            f"The samples have {query.shape[1]} features each and the training set {reference.shape[1]}; both need the "
            "same; extract them with one feature map."
        )
    units = _unit(reference, "training examples")
    same = query.data_ptr() == reference.data_ptr() and query.shape == reference.shape
    unit = units if same else _unit(query, "samples")
    chord = torch.empty(len(query), k, dtype=torch.float64, device=query.device)
    index = torch.empty(len(query), k, dtype=torch.int64, device=query.device)
    todo, width = torch.arange(len(query), device=query.device), k + _SPARE
    while len(todo):
        width = min(width, len(reference))
        missed = [todo[:0]]
        for rows in todo.split(max(1, memory // (64 * width))):
            asked = unit if len(rows) == len(unit) else unit[rows]
            found = neighbors(asked, units, width, memory=memory)
            exact = _chords(query, reference, rows.repeat_interleave(width), found.index.flatten())
            value, place = in_order(exact.view_as(found.index), found.index)
            sure = (value[:, k - 1] < found.distance[:, -1] - _ERROR) | (width == len(reference))
            chord[rows[sure]], index[rows[sure]] = value[sure, :k], place[sure, :k]
            missed.append(rows[~sure])
        todo, width = torch.cat(missed), 4 * width
    return Neighbors(chord, index)


def similarity(chord: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The cosine of two vectors whose unit vectors lie a chord apart: 1 - chord^2 / 2."""
    return 1 - chord.square() / 2


def background(
    training: Shaped[Tensor, "N ..."], group: Int[Tensor, " N"] | None = None, *, memory: int = MEMORY
) -> Float[Tensor, " N"]:
    """Similarity of every training example to the most similar other one, outside its own group.

    Args:
        training: features (N, *E).
        group: groups of near-duplicates (N,); None for groups of one, in which exact duplicates are similar by 1.
        memory: budget in bytes for the search.

    Raises:
        InputError: for fewer than 2 examples, or one group alone; what `most_similar` raises.

    Source: Somepalli and others, "Understanding and mitigating copying in diffusion models", 2023 (second most
    similar, as the most similar is the example itself).
    """
    if group is None:
        found = most_similar(training, training, 2, memory=memory)
        itself = found.index[:, 0] == torch.arange(len(training), device=training.device)
        return similarity(torch.where(itself, found.distance[:, 1], found.distance[:, 0]))

    def search(query: Tensor, reference: Tensor, k: int) -> Neighbors:
        return most_similar(query, reference, k, memory=memory)

    found = grouped_neighbors(training, training, group, search=search)
    inside = group[found.index[:, 0]] == group
    return similarity(torch.where(inside, found.distance[:, 1], found.distance[:, 0]))


@dataclass(frozen=True)
class Similarities:
    """How similar samples are to their most similar training example, in numbers with intervals.

    Args:
        value: similarity of every sample (n,).
        above: pairs of a threshold and the share of samples strictly above it, with Wilson's interval.
        percentiles: pairs of a share (0.95) and the percentile, with the interval of order statistics.
    """

    value: Float[Tensor, " n"]
    above: tuple[tuple[float, Estimate], ...]
    percentiles: tuple[tuple[float, Estimate], ...]

    def exceeds(self, threshold: float) -> Bool[Tensor, " n"]:
        """The decision for every sample: strictly more similar than a threshold."""
        return self.value > threshold


def summarized(
    value: Float[Tensor, " n"],
    thresholds: Sequence[float] = THRESHOLDS,
    percentiles: Sequence[float] = PERCENTILES,
    confidence: float = 0.95,
) -> Similarities:
    """Shares above thresholds and percentiles of similarities, each with an interval.

    Args:
        value: of samples to their most similar training example, or of `background` (n,).
        thresholds: similarities.
        percentiles: shares; the 99th needs 368 samples for an upper end at 95 % confidence, without which it is
            1, as no similarity is larger.
        confidence: of the intervals.

    Raises:
        InputError: for a percentile or confidence outside (0, 1).
        ValueError: for NaN.

    Source: Somepalli and others 2023 (mean and 95th percentile of SSCD similarity, share above 0.5);
    `unrote.measure.estimate.wilson` and `percentile`.
    """
    n = len(value)
    above = tuple((t, wilson(int((value > t).sum()), n, confidence)) for t in thresholds)
    found = []
    for share in percentiles:
        e = percentile(value, share, confidence)
        low, high = -1.0 if e.low is None else e.low, 1.0 if e.high is None else e.high
        found.append((share, Estimate(e.value, low, high, n)))
    return Similarities(value, above, tuple(found))


def _unit(x: Tensor, name: str) -> Tensor:
    """Unit vectors in float32."""
    out = torch.empty(x.shape, dtype=torch.float32, device=x.device)
    for start in range(0, len(x), _BLOCK):
        rows = x[start : start + _BLOCK].double()
        length = rows.abs().amax(1, keepdim=True)
        if not torch.isfinite(length).all():
            raise InputError(
                f"The {name} hold NaN or infinite features; similarity needs finite ones; remove or repair the rows "
                "for which torch.isfinite is false."
            )
        if (length == 0).any():
            raise InputError(
                f"Of the {name}, number {start + int((length == 0).nonzero()[0, 0])} has features that are all 0, so "
                "that its cosine similarity is not defined; leave it out, or use other features."
            )
        rows = rows / length
        out[start : start + _BLOCK] = rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return out


def _chords(query: Tensor, reference: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """|q/|q| - x/|x|| of listed pairs in float64 by differences of unit vectors, 0 for equal rows."""
    found = [torch.empty(0, dtype=torch.float64, device=query.device)]
    rows = max(1, 2**18 // max(1, query.shape[1]))
    for q, x in zip(first.split(rows), second.split(rows), strict=True):
        a, b = query.index_select(0, q).double(), reference.index_select(0, x).double()
        a, b = (v / v.abs().amax(1, keepdim=True) for v in (a, b))
        a, b = (v / torch.linalg.vector_norm(v, dim=1, keepdim=True) for v in (a, b))
        found.append(torch.linalg.vector_norm(a.sub_(b), dim=1))
    return torch.cat(found)
