"""The programs in the document on the clock of memorization run and do what its words say."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "clock.md").read_text(encoding="utf-8")
STEPS = 600


def source(word: str) -> str:
    (found,) = (p for p in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL) if word in p)
    return found


def program(word: str, out: Path) -> dict:
    """Run the one program that has a word in it; what it defined."""
    names: dict = {"OUT": out, "STEPS": STEPS}
    exec(compile(source(word), "clock.md", "exec"), names)
    return names


def test_onsets_are_printed_as_shown(tmp_path, capsys) -> None:
    program("copy_onset_interval", tmp_path)
    printed = capsys.readouterr().out
    (shown,) = re.findall(r"```\n(copies at step[^`]*)```", TEXT)
    assert re.sub(r"[\d,]+", "N", printed) == re.sub(r"[\d,]+", "N", shown)
    found, expected = (
        [float(n.replace(",", "")) for n in re.findall(r"\d[\d,]*", t)] for t in (printed, shown)
    )
    assert found == pytest.approx(expected, rel=0.01)


def test_the_law_is_close_to_linear_and_forecasts(tmp_path, capsys) -> None:
    made = program("fit_power_law", tmp_path)
    assert made["law"].exponent.low < 1 < made["law"].exponent.high
    assert made["said"].low < 35_000 < made["said"].high
    assert capsys.readouterr().out.count("images:") == 5


def test_our_loop_stops_and_leaves_the_last_clean_checkpoint(tmp_path, capsys) -> None:
    made = program("from unrote.train.loop", tmp_path)
    stopper = made["stopper"]
    assert stopper.stopped is not None and stopper.kept is not None
    assert [p.name for p in tmp_path.glob("*.safetensors")] == [
        made["checkpoint_path"](tmp_path, stopper.kept).name
    ]
    assert json.loads((tmp_path / "stopping.json").read_text())["kept"] == stopper.kept
    first, last = capsys.readouterr().out.splitlines()
    assert f"```\n{first}\n```" in TEXT
    assert last.startswith(f"Stopped at step {stopper.stopped:,}: the loss of the averaged weights")


def test_a_bare_loop_stops_and_goes_back(tmp_path, capsys) -> None:
    made = program("class Denoiser", tmp_path)
    stopper = made["stopper"]
    assert stopper.stopped is not None
    assert [p.name for p in tmp_path.iterdir()] == [f"clean-{stopper.kept}.pt"]
    # The network is again the one of the last clean step, and its state goes on from there.
    (clean,) = (check for check in stopper.history if check.step == stopper.kept)
    train, validation = made["probe"].losses(made["network"])
    assert made["relative_gap"](train, validation) == clean.gap
    fresh = made["EarlyStopping"](made["relative_gap"])
    fresh.load_state_dict(made["kept"]["stopping"])
    assert fresh.kept == stopper.kept
    assert "Stopped at step" in capsys.readouterr().out


def test_a_script_for_accelerate_stops_and_its_state_is_accelerates(tmp_path, capsys) -> None:
    made = program("save_state", tmp_path)
    stopper = made["stopper"]
    assert stopper.stopped is not None and stopper.kept is not None
    assert [p.name for p in tmp_path.iterdir()] == [f"clean-{stopper.kept}"]
    before = stopper.state_dict()
    made["accelerator"].load_state(tmp_path / f"clean-{stopper.kept}")
    assert stopper.stopped is None and stopper.kept == before["kept"]
    (clean,) = (check for check in stopper.history if check.step == stopper.kept)
    train, validation = made["probe"].losses(made["denoiser"])
    assert made["relative_gap"](train, validation) == clean.gap
    assert "Stopped at step" in capsys.readouterr().out
    assert torch.is_grad_enabled()


@pytest.mark.slow
def test_two_processes_of_accelerate_stop_together(tmp_path) -> None:
    script = tmp_path / "script.py"
    out = tmp_path / "out"
    out.mkdir()
    # Each process takes half of the batches.
    script.write_text(f"OUT, STEPS = {str(out)!r}, {2 * STEPS}\n" + source("save_state"))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2"),
            *("--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no", "--main_process_port=0"),
            str(script),
        ],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("Stopped at step") == 1
    assert len(list(out.iterdir())) == 1
