"""What the runs of one data set measure and foretell, and the predictors that are compared: geometry and baselines."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unrote.contracts import Estimate
from unrote.lab.claims import FAILED, HELD, PARTLY, Row
from unrote.lab.study import key
from unrote.measure.estimate import estimate
from unrote.noise.levels import log_levels

LEVELS = (0.05, 8.0, 26)
"""Lowest and highest level at which copies are counted, and how many, equally spaced in log sigma."""
THRESHOLDS = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95)
"""Levels of the curves at which a zone may end."""
SEEN = 0.005
"""Share of copies that the highest level must reach for a data set to have a peak."""
FACTOR = 1.5
"""How far a prediction of the peak may be off."""
HELD_OUT = 0.5
"""Jaccard index from which a zone counts as right: twice as much in common as either has alone, for equal zones."""

Interval = tuple[float, float]
"""Two levels, low and high."""


@dataclass(frozen=True, eq=False)
class Setting:
    """One data set over its seeds.

    Args:
        name: of set, class, side and size.
        level: sigma (T,).
        copies: share of copies at each level, pooled over seeds and smoothed (T,).
        crossing, nearest: geometric means over seeds of what was known before training.
        covered_at, weight_at: geometric means of the levels at which the curves pass `THRESHOLDS`, NaN where one
            does not.
        samples: share of copies among samples.
    """

    name: str
    level: Float[Tensor, " T"]
    copies: Float[Tensor, " T"]
    crossing: float
    nearest: float
    covered_at: tuple[float, ...]
    weight_at: tuple[float, ...]
    samples: float

    @property
    def peak(self) -> float:
        """The level of most copies: the top of the parabola through the highest place and its neighbours."""
        at = int(self.copies.argmax())
        x = self.level.log()
        if at in (0, len(x) - 1):
            return float(self.level[at])
        before, top, after = self.copies[at - 1 : at + 2].tolist()
        bend = before - 2 * top + after
        shift = 0.0 if bend == 0 else (before - after) / (2 * bend)
        return math.exp(float(x[at]) + shift * float(x[1] - x[0]))

    @property
    def measured(self) -> Interval:
        """The levels around the highest place at which copies are at least half as many, linear in log sigma."""
        half, at, x = float(self.copies.max()) / 2, int(self.copies.argmax()), self.level.log().tolist()
        y = self.copies.tolist()

        def end(step: int) -> float:
            i = at
            while 0 <= i + step < len(y) and y[i + step] >= half:
                i += step
            if not 0 <= i + step < len(y):
                return math.exp(x[i])
            part = (y[i] - half) / (y[i] - y[i + step])
            return math.exp(x[i] + part * (x[i + step] - x[i]))

        return end(-1), end(1)

    def zone(self, covered: float, weight: float) -> Interval:
        """The geometry's zone: from where coverage passes one threshold to where the weight passes another."""
        low = self.covered_at[THRESHOLDS.index(covered)]
        return low, self.weight_at[THRESHOLDS.index(weight)]

    def jaccard(self, zone: Interval) -> float:
        """Length of what a zone has in common with the measured one over the length of both, in log sigma."""
        (a, b), (c, d) = self.measured, zone
        if not (math.isfinite(c) and math.isfinite(d)) or c >= d:
            return 0.0
        common = math.log(min(b, d)) - math.log(max(a, c))
        whole = math.log(max(b, d)) - math.log(min(a, c))
        return max(0.0, common / whole) if common > 0 else 0.0


def smoothed(x: Float[Tensor, " T"]) -> Float[Tensor, " T"]:
    """Each value with half of the weight, its neighbours with a quarter each."""
    wide = torch.cat([x[:1], x, x[-1:]])
    return (wide[:-2] + 2 * wide[1:-1] + wide[2:]) / 4


