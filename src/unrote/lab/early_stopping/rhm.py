"""Memorization against generalization on random grammars: Figures 4 and 5(a), two processes, against the exact score.

v = 8, m = 2, L = 4, s = 2: 262,144 strings of 16 tokens, sample complexities P*_l = 32, 64, 128 and 256. Every seed has
its own rules and strings.

Piloted at seed 100 with batches of 128, masked: with 2,048 strings 20 % of the samples break a rule at step 2,312 and
13 % at 3,200, none is a copy; layers come at 105, 300, 1,250 and 2,312. With 32 strings a tenth of the samples are
copies at step 140, with 128 at 400, and errors stay above 20 % to the end (22 % at step 1,024 with 32, 41 % at 2,400
with 128). Uniform with 32: copies at 180, 20 % errors at 300, 1 % at 728. With 32 strings the excess over the exact
denoiser is least at step 88.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from unrote.lab.claims import Claim, Experiment
from unrote.lab.early_stopping.law_rules import NEAR, WIDEST
from unrote.lab.early_stopping.law_runs import checkpoints
from unrote.lab.early_stopping.rhm_figures import show
from unrote.lab.early_stopping.rhm_rules import (
    COPIED,
    FEW,
    GAP,
    LEFT,
    NONE,
    before,
    best_before_copies,
    copied,
    deeper_later,
    generalizes,
    is_linear,
    layers_linear,
    parted,
    with_copies,
)
from unrote.lab.early_stopping.rhm_runs import DONE, run
from unrote.lab.wild_middle.gap_rules import Judged
from unrote.report.format import Value, quantity, ratio

SEEDS = (0, 1, 2, 3, 4)
SHAPE = {"vocabulary": 8, "rules": 2, "layers": 4, "branching": 2}
PAPER = {"vocabulary": 16, "rules": 4, "layers": 3, "branching": 2}
FEWER = {"uniform": (16, 32, 64), "masked": (16, 32, 64, 128)}
"""Sizes below P* = 256."""
MANY = 2048
EACH, LONG = 16, 4096
"""Steps a string below P*, and steps in all above it."""
OPTIONS: dict[str, Any] = {
    "batch_size": 128,
    "learning_rate": 3e-3,
    "warmup_steps": 100,
    "ema_decay": 0.99,
}
WIDE = 0.3
"""The exponent over layers is known within this."""


def configuration(way: str, trained: int, steps: int, seed: int) -> dict[str, Any]:
    """One run."""
    return {
        "way": way,
        "shape": SHAPE,
        "trained": trained,
        "held": 2048,
        "width": 128,
        "options": OPTIONS,
        "samples": 256,
        "at": checkpoints(steps, 64),
        "seed": seed,
    }


def configurations(scale: str) -> Sequence[Mapping[str, Any]]:
    """Every process, size and seed; the paper's grammar and width at paper scale."""
    if scale == "smoke":
        small = {"held": 64, "width": 32, "samples": 64}
        return [configuration(way, trained, 64, 0) | small for way in FEWER for trained in (16, 512)]
    if scale == "paper":
        wide = {"shape": PAPER, "width": 8192, "samples": 1024}
        options = OPTIONS | {"batch_size": 32, "ema_decay": 0.999}
        return [
            configuration("uniform", trained, 2**17, seed) | wide | {"options": options}
            for seed in SEEDS
            for trained in (256, 1024, 4096, 16_384)
        ]
    return [
        configuration(way, trained, LONG if trained == MANY else EACH * trained, seed)
        for seed in SEEDS
        for way in FEWER
        for trained in (*FEWER[way], MANY)
    ]


TESTED = (
    "random grammars of v = 8, m = 2, L = 4, s = 2 (P* = 256), rules and strings of each seed; tree U-Net of width 128 "
    f"in muP, batches of 128, Adam at 3e-3; {{}} tokens; {EACH} steps a string below P* (ended where {DONE[0]:.0%} of "
    f"256 samples are copies and fewer than {DONE[1]:.0%} have errors), {LONG:,} steps with {MANY:,}; averaged weights "
    "(decay .99); seeds 0 to 4"
)


