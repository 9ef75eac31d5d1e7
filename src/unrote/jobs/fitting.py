"""One training run that is measured as it goes: losses on fixed noise, copies among samples, checkpoints."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from unrote.contracts import Denoiser, Examples, InputError
from unrote.denoise import foreign, snapshots
from unrote.denoise.compose import Precondition, edm
from unrote.denoise.foreign import Card
from unrote.denoise.masked import MaskedPrecondition
from unrote.denoise.networks import KINDS, MLP, UNet, describe, from_description
from unrote.jobs.checking import check_name
from unrote.jobs.cure_words import told
from unrote.jobs.cures import Cures
from unrote.jobs.dummies import RealImages, labelled, total_classes
from unrote.jobs.levels import EVERYWHERE, within
from unrote.jobs.masks import Inpainter, mask_seeds, read_masked
from unrote.jobs.measuring import (
    LAW,
    MONITORED,
    Measurement,
    Quality,
    TrainingSet,
    measure,
    read_history,
    write_history,
)
from unrote.sweeps import write_atomic
from unrote.train.checkpoints import checkpoint_path, latest_checkpoint, load_denoiser_weights, save
from unrote.train.loop import Diverged, Options, train
from unrote.train.masking import FURTHER
from unrote.train.recipe import baseline

SIGMA_DATA = 0.5
"""EDM's scale of the data in its preconditioning."""
CURES, FIXED = 4, 9
"""What is added to the seed of a run: for the noise and the masks of its cures, and for the mask that is kept."""

HOPELESS = 1000.0
"""Loss from which a run is given up; preconditioned losses have unit scale at every level."""


@dataclass(frozen=True)
class Start:
    """A trained model that a run starts from.

    Args:
        denoiser: a module with weights and a `weight` of levels in the loss; it is trained in place.
        card: what is known of it; its `build` goes into the run's description.
    """

    denoiser: Any
    card: Card


@dataclass(frozen=True)
class Plan:
    """How a run is made, beside its data.

    Args:
        network: what is trained, unless the run starts from a model.
        options: how it is trained.
        measurements: how often it is measured, at steps in geometric progression.
        samples: samples drawn at each measurement.
        seed: of weights, training and samples.
        start: the model that the run starts from, or None for random weights.
        cures: what is done against copying.
    """

    network: MLP | UNet
    options: Options
    measurements: int
    samples: int
    seed: int
    start: Start | None = None
    cures: Cures = field(default_factory=Cures)

    @property
    def known(self) -> tuple[float, float]:
        """The lowest and the highest level that the model knows."""
        return EVERYWHERE if self.start is None else (self.start.card.low, self.start.card.high)


