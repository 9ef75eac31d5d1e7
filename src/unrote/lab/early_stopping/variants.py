"""Does the law of the onset survive another batch, width, decay, dropout, mirrored pictures, told classes? One table.

Figure 18 says that the batch does not matter, for one hidden layer under gradient descent. Here a deep network is
trained with Adam, and one thing is changed at a time.

Piloted at seed 100 with 32 pictures: a tenth of the samples are copies at step 720 with batches of 64 and at 2,000
with batches of 16, 280 with batches of 256, 260 where the network is told the class, 700 with weight decay, 860 with
every picture also mirrored or with dropout, 1,400 at width 256. The relative gap of losses is 1 at step 240, 520 with
batches of 16, 160 with batches of 256. So the factor that counts as the same onset was fixed knowing that batches
matter here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unrote.lab.claims import Claim, Experiment
from unrote.lab.early_stopping.law import OPTIONS
from unrote.lab.early_stopping.law_rules import NEAR, WIDEST, Definition
from unrote.lab.early_stopping.law_runs import checkpoints
from unrote.lab.early_stopping.variants_figures import show
from unrote.lab.early_stopping.variants_rules import SAME, is_same, survives
from unrote.lab.early_stopping.variants_runs import ENOUGH, run
from unrote.lab.study import MLP_SMALL
from unrote.report.format import quantity

SEEDS = (0, 1, 2, 3, 4)
SIZES = (24, 48, 96)
EACH = {"smoke": 3, "laptop": 100, "paper": 400}
"""Steps a picture, at most."""
FIRST = 32
"""The first checkpoint."""
VARIANTS: dict[str, dict[str, Any]] = {
    "base": {},
    "batch-16": {"options": {"batch_size": 16}},
    "batch-256": {"options": {"batch_size": 256}},
    "decay": {"options": {"weight_decay": 0.1}},
    "width-256": {"network": {"width": 256}},
    "width-768": {"network": {"width": 768}},
    "dropout": {"network": {"dropout": 0.1}},
    "mirrored": {"mirrored": True},
    "told": {"conditional": True},
}
"""What is changed, of `law`'s training."""
WORDS = {
    "base": "batch 64, width 512, nothing else",
    "batch-16": "batch 16",
    "batch-256": "batch 256",
    "decay": "weight decay .1",
    "width-256": "width 256",
    "width-768": "width 768",
    "dropout": "dropout .1",
    "mirrored": "every picture also mirrored",
    "told": "the network is told the class",
}
BY_LOSSES = Definition("relative", 1.0, "averaged")
BY_COPIES = Definition("copies", 0.1, "averaged")


def configuration(name: str, images: int, seed: int, scale: str) -> dict[str, Any]:
    """One run of a variant."""
    changed = VARIANTS[name]
    return {
        "variant": name,
        "pictures": {"set": "fashion_mnist", "class": None, "side": 8, "images": images, "test": 500},
        "network": MLP_SMALL | changed.get("network", {}),
        "options": OPTIONS | changed.get("options", {}),
        "mirrored": changed.get("mirrored", False),
        "conditional": changed.get("conditional", False),
        "samples": 10_000 if scale == "paper" else 256,
        "at": checkpoints(EACH[scale] * images, min(FIRST, EACH[scale] * images)),
        "seed": seed,
    }


def configurations(scale: str) -> Sequence[Mapping[str, Any]]:
    """Every variant, size and seed; three variants at two sizes at smoke scale, on digits."""
    if scale != "smoke":
        return [
            configuration(name, size, seed, scale) for seed in SEEDS for name in VARIANTS for size in SIZES
        ]
    small = [
        configuration(name, size, 0, scale) for name in ("base", "mirrored", "told") for size in (16, 32)
    ]
    return [one | {"pictures": one["pictures"] | {"set": "digits"}} for one in small]


def sets(scale: str) -> tuple[str, ...]:
    """The picture sets that are read."""
    return () if scale == "smoke" else ("fashion_mnist",)


TESTED = (
    "Fashion-MNIST, brought to 8x8, P = 24, 48 and 96, 500 test pictures; residual MLP, EDM's recipe as in `law`, "
    "averaged weights have a decay of .99; 256 samples at every checkpoint; every run lasts until "
    f"{ENOUGH:.0%} of them are copies, at most {EACH['laptop']} steps a picture; seeds 0 to 4. {{}}"
)


def law_claims(name: str) -> list[Claim]:
    """The exponent of one variant, by losses and by copies."""
    return [
        Claim(
            f"variants-{name}-{d.kind}",
            "unrote",
            "beyond 002, Figure 9",
            f"The onset (by {d.words}) grows in proportion to the number of pictures: {WORDS[name]}.",
            TESTED.format(f"Changed: {WORDS[name]}."),
            f"exponent b of tau = a P^b, most likely with censored runs: held if its 95 % interval contains 1 and is "
            f"narrower than {WIDEST:g}, partly if it contains 1 or b is within {NEAR:g} of it",
            survives(name, d),
            quantity,
        )
        for d in (BY_LOSSES, BY_COPIES)
    ]


def same_claims(name: str) -> list[Claim]:
    """Whether a variant has the same onset as `law`'s training."""
    figure = ("002", "Figure 18") if name.startswith("batch") else ("unrote", "beyond 002, Figure 18")
    return [
        Claim(
            f"variants-{name}-same-{d.kind}",
            *figure,
            f"The onset (by {d.words}) does not depend on it: {WORDS[name]}.",
            TESTED.format(f"Compared with batch 64 and width 512: {WORDS[name]}."),
            "onset over that of the same pictures and seed without the change, geometric mean over sizes and seeds: "
            f"held if the 95 % interval over seeds lies within a factor {SAME:g}, partly if it crosses one bound",
            is_same(name, d),
            quantity,
        )
        for d in (BY_LOSSES, BY_COPIES)
    ]


EXPERIMENT = Experiment(
    name="early_stopping/variants",
    about="Whether the law of the onset survives other batches, widths, decay, dropout, mirrored pictures, classes.",
    scale="laptop",
    configurations=configurations,
    run=run,
    claims=(
        *(claim for name in VARIANTS for claim in law_claims(name)),
        *(claim for name in VARIANTS if name != "base" for claim in same_claims(name)),
    ),
    show=show,
    sets=sets,
)
