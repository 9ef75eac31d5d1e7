"""One run on text: masked diffusion learns P windows, and losses in bits, copies and distances are followed."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unrote.contracts import Examples
from unrote.data.alphabet import VOCABULARY, decode
from unrote.data.text import windows
from unrote.denoise.marked import marked
from unrote.denoise.token_networks import TokenPosterior, Transformer, Tree
from unrote.lab.corpora import text_of
from unrote.lab.early_stopping.cifar_runs import HISTORY, SAVED_EVERY, in_one_go, keep_only, read_history
from unrote.lab.early_stopping.law_runs import columns, losses
from unrote.lab.wild_middle.paper import options_of
from unrote.measure.hamming import hamming_neighbors
from unrote.measure.text import copy_threshold, longest_passages
from unrote.measure.tokens import is_token_copy
from unrote.noise.tokens import Masked
from unrote.sample.token_steps import first_hitting, generate_tokens, masks_first
from unrote.sweeps import write_atomic
from unrote.train.checkpoints import latest_checkpoint
from unrote.train.loop import Options, Tick, train
from unrote.train.probe import Probe, probe_of
from unrote.train.recipe import Recipe
from unrote.train.token_losses import masked_recipe

NETWORKS: dict[str, Callable[..., Tree | Transformer]] = {"tree": Tree, "transformer": Transformer}
"""Kinds of networks in configurations."""
SHARE = 0.25
"""A copy differs from a training window in at most this share of its characters."""
PAIRS = 512
"""Held-out windows on which losses are taken, each with a training window under the same noise."""
BIT = math.log(2)
"""Nats in a bit."""
SHOWN = 6
"""Samples of a moment that are kept to be read."""


@dataclass(frozen=True, eq=False)
class Extract:
    """Windows to train on, and others.

    Args:
        train: P windows that follow on each other (P,L).
        held: windows of another text, drawn at random (M,L).
        first: the character with which the training windows begin.
    """

    train: Tensor
    held: Tensor
    first: int


def extract(asked: Mapping[str, Any]) -> Extract:
    """The windows of a configuration: each seed has a block of the text to itself, of which P windows are taken.

    A larger P contains the windows of a smaller one.
    """
    length, block, seed = int(asked["length"]), int(asked["block"]), int(asked["seed"])
    text, others = text_of(asked["text"]), text_of(f"{asked['text']}_test")
    blocks = len(text) // (length * block)
    order = torch.randperm(blocks, generator=torch.Generator().manual_seed(0))
    train = windows(text, length, start=int(order[seed % blocks]) * block, count=asked["trained"])
    g = torch.Generator().manual_seed(seed)
    held = windows(others, length, count=asked["held"], generator=g)
    return Extract(train.tokens, held.tokens, int(train.start[0]))


class Frequencies(nn.Module):
    """A denoiser that knows how often each character is, and looks at no other: log p(x0_l = a | x) = log f_a.

    Args:
        x: text whose characters are counted; one is added to each count.
    """

    log_frequency: Tensor

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        count = torch.bincount(x.flatten(), minlength=VOCABULARY).double() + 1
        self.register_buffer("log_frequency", (count / count.sum()).log())

    def forward(self, x: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        """(B,L), (B,) -> (B,L,v), the same everywhere."""
        del t, condition  # a denoiser is told them, and frequencies know of neither
        return self.log_frequency.expand(*x.shape, -1)


def network_of(asked: Mapping[str, Any]) -> nn.Module:
    """A fresh network for the windows of a configuration; a transformer that is "marked" sees where windows begin."""
    said = dict(asked["network"])
    sees, kind = said.pop("marked", False), said.pop("kind")
    description = NETWORKS[kind](**said)
    wanted = int(asked["length"]), VOCABULARY, None, torch.Generator().manual_seed(int(asked["seed"]))
    if sees:
        assert isinstance(description, Transformer)
        return marked(description, *wanted)
    return description.build(*wanted)


def prepared(asked: Mapping[str, Any]) -> tuple[Extract, TokenPosterior, Recipe, Probe]:
    """The windows of a configuration, a fresh network, masked diffusion on them, and a probe of both losses."""
    made, seed = extract(asked), int(asked["seed"])
    rows, fresh = (Examples(x, torch.zeros(len(x))) for x in (made.train, made.held))
    recipe = masked_recipe(rows, VOCABULARY)
    # All training windows, as often as it takes to give each held-out window one of them.
    pairs = min(PAIRS, len(made.held))
    again = made.train.repeat(-(-pairs // len(made.train)), 1)
    known = Examples(again, torch.zeros(len(again)))
    noise = torch.Generator().manual_seed(seed + 2)
    probe = probe_of(known, fresh, recipe.law, recipe.weight, noise, pairs, 1, recipe.loss)
    return made, TokenPosterior(network_of(asked), Masked(VOCABULARY)), recipe, probe


def run(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """The whole run; with UNROTE_RUNS set it goes on where it was interrupted."""
    return in_one_go(advance, asked)


def advance(asked: Mapping[str, Any], folder: Path, seconds: float = math.inf) -> Mapping[str, Any] | None:
    """Go on with a run for some time: train, and measure both weights at the checkpoints.

    The run ends at the last checkpoint, or at the first with copies enough.

    Args:
        asked: the configuration.
        folder: where the run keeps its state; made if absent. Another configuration needs another folder.
        seconds: after which the state is saved, at the next tick.

    Returns:
        the result, or None if time was up before the end.

    Raises:
        InputError: if the folder holds another run, or a text is not there.
    """
    began, seed, at = time.monotonic(), int(asked["seed"]), list(asked["at"])
    made, model, recipe, probe = prepared(asked)
    options = options_for(asked)
    folder.mkdir(parents=True, exist_ok=True)
    resume = latest_checkpoint(folder)
    done = 0 if resume is None else int(resume.stem.removeprefix("step-"))
    history = read_history(folder, done)
    for tick in train(model, recipe, torch.Generator().manual_seed(seed + 1), options, resume):
        late = time.monotonic() - began > seconds
        if tick.step in at and tick.step not in [row["step"] for row in history]:
            history.append(noted(asked, tick, made, probe))
        over = bool(history) and copied_enough(asked, history[-1]["averaged"])
        if tick.step in at or late or (tick.step // options.tick_every) % SAVED_EVERY == 0:
            # History first: after a kill between the two it is cut back to the state.
            write_atomic(folder / HISTORY, json.dumps(history))
            keep_only(tick, folder)
        if over:
            break
        if late and tick.step < at[-1]:
            return None
    return about(asked, made, probe) | told(asked, history)


def options_for(asked: Mapping[str, Any]) -> Options:
    """Training options of a configuration, up to its last checkpoint."""
    return replace(options_of(asked["options"]), steps=asked["at"][-1], betas=tuple(asked["betas"]))


def noted(asked: Mapping[str, Any], tick: Tick, made: Extract, probe: Probe) -> dict[str, Any]:
    """Losses in bits a character of both weights, and what averaged ones generate, in the precision of training."""
    with tick.state.accelerator.autocast():
        raw, averaged = (in_bits(losses(one, probe)) for one in (tick.state.network, tick.state.ema))
        x = generated(tick.state.ema, asked["samples"], asked["length"], asked["seed"])
    seen = averaged | of_text(x, made.train)
    return {"step": tick.step, "raw": raw, "averaged": seen, "texts": collated(x[:SHOWN], made)}


def told(asked: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A history as lists, with texts of two moments where they are asked for."""
    tables = {name: columns([row[name] for row in history]) for name in ("raw", "averaged")}
    least = min(history, key=lambda row: float(row["averaged"]["validation"]))
    texts = {"minimum": least["texts"], "end": history[-1]["texts"]} if asked["shown"] else {}
    return {"steps": [row["step"] for row in history], **tables, "shown": texts}


