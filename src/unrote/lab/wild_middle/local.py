"""How far the linear denoiser of real images looks: by their stationary spectrum, and by their covariance itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unrote.geometry.locality import image_spectrum, locality, reach, sensitivity
from unrote.noise.levels import edm_levels

SHARE = 0.9
"""Of the squared sensitivity to other pixels, within the reach."""


def localities(x: Float[Tensor, "N C H W"]) -> Mapping[str, Any]:
    """Sensitivities at EDM's levels against Theorem D.4's bound, and how far they reach.

    The mean over channels makes images of one channel, as the theorem has them.

    Source: 001 Appendix D.
    """
    grey = x.double().mean(1, keepdim=True)
    spectrum, levels = image_spectrum(grey), edm_levels().tolist()
    beyond = tests = 0
    for sigma in levels:
        for axis in (-2, -1):
            found = locality(spectrum, sigma, axis)
            beyond += int((found.jacobian > found.bound * (1 + 1e-9) + 1e-12).sum())
            tests += len(found.distance)
    shown = {f"{levels[i]:.3g}": locality(spectrum, levels[i]) for i in (4, 8, 10, 13, 15)}
    return {
        "levels": levels,
        "beyond": beyond,
        "tests": tests,
        "reach": [reach(sensitivity(spectrum, sigma), SHARE) for sigma in levels],
        "reach_true": true_reach(grey, levels),
        "distance": next(iter(shown.values())).distance.tolist(),
        "jacobian": {name: one.jacobian.tolist() for name, one in shown.items()},
        "bound": {name: one.bound.tolist() for name, one in shown.items()},
    }


def true_reach(grey: Float[Tensor, "N 1 H W"], levels: list[float]) -> list[float]:
    """The same reach with the covariance of the images themselves, over all pairs of pixels, without wrapping."""
    data = grey.flatten(1)
    centred = data - data.mean(0)
    variances, vectors = torch.linalg.eigh(centred.T @ centred / len(data))
    h, w = grey.shape[-2:]
    place = torch.cartesian_prod(torch.arange(h), torch.arange(w)).double()
    distance, order = torch.cdist(place, place).flatten().sort()
    found = []
    for sigma in levels:
        share = variances.clamp_min(0) / (variances.clamp_min(0) + sigma**2)
        jacobian = (vectors * share) @ vectors.T
        square = jacobian.square().fill_diagonal_(0).flatten()[order].cumsum(0)
        first = int(torch.searchsorted(square, SHARE * square[-1]).clamp_max(len(square) - 1))
        found.append(float(distance[first]))
    return found
