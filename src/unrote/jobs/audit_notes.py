"""What a reader of an audit must know before believing its numbers."""

from __future__ import annotations

import torch

from unrote.data.sources import Images, Provenance, Source
from unrote.jobs.audit_table import Distances, HeldOut
from unrote.jobs.comparing import Reference, origin
from unrote.jobs.options import AuditOptions


def notes_on(
    reference: Reference,
    samples: Source | Images,
    source: Provenance,
    held_out: HeldOut | None,
    distances: Distances,
    options: AuditOptions,
    clipped: float,
) -> list[str]:
    """What a reader must know before believing the numbers."""
    train = reference.images
    notes = list(dict.fromkeys([*train.notes, *samples.notes]))
    if train.pixels.dtype == torch.uint8 and source.dtype != "uint8":
        notes.append(
            "The training set is 8-bit, so the samples were rounded to 8 bits before they were compared."
        )
    if source.dtype != "uint8" and tuple(samples.value_range) != tuple(train.value_range):
        notes.append(
            f"The samples' pixels lie in {span(samples.value_range)} and the training set's in "
            f"{span(train.value_range)}: both were brought to one scale before they were compared."
        )
    if clipped:
        notes.append(f"{clipped:.2%} of the samples' pixel values lay outside their range and were clipped.")
    exact = float((distances.d1 == 0).double().mean())
    if source.sha256 == origin(train).sha256:
        notes.append("The samples ARE the training images: both hold the same pixels in the same order.")
    elif exact > 0.5:
        notes.append(
            f"{exact:.0%} of the samples equal a training image in every pixel; check that the samples are "
            "generated images and not files of the training set."
        )
    if held_out is None and options.test is not None:
        notes.append(
            "Every held-out image is a near-duplicate of a training image, so nothing could be calibrated."
        )
    elif held_out is not None:
        removed = len(held_out.images) - len(held_out.kept)
        if removed:
            notes.append(
                f"{removed:,} of {len(held_out.images):,} held-out images are near-duplicates of training images "
                "and were left out of the calibration."
            )
        if (len(held_out.kept) + 1) * options.false_positives < 1:
            notes.append(
                f"{len(held_out.kept):,} held-out images are too few for a threshold with "
                f"{options.false_positives:.1%} false positives."
            )
    return notes


def span(value_range: tuple[float, float]) -> str:
    """A pixel range in words."""
    return f"[{value_range[0]:g}, {value_range[1]:g}]"
