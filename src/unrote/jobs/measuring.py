"""What is known of a run at one step, samples and copies among them, and the file that holds the measurements."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unrote.contracts import Denoiser, Estimate
from unrote.data.pixels import UNIT, to_bytes
from unrote.jobs.comparing import Reference
from unrote.jobs.levels import EVERYWHERE, at_once, sampling_levels
from unrote.jobs.masks import mask_seeds, one_by_one
from unrote.measure.copies import grouped_neighbors, is_copy
from unrote.measure.estimate import wilson
from unrote.noise.levels import LogNormal
from unrote.sample.steps import generate
from unrote.sweeps import write_atomic

LAW = LogNormal()
"""EDM's law of training levels."""
MONITORED = 1024
"""Losses of each kind at a measured step, at most; images, noise and levels are the same at every step."""
AVERAGED = "moving average"
"""Weights that most numbers of a run belong to."""

Quality = Callable[[Tensor], Estimate]
"""Samples in [-1, 1] (n,C,H,W) -> how good they are."""


@dataclass(frozen=True)
class TrainingSet:
    """What a run learns from and what it is held against.

    Args:
        x: training images in [-1, 1] (N,C,H,W).
        held_out: images of the same kind that are not trained on (M,C,H,W).
        label, held_out_label: classes, or None.
        classes: number of classes, or None.
        reference: the training images as copies are looked for.
        looks: the same with their augmentations, where there are any; a copy of one is a copy of its image.
        split: what the user is told where held-out images were taken from the training set, else empty.
    """

    x: Tensor
    held_out: Tensor
    reference: Reference
    label: Tensor | None = None
    held_out_label: Tensor | None = None
    classes: int | None = None
    looks: Reference | None = None
    split: str = ""

    @property
    def copied_from(self) -> Reference:
        """What a sample may be a copy of: the training images, with their augmentations where there are any."""
        return self.reference if self.looks is None else self.looks


@dataclass(frozen=True)
class Band:
    """Losses at the levels from low to high (None: without end); the gap is None where it has no interval."""

    low: float
    high: float | None
    train_loss: Estimate
    validation_loss: Estimate
    loss_gap: Estimate | None


@dataclass(frozen=True)
class Losses:
    """Losses of one set of weights on fixed levels and noise, weighted as in training.

    Args:
        train_loss, validation_loss: means, with intervals over images.
        loss_gap: validation_loss / train_loss - 1, with an interval over pairs; None where it has none.
        bands: the same by levels, from low to high; a model that knows no level of a band has none there.
    """

    train_loss: Estimate
    validation_loss: Estimate
    loss_gap: Estimate | None
    bands: tuple[Band, ...]


@dataclass(frozen=True)
class Raw:
    """The raw weights at one step: losses, and copies and quality of their samples where these were asked for."""

    train_loss: Estimate
    validation_loss: Estimate
    loss_gap: Estimate | None = None
    bands: tuple[Band, ...] = ()
    copy_ratio: Estimate | None = None
    frechet_distance: Estimate | None = None
    as_stored: Estimate | None = None


@dataclass(frozen=True)
class Measurement:
    """A run at one step: errors weighted as in training, copies among samples, their quality.

    Copies are those of training images and, where these were augmented, of their augmentations; `as_stored` are then
    the copies of the training images as they are stored. All but `raw` belongs to `weights`. What was measured by
    earlier versions has no gap, no bands and no raw weights.
    """

    step: int
    train_loss: Estimate
    validation_loss: Estimate
    copy_ratio: Estimate
    frechet_distance: Estimate | None = None
    as_stored: Estimate | None = None
    loss_gap: Estimate | None = None
    bands: tuple[Band, ...] = ()
    raw: Raw | None = None
    weights: str = AVERAGED


def draw(
    denoiser: Denoiser,
    data: TrainingSet,
    n: int,
    seed: int,
    device: torch.device | str = "cpu",
    known: tuple[float, float] = EVERYWHERE,
) -> Tensor:
    """n samples in [-1, 1] by Heun's 18 steps; labels in the proportions of the training set.

    A denoiser that was trained by masking gets a mask for each sample, drawn from the sample's own seed.
    """
    levels, rows = sampling_levels(known), at_once(data.x, 512)
    shape = tuple(data.x.shape[1:])
    seeds = [1_000_003 * (seed + 1) + i for i in range(n)]
    label = None
    if data.label is not None:
        g = torch.Generator().manual_seed(seed + 3)
        label = data.label[torch.randint(len(data.label), (n,), generator=g)]
    one, given = one_by_one(denoiser, mask_seeds(seed, n), label, device)
    return generate(one, shape, seeds, levels, batch_size=rows, device=device, condition=given)


def as_compared(x: Tensor, reference: Reference) -> Tensor:
    """Samples in [-1, 1] with the rounding of the training set."""
    return to_bytes(x, UNIT) if reference.pixels.dtype == torch.uint8 else x


def copies_of(samples: Tensor, reference: Reference) -> Tensor:
    """Which samples in [-1, 1] are copies, near-duplicates counted as one neighbour."""

    found = grouped_neighbors(as_compared(samples, reference), reference.pixels, reference.groups.group)
    return is_copy(found.distance[:, 0], found.distance[:, 1])


def ratio_of(samples: Tensor, reference: Reference) -> Estimate:
    """The share of copies among samples in [-1, 1]."""
    copied = copies_of(samples, reference)
    return wilson(int(copied.sum()), len(copied))


def write_history(history: Sequence[Measurement], folder: Path) -> None:
    """Keep the measurements of a run."""
    write_atomic(folder / "history.json", json.dumps([asdict(m) for m in history], indent=1))


def read_history(folder: Path) -> list[Measurement]:
    """The measurements that a run folder holds, those of earlier versions among them."""
    path = folder / "history.json"
    rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return [Measurement(**{name: _read(name, value) for name, value in row.items()}) for row in rows]


def _read(name: str, value: Any) -> Any:
    if name == "bands":
        return tuple(Band(**{key: _read(key, part) for key, part in band.items()}) for band in value)
    if name == "raw" and value is not None:
        return Raw(**{key: _read(key, part) for key, part in value.items()})
    return Estimate(**value) if isinstance(value, dict) else value
