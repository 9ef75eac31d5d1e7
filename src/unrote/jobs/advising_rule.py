"""The rule that picks a remedy: surely within the constraint, then best; and the words for what it picked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from unrote.contracts import Estimate
from unrote.jobs.advising_fronts import (
    BASELINE,
    FEW,
    Front,
    Point,
    copies_left,
    quality_ratio,
    undominated,
)
from unrote.report.format import Value, percent, quantity, ratio

MANY = 10
"""Points from which on the best of them owes something to luck."""


@dataclass(frozen=True)
class Constraint:
    """What a user will not have, and what he would like to have then.

    Args:
        limit: what `bounded` must stay below.
        bounded: the number that is constrained.
        wanted: the number that is to be least.
        alike: whether two points cannot be told apart in it, paired by seed.
        asked: the constraint in words.
        show: how `bounded` is written.
    """

    limit: float
    bounded: Callable[[Point], Estimate]
    wanted: Callable[[Point], Estimate]
    alike: Callable[[Point, Point], bool]
    asked: str
    show: Callable[[Value], str]

    def surely(self, point: Point) -> bool:
        """Whether the whole interval lies below the limit."""
        high = self.bounded(point).high
        return high is not None and high < self.limit

    def on_average(self, point: Point) -> bool:
        """Whether the mean lies below the limit."""
        value = self.bounded(point).value
        return value is not None and value < self.limit


def copies(point: Point) -> Estimate:
    """The copy ratio."""
    return point.copies


def quality(point: Point) -> Estimate:
    """The quality; less is better."""
    return point.quality


def worse(point: Point) -> Estimate:
    """Quality over that of the baseline."""
    return point.worse


def alike_in_quality(best: Point, other: Point) -> bool:
    """Whether the interval of the ratio of qualities, paired by seed, reaches down to 1."""
    return _reaches(quality_ratio(other.by_seed, best.by_seed))


def alike_in_copies(best: Point, other: Point) -> bool:
    """The same for copies."""
    return _reaches(copies_left(other.by_seed, best.by_seed))


def _reaches(found: Estimate) -> bool:
    return found.low is None or found.low <= 1


def copies_below(limit: float) -> Constraint:
    """Few copies, then the best quality."""
    return Constraint(
        limit,
        copies,
        quality,
        alike_in_quality,
        f"fewer than {plainly(limit)} copies, best quality",
        bare_ratio,
    )


def worse_by(share: float) -> Constraint:
    """Quality not much worse than the baseline's, then the fewest copies."""
    asked = f"quality at most {plainly(share)} worse than the baseline's, fewest copies"
    return Constraint(1 + share, worse, copies, alike_in_copies, asked, bare_quantity)


def plainly(share: float) -> str:
    """A limit as a percentage without needless zeros."""
    return f"{100 * share:g} %"


@dataclass(frozen=True)
class Choice:
    """What the rule made of a front.

    Args:
        front: the measured points.
        constraint: what was asked.
        chosen: the point that is recommended, or None where none is surely within the constraint.
        nearest: the point whose interval comes nearest to the constraint, or lies furthest below it; None where
            nothing is known of any.
        alike: points as surely within it that cannot be told from the chosen one, paired by seed, the baseline
            stopped early first, then the best.
        likely: points whose mean is within the constraint, but not their whole interval, best first.
        pareto: points that no other one beats in both means, fewest copies first.
        hidden: points whose copies the rule cannot see, never chosen.
    """

    front: Front
    constraint: Constraint
    chosen: Point | None
    nearest: Point | None
    alike: tuple[Point, ...]
    likely: tuple[Point, ...]
    pareto: tuple[Point, ...]
    hidden: tuple[Point, ...]

    @property
    def point(self) -> Point | None:
        """What is recommended, or what comes nearest."""
        return self.chosen or self.nearest

    def sentence(self) -> str:
        """The answer in one sentence."""
        if self.chosen is not None:
            return f"{_capital(self.chosen.name)}: {numbers(self)}."
        if self.nearest is None:
            return (
                f"Nothing that was measured can be held against the constraint ({self.constraint.asked}): ratios to "
                "the baseline need quality above 0."
            )
        said = f"Nothing that was measured is surely within it; nearest comes {self.nearest.name}: {numbers(self)}."
        if self.likely:
            names = "; ".join(p.name for p in self.likely[:3])
            more = "" if len(self.likely) <= 3 else f" and {len(self.likely) - 3} more"
            return f"{said} On average within it: {names}{more}."
        return f"{said} None is within it on average either."

    def cautions(self) -> tuple[str, ...]:
        """What weakens the answer."""
        point, said = self.point, []
        if point is not None and point.seeds < FEW:
            few = "One seed" if point.seeds == 1 else f"{point.seeds} seeds"
            what = (
                "its intervals are over samples and images and say nothing about another training"
                if point.seeds == 1
                else "intervals over so few are wide, and trust that seeds vary normally"
            )
            said.append(f"{few} stand{'s' if point.seeds == 1 else ''} behind this choice: {what}.")
        if self.alike:
            some = "; ".join(p.name for p in self.alike[:3])
            more = f" and {len(self.alike) - 3} more" if len(self.alike) > 3 else ""
            said.append(
                "Other points are as surely within the constraint, and cannot be told from it (paired by seed, 95 %): "
                f"{some}{more}."
            )
        tried = sum(not p.treatment.hides for p in self.front.points)
        if point is not None and tried >= MANY:
            said.append(
                f"It is the best of {tried} measured points, chosen after the fact, so that its numbers are a little "
                "better than a repetition will be; intervals do not allow for the choice."
            )
        return tuple(said)


