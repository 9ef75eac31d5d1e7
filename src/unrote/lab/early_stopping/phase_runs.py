"""One run of the phase diagram: losses, copies and quality over steps on a grid that all sizes share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from unrote.lab.early_stopping.law_runs import followed, losses, plainly
from unrote.lab.study import copied, from_cpu, quality, samples_of
from unrote.lab.wild_middle.gap_runs import measured_in
from unrote.train.loop import Options

ENOUGH = 0.4
"""Share of copies at which a run ends: from there on nothing changes but this share."""


def run(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """Train plainly; losses of both weights, copies and quality of the averaged ones, at every checkpoint."""
    seed = int(asked["seed"])
    made, denoiser, recipe, probe = plainly(asked)
    shape, count = made.train.shape[1:], asked["samples"]
    features = measured_in(asked["pictures"])

    def measured(name: str, model: nn.Module) -> dict[str, float]:
        seen = losses(model, probe)
        if name == "averaged":
            samples = samples_of(from_cpu(model), shape, count, seed)
            distance = quality(samples, made.test, features).distance.value
            assert distance is not None
            seen |= {"copies": float(copied(samples, made.train).sum()), "frechet": distance}
        return seen

    def enough(seen: Mapping[str, float]) -> bool:
        return seen["copies"] >= ENOUGH * count

    found = followed(denoiser, recipe, seed, Options(**asked["options"]), list(asked["at"]), measured, enough)
    # The same distance between pictures that are all fresh: what a perfect model would have.
    floor = quality(made.many[len(made.train) :][:count], made.test, features).distance.value
    return {"fresh": int(copied(made.test, made.train).sum()), "floor": floor, **found}
