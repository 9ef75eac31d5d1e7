"""Losses on fixed levels and noise in pairs: a training and a held-out image under the same, whole and by level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unrote.contracts import Denoiser, Estimate, Examples
from unrote.jobs.levels import EVERYWHERE, at_once
from unrote.jobs.masks import losses_of, mask_seeds
from unrote.jobs.measuring import LAW, MONITORED, Band, Losses
from unrote.measure.estimate import estimate
from unrote.measure.gaps import relative_gap
from unrote.train.losses import Loss, denoising_loss
from unrote.train.probe import Probe, probe_of
from unrote.train.recipe import Law, Weight

EVALUATIONS = 512
"""Losses of each kind at a measured step, at least: few images get several levels each."""
EDGES = (0.1, 0.2, 0.4, 0.8)
"""Where levels are parted into bands; the law has 18, 19, 23, 20 and 21 % of its levels in them."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """A probe, and which image each of its rows is.

    Args:
        probe: rows, levels and noise; row k n + j is draw k of pair j.
        train_image, held_out_image: a number for each image (R,); the losses of one are not independent.
        seed: of the masks after training by masking; row i of both sets is seen under the i-th.
    """

    probe: Probe
    train_image: Int[Tensor, " R"]
    held_out_image: Int[Tensor, " R"]
    seed: int

    @property
    def pair(self) -> Int[Tensor, " R"]:
        """The pair of each row (R,)."""
        return torch.arange(len(self.probe.sigma)) % self.probe.pairs


def pairs_of(
    train: Examples,
    held_out: Examples,
    weight: Weight,
    seed: int,
    known: tuple[float, float] = EVERYWHERE,
    most: int = MONITORED,
    rows: int = EVALUATIONS,
    law: Law = LAW,
    loss: Loss = denoising_loss,
) -> Pairs:
    """Choose pairs of images, their levels and their noise once and for all.

    Args:
        train, held_out: clean images, trained on and not.
        weight: of a level in the loss.
        seed: of the run.
        known: the lowest and the highest level that the denoiser knows.
        most: pairs, at most.
        rows: losses of each kind, at least.
        law: of levels.
        loss: what is taken.

    Raises:
        InputError: if there are fewer than two images of a kind.
    """
    n = max(1, min(len(train.x), len(held_out.x), most))

    def levels(count: int, generator: torch.Generator) -> Tensor:
        return law(count, generator).clamp(*known)

    g = torch.Generator().manual_seed(seed + 2)
    probe = probe_of(train, held_out, levels, weight, g, max(2, n), -(-rows // n), loss)
    row = torch.arange(len(probe.sigma))
    # As `probe_of` deals them: pair j takes every n-th image of a random order, from the j-th on.
    train_image, held_out_image = (row % (n * (len(part.x) // n)) for part in (train, held_out))
    return Pairs(probe, train_image, held_out_image, seed)


def row_losses(
    pairs: Pairs, denoiser: Denoiser, device: torch.device | str = "cpu"
) -> tuple[Float[Tensor, " R"], Float[Tensor, " R"]]:
    """Training and held-out losses, one for each row, float64 on the CPU; after masking of the pixels that are shown.

    Args:
        denoiser: of images, in evaluation mode, on the device.
    """
    probe = pairs.probe.to(device)
    seeds = mask_seeds(pairs.seed, len(probe.sigma))
    found = [
        losses_of(denoiser, seeds, x, probe.sigma, probe.z, probe.weight, label, at_once(x, 512))
        for x, label in ((probe.train, probe.train_label), (probe.validation, probe.validation_label))
    ]
    train, held_out = (values.double().cpu() for values in found)
    return train, held_out


def in_pairs(pairs: Pairs, values: Float[Tensor, " R"]) -> Float[Tensor, " n"]:
    """The mean of every pair (n,)."""
    return values.reshape(-1, pairs.probe.pairs).mean(0)


def losses_on(pairs: Pairs, denoiser: Denoiser, device: torch.device | str = "cpu") -> Losses:
    """The losses of a denoiser: whole and by bands of levels.

    Losses that are not finite have no value.
    """
    return in_bands(pairs, *row_losses(pairs, denoiser, device), EDGES)


def in_bands(
    pairs: Pairs, train: Float[Tensor, " R"], held_out: Float[Tensor, " R"], edges: Sequence[float]
) -> Losses:
    """Losses of rows as estimates: whole and by bands of levels, which are parted at the edges."""
    sigma, bands = pairs.probe.sigma, []
    for low, high in pairwise((0.0, *edges, inf)):
        rows = ((sigma >= low) & (sigma < high)).nonzero()[:, 0]
        if len(rows):
            found = _losses(pairs, train, held_out, rows)
            bands.append(Band(low, None if high == inf else high, *found))
    return Losses(*_losses(pairs, train, held_out, torch.arange(len(sigma))), tuple(bands))


def _losses(
    pairs: Pairs, train: Tensor, held_out: Tensor, rows: Tensor
) -> tuple[Estimate, Estimate, Estimate | None]:
    one, other = train[rows], held_out[rows]
    return (
        clustered(one, pairs.train_image[rows]),
        clustered(other, pairs.held_out_image[rows]),
        _gap(one, other, pairs.pair[rows]),
    )


def clustered(values: Float[Tensor, " R"], image: Int[Tensor, " R"]) -> Estimate:
    """The mean of losses of which several belong to one image, with an interval over images.

    m +- t_{n-1} s / sqrt(n), s the standard deviation of m + (sum_i - m count_i) / (mean count) over the n images: of
    the images' means, where all have as many losses.

    Args:
        values: losses (R,).
        image: the image of each (R,).

    Returns:
        the mean with n = the number of images; no value if a loss is not finite.

    Source: the linearised ratio of sums, W. G. Cochran, *Sampling Techniques*, 1977, section 9A.
    """
    sums, count = _by(values, image)
    if not bool(values.isfinite().all()):
        return Estimate(None, None, None, len(sums))
    mean = values.mean()
    return estimate(mean + (sums - mean * count) / count.mean())


def _gap(train: Tensor, held_out: Tensor, pair: Tensor) -> Estimate | None:
    """The relative gap with its interval over pairs, if there is one."""
    ratios = [sums / count.mean() for sums, count in (_by(values, pair) for values in (train, held_out))]
    positive = all(0 < float(part.mean()) < inf for part in ratios)
    return relative_gap(ratios[0], ratios[1]) if positive and len(ratios[0]) > 1 else None


def _by(values: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
    """Sums and counts of each group."""
    _, of, count = group.unique(return_inverse=True, return_counts=True)
    return torch.zeros(len(count), dtype=torch.float64).index_add_(0, of, values.double()), count.double()
