"""A run of many hours in pieces: it keeps its state and what was measured in a folder, and goes on from there."""

from __future__ import annotations

import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unrote.lab.early_stopping.iddpm_runs import Measure, begun, measuring
from unrote.lab.early_stopping.law_rules import STOPPED_AT
from unrote.lab.early_stopping.law_runs import columns
from unrote.lab.study import as_pixels, copied, material
from unrote.lab.wild_middle.paper import options_of
from unrote.sweeps import key_of, write_atomic
from unrote.train.checkpoints import checkpoint_path, latest_checkpoint, save
from unrote.train.loop import Tick, train

RUNS = "UNROTE_RUNS"
"""Environment variable: a folder in which long runs keep what they need to go on, each in a folder of its own."""
SAVED_EVERY = 8
"""Ticks between saved states, measured or not: what a killed process loses."""
HISTORY = "history.json"
WEIGHTS = ("raw", "averaged")


def run(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """The whole run; with UNROTE_RUNS set it goes on where it was interrupted."""
    return in_one_go(advance, asked)


def in_one_go(
    advance: Callable[[Mapping[str, Any], Path], Mapping[str, Any] | None], asked: Mapping[str, Any]
) -> Mapping[str, Any]:
    """A run that goes in pieces, to its end: below UNROTE_RUNS, or in a folder that is gone afterwards.

    Args:
        advance: (configuration, folder) -> the result.
        asked: the configuration.
    """
    kept = os.environ.get(RUNS)
    with nullcontext(kept) if kept else tempfile.TemporaryDirectory() as place:
        found = advance(asked, Path(place) / key_of(asked))
    assert found is not None
    return found


def advance(asked: Mapping[str, Any], folder: Path, seconds: float = math.inf) -> Mapping[str, Any] | None:
    """Go on with a run for some time.

    Losses, copies and Frechet distances are measured at the checkpoints; samples at the last clean one and at the last
    are kept beside the state, in 8 bits, as stopped.npy and last.npy.

    Args:
        asked: the configuration.
        folder: where the run keeps its state; made if absent. Another configuration needs another folder.
        seconds: after which the state is saved, at the next tick.

    Returns:
        the result, or None if time was up before the end.

    Raises:
        InputError: if the folder holds another run.
    """
    began = time.monotonic()
    made = material(asked["pictures"], asked["seed"])
    trained, recipe = begun(asked, made)
    measure = measuring(asked, made, recipe)
    at = list(asked["at"])
    options = replace(options_of(asked["options"]), steps=at[-1])
    folder.mkdir(parents=True, exist_ok=True)
    resume = latest_checkpoint(folder)
    done = 0 if resume is None else int(resume.stem.removeprefix("step-"))
    history = read_history(folder, done)
    for tick in train(trained, recipe, torch.Generator().manual_seed(asked["seed"] + 1), options, resume):
        late = time.monotonic() - began > seconds
        if tick.step in at:
            note(history, tick, measure, folder)
        if tick.step in at or late or (tick.step // options.tick_every) % SAVED_EVERY == 0:
            # History first: after a kill between the two it is cut back to the state.
            write_atomic(folder / HISTORY, json.dumps(history))
            keep_only(tick, folder)
        if late and tick.step < at[-1]:
            return None
    steps = [row["step"] for row in history]
    tables = {name: columns([row[name] for row in history]) for name in WEIGHTS}
    return {"steps": steps, "fresh": int(copied(made.test, made.train).sum()), **tables, "album": None}


def note(history: list[dict[str, Any]], tick: Tick, measure: Measure, folder: Path) -> None:
    """Measure both weights at a checkpoint, in the precision of training; write samples of the averaged ones."""
    row: dict[str, Any] = {"step": tick.step}
    for name, model in zip(WEIGHTS, (tick.state.network, tick.state.ema), strict=True):
        with tick.state.accelerator.autocast():
            row[name], samples = measure(name, model)
    history.append(row)
    write_samples(samples, folder / "last.npy")
    stopped = any(one["averaged"]["gap_low"] > STOPPED_AT for one in history)
    if not stopped and row["averaged"]["gap"] <= STOPPED_AT:
        write_samples(samples, folder / "stopped.npy")


def write_samples(samples: Tensor, path: Path) -> None:
    """Samples as 8-bit pixels (n,C,H,W), whole or not at all."""
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.save(file, as_pixels(samples).numpy())
    part.replace(path)


def read_history(folder: Path, done: int) -> list[dict[str, Any]]:
    """What was measured up to a step."""
    path = folder / HISTORY
    rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return [row for row in rows if row["step"] <= done]


def keep_only(tick: Tick, folder: Path) -> None:
    """Save the state, then remove older ones: of a large network each takes gigabytes."""
    path = checkpoint_path(folder, tick.step)
    save(tick.state, path)
    for other in folder.glob("step-*.safetensors"):
        if other != path:
            other.unlink()
