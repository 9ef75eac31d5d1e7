"""One run of the gap experiments: train with one remedy, measure copies and quality on the way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from unrote.contracts import Denoiser
from unrote.denoise.compose import edm
from unrote.geometry.regimes import share_removed
from unrote.jobs.fitting import SIGMA_DATA
from unrote.jobs.measuring import LAW
from unrote.lab.study import (
    Checkpoint,
    Material,
    as_pixels,
    by_level,
    copied,
    copied_or_mirrored,
    drawn_from,
    features_of,
    geometry_of,
    loss_on,
    material,
    network_of,
    parted,
    prepared,
    quality,
    trained,
)
from unrote.lab.wild_middle.gap_cures import CURES
from unrote.measure.features import FeatureMap
from unrote.measure.features.pca import fit_components
from unrote.measure.neighbors import neighbors
from unrote.noise.levels import log_levels
from unrote.train.loop import Options

PAIRS = 16
"""Samples that are kept with their nearest training pictures."""
COMPONENTS = 64
"""Of the features of sets without labels."""
LEVELS = (0.03, 20.0, 24)
"""Where errors are measured at the end."""


def weight(sigma: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    """The weight of a level in training, 1/c_out^2."""
    return edm(SIGMA_DATA)(sigma).out ** -2


def measured_in(asked: Mapping[str, Any]) -> FeatureMap:
    """Features in which quality is measured: a classifier's, or principal components of a set without labels.

    Both come from the pictures kept apart, which are neither training nor test pictures.
    """
    x, label = prepared(asked["set"], asked["side"])
    if bool((label != label[0]).any()):
        return features_of(asked)
    apart, _ = parted({"set": asked["set"], "side": asked["side"], "class": None})
    return fit_components(x[apart], COMPONENTS, torch.Generator().manual_seed(0)).feature_map()


def options_of(asked: Mapping[str, Any]) -> Options:
    """How a configuration is trained."""
    return Options(
        batch_size=asked["batch"],
        learning_rate=asked["learning_rate"],
        warmup_steps=asked["warmup"],
        ema_decay=asked["ema"],
    )


def run(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """Train with one remedy; copies, quality and held-out loss at every checkpoint, errors by level at the end."""
    made, cure, seed = material(asked, asked["seed"]), CURES[asked["cure"]], asked["seed"]
    geometry = geometry_of(made, seed)
    removed = None if cure.window is None else cure.window(geometry)
    x = made.many if cure.much else made.train
    label = torch.zeros(len(x), dtype=torch.int64) if cure.dummy else None
    checkpoints = trained(
        x,
        network_of(asked["network"]),
        options_of(asked),
        seed,
        asked["at"],
        cure.intervention(removed, seed),
        2 if cure.dummy else None,
        label,
    )
    return {
        "gap": None if removed is None else [removed.low, removed.high],
        "share": 0.0 if removed is None else share_removed(removed, LAW),
        **followed(checkpoints, made, asked),
    }


def followed(checkpoints: Iterable[Checkpoint], made: Material, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Copies, quality and losses at every checkpoint; errors by level and neighbours at the last.

    With "mirrored" in the configuration, mirror images of training pictures count as copies, too.
    """
    seed, features = asked["seed"], measured_in(asked)
    rule = copied_or_mirrored if asked.get("mirrored") else copied
    curves: dict[str, list[float]] = {"copies": [], "frechet": [], "held_out": [], "train": []}
    end: dict[str, Any] = {}
    for checkpoint in checkpoints:
        samples = drawn_from(checkpoint, made.train.shape[1:], asked["samples"], seed)
        found = quality(samples, made.test, features).distance.value
        assert found is not None
        curves["copies"].append(float(rule(samples, made.train).double().mean()))
        curves["frechet"].append(found)
        curves["held_out"].append(loss_on(checkpoint.denoiser, weight, made.test, seed))
        curves["train"].append(loss_on(checkpoint.denoiser, weight, made.train, seed))
        if checkpoint.step == max(asked["at"]):
            end = ending(checkpoint.denoiser, made, samples, asked)
    return {"steps": list(asked["at"]), **curves, **end}


def ending(
    denoiser: Denoiser, made: Material, samples: Float[Tensor, "n C H W"], asked: Mapping[str, Any]
) -> dict[str, Any]:
    """What is measured of the last model alone."""
    found = by_level(denoiser, made, log_levels(*LEVELS), asked["seed"])
    return {
        "levels": found.levels,
        "level_copies": found.copies,
        "test_error": found.test_error,
        "train_error": found.train_error,
        "pairs": pairs(samples[:PAIRS], made.train) if asked["pictures"] else None,
    }


def pairs(samples: Float[Tensor, "n C H W"], training: Float[Tensor, "N C H W"]) -> dict[str, Any]:
    """Samples and their nearest training pictures as 8-bit pixels in hexadecimal, and which are copies."""
    near = neighbors(as_pixels(samples), as_pixels(training)).index[:, 0]
    return {
        "shape": list(samples.shape[1:]),
        "samples": written(as_pixels(samples)),
        "nearest": written(as_pixels(training[near])),
        "copies": copied(samples, training).tolist(),
    }


def written(x: UInt8[Tensor, "n C H W"]) -> list[str]:
    """Pictures as hexadecimal digits, two for each pixel."""
    return [bytes(one.flatten().tolist()).hex() for one in x]


def read(text: str, shape: list[int]) -> UInt8[Tensor, "C H W"]:
    """The picture that was written."""
    return torch.tensor(list(bytes.fromhex(text)), dtype=torch.uint8).reshape(shape)
