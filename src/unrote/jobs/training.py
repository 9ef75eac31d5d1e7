"""`unrote train`: train a model, watch its losses part and its samples turn into copies, audit the end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from unrote.contracts import Estimate, InputError
from unrote.data.images import disjoint_splits
from unrote.data.pixels import to_unit
from unrote.denoise.networks import MLP, UNet
from unrote.jobs.audit_page import settings_blocks
from unrote.jobs.checking import check_apart, check_name, check_options
from unrote.jobs.comparing import Reference, part_of, read_others, read_reference
from unrote.jobs.cures import check_cures, cures_of, sentences, told
from unrote.jobs.fitting import LAW, Measurement, Plan, Start, TrainingSet, fit
from unrote.jobs.models import Description, check_classes, check_fits, read_model
from unrote.jobs.options import TrainOptions
from unrote.jobs.output import (
    check_free,
    curve,
    device_of,
    document,
    progress,
    settings_of,
    workspace,
    write_document,
)
from unrote.report import blocks, plots
from unrote.report.format import percent, ratio
from unrote.report.page import write
from unrote.train.checkpoints import latest_checkpoint
from unrote.train.loop import Diverged, Options


@dataclass(frozen=True)
class Training:
    """The result of a training run.

    Args:
        history: what was measured on the way.
        content: what result.json holds.
        out: the run folder.
        done: what was done against copying, in words.
    """

    history: tuple[Measurement, ...]
    content: dict[str, Any]
    out: Path
    done: tuple[str, ...] = ()

    @property
    def copy_ratio(self) -> Estimate:
        """The share of copies among the samples of the last checkpoint."""
        return self.history[-1].copy_ratio

    def as_json(self) -> dict[str, Any]:
        """The content of result.json."""
        return self.content

    def summary(self) -> str:
        """The curve in a few lines."""
        rows = [
            f"  step {m.step:>8,}  loss on training images {m.train_loss.value:.4f}  on held-out images "
            f"{m.validation_loss.value:.4f}  copies {ratio(m.copy_ratio)}"
            for m in self.history
        ]
        return "\n".join(
            [sentence(self.history), *self.done, "", *rows, "", f"report: {self.out / 'report.html'}"]
        )


def train(options: TrainOptions) -> Training:
    """Train by a recipe and measure on the way; an interrupted run goes on where it was.

    Raises:
        InputError: if an input cannot be used, or training diverges.
    """
    check_options(options)
    check_free(options.out, options.overwrite)
    check_apart(options.out, options.train, options.test, model=options.from_model)
    check_name("--out", options.out)
    cures = cures_of(options)
    check_cures(cures, LAW)
    device = device_of(options.device)
    data, inputs = read_data(options)
    plan = replace(plan_of(options, cpu=device.type == "cpu"), cures=cures)
    if options.from_model is None:
        check_depth(plan.network, max(data.x.shape[2:]))
    else:
        start, said = start_of(options, data)
        plan, inputs = replace(plan, start=start), inputs | {"model": said.as_json()}
        check_cures(cures, LAW, plan.known)
    identity = {"settings": settings_of(options), "seed": options.seed, "inputs": inputs}
    with workspace(options.out, options.overwrite, identity, keeps=has_checkpoint) as folder:
        with progress("training steps", options.steps) as advance:
            _, history = fit(data, plan, folder, advance, device)
        results = results_of(history) | {"interventions": told(cures, LAW, plan.known)}
        content = document("train", inputs, options, results)
        made = Training(tuple(history), content, options.out, sentences(cures, LAW, plan.known))
        write(_page(made, options), folder / "report.html")
        write_document(content, folder)
    return made


SHAPING = ("network", "width", "depth", "dropout")
"""Options that a model to start from decides."""


def start_of(options: TrainOptions, data: TrainingSet) -> tuple[Start, Description]:
    """The model that --from names, if it can be trained on this data.

    Raises:
        InputError: if it cannot, or an option is given that the model decides.
    """
    assert options.from_model is not None
    defaults = {field.name: field.default for field in fields(options)}
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


def has_checkpoint(folder: Path, error: BaseException) -> bool:
    """Whether a failed run left something to go on from; one that diverged would do so again."""
    return not isinstance(error, Diverged) and latest_checkpoint(folder) is not None


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
    else:
        held = max(1, len(whole) // 10)
        g = torch.Generator().manual_seed(options.seed)
        kept, out = disjoint_splits(len(whole), [len(whole) - held, held], g)
        fresh = part_of(whole, out)
        reference = Reference.of(part_of(whole, kept), options.duplicate_threshold, memory)
        inputs = {"train": whole.provenance, "test": None}
    return training_set(reference, fresh, options.conditional), {
        key: None if value is None else vars(value) for key, value in inputs.items()
    }


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
    if options.network == "mlp":
        return MLP(options.width, options.depth, options.dropout)
    channels = tuple(options.width * min(2, 2**i) for i in range(options.depth))
    return UNet(channels, dropout=options.dropout)


def plan_of(options: TrainOptions, cpu: bool) -> Plan:
    """The flags as a plan."""
    every = max(1, options.steps // 100)
    return Plan(
        network_of(options),
        Options(
            steps=options.steps,
            batch_size=options.batch_size,
            learning_rate=options.learning_rate,
            warmup_steps=min(200, options.steps // 10),
            weight_decay=options.weight_decay,
            ema_decay=options.ema_decay,
            tick_every=every,
            mixed_precision=options.precision,
            cpu=cpu,
        ),
        options.checkpoints,
        options.samples,
        options.seed,
    )


def results_of(history: Sequence[Measurement]) -> dict[str, Any]:
    """The keys of result.json."""
    return {
        "steps": [m.step for m in history],
        "train_loss": curve([m.train_loss for m in history]),
        "validation_loss": curve([m.validation_loss for m in history]),
        "copy_ratio": curve([m.copy_ratio for m in history]),
        "weights": "moving average",
        "stopped_at": history[-1].step,
        "stopped_because": "all steps were done",
    }


def sentence(history: Sequence[Measurement]) -> str:
    """What the run did, in one sentence."""
    last = history[-1]
    found = next((m.step for m in history if m.copy_ratio.value), None)
    if found is None:
        return f"After {last.step:,} steps no sample is a copy: {ratio(last.copy_ratio)}."
    return (
        f"After {last.step:,} steps {ratio(last.copy_ratio)} of the samples are copies; the first were seen at "
        f"step {found:,}."
    )


def loss_figure(runs: Mapping[str, Sequence[Measurement]]) -> blocks.Figure:
    """Training and held-out loss of one or more runs."""
    lines = []
    for name, history in runs.items():
        for which, part in (("training images", "train_loss"), ("held-out images", "validation_loss")):
            values: list[Estimate] = [getattr(m, part) for m in history]
            label = f"{name}, {which}" if name else which
            lines.append(estimate_curve(label, [m.step for m in history], values))
    return plots.curves(
        lines,
        x_label="training step",
        y_label="denoising loss",
        caption="Denoising loss on fixed levels and noise, averaged weights. Where the lines part, the model knows "
        "its training images better than others of their kind.",
        alt="Training and held-out loss over training steps",
        log_x=True,
        log_y=True,
    )


def copy_figure(runs: Mapping[str, Sequence[Measurement]]) -> blocks.Figure:
    """Copy ratio over training steps."""
    lines = [
        estimate_curve(name or "samples", [m.step for m in history], [m.copy_ratio for m in history])
        for name, history in runs.items()
    ]
    return plots.curves(
        lines,
        x_label="training step",
        y_label="copies among samples",
        caption="Share of samples that are copies, with 95 % intervals; the same seeds at every step.",
        alt="Copy ratio over training steps",
        log_x=True,
        y_limits=(0.0, None),
        show_y=percent,
    )


def estimate_curve(name: str, x: Sequence[int] | Sequence[float], values: Sequence[Estimate]) -> plots.Curve:
    """Estimates as a line with its band."""
    low, high = [v.low for v in values], [v.high for v in values]
    whole = all(v is not None and math.isfinite(v) for v in (*low, *high))
    return plots.Curve(
        name,
        list(map(float, x)),
        [v.value for v in values],
        low if whole else None,
        high if whole else None,
    )


def _page(made: Training, options: TrainOptions) -> blocks.Page:
    history, content = made.history, made.content
    last = history[-1]
    alarm = bool(last.copy_ratio.low and last.copy_ratio.low > 0 and last.copy_ratio.value)
    verdict = blocks.Verdict(
        sentence(history),
        blocks.Tone.ALARM if alarm else blocks.Tone.CALM,
        (
            *made.done,
            "Losses and copies are those of the averaged weights. Audit samples with `unrote audit`.",
        ),
        (blocks.KeyFigure("copies at the end", last.copy_ratio),),
    )
    rows = tuple((m.step, m.train_loss, m.validation_loss, m.copy_ratio) for m in history)
    columns = (
        blocks.Column("step"),
        blocks.Column("loss on training images"),
        blocks.Column("loss on held-out images"),
        blocks.Column("copies", ratio),
    )
    return blocks.Page(
        title="Training run",
        lead=f"{options.from_model or options.network} on {options.train}, recipe {options.recipe}",
        verdict=verdict,
        sections=(
            blocks.Section("Copies", (copy_figure({"": history}),)),
            blocks.Section("Losses", (loss_figure({"": history}),)),
            blocks.Section("Measurements", (blocks.Table(columns, rows, "All measurements"),)),
            blocks.Section("Settings and versions", settings_blocks(content)),
        ),
        footer=(f"unrote {content['versions']['unrote']}",),
    )
