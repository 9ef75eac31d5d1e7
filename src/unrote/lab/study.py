"""Networks trained for experiments: pictures parted four ways, remedies by name, and what is measured of a model.

What the experiments on trained networks share. Everything is named in a JSON configuration: `material` reads its
"pictures", `network_of` its "network", `remedied` its "remedy"; `trained` yields averaged denoisers at chosen steps.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional

from unrote.contracts import Denoiser, Examples, InputError
from unrote.data.mixtures import coloured_templates, draw
from unrote.denoise.networks import MLP, UNet, from_description
from unrote.geometry.posterior import weight_curve
from unrote.geometry.regimes import Regimes, regimes
from unrote.geometry.shells import Shell, coverage
from unrote.jobs.fitting import build
from unrote.jobs.masks import Inpainter, mask_seeds, one_by_one
from unrote.jobs.measuring import LAW
from unrote.lab.pictures import labelled
from unrote.measure.copies import is_copy
from unrote.measure.denoising import denoised_levels
from unrote.measure.features import FeatureMap
from unrote.measure.features.classifier import train_classifier
from unrote.measure.fidelity import Frechet, frechet
from unrote.measure.neighbors import neighbors
from unrote.noise.levels import edm_levels, end_at_zero, log_levels
from unrote.sample.steps import Step, generate, heun
from unrote.train.augment import flip
from unrote.train.loop import Options, train
from unrote.train.losses import held_out_loss
from unrote.train.masking import FURTHER
from unrote.train.recipe import Recipe, baseline

APART = 4000
"""Pictures for the classifier whose features measure quality, at most; a third of a set where that is less."""
MLP_SMALL: dict[str, Any] = {"kind": "mlp", "width": 512, "depth": 3, "dropout": 0.0}
"""A network without locality."""
UNET_SMALL: dict[str, Any] = {"kind": "unet", "channels": [16, 32], "layers": 1}
"""A small convolutional network, 0.16 million weights."""


@dataclass(frozen=True, eq=False)
class Material:
    """Pictures of one configuration, no two parts of which share a picture, `train` and `many` apart.

    Args:
        train: learned from, in [-1, 1] (N,C,H,W).
        test: fresh ones of the same kind (M,C,H,W).
        many: `train` first, then all that are left: what a model with much data learns from.
        train_label: classes of `train` (N,); 0 where the set has none.
        test_label: classes of `test` (M,).
    """

    train: Float[Tensor, "N C H W"]
    test: Float[Tensor, "M C H W"]
    many: Float[Tensor, "L C H W"]
    train_label: Int[Tensor, " N"] | None = None
    test_label: Int[Tensor, " M"] | None = None


def coloured_digits() -> tuple[UInt8[Tensor, "N C H W"], Int[Tensor, " N"]]:
    """Digits in random colours, c (x) digit with c ~ N(0, I) in three channels, cut to 8-bit pixels; 4,000 of them.

    Source: 000 section 4.2, with digits as templates.
    """
    x, label = read("digits")
    kept = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:400]
    mixture = coloured_templates(x[kept, 0].double() / 255)
    rows = draw(mixture, 4000, torch.Generator().manual_seed(1))
    return as_pixels(rows.x.reshape(-1, 3, *x.shape[2:]).float() / 2), label[kept][rows.label]


MADE = {"templates": coloured_digits}
"""Sets that are computed."""


def read(name: str) -> tuple[UInt8[Tensor, "N C H W"], Int[Tensor, " N"]]:
    """A named set with its labels, 0 where there are none."""
    found = labelled(name)
    label = torch.zeros(len(found.pixels), dtype=torch.int64) if found.labels is None else found.labels
    return found.pixels, label


@lru_cache(maxsize=4)
def prepared(name: str, side: int) -> tuple[UInt8[Tensor, "N C H W"], Int[Tensor, " N"]]:
    """A named set brought to a side by means over squares, as 8-bit pixels, with labels (0 where there are none)."""
    x, label = MADE[name]() if name in MADE else read(name)
    if side > min(x.shape[2:]):
        raise InputError(
            f"{name} has pictures of {x.shape[2]}x{x.shape[3]}; --side {side} would enlarge them."
        )
    if x.shape[2:] != (side, side):
        blocks = [functional.adaptive_avg_pool2d(block.float(), side) for block in x.split(4096)]
        x = torch.cat(blocks).round().to(torch.uint8)
    return x, label


def parted(asked: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Rows that are never trained on nor tested with, of all classes, and the other rows in a fixed order.

    The rows apart are the same at every seed, so that features can be compared between seeds.
    """
    _, label = prepared(asked["set"], asked["side"])
    order = torch.randperm(len(label), generator=torch.Generator().manual_seed(2**20))
    cut = min(APART, len(order) // 3)
    rest = order[cut:]
    return order[:cut], rest if asked["class"] is None else rest[label[rest] == asked["class"]]


def as_unit(x: UInt8[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:
    """8-bit pixels as numbers from -1 to 1."""
    return x.float() / 127.5 - 1


def as_pixels(x: Float[Tensor, "N C H W"]) -> UInt8[Tensor, "N C H W"]:
    """Numbers from -1 to 1 as 8-bit pixels; what lies outside is cut."""
    return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def material(asked: Mapping[str, Any], seed: int) -> Material:
    """The pictures of a configuration at one seed.

    Args:
        asked: {"set", "class" (or None), "side", "images" (N), "test" (M)}.
        seed: of which pictures are training and test pictures.

    Raises:
        InputError: if the set does not hold as many.
    """
    x, label = prepared(asked["set"], asked["side"])
    _, rows = parted(asked)
    n, m = asked["images"], asked["test"]
    if n + m > len(rows):
        raise InputError(
            f"{asked['set']} has {len(rows):,} pictures of this kind beside those kept apart, and {n:,} training and "
            f"{m:,} test pictures were asked for; ask for fewer."
        )
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))]
    train, test, left = rows[:n], rows[n : n + m], rows[n + m :]
    parts = [as_unit(x[part]) for part in (train, test, torch.cat([train, left]))]
    return Material(parts[0], parts[1], parts[2], label[train], label[test])


