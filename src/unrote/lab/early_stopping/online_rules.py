"""What runs under early stopping are judged by: copies and quality of what was kept, and what was expected."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from unrote.contracts import Estimate
from unrote.lab.claims import FAILED, HELD, PARTLY, Row, at_most, ends, inside
from unrote.lab.early_stopping.law_rules import MORE, Judged
from unrote.lab.ratios import geometric
from unrote.measure.estimate import estimate, newcombe, wilson
from unrote.measure.online import SHARE
from unrote.measure.onset import Onset, copy_onset

FACTOR = 1.5
"""How far an expected onset may be off."""
OFTEN, RARELY = 0.9, 0.5
"""Shares of runs."""
COSTS = (1.5, 2.0)
"""Frechet distance of what was kept over the best one before the copies: little, and not much."""
BEST = (1.1, 1.5)
"""The same over the best one of the whole run: at the best, and near it."""
A_PICTURE = 16.0
"""Steps a picture until the copies, mean of the sets that were calibrated on: the guess without any losses."""
RECALLED = 0.1
"""The share of noised training pictures that one step finds again when copies begin, by the pilots."""
LATER = 2.0
"""The relative gap of the last rung, at which no estimate is better."""

NOTHING = Estimate(None, None, None, 0)
Number = Callable[[Row], float | None]


def group_of(row: Row) -> str:
    """The name of the setting, which its claims have."""
    return str(row["configuration"]["group"])


def of_group(rows: Sequence[Row], group: str | None) -> list[Row]:
    """The runs of one setting, or all."""
    return [row for row in rows if group is None or group_of(row) == group]


def onset_of(row: Row) -> Onset:
    """When copies came in a run."""
    counts, samples = row["result"]["averaged"]["copies"], row["configuration"]["samples"]
    return copy_onset(row["result"]["steps"], [count / samples for count in counts], SHARE)


def check_at_stop(row: Row) -> Mapping[str, Any] | None:
    """The check that stopped the run, the last one if none did, or None if there was none."""
    checks, stopped = row["result"]["checks"], row["result"]["stopped"]
    if not checks:
        return None
    place = len(checks["step"]) - 1 if stopped is None else checks["step"].index(stopped)
    return {name: values[place] for name, values in checks.items()}


def check_at_gap(row: Row, gap: float = LATER) -> Mapping[str, Any] | None:
    """The first check whose gap is so large, or None."""
    checks = row["result"]["checks"]
    places = [k for k, found in enumerate(checks.get("gap", [])) if found >= gap]
    return {name: values[places[0]] for name, values in checks.items()} if places else None


def off_by(row: Row, check: Callable[[Row], Mapping[str, Any] | None] = check_at_stop) -> float | None:
    """log (onset / what was expected at a check), or None where one is missing."""
    onset, seen = onset_of(row).value, check(row)
    if onset is None or seen is None or seen["onset"] is None:
        return None
    return math.log(onset / seen["onset"])


def off_by_pictures(row: Row) -> float | None:
    """log (onset / so many steps a picture)."""
    onset = onset_of(row).value
    return (
        None if onset is None else math.log(onset / (A_PICTURE * row["configuration"]["pictures"]["images"]))
    )


def off_by_recall(row: Row) -> float | None:
    """log (onset / the step at which one step of the denoiser recalls so many training pictures)."""
    onset = onset_of(row).value
    there = copy_onset(row["result"]["steps"], row["result"]["averaged"]["recalled"], RECALLED).value
    return None if onset is None or there is None else math.log(onset / there)


def is_inside(row: Row) -> bool:
    """Whether the onset came within the interval that was said at the stop."""
    onset, seen = onset_of(row).value, check_at_stop(row)
    if onset is None or seen is None or seen["onset"] is None:
        return False
    return bool(seen["onset_low"] <= onset <= seen["onset_high"])


def kept(row: Row) -> Mapping[str, float] | None:
    """What the kept checkpoint generates, or None if nothing was kept."""
    found = row["result"]["at_kept"]
    return found[0] if found else None


def over_best(row: Row) -> float | None:
    """log of the kept checkpoint's Frechet distance over the best one of the run."""
    model = kept(row)
    return None if model is None else math.log(model["frechet"] / min(row["result"]["averaged"]["frechet"]))


