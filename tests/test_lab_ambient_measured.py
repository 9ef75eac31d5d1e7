"""Fronts out of the ledger: every remedy has a name and flags, and the numbers are those of the rows."""

from __future__ import annotations

import shlex

import pytest
import tyro

from unrote.jobs import TrainOptions
from unrote.jobs.advising import choose, copies_below, front_of
from unrote.jobs.advising_data import command, training_options
from unrote.lab.ambient import measured
from unrote.lab.ambient.measured import (
    EXPERIMENTS,
    readable,
    run_of,
    setting_key,
    setting_of,
    treatment_of,
    usual,
)
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
    assert done.hides == ("noisy only" in cure or "masking" in cure)


def test_runs_at_one_level_and_one_step_take_the_usual_form() -> None:
    asked = {
        "pictures": {"set": "digits", "class": None, "side": 8, "images": 32, "test": 500},
        "network": {"kind": "unet", "channels": [16, 32], "layers": 1},
        "training": {"batch_size": 32, "learning_rate": 2e-3, "warmup_steps": 100, "ema_decay": 0.995},
        "steps": 1000,
        "samples": 1024,
        "level": None,
        "seed": 0,
    }

    def at(level: float | None, copies: float) -> dict:
        return usual(
            {"configuration": asked | {"level": level}, "result": {"copies": copies, "frechet": 2.0}}
        )

    rows = [at(None, 0.5), at(0.5, 0.25)]
    assert all(map(readable, rows))
    assert setting_key(rows[0]) == setting_key(rows[1])
    front = front_of(setting_of(rows, ["ambient/level"]), [run_of(one) for one in rows])
    assert [(p.name, p.copies.value) for p in front.points] == [
        ("baseline", 0.5),
        ("ambient 0.5 by levels first", 0.25),
    ]
    assert usual(row("gap")) == row("gap")


def test_one_remedy_has_one_name_in_all_experiments() -> None:
    assert treatment_of(row("gap")) == treatment_of(row("recommended reject"))
    assert treatment_of(row("gap, rows dropped")) == treatment_of(row("recommended skip"))
    name, done = treatment_of(row("recommended reject + dummy"))
    assert (name, done.recipe) == ("gap + dummy class", "gap+dummy")
    name, done = treatment_of(row("ambient 1, levels first"))
    assert (name, done.more) == ("ambient 1 by levels first", (("ambient_rule", "levels-first"),))
    name, done = treatment_of(row("dropout + ambient 0.5, rows first"))
    assert (name, done.recipe, done.more) == ("dropout 0.3 + ambient 0.5", "ambient", (("dropout", 0.3),))
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
