"""What `unrote geometry` surveys: a training set without its near-duplicates, held-out images, noise levels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unrote.contracts import InputError
from unrote.data.images import load_images
from unrote.data.pixels import to_unit
from unrote.data.sources import Images
from unrote.jobs.comparing import Reference, origin, read_others
from unrote.jobs.options import GeometryOptions
from unrote.measure.duplicates import DuplicateGroups, cross_duplicates, duplicate_groups, radius
from unrote.noise.levels import log_levels

FEWEST = 3
"""Different images below which nothing can be said: one to be copied, one to be fresh, one to be mistaken for."""
DENSITY = 12
"""Levels per factor e, at least, unless fewer are asked for."""
BLOCK = 1024
"""Images that are brought to [-1, 1] at once."""
LIMITS = (1e-6, 1e6)
"""The lowest and the highest level that can be asked for."""


@dataclass(frozen=True)
class Ground:
    """The images that are surveyed.

    Args:
        reference: the training set as it was read, with its groups of near-duplicates.
        rows: one image of each group, the first (n,).
        x: these images in [-1, 1] (n,C,H,W), float32.
        fresh: the held-out images as they were read, or None.
        test: held-out images in [-1, 1] that are no near-duplicates of training images, or None.
    """

    reference: Reference
    rows: Tensor
    x: Tensor
    fresh: Images | None
    test: Tensor | None

    @property
    def doubled(self) -> int:
        """How many training images were left out because an image like them was kept."""
        return len(self.reference.images) - len(self.rows)

    @property
    def leaked(self) -> int:
        """How many held-out images were left out because they are near-duplicates of training images."""
        return 0 if self.fresh is None or self.test is None else len(self.fresh) - len(self.test)


def read_ground(options: GeometryOptions) -> Ground:
    """Read both sets, find near-duplicates, and keep what curves can be drawn of.

    Raises:
        InputError: for fewer than 3 different images, images without content, or held-out images that were
            trained on.
    """
    memory = options.memory * 2**20
    images = load_images(options.train, resize=options.resize, value_range=options.train_range)
    check_images(images)
    reference = reference_of(images, options.duplicate_threshold, memory)
    check_different(images, reference.groups, first_of_each(reference), options.duplicate_threshold)
    if options.test is None:
        return ground_of(reference, None, memory)
    fresh = read_others(options.test, reference, options.resize, options.train_range)
    check_fresh(images, fresh)
    return ground_of(reference, fresh, memory)


def ground_of(reference: Reference, fresh: Images | None, memory: int) -> Ground:
    """One image of each group of near-duplicates, and the held-out images that are none of training images.

    Args:
        memory: bytes that the search may take.

    Raises:
        InputError: if fewer than 3 held-out images are left.
    """
    rows = first_of_each(reference)
    x = unit_rows(reference.images, rows)
    if fresh is None:
        return Ground(reference, rows, x, None, None)
    near = cross_duplicates(
        reference.comparable(fresh), reference.pixels, reference.groups.threshold, memory=memory
    )
    kept = (~near).nonzero()[:, 0]
    if len(kept) < FEWEST:
        raise InputError(
            f"{len(fresh) - len(kept):,} of the {len(fresh):,} held-out images {fresh.spec} are (near-duplicates of) "
            "training images, so nothing is left that is fresh: coverage would be 1 at every level. Name images that "
            "were not trained on, or leave --test out; training images are then left out one by one."
        )
    return Ground(reference, rows, x, fresh, unit_rows(fresh, kept))


def first_of_each(reference: Reference) -> Tensor:
    """The first image of each group of near-duplicates (n,); an image without any is a group of its own."""
    group = reference.groups.group
    return (group == torch.arange(len(group))).nonzero()[:, 0]


def unit_rows(images: Images, rows: Tensor) -> Tensor:
    """Some images in [-1, 1], float32, a block at a time so that nothing is held twice."""
    out = torch.empty(len(rows), *images.shape)
    for at, part in zip(out.split(BLOCK), rows.split(BLOCK), strict=True):
        at.copy_(to_unit(images.pixels[part], images.value_range))
    return out


def reference_of(images: Images, threshold: float, memory: int) -> Reference:
    """A training set with its groups of near-duplicates; alike images may all be in one group."""
    eight_bit = images.pixels.dtype == torch.uint8
    pixels = images.pixels if eight_bit else to_unit(images.pixels, images.value_range)
    width = 255.0 if eight_bit else 2.0
    groups = duplicate_groups(pixels, radius(threshold, pixels[0].numel(), width), memory=memory)
    return Reference(images, pixels, width, groups)


def flat_images(images: Images) -> int:
    """How many images have the same colour in every pixel."""
    pixels = images.pixels.flatten(2)
    return int((pixels == pixels[:, :, :1]).flatten(1).all(1).sum())


def check_images(images: Images) -> None:
    """Refuse sets with too few images, or without anything in them.

    Raises:
        InputError: saying which.
    """
    n = len(images)
    if n < FEWEST:
        raise InputError(
            f"The training set {images.spec} holds {n} image{'s' if n > 1 else ''}. Its geometry is that of distances "
            f"between images, which takes at least {FEWEST} different ones; name the whole training set."
        )
    if images.pixels[0, 0].numel() > 1 and flat_images(images) == n:
        raise InputError(
            f"Every one of the {n:,} images of the training set {images.spec} has one colour in all its pixels, so "
            "there is nothing in them to learn or to copy. Check how the files were made, or the pixel range "
            "(--train-range)."
        )


def check_different(images: Images, found: DuplicateGroups, rows: Tensor, threshold: float) -> None:
    """Refuse sets in which fewer than three images differ.

    Raises:
        InputError: naming how many do.
    """
    if len(rows) >= FEWEST:
        return
    n = len(images)
    if bool((images.pixels == images.pixels[:1]).all()):
        raise InputError(
            f"All {n:,} images of the training set {images.spec} are the same image, pixel by pixel, so there are no "
            "distances to survey; any model trained on it can only copy it. Check that this is the right set."
        )
    some = (
        "are near-duplicates of one image" if len(rows) == 1 else f"are near-duplicates of {len(rows)} images"
    )
    raise InputError(
        f"All {n:,} images of the training set {images.spec} {some} (root-mean-square pixel distance within "
        f"{threshold:g}), and a geometry takes at least {FEWEST} different ones. Check that this is the right set, or "
        "lower --duplicate-threshold."
    )


def check_fresh(train: Images, test: Images) -> None:
    """Refuse the training set as its own test set.

    Raises:
        InputError: if both hold the same pixels in the same order.
    """
    if origin(train).sha256 == origin(test).sha256:
        raise InputError(
            f"The test set {test.spec} is the training set {train.spec}: every fresh image would lie on a training "
            "image, and coverage would be 1 at every level. Name images that were not trained on, or leave --test "
            "out; training images are then left out one by one."
        )


def check_levels(options: GeometryOptions) -> None:
    """Refuse levels that are none.

    Raises:
        InputError: naming the flag.
    """
    for flag, value in (("--low", options.low), ("--high", options.high)):
        if value is not None and not LIMITS[0] <= value <= LIMITS[1]:
            raise InputError(
                f"{flag} {value:g} is not a noise level that can be surveyed. A level is sigma of x = x0 + sigma z for "
                f"pixels from -1 to 1: a positive number, here from {LIMITS[0]:g} to {LIMITS[1]:g}."
            )
    if options.low is not None and options.high is not None and not options.low < options.high:
        raise InputError(
            f"--low {options.low:g} is not below --high {options.high:g}; levels run from the lower to the higher. "
            "Leave both out to have them chosen from the data."
        )
    if options.points < 3:
        raise InputError(
            f"--points {options.points} are too few; at least 3 images are noised at every level, and 1,000 "
            "make a good survey."
        )


def grid(low: float, high: float, asked: int | None) -> Tensor:
    """Levels from low to high, equally spaced in log sigma: as many as asked for, or 12 per factor e."""
    return log_levels(low, high, asked or math.ceil(DENSITY * math.log(high / low)) + 1)
