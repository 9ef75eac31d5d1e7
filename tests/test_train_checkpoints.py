from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor, nn

from unrote.contracts import Examples, InputError
from unrote.denoise.compose import Precondition, edm
from unrote.denoise.networks import build_mlp
from unrote.noise.levels import LogNormal
from unrote.train.checkpoints import (
    checkpoint_path,
    latest_checkpoint,
    load_denoiser_weights,
    read,
    save,
    write,
)
from unrote.train.loop import Options, Tick, train
from unrote.train.recipe import Recipe, above, baseline

QUICK = Options(steps=12, batch_size=8, tick_every=4, warmup_steps=5, cpu=True)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def denoiser_of(seed: int = 0, width: int = 16, dropout: float = 0.3) -> Precondition:
    return Precondition(build_mlp((4,), seeded(seed), width=width, depth=2, dropout=dropout), edm())


def recipe_of(seed: int = 7) -> Recipe:
    x = torch.randn(30, 4, generator=seeded(seed)) / 2
    return baseline(Examples(x, torch.zeros(30)), LogNormal(), torch.ones_like)


def run(options: Options = QUICK, resume: Path | None = None, start: int = 0) -> list[Tick]:
    return list(train(denoiser_of(start), recipe_of(), seeded(), options, resume))


def tensors_of(tick: Tick, folder: Path) -> dict[str, Tensor]:
    path = folder / f"compare-{len(list(folder.iterdir()))}.safetensors"
    save(tick.state, path)
    return load_file(path)


