"""Numbers are written so that a reader cannot draw a false conclusion from them."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unrote.contracts import Estimate
from unrote.report.format import (
    at_least,
    at_most,
    fixed,
    headline,
    number,
    percent,
    plain,
    printable,
    quantity,
    ratio,
    sort_key,
)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Estimate(0.3125, 0.2713, 0.3561, 512), "31.2 % [27.1, 35.6], n = 512"),
        (Estimate(0.0, 0.0, 0.00767, 497), "at most 0.8 %, n = 497"),
        (Estimate(None, None, 0.03, 100), "at most 3.0 %, n = 100"),
        (Estimate(1.0, 0.992, 1.0, 480), "at least 99.2 %, n = 480"),
        (Estimate(0.00412, 0.00405, 0.00419, 10**6), "0.412 % [0.405, 0.419], n = 1,000,000"),
        (Estimate(0.5, None, None, 10), "50.0 %, n = 10"),
        (Estimate(None, None, None, 0), "–"),
        (0.0004, "0.040 %"),
        (1.0, "100 %"),
        (0.99996, "100.0 %"),
        (Estimate(0.0003, 0.0, 0.05, 60), "0.0 % [0, 5.0], n = 60"),
        (0, "0 %"),
        (None, "–"),
        (math.nan, "–"),
        ("text", "text"),
    ],
)
def test_ratio_is_written_with_its_interval_or_as_a_bound(value, shown):
    assert ratio(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1234567, "1,234,567"),
        (-3, "−3"),
        (0.012345, "0.0123"),
        (12.3456, "12.3"),
        (1234.5, "1,234"),
        (1.2e-7, "1.2 × 10⁻⁷"),
        (-4.56e8 - 0.5, "−4.56 × 10⁸"),
        (math.inf, "∞"),
        (math.nan, "–"),
        (0.3, "0.3"),
    ],
)
def test_number_keeps_three_digits(value, shown):
    assert number(value) == shown


def test_plain_values():
    assert [plain(value) for value in (True, False, None, "x", 2.0)] == ["yes", "no", "–", "x", "2"]
    assert quantity(Estimate(12.34, 11.2, 13.4, 5)) == "12.3 [11.2, 13.4], n = 5"
    assert quantity(Estimate(None, None, 4.0, 5)) == "at most 4, n = 5"
    assert fixed(2)(0.3) == "0.30"
    assert fixed(1)(None) == "–"


@settings(max_examples=200, deadline=None)
@given(st.floats(1e-7, 1.0))
def test_bounds_stay_bounds_when_rounded(value):
    upper, lower = (float(re.findall(r"[\d.]+", text)[0]) / 100 for text in (at_most(value), at_least(value)))
    assert upper >= value * (1 - 1e-9)
    assert lower <= value * (1 + 1e-9)


@settings(max_examples=200, deadline=None)
@given(st.floats(0.001, 0.98), st.floats(0.0005, 0.02))
def test_interval_has_digits_enough_to_tell_its_ends_apart(low, width):
    text = ratio(Estimate(low + width / 2, low, low + width, 9))
    value, first, last = (float(part) for part in re.findall(r"[\d.]+", text)[:3])
    assert first < value < last
    assert abs((last - first) / 100 - width) < 0.11 * width + 1e-5


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters()))
def test_printable_text_can_be_written_and_is_left_alone_the_second_time(text):
    text += "\udce9\ud800"
    shown = printable(text)
    assert shown.encode()
    assert printable(shown) == shown
    assert shown.endswith(r"\xe9\ud800")


def test_ordinary_text_is_printable_as_it_is():
    assert printable("Żółw 画像 עברית\n\t'\"<&>") == "Żółw 画像 עברית\n\t'\"<&>"


def test_headline_splits_a_number_from_what_qualifies_it():
    value = Estimate(0.3125, 0.2713, 0.3561, 512)
    assert headline(value, ratio(value)) == ("31.2 %", "[27.1, 35.6], n = 512")
    nothing = Estimate(0.0, 0.0, 0.00767, 497)
    assert headline(nothing, ratio(nothing)) == ("at most 0.8 %", "n = 497")
    assert headline("a [b], n = 3", "a [b], n = 3") == ("a [b], n = 3", "")


def test_sort_key_orders_what_can_be_ordered():
    assert sort_key(Estimate(None, None, 0.2, 9)) == 0.2
    assert sort_key(True) == 1.0
    assert [sort_key(value) for value in (None, "7", math.nan, Estimate(None, None, None, 0))] == [None] * 4


def test_percent_of_negative_differences():
    assert percent(-0.052) == "−5.2 %"
    assert percent(-0.00001) == "−0.0010 %"
