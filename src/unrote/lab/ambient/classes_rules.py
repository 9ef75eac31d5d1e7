"""Verdict rules of ambient training at the quality of the baseline: levels are chosen by the other seeds.

The paper tunes sigma_n until the Frechet distance is the baseline's and then counts copies. Choosing and counting on
the same runs would count luck as well, so that each seed is judged at the level which the other seeds choose.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

import torch

from unrote.contracts import Estimate
from unrote.lab.claims import FAILED, HELD, PARTLY, Row, ends
from unrote.lab.ratios import geometric, log_ratios
from unrote.lab.wild_middle.gap_rules import Judged, last, of, signed
from unrote.measure.estimate import estimate


def of_size(rows: Sequence[Row], key: str, size: int) -> list[Row]:
    """The runs on one number of training pictures."""
    return [row for row in rows if row["configuration"][key] == size]


def chosen(rows: Sequence[Row], plain: str, cures: Sequence[str], key: str = "copies") -> list[str]:
    """For each seed the remedy that the runs of the other seeds choose.

    Of the remedies whose Frechet distance is on average no larger than the baseline's, the one with the fewest copies
    (least of another measure); where there is none, the one with the smallest Frechet distance.
    """
    found = []
    for left_out in range(len(of(rows, plain))):

        def middle(cure: str, measure: str, out: int = left_out) -> float:
            return fmean(v for i, v in enumerate(last(rows, cure, measure)) if i != out)

        good = [cure for cure in cures if middle(cure, "frechet") <= middle(plain, "frechet")]
        measure = key if good else "frechet"
        found.append(min(good or cures, key=lambda cure: middle(cure, measure)))
    return found


def at_choice(rows: Sequence[Row], choice: Sequence[str], key: str) -> list[float]:
    """The last measurement of every seed, of the remedy chosen for it."""
    return [last(rows, cure, key)[i] for i, cure in enumerate(choice)]


def logs_left(rows: Sequence[Row], plain: str, choice: Sequence[str], key: str) -> list[float]:
    """log of what the chosen remedies leave of the baseline's copies, seed by seed."""
    samples = rows[0]["configuration"]["samples"]
    return log_ratios(at_choice(rows, choice, key), last(rows, plain, key), samples)


def quality_change(rows: Sequence[Row], plain: str, choice: Sequence[str]) -> Estimate:
    """By how much the chosen remedies' Frechet distance is larger than the baseline's."""
    pairs = zip(at_choice(rows, choice, "frechet"), last(rows, plain, "frechet"), strict=True)
    return estimate(torch.tensor([a - b for a, b in pairs], dtype=torch.float64))


def at_equal_quality(
    pick: Callable[[Sequence[Row]], list[Row]], plain: str, cures: Sequence[str], key: str = "copies"
) -> Judged:
    """Copies left where quality is the baseline's or better.

    Held if the interval of what is left ends below 1 and the Frechet distance is on average no larger; partly if the
    interval ends below 1 and that of the difference of the Frechet distances reaches down to 0.
    """

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        mine = pick(rows)
        choice = chosen(mine, plain, cures, key)
        found = geometric(logs_left(mine, plain, choice, key))
        worse = quality_change(mine, plain, choice)
        assert worse.value is not None
        if ends(found)[1] >= 1 or ends(worse)[0] > 0:
            return found, FAILED
        return found, HELD if worse.value <= 0 else PARTLY

    return judged


def shrinks(
    small: Callable[[Sequence[Row]], list[Row]],
    large: Callable[[Sequence[Row]], list[Row]],
    plain: str,
    cures: Sequence[str],
) -> Judged:
    """What is left on few pictures / what is left on more, paired: held if the interval ends below 1."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        few, more = (
            logs_left(mine, plain, chosen(mine, plain, cures), "copies")
            for mine in (small(rows), large(rows))
        )
        found = geometric([a - b for a, b in zip(few, more, strict=True)])
        return found, signed(found, 1.0)

    return judged
