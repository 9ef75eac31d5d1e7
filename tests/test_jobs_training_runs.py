"""Several recipes on one page: the same data and seeds, exact resume, and no winner where intervals overlap."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from unrote.contracts import Estimate, InputError
from unrote.jobs import TrainOptions, fitting, train
from unrote.jobs.measuring import Measurement
from unrote.jobs.training import Training
from unrote.jobs.training_runs import COPIES, Runs, least, run_sentences, verdict

OPTIONS = TrainOptions(
    train="digits@40",
    test="digits@1000:1100",
    recipe="baseline,gap+dummy,noisy-only",
    gap=(0.3, 0.9),
    ambient=0.4,
    features="pca:4",
    width=16,
    depth=1,
    steps=40,
    samples=32,
    checkpoints=3,
    device="cpu",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Runs:
    return train(replace(OPTIONS, out=tmp_path_factory.mktemp("runs") / "runs"))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(max(folder.glob("step-*.safetensors")))


def same(a: Path, b: Path) -> bool:
    one, other = weights(a), weights(b)
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_every_run_is_the_one_that_its_recipe_makes_alone(made, tmp_path):
    name = "gap+dummy"
    alone = train(replace(OPTIONS, recipe=name, ambient=None, out=tmp_path / "alone"))
    assert same(made.out / name, tmp_path / "alone")
    result = json.loads((made.out / "result.json").read_text())["results"]
    assert result["runs"][name] == alone.content["results"]
    own = json.loads((made.out / name / "result.json").read_text())
    assert own["results"] == alone.content["results"]
    assert own["settings"] == alone.content["settings"]
    assert list(result["runs"]) == list(result["sentences"]) == OPTIONS.recipe.split(",")


def test_runs_hold_all_keys_of_a_single_run_and_the_share_that_each_leaves_out(made):
    runs = made.content["results"]["runs"]
    keys = {"steps", "train_loss", "validation_loss", "copy_ratio", "frechet_distance", "interventions"}
    assert all(keys | {"stopped_at", "stopped_because"} <= run.keys() for run in runs.values())
    shares = {name: run["share_removed"] for name, run in runs.items()}
    assert shares["baseline"] == 0
    assert shares["gap+dummy"] == pytest.approx(fitting.LAW.probability(0.3, 0.9))
    assert shares["noisy-only"] == pytest.approx(fitting.LAW.probability(0.0, 0.4))


def test_the_page_shows_every_run_with_its_samples(made):
    page = (made.out / "report.html").read_text()
    text = page.replace("\u00a0", " ")
    for words in (*run_sentences(made.runs), *verdict(made.runs)):
        assert words in text
    assert page.count("starts from the same noise") == len(made.runs)
    assert all(len(x) == 24 for x in made.samples.values())
    assert made.copy_ratio == max((r.copy_ratio for r in made.runs.values()), key=lambda e: e.low)


def test_an_interrupted_comparison_ends_with_the_same_bits(made, tmp_path, monkeypatch):
    saved, save = [], fitting.save

    def save_then_stop(state, path):
        save(state, path)
        saved.append(path)
        if len(saved) == 3:  # in the second run
            raise KeyboardInterrupt

    monkeypatch.setattr(fitting, "save", save_then_stop)
    options = replace(OPTIONS, out=tmp_path / "runs")
    with pytest.raises(KeyboardInterrupt):
        train(options)
    train(options)
    assert len([path for path in saved if path.parent.name == "baseline"]) == 2
    for name in made.runs:
        assert same(made.out / name, tmp_path / "runs" / name)
    mine, theirs = (json.loads((place / "result.json").read_text()) for place in (made.out, options.out))
    assert mine == theirs


def at(value: float, half: float) -> Estimate:
    return Estimate(value, value - half, value + half, 9)


def run_with(copies: Estimate, loss: Estimate, distance: Estimate | None = None) -> Training:
    end = Measurement(10, loss, loss, copies, distance)
    return Training((end,), {"results": {"share_removed": 0.0}}, Path("run"), (), end)


def test_no_winner_is_named_where_intervals_overlap():
    loss = at(1.0, 0.1)
    clear = {"a": run_with(at(0.5, 0.1), loss), "b": run_with(at(0.2, 0.1), loss)}
    assert least(COPIES, clear) == "b"
    copying, quality = verdict(clear)
    assert copying.startswith("Least copying: b, 20")
    assert (
        quality
        == "No recipe has clearly less loss on held-out images than the others: the intervals overlap."
    )
    both = clear | {"c": run_with(at(0.25, 0.1), at(0.5, 0.1), at(1.0, 0.1))}
    assert least(COPIES, both) is None
    copying, quality = verdict(both)  # the distance was not measured of all
    assert copying == "Least copying: b and c, whose intervals overlap; the others have more."
    assert quality.startswith("Least loss on held-out images: c, 0.5")
    touching = {"a": run_with(at(0.5, 0.25), loss), "b": run_with(at(0.0, 0.25), loss)}
    assert least(COPIES, touching) is None


def test_a_run_that_diverges_is_named(tmp_path):
    with pytest.raises(InputError, match="Recipe baseline: Training diverged"):
        train(replace(OPTIONS, learning_rate=1e9, out=tmp_path / "runs"))


def test_stopping_early_keeps_the_lowest_held_out_loss_and_says_so(tmp_path):
    options = replace(OPTIONS, recipe="baseline", gap=None, ambient=None, features=None, stop_early=True)
    run = train(replace(options, train="digits@8", steps=400, width=128, out=tmp_path / "run"))
    losses = [m.validation_loss.value for m in run.history]
    assert run.kept.validation_loss.value == min(losses)
    assert run.kept.step < 400 == run.history[-1].step
    result = run.content["results"]
    assert result["stopped_at"] == run.kept.step == result["lowest_validation_loss"]["step"]
    assert "lowest there; training went on to step 400" in result["stopped_because"]
    kept = max((tmp_path / "run").glob("step-*.safetensors"))
    assert kept.name == f"step-{run.kept.step:09d}.safetensors"
    assert run.copy_ratio == run.kept.copy_ratio
    assert "where the loss on held-out images was lowest" in run.summary()
