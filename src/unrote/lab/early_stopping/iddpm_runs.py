"""One run of improved DDPM: timesteps of the cosine schedule, its objectives, ancestral samples at log-spaced steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unrote.contracts import Denoiser, Examples, Step
from unrote.denoise.compose import Coefficients, Precondition, vp_eps
from unrote.denoise.variance import LearnedVariance, MeanOf, log_variance
from unrote.lab.early_stopping.law_rules import STOPPED_AT
from unrote.lab.early_stopping.law_runs import EVALUATIONS, followed, losses
from unrote.lab.study import Material, copied, from_cpu, material, network_of, quality
from unrote.lab.wild_middle.gap_runs import measured_in, pairs
from unrote.noise.levels import CosineTimesteps, end_at_zero, respaced
from unrote.noise.schedule import CosineTime, cosine_levels, fixed_small
from unrote.sample.ancestral import ancestral, learned_ancestral
from unrote.sample.steps import generate
from unrote.train.hybrid import hybrid_loss
from unrote.train.loop import Options
from unrote.train.losses import Loss, denoising_loss
from unrote.train.probe import Probe, probe_of
from unrote.train.recipe import Recipe, baseline

BOUND = 1.0
"""Denoised images are cut to their range before a step back."""


@dataclass(frozen=True)
class Objective:
    """What is trained, and how samples are drawn from it.

    Args:
        outputs: numbers that the network returns for each one of an image.
        wrap: network and preconditioning -> what is trained.
        loss: sigma at all timesteps (T,) -> the loss.
        step: sigma at the timesteps that are taken (n,) -> the step back.
        mean: what was trained -> the denoiser of images in it.
    """

    outputs: int
    wrap: Callable[[nn.Module, Coefficients], Any]
    loss: Callable[[Tensor], Loss]
    step: Callable[[Tensor], Step]
    mean: Callable[[nn.Module], nn.Module]


SIMPLE = Objective(
    outputs=1,
    wrap=Precondition,
    loss=lambda levels: denoising_loss,
    step=lambda levels: ancestral(fixed_small, BOUND),
    mean=lambda trained: trained,
)
"""The error of the noise alone; steps back have the small variance, under which few steps end on copies, too."""
HYBRID = Objective(
    outputs=2,
    wrap=LearnedVariance,
    loss=lambda levels: hybrid_loss(levels, log_variance(levels)),
    step=lambda levels: learned_ancestral(log_variance(levels), BOUND),
    mean=MeanOf,
)
"""The paper's: the error of the noise and the likelihood, which the variances are learned by."""
OBJECTIVES = {"simple": SIMPLE, "hybrid": HYBRID}
"""Objectives that a configuration can name."""

Measure = Callable[[str, nn.Module], tuple[dict[str, float], Tensor]]
"""(name of the weights, what is trained with them) -> numbers by name, and the samples."""


def begun(asked: Mapping[str, Any], made: Material) -> tuple[Any, Recipe]:
    """What is trained, with its first weights, and what on: rows at timesteps drawn uniformly."""
    objective, shape = OBJECTIVES[asked["objective"]], made.train.shape[1:]
    generator = torch.Generator().manual_seed(asked["seed"])
    channels = objective.outputs * shape[0]
    network = network_of(asked["network"]).build(shape, None, generator, channels_out=channels)
    trained = objective.wrap(network, vp_eps(CosineTime(asked["timesteps"])))
    recipe = baseline(of(made.train), CosineTimesteps(asked["timesteps"]), trained.weight)
    return trained, replace(recipe, loss=objective.loss(cosine_levels(asked["timesteps"])))


def of(x: Float[Tensor, "N C H W"]) -> Examples:
    """Pictures as clean examples."""
    return Examples(x, torch.zeros(len(x)))


def paired(asked: Mapping[str, Any], made: Material, recipe: Recipe) -> Probe:
    """Pairs of a training and a test picture under the same noise at timesteps drawn uniformly."""
    count = min(len(made.train), len(made.test), EVALUATIONS)
    g = torch.Generator().manual_seed(asked["seed"] + 2)
    draws = max(1, EVALUATIONS // count)
    return probe_of(of(made.train), of(made.test), recipe.law, recipe.weight, g, count, draws)


def drawn(
    denoiser: Denoiser, asked: Mapping[str, Any], shape: tuple[int, ...], count: int
) -> Float[Tensor, "n C H W"]:
    """Ancestral samples on a subset of the timesteps; the same noise at every checkpoint of a run."""
    levels = respaced(cosine_levels(asked["timesteps"]), asked["sampled_at"])
    step = OBJECTIVES[asked["objective"]].step(levels.flip(0))
    seeds = [1_000_003 * (asked["seed"] + 1) + i for i in range(count)]
    return generate(denoiser, shape, seeds, end_at_zero(levels), step, batch_size=256)


def measuring(asked: Mapping[str, Any], made: Material, recipe: Recipe) -> Measure:
    """Losses in pairs and copies among samples; of averaged weights the Frechet distance, too."""
    probe, features = paired(asked, made, recipe), measured_in(asked["pictures"])
    mean_of, shape = OBJECTIVES[asked["objective"]].mean, tuple(made.train.shape[1:])

    def measure(name: str, model: nn.Module) -> tuple[dict[str, float], Tensor]:
        samples = drawn(from_cpu(model), asked, shape, asked["samples"])
        seen = losses(mean_of(model), probe) | {"copies": float(copied(samples, made.train).sum())}
        if name == "averaged":
            value = quality(samples, made.test, features).distance.value
            assert value is not None
            seen["frechet"] = value
        return seen, samples

    return measure


def keep(
    album: dict[str, Any],
    seen: Mapping[str, float],
    samples: Float[Tensor, "n C H W"],
    made: Material,
    count: int,
) -> None:
    """Put the first samples beside their nearest training pictures: those at the last clean checkpoint, and the last.

    Clean as in `unrote.lab.early_stopping.law_rules.stop_of`: none after the gap was surely exceeded.
    """
    shown = pairs(samples[:count], made.train)
    album["end"] = shown
    album["stopped"] = album.get("stopped", False) or seen["gap_low"] > STOPPED_AT
    if not album["stopped"] and seen["gap"] <= STOPPED_AT:
        album["stop"] = shown


def run(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """Train, and measure raw and averaged weights at every checkpoint; some samples are kept."""
    made = material(asked["pictures"], asked["seed"])
    trained, recipe = begun(asked, made)
    measure = measuring(asked, made, recipe)
    album: dict[str, Any] = {}

    def measured(name: str, model: nn.Module) -> Mapping[str, float]:
        seen, samples = measure(name, model)
        if name == "averaged" and asked["kept"]:
            keep(album, seen, samples, made, asked["kept"])
        return seen

    options = Options(**asked["options"])
    found = followed(trained, recipe, asked["seed"], options, asked["at"], measured)
    return {"fresh": int(copied(made.test, made.train).sum()), **found, "album": album or None}
