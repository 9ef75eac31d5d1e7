"""Remedies on one plane, a small U-Net on 32 digits: with combinations and the masking baseline.

Piloted at seed 100: the baseline copies .03, .21 and .43 after 400, 600 and 800 steps of 32. By the authors' rule
copying was least near sigma_n = .25 (.20 after 800 steps) and back at 1 (.49); by Algorithm 1 it was .15 at .5 and .02
at 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unrote.lab.ambient.front import DIGITS, SEEDS
from unrote.lab.ambient.front_claims import ambient_u, beats_stopping, cuts, noisy_only
from unrote.lab.ambient.front_figures import show
from unrote.lab.ambient.remedies import LEVELS, run
from unrote.lab.claims import Experiment
from unrote.lab.study import UNET_SMALL

STEPS = {"smoke": 16, "laptop": 1000, "paper": 8000}
SAMPLES = {"smoke": 256, "laptop": 1024, "paper": 10_000}
TRAINING: dict[str, Any] = {
    "network": UNET_SMALL,
    "batch": 32,
    "learning_rate": 2e-3,
    "warmup": 100,
    "ema": 0.995,
}
JUDGED = (
    "ambient 0.25, levels first",
    "ambient 0.5, rows first",
    "gap, rows dropped",
    "dummy",
    "masking 0.5",
    "dropout",
    "weight decay",
)
COMBINED = (
    "gap, rows dropped + ambient 0.5",
    "gap, rows dropped + dummy",
    "dummy + ambient 0.5, rows first",
    "dropout + ambient 0.5, rows first",
)
NAMES = (
    "baseline",
    *(f"ambient {level:g}, levels first" for level in LEVELS),
    *(f"ambient {level:g}, rows first" for level in (0.25, 0.5, 1.0)),
    "noisy only 0.25",
    *JUDGED[2:],
    *COMBINED,
)


def plan(
    scale: str, pictures: Mapping[str, Any], training: Mapping[str, Any], names: Sequence[str], steps: int
) -> Sequence[Mapping[str, Any]]:
    """Every remedy at every seed; the baseline is measured at 8 checkpoints, the others at the end."""
    chosen = ("baseline", "masking 0.5") if scale == "smoke" else names
    seeds = SEEDS[:1] if scale == "smoke" else SEEDS
    return [
        {
            **pictures,
            **training,
            "cure": name,
            "seed": seed,
            "samples": SAMPLES[scale],
            "pictures": scale != "paper" and pictures["set"] == "digits" and seed == SEEDS[0],
            "at": [steps * (k + 1) // parts for k in range(parts)],
        }
        for seed in seeds
        for name in chosen
        for parts in (8 if name == "baseline" else 1,)
    ]


def configurations(scale: str) -> Sequence[Mapping[str, Any]]:
    """Every remedy at every seed, on digits."""
    return plan(scale, DIGITS, TRAINING, NAMES, STEPS[scale])


TESTED = (
    f"{DIGITS['images']} digits of 8x8, each seed its own, {DIGITS['test']} test digits; U-Net of 16 and 32 channels, "
    f"{STEPS['laptop']:,} steps of 32, averaged weights, {SAMPLES['laptop']:,} samples; Frechet distance in features "
    "of a classifier trained on other digits; seeds 0 to 4, remedies paired"
)
CLAIMS = (
    ambient_u(TESTED, "front-unet"),
    noisy_only(TESTED, "front-unet"),
    *(cuts(name, TESTED, "front-unet") for name in (*JUDGED, *COMBINED)),
    *(beats_stopping(name, TESTED, "front-unet") for name in (*JUDGED, *COMBINED)),
)

EXPERIMENT = Experiment(
    name="ambient/front-unet",
    about="Remedies and their combinations on one plane of quality and copying, a small U-Net on 32 digits.",
    scale="laptop",
    configurations=configurations,
    run=run,
    claims=CLAIMS,
    show=show,
)
