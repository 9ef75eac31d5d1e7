"""Denoisers that see some pixels of a state and are told which: trained by masking, used under a fixed mask.

A state with its mask is one event with a channel more, (C + 1, ...): 1 where a pixel is shown, 0 where it is hidden.
"""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from unrote.contracts import Denoiser, InputError, Randomness, over
from unrote.denoise.compose import Coefficients

SPREAD = 0.5
"""EDM's scale of the data."""


@final
class MaskedPrecondition(nn.Module):
    """A network with its preconditioning on states with a mask: (B,C+1,...) -> (B,C+1,...).

    D = [c_skip x + c F([c_in x, m], c_noise)_{1..C}, m] for a state [x, m], c = c_out where m shows a pixel and
    `spread` where it hides one: the mask is fed as it is and returned as it came.

    A hidden pixel is one at infinite noise, where EDM's c_out is the spread of the data. Under c_out, which falls with
    sigma, F would have to grow like 1/sigma to fill it in, and a short training would leave it grey.

    Args:
        network: takes events (C + 1, ...) and returns C channels, as `unrote.denoise.networks.MLP.build` makes it
            for ``channels_out``; channels beyond these are not used.
        coefficients: as in `Precondition`.
        spread: standard deviation of the data, in units of pixels.

    Source: Karras et al. 2022, eq. 7; the mask as an input channel: Daras and others, Ambient Diffusion, 2023.
    Deviation: their program has c_out for hidden pixels, too.
    """

    def __init__(self, network: nn.Module, coefficients: Coefficients, spread: float = SPREAD) -> None:
        super().__init__()
        self.network = network
        self.coefficients = coefficients
        self.spread = spread

    def forward(
        self, x: Float[Tensor, "B C1 *S"], sigma: Float[Tensor, " B"], condition: Tensor | None = None
    ) -> Float[Tensor, "B C1 *S"]:
        """E[x0 | what is shown of x], and the mask."""
        state, mask = x[:, :-1], x[:, -1:]
        c = self.coefficients(sigma.double())
        parts = [over(part.to(x.dtype), x) for part in (c.skip, c.out, c.input)]
        told = self.network(torch.cat([parts[2] * state, mask], 1), c.noise.to(x.dtype), condition)
        scale = torch.where(mask > 0, parts[1], self.spread)
        return torch.cat([parts[0] * state + scale * told[:, : state.shape[1]], mask], 1)

    def weight(self, sigma: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """1/c_out^2, as `Precondition.weight`."""
        return self.coefficients(sigma).out ** -2


@final
class UnderMask(nn.Module):
    """A masked denoiser as a denoiser of images: it hides the pixels of a mask and tells which.

    D(x, sigma, label) = D_masked([m x, m], sigma, label)_{1..C}; hidden pixels are filled in with their conditional
    mean.

    Args:
        denoiser: takes and returns states with a mask (B,C+1,...), such as a trained `MaskedPrecondition`.
        mask: what is shown wherever no mask is given as a condition (1,1,...): 1 shown, 0 hidden.

    Raises:
        InputError: if the mask is not one of zeros and ones, or hides everything.

    Source: the fixed-mask sampler of Daras and others, Ambient Diffusion, 2023 (eq. 3.3): one mask for each
    sample, drawn as in training and kept from the first step to the last; see `sampling_masks`.
    """

    mask: Tensor

    def __init__(self, denoiser: Denoiser, mask: Float[Tensor, "1 1 *S"]) -> None:
        super().__init__()
        _check_masks(mask)
        self.denoiser = denoiser
        self.register_buffer("mask", mask)

    def forward(
        self,
        x: Float[Tensor, "B C *S"],
        sigma: Float[Tensor, " B"],
        condition: Float[Tensor, "B 1 *S"] | Int[Tensor, " B"] | None = None,
    ) -> Float[Tensor, "B C *S"]:
        """E[x0 | what is shown of x].

        Args:
            x: noisy images (B,C,...).
            sigma: their levels (B,).
            condition: a mask for each row (B,1,...) of a denoiser without classes; or labels (B,), under the common
                mask; or None. `UnderMasks` has a mask and a label for each row.
        """
        if condition is None or condition.ndim == 1:
            return _seen(self.denoiser, x, sigma, self.mask, condition)
        return _seen(self.denoiser, x, sigma, condition, None)


@final
class UnderMasks(nn.Module):
    """A masked denoiser as a denoiser of numbered images: image i is seen under mask i and has label i.

    D(x, sigma, i) = D_masked([m_i x, m_i], sigma, label_i)_{1..C}. Numbers go wherever labels go, so that a row keeps
    its mask in whatever batch it rides.

    Args:
        denoiser: as for `UnderMask`.
        masks: one for each image (n,1,...).
        label: of each image (n,), or None for a denoiser without classes.

    Raises:
        InputError: if a mask is not one of zeros and ones, or hides everything.
        ValueError: if there are not as many labels as masks.
    """

    masks: Tensor
    label: Tensor | None

    def __init__(
        self, denoiser: Denoiser, masks: Float[Tensor, "n 1 *S"], label: Int[Tensor, " m"] | None = None
    ) -> None:
        super().__init__()
        _check_masks(masks)
        if label is not None and len(label) != len(masks):
            raise ValueError(f"a label for each mask is needed: {len(masks)} masks, {len(label)} labels")
        self.denoiser = denoiser
        self.register_buffer("masks", masks)
        self.register_buffer("label", label)

    def forward(
        self, x: Float[Tensor, "B C *S"], sigma: Float[Tensor, " B"], condition: Int[Tensor, " B"]
    ) -> Float[Tensor, "B C *S"]:
        """E[x0 | what is shown of x].

        Args:
            x: noisy images (B,C,...).
            sigma: their levels (B,).
            condition: the number of each image (B,).
        """
        label = None if self.label is None else self.label[condition]
        return _seen(self.denoiser, x, sigma, self.masks[condition], label)


def _seen(denoiser: Denoiser, x: Tensor, sigma: Tensor, mask: Tensor, label: Tensor | None) -> Tensor:
    mask = mask.to(x).expand(len(x), 1, *x.shape[2:])
    return denoiser(torch.cat([mask * x, mask], 1), sigma, label)[:, :-1]


def sampling_masks(
    n: int, shape: tuple[int, ...], hidden: float, further: float, generator: Randomness
) -> Float[Tensor, "n 1 *S"]:
    """Masks as the network sees them in training: a pixel is shown with probability (1 - p)(1 - delta).

    Args:
        n: how many; one for each sample.
        shape: event shape (C, ...), of which all channels of a pixel are hidden together.
        hidden, further: p and delta of the training (`unrote.train.masking.masking`).
        generator: one stream, or one for each mask.

    Raises:
        InputError: if the probabilities lie outside [0, 1), or a mask hides everything.
    """
    if not (0 <= hidden < 1 and 0 <= further < 1):
        raise InputError(
            f"Pixels cannot be hidden with probabilities {hidden:g} and {further:g}: both lie in [0, 1)."
        )
    size = (1, *shape[1:])
    if isinstance(generator, torch.Generator):
        u = torch.rand((n, *size), generator=generator, device=generator.device)
    else:
        u = torch.stack([torch.rand(size, generator=g, device=g.device) for g in generator])
    masks = (u < (1 - hidden) * (1 - further)).float()
    _check_masks(masks)
    return masks


def _check_masks(masks: Tensor) -> None:
    if not bool(((masks == 0) | (masks == 1)).all()):
        raise InputError("A mask holds 1 where a pixel is shown and 0 where it is hidden, and nothing else.")
    empty = int((masks.flatten(1).sum(1) == 0).sum())
    if empty:
        raise InputError(
            f"{empty} of {len(masks)} masks hide everything, so that a denoiser would see nothing of its state: show "
            "some pixels, or draw masks that hide fewer."
        )
