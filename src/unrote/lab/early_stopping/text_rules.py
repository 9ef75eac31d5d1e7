"""Text: what comes first, parted losses or copies; the law of both; what the least validation loss leaves of copies."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from unrote.contracts import Estimate
from unrote.lab.claims import FAILED, HELD, PARTLY, Row, at_least, at_most, ends
from unrote.lab.early_stopping.law_rules import Definition, judged_law
from unrote.lab.early_stopping.rhm_rules import Time, law_of, step_of
from unrote.lab.ratios import geometric
from unrote.lab.wild_middle.gap_rules import Judged
from unrote.measure.estimate import estimate, newcombe
from unrote.measure.onset import Onset, at_step

COPIED = Definition("copies", 0.1, "averaged")
"""A tenth of the samples are copies."""
PARTED = Definition("gap", 0.4, "averaged")
"""Losses are so many bits a character apart."""
RISEN = 0.1
"""Bits a character by which the validation loss has turned up."""
FAR = (0.9, 0.75)
"""Distances at least so large a share of those of fresh text: held, partly."""
MOST = (0.5, 0.25)
"""Shares of samples that are copies in the end: held, partly."""
FEW = (0.1, 0.15)
"""Shares of the characters of a copy that are wrong: held, partly."""
MORE = 0.01
"""How many more samples than fresh windows may be copies where the validation loss is least."""
NOTHING = Estimate(None, None, None, 0)


def of(rows: Sequence[Row], trained: int) -> list[Row]:
    """The runs with P windows."""
    return [row for row in rows if row["configuration"]["trained"] == trained]


def sizes(rows: Sequence[Row]) -> list[int]:
    """Every P, ascending."""
    return sorted({row["configuration"]["trained"] for row in rows})


def place(row: Row) -> int:
    """The number of the checkpoint at which the validation loss of the averaged weights is least."""
    losses = row["result"]["averaged"]["validation"]
    found: int = losses.index(min(losses))
    return found


def minimum(row: Row) -> Onset:
    """The step of that checkpoint."""
    return at_step(row["result"]["steps"][place(row)])


def at_minimum(row: Row, key: str) -> float:
    """A measurement there."""
    return float(row["result"]["averaged"][key][place(row)])


def at_end(row: Row, key: str) -> float:
    """A measurement at the last checkpoint."""
    return float(row["result"]["averaged"][key][-1])


def gained(row: Row) -> float:
    """Bits a character by which the least validation loss lies below that of the held-out text's own frequencies."""
    return float(row["result"]["frequencies"]["held"]) - at_minimum(row, "validation")


def risen(row: Row) -> float:
    """Bits a character by which the validation loss ends above its least value."""
    return at_end(row, "validation") - at_minimum(row, "validation")


def kept_away(row: Row) -> float:
    """Mean distance to the training windows at the least validation loss, over that of fresh text."""
    return at_minimum(row, "hamming") / float(row["result"]["fresh"]["hamming"])


def copies_at_end(row: Row) -> float:
    """The share of copies at the last checkpoint."""
    return at_end(row, "copies") / float(row["configuration"]["samples"])


def wrong_at_end(row: Row) -> float:
    """The share of wrong characters in the median copy at the last checkpoint; all of them where there is no copy."""
    return at_end(row, "wrong") / float(row["configuration"]["length"])


def inexact_at_end(row: Row) -> float | None:
    """The share of the copies at the last checkpoint that have a wrong character."""
    copies = at_end(row, "copies")
    return 1 - at_end(row, "exact") / copies if copies else None


def by_seed(rows: Sequence[Row], value: Callable[[Row], float]) -> list[float]:
    """A number of each seed, the mean over its sizes."""
    seeds = sorted({row["configuration"]["seed"] for row in rows})
    found = [[value(row) for row in rows if row["configuration"]["seed"] == seed] for seed in seeds]
    return [math.fsum(one) / len(one) for one in found]


def mean_over_seeds(rows: Sequence[Row], value: Callable[[Row], float]) -> Estimate:
    """The mean over seeds, each one's over its sizes."""
    return estimate(torch.tensor(by_seed(rows, value), dtype=torch.float64)) if rows else NOTHING


def reaches(value: Callable[[Row], float], held: float, partly: float, trained: int | None = None) -> Judged:
    """Judge whether a number is large, over all sizes or at one."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        found = mean_over_seeds(rows if trained is None else of(rows, trained), value)
        return found, FAILED if found.low is None else at_least(found, held, partly)

    return judged


def stays_below(value: Callable[[Row], float], held: float, partly: float) -> Judged:
    """Judge whether a number is small over all sizes."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        found = mean_over_seeds(rows, value)
        return found, FAILED if found.low is None else at_most(found, held, partly)

    return judged


def ratio_of(rows: Sequence[Row], first: Time, second: Time) -> Estimate:
    """One step over another, geometric mean over sizes and then seeds; what never came counts as at the last step."""
    logs = by_seed(rows, lambda row: math.log(step_of(first, row) / step_of(second, row)))
    return geometric(logs) if logs else NOTHING


def comes_before(first: Time, second: Time) -> Judged:
    """Judge whether one moment comes before another, at all sizes taken together; the first must come in all runs."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        found = ratio_of(rows, first, second)
        if found.low is None or any(first(row).value is None for row in rows):
            return found, FAILED
        assert found.value is not None
        return found, HELD if ends(found)[1] < 1 else PARTLY if found.value < 1 else FAILED

    return judged


def is_linear(definition: Definition) -> Judged:
    """Judge the exponent of an onset over P."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        return judged_law(law_of(rows, definition.onset))

    return judged


def stops_clean(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """Judge the copies where the validation loss is least, all runs together, less those among fresh windows."""
    if not rows:
        return NOTHING, FAILED
    copies = int(sum(at_minimum(row, "copies") for row in rows))
    fresh = int(sum(row["result"]["fresh"]["copies"] for row in rows))
    drawn, tested = (sum(row["configuration"][key] for row in rows) for key in ("samples", "held"))
    found = newcombe(copies, drawn, fresh, tested)
    assert found.value is not None
    return found, HELD if ends(found)[1] <= MORE else PARTLY if found.value <= MORE else FAILED
