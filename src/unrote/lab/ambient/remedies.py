"""Remedies side by side: one name for each, what it does to a recipe, and the run that measures it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from unrote.contracts import InputError
from unrote.geometry.advice import COVERED, recommended_ambient_level
from unrote.geometry.regimes import Regimes, share_removed
from unrote.jobs.measuring import LAW
from unrote.lab.study import geometry_of, material, network_of, trained
from unrote.lab.wild_middle.gap_cures import recommended
from unrote.lab.wild_middle.gap_runs import followed, options_of
from unrote.train.augment import augmented, flip
from unrote.train.interventions import ambient, compose, dummy_class, gap, noisy_only, reject, skip
from unrote.train.masking import masking
from unrote.train.recipe import Intervention, levels_first, rows_first

Made = Callable[[Regimes, torch.Generator], Intervention]
"""The geometry of the training pictures and a stream -> what is changed in the recipe."""

LEVELS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
"""sigma_n of ambient training: EDM units; as VP sigma .10, .24, .45, .71, .89, .97."""


@dataclass(frozen=True)
class Remedy:
    """What is done against copying.

    Args:
        made: changes the recipe, or None.
        dummy: whether the network has a second class.
        gapped: whether the recommended gap is left out.
        network, options: changes of network and training options, by their names.
        hidden: the share of pixels that is hidden for good, where it is masking.
    """

    made: Made | None = None
    dummy: bool = False
    gapped: bool = False
    network: Mapping[str, Any] | None = None
    options: Mapping[str, Any] | None = None
    hidden: float | None = None


def told(geometry: Regimes) -> float:
    """The ambient level that the geometry recommended when the rules were fixed: the lower end of the gap."""
    advice = recommended_ambient_level(geometry, COVERED)
    if advice.low.value is None:
        raise InputError(f"These pictures have no recommended ambient level: {advice.why}")
    return advice.low.value


def gapped(geometry: Regimes, rule: Any = reject) -> Intervention:
    """The recommended gap."""
    zone = recommended(geometry)
    return gap(zone.low, zone.high, rule)


def at_level(level: float, redraw: Any) -> Made:
    """Ambient training at a level that is the same for all pictures."""
    return lambda geometry, g: ambient(level, g, redraw)


def at_noise(level: float) -> Made:
    """Noisy copies alone."""
    return lambda geometry, g: noisy_only(level, g)


REMEDIES: dict[str, Remedy] = {
    "baseline": Remedy(),
    **{f"ambient {level:g}, levels first": Remedy(at_level(level, levels_first)) for level in LEVELS},
    **{f"ambient {level:g}, rows first": Remedy(at_level(level, rows_first)) for level in (0.25, 0.5, 1.0)},
    "ambient recommended": Remedy(lambda geometry, g: ambient(told(geometry), g)),
    "noisy only 0.25": Remedy(at_noise(0.25)),
    "gap": Remedy(lambda geometry, g: gapped(geometry), gapped=True),
    "gap, rows dropped": Remedy(lambda geometry, g: gapped(geometry, skip), gapped=True),
    "gap + ambient recommended": Remedy(
        lambda geometry, g: compose(gapped(geometry), ambient(told(geometry), g)), gapped=True
    ),
    "dummy": Remedy(lambda geometry, g: dummy_class(g), dummy=True),
    "weight decay": Remedy(options={"weight_decay": 0.3}),
    "dropout": Remedy(network={"dropout": 0.3}),
    "masking 0.5": Remedy(lambda geometry, g: masking(0.5, g), hidden=0.5),
    "flip": Remedy(lambda geometry, g: augmented([flip])),
    "flip + ambient 0.5, rows first": Remedy(
        lambda geometry, g: compose(augmented([flip]), ambient(0.5, g, rows_first))
    ),
    "gap, rows dropped + ambient 0.5": Remedy(
        lambda geometry, g: compose(ambient(0.5, g), gapped(geometry, skip)), gapped=True
    ),
    "gap, rows dropped + dummy": Remedy(
        lambda geometry, g: compose(dummy_class(g), gapped(geometry, skip)), dummy=True, gapped=True
    ),
    "dummy + ambient 0.5, rows first": Remedy(
        lambda geometry, g: compose(dummy_class(g), ambient(0.5, g, rows_first)), dummy=True
    ),
    "dropout + ambient 0.5, rows first": Remedy(at_level(0.5, rows_first), network={"dropout": 0.3}),
}
"""Every remedy by the name that configurations have; stopping early is the baseline's own path."""


def run(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """Train with one remedy; copies, quality and held-out loss at every checkpoint."""
    seed, remedy = int(asked["seed"]), REMEDIES[asked["cure"]]
    made = material(asked, seed)
    geometry = geometry_of(made, seed)
    g = torch.Generator().manual_seed(seed + 9)
    checkpoints = trained(
        made.train,
        network_of({**asked["network"], **(remedy.network or {})}),
        replace(options_of(asked), **(remedy.options or {})),
        seed,
        asked["at"],
        None if remedy.made is None else remedy.made(geometry, g),
        2 if remedy.dummy else None,
        torch.zeros(len(made.train), dtype=torch.int64) if remedy.dummy else None,
        remedy.hidden,
    )
    zone = recommended(geometry) if remedy.gapped else None
    return {
        "gap": None if zone is None else [zone.low, zone.high],
        "share": 0.0 if zone is None else share_removed(zone, LAW),
        "told": told(geometry),
        **followed(checkpoints, made, asked),
    }
