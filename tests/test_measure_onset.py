from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student

from unrote.contracts import InputError
from unrote.measure.estimate import newcombe
from unrote.measure.gaps import difference, excess, relative_gap
from unrote.measure.onset import (
    Onset,
    at_step,
    before,
    copy_onset,
    copy_onset_interval,
    gap_onset,
    gap_onsets,
    in_log_steps,
    in_steps,
    not_reached,
    sure_copy_onset,
)
from unrote.measure.power_law import over_seeds

STEPS = [2**k for k in range(4, 14)]


def parting(tau: float, slope: float = 0.1, steps=STEPS):
    """Losses whose gap is 0 until tau, then slope log(step / tau): straight on the logarithmic axis."""
    gap = [slope * max(0.0, math.log(s / tau)) for s in steps]
    train = [1 / math.log(s) for s in steps]
    return train, [t + g for t, g in zip(train, gap, strict=True)]


@settings(max_examples=25, deadline=None)
@given(st.floats(20, 3000), st.floats(0.01, 0.1))
def test_the_onset_of_a_logarithmic_gap_is_where_the_line_crosses(tau, threshold):
    # Between the two steps around tau the gap has a kink; from the next one on it is a line.
    train, validation = parting(tau)
    expected = tau * math.exp(threshold / 0.1)
    found = gap_onset(STEPS, train, validation, threshold)
    first = next(s for s in STEPS if s >= tau)
    if expected > STEPS[-1]:
        assert found == not_reached(STEPS[-1])
    elif expected > first:
        assert found.value == pytest.approx(expected, rel=1e-9)
        assert found.low <= expected <= found.high <= 2 * found.low
    else:
        assert found.low == first / 2 < found.value <= found.high == first


def test_both_axes_lie_between_the_same_checkpoints():
    train, validation = [1.0, 1.0], [1.0, 2.0]
    logarithmic = gap_onset([100, 400], train, validation, 0.5)
    linear = gap_onset([100, 400], train, validation, 0.5, between=in_steps)
    assert logarithmic.value == pytest.approx(200)
    assert linear.value == pytest.approx(250)
    assert (logarithmic.low, logarithmic.high) == (linear.low, linear.high) == (100, 400)


def test_higher_thresholds_come_later_and_the_first_crossing_counts():
    train, validation = parting(50)
    found = gap_onsets(STEPS, train, validation, [0.01, 0.05, 0.2])
    assert found[0].value < found[1].value < found[2].value
    gap_and_back = gap_onset([1, 2, 4, 8], [1.0] * 4, [1.0, 1.4, 1.0, 1.4], 0.2)
    assert gap_and_back.value == pytest.approx(math.sqrt(2))


def test_a_relative_gap_does_not_depend_on_the_unit_of_the_loss():
    train, validation = parting(100)
    scaled = [[7.0 * value for value in curve] for curve in (train, validation)]
    one, two = (gap_onset(STEPS, *curves, 0.3, excess) for curves in ((train, validation), scaled))
    assert two.value == pytest.approx(one.value, rel=1e-12)
    assert gap_onset(STEPS, *scaled, 0.7).value == pytest.approx(
        gap_onset(STEPS, train, validation, 0.1, difference).value, rel=1e-9
    )


def test_an_onset_that_was_not_seen_is_censored():
    flat = [1.0] * len(STEPS)
    late = gap_onset(STEPS, flat, flat, 0.1)
    assert late == Onset(None, 8192.0, math.inf)
    assert late.words == "not reached within 8,192 steps"
    assert late.as_dict() == {"value": None, "low": 8192.0, "high": None, "n": 1}
    early = gap_onset(STEPS, flat, [2.0] * len(STEPS), 0.1)
    assert early == before(16)
    assert early.words == "before the first measured step, 16"
    assert gap_onset([10], [1.0], [1.0], 0.1) == not_reached(10)
    # Exceeding is strict for losses; copies reach their threshold.
    assert gap_onset([1, 2], [0.0, 0.0], [0.25, 0.25], 0.25) == not_reached(2)
    assert copy_onset([1, 2], [0.0, 0.25], 0.25).value == 2
    assert copy_onset([1, 2], [0.25, 0.25], 0.25) == before(1)


@pytest.mark.parametrize(
    "bad", [(None, 5, math.inf, 3), (None, 0, math.inf), (None, 3, 9), (2, 3, 9), (0, 0, 1)]
)
def test_an_impossible_onset_is_refused(bad):
    with pytest.raises((ValueError, TypeError)):
        Onset(*(None if part is None else float(part) for part in bad))


