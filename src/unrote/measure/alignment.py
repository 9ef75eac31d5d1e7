"""Neighbours up to a mirror image, a small shift, and brightness and contrast: no weights are needed.

For an image a let c(a) be its central crop, all images losing `shift` pixels at each border, and

    s(a) = (c - mean(c)) / |c - mean(c)|      over all pixels and channels; 0 for a flat crop.

A sample has 2 (2 shift + 1)^2 such crops, one for each whole shift of up to `shift` pixels in each direction
of itself and of its mirror image, and its distance to a training image is

    d(sample, image) = min over these crops c of |s(c) - s(image)| = sqrt(2 - 2 max correlation),

between 0 and 2, and 1 where one of the two is flat.  Gain (positive) and offset leave s unchanged, and the
crops of the sample hold no pixel that a shift of the training image would have had to invent.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from unrote.contracts import InputError, Neighbors
from unrote.distances import MEMORY, check_count, roundoff, squared, tree_sum
from unrote.measure.projection import RANK, Exact, ProjectedIndex, look, nearest, projected_index

SMALLEST = 4
"""Least height and width of a crop: fewer pixels than 16 agree by chance."""


def aligned_index(
    training: Shaped[Tensor, "N C H W"], *, shift: int = 2, memory: int = MEMORY
) -> ProjectedIndex:
    """What `aligned_neighbors` needs of a training set, for callers that ask more than once.

    Args:
        training, shift, memory: as for `aligned_neighbors`.

    Raises:
        InputError: for images too small for the shift, NaN or infinity.
        ValueError: for a negative shift.
    """
    _check(training[:0], training, shift)
    crops = torch.cat([_central(images, shift).float() for images in training.split(512)])
    return projected_index(crops, RANK, blur=3 * roundoff(torch.float32), memory=memory // 2)


def aligned_neighbors(
    samples: Shaped[Tensor, "Q C H W"],
    training: Shaped[Tensor, "N _ _ _"],
    k: int = 2,
    *,
    shift: int = 2,
    memory: int = MEMORY,
    index: ProjectedIndex | None = None,
) -> Neighbors:
    """The k nearest training images of every sample, best over mirror image, shifts, gain and offset.

    The formula stands at the head of this file.  Values are computed in float64 by differences: a mirrored or
    shifted copy has a distance of about 1e-15, one whose brightness was changed in float32 about 1e-7, one
    rounded to 8 bits about 0.3 sqrt(D) / |c - mean(c)|.

    Args:
        samples: generated images, any integer or floating point type; their range does not matter.
        training: images of the same shape.
        k: how many neighbours, at most N.
        shift: largest shift in pixels, at least 0.
        memory: budget in bytes beyond the data and one float32 copy of the training crops.
        index: `aligned_index` of the same training images and shift, or None to make it here.

    Raises:
        InputError: for k outside 1..N, different shapes, images too small for the shift, NaN or infinity.
        ValueError: for a negative shift.
    """
    _check(samples, training, shift)
    check_count(k, len(training))
    height, width = (size - 2 * shift for size in samples.shape[2:])
    if index is None:
        index = aligned_index(training, shift=shift, memory=memory)
    members, size = 2 * (2 * shift + 1) ** 2, samples.shape[1] * height * width
    rows = max(1, min(64, memory // (4 * 8 * members * size), 2**23 // (members * len(training))))
    nothing = torch.empty(0, k, dtype=torch.float64, device=training.device)
    found = [Neighbors(nothing, nothing.long())]
    for images in samples.split(rows) if len(samples) else ():
        bags = _bags(images, height, width)
        view = look(index, bags.float().unflatten(0, (len(images), -1)), _exact(bags, training, shift))
        found.append(nearest(view, k))
    return Neighbors(torch.cat([f.distance for f in found]), torch.cat([f.index for f in found]))


def _check(samples: Tensor, training: Tensor, shift: int) -> None:
    if shift < 0:
        raise ValueError(f"a shift is a number of pixels of at least 0, got {shift}")
    if samples.shape[1:] != training.shape[1:]:
        raise InputError(
            f"The samples have shape {tuple(samples.shape[1:])} (channels, height, width), "
            f"the training images {tuple(training.shape[1:])}; both need the same; resize or convert one set."
        )
    side = min(samples.shape[2:])
    if side - 2 * shift < SMALLEST:
        raise InputError(
            f"Shifts of up to {shift} pixels leave crops of {side - 2 * shift} pixels from images of "
            f"{samples.shape[2]} x {samples.shape[3]}; crops need at least {SMALLEST} pixels on each side; "
            f"pass a shift of at most {max(0, (side - SMALLEST) // 2)} or larger images."
        )
    for images, name in ((samples, "samples"), (training, "training images")):
        if images.numel() and not all(abs(float(end)) < float("inf") for end in images.aminmax()):
            raise InputError(
                f"The {name} hold NaN or infinite numbers; distances need finite numbers; "
                "remove or repair the images for which torch.isfinite is false."
            )


def _standardised(crops: Tensor) -> Tensor:
    """Mean 0 and norm 1 for every row, in float64; rows that are flat up to rounding become 0."""
    size = crops.shape[1]
    mean = tree_sum(crops.to(torch.float64, copy=True))[:, None] / size
    crops = crops.double() - mean
    norm = tree_sum(crops.square())[:, None].sqrt()
    flat = norm <= 1e-10 * size**0.5 * mean.abs()
    return crops.mul_(torch.where(flat, 0.0, 1 / norm))


def _central(images: Tensor, shift: int) -> Tensor:
    height, width = (size - shift for size in images.shape[2:])
    return _standardised(images[:, :, shift:height, shift:width].flatten(1))


def _bags(images: Shaped[Tensor, "B C H W"], height: int, width: int) -> Float[Tensor, "R D"]:
    """All standardised crops of all images and of their mirror images, image after image."""
    both = torch.stack([images, images.flip(3)], 1).double()
    crops = both.unfold(3, height, 1).unfold(4, width, 1).permute(0, 1, 3, 4, 2, 5, 6)
    return _standardised(crops.flatten(4).flatten(0, 3))


def _exact(bags: Tensor, training: Tensor, shift: int) -> Exact:
    def exact(member: Tensor, point: Tensor) -> Tensor:
        found = [bags.new_empty(0)]
        for q, x in zip(member.split(256), point.split(256), strict=True):
            crops = _central(training[x], shift)
            found.append(squared(bags, crops, q, torch.arange(len(x), device=x.device)))
        return torch.cat(found)

    return exact
