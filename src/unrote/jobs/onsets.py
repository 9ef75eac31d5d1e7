"""The onset of memorization in a run: by the gap between losses and by copies, of averaged and of raw weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import torch

from unrote.contracts import Estimate
from unrote.jobs.measuring import Measurement, Raw
from unrote.measure.gaps import excess
from unrote.measure.onset import Onset, copy_onset, copy_onset_interval, gap_onset
from unrote.report.format import percent

GAPS = (0.1, 0.5, 1.0)
"""By what share the held-out loss is above the training loss; none is the right one, and they lie far apart."""
RATIOS = (0.01, 0.05)
"""Copy ratios."""
SAID = (1.0, 0.05)
"""The gap and the ratio that the sentence names."""

Curves = tuple[Sequence[int], Sequence[Measurement | Raw]]
"""Ascending steps, and what was measured of one set of weights there."""


def onsets_of(history: Sequence[Measurement], seed: int = 0) -> dict[str, Any]:
    """What result.json says of the onset under `onset`; `weights` names the weights it belongs to.

    `by_loss_gap` and `by_copies` are lists, one entry for each threshold: {threshold, value, low, high, n}, low and
    high the ends of a 95 % interval. Of losses they are the steps at which the upper and the lower end of the gap's
    interval pass the threshold: whatever lies between is not refuted by the pairs on which losses are measured, n of
    them. `between` are the measured steps around the onset; what runs measured that know no pairs has these as low
    and high, and n = 1. Of copies they come from the counts. An end that is not known is null; where `value` is null,
    the onset had not come (`high` null) or came before the first measured step (`low` 0).

    Under `raw` stands the same of the raw weights, as far as they were measured.

    Args:
        history: measurements in the order of their steps, one at least.
        seed: of the interval of copies.
    """
    found = {"weights": history[-1].weights} | _of_weights(_curves(history), seed)
    raw = raw_curves(history)
    return found | ({"raw": _of_weights(raw, seed)} if raw[0] else {})


def _of_weights(curves: Curves, seed: int) -> dict[str, Any]:
    by_gap = []
    for threshold in GAPS:
        onset, interval = loss_onset(curves, threshold)
        between = {"between": [onset.low, onset.as_dict()["high"]]} if onset.value is not None else {}
        by_gap.append({"threshold": threshold} | asdict(interval) | between)
    copies = [{"threshold": t} | asdict(by_copies(curves, t, seed)) for t in RATIOS if _sampled(curves)[0]]
    return {"by_loss_gap": by_gap} | ({"by_copies": copies} if copies else {})


def loss_onset(curves: Curves, threshold: float) -> tuple[Onset, Estimate]:
    """The onset by the gap between losses, and the same with its interval.

    The interval is the set of steps at which the gap's interval holds the threshold, for a gap that grows: its ends
    are where the curves of upper and lower ends pass. It is about the pairs that losses are measured on, and takes
    the gap to be straight between measured steps, over the logarithm of the step.

    Source: inverse regression (E. C. Fieller, "Some problems in interval estimation", 1954), step by step.
    """
    steps, seen = _finite(curves)
    if not steps:
        return Onset(None, 0.0, float(curves[0][0])), Estimate(None, 0.0, float(curves[0][0]), 0)
    losses = [(m.train_loss.value or 0.0, m.validation_loss.value or 0.0) for m in seen]
    onset = gap_onset(steps, [a for a, _ in losses], [b for _, b in losses], threshold, excess)
    gaps = [m.loss_gap for m in seen]
    ends = [(gap.low, gap.high) for gap in gaps if gap is not None and gap.low is not None]
    if len(ends) < len(steps):
        return onset, Estimate(**onset.as_dict())

    def passes(values: Sequence[float | None]) -> Onset:
        return gap_onset(steps, [1.0] * len(steps), [1 + (v or 0.0) for v in values], threshold, excess)

    first, last = passes([high for _, high in ends]), passes([low for low, _ in ends])
    # An end that lies outside of the measured steps is 0 or unknown.
    low = steps[-1] if first.high == float("inf") else first.value or 0.0
    high = None if last.high == float("inf") else last.value or last.high
    n = min(gap.n for gap in gaps if gap is not None)
    return onset, Estimate(onset.value, float(low), high, n)


def by_copies(curves: Curves, ratio: float, seed: int = 0) -> Estimate:
    """The onset by copies among samples, with the interval that their number gives."""
    steps, seen = _sampled(curves)
    counts = [m.copy_ratio.n for m in seen if m.copy_ratio is not None]
    copies = [round((m.copy_ratio.value or 0.0) * m.copy_ratio.n) for m in seen if m.copy_ratio is not None]
    found = copy_onset_interval(steps, copies, counts, ratio, torch.Generator().manual_seed(seed))
    # What surely came before the first measured step, or surely not until the last.
    low = float(steps[-1]) if found.low is None else found.low
    return replace(found, low=low, high=float(steps[0]) if found.high == 0 else found.high)


def _curves(history: Sequence[Measurement]) -> Curves:
    return [m.step for m in history], list(history)


def raw_curves(history: Sequence[Measurement]) -> Curves:
    """The steps at which raw weights were measured, and what was measured."""
    known = [(m.step, m.raw) for m in history if m.raw is not None]
    return [step for step, _ in known], [raw for _, raw in known]


def _finite(curves: Curves) -> Curves:
    """The steps before losses are not finite, if they ever are: what follows is no run any more."""
    steps, seen = curves
    good = [
        all(loss.value is not None and loss.value > 0 for loss in (m.train_loss, m.validation_loss))
        for m in seen
    ]
    end = good.index(False) if False in good else len(good)
    return steps[:end], seen[:end]


def _sampled(curves: Curves) -> Curves:
    """The steps at which samples were drawn."""
    known = [(step, m) for step, m in zip(*curves, strict=True) if m.copy_ratio is not None]
    return [step for step, _ in known], [m for _, m in known]


def onset_sentence(history: Sequence[Measurement]) -> str:
    """Both onsets in a sentence, with their intervals; of raw weights beside where these were measured."""
    gap, share = SAID
    parts, raw = [_curves(history)], raw_curves(history)
    parts += [raw] if raw[0] else []
    apart = [_words(*loss_onset(curves, gap)) for curves in parts]
    copied = [_copy_words(curves, share) for curves in parts if _sampled(curves)[0]]
    return (
        f"Onset, two definitions. A held-out loss {_times(1 + gap)} the training loss: {_beside(apart)}. Copies in "
        f"{percent(share)} of the samples: {_beside(copied)}."
    )


def _beside(said: Sequence[str]) -> str:
    return said[0] if len(said) == 1 else f"{said[0]} (raw weights: {said[1].removeprefix('at ')})"


def _words(onset: Onset, interval: Estimate) -> str:
    if onset.value is None or interval.n < 2:  # without pairs there is no interval
        return onset.words
    low = f"{interval.low:,.0f}" if interval.low else "0"
    return f"{onset.words} [{low}, {'...' if interval.high is None else format(interval.high, ',.0f')}]"


def _copy_words(curves: Curves, share: float) -> str:
    steps, seen = _sampled(curves)
    ratios = [m.copy_ratio.value or 0.0 for m in seen if m.copy_ratio is not None]
    return _words(copy_onset(steps, ratios, share), by_copies(curves, share))


def _times(factor: float) -> str:
    return "twice" if factor == 2 else f"{factor:g} times"
