"""Augmentations as rows: what an image may look like is written out before noise is frozen.

A program that draws a flip anew at every access and adds the same frozen noise afterwards trains on targets
x0 + n and flip(x0) + n, whose difference x0 - flip(x0) holds no noise at all. Here every augmentation of an image
is a row, and whatever freezes noise later freezes it for each row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Shaped
from torch import Tensor

from unrote.contracts import Examples, InputError
from unrote.train.recipe import Intervention, Recipe

Transform = Callable[[Tensor], Tensor]
"""Rows (N,*E) -> as many rows of the same shape."""


def flip(x: Shaped[Tensor, "N *E"]) -> Shaped[Tensor, "N *E"]:
    """Left becomes right: the last axis of every event is reversed."""
    return x.flip(-1)


def augmented(transforms: Sequence[Transform]) -> Intervention:
    """Every row is joined by its transforms, with its label and the noise level it holds.

    Rows become x, T_1 x, T_2 x, ..., one block after the other. ``compose(augmented([flip]), ambient(...))`` then
    freezes noise of its own for every pair of image and augmentation: no difference of two targets of one image is
    free of noise, at the price of as many noisy looks at an image as there are augmentations. In the other order the
    noisy copy itself is transformed: one look, seen from several sides.

    Args:
        transforms: functions of rows (N,*E) -> (N,*E), such as `flip`.

    Raises:
        InputError: if there is no transform; on use, if a transform changes the shape of a row, makes numbers that
            are not finite, or does more to a row that holds noise than move its numbers to other places, for then
            its noise would no longer be white and of the level that the row claims.

    Source: what 003's Algorithm 1 says (one noisy version of each example) for training with augmentation.
    Deviation: the authors' program draws flips anew and keeps the noise of the image.
    """
    if not transforms:
        raise InputError(
            "An augmentation needs at least one transform of rows, such as `flip`; without one, leave it out."
        )

    def apply(recipe: Recipe) -> Recipe:
        rows = recipe.examples
        parts = [rows.x, *(_transformed(rows, transform) for transform in transforms)]
        times = len(parts)
        label = None if rows.label is None else rows.label.repeat(times)
        return replace(recipe, examples=Examples(torch.cat(parts), rows.level.repeat(times), label))

    return apply


def _transformed(rows: Examples, transform: Transform) -> Tensor:
    made = transform(rows.x)
    name = getattr(transform, "__name__", type(transform).__name__)
    if made.shape != rows.x.shape or made.dtype != rows.x.dtype or not bool(made.isfinite().all()):
        raise InputError(
            f"The transform {name} makes rows of shape {tuple(made.shape)}, type {made.dtype}, of rows of shape "
            f"{tuple(rows.x.shape)}, type {rows.x.dtype}; shape and type must stay and all numbers be finite."
        )
    noisy = rows.level > 0
    if bool(noisy.any()) and not _only_moved(rows.x[noisy], made[noisy]):
        raise InputError(
            f"The transform {name} changes numbers of rows that hold noise already, so that their noise would no "
            "longer be independent and of the level they claim. Put the augmentation before the noise, as in "
            "compose(augmented(...), ambient(...)); transforms that only move pixels, such as `flip`, go anywhere."
        )
    return made


def _only_moved(before: Tensor, after: Tensor) -> bool:
    """Whether each row holds the same numbers, each as often, in whatever order."""
    return torch.equal(before.flatten(1).sort(1).values, after.flatten(1).sort(1).values)
