"""Verdicts about twins: a number of every seed, its mean over seeds, and a rule that was fixed before the runs.

A seed whose number is missing (curves that did not cross, an onset that was not reached) can only weaken a verdict:
held needs every seed, partly more than half of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from unrote.contracts import Estimate
from unrote.lab.claims import FAILED, HELD, PARTLY, Row
from unrote.lab.early_stopping.twins_runs import FIRST, SAME_DATA, SAME_START, SECOND, TWINS, best_place
from unrote.lab.ratios import geometric
from unrote.lab.wild_middle.gap_rules import Judged
from unrote.measure.estimate import estimate
from unrote.measure.onset import Onset, copy_onset, gap_onset

GAP, COPIES = 0.4, 0.1
"""Thresholds of the two onsets: those that `early_stopping/law` forecasts by."""
NEARLY = 0.9
"""Cosine from which on pictures are nearly identical."""
TRACE = 0.02, 0.05
"""By how much samples may be nearer to the half that was learned than to the other one: held, partly."""
FACTOR = 2.0
"""Within which places on the axis of steps, or of levels, agree."""
PARTED = 0.2
"""Relative difference from which on the twins have parted at a level."""
HIGH, ALIKE = 5.0, (0.1, 0.2)
"""From which level on noise is high, and the relative difference there: held, partly."""
SAME = 0.05
"""By how much cosines may differ that are the same."""

Rule = Callable[[Estimate], str]
Group = Sequence[Row]
"""The runs of one seed, that on fewest pictures first."""
Number = Callable[[Group], float | None]


class Missing(LookupError):
    """A run lacks what a claim asks for."""


def main(rows: Sequence[Row], name: str) -> list[Group]:
    """The runs on a set with the fewest pictures, a group for each seed."""
    return [group[:1] for group in groups(rows, name)]


def groups(rows: Sequence[Row], name: str) -> list[Group]:
    """The runs on a set by seed, those on fewer pictures first."""
    mine = [row for row in rows if row["configuration"]["pictures"]["set"] == name]
    seeds = sorted({row["configuration"]["seed"] for row in mine})
    return [sorted((row for row in mine if row["configuration"]["seed"] == seed), key=half) for seed in seeds]


def half(row: Row) -> int:
    """P: with how many pictures each twin was trained."""
    return int(row["configuration"]["pictures"]["images"]) // 2


def column(row: Row, *place: str) -> list[float]:
    """A curve of a run.

    Raises:
        Missing: if there is none, or not a number at each checkpoint.
    """
    found: Any = row["result"]
    for name in place:
        if not found or name not in found:
            raise Missing(f"a run has no {' '.join(place)}")
        found = found[name]
    if len(found) != len(row["result"]["steps"]) or not all(finite(value) for value in found):
        raise Missing(f"{' '.join(place)} is not known at every checkpoint")
    return [float(value) for value in found]


def finite(value: Any) -> bool:
    """Whether something is a number."""
    return isinstance(value, int | float) and math.isfinite(value)


def both(row: Row, key: str) -> list[float]:
    """A curve of the twins, mean of both."""
    return [
        (a + b) / 2
        for a, b in zip(*(column(row, "networks", name, key) for name in (FIRST, SECOND)), strict=True)
    ]


def twins(row: Row, share: str = "") -> list[float]:
    """How alike the twins' samples are at every checkpoint; `share` names another share of the variance."""
    return column(row, "pairs", TWINS, f"similarity{share}")


def own(row: Row, share: str = "") -> list[float]:
    """How near the twins' samples are to the pictures that they learned from."""
    return both(row, f"own{share}")


def best(row: Row) -> int:
    """The checkpoint of the least test loss."""
    both(row, "validation")
    return best_place(row["result"]["networks"])


def level_of_fresh(row: Row) -> float:
    """How near fresh pictures are to a half."""
    value = row["result"].get("fresh")
    if not finite(value):
        raise Missing("a run has no level of fresh pictures")
    return float(value)


def crossing(row: Row, share: str = "") -> Onset:
    """From which step on samples are nearer to their own training pictures than to the twin's samples."""
    return gap_onset(row["result"]["steps"], twins(row, share), own(row, share), 0.0)


def loss_onset(row: Row, name: str) -> Onset:
    """The onset of one network by the gap between its losses."""
    train, validation = (column(row, "networks", name, key) for key in ("train", "validation"))
    return gap_onset(row["result"]["steps"], train, validation, GAP)


