"""Kernels of ReLUs between Gaussian clusters: the Gram matrix of infinitely many noisy copies of P points.

A cluster is x_i + sigma u with u standard normal.  On it live 1 and u_1 .. u_d, orthonormal, and of these the score
of well separated clusters is made.  With S(x, y) = E K(x + sigma u, y + sigma v) Stein's identity gives

    E[K] = S,   E[u_a K] = sigma dS/dx_a,   E[u_a v_b K] = sigma^2 d2S/dx_a dy_b.

S is exact in every dimension.  Since ReLUs are homogeneous their Gaussian weights may be put on the unit sphere, where
w . u is a standard normal number whatever w.  So noise is averaged over in closed form, relu(m) becoming
m Phi(m/sigma) + sigma phi(m/sigma), and what is left is E_w[f(w . x) g(w . y)] = sum_k f_k g_k P_k(cos), with f_k and
g_k the coefficients in orthonormal Gegenbauer polynomials and P_k the polynomial that is 1 at 1 (Funk and Hecke).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from scipy.linalg import eigh_tridiagonal
from torch import Tensor

REACH = 8.0
"""Harmonics are followed to degree REACH max|x| / sigma, where noise has left exp(-REACH^2 / 2) of them."""

MOST = 6000
"""Harmonics that are followed at most."""


def features_gram(x: Float[Tensor, "P D"], y: Float[Tensor, "Q D"], sigma: float) -> Float[Tensor, "P E Q E"]:
    """Random ReLU features between clusters around x and around y: E[e_a(u) K(x_i + sigma u, y_j + sigma v) e_b(v)].

    e = (1, u_1, .. u_d), so that E = d + 1.  x = y gives the clusters of a training set, two independent draws each.

    Args:
        x, y: centres (P,D) and (Q,D), D at least 3, none of them 0.
        sigma: noise level, positive.

    Source: the operator of 002 equation (6), on the local functions of its equation (8).
    """
    pair = Pair.of(x, y, sigma)
    smooth = pair.blend([(0, 0, 1.0)])
    return assemble(pair, smooth)


def ntk_gram(x: Float[Tensor, "P D"], y: Float[Tensor, "Q D"], sigma: float) -> Float[Tensor, "P E Q E"]:
    """The ReLU tangent kernel between clusters; as `features_gram`.

    To random features it adds E[(x . y) 1(w.x > 0) 1(w.y > 0)] / d, where x . y is correlated with both steps:
    with H = Phi(m/sigma), h = sigma phi(m/sigma) and r = m H + h it is (x . y <H, H> + <r, h> + <h, r> - <h, h>)/d.

    Args:
        x, y: centres (P,D) and (Q,D), D at least 3, none of them 0.
        sigma: noise level, positive.

    Source: the operator of 002 equation (6), on the local functions of its equation (8).
    """
    pair = Pair.of(x, y, sigma)
    d = x.shape[1]
    smooth = pair.blend([(0, 0, 1.0), (0, 2, 1 / d), (2, 0, 1 / d), (2, 2, -1 / d)])
    return assemble(pair, smooth, pair.blend([(1, 1, 1 / d)]))


@dataclass(frozen=True)
class Radial:
    """Derivatives of a function of two lengths and a cosine, (P,Q) each: r is |x|, s is |y|, c the cosine."""

    value: Tensor
    r: Tensor
    s: Tensor
    rs: Tensor
    c: Tensor
    rc: Tensor
    cs: Tensor
    cc: Tensor


@dataclass(frozen=True)
class Pair:
    """Two sets of centres, and the coefficients of the three zonal functions that ReLUs with noise are made of.

    Args:
        x, y: centres (P,D) and (Q,D), float64.
        sigma: noise level.
        left, right: coefficients (3,P,K) and (3,Q,K) of r, H and h.
        left_slope, right_slope: their derivatives in |x| and |y|.
    """

    x: Tensor
    y: Tensor
    sigma: float
    left: Tensor
    left_slope: Tensor
    right: Tensor
    right_slope: Tensor

    @classmethod
    def of(cls, x: Tensor, y: Tensor, sigma: float) -> Pair:
        """Coefficients for both sets, to a common degree."""
        x, y = x.double(), y.double()
        longest = max(float(x.norm(dim=1).max()), float(y.norm(dim=1).max()))
        least = min(float(x.norm(dim=1).min()), float(y.norm(dim=1).min()))
        if not sigma > 0 or not least > 0 or x.shape[1] < 3:
            raise ValueError("clusters need a positive level, three dimensions and centres that are not 0")
        degree = math.ceil(REACH * longest / sigma) + 16
        if degree > MOST:
            raise ValueError(
                f"level {sigma:g} is too small for centres of length {longest:g}: {degree:,} harmonics are needed, "
                f"and {MOST:,} are the most"
            )
        left, left_slope = coefficients(x.norm(dim=1), x.shape[1], sigma, degree)
        right, right_slope = coefficients(y.norm(dim=1), y.shape[1], sigma, degree)
        return cls(x, y, sigma, left, left_slope, right, right_slope)

    def blend(self, parts: list[tuple[int, int, float]]) -> Radial:
        """sum of weight <f, g> over (f, g, weight), with its derivatives."""
        cosine = (self.x @ self.y.T) / (self.x.norm(dim=1)[:, None] * self.y.norm(dim=1))
        out = [torch.zeros_like(cosine) for _ in range(8)]
        sides = ((self.left, self.right), (self.left_slope, self.right), (self.left, self.right_slope))
        both = (*sides, (self.left_slope, self.right_slope))
        for k, (p, p1, p2) in enumerate(harmonics(cosine.clamp(-1, 1), self.x.shape[1], self.left.shape[2])):
            v, r, s, rs = (sum(w * f[a, :, k, None] * g[b, :, k] for a, b, w in parts) for f, g in both)
            for total, term in zip(
                out, (v * p, r * p, s * p, rs * p, v * p1, r * p1, s * p1, v * p2), strict=True
            ):
                total.add_(term)
        return Radial(*out)


def coefficients(
    lengths: Float[Tensor, " P"], dimension: int, sigma: float, degree: int
) -> tuple[Float[Tensor, "3 P K"], Float[Tensor, "3 P K"]]:
    """E_t[f(|x| t) p_k(t)] and their derivatives in |x|, for f = r, H, h and t a coordinate on the unit sphere."""
    t, weight, table = polynomials(dimension, degree)
    m = lengths[:, None] * t
    density = (-((m / sigma) ** 2) / 2).exp() / math.sqrt(2 * math.pi)
    step = torch.special.ndtr(m / sigma)
    functions = torch.stack([m * step + sigma * density, step, sigma * density])
    slopes = torch.stack([step, density / sigma, -(m / sigma) * density])
    return (functions * weight) @ table.T, (slopes * t * weight) @ table.T


@lru_cache(maxsize=8)
def polynomials(dimension: int, degree: int) -> tuple[Tensor, Tensor, Tensor]:
    """Gauss nodes and weights for a coordinate of a random direction, and the orthonormal polynomials there (K,n)."""
    count = degree + 16  # Gauss's rule is exact for products of two functions of that degree
    off = three_terms(dimension, count)
    nodes, vectors = eigh_tridiagonal(np.zeros(count), off[1:count])
    t, weight = torch.from_numpy(nodes), torch.from_numpy(vectors[0] ** 2)
    table = torch.empty(degree, count, dtype=torch.float64)
    table[0] = 1.0
    table[1] = t / off[1]
    for k in range(1, degree - 1):
        table[k + 1] = (t * table[k] - off[k] * table[k - 1]) / off[k + 1]
    return t, weight, table


def three_terms(dimension: int, count: int) -> Float[np.ndarray, " n"]:
    """a_k of t p_k = a_(k+1) p_(k+1) + a_k p_(k-1) for k = 0 .. count."""
    k = np.arange(count + 1, dtype=float)
    d = dimension
    out = np.zeros(count + 1)
    out[1:] = np.sqrt(k[1:] * (k[1:] + d - 3) / ((2 * k[1:] + d - 2) * (2 * k[1:] + d - 4)))
    return out


def harmonics(
    cosine: Float[Tensor, "P Q"], dimension: int, count: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """P_k, P_k' and P_k'' in ascending degree: polynomials that are 1 at 1."""
    d, one, zero = dimension, torch.ones_like(cosine), torch.zeros_like(cosine)
    before, now = (zero, zero, zero), (one, zero, zero)
    for k in range(count):
        yield now
        a, b, scale = 2 * k + d - 2, k, k + d - 2
        p, p1, p2 = now
        q, q1, q2 = before
        after = (
            (a * cosine * p - b * q) / scale,
            (a * (p + cosine * p1) - b * q1) / scale,
            (a * (2 * p1 + cosine * p2) - b * q2) / scale,
        )
        before, now = now, after


