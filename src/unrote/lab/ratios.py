"""Copies over copies: paired ratios, their geometric mean, and whether copying is cut several-fold."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from unrote.contracts import Estimate
from unrote.lab.claims import FAILED, HELD, PARTLY, ends
from unrote.measure.estimate import estimate

SEVERAL = 1 / 3
"""Copying is cut several-fold if what is left is at most this share."""


def log_ratios(upper: Sequence[float], lower: Sequence[float], samples: int) -> list[float]:
    """log (upper / lower) of paired copy ratios; no copies at all among the samples count as half a copy."""
    least = 0.5 / samples
    return [math.log(max(a, least) / max(b, least)) for a, b in zip(upper, lower, strict=True)]


def geometric(logs: Sequence[float]) -> Estimate:
    """exp of the mean of some logarithms, with its interval where there are several."""
    found = estimate(torch.tensor(logs, dtype=torch.float64))
    value, low, high = (
        None if end is None else math.exp(end) for end in (found.value, found.low, found.high)
    )
    return Estimate(value, low, high, found.n)


def several_fold(found: Estimate) -> str:
    """Held if the interval of what is left ends at or below a third, partly if it ends below 1."""
    high = ends(found)[1]
    return (
        HELD if high <= SEVERAL else PARTLY if high < 1 else FAILED
    )  # what is left whole is no cure in part
