"""Experiments on leakage, subpopulations and merging: runs agree with the formulas, rules with their words."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from unrote.lab.ambient import leakage, merging, subpopulations
from unrote.lab.claims import FAILED, HELD, PARTLY, UNTESTED, Claim, judge


def one_run(experiment: Any) -> dict[str, Any]:
    """A run at smoke scale of a seed that no claim rests on."""
    configuration = dict(experiment.EXPERIMENT.configurations("smoke")[0]) | {"seed": 99}
    return {"configuration": configuration, "result": experiment.run(configuration)}


@pytest.fixture(scope="module")
def leak() -> dict[str, Any]:
    return one_run(leakage)


@pytest.fixture(scope="module")
def groups() -> dict[str, Any]:
    return one_run(subpopulations)


@pytest.fixture(scope="module")
def merged() -> dict[str, Any]:
    return one_run(merging)


def claim(experiment: Any, name: str) -> Claim:
    return next(c for c in experiment.CLAIMS if c.id == name)


def seeds(row: dict[str, Any], change: Any) -> list[dict[str, Any]]:
    """Five runs that differ by what `change` makes of each."""
    table = []
    for seed in range(5):
        other = copy.deepcopy(row)
        change(other["result"], 1 + 0.001 * (seed - 2))
        table.append(other)
    return table


def verdict(experiment: Any, name: str, rows: list[dict[str, Any]]) -> str:
    return claim(experiment, name).measure(rows)[1]


def test_a_run_of_every_experiment_is_near_its_formulas(leak, groups, merged) -> None:
    seen, said = (torch.tensor(leak["result"][key]) for key in ("looks", "closed"))
    assert bool(((seen - said).abs() < 0.15 * said + 0.6).all())
    for cell in leak["result"]["sets"]:
        assert cell["low"] <= cell["high"] <= cell["printed"] + 1e-9
    for name in ("equal, N = n", "zipf, N = n"):
        counted = groups["result"]["singletons"][name]
        assert counted["number"] == pytest.approx(counted["expected"], rel=0.15)
    sides = groups["result"]["identity"]["equal"]["grouping"]
    assert sides["said"] == pytest.approx(sides["truth"], rel=1e-9)  # equal frequencies are known
    for cell in merged["result"]["pairs"]:
        assert cell["seen"]["merged"] == pytest.approx(cell["epsilon"], abs=0.08)
    assert merged["result"]["picture"]["groups"][0] == 5
    assert merged["result"]["picture"]["modes"][-1] == 1
    assert merged["result"]["merging"]["groups"] == list(map(float, merging.GROUPS))


def test_every_figure_is_drawn(leak, groups, merged) -> None:
    for experiment, row in ((leakage, leak), (subpopulations, groups), (merging, merged)):
        assert len(experiment.show([row])) >= 2
        assert len(experiment.show([row, row])) >= 2
        (first, *_) = judge(experiment.EXPERIMENT, "smoke", [row])
        assert first["verdict"] == UNTESTED


def test_rules_of_leakage(leak) -> None:
    def exact(result: dict[str, Any], factor: float) -> None:
        result["looks"] = (factor * torch.tensor(result["closed"])).tolist()

    def printed(result: dict[str, Any], factor: float) -> None:
        result["looks"] = (factor * torch.tensor(result["printed"])).tolist()

    def error(result: dict[str, Any], factor: float) -> None:
        m = torch.tensor(leakage.LONG, dtype=torch.float64)
        result["error"] = {"ddpm": (factor / m).tolist(), "ambient": [factor] * len(m)}

    rule = lambda name, change: verdict(leakage, name, seeds(leak, change))  # noqa: E731
    assert rule("m-draws-tell-m-times", exact) == FAILED
    assert rule("m-draws-tell-m-times", printed) == HELD
    assert rule("m-draws-tell-log-m", exact) == HELD
    assert rule("m-draws-tell-log-m", printed) == FAILED
    assert rule("one-can-be-averaged-away", error) == HELD

    def cells(key: str, share: float) -> Any:
        def change(result: dict[str, Any], factor: float) -> None:
            for cell in result["sets"]:
                cell["ambient"] = share * factor * cell[key]
                cell["ddpm"] = cell["draws"] * cell["ambient"]

        return change

    assert rule("sets-leak-at-most-m", cells("printed", 0.9)) == HELD
    assert rule("sets-leak-at-most-m", cells("printed", 1.1)) == FAILED
    assert rule("sets-leak-distinct-copies", cells("high", 1.0)) == HELD
    assert rule("sets-leak-distinct-copies", cells("high", 1.2)) == FAILED
    assert rule("sets-leak-m-times-more", cells("high", 1.0)) == HELD


def test_rules_of_subpopulations(groups) -> None:
    def identity(share: float) -> Any:
        def change(result: dict[str, Any], factor: float) -> None:
            for algorithms in result["identity"].values():
                for sides in algorithms.values():
                    sides["said"] = [share * factor * v for v in sides["truth"]]

        return change

    def counted(promise: str, share: float) -> Any:
        def change(result: dict[str, Any], factor: float) -> None:
            for cell in result["singletons"].values():
                cell["number"] = share * factor * cell[promise]

        return change

    def lemma(**values: float) -> Any:
        return lambda result, factor: result["lemmas"].update(values)

    rule = lambda name, change: verdict(subpopulations, name, seeds(groups, change))  # noqa: E731
    assert rule("error-is-a-sum-over-counts", identity(1.0)) == HELD
    assert rule("error-is-a-sum-over-counts", identity(1.2)) == FAILED
    assert rule("error-is-a-sum-over-counts", identity(1.05)) == PARTLY
    assert rule("half-of-the-tail-are-singletons", counted("printed", 1.1)) == HELD
    assert rule("half-of-the-tail-are-singletons", counted("corrected", 1.0)) == FAILED
    assert rule("one-in-e-of-the-tail-are-singletons", counted("corrected", 1.0)) == HELD
    assert rule("one-in-e-of-the-tail-are-singletons", counted("corrected", 0.9)) == FAILED
    assert rule("heavy-tails-make-singletons-count", lemma(floor=1.0)) == HELD
    assert rule("heavy-tails-make-singletons-count", lemma(floor=0.99)) == FAILED
    assert rule("light-tails-do-not", lemma(ceiling=1.01)) == FAILED
    assert rule("light-tails-do-not", lemma(ceiling=0.5, applied=0)) == PARTLY
    each = lambda result, factor: result["each"].update(zipf=0.001, dirichlet=0.5)  # noqa: E731
    assert rule("for-every-data-set", each) == HELD
    assert rule("for-every-data-set-dirichlet", each) == FAILED


def test_rules_of_merging(merged) -> None:
    def seen(share: float) -> Any:
        def change(result: dict[str, Any], factor: float) -> None:
            for cell in result["pairs"]:
                cell["seen"] = dict.fromkeys(cell["seen"], share * factor * cell["epsilon"])
                cell["seen"]["separated"] *= 2
                cell["seen"]["printed_separated"] *= 2

        return change

    def mixture(name: str, *values: float) -> Any:
        return lambda result, factor: result["merging"].update({name: [factor * v for v in values]})

    rule = lambda name, change: verdict(merging, name, seeds(merged, change))  # noqa: E731
    assert rule("merged-from-the-printed-level", seen(1.0)) == HELD
    assert rule("merged-from-the-printed-level", seen(1.5)) == FAILED
    assert rule("separated-up-to-the-printed-level", seen(1.0)) == HELD
    assert rule("separated-up-to-the-printed-level", seen(0.5)) == FAILED
    assert rule("exact-levels", seen(1.0)) == HELD
    assert rule("exact-levels", seen(1.5)) == FAILED
    assert rule("merging-lowers-tau-1", mixture("tau_1", 1, 2, 3, 4, 5)) == FAILED
    assert rule("merging-lowers-tau-1", mixture("tau_1", 5, 4, 3, 2, 1)) == HELD
    assert rule("merging-empties-singletons", mixture("mass", 5, 4, 3, 2, 1)) == HELD
    assert rule("merging-empties-singletons", mixture("mass", 5, 6, 3, 2, 1)) == PARTLY
    assert rule("merging-empties-singletons", mixture("mass", 5, 5, 5, 5, 5)) == FAILED
    assert rule("noise-is-no-longer-than-root-d", lambda result, factor: None) == FAILED
