"""Verdict rules of the danger zone of strings: thresholds of 001's experiments where there are any."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from unrote.contracts import Estimate
from unrote.lab.claims import FAILED, HELD, PARTLY, Row, at_least, at_most, ends
from unrote.lab.ratios import geometric, log_ratios
from unrote.lab.wild_middle.forecasts import HELD_OUT
from unrote.lab.wild_middle.gap_rules import Judged
from unrote.lab.wild_middle.levels_claims import HARDLY
from unrote.lab.wild_middle.swap import GONE, KEPT
from unrote.lab.wild_middle.tokens_runs import PLAIN
from unrote.lab.wild_middle.zone import BOTH, MOST
from unrote.measure.estimate import estimate

LOWEST, HIGHEST = 0.05, 0.98
"""Up to and from which level noise of tokens is small and large."""
NEARBY = 0.1
"""How far a level may be off: a tenth of all there are."""
HALF = 0.5

Number = Callable[[Row], float | None]
"""What is measured of one run, or None where it is not there."""
Interval = tuple[float, float]


def of(rows: Sequence[Row], way: str, cure: str = PLAIN) -> list[Row]:
    """The runs of one process and one remedy, in the order of their seeds."""
    mine = [row for row in rows if (row["configuration"]["way"], row["configuration"]["cure"]) == (way, cure)]
    return sorted(mine, key=lambda row: row["configuration"]["seed"])


def mean(values: Sequence[float | None]) -> Estimate:
    """The mean over seeds of the numbers that are there."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    return estimate(torch.tensor(known, dtype=torch.float64))


def judged(way: str, number: Number, verdict: Callable[[Estimate], str]) -> Judged:
    """Judge the mean of a number of the baseline; failed where a run lacks it."""

    def judge(rows: Sequence[Row]) -> tuple[Estimate, str]:
        values = [number(row) for row in of(rows, way)]
        found = mean(values)
        whole = found.low is not None and found.n == len(values)
        return found, verdict(found) if whole else FAILED

    return judge


def high(way: str) -> Judged:
    """Judge the height at which weight and coverage cross, as for images."""
    return judged(way, lambda row: row["result"]["geometry"]["height"], lambda e: at_least(e, BOTH, MOST))


def hardly(found: Estimate) -> str:
    """Held if the interval ends at or below a quarter, partly if the mean is at most a half."""
    value = math.inf if found.value is None else found.value
    return HELD if ends(found)[1] <= HARDLY else PARTLY if value <= 2 * HARDLY else FAILED


def at_end(what: str, low: bool) -> Number:
    """A curve of the probe at small or large noise over its peak."""

    def number(row: Row) -> float | None:
        told = row["result"].get("probe")
        if told is None or max(told[what]) <= 0:
            return None
        inside = [
            y
            for t, y in zip(told["levels"], told[what], strict=True)
            if (t <= LOWEST + 1e-9 if low else t >= HIGHEST - 1e-9)
        ]
        return sum(inside) / len(inside) / float(max(told[what])) if inside else None

    return number


def around_peak(levels: Sequence[float], values: Sequence[float]) -> Interval | None:
    """The levels around the peak at which a curve is at least half as high, linear in t."""
    top = max(values)
    if top <= 0:
        return None
    half, at = top / 2, list(values).index(top)

    def end(step: int) -> float:
        i = at
        while 0 <= i + step < len(values) and values[i + step] >= half:
            i += step
        if not 0 <= i + step < len(values):
            return levels[i]
        part = (values[i] - half) / (values[i] - values[i + step])
        return levels[i] + part * (levels[i + step] - levels[i])

    return end(-1), end(1)


def measured(row: Row) -> Interval | None:
    """Where the model knows at least half as much of its strings, beyond the language, as at the peak."""
    told = row["result"].get("probe")
    return None if told is None else around_peak(told["levels"], told["known"])


def jaccard(zone: Sequence[float] | None, other: Sequence[float] | None) -> float | None:
    """Length in t of what two intervals have in common over that of both."""
    if zone is None or other is None:
        return None
    common = min(zone[1], other[1]) - max(zone[0], other[0])
    return max(0.0, common) / (max(zone[1], other[1]) - min(zone[0], other[0]))


def index_of(name: str) -> Number:
    """The Jaccard index of a zone of the geometry, "danger" or "images", and the measured one."""
    return lambda row: jaccard(row["result"]["geometry"][name], measured(row))


def foretold(way: str) -> Judged:
    """Judge the danger zone against the measured one."""

    def verdict(found: Estimate) -> str:
        low, top = ends(found)
        return HELD if low >= HELD_OUT else PARTLY if top >= HELD_OUT else FAILED

    return judged(way, index_of("danger"), verdict)


def better_than_images(way: str) -> Judged:
    """Judge the gain in the Jaccard index over the thresholds that were found on images."""

    def gain(row: Row) -> float | None:
        ours, theirs = (index_of(name)(row) for name in ("danger", "images"))
        return None if ours is None else ours - (theirs or 0.0)

    def verdict(found: Estimate) -> str:
        return HELD if ends(found)[0] > 0 else PARTLY if (found.value or 0) > 0 else FAILED

    return judged(way, gain, verdict)


