"""Laws of the forecast: what is planted is measured, the right predictor wins, and nothing is fitted on its own set."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from unrote.lab.claims import FAILED, HELD, PARTLY
from unrote.lab.wild_middle import forecast
from unrote.lab.wild_middle.forecasts import (
    LEVELS,
    THRESHOLDS,
    calibrated,
    errors,
    jaccards,
    setting_of,
    settings_of,
    smoothed,
)
from unrote.noise.levels import log_levels

CROSSINGS = (0.4, 0.5, 0.7, 0.9, 1.0, 1.3, 1.6, 2.0)


def run_of(crossing: float, peak: float, nearest: float, side: int, width: float = 0.5) -> dict[str, Any]:
    """A run whose copies are a Gaussian bump in log sigma of some width, and whose curves are logistic there."""
    sigma = log_levels(*LEVELS)
    bump = torch.exp(-0.5 * ((sigma / peak).log() / width) ** 2)
    half = width * math.sqrt(2 * math.log(2))
    pictures = {"set": "digits", "class": None, "side": side, "images": 32, "test": 500}
    shift = [math.log(p / (1 - p)) for p in THRESHOLDS]
    return {
        "configuration": {"pictures": pictures, "noised": 4000, "samples": 512, "seed": 0},
        "result": {
            "crossing": crossing,
            "height": 0.98,
            # Coverage 0.2 and weight 0.8 lie at the ends of the bump's upper half, other thresholds elsewhere.
            "covered_at": [crossing * math.exp(-half + 0.2 * (s - shift[3])) for s in shift],
            "weight_at": [crossing * math.exp(half - 0.2 * (s - shift[7])) for s in shift],
            "nearest": nearest,
            "copies": [round(float(b) * 400) for b in bump],
            "sample_copies": 100,
        },
    }


def geometric_world() -> list[dict[str, Any]]:
    """Copies follow the crossing; the nearest distance and the level say nothing."""
    nearest = (3.0, 1.0, 4.0, 1.5, 5.0, 2.0, 6.0, 1.2)
    return [run_of(c, c, d, 8 + i) for i, (c, d) in enumerate(zip(CROSSINGS, nearest, strict=True))]


def test_peak_and_measured_zone_are_those_of_the_planted_bump() -> None:
    one = setting_of([run_of(0.9, 0.8, 2.0, 8)])
    assert one.peak == pytest.approx(0.8, rel=0.01)
    low, high = one.measured
    wide = math.sqrt(0.5**2 + 0.5 * math.log(LEVELS[1] / LEVELS[0]) ** 2 / (LEVELS[2] - 1) ** 2)
    half = wide * math.sqrt(2 * math.log(2))  # smoothing adds its variance, h^2/2
    assert math.log(low / 0.8) == pytest.approx(-half, abs=0.02)
    assert math.log(high / 0.8) == pytest.approx(half, abs=0.02)


def test_smoothing_keeps_lines_and_the_sum_inside() -> None:
    line = torch.arange(7.0)
    assert torch.equal(smoothed(line)[1:-1], line[1:-1])


def test_jaccard_index_of_zones() -> None:
    one = setting_of([run_of(0.9, 0.8, 2.0, 8)])
    low, high = one.measured
    assert one.jaccard((low, high)) == pytest.approx(1)
    assert one.jaccard((high, 2 * high)) == 0
    middle = math.sqrt(low * high)
    assert one.jaccard((low, middle)) == pytest.approx(0.5)
    assert one.jaccard((high, low)) == 0  # an empty zone
    assert one.jaccard((math.nan, high)) == 0


def test_in_a_world_of_geometry_every_claim_holds() -> None:
    rows = geometric_world()
    found = settings_of(rows)
    assert float(errors(found, "crossing").max()) < 0.01
    assert calibrated(found) == (0.2, 0.8)
    for judge in (
        forecast.crossing_is_near,
        forecast.crossing_beats,
        forecast.zone_beats,
        forecast.zone_holds,
    ):
        assert judge(rows)[1] == HELD


def test_in_a_world_of_constants_the_geometry_loses() -> None:
    rows = [run_of(c, 0.6, 2.0, 8 + i) for i, c in enumerate(CROSSINGS)]
    assert forecast.crossing_beats(rows)[1] == FAILED
    assert forecast.zone_beats(rows)[1] == FAILED


def test_in_a_world_of_distances_the_geometry_loses() -> None:
    rows = [
        run_of(c, 0.3 * d, d, 8 + i)
        for i, (c, d) in enumerate(zip(CROSSINGS, (3.0, 1.0, 4.0, 1.5, 5.0, 2.0, 6.0, 1.2), strict=True))
    ]
    assert forecast.crossing_beats(rows)[1] == FAILED


def test_a_prediction_never_knows_its_own_peak() -> None:
    rows = geometric_world()
    before = errors(settings_of(rows), "level")
    moved = [*rows[:-1], run_of(2.0, 4.0, 1.2, 15)]
    after = errors(settings_of(moved), "level")
    # The last set's own error grows by the whole move: its constant came from the others.
    assert float(after[-1] - before[-1]) == pytest.approx(math.log(2), abs=0.02)


def test_a_gain_that_is_not_sure_holds_in_part() -> None:
    peaks = (0.4, 0.5, 0.7, 0.9, 1.0, 1.3, 0.25, 0.25)
    rows = [run_of(c, p, 2.0, 8 + i) for i, (c, p) in enumerate(zip(CROSSINGS, peaks, strict=True))]
    assert forecast.crossing_beats(rows)[1] == PARTLY


def test_sets_whose_network_copies_nothing_are_left_out() -> None:
    rows = geometric_world()
    silent = run_of(1.0, 1.0, 2.0, 30)
    silent["result"]["copies"] = [0] * LEVELS[2]
    assert len(settings_of([*rows, silent])) == len(rows)


def test_jaccards_are_of_zones_fitted_elsewhere() -> None:
    found = settings_of(geometric_world())
    assert float(jaccards(found, "zone").min()) > 0.85
    assert float(jaccards(found, "level").mean()) < float(jaccards(found, "zone").mean())
