"""Holding images against a training set: the pixels that are compared, the groups, the distances.

Shared by every command that asks whether something is a copy.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unrote.contracts import InputError, Neighbors
from unrote.data.images import load_images
from unrote.data.pixels import to_bytes, to_unit
from unrote.data.sources import Images, Provenance, check_compatible
from unrote.measure import copies
from unrote.measure.duplicates import DuplicateGroups, duplicate_groups, radius

NEAREST = 8
"""Neighbours that are asked for at once; enough for the second group unless duplicates abound."""


@dataclass(frozen=True)
class Reference:
    """A training set as it is compared with.

    Args:
        images: the training set as it was read.
        pixels: what distances are taken of, (N,C,H,W): uint8 where the training set is 8-bit, else
            float32 in [-1, 1].
        width: distance between black and white in those pixels (255 or 2).
        groups: near-duplicates.
    """

    images: Images
    pixels: Tensor
    width: float
    groups: DuplicateGroups

    @staticmethod
    def of(images: Images, threshold: float, memory: int) -> Reference:
        """A training set with its groups of near-duplicates.

        Args:
            threshold: root-mean-square pixel distance within which images are near-duplicates.
            memory: bytes that the search may take.

        Raises:
            InputError: if the set has too few images, or all of them are duplicates of each other.
        """
        if len(images) < 3:
            raise InputError(
                f"The training set {images.spec} holds {len(images)} image{'s' if len(images) > 1 else ''}. A copy "
                "is recognised by being much nearer to one training image than to the next, which takes at least 3; "
                "name the whole training set."
            )
        eight_bit = images.pixels.dtype == torch.uint8
        pixels = images.pixels if eight_bit else to_unit(images.pixels, images.value_range)
        width = 255.0 if eight_bit else 2.0
        groups = duplicate_groups(pixels, radius(threshold, pixels[0].numel(), width), memory=memory)
        if int(groups.group.max()) == int(groups.group.min()):
            raise InputError(
                f"All {len(images)} images of the training set {images.spec} are near-duplicates of each other "
                f"(root-mean-square pixel distance within {threshold:g}), so no image has a second neighbour to be "
                "compared with. Check that this is the right set, or lower --duplicate-threshold."
            )
        return Reference(images, pixels, width, groups)

    def comparable(self, images: Images) -> Tensor:
        """The pixels of other images, on the scale and with the rounding of the training set."""
        if self.pixels.dtype == torch.uint8:
            return to_bytes(images.pixels, images.value_range)
        return to_unit(images.pixels, images.value_range)

    def root_mean_square(self, distance: Tensor) -> Tensor:
        """Euclidean distances as root-mean-square pixel distances on the scale from 0 to 1."""
        return copies.root_mean_square(distance, self.pixels[0].numel(), self.width)

    def radius(self, root_mean_square: float) -> float:
        """The Euclidean distance in these pixels that a root-mean-square pixel distance stands for."""
        return radius(root_mean_square, self.pixels[0].numel(), self.width)


def read_reference(
    spec: str, threshold: float, resize: int | None, value_range: tuple[float, float] | None, memory: int
) -> Reference:
    """Read a training set and find its groups of near-duplicates; arguments as for `Reference.of`."""
    images = load_images(spec, resize=resize, value_range=value_range)
    return Reference.of(images, threshold, memory)


def origin(images: Images) -> Provenance:
    """Where a set that was read whole comes from."""
    if images.provenance is None:
        raise ValueError(f"{images.spec} is a block of a stream; only a whole set has a provenance")
    return images.provenance


def part_of(images: Images, rows: Tensor) -> Images:
    """Some images of a set; the provenance stays that of the whole set."""
    return Images(
        spec=images.spec,
        pixels=images.pixels[rows],
        value_range=images.value_range,
        names=tuple(images.names[i] for i in rows.tolist()),
        labels=None if images.labels is None else images.labels[rows],
        label_names=images.label_names,
        provenance=images.provenance,
        notes=images.notes,
    )


def read_others(
    spec: str, reference: Reference, resize: int | None, value_range: tuple[float, float] | None
) -> Images:
    """Read a second set whole and check that it can be compared with the training set."""
    images = load_images(spec, resize=resize, value_range=value_range)
    check_compatible(reference.images, images)
    return images


def plain_and_grouped(
    search: copies.Search, query: Tensor, reference: Tensor, group: Tensor
) -> tuple[Neighbors, Neighbors]:
    """The two nearest of every query by the plain rule, and nearest with nearest outside its group.

    One search serves both, unless the first few neighbours of a query all lie in one group.

    Args:
        search: how neighbours are found.
        query: comparable pixels (Q,...).
        reference: pixels of the training set (N,...).
        group: group of each training image (N,).
    """
    found = search(query, reference, min(NEAREST, len(reference)))
    plain = Neighbors(found.distance[:, :2].clone(), found.index[:, :2].clone())
    grouped, resolved = copies.second_outside_group(found, group)
    rest = (~resolved).nonzero()[:, 0]
    if len(rest):
        more = copies.grouped_neighbors(query[rest], reference, group, search=search)
        grouped.distance[rest], grouped.index[rest] = more.distance, more.index
    return plain, grouped
