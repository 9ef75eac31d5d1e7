"""Training and probing, end to end on digits."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from unrote.contracts import InputError
from unrote.jobs import ProbeOptions, TrainOptions, fitting, probe, train
from unrote.train.checkpoints import latest_checkpoint
from unrote.train.loop import Options

SMALL = {"width": 32, "depth": 2, "steps": 60, "samples": 16, "checkpoints": 4, "device": "cpu"}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    train(TrainOptions(train="digits@64", out=out, **SMALL))
    return out


def weights(folder: Path) -> dict[str, torch.Tensor]:
    checkpoint = latest_checkpoint(folder)
    assert checkpoint is not None
    return load_file(checkpoint)


def same(a: Path, b: Path) -> bool:
    one, other = weights(a), weights(b)
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_a_run_writes_its_curves_with_intervals(run) -> None:
    result = json.loads((run / "result.json").read_text())["results"]
    steps = result["steps"]
    assert steps[-1] == result["stopped_at"] == 60
    for key in ("train_loss", "validation_loss", "copy_ratio"):
        curve = result[key]
        assert len(curve["value"]) == len(curve["low"]) == len(curve["high"]) == len(steps)
        assert all(
            low <= value <= high
            for low, value, high in zip(curve["low"], curve["value"], curve["high"], strict=True)
        )
    assert result["train_loss"]["value"][-1] < result["train_loss"]["value"][0]
    assert "Copy ratio over training steps" in (run / "report.html").read_text()


def test_an_interrupted_run_ends_with_the_same_bits(run, tmp_path, monkeypatch) -> None:
    save = fitting.save

    def save_then_stop(state, path):
        save(state, path)
        if state.step > 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(fitting, "save", save_then_stop)
    options = TrainOptions(train="digits@64", out=tmp_path / "run", **SMALL)
    with pytest.raises(KeyboardInterrupt):
        train(options)
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(fitting, "save", save)
    again = train(options)
    assert same(run, tmp_path / "run")
    assert again.content["results"] == json.loads((run / "result.json").read_text())["results"]


def test_measured_steps_are_geometric_and_end_with_the_last() -> None:
    steps = fitting.measured_steps(Options(steps=4000, tick_every=40), 10)
    assert steps[-1] == 4000
    ratios = [b / a for a, b in itertools.pairwise(steps[2:])]
    assert max(ratios) / min(ratios) < 1.25
    assert all(step % 40 == 0 for step in steps)


def test_held_out_images_are_not_trained_on() -> None:
    from unrote.jobs.training import read_data

    data, _ = read_data(TrainOptions(train="digits@100"))
    assert len(data.x) == 90
    assert len(data.held_out) == 10
    assert float(torch.cdist(data.x.flatten(1), data.held_out.flatten(1)).min()) > 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_command_goes_on_to_the_same_bits(run, tmp_path, number) -> None:
    command = [
        sys.executable,
        "-m",
        "unrote.cli.main",
        "train",
        "--train",
        "digits@64",
        "--out",
        str(tmp_path / "r"),
    ]
    for name, value in SMALL.items():
        command += [f"--{name}", str(value)]
    # The same bits on as many threads as the run in this process had.
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=one_thread
    )
    partial = tmp_path / "r.partial"
    deadline = time.monotonic() + 120
    while (
        time.monotonic() < deadline
        and not list(partial.glob("step-*.safetensors"))
        and process.poll() is None
    ):
        time.sleep(0.01)
    os.kill(process.pid, number)
    _, told = process.communicate()
    if number == signal.SIGTERM and not (tmp_path / "r").exists():
        assert process.returncode == 130
        assert "goes on where it was" in told
    if not (tmp_path / "r").exists():  # it was killed before its end, as it nearly always is
        subprocess.run(command, check=True, capture_output=True, env=one_thread)
    assert same(run, tmp_path / "r")
    assert not partial.exists()


def test_labels_condition_a_run(tmp_path) -> None:
    made = train(TrainOptions(train="digits@64", out=tmp_path / "run", conditional=True, **SMALL))
    said = json.loads((tmp_path / "run" / "run.json").read_text())
    assert said["classes"] == 10
    assert made.history[-1].step == 60


def test_a_probe_shows_the_empirical_optimum_for_what_it_is(run, tmp_path) -> None:
    made = probe(
        ProbeOptions(
            model=run, train="digits@64", test="digits@300", out=tmp_path / "probe", points=48, levels=9
        )
    )
    result = made.content["results"]
    assert len(result["levels"]) == len(result["copy_ratio"]["value"]) == len(result["units"]) == 9
    optimum = result["empirical"]
    assert optimum["copy_ratio"]["value"][-1] == 1.0  # at sigma 0.002 it returns a training image
    assert optimum["copy_ratio"]["value"][0] == 0.0  # at sigma 80 an average
    assert optimum["train_error"]["value"][-1] == 0.0
    assert optimum["test_error"]["value"][-1] > result["test_error"]["value"][-1]
    assert "sigma" in made.summary()


def test_a_probe_refuses_what_is_no_run_and_another_shape(run, tmp_path) -> None:
    with pytest.raises(InputError, match="unrote train"):
        probe(ProbeOptions(model=tmp_path, train="digits@64", test="digits@80", out=tmp_path / "p"))
    with pytest.raises(InputError, match="--resize"):
        probe(ProbeOptions(model=run, train="digits@64", test="digits@80", out=tmp_path / "p", resize=16))
