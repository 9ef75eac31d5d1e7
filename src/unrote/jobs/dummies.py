"""Networks with a class of noise images beside the real ones, and the same networks asked for real images alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from unrote.contracts import InputError
from unrote.denoise.foreign import Card
from unrote.train.interventions import classes_with_dummies

if TYPE_CHECKING:
    from unrote.jobs.fitting import Plan
    from unrote.jobs.measuring import TrainingSet


@final
class RealImages(nn.Module):
    """A denoiser with a class of noise images, asked for real images alone.

    Args:
        denoiser: D(x, sigma, label), with labels for real images and for noise images.
        classes: of real images, or None where they have no labels (and are class 0).
        total: how many classes the denoiser has.
    """

    def __init__(self, denoiser: nn.Module, classes: int | None, total: int) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.classes = classes
        self.total = total

    def forward(
        self, x: Float[Tensor, "B *E"], sigma: Float[Tensor, " B"], condition: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B *E"]:
        """(B,*E), (B,), labels (B,) or None -> (B,*E).

        Raises:
            ValueError: if labels are given where there are none, or the reverse.
        """
        if (condition is None) != (self.classes is None):
            told = "has no classes: pass condition=None" if self.classes is None else "needs labels (B,)"
            raise ValueError(f"of real images this model {told}")
        if condition is None:
            condition = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        return self.denoiser(x, sigma, condition)

    def weight(self, sigma: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """The weight of levels in the loss, as the denoiser's."""
        inner: Any = self.denoiser
        return inner.weight(sigma)


def total_classes(plan: Plan, real: int | None) -> int | None:
    """How many classes the network of a plan has, for so many classes of real images."""
    if not plan.cures.dummies:
        return real
    return classes_with_dummies(real) if plan.start is None else plan.start.card.classes


def labelled(data: TrainingSet, total: int | None) -> TrainingSet:
    """The set as a network with a class of noise images is asked for it: images without labels are class 0."""

    def label(given: Tensor | None, x: Tensor) -> Tensor:
        return torch.zeros(len(x), dtype=torch.int64) if given is None else given

    return replace(
        data,
        label=label(data.label, data.x),
        held_out_label=label(data.held_out_label, data.held_out),
        classes=total,
    )


def with_spare_class(
    denoiser: Any, card: Card, real: int | None, dummies: bool, name: str
) -> tuple[Any, Card]:
    """The model that a run starts from, with a class for noise images if and only if it is trained on them.

    Args:
        real: classes of the training set, or None.
        dummies: whether noise images are trained on.
        name: the model, for the message.

    Raises:
        InputError: if it has no class left for them, or would forget one.
    """
    if isinstance(denoiser, RealImages):
        if not dummies:
            raise InputError(
                f"--from {name} was trained with a class of noise images, which would be forgotten; add dummy to "
                "--recipe, or start from another model."
            )
        denoiser, card = denoiser.denoiser, replace(card, classes=denoiser.total)
    if not dummies:
        return denoiser, card
    needed = classes_with_dummies(real)
    if card.classes is None or card.classes < needed:
        has = "has no classes" if card.classes is None else f"has {card.classes} classes"
        raise InputError(
            f"--from {name} {has}, and --recipe dummy takes {needed}: {needed - 1} for the training images and one to "
            "spare for the noise images; leave dummy out, or train from random weights without --from."
        )
    return denoiser, card
