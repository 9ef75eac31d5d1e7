"""The onset of memorization grows in proportion to the number of pictures: Figures 1 and 9a in kind, three data sets.

Onsets by the gap between losses and by copies, of raw and of averaged weights, are different numbers under different
names; for each the exponent is fitted, the largest size is forecast from the smaller ones, and early stopping is held
against the copies that it leaves.

Piloted at seed 100 on 32 digits: after 64 steps the losses differ by .10 already, since training and test pictures are
not equally hard; the gap passes .4 at step 180, the first copies come at 300 (averaged weights), .2 of the samples are
copies at 520. The relative gap is .6 at step 180 and 2.5 at 300: early stopping is judged at 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unrote.lab.claims import Claim, Experiment
from unrote.lab.early_stopping.law_figures import show
from unrote.lab.early_stopping.law_rules import (
    FACTOR,
    MORE,
    NEAR,
    STOPPED_AT,
    WIDEST,
    Definition,
    is_forecast,
    is_linear,
    stays_clean,
)
from unrote.lab.early_stopping.law_runs import checkpoints, run
from unrote.lab.study import MLP_SMALL
from unrote.report.format import quantity

SEEDS = (0, 1, 2, 3, 4)
SETS = ("digits", "fashion_mnist", "lfw_faces_32")
SIZES = (16, 32, 64, 128)
EACH = {"smoke": 2, "laptop": 36, "paper": 400}
"""Steps a picture."""
FIRST = 32
"""The first checkpoint."""
TEST = 500
OPTIONS: dict[str, Any] = {
    "batch_size": 64,
    "learning_rate": 1e-3,
    "warmup_steps": 50,
    "ema_decay": 0.99,
}
DEFINITIONS = tuple(
    Definition(kind, threshold, weights)
    for kind, thresholds in (("gap", (0.2, 0.4, 0.8)), ("copies", (0.05, 0.1, 0.2)))
    for threshold in thresholds
    for weights in ("raw", "averaged")
)
FORECAST = tuple(
    d
    for d in DEFINITIONS
    if d.weights == "averaged" and (d.kind, d.threshold) in {("gap", 0.4), ("copies", 0.1)}
)


def configurations(scale: str) -> Sequence[Mapping[str, Any]]:
    """Every set, size and seed; two sizes of digits at smoke scale."""
    sets, sizes, seeds = (SETS[:1], SIZES[1:3], SEEDS[:1]) if scale == "smoke" else (SETS, SIZES, SEEDS)
    return [
        {
            "pictures": {"set": name, "class": None, "side": 8, "images": images, "test": TEST},
            "network": MLP_SMALL,
            "options": OPTIONS,
            "samples": {"smoke": 256, "laptop": 512, "paper": 10_000}[scale],
            "at": checkpoints(EACH[scale] * images, min(FIRST, EACH[scale] * images)),
            "seed": seed,
        }
        for seed in seeds
        for name in sets
        for images in sizes
    ]


def sets(scale: str) -> tuple[str, ...]:
    """The picture sets that are read."""
    return () if scale == "smoke" else tuple(name for name in SETS if name != "digits")


SHORT = {"digits": "digits", "fashion_mnist": "fashion", "lfw_faces_32": "faces"}
"""Sets in the names of claims."""
TESTED = (
    "{}, brought to 8x8, P = 16, 32, 64 and 128, each seed its own, 500 test pictures; residual MLP 3x512, EDM's "
    f"recipe, {EACH['laptop']} steps of 64 a picture, averaged weights have a decay of .99; losses on 512 pairs of "
    "training and test pictures with the same noise, 512 samples at every checkpoint; seeds 0 to 4"
)


def claims_of(name: str) -> list[Claim]:
    """What is claimed of one set."""
    short, tested = SHORT[name], TESTED.format(name)
    linear = [
        Claim(
            f"law-{short}-{d.name}",
            "002",
            "Figures 1 and 9a",
            f"The onset (by {d.words}) grows in proportion to the number of training pictures.",
            tested,
            "exponent b of tau = a P^b, most likely with censored runs: held if its 95 % interval contains 1 and is "
            f"narrower than {WIDEST:g}, partly if it contains 1 or b is within {NEAR:g} of it",
            is_linear(name, d),
            quantity,
        )
        for d in DEFINITIONS
    ]
    told = [
        Claim(
            f"law-{short}-forecast-{d.name}",
            "unrote",
            "a use of 002",
            f"The onset (by {d.words}) at the largest size is forecast from half of that size and less.",
            tested,
            f"typical onset at P = {SIZES[-1]} / its forecast from P = 16, 32 and 64: held if the 95 % interval lies "
            f"within a factor {FACTOR:g}, partly if the value does",
            is_forecast(name, d),
            quantity,
        )
        for d in FORECAST
    ]
    clean = Claim(
        f"law-{short}-stopped-clean",
        "002",
        "Figures 1 and 10",
        "Stopping by the gap between losses keeps copies at the level of fresh pictures.",
        tested,
        f"share of copies at the last clean checkpoint of the averaged weights (relative gap up to {STOPPED_AT:g}; "
        "stopped once it is surely larger) less that among fresh pictures, all sizes and seeds: held if Newcombe's "
        f"95 % interval ends at or below {MORE:g}, partly if the value does",
        stays_clean(name),
    )
    return [*linear, *told, clean]


EXPERIMENT = Experiment(
    name="early_stopping/law",
    about="The step at which copying starts against the number of training pictures, on three sets.",
    scale="laptop",
    configurations=configurations,
    run=run,
    claims=tuple(claim for name in SETS for claim in claims_of(name)),
    show=show,
    sets=sets,
)