def settings_of(rows: Sequence[Row]) -> list[Setting]:
    """The data sets in the order of their first runs, without those whose network copies next to nothing."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row["configuration"]), []).append(row)
    found = [setting_of(group) for group in groups.values()]
    return [one for one in found if float(one.copies.max()) >= SEEN]


def setting_of(rows: Sequence[Row]) -> Setting:
    """One data set from the runs of its seeds."""
    asked, results = rows[0]["configuration"], [row["result"] for row in rows]
    counts = torch.tensor([r["copies"] for r in results], dtype=torch.float64).sum(0)

    def mean(values: Sequence[float | None]) -> float:
        logs = [math.log(v) if v else math.nan for v in values]
        return math.exp(sum(logs) / len(logs))

    return Setting(
        name_of(asked),
        log_levels(*LEVELS),
        smoothed(counts / (asked["noised"] * len(rows))),
        mean([r["crossing"] for r in results]),
        mean([r["nearest"] for r in results]),
        tuple(mean(column) for column in zip(*(r["covered_at"] for r in results), strict=True)),
        tuple(mean(column) for column in zip(*(r["weight_at"] for r in results), strict=True)),
        sum(r["sample_copies"] for r in results) / (asked["samples"] * len(rows)),
    )


def name_of(asked: Any) -> str:
    """A data set in a few words."""
    p = asked["pictures"]
    which = "" if p["class"] is None else f" class {p['class']}"
    return f"{p['set']}{which}, {p['side']}x{p['side']}, {p['images']}"


SCALES: dict[str, Callable[[Setting], float]] = {
    "crossing": lambda one: one.crossing,
    "level": lambda one: 1.0,
    "nearest": lambda one: one.nearest,
}
"""What a prediction is a constant times of."""


def errors(found: Sequence[Setting], of: str, fitted: bool = True) -> Float[Tensor, " n"]:
    """|log(prediction / measured peak)| of every data set; the constant is the median of the other sets' ratios."""
    ratios = torch.tensor([math.log(one.peak / SCALES[of](one)) for one in found], dtype=torch.float64)
    if not fitted:
        return ratios.abs()
    return torch.stack([(ratios[i] - without(ratios, i).median()).abs() for i in range(len(ratios))])


def without(x: Tensor, i: int) -> Tensor:
    """All entries but one."""
    return torch.cat([x[:i], x[i + 1 :]])


def jaccards(found: Sequence[Setting], of: str) -> Float[Tensor, " n"]:
    """Jaccard index of every data set with a zone fitted on all others, by a rule of `ZONES`."""
    values = [one.jaccard(ZONES[of](one, [*found[:i], *found[i + 1 :]])) for i, one in enumerate(found)]
    return torch.tensor(values, dtype=torch.float64)


def calibrated(found: Sequence[Setting]) -> tuple[float, float]:
    """The thresholds of coverage and weight whose zones have the highest mean Jaccard index."""
    return max(
        product(THRESHOLDS, THRESHOLDS),
        key=lambda rule: sum(one.jaccard(one.zone(*rule)) for one in found),
    )


def scaled(one: Setting, others: Sequence[Setting], scale: Callable[[Setting], float]) -> Interval:
    """A zone whose ends are constants times a scale: the geometric means of the other sets' ends."""
    low, high = (
        math.exp(sum(math.log(other.measured[end] / scale(other)) for other in others) / len(others))
        for end in (0, 1)
    )
    return low * scale(one), high * scale(one)


ZONES: dict[str, Callable[[Setting, Sequence[Setting]], Interval]] = {
    "zone": lambda one, others: one.zone(*calibrated(others)),
    "level": lambda one, others: scaled(one, others, SCALES["level"]),
    "nearest": lambda one, others: scaled(one, others, SCALES["nearest"]),
}
"""Zones of one data set by what other data sets taught: the geometry's and those of both baselines."""


def paired(better: Tensor, worse: Tensor) -> Estimate:
    """Mean difference of two values of the same data sets with its interval."""
    return estimate(better - worse)


def compared(ours: Tensor, others: Sequence[Tensor]) -> tuple[Estimate, str]:
    """The least gain of one way over others, and whether all gains are sure, or at least all medians are lower."""
    gains = [paired(base, ours) for base in others]
    least = min(gains, key=lambda gain: gain.value or 0.0)
    lower = [middle(ours) < middle(base) for base in others]
    sure = all((gain.low or 0.0) > 0 for gain in gains)
    return least, HELD if all(lower) and sure else PARTLY if all(lower) else FAILED


def middle(x: Tensor) -> float:
    """The median; of an even number the mean of the middle two."""
    return float(x.quantile(0.5))
