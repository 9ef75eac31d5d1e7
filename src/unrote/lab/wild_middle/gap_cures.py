"""Remedies of the gap experiments: which levels a run leaves out, by what rule, and what is done beside it.

All windows follow from the geometry of the training pictures, computed before training, and from the training law.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import torch

from unrote.contracts import InputError
from unrote.geometry.advice import recommended_gap
from unrote.geometry.regimes import Regimes, Zone, share_removed, zone_at
from unrote.jobs.measuring import LAW
from unrote.noise.schedule import linear_alpha_bars, sigma_of_timestep
from unrote.train.interventions import GapRule, compose, dummy_class, gap, reject, skip
from unrote.train.recipe import Intervention

Window = Callable[[Regimes], Zone]
"""The geometry of the training pictures -> the levels that are left out."""

EVERYTHING = 1000.0
"""A level that EDM's law exceeds once in 10^11 updates: the end of a gap without an upper end."""
BUFFERED = 0.2
"""Level of the zone that stands for the paper's danger zone with its buffer."""
PAPER = (100, 350)
"""The paper's danger zone with its buffer, DDPM's timesteps on the linear schedule."""


def zone(p: float) -> Window:
    """The zone of level p, or of .95 of the crossing's height where that is lower."""

    def found(geometry: Regimes) -> Zone:
        low, high, _, reasons = zone_at(geometry, p)
        if reasons:
            raise InputError(f"These pictures have no zone of level {p:g}: {' '.join(reasons.values())}")
        assert low.value is not None and high.value is not None
        return Zone(low.value, high.value)

    return found


def recommended(geometry: Regimes) -> Zone:
    """What the geometry recommends to leave out."""
    advice = recommended_gap(geometry)
    if advice.zone is None:
        raise InputError(f"These pictures have no recommended gap: {advice.why}")
    return advice.zone


def level_at(share: float) -> float:
    """The level below which a share of the training law lies."""
    if share <= 0:
        return 0.0
    return EVERYTHING if share >= 1 else math.exp(LAW.mean + LAW.std * NormalDist().inv_cdf(share))


def below(geometry: Regimes) -> Zone:
    """The window of the recommended gap's share that ends where that gap begins."""
    there = recommended(geometry)
    return Zone(level_at(LAW.probability(0.0, there.low) - share_removed(there, LAW)), there.low)


def lowest(geometry: Regimes) -> Zone:
    """The window of the recommended gap's share that holds the lowest levels."""
    return Zone(0.0, level_at(share_removed(recommended(geometry), LAW)))


def highest(geometry: Regimes) -> Zone:
    """The window of the recommended gap's share that holds the highest levels; it overlaps that gap."""
    return Zone(level_at(1 - share_removed(recommended(geometry), LAW)), EVERYTHING)


def timesteps(first: int, last: int) -> Window:
    """One of the paper's gaps, mapped: the zone of level .2 is its [100, 350], log sigma linear between the ends.

    sigma(t) is that of the linear schedule; the place of log sigma(t) between log sigma(100) and log sigma(350) is
    kept.

    Source: 001 appendix E.5 and E.9.
    """
    steps = torch.tensor([*PAPER, first, last], dtype=torch.float64)
    bottom, top, low, high = sigma_of_timestep(steps, linear_alpha_bars()).log().tolist()

    def found(geometry: Regimes) -> Zone:
        wide = zone(BUFFERED)(geometry)
        ratio = math.log(wide.high / wide.low) / (top - bottom)
        return Zone(wide.low * math.exp((low - bottom) * ratio), wide.low * math.exp((high - bottom) * ratio))

    return found


@dataclass(frozen=True)
class Cure:
    """What is done against copying.

    Args:
        window: levels left out, or None for no gap.
        rule: what becomes of updates that fall into the gap.
        dummy: whether noise images are a second class.
        much: whether the model learns from all pictures that are left, not from the N of the others.
    """

    window: Window | None = None
    rule: GapRule = reject
    dummy: bool = False
    much: bool = False

    def intervention(self, removed: Zone | None, seed: int) -> Intervention:
        """All that is changed in the recipe."""
        parts = []
        if self.dummy:
            parts.append(dummy_class(torch.Generator().manual_seed(seed + 9)))
        if removed is not None:
            parts.append(gap(removed.low, removed.high, self.rule))
        return compose(*parts)


RULES: dict[str, GapRule] = {"reject": reject, "skip": skip}
WINDOWS: dict[str, Window] = {
    **{f"zone .{100 * p:02.0f}": zone(p) for p in (0.95, 0.8, 0.5, 0.2, 0.05)},
    "recommended": recommended,
    "below": below,
    "lowest": lowest,
    "highest": highest,
    **{f"{a}-{b}": timesteps(a, b) for a, b in ((100, 200), (100, 275), (150, 250), (167, 275))},
}
PLAIN, MUCH, DUMMY, BOTH = "baseline", "much data", "dummy", "recommended reject + dummy"
CURES: dict[str, Cure] = {
    PLAIN: Cure(),
    MUCH: Cure(much=True),
    DUMMY: Cure(dummy=True),
    BOTH: Cure(recommended, dummy=True),
    **{
        f"{name} {said}": Cure(window, rule)
        for name, window in WINDOWS.items()
        for said, rule in RULES.items()
    },
}
"""Every remedy by the name that configurations have."""
