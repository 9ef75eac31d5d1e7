"""What the geometry can be computed of: checks of images and levels, each with one paragraph for the user."""

from __future__ import annotations

from hashlib import blake2b

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from unrote.contracts import InputError


def images(x: Shaped[Tensor, "N ..."], name: str = "training set") -> Float[Tensor, "N D"]:
    """Events as vectors of a floating point type, checked.

    Args:
        x: events (N,*E) in any real type; integers become float32 and keep their range.
        name: of these images, for messages.

    Raises:
        InputError: for fewer than 3 events, NaN or infinity, events that are all equal, or images of one colour only.
    """
    if len(x) < 3:
        raise InputError(
            f"The {name} has {len(x)} images; distances between images need at least 3, and the regimes are meaningful "
            "from about 100 on. Give a larger set."
        )
    flat = x.reshape(len(x), -1)
    flat = flat if flat.is_floating_point() else flat.float()
    low, high = torch.aminmax(flat, dim=1)
    if not bool((torch.isfinite(low) & torch.isfinite(high)).all()):
        raise InputError(
            f"The {name} holds NaN or infinite numbers; remove or repair the images for which torch.isfinite is false."
        )
    if bool((low == low[0]).all() and (high == high[0]).all()) and bool((flat == flat[0]).all()):
        raise InputError(
            f"All {len(x)} images of the {name} are the same image; there are no distances between them. Check how the "
            "images were read."
        )
    if flat.shape[1] > 1 and bool((low == high).all()):
        raise InputError(
            f"Every image of the {name} is blank: all pixels of an image have one value. Check how the images were "
            "read and scaled."
        )
    return flat


def ascending(levels: Float[Tensor, " T"]) -> Float[Tensor, " T"]:
    """Levels in float64, checked.

    Raises:
        InputError: unless there are levels, all positive and finite, each above the one before.
    """
    wide = levels.double()
    shown = ", ".join(f"{v:g}" for v in wide[:6].tolist()) + (", ..." if len(wide) > 6 else "")
    if len(wide) == 0 or not bool((torch.isfinite(wide) & (wide > 0)).all()):
        raise InputError(
            f"Noise levels must be positive finite numbers, got [{shown}]. At level 0 every image is its own only "
            "origin; start the grid above it."
        )
    if not bool((wide.diff() > 0).all()):
        raise InputError(
            f"Noise levels must ascend, each above the one before, got [{shown}]. Sort them and remove what stands "
            "there twice; flip a sampler's grid, which descends."
        )
    return wide


def contained(test: Shaped[Tensor, "Q ..."], train: Shaped[Tensor, "N ..."]) -> Bool[Tensor, " Q"]:
    """Which test events are, number by number, in the training set.

    Args:
        test: held-out events (Q,*E).
        train: training events (N,*E).
    """
    kind = torch.promote_types(test.dtype, train.dtype)
    known = {_name(row.to(kind)) for row in train}
    return torch.tensor([_name(row.to(kind)) in known for row in test], dtype=torch.bool)


def held_out(test: Shaped[Tensor, "Q ..."], train: Float[Tensor, "N D"]) -> Float[Tensor, "Q D"]:
    """A test set as vectors, checked against its training set.

    Raises:
        InputError: for no events, NaN or infinity, other shapes than in training, or a test set all of which was
            trained on.
    """
    flat = test.reshape(len(test), -1) if len(test) else test.reshape(0, train.shape[1])
    flat = flat if flat.is_floating_point() else flat.float()
    if len(flat) == 0 or flat.shape[1] != train.shape[1]:
        raise InputError(
            f"The test set has {len(flat)} images of {flat.shape[1]} numbers, the training set images of "
            f"{train.shape[1]}; give one or more images of the same size."
        )
    if not bool(torch.isfinite(flat).all()):
        raise InputError("The test set holds NaN or infinite numbers; remove or repair these images.")
    if bool(contained(flat, train).all()):
        raise InputError(
            f"All {len(flat)} test images are in the training set, so that coverage would be 1 at every noise level "
            "and say nothing. Give images that were not trained on, or none: then the training set itself is used, "
            "each image against the others."
        )
    return flat


def _name(row: Tensor) -> bytes:
    # Adding 0 makes one of the two zeros.
    return blake2b((row + 0).cpu().contiguous().view(torch.uint8).numpy().data, digest_size=16).digest()
