"""What was done against copying, as results hold it and in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from unrote.geometry.regimes import Law
from unrote.jobs.cure_checks import share
from unrote.jobs.cures import AMBIENT_RULES, GAP_RULES, Cures
from unrote.jobs.levels import EVERYWHERE
from unrote.noise.schedule import Units, units
from unrote.report.format import number, percent
from unrote.train.interventions import GapRule, reject, skip
from unrote.train.masking import FURTHER
from unrote.train.recipe import levels_first


def told(cures: Cures, law: Law, known: tuple[float, float] = EVERYWHERE) -> list[dict[str, Any]]:
    """The interventions of a run as result.json holds them."""
    made: list[dict[str, Any]] = []
    if cures.flip:
        made.append({"name": "flip", "share_removed": 0.0, "rows_of_an_image": 2})
    if cures.gap is not None:
        low, high = cures.gap
        made.append(
            {
                "name": "gap",
                "low": low,
                "high": high,
                "units": {"low": _in_units(low), "high": _in_units(high)},
                "share_removed": share(law, low, high, known),
                "rule": _name_of(cures.rule, GAP_RULES),
            }
        )
    if cures.dummies:
        made.append({"name": "dummy", "share_removed": 0.0, "share_of_updates": 0.5})
    if cures.ambient is not None:
        made.append(
            {
                "name": "ambient",
                "level": cures.ambient,
                "units": {"level": _in_units(cures.ambient)},
                "share_removed": 0.0,
                "share_above": share(law, cures.ambient, math.inf, known),
                "rule": _name_of(cures.redraw, AMBIENT_RULES),
                "share_of_updates": noisy_updates(cures, law, known),
            }
        )
    if cures.noisy_only is not None:
        made.append(
            {
                "name": "noisy-only",
                "level": cures.noisy_only,
                "units": {"level": _in_units(cures.noisy_only)},
                "share_removed": share(law, 0.0, cures.noisy_only, known),
            }
        )
    if cures.hidden is not None:
        made.append({"name": "masking", "hidden": cures.hidden, "further": FURTHER, "share_removed": 0.0})
    return made


def sentences(cures: Cures, law: Law, known: tuple[float, float] = EVERYWHERE) -> tuple[str, ...]:
    """The same in words, in three units."""
    made = []
    if cures.flip:
        made.append(
            "Every image is trained on as it is and mirrored"
            + (", each with noise of its own." if cures.noisy is not None else ".")
        )
    if cures.gap is not None:
        made.append(
            f"Left out of training: {_spelled(*cures.gap)}, {percent(share(law, *cures.gap, known))} of the training "
            f"law, {FATES.get(cures.rule, 'by a rule of its own')}."
        )
    if cures.dummies:
        made.append(
            "A second class: as many noise images as training images, each pixel uniform from -1 to 1, take half of "
            "the updates; samples are drawn as real images."
        )
    if cures.ambient is not None:
        above = percent(noisy_updates(cures, law, known))
        made.append(
            f"Learned from one noisy copy of each image: all levels above {_spelled(cures.ambient)}. Clean images are "
            "trained below it; "
            + (
                f"levels are drawn before images, so that copies take {above} of the updates."
                if cures.redraw is levels_first
                else "both take half of the updates."
            )
        )
    if cures.noisy_only is not None:
        removed = percent(share(law, 0.0, cures.noisy_only, known))
        made.append(
            f"Learned from one noisy copy of each image alone: only levels above {_spelled(cures.noisy_only)} are "
            f"trained, and {removed} of the training law, below it, is left out. There samples rest on what the "
            "network makes of levels that it never saw."
        )
    if cures.hidden is not None:
        made.append(_masked(cures.hidden))
    return tuple(made)


def noisy_updates(cures: Cures, law: Law, known: tuple[float, float] = EVERYWHERE) -> float:
    """Which share of the updates noisy copies take beside clean rows."""
    if cures.redraw is not levels_first or cures.ambient is None:
        return 0.5
    above, whole = share(law, cures.ambient, math.inf, known), 1.0
    if cures.gap is not None and cures.rule is reject:  # levels in the gap are drawn again
        above -= share(law, max(cures.gap[0], cures.ambient), max(cures.gap[1], cures.ambient), known)
        whole -= share(law, *cures.gap, known)
    return above / whole


def _masked(hidden: float) -> str:
    return (
        f"Trained on images of which {percent(hidden)} of the pixels are hidden for good and {percent(FURTHER)} of the "
        "others before each update; the network is told which pixels it sees and fills in the rest. Samples have "
        "such a mask each, and so have the images that losses are measured on, of which the shown pixels count."
    )


FATES: dict[GapRule, str] = {
    reject: "whose updates go to the other levels",
    skip: "whose updates are dropped, so that every other level is trained as often as without the gap",
}
"""What becomes of the updates in a gap, in words."""


def _name_of(rule: Callable[..., Any], names: Mapping[str, Callable[..., Any]]) -> str:
    return next((name for name, one in names.items() if one is rule), "another")


def _in_units(sigma: float) -> dict[str, Any] | None:
    return asdict(units(sigma)) if sigma > 0 else None


def _spelled(*levels: float) -> str:
    """Levels as sigma, VP time and timesteps of DDPM's linear schedule."""
    known: list[Units] = [units(level) for level in levels if level > 0]
    times = " to ".join(number(u.vp_time) for u in known)
    steps = [u.ddpm_linear_timestep for u in known]
    said = [f"VP time {'0 to ' if len(known) < len(levels) else ''}{times}"]
    if len(known) == len(levels) and all(step is not None for step in steps):
        plural = "s" if len(steps) > 1 else ""
        said.append(f"DDPM timestep{plural} " + " to ".join(f"{step:.0f}" for step in steps))
    return f"sigma = {' to '.join(map(number, levels))} ({', '.join(said)})"
