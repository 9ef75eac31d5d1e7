"""Do samples use the production rules as the language does? Figure 14, as a test against what is known exactly.

v = 8, m = 2, L = 4, s = 2, rules and strings of each seed. What all strings do is known, and so is the chance of as
many strings of the exact denoiser. A model that has seen 2,048 strings (P* = 256) is stopped at a fixed step before
they are copied, as in the paper; one that has seen 32 is trained until it draws them.

Piloted at seeds 100 and 101. Masked, stopped at 4,096 and at 3,072: 87 and 82 % of the samples break no rule, their
occurrences are off by .09 and .06 beyond chance (the training strings by .05 and .06, slope on these .98 at seed 101),
correlations by .12 and .13 of what the language has; both 1.5 to 2.9 times chance in the mean square. Uniform, stopped
at the least validation loss, which came at step 1,608 by the noise of the bound: 67 % valid, .24 and .28, slope 2.4;
hence a fixed step. By rote (step 640) .57 and .62, and 1.1 and 1.3 of the language's correlations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unrote.lab.claims import Claim, Experiment
from unrote.lab.early_stopping.law_runs import checkpoints
from unrote.lab.early_stopping.rhm import OPTIONS, PAPER, SEEDS, SHAPE
from unrote.lab.early_stopping.rhm_usage_figures import show
from unrote.lab.early_stopping.rhm_usage_rules import (
    Amount,
    beyond,
    everywhere,
    followed,
    is_small,
    larger_by_rote,
    not_told,
    wrong_structure,
)
from unrote.lab.early_stopping.rhm_usage_runs import SURE, run
from unrote.lab.wild_middle.gap_rules import Judged

WAYS = ("masked", "uniform")
MANY, LONG = 2048, 3072
FEW, SHORT = 32, 640
"""Strings and steps: above P*, stopped early; below it, until they are copied."""
SMALL, SOME = 0.1, 0.2
"""Rules are used equally often if they are off by no more than this; somewhat if by no more than that."""
STRUCTURE = 2.0
"""Correlations may be off by so many times those shares of what the language has."""
TIMES = 3.0
"""By rote rules are off so many times as much."""
OWN = 0.5
"""Samples follow the chance of the training strings if they are off by at least this share of what those are."""


def configuration(way: str, trained: int, steps: int, seed: int) -> dict[str, Any]:
    """One run."""
    return {
        "way": way,
        "shape": SHAPE,
        "trained": trained,
        "held": 2048,
        "width": 128,
        "options": OPTIONS,
        "samples": 2048,
        "sets": 200,
        "at": checkpoints(steps, 64),
        "seed": seed,
    }


def configurations(scale: str) -> Sequence[Mapping[str, Any]]:
    """Every process and seed, stopped early and by rote; the paper's grammar, strings and width at paper scale."""
    if scale == "smoke":
        small = {"held": 64, "width": 32, "samples": 256, "sets": 20}
        return [configuration(way, trained, 64, 0) | small for way in WAYS for trained in (512, 16)]
    if scale == "paper":
        options = OPTIONS | {"batch_size": 32, "ema_decay": 0.999}
        wide = {"shape": PAPER, "width": 8192, "samples": 8192, "options": options}
        return [
            configuration("uniform", trained, 2**15, seed) | wide
            for seed in SEEDS
            for trained in (16_384, 256)
        ]
    return [
        configuration(way, *plan, seed)
        for seed in SEEDS
        for way in WAYS
        for plan in ((MANY, LONG), (FEW, SHORT))
    ]


TESTED = (
    "random grammars of v = 8, m = 2, L = 4, s = 2 (P* = 256), rules and strings of each seed; tree U-Net of width 128 "
    f"in muP, batches of 128, Adam at 3e-3, averaged weights (decay .99), {{}} tokens; {MANY:,} strings, stopped at "
    f"step {LONG:,} (by rote: {FEW} strings, step {SHORT}); 2,048 samples, of "
    "which those that break no rule count; expected numbers exact, chance by 200 sets of 2,048 strings of the exact "
    "denoiser; seeds 0 to 4"
)


