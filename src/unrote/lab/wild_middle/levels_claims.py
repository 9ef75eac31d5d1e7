"""Verdicts about single denoising steps level by level; thresholds are fixed before the runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from unrote.contracts import Estimate
from unrote.lab.claims import FAILED, HELD, PARTLY, Claim, Row
from unrote.lab.wild_middle.pairs import DIGITS, FACES, KINDS, LEVELS, SEEDS, WORDS
from unrote.measure.estimate import estimate
from unrote.report.format import Value, percent, quantity

Judged = Callable[[Sequence[Row]], tuple[Estimate, str]]

SMALL = 0.05
"""Highest level that counts as small noise."""
LARGEST = 20.0
"""Highest level that counts: EDM's law puts one training level in 4,000 above it."""
HARDLY = 0.25
"""Copying at small noise is hardly any if it is at most this share of the peak."""
NEARLY_ALL = 0.95
NOWHERE = 0.02
"""More copies than among the test pictures themselves by at most this much, at every level."""
ALIKE = 0.1
"""Errors of three denoisers agree if they differ by at most this share of their mean."""
NEAR_ZERO, HALF, NO_GAP = 0.25, 0.5, 1.25
"""In the middle: the optimum's training over its test error, the network of many over the optimum on test pictures,
the test over the training error of the network of many."""


def of(rows: Sequence[Row], name: str) -> list[Row]:
    """The runs of one pair, in the order of their seeds."""
    mine = [row for row in rows if row["configuration"]["name"] == name]
    return sorted(mine, key=lambda row: row["configuration"]["seed"])


def mean(values: Sequence[float]) -> Estimate:
    """The mean over seeds with Student's interval."""
    return estimate(torch.tensor(list(values), dtype=torch.float64))


def at(row: Row, low: float, high: float, who: str, what: str) -> list[float]:
    """One curve of a run at the levels from low to high."""
    levels = row["result"]["levels"]
    return [y for sigma, y in zip(levels["sigma"], levels[who][what], strict=True) if low <= sigma <= high]


def peak(row: Row, who: str = "few") -> tuple[float, float]:
    """The level at which single steps copy most, and how much they copy there."""
    levels = row["result"]["levels"]
    copies = levels[who]["copies"]
    top = max(range(len(copies)), key=copies.__getitem__)
    return levels["sigma"][top], copies[top]


def in_medium(row: Row, sigma: float) -> bool:
    """Whether a level lies in the medium regime of the geometry of its run."""
    medium = row["result"]["geometry"]["medium"]
    return medium is not None and medium[0] <= sigma <= medium[1]


def average(values: Sequence[float]) -> float:
    """The plain mean of some numbers."""
    return sum(values) / len(values)


def below(found: Estimate, bound: float) -> bool:
    """Whether an interval ends at or below a bound."""
    assert found.high is not None
    return found.high <= bound


def above(found: Estimate, bound: float) -> bool:
    """Whether an interval begins at or above a bound."""
    assert found.low is not None
    return found.low >= bound


def middle(name: str) -> Judged:
    """Judge whether the network of few copies in the middle and hardly at small noise."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        mine = of(rows, name)
        tops = [peak(row) for row in mine]
        small = [average(at(row, 0.0, SMALL, "few", "copies")) for row in mine]
        found = mean([s / top if top else 1.0 for s, (_, top) in zip(small, tops, strict=True)])
        inside = [in_medium(row, sigma) for row, (sigma, _) in zip(mine, tops, strict=True)]
        assert found.value is not None
        if below(found, HARDLY) and all(inside):
            return found, HELD
        return found, PARTLY if found.value <= 2 * HARDLY and sum(inside) > len(inside) / 2 else FAILED

    return judged


def optimum_copies(name: str) -> Judged:
    """Judge whether the empirical optimum copies nearly always at small noise."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        found = mean([average(at(row, 0.0, SMALL, "optimum", "copies")) for row in of(rows, name)])
        assert found.value is not None
        return found, HELD if above(found, NEARLY_ALL) else PARTLY if found.value >= 0.5 else FAILED

    return judged


def excess(row: Row) -> float:
    """The most copies of single steps of the network of many beyond those among the test pictures themselves."""
    found, fresh = row["result"]["levels"], row["result"]["fresh"]
    of_few = max(found["many"]["copies"]) - fresh["few"]
    of_own = max(found["own"]["copies"]) - fresh["many"]
    return max(of_few, of_own)


def nowhere(name: str) -> Judged:
    """Judge whether the network of many copies at no level."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        found = mean([excess(row) for row in of(rows, name)])
        assert found.value is not None
        return found, HELD if below(found, NOWHERE) else PARTLY if found.value <= NOWHERE else FAILED

    return judged


def disagreement(row: Row) -> float:
    """How far three denoisers' errors lie apart at large noise, over their mean: the greater of both sets."""
    medium = row["result"]["geometry"]["medium"]
    low = 0.0 if medium is None else medium[1]
    told = []
    for what in ("train_error", "test_error"):
        values = [at(row, low, LARGEST, who, what) for who in ("few", "many", "optimum")]
        told.append(average([(max(v) - min(v)) / average(v) for v in zip(*values, strict=True)]))
    return max(told)


