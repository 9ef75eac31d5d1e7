"""Rows that a spelling names: labels, then a range in order; and what a limit leaves out is said."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unrote.contracts import InputError
from unrote.data.choosing import choose, selection_notes
from unrote.data.spelling import Spelling

LABELS = np.array([2, 0, 2, 1, 2, 0])
NAMES = ("cat", "dog", "owl")


def test_the_label_is_taken_first_and_then_the_limit_in_order():
    spelling = Spelling("x", "x", limit=2, label="2")
    assert choose(spelling, 6, LABELS, ()).tolist() == [0, 2]
    assert choose(Spelling("x", "x", limit=3), 6, None, ()).tolist() == [0, 1, 2]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_ranges_are_slices_and_labels_are_unions(data):
    labels = np.array(data.draw(st.lists(st.integers(-1, 4), min_size=1, max_size=30)))
    present = sorted(set(labels.tolist()))
    wanted = data.draw(st.lists(st.sampled_from(present), min_size=1, max_size=4))
    rows = [i for i, label in enumerate(labels) if label in wanted]
    start = data.draw(st.integers(0, len(rows) - 1))
    limit = data.draw(st.none() | st.integers(1, len(rows) - start))
    spelling = Spelling("x", "x", limit=limit, label=",".join(map(str, wanted)), start=start)
    stop = None if limit is None else start + limit
    assert choose(spelling, len(labels), labels, ()).tolist() == rows[start:stop]
    beyond = Spelling("x", "x", limit=len(rows) - start + 1, label=spelling.label, start=start)
    with pytest.raises(InputError, match=f"there are {len(rows)} with the label"):
        choose(beyond, len(labels), labels, ())


def test_a_class_name_goes_before_a_class_number():
    assert choose(Spelling("x", "x", label="0"), 6, LABELS, ("9", "8", "0")).tolist() == [0, 2, 4]
    assert choose(Spelling("x", "x", label="1"), 6, LABELS, NAMES).tolist() == [3]


def test_several_labels_by_name_and_number_and_names_that_hold_commas():
    names = ("tench, Tinca", "tench", "Tinca")
    assert choose(Spelling("x", "x", label="tench, Tinca"), 6, LABELS, names).tolist() == [1, 5]
    assert choose(Spelling("x", "x", label="Tinca,tench, Tinca"), 6, LABELS, names).tolist() == [
        0,
        1,
        2,
        4,
        5,
    ]
    assert choose(Spelling("x", "x", label="tench,tench, Tinca"), 6, LABELS, names).tolist() == [1, 3, 5]
    assert choose(Spelling("x", "x", label="2, 1"), 6, LABELS, ()).tolist() == [0, 2, 3, 4]
    assert choose(Spelling("x", "x", label="owl,0"), 6, LABELS, NAMES).tolist() == [0, 1, 2, 4, 5]
    twice = ("cat", "owl", "owl")
    assert choose(Spelling("x", "x", label="owl"), 6, LABELS, twice).tolist() == [0, 2, 3, 4]


def test_label_and_limit_errors_say_what_there_is():
    with pytest.raises(InputError, match=r"there are 3 with the label 'owl'.*at most 3"):
        choose(Spelling("x@4", "x", limit=4, label="owl"), 6, LABELS, NAMES)
    for wrong in ("cow", "owl,cow", "cow,owl", "owl,,cow"):
        with pytest.raises(InputError, match=r"asks for the label '(cow)?', .*labels here are cat, dog, owl"):
            choose(Spelling("x", "x", label=wrong), 6, LABELS, NAMES)
    with pytest.raises(InputError, match="labels here are 0, 1, 2"):
        choose(Spelling("x", "x", label="3"), 6, LABELS, ())
    with pytest.raises(InputError, match="holds no images with the label 'elk'"):
        choose(Spelling("x", "x", label="elk"), 6, LABELS, (*NAMES, "elk"))
    with pytest.raises(InputError, match="has no labels"):
        choose(Spelling("x", "x", label="3"), 6, None, ())
    with pytest.raises(InputError, match=r"there are 6\b"):
        choose(Spelling("x@7", "x", limit=7), 6, None, ())
    with pytest.raises(InputError, match=r"image 6 \(the first is number 0\), but there are 6\b"):
        choose(Spelling("x@6:", "x", start=6), 6, None, ())


def notes(spelling: Spelling, labels: np.ndarray) -> tuple[str, ...]:
    return selection_notes(spelling, choose(spelling, len(labels), labels, NAMES), labels, NAMES)


def test_a_limit_that_takes_few_classes_of_a_set_in_order_is_said():
    sorted_set = np.repeat([0, 1, 2], 50)
    (note,) = notes(Spelling("x@40", "x", limit=40), sorted_set)
    assert "takes 1 of 3 classes, only class 'cat': the set lies class by class" in note
    assert "?label=" in note
    assert "2 of 3 classes, only classes 'dog', 'owl'" in notes(Spelling("x", "x", start=60), sorted_set)[0]
    assert (
        "takes 1 of 2 classes, only class 'dog'"
        in notes(Spelling("x", "x", limit=9, label="1,2"), sorted_set)[0]
    )
    for silent in (
        Spelling("x", "x"),
        Spelling("x", "x", limit=101),
        Spelling("x", "x", limit=1),
        Spelling("x", "x", limit=40, label="cat"),
        Spelling("x", "x", label="cat,dog"),
    ):
        assert notes(silent, sorted_set) == ()


def test_a_mixed_set_that_misses_a_rare_class_by_chance_is_not_remarked_on():
    mixed = np.tile([0, 1], 50)
    mixed[-1] = 2
    assert notes(Spelling("x", "x", limit=40), mixed) == ()
    assert (
        "1 of 3 classes, only class 'cat';"
        in notes(Spelling("x", "x", limit=2), np.tile([0, 0, 1, 2], 50))[0]
    )
    assert selection_notes(Spelling("x", "x", limit=2), np.arange(2), None, ()) == ()
