"""Laws of the experiment on learning rates: made networks whose best rate is known, and one real small run."""

from __future__ import annotations

import math
from typing import Any

import pytest

from unrote.lab.claims import FAILED, HELD, judge
from unrote.lab.early_stopping import rhm_rates
from unrote.lab.early_stopping.rhm_rates_figures import show
from unrote.lab.early_stopping.rhm_rates_rules import best, exponent, in_mup, losses, stable, standard


def rows(shared: float = 0.0, falling: float = -1.0, better: float = 0.02) -> list[dict[str, Any]]:
    """Loss 1.2 + .02 log2(rate / best)^2 up to eight times the best rate, which is 2e-3 (width/64)^c.

    Args:
        shared, falling: c in maximal-update and in standard parametrisation.
        better: by how much the loss is lower at twice the width.
    """
    made = []
    for asked in rhm_rates.configurations("laptop"):
        width = asked["width"]
        c = shared if asked["base"] == rhm_rates.BASE else falling
        least = 2.1e-3 * (1 + 0.02 * asked["seed"]) * (width / 64) ** c
        bottom = 1.2 - better * math.log2(width / 64) + 0.01 * asked["seed"]
        seen = [bottom + 0.02 * math.log2(rate / least) ** 2 for rate in asked["rates"] if rate < 8 * least]
        result = {"untrained": 2.1, "train": [*seen, 7.0], "validation": [*seen, 7.0]}
        made.append({"configuration": asked, "result": result})
    return made


def verdicts(made: list[dict[str, Any]]) -> dict[str, str]:
    return {
        one["id"].removeprefix("rhm-rates-"): one["verdict"]
        for one in judge(rhm_rates.EXPERIMENT, "laptop", made)
    }


def test_the_parabola_finds_the_best_rate_and_the_first_failure_ends_the_stable_ones() -> None:
    for row in rows():
        asked = row["configuration"]
        least = 2.1e-3 * (1 + 0.02 * asked["seed"])
        least *= 1 if in_mup(row) else 64 / asked["width"]
        assert best(row) == pytest.approx(least, rel=1e-9)
        found = stable(row)
        assert found is not None
        assert 4 * least <= found < 8 * least
        assert len(losses(row)) == len(row["result"]["train"]) - 1


def test_exponents_are_those_of_the_made_networks() -> None:
    made = rows(shared=0.1, falling=-0.7)
    assert exponent([row for row in made if in_mup(row)], best).value == pytest.approx(0.1)
    assert exponent([row for row in made if standard(row)], best).value == pytest.approx(-0.7)
    assert sum(in_mup(row) and standard(row) for row in made) == len(rhm_rates.SEEDS)


def test_verdicts() -> None:
    names = {"mup-best", "mup-stable", "mup-wider", "standard-best", "standard-stable"}
    assert verdicts(rows()) == dict.fromkeys(names, HELD)
    swapped = verdicts(rows(shared=-1.0, falling=0.0, better=-0.02))
    assert swapped == dict.fromkeys(names, FAILED)


def test_rates_at_the_edge_and_equal_losses_have_no_parabola() -> None:
    row = rows()[0]
    flat = {"untrained": 2.0, "train": [1.0, 1.0, 1.0], "validation": [1.0] * 3}
    assert best(row | {"result": flat}) == row["configuration"]["rates"][0]
    middle = flat | {"train": [1.2, 1.0, 1.0 + 1e-17]}
    assert best(row | {"result": middle}) == pytest.approx(rhm_rates.RATES[1] * 2**0.5)
    last = flat | {"train": [1.2, 1.1, 1.0]}
    assert best(row | {"result": last}) == row["configuration"]["rates"][2]


def test_networks_that_learn_nothing_fail_and_are_drawn() -> None:
    made = rows()
    for row in made:
        row["result"] = {"untrained": 2.1, "train": [None], "validation": [None]}
    assert set(verdicts(made).values()) == {FAILED}
    assert len(show(made)) == 4
    some = rows()
    some[0]["result"] = made[0]["result"]
    assert verdicts(some)["mup-wider"] == FAILED
    assert len(show(some)) == 4


def test_paper_scale_goes_up_to_the_papers_width() -> None:
    asked = rhm_rates.configurations("paper")
    assert max(one["width"] for one in asked) == 8192
    assert asked[0]["shape"]["vocabulary"] == 16


def test_a_small_run_learns_at_its_rates() -> None:
    asked = rhm_rates.configurations("smoke")[1]
    result = rhm_rates.EXPERIMENT.run(asked)
    assert result["untrained"] == pytest.approx(math.log(8), rel=0.15)
    assert len(result["train"]) == len(asked["rates"])
    assert all(loss < result["untrained"] for loss in result["train"])
    hot = rhm_rates.EXPERIMENT.run(asked | {"rates": [1e-3, 30.0, 40.0]})
    assert hot["train"][0] == result["train"][0]
    assert len(hot["train"]) == 2
