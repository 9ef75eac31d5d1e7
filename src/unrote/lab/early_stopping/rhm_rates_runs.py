"""One network at ascending learning rates: its loss after some steps of each, until it no longer learns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from unrote.contracts import Examples
from unrote.data.grammar import Shape
from unrote.denoise.token_networks import Tree
from unrote.lab.early_stopping.tokens_study import Corpus, Way, by_uniform, corpus, model_of, probe_on
from unrote.train.loop import Diverged, Options, train
from unrote.train.probe import Probe
from unrote.train.recipe import Recipe

LAST, GRID = 64, 16
"""Losses are means over so many last steps, looked at once in so many."""


def run(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """Train the same start weights at one rate after the other; the first at which nothing is learned is the last."""
    seed, way = int(asked["seed"]), by_uniform()
    made = corpus(Shape(**asked["shape"]), asked["trained"], asked["held"], seed, seed)
    rows, fresh = (Examples(x, torch.zeros(len(x))) for x in (made.train, made.held))
    recipe = way.recipe(rows, made.grammar.shape.vocabulary)
    probe = probe_on(rows, fresh, recipe, seed)
    network = Tree(asked["width"], asked["shape"]["branching"], asked["base"])
    untrained = taken(begun(network, made, way, seed), probe)["train"]
    found: dict[str, list[float | None]] = {"train": [], "validation": []}
    for rate in asked["rates"]:
        options = Options(**asked["options"], learning_rate=rate, tick_every=GRID)
        seen = after(begun(network, made, way, seed), recipe, probe, options, seed)
        for name, table in found.items():
            table.append(None if seen is None else seen[name])
        if seen is None or not seen["train"] < untrained:
            break
    return {"untrained": untrained, **found}


def begun(network: Tree, made: Corpus, way: Way, seed: int) -> torch.nn.Module:
    """Fresh weights of a seed."""
    return model_of(network, made.grammar, way.process(made.grammar.shape.vocabulary), seed)


def after(
    model: torch.nn.Module, recipe: Recipe, probe: Probe, options: Options, seed: int
) -> dict[str, float] | None:
    """Mean losses of the raw weights over the last steps of a training, or None where one is not finite."""
    looks: list[dict[str, float]] = []
    try:
        for tick in train(model, recipe, torch.Generator().manual_seed(seed + 1), options):
            if tick.step > options.steps - LAST:
                looks.append(taken(tick.state.network, probe))
    except Diverged:
        return None
    means = {name: sum(look[name] for look in looks) / len(looks) for name in looks[0]}
    return means if all(map(math.isfinite, means.values())) else None


def taken(model: torch.nn.Module, probe: Probe) -> dict[str, float]:
    """Mean losses on training and held-out strings under the same noise."""
    train_losses, validation = probe.to(next(model.parameters()).device).losses(model)
    return {"train": float(train_losses.mean()), "validation": float(validation.mean())}