def onset_by_copies(row: Row, name: str) -> Onset:
    """The onset of one network by copies among its samples."""
    counts, samples = column(row, "networks", name, "copies"), row["configuration"]["samples"]
    return copy_onset(row["result"]["steps"], [count / samples for count in counts], COPIES)


def typical(row: Row, onset: Callable[[Row, str], Onset]) -> float | None:
    """The onset of both twins, mean in logarithms, or None where one is not known."""
    steps = [onset(row, name).value for name in (FIRST, SECOND)]
    if any(step is None for step in steps):
        return None
    return math.exp(sum(math.log(step) for step in steps if step is not None) / 2)


def differences(row: Row) -> list[list[float]]:
    """The relative difference of the twins at every level, a list for each: over steps.

    Raises:
        Missing: if it is not known everywhere.
    """
    table, levels = row["result"]["pairs"].get(TWINS, {}).get("difference", ()), row["result"]["levels"]
    if len(table) != len(row["result"]["steps"]) or not all(
        len(line) == len(levels) and all(finite(value) for value in line) for line in table
    ):
        raise Missing("differences are not known at every checkpoint and level")
    return [[float(line[i]) for line in table] for i in range(len(levels))]


def first_parted(row: Row) -> float | None:
    """The level at which the twins part first; of several before the first checkpoint, the one most apart there."""
    steps, found = row["result"]["steps"], []
    for level, curve in zip(row["result"]["levels"], differences(row), strict=True):
        onset = copy_onset(steps, [min(1.0, value) for value in curve], PARTED)
        if onset.high < math.inf:
            found.append((onset.value or 0.0, -curve[0], level))
    return min(found)[2] if found else None


def judged_by(pick: Callable[[Sequence[Row]], list[Group]], number: Number, mean: Any, rule: Rule) -> Judged:
    """A number of every seed, their mean, and the rule that it is judged by.

    Args:
        mean: list of numbers -> estimate.
    """

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        every = [known(number, group) for group in pick(rows)]
        values = [value for value in every if value is not None]
        if len(values) < 2 or 2 * len(values) <= len(every):
            return Estimate(None, None, None, len(values)), FAILED
        found: Estimate = mean(values)
        verdict = rule(found)
        return found, PARTLY if verdict == HELD and len(values) < len(every) else verdict

    return judged


def known(number: Number, group: Group) -> float | None:
    """A number of one seed, or None where something that it needs is missing."""
    try:
        value = number(group)
    except Missing:
        return None
    return value if value is not None and math.isfinite(value) else None


def plain(values: Sequence[float]) -> Estimate:
    """The mean with Student's interval."""
    return estimate(torch.tensor(list(values), dtype=torch.float64))


def geometrical(values: Sequence[float]) -> Estimate:
    """The geometric mean of positive numbers with its interval."""
    return geometric([math.log(value) for value in values])


def ends(found: Estimate) -> tuple[float, float, float]:
    """Value and both ends; those that are not known are as far away as can be."""
    low, high = (
        (-math.inf if found.low is None else found.low),
        (math.inf if found.high is None else found.high),
    )
    return (math.nan if found.value is None else found.value), low, high


def above(bound: float) -> Rule:
    """Held where the interval lies above a bound, partly where its middle does."""

    def rule(found: Estimate) -> str:
        value, low, _ = ends(found)
        return HELD if low > bound else PARTLY if value > bound else FAILED

    return rule


def below(bound: float) -> Rule:
    """Held where the interval lies below a bound, partly where its middle does."""

    def rule(found: Estimate) -> str:
        value, _, high = ends(found)
        return HELD if high < bound else PARTLY if value < bound else FAILED

    return rule


def at_most(held: float, partly: float) -> Rule:
    """Held where the interval ends at or below one bound, partly where the middle lies at or below a weaker one."""

    def rule(found: Estimate) -> str:
        value, _, high = ends(found)
        return HELD if high <= held else PARTLY if value <= partly else FAILED

    return rule


def within(low_bound: float, high_bound: float) -> Rule:
    """Held where the interval lies within bounds, partly where its middle does."""

    def rule(found: Estimate) -> str:
        value, low, high = ends(found)
        if low_bound <= low and high <= high_bound:
            return HELD
        return PARTLY if low_bound <= value <= high_bound else FAILED

    return rule


def lead(place: Callable[[Row], int]) -> Number:
    """How much more alike the twins are than samples and their own training pictures, at some checkpoint."""
    return lambda group: twins(group[0])[place(group[0])] - own(group[0])[place(group[0])]


