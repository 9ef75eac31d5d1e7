"""Numbers out of range, runs that diverge, models that are damaged: status 2, one paragraph, nothing left behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import SHORT, TRAIN, audit, probe

from unrote.jobs import fitting

pytest_plugins = ("refusals",)


# Numbers out of range


NUMBERS = [
    ("--fail-above", "-1"),
    ("--fail-above", "nan"),
    ("--fail-above", "1.5"),
    ("--memory", "0"),
    ("--memory", "-5"),
    ("--confidence", "2"),
    ("--confidence", "0"),
    ("--confidence", "nan"),
    ("--seed", "-1"),
    ("--seed", str(2**70)),
    ("--factor", "0"),
    ("--factor", "inf"),
    ("--resize", "0"),
    ("--resize", "-3"),
    ("--duplicate-threshold", "nan"),
    ("--absolute-threshold", "-0.1"),
    ("--false-positives", "0"),
]


@pytest.mark.parametrize(("flag", "value"), NUMBERS)
def test_numbers_that_an_audit_cannot_use(refused, flag, value) -> None:
    told = refused(*audit(), flag, value)
    assert flag in told or flag == "--resize"
    assert value in told.replace(",", "")


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("audits", "the commands are demo, audit"),
        ("audit", "--samples"),
        ("audit --train a --samples b --sampels c", "Perhaps you meant: --samples"),
        ("audit --train a b", "Unrecognized options: b"),
        ("audit --train", "--train"),
        ("audit --train a --samples b --resize x", "--resize"),
        ("audit --train a --samples b --samples-range 0,1", "--samples-range"),
        ("audit --train a --samples b --fail-on middle", "'low', 'value', 'high'"),
        ("train --train a --network resnet", "'mlp', 'transformer', 'unet'"),
        ("train --train a --steps 1.5", "--steps"),
    ],
)
def test_flags_that_are_not_understood(refused, command, says) -> None:
    told = refused(*command.split())
    assert says in told
    assert "--help" in told or command == "audits"
    assert not set("│╭─") & set(told)


TRAINING = [
    ("--steps", "0", "--steps 0"),
    ("--batch-size", "0", "batch_size = 0"),
    ("--learning-rate", "nan", "learning_rate = nan"),
    ("--learning-rate", "-1", "learning_rate = -1"),
    ("--width", "0", "positive sizes"),
    ("--depth", "0", "positive sizes"),
    ("--dropout", "1", "dropout"),
    ("--ema-decay", "1", "ema_decay = 1"),
    ("--weight-decay", "-1", "weight_decay = -1"),
    ("--checkpoints", "0", "--checkpoints 0"),
    ("--samples", "0", "--samples 0"),
    ("--seed", "-1", "--seed -1"),
    ("--fail-above", "nan", "--fail-above nan"),
    ("--duplicate-threshold", "5", "--duplicate-threshold 5"),
    ("--learning-rate", "1e6", "Lower --learning-rate, which is 1e+06"),
    ("--learning-rate", "1e30", "lower the learning rate"),
]


@pytest.mark.parametrize(("flag", "value", "says"), TRAINING)
def test_numbers_that_training_cannot_use_and_runs_that_diverge(refused, flag, value, says) -> None:
    assert says in refused("train", "--train", "digits@64", *SHORT, flag, value)


def test_a_run_that_diverges_late_leaves_no_checkpoints_either(refused, monkeypatch) -> None:
    told: list[int] = []
    once = fitting.check_converging

    def at_the_last(seen, plan):
        told.append(seen.step)
        if len(told) == 2:
            monkeypatch.setattr(fitting, "HOPELESS", 0.0)
        once(seen, plan)

    monkeypatch.setattr(fitting, "check_converging", at_the_last)
    assert "diverged: at step" in refused("train", "--train", "digits@64", *SHORT, "--steps", 80)
    assert len(told) == 2


@pytest.mark.parametrize("depth", [0, 9])
def test_a_u_net_too_deep_or_without_a_level(refused, depth) -> None:
    told = refused("train", "--train", "digits@64", *SHORT, "--network", "unet", "--depth", depth)
    assert "--depth lies between 1 and 4" in told


def test_a_u_net_on_digits_works(call, place) -> None:
    status, out, told = call(
        "train", "--train", "digits@64", *SHORT, "--network", "unet", "--depth", 2, "--out", "r"
    )
    assert status == 0, told
    assert "After 20 steps" in out
    assert json.loads(Path("r/run.json").read_text())["network"]["channels"] == [16, 32]


def test_labels_where_there_are_none(refused) -> None:
    told = refused("train", "--train", "train.npy", *SHORT, "--conditional")
    assert "--conditional needs labels, and train.npy has none" in told
    np.savez("named.npz", x=TRAIN.numpy(), y=np.arange(40) % 2)
    told = refused("train", "--train", "named.npz", "--test", "samples.npy", *SHORT, "--conditional")
    assert "samples.npy has none" in told


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_where_there_is_none(refused) -> None:
    assert "--device cpu" in refused("train", "--train", "digits@64", *SHORT, "--device", "cuda")


def test_too_little_memory_is_told(refused) -> None:
    told = refused("train", "--train", "digits@64", *SHORT, "--batch-size", 10**15)
    assert "memory is not enough" in told


@pytest.mark.parametrize(
    "flags",
    [
        ("--small", 2),
        ("--small", -5),
        ("--small", 64, "--large", 64),
        ("--large", 1601),
        ("--steps", 99),
        ("--steps", 0),
        ("--samples", 15),
        ("--seed", -1),
        ("--seed", 2**66),
    ],
)
def test_sizes_that_the_demonstration_cannot_use(refused, flags) -> None:
    told = refused("demo", *flags)
    assert all(str(part) in told.replace(",", "") for part in flags[:2])


# Probes


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"resize": 12}, "shape (1, 8, 8)"),
        ({"train": "train.npy", "test": "samples.npy"}, "shape (1, 8, 8)"),
        ({"test": "samples.npy"}, "of 12x12 pixels"),
        ({"points": 0}, "--points 0"),
        ({"levels": 1}, "--levels 1"),
        ({"levels": 10**8}, "--levels 100,000,000"),
        ({"seed": -1}, "--seed -1"),
        ({"model": "nowhere"}, "unrote train"),
        ({"model": "train.npy"}, "unrote train"),
        ({"model": "run/run.json"}, "cannot be read as a checkpoint"),
        ({"out": "run"}, "add --overwrite"),
    ],
)
def test_probes_that_cannot_be_made(refused, run, flags, says) -> None:
    assert says in refused(*probe(**flags))


def test_a_probe_does_not_replace_its_model(refused, run) -> None:
    assert "never replace what they rest on" in refused(*probe(out="run"), "--overwrite")


def spoilt(data: bytes) -> Iterator[bytes]:
    """A checkpoint cut short, changed in its header, in its weights, and something else altogether."""
    yield data[: len(data) // 2]
    yield data[:40] + b"#" + data[41:]
    for place in range(len(data) // 4, len(data), len(data) // 4):
        yield data[:place] + bytes([data[place] ^ 64]) + data[place + 1 :]
    yield b"junk"
    yield b""


def test_a_damaged_checkpoint_is_told_and_no_earlier_one_taken(refused, call, run) -> None:
    last = max(run.glob("step-*"))
    shutil.copy(last, run / "step-000000001.safetensors")
    whole = last.read_bytes()
    bad = 0
    for data in spoilt(whole):
        last.write_bytes(data)
        status, _, told = call(*probe())
        if status == 0:  # the damage lies in what a probe does not read
            shutil.rmtree("probe")
            continue
        bad += 1
        assert "step-000000020.safetensors" in told
        assert "Take another checkpoint" in told or "take another" in told
        assert "step-000000020.safetensors" in refused(*probe(model=last))
    assert bad >= 4


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1",
        "{}",
        "7",
        '{"network": 7, "shape": [1, 8, 8], "classes": null}',
        '{"network": {"kind": "mlp", "width": "wide"}, "shape": [1, 8, 8], "classes": null}',
        '{"network": {"kind": "mlp"}, "shape": 8, "classes": null}',
        '{"network": {"kind": "mlp"}, "shape": [1, 8, 8], "classes": null}',
    ],
)
def test_a_damaged_description_of_a_run(refused, run, text) -> None:
    (run / "run.json").write_text(text)
    told = refused(*probe())
    assert "unrote train" in told or "weights of another network" in told
