"""Masked diffusion of text learns P windows by heart: Figures 3, 9b and 13, small.

PILOT
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from unrote.lab.claims import Claim, Experiment
from unrote.lab.early_stopping.law_rules import NEAR, WIDEST, Definition
from unrote.lab.early_stopping.law_runs import checkpoints
from unrote.lab.early_stopping.text_figures import show
from unrote.lab.early_stopping.text_rules import (
    COPIED,
    FAR,
    FEW,
    MORE,
    MOST,
    PARTED,
    RISEN,
    comes_before,
    copies_at_end,
    gained,
    is_linear,
    kept_away,
    minimum,
    reaches,
    risen,
    stays_below,
    stops_clean,
    wrong_at_end,
)
from unrote.lab.early_stopping.text_runs import SHARE, run
from unrote.lab.wild_middle.gap_rules import Judged
from unrote.report.format import Value, quantity, ratio

SEEDS = (0, 1, 2, 3, 4)
SIZES = (16, 32, 64)
PAPER = (64, 128, 256, 512, 1024)
EACH = 200
"""Steps a window, at most."""
FIRST = 64
"""The first checkpoint."""
ENOUGH = 0.8
"""A run ends where so many of its samples are copies."""
SMALL: dict[str, Any] = {"width": 64, "layers": 2, "heads": 4, "hidden": 256}
TEXT8: dict[str, Any] = {"width": 768, "layers": 12, "heads": 12, "hidden": 2048}
"""MD4's network for text8, 88.7 million weights; the paper says 165 million, which is its network for OpenWebText."""
OPTIONS: dict[str, Any] = {
    "batch_size": 16,
    "learning_rate": 2e-3,
    "warmup_steps": 100,
    "ema_decay": 0.99,
    "clip": 0.5,  # weights 1/t have long tails: without it the small batches here learn nothing for 1,500 steps
    "tick_every": 8,
}
LARGE: dict[str, Any] = {
    "batch_size": 64,  # stated
    "learning_rate": 3e-4,  # MD4's file as it is
    "warmup_steps": 2000,
    "ema_decay": 0.9999,
    "tick_every": 512,
    "mixed_precision": "bf16",
}
"""MD4's training on text8; its cosine decay over a million steps is left out, since runs stop at half of them."""
GAPS = (0.2, 0.4, 0.8)
"""Bits a character by which losses are apart, as in Figure 9b."""
COPIES = (0.1, 0.5)
"""Shares of copies whose onset is fitted."""


def configuration(trained: int, seed: int) -> dict[str, Any]:
    """One run at laptop scale."""
    return {
        "text": "wikitext2",
        "length": 32,
        "block": SIZES[-1],
        "trained": trained,
        "held": 1024,
        "network": SMALL,
        "options": OPTIONS,
        "betas": [0.9, 0.99],
        "samples": 128,
        "enough": ENOUGH,
        "at": checkpoints(EACH * trained, FIRST),
        "shown": seed == 0 and trained == SIZES[-1],
        "seed": seed,
    }


def configurations(scale: str) -> Sequence[Mapping[str, Any]]:
    """Every size and seed; MD4 on text8 at paper scale, and a made text at smoke scale."""
    if scale == "smoke":
        small = {"text": "made", "held": 64, "samples": 16, "at": [16, 32, 64], "shown": True}
        tiny = {"network": SMALL | {"width": 32, "hidden": 64}}
        return [configuration(trained, 0) | small | tiny for trained in (8, 16)]
    if scale == "paper":
        large = {"text": "text8", "length": 256, "block": PAPER[-1], "held": 19_531, "network": TEXT8}
        training = {"options": LARGE, "betas": [0.9, 0.999], "samples": 1024, "enough": 1.0}
        at = [512 * 2**k for k in range(11)]  # to 524,288
        return [
            configuration(trained, seed)
            | large
            | training
            | {"at": at, "shown": seed == 0 and trained == 1024}
            for seed in SEEDS
            for trained in PAPER
        ]
    return [configuration(trained, seed) for seed in SEEDS for trained in SIZES]


def sets(scale: str) -> tuple[str, ...]:
    """The texts that runs read."""
    named = {"smoke": (), "laptop": ("wikitext2", "wikitext2_test"), "paper": ("text8", "text8_test")}
    return named[scale]


TESTED = (
    f"WikiText-2 in a to z and spaces, {', '.join(map(str, SIZES))} windows of 32 characters, other ones for each seed; "
    "1,024 windows of the validation split; transformer of 2 layers, width 64; masked diffusion, batches of 16, AdamW "
    f"at 2e-3, gradients clipped at .5; at most {EACH} steps a window, ended where {ENOUGH:.0%} of 128 samples are copies "
    f"(at most {SHARE:.0%} of the characters differ from a training window); averaged weights (decay .99); seeds 0 to 4"
)


