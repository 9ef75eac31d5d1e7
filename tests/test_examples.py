"""The examples run, watch, and give the same numbers in two processes as in one."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
TWO = {
    "bare_pytorch.py": ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"],
    "accelerate_diffusers.py": [
        *("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2", "--num_machines=1"),
        *("--mixed_precision=no", "--dynamo_backend=no", "--main_process_port=0"),
    ],
}
"""How two processes are launched; ACCELERATE_USE_CPU keeps them on the CPU."""


def arguments(name: str, out: Path) -> list[str]:
    return ["--smoke", "--out", str(out), *(["--cpu"] if name == "accelerate_diffusers.py" else [])]


def history(out: Path) -> list[dict]:
    place = out / "history.json" if (out / "history.json").exists() else out / "watch" / "history.json"
    return json.loads(place.read_text())


def in_this_process(name: str, out: Path, monkeypatch) -> list[dict]:
    monkeypatch.setattr(sys, "argv", [name, *arguments(name, out)])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    return history(out)


def in_two(name: str, out: Path) -> list[dict]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [sys.executable, *TWO[name], str(EXAMPLES / name), *arguments(name, out)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    # The first process alone measures and prints.
    assert done.stdout.count("copies") == len(history(out))
    return history(out)


@pytest.mark.parametrize("name", list(TWO))
def test_an_example_gives_the_same_numbers_in_two_processes(name, tmp_path, monkeypatch, capsys) -> None:
    alone = in_this_process(name, tmp_path / "one", monkeypatch)
    assert alone[-1]["train_loss"]["value"] < alone[0]["train_loss"]["value"]
    assert capsys.readouterr().out.count("copies") == len(alone)
    shared = in_two(name, tmp_path / "two")
    assert [row["step"] for row in shared] == [row["step"] for row in alone]
    for one, two in zip(alone, shared, strict=True):
        assert two["copy_ratio"] == one["copy_ratio"]
        for key in ("train_loss", "validation_loss"):
            assert two[key]["value"] == pytest.approx(one[key]["value"], rel=1e-5)


def test_every_example_is_run_here() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(TWO)


def test_the_pipeline_that_an_example_saves_is_a_model(tmp_path, monkeypatch) -> None:
    from unrote.jobs.models import read_model

    in_this_process("accelerate_diffusers.py", tmp_path, monkeypatch)
    _, said = read_model(tmp_path / "pipeline")
    assert said.card.shape == (1, 8, 8)
    assert json.loads((tmp_path / "pipeline" / "copies.json").read_text())["step"] == 8


def test_the_program_on_models_prints_what_it_says(capsys) -> None:
    text = (EXAMPLES.parent / "docs" / "models.md").read_text(encoding="utf-8")
    program = next(p for p in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "print" in p)
    exec(compile(program, "models.md", "exec"), {})
    assert capsys.readouterr().out.strip() == program.rstrip().rpartition("# ")[2]
