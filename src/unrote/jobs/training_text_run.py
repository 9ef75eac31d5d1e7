"""A run on text: a masked diffusion model of characters, measured as it learns; its folder, and the way back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Int
from torch import Tensor

from unrote.contracts import Denoiser, Estimate, Examples, TokenDenoiser
from unrote.data.alphabet import ALPHABET, VOCABULARY, decode, encode
from unrote.denoise.marked import marked
from unrote.denoise.token_networks import TokenPosterior, Transformer
from unrote.jobs.fitting import Course, Fitted, check_converging, measured_steps
from unrote.jobs.measuring import MONITORED, Losses, Measurement, Raw
from unrote.jobs.monitoring import rows_for
from unrote.jobs.paired_losses import Pairs, in_bands, pairs_of
from unrote.jobs.run_folders import opened
from unrote.jobs.text_evidence import compared
from unrote.jobs.training_stop import ROWS, GapStop
from unrote.jobs.training_text_data import TextSet
from unrote.measure.estimate import wilson
from unrote.noise.tokens import Masked
from unrote.sample.token_steps import drawn, first_hitting, generate_tokens, masks_first, revealing
from unrote.sweeps import write_atomic
from unrote.train.checkpoints import load_denoiser_weights
from unrote.train.loop import Options
from unrote.train.losses import held_out_loss
from unrote.train.probe import PAIRS
from unrote.train.recipe import Recipe
from unrote.train.token_losses import LEAST, bits, masked_recipe, masked_rest

CALLS = 64
"""Looks of the network at each sample, at most: shorter windows open one character at a time, which is exact."""
EDGES = (0.2, 0.4, 0.6, 0.8)
"""Where levels are parted into bands; each holds a fifth of them."""
UNTRAINED = float(torch.tensor(float(VOCABULARY)).log2())
"""Bits per character of a network that has learnt nothing."""
AT_ONCE = 2**15
"""Characters in one call of the network."""


@dataclass(frozen=True)
class TextPlan:
    """How a run is made, beside its data.

    Args:
        network: what is trained.
        options: how it is trained.
        measurements: how often it is measured, at steps in geometric progression.
        samples: samples drawn at each measurement.
        seed: of weights, training and samples.
        both_weights: whether samples of the raw weights are drawn as well.
        stop_gap: the share by which the held-out loss may be above the training loss before the run ends, or None.
    """

    network: Transformer
    options: Options
    measurements: int
    samples: int
    seed: int
    both_weights: bool = False
    stop_gap: float | None = None


def fit_text(
    data: TextSet,
    plan: TextPlan,
    folder: Path,
    tell: Callable[[int], None],
    device: torch.device | str = "cpu",
) -> Fitted:
    """Train by a plan and measure on the way; an interrupted run in the same folder goes on where it was.

    Args:
        folder: gets run.json, history.json, checkpoints and samples.
        tell: called with the number of steps that were just done.

    Returns:
        the denoiser of windows with averaged weights, its measurements, and why it ended.
    """
    write_atomic(folder / "run.json", json.dumps(description(plan, data), indent=1))
    (folder / SAMPLES).mkdir(exist_ok=True)
    length, x = data.train.length, data.x
    denoiser = build(plan.network, length, plan.seed)
    recipe = masked_recipe(Examples(x, torch.zeros(len(x))), VOCABULARY)
    wanted = measured_steps(plan.options, plan.measurements)
    pairs = pairs_for(data, recipe, plan.seed, MONITORED, rows_for(len(data.apart), len(data.held_out)))

    def measured(step: int, averaged: Any, raw: Any) -> Measurement:
        seen = measure(data, plan, pairs, step, (averaged, raw), folder, device)
        check_converging(seen, plan, UNTRAINED, "windows")
        return seen

    stop = None
    if plan.stop_gap is not None:
        few = pairs_for(data, recipe, plan.seed, PAIRS, ROWS)
        chosen = plan.stop_gap, few, lambda averaged: row_bits(few, averaged, device)
        stop = GapStop(*chosen, plan.options.batch_size, folder, wanted, plain=False, things="windows")
    course = Course(folder, measured, stop)
    ema, done = course.follow(denoiser, recipe, plan.seed, plan.options, wanted, tell)
    passes = 2 * pairs.probe.rows + (1 + plan.both_weights) * min(length, CALLS) * plan.samples
    return Fitted(ema, course.history, done, passes, None if stop is None else stop.told())


def build(network: Transformer, length: int, seed: int) -> TokenPosterior:
    """A fresh denoiser of windows, which sees where they begin.

    Args:
        length: characters in a window.
        seed: of the weights.
    """
    made = marked(network, length, VOCABULARY, None, torch.Generator().manual_seed(seed))
    return TokenPosterior(made, Masked(VOCABULARY))


def pairs_for(data: TextSet, recipe: Recipe, seed: int, most: int, rows: int) -> Pairs:
    """Pairs of a training and a held-out window that are hidden behind the same masks; arguments as of `pairs_of`."""
    train, held_out = (Examples(x, torch.zeros(len(x))) for x in (data.apart, data.held_out.tokens))
    chosen = train, held_out, recipe.weight, seed
    return pairs_of(*chosen, most=most, rows=rows, law=recipe.law, loss=recipe.loss)


def row_bits(pairs: Pairs, denoiser: Any, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Training and held-out bits per character, one for each row, float64 on the CPU.

    Their mean is the bound on -log2 p(x0) / L.
    """
    probe = pairs.probe.to(device)
    found = []
    for x in (probe.train, probe.validation):
        given = probe.sigma, probe.z, probe.weight, None, max(1, AT_ONCE // x.shape[1]), probe.loss
        nats = held_out_loss(cast(Denoiser, denoiser), x, *given).double().cpu()
        found.append(bits(nats + masked_rest(VOCABULARY, LEAST)))
    return found[0], found[1]


def measure(
    data: TextSet,
    plan: TextPlan,
    pairs: Pairs,
    step: int,
    weights: tuple[Any, Any],
    folder: Path,
    device: torch.device | str = "cpu",
) -> Measurement:
    """Losses on fixed windows and masks, and the copy ratio of fresh samples (the same seeds at every step).

    Args:
        weights: denoisers with averaged and with raw weights, in evaluation mode, on the device.
        folder: gets the samples.
    """

    def losses(denoiser: Any) -> Losses:
        return in_bands(pairs, *row_bits(pairs, denoiser, device), EDGES)

    averaged, raw = weights
    samples = draw(averaged, data.train.length, plan.samples, plan.seed, device)
    write_samples(samples, samples_path(folder, step))
    copies = None
    if plan.both_weights:
        copies = ratio_of(draw(raw, data.train.length, plan.samples, plan.seed, device), data)
    beside = Raw(**vars(losses(raw)), copy_ratio=copies)
    return Measurement(step, **vars(losses(averaged)), copy_ratio=ratio_of(samples, data), raw=beside)


def ratio_of(samples: Int[Tensor, "n L"], data: TextSet) -> Estimate:
    """The share of copies among samples."""
    copied = compared(samples, data.train).copied
    return wilson(int(copied.sum()), len(copied))


def draw(
    denoiser: TokenDenoiser, length: int, n: int, seed: int, device: torch.device | str = "cpu"
) -> Int[Tensor, "n L"]:
    """n windows of characters, drawn from nothing but masks: one character after the other, in long windows several."""
    seeds = [1_000_003 * (seed + 1) + i for i in range(n)]
    alone, rows = length <= CALLS, max(1, AT_ONCE // length)
    levels = torch.linspace(1, 0, 2 if alone else CALLS + 1)
    step = first_hitting(VOCABULARY) if alone else revealing(drawn)
    return generate_tokens(denoiser, length, VOCABULARY, seeds, levels, step, masks_first, rows, device)


SAMPLES = "samples"
"""The folder of the samples of every measured step."""


def samples_path(folder: Path, step: int) -> Path:
    """Where the samples of a measured step are, one a line."""
    return folder / SAMPLES / f"step-{step:09d}.txt"


def write_samples(samples: Int[Tensor, "n L"], path: Path) -> None:
    """Write samples, one a line."""
    write_atomic(path, "".join(decode(row) + "\n" for row in samples))


def read_samples(path: Path) -> Int[Tensor, "n L"]:
    """Samples as they were written."""
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return torch.stack([encode(line) for line in lines]).long()


def description(plan: TextPlan, data: TextSet) -> dict[str, Any]:
    """What a run folder says of itself: enough to rebuild its denoiser."""
    return {
        "format": 1,
        "network": {"kind": "transformer", **asdict(plan.network)},
        "process": "masked",
        "alphabet": ALPHABET,
        "length": data.train.length,
        "options": asdict(plan.options),
        "seed": plan.seed,
        "train": asdict(data.train.provenance),
    }


def rebuilt(said: Mapping[str, Any]) -> TokenPosterior:
    """The denoiser that a run folder describes, with weights of its own.

    Raises:
        ValueError: if it is not a run on text in this alphabet.
    """
    network = dict(said["network"])
    known = {field.name for field in fields(Transformer)}
    if network.pop("kind") != "transformer" or said["alphabet"] != ALPHABET or set(network) != known:
        raise ValueError("not a run on text in this alphabet")
    return build(Transformer(**network), int(said["length"]), 0)


def read_text_run(folder: Path, averaged: bool = True) -> tuple[TokenPosterior, dict[str, Any]]:
    """The denoiser of a run on text, from its folder (the last checkpoint) or one checkpoint file in it.

    Args:
        averaged: the moving average of the weights, or the raw ones.

    Returns:
        the denoiser of windows, in evaluation mode, and the description in run.json.

    Raises:
        InputError: if there is no run on text, no checkpoint, or it cannot be read.
    """
    denoiser, said, checkpoint = opened(folder, rebuilt)
    load_denoiser_weights(denoiser, checkpoint, averaged)
    return denoiser.eval(), said
