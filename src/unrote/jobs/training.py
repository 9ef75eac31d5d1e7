"""`unrote train`: train a model, watch its losses part and its samples turn into copies, audit the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from unrote.contracts import Estimate, InputError
from unrote.data.pixels import to_unit
from unrote.denoise.networks import MLP, UNet
from unrote.jobs.checking import check_apart, check_name, check_options
from unrote.jobs.comparing import Reference, part_of, read_others, read_reference
from unrote.jobs.cure_checks import check_cures, removed
from unrote.jobs.cure_words import sentences, told
from unrote.jobs.cures import recipes_of
from unrote.jobs.fitting import Plan, fit
from unrote.jobs.measuring import LAW, Measurement, Quality, TrainingSet
from unrote.jobs.mirrored import with_mirror_images
from unrote.jobs.onsets import onset_sentence
from unrote.jobs.options import TrainOptions
from unrote.jobs.output import (
    check_free,
    device_of,
    document,
    progress,
    settings_of,
    workspace,
    write_document,
)
from unrote.jobs.swap_quality import check_features
from unrote.jobs.training_page import COUNTED, sentence, training_page
from unrote.jobs.training_quality import quality_of
from unrote.jobs.training_results import cost_sentence, lowest_held_out, results_of
from unrote.jobs.training_sizes import sizes_of
from unrote.jobs.training_split import split_of
from unrote.jobs.training_start import check_depth, check_hidden, start_of
from unrote.jobs.training_stop import Stopping, check_stop, grid_of, tidy
from unrote.jobs.training_text_data import OF_TEXT, wants_text
from unrote.jobs.training_words import IMAGES, Words
from unrote.report.format import quantity, ratio
from unrote.report.page import write
from unrote.train.checkpoints import checkpoint_path, latest_checkpoint
from unrote.train.loop import Diverged, Options

if TYPE_CHECKING:
    from unrote.jobs.training_runs import Runs


@dataclass(frozen=True)
class Training:
    """The result of a training run.

    Args:
        history: what was measured on the way.
        content: what result.json holds.
        out: the run folder.
        done: what was done against copying, in words.
        kept: the measurement whose weights were kept; the last one unless the run was stopped early.
        stop: what online early stopping did, or None.
        notes: what else a reader should know.
        words: how it is spoken of.
    """

    history: tuple[Measurement, ...]
    content: dict[str, Any]
    out: Path
    done: tuple[str, ...]
    kept: Measurement
    stop: Stopping | None = None
    notes: tuple[str, ...] = ()
    words: Words = IMAGES

    @property
    def copy_ratio(self) -> Estimate:
        """The share of copies among the samples of the weights that were kept."""
        return self.kept.copy_ratio

    def as_json(self) -> dict[str, Any]:
        """The content of result.json."""
        return self.content

    def summary(self) -> str:
        """The curve in a few lines."""
        things = self.words.things
        rows = [
            f"  step {m.step:>8,}  loss on training {things} {m.train_loss.value:.4f}  on held-out {things} "
            f"{m.validation_loss.value:.4f}  copies {ratio(m.copy_ratio)}"
            + ("" if m.as_stored is None else f"  as stored {ratio(m.as_stored)}")
            + ("" if m.frechet_distance is None else f"  Frechet distance {quantity(m.frechet_distance)}")
            for m in self.history
        ]
        said = sentence(self.history, self.kept, self.stop, self.words)
        counted = () if self.kept.as_stored is None else (COUNTED,)
        stopped = () if self.stop is None else (self.stop.because,)
        notes = [*self.done, *counted, *stopped, onset_sentence(self.history), *self.notes]
        lines = [said, *notes, "", *rows, ""]
        return "\n".join([*lines, f"report: {self.out / 'report.html'}"])


@dataclass(frozen=True)
class Workshop:
    """What the runs of one command share.

    Args:
        data: training and held-out images.
        inputs: the same as result.json names them.
        quality: what is also measured of samples, or None.
        device: where networks run.
    """

    data: TrainingSet
    inputs: dict[str, Any]
    quality: Quality | None
    device: torch.device


def train(options: TrainOptions) -> Training | Runs:
    """Train by one recipe, or by several to compare; an interrupted run goes on where it was.

    Raises:
        InputError: if an input cannot be used, or training diverges.
    """
    from unrote.jobs.training_runs import train_each
    from unrote.jobs.training_text import train_text

    check_options(options)
    if wants_text(options):
        return train_text(options)
    check_free(options.out, options.overwrite)
    check_apart(options.out, options.train, options.test, model=options.from_model)
    check_name("--out", options.out)
    check_features(options)
    check_stop(options.stop_gap, options.stop_early)
    recipes = recipes_of(options)
    for cures in recipes.values():
        check_cures(cures, LAW)
    device = device_of(options.device)
    data, inputs = read_data(options)
    plans = {name: replace(plan_of(options, device.type == "cpu"), cures=c) for name, c in recipes.items()}
    if options.from_model is None:
        check_depth(plan_of(options, True).network, max(data.x.shape[2:]))
    else:
        starts = {name: start_of(options, data, cures) for name, cures in recipes.items()}
        plans = {name: replace(plan, start=starts[name][0]) for name, plan in plans.items()}
        inputs |= {"model": next(iter(starts.values()))[1].as_json()}
        for plan in plans.values():
            check_cures(plan.cures, LAW, plan.known)
    for plan in plans.values():
        check_hidden(plan, data)
    shop = Workshop(data, inputs, quality_of(data, options), device)
    identity = {"settings": asked_of(options), "seed": options.seed, "inputs": inputs}
    with (
        workspace(options.out, options.overwrite, identity, keeps=has_checkpoint) as folder,
        progress("training steps", sizes_of(options).steps * len(plans)) as advance,
    ):
        if len(plans) > 1:
            return train_each(plans, shop, options, folder, advance)
        (plan,) = plans.values()
        made = train_one(plan, shop, options, folder, advance)
        settle(made, folder)
        return made


def train_one(
    plan: Plan, shop: Workshop, options: TrainOptions, folder: Path, advance: Callable[[int], None]
) -> Training:
    """One run in its folder, with its page.

    Args:
        options: of this run alone; its `out` is where the folder will be.
    """
    run = fit(shop.data, plan, folder, advance, shop.device, shop.quality)
    kept = kept_of(run.history, options.stop_early, run.stop)
    results = results_of(run, kept, plan.options) | {
        "interventions": told(plan.cures, LAW, plan.known),
        "share_removed": removed(plan.cures, LAW, plan.known),
        "held_out": {"images": len(shop.data.held_out), "split_off": bool(shop.data.split)},
    }
    content = document("train", shop.inputs, options, results)
    done = sentences(plan.cures, LAW, plan.known)
    notes = tuple(note for note in (shop.data.split, cost_sentence(results["monitoring"])) if note)
    made = Training(tuple(run.history), content, options.out, done, kept, run.stop, notes)
    write(training_page(made, options), folder / "report.html")
    write_document(content, folder)
    return made


def kept_of(history: Sequence[Measurement], early: bool, stop: Stopping | None) -> Measurement:
    """The measurement whose weights are kept."""
    if stop is not None and stop.ended is not None:
        return next(m for m in history if m.step == stop.kept)
    return lowest_held_out(history) if early else history[-1]


def asked_of(options: TrainOptions) -> dict[str, Any]:
    """The settings that make two runs the same run; flags that did not exist once do not count where they are off."""
    later = {"stop_gap": None, "both_weights": False, **dict.fromkeys(OF_TEXT)}
    return {k: v for k, v in settings_of(options).items() if k not in later or v != later[k]}


def settle(made: Training, folder: Path) -> None:
    """Leave the measured checkpoints up to the one that is kept, and the last clean one where losses were checked."""
    keep_until(made.kept.step, folder)
    if made.stop is not None:
        clean = {made.kept.step} if made.stop.kept is None else {made.stop.kept}
        tidy(folder, {m.step for m in made.history} | clean, made.kept.step)


def keep_until(step: int, folder: Path) -> None:
    """Take checkpoints away that are later than a step."""
    for path in folder.glob("step-*.safetensors"):
        if path.name > checkpoint_path(folder, step).name:
            path.unlink()


def has_checkpoint(folder: Path, error: BaseException) -> bool:
    """Whether a failed run left something to go on from; one that diverged would do so again."""
    places = [folder, *(path for path in folder.iterdir() if path.is_dir())] if folder.is_dir() else []
    return not isinstance(error, Diverged) and any(latest_checkpoint(place) is not None for place in places)


def read_data(options: TrainOptions) -> tuple[TrainingSet, dict[str, Any]]:
    """Training and held-out images; without a test set a tenth of the training set is held out."""
    memory = 2**29
    reference = read_reference(
        options.train, options.duplicate_threshold, options.resize, options.train_range, memory
    )
    whole = reference.images
    if options.test is not None:
        fresh = read_others(options.test, reference, options.resize, options.train_range)
        inputs = {"train": whole.provenance, "test": fresh.provenance}
        split = ""
    else:
        chosen = split_of(reference, options.seed)
        fresh, split = part_of(whole, chosen.out), chosen.words
        reference = Reference.of(part_of(whole, chosen.kept), options.duplicate_threshold, memory)
        inputs = {"train": whole.provenance, "test": None}
    data = replace(training_set(reference, fresh, options.conditional), split=split)
    if options.flip:
        data = replace(data, looks=with_mirror_images(reference, memory))
    return data, {key: None if value is None else vars(value) for key, value in inputs.items()}


def training_set(reference: Reference, fresh: Any, conditional: bool) -> TrainingSet:
    """Images as tensors in [-1, 1]."""
    train = reference.images
    labels = classes = None
    if conditional:
        if train.labels is None or fresh.labels is None:
            raise InputError(
                f"--conditional needs labels, and {train.spec if train.labels is None else fresh.spec} has none; give "
                "a folder with one subfolder for each class, or a Parquet file with a label column."
            )
        labels = train.labels
        classes = int(max(labels.max(), fresh.labels.max())) + 1
    return TrainingSet(
        to_unit(train.pixels, train.value_range),
        to_unit(fresh.pixels, fresh.value_range),
        reference,
        labels,
        fresh.labels if conditional else None,
        classes,
    )


def network_of(options: TrainOptions) -> MLP | UNet:
    """The network that the flags describe; a U-Net doubles its width once."""
    sizes = sizes_of(options)
    if sizes.network == "mlp":
        return MLP(sizes.width, sizes.depth, options.dropout)
    channels = tuple(sizes.width * min(2, 2**i) for i in range(sizes.depth))
    return UNet(channels, dropout=options.dropout)


def plan_of(options: TrainOptions, cpu: bool) -> Plan:
    """The flags as a plan."""
    sizes = sizes_of(options)
    return Plan(
        network_of(options),
        loop_options(options, cpu),
        options.checkpoints,
        sizes.samples,
        options.seed,
        both_weights=options.both_weights,
        stop_gap=options.stop_gap,
    )


def loop_options(options: TrainOptions, cpu: bool) -> Options:
    """The flags that say how weights are moved."""
    sizes = sizes_of(options)
    every = max(1, sizes.steps // 100)
    if options.stop_gap is not None:
        every = grid_of(every)
    return Options(
        steps=sizes.steps,
        batch_size=sizes.batch_size,
        learning_rate=options.learning_rate,
        warmup_steps=min(200, sizes.steps // 10),
        weight_decay=options.weight_decay,
        ema_decay=options.ema_decay,
        tick_every=every,
        mixed_precision=options.precision,
        cpu=cpu,
    )
