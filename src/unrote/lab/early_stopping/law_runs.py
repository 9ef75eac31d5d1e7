"""One run of the law of the onset: losses in pairs, copies and quality at log-spaced steps, raw and averaged."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from unrote.contracts import Examples
from unrote.jobs.fitting import build
from unrote.jobs.measuring import LAW
from unrote.lab.study import Material, copied, from_cpu, material, network_of, quality, samples_of
from unrote.lab.wild_middle.gap_runs import measured_in
from unrote.measure.gaps import relative_gap
from unrote.train.loop import Options, train
from unrote.train.probe import Probe, probe_of
from unrote.train.recipe import Recipe, Weight, baseline

GRID = 8
"""Checkpoints are multiples of so many steps."""
FACTOR = 1.4
"""From one checkpoint to the next."""
EVALUATIONS = 512
"""Losses of each kind at a checkpoint."""


def checkpoints(steps: int, first: int) -> list[int]:
    """Ascending steps in geometric progression, the last included, on the grid."""
    count = max(1, round(math.log(steps / first) / math.log(FACTOR)))
    raw = [steps * (first / steps) ** (k / count) for k in range(count, -1, -1)]
    return sorted({max(GRID, round(step / GRID) * GRID) for step in raw})


def run(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """Train plainly; at every checkpoint the losses of both weights, their copies, and quality after averaging."""
    seed, at = int(asked["seed"]), list(asked["at"])
    made, denoiser, recipe, probe = plainly(asked)
    shape, features = made.train.shape[1:], measured_in(asked["pictures"])

    def measured(name: str, model: nn.Module) -> dict[str, float]:
        samples = samples_of(from_cpu(model), shape, asked["samples"], seed)
        seen = losses(model, probe) | {"copies": float(copied(samples, made.train).sum())}
        if name == "averaged":
            value = quality(samples, made.test, features).distance.value
            assert value is not None
            seen["frechet"] = value
        return seen

    found = followed(denoiser, recipe, seed, Options(**asked["options"]), at, measured)
    return {"fresh": int(copied(made.test, made.train).sum()), **found}


def plainly(asked: Mapping[str, Any]) -> tuple[Material, Any, Recipe, Probe]:
    """The pictures of a configuration, a fresh network, EDM's recipe for it, and a probe of its losses."""
    seed = int(asked["seed"])
    made = material(asked["pictures"], seed)
    denoiser = build(network_of(asked["network"]), made.train.shape[1:], None, seed)
    rows, fresh = (Examples(x, torch.zeros(len(x))) for x in (made.train, made.test))
    recipe = baseline(rows, LAW, denoiser.weight)
    return made, denoiser, recipe, paired(rows, fresh, denoiser.weight, seed)


def paired(rows: Examples, fresh: Examples, weight: Weight, seed: int) -> Probe:
    """Pairs of a training and a test picture under the same noise, at EDM's levels; `EVALUATIONS` of each."""
    pairs = min(len(rows.x), EVALUATIONS)
    g = torch.Generator().manual_seed(seed + 2)
    return probe_of(rows, fresh, LAW, weight, g, pairs, max(1, EVALUATIONS // pairs))


def followed(
    denoiser: nn.Module,
    recipe: Recipe,
    seed: int,
    options: Options,
    at: Sequence[int],
    measured: Callable[[str, nn.Module], Mapping[str, float]],
    enough: Callable[[Mapping[str, float]], bool] = lambda seen: False,
) -> dict[str, Any]:
    """Train, and measure raw and averaged weights at some steps.

    Args:
        at: ascending steps on the grid.
        measured: (name of the weights, their denoiser) -> numbers by name.
        enough: numbers of the averaged weights -> whether the rest of the run is of no interest.

    Returns:
        the steps that were reached, and under "raw" and "averaged" a list for each number.
    """
    found: dict[str, list[Mapping[str, float]]] = {"raw": [], "averaged": []}
    done: list[int] = []
    options = replace(options, steps=at[-1], tick_every=GRID)
    for tick in train(denoiser, recipe, torch.Generator().manual_seed(seed + 1), options):
        if tick.step not in at:
            continue
        done.append(tick.step)
        for name, model in (("raw", tick.state.network), ("averaged", tick.state.ema)):
            found[name].append(measured(name, model))
        if enough(found["averaged"][-1]):
            break
    return {"steps": done, **{name: columns(table) for name, table in found.items()}}


def losses(model: nn.Module, probe: Probe) -> dict[str, float]:
    """Mean losses on training and test pictures, and the relative gap with the lower end of its interval."""
    train_losses, validation = probe.to(next(model.parameters()).device).losses(model)
    gap = relative_gap(train_losses.cpu(), validation.cpu())
    assert gap.value is not None and gap.low is not None
    return {
        "train": float(train_losses.double().mean()),
        "validation": float(validation.double().mean()),
        "gap": gap.value,
        "gap_low": gap.low,
    }


def columns(table: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """A list of rows as lists of columns."""
    return {name: [row[name] for row in table] for name in table[0]}
