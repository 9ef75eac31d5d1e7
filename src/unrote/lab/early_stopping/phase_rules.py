"""Lines of the phase diagram: where memorization begins, when samples are good, and how good they become in between."""

from __future__ import annotations

import math
from collections.abc import Sequence

from unrote.contracts import Estimate, InputError
from unrote.lab.claims import FAILED, HELD, PARTLY, Row, ends, inside
from unrote.lab.early_stopping.law_rules import Definition, at_stop, judged_law, law_of, sizes
from unrote.lab.ratios import geometric
from unrote.lab.wild_middle.gap_rules import Judged
from unrote.measure.onset import Onset, at_step, before, not_reached
from unrote.measure.power_law import PowerLaw, fit_power_law

SMALL = 64
"""Sizes up to this one fix the proportional line."""
FACTOR = 1.5
"""How far the line may be off."""
GOOD = 30.0
"""Frechet distance of samples that have learned what the pictures are like; at random weights it is 200."""
FLAT = 0.1
"""An exponent this close to 0 is none."""
BETTER = 0.8
"""A ratio below this is an improvement worth the name."""
FEW, MANY = 64, 1024
"""Sizes whose quality is compared."""


def is_linear(definition: Definition) -> Judged:
    """Judge the exponent over all sizes."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        return judged_law(law_of(rows, definition))

    return judged


def line_of(rows: Sequence[Row], definition: Definition) -> float | None:
    """a of tau = a P: geometric mean of onset / P at the small sizes; None where one was not reached."""
    small = [row for row in rows if sizes([row])[0] <= SMALL]
    found = [definition.onset(row).value for row in small]
    known = [
        math.log(tau / sizes([row])[0]) for row, tau in zip(small, found, strict=True) if tau is not None
    ]
    return math.exp(sum(known) / len(known)) if known and len(known) == len(small) else None


def off_line(rows: Sequence[Row], definition: Definition) -> Estimate:
    """Onset over the line at the larger sizes: mean over the sizes of a seed, interval over seeds."""
    logs = []
    for mine in by_seed(rows):
        a = line_of(mine, definition)
        large = [row for row in mine if sizes([row])[0] > SMALL]
        pairs = [(sizes([row])[0], definition.onset(row).value) for row in large]
        off = [math.log(tau / (a * size)) for size, tau in pairs if a is not None and tau is not None]
        if off:
            logs.append(sum(off) / len(off))
    return geometric(logs) if logs else Estimate(None, None, None, 0)


def foretold(definition: Definition) -> Judged:
    """Judge whether the line through the small sizes meets the onsets of the large ones."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        found = off_line(rows, definition)
        return found, FAILED if found.low is None else inside(found, 1 / FACTOR, FACTOR)

    return judged


def learned(row: Row) -> Onset:
    """The first step at which samples are good, straight between checkpoints on two logarithmic axes."""
    steps, distance = row["result"]["steps"], row["result"]["averaged"]["frechet"]
    good = [value < GOOD for value in distance]
    if not any(good):
        return not_reached(steps[-1])
    k = good.index(True)
    if k == 0:
        return before(steps[0])
    here, there = (max(distance[i], 1e-6) for i in (k - 1, k))
    share = math.log(here / GOOD) / math.log(here / there)
    return at_step(steps[k - 1] * (steps[k] / steps[k - 1]) ** share)


def learning_law(rows: Sequence[Row]) -> PowerLaw | None:
    """The time to generalize over P, or None where too few runs did."""
    try:
        return fit_power_law(sizes(rows), [learned(row) for row in rows])
    except InputError:
        return None


def learns_at_once(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """Judge whether the time to generalize depends on P."""
    law = learning_law(rows)
    if law is None or law.exponent.low is None:
        return Estimate(None, None, None, 0), FAILED
    return law.exponent, inside(law.exponent, -FLAT, FLAT)


def quality_grows(key: str) -> Judged:
    """Judge what is reached before memorization with many pictures over what is reached with few."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        logs = []
        for mine in by_seed(rows):
            ends_of = {size: [row for row in mine if sizes([row])[0] == size] for size in (FEW, MANY)}
            few, many = (at_stop(ends_of[size], key)[0] for size in (FEW, MANY))
            logs.append(math.log(max(many, 1e-6) / max(few, 1e-6)))
        found = geometric(logs)
        high = math.inf if found.high is None else ends(found)[1]
        return found, HELD if high < BETTER else PARTLY if high < 1 else FAILED

    return judged


def by_seed(rows: Sequence[Row]) -> list[list[Row]]:
    """The runs of each seed."""
    seeds = sorted({row["configuration"]["seed"] for row in rows})
    return [[row for row in rows if row["configuration"]["seed"] == seed] for seed in seeds]
