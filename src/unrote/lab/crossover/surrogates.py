"""Training losses of the two surrogates of a drawn problem, level by level, on one set of noises."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from unrote.denoise.mixture import MixtureDenoiser
from unrote.lab.crossover.settings import LEVELS, Problem, stream
from unrote.theory.levels import on_grid
from unrote.theory.surrogates import SurrogateLosses, surrogate_losses


def surrogates(drawn: Problem, sizes: Sequence[int], seed: int, repeats: int) -> SurrogateLosses:
    """Losses of the law's own denoiser and of those that have memorized M points, on the paper's 26 levels.

    Args:
        drawn: data and law, of any covariance.
        sizes: M, increasing; M = N is the memorizing denoiser.
        seed: of the noise and of what is kept.
        repeats: how many orders and noises.
    """
    truth = MixtureDenoiser(drawn.law)
    levels, generator = on_grid(LEVELS), stream(seed, "surrogates")
    return surrogate_losses(drawn.x, truth, levels, torch.tensor(sizes), generator, repeats)