def claim(
    way: str,
    name: str,
    source: str,
    says: str,
    rule: str,
    judged: Judged,
    shown: Callable[[Value], str] = quantity,
) -> Claim:
    """One claim on one process."""
    paper = "unrote" if source.startswith("beyond") else "002"
    return Claim(f"rhm-{way}-{name}", paper, source, says, TESTED.format(way), rule, judged, shown)


def figure_4(way: str) -> list[Claim]:
    """Errors and copies below and above P*."""
    order = (
        f"step at which {LEFT:.0%} of the samples have errors over that at which {COPIED:.0%} are copies, geometric "
        "mean (what never comes counts as at the last step): "
    )
    return [
        claim(
            way,
            "below",
            "Figure 4",
            "Below P* (32 strings) errors fall only with copying.",
            f"{order}held if the 95 % interval over seeds lies at or above 1, and copies come at all seeds, "
            "partly if the value does",
            with_copies(way, 32),
        ),
        claim(
            way,
            "above",
            "Figure 4",
            f"Above P* ({MANY:,} strings) errors fall before copying starts.",
            f"{order}held if all seeds reach {LEFT:.0%} and the interval lies below 1, partly if some do and the "
            "value is",
            before(way, MANY),
        ),
        claim(
            way,
            "generalizes",
            "section 4.3",
            f"With {MANY:,} strings fewer than {FEW:.0%} of the samples have errors in the end, and none is a copy.",
            f"share of samples with errors at the last step: held if the 95 % interval ends at or below {FEW:g}, "
            f"partly at or below {2 * FEW:g}; failed if more than {NONE:.0%} are copies at any seed",
            generalizes(way, MANY),
            ratio,
        ),
    ]


def insets(way: str) -> list[Claim]:
    """The law of the onset below P*."""
    law = (
        f"exponent of tau = a P^b below P*: held if its 95 % interval contains 1 and is narrower than {WIDEST:g}, "
        f"partly if it contains 1 or b is within {NEAR:g} of it"
    )
    most = FEWER[way][-1]
    return [
        claim(
            way,
            "law-copies",
            "Figure 4, insets",
            f"The step at which {COPIED:.0%} of the samples are copies grows in proportion to P.",
            law,
            is_linear(way, copied, most),
        ),
        claim(
            way,
            "law-losses",
            "Figure 4, insets",
            f"So does the step at which losses part ({GAP:g} nat a token, each less the exact one).",
            law,
            is_linear(way, parted, most),
        ),
    ]


def layers(way: str) -> list[Claim]:
    """When each layer is learned, and what the exact denoiser says."""
    return [
        claim(
            way,
            "deeper-later",
            "Figure 5(a)",
            f"Deeper layers are learned later ({MANY:,} strings).",
            "smallest ratio of the times of neighbouring layers, geometric mean: held if the 95 % interval lies above "
            "1, partly if the value does",
            deeper_later(way, MANY),
        ),
        claim(
            way,
            "layers",
            "section 4.4",
            "The time of a layer is proportional to its sample complexity.",
            f"exponent c of tau_l = a (v m^(l+1))^c: held if its 95 % interval contains 1 and is narrower than "
            f"{2 * WIDE:g}, partly if it contains 1 or c is within {WIDE:g} of it",
            layers_linear(way, MANY, WIDE),
        ),
        claim(
            way,
            "best-before-copies",
            "beyond Figure 4",
            "The model is nearest to the exact denoiser before it copies (32 strings).",
            "step of the least excess over the exact denoiser over that of the copies, geometric mean: held if the "
            "95 % interval lies below 1, partly if the value does",
            best_before_copies(way, 32),
        ),
    ]


def claims_of(way: str) -> list[Claim]:
    """What is claimed of one process."""
    return [*figure_4(way), *insets(way), *layers(way)]


EXPERIMENT = Experiment(
    name="early_stopping/rhm",
    about="Random grammars: when rules are learned and when strings are copied, below and above the sample complexity.",
    scale="laptop",
    configurations=configurations,
    run=run,
    claims=tuple(claim for way in FEWER for claim in claims_of(way)),
    show=show,
)
