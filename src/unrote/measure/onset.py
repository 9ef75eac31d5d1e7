"""The onset of memorization tau_mem of one run: by the gap between two losses, and by copies among samples.

These are two numbers with two names, and one says little of the other: losses part long before the first copies. Of a
run that is measured at some steps only, an onset is known to lie between two of them, after the last or before the
first. Which weights it belongs to (raw, or averaged, which lag) is the caller's to say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unrote.contracts import Estimate, InputError
from unrote.measure.estimate import newcombe, normal_quantile
from unrote.measure.gaps import Gap, difference

Numbers = Sequence[float | int]

Between = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(step before, step after, share of the way in between) -> the step there."""


@dataclass(frozen=True)
class Onset:
    """The training step at which something begins, or between which steps it is known to lie.

    Args:
        value: the step; None if it is only known to lie after the last measured step or before the first.
        low: the last measured step at which it had not begun; 0 if there is none.
        high: the first measured step at which it had; infinite if there is none.

    Raises:
        ValueError: unless 0 <= low <= value <= high, with no value where one end is missing.
    """

    value: float | None
    low: float
    high: float

    def __post_init__(self) -> None:
        inside = self.value is None or (0 < self.value < math.inf and self.low <= self.value <= self.high)
        one_sided = self.value is not None or (self.low > 0) != (self.high < math.inf)
        if not (0 <= self.low <= self.high and inside and one_sided):
            raise ValueError(f"no step can be {self.value} and lie between {self.low} and {self.high}")

    @property
    def words(self) -> str:
        """The onset as part of a sentence."""
        if self.value is not None:
            return f"at step {self.value:,.0f}"
        if self.high < math.inf:
            return f"before the first measured step, {self.high:,.0f}"
        return f"not reached within {self.low:,.0f} steps"

    def as_dict(self) -> dict[str, Any]:
        """The form in which result files hold it: {value, low, high, n}; an end that is not known is null."""
        return {
            "value": self.value,
            "low": self.low,
            "high": None if self.high == math.inf else self.high,
            "n": 1,
        }


def at_step(step: float | int) -> Onset:
    """An onset that is known."""
    return Onset(float(step), float(step), float(step))


def not_reached(steps: float | int) -> Onset:
    """An onset that had not come when training ended."""
    return Onset(None, float(steps), math.inf)


def before(step: float | int) -> Onset:
    """An onset that had come at the first measured step."""
    return Onset(None, 0.0, float(step))


def in_log_steps(
    before: Float[Tensor, "*n"], after: Float[Tensor, "*n"], share: Float[Tensor, "*n"]
) -> Float[Tensor, "*n"]:
    """Between two steps on the logarithmic axis: before^(1 - share) after^share."""
    return before * (after / before) ** share


def in_steps(
    before: Float[Tensor, "*n"], after: Float[Tensor, "*n"], share: Float[Tensor, "*n"]
) -> Float[Tensor, "*n"]:
    """Between two steps on the linear axis: before + share (after - before)."""
    return before + share * (after - before)


def gap_onset(
    steps: Numbers,
    train: Numbers,
    validation: Numbers,
    threshold: float,
    gap: Gap = difference,
    between: Between = in_log_steps,
) -> Onset:
    """The first step at which the gap between validation and training loss exceeds a threshold.

    tau_mem = min {tau: gap(tau) > threshold}, the gap interpolated between measured steps.

    Args:
        steps: measured steps, ascending from 1 on (T,).
        train, validation: losses there (T,), best on fixed levels and noise, so that the curves are smooth.
        threshold: of the gap, in its units; the same for all runs that are compared.
        gap: `difference` or `excess`.
        between: the axis on which the gap is taken to be straight between measured steps.

    Raises:
        InputError: for steps that do not ascend, or losses that are not finite or as many.

    Source: 002 appendix D and Figure 9: losses "linearly interpolate[d] in tau on a logarithmic grid", several fixed
    thresholds, whose values are not given. Deviation: the logarithmic axis by default, since checkpoints are
    log-spaced; `in_steps` is the words' literal sense. Both lie between the same two checkpoints.
    """
    step = _steps(steps)
    curves = [
        _curve(values, step, name) for values, name in ((train, "training"), (validation, "validation"))
    ]
    apart = gap(curves[0], curves[1])
    if not bool(apart.isfinite().all()):
        raise InputError(
            "The gap between validation and training loss is not finite at every step: a relative one needs losses "
            "above 0. Take the difference of the losses."
        )
    return _onset(step, apart, apart > threshold, threshold, between)


