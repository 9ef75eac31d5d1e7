"""Verdict rules of the gap experiments: everything is paired by seed, intervals are over seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from unrote.contracts import Estimate
from unrote.lab import ratios
from unrote.lab.claims import FAILED, HELD, PARTLY, Row, ends
from unrote.lab.ratios import geometric, log_ratios
from unrote.lab.wild_middle.gap_cures import PLAIN
from unrote.measure.estimate import estimate

Judged = Callable[[Sequence[Row]], tuple[Estimate, str]]


def of(rows: Sequence[Row], cure: str) -> list[Row]:
    """The runs of one remedy in the order of their seeds."""
    mine = [row for row in rows if row["configuration"]["cure"] == cure]
    return sorted(mine, key=lambda row: row["configuration"]["seed"])


def last(rows: Sequence[Row], cure: str, key: str) -> list[float]:
    """The last measurement of every seed."""
    return [row["result"][key][-1] for row in of(rows, cure)]


def at_step(rows: Sequence[Row], cure: str, key: str, step: int) -> list[float]:
    """The measurement of every seed at one step."""
    return [row["result"][key][row["result"]["steps"].index(step)] for row in of(rows, cure)]


def ratio(rows: Sequence[Row], upper: Sequence[float], lower: Sequence[float]) -> Estimate:
    """Geometric mean over seeds of copies / copies; none at all counts as half a copy."""
    return geometric(log_ratios(upper, lower, rows[0]["configuration"]["samples"]))


def change(rows: Sequence[Row], cure: str, key: str, than: str = PLAIN) -> Estimate:
    """Mean over seeds of the difference to another remedy at the end."""
    pairs = zip(last(rows, cure, key), last(rows, than, key), strict=True)
    return estimate(torch.tensor([a - b for a, b in pairs], dtype=torch.float64))


def left(rows: Sequence[Row], cure: str, than: str = PLAIN) -> Estimate:
    """The share of another remedy's copies that is left at the end."""
    return ratio(rows, last(rows, cure, "copies"), last(rows, than, "copies"))


def several_fold(cure: str) -> Judged:
    """Held if the interval of what is left ends at or below a third, partly if it ends below 1."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        found = left(rows, cure)
        return found, ratios.several_fold(found)

    return judged


def fewer(cure: str, than: str) -> Judged:
    """Held if the interval of copies / copies of another remedy ends below 1, partly if the mean lies below."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        found = left(rows, cure, than)
        return found, signed(found, 1.0)

    return judged


def fewer_than_half_trained(cure: str) -> Judged:
    """The same against the baseline at half of its steps."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        half = max(of(rows, PLAIN)[0]["result"]["steps"]) // 2
        found = ratio(rows, last(rows, cure, "copies"), at_step(rows, PLAIN, "copies", half))
        return found, signed(found, 1.0)

    return judged


def lower(cure: str, key: str) -> Judged:
    """Held if the interval of the difference to the baseline ends below 0, partly if the mean lies below."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        found = change(rows, cure, key)
        return found, signed(found, 0.0)

    return judged


def signed(found: Estimate, bound: float) -> str:
    """Held where an interval lies below a bound, partly where only its middle does."""
    assert found.value is not None
    return HELD if ends(found)[1] < bound else PARTLY if found.value < bound else FAILED


def falling(cures: Sequence[str]) -> Judged:
    """Slope of log copies over the share removed, one for each seed; and whether every step lowers the mean."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        least = 0.5 / rows[0]["configuration"]["samples"]
        share = torch.tensor([[row["result"]["share"] for row in of(rows, cure)] for cure in cures]).double()
        copies = torch.tensor([last(rows, cure, "copies") for cure in cures]).double().clamp_min(least).log()
        x = share - share.mean(0)
        slope = (x * (copies - copies.mean(0))).sum(0) / x.square().sum(0)
        found = estimate(slope)
        steadily = bool((copies.mean(1).diff() < 0).all())
        sure = ends(found)[1] < 0
        return found, HELD if sure and steadily else PARTLY if sure else FAILED

    return judged


def stopped(row: Row, frechet: float) -> int:
    """The checkpoint of a run with the nearest Frechet distance that is not worse; its best one if all are."""
    seen = row["result"]["frechet"]
    good = [i for i, value in enumerate(seen) if value <= frechet]
    return max(good, key=lambda i: seen[i]) if good else min(range(len(seen)), key=lambda i: seen[i])


def beyond_stopping(cure: str) -> Judged:
    """Copies / copies of the baseline stopped at equal quality: held if the interval ends below 1."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        plain = of(rows, PLAIN)
        places = [stopped(row, f) for row, f in zip(plain, last(rows, cure, "frechet"), strict=True)]
        there = [row["result"]["copies"][i] for row, i in zip(plain, places, strict=True)]
        found = ratio(rows, last(rows, cure, "copies"), there)
        return found, signed(found, 1.0)

    return judged
