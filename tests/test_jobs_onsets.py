"""Laws of a run's onsets: two definitions, what is not reached, and what was there before the first look."""

from __future__ import annotations

import pytest
import torch

from unrote.contracts import Estimate
from unrote.jobs.measuring import Measurement, Raw
from unrote.jobs.onsets import GAPS, RATIOS, onset_sentence, onsets_of
from unrote.measure.gaps import relative_gap

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
    assert all(one["value"] is None and one["high"] is None for one in found["by_copies"])
    assert onsets_of(history([0.3] * 5, [500] * 5))["by_copies"][0]["high"] == 100
    never = onsets_of(history([0.3] * 5, [0] * 5))["by_copies"][0]
    assert (never["value"], never["low"], never["high"]) == (None, 1600, None)


def test_the_sentence_says_both() -> None:
    said = onset_sentence(history([0.0, 0.2, 0.6, 1.4, 2.0], [0] * 5))
    assert "twice the training loss: at step 566" in said
    assert "Copies in 5.0 % of the samples: not reached within 1,600 steps" in said


def in_pairs(
    g: torch.Generator, gaps: list[float], pairs: int = 40, spread: float = 0.4
) -> list[Measurement]:
    """A run whose pairs differ: each has a gap of its own around the run's, the same at every step."""
    own, seen = torch.randn(pairs, generator=g), []
    for step, gap in zip(STEPS, gaps, strict=True):
        train = torch.ones(pairs)
        held_out = 1 + gap + spread * own + 0.1 * torch.randn(pairs, generator=g)
        found = relative_gap(train, held_out)
        loss = Estimate(float(held_out.double().mean()), None, None, pairs)
        copies = Estimate(0.0, 0.0, 0.01, 300)
        one = Estimate(1.0, None, None, pairs)
        raw = Raw(one, loss, found)
        seen.append(Measurement(step, one, loss, copies, loss_gap=found, raw=raw))
    return seen


def test_the_interval_of_the_loss_gap_holds_the_onset_in_so_many_runs() -> None:
    g, held = torch.Generator().manual_seed(0), dict.fromkeys(GAPS, 0)
    true = {0.1: 100 * 2**0.5, 0.5: 200 * 2**0.75, 1.0: 400 * 2**0.5}  # of the gaps below
    for _ in range(200):
        for one in onsets_of(in_pairs(g, [0.0, 0.2, 0.6, 1.4, 2.0]))["by_loss_gap"]:
            high = float("inf") if one["high"] is None else one["high"]
            held[one["threshold"]] += one["low"] <= true[one["threshold"]] <= high
            assert one["n"] == 40
    # about 95 %, with three standard errors of 200 runs
    assert all(0.9 <= count / 200 <= 0.995 for count in held.values()), held


def test_the_interval_lies_around_the_onset_and_tells_the_measured_steps_apart_from_it() -> None:
    found = onsets_of(in_pairs(torch.Generator().manual_seed(1), [0.0, 0.2, 0.6, 1.4, 2.0]))
    for one in found["by_loss_gap"]:
        assert one["low"] <= one["value"] <= one["high"]
    last = found["by_loss_gap"][-1]
    assert last["between"] == [400, 800]
    assert 400 < last["low"] < last["high"] < 800
    assert found["weights"] == "moving average"
    assert found["raw"]["by_loss_gap"] == found["by_loss_gap"]  # the same numbers here
    assert "by_copies" not in found["raw"]


def test_an_end_that_was_not_reached_is_not_known() -> None:
    g = torch.Generator().manual_seed(2)
    found = onsets_of(in_pairs(g, [0.0, 0.1, 0.2, 0.3, 0.5], spread=1.0))["by_loss_gap"]
    reached = {one["threshold"]: one for one in found}
    assert reached[1.0]["value"] is None and reached[1.0]["high"] is None
    assert 800 < reached[1.0]["low"] <= 1600
    early = {one["threshold"]: one for one in onsets_of(in_pairs(g, [0.5] * 5))["by_loss_gap"]}
    assert (early[0.1]["value"], early[0.1]["low"], early[0.1]["high"]) == (None, 0.0, 100.0)


def test_raw_weights_stand_beside_in_the_sentence() -> None:
    said = onset_sentence(in_pairs(torch.Generator().manual_seed(1), [0.0, 0.2, 0.6, 1.4, 2.0]))
    assert "(raw weights: step 5" in said
    assert "[" in said


def test_a_run_that_diverged_has_the_onsets_of_the_steps_before() -> None:
    seen = in_pairs(torch.Generator().manual_seed(1), [0.0, 0.2, 0.6, 1.4, 2.0])
    lost = Estimate(None, None, None, 40)
    broken = Measurement(3200, lost, lost, Estimate(0.0, 0.0, 0.1, 300))
    found = onsets_of([*seen, broken])
    assert found["by_loss_gap"] == onsets_of(seen)["by_loss_gap"]
    assert onsets_of([broken])["by_loss_gap"][0]["value"] is None
    assert "before the first measured step, 3,200" in onset_sentence([broken])
