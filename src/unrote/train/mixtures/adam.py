"""Adam made short: the variance set by k-means first, every level at every step, noise only where it matters.

The paper's recipe spends its 50,000 steps on growing the variance from 1e-6 and on averaging the noise of one
random level per sample.  With s^2 = D2/d at the start, all levels for every sample at each step, and noise
integrated out by Stein's identity, about a hundred steps reach the same or a lower loss.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from unrote.contracts import InputError
from unrote.train.mixtures.descent import STATIONARY, Descent, Fit, Look, begin, update, verdict
from unrote.train.mixtures.losses import distortion, stein

LOOK_SEED, LOOK_DRAWS = 0, 8
"""Losses are judged on noise that is not trained on, the same at every look."""

BRIEF = Descent(steps=100, peak=0.1, last=0.0, warmup=0.0, betas=(0.9, 0.95), smoothing=0.0, clip=math.inf)
"""A hundred steps whose rate, in units of the start's deviation, falls to 0."""


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
    if not 0 < tail <= 1:
        raise InputError(f"The averaged share of the steps lies in (0, 1], got tail = {tail:g}.")
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

    run = begin(torch.cat([start.to(x).reshape(-1) / unit, x.new_zeros(1)]), generator, {})
    looks = [look(run.parameters, 0)]
    average, first = torch.zeros_like(run.parameters), descent.steps - max(1, round(tail * descent.steps))
    for step in range(descent.steps):
        if step == (9 * descent.steps) // 10:
            looks.append(look(run.parameters, step))
        update(run, descent, gradient(run.parameters, run.stream))
        if step >= first:
            average += run.parameters / (descent.steps - first)
    looks.append(look(average, descent.steps))
    if looks[0].loss <= looks[-1].loss:
        note = f"{descent.steps} steps found nothing better than the start"
        return Fit(
            start.to(x), unit**2, looks[0].loss, descent.steps, abs(looks[0].elasticity) < STATIONARY, note
        )
    settled, note = verdict(looks)
    means, variance = parts(average)
    return Fit(means, variance, looks[-1].loss, descent.steps, settled, note)


def _look_stream() -> torch.Generator:
    return torch.Generator().manual_seed(LOOK_SEED)
