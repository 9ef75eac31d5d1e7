"""The training loop as a generator of ticks: the caller measures, keeps checkpoints, decides when to stop."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unrote.contracts import InputError, normal
from unrote.train.checkpoints import load
from unrote.train.fingerprint import describe, flatten
from unrote.train.losses import Batch, real_type
from unrote.train.recipe import Draw, Recipe
from unrote.train.state import TrainState, adaptive, plain, rate_groups, trainable

FREE_TO_CHANGE = ("steps", "tick_every", "cpu")  # settings that change no weight of a given step
FUSED = ("cpu", "cuda", "xpu")  # devices on which torch has fused optimizers


class Diverged(InputError):
    """The training loss or the weights are no longer finite."""


@dataclass(frozen=True)
class Options:
    """How a recipe is trained.

    Args:
        steps: updates in all; raising it later continues the same run.
        batch_size: rows per update, over all processes.
        learning_rate: the optimizer's; constant after warm-up. A module may have factors to it (`rate_groups`).
        warmup_steps: updates over which the learning rate rises linearly from 0.
        betas: AdamW's decay of first and second moments.
        weight_decay: AdamW's, decoupled; per update each weight shrinks by learning_rate * weight_decay of itself.
        momentum: None for AdamW; a number for gradient descent with this momentum (0 for none), which has neither
            betas nor weight decay.
        ema_decay: decay of the weight average per update; see `ema_decay_at`.
        clip: largest norm of a gradient, or None.
        tick_every: updates between ticks; the last update always has one.
        mixed_precision: "no", "bf16" or "fp16", handed to Accelerate.
        cpu: stay on the CPU although an accelerator is there.

    Raises:
        InputError: if a number is out of its range, or would be ignored.
    """

    steps: int = 2_000  # a 3 x 512 MLP copies three in four samples of 32 digits by then
    batch_size: int = 64  # smaller batches spend their time in overhead on a CPU
    learning_rate: float = 1e-3  # largest power of ten at which small MLPs and U-Nets are stable
    warmup_steps: int = 200  # AdamW's second moments settle over some hundred updates
    betas: tuple[float, float] = (0.9, 0.999)  # torch's own
    weight_decay: float = 0.0  # EDM has none; 003's released 0.01 is coupled, which this is not
    momentum: float | None = None  # what diffusion models are trained with is AdamW
    ema_decay: float = 0.998  # averages over 500 updates: a quarter of the default run
    clip: float | None = None  # preconditioned losses have unit scale at every level
    tick_every: int = 100  # a curve of 20 points in the default run
    mixed_precision: str = "no"  # on a CPU bf16 is slower
    cpu: bool = False  # use what is there

    def __post_init__(self) -> None:
        wrong = [
            name
            for name, right in {
                "steps": self.steps >= 1,
                "batch_size": self.batch_size >= 1,
                "learning_rate": 0 < self.learning_rate < math.inf,
                "warmup_steps": self.warmup_steps >= 0,
                "betas": all(0 <= beta < 1 for beta in self.betas),
                "weight_decay": 0 <= self.weight_decay < math.inf,
                "momentum": self.momentum is None or 0 <= self.momentum < 1,
                "ema_decay": 0 <= self.ema_decay < 1,
                "clip": self.clip is None or self.clip > 0,
                "tick_every": self.tick_every >= 1,
            }.items()
            if not right
        ]
        if wrong:
            told = ", ".join(f"{name} = {getattr(self, name)}" for name in wrong)
            raise InputError(
                f"Training cannot use {told}: counts and rates are positive, decays and momentum lie in "
                "[0, 1), and weight decay and warm-up are at least 0."
            )
        if self.momentum is not None and (tuple(self.betas), self.weight_decay) != (
            Options.betas,
            Options.weight_decay,
        ):
            raise InputError(
                f"Gradient descent with a momentum of {self.momentum:g} would ignore betas = {self.betas} and "
                f"weight_decay = {self.weight_decay:g}, which are AdamW's: leave them as they are, or the momentum out."
            )


@dataclass(frozen=True)
class Tick:
    """A moment between two updates.

    Args:
        step: updates done.
        train_loss: mean loss over the rows since the last tick on the grid of `tick_every`.
        state: the run; `save` it, evaluate its `ema`; it moves on with the next tick.
    """

    step: int
    train_loss: float
    state: TrainState


def train(
    denoiser: nn.Module,
    recipe: Recipe,
    generator: torch.Generator,
    options: Options = Options(),
    resume: Path | None = None,
) -> Iterator[Tick]:
    """Minimise a recipe's loss, one tick at a time; to stop early, stop asking for ticks.

    theta_k = AdamW(theta_{k-1}, grad (1/B) sum_b loss_b), ema_k = ema_{k-1} + (1 - d_k)(theta_k - ema_{k-1}).

    With a momentum m it is theta_k = theta_{k-1} - rate v_k instead, v_k = m v_{k-1} + grad, v_0 = 0.

    All randomness comes from one stream, seeded by a single draw from `generator`: rows, levels and
    noise of a step, and the seed of torch's global stream (dropout) during that step. So nothing
    that the caller does between ticks can disturb training, nor training the caller's global
    stream. Every process draws the whole batch and takes its slice: without dropout, results
    depend on the number of processes only through the order of sums.

    Args:
        denoiser: D(x, sigma, condition), a module; it is moved to the device and trained in place.
        recipe: what to train on.
        generator: advanced by exactly one draw.
        options: how to train.
        resume: a checkpoint of this very run; the remaining ticks, and on one machine every bit of the
            weights, are those of the uninterrupted run.

    Raises:
        InputError: for options that do not fit together, or a checkpoint that is damaged or of another run.
        Diverged: on a tick, if a loss or weight since the last tick was not finite. That tick is not
            given out, so no checkpoint is overwritten.
    """
    state, forward = _begin(denoiser, recipe, generator, options)
    if resume is not None:
        load(state, resume)
        if state.step > options.steps:
            raise InputError(
                f"The checkpoint {resume} is at step {state.step}, beyond the {options.steps} asked for: "
                "ask for more steps, or take an earlier checkpoint."
            )
    return _ticks(state, forward, recipe, options)


def ema_decay_at(step: int, decay: float) -> float:
    """d_k = min(decay, (1 + k)/(10 + k)): short averages first, so that the random start is forgotten.

    Source: TensorFlow's ExponentialMovingAverage (num_updates).
    """
    return min(decay, (1 + step) / (10 + step))


class _Forward(nn.Module):
    """What Accelerate wraps in place of the user's module, which stays as it came."""

    def __init__(self, denoiser: nn.Module) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.denoiser(x, sigma, condition)


