"""Figures 4, 5, 9, 17 to 19 and E.9: gaps and a dummy class against copying, a small U-Net on 64 digits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unrote.lab.claims import Experiment
from unrote.lab.study import UNET_SMALL
from unrote.lab.wild_middle.gap_claims import copying, placing, quality
from unrote.lab.wild_middle.gap_cures import BOTH, DUMMY, MUCH, PLAIN
from unrote.lab.wild_middle.gap_figures import show
from unrote.lab.wild_middle.gap_runs import run
from unrote.lab.wild_middle.paper import CARS, FACES

SEEDS = (0, 1, 2, 3, 4)
IMAGES, TEST, STEPS, SAMPLES = 64, 500, 1200, 512
ZONES = ("zone .95 reject", "recommended reject", "zone .05 reject")
BOTH_RULES = tuple((zone, rule) for zone in ("zone .95", "recommended") for rule in ("reject", "skip"))
PLACES = (("below", "reject"), ("below", "skip"), ("highest", "reject"))
CURES = (PLAIN, MUCH, DUMMY, BOTH, "zone .05 reject", *(" ".join(pair) for pair in (*BOTH_RULES, *PLACES)))
JUDGED = ("recommended reject", "zone .05 reject", DUMMY)

SMALL: dict[str, Any] = {"set": "digits", "class": None, "side": 8, "images": IMAGES, "test": TEST}
PAPER_CURES = (
    PLAIN,
    DUMMY,
    BOTH,
    "zone .95 reject",
    "recommended reject",
    "zone .20 reject",
    "100-275 reject",
)


def at(steps: int, cure: str) -> list[int]:
    """Checkpoints: 8 of the baseline, which is judged by where it could have been stopped, 4 of a remedy."""
    parts = {PLAIN: 8, MUCH: 1}.get(cure, 4)
    return [steps * (k + 1) // parts for k in range(parts)]


def trained_as(source: Mapping[str, Any], cure: str, seed: int, **how: Any) -> dict[str, Any]:
    """The configuration of one run.

    Args:
        source: as `study.material` reads it.
        how: "network", "steps", "batch", "learning_rate", "warmup", "ema", "samples", "pictures".
    """
    steps = how.pop("steps")
    return {**source, **how, "at": at(steps, cure), "cure": cure, "seed": seed}


def smoke(source: Mapping[str, Any], **how: Any) -> list[dict[str, Any]]:
    """One remedy of each kind for a few steps, to see that it runs; a Frechet distance needs 256 samples."""
    few = (PLAIN, MUCH, BOTH, "recommended skip")
    runs = [trained_as(source, c, SEEDS[0], steps=16, samples=256, pictures=True, **how) for c in few]
    return [one | {"at": [8, 16]} for one in runs]


def paper() -> list[dict[str, Any]]:
    """2,000 cars and 1,024 grey faces, with the networks of `paper` and as long as the paper trains."""
    return [
        trained_as({key: one[key] for key in SMALL}, c, s, **how_of(one))
        for one in (CARS, FACES)
        for s in SEEDS
        for c in PAPER_CURES
    ]


def how_of(one: Mapping[str, Any]) -> dict[str, Any]:
    """Network and training of a configuration of the paper's size, as runs of gaps name them."""
    options = one["options"]
    return {
        "network": one["network"],
        "steps": options["steps"],
        "batch": options["batch_size"],
        "learning_rate": options["learning_rate"],
        "warmup": options["warmup_steps"],
        "ema": options["ema_decay"],
        "samples": one["samples"],
        "pictures": False,
    }


def configurations(scale: str) -> Sequence[Mapping[str, Any]]:
    """Every remedy at every seed."""
    if scale == "paper":
        return paper()
    how: dict[str, Any] = {
        "network": UNET_SMALL,
        "batch": 64,
        "learning_rate": 2e-3,
        "warmup": 100,
        "ema": 0.995,
    }
    if scale == "smoke":
        return smoke(SMALL, **how)
    return [
        trained_as(SMALL, c, s, steps=STEPS, samples=SAMPLES, pictures=s == SEEDS[0], **how)
        for s in SEEDS
        for c in CURES
    ]


def sets(scale: str) -> tuple[str, ...]:
    """What the runs read."""
    return ("cifar10", "lfw_faces_32") if scale == "paper" else ("digits",)


TESTED = (
    f"{IMAGES} digits of 8x8, each seed its own, {TEST} test digits; U-Net of 0.16 million weights, EDM's recipe, "
    f"{STEPS:,} steps of 64, averaged weights; {SAMPLES} samples by Heun's 18 steps; Frechet distance in features of a "
    "classifier trained on other digits; zones computed before training; seeds 0 to 4, remedies paired"
)
CLAIMS = (
    *copying("unet", TESTED, BOTH_RULES),
    *placing("unet", TESTED, PLACES, ZONES),
    *quality("unet", TESTED, (*JUDGED, BOTH)),
)

EXPERIMENT = Experiment(
    name="wild_middle/gap",
    about="Gaps over and beside the danger zone, and a dummy class: copies and quality of a small U-Net on 64 digits.",
    scale="laptop",
    configurations=configurations,
    run=run,
    claims=CLAIMS,
    show=show,
    sets=sets,
)
