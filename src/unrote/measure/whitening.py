"""Whitened images: of equal variance in every direction of a reference set, so that cosines compare all directions.

Between plain images a cosine says mostly that both are bright in the middle. Whitened ones have no such common part:
images that have nothing to do with each other have cosines around 0, with variance 1/k in k directions.

A reference set knows its directions of least variance badly, and whitening would magnify what is wrong with them. So
it is confined to the leading directions: a number of them (`fit_components`), or the fewest that hold a share of the
variance (`holding`). Samples that differ only in the directions left out count as equal.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float64, Shaped
from torch import Tensor

from unrote.contracts import InputError
from unrote.distances import MEMORY
from unrote.measure.features.pca import Components
from unrote.measure.features.profiles import PIXELS
from unrote.measure.similarity import most_similar, similarity

FLAT = 1e-12
"""A direction with at most this share of the largest variance has none."""
_BLOCK = 1024


def holding(components: Components, share: float) -> Components:
    """The fewest leading components that hold a share of the reference set's variance.

    k = min {k: sum_{i <= k} lambda_i >= share * trace of the covariance}; a direction without variance is never among
    them.

    Args:
        components: as many as there are, or enough to hold the share.
        share: above 0, at most 1.

    Raises:
        InputError: for a share out of range, or one that the given components do not hold.
    """
    if not 0 < share <= 1:
        raise InputError(
            f"The share of the variance to keep is {share:g}; it lies above 0 and at most at 1, for example 0.95."
        )
    variance = components.variance
    held = components.explained * variance.cumsum(0) / variance.sum()
    # The mean is kept in single precision: a whole spectrum must not miss its share by that.
    enough = held >= share * (1 - 1e-6)
    if not bool(enough.any()):
        raise InputError(
            f"The {len(variance)} components hold {components.explained:.1%} of the variance, and {share:.1%} was "
            "asked for: fit more components, or ask for a smaller share."
        )
    real = int((variance > FLAT * variance[0]).sum())
    k = min(int(enough.to(torch.uint8).argmax()) + 1, real)
    return replace(
        components,
        directions=components.directions[:k],
        variance=variance[:k],
        explained=float(held[k - 1]),
    )


def whitened(components: Components, images: Shaped[Tensor, "n C H W"]) -> Float64[Tensor, "n k"]:
    """Images in coordinates in which the reference set has covariance 1 (PCA whitening).

    w = Lambda^(-1/2) V (x - mean), V the directions in rows, Lambda their variances.

    Args:
        components: of the reference set; `holding` limits them.
        images: uint8, or float in [0,1] like those of the reference set.

    Raises:
        InputError: where a direction has no variance, or images are not of the reference set's shape.
    """
    scale = _scale(components)
    if tuple(images.shape[1:]) != tuple(components.shape):
        raise InputError(
            f"The images have shape {tuple(images.shape[1:])}, and the whitening was fitted to images of shape "
            f"{tuple(components.shape)}; bring both to one size and the same channels."
        )
    matrix = components.directions.double() * scale[:, None]
    parts = [
        (PIXELS.prepare(block).flatten(1).double() - components.mean) @ matrix.T
        for block in images.split(_BLOCK)
    ]
    return torch.cat(parts) if parts else torch.empty(0, len(matrix), dtype=torch.float64)


def whitened_images(components: Components, images: Shaped[Tensor, "n C H W"]) -> Float64[Tensor, "n C H W"]:
    """The same as images: the whitening that changes them least (ZCA), V^T Lambda^(-1/2) V (x - mean).

    Cosines between them are those between `whitened` ones, since V^T keeps lengths and angles.

    Args:
        components, images: as for `whitened`.

    Raises:
        InputError: as `whitened`.

    Source: Bell and Sejnowski, "The independent components of natural scenes are edge filters", 1997; least change:
    Kessy, Lewin and Strimmer, "Optimal whitening and decorrelation", 2018.
    """
    flat = whitened(components, images) @ components.directions.double()
    return flat.reshape(len(images), *components.shape)


def cosine(a: Shaped[Tensor, "n ..."], b: Shaped[Tensor, "n ..."]) -> Float64[Tensor, " n"]:
    """The cosine of every pair of rows, <a_i, b_i> / |a_i| |b_i|.

    Raises:
        InputError: for rows that are 0, NaN or infinite, of which no cosine is defined.
        ValueError: for sets of different shapes.
    """
    if a.shape != b.shape:
        raise ValueError(
            f"a cosine of pairs needs sets of one shape, got {tuple(a.shape)} and {tuple(b.shape)}"
        )
    units = []
    for x in (a, b):
        rows = x.flatten(1).double()
        largest = rows.abs().amax(1, keepdim=True) if rows.numel() else rows.new_ones(len(rows), 1)
        wrong = (~(largest.isfinite() & (largest > 0))).nonzero()
        if len(wrong):
            raise InputError(
                f"Row {int(wrong[0, 0])} is 0 or not finite, so that no cosine with it is defined; leave it out, or "
                "repair it."
            )
        rows = rows / largest
        units.append(rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True))
    return (units[0] * units[1]).sum(1).clamp(-1, 1)


def nearest_cosine(
    query: Shaped[Tensor, "Q ..."], reference: Shaped[Tensor, "N ..."], *, memory: int = MEMORY
) -> Float64[Tensor, " Q"]:
    """The largest cosine of every row with any row of a set, max_j cos(q_i, x_j), exact in float64 and blocked.

    Among rows that have nothing to do with the query it is not 0: about 0.6 among 1,000 of them in 24 directions. Hold
    it against what fresh data reach, or against a set of the same size that was not learned from.

    Args:
        query: whitened images (Q,k).
        reference: whitened images (N,k).
        memory: budget in bytes for the search.

    Raises:
        InputError: what `most_similar` raises.
    """
    return similarity(most_similar(query, reference, 1, memory=memory).distance[:, 0])


def _scale(components: Components) -> Tensor:
    variance = components.variance
    if float(variance.min()) <= FLAT * float(variance.max()):
        raise InputError(
            f"The reference set varies in fewer than {len(variance)} directions, so they cannot be brought to equal "
            "variance. Keep fewer components, or those that hold a share of the variance such as 0.95."
        )
    return variance.rsqrt()
