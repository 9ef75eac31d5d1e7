"""Linear regression with normal residuals in which some values are known only as bounds: exact, at least, at most.

Maximum likelihood, with intervals that are Student's where every value is exact. `power_law` is
this on the logarithm of training steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from unrote.measure.estimate import student_quantile

EXACT, AT_LEAST, AT_MOST = 0, 1, -1
"""What is known of a value."""

EXACTLY = 1e-9
"""Residuals of the exact values, against their size, that count as none: then there is no spread to estimate."""

_HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


@dataclass(frozen=True, eq=False)
class Observed:
    """Values y = X beta + s e, e ~ N(0, 1), some of them known only as bounds.

    Args:
        design: X (n,p).
        value: y, or the bound (n,).
        known: EXACT, AT_LEAST (the value is at or above `value`) or AT_MOST (n,).
    """

    design: Float[np.ndarray, "n p"]
    value: Float[np.ndarray, " n"]
    known: Int[np.ndarray, " n"]

    @property
    def exact(self) -> int:
        """How many values are known."""
        return int((self.known == EXACT).sum())

    def identified(self) -> bool:
        """Whether the exact values alone determine every coefficient."""
        return bool(np.linalg.matrix_rank(self.design[self.known == EXACT]) == self.design.shape[1])


@dataclass(frozen=True, eq=False)
class Fit:
    """The most likely line.

    Args:
        beta: coefficients (p,).
        spread: s; 0 where the exact values lie on a line that keeps every bound.
        log_likelihood: at the maximum; infinite for a spread of 0.
        information: minus the second derivatives of the log-likelihood in (beta / s, 1 / s) (p+1,p+1).
    """

    beta: Float[np.ndarray, " p"]
    spread: float
    log_likelihood: float
    information: Float[np.ndarray, "q q"]


def fit(observed: Observed) -> Fit:
    """The coefficients and the spread of greatest likelihood.

    l = sum_exact [log h - u^2/2] + sum_at_least log Phi(-u) + sum_at_most log Phi(u), u = h y - X delta,
    with delta = beta / s and h = 1 / s, in which l is concave: Newton's method with halved steps finds the one
    maximum. With exact values alone beta is that of least squares and s^2 = |y - X beta|^2 / n.

    Args:
        observed: with coefficients that the exact values determine.

    Source: Tobin, "Estimation of relationships for limited dependent variables", 1958; the coordinates are those of
    Olsen, "Note on the uniqueness of the maximum likelihood estimator for the Tobit model", 1978.
    """
    x, y, known = observed.design, observed.value, observed.known
    here = known == EXACT
    beta = np.linalg.lstsq(x[here], y[here], rcond=None)[0] if x.shape[1] else np.zeros(0)
    residual = y - x @ beta
    size = EXACTLY * (1 + np.abs(y).max())
    if np.abs(residual[here]).max(initial=0.0) <= size and (known * residual <= size)[~here].all():
        count = x.shape[1] + 1
        return Fit(beta, 0.0, math.inf, np.full((count, count), math.inf))
    h = 1 / max(float(residual.std()), size)
    point = np.append(beta * h, h)
    value, slope, bend = _likelihood(point, observed)
    for _ in range(200):
        move = np.linalg.solve(bend, slope)
        gain = float(slope @ move)  # Newton's decrement: twice what is still to be won
        share = 1.0
        while share > 1e-12:
            there = point + share * move
            if there[-1] > 0:
                next_value, next_slope, next_bend = _likelihood(there, observed)
                if next_value >= value + 1e-4 * share * gain or gain < 1e-9:
                    break
            share /= 2
        else:
            break
        point, value, slope, bend = there, next_value, next_slope, next_bend
        if gain < 1e-20:
            break
    return Fit(point[:-1] / point[-1], float(1 / point[-1]), value, bend)


def coefficient_interval(
    observed: Observed, column: int, confidence: float
) -> tuple[float | None, float | None]:
    """The interval of one coefficient by its profile likelihood.

    {b: 2 (l_max - max_{others} l(b)) <= d log(1 + t^2 / (d - p))}, t Student's quantile with d - p degrees of freedom,
    d the number of exact values. Where all are exact this is Student's interval of least squares, b +- t se(b); for
    many values the bound is the square of the normal quantile, as for any likelihood.

    Args:
        observed: what `fit` was given.
        column: which coefficient.
        confidence: between 0 and 1.

    Returns:
        both ends, None where the likelihood does not end them.

    Raises:
        InputError: for a confidence outside (0, 1).

    Deviation: degrees of freedom count the exact values alone, so that bounds without information change nothing.
    """
    best = fit(observed)
    freedom = observed.exact - observed.design.shape[1]
    if freedom < 1:
        return None, None
    t = student_quantile(freedom, confidence)
    centre = float(best.beta[column])
    if best.spread == 0:
        return centre, centre
    cut = observed.exact * math.log1p(t * t / freedom)
    others = np.delete(observed.design, column, 1)

    def excess(b: float) -> float:
        left = replace(observed, design=others, value=observed.value - b * observed.design[:, column])
        return 2 * (best.log_likelihood - fit(left).log_likelihood) - cut

    unit = np.zeros(observed.design.shape[1])
    unit[column] = 1
    reach = t * deviation(best, unit, observed)
    return _end(excess, centre, -reach), _end(excess, centre, reach)


def deviation(fitted: Fit, row: Float[np.ndarray, " p"], observed: Observed) -> float:
    """Standard deviation of row . beta from the observed information, with s^2 unbiased: d / (d - p) times as large.

    Var = g' I^-1 g, g the derivatives of row . delta / h. Exact values alone give s^2 row (X'X)^-1 row'.
    """
    if fitted.spread == 0:
        return 0.0
    h = 1 / fitted.spread
    slope = np.append(row / h, -float(row @ fitted.beta) / h)
    variance = float(slope @ np.linalg.solve(fitted.information, slope))
    return math.sqrt(max(0.0, variance)) * inflation(observed)


def inflation(observed: Observed) -> float:
    """sqrt(d / (d - p)): what a spread of greatest likelihood is too small by."""
    d, p = observed.exact, observed.design.shape[1]
    return math.sqrt(d / (d - p))


def _end(excess: Callable[[float], float], centre: float, reach: float) -> float | None:
    """Where a function that is negative at the centre comes to 0 on one side, or None."""
    from scipy.optimize import brentq

    inner = centre
    for _ in range(40):
        outer = centre + reach
        if excess(outer) > 0:
            return float(brentq(excess, inner, outer, xtol=1e-12 * (1 + abs(centre)), rtol=1e-12))
        inner, reach = outer, 2 * reach
    return None


def _likelihood(point: np.ndarray, observed: Observed) -> tuple[float, np.ndarray, np.ndarray]:
    """The log-likelihood at (delta, h), its derivatives, and minus its second derivatives."""
    from scipy.special import log_ndtr

    y, known, h = observed.value, observed.known, float(point[-1])
    u = h * y - observed.design @ point[:-1]
    w = -known * u
    # log Phi(w), its derivative phi(w) / Phi(w) and the derivative of that, which is never positive.
    below = log_ndtr(w)
    hazard = np.exp(-w * w / 2 - _HALF_LOG_TWO_PI - below)
    here = known == EXACT
    value = np.where(here, -u * u / 2 - _HALF_LOG_TWO_PI, below).sum() + here.sum() * math.log(h)
    first = np.where(here, -u, -known * hazard)
    second = np.where(here, 1.0, np.maximum(hazard * (hazard + w), 0.0))
    rows = np.column_stack([-observed.design, y])
    slope = rows.T @ first
    bend = rows.T @ (second[:, None] * rows)
    slope[-1] += here.sum() / h
    bend[-1, -1] += here.sum() / h**2
    return float(value), slope, bend
