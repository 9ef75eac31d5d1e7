"""The onset of memorization in a run of `unrote train`: by the gap between losses and by copies, two numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from unrote.jobs.measuring import Measurement
from unrote.measure.gaps import excess
from unrote.measure.onset import Onset, copy_onset, copy_onset_interval, gap_onset
from unrote.report.format import percent

GAPS = (0.1, 0.5, 1.0)
"""By what share the held-out loss is above the training loss; none is the right one, and they lie far apart."""
RATIOS = (0.01, 0.05)
"""Copy ratios."""
SAID = (1.0, 0.05)
"""The gap and the ratio that the sentence names."""


def onsets_of(history: Sequence[Measurement], seed: int = 0) -> dict[str, Any]:
    """What result.json says of the onset under `onset`, of the averaged weights.

    `by_loss_gap` and `by_copies` are lists, one entry for each threshold: {threshold, value, low, high, n}. Of losses
    `low` and `high` are the measured steps around the onset; of copies they are its 95 % interval from the counts.
    An end that is not known is null; where `value` is null, the onset had not come (`high` null) or came before the
    first measured step (`low` 0).

    Args:
        history: measurements in the order of their steps, one at least.
        seed: of the interval.
    """
    steps, train, held_out = curves_of(history)
    counts = [m.copy_ratio.n for m in history]
    copies = [round((m.copy_ratio.value or 0.0) * m.copy_ratio.n) for m in history]
    by_gap = [{"threshold": t} | gap_onset(steps, train, held_out, t, excess).as_dict() for t in GAPS]
    by_copies = []
    for ratio in RATIOS:
        g = torch.Generator().manual_seed(seed)
        found = copy_onset_interval(steps, copies, counts, ratio, g)
        by_copies.append({"threshold": ratio} | found.as_dict())
    return {"by_loss_gap": by_gap, "by_copies": by_copies}


def curves_of(history: Sequence[Measurement]) -> tuple[list[int], list[float], list[float]]:
    """Steps, training losses and held-out losses."""
    losses = [(m.train_loss.value, m.validation_loss.value) for m in history]
    assert all(a is not None and b is not None for a, b in losses)
    return [m.step for m in history], [a or 0.0 for a, _ in losses], [b or 0.0 for _, b in losses]


def onset_sentence(history: Sequence[Measurement]) -> str:
    """Both onsets in a sentence."""
    gap, share = SAID
    steps, train, held_out = curves_of(history)
    apart: Onset = gap_onset(steps, train, held_out, gap, excess)
    copied = copy_onset(steps, [m.copy_ratio.value or 0.0 for m in history], share)
    return (
        f"Onset, two definitions: the held-out loss is {_times(1 + gap)} the training loss {apart.words}; "
        f"{percent(share)} of the samples are copies {copied.words}."
    )


def _times(factor: float) -> str:
    return "twice" if factor == 2 else f"{factor:g} times"
