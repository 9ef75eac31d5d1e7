"""What the runs of one data set say about the best level of ambient training, and the predictors that are compared."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from unrote.lab.claims import Row
from unrote.lab.ratios import log_ratios
from unrote.lab.study import key
from unrote.lab.wild_middle.forecasts import name_of, without

LEVELS = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
"""sigma_n, EDM units; as VP sigma .10, .20, .37, .62, .85, .95."""
WORSE = 1.1
"""How large a Frechet distance may be over the baseline's to count as equal quality."""
SEEN = 0.05
"""Copy ratio that a baseline must reach for its data set to be judged."""


@dataclass(frozen=True)
class Measured:
    """One data set over its seeds.

    Args:
        name: of set, class, side and size.
        logs: log of the copies left of the baseline's at each of `LEVELS`, mean over seeds.
        frechet: Frechet distance over the baseline's at each of `LEVELS`, geometric mean over seeds.
        baseline: copy ratio of the baseline, mean over seeds.
        crossing, nearest: geometric means over seeds of what was known before training.
        covered: the level at which coverage passes one half, likewise.
    """

    name: str
    logs: tuple[float, ...]
    frechet: tuple[float, ...]
    baseline: float
    crossing: float
    nearest: float
    covered: float

    @property
    def fewest(self) -> float:
        """The level of fewest copies: the bottom of the parabola through the lowest place and its neighbours."""
        at = min(range(len(self.logs)), key=lambda i: self.logs[i])
        if at in (0, len(LEVELS) - 1):
            return LEVELS[at]
        before, low, after = self.logs[at - 1 : at + 2]
        bend = before - 2 * low + after
        shift = 0.0 if bend == 0 else (before - after) / (2 * bend)
        return LEVELS[at] * (LEVELS[1] / LEVELS[0]) ** shift

    @property
    def best(self) -> float:
        """The level of fewest copies among those of equal quality; the lowest level where none is."""
        equal = [i for i, ratio in enumerate(self.frechet) if ratio <= WORSE]
        return LEVELS[min(equal, key=lambda i: self.logs[i])] if equal else LEVELS[0]

    def left(self, level: float) -> float:
        """log of the copies left at a level, linear in its logarithm between the levels that were run."""
        x = [math.log(one) for one in LEVELS]
        place = min(max(math.log(level), x[0]), x[-1])
        i = max(k for k in range(len(x) - 1) if k == 0 or x[k] <= place)
        part = (place - x[i]) / (x[i + 1] - x[i])
        return (1 - part) * self.logs[i] + part * self.logs[i + 1]


def measured(rows: Sequence[Row]) -> list[Measured]:
    """The data sets in the order of their first runs, without those whose baseline copies next to nothing."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(key({**row["configuration"], "level": None}), []).append(row)
    found = [one_set(group) for group in groups.values()]
    return [one for one in found if one.baseline >= SEEN]


def one_set(rows: Sequence[Row]) -> Measured:
    """One data set from all of its runs."""
    asked = rows[0]["configuration"]
    plain = at_level(rows, None)
    copies = [row["result"]["copies"] for row in plain]
    runs = [at_level(rows, level) for level in LEVELS]
    logs = [
        mean(log_ratios([row["result"]["copies"] for row in some], copies, asked["samples"])) for some in runs
    ]
    frechet = [
        math.exp(
            mean(
                [
                    math.log(a["result"]["frechet"] / b["result"]["frechet"])
                    for a, b in zip(some, plain, strict=True)
                ]
            )
        )
        for some in runs
    ]
    told = [row["result"]["foretold"] for row in plain]
    scales = [
        math.exp(mean([math.log(one[name]) for one in told])) for name in ("crossing", "nearest", "covered")
    ]
    return Measured(name_of(asked), tuple(logs), tuple(frechet), mean(copies), *scales)


def at_level(rows: Sequence[Row], level: float | None) -> list[Row]:
    """The runs at one level in the order of their seeds."""
    mine = [row for row in rows if row["configuration"]["level"] == level]
    return sorted(mine, key=lambda row: row["configuration"]["seed"])


def mean(values: Sequence[float]) -> float:
    """The mean of some numbers."""
    return sum(values) / len(values)


Target = Callable[[Measured], float]
"""One data set -> the level that is to be predicted."""
SCALES: dict[str, Callable[[Measured], float]] = {
    "crossing": lambda one: one.crossing,
    "covered": lambda one: one.covered,
    "level": lambda one: 1.0,
    "nearest": lambda one: one.nearest,
}
"""What a prediction is a constant times of."""


def predictions(found: Sequence[Measured], target: Target, of: str) -> Float[Tensor, " n"]:
    """log of the predicted level of every data set; the constant is the median of the other sets' ratios."""
    scale = torch.tensor([math.log(SCALES[of](one)) for one in found], dtype=torch.float64)
    ratios = torch.tensor([math.log(target(one)) for one in found], dtype=torch.float64) - scale
    return torch.stack([scale[i] + without(ratios, i).median() for i in range(len(ratios))])


def errors(found: Sequence[Measured], target: Target, of: str) -> Float[Tensor, " n"]:
    """|log(predicted / measured level)| of every data set, by what the others taught."""
    actual = torch.tensor([math.log(target(one)) for one in found], dtype=torch.float64)
    return (predictions(found, target, of) - actual).abs()


def regrets(found: Sequence[Measured], of: str) -> Float[Tensor, " n"]:
    """log(copies at the predicted level / at the best of the grid) of every data set."""
    told = predictions(found, lambda one: one.fewest, of).exp().tolist()
    return torch.tensor(
        [one.left(level) - min(one.logs) for one, level in zip(found, told, strict=True)], dtype=torch.float64
    )
