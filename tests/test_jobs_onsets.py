"""Laws of a run's onsets: two definitions, what is not reached, and what was there before the first look."""

from __future__ import annotations

import pytest

from unrote.contracts import Estimate
from unrote.jobs.measuring import Measurement
from unrote.jobs.onsets import GAPS, RATIOS, onset_sentence, onsets_of

STEPS = (100, 200, 400, 800, 1600)


def history(apart: list[float], copies: list[int], n: int = 500) -> list[Measurement]:
    """A run with training loss 1."""
    one = Estimate(1.0, 0.9, 1.1, 100)
    return [
        Measurement(step, one, Estimate(1 + gap, gap, 2 + gap, 100), Estimate(k / n, 0.0, 1.0, n))
        for step, gap, k in zip(STEPS, apart, copies, strict=True)
    ]


def test_both_onsets_lie_where_the_curves_pass() -> None:
    found = onsets_of(history([0.0, 0.2, 0.6, 1.4, 2.0], [0, 0, 0, 50, 200]))
    gaps = {one["threshold"]: one for one in found["by_loss_gap"]}
    assert tuple(gaps) == GAPS
    assert gaps[0.1]["value"] == pytest.approx(100 * 2**0.5)  # half of the way, in the logarithm of the step
    assert gaps[1.0]["value"] == pytest.approx(400 * 2**0.5)
    assert (gaps[1.0]["low"], gaps[1.0]["high"]) == (400, 800)
    ratios = {one["threshold"]: one for one in found["by_copies"]}
    assert tuple(ratios) == RATIOS
    assert ratios[0.05]["value"] == pytest.approx(400 * 2**0.5)
    assert ratios[0.05]["low"] < ratios[0.05]["value"] < ratios[0.05]["high"]


def test_what_did_not_come_and_what_was_there_before_are_null() -> None:
    found = onsets_of(history([0.3, 0.3, 0.3, 0.3, 0.3], [0] * 5))
    gaps = {one["threshold"]: one for one in found["by_loss_gap"]}
    assert gaps[0.1] == {"threshold": 0.1, "value": None, "low": 0.0, "high": 100.0, "n": 1}
    assert gaps[0.5] == {"threshold": 0.5, "value": None, "low": 1600.0, "high": None, "n": 1}
    assert all(one["value"] is None for one in found["by_copies"])


def test_the_sentence_says_both() -> None:
    said = onset_sentence(history([0.0, 0.2, 0.6, 1.4, 2.0], [0] * 5))
    assert "twice the training loss at step 566" in said
    assert "5.0 % of the samples are copies not reached within 1,600 steps" in said
