"""Kernel gradient flow on the noise of Gaussian clusters, in closed form: rates, and losses over time.

The score at one level is learned as the noise: f(x_i + sigma u) is to be u, on infinitely many draws.  Within the
functions 1 and u_1 .. u_d of every cluster (see `kernels_averaged`), which hold the target of well separated clusters,
the flow on half the squared error is f(t) = (1 - exp(-t T)) f*, with T = Gram / P symmetric.  Its losses are sums of
exponentials.  The functions are no eigenfunctions: what the kernel makes of them outside of their span is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Spectrum:
    """Rates of gradient flow, and how much of the target each of them learns.

    Args:
        rates: eigenvalues of T (n,), ascending, at least 0.
        vectors: eigenvectors (n,n), in columns.
        target: components of the target along them (n,D), one column for each coordinate of the noise.
        points: P.
    """

    rates: Tensor
    vectors: Tensor
    target: Tensor
    points: int

    @property
    def share(self) -> Float[Tensor, " n"]:
        """Which part of the squared target each rate learns; they sum to one."""
        return self.target.square().mean(1)


def spectrum(gram: Float[Tensor, "P E P E"]) -> Spectrum:
    """Rates and target of P clusters.

    Args:
        gram: averages of the kernel on 1, u_1 .. u_d between all clusters, as `ntk_gram(x, x, sigma)` gives them.

    Source: the operator of 002 equation (6).
    """
    points, width = gram.shape[:2]
    matrix = gram.double().reshape(points * width, -1) / points
    rates, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    return Spectrum(rates.clamp_min(0), vectors, vectors.T @ noise_target(points, width), points)


def training_loss(found: Spectrum, times: Float[Tensor, " S"]) -> Float[Tensor, " S"]:
    """Mean squared error per coordinate, on fresh noise around the training points: sum_k share_k exp(-2 lambda_k t).

    Args:
        found: rates and shares.
        times: of gradient flow, from 0 on; steps times learning rate for gradient descent.
    """
    return (-2 * times.double()[:, None] * found.rates).exp() @ found.share


def test_loss(
    found: Spectrum, between: Float[Tensor, "Q E P E"], times: Float[Tensor, " S"]
) -> Float[Tensor, " S"]:
    """Mean squared error per coordinate around other points, within the span of 1 and u of their clusters.

    Args:
        found: rates and target of the training points.
        between: averages of the kernel between the clusters of other points and those of the training points.
        times: of gradient flow.
    """
    test_points, width = between.shape[:2]
    reach = between.double().reshape(test_points * width, -1) @ found.vectors / found.points**0.5
    wanted = noise_target(test_points, width) * test_points**0.5
    out = torch.empty(len(times), dtype=torch.float64)
    for at, time in enumerate(times.tolist()):
        # (1 - exp(-t lambda)) / lambda, which is t for a rate of 0
        learned = torch.where(found.rates * time > 1e-12, -(-time * found.rates).expm1() / found.rates, time)
        seen = reach @ (learned[:, None] * found.target)
        out[at] = (seen - wanted).square().sum() / (test_points * (width - 1))
    return out


def rayleigh(gram: Float[Tensor, "P E P E"]) -> Float[Tensor, " P"]:
    """lambda_i = <psi_i, K psi_i> / |psi_i|^2, mean over the coordinates of psi_i(x) = x - x_i.

    Source: 002 equation (10) with R = 1, without its expansion for small noise.
    """
    own = gram.diagonal(dim1=0, dim2=2)[1:, 1:]  # (D,D,P)
    return own.diagonal(dim1=0, dim2=1).mean(1) / len(gram)


def noise_target(points: int, width: int) -> Float[Tensor, "n D"]:
    """The coordinates of the noise in the orthonormal functions sqrt(P) 1 and sqrt(P) u of every cluster."""
    out = torch.zeros(points, width, width - 1, dtype=torch.float64)
    out[:, 1:] = torch.eye(width - 1, dtype=torch.float64)
    return out.reshape(points * width, -1) / points**0.5
