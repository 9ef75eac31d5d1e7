"""The model that a run starts from, and what cannot be trained: networks, and masks that hide everything."""

from __future__ import annotations

from dataclasses import fields, replace

import torch

from unrote.contracts import Examples, InputError
from unrote.denoise.networks import MLP, UNet
from unrote.jobs.cures import Cures
from unrote.jobs.dummies import with_spare_class
from unrote.jobs.fitting import CURES, FIXED, Plan, Start
from unrote.jobs.masks import Inpainter, mask_seeds, matching
from unrote.jobs.measuring import LAW, MONITORED, TrainingSet
from unrote.jobs.models import Description, check_classes, check_fits, read_model
from unrote.jobs.options import TrainOptions
from unrote.jobs.training_sizes import IMAGES
from unrote.train.interventions import classes_with_dummies
from unrote.train.masking import FURTHER
from unrote.train.recipe import baseline

SHAPING = ("network", "width", "depth", "dropout")
"""Options that a model to start from decides."""


def start_of(options: TrainOptions, data: TrainingSet, cures: Cures) -> tuple[Start, Description]:
    """The model that --from names, if it can be trained on this data.

    Raises:
        InputError: if it cannot, or an option is given that the model decides.
    """
    assert options.from_model is not None
    defaults = {field.name: field.default for field in fields(options)} | vars(IMAGES)
    given = [f"--{name}" for name in SHAPING if getattr(options, name) != defaults[name]]
    if given:
        raise InputError(
            f"{', '.join(given)} would be ignored, for --from {options.from_model} says how the network is built; "
            "leave them out, or train from random weights without --from."
        )
    denoiser, said = read_model(options.from_model, flag="--from")
    if not said.card.build:
        raise InputError(
            f"--from {options.from_model} holds a network that a run folder cannot describe; take the weights out with "
            "`unrote convert` and start from that file."
        )
    check_fits(denoiser, said.card, data.reference)
    name = str(options.from_model)
    denoiser, card = matching(denoiser, said.card, cures.hidden, name)
    denoiser, card = with_spare_class(denoiser, card, data.classes, cures.dummies, name)
    said = replace(said, card=card)
    if cures.dummies and not options.conditional and card.classes == classes_with_dummies(None):
        return Start(denoiser, card), said  # one class of images without labels, and one of noise
    if (said.card.classes is None) == options.conditional:
        raise InputError(
            f"--from {options.from_model} has no classes, so --conditional would be ignored; leave it out."
            if options.conditional
            else f"--from {options.from_model} is conditional (it has {said.card.classes} classes); add --conditional, "
            "with labelled images."
        )
    if data.label is not None and data.held_out_label is not None:
        check_classes(said.card, "--train", torch.cat([data.label, data.held_out_label]))
    return Start(denoiser, said.card), said


def check_depth(network: MLP | UNet, side: int) -> None:
    """Refuse a U-Net that would halve images of a single pixel, for it would pad them to many times their size.

    Raises:
        InputError: naming the largest depth.
    """
    largest = (side - 1).bit_length() + 1
    if isinstance(network, UNet) and not 1 <= len(network.channels) <= largest:
        raise InputError(
            f"A U-Net of depth {len(network.channels)} cannot be built for images of {side} pixels, which each "
            f"level halves: --depth lies between 1 and {largest}."
        )


def check_hidden(plan: Plan, data: TrainingSet) -> None:
    """Refuse, before anything is trained, masks of which one hides everything.

    Raises:
        InputError: if one of the masks that the run will draw does.
    """
    hidden, shape = plan.cures.hidden, tuple(data.x.shape[1:])
    if hidden is None:
        return
    rows = torch.zeros(1, 1, *shape[1:]).expand(len(data.x), -1, -1, -1)  # masks do not depend on images
    recipe = baseline(Examples(rows, torch.zeros(len(rows))), LAW, torch.ones_like)
    try:
        replace(plan.cures, flip=False).intervention(plan.seed + CURES)(recipe)
        inpainter = Inpainter(torch.nn.Identity(), shape, hidden, FURTHER, plan.seed + FIXED)
        inpainter.masks(mask_seeds(plan.seed, max(plan.samples, MONITORED)))
    except InputError as error:
        raise InputError(
            f"--hidden {hidden:g} is too much for images of {shape[1]} x {shape[2]} pixels, of which each then shows "
            f"{(1 - hidden) * (1 - FURTHER) * shape[1] * shape[2]:.3g} in training, on average. {error}"
        ) from error
