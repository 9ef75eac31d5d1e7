"""What `unrote train` takes where a flag is not given: other networks, batches and steps for images and for text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from unrote.jobs.options import TrainOptions


@dataclass(frozen=True)
class Sizes:
    """Options whose defaults depend on the data; names are those of `TrainOptions`."""

    network: Literal["mlp", "unet", "transformer"]
    width: int
    depth: int
    steps: int
    batch_size: int
    samples: int


IMAGES = Sizes("mlp", 512, 3, 2000, 64, 512)
TEXT = Sizes("transformer", 64, 2, 12_000, 16, 256)
"""32 windows of 32 characters are copied by then, which takes some minutes on one core."""


def sizes_of(options: TrainOptions) -> Sizes:
    """What was given, and for the rest what data of this kind have."""
    return Sizes(**{name: getattr(options, name) for name in vars(IMAGES)})
