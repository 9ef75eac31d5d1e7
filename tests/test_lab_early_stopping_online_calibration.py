"""The calibration: what is in the code is what the recorded runs give, and what its rules do on made runs."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from unrote.lab import runs
from unrote.lab.claims import Row
from unrote.lab.early_stopping import law, online
from unrote.lab.early_stopping.online_calibration import (
    FIRST,
    by_set,
    calibrate,
    chosen,
    copies_at,
    is_clean,
    left_out,
    new_group,
    onset_of,
    spread,
    threshold,
)
from unrote.lab.early_stopping.online_candidates import CANDIDATES, PICTURES, by_gap, by_line, curves_of
from unrote.measure.estimate import student_quantile
from unrote.measure.online import LADDER, TARGET
from unrote.train.stopping import THRESHOLD

STEPS = [100, 200, 400, 800, 1600]


@pytest.fixture(scope="module")
def recorded() -> list[Row]:
    """The recorded runs of the law."""
    rows, _ = runs.recorded(law.EXPERIMENT)
    return rows


def row(
    name: str = "a", gaps: tuple[float, ...] = (0.1, 0.5, 1.5, 3.5, 7.5), late: float = 1.0
) -> dict[str, Any]:
    """A run whose gap doubles with the steps and whose copies come at a gap of 3.5, or later."""
    counts = [512 * 0.05 * min(1.0, step / (800 * late)) ** 8 for step in STEPS]
    seen = {"train": [1.0] * 5, "validation": [1 + g for g in gaps], "copies": counts}
    asked = {"pictures": {"set": name, "images": 40, "test": 500}, "samples": 512}
    return {"configuration": asked, "result": {"steps": STEPS, "fresh": 0, "averaged": seen}}


def test_the_ladder_in_the_code_is_what_the_recorded_runs_give(recorded: list[Row]) -> None:
    more, _ = runs.recorded(online.EXPERIMENT)
    assert (len(recorded), len(more)) == (60, 25)
    for ladder, rows in ((FIRST, recorded), (LADDER, [*recorded, *more])):
        for here, found in zip(ladder, calibrate(rows), strict=True):
            assert here.gap == found.gap
            for end in ("ratio", "low", "high"):
                assert getattr(here, end) == pytest.approx(getattr(found, end), abs=6e-4)


def test_the_threshold_in_the_code_is_what_the_recorded_runs_give(recorded: list[Row]) -> None:
    assert threshold(recorded) == pytest.approx(THRESHOLD)
    found = [math.exp(v) for values in by_set(recorded, by_gap(THRESHOLD)).values() for v in values]
    assert (min(found), max(found)) == pytest.approx((1.3, 5.4), abs=0.05)  # as its words say


def test_the_line_is_the_candidate_with_the_smallest_error_out_of_sample(recorded: list[Row]) -> None:
    assert chosen(recorded).candidate.name == by_line(LADDER[-1].gap, TARGET).name


def test_weights_that_were_not_calibrated_on_are_estimated_as_well(recorded: list[Row]) -> None:
    raw = spread(recorded, by_line(1.4, TARGET), "raw")
    assert raw.outside < 0.3 and raw.within > 0.85


def test_every_candidate_says_something_of_a_run(recorded: list[Row]) -> None:
    curves = curves_of(recorded[0])
    for one in CANDIDATES:
        said = one.say(curves)
        assert said is not None and 0 <= said.at <= max(curves.steps) and said.step > 0, one.name


def test_candidates_say_nothing_of_a_run_that_never_came_so_far() -> None:
    curves = curves_of(row(gaps=(0.0, 0.01, 0.02, 0.03, 0.04)))
    assert {one.name for one in CANDIDATES if one.say(curves) is not None} == {PICTURES.name, "lowest"}


def test_left_out_errors_are_those_of_the_other_sets_means() -> None:
    assert left_out({"a": [1.0, 3.0], "b": [0.0], "c": [4.0, 8.0]}) == pytest.approx([-2, 0, -4, 3, 7])


def test_the_interval_of_a_new_set_is_students_where_sets_do_not_vary_inside() -> None:
    means = torch.tensor([0.1, 0.4, 0.9], dtype=torch.float64)
    centre, half = new_group({str(k): [float(m)] * 5 for k, m in enumerate(means)})
    assert centre == pytest.approx(float(means.mean()))
    assert half == pytest.approx(student_quantile(2, 0.95) * float(means.std()) * math.sqrt(4 / 3))


def test_the_interval_of_a_new_set_holds_its_values_as_often_as_it_says() -> None:
    g = torch.Generator().manual_seed(0)
    held = 0
    for _ in range(400):
        centres = 0.3 * torch.randn(4, generator=g, dtype=torch.float64)
        values = centres[:, None] + 0.2 * torch.randn(4, 6, generator=g, dtype=torch.float64)
        centre, half = new_group({str(k): values[k].tolist() for k in range(3)})
        held += abs(float(values[3, 0]) - centre) <= half
    assert 0.92 <= held / 400 <= 0.995


def test_copies_where_a_gap_passes_lie_between_those_of_the_checkpoints() -> None:
    one = row()
    counts = one["result"]["averaged"]["copies"]
    assert copies_at(one, 3.5) == pytest.approx(counts[3])
    assert counts[2] < copies_at(one, 2.0) < counts[3]
    assert copies_at(one, 0.05) == counts[0] and copies_at(one, 9.0) == counts[-1]


def test_the_threshold_is_the_largest_that_leaves_no_set_with_copies() -> None:
    late = [row("a", late=4.0), row("b", late=4.0)]
    assert threshold(late) > threshold([*late, row("c")]) > 1
    assert not is_clean([*late, row("c")], 3.5) and is_clean(late, 2.0)


def test_an_onset_that_was_not_reached_is_none_and_counts_for_nothing() -> None:
    never = row(late=100.0)
    assert onset_of(never) is None
    assert (
        by_set([never, row()], by_gap(1.0)).keys() == {"a"}
        and len(by_set([never, row()], by_gap(1.0))["a"]) == 1
    )
