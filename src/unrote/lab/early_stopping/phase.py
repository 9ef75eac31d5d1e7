"""Generalization and memorization over steps and pictures, measured: Figure 6 for real data, with its two lines.

Piloted at seed 100: with 64 pictures the Frechet distance is 26 at step 184 and 18 at 256, then between 14 and 22; 5 %
of the samples are copies at step 1,100, 40 % at 3,900. With 1,024 pictures it is 24 at step 184, 17 at 256, 4.4 at 512
and 1.8 to 2.9 after 1,000; at step 2,896 the relative gap of the losses is .29, and no sample is a copy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unrote.lab.claims import Claim, Experiment
from unrote.lab.early_stopping.law import OPTIONS
from unrote.lab.early_stopping.law_rules import NEAR, WIDEST, Definition
from unrote.lab.early_stopping.law_runs import checkpoints
from unrote.lab.early_stopping.phase_figures import show
from unrote.lab.early_stopping.phase_rules import (
    BETTER,
    FACTOR,
    FLAT,
    GOOD,
    SMALL,
    foretold,
    is_linear,
    learns_at_once,
    quality_grows,
)
from unrote.lab.early_stopping.phase_runs import ENOUGH, run
from unrote.lab.study import MLP_SMALL
from unrote.report.format import quantity

SEEDS = (0, 1, 2, 3, 4)
SIZES = {
    "smoke": (16, 64),
    "laptop": (16, 32, 64, 128, 256, 512, 1024),
    "paper": tuple(2**k for k in range(6, 15)),
}
STEPS = {"smoke": 64, "laptop": 8192, "paper": 2**18}
TEST = {"smoke": 500, "laptop": 1000, "paper": 10_000}
BY_LOSSES = (Definition("relative", 0.5, "averaged"), Definition("relative", 1.0, "averaged"))
BY_COPIES = (Definition("copies", 0.01, "averaged"), Definition("copies", 0.05, "averaged"))


def configurations(scale: str) -> Sequence[Mapping[str, Any]]:
    """Every size and seed, all on the same grid of steps."""
    smoke = scale == "smoke"
    return [
        {
            "pictures": {
                "set": "digits" if smoke else "fashion_mnist",
                "class": None,
                "side": 8,
                "images": images,
                "test": TEST[scale],
            },
            "network": MLP_SMALL,
            "options": OPTIONS,
            "samples": {"smoke": 256, "laptop": 512, "paper": 10_000}[scale],
            "at": checkpoints(STEPS[scale], 32),
            "seed": seed,
        }
        for seed in (SEEDS[:1] if smoke else SEEDS)
        for images in SIZES[scale]
    ]


def sets(scale: str) -> tuple[str, ...]:
    """The picture sets that are read."""
    return () if scale == "smoke" else ("fashion_mnist",)


TESTED = (
    "Fashion-MNIST, brought to 8x8, P = 16, 32, ..., 1,024, 1,000 test pictures; residual MLP 3x512, EDM's recipe as "
    f"in `law`, {STEPS['laptop']:,} steps of 64, ended where {ENOUGH:.0%} of 512 samples are copies; averaged weights "
    "(decay .99); seeds 0 to 4"
)


def border(d: Definition) -> list[Claim]:
    """The line between generalization and memorization, by one definition."""
    return [
        Claim(
            f"phase-border-{d.name}",
            "002",
            "Figure 6",
            f"The border of memorization (by {d.words}) is a line tau proportional to P.",
            TESTED,
            f"exponent b of tau = a P^b, most likely with censored runs: held if its 95 % interval contains 1 and is "
            f"narrower than {WIDEST:g}, partly if it contains 1 or b is within {NEAR:g} of it",
            is_linear(d),
            quantity,
        ),
        Claim(
            f"phase-foretold-{d.name}",
            "unrote",
            "a use of 002, Figure 6",
            f"The line tau = a P drawn through P <= {SMALL} tells where the border (by {d.words}) is for more.",
            TESTED,
            f"onset over a P, a the geometric mean of onset / P at P <= {SMALL} of the same seed, geometric mean over "
            f"the larger sizes that reached it: held if the 95 % interval over seeds lies within a factor {FACTOR:g}, "
            "partly if it crosses one bound",
            foretold(d),
            quantity,
        ),
    ]


CLAIMS = (
    *(claim for d in (*BY_LOSSES, *BY_COPIES) for claim in border(d)),
    Claim(
        "phase-learning-time",
        "002",
        "Figure 6",
        "The time to generalize does not depend on the number of pictures.",
        TESTED,
        f"exponent of the first step, between checkpoints on logarithmic axes, with a Frechet distance below {GOOD:g}, "
        f"over P: held if its 95 % interval lies within {FLAT:g} of 0, partly if it crosses one bound",
        learns_at_once,
        quantity,
    ),
    Claim(
        "phase-window-frechet",
        "002",
        "section 6 and Figure 6",
        "More pictures leave more time before memorization, and better samples come of it.",
        TESTED,
        "Frechet distance at the last checkpoint with a relative gap of losses up to 1, at P = 1,024 over P = 64, same "
        f"seed: held if the 95 % interval of the geometric mean lies below {BETTER:g}, partly if it lies below 1",
        quality_grows("frechet"),
        quantity,
    ),
    Claim(
        "phase-window-loss",
        "002",
        "section 6 and Figure 6",
        "More pictures leave more time before memorization, and a lower test loss comes of it.",
        TESTED,
        "test loss at the last checkpoint with a relative gap of losses up to 1, at P = 1,024 over P = 64, same "
        f"seed: held if the 95 % interval of the geometric mean lies below {BETTER:g}, partly if it lies below 1",
        quality_grows("validation"),
        quantity,
    ),
)

EXPERIMENT = Experiment(
    name="early_stopping/phase",
    about="Quality and copying over steps and the number of training pictures, with the lines of the theory.",
    scale="laptop",
    configurations=configurations,
    run=run,
    claims=CLAIMS,
    show=show,
    sets=sets,
)
