"""Figures 1, 9a, 10 and 11 on CIFAR-10, made for a GPU: improved DDPM on 1,024 to 16,384 images.

There is no laptop scale: `early_stopping/iddpm` is one in small. The smoke scale trains a network of the same kind for
a few steps of the hybrid objective, to see that it runs; nothing is decided from it.

A run takes hours. `unrote.lab.early_stopping.cifar_runs.advance` goes on with one for a number of seconds; with
UNROTE_RUNS set to a folder, `unrote reproduce` goes on, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unrote.lab.claims import Claim, Experiment
from unrote.lab.early_stopping.cifar_runs import run
from unrote.lab.early_stopping.iddpm_figures import show
from unrote.lab.early_stopping.iddpm_rules import (
    COPYING,
    DEARER,
    FACTOR,
    best_at,
    comes_before,
    costs_little,
    definitions,
    gets_worse,
    lowest,
    parted,
)
from unrote.lab.early_stopping.law_rules import MORE, NEAR, STOPPED_AT, WIDEST, is_linear, stays_clean
from unrote.report.format import quantity

SEEDS = (0, 1, 2, 3, 4)
SIZES = (1024, 2048, 4096, 8192, 16_384)
EACH, MOST, FIRST = 32, 262_144, 512
"""Steps a picture, at most the paper's number of steps; the first checkpoint."""
GRID = 128
"""Checkpoints are multiples of so many steps, and time is looked at as often."""

NETWORK: dict[str, Any] = {
    "kind": "unet",
    "channels": [128, 256, 256, 256],  # multiples 1, 2, 2, 2
    "layers": 3,  # stated as resolution blocks, of which the network has four
    "attention": [False, True, True, False],  # at 16x16 and 8x8
    "dropout": 0.3,  # stated
}
"""Improved DDPM's network for CIFAR-10 with 128 channels, as near as this program's U-Net comes.

The text has 256 channels and half a billion weights; the released flags give 53 million with 128 and 210 million with
256. Theirs has four heads of attention and lets the timestep scale activations; diffusers' has heads of 8 numbers and
adds the timestep.
"""
WIDE: dict[str, Any] = NETWORK | {"channels": [256, 512, 512, 512]}
"""The same with the stated 256 channels, for those who have the hours: put it in the place of `NETWORK`."""
OPTIONS: dict[str, Any] = {
    "batch_size": 128,  # stated
    "learning_rate": 1e-4,  # stated
    "warmup_steps": 0,  # their program has none
    "weight_decay": 0.0,  # their program's default
    "ema_decay": 0.9999,  # their program's default; the text does not say which weights it measures
    "tick_every": GRID,
    "mixed_precision": "bf16",
}
"""Training as in the text, and in the released program where the text is silent."""
PAPER: dict[str, Any] = {
    "network": NETWORK,
    "objective": "hybrid",
    "timesteps": 4000,
    "sampled_at": 50,  # theirs is not stated; 32,768 samples by all 4,000 would cost more than the training
    "options": OPTIONS,
    "samples": 1024,
    "kept": 0,
}
STAND_IN: dict[str, Any] = PAPER | {
    "pictures": {"set": "digits", "class": None, "side": 8, "images": 32, "test": 256},
    "network": {"kind": "unet", "channels": [8, 16], "layers": 1, "attention": [False, True]},
    "options": {
        "batch_size": 16,
        "learning_rate": 2e-3,
        "warmup_steps": 0,
        "ema_decay": 0.9,
        "tick_every": 4,
    },
    "sampled_at": 4,
    "samples": 256,
    "at": [8, 16],
    "seed": 0,
}
"""A U-Net of the same kind that is hardly trained: it shows that the experiment runs, and decides nothing."""


def checkpoints(images: int) -> list[int]:
    """Half octaves down from the last step, on the grid."""
    steps = min(EACH * images, MOST)
    found = {round(steps / 2 ** (k / 2) / GRID) * GRID for k in range(64)}
    return sorted(step for step in found if step >= FIRST)


def configurations(scale: str) -> Sequence[Mapping[str, Any]]:
    """Every size at every seed; below the paper's scale one stand-in."""
    if scale != EXPERIMENT.scale:
        return [STAND_IN]
    return [
        PAPER
        | {
            "pictures": {"set": "cifar10", "class": None, "side": 32, "images": images, "test": 1024},
            "at": checkpoints(images),
            "seed": seed,
        }
        for seed in SEEDS
        for images in SIZES
    ]


