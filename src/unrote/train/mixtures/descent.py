"""Adam as paper 000 runs it, on one flat vector of parameters, and runs that stop, save and go on bit for bit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from unrote.contracts import InputError
from unrote.train.checkpoints import FORMAT, read, write
from unrote.train.fingerprint import check_same

PLATEAU, ESCAPE, STATIONARY = 0.005, 10.0, 0.05
"""What `verdict` asks of a run: see there."""


@dataclass(frozen=True)
class Descent:
    """clip -> Adam -> moving average of the updates, with a learning rate that rises and then falls linearly.

    g <- g min(1, clip/|g|);  a_k = m_k/(1 - b1^k) / (sqrt(v_k/(1 - b2^k)) + epsilon);
    e_k = smoothing e_{k-1} - (1 - smoothing) rate(k) a_k;  theta += e_k/(1 - smoothing^k).

    Args:
        steps: updates in all.
        peak: learning rate at the end of the warm-up.
        last: learning rate towards which it falls until the last step.
        warmup: share of the steps in which it rises from 0.
        betas: decay of Adam's first and second moments.
        epsilon: added to the root of the second moment.
        smoothing: decay of the average of the *updates*, debiased; a second momentum, not an average of weights.
        clip: largest norm of a gradient.

    Raises:
        InputError: if a number is out of its range.

    Source: 000 H.1 for steps and rates; its authors' program for smoothing and clip, which the paper leaves out.
    """

    steps: int = 50_000
    peak: float = 1e-3
    last: float = 1e-6
    warmup: float = 0.1
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    smoothing: float = 0.99
    clip: float = 1e9

    def __post_init__(self) -> None:
        right = {
            "steps": self.steps >= 1,
            "peak": 0 < self.peak < math.inf,
            "last": 0 <= self.last <= self.peak,
            "warmup": 0 <= self.warmup < 1,
            "betas": all(0 <= beta < 1 for beta in self.betas),
            "epsilon": self.epsilon > 0,
            "smoothing": 0 <= self.smoothing < 1,
            "clip": self.clip > 0,
        }
        wrong = ", ".join(f"{name} = {getattr(self, name)}" for name, good in right.items() if not good)
        if wrong:
            raise InputError(
                f"Adam cannot run with {wrong}: steps, rates, epsilon and clip are positive, last is at most "
                "peak, and warmup, betas and smoothing lie in [0, 1)."
            )

    def rate(self, step: int) -> float:
        """The learning rate of update number `step`, which counts from 0: 0 at first where there is a warm-up."""
        rise = round(self.warmup * self.steps)
        if step < rise:
            return self.peak * step / rise
        return self.peak + (self.last - self.peak) * (step - rise) / max(1, self.steps - rise)


@dataclass(frozen=True)
class Look:
    """What a run looks like at one step, on all levels and with noise of its own.

    Args:
        step: updates done.
        loss: the training loss.
        deviation: s, the components' common standard deviation; not a number where none is watched.
        elasticity: d log loss / d log s, or the same along the way that all parameters came.
        floor: the deviation that k-means would want, sqrt(D2/d); infinite where it is not known.
    """

    step: int
    loss: float
    deviation: float = math.nan
    elasticity: float = 0.0
    floor: float = math.inf


@dataclass(frozen=True)
class Fit:
    """A learned isotropic mixture and how far it may be believed.

    Args:
        means: mu (M,D), in the units of the data.
        variance: the shared s^2.
        loss: training loss in noise-prediction units, averaged over samples and levels.
        steps: updates done.
        settled: whether the run has arrived, by the rule of whoever made it.
        note: the same in words, with what is missing if it has not.
    """

    means: Float[Tensor, "M D"]
    variance: float
    loss: float
    steps: int
    settled: bool
    note: str


@dataclass(frozen=True)
class Outcome:
    """The same for a denoiser of any kind, which holds its parameters itself.

    Args:
        loss, steps, settled, note: see `Fit`.
    """

    loss: float
    steps: int
    settled: bool
    note: str


Gradient = Callable[[Tensor, torch.Generator], Tensor]
"""(parameters (P,), stream) -> gradient (P,); draws what it needs from the stream."""


@final
@dataclass(eq=False, repr=False)
class Run:
    """A descent in memory; it moves on when the next tick is asked for.

    Args:
        parameters: theta (P,).
        moments: Adam's two moments and the average of the updates (3,P).
        stream: the only source of the run's random numbers.
        fingerprint: what the run is made of, flat.
        step: updates done.
        looks: one at the start and one per tick.
    """

    parameters: Float[Tensor, " P"]
    moments: Float[Tensor, "3 P"]
    stream: torch.Generator
    fingerprint: dict[str, Any]
    step: int = 0
    looks: list[Look] = field(default_factory=list)


def begin(parameters: Float[Tensor, " P"], generator: torch.Generator, fingerprint: dict[str, Any]) -> Run:
    """A run at step 0, with a stream seeded by a single draw from the caller's generator."""
    seed = int(torch.randint(2**53, (), generator=generator, device=generator.device))
    stream = torch.Generator(generator.device).manual_seed(seed)
    moments = torch.zeros(3, len(parameters), dtype=parameters.dtype, device=parameters.device)
    return Run(parameters.detach().clone(), moments, stream, fingerprint | {"seed": seed})


