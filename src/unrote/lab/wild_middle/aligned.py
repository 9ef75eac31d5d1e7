"""Lemma A.1 and Corollary A.2 on real images: what is guaranteed of the best denoiser near an image, and what is so."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from unrote.denoise.exact import posterior_curve
from unrote.geometry.alignment import cosine_bound, denoiser_error
from unrote.geometry.thresholds import constants
from unrote.lab.wild_middle.subsets import to_others

TIMES = (0.6, 0.5, 0.4)
"""Of flow matching, so that sigma = (1 - t) / t ascends."""
TAU = 0.99
INNER, NORM = 3.0, 5.0
"""The margins c_1 and c_2 of Remark A.3."""


def alignments(
    images: Float[Tensor, "N C H W"], points: int, generator: torch.Generator
) -> Mapping[str, Mapping[str, float]]:
    """Bounds on denoising error and cosine for some training images by time, and one noise that tries each.

    Returns:
        By time: mean bounds in both forms with their mean probabilities, what was measured, how many points have a
        larger error (far) or a smaller cosine (off) than guaranteed, and the mean probability that is allowed.

    Source: 001 Lemma A.1, Corollary A.2 and Remark A.3.
    """
    x = images.flatten(1)
    rows = torch.randperm(len(x), generator=generator)[:points].sort().values
    base = x[rows]
    z = torch.randn(base.shape, generator=generator)
    distance = to_others(x, rows)
    sigmas = torch.tensor([(1 - t) / t for t in TIMES], dtype=torch.float64)
    denoised = torch.empty(len(TIMES), *base.shape)
    for weights in posterior_curve(x, base, z, sigmas):
        denoised[weights.index, weights.rows] = weights.mean(x)
    return {f"{t:g}": at_time(t, base, z, denoised[i], distance) for i, t in enumerate(TIMES)}


def at_time(
    t: float,
    base: Float[Tensor, "n D"],
    z: Float[Tensor, "n D"],
    denoised: Float[Tensor, "n D"],
    distance: Float[Tensor, "n M"],
) -> Mapping[str, float]:
    """Guaranteed and measured error and cosine at one time."""
    sigma = (1 - t) / t
    error = denoiser_error(distance, sigma, TAU)
    bound = cosine_bound(distance, base.norm(dim=1), base.shape[1], t, TAU, INNER, NORM)
    target = base.double() - z.double()
    best = (denoised.double() - t * base.double()) / (1 - t) - z.double()
    cosine = torch.nn.functional.cosine_similarity(target, best)
    measured = (denoised.double() - base.double()).norm(dim=1)
    nearest = distance.amin(1).double()
    a = constants(distance.shape[1] + 1, TAU, 0.5).a
    worst = distance.shape[1] * torch.special.ndtr(sigma * a / nearest - nearest / (2 * sigma))
    tails = 0.5 * math.erfc(INNER / math.sqrt(2)) + math.exp(-NORM)
    found = {
        "paper": bound.paper,
        "sharp": bound.sharp,
        "probability": bound.probability,
        "probability_paper": (1 - worst - tails).clamp_min(0),
        "cosine": cosine,
        "error": measured,
        "error_bound": error.bound,
        "lemma_fails": 1 - error.probability,
        "corollary_fails": 1 - bound.probability,
    }
    # Rounding leaves of equal vectors a cosine a little below 1 and a distance a little above 0.
    counts = {
        "points": len(base),
        "far": int((measured > error.bound + 1e-4).sum()),
        "off": int((cosine < bound.sharp - 1e-6).sum()),
    }
    return {key: float(value.nan_to_num(0.0).mean()) for key, value in found.items()} | counts
