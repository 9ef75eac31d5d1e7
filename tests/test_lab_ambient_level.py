"""Laws of the best level: parabolas, predictions of proportional sets, copies between levels, verdicts."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from unrote.lab.ambient import level
from unrote.lab.ambient.levels import LEVELS, Measured, errors, measured, predictions, regrets
from unrote.lab.claims import FAILED, HELD


def a_set(bottom: float, crossing: float = 1.0, nearest: float = 1.0) -> Measured:
    """Copies that are a parabola of log sigma_n with its bottom anywhere; quality falls above it."""
    logs = tuple(0.3 * math.log(one / bottom) ** 2 - 1 for one in LEVELS)
    frechet = tuple(1.0 if one <= bottom else 2.0 for one in LEVELS)
    return Measured(f"at {bottom}", logs, frechet, 0.5, crossing, nearest, crossing)


@pytest.mark.parametrize("bottom", [0.2, 0.31, 0.77, 1.5])
def test_the_bottom_of_a_parabola_is_found_between_the_levels(bottom: float) -> None:
    assert a_set(bottom).fewest == pytest.approx(bottom)


def test_a_slope_has_its_bottom_at_the_end() -> None:
    assert a_set(100.0).fewest == LEVELS[-1]
    assert a_set(0.001).fewest == LEVELS[0]


def test_the_best_at_equal_quality_is_the_highest_level_that_costs_nothing() -> None:
    assert a_set(0.9).best == 0.8
    assert a_set(0.01).best == LEVELS[0]  # no level is of equal quality


def test_copies_between_levels_are_linear_in_the_logarithm() -> None:
    one = a_set(0.5)
    for i, at in enumerate(LEVELS):
        assert one.left(at) == pytest.approx(one.logs[i])
    middle = math.sqrt(LEVELS[2] * LEVELS[3])
    assert one.left(middle) == pytest.approx((one.logs[2] + one.logs[3]) / 2)
    assert one.left(99.0) == one.logs[-1]
    assert one.left(0.01) == one.logs[0]


def test_a_scale_that_the_best_level_follows_predicts_it() -> None:
    found = [a_set(bottom, crossing=2 * bottom) for bottom in (0.25, 0.3, 0.5, 0.8, 1.2)]
    assert torch.allclose(
        predictions(found, level.fewest, "crossing").exp(),
        torch.tensor([one.fewest for one in found]).double(),
    )
    assert float(errors(found, level.fewest, "crossing").max()) < 1e-9
    assert float(errors(found, level.fewest, "level").min()) > 0
    assert bool((regrets(found, "crossing") <= regrets(found, "level") + 1e-9).all())


def rows(follows: bool) -> list[dict[str, Any]]:
    """Runs of all data sets whose best level is the crossing, or is the same for all."""
    made = []
    for asked in level.configurations("laptop"):
        place = level.SETTINGS.index(
            next(
                s
                for s in level.SETTINGS
                if (s[0], s[1]) == (asked["pictures"]["set"], asked["pictures"]["class"])
            )
        )
        crossing = 0.25 * 1.3**place
        bottom = crossing if follows else 0.5
        sigma = asked["level"]
        copies = 0.6 if sigma is None else 0.6 * math.exp(0.3 * math.log(sigma / bottom) ** 2 - 2)
        told = {"crossing": crossing, "covered": crossing, "nearest": 1.0 + place % 3}
        result = {"copies": copies, "frechet": 7.0, "foretold": told if sigma is None else None}
        made.append({"configuration": asked, "result": result})
    return made


def test_runs_are_gathered_by_data_set() -> None:
    found = measured(rows(follows=True))
    assert len(found) == len(level.SETTINGS)
    for place, one in enumerate(found):
        assert one.crossing == pytest.approx(0.25 * 1.3**place)
        assert one.baseline == pytest.approx(0.6)
        assert one.fewest == pytest.approx(one.crossing, rel=1e-6)


def test_a_geometry_that_is_followed_wins_and_one_that_is_not_loses() -> None:
    assert level.predicted(level.fewest)(rows(follows=True))[1] == HELD
    assert level.regretted(rows(follows=True))[1] == HELD
    assert level.predicted(level.fewest)(rows(follows=False))[1] == FAILED
