"""How long a kernel needs to memorize: 002's Appendix G with its constants, exact for every exponent and cutoff.

P points with noise of level sigma, p_sigma = (1/P) sum_j N(x_j, sigma^2 I), far apart; a kernel with
K(x, y) = 1 - C |x - y|^nu + ... near the diagonal; trial functions psi_i(x) = (x - x_i) R(|x - x_i| / sigma).  Their
Rayleigh quotient under the kernel's integral operator is the rate at which gradient flow learns the score near x_i:

    lambda = -C (beta / gamma) sigma^nu / P,   tau_mem = 1 / lambda.

Times are those of gradient flow on half the squared error; of gradient descent they are steps times learning rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from scipy import special
from torch import Tensor

Radial = Callable[[Tensor], Tensor]
"""A function of a distance, elementwise."""

NODES = 400
"""Gauss-Legendre nodes of an integral over a radius."""

REACH = 13.0
"""How far from sqrt(d) radii of a standard normal vector are followed."""


@dataclass(frozen=True)
class Expansion:
    """A kernel near its diagonal: K(x, y) = 1 - coefficient |x - y|^exponent + ...

    Args:
        exponent: nu.
        coefficient: C, positive; in units of data^-nu.

    Source: 002 equation (7).
    """

    exponent: float
    coefficient: float


def relu_ntk_expansion(dimension: int) -> Expansion:
    """nu = 1, C = 1 / (2 pi sqrt(d)): the tangent kernel of one hidden layer of ReLUs, at points of length sqrt(d).

    K = (cos t k0(t) + k1(t)) / 2 = 1 - t / (2 pi) + O(t^2), with t = |x - y| / sqrt(d) to leading order.

    Source: 002 below equation (7), where C is left open.  Deviation: a displacement along x itself does not turn it,
    so that the constant belongs to d - 1 of the d directions.
    """
    return Expansion(1.0, 1 / (2 * math.pi * math.sqrt(dimension)))


def relu_features_expansion(dimension: int) -> Expansion:
    """nu = 2, C = 1 / (2 d): random ReLU features, K = k1(t) = 1 - t^2 / 2 + O(t^3), at points of length sqrt(d).

    Source: 002 below equation (7), where C is left open.
    """
    return Expansion(2.0, 1 / (2 * dimension))


def gamma_constant(dimension: int, cutoff: Radial | None = None) -> float:
    """gamma_d(R) = E[|u|^2 R(|u|)^2], u standard normal in d dimensions; d without a cutoff.

    Args:
        dimension: d, at least 1.
        cutoff: R, a function of the radius; 1 unless given.

    Source: 002 equations (14) and (26).
    """
    positive(dimension)
    if cutoff is None:
        return float(dimension)
    radius, weight = radii(dimension)
    return float((weight * radius**2 * cutoff(radius) ** 2).sum())


def beta_constant(dimension: int, nu: float, cutoff: Radial | None = None) -> float:
    """beta_d(R, nu) = E[(u . v) R(|u|) R(|v|) |u - v|^nu], u and v standard normal and independent; negative.

    Without a cutoff -(nu/2) 2^nu Gamma((d + nu)/2) / Gamma(d/2).  With one, the angle is integrated exactly,
    E_t[t (1 + h^2 - 2 h t)^(nu/2)] = -(nu/d) h F(1 - nu/2, 1 - (d + nu)/2; 1 + d/2; h^2) for h <= 1 and t the cosine
    of two random directions, and both radii by quadrature.

    Args:
        dimension: d, at least 1; at least 2 with a cutoff.
        nu: exponent of the kernel, positive.
        cutoff: R, a function of the radius; 1 unless given.

    Source: 002 equations (20) and (27) to (34); the integral with a cutoff is ours.
    """
    positive(dimension, nu)
    if cutoff is None:
        return -(nu / 2) * math.exp(nu * math.log(2) + log_gamma_ratio(dimension, nu))
    if dimension < 2:
        raise ValueError("beta with a cutoff needs two dimensions, where two directions have an angle")
    radius, weight = radii(dimension)
    value = weight * radius * cutoff(radius)
    low, high = torch.minimum(radius[:, None], radius), torch.maximum(radius[:, None], radius)
    h = (low / high).numpy()
    shape = special.hyp2f1(1 - nu / 2, 1 - (dimension + nu) / 2, 1 + dimension / 2, h**2)
    angle = high**nu * torch.from_numpy(h * shape) * (-nu / dimension)
    return float(value @ angle @ value)


def constant_ratio(dimension: int, nu: float) -> float:
    """beta_d(1, nu) / gamma_d(1) = -(nu/2) 2^nu Gamma((d + nu)/2) / (d Gamma(d/2)).

    Source: 002 equation (35).
    """
    return beta_constant(dimension, nu) / gamma_constant(dimension)


def asymptotic_ratio(dimension: int, nu: float) -> float:
    """-2^(nu/2 - 1) nu d^(nu/2 - 1): the ratio for many dimensions, exact at every d for nu = 2.

    Source: 002 equation (37).
    """
    positive(dimension, nu)
    return -(2 ** (nu / 2 - 1)) * nu * dimension ** (nu / 2 - 1)


def small_noise_rate(
    points: Float[Tensor, "..."], sigma: Float[Tensor, "..."], dimension: int, kernel: Expansion
) -> Float[Tensor, "..."]:
    """lambda = -C (beta_d / gamma_d) sigma^nu / P, with the exact constants of R = 1.

    Args:
        points: P; broadcasts against `sigma`.
        sigma: noise level, in the units of the data.
        dimension: d.
        kernel: its nu and C.

    Source: 002 equations (22) and (35).
    """
    p, s = positive_pair(points, sigma)
    ratio = constant_ratio(dimension, kernel.exponent)
    return -kernel.coefficient * ratio * s**kernel.exponent / p


def memorization_time(
    points: Float[Tensor, "..."], sigma: Float[Tensor, "..."], dimension: int, kernel: Expansion
) -> Float[Tensor, "..."]:
    """tau_mem = 1 / lambda, proportional to P / sigma^nu: `small_noise_rate` inverted.

    Source: 002 equations (24) and (39).  Deviation: the paper's (39) drops the factor 2^(1 - nu/2) / nu and holds for
    many dimensions; here the constant is kept and exact.
    """
    return 1 / small_noise_rate(points, sigma, dimension, kernel)


def asymptotic_time(
    points: Float[Tensor, "..."], sigma: Float[Tensor, "..."], dimension: int, kernel: Expansion
) -> Float[Tensor, "..."]:
    """tau_mem = (2^(1 - nu/2) / nu) C^-1 d^(1 - nu/2) P / sigma^nu, for many dimensions.

    Source: 002 equation (39) with the constant that (38) gives it.
    """
    p, s = positive_pair(points, sigma)
    return p / (-kernel.coefficient * asymptotic_ratio(dimension, kernel.exponent) * s**kernel.exponent)


def isotropic_rate(
    points: Float[Tensor, "..."], sigma: Float[Tensor, "..."], dimension: int, kernel: Radial
) -> Float[Tensor, "..."]:
    """The Rayleigh quotient of psi_i without a cutoff for a kernel K(x, y) = kappa(|x - y|), exact at every level.

    lambda = (1 / (2 d P)) E[(d - b^2) kappa(sqrt(2) sigma b)], b the length of a standard normal vector: u . v is
    (|a|^2 - |b|^2)/2 with a and b independent, and the kernel sees b alone.

    Args:
        points: P; broadcasts against `sigma`.
        sigma: noise level.
        dimension: d.
        kernel: kappa, a function of the distance.

    Source: 002 equations (16) and (28) to (30), before the kernel is expanded.
    """
    p, s = positive_pair(points, sigma)
    positive(dimension)
    radius, weight = radii(dimension)
    level = math.sqrt(2) * s
    moved = kernel(level[..., None] * radius) - kernel(level * math.sqrt(dimension))[..., None]
    return ((weight * (dimension - radius**2)) * moved).sum(-1) / (2 * dimension * p)


def time_to_lose(rate: Float[Tensor, "..."], share: float) -> Float[Tensor, "..."]:
    """When a mode of one rate has lost a share of its squared error: -log(1 - share) / (2 lambda).

    Args:
        rate: lambda.
        share: between 0 and 1; 1 - exp(-2) gives 1 / lambda.
    """
    if not 0 < share < 1:
        raise ValueError(f"the share must lie between 0 and 1, got {share}")
    return -math.log1p(-share) / (2 * rate)


def log_gamma_ratio(dimension: int, nu: float) -> float:
    """log Gamma((d + nu)/2) - log Gamma(d/2), which is log E|b/sqrt(2)|^nu."""
    return math.lgamma((dimension + nu) / 2) - math.lgamma(dimension / 2)


def radii(dimension: int) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Nodes and weights for expectations over the length of a standard normal vector in d dimensions."""
    low, high = max(0.0, math.sqrt(dimension) - REACH), math.sqrt(dimension) + REACH
    x, w = (torch.from_numpy(part) for part in special.roots_legendre(NODES))
    radius = low + (high - low) * (x + 1) / 2
    log_density = (
        (dimension - 1) * radius.log()
        - radius**2 / 2
        - math.lgamma(dimension / 2)
        - (dimension / 2 - 1) * math.log(2)
    )
    return radius, w * (high - low) / 2 * log_density.exp()


def positive(dimension: int, nu: float = 1.0) -> None:
    """Refuse dimensions below 1 and exponents that are not positive."""
    if dimension < 1 or not nu > 0:
        raise ValueError(
            f"a dimension of at least 1 and a positive exponent are needed, got {dimension} and {nu}"
        )


def positive_pair(points: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers of points and levels in float64 and of one shape.

    Raises:
        ValueError: where there are fewer than one point, or a level is not positive.
    """
    p, s = torch.broadcast_tensors(points.double(), sigma.double())
    if bool((p < 1).any()) or not bool((s > 0).all()):
        raise ValueError("points must be at least 1 and levels positive")
    return p, s
