from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from itertools import islice, takewhile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from unrote.contracts import Examples, InputError
from unrote.denoise.compose import Precondition, edm
from unrote.denoise.networks import build_mlp
from unrote.noise.levels import LogNormal
from unrote.train.checkpoints import checkpoint_path, save
from unrote.train.loop import Diverged, Options, ema_decay_at, train
from unrote.train.losses import Batch, denoising_loss
from unrote.train.recipe import Recipe, baseline

QUICK = Options(steps=12, batch_size=8, tick_every=4, warmup_steps=5, cpu=True)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def denoiser_of(seed: int = 0, classes: int | None = None, dropout: float = 0.2) -> Precondition:
    network = build_mlp((4,), seeded(seed), width=16, depth=2, classes=classes, dropout=dropout)
    return Precondition(network, edm())


def recipe_of(label: Tensor | None = None) -> Recipe:
    x = torch.randn(30, 4, generator=seeded(7)) / 2
    return baseline(Examples(x, torch.zeros(30), label), LogNormal(), torch.ones_like)


def last(ticks):
    *_, tick = ticks
    return tick


def weights(module: nn.Module) -> list[Tensor]:
    return [t.clone() for t in module.state_dict().values()]


def same(one: list[Tensor], two: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


class Linear(nn.Module):
    """D(x, sigma) = A x: it can be the best denoiser of Gaussian data at one level."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.zeros(dimension, dimension))

    def forward(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        return x @ self.matrix.T


def always(sigma: float):
    def law(n: int, generator: torch.Generator) -> Tensor:
        return torch.full((n,), sigma)

    return law


def test_ticks_come_on_the_grid_and_at_the_end():
    options = replace(QUICK, steps=10)
    assert [tick.step for tick in train(denoiser_of(), recipe_of(), seeded(), options)] == [4, 8, 10]


@pytest.mark.parametrize("level", [0.0, 0.5])
def test_linear_training_on_gaussian_rows_finds_the_closed_form(level):
    # E[x0 | x] = S (S + sigma^2)^-1 x with S the second moments of the clean rows; rows that hold noise
    # of a level have S + level^2, and are told so.
    sigma, n = 1.0, 4000
    scale = torch.tensor([1.5, 0.8, 0.3])
    # Rows with exact second moments: the optimum is then known and not estimated.
    held = (scale**2 + level**2).sqrt()
    x = torch.linalg.qr(torch.randn(n, 3, generator=seeded(), dtype=torch.float64)).Q * n**0.5 * held
    recipe = baseline(Examples(x.float(), torch.full((n,), level)), always(sigma), torch.ones_like)
    options = Options(steps=1000, batch_size=512, learning_rate=5e-3, tick_every=1000, cpu=True)
    found = last(train(Linear(3), recipe, seeded(), options)).state.ema.matrix
    expected = torch.diag(scale**2 / (scale**2 + sigma**2))
    assert (found - expected).abs().max() < 0.03


def test_the_average_is_the_recursion_of_the_raw_weights():
    denoiser = denoiser_of()
    expected = weights(denoiser)
    options = replace(QUICK, steps=20, tick_every=1, ema_decay=0.6)
    for tick in train(denoiser, recipe_of(), seeded(), options):
        d = min(0.6, (1 + tick.step) / (10 + tick.step))
        raw = weights(tick.state.network)
        expected = [d * mean + (1 - d) * new for mean, new in zip(expected, raw, strict=True)]
        assert all(
            torch.allclose(a, b, atol=1e-6) for a, b in zip(weights(tick.state.ema), expected, strict=True)
        )


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 10**6), st.floats(0, 0.99999))
def test_the_decay_rises_to_its_limit(step, decay):
    assert ema_decay_at(step, decay) <= ema_decay_at(step + 1, decay) <= decay


def test_the_learning_rate_rises_linearly_over_the_warm_up():
    # AdamW's first step moves every weight by the rate: g/sqrt(g^2).
    rates = [tick.state.optimizer.param_groups[0]["lr"] for tick in train(
        denoiser_of(), recipe_of(), seeded(), replace(QUICK, tick_every=1, learning_rate=0.5e-3))]  # fmt: skip
    assert rates == pytest.approx([0.5e-3 * min(1, k / 5) for k in range(1, 13)])
    moved = denoiser_of()
    before = weights(moved)
    next(train(moved, recipe_of(), seeded(), replace(QUICK, tick_every=1)))
    steps = torch.cat([(a - b).flatten() for a, b in zip(weights(moved), before, strict=True)]).abs()
    assert steps.max() == pytest.approx(1e-3 / 5, rel=1e-3)


def test_weight_decay_is_decoupled():
    class Idle(Linear):
        def forward(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
            return x @ (0 * self.matrix)

    idle = Idle(4)
    nn.init.ones_(idle.matrix)
    options = replace(QUICK, steps=10, warmup_steps=0, learning_rate=0.1, weight_decay=0.5)
    last(train(idle, recipe_of(), seeded(), options))
    assert torch.allclose(idle.matrix, torch.full((4, 4), 0.95**10))


class Slope(nn.Module):
    """D(x, sigma)_j = c_j theta_j: the mean of its outputs has the same gradient everywhere."""

    def __init__(self, slopes: Tensor) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(len(slopes)))
        self.register_buffer("slopes", slopes)

    def forward(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        return (self.slopes * self.theta).expand_as(x)


def summed(denoiser: nn.Module, batch: Batch) -> Tensor:
    return denoiser(batch.x, batch.sigma).sum(1)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_descent_with_momentum_is_its_recursion_and_sees_the_size_of_the_gradient(momentum):
    # With a constant gradient v_k = c (1 + m + ... + m^(k-1)); AdamW would move all coordinates alike.
    slopes = torch.tensor([1.0, -2.0, 0.5, 0.0])
    options = replace(QUICK, steps=7, warmup_steps=0, learning_rate=0.01, momentum=momentum)
    recipe = replace(recipe_of(), loss=summed)
    found = last(train(Slope(slopes), recipe, seeded(), options)).state.network.theta
    moved = sum(momentum**i for k in range(7) for i in range(k + 1))
    assert torch.allclose(found, -0.01 * moved * slopes, rtol=1e-5)
    adams = last(train(Slope(slopes), recipe, seeded(), replace(options, momentum=None))).state.network.theta
    assert torch.allclose(adams, -0.07 * slopes.sign(), rtol=1e-4)


@pytest.mark.parametrize("ignored", [{"betas": (0.9, 0.95)}, {"weight_decay": 0.1}])
def test_descent_refuses_what_it_would_ignore(ignored):
    with pytest.raises(InputError, match=f"would ignore.*{next(iter(ignored))} = "):
        replace(QUICK, momentum=0.9, **ignored)


def test_clipping_bounds_the_gradient_that_the_optimizer_sees(monkeypatch):
    norms: list[float] = []
    plain = torch.optim.AdamW.step

    def spy(self, closure=None):
        grads = [p.grad for group in self.param_groups for p in group["params"]]
        norms.append(float(torch.cat([g.flatten() for g in grads]).norm()))
        return plain(self, closure)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    last(train(denoiser_of(), recipe_of(), seeded(), replace(QUICK, clip=0.01)))
    assert len(norms) == 12
    assert max(norms) == pytest.approx(0.01, rel=1e-3)


def test_one_seed_gives_one_run_and_another_seed_another():
    def run(seed: int) -> list[Tensor]:
        return weights(last(train(denoiser_of(), recipe_of(), seeded(seed), QUICK)).state.ema)

    assert same(run(0), run(0))
    assert not same(run(0), run(1))


def test_nothing_between_ticks_disturbs_training_and_training_disturbs_nothing_outside():
    quiet = weights(last(train(denoiser_of(), recipe_of(), seeded(), QUICK)).state.network)
    torch.manual_seed(3)
    mine = seeded()
    ticks = train(denoiser_of(), recipe_of(), mine, QUICK)
    expected_global = torch.rand(3, generator=seeded(3))
    drawn = []
    for tick in ticks:
        drawn.append(torch.rand(1))  # the caller's global stream, one number per tick
        torch.rand(5, generator=mine)  # the very generator that training began with
        assert not tick.state.network.training
        assert not tick.state.ema.training
        tick.state.network.train()(torch.zeros(2, 4), torch.ones(2))  # dropout of the caller's own
        tick.state.ema.train()
        torch.manual_seed(3)
        torch.rand(len(drawn))
        state = tick.state
    assert torch.equal(torch.cat(drawn), expected_global)
    assert same(weights(state.network), quiet)
    after = seeded()
    torch.randint(2**53, (), generator=after)
    torch.rand(15, generator=after)
    assert torch.equal(after.get_state(), mine.get_state()), "training takes exactly one draw"


def test_the_training_loss_is_the_mean_since_the_last_tick():
    seen: list[float] = []

    def remembered(denoiser, batch: Batch) -> Tensor:
        values = denoising_loss(denoiser, batch)
        seen.append(float(values.detach().mean()))
        return values

    ticks = train(denoiser_of(), replace(recipe_of(), loss=remembered), seeded(), replace(QUICK, steps=10))
    told = [tick.train_loss for tick in ticks]
    # The last tick is off the grid: its mean is still over everything since the last tick.
    assert told == pytest.approx([sum(seen[:4]) / 4, sum(seen[4:8]) / 4, sum(seen[8:]) / 2])


def test_the_caller_stops_by_stopping():
    state = last(
        takewhile(lambda tick: tick.step < 8, train(denoiser_of(), recipe_of(), seeded(), QUICK))
    ).state
    assert state.step == 8  # the tick that was looked at and refused has been trained
    ticks = train(denoiser_of(), recipe_of(), seeded(), QUICK)
    assert [tick.step for tick in islice(ticks, 2)] == [4, 8]
    ticks.close()


def test_labels_reach_the_network():
    recipe = recipe_of(torch.arange(30) % 3)
    network = last(train(denoiser_of(classes=3), recipe, seeded(), QUICK)).state.network.network
    fresh = denoiser_of(classes=3).network
    assert not torch.equal(network.label.weight, fresh.label.weight)


def test_frozen_weights_stay():
    denoiser = denoiser_of()
    denoiser.network.first.requires_grad_(False)
    before = denoiser.network.first.weight.clone()
    state = last(train(denoiser, recipe_of(), seeded(), QUICK)).state
    assert torch.equal(state.network.network.first.weight, before)
    assert torch.equal(state.ema.network.first.weight, before)
    assert not torch.equal(state.network.network.last.weight, torch.zeros(4, 16))
    with pytest.raises(InputError, match="no weights that can be trained"):
        train(denoiser.requires_grad_(False), recipe_of(), seeded(), QUICK)


def test_divergence_stops_with_the_step_and_leaves_the_last_checkpoint(tmp_path: Path):
    calls = 0

    def breaks(denoiser, batch: Batch) -> Tensor:
        nonlocal calls
        calls += 1
        values = denoising_loss(denoiser, batch)
        return values * torch.inf if calls == 7 else values

    path = checkpoint_path(tmp_path, 4)
    ticks = train(denoiser_of(), replace(recipe_of(), loss=breaks), seeded(), QUICK)
    save(next(ticks).state, path)
    kept = path.read_bytes()
    with pytest.raises(
        Diverged, match=r"diverged at step 7: the loss is not finite; the last finite loss was \d"
    ):
        next(ticks)
    assert path.read_bytes() == kept
    assert list(tmp_path.iterdir()) == [path]


def test_weights_that_overflow_are_divergence_although_the_loss_was_finite():
    class Overflows(Linear):
        def forward(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
            # The value is finite, the slope is not.
            return x @ (torch.sqrt((self.matrix - self.matrix.detach()).abs()) + self.matrix)

    with pytest.raises(Diverged, match="weights are not finite"):
        last(train(Overflows(4), recipe_of(), seeded(), replace(QUICK, steps=1)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"batch_size": 0},
        {"learning_rate": -1.0},
        {"learning_rate": float("nan")},
        {"warmup_steps": -1},
        {"betas": (0.9, 1.0)},
        {"weight_decay": -0.1},
        {"momentum": 1.0},
        {"momentum": -0.1},
        {"ema_decay": 1.0},
        {"clip": 0.0},
        {"tick_every": 0},
    ],
)
def test_options_out_of_range_are_named(wrong):
    with pytest.raises(InputError, match=f"{next(iter(wrong))} = "):
        replace(QUICK, **wrong)


def test_a_precision_that_cannot_be_had_is_an_input_error():
    # This process trains in float32 already, and Accelerate has one precision per process.
    train(denoiser_of(), recipe_of(), seeded(), QUICK)
    with pytest.raises(InputError, match="mixed_precision='bf16'"):
        train(denoiser_of(), recipe_of(), seeded(), replace(QUICK, mixed_precision="bf16"))


CHILD = """
import json, os, sys, torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from test_train_loop import *
options = replace(QUICK, steps=40, tick_every=20, mixed_precision=sys.argv[2])
ticks = [(t.train_loss, t.state) for t in train(denoiser_of(dropout=0.0), recipe_of(), seeded(), options)]
flat = torch.cat([w.flatten() for w in weights(ticks[-1][1].ema)])
if ticks[-1][1].accelerator.is_main_process:
    print(json.dumps({"processes": ticks[-1][1].accelerator.num_processes, "loss": [loss for loss, _ in ticks],
                      "weights": flat.tolist(), "dtype": str(flat.dtype)}), flush=True)
# Threads of a process group can abort their process while Python ends: leave without that, everyone together.
ticks[-1][1].accelerator.wait_for_everyone()
ticks[-1][1].accelerator.end_training()
sys.stdout.flush()
os._exit(0)
"""


def child(launcher: list[str], precision: str, tmp_path: Path) -> dict:
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    command = [sys.executable, *launcher, str(script), str(Path(__file__).parent), precision]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_two_processes_give_the_run_of_one_up_to_the_order_of_sums(tmp_path: Path):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    shared = child(launcher, "no", tmp_path)
    options = replace(QUICK, steps=40, tick_every=20)
    ticks = [(t.train_loss, t.state) for t in train(denoiser_of(dropout=0.0), recipe_of(), seeded(), options)]
    flat = torch.cat([w.flatten() for w in weights(ticks[-1][1].ema)])
    assert shared["processes"] == 2
    assert shared["loss"] == pytest.approx([loss for loss, _ in ticks], rel=1e-4)
    assert torch.allclose(torch.tensor(shared["weights"]), flat, atol=1e-4)


def test_lower_precision_keeps_float32_weights_and_comes_near_the_same_run(tmp_path: Path):
    lower = child([], "bf16", tmp_path)
    options = replace(QUICK, steps=40, tick_every=20)
    exact = [t.train_loss for t in train(denoiser_of(dropout=0.0), recipe_of(), seeded(), options)]
    assert lower["dtype"] == "torch.float32"
    assert lower["loss"] == pytest.approx(exact, rel=0.05)
    assert lower["loss"] != exact
