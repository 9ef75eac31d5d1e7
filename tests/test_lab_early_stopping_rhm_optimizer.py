"""Laws of the experiment on optimizers: made runs whose onsets are known, and one real small run of each."""

from __future__ import annotations

import math
from typing import Any

import pytest

from unrote.lab.claims import FAILED, HELD, PARTLY, judge
from unrote.lab.early_stopping import rhm_optimizer
from unrote.lab.early_stopping.rhm_optimizer_figures import show
from unrote.lab.early_stopping.rhm_optimizer_rules import same_growth, same_onset, within
from unrote.lab.early_stopping.rhm_rules import copied, parted


def rows(late: float = 1.0, power: float = 1.0, never: tuple[str, int] | None = None) -> list[dict[str, Any]]:
    """Copies come at 5 P steps under Adam, `late` P^(power - 1) times later otherwise, and losses part half as late.

    Args:
        never: a way to train and a seed that memorizes nothing.
    """
    made = []
    for asked in rhm_optimizer.configurations("laptop"):
        p, steps, n, seed = asked["trained"], asked["at"], asked["samples"], asked["seed"]
        adam = asked["way"].startswith("adam")
        come = 5 * p * (1 + 0.01 * seed) * (1 if adam else late * (p / 32) ** (power - 1) * (1 + 0.02 * seed))
        come = math.inf if never == (asked["way"], seed) else come
        copies = [n * min(1.0, 0.1 * (step / come) ** 2) for step in steps]
        errors = [float(n)] * len(steps)
        seen: dict[str, list[float]] = {f"errors_{k}": errors for k in range(1, 5)}
        seen |= {"copies": copies, "valid": copies, "excess": [0.3] * len(steps), "train": [0.8] * len(steps)}
        seen |= {"validation": [0.9 + min(6.0, 2 * rhm_optimizer.GAP * step / come) for step in steps]}
        result = {"steps": steps, "exact": {"train": 0.8, "validation": 0.9}, "raw": seen, "averaged": seen}
        made.append({"configuration": asked, "result": result})
    return made


def verdicts(made: list[dict[str, Any]]) -> dict[str, str]:
    return {
        one["id"].removeprefix("rhm-optimizer-"): one["verdict"]
        for one in judge(rhm_optimizer.EXPERIMENT, "laptop", made)
    }


def test_one_onset_for_both_is_held_and_three_times_the_steps_is_not() -> None:
    assert set(verdicts(rows()).values()) == {HELD}
    found = verdicts(rows(late=3.0))
    for name in ("copies", "losses", "half-copies"):
        assert found[name] == FAILED, name
    assert found["growth-copies"] == HELD  # later by the same factor at every size


def test_ratios_are_those_of_the_made_runs() -> None:
    made = rows(late=1.5, power=1.4)
    found, verdict = same_onset("sgd", "adam", 64, copied)(made)
    assert found.value == pytest.approx(1.5 * 2**0.4 * 1.04, rel=0.02)
    assert verdict == PARTLY or found.high < 2
    grown, _ = same_growth("sgd", "adam", copied)(made)
    assert grown.value == pytest.approx(2**0.4, rel=0.03)
    half, _ = same_onset("adam", "adam", 64, parted)(made)
    assert half.value == pytest.approx(1.0)
    assert verdicts(rows(power=2.0))["growth-copies"] == FAILED


def test_a_seed_that_never_copies_is_no_evidence_and_most_of_them_are_a_failure() -> None:
    found = verdicts(rows(never=("sgd", 3)))
    assert found["copies"] == PARTLY
    assert within([0.0, 0.01, None, None, None], 2.0)[1] == FAILED
    assert within([], 2.0)[1] == FAILED
    made = rows(late=1e9)
    assert FAILED in verdicts(made).values()
    assert len(show(made)) > 4


def test_only_the_optimizer_and_its_rate_differ() -> None:
    asked = rhm_optimizer.configurations("laptop")
    one, other = (
        next(a for a in asked if (a["way"], a["trained"], a["seed"]) == (way, 64, 2))
        for way in ("adam", "sgd")
    )
    assert one["at"] == other["at"]
    differ = {k for k in one if one[k] != other[k]}
    assert differ == {"way", "options"}
    changed = {k for k in other["options"] if one["options"].get(k) != other["options"][k]}
    assert changed <= {"momentum", "learning_rate"}
    assert other["options"]["momentum"] == 0.9


def test_paper_scale_is_figure_15() -> None:
    asked = rhm_optimizer.configurations("paper")[0]
    shape = asked["shape"]
    assert (shape["vocabulary"], shape["rules"], shape["layers"], shape["branching"]) == (24, 12, 3, 3)
    assert (asked["trained"], asked["width"]) == (2048, 8192)


@pytest.mark.slow
def test_small_runs_follow_both_optimizers() -> None:
    for asked in rhm_optimizer.configurations("smoke"):
        result = rhm_optimizer.EXPERIMENT.run(asked)
        seen = result["averaged"]
        assert len(result["steps"]) == len(seen["copies"])
        assert seen["train"][-1] < seen["train"][0]