def test_copies_reach_a_threshold_between_checkpoints():
    found = copy_onset([1000, 1500, 2000], [0.0, 0.02, 0.08], 0.05)
    assert found.value == pytest.approx(math.sqrt(1500 * 2000))
    assert found.words == "at step 1,732"


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 200), min_size=3, max_size=6), st.integers(0, 5))
def test_surely_more_copies_than_fresh_data_is_newcombes_interval(copies, fresh):
    steps, n = [10 * 2**k for k in range(len(copies))], 200
    found = sure_copy_onset(steps, copies, [n] * len(copies), fresh, 497)
    sure = [newcombe(k, n, fresh, 497).low > 0 for k in copies]
    first = sure.index(True) if any(sure) else None
    if first is None:
        assert found == not_reached(steps[-1])
    elif first == 0:
        assert found == before(10)
    else:
        assert (found.value, found.low, found.high) == (steps[first], steps[first - 1], steps[first])


def test_more_samples_are_sure_earlier():
    steps, ratio = [100 * 2**k for k in range(7)], [0, 0.001, 0.004, 0.02, 0.1, 0.3, 0.6]
    found = [
        sure_copy_onset(steps, [round(r * n) for r in ratio], [n] * 7, 0, 10_000).value
        for n in (50, 500, 5000)
    ]
    assert found[0] > found[1] > found[2]


def curve_of_copies(step: np.ndarray, tau: float = 1000.0) -> np.ndarray:
    """5 % at tau; straight in log step around it."""
    return np.clip(0.05 + 0.1 * np.log(step / tau), 0, 1)


def test_the_interval_of_counts_holds_the_true_onset():
    rng, steps = np.random.default_rng(0), [int(200 * 1.3**k) for k in range(12)]
    truth = curve_of_copies(np.array(steps, dtype=float))
    generator, kept = torch.Generator().manual_seed(0), 0
    true = copy_onset(steps, truth.tolist(), 0.05).value
    assert true == pytest.approx(1000, rel=0.01)
    for _ in range(200):
        copies = rng.binomial(400, truth).tolist()
        found = copy_onset_interval(steps, copies, [400] * 12, 0.05, generator, 200)
        kept += found.low <= true <= found.high
    assert kept / 200 == pytest.approx(0.95, abs=0.05)


def test_the_interval_of_counts_narrows_and_says_what_it_cannot_know():
    steps, generator = [100, 200, 400, 800], torch.Generator().manual_seed(0)
    widths = []
    for n in (100, 1000, 10_000):
        found = copy_onset_interval(steps, [0, n // 50, n // 10, n // 2], [n] * 4, 0.05, generator)
        assert found.low <= found.value <= found.high
        assert found.n == n
        widths.append(found.high - found.low)
    assert widths[0] > widths[1] > widths[2]
    never = copy_onset_interval(steps, [0, 0, 0, 0], [100] * 4, 0.05, generator)
    assert (never.value, never.low, never.high) == (None, None, None)
    late = copy_onset_interval(steps, [0, 0, 0, 4], [100] * 4, 0.05, generator)
    assert late.value is None and late.low is not None and late.high is None
    early = copy_onset_interval(steps, [6, 20, 40, 80], [100] * 4, 0.05, generator)
    assert early.value is None and early.low == 0.0 and 100 < early.high < 200


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(1, 1e6), min_size=2, max_size=8))
def test_over_seeds_is_students_interval_on_logarithms(steps):
    logs = np.log(steps)
    found = over_seeds([at_step(s) for s in steps])
    half = student.ppf(0.975, len(steps) - 1) * logs.std(ddof=1) / math.sqrt(len(steps))
    for value, expected in (
        (found.value, logs.mean()),
        (found.low, logs.mean() - half),
        (found.high, logs.mean() + half),
    ):
        assert math.log(value) == pytest.approx(min(expected, 700), abs=1e-6 * (1 + abs(half)))
    assert found.n == len(steps)


