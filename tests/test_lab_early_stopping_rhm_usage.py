"""How rules are used: exact strings are off by chance alone, made runs are judged, small runs are counted and drawn."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from unrote.data.grammar import Shape
from unrote.data.grammar_counts import random_strings
from unrote.data.grammar_parse import parse
from unrote.data.grammar_usage import expected_usage, rule_usage
from unrote.lab.claims import FAILED, HELD, PARTLY, judge
from unrote.lab.early_stopping import rhm_usage
from unrote.lab.early_stopping.rhm_runs import WAYS
from unrote.lab.early_stopping.rhm_usage_figures import seen_of, show, usage_of
from unrote.lab.early_stopping.rhm_usage_rules import above, beyond, everywhere, of, over_noise
from unrote.lab.early_stopping.rhm_usage_runs import counted, covariance, deviations, exact_sets, occurrence
from unrote.lab.early_stopping.tokens_study import Corpus, corpus

SHAPE = Shape(4, 2, 3)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def made_of(trained: int = 16, held: int = 8) -> Corpus:
    return corpus(SHAPE, trained, held, 1, 2)


def measured(x: Tensor, made: Corpus, sets: int = 60) -> dict[str, Any]:
    exact = exact_sets(made.grammar, WAYS["masked"], len(x), sets, 0)
    return {**counted(x, made), **deviations(x, made, exact)}


def test_exact_sets_are_off_as_sampling_is() -> None:
    # E mean_r (c_r / E_r - 1)^2 = mean_r V_r / (n E_r^2), exactly.
    made = made_of()
    expected = expected_usage(made.grammar)
    sets = exact_sets(made.grammar, WAYS["masked"], 200, 150, 0)
    found = torch.tensor([occurrence(one, expected, SHAPE) for one in sets])
    said = float((expected.covariance.diagonal() / 200 / expected.mean.square()).mean())
    assert float(found.mean()) == pytest.approx(said, rel=0.1)
    halves = exact_sets(made.grammar, WAYS["masked"], 100, 150, 1)
    wide = torch.tensor([covariance(one, expected) for one in halves]).mean()
    narrow = torch.tensor([covariance(one, expected) for one in sets]).mean()
    assert float(wide / narrow) == pytest.approx(2, rel=0.15)  # as 1/n


def test_strings_of_the_language_are_not_told_from_it_and_a_few_of_them_are() -> None:
    made = made_of()
    row = {"result": measured(random_strings(made.grammar, 500, seeded(5)).x, made)}
    for name in ("occurrence", "covariance"):
        assert row["result"][name]["value"] <= row["result"][name]["limit"]
        assert 0.3 < (over_noise(name)(row) or 0) < 1.8
    rote = made.train[torch.randint(len(made.train), (500,), generator=seeded(6))]
    found = {"result": measured(rote, made)}
    for name in ("occurrence", "covariance"):
        assert found["result"][name]["value"] > 3 * found["result"][name]["limit"]
    # What strings by heart are off is what the strings are off.
    own = math.sqrt(found["result"]["strings"]["occurrence"])
    assert beyond("occurrence")(found) == pytest.approx(own, rel=0.15)
    assert found["result"]["strings"]["followed"] == pytest.approx(1, abs=0.15)
    assert found["result"]["copies"] == found["result"]["valid"] == 500


def test_broken_strings_count_in_shares_of_what_is_left_and_nowhere_else() -> None:
    made = made_of()
    x = random_strings(made.grammar, 400, seeded(7)).x
    broken = x.clone()
    rules = made.grammar.rules[0].reshape(-1, 2).tolist()
    none = next([a, b] for a in range(4) for b in range(4) if [a, b] not in rules)
    broken[:200, :2] = torch.tensor(none)
    found = measured(broken, made)
    assert found["valid"] == 200
    alone = measured(x[200:], made)
    assert found["times"] == alone["times"]
    assert found["together"] == alone["together"]
    assert found["occurrence"]["value"] == alone["occurrence"]["value"]
    assert found["occurrence"]["noise"] == pytest.approx(alone["occurrence"]["noise"], rel=0.2)
    # Shares within a layer are those of whole strings where all are whole.
    assert alone["all"]["occurrence"] == pytest.approx(alone["occurrence"]["value"], rel=1e-12)
    assert (everywhere({"result": found}) or 0) < 0.3
    none_valid = measured(broken[:200], made)
    assert none_valid["valid"] == 0
    assert none_valid["occurrence"]["value"] is none_valid["strings"]["followed"] is None


def test_recorded_sums_are_the_usage_of_the_samples() -> None:
    made = made_of()
    x = random_strings(made.grammar, 100, seeded(8)).x
    usage = rule_usage(SHAPE, parse(made.grammar, x))
    again = usage_of(counted(x, made))
    assert torch.equal(again.mean, usage.mean)
    assert torch.allclose(again.covariance, usage.covariance, atol=1e-14)


def rows(
    off: float = 0.05, wrong: float = 0.1, rote: float = 0.5, follow: float = 1.0
) -> list[dict[str, Any]]:
    """Runs that are off by so much beyond chance, in occurrence and as a share of the structure."""
    made = []
    for asked in rhm_usage.configurations("laptop"):
        unit = 1 + 0.02 * asked["seed"]
        early = above({"configuration": asked})
        structure, noise = 0.02, {"occurrence": 0.004, "covariance": 0.0005}
        amount = {
            "occurrence": (off if early else rote) * unit,
            "covariance": (wrong if early else 10 * wrong) * unit * math.sqrt(structure),
        }
        result: dict[str, Any] = {
            name: {"value": amount[name] ** 2 + noise[name], "noise": noise[name], "limit": 1.5 * noise[name]}
            for name in noise
        }
        result |= {"structure": structure, "strings": {"occurrence": 0.003, "followed": follow * unit}}
        result |= {"all": {"occurrence": result["occurrence"]["value"], "noise": noise["occurrence"]}}
        made.append({"configuration": asked, "result": result})
    return made


def verdicts(made: list[dict[str, Any]], way: str = "masked") -> dict[str, str]:
    start = f"rhm-usage-{way}-"
    found = judge(rhm_usage.EXPERIMENT, "laptop", made)
    return {one["id"].removeprefix(start): one["verdict"] for one in found if one["id"].startswith(start)}


def test_runs_as_the_paper_has_them_hold_every_claim() -> None:
    for way in rhm_usage.WAYS:
        assert set(verdicts(rows(off=0.02, wrong=0.05), way).values()) == {HELD}


def test_each_claim_is_refuted_by_runs_that_differ_in_it() -> None:
    found = verdicts(rows(off=0.15, wrong=0.3, follow=0.1))
    assert found["occurrence"] == found["occurrence-all"] == found["covariance"] == found["strings"] == PARTLY
    assert found["occurrence-noise"] == found["covariance-noise"] == FAILED
    found = verdicts(rows(off=0.3, wrong=0.6, rote=0.2, follow=-0.5))
    assert (
        found["occurrence"] == found["covariance"] == found["occurrence-rote"] == found["strings"] == FAILED
    )
    assert verdicts(rows(rote=0.08))["occurrence-rote"] == PARTLY
    # A model that cannot be told from the language is taken to be off by what would be told.
    assert verdicts(rows(off=0.0, rote=0.1))["occurrence-rote"] == PARTLY


def test_runs_without_a_valid_sample_fail_and_do_not_crash() -> None:
    made = rows()
    for row in made:
        row["result"]["strings"]["followed"] = None
        for name in ("occurrence", "covariance"):
            row["result"][name]["value"] = None
    found = verdicts(made)
    assert {verdict for name, verdict in found.items() if name != "occurrence-all"} == {FAILED}
    for claim in rhm_usage.EXPERIMENT.claims:
        assert claim.measure([])[1] == FAILED


def test_paper_scale_is_figure_14() -> None:
    asked = rhm_usage.configurations("paper")[0]
    assert (asked["trained"], asked["at"][-1], asked["width"]) == (16_384, 32_768, 8192)
    assert (asked["shape"]["vocabulary"], asked["shape"]["rules"], asked["shape"]["layers"]) == (16, 4, 3)


@pytest.mark.parametrize(("number", "trained"), [(0, 16), (2, 8)])
def test_a_small_run_counts_what_it_draws_and_is_drawn(number: int, trained: int) -> None:
    smoke = rhm_usage.configurations("smoke")[number]
    tiny = {
        "samples": 64,
        "held": 16,
        "at": [8, 16],
        "sets": 5,
        "width": 8,
        "options": {"batch_size": 8, "cpu": True},
    }
    asked = {
        **smoke,
        **tiny,
        "shape": {"vocabulary": 4, "rules": 2, "layers": 2, "branching": 2},
        "trained": trained,
    }
    result = rhm_usage.EXPERIMENT.run(asked)
    assert result["steps"] == asked["at"]
    assert len(result["losses"]["validation"]) == 2
    assert 0 <= result["copies"] <= result["valid"] <= 64
    assert sum(result["times"]) == 3 * result["valid"]  # two rules of layer 1, one of layer 2
    assert sum(result["learned"]) == 3 * trained
    row = {"configuration": asked, "result": result}
    assert seen_of([row], asked["way"]).expected.mean.sum() == pytest.approx(3)
    assert len(of([row], asked["way"], early=False)) == 1  # P* = v m^(L + 1) = 32
    assert len(show([row])) == 6
