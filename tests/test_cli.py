"""The command line as a user meets it: exit status, one paragraph, JSON, quick help."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest
import torch
from scenes import faces, save_array

TRAIN, FRESH = faces(60, seed=1), faces(40, seed=2)


def unrote(*arguments: str, cwd=None) -> subprocess.CompletedProcess[str]:
    """Run the program in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "unrote.cli.main", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    save_array(TRAIN, folder / "train.npy")
    save_array(torch.cat([TRAIN[:20], FRESH[:20]]), folder / "samples.npy")
    save_array(FRESH[20:], folder / "test.npy")
    return folder


def test_help_lists_commands_and_loads_nothing_slow() -> None:
    code = "import sys; from unrote.cli.main import main; main(['--help']); print('torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "audit" in told
    assert told.strip().endswith("False")


def test_the_help_of_a_command_is_made_from_its_options() -> None:
    told = unrote("audit", "--help")
    assert told.returncode == 0
    for flag in ("--train", "--samples", "--test", "--fail-above", "--overwrite", "--json"):
        assert flag in told.stdout


def test_an_audit_prints_json_and_nothing_else(files, tmp_path) -> None:
    told = unrote(
        "audit",
        "--train",
        "train.npy",
        "--samples",
        "samples.npy",
        "--out",
        str(tmp_path / "o"),
        "--json",
        cwd=files,
    )
    assert told.returncode == 0, told.stderr
    content = json.loads(told.stdout)
    assert content["schema"] == 1
    assert content["results"]["copy_ratio"]["value"] == 0.5
    assert content == json.loads((tmp_path / "o" / "result.json").read_text())


@pytest.mark.parametrize(
    ("limit", "on", "status"), [("0.2", "low", 3), ("0.4", "low", 0), ("0.4", "value", 3)]
)
def test_a_gate_for_continuous_integration(files, tmp_path, limit, on, status) -> None:
    told = unrote(
        *("audit", "--train", "train.npy", "--samples", "samples.npy", "--out", str(tmp_path / "o")),
        *("--fail-above", limit, "--fail-on", on),
        cwd=files,
    )
    assert told.returncode == status, told.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["audits"], "the commands are"),
        (["audit", "--train", "nowhere", "--samples", "samples.npy"], "does not exist"),
        (["probe", "--model", "nowhere", "--train", "train.npy", "--test", "test.npy"], "unrote train"),
        (["reproduce", "figure-99"], "the groups are crossover"),
        (["demo", "--small", "2"], "--small 2"),
    ],
)
def test_unusable_input_is_one_paragraph_and_status_2(files, tmp_path, arguments, says) -> None:
    out = [] if arguments == ["audits"] else ["--out", str(tmp_path / "o")]
    told = unrote(*arguments, *out, cwd=files)
    assert told.returncode == 2
    assert says in told.stderr
    assert "Traceback" not in told.stderr
    assert len(told.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_an_unknown_flag_is_an_error() -> None:
    told = unrote("audit", "--train", "a", "--samples", "b", "--sampels", "c")
    assert told.returncode == 2
    assert "--sampels" in told.stderr + told.stdout


def test_the_ledger_prints_and_every_verdict_has_its_rule() -> None:
    told = unrote("claims", "--json")
    assert told.returncode == 0, told.stderr
    for claim in json.loads(told.stdout)["claims"]:
        assert claim["rule"]
        assert claim["verdict"] in {"held", "partly", "failed", "not tested at this scale"}


@pytest.mark.parametrize("delay", [0.4, 1.2, 1.8, 2.4])
def test_ctrl_c_at_any_moment_ends_quietly_and_the_same_command_goes_on(files, tmp_path, delay) -> None:
    command = [
        sys.executable,
        "-m",
        "unrote.cli.main",
        "audit",
        "--train",
        "train.npy",
        "--samples",
        "samples.npy",
    ]
    command += ["--test", "test.npy", "--out", str(tmp_path / "o")]
    process = subprocess.Popen(command, cwd=files, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    # Within Python's own first and last moments there is no one to say it nicely.
    assert process.returncode in {130, 0, -signal.SIGINT}
    if process.returncode == 130:
        assert "Traceback" not in told
    if not (tmp_path / "o").exists():
        subprocess.run(command, cwd=files, check=True, capture_output=True)
    assert json.loads((tmp_path / "o" / "result.json").read_text())["results"]["copy_ratio"]["value"] == 0.5
    assert [p.name for p in tmp_path.iterdir()] == ["o"]
