"""What losses alone might say of the onset of copies: candidates for an online estimate, all to be calibrated."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from unrote.lab.claims import Row
from unrote.measure.gaps import excess
from unrote.measure.online import AHEAD, line_through
from unrote.measure.onset import gap_onset

GAPS = (0.1, 0.2, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8)
"""Relative gaps at which a candidate may speak."""
TARGETS = (3.0, 4.0, 5.0, 6.0)
"""Relative gaps at which a line may end."""
FALLS = (0.7, 0.6, 0.5, 0.4)
"""Training loss over the lowest held-out loss so far."""
RISES = (1.05, 1.1, 1.2)
"""Held-out loss over its lowest value so far."""


@dataclass(frozen=True)
class Curves:
    """What is known of a run without sampling.

    Args:
        steps: of the checkpoints.
        train, validation: losses there.
        images: P.
    """

    steps: Sequence[float]
    train: Sequence[float]
    validation: Sequence[float]
    images: int

    @property
    def gaps(self) -> list[float]:
        """Relative gaps."""
        return [v / t - 1 for t, v in zip(self.train, self.validation, strict=True)]


@dataclass(frozen=True)
class Said:
    """What a candidate says of a run.

    Args:
        at: the step at which it can say so; 0 if before training.
        step: what it says, to be multiplied by its calibration.
    """

    at: float
    step: float


@dataclass(frozen=True)
class Candidate:
    """One way to estimate the onset.

    Args:
        name, words: in tables.
        say: curves -> what it says, or None of a run that never came so far.
    """

    name: str
    words: str
    say: Callable[[Curves], Said | None]


def curves_of(row: Row, weights: str = "averaged") -> Curves:
    """The losses of a recorded run."""
    seen = row["result"][weights]
    images = row["configuration"]["pictures"]["images"]
    steps = [float(step) for step in row["result"]["steps"]]
    return Curves(steps, seen["train"], seen["validation"], images)


def crossing(
    train: Sequence[float], validation: Sequence[float], steps: Sequence[float], by: float
) -> float | None:
    """The first step at which one curve is above another by a share, or None."""
    return gap_onset(steps, train, validation, by, excess).value


def by_gap(gap: float) -> Candidate:
    """The step at which the relative gap passes a value."""

    def say(c: Curves) -> Said | None:
        at = crossing(c.train, c.validation, c.steps, gap)
        return None if at is None else Said(at, at)

    return Candidate(f"gap-{gap:g}", f"relative gap of {gap:g}", say)


def by_line(gap: float, target: float, ahead: float = AHEAD) -> Candidate:
    """The step at which the line through the gap and a share of it reaches a target."""

    def say(c: Curves) -> Said | None:
        found = line_through(c.steps, c.gaps, gap, target, ahead)
        at = crossing(c.train, c.validation, c.steps, gap)
        return None if found is None or at is None else Said(at, found)

    return Candidate(f"line-{gap:g}-{target:g}", f"line from a gap of {gap:g} to {target:g}", say)


def by_fall(share: float) -> Candidate:
    """The step at which the training loss has fallen to a share of the lowest held-out loss so far."""

    def say(c: Curves) -> Said | None:
        at = crossing(c.train, list(accumulate(c.validation, min)), c.steps, 1 / share - 1)
        return None if at is None else Said(at, at)

    return Candidate(f"fall-{share:g}", f"training loss at {share:g} of the lowest held-out loss", say)


def by_rise(factor: float) -> Candidate:
    """The step at which the held-out loss is a factor above its lowest value so far."""

    def say(c: Curves) -> Said | None:
        at = crossing(list(accumulate(c.validation, min)), c.validation, c.steps, factor - 1)
        return None if at is None else Said(at, at)

    return Candidate(f"rise-{factor:g}", f"held-out loss {factor:g} times its lowest", say)


def lowest(c: Curves) -> Said | None:
    """The checkpoint of the lowest held-out loss, known at the next one."""
    place = min(range(len(c.steps)), key=c.validation.__getitem__)
    return None if place + 1 == len(c.steps) else Said(c.steps[place + 1], c.steps[place])


def pictures(c: Curves) -> Said | None:
    """The number of training pictures, as the law of the onset has it."""
    return Said(0.0, float(c.images))


PICTURES = Candidate("pictures", "so many steps for each picture", pictures)
CANDIDATES: tuple[Candidate, ...] = (
    PICTURES,
    *map(by_gap, GAPS),
    Candidate("lowest", "lowest held-out loss", lowest),
    *map(by_rise, RISES),
    *map(by_fall, FALLS),
    *(by_line(gap, target) for gap in GAPS for target in TARGETS if gap >= GAPS[2] and gap < target),
)


def log_ratio(onset: float, said: Said) -> float:
    """log of the onset over what was said."""
    return math.log(onset / said.step)
