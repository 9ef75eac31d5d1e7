"""The ledger's rule: nothing is decided by too few runs, by another scale or by an earlier specification."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from unrote.contracts import InputError
from unrote.jobs import ReproduceOptions
from unrote.lab import first_cures, first_look, runs
from unrote.lab.claims import FAILED, HELD, PARTLY, UNTESTED, judge

EXPERIMENT = first_look.EXPERIMENT


def rows(small: list[int], large: list[int], fresh: int = 0) -> list[dict]:
    """Recorded runs with given numbers of copies among 512 samples, one small and one large for each seed."""
    table = []
    for configuration in EXPERIMENT.configurations("laptop"):
        counts = small if configuration["images"] == first_look.SMALL else large
        result = {
            "samples": 512,
            "copies": counts[configuration["seed"]],
            "fresh": 773,
            "fresh_copies": fresh,
        }
        table.append({"configuration": configuration, "result": result})
    return table


def verdicts(table, scale="laptop") -> list[str]:
    return [claim["verdict"] for claim in judge(EXPERIMENT, scale, table)]


def test_verdicts_follow_their_rules() -> None:
    assert verdicts(rows([300, 310, 290, 305, 320], [0] * 5)) == [HELD] * 3
    assert verdicts(rows([300, 310, 290, 305, 320], [40, 0, 0, 0, 0])) == [HELD, PARTLY, HELD]
    assert verdicts(rows([0] * 5, [0] * 5)) == [FAILED, HELD, FAILED]
    assert verdicts(rows([400, 0, 400, 0, 400], [0] * 5)) == [PARTLY, HELD, PARTLY]
    assert verdicts(rows([300] * 5, [40] * 5, fresh=60)) == [HELD] * 3  # no more than fresh digits


def test_one_seed_or_another_scale_decides_nothing() -> None:
    whole = rows([300] * 5, [0] * 5)
    assert verdicts(whole[:-1]) == [UNTESTED] * 3
    assert verdicts(whole, "smoke") == [UNTESTED] * 3


def test_a_changed_rule_or_threshold_is_another_specification() -> None:
    claim = replace(EXPERIMENT.claims[0], rule="held whatever comes out")
    other = replace(EXPERIMENT, claims=(claim, *EXPERIMENT.claims[1:]))
    assert other.specification() != EXPERIMENT.specification()


def mine(ledger: runs.Ledger) -> list[dict]:
    return [claim for claim in ledger.claims if claim["experiment"] == EXPERIMENT.name]


def test_runs_of_an_earlier_specification_are_counted_and_decide_nothing(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(runs, "LEDGER", tmp_path)
    runs.record(EXPERIMENT, "laptop", rows([300] * 5, [0] * 5))
    assert [claim["verdict"] for claim in mine(runs.claims())] == [HELD] * 3
    path = tmp_path / "first-look.jsonl"
    path.write_text(path.read_text().replace(EXPERIMENT.specification(), "0" * 16))
    told = runs.claims()
    assert [claim["verdict"] for claim in mine(told)] == [UNTESTED] * 3
    assert {claim["other_runs"] for claim in mine(told)} == {10}


@pytest.mark.parametrize("name", sorted(runs.PLACES))
def test_the_ledger_in_the_source_holds_complete_runs_of_the_present_specification(name) -> None:
    chosen = runs.experiment(name)
    found, _ = runs.recorded(chosen)
    if chosen.scale == "paper" and not found:
        return  # for a GPU: its claims say that they were not tested
    assert len(found) >= len(chosen.configurations(chosen.scale))
    assert all(row["versions"]["torch"] and row["date"] for row in found)


@pytest.mark.slow
def test_an_experiment_runs_at_smoke_scale_and_decides_nothing(tmp_path) -> None:
    options = ReproduceOptions(experiment="first-look", scale="smoke", out=tmp_path / "r")
    made = runs.reproduce(options)
    assert {claim["verdict"] for claim in made.claims} == {UNTESTED}
    content = json.loads((tmp_path / "r" / "result.json").read_text())
    assert len(content["results"]["runs"]) == 2
    assert set(content["results"]["claims"][0]) >= {
        "id",
        "paper",
        "source",
        "says",
        "measured",
        "scale",
        "verdict",
    }


def cured(shares: dict[str, list[float]], loss: float = 2.0) -> list[dict]:
    """Runs of the first cures: copies at the end by cure and seed; the baseline's best step is its first."""
    table = []
    for cure, ends in shares.items():
        for seed, end in enumerate(ends):
            result = {"copies": [0.1, end], "held_out_loss": [1.5, loss], "steps": [1, 2]}
            table.append({"configuration": {"cure": cure, "seed": seed}, "result": result})
    return table


def test_what_a_cure_leaves_is_judged_by_the_geometric_mean_of_paired_ratios() -> None:
    judged = first_cures.left_over("gap")
    base = [0.8, 0.6, 0.7, 0.8, 0.6]
    for share, verdict in ((0.2, HELD), (0.6, PARTLY), (1.5, FAILED)):
        found, said = judged(cured({"baseline": base, "gap": [share * b for b in base]}))
        assert found.value == pytest.approx(share)
        assert said == verdict
    none, said = judged(cured({"baseline": base, "gap": [0.0] * 5}))
    assert said == HELD
    assert 0 < (none.value or 0) < 0.01


def test_a_cure_beats_stopping_only_with_fewer_copies_at_no_higher_loss() -> None:
    judged = first_cures.better_than_stopping("gap+ambient")
    few, many = [0.05] * 5, [0.2] * 5
    assert judged(cured({"baseline": [0.8] * 5, "gap+ambient": few}))[1] == FAILED  # the loss is higher
    assert judged(cured({"baseline": [0.8] * 5, "gap+ambient": few}, loss=1.5))[1] == HELD
    assert judged(cured({"baseline": [0.8] * 5, "gap+ambient": many}, loss=1.5))[1] == FAILED


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("early_stoping/law", "early_stopping/law"),
        ("rhm", "early_stopping/rhm"),
        ("wild_midle", "wild_middle"),
        ("first_look", "first-look"),
        ("wild_middle/swop", "wild_middle/swap"),
    ],
)
def test_a_misspelled_experiment_is_answered_with_the_nearest_first(name, meant) -> None:
    assert runs.nearest(name)[0] == meant
    assert len(runs.nearest(name)) <= 3
    with pytest.raises(InputError) as told:
        runs.named(name)
    words = str(told.value)
    assert "\n" not in words
    assert words.index(name) < words.index(meant, words.index(name) + len(name)) < words.index("the groups")
    assert sum(f" {known}," in words for known in runs.PLACES) <= 3


def test_without_a_name_all_experiments_are_listed_and_nothing_like_a_name_lists_groups() -> None:
    with pytest.raises(InputError) as told:
        runs.named(ReproduceOptions().experiment)
    assert "There is no" not in str(told.value)
    for known in [*runs.PLACES, *runs.SAME_RUNS]:
        assert known.rpartition("/")[2] in str(told.value)
    with pytest.raises(InputError, match="called 'zzz'; the groups are crossover, wild_middle") as told:
        runs.named("zzz")
    assert len(str(told.value)) < 300
