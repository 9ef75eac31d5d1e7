"""Onsets of one optimizer over those of another on the same strings, and whether that depends on their number."""

from __future__ import annotations

import math
from collections.abc import Sequence

from unrote.contracts import Estimate
from unrote.lab.claims import FAILED, HELD, PARTLY, Row, inside
from unrote.lab.early_stopping.rhm_rules import Time, of, sizes
from unrote.lab.ratios import geometric
from unrote.lab.wild_middle.gap_rules import Judged

SAME = 2.0
"""Onsets within this factor come at about the same number of steps."""
ALIKE = 1.5
"""Ratios of onsets at two sizes within this factor of each other are one ratio."""


def log_ratio(
    rows: Sequence[Row], over: str, under: str, trained: int, seed: int, time: Time
) -> float | None:
    """log of an onset of one training over that of another, same strings; None where one was not reached."""
    values = []
    for way in (over, under):
        found = [row for row in of(rows, way, trained) if row["configuration"]["seed"] == seed]
        values.append(time(found[0]).value if found else None)
    upper, lower = values
    return None if upper is None or lower is None else math.log(upper / lower)


def seeds(rows: Sequence[Row]) -> list[int]:
    """All seeds."""
    return sorted({row["configuration"]["seed"] for row in rows})


def within(logs: Sequence[float | None], factor: float) -> tuple[Estimate, str]:
    """A geometric mean within a factor of 1; at best partly where a seed has none, failed where most have none."""
    known = [log for log in logs if log is not None]
    found = geometric(known) if known else Estimate(None, None, None, 0)
    if found.low is None or 2 * len(known) <= len(logs):
        return found, FAILED
    verdict = inside(found, 1 / factor, factor)
    return found, PARTLY if verdict == HELD and len(known) < len(logs) else verdict


def same_onset(over: str, under: str, trained: int, time: Time) -> Judged:
    """Judge whether two trainings have one onset."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        return within([log_ratio(rows, over, under, trained, seed, time) for seed in seeds(rows)], SAME)

    return judged


def same_growth(over: str, under: str, time: Time) -> Judged:
    """Judge the ratio of two onsets at the largest size over that at the smallest."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        if not rows:
            return Estimate(None, None, None, 0), FAILED
        few, many = min(sizes(rows)), max(sizes(rows))
        logs = []
        for seed in seeds(rows):
            low, high = (log_ratio(rows, over, under, trained, seed, time) for trained in (few, many))
            logs.append(None if low is None or high is None else high - low)
        return within(logs, ALIKE)

    return judged
