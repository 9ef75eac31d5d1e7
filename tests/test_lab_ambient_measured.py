"""Fronts out of the ledger: every remedy has a name and flags, and the numbers are those of the rows."""

from __future__ import annotations

import shlex

import pytest
import tyro

from unrote.jobs import TrainOptions
from unrote.jobs.advising import choose, copies_below
from unrote.jobs.advising_data import command, training_options
from unrote.lab.ambient import measured
from unrote.lab.ambient.measured import EXPERIMENTS, readable, treatment_of
from unrote.lab.ambient.remedies import REMEDIES
from unrote.lab.runs import experiment, recorded
from unrote.lab.wild_middle.gap_cures import CURES, MUCH


@pytest.fixture(scope="module")
def fronts():
    return measured.measured()


def row(cure: str) -> dict:
    """A row as far as its remedy is read."""
    return {"configuration": {"cure": cure}, "result": {"gap": [0.25, 1.0], "told": 0.25}}


@pytest.mark.parametrize("cure", sorted(set(REMEDIES) | set(CURES) - {MUCH}))
def test_every_remedy_of_the_experiments_is_read(cure) -> None:
    name, done = treatment_of(row(cure))
    assert not done.only_python, name
    assert (done.gap is not None) == ("gap" in done.recipe.split("+"))
    assert (done.ambient is not None) == bool({"ambient", "noisy-only"} & set(done.recipe.split("+")))
    assert done.hides == ("noisy only" in cure)


def test_one_remedy_has_one_name_in_all_experiments() -> None:
    assert treatment_of(row("gap")) == treatment_of(row("recommended reject"))
    assert treatment_of(row("gap, rows dropped")) == treatment_of(row("recommended skip"))
    name, done = treatment_of(row("recommended reject + dummy"))
    assert (name, done.recipe) == ("gap + dummy class", "gap+dummy")
    name, done = treatment_of(row("ambient 1, levels first"))
    assert (name, done.more) == ("ambient 1 by levels first", (("ambient_rule", "levels-first"),))
    name, done = treatment_of(row("a new one"))
    assert (name, done.only_python) == ("a new one", "'a new one' is spelled in Python alone")


def test_runs_of_one_setting_are_one_front_and_numbers_are_those_of_the_rows(fronts) -> None:
    mlp = next(f for f in fronts if f.setting.kind == "mlp" and f.setting.images == 32)
    assert "ambient/front" in mlp.setting.source
    assert "wild_middle/gap-mlp" in mlp.setting.source
    rows, _ = recorded(experiment("ambient/front"))
    mine = [r["result"] for r in rows if r["configuration"]["cure"] == "gap"]
    gap = next(p for p in mlp.points if p.name == "gap")
    assert gap.seeds == len(mine)
    assert gap.copies.value == pytest.approx(sum(r["copies"][-1] for r in mine) / len(mine))
    assert gap.quality.value == pytest.approx(sum(r["frechet"][-1] for r in mine) / len(mine))
    assert {p.name for p in mlp.points} >= {
        "ambient 0.5",
        "gap over the zone .20",
        "baseline, stopped at step 150",
    }
    assert not any(MUCH in p.name for p in mlp.points)


def test_experiments_that_are_not_known_or_have_other_rows_add_nothing() -> None:
    assert measured.measured(("no/such", "first-look", "ambient/merging")) == ()
    assert not readable({"configuration": {"cure": "gap"}, "result": {}})
    assert {"ambient/front-unet", "ambient/front-faces"} <= set(EXPERIMENTS)


def test_every_remedy_has_a_command_that_reads_back(fronts) -> None:
    for front in fronts:
        for point in (p for p in front.points if not p.stopped):
            asked = training_options(front, point, None)
            assert tyro.cli(TrainOptions, args=shlex.split(command(asked))[2:]) == asked


def test_no_front_recommends_what_hides(fronts) -> None:
    for front in fronts:
        for limit in (0.005, 0.05, 0.5):
            found = choose(front, copies_below(limit))
            assert found.chosen is None or not found.chosen.treatment.hides
