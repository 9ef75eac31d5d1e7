"""One run of a variant: another batch, width, decay, dropout, mirrored pictures, or a network told the class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from unrote.contracts import Examples
from unrote.jobs.fitting import build
from unrote.jobs.measuring import LAW
from unrote.lab.early_stopping.law_runs import followed, losses, paired
from unrote.lab.study import (
    Material,
    copied,
    copied_or_mirrored,
    from_cpu,
    material,
    network_of,
    prepared,
    samples_of,
)
from unrote.train.augment import augmented, flip
from unrote.train.loop import Options
from unrote.train.recipe import baseline

ENOUGH = 0.12
"""Share of copies at which a run ends; all onsets that are judged lie before it."""


def run(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """Train until enough samples are copies; losses of both weights, copies of the averaged ones."""
    seed, told, mirrored = int(asked["seed"]), asked["conditional"], asked["mirrored"]
    made = material(asked["pictures"], seed)
    shape = made.train.shape[1:]
    classes = (
        int(prepared(asked["pictures"]["set"], asked["pictures"]["side"])[1].max()) + 1 if told else None
    )
    denoiser = build(network_of(asked["network"]), shape, classes, seed)
    rows = Examples(made.train, torch.zeros(len(made.train)), made.train_label if told else None)
    fresh = Examples(made.test, torch.zeros(len(made.test)), made.test_label if told else None)
    recipe = baseline(rows, LAW, denoiser.weight)
    if mirrored:
        recipe = augmented([flip])(recipe)
    probe = paired(rows, fresh, denoiser.weight, seed)
    count, rule = asked["samples"], copied_or_mirrored if mirrored else copied
    label = labels(made, count, seed) if told else None

    def measured(name: str, model: nn.Module) -> dict[str, float]:
        seen = losses(model, probe)
        if name == "averaged":
            samples = samples_of(from_cpu(model), shape, count, seed, condition=label)
            seen["copies"] = float(rule(samples, made.train).sum())
        return seen

    def enough(seen: Mapping[str, float]) -> bool:
        return seen["copies"] >= ENOUGH * count

    options = Options(**asked["options"])
    return followed(denoiser, recipe, seed, options, list(asked["at"]), measured, enough)


def labels(made: Material, count: int, seed: int) -> Tensor:
    """Classes of samples in the proportions of the training pictures."""
    assert made.train_label is not None
    g = torch.Generator().manual_seed(seed + 3)
    return made.train_label[torch.randint(len(made.train_label), (count,), generator=g)]
