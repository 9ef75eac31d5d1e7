"""Verdicts on improved DDPM: losses that part before copies, and where samples are best."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from unrote.contracts import Estimate
from unrote.lab.claims import FAILED, HELD, PARTLY, Row
from unrote.lab.early_stopping.law_rules import Definition, at_stop, of_set, quality_at_stop, sizes
from unrote.lab.ratios import geometric
from unrote.lab.wild_middle.gap_rules import Judged

COPYING = Definition("copies", 0.05, "averaged")
"""The first copies."""
GAPS = {
    "digits": (0.05, 0.1, 0.2),
    "fashion_mnist": (0.025, 0.05, 0.1),  # in the pilots half as far apart when copies came
    "cifar10": (0.002, 0.005, 0.01),  # the error of the noise is less where there are more pixels
}
"""Thresholds of the gap for every set."""
PARTED = {"digits": 0.05, "fashion_mnist": 0.05, "cifar10": 0.002}
"""At which of them losses have parted."""
FACTOR = 2.0
"""How far the best samples may lie from the onset."""
DEARER = (1.1, 1.5)
"""What stopping early may cost in quality: the best distance of the run, times this; held and partly."""


def definitions(name: str) -> tuple[Definition, ...]:
    """What an onset is on one set."""
    kinds = (("gap", GAPS[name]), ("relative", (1.0,)), ("copies", (0.05, 0.1, 0.2)))
    return tuple(
        Definition(kind, threshold, weights)
        for kind, thresholds in kinds
        for threshold in thresholds
        for weights in ("raw", "averaged")
    )


def parted(name: str) -> Definition:
    """The losses of one set have parted: the paper's definition, with a threshold of ours."""
    return Definition("gap", PARTED[name], "averaged")


Time = Callable[[Row], float]
"""A run -> one of its steps."""


def onset_of(definition: Definition) -> Time:
    """The onset of a run; where it lies before the first checkpoint or after the last, that checkpoint."""

    def time(row: Row) -> float:
        onset = definition.onset(row)
        return onset.value if onset.value is not None else onset.low or onset.high

    return time


def lowest(key: str, weights: str = "averaged") -> Time:
    """The checkpoint at which a measurement of a run is smallest."""

    def time(row: Row) -> float:
        values = row["result"][weights][key]
        return float(row["result"]["steps"][values.index(min(values))])

    return time


def largest(rows: Sequence[Row]) -> list[Row]:
    """The runs of the largest size."""
    most = max(sizes(rows), default=0)
    return [row for row, size in zip(rows, sizes(rows), strict=True) if size == most]


def ratios(rows: Sequence[Row], above: Time, below: Time) -> Estimate:
    """Geometric mean over runs of one step over another."""
    return geometric([math.log(above(row) / below(row)) for row in rows])


def exceeds(found: Estimate, least: float = 1.0) -> str:
    """Held where the interval begins above a number, partly where the value does."""
    if found.value is None:
        return FAILED
    if found.low is not None and found.low > least:
        return HELD
    return PARTLY if found.value > least else FAILED


def within(found: Estimate, factor: float) -> str:
    """Held where the interval of a ratio lies within a factor of 1, partly where the value does."""
    if found.value is None:
        return FAILED
    if found.low is not None and found.high is not None and found.low >= 1 / factor and found.high <= factor:
        return HELD
    return PARTLY if 1 / factor <= found.value <= factor else FAILED


def comes_before(name: str, first: Time) -> Judged:
    """Judge how many times as late the first copies are as another moment of the run, all sizes and seeds."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        found = ratios(of_set(rows, name), onset_of(COPYING), first)
        return found, exceeds(found)

    return judged


def best_at(name: str, definition: Definition) -> Judged:
    """Judge the step of the smallest Frechet distance over the onset, at the largest size."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        found = ratios(largest(of_set(rows, name)), lowest("frechet"), onset_of(definition))
        return found, within(found, FACTOR)

    return judged


def gets_worse(name: str) -> Judged:
    """Judge the Frechet distance at the end over that at the stopping time, at the largest size."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        mine = largest(of_set(rows, name))
        ends = [row["result"]["averaged"]["frechet"][-1] for row in mine]
        found = geometric([math.log(a / b) for a, b in zip(ends, at_stop(mine, "frechet"), strict=True)])
        return found, exceeds(found)

    return judged


def costs_little(name: str) -> Judged:
    """Judge the Frechet distance at the stopping time over the best of the run, at the largest size."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        found = geometric([math.log(one) for one in quality_at_stop(largest(of_set(rows, name)))])
        if found.value is None:
            return found, FAILED
        if found.high is not None and found.high <= DEARER[0]:
            return found, HELD
        return found, PARTLY if found.value <= DEARER[1] else FAILED

    return judged
