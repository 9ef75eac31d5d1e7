"""When rules are learned and when strings are copied: crossings of the runs, their order, the law, what is left."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch

from unrote.contracts import Estimate, InputError
from unrote.lab.claims import FAILED, HELD, PARTLY, Row, at_most, ends
from unrote.lab.early_stopping.law_rules import judged_law
from unrote.lab.ratios import geometric
from unrote.lab.wild_middle.gap_rules import Judged
from unrote.measure.estimate import estimate
from unrote.measure.onset import Onset, copy_onset, gap_onset
from unrote.measure.power_law import PowerLaw, fit_power_law

COPIED = 0.1
"""The share of samples at which copies have come."""
LEFT = 0.2
"""The share of samples with errors at which a layer is learned."""
FEW = 0.15
"""Errors of a model that generalizes, as the paper has it."""
NONE = 0.01
"""More copies than this are some."""
GAP = 1.0
"""How much farther held-out strings are from their exact loss than training strings, in nats per token."""

Time = Callable[[Row], Onset]
"""One run -> when something happens."""


def of(rows: Sequence[Row], way: str, trained: int | None = None) -> list[Row]:
    """The runs of one process, and of one P where it is given."""
    mine = [row for row in rows if row["configuration"]["way"] == way]
    return [row for row in mine if trained in (None, row["configuration"]["trained"])]


def sizes(rows: Sequence[Row]) -> list[int]:
    """P of every run."""
    return [row["configuration"]["trained"] for row in rows]


def share(row: Row, key: str) -> list[float]:
    """Counts among the samples of the averaged weights as shares, at every checkpoint."""
    samples = row["configuration"]["samples"]
    return [count / samples for count in row["result"]["averaged"][key]]


def copied(row: Row) -> Onset:
    """A tenth of the samples are training strings."""
    return copy_onset(row["result"]["steps"], share(row, "copies"), COPIED)


def parted(row: Row) -> Onset:
    """Losses are a nat apart, each less what the exact denoiser has on the same strings under the same noise."""
    seen, exact = row["result"]["averaged"], row["result"]["exact"]
    train = [loss - exact["train"] for loss in seen["train"]]
    held = [loss - exact["validation"] for loss in seen["validation"]]
    return gap_onset(row["result"]["steps"], train, held, GAP)


def learned(layer: int, left: float = LEFT) -> Time:
    """At most such a share of the samples, a fifth, breaks rules up to a layer."""

    def when(row: Row) -> Onset:
        kept = [1 - errors for errors in share(row, f"errors_{layer}")]
        return copy_onset(row["result"]["steps"], kept, 1 - left)

    return when


def deepest(row: Row) -> int:
    """The number of layers."""
    return int(row["configuration"]["shape"]["layers"])


def step_of(time: Time, row: Row) -> float:
    """When something happens; before the first checkpoint it counts as there, after the last one as there."""
    onset = time(row)
    return onset.value or (onset.high if onset.high < math.inf else onset.low)


def order(rows: Sequence[Row], left: float = LEFT) -> Estimate:
    """Step at which errors have fallen over that at which copies have come; an onset that never came is the last step.

    So the ratio is at least as large as said where errors never fell, at most where copies never came.
    """
    logs = []
    for row in rows:
        fall, copies = (step_of(time, row) for time in (learned(deepest(row), left), copied))
        logs.append(math.log(fall / copies))
    return geometric(logs) if logs else Estimate(None, None, None, 0)


def before(way: str, trained: int) -> Judged:
    """Judge whether errors fall before copies come: all runs reach few errors, and none of them copies until then."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        mine = of(rows, way, trained)
        found = order(mine)
        reached = [learned(deepest(row))(row).value is not None for row in mine]
        sure = found.high is not None and found.high < 1
        value = found.value is not None and found.value < 1
        return found, HELD if sure and all(reached) and mine else PARTLY if value and any(reached) else FAILED

    return judged