def agree(name: str) -> Judged:
    """Judge whether all three denoisers have one error at large noise."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        found = mean([disagreement(row) for row in of(rows, name)])
        assert found.value is not None
        return found, HELD if below(found, ALIKE) else PARTLY if found.value <= 2 * ALIKE else FAILED

    return judged


def at_crossing(row: Row) -> tuple[float, float, float]:
    """At the level nearest to the crossing: the optimum's training over its test error, and of the network of many
    its test error over the optimum's and over its own training error."""
    crossing, levels = row["result"]["geometry"]["crossing"], row["result"]["levels"]
    where = min(range(len(levels["sigma"])), key=lambda i: abs(levels["sigma"][i] / crossing - 1))
    optimum, many, own = (levels[who] for who in ("optimum", "many", "own"))
    best = optimum["test_error"][where]
    mine = many["test_error"][where]
    return optimum["train_error"][where] / best, mine / best, mine / own["train_error"][where]


def generalizes(name: str) -> Judged:
    """Judge whether in the middle the optimum knows the training pictures alone and the network of many all."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        zero, half, gap = (mean(values) for values in zip(*map(at_crossing, of(rows, name)), strict=True))
        bounds = ((zero, NEAR_ZERO), (half, HALF), (gap, NO_GAP))
        if all(below(found, bound) for found, bound in bounds):
            return half, HELD
        middles = [found.value is not None and found.value <= bound for found, bound in bounds]
        return half, PARTLY if all(middles) else FAILED

    return judged


def share(value: Value) -> str:
    """A share and its interval in percent."""
    if isinstance(value, Estimate) and value.low is not None and value.high is not None:
        ends = f"{percent(value.low)} to {percent(value.high)}"
        return f"{percent(value.value)} [{ends}], n = {value.n}"
    return quantity(value)


def tested(name: str) -> str:
    """What a pair is, in words."""
    kind: dict[str, Any] = KINDS[name]
    asked = FACES if kind["set"] == FACES["set"] else DIGITS
    network = (
        "residual MLP 3x512"
        if kind["network"]["kind"] == "mlp"
        else "U-Net with channels 16 and 32, 0.16 million weights"
    )
    return (
        f"{WORDS[name]}: {network}, {kind['options']['steps']:,} steps of 64, averaged weights, on {asked['images']} "
        f"pictures of {asked['side']}x{asked['side']}, and on all that are left, of which these are a part; "
        f"{asked['test']} test pictures; {LEVELS[2]} levels from {LEVELS[0]:g} to {LEVELS[1]:g}; seeds {SEEDS[0]} to "
        f"{SEEDS[-1]}, each with its own pictures"
    )


def claims_of(name: str) -> tuple[Claim, ...]:
    """The claims of one pair of networks."""
    words = WORDS[name]
    return (
        Claim(
            f"copies-in-the-middle-{name}",
            "001",
            "Figure 2",
            f"A network of few pictures copies most in the middle and hardly at small noise ({words}).",
            tested(name),
            f"copies of single steps at sigma <= {SMALL:g} (mean) over those at the peak: held if the interval ends at "
            f"or below {HARDLY:g} and the peak lies in the medium regime of the geometry at every seed, partly if the "
            f"mean is at most {2 * HARDLY:g} and the peak lies there at most seeds",
            middle(name),
        ),
        Claim(
            f"many-copies-nowhere-{name}",
            "001",
            "Figure 2",
            f"A network of many pictures copies at no level ({words}).",
            tested(name),
            "most copies of single steps over the levels, of the few pictures or of its own, less those among the test "
            f"pictures themselves: held if the interval ends at or below {NOWHERE:g}, partly if the mean does",
            nowhere(name),
            share,
        ),
        Claim(
            f"agree-at-large-noise-{name}",
            "001",
            "Figure 1",
            f"At large noise networks of few and of many and the empirical optimum have one error ({words}).",
            tested(name),
            f"at levels of the large regime of the geometry up to {LARGEST:g}: greatest less least error over the mean "
            "of the three, averaged over levels, the greater of training and test pictures: held if the interval ends "
            f"at or below {ALIKE:g}, partly if the mean is at most {2 * ALIKE:g}",
            agree(name),
            share,
        ),
        Claim(
            f"many-generalize-in-the-middle-{name}",
            "001",
            "Figure 1",
            "In the middle the empirical optimum has next to no error on training pictures and a large one on test "
            f"pictures, where a network of many generalizes ({words}).",
            tested(name),
            "at the level nearest to the crossing of the geometry, three ratios of errors: the optimum's, training "
            f"over test, at most {NEAR_ZERO:g}; on test pictures the network of many over the optimum at most {HALF:g} "
            "(this is the number); the network of many on test over its own training pictures at most "
            f"{NO_GAP:g}: held if all three intervals end there, partly if the means do",
            generalizes(name),
        ),
    )


def optimum_claim(name: str, pictures: str) -> Claim:
    """The claim about the empirical optimum, which needs no network: once for each set."""
    return Claim(
        f"optimum-copies-at-small-noise-{pictures}",
        "001",
        "Figure 2",
        f"The empirical optimum copies nearly always at small noise ({pictures}).",
        tested(name),
        f"copies of single steps at sigma <= {SMALL:g}, mean: held if the interval begins at or above {NEARLY_ALL:g}, "
        "partly if the mean is at least one half",
        optimum_copies(name),
        share,
    )


CLAIMS = (
    *(claim for name in KINDS for claim in claims_of(name)),
    optimum_claim("unet", "digits"),
    optimum_claim("faces", "faces"),
)
