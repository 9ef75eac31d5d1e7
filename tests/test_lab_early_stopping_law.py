"""Laws of the onset's law: checkpoints, onsets of made runs that follow or break it, stops and their copies."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from unrote.lab.claims import FAILED, HELD, PARTLY, judge
from unrote.lab.early_stopping import law
from unrote.lab.early_stopping.law_figures import gap_at, typical_onsets
from unrote.lab.early_stopping.law_rules import Definition, Stop, at_stop, law_of, of_set, stop_of
from unrote.lab.early_stopping.law_runs import GRID, checkpoints


def rows(power: float = 1.0, late: float = 1.0, copies_at_stop: float = 0.0) -> list[dict[str, Any]]:
    """Runs whose losses part at 4 P^power steps and whose copies come three times as late, later at P = 128."""
    made = []
    for asked in law.configurations("laptop"):
        size, steps = asked["pictures"]["images"], asked["at"]
        unit = size**power * (1 + 0.02 * asked["seed"]) * (late if size == 128 else 1)
        apart = [max(0.0, step / unit - 4) / 4 for step in steps]
        seen = {
            "train": [1.0] * len(steps),
            "validation": [1 + gap for gap in apart],
            "gap": apart,
            "gap_low": [0.9 * gap for gap in apart],
            "copies": [
                512 * max(copies_at_stop, min(0.8, max(0.0, step / unit - 12) / 20)) for step in steps
            ],
            "frechet": [10.0 + gap for gap in apart],
        }
        made.append(
            {"configuration": asked, "result": {"steps": steps, "fresh": 1, "raw": seen, "averaged": seen}}
        )
    return made


def verdicts(made: list[dict[str, Any]]) -> dict[str, str]:
    return {one["id"]: one["verdict"] for one in judge(law.EXPERIMENT, "laptop", made)}


@pytest.mark.parametrize(("steps", "first"), [(576, 32), (4608, 32), (16, 16), (64, 64)])
def test_checkpoints_ascend_on_the_grid_to_the_last_step(steps: int, first: int) -> None:
    at = checkpoints(steps, first)
    assert at == sorted(set(at)) and at[-1] == steps and at[0] == first
    assert all(step % GRID == 0 for step in at)
    assert all(b / a < 1.6 for a, b in itertools.pairwise(at))


@pytest.mark.parametrize("kind", ["gap", "copies"])
def test_onsets_that_are_proportional_have_the_exponent_one(kind: str) -> None:
    found = law_of(of_set(rows(), "digits"), Definition(kind, 0.2, "raw"))
    assert found is not None and found.exponent.value == pytest.approx(1, abs=0.03)
    square = law_of(of_set(rows(0.75), "digits"), Definition(kind, 0.2, "raw"))
    assert square is not None and square.exponent.value == pytest.approx(0.75, abs=0.05)


def test_the_law_is_held_followed_in_part_or_broken() -> None:
    name = "law-digits-gap-0.4-averaged"
    assert verdicts(rows())[name] == HELD
    assert verdicts(rows(0.9))[name] == PARTLY  # near 1, and surely below
    assert verdicts(rows(0.6))[name] == FAILED


def test_a_forecast_is_held_against_the_largest_size() -> None:
    name = "law-faces-forecast-copies-0.1-averaged"
    assert verdicts(rows())[name] == HELD
    assert verdicts(rows(late=1.9))[name] == FAILED


def test_onsets_that_no_run_reaches_fail_instead_of_holding() -> None:
    made = rows(late=1.0)
    for row in made:
        row["result"]["averaged"] = row["result"]["averaged"] | {
            "copies": [0.0] * len(row["result"]["steps"])
        }
    assert verdicts(made)["law-digits-copies-0.2-averaged"] == FAILED


def test_a_run_stops_at_its_last_clean_checkpoint() -> None:
    def row(gap: list[float], low: list[float]) -> dict[str, Any]:
        return {"result": {"averaged": {"gap": gap, "gap_low": low, "copies": [1.0, 2.0, 3.0, 4.0]}}}

    assert stop_of(row([0.1, 0.5, 1.2, 2.0], [0.0, 0.2, 0.9, 1.5])) == Stop(1, True)
    assert stop_of(row([0.1, 0.5, 0.9, 0.9], [0.0, 0.2, 0.7, 0.7])) == Stop(3, False)
    assert stop_of(row([3.0, 3.0, 3.0, 3.0], [2.0, 2.0, 2.0, 2.0])) == Stop(None, True)
    assert at_stop([row([0.1, 0.5, 1.2, 2.0], [0.0, 0.2, 0.9, 1.5])], "copies") == [2.0]


def test_copies_at_the_stop_decide_whether_it_came_in_time() -> None:
    name = "law-fashion-stopped-clean"
    assert verdicts(rows())[name] == HELD
    assert verdicts(rows(copies_at_stop=0.05))[name] == FAILED


def test_the_gap_at_an_onset_is_read_between_checkpoints() -> None:
    # Copies of a tenth come at 14 P steps, where the losses of these runs are 2.5 apart.
    mine = [row for row in of_set(rows(), "digits") if row["configuration"]["seed"] == 0]
    for row in mine:
        assert gap_at(row, Definition("copies", 0.1, "averaged")) == pytest.approx(2.5, rel=0.05)
    table = typical_onsets(mine, "digits", law.DEFINITIONS)
    assert len(table.rows) == len(law.DEFINITIONS) and len(table.columns) == 2 + len(law.SIZES)
