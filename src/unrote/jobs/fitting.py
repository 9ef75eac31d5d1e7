"""One training run that is measured as it goes: losses on fixed noise, copies among samples, checkpoints."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from unrote.contracts import Denoiser, Examples, TokenDenoiser
from unrote.denoise import foreign, snapshots
from unrote.denoise.compose import Precondition, edm
from unrote.denoise.foreign import Card
from unrote.denoise.masked import MaskedPrecondition
from unrote.denoise.networks import KINDS, MLP, UNet, describe, from_description
from unrote.jobs.cure_words import told
from unrote.jobs.cures import Cures
from unrote.jobs.dummies import RealImages, labelled, total_classes
from unrote.jobs.levels import EVERYWHERE, within
from unrote.jobs.masks import Inpainter, read_masked
from unrote.jobs.measuring import (
    LAW,
    Measurement,
    Quality,
    TrainingSet,
    read_history,
    write_history,
)
from unrote.jobs.monitoring import measure, monitor_of
from unrote.jobs.run_folders import opened, refuse_text
from unrote.jobs.training_stop import GapStop, Stopping, stop_of_images, ticking
from unrote.sweeps import write_atomic
from unrote.train.checkpoints import checkpoint_path, latest_checkpoint, load_denoiser_weights, save
from unrote.train.loop import Diverged, Options, Tick, train
from unrote.train.masking import FURTHER
from unrote.train.recipe import Recipe, baseline

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
        both_weights: whether samples of the raw weights are drawn as well.
        stop_gap: the share by which the held-out loss may be above the training loss before the run ends, or None.
    """

    network: MLP | UNet
    options: Options
    measurements: int
    samples: int
    seed: int
    start: Start | None = None
    cures: Cures = field(default_factory=Cures)
    both_weights: bool = False
    stop_gap: float | None = None

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


@dataclass(frozen=True, eq=False)
class Fitted:
    """A run that is done.

    Args:
        denoiser: of images or text, with the averaged weights that are kept.
        history: what was measured, in the order of steps.
        steps: how many were done.
        passes: images, or windows of text, that went through a network for the measurements.
        stop: what online early stopping did, or None.
    """

    denoiser: Denoiser | TokenDenoiser
    history: list[Measurement]
    steps: int
    passes: int
    stop: Stopping | None


def fit(
    data: TrainingSet,
    plan: Plan,
    folder: Path,
    tell: Callable[[int], None],
    device: torch.device | str = "cpu",
    quality: Quality | None = None,
) -> Fitted:
    """Train by a plan and measure on the way; an interrupted run in the same folder goes on where it was.

    Args:
        folder: gets run.json, history.json and checkpoints.
        tell: called with the number of steps that were just done.
        quality: also measured of the samples.

    Returns:
        the denoiser of images with averaged weights, its measurements, and why it ended.
    """
    write_atomic(folder / "run.json", json.dumps(description(plan, data), indent=1))
    real, total = data.classes, total_classes(plan, data.classes)
    if plan.cures.dummies:
        data = labelled(data, total)
    denoiser = _begun(plan, data, total)
    examples = Examples(data.x, torch.zeros(len(data.x)), data.label)
    recipe = within(baseline(examples, LAW, denoiser.weight), plan.known)
    recipe = plan.cures.intervention(plan.seed + CURES, real)(recipe)
    wanted = measured_steps(plan.options, plan.measurements)
    of_run = plan.samples, plan.seed, device, plan.known, quality, plan.both_weights
    monitor, stop = monitor_of(data, denoiser.weight, *of_run), None

    def of_images(weights: Any) -> Denoiser:
        return _of_images(weights, plan, data)

    def measured(step: int, averaged: Any, raw: Any) -> Measurement:
        seen = measure(monitor, step, of_images(averaged), of_images(raw))
        check_converging(seen, plan)
        return seen

    if plan.stop_gap is not None:
        chosen = plan.stop_gap, data, denoiser.weight, plan.known, of_images, plan.options.batch_size
        stop = stop_of_images(*chosen, plan.seed, folder, wanted, device, plain=plan.cures == Cures())
    course = Course(folder, measured, stop)
    ema, done = course.follow(denoiser, recipe, plan.seed, plan.options, wanted, tell)
    return Fitted(of_images(ema), course.history, done, monitor.passes, None if stop is None else stop.told())


