"""The same text learned by a small transformer: what of Figures 3, 9b and 13 belongs to the network.

MD4's transformer with 2 layers, width 96 and a mark where windows begin, without which a network of this size copies
nothing in 4,000 steps. Piloted at seeds 101, 100 and 101 with P = 16, 32 and 64: the validation loss is least before
step 192, at 384 (3.78 bits; 4.10 by frequencies) and before 768 (3.98; 4.13); losses are .4 bits apart at about 170,
300 and 600; a tenth of the samples are copies at about 1,000, 3,200 and not by 6,400; the median copy has 4 to 6 wrong
characters of 32. So copies are expected later than in proportion to P, and sizes are half of those of the tree U-Net.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unrote.lab.claims import Experiment
from unrote.lab.early_stopping import text
from unrote.lab.early_stopping.law_runs import checkpoints
from unrote.lab.early_stopping.text import SEEDS
from unrote.lab.early_stopping.text_claims import claims_of
from unrote.lab.early_stopping.text_figures import show
from unrote.lab.early_stopping.text_runs import SHARE, run

SIZES = (8, 16, 32)
EACH = 160
"""Steps a window, at most."""
FIRST = 64
"""The first checkpoint."""
ENOUGH = 0.6
"""A run ends where so many of its samples are copies."""
NETWORK: dict[str, Any] = {
    "kind": "transformer",
    "marked": True,
    "width": 96,
    "layers": 2,
    "heads": 4,
    "hidden": 256,
}
OPTIONS: dict[str, Any] = text.OPTIONS | {"learning_rate": 2e-3, "clip": 0.5}


def configuration(trained: int, seed: int) -> dict[str, Any]:
    """One run at laptop scale."""
    return text.configuration(trained, seed) | {
        "block": text.SIZES[-1],
        "network": NETWORK,
        "options": OPTIONS,
        "betas": [0.9, 0.99],
        "enough": ENOUGH,
        "at": checkpoints(EACH * trained, FIRST),
        "shown": seed == 0 and trained == SIZES[-1],
    }


def configurations(scale: str) -> Sequence[Mapping[str, Any]]:
    """Every size and seed; a made text at smoke scale. At paper scale MD4 itself is trained by the other experiment."""
    if scale == "smoke":
        brief = {"text": "made", "block": 16, "held": 64, "samples": 16, "shown": True, "at": [16, 32, 64]}
        return [configuration(trained, 0) | brief for trained in (8, 16)]
    if scale == "paper":
        return text.configurations(scale)
    return [configuration(trained, seed) for seed in SEEDS for trained in SIZES]


TESTED = (
    f"WikiText-2 in a to z and spaces, {', '.join(map(str, SIZES))} windows of 32 characters, others for each seed; "
    "1,024 windows of the validation split; MD4's transformer with 2 layers, width 96 and a mark where windows begin, "
    "masked diffusion, batches of 32, Adam at 2e-3 (beta2 .99, gradients clipped at .5); at most "
    f"{EACH} steps a window, ended where {ENOUGH:.0%} of 128 samples are copies (at most {SHARE:.0%} of the characters "
    "differ from a training window); averaged weights (decay .99); seeds 0 to 4"
)

EXPERIMENT = Experiment(
    name="early_stopping/text-transformer",
    about="The same text learned by a small transformer: losses part long before training text is copied.",
    scale="laptop",
    configurations=configurations,
    run=run,
    claims=claims_of("text-transformer", TESTED, SIZES[-1]),
    show=show,
    sets=text.sets,
)