def _begin(
    denoiser: nn.Module, recipe: Recipe, generator: torch.Generator, options: Options
) -> tuple[TrainState, nn.Module]:
    accelerator = _accelerator(options)
    if options.batch_size % accelerator.num_processes:
        raise InputError(
            f"A batch of {options.batch_size} rows cannot be shared evenly by {accelerator.num_processes} "
            "processes: take a multiple."
        )
    denoiser.to(accelerator.device).eval()
    ema = copy.deepcopy(denoiser).requires_grad_(False)
    settings = {k: v for k, v in asdict(options).items() if k not in FREE_TO_CHANGE}
    # 2^53: a seed that JSON readers in every language keep exactly.
    seed = int(torch.randint(2**53, (), generator=generator, device=generator.device))
    made_of = {"recipe": recipe, "options": settings, "denoiser": denoiser, "seed": seed}
    parameters = [p for _, p in trainable(denoiser)]
    if not parameters:
        raise InputError(
            "The denoiser has no weights that can be trained: every parameter is frozen or absent."
        )
    forward, prepared = accelerator.prepare(
        _Forward(denoiser), _optimizer(denoiser, options, accelerator.device.type in FUSED)
    )
    state = TrainState(
        network=denoiser,
        ema=ema,
        step=0,
        optimizer=prepared,
        stream=torch.Generator(generator.device).manual_seed(seed),
        loss_sum=0.0,
        loss_count=0,
        fingerprint=flatten(describe(made_of)),
        accelerator=accelerator,
    )
    return state, forward


def _optimizer(denoiser: nn.Module, options: Options, fused: bool) -> torch.optim.Optimizer:
    rate = options.learning_rate
    if options.momentum is not None:
        return torch.optim.SGD(rate_groups(denoiser, plain), lr=rate, momentum=options.momentum, fused=fused)
    return torch.optim.AdamW(
        rate_groups(denoiser, adaptive),
        lr=rate,
        betas=options.betas,
        weight_decay=options.weight_decay,
        fused=fused,
    )


def _accelerator(options: Options) -> Any:
    from accelerate import Accelerator

    try:
        return Accelerator(mixed_precision=options.mixed_precision, cpu=options.cpu)
    except ValueError as error:
        raise InputError(
            f"Accelerate cannot train with mixed_precision={options.mixed_precision!r}, cpu={options.cpu}: "
            f"{error} Change these options, or start a new process if this one has trained with others."
        ) from error


