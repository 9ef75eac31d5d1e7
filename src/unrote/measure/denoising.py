"""One denoising step at one noise level: its error, and whether it turns a noised test point into a copy."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from unrote.contracts import Denoiser, Randomness, normal
from unrote.measure.copies import grouped_neighbors, is_copy
from unrote.measure.neighbors import copy_decisions

BATCH = 256
"""Rows in one call of a denoiser."""


@torch.no_grad()
def denoise_at(
    denoiser: Denoiser,
    x0: Float[Tensor, "n *E"],
    level: float,
    generator: Randomness,
    condition: Tensor | None = None,
    device: torch.device | str | None = None,
    *,
    batch: int = BATCH,
) -> Float[Tensor, "n *E"]:
    """Noise every row to one level and denoise it once: D(x0 + sigma z, sigma).

    Args:
        denoiser: on `device`, in evaluation mode.
        x0: clean rows (n, *E).
        level: sigma, in the units of the rows.
        generator: of the noise; all of it is drawn at once, so that the batch size changes nothing.  With one
            generator per row, a row does not depend on the others either.
        condition: one entry per row, or None.
        device: where the denoiser is; by default where the rows are.
        batch: rows per call of the denoiser.

    Returns:
        Denoised rows (n, *E), where the rows are.
    """
    z = normal(x0.shape, generator, x0.dtype, x0.device)
    return _denoised(denoiser, x0 + level * z, level, condition, device, batch)


def _denoised(
    denoiser: Denoiser,
    x: Tensor,
    level: float,
    condition: Tensor | None,
    device: torch.device | str | None,
    batch: int,
) -> Tensor:
    if condition is not None and len(condition) != len(x):
        raise ValueError(f"{len(x)} rows need one condition each, got {len(condition)}")
    place = x.device if device is None else torch.device(device)
    out = torch.empty_like(x)
    for start in range(0, len(x), batch):
        rows = slice(start, start + batch)
        given = None if condition is None else condition[rows].to(place)
        noisy = x[rows].to(place)
        sigma = torch.full((len(noisy),), level, dtype=x.dtype, device=place)
        out[rows] = denoiser(noisy, sigma, given)
    return out


@torch.no_grad()
def denoised_levels(
    denoiser: Denoiser,
    x0: Float[Tensor, "n *E"],
    levels: Float[Tensor, " T"],
    generator: Randomness,
    condition: Tensor | None = None,
    device: torch.device | str | None = None,
    *,
    common_noise: bool = True,
    batch: int = BATCH,
) -> Iterator[Float[Tensor, "n *E"]]:
    """The rows noised and denoised once at every level, one level at a time.

    Args:
        denoiser, x0, generator, condition, device, batch: as for `denoise_at`.
        levels: sigma (T,).
        common_noise: whether a row meets the same z at every level, which makes curves smooth and differences
            between levels sharp; otherwise fresh noise is drawn level by level.
    """
    z = normal(x0.shape, generator, x0.dtype, x0.device) if common_noise else None
    for level in levels.tolist():
        noise = normal(x0.shape, generator, x0.dtype, x0.device) if z is None else z
        yield _denoised(denoiser, x0 + level * noise, level, condition, device, batch)


def denoising_error(
    denoiser: Denoiser,
    x0: Float[Tensor, "n *E"],
    levels: Float[Tensor, " T"],
    generator: Randomness,
    condition: Tensor | None = None,
    device: torch.device | str | None = None,
    *,
    common_noise: bool = True,
    batch: int = BATCH,
) -> Float[Tensor, "T n"]:
    """Squared error of one denoising step per dimension, at every level and for every row.

    e[t, i] = |D(x0_i + sigma_t z, sigma_t) - x0_i|^2 / D, in squared units of the rows.

    Args:
        as for `denoised_levels`.

    Source: Two Calm Ends and the Wild Middle, equation 5, for one row and one z, divided by the dimension.
    """
    outputs = denoised_levels(
        denoiser, x0, levels, generator, condition, device, common_noise=common_noise, batch=batch
    )
    errors = [(out.double() - x0.double()).square().flatten(1).mean(1) for out in outputs]
    return torch.stack(errors) if errors else x0.new_zeros(0, len(x0), dtype=torch.float64)


def one_step_copies(
    denoiser: Denoiser,
    test: Float[Tensor, "n *E"],
    training: Shaped[Tensor, "N *E"],
    levels: Float[Tensor, " T"],
    generator: Randomness,
    condition: Tensor | None = None,
    device: torch.device | str | None = None,
    *,
    group: Int[Tensor, " N"] | None = None,
    factor: float = 3.0,
    common_noise: bool = True,
    batch: int = BATCH,
) -> Bool[Tensor, "T n"]:
    """Whether one denoising step turns a noised test point into a copy of a training point, at every level.

    c[t, i] = is_copy(D(test_i + sigma_t z, sigma_t) held against the training set): the rate at which the
    denoiser itself, at this level alone, pulls fresh data onto the training set.

    Args:
        denoiser, levels, generator, condition, device, common_noise, batch: as for `denoised_levels`.
        test: points that were not trained on (n, *E).
        training: the training set in the same units (N, *E).
        group: groups of near-duplicates in the training set (N,), which then count as one neighbour.
        factor: as for `is_copy`.

    Raises:
        InputError: for fewer than 2 training points, or if all are in one group.

    Source: Two Calm Ends and the Wild Middle (memorised fraction of one-step outputs from test images).
    """
    decisions = []
    for out in denoised_levels(
        denoiser, test, levels, generator, condition, device, common_noise=common_noise, batch=batch
    ):
        if group is None:
            decisions.append(copy_decisions(out, training, factor))
        else:
            distance = grouped_neighbors(out, training, group).distance
            decisions.append(is_copy(distance[:, 0], distance[:, 1], factor))
    return torch.stack(decisions) if decisions else torch.zeros(0, len(test), dtype=torch.bool)
