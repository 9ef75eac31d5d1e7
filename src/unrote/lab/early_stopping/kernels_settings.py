"""Which runs the kernel experiment makes, and how to name a family of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

SEEDS = (0, 1, 2, 3, 4)
D, COUNT, LEVEL = 64, 128, round(math.sqrt(0.032), 4)
"""The paper's setting; its level is sigma^2 = 0.032."""
SIZES, SIZES_ADAM = (64, 128, 256, 512), (64, 128, 256)
LEVELS = tuple(round(math.sqrt(square), 4) for square in (0.002, 0.008, 0.032, 0.128))
BATCHES = (8, 32, COUNT)
RATES = {("lazy", "descent"): 2.0, ("mean field", "descent"): 0.25, ("lazy", "adam"): 0.01}
"""Learning rates; half of them for batches."""
FLOW_DIMENSION, FLOW_COUNT, FLOW_LEVEL = 16, 32, 0.1
FLOW_LEVELS = (0.025, 0.05, 0.1, 0.2, 0.4)
FLOW_COUNTS = (16, 32, 64, 128)
DIMENSIONS = (4, 8, 16, 32)
TOLD: dict[str, Any] = {"d": 16, "points": 64}
"""Where trained networks are compared with the closed form."""


def network(regime: str, seed: int, optimizer: str = "descent", **changed: Any) -> dict[str, Any]:
    """One training in the paper's setting, with what is changed."""
    asked = {
        "part": "network",
        "regime": regime,
        "optimizer": optimizer,
        "d": D,
        "points": COUNT,
        "sigma": LEVEL,
        "width": 1024,
        "rate": RATES[regime, optimizer],
        "steps": 6000,
        "gap": 0.2,
        "fit": 0.0,
        "seed": seed,
    } | changed
    return {"batch": asked["points"]} | asked


def flow(kernel: str, seed: int, **changed: Any) -> dict[str, Any]:
    """One closed form, with what is changed."""
    return {
        "part": "flow",
        "kernel": kernel,
        "d": FLOW_DIMENSION,
        "points": FLOW_COUNT,
        "sigma": FLOW_LEVEL,
        "fresh": 64,
        "decades": 8,
        "seed": seed,
    } | changed


def by_points(regime: str, optimizer: str = "descent") -> dict[str, Any]:
    """Trainings that differ in P."""
    rate = RATES[regime, optimizer]
    return {"part": "network", "regime": regime, "optimizer": optimizer, "d": D, "sigma": LEVEL, "rate": rate}


def by_level(regime: str) -> dict[str, Any]:
    """Trainings that differ in sigma."""
    return {
        "part": "network",
        "regime": regime,
        "optimizer": "descent",
        "d": D,
        "points": COUNT,
        "rate": RATES[regime, "descent"],
    }


def by_batch(regime: str) -> dict[str, Any]:
    """Trainings that differ in the batch."""
    rate = RATES[regime, "descent"] / 2
    return {
        "part": "network",
        "regime": regime,
        "optimizer": "descent",
        "d": D,
        "points": COUNT,
        "rate": rate,
    }


def flow_by_level(kernel: str) -> dict[str, Any]:
    """Closed forms that differ in sigma."""
    return {"part": "flow", "kernel": kernel, "d": FLOW_DIMENSION, "points": FLOW_COUNT}


def flow_by_points() -> dict[str, Any]:
    """Closed forms that differ in P."""
    return {"part": "flow", "kernel": "ntk", "d": FLOW_DIMENSION, "sigma": FLOW_LEVEL}


def by_dimension(kernel: str) -> dict[str, Any]:
    """Closed forms that differ in d."""
    return {"part": "flow", "kernel": kernel, "points": FLOW_COUNT, "sigma": FLOW_LEVEL}


def configurations(scale: str) -> Sequence[Mapping[str, Any]]:
    """Every run at every seed, the same run never twice."""
    if scale == "smoke":
        small: dict[str, Any] = {"steps": 300, "width": 256}
        return [
            *(flow(kernel, 0, sigma=sigma) for kernel in ("ntk", "features") for sigma in (0.1, 0.2, 0.4)),
            *(network(regime, 0, points=p, **small) for regime in ("lazy", "mean field") for p in (32, 64)),
        ]
    width = {"laptop": 1024, "paper": 8192}[scale]
    asked = [one for seed in SEEDS for one in (*networks(seed, width), *flows(seed))]
    return [one for i, one in enumerate(asked) if one not in asked[:i]]


def networks(seed: int, width: int) -> list[dict[str, Any]]:
    """The trainings of one seed."""
    made = []
    for regime in ("lazy", "mean field"):
        half = RATES[regime, "descent"] / 2
        made += [network(regime, seed, points=p) for p in SIZES]
        made += [network(regime, seed, sigma=sigma) for sigma in LEVELS]
        made += [network(regime, seed, batch=b, rate=half) for b in BATCHES]
    made += [network("lazy", seed, "adam", points=p, gap=0.0, fit=0.25) for p in SIZES_ADAM]
    made += [network("lazy", seed, rate=1.0, sigma=sigma, **TOLD) for sigma in (LEVEL / 2, LEVEL)]
    return [one | {"width": width} for one in made]


def flows(seed: int) -> list[dict[str, Any]]:
    """The closed forms of one seed."""
    made = []
    for kernel in ("ntk", "features"):
        made += [flow(kernel, seed, sigma=sigma) for sigma in FLOW_LEVELS]
        made += [flow(kernel, seed, d=d) for d in DIMENSIONS]
    made += [flow("ntk", seed, points=p) for p in FLOW_COUNTS]
    return made + [flow("ntk", seed, sigma=sigma, fresh=256, **TOLD) for sigma in (LEVEL / 2, LEVEL)]