def _ticks(state: TrainState, forward: nn.Module, recipe: Recipe, options: Options) -> Iterator[Tick]:
    draw = recipe.redraw(recipe)
    averaged = _pairs(state)
    while state.step < options.steps:
        end = min(options.steps, (state.step // options.tick_every + 1) * options.tick_every)
        with _training(state):
            losses = [
                _update(state, forward, recipe, draw, options, averaged) for _ in range(end - state.step)
            ]
        _account(state, losses)
        loss = state.loss_sum / state.loss_count
        if end % options.tick_every == 0:
            state.loss_sum, state.loss_count = 0.0, 0
        yield Tick(state.step, loss, state)


def _update(
    state: TrainState,
    forward: nn.Module,
    recipe: Recipe,
    draw: Draw,
    options: Options,
    averaged: tuple[list[Tensor], ...],
) -> Tensor:
    """One step: draw, descend, average; the loss stays on its device, so that nothing waits for it."""
    batch = _draw_batch(state, recipe, draw, options.batch_size)
    loss = recipe.loss(forward, batch).mean()
    accelerator, optimizer = state.accelerator, state.optimizer
    accelerator.backward(loss)
    if options.clip is not None:
        accelerator.clip_grad_norm_(state.network.parameters(), options.clip)
    rate = options.learning_rate * min(1.0, (state.step + 1) / max(1, options.warmup_steps))
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("factor", 1.0)
    # Accelerate's own step adds loss scaling, but looks for an optional package on the disk every time.
    (optimizer.optimizer if accelerator.scaler is None else optimizer).step()
    optimizer.optimizer.zero_grad()
    state.step += 1
    ema, raw, ema_buffers, raw_buffers = averaged
    with torch.no_grad():
        torch._foreach_lerp_(ema, raw, 1 - ema_decay_at(state.step, options.ema_decay))
        for kept, new in zip(ema_buffers, raw_buffers, strict=True):
            kept.copy_(new)
    return loss.detach()


def _draw_batch(state: TrainState, recipe: Recipe, draw: Draw, n: int) -> Batch:
    """The whole batch from the stream, of which this process takes its slice."""
    stream, accelerator, examples = state.stream, state.accelerator, recipe.examples
    rows, sigma = draw(n, stream)
    real = real_type(examples.x)
    z = normal((n, *examples.x.shape[1:]), stream, real, accelerator.device)
    dropout = int(torch.randint(2**53, (), generator=stream, device=stream.device))
    _seed_global_stream(dropout + accelerator.process_index, accelerator.device)
    share = n // accelerator.num_processes
    mine = slice(accelerator.process_index * share, (accelerator.process_index + 1) * share)
    rows, sigma, z = rows[mine], sigma[mine], z[mine]
    level = examples.level[rows.to(examples.level.device)]
    label = None if examples.label is None else examples.label[rows.to(examples.label.device)]
    x = examples.x[rows.to(examples.x.device)]
    device = accelerator.device
    sigma = sigma.to(device, real)
    return Batch(
        x=x.to(device),
        level=level.to(device, real),
        sigma=sigma,
        z=z,
        weight=recipe.weight(sigma),
        label=None if label is None else label.to(device),
    )


def _seed_global_stream(seed: int, device: torch.device) -> None:
    """torch.manual_seed where it matters; that function itself files a traceback per call without CUDA."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def _pairs(state: TrainState) -> tuple[list[Tensor], ...]:
    """Averaged and raw parameters, then averaged and raw buffers, in one order."""
    ema, raw = state.ema, state.network
    return list(ema.parameters()), list(raw.parameters()), list(ema.buffers()), list(raw.buffers())


@contextmanager
def _training(state: TrainState) -> Iterator[None]:
    """Training mode and a private global stream; afterwards evaluation mode and the caller's stream."""
    device = state.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        state.network.train()
        try:
            yield
        finally:
            state.network.eval()
            state.ema.eval()


def _account(state: TrainState, losses: list[Tensor]) -> None:
    """Add the losses of the last updates, unless they or the weights are not finite."""
    values = state.accelerator.reduce(torch.stack(losses), reduction="mean").tolist()
    wrong = [i for i, value in enumerate(values) if not math.isfinite(value)]
    norms = torch.stack([norm.float() for norm in torch._foreach_norm(list(state.network.parameters()))])
    if wrong or not bool(norms.isfinite().all()):
        step = state.step if not wrong else state.step - len(values) + wrong[0] + 1
        last = values[: wrong[0]] if wrong else values
        told = f"{last[-1]:.4g}" if last else "before the previous tick"
        raise Diverged(
            f"Training diverged at step {step}: {'the loss is' if wrong else 'weights are'} not finite; the "
            f"last finite loss was {told}. Nothing was written. "
            "With the same settings it would happen again: lower the learning rate, clip the gradient "
            "norm (clip = 1) or lengthen the warm-up, and check that the data lie in about [-1, 1]."
        )
    state.loss_sum += sum(values)
    state.loss_count += len(values)