def about(asked: Mapping[str, Any], made: Extract, probe: Probe) -> dict[str, Any]:
    """What is known without a model: the place, fresh text by the same rules, and the best without context."""
    fresh = of_text(made.held, made.train)
    table = {"trained": Frequencies(made.train), "held": Frequencies(made.held)}
    bits = {name: float(probe.losses(one)[1].mean()) / BIT for name, one in table.items()}
    return {"first": made.first, "fresh": fresh, "frequencies": bits}


def copied_enough(asked: Mapping[str, Any], seen: Mapping[str, float]) -> bool:
    """Whether so large a share of the samples are copies that the run may end."""
    return bool(seen["copies"] >= asked["enough"] * asked["samples"])


def in_bits(seen: Mapping[str, float]) -> dict[str, float]:
    """Losses in bits a character; relative gaps have no unit."""
    return {name: value / BIT if name in {"train", "validation"} else value for name, value in seen.items()}


def generated(model: nn.Module, count: int, length: int, seed: int) -> Tensor:
    """Texts from nothing but masks, one character at a time."""
    levels = torch.tensor([1.0, 0.0], dtype=torch.float64)
    seeds = range(seed * 1_000_003, seed * 1_000_003 + count)
    place = next(model.parameters()).device
    step = first_hitting(VOCABULARY)
    return generate_tokens(model, length, VOCABULARY, seeds, levels, step, masks_first, 512, place)


def of_text(x: Tensor, train: Tensor) -> dict[str, float]:
    """Counts and distances of texts: copies, how many characters of copies are wrong, and the longest passages."""
    length = train.shape[1]
    found = hamming_neighbors(x, train, 1)
    wrong = found.distance[:, 0]
    copied = is_token_copy(found, copy_threshold(length, SHARE))
    middle = float(wrong[copied].median()) if bool(copied.any()) else math.inf
    return {
        "copies": float(copied.sum()),
        "exact": float((wrong == 0).sum()),
        "wrong": middle if middle < math.inf else float(length),
        "hamming": float(wrong.mean()) / length,
        "passage": float(longest_passages(x, train).length.double().mean()),
    }


def collated(x: Tensor, made: Extract) -> list[dict[str, Any]]:
    """Texts beside the training window nearest to each, and where it stands."""
    nearest = hamming_neighbors(x, made.train, 1).index[:, 0].tolist()
    length = made.train.shape[1]
    return [
        {"sample": decode(one), "source": decode(made.train[k]), "from": made.first + k * length}
        for one, k in zip(x, nearest, strict=True)
    ]
