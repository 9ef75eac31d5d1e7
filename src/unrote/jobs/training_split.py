"""Held-out images out of the training set, where no others are given: whole groups of near-duplicates."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from unrote.contracts import Examples, InputError
from unrote.data.images import disjoint_splits
from unrote.jobs.comparing import Reference
from unrote.train.probe import split_off

HELD = 0.1
"""Share of the training set that is held out."""


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Which images of a set are trained on and which are held out (rows), and what the user is told."""

    kept: Int[Tensor, " K"]
    out: Int[Tensor, " H"]
    words: str


def split_of(reference: Reference, seed: int) -> HeldOut:
    """Hold out a tenth of a set, two images at least, never one of two near-duplicates.

    Args:
        reference: the whole set with its groups of near-duplicates.
        seed: of the choice.

    Raises:
        InputError: if the set is too small, or most of it is one group.
    """
    n, group = len(reference.images), reference.groups.group
    held = max(2, int(n * HELD))
    g = torch.Generator().manual_seed(seed)
    near = n - len(group.unique())
    if n - held < 3:
        raise InputError(
            f"The training set {reference.images.spec} holds {n} images, of which two would be held out and three have "
            "to be left to train on; give held-out images with --test, or more training images."
        )
    if near:
        rows = Examples(torch.arange(n)[:, None], torch.zeros(n))
        split = split_off(rows, held / n, g, group)
        kept, out = split.train.x[:, 0], split.validation.x[:, 0]
    else:
        kept, out = disjoint_splits(n, [n - held, held], g)
    if len(out) < 2 or len(out) > n / 2:
        raise InputError(
            f"Of {n} images in {reference.images.spec}, {n - near} groups of near-duplicates, {len(out)} would be held "
            "out with whole groups, and it takes two at least and not more than half. Give held-out images with "
            "--test, or lower --duplicate-threshold if these images are different ones."
        )
    words = (
        f"No --test was given: {len(out):,} of {n:,} images were held out at random and are not trained on, which "
        f"leaves {len(kept):,}."
    )
    whole = f" Near-duplicates stay together ({near:,} images have one before them)." if near else ""
    return HeldOut(kept, out, words + whole)
