"""Figure 2: two networks that learn from disjoint halves draw like pictures until they memorize, then part.

The twins share nothing but the noise of sampling: start weights, the order of training and its noise are their own. The
paper does not say whether its networks had the same start weights; on digits a third network has the first one's start
and the second one's pictures, so that both readings are measured.

Piloted at seed 100 with P = 64. At the first checkpoints samples of both twins are nearly identical (cosine .97), since
neither has learned much: an untrained denoiser makes the same of the same noise. So "before memorization" is judged at
the checkpoint of the least test loss. Digits, faces, clothes: it comes at step 232, 120, 232; there twins are at .76,
.76, .73, their own halves at .58, .54, .69, the other halves at .47, .46, .61, fresh pictures at .57, .49, .71; in the
end (step 2,304) twins at .29, .33, .47, own halves at .95, .88, .93. The curves cross at step 325, 309, 268, the losses
part (gap .4) at 298, 415, 649, a tenth of the samples are copies at 744, 1,687, 1,310. Outputs part first at level .32,
.13, .32; weight and coverage cross at .75, .46, .46, single steps copy in the end at .30, .25, .22 (faces: 1 %); at
high noise the relative difference stays below .08, .08, .12. On digits a common start adds .00 to the similarity and
common pictures .33; with P = 256 twins are at .78 at step 856, where those of P = 64 are at .41, and at .85 at their
own least test loss. The thresholds of both onsets are those by which `early_stopping/law` forecasts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from unrote.lab.claims import Claim, Experiment, Row
from unrote.lab.early_stopping.law_runs import checkpoints
from unrote.lab.early_stopping.twins_figures import show
from unrote.lab.early_stopping.twins_rules import (
    ALIKE,
    COPIES,
    FACTOR,
    GAP,
    HIGH,
    NEARLY,
    PARTED,
    SAME,
    TRACE,
    Number,
    Rule,
    above,
    apart_at_high,
    at_most,
    below,
    best,
    crossing_over,
    fall,
    geometrical,
    groups,
    judged_by,
    last,
    lead,
    loss_onset,
    main,
    nearly_identical,
    of_data,
    of_size_at_best,
    of_size_at_step,
    of_start,
    onset_by_copies,
    parted_over_copying,
    parted_over_zone,
    plain,
    trace,
    within,
)
from unrote.lab.early_stopping.twins_runs import COMPARED, FIRST, SECOND, SHARE, THIRD, run
from unrote.lab.study import MLP_SMALL
from unrote.report.format import quantity

SEEDS = (0, 1, 2, 3, 4)
SHORT = {"digits": "digits", "fashion_mnist": "fashion", "lfw_faces_32": "faces"}
"""Sets, and how they are called in the names of claims."""
SHOWN = ("digits", "fashion_mnist")
"""Sets whose pictures a page may show."""
HALF, MANY = 64, 256
"""P: pictures of each twin; of a second pair on digits."""
EACH, FIRST_AT, MANY_UNTIL = 36, 32, 900
"""Steps a picture, the first checkpoint, and up to which step the pair of many pictures is followed."""
TEST = 500
OPTIONS: dict[str, Any] = {
    "batch_size": 64,
    "learning_rate": 1e-3,
    "warmup_steps": 50,
    "ema_decay": 0.99,
}
"""As in `early_stopping/law`."""
PAPER_UNET: dict[str, Any] = {
    "kind": "unet",
    "channels": [128, 256, 256, 256],  # 128 stated; the program's multiples at 32x32
    "layers": 3,  # stated
    "attention": [False, True, True, False],  # at 16x16 and 8x8, the program's
    "dropout": 0.3,  # stated
}
"""The U-Net of improved DDPM, as near as this program's comes."""
PAPER: dict[str, Any] = {
    "pictures": {"set": "cifar10", "class": None, "side": 32, "images": 2 * 2048, "test": 1024},
    "networks": [FIRST, SECOND],
    "network": PAPER_UNET,
    "options": {
        "batch_size": 128,  # stated
        "learning_rate": 1e-4,  # stated
        "warmup_steps": 0,
        "ema_decay": 0.9999,  # the program's
        "mixed_precision": "bf16",
    },
    "samples": 1024,
    "at": checkpoints(262_144, 1024),  # its length is stated
    "shown": False,
}
"""The paper's size with CIFAR-10 in place of CelebA, since the faces at hand are too few for two halves of 2,048.

Trained by EDM's recipe: neither the cosine schedule nor the learned variance takes part in the comparison.
"""