def turn(row: Row, which: str) -> float | None:
    """The level of handing over at which half of the copies are left: "above" or "below" belongs to the model."""
    told = row["result"].get("swap")
    if told is None or told["none"][0] <= 0:
        return None
    whole = float(told["none"][0])
    ends_of = (whole, 0.0) if which == "above" else (0.0, whole)
    counts = [ends_of[0], *(float(one[0]) for one in told[which]), ends_of[1]]
    path = list(zip([0.0, *told["turns"], 1.0], counts, strict=True))
    for (s, a), (t, b) in itertools.pairwise(path):
        if (a - whole / 2) * (b - whole / 2) <= 0 and a != b:
            return float(s + (a - whole / 2) / (a - b) * (t - s))
    return None


def turns_at(way: str, which: str, name: str) -> Judged:
    """Judge how far that level is from where a curve of the geometry is one half."""

    def number(row: Row) -> float | None:
        found, expected = turn(row, which), row["result"]["geometry"]["half"][name]
        return None if found is None or expected is None else abs(found - expected)

    return judged(way, number, lambda e: at_most(e, NEARBY, 2 * NEARBY))


def left_by(direction: str, part: str) -> Number:
    """Copies after a swap over those of the model alone."""

    def number(row: Row) -> float | None:
        told = row["result"].get("swap", {})
        if direction not in told or told["none"][0] <= 0:
            return None
        return float(told[direction][part][0] / told["none"][0])

    return number


def taken_away(way: str) -> Judged:
    """Judge what is left of copying where the language denoises the zone."""
    return judged(way, left_by("away", "zone"), lambda e: at_most(e, GONE, 2 * GONE))


def flips(way: str) -> Judged:
    """Judge whether the zone alone flips copying, in both directions: the rule of the swaps of images."""

    def judge(rows: Sequence[Row]) -> tuple[Estimate, str]:
        mine = of(rows, way)
        names = itertools.product(("away", "into"), ("low", "zone", "high"))
        seen: dict[Any, Estimate] = {}
        for name in names:
            values = [left_by(*name)(row) for row in mine]
            seen[name] = mean(values)
            if seen[name].low is None or seen[name].n < len(mine):
                return seen[name], FAILED
        lost, gained = seen["away", "zone"], seen["into", "zone"]
        sure = (
            ends(lost)[1] <= GONE
            and ends(gained)[0] >= KEPT
            and all(ends(seen["away", part])[0] >= KEPT for part in ("low", "high"))
            and all(ends(seen["into", part])[1] <= GONE for part in ("low", "high"))
        )
        middle = (lost.value or 0.0) <= GONE and (gained.value or 0.0) >= KEPT
        return lost, HELD if sure else PARTLY if middle else FAILED

    return judge


def copies(rows: Sequence[Row], way: str, cure: str) -> dict[int, float]:
    """Copies at the end as a share of the samples, by seed."""
    return {
        row["configuration"]["seed"]: row["result"]["copies"][-1] / row["configuration"]["samples"]
        for row in of(rows, way, cure)
    }


def left(rows: Sequence[Row], way: str, cure: str, than: str = PLAIN) -> Estimate:
    """Copies over those of another remedy at the end, geometric mean over seeds; none counts as half a copy."""
    ours, theirs = copies(rows, way, cure), copies(rows, way, than)
    both = sorted(set(ours) & set(theirs))
    if not both:
        return Estimate(None, None, None, 0)
    samples = of(rows, way, cure)[0]["configuration"]["samples"]
    return geometric(log_ratios([ours[s] for s in both], [theirs[s] for s in both], samples))


def fewer(way: str, cure: str, than: str = PLAIN, bound: float = 1.0) -> Judged:
    """Judge copies over copies of another remedy at the end.

    Args:
        bound: below 1: held if the interval ends at or below it, partly if below 1. At 1: held if the interval ends
            below, partly if only the mean lies there.
    """

    def judge(rows: Sequence[Row]) -> tuple[Estimate, str]:
        found = left(rows, way, cure, than)
        if found.low is None or found.value is None:
            return found, FAILED
        top = ends(found)[1]
        if bound < 1:
            return found, HELD if top <= bound else PARTLY if top < 1 else FAILED
        return found, HELD if top < 1 else PARTLY if found.value < 1 else FAILED

    return judge


def at_equal_copies(plain: Row, count: float, key: str) -> float:
    """A number of the baseline where it has so many copies: linear between checkpoints, else its last."""
    told = plain["result"]
    path = list(zip(told["copies"], told[key], strict=True))
    if count <= path[0][0]:
        return float(path[0][1])
    for (a, first), (b, second) in itertools.pairwise(path):
        if a <= count <= b:
            part = (count - a) / (b - a) if b > a else 1.0
            return float(first + part * (second - first))
    return float(path[-1][1])


def beyond_stopping(way: str, cure: str, key: str = "excess") -> Judged:
    """Judge the difference to the baseline that is stopped at as many copies: held if the interval ends below 0."""

    def judge(rows: Sequence[Row]) -> tuple[Estimate, str]:
        plain = {row["configuration"]["seed"]: row for row in of(rows, way)}
        differences: list[float | None] = []
        for row in of(rows, way, cure):
            other = plain.get(row["configuration"]["seed"])
            seen = row["result"]
            ours = seen[key][-1]
            differences.append(
                None if other is None else ours - at_equal_copies(other, seen["copies"][-1], key)
            )
        found = mean(differences)
        if found.low is None or found.value is None or found.n < len(differences):
            return found, FAILED
        return found, HELD if ends(found)[1] < 0 else PARTLY if found.value < 0 else FAILED

    return judge