def claim(
    way: str,
    name: str,
    source: str,
    says: str,
    rule: str,
    judged: Judged,
) -> Claim:
    """One claim on one process."""
    paper = "unrote" if source.startswith("beyond") else "002"
    return Claim(f"rhm-usage-{way}-{name}", paper, source, says, TESTED.format(way), rule, judged)


def small(way: str, name: str, says: str, what: str, amount: Amount, times: float = 1.0) -> Claim:
    """A claim that something is off by little."""
    held, partly = times * SMALL, times * SOME
    rule = f"{what}: held if the 95 % interval over seeds ends at or below {held:g}, partly at or below {partly:g}"
    return claim(way, name, "Figure 14", says, rule, is_small(way, amount, held, partly))


def use(way: str) -> list[Claim]:
    """How far a model that was stopped early is off."""
    relative = "root mean square over rules of (share in its layer / expected share - 1), the chance of as many exact "
    return [
        small(
            way,
            "occurrence",
            "Stopped early, a model uses every rule as often as the language does.",
            relative + "strings subtracted from the mean square",
            beyond("occurrence"),
        ),
        small(
            way,
            "occurrence-all",
            "So do all samples, those that break rules somewhere included.",
            relative + "strings subtracted from the mean square, over whatever rules are found",
            everywhere,
        ),
        small(
            way,
            "covariance",
            "Rules are used together as in the language: independently but for what the grammar joins.",
            "root mean square over pairs of rules of the covariance less the expected one, over expected standard "
            "deviations, chance subtracted from the mean square, over the root mean square that the language has",
            wrong_structure,
            STRUCTURE,
        ),
    ]


def told(way: str) -> list[Claim]:
    """Whether chance alone is seen."""
    words = {
        "occurrence": "Mean occurrences are off by sampling noise alone.",
        "covariance": "Covariances are off by sampling noise alone.",
    }
    return [
        claim(
            way,
            f"{name}-noise",
            "Figure 14",
            says,
            "mean square of what is off over that of as many exact strings, geometric mean: held if it lies below what "
            f"{SURE:.0%} of the exact sets have at all seeds, partly if at most of them",
            not_told(way, name),
        )
        for name, says in words.items()
    ]


def by_rote(way: str) -> list[Claim]:
    """What a model that has learned its strings by heart does, and what is left of the strings in the other."""
    words = {
        "occurrence": "By rote rules are used as often as the strings have them, which is far off.",
        "covariance": "By rote rules come together as the strings have them, which is far off.",
    }
    more = [
        claim(
            way,
            f"{name}-rote",
            "beyond Figure 14",
            says,
            "what is off by rote over what is off when stopped early (at least what would be told from chance), "
            f"geometric mean: held if the 95 % interval begins at or above {TIMES:g}, partly at or above 1",
            larger_by_rote(way, name, TIMES),
        )
        for name, says in words.items()
    ]
    return [
        *more,
        claim(
            way,
            "strings",
            "beyond Figure 14",
            f"What is off follows the chance of the {MANY:,} training strings.",
            "slope, over rules, of what samples are off on what the training strings are off: held if the 95 % "
            f"interval begins at or above {OWN:g}, partly at or above 0",
            followed(way, OWN),
        ),
    ]


def claims_of(way: str) -> list[Claim]:
    """What is claimed of one process."""
    return [*use(way), *told(way), *by_rote(way)]


EXPERIMENT = Experiment(
    name="early_stopping/rhm-usage",
    about="Random grammars: whether samples use the production rules as often, and together, as the language does.",
    scale="laptop",
    configurations=configurations,
    run=run,
    claims=tuple(claim for way in WAYS for claim in claims_of(way)),
    show=show,
)
