"""The best and the largest stable learning rate of every width, and how they go with the width."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import takewhile

import torch

from unrote.contracts import Estimate
from unrote.lab.claims import FAILED, HELD, PARTLY, Row, ends, inside
from unrote.lab.wild_middle.gap_rules import Judged
from unrote.measure.estimate import estimate

NONE = Estimate(None, None, None, 0)

RateOf = Callable[[Row], float | None]
"""One network -> one of its learning rates, or None where it has none."""


def in_mup(row: Row) -> bool:
    """Whether widths share the rates of one base width; the base width itself is in both parametrisations."""
    return row["configuration"]["base"] == row["configuration"]["common"]


def standard(row: Row) -> bool:
    """Whether all weights have one rate."""
    return row["configuration"]["base"] == row["configuration"]["width"]


def losses(row: Row, name: str = "train") -> list[float]:
    """The loss at every rate before the first at which nothing was learned."""
    seen, untrained = row["result"], row["result"]["untrained"]
    learned = takewhile(lambda loss: loss is not None and loss < untrained, seen["train"])
    return [loss for loss, _ in zip(seen[name], learned, strict=False)]


def stable(row: Row) -> float | None:
    """The largest rate before the first at which nothing is learned."""
    learned = len(losses(row))
    return row["configuration"]["rates"][learned - 1] if learned else None


def best(row: Row) -> float | None:
    """The rate of the least loss: of the parabola through the least one and its neighbours, in log rate."""
    seen, rates = losses(row), row["configuration"]["rates"]
    if not seen:
        return None
    k = seen.index(min(seen))
    if not 0 < k < len(seen) - 1:
        return float(rates[k])
    (x0, y0), (x1, y1), (x2, y2) = ((math.log(rates[i]), seen[i]) for i in (k - 1, k, k + 1))
    left, right = (y1 - y0) / (x1 - x0), (y2 - y1) / (x2 - x1)
    if right <= left:  # three equal losses
        return float(rates[k])
    bend = (right - left) / (x2 - x0)
    return math.exp((x0 + x1) / 2 - left / (2 * bend))


def slopes(rows: Sequence[Row], x: Callable[[Row], float], y: Callable[[Row], float | None]) -> Estimate:
    """The slope of a number over the widths, one line for each seed, mean over seeds."""
    found = []
    for seed in sorted({row["configuration"]["seed"] for row in rows}):
        mine = [row for row in rows if row["configuration"]["seed"] == seed]
        points = [(x(row), value) for row in mine if (value := y(row)) is not None]
        if len({place for place, _ in points}) >= 2:
            a, b = (torch.tensor(part, dtype=torch.float64) for part in zip(*points, strict=True))
            found.append(float(((a - a.mean()) * (b - b.mean())).sum() / (a - a.mean()).square().sum()))
    return estimate(torch.tensor(found, dtype=torch.float64)) if found else NONE


def exponent(rows: Sequence[Row], of: RateOf) -> Estimate:
    """c of rate ~ width^c."""

    def log_rate(row: Row) -> float | None:
        rate = of(row)
        return None if rate is None else math.log(rate)

    return slopes(rows, lambda row: math.log(row["configuration"]["width"]), log_rate)


def is_shared(of: RateOf, most: float) -> Judged:
    """Judge whether a rate is that of all widths in maximal-update parametrisation."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        found = exponent([row for row in rows if in_mup(row)], of)
        return found, FAILED if found.low is None else inside(found, -most, most)

    return judged


def falls(of: RateOf, least: float) -> Judged:
    """Judge whether a rate falls with the width in the standard parametrisation."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        found = exponent([row for row in rows if standard(row)], of)
        if found.low is None:
            return found, FAILED
        high = ends(found)[1]
        return found, HELD if high <= -least else PARTLY if high < 0 else FAILED

    return judged


def at(rate: float, name: str) -> Callable[[Row], float | None]:
    """The loss at one rate."""

    def loss(row: Row) -> float | None:
        rates, seen = row["configuration"]["rates"], losses(row, name)
        place = rates.index(rate) if rate in rates else len(seen)
        return seen[place] if place < len(seen) else None

    return loss


def wider_is_better(rate: float) -> Judged:
    """Judge the change of the held-out loss from one width to twice that, at one rate for all of them."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        mine = [row for row in rows if in_mup(row)]
        found = slopes(mine, lambda row: math.log2(row["configuration"]["width"]), at(rate, "validation"))
        if found.low is None or any(at(rate, "validation")(row) is None for row in mine):
            return found, FAILED
        return found, HELD if ends(found)[1] < 0 else PARTLY if (found.value or 0) < 0 else FAILED

    return judged
