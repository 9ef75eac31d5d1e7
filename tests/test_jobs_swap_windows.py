"""The paper's windows are its steps; thirds part the schedule; what no schedule holds is refused."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from unrote.contracts import InputError
from unrote.jobs import SwapOptions
from unrote.jobs.swap_windows import asked_windows, paper_windows, thirds
from unrote.noise.levels import edm_levels, end_at_zero
from unrote.sample.windows import Window

LEVELS = end_at_zero(edm_levels(18))
OPTIONS = SwapOptions(model=Path("a"), other=Path("b"), train="digits")


def test_steps_7_to_13_of_18_counted_from_0_and_from_1() -> None:
    found = [(w.source, w.name, w.window) for w in paper_windows(LEVELS)]
    assert found == [
        ("paper, steps from 0", "large", Window(0, 6)),
        ("paper, steps from 0", "medium", Window(7, 13)),
        ("paper, steps from 0", "small", Window(14, 17)),
        ("paper, steps from 1", "large", Window(0, 5)),
        ("paper, steps from 1", "medium", Window(6, 12)),
        ("paper, steps from 1", "small", Window(13, 17)),
    ]


@pytest.mark.parametrize("n", [3, 7, 18, 40])
@pytest.mark.parametrize(("low", "high"), [(0.1, 5.0), (1e-4, 100.0), (0.002, 80.0), (3.0, 3.1)])
def test_thirds_part_every_schedule(n, low, high) -> None:
    """Every level lies in exactly one of them, the highest levels first."""
    levels = end_at_zero(edm_levels(n))
    found = thirds(levels, low, high, "")
    inside = list(itertools.chain.from_iterable(range(w.window.first, w.window.last + 1) for w in found))
    if float(levels[0]) == high:  # an end on a level is in both neighbours
        assert set(inside) == set(range(n))
    else:
        assert inside == list(range(n))


def test_windows_by_level_and_by_step_can_name_the_same_levels() -> None:
    asked = replace(OPTIONS, window=((0.14, 5.4),), steps_window=((8, 14),), index_base=1)
    assert [w.window for w in asked_windows(LEVELS, asked)] == [Window(7, 12), Window(7, 13)]
    assert asked_windows(LEVELS, replace(OPTIONS, steps_window=((7, 13),)))[0].window == Window(7, 13)
    assert asked_windows(LEVELS, OPTIONS) == []


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"window": ((5.0, 0.1),)}, "the lower first"),
        ({"window": ((-1.0, 0.1),)}, "two positive numbers"),
        ({"window": ((81.0, 90.0),)}, "none of the 18 levels"),
        ({"window": ((1.2, 1.3),)}, "Take wider ends"),
        ({"steps_window": ((13, 7),)}, "in this order"),
        ({"steps_window": ((7, 18),)}, "numbered 0 to 17"),
        ({"steps_window": ((0, 7),), "index_base": 1}, "numbered 1 to 18"),
        ({"index_base": 1}, "none is given"),
    ],
)
def test_windows_that_are_none_are_refused(changed, says) -> None:
    with pytest.raises(InputError, match=says):
        asked_windows(LEVELS, replace(OPTIONS, **changed))