def configurations(scale: str) -> Sequence[Mapping[str, Any]]:
    """Every set at every seed, and on digits a third network and a pair with more pictures."""
    if scale == "smoke":
        small = pair("digits", 16, checkpoints(64, 32), 0, 32)
        return [small | {"networks": [FIRST, SECOND, THIRD]}, pair("digits", 32, checkpoints(64, 32), 0, 32)]
    if scale == "paper":
        return [PAPER | {"seed": seed} for seed in SEEDS]
    at = checkpoints(EACH * HALF, FIRST_AT)
    few = [
        pair(name, HALF, at, seed) | ({"networks": [FIRST, SECOND, THIRD]} if name == "digits" else {})
        for seed in SEEDS
        for name in SHORT
    ]
    early = [step for step in at if step <= MANY_UNTIL]
    return [*few, *(pair("digits", MANY, early, seed) for seed in SEEDS)]


def pair(name: str, half: int, at: Sequence[int], seed: int, samples: int = 256) -> dict[str, Any]:
    """Twins on one set; pictures of the first seed are shown where they may be."""
    return {
        "pictures": {"set": name, "class": None, "side": 8, "images": 2 * half, "test": TEST},
        "networks": [FIRST, SECOND],
        "network": MLP_SMALL,
        "options": OPTIONS,
        "samples": samples,
        "at": list(at),
        "shown": name in SHOWN and seed == SEEDS[0] and half != MANY,
        "seed": seed,
    }


def sets(scale: str) -> tuple[str, ...]:
    """The picture sets that are read."""
    if scale == "paper":
        return ("cifar10",)
    return () if scale == "smoke" else tuple(name for name in SHORT if name != "digits")


TESTED = (
    f"{{}}, brought to 8x8, two disjoint halves of {HALF} pictures, each seed its own, {TEST} test pictures; residual "
    f"MLPs 3x512 that share nothing but the noise of sampling, EDM's recipe, {EACH} steps of 64 a picture, averaged "
    "weights (decay .99); 256 samples from the same noise at every checkpoint; cosines of pictures whitened in the "
    f"directions that hold {100 * SHARE:.0f} % of the variance of other pictures; seeds 0 to 4"
)
AT_BEST = "at the checkpoint of the least test loss (mean of both)"
INTERVAL = "95 % interval over seeds"


def claim(
    name: str, key: str, says: str, rule: str, judged: Any, source: str = "Figure 2", paper: str = "002"
) -> Claim:
    """A claim about one set."""
    return Claim(
        f"twins-{SHORT[name]}-{key}", paper, source, says, TESTED.format(name), rule, judged, quantity
    )


def claims_of(name: str) -> list[Claim]:
    """What is claimed of one set."""

    def judged(number: Number, rule: Rule, mean: Any = plain) -> Any:
        return judged_by(lambda rows: main(rows, name), number, mean, rule)

    told = partial(claim, name)
    return [
        told(
            "nearly-identical",
            "Before memorization the twins' samples are nearly identical.",
            f"cosine between samples from the same noise {AT_BEST}: held if its {INTERVAL} lies above {NEARLY:g}, "
            "partly if it surely is larger than that of fresh pictures and their nearest training pictures",
            nearly_identical(name),
        ),
        told(
            "alike-before",
            "Before memorization the twins' samples resemble each other more than their own nearest training pictures.",
            f"cosine between the twins' samples less that to the nearest picture of the own half, {AT_BEST}: held if "
            f"the {INTERVAL} lies above 0, partly if the mean does",
            judged(lead(best), above(0.0)),
        ),
        told(
            "parted-after",
            "During memorization they resemble their own nearest training pictures more than each other.",
            f"the same difference at the last checkpoint: held if the {INTERVAL} lies below 0, partly if the mean does",
            judged(lead(last), below(0.0)),
        ),
        told(
            "fall",
            "During memorization the twins' similarity falls.",
            f"cosine between the twins' samples at the last checkpoint less that {AT_BEST}: held if the {INTERVAL} "
            "lies below 0, partly if the mean does",
            judged(fall, below(0.0)),
        ),
        told(
            "no-trace-before",
            "Before memorization samples are as near to pictures that were not learned as to those that were.",
            f"cosine to the nearest picture of the own half less that of the other half, {AT_BEST}: held if the "
            f"{INTERVAL} ends at or below {TRACE[0]:g}, partly if the mean lies at or below {TRACE[1]:g}",
            judged(trace, at_most(*TRACE)),
            paper="unrote",
        ),
        *onset_claims(name, judged),
        *level_claims(name, judged),
    ]


