"""Partial generalization on a deep grammar, and twins that agree until they memorize: Figures 5(a) and 5(b).

v = 8, m = 2, L = 5, s = 2: 1.7e10 strings of 32 tokens, sample complexities P*_l = 32, 64, 128, 256 and 512. Two
networks learn 96 strings each, none of them in both sets: below the complexity of the third layer, as 1,024 strings are
in the paper (P*_3 = 1,296 of v = 16, m = 3). Every seed has its own rules and strings.

Piloted at seed 100 with 128 samples. Uniform: half of the samples keep layer 1 at step 150, layers 1 and 2 at 240, 1
to 3 at 650, all at 1,400; a tenth are copies at 1,200, six in ten at 2,000. The twins are .13 apart up to step 360,
.24 at 1,008 and .35 at 2,000; from the exact denoiser they are .16 at step 360 and .28 at the end. The held-out loss
is least at 256. Masked: layers 1 and 2 at 93 and 190, the third after copies have come (1,000); the twins are .08
apart at first, .12 at 256, .24 at 2,000; the held-out loss is least at 128.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unrote.lab.claims import Claim, Experiment
from unrote.lab.early_stopping.law_runs import checkpoints
from unrote.lab.early_stopping.rhm_deep_figures import show
from unrote.lab.early_stopping.rhm_deep_rules import (
    HALF,
    WIDE,
    agree_until,
    best,
    layers_linear,
    nearer_than_truth,
    shallow_first,
)
from unrote.lab.early_stopping.rhm_deep_runs import run
from unrote.lab.early_stopping.rhm_rules import COPIED, GAP, copied, parted, with_copies
from unrote.lab.early_stopping.rhm_runs import WAYS
from unrote.lab.wild_middle.gap_rules import Judged

SEEDS = (0, 1, 2, 3, 4)
SHAPE = {"vocabulary": 8, "rules": 2, "layers": 5, "branching": 2}
PAPER = {"vocabulary": 16, "rules": 3, "layers": 5, "branching": 2}
TRAINED, STEPS = 96, 3000
OPTIONS: dict[str, Any] = {
    "batch_size": 64,
    "learning_rate": 3e-3,
    "warmup_steps": 100,
    "ema_decay": 0.99,
}
DONE = 0.6
"""A run may end when more than this share of the samples of both twins are copies."""


def configuration(way: str, seed: int) -> dict[str, Any]:
    """One pair of twins."""
    return {
        "way": way,
        "shape": SHAPE,
        "trained": TRAINED,
        "held": 1024,
        "width": 128,
        "options": OPTIONS,
        "samples": 128,
        "at": checkpoints(STEPS, 64),
        "done": DONE,
        "seed": seed,
    }


def configurations(scale: str) -> Sequence[Mapping[str, Any]]:
    """Both processes at every seed; the paper's grammar, size and width at paper scale."""
    if scale == "smoke":
        small = {"held": 64, "width": 32, "samples": 32, "at": checkpoints(64, 16)}
        return [configuration(way, 0) | small for way in WAYS]
    if scale == "paper":
        wide = {"shape": PAPER, "trained": 1024, "width": 8192, "samples": 1024, "held": 2048}
        options = {"options": OPTIONS | {"batch_size": 32, "ema_decay": 0.999}}
        return [
            configuration("uniform", seed) | wide | options | {"at": checkpoints(2**17, 64)} for seed in SEEDS
        ]
    return [configuration(way, seed) for seed in SEEDS for way in WAYS]


TESTED = (
    f"random grammars of v = 8, m = 2, L = 5, s = 2 (P*_l = 32 to 512), rules and strings of each seed; {TRAINED} "
    "strings for each of two tree U-Nets of width 128 in muP, batches of 64, Adam at 3e-3; {} tokens; "
    f"{STEPS:,} steps (ended where {DONE:.0%} of 128 samples of both are copies); averaged weights (decay .99); seeds "
    "0 to 4"
)


def claim(way: str, name: str, source: str, says: str, rule: str, judged: Judged) -> Claim:
    """One claim on one process."""
    paper = "unrote" if source.startswith("beyond") else "002"
    return Claim(f"rhm-deep-{way}-{name}", paper, source, says, TESTED.format(way), rule, judged)


def partial(way: str) -> list[Claim]:
    """Figure 5(a): what is learned before strings are copied, and what is not."""
    first = f"step at which {HALF:.0%} of the samples keep {{}} over that at which {COPIED:.0%} are copies, "
    return [
        claim(
            way,
            "shallow-first",
            "Figure 5(a)",
            "Layers whose sample complexity is below P are learned before strings are copied.",
            first.format("these rules (the later of the two layers)")
            + "geometric mean: held if the 95 % interval over seeds lies below 1 and it is reached at all seeds, "
            "partly if the value does",
            shallow_first(way),
        ),
        claim(
            way,
            "deepest",
            "Figure 5(a)",
            "Rules of the deepest layer are kept only by copies.",
            first.format("all rules")
            + "geometric mean (what never comes counts as at the last step): held if the 95 % interval over seeds lies "
            "at or above 1, and copies come at all seeds, partly if the value does",
            with_copies(way, TRAINED, HALF),
        ),
        claim(
            way,
            "layers",
            "Figure 5(a)",
            "Errors of a layer fall at a time in proportion to its sample complexity (layers whose errors fall before "
            "strings are copied).",
            f"exponent c of tau_l = a (v m^(l+1))^c: held if its 95 % interval contains 1 and is narrower than "
            f"{2 * WIDE:g}, partly if it contains 1 or c is within {WIDE:g} of it",
            layers_linear(way),
        ),
    ]


def twins(way: str) -> list[Claim]:
    """Figure 5(b), with three definitions of the onset, and what the exact denoiser adds."""
    onsets = {
        "best": ("the least held-out loss", best),
        "losses": (f"losses part ({GAP:g} nat a token, each less the exact one)", parted),
        "copies": (f"{COPIED:.0%} of the samples are copies", copied),
    }
    share = (
        f"largest Hellinger distance at checkpoints before {{}} (the earlier of the two) over that at the end, "
        f"geometric mean: held if the 95 % interval over seeds lies at or below {HALF:g}, partly if the value does"
    )
    agreed = [
        claim(
            way,
            f"agree-{name}",
            "Figure 5(b)",
            f"Twins on disjoint strings give the same outputs until {words}.",
            share.format(words),
            agree_until(way, time),
        )
        for name, (words, time) in onsets.items()
    ]
    nearer = claim(
        way,
        "nearer",
        "beyond Figure 5(b)",
        "At the least held-out loss twins are nearer to each other than to the exact denoiser.",
        "distance of the twins over their mean distance from the exact denoiser at the last checkpoint before, "
        "geometric mean: held if the 95 % interval over seeds lies at or below 1, partly if the value does",
        nearer_than_truth(way, best),
    )
    return [*agreed, nearer]


EXPERIMENT = Experiment(
    name="early_stopping/rhm-deep",
    about="A deep grammar: what is learned below its sample complexity, and up to when twins agree.",
    scale="laptop",
    configurations=configurations,
    run=run,
    claims=tuple(one for way in WAYS for one in (*partial(way), *twins(way))),
    show=show,
)
