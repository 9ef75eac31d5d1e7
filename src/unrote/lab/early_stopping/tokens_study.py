"""What experiments on grammars share: strings parted in two, a model of them trained, and all that is known measured.

The language is known, so that rules are checked one by one, copies are told from chance, and losses stand beside the
least that any model can reach.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unrote.contracts import Examples
from unrote.data.grammar import Grammar, Shape, random_grammar
from unrote.data.grammar_counts import distinct_strings
from unrote.data.grammar_parse import parse
from unrote.denoise.grammar import GrammarDenoiser
from unrote.denoise.token_networks import TokenPosterior, Transformer, Tree
from unrote.denoise.tokens import excess_loss
from unrote.lab.early_stopping.law_runs import followed, losses
from unrote.lab.study import from_cpu
from unrote.measure.hamming import hamming_neighbors
from unrote.noise.schedule import linear_alpha_bars
from unrote.noise.tokens import Masked, TokenProcess, Uniform
from unrote.sample.token_steps import first_hitting, generate_tokens, masks_first, resample, uniform_start
from unrote.train.loop import Options
from unrote.train.probe import Probe, probe_of
from unrote.train.recipe import Recipe
from unrote.train.token_losses import masked_recipe, uniform_recipe

TIMESTEPS = 1000
"""Levels of D3PM's linear schedule."""
LOSSES = 512
"""Pairs of a training and a held-out string under the same noise, on which losses are taken."""
EXCESS_LEVELS = 9
"""Levels 0.1, 0.2, ... at which the excess over the exact denoiser is taken."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """Strings of one language, parted.

    Args:
        grammar: its rules.
        train: P different strings.
        held: other strings.
    """

    grammar: Grammar
    train: Tensor
    held: Tensor


@dataclass(frozen=True)
class Way:
    """A process, how it is trained and how it generates.

    Args:
        process: vocabulary -> how strings are destroyed.
        recipe: (examples, vocabulary) -> what a model is trained on.
        generate: (denoiser, length, vocabulary, count, seed) -> strings.
    """

    process: Callable[[int], TokenProcess]
    recipe: Callable[[Examples, int], Recipe]
    generate: Callable[[nn.Module, int, int, int, int], Tensor]


def d3pm_levels() -> Tensor:
    """t at the timesteps 1..1,000 of the linear schedule."""
    return 1 - linear_alpha_bars(TIMESTEPS)


def by_uniform(steps: int = 64) -> Way:
    """D3PM: the variational bound at 1,000 levels, samples by so many of them."""

    def generate(denoiser: nn.Module, length: int, vocabulary: int, count: int, seed: int) -> Tensor:
        kept = torch.linspace(TIMESTEPS - 1, 0, steps, dtype=torch.float64).round().long()
        levels = torch.cat([d3pm_levels()[kept], torch.zeros(1, dtype=torch.float64)])
        seeds, home = _seeds(count, seed), home_of(denoiser)
        return generate_tokens(
            denoiser, length, vocabulary, seeds, levels, resample, uniform_start, device=home
        )

    return Way(Uniform, lambda examples, v: uniform_recipe(examples, v, d3pm_levels()), generate)


def by_masks() -> Way:
    """Masked diffusion: the continuous-time bound, samples by opening one mask at a time."""

    def generate(denoiser: nn.Module, length: int, vocabulary: int, count: int, seed: int) -> Tensor:
        levels, step = torch.tensor([1.0, 0.0], dtype=torch.float64), first_hitting(vocabulary)
        seeds, home = _seeds(count, seed), home_of(denoiser)
        return generate_tokens(denoiser, length, vocabulary, seeds, levels, step, masks_first, device=home)

    return Way(Masked, masked_recipe, generate)


def corpus(shape: Shape, trained: int, held: int, language: int, seed: int) -> Corpus:
    """P training strings and some that are held out, of the language that one seed draws and the strings of another.

    Args:
        trained: P.
        held: how many others.
        language: seed of the rules.
        seed: of the strings; those of a larger P contain those of a smaller one.
    """
    grammar = random_grammar(shape, torch.Generator().manual_seed(language))
    x = distinct_strings(grammar, held + trained, torch.Generator().manual_seed(seed)).x
    return Corpus(grammar, x[held : held + trained], x[:held])


def model_of(
    description: Tree | Transformer, grammar: Grammar, process: TokenProcess, seed: int
) -> TokenPosterior:
    """A fresh network that reads what the other tokens say of each."""
    shape = grammar.shape
    g = torch.Generator().manual_seed(seed)
    return TokenPosterior(description.build(shape.length, shape.vocabulary, None, g), process)


def study(
    made: Corpus,
    way: Way,
    description: Tree | Transformer,
    options: Options,
    at: list[int],
    samples: int,
    seed: int,
    averaged_alone: bool = False,
    enough: Callable[[Mapping[str, float]], bool] = lambda seen: False,
) -> dict[str, Any]:
    """Train a model, and at some steps take losses, the excess over the best, broken rules, and copies.

    Args:
        made: strings.
        way: process, recipe and sampler.
        description: of the network.
        options: of training.
        at: ascending steps, multiples of 8.
        samples: strings generated at each, for raw and for averaged weights.
        seed: of weights, training, noise and samples.
        averaged_alone: whether raw weights are measured without samples.
        enough: what was measured of averaged weights -> whether the run may end.

    Returns:
        as `unrote.lab.early_stopping.law_runs.followed`; "exact" holds the losses of the exact denoiser.
    """
    shape = made.grammar.shape
    v = shape.vocabulary
    process = way.process(v)
    rows, fresh = (Examples(x, torch.zeros(len(x))) for x in (made.train, made.held))
    recipe = way.recipe(rows, v)
    exact = GrammarDenoiser(made.grammar, process)
    probe = probe_on(rows, fresh, recipe, seed)

    def measured(name: str, model: nn.Module) -> dict[str, float]:
        seen = losses(model, probe) | excess(model, exact, process, made, seed)
        if averaged_alone and name == "raw":
            return seen
        x = way.generate(model, shape.length, v, samples, seed)
        return seen | of_samples(x, made)

    model = model_of(description, made.grammar, process, seed)
    found = followed(model, recipe, seed, options, at, measured, enough)
    least_train, least = (float(one.mean()) for one in probe.losses(exact))
    return {"exact": {"train": least_train, "validation": least}, **found}


def home_of(model: nn.Module) -> torch.device:
    """Where a model lives; one without weights answers where it is asked, on the CPU."""
    return next((weight.device for weight in model.parameters()), torch.device("cpu"))


def excess(
    model: nn.Module, exact: GrammarDenoiser, process: TokenProcess, made: Corpus, seed: int
) -> dict[str, float]:
    """KL(exact | model) in nats per token on held-out strings, as a mean over levels and at each of them."""
    x, t = levels_over(made.held)
    g = torch.Generator().manual_seed(seed + 3)
    asked = model if home_of(model).type == "cpu" else from_cpu(model)
    values = excess_loss(asked, exact, process, x, t, g).reshape(-1, EXCESS_LEVELS).mean(0)
    by_level = {
        f"excess_{level:.1f}": float(value)
        for level, value in zip(t[:EXCESS_LEVELS].tolist(), values, strict=True)
    }
    return {"excess": float(values.mean()), **by_level}


def levels_over(x: Tensor) -> tuple[Tensor, Tensor]:
    """Strings, at most `LOSSES`, and the levels 0.1, 0.2, ... for one after the other in turn."""
    count = min(len(x), LOSSES) // EXCESS_LEVELS * EXCESS_LEVELS
    return x[:count], torch.linspace(0.1, 0.9, EXCESS_LEVELS, dtype=torch.float64).repeat(
        count // EXCESS_LEVELS
    )


def of_samples(x: Tensor, made: Corpus) -> dict[str, float]:
    """Counts of samples: those that break rules up to each layer, copies, valid ones, and the mean distance."""
    valid = parse(made.grammar, x).valid
    distance = hamming_neighbors(x, made.train).distance[:, 0]
    errors = {f"errors_{layer + 1}": float((~one).sum()) for layer, one in enumerate(valid.unbind(1))}
    copied = float((distance == 0).sum())
    return {**errors, "copies": copied, "valid": float(valid[:, -1].sum()), "hamming": float(distance.mean())}


def probe_on(rows: Examples, fresh: Examples, recipe: Recipe, seed: int) -> Probe:
    """Pairs of a training and a held-out string under the same noise; `LOSSES` of each."""
    pairs = min(len(rows.x), LOSSES)
    g = torch.Generator().manual_seed(seed + 2)
    draws = max(1, LOSSES // pairs)
    return probe_of(rows, fresh, recipe.law, recipe.weight, g, pairs, draws, recipe.loss)


def _seeds(count: int, seed: int) -> range:
    first = seed * 1_000_003
    return range(first, first + count)
