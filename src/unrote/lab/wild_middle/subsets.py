"""Training and held-out images of an experiment: a random subset of a picture set for every seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unrote.contracts import InputError
from unrote.data.images import Images
from unrote.data.pixels import to_unit
from unrote.lab.crossover.settings import stream
from unrote.lab.pictures import labelled

SEEDS = (0, 1, 2, 3, 4)
"""Each seed draws a training set of its own."""
CARS = 1
"""CIFAR-10's label of automobiles."""
ORIGIN = (
    "CIFAR-10 in a published copy whose images were stored as JPEG, quality 75, so not the original pixels; values "
    "from -1 to 1"
)


@dataclass(frozen=True)
class Subset:
    """Images of one seed, pixels from -1 to 1.

    Args:
        x: training images (N,C,H,W).
        fresh: held-out images (Q,C,H,W).
        pool: all images that the training images were drawn from (M,C,H,W), uint8 or float32 as they are stored.
    """

    x: Float[Tensor, "N C H W"]
    fresh: Float[Tensor, "Q C H W"]
    pool: Images

    def whole(self) -> Float[Tensor, "M C H W"]:
        """The pool on the scale of the training images."""
        return to_unit(self.pool.pixels, self.pool.value_range)


def setting(name: str, count: int, fresh: int, seed: int, label: int | None = None) -> dict[str, Any]:
    """A JSON description of a training set.

    Args:
        name: of the picture set; held-out images are those of NAME_test, or what is left of the digits.
        count: N, training images.
        fresh: held-out images.
        seed: of everything random.
        label: of the class that is taken, or all.
    """
    return {"set": name, "label": label, "N": count, "fresh": fresh, "seed": seed}


@lru_cache(maxsize=2)
def _whole(name: str) -> Images:
    return labelled(name)


def rows_of(images: Images, label: int | None) -> Tensor:
    """The rows of one class, or all."""
    if label is None:
        return torch.arange(len(images))
    if images.labels is None:
        raise InputError(
            f"The picture set {images.spec} has no labels, and this experiment draws on its class {label}."
        )
    return (images.labels == label).nonzero()[:, 0]


def subset(asked: Mapping[str, Any]) -> Subset:
    """Draw the training and the held-out images of a setting, without replacement.

    Raises:
        InputError: if the picture set has fewer images than are asked for.
    """
    name, label, seed = asked["set"], asked["label"], int(asked["seed"])
    count, fresh = int(asked["N"]), int(asked["fresh"])
    images = _whole(name)
    rows = rows_of(images, label)
    order = rows[torch.randperm(len(rows), generator=stream(seed, f"training {name} {label}"))]
    if name == "digits" or fresh == 0:
        others, rest = images, order[count:]
    else:
        others = _whole(f"{name}_test")
        rest = rows_of(others, label)
        rest = rest[torch.randperm(len(rest), generator=stream(seed, f"held out {name} {label}"))]
    if len(order) < count or len(rest) < fresh:
        raise InputError(
            f"This experiment draws {count:,} training and {fresh:,} held-out images of {images.spec}, which has "
            f"{len(order):,} and {len(rest):,}; name the complete set."
        )
    return Subset(
        to_unit(images.pixels[order[:count]], images.value_range),
        to_unit(others.pixels[rest[:fresh]], others.value_range),
        images,
    )


def to_others(x: Float[Tensor, "N D"], rows: Int[Tensor, " n"]) -> Float[Tensor, "n M"]:
    """Distances of some training points to all others, M = N - 1, float64, in the order of the others.

    Args:
        x: training points (N,D).
        rows: which of them (n,).
    """
    middle = x.mean(0).double()
    base = x[rows].double() - middle
    own = base.square().sum(1)[:, None]
    parts = []
    for part in x.split(4096):
        wide = part.double() - middle
        parts.append(own + wide.square().sum(1) - 2 * base @ wide.T)
    apart = torch.cat(parts, 1)
    others = torch.arange(len(x)) != rows[:, None]
    return apart[others].reshape(len(rows), -1).clamp_min(0).sqrt()
