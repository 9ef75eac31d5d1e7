"""Laws of the experiment on grammars: made runs that generalize first or copy first, and one real small run."""

from __future__ import annotations

from typing import Any

import pytest

from unrote.lab.claims import FAILED, HELD, PARTLY, judge
from unrote.lab.early_stopping import rhm
from unrote.lab.early_stopping.rhm_figures import show
from unrote.lab.early_stopping.rhm_rules import copied, layer_law, learned, new_and_valid, of, order, parted


def rows(early: float = 3.0, power: float = 1.0, late: float = 1.0) -> list[dict[str, Any]]:
    """Below P* copies come at 5 P^power steps and errors fall `late` times later; above it layer l at 4 P*_l steps.

    Args:
        early: how many times later copies come than rules, above P*.
    """
    made = []
    for asked in rhm.configurations("laptop"):
        p, steps, n = asked["trained"], asked["at"], asked["samples"]
        unit = 1 + 0.01 * asked["seed"]
        few = p < rhm.MANY
        come = (5 * p**power if few else 4 * 256 * early) * unit
        copies = [n * min(1.0, 0.1 * (step / come) ** 2) for step in steps]
        falls = [4 * 8 * 2**layer * unit if not few else late * come * 2 for layer in range(1, 5)]
        seen: dict[str, list[float]] = {
            f"errors_{k + 1}": [n * min(1.0, 0.2 * (fall / step) ** 2) for step in steps]
            for k, fall in enumerate(falls)
        }
        valid = [n - one for one in seen["errors_4"]]
        excess = [0.3 + abs(step / come - 0.5) for step in steps]
        apart = [0.5 * step / come for step in steps]
        seen |= {"copies": copies, "valid": valid, "excess": excess, "train": [0.8] * len(steps)}
        seen |= {"validation": [0.9 + gap for gap in apart]}
        result = {"steps": steps, "exact": {"train": 0.8, "validation": 0.9}, "raw": seen, "averaged": seen}
        made.append({"configuration": asked, "result": result})
    return made


def verdicts(made: list[dict[str, Any]]) -> dict[str, str]:
    return {one["id"]: one["verdict"] for one in judge(rhm.EXPERIMENT, "laptop", made)}


def test_errors_before_copies_above_and_only_with_copies_below() -> None:
    found = verdicts(rows())
    for way in rhm.FEWER:
        assert found[f"rhm-{way}-below"] == found[f"rhm-{way}-above"] == HELD
    swapped = verdicts(rows(early=0.3, late=0.3))
    assert swapped["rhm-masked-below"] == swapped["rhm-masked-above"] == FAILED


def test_times_are_met_between_checkpoints() -> None:
    for row in of(rows(), "masked", 64):
        unit = 1 + 0.01 * row["configuration"]["seed"]
        assert copied(row).value == pytest.approx(5 * 64 * unit, rel=0.05)
        assert learned(4)(row).value == pytest.approx(2 * 5 * 64 * unit, rel=0.05)
        # Each loss less its exact one: at twice the onset of copies they are one nat apart.
        assert parted(row).value == pytest.approx(2 * 5 * 64 * unit, rel=0.02)
    assert order(of(rows(), "masked", 64)).value == pytest.approx(2, rel=0.1)


def test_the_law_is_judged_and_layers_come_with_their_complexities() -> None:
    found = verdicts(rows())
    assert found["rhm-masked-law-copies"] == found["rhm-masked-law-losses"] == HELD
    assert verdicts(rows(power=0.6))["rhm-uniform-law-copies"] == FAILED
    assert layer_law(of(rows(), "uniform", rhm.MANY)).value == pytest.approx(1, abs=0.03)
    assert found["rhm-uniform-deeper-later"] == HELD
    assert found["rhm-uniform-layers"] in {
        HELD,
        PARTLY,
    }  # the interval of made runs is narrower than checkpoints


def test_a_model_that_copies_does_not_generalize() -> None:
    assert verdicts(rows(early=30.0))["rhm-masked-generalizes"] == HELD
    assert verdicts(rows(early=1.0))["rhm-masked-generalizes"] == FAILED


def test_runs_without_any_event_fail_and_are_drawn() -> None:
    made = rows()
    for row in made:
        n, count = row["configuration"]["samples"], len(row["result"]["steps"])
        quiet = {f"errors_{k}": [float(n)] * count for k in range(1, 5)} | {"copies": [0.0] * count}
        row["result"] = row["result"] | {
            "averaged": row["result"]["averaged"] | quiet | {"valid": [0.0] * count}
        }
    found = verdicts(made)
    for name in ("below", "above", "generalizes", "law-copies", "deeper-later", "layers"):
        assert found[f"rhm-masked-{name}"] in {FAILED, PARTLY}, name
    assert found["rhm-masked-below"] == FAILED
    assert set(new_and_valid(made[0])) == {0.0}
    assert len(show(made)) > 4


def test_paper_scale_is_the_papers_grammar() -> None:
    asked = rhm.configurations("paper")[0]
    assert (asked["shape"]["vocabulary"], asked["shape"]["rules"], asked["width"]) == (16, 4, 8192)


@pytest.mark.slow
def test_a_small_run_measures_what_is_known() -> None:
    asked = rhm.configurations("smoke")[0]
    result = rhm.EXPERIMENT.run(asked)
    seen = result["averaged"]
    assert len(result["steps"]) == len(seen["copies"]) == len(seen["excess"])
    # Deeper errors include shallower ones, and what is valid has none.
    for k in range(1, 4):
        assert all(a <= b for a, b in zip(seen[f"errors_{k}"], seen[f"errors_{k + 1}"], strict=True))
    assert all(a + b == asked["samples"] for a, b in zip(seen["errors_4"], seen["valid"], strict=True))
