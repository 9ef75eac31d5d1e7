"""Picture sets that experiments need: named in their configurations, found where the user says they are."""

from __future__ import annotations

import os
from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor

from unrote.contracts import InputError
from unrote.data.images import load_images

FOLDER = "UNROTE_DATA"
"""Environment variable: a folder that holds the sets below, each under its name."""
SETS = {"fashion_mnist": "fashion_mnist:train", "digits": "digits"}
"""Names in configurations, and how they are spelled below the folder."""


def spelling(name: str) -> str:
    """DATA for a named set.

    Raises:
        InputError: if the set does not ship with a dependency and its folder is not known.
    """
    if name == "digits":
        return name
    folder = os.environ.get(FOLDER)
    if not folder or not (Path(folder) / name).exists():
        where = f"there is no {name} in {folder}" if folder else "no folder is named"
        raise InputError(
            f"This experiment draws on the picture set {name}, and {where}. Name a folder that holds {name} as "
            f"Parquet in the Hugging Face layout (on the hub, Fashion-MNIST is zalando-datasets/fashion_mnist): "
            f"unrote reproduce ... --data FOLDER, or set {FOLDER}. At smoke scale digits are used instead."
        )
    return str(Path(folder) / SETS[name])


def pictures(name: str) -> UInt8[Tensor, "N C H W"]:
    """All pictures of a named set."""
    found: Tensor = load_images(spelling(name)).pixels
    return found
