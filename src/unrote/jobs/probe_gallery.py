"""One denoising step to look at: test images noised to a few levels, and what each denoiser makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unrote.contracts import Denoiser, normal
from unrote.data.pixels import UNIT, to_bytes
from unrote.jobs.audit_page import picture
from unrote.jobs.comparing import Reference
from unrote.jobs.levels import at_once
from unrote.jobs.measuring import as_compared
from unrote.measure.copies import grouped_neighbors, is_copy
from unrote.measure.denoising import denoise_at
from unrote.report import blocks
from unrote.report.format import number

LEVELS = 6
"""Levels of the gallery, spread over the schedule."""
IMAGES = 4
"""Test images of the gallery."""
NEIGHBOURS = "model"
"""Of which denoiser the nearest training image is shown."""


@dataclass(frozen=True)
class Outcome:
    """What one denoiser makes of the noised images, level by level.

    Args:
        denoised: in [-1, 1] (T,k,C,H,W).
        nearest: the training image that each is nearest to (T,k).
        copied: which are copies of it (T,k).
    """

    denoised: Tensor
    nearest: Tensor
    copied: Tensor


@dataclass(frozen=True)
class Gallery:
    """One denoising step at a few levels.

    Args:
        levels: sigma, decreasing (T,).
        clean: test images in [-1, 1] (k,C,H,W).
        noised: the same with one noise at all levels (T,k,C,H,W).
        outcomes: by denoiser, "model" first.
    """

    levels: Tensor
    clean: Tensor
    noised: Tensor
    outcomes: Mapping[str, Outcome]


def look(
    denoisers: Mapping[str, tuple[Denoiser, Tensor | None]],
    test: Tensor,
    reference: Reference,
    levels: Tensor,
    seed: int,
    device: torch.device | str = "cpu",
) -> Gallery:
    """Noise the first test images to levels spread over the schedule, and denoise them once.

    Args:
        denoisers: by name, each with what it is told of the test images (n,), or None.
        test: in [-1, 1] (n,C,H,W).
        levels: of the schedule, decreasing.
        seed: of the noise, which is one at all levels.
    """
    clean, count = test[:IMAGES], min(LEVELS, len(levels))
    chosen = levels[torch.linspace(0, len(levels) - 1, count).round().long()]

    def stream() -> torch.Generator:
        return torch.Generator().manual_seed(seed + 2)

    z = normal(clean.shape, stream())
    outcomes = {}
    for name, (denoiser, label) in denoisers.items():
        told = None if label is None else label[:IMAGES]
        denoised = torch.stack(
            [
                denoise_at(denoiser, clean, level, stream(), told, device, batch=at_once(clean, 256))
                for level in chosen.tolist()
            ]
        )
        seen = as_compared(denoised.flatten(0, 1), reference)
        found = grouped_neighbors(seen, reference.pixels, reference.groups.group)
        shape = denoised.shape[:2]
        copied = is_copy(found.distance[:, 0], found.distance[:, 1])
        outcomes[name] = Outcome(denoised, found.index[:, 0].reshape(shape), copied.reshape(shape))
    noised = torch.stack([clean + level * z for level in chosen.tolist()])
    return Gallery(chosen, clean, noised, outcomes)


def gallery_blocks(made: Gallery, reference: Reference) -> tuple[blocks.Block, ...]:
    """A table of pictures for every test image, the first at once and the others on request."""
    words = (
        "A test image with noise of six levels, the highest first, and what one denoising step makes of it: by the "
        "model, with the training image that this is nearest to and whether it is a copy of it, and by the others. "
        "Noisy images are divided by 1 + 2 sigma to fit the scale."
    )
    first, *others = (_table(made, reference, i) for i in range(len(made.clean)))
    more = (blocks.Details(f"{len(others)} more test images", tuple(others)),) if others else ()
    return (blocks.Text((words,)), first, *more)


def _table(made: Gallery, reference: Reference, i: int) -> blocks.Table:
    """One test image: a row for each level, a column for each denoiser."""
    columns = [blocks.Column("sigma"), blocks.Column("test image"), blocks.Column("with noise")]
    for name in made.outcomes:
        columns += [blocks.Column(name)]
        columns += [blocks.Column("nearest"), blocks.Column("copy")] if name == NEIGHBOURS else []
    rows = []
    for t, level in enumerate(made.levels.tolist()):
        row: list[str | blocks.Picture] = [
            number(level),
            _shown(made.clean[i]),
            _shown(made.noised[t, i] / (1 + 2 * level)),
        ]
        for name, outcome in made.outcomes.items():
            row.append(_shown(outcome.denoised[t, i]))
            if name == NEIGHBOURS:
                train, nearest = reference.images, int(outcome.nearest[t, i])
                row += [
                    picture(train, nearest, "", train.names[nearest]),
                    "yes" if bool(outcome.copied[t, i]) else "",
                ]
        rows.append(tuple(row))
    return blocks.Table(tuple(columns), tuple(rows), f"Test image {i + 1}", sortable=False)


def _shown(x: Tensor) -> blocks.Picture:
    return blocks.Picture(to_bytes(x, UNIT))