@dataclass(frozen=True, eq=False)
class Course:
    """A run on its way: how it is measured, and what was measured.

    Args:
        folder: gets history.json and checkpoints.
        measured: (step, averaged weights, raw weights) -> what is found there; raises where the run is hopeless.
        stop: early stopping, or None.
        history: what was measured, in the order of steps.
    """

    folder: Path
    measured: Callable[[int, Any, Any], Measurement]
    stop: GapStop | None = None
    history: list[Measurement] = field(default_factory=list)

    def follow(
        self,
        denoiser: Any,
        recipe: Recipe,
        seed: int,
        options: Options,
        wanted: Collection[int],
        tell: Callable[[int], None],
    ) -> tuple[Any, int]:
        """Train from the last checkpoint on, or from the start; measure and save at some steps.

        Args:
            denoiser: what is trained, in place.
            recipe: by which.
            seed: of the run.
            options: how.
            wanted: steps on the grid of ticks.
            tell: called with the number of steps that were just done.

        Returns:
            the denoiser with the averaged weights that are kept, and how many steps were done.
        """
        if self.stop is not None:
            options = ticking(options)
        resume = latest_checkpoint(self.folder)
        ticks = train(denoiser, recipe, torch.Generator().manual_seed(seed + 1), options, resume)
        ema, done = denoiser, 0
        if resume is not None:
            done = self._resume(resume)
            tell(done)
            if done == options.steps:
                load_denoiser_weights(denoiser, resume)
        for tick in () if self.ends else ticks:
            tell(tick.step - done)
            done, ema = tick.step, tick.state.ema
            self._see(tick, tick.step in wanted)
            if self.ends:
                break
        return self._kept(denoiser) if self.ends else ema, done

    @property
    def ends(self) -> bool:
        """Whether training is over before its last step."""
        return self.stop is not None and self.stop.stopped

    def _resume(self, checkpoint: Path) -> int:
        """Go on from a checkpoint; returns its step."""
        done = int(checkpoint.stem.removeprefix("step-"))
        self.history.extend(m for m in read_history(self.folder) if m.step <= done)
        if self.stop is not None:
            self.stop.resume(done)
        return done

    def _see(self, tick: Tick, due: bool) -> None:
        """Measure and save what is due at a tick, and where the run ends."""
        step, state = tick.step, tick.state
        if due:
            self._measure(step, state.ema, state.network)
        if self.stop is not None:
            self.stop.check(tick)
        if self.ends and not due:
            self._measure(step, state.ema, state.network)
        if due or self.ends:
            if self.stop is not None:
                self.stop.write(step)
            save(state, checkpoint_path(self.folder, step))

    def _measure(self, step: int, averaged: Any, raw: Any) -> None:
        """Measure both sets of weights, and keep what was found in the order of steps."""
        self.history.append(self.measured(step, averaged, raw))
        self.history.sort(key=lambda m: m.step)
        # History first: after a kill between it and the checkpoint it is cut back to the one before.
        write_history(self.history, self.folder)

    def _kept(self, denoiser: Any) -> Any:
        """The averaged weights of the last clean step, in a denoiser of the same build; measured if it was not."""
        assert self.stop is not None
        raw = copy.deepcopy(denoiser)
        step = self.stop.load_kept(denoiser, raw)
        if step not in [m.step for m in self.history]:
            self._measure(step, denoiser, raw)
        return denoiser


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


def check_converging(seen: Measurement, plan: Any, untrained: float = 1.0, things: str = "images") -> None:
    """Refuse to go on with weights that are finite and useless.

    Args:
        seen: what was measured.
        plan: of the run, with its `options`.
        untrained: about the loss of a network that has learnt nothing.
        things: what it learns.

    Raises:
        Diverged: if the loss is far above that.
    """
    loss = seen.train_loss.value
    if loss is None or not loss < HOPELESS * untrained:
        raise Diverged(
            f"Training diverged: at step {seen.step:,} the loss on training {things} is "
            f"{'not finite' if loss is None else format(loss, '.3g')}, where a network that has learnt nothing has "
            f"about {untrained:.3g}. Lower --learning-rate, which is "
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
    (denoiser, card), said, checkpoint = opened(model, rebuilt, refuse_text)
    load_denoiser_weights(denoiser, checkpoint, averaged)
    if "real_classes" in said:
        denoiser = RealImages(denoiser, said["real_classes"], said["classes"])
        card = replace(card, classes=said["real_classes"])
    if "masking" in said:
        denoiser, card = read_masked(denoiser, card, said["shape"], said["masking"])
    return denoiser.eval(), card, said, checkpoint
