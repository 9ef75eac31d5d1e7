"""One training run that is measured as it goes: losses on fixed noise, copies among samples, checkpoints."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unrote.contracts import Denoiser, Estimate, Examples, InputError
from unrote.data.pixels import UNIT, to_bytes
from unrote.denoise import foreign, snapshots
from unrote.denoise.compose import Precondition, edm
from unrote.denoise.foreign import Card
from unrote.denoise.networks import KINDS, MLP, UNet, describe, from_description
from unrote.jobs.checking import check_name
from unrote.jobs.comparing import Reference
from unrote.jobs.cures import Cures, told
from unrote.jobs.dummies import RealImages, labelled, total_classes
from unrote.jobs.levels import EVERYWHERE, at_once, sampling_levels, within
from unrote.measure.copies import grouped_neighbors, is_copy
from unrote.measure.estimate import estimate, wilson
from unrote.noise.levels import LogNormal
from unrote.sample.steps import generate
from unrote.sweeps import write_atomic
from unrote.train.checkpoints import checkpoint_path, latest_checkpoint, load_denoiser_weights, save
from unrote.train.loop import Diverged, Options, train
from unrote.train.losses import held_out_loss
from unrote.train.recipe import baseline

SIGMA_DATA = 0.5
"""EDM's scale of the data in its preconditioning."""
LAW = LogNormal()
MONITORED = 2048
"""Images of each set on which losses are measured; noise and levels are the same at every step."""


Quality = Callable[[Tensor], Estimate]
"""Samples in [-1, 1] (n,C,H,W) -> how good they are."""

HOPELESS = 1000.0
"""Loss from which a run is given up; preconditioned losses have unit scale at every level."""


@dataclass(frozen=True)
class TrainingSet:
    """What a run learns from and what it is held against.

    Args:
        x: training images in [-1, 1] (N,C,H,W).
        held_out: images of the same kind that are not trained on (M,C,H,W).
        label, held_out_label: classes, or None.
        classes: number of classes, or None.
        reference: the training images as copies are looked for.
    """

    x: Tensor
    held_out: Tensor
    reference: Reference
    label: Tensor | None = None
    held_out_label: Tensor | None = None
    classes: int | None = None


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


@dataclass(frozen=True)
class Measurement:
    """A run at one step, averaged weights: errors weighted as in training, copies among samples, their quality."""

    step: int
    train_loss: Estimate
    validation_loss: Estimate
    copy_ratio: Estimate
    frechet_distance: Estimate | None = None