def gap_onsets(
    steps: Numbers,
    train: Numbers,
    validation: Numbers,
    thresholds: Sequence[float],
    gap: Gap = difference,
    between: Between = in_log_steps,
) -> tuple[Onset, ...]:
    """`gap_onset` at several thresholds, in their order."""
    return tuple(gap_onset(steps, train, validation, each, gap, between) for each in thresholds)


def copy_onset(
    steps: Numbers, copy_ratio: Numbers, threshold: float, between: Between = in_log_steps
) -> Onset:
    """The first step at which the share of copies among samples reaches a threshold.

    tau_copy = min {tau: ratio(tau) >= threshold}, the ratio interpolated between measured steps.

    Args:
        steps: measured steps, ascending from 1 on (T,).
        copy_ratio: share of copies there (T,).
        threshold: above 0, at most 1.
        between: as for `gap_onset`.

    Raises:
        InputError: for a threshold out of range, steps that do not ascend, or ratios that are not finite or as many.
    """
    _check_share(threshold)
    step = _steps(steps)
    ratio = _curve(copy_ratio, step, "copy-ratio")
    return _onset(step, ratio, ratio >= threshold, threshold, between)


def sure_copy_onset(
    steps: Numbers,
    copies: Sequence[int],
    samples: Sequence[int],
    fresh_copies: int,
    fresh: int,
    confidence: float = 0.95,
) -> Onset:
    """The first measured step at which there are surely more copies than among fresh real data.

    min {tau: low(tau) > 0}, low the lower end of Newcombe's interval of the difference of the two shares. It is a
    measured step, since evidence is not interpolated: more samples find it earlier.

    Args:
        steps: measured steps, ascending from 1 on (T,).
        copies, samples: how many of how many samples are copies (T,).
        fresh_copies, fresh: how many of how many held-out examples the same rule calls copies.
        confidence: of the two-sided interval.

    Raises:
        InputError: for steps that do not ascend, counts that are not as many, or a confidence outside (0, 1).
        ValueError: for impossible counts.
    """
    step = _steps(steps)
    counts = _counts(copies, samples, step)
    sure = [
        (newcombe(int(k), int(n), fresh_copies, fresh, confidence).low or 0.0) > 0 for k, n in counts.tolist()
    ]
    passed = torch.tensor(sure)
    return _onset(step, passed.double(), passed, 1.0, in_log_steps)


def copy_onset_interval(
    steps: Numbers,
    copies: Sequence[int],
    samples: Sequence[int],
    threshold: float,
    generator: torch.Generator,
    repeats: int = 2000,
    confidence: float = 0.95,
    between: Between = in_log_steps,
) -> Estimate:
    """The onset of copies in one run with the interval that its finite numbers of samples give.

    Counts are drawn again, k' ~ Bin(n, k / n) at every step, the onset is taken of each set of them, and the ends are
    the (1 -+ confidence)/2 quantiles. This says nothing of other runs: see `unrote.measure.power_law.over_seeds`.

    Args:
        steps, threshold, between: as for `copy_onset`.
        copies, samples: how many of how many samples are copies (T,).
        generator: draws the counts.
        repeats: how many sets of counts.
        confidence: between 0 and 1.

    Returns:
        The onset; value None if it is censored, low 0 if it may lie before the first measured step, high None if it
        may lie after the last. n is the least number of samples at a step.

    Raises:
        InputError: as `copy_onset`, and for a confidence outside (0, 1).
        ValueError: for impossible counts.

    Source: Efron, "Bootstrap methods: another look at the jackknife", 1979 (parametric).
    """
    normal_quantile(confidence)
    _check_share(threshold)
    step = _steps(steps)
    count, total = _counts(copies, samples, step).double().unbind(1)
    seen = count / total
    drawn = torch.binomial(
        total.expand(repeats, -1).contiguous(), seen.expand(repeats, -1).contiguous(), generator
    )
    onsets = _crossings(step, drawn / total, drawn / total >= threshold, threshold, between)
    # Quantiles of what may be infinite: no interpolation between a step and infinity.
    tail = (1 - confidence) / 2
    low, high = (
        float(torch.quantile(onsets, q, interpolation=how))
        for q, how in ((tail, "lower"), (1 - tail, "higher"))
    )
    value = _onset(step, seen, seen >= threshold, threshold, between).value
    return Estimate(value, _finite(low), _finite(high), int(total.min()))


