"""One pilot of a forecast: a network trained on few images, measured at steps in proportion to their number."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unrote.contracts import Examples, InputError
from unrote.data.sources import Images
from unrote.denoise.networks import from_description
from unrote.jobs.comparing import Reference, part_of, read_others, read_reference
from unrote.jobs.fitting import HOPELESS, build
from unrote.jobs.ground import check_fresh, first_of_each
from unrote.jobs.measuring import LAW, TrainingSet, copies_of, draw
from unrote.jobs.training import training_set
from unrote.measure.copies import grouped_neighbors, is_copy
from unrote.measure.duplicates import cross_duplicates
from unrote.measure.gaps import excess
from unrote.measure.onset import Onset, copy_onset, gap_onset
from unrote.sweeps import key_of, write_atomic
from unrote.train.loop import Diverged, Options, train
from unrote.train.probe import Probe, probe_of, split_off
from unrote.train.recipe import baseline

FIRST = 1.0
"""The first measured step of a pilot on P images, over P."""
FACTOR = 1.3
"""From one measured step to the next."""
EVERY = 4
"""Measured steps are multiples of so many."""
PAIRS = 512
"""Losses of each kind at a measured step."""
HELD = 0.1
"""Share of the training set that is held out where there is no test set."""
MEMORY = 2**29
"""Bytes that a search for near-duplicates may take."""


@dataclass(frozen=True, eq=False)
class Material:
    """What pilots draw their images from.

    Args:
        images: the training set as it was read.
        pool: rows that may be trained on, one of each group of near-duplicates (n,).
        trained: how many rows may be trained on, near-duplicates included.
        fresh: held-out images.
        leaked: how many of these were left out, because they are near-duplicates of training images.
        words: where the held-out images come from, if they were split off; else empty.
        classes: of both sets, or None.
    """

    images: Images
    pool: Tensor
    trained: int
    fresh: Images
    leaked: int
    words: str
    classes: int | None


def read_material(asked: Mapping[str, Any]) -> Material:
    """Training images without near-duplicates, and held-out images that are like none of them.

    Args:
        asked: the part of a pilot's configuration that says which images.

    Raises:
        InputError: if they cannot be used.
    """
    return _read(json.dumps(asked, sort_keys=True))


@lru_cache(maxsize=1)
def _read(asked_for: str) -> Material:
    asked = json.loads(asked_for)
    span = None if asked["train_range"] is None else tuple(asked["train_range"])
    threshold, resize = asked["duplicate_threshold"], asked["resize"]
    reference = read_reference(asked["train"], threshold, resize, span, MEMORY)
    images, firsts = reference.images, first_of_each(reference)
    if asked["test"] is None:
        rows = Examples(torch.arange(len(images))[:, None], torch.zeros(len(images)))
        g = torch.Generator().manual_seed(asked["seed"])
        split = split_off(rows, HELD, g, reference.groups.group)
        kept, held = split.train.x[:, 0], split.validation.x[:, 0]
        pool, fresh = firsts[torch.isin(firsts, kept)], part_of(images, held)
        found = Material(images, pool, len(kept), fresh, 0, split.words, None)
    else:
        fresh = read_others(asked["test"], reference, resize, span)
        check_fresh(images, fresh)
        near = cross_duplicates(
            reference.comparable(fresh), reference.pixels, reference.groups.threshold, memory=MEMORY
        )
        rest = part_of(fresh, (~near).nonzero()[:, 0])
        found = Material(images, firsts, len(images), rest, int(near.sum()), "", None)
    if len(found.fresh) < 2:
        raise InputError(
            f"{len(found.fresh)} held-out images are left that are no near-duplicates of training images, and losses "
            "need two at least; name other ones with --test, or more training images."
        )
    if asked["conditional"]:
        whole = training_set(reference, found.fresh, True)
        found = replace(found, classes=whole.classes)
    return found


def measured_steps(images: int, each: float | int) -> list[int]:
    """Steps in geometric progression and in proportion to the number of images, the last at or just above `each`.

    Proportion makes interpolation between measured steps err by one factor for all sizes, which leaves the exponent
    as it is.
    """
    count = math.ceil(math.log(max(each, FIRST) / FIRST) / math.log(FACTOR) - 1e-9)
    raw = [images * FIRST * FACTOR**k for k in range(count + 1)]
    return sorted({max(EVERY, round(step / EVERY) * EVERY) for step in raw})


def onsets_of(seen: Mapping[str, Any], gap: float | int, copies: float | int) -> tuple[Onset, Onset]:
    """The onset by losses and the one by copies.

    Args:
        seen: what a pilot measured.
        gap: the validation loss over the training loss, less one, from which losses have parted.
        copies: the share of samples that are copies from which there is copying.
    """
    return (
        gap_onset(seen["steps"], seen["train"], seen["validation"], gap, excess),
        copy_onset(seen["steps"], [count / seen["samples"] for count in seen["copies"]], copies),
    )


def run(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """Train one pilot plainly until it has both onsets, or to its last step.

    Args:
        asked: a configuration of `unrote.jobs.forecasting.configurations`.

    Returns:
        measured `steps`, losses `train` and `validation` there, `copies` among `samples` there, `fresh_copies` among
        `fresh` held-out images, and whether both onsets were `reached`.

    Raises:
        Diverged: naming the pilot.
    """
    seed = asked["run_seed"]
    data = chosen(asked)
    denoiser = build(from_description(asked["network"]), data.x.shape[1:], data.classes, seed)
    examples = Examples(data.x, torch.zeros(len(data.x)), data.label)
    fresh = Examples(data.held_out, torch.zeros(len(data.held_out)), data.held_out_label)
    pairs = min(len(data.x), len(data.held_out), PAIRS)
    g = torch.Generator().manual_seed(seed + 2)
    probe = probe_of(examples, fresh, LAW, denoiser.weight, g, pairs, max(1, PAIRS // pairs))
    recipe = baseline(examples, LAW, denoiser.weight)
    at = asked["at"]
    given = asked["options"] | {"betas": tuple(asked["options"]["betas"])}
    options = Options(**given, steps=at[-1], tick_every=EVERY, cpu=asked["device"] == "cpu")
    found: dict[str, Any] = {"steps": [], "train": [], "validation": [], "copies": []}
    found["samples"] = asked["samples"]
    found["fresh_copies"], found["fresh"] = fresh_copies(data), len(data.held_out)
    found["reached"] = False
    try:
        for tick in train(denoiser, recipe, torch.Generator().manual_seed(seed + 1), options):
            if tick.step not in at:
                continue
            measure_into(found, tick.step, tick.state.ema, probe, data, asked)
            if all(onset.high < math.inf for onset in onsets_of(found, asked["gap"], asked["share"])):
                found["reached"] = True
                break
    except Diverged as error:
        name = f"The pilot on {asked['images']:,} images, number {asked['number'] + 1}"
        raise Diverged(f"{name}: {error}") from error
    return found


def measure_into(
    found: dict[str, Any],
    step: int,
    model: nn.Module,
    probe: Probe,
    data: TrainingSet,
    asked: Mapping[str, Any],
) -> None:
    """Losses in pairs with the same noise, and copies among samples of the same noise at every step.

    Raises:
        Diverged: if the weights are useless.
    """
    device = next(model.parameters()).device
    losses = [float(part.mean()) for part in probe.to(device).losses(model)]
    if not all(loss < HOPELESS for loss in losses):
        raise Diverged(
            f"Training diverged: at step {step:,} the loss on training images is {losses[0]:.3g}, where a network that "
            f"has learnt nothing has about 1. Lower --learning-rate, which is {asked['options']['learning_rate']:g}."
        )
    samples = draw(model, data, asked["samples"], asked["run_seed"], device)
    found["steps"].append(step)
    found["train"].append(losses[0])
    found["validation"].append(losses[1])
    found["copies"].append(int(copies_of(samples, data.reference).sum()))


def chosen(asked: Mapping[str, Any]) -> TrainingSet:
    """The images of one pilot: a random part of the training set, and all held-out images."""
    known = read_material(asked["material"])
    g = torch.Generator().manual_seed(asked["run_seed"] + 3)
    rows = known.pool[torch.randperm(len(known.pool), generator=g)[: asked["images"]]]
    threshold = asked["material"]["duplicate_threshold"]
    reference = Reference.of(part_of(known.images, rows.sort().values), threshold, MEMORY)
    data = training_set(reference, known.fresh, asked["material"]["conditional"])
    return replace(data, classes=known.classes)


def fresh_copies(data: TrainingSet) -> int:
    """How many held-out images the rule for copies calls copies of the training images."""
    reference = data.reference
    images = Images("held out", data.held_out, (-1.0, 1.0), tuple(map(str, range(len(data.held_out)))))
    found = grouped_neighbors(reference.comparable(images), reference.pixels, reference.groups.group)
    return int(is_copy(found.distance[:, 0], found.distance[:, 1]).sum())


def reuse(configurations: Sequence[Mapping[str, Any]], store: Path) -> None:
    """Give pilots that are stored under another limit of steps, and had ended by themselves, their new name.

    A pilot that reached both onsets is the same whatever its limit, if that was not passed by.
    """

    def name(configuration: Mapping[str, Any]) -> str:
        return key_of({key: value for key, value in configuration.items() if key != "at"})

    ended = {}
    for path in sorted(store.glob("*.json")):
        row = json.loads(path.read_text(encoding="utf-8"))
        if row["result"]["reached"]:
            ended[name(row["configuration"])] = row["result"]
    for configuration in configurations:
        path, result = store / f"{key_of(configuration)}.json", ended.get(name(configuration))
        if result is not None and result["steps"][-1] <= configuration["at"][-1] and not path.exists():
            text = json.dumps({"configuration": configuration, "result": result}, indent=1)
            write_atomic(path, text)
