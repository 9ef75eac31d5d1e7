"""Which layers are learned before strings are copied, and up to when twins agree."""

from __future__ import annotations

import math
from collections.abc import Sequence

from unrote.contracts import Estimate
from unrote.lab.claims import FAILED, HELD, PARTLY, Row, ends
from unrote.lab.early_stopping.rhm_deep_runs import FIRST, SECOND
from unrote.lab.early_stopping.rhm_rules import (
    Time,
    complexity,
    copied,
    deepest,
    layer_law,
    learned,
    near_one,
    of,
    step_of,
)
from unrote.lab.ratios import geometric
from unrote.lab.wild_middle.gap_rules import Judged
from unrote.measure.onset import Onset, at_step, not_reached

HALF = 0.5
"""The share of samples with errors at which a layer's errors have fallen, and of the twins' last distance at which they
agree."""
WIDE = 0.3
"""The exponent over layers is known within this."""


def second_of(row: Row) -> Row:
    """The same run with the other twin in the place of the first."""
    result = row["result"]
    return {**row, "result": {**result, FIRST: result[SECOND], "exact": result["exact_second"]}}


def fallen(layer: int) -> Time:
    """Half of the samples keep the rules up to a layer."""
    return learned(layer, HALF)


def best(row: Row) -> Onset:
    """The checkpoint of the least held-out loss."""
    steps, held = row["result"]["steps"], row["result"][FIRST]["validation"]
    return at_step(steps[held.index(min(held))])


def earlier(time: Time, row: Row) -> float:
    """When something happens to the first of the twins to which it does."""
    return min(step_of(time, one) for one in (row, second_of(row)))


def shallow_first(way: str) -> Judged:
    """Judge whether errors of layers with P*_l <= P fall before strings are copied: the latest of them in each run."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        logs, reached = [], []
        for row in of(rows, way):
            times = [fallen(layer) for layer in learnable(row)]
            logs.append(max(math.log(step_of(time, row) / step_of(copied, row)) for time in times))
            reached.append(all(time(row).value is not None for time in times))
        found = geometric(logs) if logs else Estimate(None, None, None, 0)
        sure = found.high is not None and found.high < 1
        value = found.value is not None and found.value < 1
        return found, HELD if sure and all(reached) else PARTLY if value and any(reached) else FAILED

    return judged


def learnable(row: Row) -> list[int]:
    """Layers whose sample complexity is at most P."""
    layers = range(1, deepest(row) + 1)
    return [layer for layer in layers if complexity(row, layer) <= row["configuration"]["trained"]]


def before_copies(layer: int) -> Time:
    """When a layer's errors fall, where that is before strings are copied."""

    def when(row: Row) -> Onset:
        onset = fallen(layer)(row)
        return (
            onset if step_of(fallen(layer), row) < step_of(copied, row) else not_reached(step_of(copied, row))
        )

    return when


def layers_linear(way: str) -> Judged:
    """Judge the exponent of the times at which layers' errors fall over their sample complexities."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        return near_one(layer_law(of(rows, way), before_copies), WIDE)

    return judged


def before_onset(row: Row, time: Time) -> list[float]:
    """How far the twins are apart at the checkpoints before the onset of the first of them."""
    onset = earlier(time, row)
    pairs = zip(row["result"]["steps"], row["result"]["pair"]["apart"], strict=True)
    return [apart for step, apart in pairs if step < onset]


def agree_until(way: str, time: Time) -> Judged:
    """Judge the twins' largest distance before an onset, as a share of that at the end."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        logs = []
        for row in of(rows, way):
            seen = before_onset(row, time)
            # Without a checkpoint before the onset nothing is known: they count as being as far apart as at the end.
            logs.append(math.log(max(seen) / row["result"]["pair"]["apart"][-1]) if seen else 0.0)
        return at_most_share(geometric(logs) if logs else Estimate(None, None, None, 0), HALF)

    return judged


def nearer_than_truth(way: str, time: Time) -> Judged:
    """Judge whether twins are nearer to each other than to the truth, at the last checkpoint before an onset."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        logs = []
        for row in of(rows, way):
            last, pair = len(before_onset(row, time)) - 1, row["result"]["pair"]
            logs.append(math.log(pair["apart"][max(0, last)] / pair["short"][max(0, last)]))
        return at_most_share(geometric(logs) if logs else Estimate(None, None, None, 0), 1.0)

    return judged


def at_most_share(found: Estimate, share: float) -> tuple[Estimate, str]:
    """Held where the interval of a ratio ends at or below a share, partly where its value is."""
    if found.low is None or found.value is None:
        return found, FAILED
    return found, HELD if ends(found)[1] <= share else PARTLY if found.value <= share else FAILED
