"""`--stop-gap`: a run ends where its losses have parted, keeps the last clean step, and survives a kill."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from unrote.contracts import InputError
from unrote.jobs import TrainOptions, fitting, train, training_stop
from unrote.jobs.cures import recipes_of
from unrote.jobs.fitting import read_run
from unrote.jobs.measuring import draw, ratio_of, read_history
from unrote.jobs.training import plan_of, read_data

OPTIONS = TrainOptions(
    train="digits@16",
    test="digits@1000:1200",
    width=128,
    depth=1,
    steps=600,
    batch_size=128,
    samples=16,
    checkpoints=4,
    stop_gap=1.0,
    device="cpu",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return train(replace(OPTIONS, out=tmp_path_factory.mktemp("stop") / "run"))


def result(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_text())["results"]


def checkpoints(folder: Path) -> list[int]:
    return [int(path.stem.removeprefix("step-")) for path in sorted(folder.glob("step-*.safetensors"))]


def test_the_run_ends_where_the_losses_have_surely_parted_and_keeps_the_last_clean_step(made) -> None:
    stop, said = made.stop, made.content["results"]
    assert stop.ended is not None and stop.ended < 600
    clean = [step for step, gap in zip(stop.steps, stop.gap, strict=True) if gap.value <= 1]
    assert stop.kept == made.kept.step == said["stopped_at"] == clean[-1]
    assert stop.gap[-1].low > 1
    assert all(gap.low <= 1 for gap in stop.gap[:-1])
    assert said["stopped_because"] == stop.because
    assert f"Stopped at step {stop.ended}" in stop.because
    assert said["stopping"]["ended_at"] == stop.ended == said["steps"][-1]
    assert stop.kept in said["steps"]  # measured, copies and all
    assert said["monitoring"]["stopping_share"] <= 0.01
    assert stop.because in made.summary()
    assert said["stopping"]["expected_onset_by_copies"]["n"] == len(stop.steps)
    assert f"After {stop.kept:,} of {stop.ended:,} steps" in made.summary()
    assert f"kept, {stop.kept:,}" in (made.out / "report.html").read_text()


def test_the_folder_holds_the_kept_step_last_and_its_state_beside_it(made) -> None:
    kept = made.kept.step
    assert checkpoints(made.out)[-1] == kept
    assert set(checkpoints(made.out)) <= set(made.content["results"]["steps"])
    (state,) = made.out.glob("stopping-*.json")
    said = json.loads(state.read_text())
    assert said["kept"] == kept == int(state.stem.removeprefix("stopping-"))
    assert said["stopped"] is None
    denoiser, _, _, _ = read_run(made.out)
    data, _ = read_data(OPTIONS)
    again = draw(denoiser, data, 16, OPTIONS.seed)
    assert ratio_of(again, data.reference) == made.copy_ratio


def fitted(folder: Path, **given: object) -> fitting.Fitted:
    """The run of some options without its page."""
    options = replace(OPTIONS, **given)
    plan = replace(plan_of(options, cpu=True), cures=recipes_of(options)[options.recipe])
    folder.mkdir(exist_ok=True)
    return fitting.fit(read_data(options)[0], plan, folder, lambda steps: None)


def test_training_is_the_one_without_it(made, tmp_path) -> None:
    plain = fitted(tmp_path / "run", stop_gap=None)
    step = max(set(checkpoints(tmp_path / "run")) & set(checkpoints(made.out)))
    name = f"step-{step:09d}.safetensors"
    one, other = load_file(made.out / name), load_file(tmp_path / "run" / name)
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert [m for m in plain.history if m.step <= step] == [m for m in made.history if m.step <= step]


@pytest.mark.parametrize("kill", [1, 3, *(pytest.param(k, marks=pytest.mark.slow) for k in (0, 2, 4))])
def test_a_killed_run_ends_with_the_same_result(made, tmp_path, monkeypatch, kill) -> None:
    count = itertools.count()

    def dying(save):
        def save_and_die(state, path):
            save(state, path)
            if next(count) == kill:
                raise KeyboardInterrupt

        return save_and_die

    with monkeypatch.context() as patch:
        patch.setattr(fitting, "save", dying(fitting.save))
        patch.setattr(training_stop, "save", dying(training_stop.save))
        with pytest.raises(KeyboardInterrupt):
            fitted(tmp_path)
    again = fitted(tmp_path)
    assert (tuple(again.history), again.stop) == (made.history, made.stop)
    assert read_history(tmp_path) == again.history
    kept = f"step-{made.kept.step:09d}.safetensors"
    one, other = load_file(tmp_path / kept), load_file(made.out / kept)
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_kill_between_the_state_and_its_checkpoint_loses_nothing(made, tmp_path, monkeypatch) -> None:
    def die(state, path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training_stop, "save", die)
        with pytest.raises(KeyboardInterrupt):
            fitted(tmp_path)
    again = fitted(tmp_path)
    assert (tuple(again.history), again.stop) == (made.history, made.stop)


def test_an_interrupted_command_ends_with_the_same_result(made, tmp_path, monkeypatch) -> None:
    def die(state, path):
        training_stop_save(state, path)
        raise KeyboardInterrupt

    training_stop_save = training_stop.save
    options = replace(OPTIONS, out=tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(training_stop, "save", die)
        with pytest.raises(KeyboardInterrupt):
            train(options)
    assert result(train(options).out) == result(made.out)
    assert checkpoints(options.out) == checkpoints(made.out)


def test_where_no_step_was_clean_the_run_is_refused_and_nothing_is_left(tmp_path) -> None:
    options = replace(OPTIONS, stop_gap=0.02, learning_rate=5e-3, batch_size=16, out=tmp_path / "run")
    with pytest.raises(InputError, match=r"--stop-gap 0.02 leaves nothing to keep: at step .* larger gap"):
        train(options)
    assert list(tmp_path.iterdir()) == []


def test_a_run_whose_losses_never_part_goes_to_its_end_and_says_so(tmp_path) -> None:
    made = train(replace(OPTIONS, train="digits@600", steps=120, stop_gap=3.0, out=tmp_path / "run"))
    said = made.content["results"]
    assert made.stop.ended is None
    assert said["stopped_at"] == 120
    assert said["stopped_because"].startswith("all steps were done. At step")
    assert said["stopping"]["ended_at"] is None
    onset = {one["threshold"]: one for one in said["onset"]["by_loss_gap"]}[1.0]
    assert (onset["value"], onset["low"], onset["high"]) == (None, 120, None)
    assert "twice the training loss: not reached within 120 steps" in made.summary()


@pytest.mark.parametrize(
    "given",
    [
        {"recipe": "gap+ambient", "gap": (0.3, 0.9), "ambient": 0.3},
        {"recipe": "masking", "hidden": 0.3},
        {"recipe": "dummy", "conditional": True},
        {"flip": True},
    ],
)
def test_it_goes_with_cures_classes_and_masks(tmp_path, given) -> None:
    made = fitted(tmp_path, steps=200, stop_gap=0.2, **given)
    assert len(made.stop.steps) > 0
    assert made.stop.expected is None  # how losses and copies go together is known of plain runs alone
    assert made.stop.ended is None or made.stop.kept in [m.step for m in made.history]


@pytest.mark.slow
def test_several_recipes_end_each_at_a_step_of_its_own_as_alone(made, tmp_path) -> None:
    options = replace(OPTIONS, recipe="baseline,noisy-only", ambient=0.5, out=tmp_path / "runs")
    runs = train(options)
    assert runs.runs["baseline"].content["results"] == made.content["results"]
    assert runs.runs["noisy-only"].kept.step != made.kept.step
    for name, run in runs.runs.items():
        assert checkpoints(options.out / name)[-1] == run.kept.step


def test_a_run_goes_on_from_a_model(made, tmp_path) -> None:
    options = replace(OPTIONS, from_model=made.out, width=512, depth=3, out=tmp_path / "run")
    again = train(replace(options, stop_gap=2.0))
    assert again.stop.kept is None or again.stop.kept > 0
    assert again.stop.steps


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"stop_gap": 0.0}, "--stop-gap 0 cannot be used"),
        ({"stop_gap": -1.0}, "--stop-gap -1 cannot be used"),
        ({"stop_gap": float("nan")}, "--stop-gap nan cannot be used"),
        ({"stop_early": True}, "give one of them"),
    ],
)
def test_gaps_that_are_none_and_two_rules_at_once_are_refused(tmp_path, given, says) -> None:
    with pytest.raises(InputError, match=says):
        train(replace(OPTIONS, out=tmp_path / "run", **given))


def test_losses_that_are_not_finite_are_told_as_divergence(tmp_path, monkeypatch) -> None:
    def broken(pairs, denoiser, device):
        rows = torch.full((len(pairs.probe.sigma),), float("nan"), dtype=torch.float64)
        return rows, rows

    monkeypatch.setattr(training_stop, "row_losses", broken)
    with pytest.raises(
        InputError, match=r"diverged: at step \d+ losses of the averaged weights are not finite"
    ):
        train(replace(OPTIONS, out=tmp_path / "run"))
    assert list(tmp_path.iterdir()) == []
