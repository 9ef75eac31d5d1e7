"""The law of onsets, tau = a P^b: fitted to runs at several sizes, censored ones included, and extrapolated to others.

A run that never copied within its steps says that its onset is later than that, and so it counts: left out, the large
training sets would look as if they copied early.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float

from unrote.contracts import Estimate, InputError
from unrote.measure.censored import (
    AT_LEAST,
    AT_MOST,
    EXACT,
    Observed,
    coefficient_interval,
    deviation,
    fit,
    inflation,
)
from unrote.measure.estimate import normal_quantile, quantiles, student_quantile
from unrote.measure.onset import Numbers, Onset


@dataclass(frozen=True)
class PowerLaw:
    """tau = a P^b exp(s e), e ~ N(0, 1) for each run.

    Args:
        exponent: b.
        constant: a, in steps: the onset at P = 1, far outside of what was measured.
        spread: s, the standard deviation of log tau between runs of one size; None where two runs leave none to see.
        sizes, onsets: the runs that it was fitted to.
    """

    exponent: Estimate
    constant: Estimate
    spread: float | None
    sizes: tuple[float, ...]
    onsets: tuple[Onset, ...]

    @property
    def words(self) -> str:
        """The law in one sentence."""
        b, known = self.exponent, sum(onset.value is not None for onset in self.onsets)
        interval = "" if b.low is None or b.high is None else f" (95 %: {b.low:.2f} to {b.high:.2f})"
        left = len(self.onsets) - known
        censored = f" and {left} that say only before or after which step" if left else ""
        return (
            f"The onset grows as the number of examples to the power {b.value:.2f}{interval}, from {known} "
            f"known onsets{censored} at sizes {', '.join(f'{size:,.0f}' for size in sorted(set(self.sizes)))}."
        )


@dataclass(frozen=True)
class HeldOut:
    """One size that was forecast from all others.

    Args:
        size: P.
        forecast: of the onset of one run there.
        measured: the typical onset of the runs there.
        factor: measured over forecast, with the interval of the measured one.
        covered: how many of the known onsets lie within the forecast's interval; its n is how many are known.
        extrapolated: whether the size is larger or smaller than all others.
    """

    size: float
    forecast: Estimate
    measured: Estimate
    factor: Estimate
    covered: Estimate
    extrapolated: bool


def over_seeds(onsets: Sequence[Onset], confidence: float = 0.95) -> Estimate:
    """The typical onset of runs that differ in their seed, censored ones included.

    exp of mu in log tau ~ N(mu, s^2), of greatest likelihood, with the interval of its profile. Where all are known
    this is the geometric mean with Student's interval on logarithms.

    Args:
        onsets: one for each run.
        confidence: between 0 and 1.

    Returns:
        The step; n is the number of runs. With one known onset the ends are None. With none there is no value: if none
        was reached, more than half of all runs last longer than the shortest here, which is `low` where enough runs
        say so, 2^-n <= 1 - confidence; likewise `high` if all came before the first measured step.

    Raises:
        InputError: if there is no onset, or for a confidence outside (0, 1).
    """
    normal_quantile(confidence)
    if not onsets:
        raise InputError("There is no onset to take a mean of; give one for each run, reached or not.")
    observed = _in_logs(onsets, np.ones((len(onsets), 1)))
    n = len(onsets)
    if observed.exact == 0:
        sure = 2.0**-n <= 1 - confidence
        low = min(onset.low for onset in onsets)
        high = max(onset.high for onset in onsets)
        return Estimate(
            None, low if sure and low > 0 else None, high if sure and high < math.inf else None, n
        )
    low_log, high_log = coefficient_interval(observed, 0, confidence)
    return Estimate(
        math.exp(fit(observed).beta[0]),
        None if low_log is None else math.exp(low_log),
        None if high_log is None else math.exp(high_log),
        n,
    )


def fit_power_law(sizes: Numbers, onsets: Sequence[Onset], confidence: float = 0.95) -> PowerLaw:
    """The most likely power law of onsets, exact or censored.

    log tau = log a + b log P + s e, e ~ N(0, 1), independent from run to run; an onset not reached within N steps
    enters as Pr(tau > N), one before the first measured step as Pr(tau < first). Intervals are those of the profile
    likelihood; with no censored onset all is least squares on logarithms with Student's intervals.

    Args:
        sizes: P of every run, number of training examples (n,).
        onsets: by one definition and one threshold (n,); several runs of a size differ in their seeds.
        confidence: of the intervals, between 0 and 1.

    Returns:
        the law; n is the number of known onsets, and with just two of them there are no intervals.

    Raises:
        InputError: for sizes that are not positive, or if onsets are known at less than two sizes.

    Source: 002 appendix D, Figure 9 (a power-law fit; how it was made is not said). Runs of one seed at several
    sizes count as independent: where start weights make them alike, the interval of b is too wide and not too narrow.
    """
    observed = _observed(sizes, onsets)
    found = fit(observed)
    exact = observed.exact
    low_log, high_log = coefficient_interval(observed, 0, confidence)
    low, high = coefficient_interval(observed, 1, confidence)
    return PowerLaw(
        Estimate(float(found.beta[1]), low, high, exact),
        Estimate(_exp(float(found.beta[0])), _exp(low_log), _exp(high_log), exact),
        found.spread * inflation(observed) if exact > 2 else None,
        tuple(float(size) for size in sizes),
        tuple(onsets),
    )


def forecast(law: PowerLaw, size: float | int, confidence: float = 0.95) -> Estimate:
    """When one new run at a size will begin, with a prediction interval.

    exp(y +- t_{d-2} sqrt(s^2 + var y)) with y = log a + b log P: the uncertainty of the line, from the observed
    information, and the spread between runs. Exact as a prediction interval where no onset is censored.

    Args:
        law: from `fit_power_law`.
        size: P, any positive number.
        confidence: between 0 and 1.

    Returns:
        The median and the interval of one run, in steps; n is the number of known onsets.

    Raises:
        InputError: for a size that is not positive, or a confidence outside (0, 1).
    """
    return _predicted(law, size, confidence, 1.0)


def typical(law: PowerLaw, size: float | int, confidence: float = 0.95) -> Estimate:
    """The median onset at a size with the interval of the line alone, as `forecast` without the spread between runs."""
    return _predicted(law, size, confidence, 0.0)


def held_out_sizes(sizes: Numbers, onsets: Sequence[Onset], confidence: float = 0.95) -> tuple[HeldOut, ...]:
    """Every size forecast from the runs at all others, ascending; sizes that the rest cannot forecast are left out.

    Args:
        sizes, onsets, confidence: as for `fit_power_law`.

    Raises:
        InputError: as `fit_power_law`, or if no size can be held out: onsets must be known at two others.
    """
    _observed(sizes, onsets)
    normal_quantile(confidence)
    distinct = sorted({float(size) for size in sizes})
    table = []
    for size in distinct:
        rest = [(float(p), onset) for p, onset in zip(sizes, onsets, strict=True) if p != size]
        if len({p for p, onset in rest if onset.value is not None}) < 2:
            continue
        here = [onset for p, onset in zip(sizes, onsets, strict=True) if p == size]
        law = fit_power_law([p for p, _ in rest], [onset for _, onset in rest], confidence)
        table.append(_held_out(law, size, here, confidence, size in (distinct[0], distinct[-1])))
    if not table:
        raise InputError(
            f"No size can be held out: onsets must be known at three sizes at least, got {len(distinct)} sizes, and "
            "known ones at two. Train at more sizes, or for longer."
        )
    return tuple(table)


def resampled_exponent(
    sizes: Numbers,
    onsets: Sequence[Onset],
    generator: torch.Generator,
    repeats: int = 1000,
    confidence: float = 0.95,
) -> Estimate:
    """The exponent with a bootstrap interval over the runs within each size: without the normal law of residuals.

    The ends are the (1 -+ confidence)/2 quantiles of b over sets in which the runs of every size are drawn again, with
    replacement. With 5 runs at a size it is too narrow (each variance by 4/5): it is a check, not the claim.

    Args:
        sizes, onsets: as for `fit_power_law`.
        generator: draws the runs.
        repeats: how many sets; those whose onsets are known at less than two sizes are drawn again.
        confidence: between 0 and 1.

    Raises:
        InputError: as `fit_power_law`, and for a confidence outside (0, 1).

    Source: Efron, "Bootstrap methods: another look at the jackknife", 1979.
    """
    normal_quantile(confidence)
    observed = _observed(sizes, onsets)
    column = observed.design[:, 1]
    groups = [np.flatnonzero(column == value) for value in np.unique(column)]
    drawn: list[float] = []
    while len(drawn) < repeats:
        rows = np.concatenate(
            [group[torch.randint(len(group), (len(group),), generator=generator).numpy()] for group in groups]
        )
        again = Observed(observed.design[rows], observed.value[rows], observed.known[rows])
        if again.identified():
            drawn.append(float(fit(again).beta[1]))
    low, high = quantiles(torch.tensor(drawn, dtype=torch.float64), confidence)
    return Estimate(float(fit(observed).beta[1]), low, high, observed.exact)


def _in_logs(onsets: Sequence[Onset], design: Float[np.ndarray, "n p"]) -> Observed:
    """Onsets as values of a regression: log tau where it is known, else the bound.

    Args:
        onsets: n of them.
        design: one row for each.
    """
    value = [_bound(onset) for onset in onsets]
    known = [
        EXACT if onset.value is not None else AT_MOST if onset.high < math.inf else AT_LEAST
        for onset in onsets
    ]
    return Observed(design, np.log(np.array(value, dtype=float)), np.array(known, dtype=np.int64))


def _bound(onset: Onset) -> float:
    if onset.value is not None:
        return onset.value
    return onset.high if onset.high < math.inf else onset.low


def _predicted(law: PowerLaw, size: float | int, confidence: float, runs: float) -> Estimate:
    normal_quantile(confidence)
    _check_sizes([size])
    observed = _observed(law.sizes, law.onsets)
    found, row = fit(observed), np.array([1.0, math.log(size)])
    middle, freedom = float(row @ found.beta), observed.exact - 2
    if freedom < 1:
        return Estimate(_exp(middle), None, None, observed.exact)
    spread = found.spread * inflation(observed)
    half = student_quantile(freedom, confidence) * math.hypot(
        math.sqrt(runs) * spread, deviation(found, row, observed)
    )
    return Estimate(_exp(middle), _exp(middle - half), _exp(middle + half), observed.exact)


def _held_out(
    law: PowerLaw, size: float | int, here: Sequence[Onset], confidence: float, extrapolated: bool
) -> HeldOut:
    said, measured = forecast(law, size, confidence), over_seeds(here, confidence)
    assert said.value is not None
    value, low, high = (
        None if end is None else end / said.value for end in (measured.value, measured.low, measured.high)
    )
    known = [onset.value for onset in here if onset.value is not None]
    covered = None
    if said.low is not None and said.high is not None and known:
        covered = sum(said.low <= step <= said.high for step in known) / len(known)
    return HeldOut(
        size,
        said,
        measured,
        replace(measured, value=value, low=low, high=high),
        Estimate(covered, None, None, len(known)),
        extrapolated,
    )


def _observed(sizes: Numbers, onsets: Sequence[Onset]) -> Observed:
    """The regression of log tau on log P, which the known onsets can decide."""
    if len(sizes) != len(onsets):
        raise InputError(
            f"Every onset needs the size of its training set, got {len(onsets)} and {len(sizes)}."
        )
    _check_sizes(sizes)
    known = {float(p) for p, onset in zip(sizes, onsets, strict=True) if onset.value is not None}
    if len(known) < 2:
        where = ", ".join(f"{size:,.0f}" for size in sorted(known)) or "none"
        raise InputError(
            f"A law of onsets needs known onsets at two sizes at least, got them at {where} of "
            f"{len({float(p) for p in sizes})} sizes; train for longer or measure earlier, take a lower threshold, or "
            "more sizes."
        )
    logs = np.log(np.array([float(p) for p in sizes]))
    design: Float[np.ndarray, "n 2"] = np.column_stack([np.ones(len(logs)), logs])
    return _in_logs(onsets, design)


def _check_sizes(sizes: Numbers) -> None:
    wrong = [size for size in sizes if not 0 < size < math.inf]
    if wrong:
        raise InputError(f"A training set of {wrong[0]:g} examples has no onset; sizes are positive numbers.")


def _exp(value: float | None) -> float | None:
    return None if value is None else math.exp(min(value, 700.0))
