"""Verdict rules of the kernel experiment: exponents of power laws, with intervals over all runs of a claim."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from unrote.contracts import Estimate, InputError
from unrote.lab.claims import FAILED, HELD, PARTLY, Row, ends, inside
from unrote.lab.ratios import geometric
from unrote.measure.onset import Onset, at_step, not_reached
from unrote.measure.power_law import fit_power_law

Judged = Callable[[Sequence[Row]], tuple[Estimate, str]]
Measured = Callable[[Row], Onset]

WIDEST = 0.4
"""An exponent is measured if its interval is narrower than this."""
NEAR = 0.3
"""An exponent is partly what was said if its interval lies within this of it."""


def of(rows: Sequence[Row], **wanted: Any) -> list[Row]:
    """The runs whose configuration has these values, in the order of the seeds."""
    mine = [
        row for row in rows if all(row["configuration"].get(key) == value for key, value in wanted.items())
    ]
    return sorted(mine, key=lambda row: row["configuration"]["seed"])


def parted(gap: str) -> Measured:
    """The step at which test and training loss have parted by a gap; not reached where it was not."""
    return lambda row: _onset(row, row["result"]["parted"][gap])


def learned(share: str) -> Measured:
    """The step at which a share of the training loss is gone."""
    return lambda row: _onset(row, row["result"]["learned"][share])


def rayleigh(row: Row) -> Onset:
    """1 / lambda by the Rayleigh quotient of the kernel itself."""
    return at_step(1 / row["result"]["rayleigh"])


def exponent(over: str, wanted: Mapping[str, Any], measured: Measured) -> Callable[[Sequence[Row]], Estimate]:
    """The exponent b of tau = a x^b over all runs that were asked for, with its interval; x is a part of the settings.

    Runs that never reached the threshold count as later than their last step.
    """

    def found(rows: Sequence[Row]) -> Estimate:
        mine = of(rows, **wanted)
        try:
            return fit_power_law(
                [row["configuration"][over] for row in mine], [measured(row) for row in mine]
            ).exponent
        except InputError:  # reached at less than two sizes
            return Estimate(None, None, None, 0)

    return found


def is_exponent(said: float | int, over: str, wanted: Mapping[str, Any], measured: Measured) -> Judged:
    """Judge an exponent against what a paper says."""
    fit = exponent(over, wanted, measured)

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        found = fit(rows)
        if found.low is None or found.high is None:
            return found, FAILED
        low, high = ends(found)
        if low <= said <= high and high - low < WIDEST:
            return found, HELD
        return found, PARTLY if low >= said - NEAR and high <= said + NEAR else FAILED

    return judged


def within(bound: float, over: str, wanted: Mapping[str, Any], measured: Measured) -> Judged:
    """Judge whether an exponent is 0, up to a bound."""
    fit = exponent(over, wanted, measured)

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        found = fit(rows)
        return found, FAILED if found.low is None else inside(found, -bound, bound)

    return judged


def factor(
    value: Callable[[Row], float | None], wanted: Mapping[str, Any], least: float, most: float
) -> Judged:
    """Judge a factor, geometric mean over seeds, against bounds."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        values = [value(row) for row in of(rows, **wanted)]
        known = [math.log(v) for v in values if v is not None]
        if len(known) < len(values):
            return Estimate(None, None, None, len(known)), FAILED
        found = geometric(known)
        return found, inside(found, least, most)

    return judged


def rate_over_prediction(row: Row) -> float:
    """Rayleigh quotient over equation (22)."""
    return float(row["result"]["rayleigh"] / row["result"]["predicted"])


def halving_over_rayleigh(row: Row) -> float | None:
    """When half of the training loss is gone, over when a mode of the Rayleigh quotient's rate has lost half."""
    time = row["result"]["learned"]["0.5"]
    return None if time is None else float(time * 2 * row["result"]["rayleigh"] / math.log(2))


def trained_over_told(gap: str, sigma: float, count: int, dimension: int) -> Judged:
    """Judge the time of trained networks over that of the closed form on the same points."""
    alike = {"d": dimension, "points": count, "sigma": sigma}

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        told = of(rows, part="flow", kernel="ntk", **alike)
        trained = of(rows, part="network", regime="lazy", optimizer="descent", batch=count, **alike)
        logs: list[float] = []
        for a, b in zip(trained, told, strict=True):
            steps, time = a["result"]["parted"][gap], b["result"]["parted"][gap]
            if steps is None or time is None:
                return Estimate(None, None, None, len(logs)), FAILED
            logs.append(math.log(steps * a["configuration"]["rate"] / time))
        found = geometric(logs)
        return found, inside(found, 0.9, 1.1)

    return judged


def typical(rows: Sequence[Row], measured: Measured) -> tuple[float | None, float | None, float | None]:
    """Geometric mean over runs and its range; None where a run never got there."""
    values = [measured(row).value for row in rows]
    known = [v for v in values if v is not None]
    if not known or len(known) < len(values):
        return None, None, None
    logs = torch.tensor(known, dtype=torch.float64).log()
    return float(logs.mean().exp()), min(known), max(known)


def _onset(row: Row, value: float | None) -> Onset:
    if value is not None:
        return at_step(value)
    result = row["result"]
    return not_reached(result["last_step"] if "last_step" in result else result["times"][-1])
