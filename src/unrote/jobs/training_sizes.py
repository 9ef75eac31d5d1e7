"""What `unrote train` takes where a flag is not given: other networks, batches and rates for images and for text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from unrote.jobs.options import TrainOptions


@dataclass(frozen=True)
class Sizes:
    """Options whose defaults depend on the data; names are those of `TrainOptions`."""

    network: Literal["mlp", "unet", "transformer"]
    width: int
    depth: int
    batch_size: int
    learning_rate: float
    samples: int


IMAGES = Sizes("mlp", 512, 3, 64, 1e-3, 512)
TEXT = Sizes("transformer", 96, 2, 16, 2e-3, 256)
"""32 windows of 64 characters are learned by heart within the default steps, in minutes on one core."""


def sizes_of(options: TrainOptions, unless: Sizes) -> Sizes:
    """What was given, and for the rest what data of this kind have."""
    given = {name: getattr(options, name) for name in vars(unless)}
    return replace(unless, **{name: value for name, value in given.items() if value is not None})


def filled(options: TrainOptions, unless: Sizes) -> TrainOptions:
    """The same options with all of these said."""
    return replace(options, **vars(sizes_of(options, unless)))


def spared(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Options for images without those that they have anyway."""
    known = vars(IMAGES)
    return {name: value for name, value in asked.items() if name not in known or value != known[name]}