def over_clean(row: Row) -> float | None:
    """The same over the best one before the copies came, the kept one included."""
    model, until = kept(row), onset_of(row).value or math.inf
    if model is None:
        return None
    pairs = zip(row["result"]["steps"], row["result"]["averaged"]["frechet"], strict=True)
    return math.log(model["frechet"] / min([model["frechet"], *(f for step, f in pairs if step <= until)]))


def every(rows: Sequence[Row], number: Number) -> list[float] | None:
    """A number of all runs, or None where one run has none, or there are no runs."""
    found = [number(row) for row in rows]
    known = [one for one in found if one is not None]
    return known if known and len(known) == len(found) else None


def typical(rows: Sequence[Row], number: Number) -> Estimate:
    """The geometric mean over runs of a number that is a logarithm."""
    found = every(rows, number)
    return NOTHING if found is None or len(found) < 2 else geometric(found)


def excess_copies(rows: Sequence[Row]) -> Estimate:
    """The share of copies that kept checkpoints generate, less that among fresh pictures."""
    models = [kept(row) for row in rows]
    if not rows or any(model is None for model in models):
        return NOTHING
    return newcombe(
        int(sum(model["copies"] for model in models if model is not None)),
        sum(row["configuration"]["samples"] for row in rows),
        sum(row["result"]["fresh"] for row in rows),
        sum(row["configuration"]["pictures"]["test"] for row in rows),
    )


def stays_clean(group: str) -> Judged:
    """Judge the copies that the kept checkpoints of a setting generate."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        found = excess_copies(of_group(rows, group))
        if found.value is None:
            return found, FAILED
        return found, HELD if ends(found)[1] <= MORE else PARTLY if found.value <= MORE else FAILED

    return judged


def is_expected(group: str) -> Judged:
    """Judge the onset over what was expected when the run was stopped."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        found = typical(of_group(rows, group), off_by)
        if found.value is None:
            return found, FAILED
        if inside(found, 1 / FACTOR, FACTOR) == HELD:
            return found, HELD
        return found, PARTLY if 1 / FACTOR <= found.value <= FACTOR else FAILED

    return judged


def share_of(rows: Sequence[Row], right: Callable[[Row], bool]) -> tuple[Estimate, str]:
    """Judge in how many runs something is right."""
    if not rows:
        return NOTHING, FAILED
    found = wilson(sum(map(right, rows)), len(rows))
    assert found.value is not None
    return found, HELD if found.value >= OFTEN else PARTLY if found.value >= RARELY else FAILED


def intervals_hold(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """Judge how often the onset came within the interval that was said at the stop."""
    return share_of(rows, is_inside)


def is_near(number: Number) -> Judged:
    """Judge how often the logarithm of a ratio is within the factor; a run without one is not."""

    def near(row: Row) -> bool:
        off = number(row)
        return off is not None and abs(off) <= math.log(FACTOR)

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        return share_of(rows, near)

    return judged


def off_by_later(row: Row) -> float | None:
    """log (onset / what was expected once the gap was large)."""
    return off_by(row, check_at_gap)


def beats_pictures(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """Judge the error at the stop less that of so many steps a picture, in logarithms."""
    here, there = every(rows, off_by), every(rows, off_by_pictures)
    if here is None or there is None:
        return NOTHING, FAILED
    errors = [abs(a) - abs(b) for a, b in zip(here, there, strict=True)]
    found = estimate(torch.tensor(errors, dtype=torch.float64))
    if found.value is None or found.high is None:
        return found, FAILED
    return found, HELD if found.high < 0 else PARTLY if found.value < 0 else FAILED


def quality(number: Number, limits: tuple[float, float]) -> Judged:
    """Judge a ratio of Frechet distances, all settings together."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        found = typical(rows, number)
        return found, FAILED if found.high is None else at_most(found, *limits)

    return judged
