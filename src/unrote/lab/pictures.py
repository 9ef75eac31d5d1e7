"""Picture sets that experiments need: named in their configurations, found where the user says they are."""

from __future__ import annotations

import os
from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor

from unrote.contracts import InputError
from unrote.data.images import Images, load_images

FOLDER = "UNROTE_DATA"
"""Environment variable: a folder that holds the sets below, each under its name."""
SETS = {
    "digits": "digits",
    "fashion_mnist": "fashion_mnist:train",
    "fashion_mnist_test": "fashion_mnist:test",
    "cifar10": "cifar10:train",
    "cifar10_test": "cifar10:test",
    "lfw_faces_32": "lfw_faces_32:train",
    "lfw_faces_32_test": "lfw_faces_32:test",
    "tiny_imagenet_32": "tiny_imagenet_32:train",
    "tiny_imagenet_32_test": "tiny_imagenet_32:validation",
}
"""Names in configurations, and how they are spelled below the folder."""

ORIGINS = {
    "fashion_mnist": "zalando-datasets/fashion_mnist",
    "cifar10": "uoft-cs/cifar10",
    "tiny_imagenet_32": "zh-plus/tiny-imagenet, resized to 32x32",
    "lfw_faces_32": "one grey 32x32 face for each person of Labeled Faces in the Wild",
}
"""Where a folder comes from if one has none."""


def spelling(name: str) -> str:
    """DATA for a named set.

    Raises:
        InputError: if the set does not ship with a dependency and its folder is not known.
    """
    if name == "digits":
        return name
    folder, place = os.environ.get(FOLDER), SETS[name].partition(":")[0]
    if not folder or not (Path(folder) / place).exists():
        where = f"there is no {place} in {folder}" if folder else "no folder is named"
        raise InputError(
            f"This experiment draws on the picture set {place}, and {where}. Name a folder that holds {place} as "
            f"Parquet in the Hugging Face layout (its origin: {ORIGINS[place]}): unrote reproduce ... --data FOLDER, "
            f"or set {FOLDER}. At smoke scale digits are used instead."
        )
    return str(Path(folder) / SETS[name])


def labelled(name: str) -> Images:
    """All pictures of a named set with their labels."""
    return load_images(spelling(name))


def pictures(name: str) -> UInt8[Tensor, "N C H W"]:
    """All pictures of a named set."""
    found: Tensor = labelled(name).pixels
    return found
