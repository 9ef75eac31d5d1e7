"""What is measured of a run on the way: losses on fixed noise, copies among samples, their quality."""

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
from unrote.jobs.masks import losses_of, mask_seeds, one_by_one
from unrote.measure.copies import grouped_neighbors, is_copy
from unrote.measure.estimate import estimate, wilson
from unrote.noise.levels import LogNormal
from unrote.sample.steps import generate
from unrote.sweeps import write_atomic

LAW = LogNormal()
"""EDM's law of training levels."""
MONITORED = 2048
"""Images of each set on which losses are measured; noise and levels are the same at every step."""

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
    """

    x: Tensor
    held_out: Tensor
    reference: Reference
    label: Tensor | None = None
    held_out_label: Tensor | None = None
    classes: int | None = None
    looks: Reference | None = None

    @property
    def copied_from(self) -> Reference:
        """What a sample may be a copy of: the training images, with their augmentations where there are any."""
        return self.reference if self.looks is None else self.looks


@dataclass(frozen=True)
class Measurement:
    """A run at one step, averaged weights: errors weighted as in training, copies among samples, their quality.

    Copies are those of training images and, where these were augmented, of their augmentations; `as_stored` are then
    the copies of the training images as they are stored.
    """

    step: int
    train_loss: Estimate
    validation_loss: Estimate
    copy_ratio: Estimate
    frechet_distance: Estimate | None = None
    as_stored: Estimate | None = None


def measure(
    denoiser: Denoiser,
    weight: Callable[[Tensor], Tensor],
    data: TrainingSet,
    samples: int,
    seed: int,
    step: int,
    device: torch.device | str,
    known: tuple[float, float] = EVERYWHERE,
    quality: Quality | None = None,
) -> Measurement:
    """Losses on fixed levels and noise, and the copy ratio of fresh samples (the same seeds at every step).

    Args:
        denoiser: in evaluation mode, on the device.
        weight: of a level in the loss.
        samples: how many are drawn.
        seed: of levels, noise, masks and samples.
        known: the lowest and the highest level that the denoiser knows.
        quality: also measured of the samples.
    """

    def loss(x: Tensor, label: Tensor | None) -> Estimate:
        n = min(len(x), MONITORED)
        # Few images get several levels each, so that the curves are equally smooth.
        rows = torch.arange(max(n, 512)) % n
        g = torch.Generator().manual_seed(seed + 2)
        sigma, z = LAW(len(rows), g).clamp(*known), torch.randn(len(rows), *x.shape[1:], generator=g)
        values = losses_of(
            denoiser,
            mask_seeds(seed, len(rows)),
            x[rows].to(device),
            sigma.to(device),
            z.to(device),
            weight,
            None if label is None else label[rows].to(device),
            at_once(x, 512),
        )
        return estimate(values.double().cpu())

    drawn = draw(denoiser, data, samples, seed, device, known)
    stored = None if data.looks is None else _ratio(drawn, data.reference)
    return Measurement(
        step,
        loss(data.x, data.label),
        loss(data.held_out, data.held_out_label),
        _ratio(drawn, data.copied_from),
        None if quality is None else quality(drawn),
        stored,
    )


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


def _ratio(samples: Tensor, reference: Reference) -> Estimate:
    copied = copies_of(samples, reference)
    return wilson(int(copied.sum()), len(copied))


def write_history(history: Sequence[Measurement], folder: Path) -> None:
    """Keep the measurements of a run."""
    write_atomic(folder / "history.json", json.dumps([asdict(m) for m in history], indent=1))


def read_history(folder: Path) -> list[Measurement]:
    """The measurements that a run folder holds."""
    path = folder / "history.json"
    rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []

    def read(value: Any) -> Any:
        return Estimate(**value) if isinstance(value, dict) else value

    return [Measurement(**{name: read(value) for name, value in row.items()}) for row in rows]