def _onset(step: Tensor, values: Tensor, passed: Tensor, threshold: float, between: Between) -> Onset:
    if not bool(passed.any()):
        return not_reached(float(step[-1]))
    k = int(passed.to(torch.uint8).argmax())
    if k == 0:
        return before(float(step[0]))
    value = float(_crossings(step, values[None], passed[None], threshold, between)[0])
    return Onset(value, float(step[k - 1]), float(step[k]))


def _crossings(
    step: Float[Tensor, " T"],
    values: Float[Tensor, "R T"],
    passed: Bool[Tensor, "R T"],
    threshold: float,
    between: Between,
) -> Float[Tensor, " R"]:
    """Where each curve first passes: 0 before the first step, infinite after the last."""
    after = passed.to(torch.uint8).argmax(1)
    last = (after - 1).clamp(min=0)
    one, two = (values.gather(1, place[:, None])[:, 0] for place in (last, after))
    share = ((threshold - one) / (two - one)).nan_to_num(1.0).clamp(0, 1)
    # Rounding must not carry a step beyond the two measured ones.
    step_there = between(step[last], step[after], share).clamp(min=step[last], max=step[after])
    found = torch.where(after == 0, torch.zeros_like(step_there), step_there)
    return torch.where(passed.any(1), found, torch.full_like(found, math.inf))


def _steps(steps: Numbers) -> Tensor:
    step = torch.tensor([float(s) for s in steps], dtype=torch.float64)
    ascending = len(step) > 0 and bool((step.diff() > 0).all()) and bool(step.isfinite().all())
    if not ascending or float(step[0]) <= 0:
        raise InputError(
            f"An onset needs measured steps that ascend from above 0, got {_few(steps)}; sort them, and leave step 0 "
            "out, which has no place on a logarithmic axis."
        )
    return step


def _curve(values: Numbers, step: Tensor, name: str) -> Tensor:
    found = torch.tensor([float(v) for v in values], dtype=torch.float64)
    wrong = (~found.isfinite()).nonzero().flatten().tolist()
    if len(found) != len(step) or wrong:
        told = f"step {float(step[wrong[0]]):,.0f}" if wrong and len(found) == len(step) else ""
        raise InputError(
            f"The {name} curve cannot be used: "
            + (
                f"at {told} it is {float(found[wrong[0]])}"
                if told
                else f"{len(found)} values for {len(step)} steps"
            )
            + ". Give one finite number for each step; of a run that diverged, give the steps before."
        )
    return found


def _counts(copies: Sequence[int], samples: Sequence[int], step: Tensor) -> Tensor:
    if not len(copies) == len(samples) == len(step):
        raise InputError(
            f"An onset of copies needs one count of copies and one of samples for each step, got {len(copies)} and "
            f"{len(samples)} for {len(step)} steps."
        )
    wrong = [(k, n) for k, n in zip(copies, samples, strict=True) if not (0 <= k <= n and n > 0)]
    if wrong:
        raise ValueError(f"{wrong[0][0]} copies among {wrong[0][1]} samples are impossible")
    return torch.tensor([list(copies), list(samples)], dtype=torch.int64).T


def _check_share(threshold: float) -> None:
    if not 0 < threshold <= 1:
        raise InputError(
            f"The share of copies that counts as an onset is {threshold}; it must lie above 0 and at most at 1, for "
            "example 0.05."
        )


def _finite(step: float) -> float | None:
    return step if math.isfinite(step) else None


def _few(values: Numbers) -> str:
    shown = ", ".join(f"{v:g}" for v in list(values)[:6])
    return (shown or "none") + (", ..." if len(values) > 6 else "")