def measured_steps(options: Options, count: int) -> list[int]:
    """Steps in geometric progression up to the last, moved up to the grid of ticks."""
    ratio = 40 ** (1 / max(1, count - 1))  # from a fortieth of the run, where nothing is learnt by heart
    raw = [options.steps / ratio**k for k in range(count)]
    every = options.tick_every
    return sorted({min(options.steps, -(-int(step) // every) * every) for step in raw if step >= 1})


def build(
    network: MLP | UNet, shape: Sequence[int], classes: int | None, seed: int, masked: bool = False
) -> Precondition | MaskedPrecondition:
    """A fresh denoiser: the network under EDM's preconditioning.

    Args:
        shape: of an image, (C,...).
        classes: or None.
        seed: of the weights.
        masked: whether it takes and returns states with a mask, (B,C+1,...).
    """
    generator = torch.Generator().manual_seed(seed)
    if not masked:
        return Precondition(network.build(shape, classes, generator), edm(SIGMA_DATA))
    # The mask comes back as it went in, so that no channel of what the network returns is spent on it.
    told = network.build((shape[0] + 1, *shape[1:]), classes, generator, channels_out=shape[0])
    return MaskedPrecondition(told, edm(SIGMA_DATA))


def fit(
    data: TrainingSet,
    plan: Plan,
    folder: Path,
    tell: Callable[[int], None],
    device: torch.device | str = "cpu",
    quality: Quality | None = None,
) -> tuple[Denoiser, list[Measurement]]:
    """Train by a plan and measure on the way; an interrupted run in the same folder goes on where it was.

    Args:
        folder: gets run.json, history.json and checkpoints.
        tell: called with the number of steps that were just done.
        quality: also measured of the samples.

    Returns:
        the denoiser of images with averaged weights, and its measurements.
    """
    write_atomic(folder / "run.json", json.dumps(description(plan, data), indent=1))
    real, total = data.classes, total_classes(plan, data.classes)
    if plan.cures.dummies:
        data = labelled(data, total)
    denoiser = _begun(plan, data, total)
    examples = Examples(data.x, torch.zeros(len(data.x)), data.label)
    recipe = within(baseline(examples, LAW, denoiser.weight), plan.known)
    recipe = plan.cures.intervention(plan.seed + CURES, real)(recipe)
    resume = latest_checkpoint(folder)
    generator = torch.Generator().manual_seed(plan.seed + 1)
    history: list[Measurement] = []
    wanted, done = measured_steps(plan.options, plan.measurements), 0
    ticks = train(denoiser, recipe, generator, plan.options, resume)
    if resume is not None:
        done = int(resume.stem.removeprefix("step-"))
        history = [m for m in read_history(folder) if m.step <= done]
        tell(done)
    ema: Denoiser = denoiser
    if done == plan.options.steps and resume is not None:
        load_denoiser_weights(denoiser, resume)
    for tick in ticks:
        tell(tick.step - done)
        done, ema = tick.step, tick.state.ema
        if tick.step in wanted:
            seen = _of_images(ema, plan, data)
            measured = seen, denoiser.weight, data, plan.samples, plan.seed, tick.step, device, plan.known
            history.append(measure(*measured, quality))
            check_converging(history[-1], plan)
            # History first: after a kill between the two it is cut back to the checkpoint.
            write_history(history, folder)
            save(tick.state, checkpoint_path(folder, tick.step))
    return _of_images(ema, plan, data), history


def _begun(plan: Plan, data: TrainingSet, classes: int | None) -> Any:
    """What is trained: a fresh denoiser, or the model that the run starts from."""
    if plan.start is not None:
        return plan.start.denoiser
    return build(plan.network, data.x.shape[1:], classes, plan.seed, plan.cures.hidden is not None)


def _of_images(denoiser: Any, plan: Plan, data: TrainingSet) -> Denoiser:
    """What was trained, asked for images."""
    if plan.cures.hidden is None:
        return denoiser
    shape = tuple(data.x.shape[1:])
    return Inpainter(denoiser, shape, plan.cures.hidden, FURTHER, plan.seed + FIXED)


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


def check_converging(seen: Measurement, plan: Plan) -> None:
    """Refuse to go on with weights that are finite and useless.

    Raises:
        Diverged: if the loss is far above the one of a network that has learnt nothing, which is about 1.
    """
    loss = seen.train_loss.value
    if loss is None or not loss < HOPELESS:
        raise Diverged(
            f"Training diverged: at step {seen.step:,} the loss on training images is {loss or math.nan:.3g}, where a "
            f"network that has learnt nothing has about 1. Lower --learning-rate, which is "
            f"{plan.options.learning_rate:g}."
        )


def description(plan: Plan, data: TrainingSet) -> dict[str, Any]:
    """What a run folder says of itself: enough to rebuild its denoiser."""
    spare: dict[str, Any] = {"real_classes": data.classes} if plan.cures.dummies else {}
    if plan.cures.hidden is not None:
        spare["masking"] = {"hidden": plan.cures.hidden, "further": FURTHER, "seed": plan.seed + FIXED}
    return {
        "format": 1,
        "network": describe(plan.network) if plan.start is None else plan.start.card.build,
        "preconditioning": {"kind": "edm", "sigma_data": SIGMA_DATA}
        if own(plan)
        else {"kind": "as the model's"},
        "shape": list(data.x.shape[1:]),
        "classes": total_classes(plan, data.classes),
        **spare,
        "options": asdict(plan.options),
        "interventions": told(plan.cures, LAW, plan.known),
        "seed": plan.seed,
        "train": None
        if data.reference.images.provenance is None
        else asdict(data.reference.images.provenance),
    }


def own(plan: Plan) -> bool:
    """Whether a run trains one of this program's networks."""
    return plan.start is None or plan.start.card.build["kind"] in KINDS


FOREIGN: dict[str, Callable[[Mapping[str, Any]], tuple[Any, Card]]] = {
    "diffusers": foreign.built,
    "snapshot": snapshots.built,
}
"""How the networks of others are built again that a run started from."""


def rebuilt(said: Mapping[str, Any]) -> tuple[Any, Card]:
    """The denoiser that a run folder describes, with weights of its own, and what is known of it."""
    network = said["network"]
    if network["kind"] in FOREIGN:
        denoiser, card = FOREIGN[network["kind"]](network)
    else:
        denoiser = build(from_description(network), said["shape"], said["classes"], 0, "masking" in said)
        card = Card("a run of unrote", build=dict(network))
    channels, height, width = said["shape"]
    return denoiser, replace(card, shape=(channels, height, width), classes=said["classes"])


def read_denoiser(model: Path, averaged: bool = True) -> tuple[Any, dict[str, Any], Path]:
    """The denoiser of a run folder, the description in run.json, and the checkpoint: as `read_run`."""
    denoiser, _, said, checkpoint = read_run(model, averaged)
    return denoiser, said, checkpoint


def read_run(model: Path, averaged: bool = True) -> tuple[Any, Card, dict[str, Any], Path]:
    """The denoiser of a run folder (its last checkpoint) or of one checkpoint file in it.

    Returns:
        the denoiser, what is known of it, the description in run.json, and the checkpoint that was read.

    Raises:
        InputError: if there is no run, no checkpoint, or it cannot be read.
    """
    check_name("--model", model)
    folder = model if model.is_dir() else model.parent
    # The last one by its name: a damaged one is told and not passed over, for it is the one that is meant.
    checkpoint = max(folder.glob("step-*.safetensors"), default=None) if model.is_dir() else model
    try:
        said = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        denoiser, card = rebuilt(said)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{model} is not a run of `unrote train`: {folder / 'run.json'} cannot be read, or does not say how "
            f"the network is built ({type(error).__name__}). Name the folder given to --out of `unrote train`, or "
            "a step-*.safetensors file in it."
        ) from error
    if checkpoint is None:
        raise InputError(
            f"{model} holds no checkpoint (step-*.safetensors); train longer, or name another run."
        )
    load_denoiser_weights(denoiser, checkpoint, averaged)
    if "real_classes" in said:
        denoiser = RealImages(denoiser, said["real_classes"], said["classes"])
        card = replace(card, classes=said["real_classes"])
    if "masking" in said:
        denoiser, card = read_masked(denoiser, card, said["shape"], said["masking"])
    return denoiser.eval(), card, said, checkpoint
