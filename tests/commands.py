"""Command lines over small sets, for tests that call the program."""

from __future__ import annotations

from scenes import faces

TRAIN, FRESH = faces(40, seed=1), faces(30, seed=2)
SHORT = ["--steps", 20, "--width", 16, "--depth", 1, "--samples", 8, "--checkpoints", 2, "--device", "cpu"]
"""A training run of a moment."""


def audit(**flags: object) -> list[object]:
    """An audit's command line; flags replace or add to the usual ones."""
    given = {"train": "train.npy", "samples": "samples.npy", "out": "out"} | flags
    return [
        "audit",
        *(part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", value)),
    ]


def probe(**flags: object) -> list[object]:
    """A probe's command line."""
    given = {"model": "run", "train": "digits@64", "test": "digits@99", "points": 4, "levels": 2} | flags
    return ["probe", *(part for name, value in given.items() for part in (f"--{name}", value))]