def choose(front: Front, constraint: Constraint) -> Choice:
    """Among the points surely within a constraint the one with the least of what is wanted.

    Surely means that the upper end of the interval lies below the limit; between equals the least upper end counts.
    Points whose copies are hidden from the rule for copies are never chosen.

    Args:
        front: what was measured.
        constraint: `copies_below` or `worse_by`.
    """
    open_ones = [p for p in front.points if not p.treatment.hides]
    hidden = tuple(p for p in front.points if p.treatment.hides)
    sure = [p for p in open_ones if constraint.surely(p)]
    likely = [p for p in open_ones if constraint.on_average(p) and not constraint.surely(p)]

    def rank(point: Point) -> tuple[float, float, float]:
        wanted, bounded = constraint.wanted(point), constraint.bounded(point)
        return _or_inf(wanted.value), _or_inf(bounded.value), _or_inf(bounded.high)

    def nearness(point: Point) -> tuple[float, ...]:
        return _or_inf(constraint.bounded(point).high), _or_inf(constraint.bounded(point).value), *rank(point)

    known = [p for p in open_ones if constraint.bounded(p).value is not None]
    sure.sort(key=rank)
    like = [p for p in sure[1:] if constraint.alike(sure[0], p)]
    return Choice(
        front,
        constraint,
        sure[0] if sure else None,
        min(known, key=nearness) if known else None,
        tuple(sorted(like, key=lambda p: p.remedy != BASELINE)),
        tuple(sorted(likely, key=rank)),
        undominated(open_ones, copies, quality),
        hidden,
    )


def numbers(choice: Choice) -> str:
    """The numbers of the point that is talked about."""
    point = choice.point
    assert point is not None
    measure = choice.front.setting.measure
    said = [
        f"copies {bare_ratio(point.copies)}",
        f"{measure} {bare_quantity(point.quality)}",
    ]
    base = choice.front.baseline
    if point is not base and point.worse.value is not None:
        said.append(f"{bare_quantity(point.worse)} of the baseline's")
    if point is not base:
        said.append(f"where the baseline copies {percent(base.copies.value)}")
    return ", ".join(said)


def table_rows(choice: Choice) -> list[tuple[str, ...]]:
    """The points that are worth a look in words: mark, name, copies, quality, against the baseline, levels."""
    seen = [*choice.pareto, *(p for p in (choice.point, choice.front.baseline) if p is not None)]
    rows: list[tuple[str, ...]] = []
    for point in dict.fromkeys(sorted(dict.fromkeys(seen), key=lambda p: _or_inf(p.copies.value))):
        rows.append(
            (
                "->" if point is choice.chosen else "",
                point.name,
                bare_ratio(point.copies),
                bare_quantity(point.quality),
                bare_quantity(point.worse),
                point.treatment.levels(),
            )
        )
    return rows


def bare_ratio(value: Value) -> str:
    """A ratio with its interval, without the count."""
    return ratio(value).split(", n = ")[0]


def bare_quantity(value: Value) -> str:
    """A number with its interval, without the count."""
    return quantity(value).split(", n = ")[0]


def _or_inf(value: float | None) -> float:
    return float("inf") if value is None else value


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
