"""Training on images with hidden pixels: the masking baseline, with a loss of its own.

Every image is stored with some pixels hidden, once and for all. Before each update more of them are hidden; the
network sees what is left, and which pixels these are, and is judged on all pixels that the stored image shows. So it
cannot tell which hidden pixels it will be judged on, and learns to fill in all of them.

A row is the image with its mask as one more channel, (C + 1, ...): 1 where a pixel is shown, 0 where it is hidden
and its numbers are not there.
"""

from __future__ import annotations

from dataclasses import replace
from statistics import NormalDist

import torch
from torch import Tensor

from unrote.contracts import Denoiser, Examples, InputError, over
from unrote.train.losses import Batch, Loss
from unrote.train.recipe import Intervention, Recipe

FURTHER = 0.1
"""Share of the shown pixels that is hidden before an update: the default of the authors' program."""

UNSEEN = 4.0
"""Weight of the error at a pixel that the network does not see: EDM's 1/sigma_data^2 at infinite noise."""


def masking(
    hidden: float, generator: torch.Generator, further: float = FURTHER, unseen: float = UNSEEN
) -> Intervention:
    """Every row loses some of its pixels for good, gets its mask as a last channel, and is trained by inpainting.

    A_i hides each pixel (all channels of it) with probability p, independently, once for each row.

    The denoiser that is trained takes and returns rows with a mask, (B,C+1,...): see
    `unrote.denoise.masked.MaskedPrecondition`.

    Args:
        hidden: p, the probability that a pixel is hidden for good.
        generator: advanced by exactly one draw, here; so the masks are the same at every use.
        further: probability that a pixel that is shown is hidden before an update; must be above 0 if p is.
        unseen: weight of the error at pixels that are hidden before an update; see `inpainting_loss`.

    Raises:
        InputError: for probabilities outside [0, 1), or p above 0 without further hiding; on use, if some row has
            no pixel left, if rows have no channel axis, or if rows hold noise.

    Source: the baseline of 003 Table 2 that sees masked data alone; Daras and others, "Ambient Diffusion: Learning
    Clean Distributions from Corrupted Data", 2023, eq. 3.2 (random inpainting). Deviation: their
    program also freezes the further mask of an image; here, as in their text, it is drawn at every update.
    """
    _check(hidden, further)
    seed = int(torch.randint(2**53, (), generator=generator, device=generator.device))
    device = generator.device

    def apply(recipe: Recipe) -> Recipe:
        rows, before = recipe.examples, recipe.allowed
        masked = _masked(rows, hidden, torch.Generator(device).manual_seed(seed))

        def allowed(inside: Tensor, sigma: Tensor) -> Tensor:
            # Noise added after the masks would be added to the masks: such a row has no level at all.
            return before(inside, sigma) & (inside == 0)

        return replace(recipe, examples=masked, allowed=allowed, loss=inpainting_loss(further, unseen))

    return apply


def inpainting_loss(further: float, unseen: float = UNSEEN) -> Loss:
    """Denoise and fill in what an image shows, from less than it shows.

    l = (1/dim) sum over pixels of w A (D(B (x0 + sigma z), B, sigma) - x0)^2, B = A times a mask that hides each pixel
    with probability delta; w is the weight of the level where B shows a pixel and `unseen` where it hides one. With
    p = delta = 0 it is `denoising_loss`.

    Its minimum over all functions is E[x0 | B, B (x0 + sigma z)], also at pixels that A hides, because A is
    independent of x0 and every pixel that B hides may be one that A shows.

    The further mask is read off the mask channel of the batch's normal numbers, which no one else uses: it is drawn
    anew at every update, from the one stream of the training.

    Args:
        further: delta in [0, 1).
        unseen: weight of a pixel that is not seen. How well it can be filled in does not depend on its own noise, so
            under the weight of the level, about 1/sigma^2, updates at the lowest levels would drown all others. Rows
            of weight 0 stay out.

    Raises:
        InputError: on use, for rows that hold noise.

    Source: Daras and others 2023, eq. 3.2. Deviations: `unseen`, where their program has the weight of the level for
    all pixels; the mean over all C H W numbers, hidden ones counted as 0.
    """
    threshold = NormalDist().inv_cdf(further) if further > 0 else float("-inf")

    def loss(denoiser: Denoiser, batch: Batch) -> Tensor:
        if bool((batch.level > 0).any()):
            raise InputError(NOISY)
        image, shown = batch.x[:, :-1], batch.x[:, -1:]
        kept = batch.z[:, -1:] >= threshold
        seen = shown * kept
        x = image + over(batch.sigma, image) * batch.z[:, :-1]
        told = denoiser(torch.cat([seen * x, seen], 1), batch.sigma, batch.label)
        level, other = over(batch.weight, image), over(unseen * (batch.weight > 0), image)
        weight = shown * torch.where(kept, level, other)
        return (weight * (told[:, :-1] - image).square()).flatten(1).mean(1)

    return loss


NOISY = (
    "Masking trains on rows without noise, and some rows hold noise: from a noisy row with hidden pixels neither "
    "loss can be computed. Use masking without `ambient` and `noisy_only`."
)


def _check(hidden: float, further: float) -> None:
    if not (0 <= hidden < 1 and 0 <= further < 1):
        raise InputError(
            f"Pixels cannot be hidden with probabilities {hidden:g} (for good) and {further:g} (before an update): "
            "both lie in [0, 1). A mask that hides everything leaves nothing to learn from."
        )
    if hidden > 0 and further == 0:
        raise InputError(
            f"With {hidden:.0%} of the pixels hidden for good and none before an update, the network would know which "
            f"pixels it is judged on and never learn the others: take a further share above 0, such as {FURTHER:g}."
        )


def _masked(rows: Examples, hidden: float, generator: torch.Generator) -> Examples:
    if bool((rows.level > 0).any()):
        raise InputError(NOISY)
    if rows.x.ndim < 3:
        raise InputError(
            f"Masking hides pixels of events with channels, (C, ...), and these rows have shape "
            f"{tuple(rows.x.shape[1:])}: reshape a vector of D numbers to (1, D)."
        )
    shape = (len(rows.x), 1, *rows.x.shape[2:])
    shown = torch.rand(shape, generator=generator, device=generator.device).to(rows.x.device) >= hidden
    empty = int((~shown.flatten(1).any(1)).sum())
    if empty:
        raise InputError(
            f"With each of {shown[0].numel()} pixels hidden with probability {hidden:g}, {empty} of {len(shown)} "
            "rows show no pixel at all: a mask that hides everything leaves nothing to learn from. Hide fewer pixels."
        )
    # Hidden numbers are replaced, not multiplied, so that nothing of them is left in the training set.
    x = torch.where(shown, rows.x, torch.zeros_like(rows.x))
    return Examples(torch.cat([x, shown.to(rows.x)], 1), rows.level, rows.label)
