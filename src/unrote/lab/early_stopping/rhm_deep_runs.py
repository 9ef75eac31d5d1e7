"""One run of twins on a deep grammar: networks on disjoint strings side by side, and how alike their outputs are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from unrote.contracts import Examples
from unrote.data.grammar import Shape
from unrote.denoise.grammar import GrammarDenoiser
from unrote.denoise.token_networks import Tree
from unrote.lab.early_stopping.law_runs import GRID, columns, losses
from unrote.lab.early_stopping.rhm_runs import WAYS
from unrote.lab.early_stopping.tokens_study import (
    EXCESS_LEVELS,
    Corpus,
    Way,
    corpus,
    excess,
    levels_over,
    model_of,
    of_samples,
    probe_on,
)
from unrote.lab.early_stopping.twins_runs import ELSE
from unrote.lab.study import from_cpu
from unrote.measure.tokens import hellinger
from unrote.noise.tokens import TokenProcess
from unrote.train.loop import Options, Tick, train
from unrote.train.recipe import Recipe

FIRST, SECOND = "averaged", "second"
"""The first twin stands where other runs have their averaged weights, so that the same rules read it."""


def run(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """Train twins on disjoint strings of one language, and compare them on fresh strings at every checkpoint.

    The twins share the language, the noise that they are compared under and nothing else.
    """
    seed, trained, way = int(asked["seed"]), int(asked["trained"]), WAYS[asked["way"]]
    shape = Shape(**asked["shape"])
    whole = corpus(shape, 2 * trained, asked["held"], seed, seed)
    parts = {FIRST: whole.train[:trained], SECOND: whole.train[trained:]}
    halves = {name: Corpus(whole.grammar, part, whole.held) for name, part in parts.items()}
    process = way.process(shape.vocabulary)
    exact = GrammarDenoiser(whole.grammar, process)
    recipes = {name: recipe_of(made.train, way, shape.vocabulary) for name, made in halves.items()}
    fresh = Examples(whole.held, torch.zeros(len(whole.held)))
    probes = {name: probe_on(one.examples, fresh, one, seed) for name, one in recipes.items()}
    found: dict[str, list[Mapping[str, float]]] = {FIRST: [], SECOND: [], "pair": []}
    done: list[int] = []
    runs = [
        ticks(asked, recipes[name], halves[name], process, seed + ELSE * k) for k, name in enumerate(halves)
    ]
    for together in zip(*runs, strict=True):
        models = dict(zip(halves, (tick.state.ema for tick in together), strict=True))
        done.append(together[0].step)
        for name, model in models.items():
            made = halves[name]
            x = way.generate(model, shape.length, shape.vocabulary, asked["samples"], seed)
            seen = losses(model, probes[name]) | excess(model, exact, process, made, seed)
            found[name].append(seen | of_samples(x, made))
        found["pair"].append(compared(models, exact, process, whole.held, seed))
        if all(one[-1]["copies"] > asked["done"] * asked["samples"] for one in (found[FIRST], found[SECOND])):
            break
    least = {name: [float(one.mean()) for one in probe.losses(exact)] for name, probe in probes.items()}
    of_exact = {name: {"train": both[0], "validation": both[1]} for name, both in least.items()}
    exactly = {"exact": of_exact[FIRST], "exact_second": of_exact[SECOND]}
    return {**exactly, "steps": done, **{name: columns(table) for name, table in found.items()}}


def recipe_of(x: Tensor, way: Way, vocabulary: int) -> Recipe:
    """What a twin is trained on."""
    return way.recipe(Examples(x, torch.zeros(len(x))), vocabulary)


def ticks(
    asked: Mapping[str, Any], recipe: Recipe, made: Corpus, process: TokenProcess, seed: int
) -> Iterator[Tick]:
    """One twin at the steps of a configuration, with start weights and training noise of its own seed."""
    at = list(asked["at"])
    options = replace(Options(**asked["options"]), steps=at[-1], tick_every=GRID)
    model = model_of(Tree(asked["width"]), made.grammar, process, seed)
    for tick in train(model, recipe, torch.Generator().manual_seed(seed + 1), options):
        if tick.step in at:
            yield tick


@torch.no_grad()
def compared(
    models: Mapping[str, nn.Module], exact: nn.Module, process: TokenProcess, held: Tensor, seed: int
) -> dict[str, float]:
    """Hellinger distances of the twins from each other and from the exact denoiser, on fresh strings under noise.

    They are means over the levels 0.1, 0.2, ..., 0.9, and that of the twins is also taken at each of them.
    """
    x0, t = levels_over(held)
    x = process.noise(x0, t, torch.Generator().manual_seed(seed + 5))
    best = exact(x, t)
    first, second = (from_cpu(model)(x, t) for model in models.values())
    apart = hellinger(first, second).reshape(-1, EXCESS_LEVELS).mean(0)
    by_level = {
        f"apart_{level:.1f}": float(d) for level, d in zip(t[:EXCESS_LEVELS].tolist(), apart, strict=True)
    }
    short = [float(hellinger(one, best).mean()) for one in (first, second)]
    return {"apart": float(apart.mean()), "short": sum(short) / 2, **by_level}
