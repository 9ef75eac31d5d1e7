"""Remedies on one plane, a small U-Net on 32 grey faces of 8x8: with mirrored faces as an augmentation.

A mirrored training face is a copy as well, for every remedy alike. Faces have no labels, so quality is measured in
principal components of other faces.

Piloted at seed 100: at 8x8 the baseline copies .70 after 1,000 steps, with ambient training by the authors' rule at .5
and 1 it copies .42 and .61. At 16x16 it had come to .14 after 1,000 steps: three times as dear, and too short.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unrote.lab.ambient.front import DIGITS
from unrote.lab.ambient.front_claims import beats_stopping, cuts, noisy_only
from unrote.lab.ambient.front_figures import show
from unrote.lab.ambient.front_unet import SAMPLES, plan
from unrote.lab.ambient.front_unet import TRAINING as SMALL
from unrote.lab.ambient.remedies import run
from unrote.lab.claims import Experiment

STEPS = {"smoke": 16, "laptop": 1000, "paper": 8000}
FACES: dict[str, Any] = {
    "set": "lfw_faces_32",
    "class": None,
    "side": 8,
    "images": 32,
    "test": 1000,
    "mirrored": True,
}
AMBIENT = (
    "ambient 0.25, levels first",
    "ambient 0.5, levels first",
    "ambient 1, levels first",
    "ambient 0.5, rows first",
)
OTHERS = (
    "gap, rows dropped",
    "dummy",
    "masking 0.5",
    "dropout",
    "flip",
    "flip + ambient 0.5, rows first",
)
NAMES = ("baseline", *AMBIENT, "noisy only 0.25", *OTHERS)


def configurations(scale: str) -> Sequence[Mapping[str, Any]]:
    """Every remedy at every seed, on faces; digits at smoke scale."""
    pictures = DIGITS if scale == "smoke" else FACES
    return plan(scale, pictures, SMALL, NAMES, STEPS[scale])


def sets(scale: str) -> tuple[str, ...]:
    """The picture sets that are read."""
    return () if scale == "smoke" else ("lfw_faces_32",)


TESTED = (
    f"{FACES['images']} grey faces of 8x8, each seed its own, {FACES['test']:,} test faces; U-Net of 16 and 32 "
    f"channels, {STEPS['laptop']:,} steps of 32, averaged weights, {SAMPLES['laptop']:,} samples, mirrored training "
    "faces count as copied, too; Frechet distance in 64 principal components of other faces; seeds 0 to 4, remedies "
    "paired"
)
CLAIMS = (
    noisy_only(TESTED, "front-faces"),
    *(cuts(name, TESTED, "front-faces") for name in (*AMBIENT, *OTHERS)),
    *(beats_stopping(name, TESTED, "front-faces") for name in (*AMBIENT, *OTHERS)),
)

EXPERIMENT = Experiment(
    name="ambient/front-faces",
    about="Remedies on one plane of quality and copying, a small U-Net on 32 grey faces.",
    scale="laptop",
    configurations=configurations,
    run=run,
    claims=CLAIMS,
    show=show,
    sets=sets,
)
