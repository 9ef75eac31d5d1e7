"""Two curves over the noise levels, one falling and one rising: monotone means, where they pass a height and meet."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from unrote.contracts import Estimate

SHARE = 0.95
"""Where the curves cross below the height asked for, a zone is taken at this share of the crossing's height."""


@dataclass(frozen=True)
class Samples:
    """Monotone mean curves of base and test points drawn anew: the first column is the curve itself.

    Args:
        log_levels: log sigma (T,).
        weight, covered: (T, 1 + repeats).
        points: how many base points and test points the curves rest on.
        confidence: of all intervals.
    """

    log_levels: Float[Tensor, " T"]
    weight: Float[Tensor, "T R"]
    covered: Float[Tensor, "T R"]
    points: tuple[int, int]
    confidence: float


def rising(values: Float[Tensor, "T R"]) -> Float[Tensor, "T R"]:
    """The nearest non-decreasing sequences in squared distance: max over s <= t of min over u >= t of mean(s..u).

    Args:
        values: one sequence per column (T,R).

    Source: the min-max formula of isotonic regression, Barlow and others 1972, theorem 1.9.
    """
    length, columns = values.shape
    total = torch.cat([values.new_zeros(1, columns), values.cumsum(0)])
    out = values.new_full((length, columns), -math.inf)
    for s in range(length):
        width = torch.arange(1, length - s + 1, dtype=values.dtype, device=values.device)
        mean = (total[s + 1 :] - total[s]) / width[:, None]
        least = mean.flip(0).cummin(0).values.flip(0)
        out[s:] = torch.maximum(out[s:], least)
    return out


def resampled_means(values: Tensor, repeats: int, generator: torch.Generator) -> Float[Tensor, "T R"]:
    """Means over points, then means over points drawn with replacement."""
    n = values.shape[1]
    counts = values.new_ones(1 + repeats, n, dtype=torch.float64)
    for row in range(1, 1 + repeats):
        drawn = torch.randint(n, (n,), generator=generator, device=generator.device)
        counts[row] = torch.bincount(drawn, minlength=n)
    return values.double() @ counts.T / n


def passes(curve: Tensor, p: Tensor, x: Tensor) -> Tensor:
    """inf {x : curve >= p} of rising curves (T,R): -inf if the lowest x has it already, inf if none has it."""
    index = (curve < p).sum(0)
    after = index.clamp(1, len(x) - 1)
    y0, y1 = (curve.gather(0, i[None])[0] for i in (after - 1, after))
    part = ((p - y0) / (y1 - y0)).clamp(0, 1)
    between = x[after - 1] + part * (x[after] - x[after - 1])
    between = torch.where(index == 0, -math.inf, between)
    return torch.where(index == len(x), math.inf, between)


def ends(samples: Samples, p: Tensor) -> tuple[Estimate, Estimate, dict[str, str]]:
    """sigma_C(p) and sigma_W(p) with reasons where they are not on the grid."""
    x = samples.log_levels
    low = passes(samples.covered, p, x).exp()
    high = (-passes(samples.weight.flip(0), p, -x.flip(0))).exp()
    where = f"the levels from {float(x[0].exp()):.3g} to {float(x[-1].exp()):.3g}"
    share, weight = f"{float(p[0]):.3g}", "The posterior weight"
    reasons = {}
    if float(low[0]) == 0:
        reasons["low"] = f"Coverage is {share} or more at the lowest of {where}; let them begin lower."
    if math.isinf(float(low[0])):
        reasons["low"] = f"Coverage does not reach {share} on {where}; let them reach higher."
    if math.isinf(float(high[0])):
        reasons["high"] = f"{weight} is {share} or more at the highest of {where}; let them reach higher."
    if float(high[0]) == 0:
        reasons["high"] = f"{weight} is below {share} on {where}; let them begin lower, or remove duplicates."
    return (
        interval(low, samples.points[1], samples.confidence),
        interval(high, samples.points[0], samples.confidence),
        reasons,
    )


def meeting(samples: Samples) -> tuple[Tensor, Tensor]:
    """argmax min(W, Cov) and its value, for every column; 0 or inf where the curves do not meet on the grid."""
    x, difference = samples.log_levels, samples.covered - samples.weight
    zero = torch.zeros_like(difference[0])
    left = passes(difference, zero, x)
    # Where both are equal over an interval its middle is taken.
    right = -passes(-difference.flip(0), zero, -x.flip(0))
    at = torch.where(left.isinf(), left, (left + right) / 2)
    return at.exp(), _value(samples.covered, x, at)


def _value(curve: Tensor, x: Tensor, at: Tensor) -> Tensor:
    """Curves (T,R) at one place each."""
    after = torch.searchsorted(x, at.contiguous()).clamp(1, len(x) - 1)
    part = ((at - x[after - 1]) / (x[after] - x[after - 1])).clamp(0, 1)
    y0, y1 = (curve.gather(0, i[None])[0] for i in (after - 1, after))
    return y0 + part * (y1 - y0)


def used_height(p: float, height: Float[Tensor, " R"]) -> Float[Tensor, " R"]:
    """The height p where the crossing is as high, and `SHARE` of the crossing's height elsewhere."""
    return torch.where(height >= p, torch.full_like(height, p), SHARE * height)


def interval(values: Tensor, n: int, confidence: float) -> Estimate:
    """The first value with the interval of the others; what lies beyond the grid (0 or inf) is None."""

    def known(value: float) -> float | None:
        return value if 0 < value < math.inf else None

    value = known(float(values[0]))
    if len(values) < 3 or value is None:
        return Estimate(value, None, None, n)
    ordered = values[1:].sort().values
    tail = (1 - confidence) / 2
    # Whole order statistics, because inf cannot be interpolated.
    first = ordered[math.floor(tail * (len(ordered) - 1))]
    last = ordered[math.ceil((1 - tail) * (len(ordered) - 1))]
    return Estimate(value, known(float(first)), known(float(last)), n)


def apart(samples: Samples, sigma: Float[Tensor, " T"]) -> str:
    """Why the curves do not meet on the grid."""
    levels = f"from {float(sigma[0]):.3g} to {float(sigma[-1]):.3g}"
    if float(samples.covered[0, 0]) >= float(samples.weight[0, 0]):
        return f"Coverage is above the posterior weight on all levels {levels}; the curves cross below, if at all."
    return (
        f"The posterior weight is above coverage on all levels {levels}; the curves cross above, if at all."
    )
