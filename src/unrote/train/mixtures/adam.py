"""Adam made short: the variance set by k-means first, every level at every step, noise only where it matters.

The paper's recipe spends its 50,000 steps on growing the variance from 1e-6 and on averaging the noise of one
random level per sample.  With s^2 = D2/d at the start, all levels for every sample at each step, and noise
integrated out by Stein's identity, about a hundred steps reach the same or a lower loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unrote.contracts import InputError
from unrote.train.mixtures.automatic import flattened, further, parameters_of, put, stratified_slope
from unrote.train.mixtures.descent import Descent, Fit, Gradient, Look, Outcome, begin, update, verdict
from unrote.train.mixtures.losses import distortion, stein

LOOK_SEED, LOOK_DRAWS = 0, 8
"""Losses are judged on noise that is not trained on, the same at every look."""

BRIEF = Descent(steps=100, peak=0.1, last=0.0, warmup=0.0, betas=(0.9, 0.95), smoothing=0.0, clip=math.inf)
"""A hundred steps whose rate, in units of the start's deviation, falls to 0."""

AUTOMATIC = replace(BRIEF, steps=200, peak=0.05)
"""Two hundred steps in the units of whatever parameters a denoiser has."""


def adam(
    x: Float[Tensor, "N D"],
    start: Float[Tensor, "M D"],
    levels: Float[Tensor, " L"],
    generator: torch.Generator,
    *,
    descent: Descent = BRIEF,
    draws: int = 2,
    tail: float = 0.2,
) -> Fit:
    """Minimise the paper's training loss over means and variance, from s^2 = D2/d of the start.

    minimise (1/(N L)) sum_n sum_l E_z psi_l |D(x_n + sigma_l z, sigma_l) - x_n|^2 over means / s_0 and log s.

    Args:
        x: training data (N,D), float32 or float64; the work is done in its precision.
        start: first means (M,D): training points, or the means of `lloyd` or `ward`.
        levels: every sigma of the grid (L,).
        generator: advanced by exactly one draw.
        descent: steps and rates; a rate of 0.1 is a tenth of the start's deviation s_0 = sqrt(D2/d).
        draws: noises per sample and level where the softmax is not one-hot.
        tail: share of the steps, at the end, whose parameters are averaged.

    Raises:
        InputError: if shapes do not fit, or tail is not in (0, 1].

    Source: Stein (1981) for the identity; Kingma and Ba (2015); the objective is 000's.
    """
    unit = (distortion(start, x) / x.shape[1]) ** 0.5
    if unit == 0:
        own = stein(start.to(x), 0.0, x, levels, _look_stream(), LOOK_DRAWS)
        note = "every sample is one of the means: nothing is left to train"
        return Fit(start.to(x), 0.0, own.loss, 0, True, note)

    def parts(flat: Tensor) -> tuple[Tensor, float]:
        return (flat[:-1] * unit).view(start.shape), (unit * math.exp(float(flat[-1]))) ** 2

    def gradient(flat: Tensor, stream: torch.Generator) -> Tensor:
        means, variance = parts(flat)
        slope = stein(means, variance, x, levels, stream, draws)
        last = flat.new_tensor([2 * variance * slope.variance])
        return torch.cat([slope.means.reshape(-1) * unit, last])

    def look(flat: Tensor, step: int) -> Look:
        means, variance = parts(flat)
        slope = stein(means, variance, x, levels, _look_stream(), LOOK_DRAWS)
        return Look(step, slope.loss, elasticity=2 * variance * slope.variance / slope.loss)

    first = torch.cat([start.to(x).reshape(-1) / unit, x.new_zeros(1)])
    best, looks = _descend(first, gradient, look, generator, descent, tail)
    settled, note = verdict(looks)
    means, variance = parts(best)
    return Fit(means, variance, looks[-1].loss, descent.steps, settled, note)


def adam_denoiser(
    denoiser: nn.Module,
    x0: Float[Tensor, "N *E"],
    sigmas: Float[Tensor, " L"],
    weights: Float[Tensor, " _"],
    generator: torch.Generator,
    *,
    descent: Descent = AUTOMATIC,
    pairs: int = 1,
    tail: float = 0.2,
) -> Outcome:
    """The same for any denoiser with parameters, in place: low-rank templates, full covariances, anything.

    minimise (1/(N L)) sum_n sum_l w_l E_z |D(x_n + sigma_l z, sigma_l) - x_n|^2 over the denoiser's parameters.

    Every level for every sample at every step, noise in pairs z, -z, gradients automatic.

    Args:
        denoiser: D(x, sigma); it ends with the averaged parameters, or as it came if those are not better.
        x0: training data (N,*E), of the parameters' type.
        sigmas, weights: the grid of levels and the weight of each; 1/sigma^2 is noise prediction.
        generator: advanced by exactly one draw.
        descent: steps and rates, in the units of the denoiser's own parameters.
        pairs: pairs of noises per sample and level.
        tail: share of the steps, at the end, whose parameters are averaged.

    Raises:
        InputError: if nothing can be trained, shapes do not fit, or tail is not in (0, 1].
    """
    parameters = parameters_of(denoiser)
    start = flattened(parameters)

    def gradient(flat: Tensor, stream: torch.Generator) -> Tensor:
        put(flat, parameters)
        return stratified_slope(denoiser, x0, sigmas, weights, stream, pairs).slope

    def look(flat: Tensor, step: int) -> Look:
        put(flat, parameters)
        end = stratified_slope(denoiser, x0, sigmas, weights, _look_stream(), LOOK_DRAWS // 2)
        return Look(step, end.loss, elasticity=further(end, flat - start))

    best, looks = _descend(start, gradient, look, generator, descent, tail)
    put(best, parameters)
    settled, note = verdict(looks)
    return Outcome(looks[-1].loss, descent.steps, settled, note)


def _descend(
    start: Tensor,
    gradient: Gradient,
    look: Callable[[Tensor, int], Look],
    generator: torch.Generator,
    descent: Descent,
    tail: float,
) -> tuple[Tensor, list[Look]]:
    """The average of the last parameters, or the start if that is better; looks at the start, 90 % and the end."""
    if not 0 < tail <= 1:
        raise InputError(f"The averaged share of the steps lies in (0, 1], got tail = {tail:g}.")
    run = begin(start, generator, {})
    looks = [look(run.parameters, 0)]
    average, first = torch.zeros_like(start), descent.steps - max(1, round(tail * descent.steps))
    for step in range(descent.steps):
        if step == (9 * descent.steps) // 10:
            looks.append(look(run.parameters, step))
        update(run, descent, gradient(run.parameters, run.stream))
        if step >= first:
            average += run.parameters / (descent.steps - first)
    looks.append(look(average, descent.steps))
    if not looks[0].loss > looks[-1].loss:
        looks[-1] = replace(looks[0], step=descent.steps)
        return start, looks
    return average, looks


def _look_stream() -> torch.Generator:
    return torch.Generator().manual_seed(LOOK_SEED)
