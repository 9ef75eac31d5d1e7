"""Laws of the online estimate: lines are continued, units of steps cancel, bounds where nothing is known."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unrote.contracts import InputError
from unrote.measure.online import (
    AHEAD,
    LADDER,
    TARGET,
    Rung,
    expected_onset,
    expected_words,
    line_through,
)

FLAT = (Rung(0.7, 0.5, 0.25, 1.0), Rung(2.0, 0.5, 0.25, 1.0))


def straight(steps: list[float], slope: float, start: float) -> list[float]:
    return [slope * (step - start) for step in steps]


@pytest.mark.parametrize("slope", [0.002, 0.01])
@pytest.mark.parametrize("start", [0.0, 60.0])
def test_a_gap_that_grows_along_a_line_is_continued_along_it(slope: float, start: float) -> None:
    steps = [float(s) for s in range(100, 1200, 4)]
    found = expected_onset(steps, straight(steps, slope, start), FLAT)
    assert found.value == pytest.approx(0.5 * (start + TARGET / slope), rel=2e-3)
    assert (found.low, found.high) == pytest.approx((found.value / 2, 2 * found.value))
    assert found.n == len(steps)


def test_the_line_goes_through_the_gap_and_a_share_of_it() -> None:
    steps, gaps = [100, 200, 400, 800], [0.1, AHEAD * 1.0, 1.0, 1.2]
    assert line_through(steps, gaps, 1.0, target=3.0) == pytest.approx(400 + 2.0 * 200 / (1 - AHEAD))
    assert line_through(steps, gaps, 1.3) is None
    assert line_through(steps, gaps, 0.1) is None  # reached at the first check: when, is not known


@settings(max_examples=25, deadline=None)
@given(st.floats(0.1, 50), st.floats(0.8, 6))
def test_the_estimate_scales_with_the_unit_of_steps(unit: float, last: float) -> None:
    steps, gaps = [50, 100, 200, 300], [0.05, 0.3, 0.9 * last, last]
    one = expected_onset(steps, gaps)
    two = expected_onset([unit * s for s in steps], gaps)
    assert one.value is not None and two.value == pytest.approx(unit * one.value)


def test_later_growth_does_not_move_an_estimate_above_the_last_rung() -> None:
    steps, gaps = [100, 200, 300, 400, 500], [0.2, 0.9, 1.6, 2.4, 3.3]
    assert expected_onset(steps[:4], gaps[:4]).value == expected_onset(steps, gaps).value


def test_a_gap_that_grows_more_slowly_moves_the_estimate_on() -> None:
    steps, gaps = [100, 200, 300, 600, 1200], [0.2, 0.9, 1.1, 1.15, 1.2]
    early, late = expected_onset(steps[:3], gaps[:3]), expected_onset(steps, gaps)
    assert early.value is not None and late.value is not None and late.value > 2 * early.value


def test_between_rungs_ratios_are_straight_in_logarithms() -> None:
    ladder = (Rung(0.5, 0.2, 0.1, 0.4), Rung(2.0, 0.8, 0.2, 1.6))
    steps, gaps = [100, 200, 300], [0.1, 0.6, 1.0]
    found, line = expected_onset(steps, gaps, ladder), line_through(steps, gaps, 1.0)
    assert line is not None and found.value == pytest.approx(0.4 * line)
    assert found.low == pytest.approx(math.sqrt(0.02) * line)


def test_where_little_is_known_only_a_bound_is_given() -> None:
    to_come = expected_onset([100, 200], [0.1, 0.3])
    assert (to_come.value, to_come.low, to_come.high) == (None, 200, None)
    for gaps in ([0.9, 1.0], [1.2, 0.9], [4.0, 5.0]):
        unknown = expected_onset([100, 200], gaps)
        assert (unknown.value, unknown.low, unknown.high) == (None, None, None)


def test_words_have_two_digits_and_say_what_is_not_known() -> None:
    words = expected_words([100, 200, 300, 400], [0.2, 0.9, 1.6, 2.4])
    line = line_through([100, 200, 300, 400], [0.2, 0.9, 1.6, 2.4], LADDER[-1].gap)
    assert line is not None and 705 <= line * LADDER[-1].ratio < 715
    assert words.startswith(
        "By the losses alone 5 % of the samples are expected to be copies at about step 710 [1"
    )
    assert expected_words([100, 200], [0.1, 0.3]) == (
        "The losses do not say yet when 5 % of the samples will be copies."
    )
    assert "large at the first check already" in expected_words([100, 200], [0.9, 1.0])


@pytest.mark.parametrize(
    ("steps", "gaps"),
    [([], []), ([0, 1], [1.0, 1.0]), ([2, 1], [1.0, 1.0]), ([1, 2], [1.0]), ([1, 2], [1.0, math.nan])],
)
def test_bad_input_is_refused(steps: list[float], gaps: list[float]) -> None:
    with pytest.raises(InputError, match="ascend from above 0"):
        expected_onset(steps, gaps)


def test_a_rung_is_in_order() -> None:
    with pytest.raises(ValueError, match="is none"):
        Rung(1.0, 0.5, 0.6, 0.7)