@lru_cache(maxsize=8)
def _features(name: str, side: int) -> FeatureMap:
    x, label = prepared(name, side)
    apart, _ = parted({"set": name, "side": side, "class": None})
    return train_classifier(x[apart], label[apart], torch.Generator().manual_seed(0)).feature_map()


def features_of(asked: Mapping[str, Any]) -> FeatureMap:
    """Features of a classifier that learned from the pictures kept apart: neither training nor test pictures.

    Raises:
        InputError: for a set without labels.
    """
    return _features(asked["set"], asked["side"])


def geometry_of(made: Material, seed: int, levels: tuple[float, float, int] = (0.03, 20.0, 80)) -> Regimes:
    """Posterior weight, coverage, regimes and danger zone of the training pictures, before anything is trained."""
    sigma = log_levels(*levels)
    g = torch.Generator().manual_seed(seed)
    draws = max(1, 2048 // len(made.train))
    weight = weight_curve(made.train, sigma, g, base=None, draws=draws).maximum
    covered = coverage(made.train, made.test, sigma, Shell(made.train[0].numel()), g, 4)
    return regimes(sigma, weight, covered, count=len(made.train), generator=g, repeats=50)


def nearest_distance(made: Material) -> float:
    """Median distance of the test pictures to their nearest training picture, in units of pixels from -1 to 1."""
    found = neighbors(as_pixels(made.test), as_pixels(made.train)).distance[:, 0].double() / 127.5
    return float(found.median())


def network_of(asked: Mapping[str, Any]) -> MLP | UNet:
    """The network that a configuration describes, for instance `UNET_SMALL`."""
    return from_description(asked)


@dataclass(frozen=True)
class Checkpoint:
    """A denoiser with averaged weights at one step; it moves on with the next one.

    Args:
        denoiser: of images; one that was trained by masking sees all of them under one mask.
        masked: the same where it was trained by masking: it has a mask for each sample.
    """

    step: int
    denoiser: Denoiser
    masked: Inpainter | None = None


def trained(
    x: Float[Tensor, "N C H W"],
    network: MLP | UNet,
    options: Options,
    seed: int,
    at: Sequence[int],
    remedy: Any = None,
    classes: int | None = None,
    label: Int[Tensor, " N"] | None = None,
    hidden: float | None = None,
) -> Iterator[Checkpoint]:
    """Train EDM's recipe, changed by a remedy, and hand out the averaged denoiser at some steps.

    Start weights, rows, levels and noise depend on the seed alone: runs that differ in a remedy are paired.

    Args:
        x: training pictures in [-1, 1].
        options: `tick_every` is set so that every step of `at` is met.
        at: ascending steps, multiples of their greatest common divisor; training ends at the last.
        remedy: recipe -> recipe, or None.
        classes, label: of a network with classes. A denoiser is called without labels, as of class 0.
        hidden: the share of pixels that the remedy hides for good where it is `masking`, else None.
    """
    denoiser = build(network, x.shape[1:], classes, seed, hidden is not None)
    recipe: Recipe = baseline(Examples(x, torch.zeros(len(x)), label), LAW, denoiser.weight)
    recipe = recipe if remedy is None else remedy(recipe)
    options = replace(options, steps=max(at), tick_every=math.gcd(*at))
    for tick in train(denoiser, recipe, torch.Generator().manual_seed(seed + 1), options):
        if tick.step in at:
            ema = tick.state.ema
            masked = None
            if hidden is not None:
                ema = masked = Inpainter(ema, x.shape[1:], hidden, FURTHER, mask_seeds(seed, 1)[0])
            called = from_cpu(ema)
            yield Checkpoint(tick.step, called if classes is None else of_class(called, 0), masked)


def from_cpu(denoiser: nn.Module) -> Denoiser:
    """A denoiser that may live on an accelerator, asked with tensors of the CPU and answering with such."""
    home = next(denoiser.parameters()).device

    def denoise(x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        given = None if condition is None else condition.to(home)
        answer: Tensor = denoiser(x.to(home), sigma.to(home), given)
        return answer.to(x.device)

    return denoise


def of_class(denoiser: Denoiser, label: int) -> Denoiser:
    """A conditional denoiser as one of a single class."""

    def denoise(x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        return denoiser(x, sigma, torch.full((len(x),), label, device=x.device))

    return denoise


def samples_of(
    denoiser: Denoiser,
    shape: Sequence[int],
    count: int,
    seed: int,
    step: Step = heun,
    levels: int = 18,
    condition: Tensor | None = None,
) -> Float[Tensor, "n C H W"]:
    """Samples along EDM's levels; the same seeds for every denoiser, so that runs are paired.

    Args:
        condition: what the denoiser is told of each sample (count,), or None.
    """
    seeds = [1_000_003 * (seed + 1) + i for i in range(count)]
    grid = end_at_zero(edm_levels(levels))
    return generate(denoiser, tuple(shape), seeds, grid, step, batch_size=256, condition=condition)


def drawn_from(
    checkpoint: Checkpoint, shape: Sequence[int], count: int, seed: int
) -> Float[Tensor, "n C H W"]:
    """Samples of a checkpoint as `samples_of` draws them; after masking each under a mask of its own."""
    if checkpoint.masked is None:
        return samples_of(checkpoint.denoiser, shape, count, seed)
    home = next(checkpoint.masked.parameters()).device
    numbered, number = one_by_one(checkpoint.masked, mask_seeds(seed, count), None, home)
    assert isinstance(numbered, nn.Module)
    return samples_of(from_cpu(numbered), shape, count, seed, condition=number)


def copied(samples: Float[Tensor, "n C H W"], training: Float[Tensor, "N C H W"]) -> Bool[Tensor, " n"]:
    """Which pictures are copies of a training picture, both in 8 bits."""
    found = neighbors(as_pixels(samples), as_pixels(training))
    return is_copy(found.distance[:, 0], found.distance[:, 1])


def copied_or_mirrored(
    samples: Float[Tensor, "n C H W"], training: Float[Tensor, "N C H W"]
) -> Bool[Tensor, " n"]:
    """Which pictures, as they are or mirrored, are copies of a training picture."""
    return copied(samples, training) | copied(flip(samples), training)


def quality(
    samples: Float[Tensor, "n C H W"], test: Float[Tensor, "M C H W"], features: FeatureMap, seed: int = 0
) -> Frechet:
    """Frechet distance of samples and test pictures in some features, as many of each."""
    n = min(len(samples), len(test))
    sets = [torch.cat([features(block) for block in as_pixels(x[:n]).split(256)]) for x in (samples, test)]
    return frechet(sets[0], sets[1], torch.Generator().manual_seed(seed))


@dataclass(frozen=True)
class ByLevel:
    """One denoising step at every level: JSON lists, one entry per level.

    Args:
        levels: sigma.
        copies: share of noised test pictures that come out as copies of a training picture.
        train_error, test_error: squared error per number, on training and on test pictures.
    """

    levels: list[float]
    copies: list[float]
    train_error: list[float]
    test_error: list[float]


def by_level(
    denoiser: Denoiser, made: Material, levels: Float[Tensor, " T"], seed: int, count: int = 500
) -> ByLevel:
    """Probe a denoiser level by level with the same noise at every level.

    Args:
        count: noised pictures of each set; training pictures are taken several times where they are fewer.
    """
    g = torch.Generator().manual_seed(seed + 7)
    test = made.test[:count]
    train = made.train[torch.arange(len(test)) % len(made.train)]
    copies: list[float] = []
    test_error: list[float] = []
    for out in denoised_levels(denoiser, test, levels, g):
        copies.append(float(copied(out, made.train).double().mean()))
        test_error.append(float((out.double() - test.double()).square().mean()))
    train_error = [
        float((out.double() - train.double()).square().mean())
        for out in denoised_levels(denoiser, train, levels, g)
    ]
    return ByLevel(levels.tolist(), copies, train_error, test_error)


def loss_on(denoiser: Denoiser, weight: Any, x: Float[Tensor, "M C H W"], seed: int) -> float:
    """The denoising loss on pictures at fixed levels of the training law, weighted as in training."""
    g = torch.Generator().manual_seed(seed + 2)
    rows = torch.arange(max(len(x), 1024)) % len(x)
    sigma = LAW(len(rows), g)
    z = torch.randn(len(rows), *x.shape[1:], generator=g)
    return float(held_out_loss(denoiser, x[rows], sigma, z, weight).double().mean())


def key(asked: Mapping[str, Any]) -> str:
    """A configuration without its seed: runs of one key are one setting."""
    return json.dumps({name: value for name, value in asked.items() if name != "seed"}, sort_keys=True)
