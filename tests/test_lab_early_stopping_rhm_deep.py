"""Laws of the twins on a deep grammar: made runs that agree or part, and one real small run."""

from __future__ import annotations

from typing import Any

import pytest

from unrote.lab.claims import FAILED, HELD, judge
from unrote.lab.early_stopping import rhm_deep
from unrote.lab.early_stopping.rhm_deep_figures import show
from unrote.lab.early_stopping.rhm_deep_rules import before_onset, best, learnable, second_of
from unrote.lab.early_stopping.rhm_rules import copied, parted

COPIES = 1000.0
"""The step at which a tenth of the made samples are copies."""


def rows(shallow: float = 1.0, deep: float = 2.0, apart: float = 1.0) -> list[dict[str, Any]]:
    """Layer l keeps half of its samples at 4 P*_l steps, layers 4 and 5 with copies; twins part as copies come.

    Args:
        shallow: how many times later layers 1 to 3 are learned.
        deep: how many times later than copies layers 4 and 5 are.
        apart: the power of the step with which twins part from their onset on.
    """
    made = []
    for asked in rhm_deep.configurations("laptop"):
        steps, n, unit = asked["at"], asked["samples"], 1 + 0.01 * asked["seed"]
        falls = [shallow * 4 * 8 * 2 ** (layer + 1) * unit for layer in range(1, 4)] + [
            deep * COPIES * unit
        ] * 2
        seen: dict[str, list[float]] = {
            f"errors_{k + 1}": [n * min(1.0, 0.5 * (fall / step) ** 2) for step in steps]
            for k, fall in enumerate(falls)
        }
        seen["valid"] = [n - one for one in seen["errors_5"]]
        seen["copies"] = [n * min(1.0, 0.1 * (step / (COPIES * unit)) ** 2) for step in steps]
        seen |= {"train": [0.8] * len(steps), "validation": [0.9 + step / COPIES for step in steps]}
        second = seen | {"copies": [2 * count for count in seen["copies"]]}
        distance = [0.1 + 0.1 * max(0.0, step / COPIES - 0.3) ** apart for step in steps]
        pair = {"apart": distance, "short": [0.2] * len(steps)}
        pair |= {f"apart_{level / 10:.1f}": distance for level in range(1, 10)}
        exact = {"train": 0.8, "validation": 0.9}
        result = {
            "steps": steps,
            "exact": exact,
            "exact_second": exact,
            "averaged": seen,
            "second": second,
            "pair": pair,
        }
        made.append({"configuration": asked, "result": result})
    return made


def verdicts(made: list[dict[str, Any]]) -> dict[str, str]:
    return {one["id"]: one["verdict"] for one in judge(rhm_deep.EXPERIMENT, "laptop", made)}


def test_shallow_layers_come_first_and_the_deepest_with_copies() -> None:
    found = verdicts(rows())
    for way in ("uniform", "masked"):
        names = ("shallow-first", "deepest", "layers")
        assert [found[f"rhm-deep-{way}-{name}"] for name in names] == [HELD] * 3
    assert verdicts(rows(shallow=10.0))["rhm-deep-masked-shallow-first"] == FAILED
    assert verdicts(rows(deep=0.5))["rhm-deep-masked-deepest"] == FAILED
    assert learnable(rows()[0]) == [1, 2]  # P*_l = 32 and 64 of 96


def test_twins_that_part_late_agree_and_twins_that_part_early_do_not() -> None:
    late, early = verdicts(rows(apart=2.0)), verdicts(rows(apart=0.1))
    for way in ("uniform", "masked"):
        assert late[f"rhm-deep-{way}-agree-copies"] == HELD
        assert early[f"rhm-deep-{way}-agree-copies"] == FAILED
        assert late[f"rhm-deep-{way}-nearer"] == HELD


def test_the_onset_of_twins_is_that_of_the_earlier_one() -> None:
    row = rows()[0]
    first, second = copied(row).value, copied(second_of(row)).value
    assert first is not None and second is not None
    assert second == pytest.approx(first / 2**0.5, rel=0.02)
    reached = sum(step < second for step in row["result"]["steps"])
    assert len(before_onset(row, copied)) == reached
    assert best(row).value == row["result"]["steps"][0]  # the made held-out loss only grows
    assert parted(row).value == pytest.approx(COPIES, rel=0.02)


def test_runs_without_any_event_fail_and_are_drawn() -> None:
    made = rows()
    for row in made:
        n, count = row["configuration"]["samples"], len(row["result"]["steps"])
        quiet = {f"errors_{k}": [float(n)] * count for k in range(1, 6)} | {"copies": [0.0] * count}
        for name in ("averaged", "second"):
            row["result"][name] = row["result"][name] | quiet
    found = verdicts(made)
    for name in ("shallow-first", "deepest", "layers"):
        assert found[f"rhm-deep-uniform-{name}"] == FAILED
    assert len(show(made)) == 8


def test_paper_scale_is_the_papers_grammar_below_the_third_complexity() -> None:
    (asked, *_) = rhm_deep.configurations("paper")
    shape = asked["shape"]
    assert (shape["vocabulary"], shape["rules"], shape["layers"], asked["width"]) == (16, 3, 5, 8192)
    assert learnable({"configuration": asked}) == [1, 2]


@pytest.mark.slow
def test_a_small_run_measures_both_twins() -> None:
    asked = rhm_deep.configurations("smoke")[0]
    result = rhm_deep.EXPERIMENT.run(asked)
    assert result["averaged"]["train"] != result["second"]["train"]
    assert all(0 < apart < 1 for apart in result["pair"]["apart"])
    levels = [
        sum(result["pair"][f"apart_{k / 10:.1f}"][i] for k in range(1, 10)) / 9
        for i in range(len(result["steps"]))
    ]
    assert result["pair"]["apart"] == pytest.approx(levels, rel=1e-9)
