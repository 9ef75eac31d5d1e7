"""Laws of the front: every remedy trains and is measured, and its rules on runs made up for them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from unrote.lab.ambient import front, front_claims, front_faces, front_unet, hidden, sizes
from unrote.lab.ambient.remedies import LEVELS, REMEDIES, run
from unrote.lab.claims import FAILED, HELD, PARTLY
from unrote.lab.wild_middle.gap_rules import left


def rows(left_over: dict[str, float], worse: float = 5.0) -> list[dict[str, Any]]:
    """Runs whose copies are a share of the baseline's, nearly alike at every seed."""
    made = []
    for i, asked in enumerate(front.configurations("laptop")):
        name, jitter = asked["cure"], 1 + 0.01 * (i % 3)
        share = left_over.get(name, 0.8)
        far = 20.0 + (worse if name == front_claims.NOISY else 0.0)
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
    front_claims.NOISY: 0.0,
}


def test_a_u_holds_and_names_its_bottom() -> None:
    made = rows(U)
    assert front_claims.best_level(made) == "ambient 0.5, levels first"
    found, verdict = front_claims.u_shaped(made)
    assert verdict == HELD
    assert found.value == pytest.approx(0.3, rel=0.05)


def test_a_slope_is_no_u() -> None:
    falling = {f"ambient {level:g}, levels first": 1 / (1 + i) for i, level in enumerate(LEVELS)}
    assert front_claims.u_shaped(rows(U | falling))[1] == FAILED


def test_ends_that_come_back_in_part_are_a_u_in_part() -> None:
    half = {"ambient 0.1, levels first": 0.6, "ambient 4, levels first": 0.6}
    assert front_claims.u_shaped(rows(U | half))[1] == PARTLY


def test_noisy_copies_alone() -> None:
    assert front_claims.noisy_is_least(rows(U))[1] == HELD
    assert front_claims.noisy_is_least(rows(U, worse=-5.0))[1] == PARTLY
    assert front_claims.noisy_is_least(rows(U | {front_claims.NOISY: 1.0}, worse=-5.0))[1] == FAILED


def test_the_recommended_level_against_the_best_fixed_one() -> None:
    fixed = {"ambient 0.25, rows first": 0.5}
    assert front_claims.advice_is_best(rows(U | fixed | {"ambient recommended": 0.3}))[1] == HELD
    assert front_claims.advice_is_best(rows(U | fixed | {"ambient recommended": 0.7}))[1] == FAILED


def test_every_remedy_is_asked_for_at_every_seed() -> None:
    for module in (front, front_unet, front_faces):
        asked = module.configurations("laptop")
        pairs = {(one["cure"], one["seed"]) for one in asked}
        assert pairs == {(name, seed) for name in module.NAMES for seed in front.SEEDS}
        assert len(asked) == len(pairs) and set(module.NAMES) <= set(REMEDIES)
    assert left(rows(U), "baseline").value == pytest.approx(1)


@pytest.mark.slow
@pytest.mark.parametrize("name", REMEDIES)
def test_every_remedy_trains(name: str) -> None:
    asked = dict(front.configurations("smoke")[0]) | {"cure": name, "at": [4, 8]}
    found = run(asked)
    assert found["steps"] == [4, 8]
    assert found["train"][1] < found["train"][0] * 1.5
    assert (found["gap"] is None) == (found["share"] == 0)


def sized_rows(factor: dict[int, float], frechet: dict[tuple[int, str], float]) -> list[dict[str, Any]]:
    """Runs of several sizes, where ambient training leaves a share of the copies."""
    made = []
    for i, asked in enumerate(sizes.configurations("laptop")):
        n, name, steps = asked["images"], asked["cure"], len(asked["at"])
        share = (1.0 if name == sizes.PLAIN else factor[n]) * (1 + 0.01 * (i % 3))
        result = {
            "steps": asked["at"],
            "copies": [0.5 * share] * steps,
            "frechet": [frechet.get((n, name), 9.0)] * steps,
        }
        made.append({"configuration": asked, "result": result})
    return made


def test_a_benefit_that_shrinks() -> None:
    assert sizes.shrinks(sized_rows({32: 0.2, 100: 0.4, 300: 0.8}, {}))[1] == HELD
    assert sizes.shrinks(sized_rows({32: 0.8, 100: 0.4, 300: 0.2}, {}))[1] == FAILED


def test_few_noised_pictures_against_many() -> None:
    share = dict.fromkeys(sizes.SIZES, 0.5)
    many = (sizes.MANY, sizes.PLAIN)
    assert sizes.matches_many(sized_rows(share, {(300, sizes.FOUR): 5.2, many: 5.0}))[1] == HELD
    assert sizes.matches_many(sized_rows(share, {(300, sizes.FOUR): 7.0, many: 5.0}))[1] == PARTLY
    assert sizes.matches_many(sized_rows(share, {(300, sizes.FOUR): 9.5, many: 5.0}))[1] == FAILED
    # Distances are cut at 0, where a ratio says nothing.
    assert sizes.matches_many(sized_rows(share, {(300, sizes.FOUR): 1.0, many: 0.0}))[0].value is None


def test_every_size_is_trained_as_often_on_each_picture() -> None:
    steps = {one["images"]: max(one["at"]) for one in sizes.configurations("laptop")}
    assert {steps[n] / n for n in sizes.SIZES} == {sizes.EACH}
    assert steps[sizes.MANY] == steps[300]


def test_samples_are_drawn_to_what_they_are_noisy_copies_of_and_fresh_ones_to_neither() -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.rand(420, 1, 4, 4, generator=g) * 2 - 1
    training, held_out, fresh = x[:20], x[20:220], x[220:]
    noisy = training.repeat(5, 1, 1, 1) + 0.5 * torch.randn(100, 1, 4, 4, generator=g)
    assert hidden.drawn_to(noisy, training, held_out) > 0.95
    assert hidden.drawn_to(held_out, training, held_out) < 0.5  # its own block is never beaten
    assert hidden.drawn_to(fresh, training, held_out) == pytest.approx(0.5, abs=0.1)
    assert hidden.drawn_to(fresh, training, torch.cat([held_out, fresh[:7]])) == hidden.drawn_to(
        fresh, training, held_out
    )  # a part of a block is left out