def assemble(pair: Pair, smooth: Radial, times_product: Radial | None = None) -> Float[Tensor, "P E Q E"]:
    """The Gram matrix of S = smooth + (x . y) times_product by Stein's identity."""
    value, dx, dy, dxdy = gradients(pair, smooth)
    if times_product is not None:
        x, y, product = pair.x, pair.y, pair.x @ pair.y.T
        v, vx, vy, vxy = gradients(pair, times_product)
        eye = torch.eye(x.shape[1], dtype=torch.float64)
        dxdy = dxdy + product[:, None, :, None] * vxy + v[:, None, :, None] * eye[:, None, :]
        dxdy = dxdy + vx[:, :, :, None] * x[:, None, None, :] + y.T[:, :, None] * vy[:, None, :, :]
        value = value + product * v
        dx = dx + product[:, None, :] * vx + v[:, None, :] * y.T
        dy = dy + product[:, :, None] * vy + v[:, :, None] * x[:, None, :]
    (p, d), q, sigma = pair.x.shape, len(pair.y), pair.sigma
    out = torch.empty(p, d + 1, q, d + 1, dtype=torch.float64)
    out[:, 0, :, 0] = value
    out[:, 1:, :, 0] = sigma * dx
    out[:, 0, :, 1:] = sigma * dy
    out[:, 1:, :, 1:] = sigma**2 * dxdy
    return out


