"""Paper 000's own recipe for learned mixtures, to the letter, as named settings.

Full batch; at every step a fresh level for every sample, uniform over a grid of 26, shared by that sample's 100
fresh noises; squared error of the noise prediction, summed over dimensions and averaged over draws and samples;
Adam with its warm-up and decay and a hidden average of its updates; 50,000 steps from M training samples as
means and a standard deviation of 1e-3.

Nearly all of the 50,000 steps go into that deviation: at 1e-3 its gradient is some 10^9 times what it is later,
and Adam's second moment (0.999) remembers.  So a run says of itself whether it has settled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unrote.contracts import InputError, normal
from unrote.train.fingerprint import describe, flatten
from unrote.train.mixtures.automatic import (
    flattened,
    further,
    parameters_of,
    plain_slope,
    put,
    stratified_slope,
)
from unrote.train.mixtures.descent import (
    Descent,
    Fit,
    Look,
    Outcome,
    Run,
    advance,
    begin,
    restore,
    verdict,
)
from unrote.train.mixtures.kmeans import partial_start
from unrote.train.mixtures.losses import distortion, plain, stein

LOOK_SEED, LOOK_DRAWS = 0, 4
"""Every look uses the same noise, so that its differences between steps are those of the model."""

Start = Callable[[Tensor, int, torch.Generator], Tensor]
"""(x (N,D), M, generator) -> first means (M,D)."""


def vp_grid(last: int = 25) -> tuple[float, ...]:
    """sigma_l = t_l / sqrt(1 - t_l^2) for t_l = 0.999 - 0.998 l / last, l = 0..last, from 22.3 down to 0.001.

    Source: 000 H.2 as its authors' program has it (the paper prints 0.999 - l/L there, and 0.01 in H.1).
    """
    times = [0.999 - 0.998 * index / last for index in range(last + 1)]
    return tuple(t / (1 - t * t) ** 0.5 for t in times)


def random_start(
    x: Float[Tensor, "N D"], count: int, generator: torch.Generator
) -> Float[Tensor, "{count} D"]:
    """Means that know nothing of the data but its mean and spread: mu_ij ~ N(mean_j, deviation_j^2)."""
    z = normal((count, x.shape[1]), generator, x.dtype, x.device)
    return x.mean(0) + z * x.std(0, correction=0)


@dataclass(frozen=True)
class Procedure:
    """How the loss is estimated and descended, whatever is trained.

    Args:
        draws: noises of each sample at each step; they share its level.
        descent: the updates.
        sigmas: the grid of levels.
        looks: how often the run is looked at and given out, at even distances.

    Raises:
        InputError: if a number is out of its range.
    """

    draws: int = 100
    descent: Descent = field(default_factory=Descent)
    sigmas: tuple[float, ...] = field(default_factory=vp_grid)
    looks: int = 100

    def __post_init__(self) -> None:
        if self.draws < 1 or self.looks < 1 or not self.sigmas or min(self.sigmas) <= 0:
            raise InputError(
                f"The recipe was given draws = {self.draws}, looks = {self.looks} and {len(self.sigmas)} levels "
                f"from {min(self.sigmas, default=0.0):g}; each must be at least 1, and every level positive."
            )


@dataclass(frozen=True)
class Recipe:
    """The recipe for isotropic mixtures.

    Args:
        procedure: estimator, descent, grid.
        means: where the means start; call it, and pass its result to `reference`.
        deviation: where the shared standard deviation s starts.
    """

    procedure: Procedure = field(default_factory=Procedure)
    means: Start = partial_start
    deviation: float = 1e-3

    def __post_init__(self) -> None:
        if not 0 < self.deviation < float("inf"):
            raise InputError(f"The recipe starts at a positive standard deviation, got {self.deviation:g}.")


@dataclass(frozen=True)
class Coloured:
    """The recipe for coloured templates (000 section 4.2).

    Args:
        procedure: estimator, descent, grid.
        components: templates in the data, K.
        variance: where the shared colour variance starts.
    """

    procedure: Procedure
    components: int
    variance: float


REFERENCE = Recipe()
"""The sweep's script: warm-up over 10 % of 50,000 steps, 100 draws."""

RANDOM_START = replace(REFERENCE, means=random_start)
"""The start that the paper advises against (H.1)."""

SHORT_WARMUP = replace(REFERENCE, procedure=Procedure(descent=Descent(warmup=0.05)))
"""The authors' two other scripts."""

FEW_DRAWS = replace(REFERENCE, procedure=Procedure(draws=10))
"""The recipe with 10 of its 100 draws: noise in the level of each sample outweighs what draws add."""

QUICK = replace(REFERENCE, procedure=Procedure(draws=2, descent=Descent(steps=6_000, betas=(0.9, 0.95))))
"""Not the paper's: a second moment that forgets its start reaches the same solution in 6,000 steps with 2 draws."""

COLOURED_PAPER = Coloured(Procedure(descent=Descent(steps=100_000)), 4, 1e-6)
"""As printed: K = 4, rate 1e-3 -> 1e-6, warm-up 10 %."""

COLOURED_PROGRAM = Coloured(
    Procedure(descent=Descent(steps=100_000, peak=1e-4, last=1e-8, warmup=0.05, smoothing=0.1, clip=1e3)),
    6,
    1e-12,
)
"""As the authors' program runs it: K = 6, rate 1e-4 -> 1e-8, warm-up 5 %, smoothing 0.1; it passes the paper's
variance 1e-6 where a standard deviation is expected."""


@dataclass(frozen=True)
class Tick:
    """A moment of a run for an isotropic mixture.

    Args:
        fit: the mixture now, with a verdict.
        run: what `descent.save` writes; it moves on with the next tick.
    """

    fit: Fit
    run: Run


