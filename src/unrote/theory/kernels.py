"""Kernels of one hidden layer of ReLUs, f(x) = N^(-1/2) sum_k a_k relu(w_k . x / sqrt(d)), as the width N grows.

All weights are standard normal at the start.  Training a alone gives the kernel of random features, training both
layers the neural tangent kernel; outputs do not mix, so that each is learned with the same scalar kernel.
"""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor


def arc_cosine(cosine: Float[Tensor, "*S"]) -> tuple[Float[Tensor, "*S"], Float[Tensor, "*S"]]:
    """k0 = 1 - t/pi and k1 = (sin t + (pi - t) cos t) / pi for angles t: both 1 at t = 0.

    They are 2 E[1(w.x > 0) 1(w.y > 0)] and 2 E[relu(w.x) relu(w.y)] for unit vectors x and y.

    Source: Cho and Saul, "Kernel methods for deep learning", 2009, equations (3) and (6).
    """
    angle = cosine.clamp(-1, 1).acos()
    return 1 - angle / math.pi, (angle.sin() + (math.pi - angle) * angle.cos()) / math.pi


def random_features(x: Float[Tensor, "B D"], y: Float[Tensor, "C D"]) -> Float[Tensor, "B C"]:
    """K(x, y) = E[relu(w.x) relu(w.y)] / d = |x| |y| k1 / (2 d): 1/2 on the diagonal for points of length sqrt(d).

    Args:
        x, y: points (B,D) and (C,D), none of them 0.

    Source: 002 below equation (7), nu = 2.
    """
    lengths, cosine = polar(x, y)
    return lengths / (2 * x.shape[1]) * arc_cosine(cosine)[1]


def relu_ntk(x: Float[Tensor, "B D"], y: Float[Tensor, "C D"]) -> Float[Tensor, "B C"]:
    """K(x, y) = |x| |y| (k1 + cos t k0) / (2 d): 1 on the diagonal for points of length sqrt(d).

    Args:
        x, y: points (B,D) and (C,D), none of them 0.

    Source: 002 below equation (7), nu = 1; Jacot, Gabriel and Hongler 2018 for the kernel.
    """
    lengths, cosine = polar(x, y)
    k0, k1 = arc_cosine(cosine)
    return lengths / (2 * x.shape[1]) * (k1 + cosine * k0)


def polar(x: Float[Tensor, "B D"], y: Float[Tensor, "C D"]) -> tuple[Tensor, Tensor]:
    """Products of lengths, and cosines, on all pairs (B,C), in float64."""
    x, y = x.double(), y.double()
    lengths = x.norm(dim=1)[:, None] * y.norm(dim=1)
    if not bool((lengths > 0).all()):
        raise ValueError("the kernels of ReLUs are not smooth at 0: no point may be 0")
    return lengths, (x @ y.T / lengths).clamp(-1, 1)
