"""Claims on early stopping: verdicts on made runs that keep or break them, and a smoke run that is judged and drawn."""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any

import pytest

from unrote.lab.claims import FAILED, HELD, PARTLY, judge
from unrote.lab.early_stopping import online
from unrote.lab.early_stopping.online_figures import show
from unrote.lab.early_stopping.online_rules import (
    check_at_gap,
    check_at_stop,
    off_by,
    off_by_recall,
    onset_of,
    over_best,
    over_clean,
)
from unrote.measure.online import expected_onset


def rows(late: float = 1.0, copies: float = 0.0, frechet: float = 10.0) -> list[dict[str, Any]]:
    """Runs that stop at a third of the way to their onset, which is `late` times what is expected at the stop."""
    made = []
    for asked in online.configurations("laptop"):
        steps, end = asked["at"], asked["at"][-1]
        come = end / 3 * (1 + 0.02 * asked["seed"])
        checks = [int(come * share / late) for share in (0.1, 0.2, 0.3, 0.5, 0.8)]
        gaps = [0.1, 0.5, 1.1, 2.2, 4.0]
        said = [come / late if gap > 1 else None for gap in gaps]
        averaged: dict[str, list[float]] = {
            "copies": [512 * min(0.9, 0.05 * step / come) if step > come / 2 else 0.0 for step in steps],
            "frechet": [10.0 + 5 * (step < come / 4) for step in steps],
            "recalled": [min(1.0, 0.12 * late * step / come) for step in steps],
        }
        for band in ("", "_0", "_1", "_2"):
            averaged |= {
                f"train{band}": [1.0] * len(steps),
                f"validation{band}": [1 + 9 * s / end for s in steps],
            }
        result = {
            "steps": steps,
            "fresh": 1,
            "averaged": averaged,
            "checks": {
                "step": checks,
                "gap": gaps,
                "gap_low": [0.9 * gap for gap in gaps],
                "onset": said,
                "onset_low": [None if s is None else s / 1.8 for s in said],
                "onset_high": [None if s is None else s * 1.8 for s in said],
            },
            "rows": 192,
            "stopped": checks[2],
            "kept": checks[1],
            "at_kept": [{"copies": 512 * copies, "frechet": frechet}],
        }
        made.append({"configuration": asked, "result": result})
    return made


def verdicts(made: list[dict[str, Any]]) -> dict[str, str]:
    return {one["id"]: one["verdict"] for one in judge(online.EXPERIMENT, "laptop", made)}


def test_runs_that_stop_in_time_and_know_what_comes_hold_nearly_everything() -> None:
    found = verdicts(rows())
    assert {name for name, verdict in found.items() if verdict != HELD} <= {"online-beats-pictures"}


@pytest.mark.parametrize("group", online.GROUPS)
def test_copies_of_what_was_kept_decide_whether_it_is_clean(group: str) -> None:
    assert verdicts(rows(copies=0.012))[f"online-{group}-clean"] in (PARTLY, FAILED)
    assert verdicts(rows(copies=0.05))[f"online-{group}-clean"] == FAILED


def test_an_onset_that_is_expected_too_soon_is_near_or_missed() -> None:
    near, missed = verdicts(rows(late=1.49)), verdicts(rows(late=2.5))
    assert near["online-unet-expected"] == HELD and missed["online-unet-expected"] == FAILED
    assert near["online-later"] == HELD and missed["online-later"] == FAILED
    assert near["online-interval"] == HELD and missed["online-interval"] == FAILED


def test_recall_is_held_against_the_onset_as_well() -> None:
    one = rows(late=1.2)[0]
    assert off_by_recall(one) == pytest.approx(math.log(1.2 * 1.2), abs=0.1)  # a tenth at come / (1.2 * 1.2)
    one["result"]["averaged"]["recalled"] = [0.0] * len(one["result"]["steps"])
    assert off_by_recall(one) is None


def test_quality_is_held_against_the_best_of_the_run() -> None:
    assert verdicts(rows(frechet=14.0))["online-costs-little"] == HELD
    assert verdicts(rows(frechet=14.0))["online-best-quality"] == PARTLY
    assert verdicts(rows(frechet=30.0))["online-costs-little"] == FAILED


def test_the_best_before_the_copies_leaves_out_what_came_after() -> None:
    one = rows(frechet=12.0)[0]
    steps, come = one["result"]["steps"], onset_of(one).value
    assert come is not None
    one["result"]["averaged"]["frechet"] = [10.0 if step <= come else 3.0 for step in steps]
    clean, best = over_clean(one), over_best(one)
    assert clean is not None and best is not None and best - clean == pytest.approx(1.2039728)


def test_the_check_that_stopped_a_run_is_the_one_that_is_held_against_the_onset() -> None:
    one = rows(late=2.0)[0]
    at, later = check_at_stop(one), check_at_gap(one)
    assert at is not None and at["gap"] == 1.1 and later is not None and later["gap"] == 2.2
    off = off_by(one)
    assert off == pytest.approx(0.6931, abs=0.05)
    one["result"]["stopped"] = None
    last = check_at_stop(one)
    assert last is not None and last["gap"] == 4.0


@pytest.mark.parametrize("missing", ["kept", "copies", "checks", "expected"])
def test_runs_without_a_number_fail_and_are_drawn_nevertheless(missing: str) -> None:
    made = copy.deepcopy(rows())
    for row in made[:4]:
        result = row["result"]
        if missing == "kept":
            result |= {"kept": None, "at_kept": []}
        elif missing == "copies":
            result["averaged"]["copies"] = [0.0] * len(result["steps"])
        elif missing == "checks":
            result |= {"checks": {}, "stopped": None, "kept": None, "at_kept": []}
        else:
            result["checks"] |= {end: [None] * 5 for end in ("onset", "onset_low", "onset_high")}
    found = verdicts(made)
    assert found["online-unet-clean" if missing in ("kept", "checks") else "online-unet-expected"] == FAILED
    assert len(show(made)) == len(online.GROUPS) + 4


def test_checkpoints_ascend_and_settings_differ_from_the_calibration() -> None:
    plan = online.configurations("laptop")
    assert len(plan) == len(online.GROUPS) * len(online.SEEDS)
    assert all(a < b for one in plan for a, b in itertools.pairwise(one["at"]))
    assert set(online.sets("laptop")) == {"cifar10", "tiny_imagenet_32", "lfw_faces_32"} and not online.sets(
        "smoke"
    )


def test_a_smoke_run_is_judged_and_drawn() -> None:
    plan = online.configurations("smoke")
    made = [{"configuration": one, "result": dict(online.EXPERIMENT.run(one))} for one in plan]
    first = made[0]["result"]
    assert first["steps"] == plan[0]["at"] and len(first["averaged"]["recalled"]) == len(first["steps"])
    checks = first["checks"]
    assert checks["step"] and first["kept"] == checks["step"][-1] and len(first["at_kept"]) == 1
    again = expected_onset([float(s) for s in checks["step"]], checks["gap"])
    assert (again.value, again.low) == (checks["onset"][-1], checks["onset_low"][-1])
    assert len(show(made)) >= 5
    assert all(
        one["verdict"] == "not tested at this scale" for one in judge(online.EXPERIMENT, "smoke", made)
    )
    for claim in online.EXPERIMENT.claims:
        claim.measure(made)  # whatever the verdict is, it is one
