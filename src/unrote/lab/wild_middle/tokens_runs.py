"""One run on a random grammar: geometry before training, a model with or without a gap, its levels and its swaps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unrote.contracts import Examples, InputError, TokenDenoiser
from unrote.data.grammar import Shape
from unrote.denoise.grammar import GrammarDenoiser
from unrote.denoise.token_networks import Tree
from unrote.denoise.token_probe import TokenSwitch, recall
from unrote.denoise.tokens import TokenEmpirical
from unrote.geometry.regimes import Zone
from unrote.geometry.tokens import TokenZone, language_weight, token_coverage, token_weight_curve, token_zone
from unrote.lab.early_stopping.tokens_study import (
    Corpus,
    Way,
    by_masks,
    by_uniform,
    corpus,
    excess,
    model_of,
    of_samples,
)
from unrote.measure.hamming import hamming_neighbors
from unrote.noise.tokens import TokenProcess
from unrote.train.interventions import GapRule, gap, reject, skip
from unrote.train.loop import Options, train
from unrote.train.recipe import DRAWS, Recipe

WAYS = {"uniform": by_uniform(), "masked": by_masks()}
"""Processes by name."""
LEVELS = torch.tensor([0.02, *(0.05 * k for k in range(1, 20)), 0.98, 1.0], dtype=torch.float64)
"""Levels of curves and probes."""
DRAWS_EACH = 8
"""Noises of each string for curves of geometry."""
PROBED = 512
"""Noisy strings at each level of a probe."""
TURNS = tuple(round(0.1 * k, 1) for k in range(1, 10))
"""Levels at which one denoiser hands over to the other."""
PLAIN = "baseline"
PARTS = ("low", "zone", "high")
"""Below, within and above the danger zone."""

Place = Callable[[TokenZone, Recipe], Zone]
"""Which levels are left out, from the geometry and the law of levels."""


def danger(found: TokenZone, recipe: Recipe) -> Zone:
    """The danger zone of strings.

    Raises:
        InputError: if the curves have none.
    """
    if found.danger is None:
        raise InputError(
            f"These strings have no danger zone to leave out: {'; '.join(found.reasons.values())}. Take more "
            "strings, or a longer one."
        )
    return found.danger


def images(found: TokenZone, recipe: Recipe) -> Zone:
    """The gap that is recommended for images, between their thresholds of the same curves."""
    return found.gap or danger(found, recipe)


def beside(above: bool) -> Place:
    """As much of the law, just above or just below the zone."""

    def place(found: TokenZone, recipe: Recipe) -> Zone:
        return shifted(danger(found, recipe), recipe, above)

    return place


def shifted(zone: Zone, recipe: Recipe, above: bool) -> Zone:
    """The next interval with the share of the law that a zone has; it reaches back where the law ends before."""
    law = recipe.law(DRAWS, torch.Generator().manual_seed(0)).double().sort().values
    first, last = (int((law <= end).sum()) for end in (zone.low, zone.high))
    count = last - first
    begin = min(last, len(law) - count) if above else max(0, first - count)
    low = float(law[begin - 1]) if begin else 0.0
    return Zone(low, float(law[begin + count - 1]))


CURES: dict[str, tuple[Place, GapRule] | None] = {
    PLAIN: None,
    "zone reject": (danger, reject),
    "zone skip": (danger, skip),
    "below reject": (beside(False), reject),
    "above reject": (beside(True), reject),
    "images reject": (images, reject),
}
"""What is left out of training, and how, by the name that configurations have."""


def run(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """Geometry, training, and copies and errors on the way; of the baseline its levels and swaps as well."""
    seed, way = int(asked["seed"]), WAYS[asked["way"]]
    shape = Shape(**asked["shape"])
    made = corpus(shape, asked["trained"], asked["held"], seed, seed)
    process = way.process(shape.vocabulary)
    exact = GrammarDenoiser(made.grammar, process)
    curves, zone = geometry_of(made, process, exact, seed)
    recipe = way.recipe(Examples(made.train, torch.zeros(len(made.train))), shape.vocabulary)
    cure = CURES[asked["cure"]]
    removed = None
    if cure is not None:
        left_out = cure[0](zone, recipe)
        removed = [left_out.low, left_out.high]
        recipe = gap(left_out.low, left_out.high, cure[1])(recipe)
    model = model_of(Tree(asked["width"]), made.grammar, process, seed)
    found: dict[str, Any] = {"geometry": curves, "gap": removed, "share": share(way, made, removed)}
    measured, averaged = followed(asked, model, recipe, made, way, exact, seed)
    found |= measured
    if cure is None:
        found["probe"] = probe(averaged, exact, process, made, seed)
        found["swap"] = swaps(averaged, exact, way, made, zone.danger, int(asked["samples"]), seed)
    return found


def geometry_of(
    made: Corpus, process: TokenProcess, exact: GrammarDenoiser, seed: int
) -> tuple[dict[str, Any], TokenZone]:
    """All curves of the strings, before any training, as numbers and as what they say."""
    g = torch.Generator().manual_seed(seed + 5)
    weight = token_weight_curve(process, made.train, LEVELS, g, base=None, draws=DRAWS_EACH)
    covered = token_coverage(process, made.train, made.held[:PROBED], LEVELS, g)
    count = math.log(made.grammar.shape.strings)
    known = language_weight(process, made.train, LEVELS, exact.log_evidence, count, g, DRAWS_EACH)
    zone = token_zone(weight, covered, g, known)
    halves = {"weight": zone.weight_half, "covered": zone.covered_half, "language": zone.language_half}
    return {
        "levels": LEVELS.tolist(),
        "own": weight.own.mean(1).tolist(),
        "maximum": weight.maximum.mean(1).tolist(),
        "covered": covered.mean(1).tolist(),
        "language": known.mean(1).tolist(),
        "half": {name: None if one is None else one.value for name, one in halves.items()},
        "crossing": zone.regimes.crossing.value,
        "height": zone.regimes.height.value,
        "danger": interval(zone.danger),
        "images": interval(zone.gap),
    }, zone


def interval(zone: Zone | None) -> list[float] | None:
    """A zone as JSON has it."""
    return None if zone is None else [zone.low, zone.high]


def share(way: Way, made: Corpus, removed: Sequence[float] | None) -> float:
    """The share of the law of levels in a gap."""
    if removed is None:
        return 0.0
    recipe = way.recipe(Examples(made.train, torch.zeros(len(made.train))), made.grammar.shape.vocabulary)
    law = recipe.law(DRAWS, torch.Generator().manual_seed(0)).double()
    return float(((law > removed[0]) & (law <= removed[1])).double().mean())


def followed(
    asked: Mapping[str, Any],
    model: nn.Module,
    recipe: Recipe,
    made: Corpus,
    way: Way,
    exact: GrammarDenoiser,
    seed: int,
) -> tuple[dict[str, Any], nn.Module]:
    """Train, and at some steps count copies and errors and take the excess; numbers and the averaged weights."""
    shape, at = made.grammar.shape, list(asked["at"])
    options = Options(**asked["options"], steps=at[-1], tick_every=math.gcd(*at))
    table: dict[str, list[float]] = {}
    averaged = model
    for tick in train(model, recipe, torch.Generator().manual_seed(seed + 1), options):
        averaged = tick.state.ema
        if tick.step not in at:
            continue
        x = way.generate(averaged, shape.length, shape.vocabulary, int(asked["samples"]), seed)
        seen = of_samples(x, made) | excess(averaged, exact, way.process(shape.vocabulary), made, seed)
        for name, value in seen.items():
            table.setdefault(name, []).append(value)
    return {"steps": at, **table}, averaged


def probe(
    model: nn.Module, exact: GrammarDenoiser, process: TokenProcess, made: Corpus, seed: int
) -> dict[str, Any]:
    """What a model knows at each level of its strings, and how often one look at a fresh one gives a copy."""
    rows = made.train.repeat(max(1, PROBED // len(made.train)), 1)
    heart = TokenEmpirical(made.train, process)
    fresh = made.held[:PROBED]
    found: dict[str, list[float]] = {"known": [], "most": [], "model": [], "exact": [], "heart": []}
    for level in LEVELS:
        t = level.expand(len(rows))
        g = torch.Generator().manual_seed(seed + 6)
        known, most = recall(model, exact, process, made.train, rows, t, g)
        found["known"].append(float(known.mean()))
        found["most"].append(float(most.mean()))
        t = level.expand(len(fresh))
        x = process.noise(fresh, t, torch.Generator().manual_seed(seed + 7))
        for name, one in (("model", model), ("exact", exact), ("heart", heart)):
            found[name].append(single(one, x, t, made.train))
    return {"levels": LEVELS.tolist(), **found}


@torch.no_grad()
def single(denoiser: TokenDenoiser, x: Tensor, t: Tensor, train: Tensor) -> float:
    """How often the likeliest tokens after one look are a training string."""
    told = denoiser(x, t).argmax(2)
    return float((hamming_neighbors(told, train).distance[:, 0] == 0).double().mean())


def swaps(
    model: nn.Module,
    exact: GrammarDenoiser,
    way: Way,
    made: Corpus,
    zone: Zone | None,
    samples: int,
    seed: int,
) -> dict[str, Any]:
    """Copies and valid strings where model and language share the levels: one above a level, and windows.

    "above" is the model above each of `TURNS` and the language below, "below" the other way round; "away" gives a part
    of the levels to the language, "into" gives it to the model alone.
    """
    shape = made.grammar.shape

    def drawn(edges: Sequence[float], denoisers: Sequence[nn.Module]) -> list[float]:
        told = TokenSwitch(edges, denoisers)
        seen = of_samples(way.generate(told, shape.length, shape.vocabulary, samples, seed), made)
        return [seen["copies"], seen["valid"]]

    found: dict[str, Any] = {"count": samples, "turns": list(TURNS), "none": drawn([], [model])}
    found["above"] = [drawn([t], [exact, model]) for t in TURNS]
    found["below"] = [drawn([t], [model, exact]) for t in TURNS]
    if zone is None:
        return found
    edges = [zone.low, zone.high]
    for name, inside, outside in (("away", exact, model), ("into", model, exact)):
        found[name] = {
            part: drawn(edges, [inside if one == part else outside for one in PARTS]) for part in PARTS
        }
    return found