def measured_steps(options: Options, count: int) -> list[int]:
    """Steps in geometric progression up to the last, moved up to the grid of ticks."""
    ratio = 40 ** (1 / max(1, count - 1))  # from a fortieth of the run, where nothing is learnt by heart
    raw = [options.steps / ratio**k for k in range(count)]
    every = options.tick_every
    return sorted({min(options.steps, -(-int(step) // every) * every) for step in raw if step >= 1})


def build(network: MLP | UNet, shape: Sequence[int], classes: int | None, seed: int) -> Precondition:
    """A fresh denoiser: the network under EDM's preconditioning."""
    generator = torch.Generator().manual_seed(seed)
    return Precondition(network.build(shape, classes, generator), edm(SIGMA_DATA))


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
        the denoiser with averaged weights, and its measurements.
    """
    write_atomic(folder / "run.json", json.dumps(description(plan, data), indent=1))
    real, total = data.classes, total_classes(plan, data.classes)
    if plan.cures.dummies:
        data = labelled(data, total)
    denoiser = (
        build(plan.network, data.x.shape[1:], total, plan.seed) if plan.start is None else plan.start.denoiser
    )
    examples = Examples(data.x, torch.zeros(len(data.x)), data.label)
    recipe = within(baseline(examples, LAW, denoiser.weight), plan.known)
    recipe = plan.cures.intervention(plan.seed + 4, real)(recipe)
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
            ema = tick.state.ema
            measured = ema, denoiser.weight, data, plan.samples, plan.seed, tick.step, device, plan.known
            history.append(measure(*measured, quality))
            check_converging(history[-1], plan)
            # History first: after a kill between the two it is cut back to the checkpoint.
            write_history(history, folder)
            save(tick.state, checkpoint_path(folder, tick.step))
    return ema, history


def measure(
    denoiser: Denoiser,
    weight: Callable[[Tensor], Tensor],
    data: TrainingSet,
    samples: int,
    seed: int,
    step: int,
    device: torch.device | str,
    known: tuple[float, float] = EVERYWHERE,
    quality: Quality | None = None,
) -> Measurement:
    """Losses on fixed levels and noise, and the copy ratio of fresh samples (the same seeds at every step).

    Args:
        denoiser: in evaluation mode, on the device.
        weight: of a level in the loss.
        samples: how many are drawn.
        seed: of levels, noise and samples.
        known: the lowest and the highest level that the denoiser knows.
        quality: also measured of the samples.
    """

    def loss(x: Tensor, label: Tensor | None) -> Estimate:
        n = min(len(x), MONITORED)
        # Few images get several levels each, so that the curves are equally smooth.
        rows = torch.arange(max(n, 512)) % n
        g = torch.Generator().manual_seed(seed + 2)
        sigma, z = LAW(len(rows), g).clamp(*known), torch.randn(len(rows), *x.shape[1:], generator=g)
        given = None if label is None else label[rows].to(device)
        values = held_out_loss(
            denoiser, x[rows].to(device), sigma.to(device), z.to(device), weight, given, at_once(x, 512)
        )
        return estimate(values.double().cpu())

    drawn = draw(denoiser, data, samples, seed, device, known)
    copied = copies_of(drawn, data.reference)
    return Measurement(
        step,
        loss(data.x, data.label),
        loss(data.held_out, data.held_out_label),
        wilson(int(copied.sum()), len(copied)),
        None if quality is None else quality(drawn),
    )


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


def draw(
    denoiser: Denoiser,
    data: TrainingSet,
    n: int,
    seed: int,
    device: torch.device | str = "cpu",
    known: tuple[float, float] = EVERYWHERE,
) -> Tensor:
    """n samples in [-1, 1] by Heun's 18 steps; labels in the proportions of the training set."""
    levels, rows = sampling_levels(known), at_once(data.x, 512)
    shape = tuple(data.x.shape[1:])
    seeds = [1_000_003 * (seed + 1) + i for i in range(n)]
    if data.label is None:
        return generate(denoiser, shape, seeds, levels, batch_size=rows, device=device)
    g = torch.Generator().manual_seed(seed + 3)
    label = data.label[torch.randint(len(data.label), (n,), generator=g)]
    return generate(denoiser, shape, seeds, levels, batch_size=rows, device=device, condition=label)


def as_compared(x: Tensor, reference: Reference) -> Tensor:
    """Samples in [-1, 1] with the rounding of the training set."""
    return to_bytes(x, UNIT) if reference.pixels.dtype == torch.uint8 else x


def copies_of(samples: Tensor, reference: Reference) -> Tensor:
    """Which samples in [-1, 1] are copies, near-duplicates counted as one neighbour."""

    found = grouped_neighbors(as_compared(samples, reference), reference.pixels, reference.groups.group)
    return is_copy(found.distance[:, 0], found.distance[:, 1])


def description(plan: Plan, data: TrainingSet) -> dict[str, Any]:
    """What a run folder says of itself: enough to rebuild its denoiser."""
    spare = {"real_classes": data.classes} if plan.cures.dummies else {}
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
        denoiser = build(from_description(network), said["shape"], said["classes"], seed=0)
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
    return denoiser.eval(), card, said, checkpoint


def write_history(history: Sequence[Measurement], folder: Path) -> None:
    """Keep the measurements of a run."""
    write_atomic(folder / "history.json", json.dumps([asdict(m) for m in history], indent=1))


def read_history(folder: Path) -> list[Measurement]:
    """The measurements that a run folder holds."""
    path = folder / "history.json"
    rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []

    def read(value: Any) -> Any:
        return Estimate(**value) if isinstance(value, dict) else value

    return [Measurement(**{name: read(value) for name, value in row.items()}) for row in rows]
