"""One run: a model of a grammar is trained up to a step, draws strings, and every use of a rule in them is counted.

What all strings of the grammar do is known exactly, and what so many of them do by chance from sets that the exact
denoiser draws: so that a deviation is told from the noise of sampling.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unrote.contracts import Examples
from unrote.data.grammar import Grammar, Shape
from unrote.data.grammar_parse import Parse, parse
from unrote.data.grammar_usage import Usage, expected_usage, rule_counts, rule_usage
from unrote.denoise.grammar import GrammarDenoiser
from unrote.denoise.token_networks import Tree
from unrote.lab.early_stopping.law_runs import followed, losses
from unrote.lab.early_stopping.rhm_runs import WAYS
from unrote.lab.early_stopping.tokens_study import Corpus, Way, corpus, model_of, probe_on
from unrote.measure.hamming import hamming_neighbors
from unrote.train.loop import Options

SURE = 0.95
"""Of sets of strings that the exact denoiser draws, so many are nearer to what is expected than the limit."""


def run(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """Train up to a step, and count the rules in what the averaged weights draw."""
    seed, shape, way = int(asked["seed"]), Shape(**asked["shape"]), WAYS[asked["way"]]
    made = corpus(shape, asked["trained"], asked["held"], seed, seed)
    model, found = trained(asked, made, way)
    x = way.generate(model, shape.length, shape.vocabulary, asked["samples"], seed)
    exact = exact_sets(made.grammar, way, asked["samples"], asked["sets"], seed)
    return {**found, **counted(x, made), **deviations(x, made, exact)}


def trained(asked: Mapping[str, Any], made: Corpus, way: Way) -> tuple[nn.Module, dict[str, Any]]:
    """The averaged weights at the last step, and their losses on the way to it."""
    seed, v = int(asked["seed"]), made.grammar.shape.vocabulary
    rows, fresh = (Examples(x, torch.zeros(len(x))) for x in (made.train, made.held))
    recipe = way.recipe(rows, v)
    probe = probe_on(rows, fresh, recipe, seed)
    model = model_of(Tree(asked["width"]), made.grammar, way.process(v), seed)
    averaged: list[nn.Module] = []

    def measured(name: str, now: nn.Module) -> Mapping[str, float]:
        if name == "raw":
            return {}
        averaged[:] = [now]
        seen = losses(now, probe)
        return {part: seen[part] for part in ("train", "validation")}

    found = followed(model, recipe, seed, Options(**asked["options"]), list(asked["at"]), measured)
    return averaged[0], {"steps": found["steps"], "losses": found["averaged"]}


def exact_sets(grammar: Grammar, way: Way, count: int, sets: int, seed: int) -> list[Usage]:
    """Sets of as many strings as the model draws, from the exact denoiser at level 1, where nothing is left."""
    v, length = grammar.shape.vocabulary, grammar.shape.length
    denoiser = GrammarDenoiser(grammar, way.process(v))
    g = torch.Generator().manual_seed(seed + 5)
    nothing, t = torch.zeros(count, length, dtype=torch.int64), torch.ones(count, dtype=torch.float64)
    x = way.process(v).noise(nothing, t, g)
    drawn = (denoiser.sample(x, t, g) for _ in range(sets))
    return [rule_usage(grammar.shape, parse(grammar, one)) for one in drawn]


def counted(x: Tensor, made: Corpus) -> dict[str, Any]:
    """Copies and valid ones among strings; how often valid ones use each rule, and each two of them together.

    Sums over the valid strings of c_r, of c_r c_q for r <= q, row by row, and of c_r over the training strings.
    """
    shape = made.grammar.shape
    valid = only_valid(made.grammar, x)
    counts = rule_counts(shape, valid)
    upper = torch.triu_indices(counts.shape[1], counts.shape[1])
    together = (counts.mT @ counts)[upper[0], upper[1]]
    learned = rule_counts(shape, parse(made.grammar, made.train)).sum(0)
    return {
        "copies": int((hamming_neighbors(x, made.train).distance[:, 0] == 0).sum()),
        "valid": len(counts),
        "times": counts.sum(0).long().tolist(),
        "together": together.long().tolist(),
        "learned": learned.long().tolist(),
    }


def only_valid(grammar: Grammar, x: Tensor) -> Parse:
    """The derivations of those strings that break no rule."""
    return parse(grammar, x[parse(grammar, x).valid[:, -1]])


@dataclass(frozen=True)
class Noise:
    """What a statistic is for strings of the exact denoiser.

    Args:
        mean: over sets.
        limit: what a share `SURE` of them stays below.
    """

    mean: float
    limit: float


def deviations(x: Tensor, made: Corpus, exact: list[Usage]) -> dict[str, Any]:
    """Mean squares of what the use of rules is off, and what as many exact strings would be; None without any.

    Noise goes as one over the number of strings, so that one number of exact strings serves all.
    """
    grammar, shape = made.grammar, made.grammar.shape
    expected = expected_usage(grammar)
    valid, every = only_valid(grammar, x), parse(grammar, x)
    noise = {
        "occurrence": noise_of([occurrence(one, expected, shape) for one in exact]),
        "covariance": noise_of([covariance(one, expected) for one in exact]),
    }
    found: dict[str, Any] = {"structure": structure(expected)}
    own = relative(learned(made), expected, shape)
    strings: dict[str, float | None] = {"occurrence": float(own.square().mean()), "followed": None}
    n = len(valid.symbols[0])
    for name, value in (
        ("occurrence", occurrence(rule_usage(shape, valid), expected, shape) if n else None),
        ("covariance", covariance(rule_usage(shape, valid), expected) if n else None),
    ):
        share = exact[0].n / max(1, n)
        found[name] = {"value": value, "noise": noise[name].mean * share, "limit": noise[name].limit * share}
    if n:
        strings["followed"] = slope(relative(rule_usage(shape, valid), expected, shape), own)
    everywhere = occurrence(rule_usage(shape, every), expected, shape)
    return {**found, "strings": strings, "all": {"occurrence": everywhere, "noise": noise["occurrence"].mean}}


def slope(y: Tensor, x: Tensor) -> float | None:
    """sum x y / sum x^2, by how much y goes with x, None where x is nothing but 0."""
    square = float(x.square().sum())
    return float((x * y).sum()) / square if square else None


def learned(made: Corpus) -> Usage:
    """How often the training strings use each rule."""
    return rule_usage(made.grammar.shape, parse(made.grammar, made.train))


def noise_of(values: list[float]) -> Noise:
    """The mean over sets, and the limit."""
    table = torch.tensor(values, dtype=torch.float64)
    return Noise(float(table.mean()), float(table.quantile(SURE)))


def relative(usage: Usage, expected: Usage, shape: Shape) -> Tensor:
    """How much more often than expected each rule is used, among the rules of its layer: share / expected - 1.

    A layer of which no symbol is left has -1 everywhere.
    """
    sizes = [shape.symbols(layer) * shape.rules for layer in range(1, shape.layers + 1)]
    shares = [
        torch.cat([part / part.sum().clamp(min=1e-300) for part in one.mean.split(sizes)])
        for one in (usage, expected)
    ]
    return shares[0] / shares[1] - 1


def occurrence(usage: Usage, expected: Usage, shape: Shape) -> float:
    """The mean square over rules of `relative`."""
    return float(relative(usage, expected, shape).square().mean())


def correlations(usage: Usage, expected: Usage) -> Tensor:
    """Covariances over the standard deviations that are expected, of all pairs r < q."""
    spread = expected.covariance.diagonal().sqrt()
    upper = torch.triu_indices(len(spread), len(spread), 1)
    return (usage.covariance / torch.outer(spread, spread))[upper[0], upper[1]]


def covariance(usage: Usage, expected: Usage) -> float:
    """The mean square over pairs of rules of what their correlation is off."""
    return float((correlations(usage, expected) - correlations(expected, expected)).square().mean())


def structure(expected: Usage) -> float:
    """The mean square over pairs of rules of the correlation that the grammar itself has."""
    return float(correlations(expected, expected).square().mean())