@dataclass(frozen=True)
class DenoiserTick:
    """The same for any denoiser, which holds its parameters itself.

    Args:
        outcome: loss and verdict now.
        run: what `descent.save` writes; it moves on with the next tick.
    """

    outcome: Outcome
    run: Run


def reference(
    x: Float[Tensor, "N D"],
    start: Float[Tensor, "M D"],
    generator: torch.Generator,
    recipe: Recipe = REFERENCE,
    resume: Path | None = None,
) -> Iterator[Tick]:
    """Run the literal recipe, one tick at a time; to stop, stop asking.

    minimise (1/N) sum_n E_level E_z psi |D(x_n + sigma z, sigma) - x_n|^2 over means and s, variance s^2.

    Args:
        x: training data (N,D); float32, as in the authors' program, or float64.
        start: first means (M,D), such as `recipe.means(x, M, generator)`.
        generator: advanced by exactly one draw.
        recipe: REFERENCE, RANDOM_START, SHORT_WARMUP, FEW_DRAWS, QUICK, or another.
        resume: a file that `descent.save` wrote for this very run; what follows is the same to the last bit.

    Raises:
        InputError: if shapes do not fit, the checkpoint is of another run, or the parameters overflow.

    Source: 000 section 4.1, H.1 and its authors' program.
    """
    work, shape = recipe.procedure, start.shape
    sigmas = torch.tensor(work.sigmas, dtype=x.dtype, device=x.device)

    def parts(parameters: Tensor) -> tuple[Tensor, float]:
        return parameters[:-1].view(shape), abs(float(parameters[-1]))

    def gradient(parameters: Tensor, stream: torch.Generator) -> Tensor:
        means, s = parts(parameters)
        sigma = _levels(sigmas, len(x), stream)
        z = normal((len(x), work.draws, x.shape[1]), stream, x.dtype, x.device)
        slope = plain(means, s * s, x, sigma, z)
        signed = 2 * parameters[-1:] * slope.variance  # the sign of s is free
        return torch.cat([slope.means.reshape(-1), signed])

    def look(parameters: Tensor, step: int) -> Look:
        means, s = parts(parameters)
        slope = stein(means, s * s, x, sigmas, torch.Generator().manual_seed(LOOK_SEED), LOOK_DRAWS)
        wanted = (distortion(means, x) / x.shape[1]) ** 0.5
        return Look(step, slope.loss, s, 2 * s * s * slope.variance / slope.loss, wanted)

    first = torch.cat([start.to(x).reshape(-1), x.new_tensor([recipe.deviation])])
    run = begin(first, generator, _made_of(recipe, x, start))
    if resume is not None:
        restore(run, resume)
    for _ in advance(run, work.descent, gradient, look, work.looks):
        means, s = parts(run.parameters)
        settled, note = verdict(run.looks)
        yield Tick(Fit(means.clone(), s * s, run.looks[-1].loss, run.step, settled, note), run)


def reference_denoiser(
    denoiser: nn.Module,
    x: Float[Tensor, "N *E"],
    generator: torch.Generator,
    procedure: Procedure,
    deviation: Callable[[nn.Module], float] = lambda denoiser: float("nan"),
    resume: Path | None = None,
) -> Iterator[DenoiserTick]:
    """The same literal recipe for any denoiser with parameters, with automatic gradients.

    Args:
        denoiser: D(x, sigma), trained in place: low-rank templates, full covariances, anything.
        x: training data (N,*E).
        generator: advanced by exactly one draw.
        procedure: such as COLOURED_PAPER.procedure or COLOURED_PROGRAM.procedure.
        deviation: the standard deviation that must have left its start for the run to be believed; by
            default none is watched, and the verdict rests on the loss alone.
        resume: a file that `descent.save` wrote for this very run.

    Raises:
        InputError: if nothing can be trained, the checkpoint is of another run, or parameters overflow.

    Source: 000 section 4.2, H.1 and its authors' program.
    """
    parameters = parameters_of(denoiser)
    first = flattened(parameters)
    sigmas = torch.tensor(procedure.sigmas, dtype=x.dtype, device=x.device)

    def gradient(flat: Tensor, stream: torch.Generator) -> Tensor:
        put(flat, parameters)
        sigma = _levels(sigmas, len(x), stream)
        z = normal((len(x), procedure.draws, *x.shape[1:]), stream, x.dtype, x.device)
        return plain_slope(denoiser, x, sigma, z).slope

    def look(flat: Tensor, step: int) -> Look:
        put(flat, parameters)
        stream = torch.Generator().manual_seed(LOOK_SEED)
        end = stratified_slope(denoiser, x, sigmas, sigmas**-2, stream, LOOK_DRAWS // 2)
        return Look(step, end.loss, deviation(denoiser), further(end, flat - first))

    run = begin(first, generator, _made_of(procedure, x, first))
    if resume is not None:
        restore(run, resume)
    for _ in advance(run, procedure.descent, gradient, look, procedure.looks):
        put(run.parameters, parameters)
        settled, note = verdict(run.looks)
        yield DenoiserTick(Outcome(run.looks[-1].loss, run.step, settled, note), run)


def finish(ticks: Iterator[Tick]) -> Fit:
    """The fit at the end of a run."""
    last = None
    for last in ticks:  # noqa: B007
        pass
    if last is None:
        raise InputError("The run had already reached its last step: nothing was left to do.")
    return last.fit


def _levels(sigmas: Tensor, count: int, stream: torch.Generator) -> Tensor:
    index = torch.randint(len(sigmas), (count,), generator=stream, device=stream.device)
    return sigmas[index.to(sigmas.device)]


def _made_of(settings: Recipe | Procedure, x: Tensor, start: Tensor) -> dict[str, object]:
    return flatten(describe({"recipe": settings, "x": x, "start": start}))