def gradients(pair: Pair, f: Radial) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """f (P,Q), df/dx (P,D,Q), df/dy (P,Q,D) and d2f/dxdy (P,D,Q,D) of a function of lengths and cosine.

    With unit vectors e and g of x and y: d|x|/dx = e, dc/dx = (g - c e)/|x|, and the same for y.
    """
    r, s = pair.x.norm(dim=1), pair.y.norm(dim=1)
    e, g = pair.x / r[:, None], pair.y / s[:, None]
    c = e @ g.T
    # Axes: i a for x and its coordinate, j b for y and its coordinate.
    turn_x = (g.T[None] - c[:, None, :] * e[:, :, None]) / r[:, None, None]  # i a j
    turn_y = (e[:, None, :] - c[:, :, None] * g[None]) / s[None, :, None]  # i j b
    dx = f.r[:, None, :] * e[:, :, None] + f.c[:, None, :] * turn_x
    dy = f.s[:, :, None] * g[None] + f.c[:, :, None] * turn_y
    # d2c/dxdy = (I - e e^T - g g^T + c e g^T) / (|x| |y|)
    eye = torch.eye(pair.x.shape[1], dtype=torch.float64)
    ee = (e[:, :, None] * e[:, None, :])[:, :, None, :]
    gg = g.T[None, :, :, None] * g[None, None, :, :]
    eg = e[:, :, None, None] * g[None, None, :, :]
    bent = (eye[:, None, :] - ee - gg + c[:, None, :, None] * eg) / (r[:, None] * s)[:, None, :, None]
    dxdy = f.rs[:, None, :, None] * eg + f.c[:, None, :, None] * bent
    dxdy = dxdy + f.rc[:, None, :, None] * e[:, :, None, None] * turn_y[:, None, :, :]
    dxdy = dxdy + f.cs[:, None, :, None] * turn_x[:, :, :, None] * g[None, None, :, :]
    dxdy = dxdy + f.cc[:, None, :, None] * turn_x[:, :, :, None] * turn_y[:, None, :, :]
    return f.value, dx, dy, dxdy
