"""The one loss of a Gaussian denoiser, for clean rows and rows that already hold noise; what every loss is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor

from unrote.contracts import Denoiser, over


@dataclass(frozen=True)
class Batch:
    """Rows, levels and noise for one update.

    Args:
        x: rows (B,*E), which hold noise of `level`; tokens are integers, and all else is floating.
        level: noise inside each row (B,).
        sigma: level to train at (B,), above `level`.
        z: standard normal numbers (B,*E).
        weight: weight of each row's error (B,).
        label: class of each row (B,), or None.
    """

    x: Num[Tensor, "B *E"]
    level: Float[Tensor, " B"]
    sigma: Float[Tensor, " B"]
    z: Float[Tensor, "B *E"]
    weight: Float[Tensor, " B"]
    label: Int[Tensor, " B"] | None = None


Loss = Callable[[Denoiser, Batch], Tensor]
"""(denoiser, batch) -> one value per row (B,)."""


def denoising_loss(denoiser: Denoiser, batch: Batch) -> Float[Tensor, " B"]:
    """Ordinary denoising for clean rows, ambient denoising for rows with noise inside.

    With x = x_level + sqrt(sigma^2 - level^2) z and w = 1 - (level/sigma)^2,
    l = weight (1/dim) |w D(x, sigma) + (1 - w) x - x_level|^2,
    because E[x_level | x] = w E[x0 | x] + (1 - w) x. At level 0 it is |D(x, sigma) - x0|^2.

    Source: 003 eq. 6. The mean over dimensions, not the sum, is taken: one learning rate and one
    clipping norm then serve every image size.
    """
    extra = (batch.sigma**2 - batch.level**2).sqrt()
    x = batch.x + over(extra, batch.x) * batch.z
    w = over(1 - (batch.level / batch.sigma) ** 2, x)
    error = w * denoiser(x, batch.sigma, batch.label) + (1 - w) * x - batch.x
    return batch.weight * error.square().flatten(1).mean(1)


@torch.no_grad()
def held_out_loss(
    denoiser: Denoiser,
    x0: Num[Tensor, "B *E"],
    sigma: Float[Tensor, " B"],
    z: Float[Tensor, "B *E"],
    weight: Callable[[Tensor], Tensor],
    label: Int[Tensor, " B"] | None = None,
    batch_size: int = 512,
    loss: Loss = denoising_loss,
) -> Float[Tensor, " B"]:
    """The denoising loss on clean rows at given levels with given noise, one value per row.

    The same levels and noise at every call make a validation curve smooth: its differences between
    steps are differences between denoisers.

    Args:
        denoiser: on the device of the rows; put it in evaluation mode (`TrainState.ema` is).
        x0: clean rows (B,*E).
        sigma: one level per row (B,).
        z: standard normal numbers (B,*E).
        weight: sigma (B,) -> (B,), as in training.
        label: classes (B,), or None.
        batch_size: rows per call of the denoiser; bounds the memory, does not change the values.
        loss: another loss of clean rows, such as `unrote.train.masking.inpainting_loss` of rows with a mask.
    """
    values = []
    for start in range(0, len(x0), batch_size):
        rows = slice(start, start + batch_size)
        given = None if label is None else label[rows]
        level = torch.zeros_like(sigma[rows])
        batch = Batch(x0[rows], level, sigma[rows], z[rows], weight(sigma[rows]), given)
        values.append(loss(denoiser, batch))
    return torch.cat(values) if values else x0.new_zeros(0, dtype=real_type(x0))


def real_type(x: Tensor) -> torch.dtype:
    """The type of levels and noise beside rows: that of the rows, or torch's default beside tokens."""
    return x.dtype if x.is_floating_point() else torch.get_default_dtype()
