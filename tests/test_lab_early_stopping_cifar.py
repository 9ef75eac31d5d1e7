"""The paper's size: its numbers, a run in pieces that ends like one in one go, the real network's steps."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from unrote.contracts import InputError
from unrote.denoise.networks import from_description
from unrote.lab.claims import UNTESTED, judge
from unrote.lab.early_stopping import cifar, cifar_runs
from unrote.lab.early_stopping.iddpm_runs import begun
from unrote.lab.study import Material
from unrote.lab.wild_middle.paper import options_of
from unrote.train.checkpoints import checkpoint_path, latest_checkpoint, save
from unrote.train.loop import train


def test_the_numbers_are_the_papers() -> None:
    options = options_of(cifar.OPTIONS)
    assert (options.batch_size, options.learning_rate, options.warmup_steps) == (128, 1e-4, 0)
    assert options.ema_decay == 0.9999 and cifar.PAPER["timesteps"] == 4000
    asked = cifar.configurations("paper")
    assert len(asked) == len(cifar.SIZES) * len(cifar.SEEDS)
    assert max(one["at"][-1] for one in asked) == 262_144
    for one in asked:
        assert all(step % options.tick_every == 0 for step in one["at"])
        assert one["at"] == sorted(set(one["at"])) and one["at"][0] >= cifar.FIRST


def test_below_the_papers_size_nothing_is_decided() -> None:
    for scale in ("smoke", "laptop"):
        assert {one["pictures"]["set"] for one in cifar.configurations(scale)} == {"digits"}
        assert cifar.sets(scale) == ()
        assert all(one["verdict"] == UNTESTED for one in judge(cifar.EXPERIMENT, scale, ()))


@pytest.mark.parametrize(("asked", "weights"), [(cifar.NETWORK, 52.5e6), (cifar.WIDE, 210e6)])
def test_the_network_has_about_as_many_weights_as_the_released_program(asked, weights) -> None:
    with torch.device("meta"):  # counted, not made
        network = from_description(asked).build((3, 32, 32), None, torch.Generator(), channels_out=6)
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(weights, rel=0.08)


@pytest.mark.slow
def test_a_run_in_pieces_ends_like_one_in_one_go(tmp_path: Path) -> None:
    asked = cifar.STAND_IN
    whole = cifar_runs.advance(asked, tmp_path / "whole")
    pieces, found = 0, None
    while found is None:
        found = cifar_runs.advance(asked, tmp_path / "pieces", seconds=0.0)
        pieces += 1
        assert pieces <= 4
    assert pieces == 4 and found == whole
    ends = [latest_checkpoint(tmp_path / name) for name in ("whole", "pieces")]
    assert [len(list((tmp_path / name).glob("step-*"))) for name in ("whole", "pieces")] == [1, 1]
    assert all(end is not None and end.name == "step-000000016.safetensors" for end in ends)
    last = [np.load(tmp_path / name / "last.npy") for name in ("whole", "pieces")]
    assert last[0].dtype == np.uint8 and last[0].shape == (256, 1, 8, 8) and (last[0] == last[1]).all()
    assert cifar_runs.advance(asked, tmp_path / "whole") == whole  # a finished run is read
    with pytest.raises(InputError, match="another run"):
        cifar_runs.advance(asked | {"seed": 1}, tmp_path / "whole")
    assert len(cifar.EXPERIMENT.show([{"configuration": asked, "result": whole}])) == 7


def test_what_was_measured_after_the_saved_state_is_measured_again(tmp_path: Path) -> None:
    rows = [{"step": 8, "raw": {}, "averaged": {}}, {"step": 16, "raw": {}, "averaged": {}}]
    (tmp_path / cifar_runs.HISTORY).write_text(json.dumps(rows))
    assert [row["step"] for row in cifar_runs.read_history(tmp_path, 12)] == [8]
    assert cifar_runs.read_history(tmp_path / "none", 12) == []


@pytest.mark.slow
def test_a_folder_can_be_named_for_long_runs(tmp_path: Path, monkeypatch) -> None:
    asked = cifar.STAND_IN | {"at": [4]}
    monkeypatch.setenv(cifar_runs.RUNS, str(tmp_path))
    found = cifar_runs.run(asked)
    assert found["steps"] == [4] and len(list(tmp_path.glob("*/step-*"))) == 1
    monkeypatch.delenv(cifar_runs.RUNS)
    assert cifar_runs.run(asked) == found


@pytest.mark.slow
def test_the_real_network_makes_a_step_is_saved_and_gone_on_from(tmp_path: Path) -> None:
    asked = cifar.configurations("paper")[0]
    g = torch.Generator().manual_seed(1)
    x = torch.randint(256, (4, 3, 32, 32), generator=g).float() / 127.5 - 1
    options = replace(
        options_of(asked["options"]), batch_size=2, steps=2, tick_every=1, mixed_precision="no", cpu=True
    )

    def trained(steps: int, resume: Path | None = None):
        model, recipe = begun(asked, Material(x, x, x))
        stream = torch.Generator().manual_seed(2)
        return list(train(model, recipe, stream, replace(options, steps=steps), resume))[-1].state

    path = checkpoint_path(tmp_path, 1)
    save(trained(1), path)
    resumed, direct = trained(2, path).ema.state_dict(), trained(2).ema.state_dict()
    assert all(torch.equal(value, resumed[key]) for key, value in direct.items())
    last = direct["network.unet.conv_out.weight"]
    assert (
        last.shape[0] == 6 and bool(last[:3].any()) and bool(last[3:].any())
    )  # noise and variance are learned