def onset_claims(name: str, judged: Any) -> list[Claim]:
    """Whether the parting coincides with the onset, by two definitions."""
    return [
        claim(
            name,
            f"parts-at-onset-by-{key}",
            f"The twins part when memorization sets in (by {words}).",
            "step from which on samples are nearer to their own half than to the twin's, over the onset of the runs "
            f"({words}, mean of both in logarithms), geometric mean over seeds: held if the {INTERVAL} lies within a "
            f"factor {FACTOR:g}, partly if the mean does",
            judged(crossing_over(onset), within(1 / FACTOR, FACTOR), geometrical),
        )
        for key, words, onset in (
            ("losses", f"loss gap {GAP:g}", loss_onset),
            ("copies", f"share of copies {COPIES:g}", onset_by_copies),
        )
    ]


def level_claims(name: str, judged: Any) -> list[Claim]:
    """At which levels the twins' outputs part, and at which they do not."""
    what = (
        f"E|A - B|^2 / (E|A - x0|^2 + E|B - x0|^2) of outputs on {COMPARED} noised fresh pictures at 14 levels from "
        ".05 to 20"
    )
    return [
        *(
            claim(
                name,
                f"part-first-{key}",
                f"The twins' outputs part first at the levels {words}.",
                f"{what}; level at which it first reaches {PARTED:g} over {rule}, geometric mean over seeds: held if "
                f"the {INTERVAL} lies within a factor {FACTOR:g}, partly if the mean does",
                judged(number, within(1 / FACTOR, FACTOR), geometrical),
                "Figures 2 and 5b; 001",
                "unrote",
            )
            for key, words, rule, number in (
                (
                    "in-the-danger-zone",
                    "of the danger zone",
                    "the one at which posterior weight and coverage cross",
                    parted_over_zone,
                ),
                (
                    "where-copying-is",
                    "at which copying happens",
                    "the one at which single steps of the last networks copy (mean logarithm over all fresh pictures "
                    "that they turn into copies)",
                    parted_over_copying,
                ),
            )
        ),
        claim(
            name,
            "agree-at-high-noise",
            "At high noise the twins' outputs agree throughout training.",
            f"{what}; its largest value over levels of at least {HIGH:g} and all checkpoints: held if the {INTERVAL} "
            f"ends at or below {ALIKE[0]:g}, partly if the mean lies at or below {ALIKE[1]:g}",
            judged(apart_at_high, at_most(*ALIKE)),
            "Figures 2 and 5b; 001",
            "unrote",
        ),
    ]


def digits_claims() -> list[Claim]:
    """What the third network and the second pair decide."""

    def by_seed(rows: Sequence[Row]) -> Any:
        return groups(rows, "digits")

    after = "mean over the checkpoint of the least test loss and all later ones"
    start = judged_by(by_seed, of_start, plain, within(-SAME, SAME))
    data = judged_by(by_seed, of_data, plain, above(0.0))
    at_step = judged_by(by_seed, of_size_at_step, plain, above(0.0))
    at_best = judged_by(by_seed, of_size_at_best, plain, above(0.0))
    held_above = f"held if the {INTERVAL} lies above 0, partly if the mean does"
    told = partial(claim, "digits", paper="unrote")
    return [
        told(
            "start-does-not-matter",
            "It makes no difference whether twins share start weights and training noise.",
            f"cosine between samples of networks of different halves, same start less different start, {after}: held "
            f"if the {INTERVAL} lies within {SAME:g} of 0, partly if the mean does",
            start,
        ),
        told(
            "pictures-matter",
            "Networks of the same pictures and different starts stay more alike than networks of different pictures.",
            f"cosine between samples, same half less different halves, different starts, {after}: {held_above}",
            data,
        ),
        told(
            "more-alike-with-more-pictures",
            "At the same step twins with more pictures are more alike.",
            f"cosine between samples, P = {MANY} less P = {HALF}, at the last step that both reached: {held_above}",
            at_step,
            "Figure 2; section 3.1",
        ),
        told(
            "more-alike-at-best-with-more-pictures",
            "The more pictures, the more alike the twins are where each pair is best.",
            f"cosine between samples, P = {MANY} less P = {HALF}, each {AT_BEST}: {held_above}",
            at_best,
            "Figure 2; section 3.1",
        ),
    ]


EXPERIMENT = Experiment(
    name="early_stopping/twins",
    about="Networks of disjoint halves: how alike their samples are over training, and how near to what they learned.",
    scale="laptop",
    configurations=configurations,
    run=run,
    claims=(*(one for name in SHORT for one in claims_of(name)), *digits_claims()),
    show=show,
    sets=sets,
)