def sets(scale: str) -> tuple[str, ...]:
    """What the runs read."""
    return ("cifar10",) if scale == "paper" else ()


TESTED = (
    "CIFAR-10 (a JPEG edition), P = 1,024 to 16,384, each seed its own, 1,024 test images; improved DDPM's U-Net of "
    "128 channels, hybrid objective with learned variance, 4,000 timesteps of the cosine schedule, 32 steps of 128 a "
    "picture and at most 262,144, in bf16, averaged weights have a decay of .9999; losses on 512 pairs with the same "
    "noise, 1,024 ancestral samples on 50 timesteps; Frechet distance in features of a classifier of other CIFAR-10 "
    "images; seeds 0 to 4"
)
"""The paper's images are the original PNG; 4,000 are kept apart here for the features."""


def claim(name: str, source: str, says: str, rule: str, measure: Any, **show: Any) -> Claim:
    """A claim of this experiment."""
    return Claim(f"cifar10-{name}", "002", source, says, TESTED, rule, measure, **show)


LARGEST = "geometric mean over seeds at P = 16,384"
CLAIMS = (
    *(
        claim(
            d.name,
            "Figures 1 and 9a",
            f"The onset (by {d.words}) grows in proportion to the number of training images.",
            "exponent b of tau = a P^b, most likely with censored runs: held if its 95 % interval contains 1 and is "
            f"narrower than {WIDEST:g}, partly if it contains 1 or b is within {NEAR:g} of it",
            is_linear("cifar10", d),
            show=quantity,
        )
        for d in definitions("cifar10")
    ),
    claim(
        "turns-first",
        "Figure 1",
        "Both losses fall at first, and the test loss turns before copies appear.",
        f"onset of copies ({COPYING.words}) / checkpoint of the smallest test loss of the averaged weights, geometric "
        "mean over sizes and seeds, an onset outside the checkpoints counts as at the nearest: held if the 95 % "
        "interval begins above 1, partly if the value lies above",
        comes_before("cifar10", lowest("validation")),
        show=quantity,
    ),
    claim(
        "stopped-clean",
        "Figure 1, right",
        "At the stopping time copies are at the level of fresh images (the paper: 0 % at P = 16,384).",
        "share of copies at the last clean checkpoint of the averaged weights (relative gap up to "
        f"{STOPPED_AT:g}; stopped once it is surely larger) less that among fresh images, all sizes and seeds: held if "
        f"Newcombe's 95 % interval ends at or below {MORE:g}, partly if the value does",
        stays_clean("cifar10"),
    ),
    *(
        claim(
            f"best-at-{word}",
            "Figure 10",
            f"The Frechet distance is smallest at the onset of memorization (by {d.words}).",
            f"checkpoint of the smallest distance / onset, {LARGEST}: held if the 95 % interval lies within a factor "
            f"{FACTOR:g} of 1, partly if the value does",
            best_at("cifar10", d),
            show=quantity,
        )
        for word, d in (("gap", parted("cifar10")), ("copies", COPYING))
    ),
    claim(
        "gets-worse",
        "Figure 10",
        "After the onset the Frechet distance rises.",
        f"distance at the end / at the last clean checkpoint, {LARGEST}: held if the 95 % interval begins above 1, "
        "partly if the value lies above",
        gets_worse("cifar10"),
        show=quantity,
    ),
    claim(
        "stopped-best",
        "Figures 1, right, and 10",
        "Samples at the stopping time are about the best of the run (the paper: FID 5.4).",
        f"Frechet distance at the last clean checkpoint / smallest of the run, {LARGEST}: held if the 95 % interval "
        f"ends at or below {DEARER[0]:g}, partly if the value is at most {DEARER[1]:g}",
        costs_little("cifar10"),
        show=quantity,
    ),
)

EXPERIMENT = Experiment(
    name="early_stopping/cifar",
    about="1,024 to 16,384 images of CIFAR-10 with improved DDPM, for a GPU; below that scale a stand-in.",
    scale="paper",
    configurations=configurations,
    run=run,
    claims=CLAIMS,
    show=show,
    sets=sets,
)
