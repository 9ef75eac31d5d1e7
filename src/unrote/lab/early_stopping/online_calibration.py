"""Candidates against counted copies: how far each is off in and out of sample, the chosen one, the threshold.

Everything in `unrote.measure.online` and `unrote.train.stopping` that is a measured number comes from here:

    rows, _ = runs.recorded(law.EXPERIMENT)
    more, _ = runs.recorded(online.EXPERIMENT)
    calibrate([*rows, *more])      # unrote.measure.online.LADDER
    threshold(rows)                # unrote.train.stopping.THRESHOLD

The first ladder, `FIRST`, was calibrated on the law's rows alone and is what `early_stopping/online` tests; it failed
there, and the one that is used now knows the sets, sides and networks of both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from unrote.lab.claims import Row
from unrote.lab.early_stopping.online_candidates import (
    CANDIDATES,
    Candidate,
    by_line,
    crossing,
    curves_of,
    log_ratio,
)
from unrote.measure.estimate import newcombe, student_quantile
from unrote.measure.online import SHARE, TARGET, Rung
from unrote.measure.onset import copy_onset

RUNGS = (0.7, 1.0, 1.4, 2.0)
"""Gaps of the ladder: below the first no line is worth anything, above the last copies may have begun."""
KNOWN = 0.9
"""A candidate has to speak before the onset in so many runs."""
MORE = 0.01
"""How many more samples than fresh pictures may be copies at the threshold."""
THRESHOLDS = tuple(k / 10 for k in range(1, 31))
"""Thresholds of the relative gap that are tried."""

FIRST = (
    Rung(0.7, 0.604, 0.143, 2.544),
    Rung(1.0, 0.648, 0.273, 1.535),
    Rung(1.4, 0.668, 0.392, 1.138),
    Rung(2.0, 0.643, 0.403, 1.027),
)
"""`calibrate` of the law's 60 runs alone."""

Groups = Mapping[str, Sequence[float]]
"""Values of each picture set."""


@dataclass(frozen=True)
class Spread:
    """How far a calibrated candidate is off, in logarithms of steps.

    Args:
        candidate: which.
        ratio: onset over what is said, of each set (geometric means).
        inside: root mean square with each set's own ratio.
        outside: root mean square with the ratio of the other sets.
        within: share of runs that are within a factor 1.5, with the ratio of the other sets.
        ahead: share of runs in which it was known before the onset.
        runs: that it says something of.
    """

    candidate: Candidate
    ratio: dict[str, float]
    inside: float
    outside: float
    within: float
    ahead: float
    runs: int


def onset_of(row: Row, weights: str = "averaged") -> float | None:
    """The step at which the share of copies was reached, or None if it was not."""
    counts, samples = row["result"][weights]["copies"], row["configuration"]["samples"]
    return copy_onset(row["result"]["steps"], [count / samples for count in counts], SHARE).value


def setting(row: Row) -> str:
    """What a run has in common with others: its picture set, or the setting that its experiment names."""
    asked = row["configuration"]
    return str(asked.get("group") or asked["pictures"]["set"])


def by_set(rows: Sequence[Row], candidate: Candidate, weights: str = "averaged") -> dict[str, list[float]]:
    """log (onset / what is said) of every run that has both."""
    found: dict[str, list[float]] = {}
    for row in rows:
        onset, said = onset_of(row, weights), candidate.say(curves_of(row, weights))
        if onset is not None and said is not None:
            found.setdefault(setting(row), []).append(log_ratio(onset, said))
    return found


def left_out(groups: Groups) -> list[float]:
    """What is left of every value when the mean of the other sets' means is taken away."""
    means = {name: sum(values) / len(values) for name, values in groups.items()}
    errors = []
    for name, values in groups.items():
        others = [mean for other, mean in means.items() if other != name]
        errors += [value - sum(others) / len(others) for value in values]
    return errors