def test_over_seeds_counts_runs_that_did_not_reach_it():
    known = [at_step(s) for s in (900, 1000, 1100)]
    more = over_seeds([*known, not_reached(1200), not_reached(1200)])
    assert more.value > 1100
    assert more.n == 5
    assert over_seeds([*known, not_reached(1e-9)]).value == pytest.approx(over_seeds(known).value, rel=1e-7)
    assert over_seeds([*known, before(500)]).value < 900
    single = over_seeds([at_step(1000), not_reached(2000)])
    assert single.value > 1000
    assert (single.low, single.high) == (None, None)


def test_no_known_onset_gives_a_bound_where_enough_runs_say_so():
    five = over_seeds([not_reached(s) for s in (4000, 5000, 5000, 6000, 7000)])
    assert (five.value, five.low, five.high, five.n) == (None, 4000, None, 5)
    assert over_seeds([not_reached(4000)] * 4).low is None
    early = over_seeds([before(100)] * 5)
    assert (early.value, early.low, early.high) == (None, None, 100)


def test_the_relative_gap_keeps_its_promise_and_pairing_helps():
    # The noise of a pair is common to both losses; the truth is a gap of 20 %.
    rng, n, kept, wide, narrow = np.random.default_rng(0), 100, 0, [], []
    for _ in range(400):
        shared = rng.gamma(2.0, 0.5, n)
        train = torch.tensor(shared * rng.gamma(20, 0.05, n))
        validation = torch.tensor(1.2 * shared * rng.gamma(20, 0.05, n))
        found = relative_gap(train, validation)
        kept += found.low <= 0.2 <= found.high
        narrow.append(found.high - found.low)
        apart = relative_gap(train, validation[torch.randperm(n, generator=torch.Generator().manual_seed(0))])
        wide.append(apart.high - apart.low)
    assert kept / 400 == pytest.approx(0.95, abs=0.035)
    assert np.mean(narrow) < 0.5 * np.mean(wide)


def test_the_relative_gap_of_equal_losses_is_exactly_0():
    losses = torch.rand(10, generator=torch.Generator().manual_seed(0)) + 0.1
    found = relative_gap(losses, losses)
    assert (found.value, found.low, found.high) == (0, 0, 0)
    doubled = relative_gap(losses, 2 * losses)
    assert doubled.value == pytest.approx(1) and doubled.low == pytest.approx(1)
    assert math.isfinite(
        relative_gap(
            torch.full((2,), 1e-300, dtype=torch.float64), torch.tensor([1.0, 1e300], dtype=torch.float64)
        ).high
    )


def test_axes():
    a, b, half = (torch.tensor([v], dtype=torch.float64) for v in (1.0, 100.0, 0.5))
    assert in_log_steps(a, b, half).item() == pytest.approx(10)
    assert in_steps(a, b, half).item() == pytest.approx(50.5)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: gap_onset([0, 1], [1.0, 1.0], [1.0, 1.0], 0.1), "leave step 0 out"),
        (lambda: gap_onset([2, 1], [1.0, 1.0], [1.0, 1.0], 0.1), "got 2, 1; sort them"),
        (lambda: gap_onset([], [], [], 0.1), "got none"),
        (lambda: gap_onset([1, 2], [1.0, math.nan], [1.0, 1.0], 0.1), "training curve .*at step 2 it is nan"),
        (lambda: gap_onset([1, 2], [1.0, 1.0], [1.0], 0.1), "validation curve .*1 values for 2 steps"),
        (lambda: gap_onset([1, 2], [0.0, 0.0], [1.0, 1.0], 0.1, excess), "losses above 0"),
        (lambda: copy_onset([1, 2], [0.0, 0.5], 0.0), "copies that counts as an onset is 0"),
        (lambda: copy_onset([1, 2], [0.0, 0.5], 5.0), "onset is 5"),
        (lambda: sure_copy_onset([1, 2], [0, 1], [10], 0, 10), "one of samples for each step"),
        (lambda: over_seeds([]), "no onset"),
        (lambda: over_seeds([at_step(1)], 2.0), "confidence"),
        (lambda: relative_gap(torch.ones(1), torch.ones(1)), "at least two pairs"),
        (lambda: relative_gap(-torch.ones(2), torch.ones(2)), "-1 on training"),
        (lambda: relative_gap(torch.ones(2), torch.tensor([1.0, math.nan])), "nan on validation"),
    ],
)
def test_bad_input_is_told_in_one_paragraph(call, words):
    with pytest.raises(InputError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_impossible_counts_are_refused():
    with pytest.raises(ValueError, match="11 copies among 10"):
        sure_copy_onset([1], [11], [10], 0, 10)
