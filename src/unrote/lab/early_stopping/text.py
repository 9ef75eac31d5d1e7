"""Masked diffusion of text learns P windows by heart: Figures 3, 9b and 13, small.

Characters of WikiText-2 in windows of 32, other ones for each seed; losses in bits a character, copies by distance to
the nearest window. The network is the paper's for grammars, a tree U-Net, and not its transformer: piloted at seeds 100
and 101, a transformer of 2 layers and width 64 (batches of 16, 2e-3, gradients clipped at .5) had losses of 1.6 and 5.8
bits after 4,608 steps of 32 windows, .99 and 9.1 after 3,200 steps of 16, and none of 128 samples was a copy: .78 of
their characters differed from the nearest window, .80 to .82 of fresh text.

Tree U-Net of width 128, piloted at seeds 102, 103 and 100 with P = 32, 64 and 256: the validation loss is least at
steps 32, 184 and 512 (4.06, 4.12 and 3.65 bits; 3.96 and 4.16 by the frequencies of held-out text for the first two);
losses are .4 bits apart at 46, 108 and 520; a tenth of the samples are copies at 250, 725 and not by 4,096; in the
end the median copy has 3 wrong characters of 32. Width 256 copies sooner: 64 windows in 26 % of the samples at step
512; with 128 windows of seed 100 the validation loss was least at 256 (3.87 bits), and distances at 720 were those of
64 at 360.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unrote.lab.claims import Experiment
from unrote.lab.early_stopping.law_runs import checkpoints
from unrote.lab.early_stopping.text_claims import claims_of
from unrote.lab.early_stopping.text_figures import show
from unrote.lab.early_stopping.text_runs import SHARE, run

SEEDS = (0, 1, 2, 3, 4)
SIZES = (32, 64, 128)
PAPER = (64, 128, 256, 512, 1024)
EACH = 32
"""Steps a window, at most."""
FIRST = 32
"""The first checkpoint."""
ENOUGH = 0.8
"""A run ends where so many of its samples are copies."""
TREE: dict[str, Any] = {"kind": "tree", "width": 256}
MD4: dict[str, Any] = {"kind": "transformer", "width": 768, "layers": 12, "heads": 12, "hidden": 2048}
"""MD4's network for text8, 88.7 million weights; the paper says 165 million, which is its network for OpenWebText."""
OPTIONS: dict[str, Any] = {
    "batch_size": 32,
    "learning_rate": 3e-3,
    "warmup_steps": 100,
    "ema_decay": 0.99,
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


def configuration(trained: int, seed: int) -> dict[str, Any]:
    """One run at laptop scale."""
    return {
        "text": "wikitext2",
        "length": 32,
        "block": SIZES[-1],
        "trained": trained,
        "held": 1024,
        "network": TREE,
        "options": OPTIONS,
        "betas": [0.9, 0.999],
        "samples": 128,
        "enough": ENOUGH,
        "at": checkpoints(EACH * trained, FIRST),
        "shown": seed == 0 and trained == SIZES[-1],
        "seed": seed,
    }


def configurations(scale: str) -> Sequence[Mapping[str, Any]]:
    """Every size and seed; MD4 on text8 at paper scale, and a made text at smoke scale."""
    if scale == "smoke":
        small = {"text": "made", "block": 16, "held": 64, "samples": 16, "shown": True}
        brief = {"network": TREE | {"width": 32}, "at": [16, 32, 64]}
        return [configuration(trained, 0) | small | brief for trained in (8, 16)]
    if scale == "paper":
        large = {"text": "text8", "length": 256, "block": PAPER[-1], "held": 19_531, "network": MD4}
        large |= {"options": LARGE, "samples": 1024, "enough": 1.0}
        large |= {"at": [512 * 2**k for k in range(11)]}  # to 524,288
        return [
            configuration(trained, seed) | large | {"shown": seed == 0 and trained == PAPER[-1]}
            for seed in SEEDS
            for trained in PAPER
        ]
    return [configuration(trained, seed) for seed in SEEDS for trained in SIZES]


def sets(scale: str) -> tuple[str, ...]:
    """The texts that runs read."""
    named = {"smoke": (), "laptop": ("wikitext2", "wikitext2_test"), "paper": ("text8", "text8_test")}
    return named[scale]


TESTED = (
    f"WikiText-2 in a to z and spaces, {', '.join(map(str, SIZES))} windows of 32 characters, others for each seed; "
    "1,024 windows of the validation split; tree U-Net of width 256 in muP, masked diffusion, batches of 32, Adam at "
    f"3e-3; at most {EACH} steps a window, ended where {ENOUGH:.0%} of 128 samples are copies (at most {SHARE:.0%} of "
    "the characters differ from a training window); averaged weights (decay .99); seeds 0 to 4"
)


EXPERIMENT = Experiment(
    name="early_stopping/text",
    about="Masked diffusion of text: when losses part, when training text is copied, and what early stopping leaves.",
    scale="laptop",
    configurations=configurations,
    run=run,
    claims=claims_of("text", TESTED, SIZES[-1]),
    show=show,
    sets=sets,
)
