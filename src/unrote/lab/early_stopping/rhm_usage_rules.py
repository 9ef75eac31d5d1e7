"""Whether rules are used as the language uses them: deviations beyond the noise of sampling, over seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from unrote.contracts import Estimate
from unrote.data.grammar import Shape
from unrote.lab.claims import FAILED, HELD, PARTLY, Row, at_least, at_most
from unrote.lab.ratios import geometric
from unrote.lab.wild_middle.gap_rules import Judged
from unrote.measure.estimate import estimate

NOTHING = Estimate(None, None, None, 0)

Amount = Callable[[Row], float | None]
"""One run -> how far it is off, None where it has no valid sample."""


def above(row: Row) -> bool:
    """Whether a run has strings enough for all rules, P at or above P*; it is ended before they are copied."""
    return bool(row["configuration"]["trained"] >= Shape(**row["configuration"]["shape"]).thresholds[-1])


def of(rows: Sequence[Row], way: str, early: bool) -> list[Row]:
    """The runs of one process that were stopped early, with strings enough, or those that learn by rote, by seed."""
    mine = [row for row in rows if row["configuration"]["way"] == way and above(row) == early]
    return sorted(mine, key=lambda row: row["configuration"]["seed"])


def beyond(name: str) -> Amount:
    """What valid samples are off, "occurrence" or "covariance", less the noise of sampling; not below 0.

    sqrt(mean square deviation - that of as many samples of the exact denoiser): relative to how often a rule is
    expected, or as a correlation.
    """

    def amount(row: Row) -> float | None:
        seen = row["result"][name]
        return None if seen["value"] is None else math.sqrt(max(0.0, seen["value"] - seen["noise"]))

    return amount


def everywhere(row: Row) -> float | None:
    """`beyond` for the occurrence among all samples: the rules whose strings are there, in shares of their layer."""
    seen = row["result"]["all"]
    return math.sqrt(max(0.0, seen["occurrence"] - seen["noise"]))


def wrong_structure(row: Row) -> float | None:
    """What correlations are off, over those that the language has, root mean squares over pairs of rules."""
    found = beyond("covariance")(row)
    return None if found is None else found / math.sqrt(row["result"]["structure"])


def told_from(name: str) -> Amount:
    """The least amount that is told from none: that of the limit below which 95 % of the exact sets are."""

    def amount(row: Row) -> float | None:
        seen = row["result"][name]
        return None if seen["value"] is None else math.sqrt(max(0.0, seen["limit"] - seen["noise"]))

    return amount


def of_strings(row: Row) -> float | None:
    """How far the training strings are off in their occurrence, their own chance included."""
    return math.sqrt(row["result"]["strings"]["occurrence"])


def over_noise(name: str) -> Amount:
    """What valid samples are off over what as many exact strings are, mean squares: about 1 of exact strings."""

    def amount(row: Row) -> float | None:
        seen = row["result"][name]
        return None if seen["value"] is None else seen["value"] / seen["noise"]

    return amount


def amounts(rows: Sequence[Row], amount: Amount) -> list[float] | None:
    """An amount of each run, or None if a run has none or there is no run."""
    found = [one for row in rows if (one := amount(row)) is not None]
    return found if found and len(found) == len(rows) else None


def mean(rows: Sequence[Row], amount: Amount) -> Estimate:
    """The mean over seeds."""
    found = amounts(rows, amount)
    return NOTHING if found is None else estimate(torch.tensor(found, dtype=torch.float64))


def is_small(way: str, amount: Amount, held: float, partly: float) -> Judged:
    """Judge whether an amount of the runs that were stopped early is at most so much."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        found = mean(of(rows, way, True), amount)
        return found, FAILED if found.high is None else at_most(found, held, partly)

    return judged


def larger_by_rote(way: str, name: str, held: float) -> Judged:
    """Judge the amount of memorizing runs over that of runs that were stopped early, paired by seed.

    Of the latter at least what is told from none.
    """

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        rote, early = of(rows, way, False), of(rows, way, True)
        upper = amounts(rote, beyond(name))
        lower = amounts(early, beyond(name))
        least = amounts(early, told_from(name))
        if upper is None or lower is None or least is None or len(upper) != len(lower) or not all(upper):
            return NOTHING, FAILED
        logs = [math.log(a / max(b, c)) for a, b, c in zip(upper, lower, least, strict=True)]
        found = geometric(logs)
        return found, FAILED if found.low is None else at_least(found, held, 1.0)

    return judged


def followed(way: str, held: float) -> Judged:
    """Judge the slope of what samples are off on what the training strings are off."""

    def amount(row: Row) -> float | None:
        slope: float | None = row["result"]["strings"]["followed"]
        return slope

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        found = mean(of(rows, way, True), amount)
        return found, FAILED if found.low is None else at_least(found, held, 0.0)

    return judged


def not_told(way: str, name: str) -> Judged:
    """Judge whether so many samples cannot be told from exact ones: how often in chance's terms, and at which seeds."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        mine = of(rows, way, True)
        ratios = amounts(mine, over_noise(name))
        if ratios is None:
            return NOTHING, FAILED
        found = geometric([math.log(one) for one in ratios])
        below = [row["result"][name]["value"] <= row["result"][name]["limit"] for row in mine]
        return found, HELD if all(below) else PARTLY if 2 * sum(below) > len(below) else FAILED

    return judged
