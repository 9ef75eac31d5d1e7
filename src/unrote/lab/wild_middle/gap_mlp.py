"""The whole family of gaps on a network without locality: residual MLP on 32 digits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unrote.lab.claims import Experiment
from unrote.lab.study import MLP_SMALL
from unrote.lab.wild_middle.gap import BOTH_RULES, JUDGED, SAMPLES, SEEDS, SMALL, TEST, smoke, trained_as
from unrote.lab.wild_middle.gap_claims import copying, placing, quality
from unrote.lab.wild_middle.gap_cures import BOTH, DUMMY, MUCH, PLAIN
from unrote.lab.wild_middle.gap_figures import show
from unrote.lab.wild_middle.gap_runs import run

IMAGES, STEPS = 32, 1200
ZONES = tuple(f"zone .{p} reject" for p in ("95", "80", "50", "20", "05"))
PLACES = (("below", "reject"), ("below", "skip"), ("lowest", "reject"), ("lowest", "skip"))
TIMESTEPS = ("100-200 reject", "100-275 reject", "150-250 reject", "167-275 reject")
CURES = (
    PLAIN,
    MUCH,
    DUMMY,
    BOTH,
    *(" ".join(pair) for pair in (*BOTH_RULES, *PLACES)),
    *ZONES[1:],
    "highest reject",
    *TIMESTEPS,
)


def configurations(scale: str) -> Sequence[Mapping[str, Any]]:
    """Every remedy at every seed; at paper scale longer and with more samples."""
    how: dict[str, Any] = {
        "network": MLP_SMALL,
        "batch": 64,
        "learning_rate": 1e-3,
        "warmup": 100,
        "ema": 0.998,
    }
    source = SMALL | {"images": IMAGES}
    if scale == "smoke":
        return smoke(source, **how)
    more = 4 if scale == "paper" else 1
    return [
        trained_as(source, c, s, steps=more * STEPS, samples=more * SAMPLES, pictures=s == SEEDS[0], **how)
        for s in SEEDS
        for c in CURES
    ]


TESTED = (
    f"{IMAGES} digits of 8x8, each seed its own, {TEST} test digits; residual MLP 3x512, EDM's recipe, {STEPS:,} steps "
    f"of 64, averaged weights; {SAMPLES} samples by Heun's 18 steps; Frechet distance in features of a classifier "
    "trained on other digits; zones computed before training; seeds 0 to 4, remedies paired"
)
CLAIMS = (
    *copying("mlp", TESTED, BOTH_RULES),
    *placing("mlp", TESTED, PLACES, ZONES),
    *quality("mlp", TESTED, (*JUDGED, BOTH, "100-275 reject")),
)

EXPERIMENT = Experiment(
    name="wild_middle/gap-mlp",
    about="A family of 17 gaps, and a dummy class, on a network without locality, with 32 digits.",
    scale="laptop",
    configurations=configurations,
    run=run,
    claims=CLAIMS,
    show=show,
)