def last(row: Row) -> int:
    """The last checkpoint."""
    return len(row["result"]["steps"]) - 1


def fall(group: Group) -> float:
    """The change of the twins' similarity from the least test loss to the end."""
    curve = twins(group[0])
    return curve[-1] - curve[best(group[0])]


def similarity_at_best(group: Group) -> float:
    """The twins' similarity at the least test loss."""
    return twins(group[0])[best(group[0])]


def nearly_identical(name: str) -> Judged:
    """Judge the twins' similarity at the least test loss: against `NEARLY`, or else against the nearness of fresh."""
    over_fresh = judged_by(
        lambda rows: main(rows, name),
        lambda group: similarity_at_best(group) - level_of_fresh(group[0]),
        plain,
        above(0.0),
    )

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        found, verdict = judged_by(lambda these: main(these, name), similarity_at_best, plain, above(NEARLY))(
            rows
        )
        if verdict == HELD:
            return found, HELD
        return found, PARTLY if over_fresh(rows)[1] == HELD else FAILED

    return judged


def trace(group: Group) -> float:
    """How much nearer samples are to the half that was learned than to the other one, at the least test loss."""
    row = group[0]
    return own(row)[best(row)] - both(row, "other")[best(row)]


def crossing_over(onset: Callable[[Row, str], Onset]) -> Number:
    """The step at which the curves cross over the onset of the runs."""

    def number(group: Group) -> float | None:
        cross, other = crossing(group[0]).value, typical(group[0], onset)
        return None if cross is None or other is None else cross / other

    return number


def parted_over_zone(group: Group) -> float | None:
    """The level at which the twins part first over the one at which weight and coverage cross."""
    level, where = first_parted(group[0]), group[0]["result"].get("zone")
    return level / where if level is not None and finite(where) and where > 0 else None


def copying_level(row: Row) -> float | None:
    """Where single steps of the last networks copy: the mean of log level over all copies of both, or None without."""
    levels, table = row["result"]["levels"], row["result"].get("ending") or []
    if not table or any(len(line) != len(levels) or not all(map(finite, line)) for line in table):
        raise Missing("single steps are not known at every level")
    copies = [sum(column) for column in zip(*table, strict=True)]
    if not sum(copies) > 0:
        return None
    return math.exp(sum(c * math.log(s) for c, s in zip(copies, levels, strict=True)) / sum(copies))


def parted_over_copying(group: Group) -> float | None:
    """The level at which the twins part first over the one at which single steps copy in the end."""
    level, where = first_parted(group[0]), copying_level(group[0])
    return None if level is None or where is None else level / where


def apart_at_high(group: Group) -> float:
    """The largest relative difference at high noise, over all checkpoints."""
    row = group[0]
    high = [max(c) for s, c in zip(row["result"]["levels"], differences(row), strict=True) if s >= HIGH]
    if not high:
        raise Missing("no level is high")
    return max(high)


def from_best(row: Row, pair: str, other: str) -> float:
    """How much more alike one pair of networks is than another, mean over the least test loss and what follows."""
    a, b = (column(row, "pairs", name, "similarity")[best(row) :] for name in (pair, other))
    return sum(x - y for x, y in zip(a, b, strict=True)) / len(a)


def of_start(group: Group) -> float:
    """What start weights and training noise in common add to the similarity of networks of different halves."""
    return from_best(group[0], SAME_START, TWINS)


def of_data(group: Group) -> float:
    """What a half in common adds to the similarity of networks of different start weights."""
    return from_best(group[0], SAME_DATA, TWINS)


def two_sizes(group: Group) -> tuple[Row, Row]:
    """The run on fewest and the run on most pictures.

    Raises:
        Missing: if there is one size alone.
    """
    if half(group[0]) == half(group[-1]):
        raise Missing("there is one number of pictures only")
    return group[0], group[-1]


def of_size_at_step(group: Group) -> float:
    """The twins' similarity with more pictures less that with fewer, at the last step that both reached."""
    few, many = two_sizes(group)
    steps = few["result"]["steps"]
    common = [step for step in many["result"]["steps"] if step in steps]
    if not common:
        raise Missing("the runs have no checkpoint in common")
    at = common[-1]
    return twins(many)[many["result"]["steps"].index(at)] - twins(few)[steps.index(at)]


def of_size_at_best(group: Group) -> float:
    """The same, each at its own least test loss."""
    few, many = two_sizes(group)
    return twins(many)[best(many)] - twins(few)[best(few)]
