"""What fronts claim, whatever network and pictures: the rules were fixed before the runs."""

from __future__ import annotations

from collections.abc import Sequence

from unrote.contracts import Estimate
from unrote.lab.ambient.remedies import LEVELS, REMEDIES
from unrote.lab.claims import FAILED, HELD, PARTLY, Claim, Row, ends
from unrote.lab.ratios import SEVERAL
from unrote.lab.wild_middle.gap_rules import beyond_stopping, change, last, left, ratio, several_fold

BACK = 0.75
"""A level returns to the baseline if at least three quarters of its copies are back."""
NOISY = "noisy only 0.25"


def by_level(level: float) -> str:
    """The name of ambient training at a level by the authors' rule."""
    return f"ambient {level:g}, levels first"


def best_level(rows: Sequence[Row]) -> str:
    """The level between the ends with the fewest copies, by their geometric mean."""
    return min((by_level(level) for level in LEVELS[1:-1]), key=lambda name: left(rows, name).value or 0.0)


def u_shaped(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """Judge whether copying returns at both ends of the levels; the number is what the best level leaves."""
    lowest, highest = by_level(LEVELS[0]), by_level(LEVELS[-1])
    best = best_level(rows)
    back = [ends(left(rows, name))[0] >= BACK for name in (lowest, highest)]
    rises = [
        ends(ratio(rows, last(rows, name, "copies"), last(rows, best, "copies")))[0] > 1
        for name in (lowest, highest)
    ]
    return left(rows, best), HELD if all(back) and all(rises) else PARTLY if all(rises) else FAILED


def noisy_is_least(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """Judge noisy copies alone: the fewest copies of all ambient runs, and a larger Frechet distance."""
    present = {row["configuration"]["cure"] for row in rows}
    others = [name for name in REMEDIES if name.startswith("ambient") and name in present]
    mine = sum(last(rows, NOISY, "copies"))
    fewest = all(mine <= sum(last(rows, name, "copies")) for name in others)
    worse = change(rows, NOISY, "frechet")
    sure = ends(worse)[0] > 0
    return worse, HELD if fewest and sure else PARTLY if fewest or sure else FAILED


def advice_is_best(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """Judge the recommended ambient level: copies over those of the fixed level with the fewest, rows first."""
    fixed = [f"ambient {level:g}, rows first" for level in (0.25, 0.5, 1.0)]
    best = min(fixed, key=lambda name: left(rows, name).value or 0.0)
    found = ratio(rows, last(rows, "ambient recommended", "copies"), last(rows, best, "copies"))
    low, high = ends(found)
    return found, HELD if high <= 1 else PARTLY if low <= 1 else FAILED


def worded(name: str) -> str:
    """A remedy's name in a claim's."""
    return name.replace(", ", "-").replace(" + ", "-and-").replace(" ", "-")


def beats_stopping(name: str, tested: str, front: str = "front") -> Claim:
    """The claim that a remedy lies beyond the baseline's own path."""
    return Claim(
        f"{front}-{worded(name)}-beyond-stopping",
        "003",
        "Figure 1",
        f"{name}: fewer copies than the baseline stopped at the checkpoint with the nearest Frechet distance that is "
        "not worse.",
        tested,
        "copies / copies of the baseline there (of its 8 checkpoints; if none is as good, at its best one), geometric "
        "mean over seeds: held if its 95 % interval ends below 1, partly if the mean lies below",
        beyond_stopping(name),
    )


def cuts(name: str, tested: str, front: str = "front") -> Claim:
    """The claim that a remedy cuts copying several-fold at equal steps."""
    return Claim(
        f"{front}-{worded(name)}-cuts-copying",
        "003",
        "Table 2",
        f"{name}: several times fewer copies than the baseline after as many steps.",
        tested,
        "copies / copies of the baseline at the end, geometric mean over seeds, none counts as half a copy: held if "
        f"its 95 % interval ends at or below {SEVERAL:.2g}, partly if below 1",
        several_fold(name),
    )


def ambient_u(tested: str, front: str = "front") -> Claim:
    """The claim that copying over sigma_n is a U."""
    return Claim(
        f"{front}-ambient-u",
        "003",
        "Figure 1, Table 1",
        "Ambient training copies least at a level between, and too low or too high a level returns to the baseline.",
        tested,
        f"levels first, sigma_n = {', '.join(f'{level:g}' for level in LEVELS)}: held if both ends copy more than the "
        f"best level between (95 % intervals of the ratio above 1) and at least {BACK:g} of the baseline (intervals), "
        "partly if only the first; the number is what the best level leaves",
        u_shaped,
    )


def noisy_only(tested: str, front: str = "front") -> Claim:
    """The claim about noisy copies alone."""
    return Claim(
        f"{front}-noisy-only",
        "003",
        "Table 2",
        "Noisy copies alone copy least, with the worst quality.",
        tested,
        "held if they have the fewest copies of all ambient runs and a larger Frechet distance than the baseline (95 % "
        "interval), partly if one is so; the number is the difference of the Frechet distance",
        noisy_is_least,
    )