def new_group(groups: Groups, confidence: float = 0.95) -> tuple[float, float]:
    """The centre and the half-width of the interval of one value of a new group.

    The centre is the mean of the k group means. With S^2 their variance and s^2 the variance within groups of n, a
    value of a new group deviates from it with variance S^2 (1 + 1/k) + s^2 (1 - 1/n); half-width t times its root, t
    Student's quantile with Satterthwaite's degrees of freedom, rounded down.

    Source: one-way random effects; Satterthwaite, "An approximate distribution of estimates of variance components",
    1946. Deviation: n is the harmonic mean of the groups' sizes.
    """
    means = torch.tensor([sum(v) / len(v) for v in groups.values()], dtype=torch.float64)
    k, count = len(groups), sum(map(len, groups.values()))
    n = k / sum(1 / len(v) for v in groups.values())
    squares = [(x - float(mean)) ** 2 for v, mean in zip(groups.values(), means, strict=True) for x in v]
    parts = [float(means.var()) * (1 + 1 / k), sum(squares) / (count - k) * (1 - 1 / n)]
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / (k - 1) + parts[1] ** 2 / (count - k))
    return float(means.mean()), student_quantile(math.floor(freedom), confidence) * math.sqrt(sum(parts))


def spread(rows: Sequence[Row], candidate: Candidate, weights: str = "averaged") -> Spread:
    """How far a candidate is off."""
    groups = by_set(rows, candidate, weights)
    own = {name: sum(v) / len(v) for name, v in groups.items()}
    inside = [value - own[name] for name, values in groups.items() for value in values]
    outside = left_out(groups)
    told = [
        (onset, said)
        for row in rows
        if (onset := onset_of(row, weights)) is not None
        and (said := candidate.say(curves_of(row, weights))) is not None
    ]
    return Spread(
        candidate,
        {name: math.exp(mean) for name, mean in own.items()},
        _size(inside),
        _size(outside),
        sum(abs(e) <= math.log(1.5) for e in outside) / len(outside),
        sum(said.at < onset for onset, said in told) / len(told),
        len(told),
    )


def spreads(rows: Sequence[Row], weights: str = "averaged") -> list[Spread]:
    """Every candidate."""
    return [spread(rows, one, weights) for one in CANDIDATES]


def chosen(rows: Sequence[Row]) -> Spread:
    """The candidate with the smallest error out of sample among those that are known in time of nearly every run."""
    known = [one for one in spreads(rows) if one.ahead >= KNOWN and one.runs >= KNOWN * len(rows)]
    return min(known, key=lambda one: one.outside)


def calibrate(rows: Sequence[Row], weights: str = "averaged") -> tuple[Rung, ...]:
    """The ladder of `unrote.measure.online`: at every rung the line's ratio, and its interval on a new set."""
    ladder = []
    for gap in RUNGS:
        centre, half = new_group(by_set(rows, by_line(gap, TARGET), weights))
        ladder.append(Rung(gap, *(math.exp(centre + sign * half) for sign in (0, -1, 1))))
    return tuple(ladder)


def copies_at(row: Row, gap: float, weights: str = "averaged") -> float:
    """Copies among the samples where the relative gap passes a value, straight between checkpoints over log steps.

    Those of the first checkpoint or the last where it passes before or never.
    """
    steps, counts = row["result"]["steps"], row["result"][weights]["copies"]
    c = curves_of(row, weights)
    at = crossing(c.train, c.validation, c.steps, gap)
    if at is None:
        return float(counts[0 if c.gaps[0] > gap else -1])
    for (s, count), (after, next_count) in pairwise(zip(steps, counts, strict=True)):
        if s <= at <= after:
            return float(count + (next_count - count) * math.log(at / s) / math.log(after / s))
    return float(counts[-1])


def is_clean(rows: Sequence[Row], gap: float, weights: str = "averaged") -> bool:
    """Whether copies exceed those among fresh pictures by at most `MORE`, surely, at every size of every set."""
    cells: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        asked = row["configuration"]["pictures"]
        cells.setdefault((asked["set"], asked["images"]), []).append(row)
    for cell in cells.values():
        found = newcombe(
            round(sum(copies_at(row, gap, weights) for row in cell)),
            sum(row["configuration"]["samples"] for row in cell),
            sum(row["result"]["fresh"] for row in cell),
            sum(row["configuration"]["pictures"]["test"] for row in cell),
        )
        if found.high is None or found.high > MORE:
            return False
    return True


def threshold(rows: Sequence[Row], weights: str = "averaged") -> float:
    """The largest threshold up to which every one is clean."""
    clean = 0.0
    for gap in THRESHOLDS:
        if not is_clean(rows, gap, weights):
            break
        clean = gap
    return clean


def _size(errors: Sequence[float]) -> float:
    return math.sqrt(sum(e * e for e in errors) / len(errors))