def equal(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A run of QUICK, saved after its second tick."""
    path = checkpoint_path(tmp_path, 8)
    *_, tick = islice(train(denoiser_of(), recipe_of(), seeded(), QUICK), 2)
    save(tick.state, path)
    return path


def test_a_resumed_run_is_the_uninterrupted_run_bit_for_bit(checkpoint, tmp_path):
    whole = run()
    # The network handed to the resumed run begins elsewhere: everything comes from the file.
    rest = run(resume=checkpoint, start=99)
    assert [t.step for t in rest] == [12]
    assert rest[0].train_loss == whole[2].train_loss
    assert equal(tensors_of(rest[0], tmp_path), tensors_of(whole[2], tmp_path))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_descent_resumes_to_the_same_bits_and_not_as_another_optimizer(tmp_path, momentum):
    options = replace(QUICK, momentum=momentum)
    end = run(options)[-1]
    path = checkpoint_path(tmp_path, 8)
    *_, tick = islice(train(denoiser_of(), recipe_of(), seeded(), options), 2)
    save(tick.state, path)
    (rest,) = run(options, path, start=99)
    assert rest.train_loss == end.train_loss
    assert equal(tensors_of(rest, tmp_path), tensors_of(end, tmp_path))
    with pytest.raises(InputError, match=f"options.momentum was {momentum}, now absent"):
        run(QUICK, path)


def test_a_checkpoint_from_before_there_was_a_momentum_continues(checkpoint, tmp_path):
    header, parts = read(checkpoint, ("raw", "ema", "adam", "run"))
    assert header["fingerprint"].pop("options.momentum") is None
    old = tmp_path / "old.safetensors"
    write(parts, header, old)
    (rest,) = run(resume=old, start=99)
    assert equal(tensors_of(rest, tmp_path), tensors_of(run()[-1], tmp_path))


def test_a_run_stopped_off_the_grid_continues_with_the_same_ticks(tmp_path):
    whole = run(replace(QUICK, steps=14))
    first = run(replace(QUICK, steps=10))
    save(first[-1].state, tmp_path / "ten.safetensors")
    rest = run(replace(QUICK, steps=14), tmp_path / "ten.safetensors")
    assert [(t.step, t.train_loss) for t in rest] == [(t.step, t.train_loss) for t in whole[2:]]
    assert equal(tensors_of(rest[-1], tmp_path), tensors_of(whole[-1], tmp_path))


def test_a_finished_run_has_no_ticks_left_and_fewer_steps_are_refused(checkpoint):
    assert run(replace(QUICK, steps=8), checkpoint) == []
    with pytest.raises(InputError, match="is at step 8, beyond the 5"):
        run(replace(QUICK, steps=5), checkpoint)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"options": replace(QUICK, learning_rate=2e-3)}, r"options.learning_rate was 0.001, now 0.002"),
        ({"options": replace(QUICK, clip=1.0)}, r"options.clip was absent, now 1.0"),
        ({"recipe": recipe_of(8)}, r"recipe.examples.x was \w+..., now \w+..."),
        ({"recipe": replace(recipe_of(), law=LogNormal(-1.0))}, r"recipe.law.mean was -1.2, now -1.0"),
        ({"recipe": replace(recipe_of(), allowed=lambda level, s: above(level, s) & (s > 0.1))}, "allowed"),
        ({"generator": seeded(5)}, "seed was"),
        ({"denoiser": denoiser_of(dropout=0.1)}, r"p=0.3.*p=0.1"),
        ({"denoiser": denoiser_of(width=8)}, r"out_features=16.*out_features=8"),
    ],
)
def test_a_run_of_other_data_settings_seed_or_network_is_refused_with_what_differs(checkpoint, change, told):
    made_of = {"denoiser": denoiser_of(), "recipe": recipe_of(), "generator": seeded(), "options": QUICK}
    with pytest.raises(InputError, match=told):
        train(**(made_of | change), resume=checkpoint)


def test_steps_and_ticks_may_change_without_changing_a_weight(checkpoint, tmp_path):
    finer = run(replace(QUICK, steps=20, tick_every=1), checkpoint)
    whole = run(replace(QUICK, steps=20))
    assert equal(tensors_of(finer[-1], tmp_path), tensors_of(whole[-1], tmp_path))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0.0, 0.999))
def test_a_file_cut_short_anywhere_is_an_input_error_and_passed_over(checkpoint, tmp_path, share):
    whole = checkpoint.read_bytes()
    cut = checkpoint_path(tmp_path, 12)
    cut.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match="cannot be read as a checkpoint"):
        run(resume=cut)
    assert latest_checkpoint(tmp_path) == checkpoint


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.booleans(), st.floats(0.0, 0.9999))
def test_one_changed_byte_anywhere_is_an_input_error(checkpoint, in_header, share):
    whole = checkpoint.read_bytes()
    length = 8 + int.from_bytes(whole[:8], "little") if in_header else len(whole)
    try:
        changed = bytearray(whole)
        changed[int(share * length)] ^= 1
        checkpoint.write_bytes(changed)
        with pytest.raises(InputError):
            run(resume=checkpoint)
    finally:
        checkpoint.write_bytes(whole)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x80\x04cos\nsystem\n."])
def test_other_files_are_input_errors(tmp_path, content):
    path = tmp_path / "step-000000001.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as a checkpoint"):
        run(resume=path)
    with pytest.raises(InputError, match="cannot be read as a checkpoint"):
        run(resume=tmp_path / "absent.safetensors")


def test_the_latest_checkpoint_is_the_highest_whole_step(checkpoint, tmp_path):
    assert latest_checkpoint(tmp_path / "absent") is None
    assert latest_checkpoint(tmp_path) == checkpoint
    checkpoint_path(tmp_path, 4).write_bytes(checkpoint.read_bytes())
    (tmp_path / ".step-000000099.safetensors.tmp").write_bytes(b"half")
    (tmp_path / "step-99.safetensors.bak").write_bytes(checkpoint.read_bytes())
    assert latest_checkpoint(tmp_path) == checkpoint


@pytest.mark.parametrize("where", ["unrote.train.checkpoints._to_disk", "pathlib.Path.replace"])
def test_a_write_that_fails_at_any_point_leaves_the_old_file_and_no_other(checkpoint, monkeypatch, where):
    before = checkpoint.read_bytes()

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    tick = next(train(denoiser_of(), recipe_of(), seeded(1), QUICK))
    monkeypatch.setattr(where, full)
    with pytest.raises(InputError, match=r"could not be written.*No space left"):
        save(tick.state, checkpoint)
    assert checkpoint.read_bytes() == before
    assert list(checkpoint.parent.iterdir()) == [checkpoint]


def test_a_folder_that_is_not_there_is_an_input_error(tmp_path):
    tick = next(train(denoiser_of(), recipe_of(), seeded(1), QUICK))
    with pytest.raises(InputError, match="could not be written"):
        save(tick.state, tmp_path / "absent" / "a.safetensors")


def test_raw_and_averaged_weights_come_back_into_a_denoiser(checkpoint):
    *_, tick = islice(train(denoiser_of(), recipe_of(), seeded(), QUICK), 2)
    fresh = denoiser_of(99)
    load_denoiser_weights(fresh, checkpoint)
    assert equal(fresh.state_dict(), tick.state.ema.state_dict())
    load_denoiser_weights(fresh, checkpoint, averaged=False)
    assert equal(fresh.state_dict(), tick.state.network.state_dict())
    with pytest.raises(
        InputError, match=r"another network: 17 of .* shape is \(16,\) in the file and \(8,\) here"
    ):
        load_denoiser_weights(denoiser_of(width=8), checkpoint)


class Tied(nn.Module):
    """Weights that share memory, and buffers of both kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(4, 4)
        self.two = nn.Linear(4, 4)
        self.two.weight = self.one.weight
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("scratch", torch.ones(3), persistent=False)

    def forward(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        if self.training:
            self.seen += 1
        return self.two(self.one(x))


def test_shared_weights_and_counting_buffers_are_kept(tmp_path):
    ticks = train(Tied(), recipe_of(), seeded(), QUICK)
    save(next(ticks).state, tmp_path / "a.safetensors")
    *_, whole = ticks
    *_, rest = train(Tied(), recipe_of(), seeded(), QUICK, tmp_path / "a.safetensors")
    assert float(rest.state.ema.seen) == float(whole.state.network.seen) == 12
    assert equal(rest.state.ema.state_dict(), whole.state.ema.state_dict())
    assert rest.state.network.two.weight is rest.state.network.one.weight


# One process imports everything, trains once to warm up, and then forks every run: starting costs
# seconds, and a kill must not always meet a run that has not begun.
CHILD = """
import json, os, random, signal, sys, time
from dataclasses import replace
from pathlib import Path
import torch
torch.set_num_threads(1)
import accelerate
from unrote.contracts import Examples
from unrote.denoise.compose import Precondition, edm
from unrote.denoise.networks import build_mlp
from unrote.noise.levels import LogNormal
from unrote.train.checkpoints import checkpoint_path, latest_checkpoint, save
from unrote.train.loop import Options, train
from unrote.train.recipe import baseline
from safetensors.torch import load_file

folder = Path(sys.argv[1])
terminate = sys.argv[2] == "SIGTERM"
x = load_file(folder / "digits.safetensors")["x"]

def run(where, begun, steps=240):
    where.mkdir(exist_ok=True)
    told = []
    signal.signal(signal.SIGTERM, lambda *_: told.append(True))
    generator = torch.Generator().manual_seed(0)
    denoiser = Precondition(build_mlp((64,), generator, width=32, depth=2, dropout=0.2), edm())
    recipe = baseline(Examples(x, torch.zeros(len(x))), LogNormal(), denoiser.weight)
    options = Options(steps=steps, batch_size=16, tick_every=3, cpu=True)
    for tick in train(denoiser, recipe, generator, options, latest_checkpoint(where)):
        os.write(begun, b".")
        if told or not terminate or tick.step == options.steps:
            save(tick.state, checkpoint_path(where, tick.step))
        if told:
            os._exit(3)

def start(where):
    seen, begun = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            run(where, begun)
            os._exit(0)
        finally:
            os._exit(1)
    os.close(begun)
    return pid, seen

def ended(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

run(folder / "warm", os.pipe()[1], steps=3)
clock = time.monotonic()
assert ended(start(folder / "whole")[0]) == 0
tick_seconds = (time.monotonic() - clock) / 80
random.seed(0)
codes, steps = [], []
while not codes or codes[-1] != 0:
    pid, seen = start(folder / "stopped")
    if len(codes) < 5:
        for _ in range(random.randint(2, 15)):  # so many ticks, however busy the machine is,
            os.read(seen, 1)
        time.sleep(random.uniform(0, tick_seconds))  # and any moment of the next
        os.kill(pid, signal.SIGTERM if terminate else signal.SIGKILL)
    codes.append(ended(pid))
    os.close(seen)
    latest = latest_checkpoint(folder / "stopped")
    steps.append(latest and int(latest.stem.split("-")[1]))
print(json.dumps({"codes": codes, "steps": steps}))
"""


@pytest.mark.parametrize(("name", "code"), [("SIGKILL", -9), ("SIGTERM", 3)])
def test_a_run_stopped_at_random_moments_ends_with_the_weights_of_the_uninterrupted_run(
    name, code, digits, tmp_path
):
    from safetensors.torch import save_file

    save_file({"x": digits[:32].contiguous()}, tmp_path / "digits.safetensors")
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), name],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    stopped = [c for c in told["codes"] if c != 0]
    assert set(stopped) == {code}, told
    assert len(set(told["steps"]) - {None, 240}) >= 2, told
    assert told["codes"][-1] == 0
    last = [load_file(checkpoint_path(tmp_path / folder, 240)) for folder in ("whole", "stopped")]
    assert equal(*last)
    assert any(name.startswith("adam/") for name in last[0])
