"""Laws of the test of the recommended gap: its rules on made-up runs, and no data set that calibrated it."""

from __future__ import annotations

from typing import Any

import pytest

from unrote.lab.claims import FAILED, HELD, PARTLY
from unrote.lab.wild_middle import forecast, recommended
from unrote.lab.wild_middle.forecasts import name_of


def rows(left: float, loss: float = 1.0) -> list[dict[str, Any]]:
    """Runs in which the gap leaves a share of the copies and changes the loss, nearly alike on every data set."""
    made = []
    for i, asked in enumerate(recommended.configurations("laptop")):
        cured = asked["rule"] != "baseline"
        jitter = 1 + 0.02 * (i % 5)
        made.append(
            {
                "configuration": asked,
                "result": {
                    "gap": [0.2, 1.0],
                    "share": 0.4,
                    "copies": 0.6 * jitter * (left if cured else 1.0),
                    "held_out": jitter * (loss if cured else 1.0),
                },
            }
        )
    return made


def test_no_data_set_that_calibrated_is_trained_on() -> None:
    every = [name_of(one) for one in forecast.configurations("laptop")]
    calibrating = set(every[: len(forecast.SETTINGS)][0::2])
    tested = {name_of(one) for one in recommended.configurations("laptop")}
    assert len(tested) >= 5
    assert not tested & calibrating


@pytest.mark.parametrize(("left", "verdict"), [(0.1, HELD), (0.6, PARTLY), (1.1, FAILED)])
def test_what_is_left_decides(left: float, verdict: str) -> None:
    for rule in ("reject", "skip"):
        found, said = recommended.cuts(rule)(rows(left))
        assert said == verdict
        assert found.value == pytest.approx(left, rel=0.05)


@pytest.mark.parametrize(("loss", "verdict"), [(0.8, HELD), (1.3, FAILED)])
def test_what_it_costs_decides(loss: float, verdict: str) -> None:
    assert recommended.costs("reject")(rows(0.5, loss))[1] == verdict


def test_no_copies_at_all_count_as_half_a_copy() -> None:
    found, _ = recommended.cuts("reject")(rows(0.0))
    assert found.value == pytest.approx(0.5 / 512 / 0.6, rel=0.1)


def test_the_page_has_one_row_for_each_data_set() -> None:
    made = rows(0.2)
    (table,) = recommended.show(made)
    assert len(table.rows) == len({name_of(row["configuration"]) for row in made})
