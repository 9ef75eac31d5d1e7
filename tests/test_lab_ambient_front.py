"""Laws of the front: every remedy trains and is measured, and its rules on runs made up for them."""

from __future__ import annotations

from typing import Any

import pytest

from unrote.lab.ambient import front
from unrote.lab.ambient.remedies import LEVELS, REMEDIES, run
from unrote.lab.claims import FAILED, HELD, PARTLY
from unrote.lab.wild_middle.gap_rules import left


def rows(left_over: dict[str, float], worse: float = 5.0) -> list[dict[str, Any]]:
    """Runs whose copies are a share of the baseline's, nearly alike at every seed."""
    made = []
    for i, asked in enumerate(front.configurations("laptop")):
        name, jitter = asked["cure"], 1 + 0.01 * (i % 3)
        share = left_over.get(name, 0.8)
        far = 20.0 + (worse if name == front.NOISY else 0.0)
        steps = len(asked["at"])
        result = {
            "steps": asked["at"],
            "copies": [0.6 * share * jitter * (k + 1) / steps for k in range(steps)],
            "frechet": [far * jitter] * steps,
            "held_out": [1.0] * steps,
        }
        made.append({"configuration": asked, "result": result})
    return made


U = {
    "baseline": 1.0,
    "ambient 0.1, levels first": 0.95,
    "ambient 0.5, levels first": 0.3,
    "ambient 4, levels first": 0.97,
    front.NOISY: 0.0,
}


def test_a_u_holds_and_names_its_bottom() -> None:
    made = rows(U)
    assert front.best_level(made) == "ambient 0.5, levels first"
    found, verdict = front.u_shaped(made)
    assert verdict == HELD
    assert found.value == pytest.approx(0.3, rel=0.05)


def test_a_slope_is_no_u() -> None:
    falling = {f"ambient {level:g}, levels first": 1 / (1 + i) for i, level in enumerate(LEVELS)}
    assert front.u_shaped(rows(U | falling))[1] == FAILED


def test_ends_that_come_back_in_part_are_a_u_in_part() -> None:
    half = {"ambient 0.1, levels first": 0.6, "ambient 4, levels first": 0.6}
    assert front.u_shaped(rows(U | half))[1] == PARTLY


def test_noisy_copies_alone() -> None:
    assert front.noisy_is_least(rows(U))[1] == HELD
    assert front.noisy_is_least(rows(U, worse=-5.0))[1] == PARTLY
    assert front.noisy_is_least(rows(U | {front.NOISY: 1.0}, worse=-5.0))[1] == FAILED


def test_the_recommended_level_against_the_best_fixed_one() -> None:
    fixed = {"ambient 0.25, rows first": 0.5}
    assert front.advice_is_best(rows(U | fixed | {"ambient recommended": 0.3}))[1] == HELD
    assert front.advice_is_best(rows(U | fixed | {"ambient recommended": 0.7}))[1] == FAILED


def test_every_remedy_is_asked_for_at_every_seed() -> None:
    asked = front.configurations("laptop")
    assert len(asked) == len(REMEDIES) * len(front.SEEDS)
    assert left(rows(U), "baseline").value == pytest.approx(1)


@pytest.mark.slow
@pytest.mark.parametrize("name", REMEDIES)
def test_every_remedy_trains(name: str) -> None:
    asked = dict(front.configurations("smoke")[0]) | {"cure": name, "at": [4, 8]}
    found = run(asked)
    assert found["steps"] == [4, 8]
    assert found["train"][1] < found["train"][0] * 1.5
    assert (found["gap"] is None) == (found["share"] == 0)