def claim(
    name: str, source: str, says: str, rule: str, judged: Judged, shown: Callable[[Value], str] = quantity
) -> Claim:
    """One claim."""
    paper = "unrote" if source.startswith("beyond") else "002"
    return Claim(f"text-{name}", paper, source, says, TESTED, rule, judged, shown)


ORDER = (
    "geometric mean over sizes and seeds of one step over the other (what never comes counts as at the last step): "
    "held if the 95 % interval over seeds lies below 1, partly if the value does; failed if the first never comes"
)
LAW = (
    f"exponent of tau = a P^b: held if its 95 % interval contains 1 and is narrower than {WIDEST:g}, partly if it "
    f"contains 1 or b is within {NEAR:g} of it"
)


def dynamics() -> list[Claim]:
    """Losses fall together, then part; copies come after."""
    return [
        claim(
            "generalizes",
            "Figure 3",
            "At first both losses fall: the model learns about text that it has not seen.",
            "bits a character by which the least validation bound lies below that of the best denoiser without "
            "context (the held-out text's own frequencies, under the same noise), mean over sizes: held if the 95 % "
            "interval over seeds lies at or above 0.05, partly at or above 0",
            reaches(gained, 0.05, 0.0),
        ),
        claim(
            "turns",
            "Figure 3",
            "Then the validation loss turns up.",
            f"bits a character by which it ends above its least value, mean over sizes: held if the interval lies at or "
            f"above {RISEN:g}, partly at or above 0.02",
            reaches(risen, RISEN, 0.02),
        ),
        claim(
            "parts-first",
            "section 3.2",
            f"Losses are {PARTED.threshold:g} bits a character apart before {COPIED.threshold:.0%} of the samples are "
            "copies.",
            ORDER,
            comes_before(PARTED.onset, COPIED.onset),
        ),
        claim(
            "minimum-first",
            "Figure 3",
            f"The validation loss is least before {COPIED.threshold:.0%} of the samples are copies.",
            ORDER,
            comes_before(minimum, COPIED.onset),
        ),
        claim(
            "new-before",
            "Figure 3",
            "Until then samples are as far from the training windows as fresh text.",
            "mean Hamming distance to the nearest window where the validation loss is least, over that of held-out "
            f"windows, mean over sizes: held if the interval lies at or above {FAR[0]:g}, partly at or above {FAR[1]:g}",
            reaches(kept_away, *FAR),
        ),
        claim(
            "copies-later",
            "Figure 3",
            "Later the model copies its training text.",
            f"share of copies at the last step, mean over sizes: held if the interval lies at or above {MOST[0]:g}, partly "
            f"at or above {MOST[1]:g}",
            reaches(copies_at_end, *MOST),
            ratio,
        ),
    ]


def law(definition: Definition, says: str) -> Claim:
    """The exponent by one definition of the onset."""
    return claim(
        f"law-{definition.kind}-{definition.threshold:g}", "Figure 9b", says, LAW, is_linear(definition)
    )


def laws() -> list[Claim]:
    """The onset grows in proportion to P."""
    gaps = [
        law(
            Definition("gap", bits, "averaged"),
            f"The step at which losses are {bits:g} bits apart is proportional to P.",
        )
        for bits in GAPS
    ]
    copies = [
        law(Definition("copies", share, "averaged"), f"The step of {share:.0%} copies is proportional to P.")
        for share in COPIES
    ]
    return [*gaps, *copies]


def texts() -> list[Claim]:
    """What copies are like, and what early stopping leaves of them."""
    return [
        claim(
            "few-mistakes",
            "Figure 13",
            "Copies are right up to a few characters.",
            "share of wrong characters in the median copy at the last step, mean over sizes: held if the interval ends at "
            f"or below {FEW[0]:g}, partly at or below {FEW[1]:g}",
            stays_below(wrong_at_end, *FEW),
            ratio,
        ),
        claim(
            "stops-clean",
            "section 3.2",
            "Stopping where the validation loss is least leaves no copies.",
            "share of copies there less that among held-out windows, all runs together: held if Newcombe's 95 % interval "
            f"ends at or below {MORE:g}, partly if the value does",
            stops_clean,
        ),
    ]


EXPERIMENT = Experiment(
    name="early_stopping/text",
    about="Masked diffusion of text: when losses part, when training text is copied, and what early stopping leaves.",
    scale="laptop",
    configurations=configurations,
    run=run,
    claims=(*dynamics(), *laws(), *texts()),
    show=show,
    sets=sets,
)
