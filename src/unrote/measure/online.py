"""When copying will begin, from losses alone: an online estimate that needs no samples, calibrated against copies.

Copies come when the held-out loss is several times the training loss, not when the losses part. Once they have parted,
their relative gap grows about linearly in the training step; the line through what was seen so far says when it will
be large enough. How far off that is was measured on runs whose copies were counted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from unrote.contracts import Estimate, InputError

SHARE = 0.05
"""The share of copies among samples whose first step is estimated."""
AHEAD = 0.7
"""The line goes through the present gap and this share of it."""
TARGET = 6.0
"""The gap at which the line ends: a held-out loss seven times the training loss."""


@dataclass(frozen=True)
class Rung:
    """What the line was worth when the gap had grown so far.

    Args:
        gap: relative gap.
        ratio: onset of copies over the step that the line gives.
        low, high: 95 % interval of the ratio for one run on another data set.
    """

    gap: float
    ratio: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not (0 < self.gap < TARGET and 0 < self.low <= self.ratio <= self.high < math.inf):
            raise ValueError(f"a rung with {self} is none")


LADDER = (
    Rung(0.7, 0.726, 0.129, 4.101),
    Rung(1.0, 0.806, 0.169, 3.832),
    Rung(1.4, 0.813, 0.192, 3.446),
    Rung(2.0, 0.809, 0.213, 3.082),
)
"""Averaged weights of the 85 recorded runs of `early_stopping/law` and `early_stopping/online`: eight settings, which
differ in pictures, colours, side and network, 16 to 128 pictures, five seeds.
`unrote.lab.early_stopping.online_calibration.calibrate` computes it, and a test holds it against the runs."""


def expected_onset(
    steps: Sequence[float | int], gaps: Sequence[float | int], ladder: Sequence[Rung] = LADDER
) -> Estimate:
    """The training step at which 5 % of the samples will be copies, or were, from the gaps between losses so far.

    s_g is the first step at which the relative gap reaches g, straight between checks over the logarithm of the step;
    g is the largest gap so far, at most the last rung's. The line through s_g and s_ag, a = `AHEAD`, reaches the gap
    T = `TARGET` at s = s_g + (T - g) (s_g - s_ag) / (g - a g), and copies are expected at s times the ratio of the
    rung g; between rungs the ratio and its interval are straight in logarithms.

    Args:
        steps: of the checks, ascending from above 0.
        gaps: validation loss over training loss, less one, at each check, of the weights that would be sampled from.
        ladder: rungs in ascending order of their gap, one at least.

    Returns:
        The step with the 95 % interval for one run on a data set that was not calibrated on; n is the number of
        checks. The value is None where the gap is below the first rung, copies are to come and `low` is the last
        check; and where the gap was above a g at the first check already, nothing is known of its growth and no end.

    Raises:
        InputError: for steps that do not ascend, or gaps that are not finite or as many.

    Limits: for losses at EDM's levels with EDM's weights; under another law of levels the gap is another number. Within
    a setting the estimate is off by a tenth, between settings by factors: MLPs in more dimensions copy up to twice as
    late as a typical setting, small U-Nets up to three times as early. The interval says no more than that.
    """
    _check(steps, gaps)
    grown, n = float(max(gaps)), len(steps)
    if grown < ladder[0].gap:
        return Estimate(None, float(steps[-1]), None, n)
    rung = _rung(ladder, grown)
    line = line_through(steps, gaps, rung.gap)
    if line is None:
        return Estimate(None, None, None, n)
    return Estimate(line * rung.ratio, line * rung.low, line * rung.high, n)


def expected_words(steps: Sequence[float | int], gaps: Sequence[float | int]) -> str:
    """`expected_onset` as a sentence, for `unrote.train.stopping.EarlyStopping`."""
    found = expected_onset(steps, gaps)
    share = f"{100 * SHARE:g} % of the samples"
    if found.value is not None and found.low is not None and found.high is not None:
        return (
            f"By the losses alone {share} are expected to be copies at about step {_rounded(found.value)} "
            f"[{_rounded(found.low)}, {_rounded(found.high)}]."
        )
    if found.low is not None:
        return f"The losses do not say yet when {share} will be copies."
    return f"The gap was large at the first check already, which leaves open when {share} will be copies, or were."


def line_through(
    steps: Sequence[float | int],
    gaps: Sequence[float | int],
    gap: float,
    target: float = TARGET,
    ahead: float = AHEAD,
) -> float | None:
    """The step at which the line through a gap and a share of it reaches a target; None where one was not seen."""
    two, one = _first(steps, gaps, gap), _first(steps, gaps, ahead * gap)
    if two is None or one is None:
        return None
    return two + (target - gap) * (two - one) / (gap * (1 - ahead))


def _first(steps: Sequence[float | int], gaps: Sequence[float | int], gap: float) -> float | None:
    """The first step at which a gap is reached, or None if that is before the first check or never."""
    for (s, g), (after, grown) in pairwise(zip(steps, gaps, strict=True)):
        if g < gap <= grown:
            return float(s * (after / s) ** ((gap - g) / (grown - g)))
        if g >= gap:
            break
    return None


def _rung(ladder: Sequence[Rung], gap: float) -> Rung:
    """The rung of a gap, in logarithms between two of the ladder; the last one above it."""
    if gap >= ladder[-1].gap:
        return ladder[-1]
    below, above = next((a, b) for a, b in pairwise(ladder) if a.gap <= gap < b.gap)
    share = math.log(gap / below.gap) / math.log(above.gap / below.gap)

    def between(a: float, b: float) -> float:
        return a * (b / a) ** share

    return Rung(gap, *(between(getattr(below, end), getattr(above, end)) for end in ("ratio", "low", "high")))


def _check(steps: Sequence[float | int], gaps: Sequence[float | int]) -> None:
    ascending = bool(steps) and steps[0] > 0 and all(a < b for a, b in pairwise(steps))
    if not ascending or len(gaps) != len(steps) or not all(map(math.isfinite, gaps)):
        raise InputError(
            f"An expected onset needs checks at steps that ascend from above 0 and a finite gap at each, got "
            f"{len(steps)} steps and {len(gaps)} gaps; give those of `EarlyStopping.history`, in its order."
        )


def _rounded(step: float) -> str:
    """A step to two digits: nothing more is known."""
    digits = max(0, math.floor(math.log10(max(step, 1.0))) - 1)
    return f"{round(step, -digits):,.0f}"
