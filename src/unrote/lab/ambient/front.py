"""Remedies on one plane of quality and copying: Figure 1 and Table 2 in kind, a residual MLP on 32 digits.

Ambient training at several levels by the authors' rule and by Algorithm 1, noisy copies alone, gaps, a dummy class,
weight decay, dropout, and stopping early, which is the baseline's own path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unrote.contracts import Estimate
from unrote.lab.ambient.front_figures import show
from unrote.lab.ambient.remedies import LEVELS, REMEDIES, run
from unrote.lab.claims import FAILED, HELD, PARTLY, Claim, Experiment, Row, ends
from unrote.lab.ratios import SEVERAL
from unrote.lab.study import MLP_SMALL
from unrote.lab.wild_middle.gap_rules import beyond_stopping, change, last, left, ratio, several_fold

SEEDS = (0, 1, 2, 3, 4)
STEPS = {"smoke": 16, "laptop": 1200, "paper": 12_000}
SAMPLES = {"smoke": 256, "laptop": 512, "paper": 10_000}
DIGITS: dict[str, Any] = {"set": "digits", "class": None, "side": 8, "images": 32, "test": 500}
TRAINING: dict[str, Any] = {
    "network": MLP_SMALL,
    "batch": 64,
    "learning_rate": 1e-3,
    "warmup": 100,
    "ema": 0.998,
}
BACK = 0.75
"""A level returns to the baseline if at least three quarters of its copies are back."""
NOISY = "noisy only 0.25"
FRONT = (
    "ambient recommended",
    "ambient 0.5, levels first",
    "ambient 1, levels first",
    "gap + ambient recommended",
)


def configurations(scale: str) -> Sequence[Mapping[str, Any]]:
    """Every remedy at every seed."""
    seeds = SEEDS[:1] if scale == "smoke" else SEEDS
    names = ("baseline", "ambient recommended") if scale == "smoke" else tuple(REMEDIES)
    steps = STEPS[scale]
    return [
        {
            **DIGITS,
            **TRAINING,
            "cure": name,
            "seed": seed,
            "samples": SAMPLES[scale],
            "pictures": scale != "paper" and seed == SEEDS[0],
            "at": [steps * (k + 1) // parts for k in range(parts)],
        }
        for seed in seeds
        for name in names
        for parts in (8 if name == "baseline" else 2,)
    ]


def by_level(level: float) -> str:
    """The name of ambient training at a level by the authors' rule."""
    return f"ambient {level:g}, levels first"


def best_level(rows: Sequence[Row]) -> str:
    """The level between the ends with the fewest copies, by their geometric mean."""
    return min((by_level(level) for level in LEVELS[1:-1]), key=lambda name: left(rows, name).value or 0.0)


def u_shaped(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """Judge whether copying returns at both ends of the levels; the number is what the best level leaves."""
    lowest, highest = by_level(LEVELS[0]), by_level(LEVELS[-1])
    best = best_level(rows)
    back = [ends(left(rows, name))[0] >= BACK for name in (lowest, highest)]
    rises = [
        ends(ratio(rows, last(rows, name, "copies"), last(rows, best, "copies")))[0] > 1
        for name in (lowest, highest)
    ]
    return left(rows, best), HELD if all(back) and all(rises) else PARTLY if all(rises) else FAILED


def noisy_is_least(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """Judge noisy copies alone: the fewest copies of all ambient runs, and a larger Frechet distance."""
    others = [name for name in REMEDIES if name.startswith("ambient")]
    mine = sum(last(rows, NOISY, "copies"))
    fewest = all(mine <= sum(last(rows, name, "copies")) for name in others)
    worse = change(rows, NOISY, "frechet")
    sure = ends(worse)[0] > 0
    return worse, HELD if fewest and sure else PARTLY if fewest or sure else FAILED


def advice_is_best(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """Judge the recommended ambient level: copies over those of the fixed level with the fewest, rows first."""
    fixed = [f"ambient {level:g}, rows first" for level in (0.25, 0.5, 1.0)]
    best = min(fixed, key=lambda name: left(rows, name).value or 0.0)
    found = ratio(rows, last(rows, "ambient recommended", "copies"), last(rows, best, "copies"))
    low, high = ends(found)
    return found, HELD if high <= 1 else PARTLY if low <= 1 else FAILED


def beats_stopping(name: str) -> Claim:
    """The claim that a remedy lies beyond the baseline's own path."""
    words = name.replace(", ", "-").replace(" + ", "-and-").replace(" ", "-")
    return Claim(
        f"front-{words}-beyond-stopping",
        "003",
        "Figure 1",
        f"{name}: fewer copies than the baseline stopped at the checkpoint with the nearest Frechet distance that is "
        "not worse.",
        TESTED,
        "copies / copies of the baseline there (of its 8 checkpoints; if none is as good, at its best one), geometric "
        "mean over seeds: held if its 95 % interval ends below 1, partly if the mean lies below",
        beyond_stopping(name),
    )


def cuts(name: str) -> Claim:
    """The claim that a remedy cuts copying several-fold at equal steps."""
    words = name.replace(", ", "-").replace(" + ", "-and-").replace(" ", "-")
    return Claim(
        f"front-{words}-cuts-copying",
        "003",
        "Table 2",
        f"{name}: several times fewer copies than the baseline after as many steps.",
        TESTED,
        "copies / copies of the baseline at the end, geometric mean over seeds, none counts as half a copy: held if "
        f"its 95 % interval ends at or below {SEVERAL:.2g}, partly if below 1",
        several_fold(name),
    )


TESTED = (
    f"{DIGITS['images']} digits of 8x8, each seed its own, {DIGITS['test']} test digits; residual MLP 3x512, "
    f"{STEPS['laptop']:,} steps of 64, averaged weights, {SAMPLES['laptop']} samples; Frechet distance in features of "
    "a classifier trained on other digits; seeds 0 to 4, remedies paired"
)
CLAIMS = (
    Claim(
        "front-ambient-u",
        "003",
        "Figure 1, Table 1",
        "Ambient training copies least at a level between, and too low or too high a level returns to the baseline.",
        TESTED,
        f"levels first, sigma_n = {', '.join(f'{level:g}' for level in LEVELS)}: held if both ends copy more than the "
        f"best level between (95 % intervals of the ratio above 1) and at least {BACK:g} of the baseline (intervals), "
        "partly if only the first; the number is what the best level leaves",
        u_shaped,
    ),
    Claim(
        "front-noisy-only",
        "003",
        "Table 2",
        "Noisy copies alone copy least, with the worst quality.",
        TESTED,
        "held if they have the fewest copies of all ambient runs and a larger Frechet distance than the baseline (95 % "
        "interval), partly if one is so; the number is the difference of the Frechet distance",
        noisy_is_least,
    ),
    Claim(
        "front-recommended-level",
        "unrote",
        "001 for 003",
        "The ambient level that the geometry recommends copies no more than the best of three fixed levels.",
        TESTED,
        "Algorithm 1; copies / copies of the best of sigma_n = .25, .5, 1, chosen after the fact: held if the 95 % "
        "interval ends at or below 1, failed if it begins above",
        advice_is_best,
    ),
    *(cuts(name) for name in (*FRONT, "weight decay", "dropout")),
    *(beats_stopping(name) for name in FRONT),
)

EXPERIMENT = Experiment(
    name="ambient/front",
    about="Remedies on one plane of quality and copying: ambient training at several levels beside all others.",
    scale="laptop",
    configurations=configurations,
    run=run,
    claims=CLAIMS,
    show=show,
)
