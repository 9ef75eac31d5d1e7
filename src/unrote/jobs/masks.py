"""What training by masking makes, as a denoiser of images: under one mask, or under a mask for each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from unrote.contracts import Denoiser, InputError
from unrote.denoise.foreign import Card
from unrote.denoise.masked import UnderMask, UnderMasks, sampling_masks
from unrote.sample.steps import seeded
from unrote.train.losses import held_out_loss
from unrote.train.masking import inpainting_loss

NEEDS = (
    "masking takes a network with one channel more than the images, in which it is told which pixels it sees"
)
"""Why networks of other recipes cannot go on by masking, nor the other way round."""


@final
class Inpainter(nn.Module):
    """A denoiser that was trained by masking, asked for images.

    D(x, sigma, label) = D_masked([m x, m], sigma, label)_{1..C} with one mask m, drawn as in training and kept;
    `one_by_one` has a mask for each image instead.

    Args:
        denoiser: takes and returns states with a mask (B,C+1,...).
        shape: of an image, (C,...).
        hidden, further: the shares of pixels hidden in training, for good and before an update.
        seed: of the mask.

    Raises:
        InputError: if that mask hides everything.
    """

    def __init__(
        self, denoiser: nn.Module, shape: Sequence[int], hidden: float, further: float, seed: int
    ) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(seed)
        self.shape, self.hidden, self.further = tuple(shape), hidden, further
        self.under = UnderMask(denoiser, sampling_masks(1, self.shape, hidden, further, g))

    def forward(
        self, x: Float[Tensor, "B *E"], sigma: Float[Tensor, " B"], condition: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B *E"]:
        """(B,*E), (B,), labels (B,) or None -> (B,*E)."""
        return self.under(x, sigma, condition)

    @property
    def denoiser(self) -> Any:
        """The denoiser of states with a mask."""
        return self.under.denoiser

    def masks(self, seeds: Sequence[int]) -> Float[Tensor, "n 1 *S"]:
        """A mask from each seed, drawn as the network sees them in training."""
        return sampling_masks(len(seeds), self.shape, self.hidden, self.further, seeded(seeds))


def mask_seeds(seed: int, n: int) -> list[int]:
    """Seeds of the masks of images 0 to n - 1: none is the seed of an image's noise in the same run."""
    return [1_000_003 * (seed + 1) + 2**31 + i for i in range(n)]


def one_by_one(
    denoiser: Denoiser, seeds: Sequence[int], label: Tensor | None, device: torch.device | str = "cpu"
) -> tuple[Denoiser, Tensor | None]:
    """A denoiser and what it is told of each of n images: its label, or, after masking, its number.

    Image i is then seen under the mask of seed i and with its label, whatever batch it rides in.

    Args:
        denoiser: of images.
        seeds: of the masks (n).
        label: of the images (n,), or None.
        device: where the denoiser runs.
    """
    if not isinstance(denoiser, Inpainter):
        return denoiser, label
    numbered = UnderMasks(denoiser.denoiser, denoiser.masks(seeds), label)
    return numbered.to(device).eval(), torch.arange(len(seeds))


def losses_of(
    denoiser: Denoiser,
    seeds: Sequence[int],
    x0: Float[Tensor, "B *E"],
    sigma: Float[Tensor, " B"],
    z: Float[Tensor, "B *E"],
    weight: Callable[[Tensor], Tensor],
    label: Int[Tensor, " B"] | None,
    batch_size: int,
) -> Float[Tensor, " B"]:
    """The denoising loss of clean rows; after masking each under a mask of its own, on the pixels that this shows.

    l_b = weight (1/(dim share)) |m (D(m x, m, sigma) - x0)|^2, share = mean of m. Hidden pixels are left out: their
    error stays as sigma falls, and under a weight of about 1/sigma^2 the lowest levels would decide the mean.

    Args:
        denoiser: of images.
        seeds: of the masks (B).
        x0, sigma, z, weight, label, batch_size: as for `held_out_loss`.
    """
    if not isinstance(denoiser, Inpainter):
        return held_out_loss(denoiser, x0, sigma, z, weight, label, batch_size)
    m = denoiser.masks(seeds).to(x0)
    rows, noise = torch.cat([m * x0, m], 1), torch.cat([z, torch.zeros_like(m)], 1)
    values = held_out_loss(
        denoiser.denoiser, rows, sigma, noise, weight, label, batch_size, inpainting_loss(0.0)
    )
    return values / m.flatten(1).mean(1)


def read_masked(
    denoiser: Any, card: Card, shape: Sequence[int], said: Mapping[str, Any]
) -> tuple[Inpainter, Card]:
    """The denoiser of a run that was trained by masking, asked for images under one mask, and what is known of it.

    Args:
        denoiser: of states with a mask.
        card: what is known of it.
        shape: of an image, (C,H,W).
        said: what the run's description says of its masks: `hidden`, `further` and the `seed` of the one that is kept.

    Raises:
        InputError: if that mask hides everything.
    """
    found = Inpainter(denoiser, shape, float(said["hidden"]), float(said["further"]), int(said["seed"]))
    mask = found.under.mask
    note = (
        "The model was trained by masking: it sees images through a mask and fills in the rest. Here it has one mask "
        f"for all images, which shows {int(mask.sum())} of {mask.numel()} pixels, drawn as in training, and errors at "
        "low levels are those of the others; the samples that `unrote train` measures have a mask each."
    )
    return found, replace(card, notes=(*card.notes, note))


def matching(denoiser: Any, card: Card, hidden: float | None, name: str) -> tuple[Any, Card]:
    """The model that a run starts from, as it is trained: one of masking by masking, another one not.

    Args:
        hidden: the share of pixels that the run hides, or None for a run without masks.
        name: the model, for the message.

    Raises:
        InputError: if the two do not go together.
    """
    if isinstance(denoiser, Inpainter):
        if hidden is None:
            raise InputError(
                f"--from {name} was trained by masking, and {NEEDS}. Add masking to --recipe, or start from another "
                "model."
            )
        # The note is about the one mask of a model that is read, and this one is trained on.
        return denoiser.denoiser, replace(card, notes=card.notes[:-1])
    if hidden is not None:
        raise InputError(
            f"--from {name} was not trained by masking, and {NEEDS}. Start from a run of masking, leave masking out "
            "of --recipe, or train from random weights without --from."
        )
    return denoiser, card