def with_copies(way: str, trained: int, left: float = LEFT) -> Judged:
    """Judge whether errors fall only with copying: not before copies come, which they do in all runs."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        mine = of(rows, way, trained)
        found = order(mine, left)
        if not mine or any(copied(row).value is None for row in mine):
            return found, FAILED
        low = -math.inf if found.low is None else ends(found)[0]
        return found, HELD if low >= 1 else PARTLY if (found.value or 0.0) >= 1 else FAILED

    return judged


def new_and_valid(row: Row) -> list[float]:
    """Share of samples that keep all rules and are no training string."""
    return [a - b for a, b in zip(share(row, "valid"), share(row, "copies"), strict=True)]


def generalizes(way: str, trained: int) -> Judged:
    """Judge the errors at the end of a run that has not begun to copy."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        mine = of(rows, way, trained)
        if not mine:
            return Estimate(None, None, None, 0), FAILED
        left = estimate(
            torch.tensor([share(r, f"errors_{deepest(r)}")[-1] for r in mine], dtype=torch.float64)
        )
        copies = max(share(row, "copies")[-1] for row in mine)
        if left.low is None:
            return left, FAILED
        return left, at_most(left, FEW, 2 * FEW) if copies <= NONE else FAILED

    return judged


def best_before_copies(way: str, trained: int) -> Judged:
    """Judge whether the model is nearest to the exact denoiser before a tenth of its strings are copies."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        logs = []
        for row in of(rows, way, trained):
            steps, excess = row["result"]["steps"], row["result"]["averaged"]["excess"]
            least = steps[excess.index(min(excess))]
            logs.append(math.log(least / step_of(copied, row)))
        found = geometric(logs) if logs else Estimate(None, None, None, 0)
        high = math.inf if found.high is None else ends(found)[1]
        return found, HELD if high < 1 else PARTLY if (found.value or math.inf) < 1 else FAILED

    return judged


def law_of(rows: Sequence[Row], time: Time) -> PowerLaw | None:
    """The law of one time over P, or None where too few runs have it."""
    try:
        return fit_power_law(sizes(rows), [time(row) for row in rows])
    except InputError:
        return None


def is_linear(way: str, time: Time, most: int) -> Judged:
    """Judge the exponent of a time over the sizes up to some P."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        mine = [row for row in of(rows, way) if row["configuration"]["trained"] <= most]
        return judged_law(law_of(mine, time))

    return judged


def deeper_later(way: str, trained: int) -> Judged:
    """Judge whether each layer is learned later than the one before: the smallest ratio of neighbours, over seeds."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        logs = []
        for row in of(rows, way, trained):
            times = [step_of(learned(layer), row) for layer in range(1, deepest(row) + 1)]
            logs.append(min(math.log(b / a) for a, b in itertools.pairwise(times)))
        found = geometric(logs) if logs else Estimate(None, None, None, 0)
        if found.low is None:
            return found, FAILED
        low = ends(found)[0]
        return found, HELD if low > 1 else PARTLY if (found.value or 0) > 1 else FAILED

    return judged


def complexity(row: Row, layer: int) -> int:
    """P*_l = v m^(l + 1), from which on the rules up to a layer can be learned."""
    shape = row["configuration"]["shape"]
    return int(shape["vocabulary"] * shape["rules"] ** (layer + 1))


def layer_law(rows: Sequence[Row], time: Callable[[int], Time] = learned) -> Estimate:
    """The exponent c of tau_l ~ (P*_l)^c over the layers that are learned, one line for each run, mean over seeds."""
    slopes = []
    for row in rows:
        layers = range(1, deepest(row) + 1)
        known = [(math.log(complexity(row, layer)), time(layer)(row).value) for layer in layers]
        points = [(x, math.log(tau)) for x, tau in known if tau is not None]
        if len(points) >= 2:
            x, y = (torch.tensor(part, dtype=torch.float64) for part in zip(*points, strict=True))
            slopes.append(float(((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()))
    return estimate(torch.tensor(slopes, dtype=torch.float64)) if slopes else Estimate(None, None, None, 0)


def layers_linear(way: str, trained: int, near: float) -> Judged:
    """Judge the exponent of the layers' times over their sample complexities."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        return near_one(layer_law(of(rows, way, trained)), near)

    return judged


def near_one(found: Estimate, near: float) -> tuple[Estimate, str]:
    """Held where the interval of an exponent contains 1 and is known within `near`, partly where half of that is so."""
    if found.low is None or found.value is None:
        return found, FAILED
    low, high = ends(found)
    if low <= 1 <= high and high - low < 2 * near:
        return found, HELD
    return found, PARTLY if low <= 1 <= high or abs(found.value - 1) <= near else FAILED
