"""A training set with its mirror images, for runs that were trained on both: a mirrored copy is a copy."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from unrote.contracts import InputError
from unrote.data.sources import Images
from unrote.jobs.comparing import Reference
from unrote.measure.duplicates import DuplicateGroups, duplicate_groups
from unrote.train.augment import flip

MIRRORED = " (mirrored)"
"""What follows the name of an image where its mirror image is meant."""


def with_mirror_images(reference: Reference, memory: int) -> Reference:
    """The training images followed by their mirror images; an image and its mirror image are one neighbour.

    Groups are those of near-duplicates among all 2N images, joined where one holds an image and the other its mirror
    image: a copy of an image that nearly equals its own mirror image is not excused by that one being near as well.

    Args:
        reference: the training images.
        memory: bytes that the search for near-duplicates may take.

    Raises:
        InputError: if all images are near-duplicates of each other or of mirror images.
    """
    images = reference.images
    both = Images(
        spec=images.spec,
        pixels=torch.cat([images.pixels, flip(images.pixels)]),
        value_range=images.value_range,
        names=(*images.names, *(name + MIRRORED for name in images.names)),
        labels=None if images.labels is None else images.labels.repeat(2),
        label_names=images.label_names,
        provenance=images.provenance,
        notes=images.notes,
    )
    pixels = torch.cat([reference.pixels, flip(reference.pixels)])
    near = duplicate_groups(pixels, reference.groups.threshold, memory=memory)
    groups = _joined(near, pixels)
    if int(groups.group.max()) == 0:
        raise InputError(
            f"With --flip all {len(images)} images of the training set {images.spec} are near-duplicates of each other "
            "or of each other's mirror images, so no image has a second neighbour to be compared with. Lower "
            "--duplicate-threshold, or leave --flip out."
        )
    return replace(reference, images=both, pixels=pixels, groups=groups)


def _joined(near: DuplicateGroups, pixels: Tensor) -> DuplicateGroups:
    """Groups of 2N points, joined where one holds point i and the other point i + N; named by their lowest index."""
    group, n = near.group, len(near.group) // 2
    while True:
        # An image and its mirror image take the lower name of the two, and all of a group the lowest in it.
        pair = torch.minimum(group[:n], group[n:]).repeat(2)
        lowest = torch.full_like(group, len(group)).scatter_reduce_(0, near.group, pair, "amin")[near.group]
        if torch.equal(lowest, group):
            break
        group = lowest
    parts = group.argsort(stable=True).split(group.unique(return_counts=True)[1].tolist())
    parts = sorted((part for part in parts if len(part) > 1), key=lambda part: (-len(part), int(part[0])))
    flat = pixels.flatten(1)
    diameter = [float(torch.cdist(flat[part].double(), flat[part].double()).max()) for part in parts]
    return replace(
        near, group=group, groups=tuple(parts), diameter=torch.tensor(diameter, dtype=torch.float64)
    )
