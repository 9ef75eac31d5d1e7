"""The test for data-copying of Meehan, Chaudhuri and Dasgupta: generated samples nearer to training data than fresh.

In every cell of a partition, the distances of generated samples to the nearest training point of the cell are
compared by rank with those of held-out real data.  Where the model copies, they are smaller and z is negative;
where it misses the data, larger and z positive.  C_T grows with the number of samples, so that beside it stand
a p-value and `closer`, which does not: the chance that a generated sample is nearer than a fresh real one.

What the authors' program does differently, read in its source and in the copies of it in FLD and dgm-eval: it
adds a continuity correction of 1/2 that always points towards underfitting and ignores ties in the deviation;
its first version puts counts of cells into the wrong order, or fails, where a cell holds no generated sample.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from unrote.contracts import Estimate, InputError
from unrote.measure.copies import Search
from unrote.measure.neighbors import neighbors
from unrote.measure.partition import cell_of, centres
from unrote.measure.ranks import auc, mann_whitney, weighted

LEAST = 20
"""Generated and held-out samples that a cell must hold to be tested."""


@dataclass(frozen=True)
class Cell:
    """One cell of the partition.

    Args:
        training, held_out, generated: how many points of each set lie in it.
        z: Mann and Whitney's z of generated against held-out distances, negative for copying; None where the
            cell holds too few to be tested.
        deviation_shift: how much z changes when `closer` changes by 1; None as for z.
        closer: the chance that a generated sample is nearer to the training set than a held-out one.
    """

    training: int
    held_out: int
    generated: int
    z: float | None
    deviation_shift: float | None
    closer: Estimate


@dataclass(frozen=True)
class DataCopying:
    """The test's result; negative values and `closer` above 1/2 speak of copying.

    Args:
        statistic: C_T, the mean z over tested cells, weighted by their share of the held-out data.
        z: C_T divided by its standard deviation if nothing is copied.
        p_value: Pr(Z <= z), one-sided: small if generated samples are too near to the training set.
        closer: chance that a generated sample is nearer than a held-out one of the same cell, weighted alike.
        cells: every cell, also those that were not tested.
        cell, distance: cell of every generated sample and its distance to the cell's nearest training point
            (n,), infinite where a cell has no training point.
        held_out_cell, held_out_distance: the same of every held-out sample (m,).
    """

    statistic: Estimate
    z: float
    p_value: float
    closer: Estimate
    cells: tuple[Cell, ...]
    cell: Int[Tensor, " n"]
    distance: Float[Tensor, " n"]
    held_out_cell: Int[Tensor, " m"]
    held_out_distance: Float[Tensor, " m"]


def data_copying(
    generated: Shaped[Tensor, "n ..."],
    held_out: Shaped[Tensor, "m ..."],
    training: Shaped[Tensor, "N ..."],
    generator: torch.Generator,
    *,
    cells: int = 5,
    least: int = LEAST,
    search: Search = neighbors,
    confidence: float = 0.95,
) -> DataCopying:
    """C_T = sum_c w_c Z_c / sum_c w_c over cells c, w_c the share of the held-out data in cell c.

    Z_c = (U_c - n_c m_c / 2) / sigma_c, U_c = pairs in which the generated sample is the further of the two.
    Without copying, given which samples lie in which cell, the Z_c are independent and nearly standard normal,
    so that z = C_T / sqrt(sum w^2), with the weights of tested cells made to sum to 1, is too.

    Args:
        generated: samples (n, *E).
        held_out: real data that were not trained on, from the distribution of the training set (m, *E).
        training: the training set in the same units (N, *E).
        generator: draws the starts of k-means.
        cells: cells of a k-means partition of the training set; 1 for the test without cells.
        least: cells with fewer generated or fewer held-out samples are left out.
        search: how neighbours are found.
        confidence: of the intervals.

    Raises:
        InputError: for a number of cells outside 1..N, or if no cell holds enough to be tested.

    Source: Meehan, Chaudhuri and Dasgupta, "A non-parametric test to detect data-copying in generative models",
    2020, section 4.  Deviations: ties enter sigma_c, nothing is added for continuity, cells need `least`
    held-out samples too; the p-value of the mean over cells and the intervals are ours.
    """
    middle = centres(training, cells, generator)
    home = cell_of(training, middle)
    place, other = cell_of(generated, middle), cell_of(held_out, middle)
    distance = _within(generated, place, training, home, cells, search)
    fresh = _within(held_out, other, training, home, cells, search)
    results = tuple(
        _tested(distance[place == c], fresh[other == c], int((home == c).sum()), least, confidence)
        for c in range(cells)
    )
    used = [r for r in results if r.z is not None]
    if not used:
        raise InputError(
            f"None of {cells} cells holds {least} generated and {least} held-out samples and a training point "
            f"({len(generated)} and {len(held_out)} samples in all); ask for fewer cells or give more samples."
        )
    total = sum(r.held_out for r in used)
    weights = [r.held_out / total for r in used]
    closer = weighted([r.closer for r in used], weights)
    statistic = weighted([_as_z(r) for r in used], weights)
    assert statistic.value is not None
    z = statistic.value / math.sqrt(sum(w * w for w in weights))
    p_value = math.erfc(-z / math.sqrt(2)) / 2
    return DataCopying(statistic, z, p_value, closer, results, place, distance, other, fresh)


def _within(x: Tensor, cell: Tensor, training: Tensor, home: Tensor, cells: int, search: Search) -> Tensor:
    """Distance of every point to the nearest training point of its own cell."""
    distance = torch.full((len(x),), math.inf, dtype=torch.float64, device=x.device)
    for c in range(cells):
        rows, points = (cell == c).nonzero()[:, 0], (home == c).nonzero()[:, 0]
        if len(rows) and len(points):
            distance[rows] = search(x[rows], training[points], 1).distance[:, 0]
    return distance


def _tested(distance: Tensor, fresh: Tensor, training: int, least: int, confidence: float) -> Cell:
    counts = (training, len(fresh), len(distance))
    closer = auc(fresh, distance, confidence)
    if training == 0 or min(len(fresh), len(distance)) < max(1, least):
        return Cell(*counts, None, None, closer)
    found = mann_whitney(distance, fresh)
    shift = len(fresh) * len(distance) / found.deviation if found.deviation else 0.0
    return Cell(*counts, found.z, -shift, closer)


def _as_z(cell: Cell) -> Estimate:
    """z of a cell with the interval of `closer`: z = shift (closer - 1/2), shift < 0."""
    shift, closer = cell.deviation_shift, cell.closer
    assert shift is not None and closer.low is not None and closer.high is not None
    return Estimate(cell.z, shift * (closer.high - 0.5), shift * (closer.low - 0.5), closer.n)
