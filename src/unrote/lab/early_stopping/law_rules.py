"""Onsets of the runs, the law fitted to them, forecasts of the largest size, and where early stopping would stop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from unrote.contracts import Estimate, InputError
from unrote.lab.claims import FAILED, HELD, PARTLY, Row, ends
from unrote.lab.wild_middle.gap_rules import Judged
from unrote.measure.estimate import newcombe
from unrote.measure.gaps import difference, excess
from unrote.measure.onset import Onset, copy_onset, gap_onset
from unrote.measure.power_law import HeldOut, PowerLaw, fit_power_law, held_out_sizes

WIDEST = 0.4
"""The law holds if the interval of the exponent contains 1 and is narrower than this."""
NEAR = 0.2
"""An exponent at most this far from 1 is near it."""
FACTOR = 1.5
"""How far a forecast may be off."""
STOPPED_AT = 1.0
"""The relative gap that early stopping allows: a test loss twice the training loss."""
MORE = 0.01
"""How many more samples than fresh pictures may be copies at the stopping time."""
GAPS = {"gap": difference, "relative": excess}
"""How losses are compared."""
NAMES = {"gap": "loss gap", "relative": "relative loss gap", "copies": "share of copies"}
"""Kinds of onsets in words."""


@dataclass(frozen=True)
class Definition:
    """What an onset is.

    Args:
        kind: "gap" of the losses, their "relative" gap, or "copies" among samples.
        threshold: difference of the losses, share of the training loss, or share of copies.
        weights: "raw" or "averaged".
    """

    kind: str
    threshold: float
    weights: str

    @property
    def words(self) -> str:
        """The definition in words."""
        return f"{NAMES[self.kind]} {self.threshold:g}, {self.weights} weights"

    @property
    def name(self) -> str:
        """The definition in a claim's name."""
        return f"{self.kind}-{self.threshold:g}-{self.weights}"

    def onset(self, row: Row) -> Onset:
        """The onset of one run."""
        steps, seen = row["result"]["steps"], row["result"][self.weights]
        if self.kind in GAPS:
            return gap_onset(steps, seen["train"], seen["validation"], self.threshold, GAPS[self.kind])
        samples = row["configuration"]["samples"]
        return copy_onset(steps, [count / samples for count in seen["copies"]], self.threshold)


def of_set(rows: Sequence[Row], name: str) -> list[Row]:
    """The runs on one set of pictures."""
    return [row for row in rows if row["configuration"]["pictures"]["set"] == name]


def sizes(rows: Sequence[Row]) -> list[int]:
    """P of every run."""
    return [row["configuration"]["pictures"]["images"] for row in rows]


def law_of(rows: Sequence[Row], definition: Definition) -> PowerLaw | None:
    """The law of one set of pictures, or None where too few runs have an onset."""
    try:
        return fit_power_law(sizes(rows), [definition.onset(row) for row in rows])
    except InputError:
        return None


def held_out(rows: Sequence[Row], definition: Definition) -> HeldOut | None:
    """The largest size, forecast from the others, or None where it cannot be."""
    try:
        table = held_out_sizes(sizes(rows), [definition.onset(row) for row in rows])
    except InputError:
        return None
    return next((one for one in table if one.size == max(sizes(rows))), None)


def judged_law(law: PowerLaw | None) -> tuple[Estimate, str]:
    """The exponent of a law that may not be known, and whether it is 1."""
    if law is None or law.exponent.low is None:
        return Estimate(None, None, None, 0), FAILED
    low, high = ends(law.exponent)
    assert law.exponent.value is not None
    contains = low <= 1 <= high
    if contains and high - low < WIDEST:
        return law.exponent, HELD
    near = abs(law.exponent.value - 1) <= NEAR
    return law.exponent, PARTLY if contains or near else FAILED


def is_linear(name: str, definition: Definition) -> Judged:
    """Judge the exponent of one set by one definition."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        return judged_law(law_of(of_set(rows, name), definition))

    return judged


def is_forecast(name: str, definition: Definition) -> Judged:
    """Judge the typical onset at the largest size over its forecast from the smaller ones."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        found = held_out(of_set(rows, name), definition)
        if found is None or found.factor.value is None:
            return Estimate(None, None, None, 0), FAILED
        value, low, high = found.factor.value, found.factor.low, found.factor.high
        sure = low is not None and high is not None and low >= 1 / FACTOR and high <= FACTOR
        near = abs(math.log(value)) <= math.log(FACTOR)
        return found.factor, HELD if sure else PARTLY if near else FAILED

    return judged


@dataclass(frozen=True)
class Stop:
    """Where early stopping leaves a run.

    Args:
        place: the number of the last clean checkpoint; None if the first was not clean.
        stopped: whether the gap was surely exceeded at all.
    """

    place: int | None
    stopped: bool


def stop_of(row: Row, weights: str = "averaged") -> Stop:
    """Early stopping on the checkpoints of a run, by the rule of `unrote.train.stopping`."""
    seen = row["result"][weights]
    kept = None
    for i, (value, low) in enumerate(zip(seen["gap"], seen["gap_low"], strict=True)):
        if low > STOPPED_AT:
            return Stop(kept, True)
        if value <= STOPPED_AT:
            kept = i
    return Stop(kept, False)


def at_stop(rows: Sequence[Row], key: str, weights: str = "averaged") -> list[float]:
    """A measurement of every run at its last clean checkpoint; of the first one where none was clean."""
    return [float(row["result"][weights][key][stop_of(row, weights).place or 0]) for row in rows]


def stays_clean(name: str) -> Judged:
    """Judge the copies at the stopping time of all runs on a set, less those among fresh pictures."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        mine = of_set(rows, name)
        if not mine:
            return Estimate(None, None, None, 0), FAILED
        copies, fresh = int(sum(at_stop(mine, "copies"))), sum(row["result"]["fresh"] for row in mine)
        drawn = sum(row["configuration"]["samples"] for row in mine)
        tested = sum(row["configuration"]["pictures"]["test"] for row in mine)
        found = newcombe(copies, drawn, fresh, tested)
        assert found.value is not None
        return found, HELD if ends(found)[1] <= MORE else PARTLY if found.value <= MORE else FAILED

    return judged


def quality_at_stop(rows: Sequence[Row]) -> list[float]:
    """Frechet distance at the stopping time over the best one of the run's checkpoints."""
    best = [min(row["result"]["averaged"]["frechet"]) for row in rows]
    return [a / b for a, b in zip(at_stop(rows, "frechet"), best, strict=True)]
