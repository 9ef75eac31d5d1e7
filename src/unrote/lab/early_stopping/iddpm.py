"""Figures 1, 9a, 10 and 11 in kind: improved DDPM in small, a U-Net on 16 to 128 pictures of 8x8, two sets.

What is the paper's: the cosine schedule with 4,000 timesteps drawn uniformly, the error of the noise as objective, a
constant learning rate without warm-up, ancestral samples. What is not: size, the hybrid objective's learned variance
(`early_stopping/cifar` has it), 25 of the timesteps for a sample.

Piloted at seed 100, batches of 32, averaged weights. Digits: with P = 16, 32 and 128 the losses are .05 apart at steps
45, 100 and 1,080, the relative gap passes 1 at 125, 300 and 2,050, and 5 % of the samples are copies at 200, 480 and
2,450. Clothes with P = 64: 570, 1,150 and 1,300; the losses are .11 apart and .10 copied after 28 steps a picture. The
Frechet distance of 32 digits falls until the end (29 at step 1,060), that of 128 to 6.5 at step 1,850 and is 10.5 and
7.1 at the last two checkpoints, that of 64 clothes to 11.8 at 1,290, and 13.1 at the last. With the large variance 25
steps hide copies: .09 of the samples at the end of P = 128, .28 with the small one; with 100 steps .25 and .30.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unrote.lab.claims import Claim, Experiment
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
    onset_of,
    parted,
)
from unrote.lab.early_stopping.iddpm_runs import run
from unrote.lab.early_stopping.law_rules import (
    MORE,
    NEAR,
    STOPPED_AT,
    WIDEST,
    is_linear,
    stays_clean,
)
from unrote.lab.early_stopping.law_runs import checkpoints
from unrote.lab.study import UNET_SMALL
from unrote.report.format import quantity

SEEDS = (0, 1, 2, 3, 4)
SETS = ("digits", "fashion_mnist")
SIZES = {"digits": (32, 64, 128), "fashion_mnist": (16, 32, 64)}
EACH = {
    "smoke": {"digits": 1},
    "laptop": {"digits": 28, "fashion_mnist": 40},
    "paper": {"digits": 400, "fashion_mnist": 400},
}
"""Steps a picture; clothes are copied later."""
FIRST = 2
"""Steps a picture at the first checkpoint."""
TIMESTEPS = 4000
TEST = 500
KEPT = 16
"""Samples of digits that are kept, of the first seed."""
OPTIONS: dict[str, Any] = {
    "batch_size": 32,
    "learning_rate": 2e-3,
    "warmup_steps": 0,
    "ema_decay": 0.995,
}
SHORT = {"digits": "digits", "fashion_mnist": "fashion"}
"""Sets in the names of claims."""


def configurations(scale: str) -> Sequence[Mapping[str, Any]]:
    """Every set, size and seed; one small size of digits at smoke scale."""
    seeds = SEEDS[:1] if scale == "smoke" else SEEDS
    return [
        {
            "pictures": {"set": name, "class": None, "side": 8, "images": images, "test": TEST},
            "network": UNET_SMALL,
            "objective": "simple",
            "timesteps": TIMESTEPS,
            "sampled_at": {"smoke": 4, "laptop": 25, "paper": 250}[scale],
            "options": OPTIONS,
            "samples": {"smoke": 256, "laptop": 256, "paper": 10_000}[scale],
            "kept": KEPT if name == "digits" and seed == SEEDS[0] else 0,
            "at": checkpoints(each * images, min(FIRST, each) * images),
            "seed": seed,
        }
        for seed in seeds
        for name, each in EACH[scale].items()
        for images in SIZES[name][: 1 if scale == "smoke" else None]
    ]


def sets(scale: str) -> tuple[str, ...]:
    """The picture sets that are read."""
    return () if scale == "smoke" else tuple(name for name in SETS if name != "digits")


TESTED = (
    "{}, brought to 8x8, P = {}, each seed its own, 500 test pictures; U-Net of 16 and 32 channels with "
    "attention in the middle, 4,000 timesteps of the cosine schedule, error of the noise, Adam at a constant "
    "rate of 2e-3, {} steps of 32 a picture, averaged weights have a decay of .995; losses on 512 pairs "
    "of training and test pictures with the same noise, 256 ancestral samples on 25 timesteps at every checkpoint; "
    "seeds 0 to 4"
)
OVER_RUNS = "geometric mean over seeds at the largest P"


def tested(name: str) -> str:
    """What is run on one set."""
    sizes = " and ".join(", ".join(map(str, SIZES[name])).rsplit(", ", 1))
    return TESTED.format(name, sizes, EACH["laptop"][name])


def linear(name: str) -> list[Claim]:
    """Whether onsets are proportional to the number of pictures, by every definition."""
    return [
        Claim(
            f"iddpm-{SHORT[name]}-{d.name}",
            "002",
            "Figures 1 and 9a",
            f"The onset (by {d.words}) grows in proportion to the number of training pictures.",
            tested(name),
            "exponent b of tau = a P^b, most likely with censored runs: held if its 95 % interval contains 1 and is "
            f"narrower than {WIDEST:g}, partly if it contains 1 or b is within {NEAR:g} of it",
            is_linear(name, d),
            quantity,
        )
        for d in definitions(name)
    ]


def parting(name: str) -> list[Claim]:
    """Whether losses part before copies appear, and stopping then is in time."""
    rule = (
        f"onset of copies ({COPYING.words}) / {{}}, geometric mean over sizes and seeds, an onset outside the "
        "checkpoints counts as at the nearest: held if the 95 % interval begins above 1, partly if the value lies above"
    )
    return [
        Claim(
            f"iddpm-{SHORT[name]}-parts-first",
            "002",
            "Figure 1",
            "The losses part before copies appear.",
            tested(name),
            rule.format(f"onset by {parted(name).words}"),
            comes_before(name, onset_of(parted(name))),
            quantity,
        ),
        Claim(
            f"iddpm-{SHORT[name]}-turns-first",
            "002",
            "Figure 1",
            "Both losses fall at first, and the test loss turns before copies appear.",
            tested(name),
            rule.format("checkpoint of the smallest test loss of the averaged weights"),
            comes_before(name, lowest("validation")),
            quantity,
        ),
        Claim(
            f"iddpm-{SHORT[name]}-stopped-clean",
            "002",
            "Figure 1, right",
            "At the stopping time copies are at the level of fresh pictures.",
            tested(name),
            f"share of copies at the last clean checkpoint of the averaged weights (relative gap up to {STOPPED_AT:g}; "
            "stopped once it is surely larger) less that among fresh pictures, all sizes and seeds: held if "
            f"Newcombe's 95 % interval ends at or below {MORE:g}, partly if the value does",
            stays_clean(name),
        ),
    ]


def distances(name: str) -> list[Claim]:
    """Figure 10: where samples are best, whether they get worse, what stopping costs."""
    told = [
        Claim(
            f"iddpm-{SHORT[name]}-best-at-{word}",
            "002",
            "Figure 10",
            f"The Frechet distance is smallest at the onset of memorization (by {d.words}).",
            tested(name),
            f"checkpoint of the smallest distance / onset, {OVER_RUNS}: held if the 95 % interval lies within a factor "
            f"{FACTOR:g} of 1, partly if the value does",
            best_at(name, d),
            quantity,
        )
        for word, d in (("gap", parted(name)), ("copies", COPYING))
    ]
    worse = Claim(
        f"iddpm-{SHORT[name]}-gets-worse",
        "002",
        "Figure 10",
        "After the onset the Frechet distance rises.",
        tested(name),
        f"distance at the end / at the last clean checkpoint, {OVER_RUNS}: held if the 95 % interval begins above 1, "
        "partly if the value lies above",
        gets_worse(name),
        quantity,
    )
    cost = Claim(
        f"iddpm-{SHORT[name]}-stopped-best",
        "002",
        "Figures 1, right, and 10",
        "Samples at the stopping time are about the best of the run.",
        tested(name),
        f"Frechet distance at the last clean checkpoint / smallest of the run, {OVER_RUNS}: held if the 95 % interval "
        f"ends at or below {DEARER[0]:g}, partly if the value is at most {DEARER[1]:g}",
        costs_little(name),
        quantity,
    )
    return [*told, worse, cost]


EXPERIMENT = Experiment(
    name="early_stopping/iddpm",
    about="Improved DDPM in small: onsets over the number of pictures, and the quality of samples over training.",
    scale="laptop",
    configurations=configurations,
    run=run,
    claims=tuple(claim for name in SETS for part in (linear, parting, distances) for claim in part(name)),
    show=show,
    sets=sets,
)