def update(run: Run, descent: Descent, gradient: Float[Tensor, " P"]) -> None:
    """One step of a descent, in place.

    Raises:
        InputError: if the gradient is not finite.
    """
    rate, k = descent.rate(run.step), run.step + 1
    (b1, b2), smoothing = descent.betas, descent.smoothing
    first, second, smooth = run.moments.unbind(0)
    norm = float(torch.linalg.vector_norm(gradient))
    if not math.isfinite(norm):
        raise InputError(
            f"The gradient is no longer finite at step {run.step}. Lower the peak learning rate, or check that the "
            "data are in units in which distances are of the order of the levels."
        )
    if norm > descent.clip:
        gradient = gradient * (descent.clip / norm)
    first.mul_(b1).add_(gradient, alpha=1 - b1)
    second.mul_(b2).addcmul_(gradient, gradient, value=1 - b2)
    size = (second / (1 - b2**k)).sqrt_().add_(descent.epsilon)
    smooth.mul_(smoothing).addcdiv_(first, size, value=-rate * (1 - smoothing) / (1 - b1**k))
    run.parameters.add_(smooth, alpha=1 / (1 - smoothing**k))
    run.step = k


def advance(
    run: Run, descent: Descent, gradient: Gradient, look: Callable[[Tensor, int], Look], looks: int
) -> Iterator[Run]:
    """Update until the last step, giving the run out `looks` times at evenly spaced steps, each with a look.

    Args:
        run: changed in place.
        descent: how to update.
        gradient: of the training loss, from fresh random numbers.
        look: (parameters, step) -> Look, without the run's stream.
        looks: how often to look; a run that is stopped for good loses at most 1/looks of itself.

    Raises:
        InputError: if the gradient is no longer finite.
    """
    if not run.looks:
        run.looks.append(look(run.parameters, run.step))
    for number in range(1, looks + 1):
        end = number * descent.steps // looks
        if end <= run.step:
            continue
        while run.step < end:
            update(run, descent, gradient(run.parameters, run.stream))
        run.looks.append(look(run.parameters, run.step))
        yield run


def verdict(looks: list[Look]) -> tuple[bool, str]:
    """Whether a run may be believed, and in words why not.

    A run has settled if all of these hold:
    its deviation s is more than ESCAPE = 10 times where it started, or k-means itself wants less than that
    (every sample has its own mean); the loss has changed by less than PLATEAU = 0.5 % over the last tenth of
    its steps; and |d log loss / d log s| < STATIONARY = 0.05 (or the same along the way that all parameters
    came), because a learning rate near 0 makes any loss flat.
    A run of the paper's recipe that is stopped early looks as if it memorised everything: Adam remembers the
    huge first gradients in s and leaves its start only after tens of thousands of steps.
    """
    first, last = looks[0], looks[-1]
    before = [look for look in looks if look.step <= 0.9 * last.step]
    change = abs(before[-1].loss - last.loss) / abs(last.loss)
    escape = ESCAPE * first.deviation
    reasons = []
    if last.deviation <= escape < last.floor:
        wanted = f", about {last.floor:.3g} wanted" if last.floor < math.inf else ""
        reasons.append(
            f"the standard deviation has not left its start ({first.deviation:.3g} then, {last.deviation:.3g} "
            f"now{wanted})"
        )
    if not change < PLATEAU or len(looks) < 3:
        reasons.append(f"the loss still changed by {change:.2%} over the last tenth of the steps")
    if not abs(last.elasticity) < STATIONARY:
        reasons.append(
            f"the parameters are still on their way (1 % more of it changes the loss by "
            f"{abs(last.elasticity):.2g} %)"
        )
    if not reasons:
        return True, f"settled after {last.step} steps"
    return False, f"not settled after {last.step} steps: " + "; ".join(reasons)


def save(run: Run, path: Path) -> None:
    """Write a run between two ticks; the file at `path` is at every moment the old or the new one, whole.

    Raises:
        InputError: if the file cannot be written; what was at `path` is untouched.
    """
    looks = torch.tensor([astuple(look) for look in run.looks], dtype=torch.float64)
    parts = {
        "raw": {"parameters": run.parameters},
        "adam": {"moments": run.moments},
        "run": {"stream": run.stream.get_state(), "looks": looks},
    }
    write(parts, {"format": FORMAT, "step": run.step, "fingerprint": run.fingerprint}, path)


def restore(run: Run, path: Path) -> None:
    """Put a saved run into a fresh one of the same making, bit for bit.

    Raises:
        InputError: if the file is damaged, not of this program, or of another run.
    """
    header, parts = read(path, ("raw", "adam", "run"))
    check_same(header["fingerprint"], run.fingerprint, f"The checkpoint {path}")
    run.parameters.copy_(parts["raw"]["parameters"])
    run.moments.copy_(parts["adam"]["moments"])
    run.stream.set_state(parts["run"]["stream"])
    run.step = header["step"]
    run.looks[:] = [Look(int(row[0]), *row[1:]) for row in parts["run"]["looks"].tolist()]
