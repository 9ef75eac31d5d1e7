"""How far a denoiser looks: the sensitivity of one pixel to another at a distance, for stationary data.

At small noise a network of local operations can learn the best denoiser because that denoiser is local: the linear one
has the Jacobian Sigma (Sigma + sigma^2 I)^-1, which for stationary data is a convolution that decays with distance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from unrote.contracts import InputError


def sensitivity(spectrum: Float[Tensor, "*S"], sigma: float) -> Float[Tensor, "*S"]:
    """The Jacobian of the linear denoiser of a circulant covariance, by displacement.

    J_r = (1/n) sum_k lambda_k / (lambda_k + sigma^2) exp(2 pi i k r / n),  over all axes.

    Args:
        spectrum: eigenvalues lambda in the order of the discrete Fourier transform, one axis per direction.
        sigma: the level.

    Returns:
        J at displacement r, in the order of the spectrum (index n - r is displacement -r).

    Raises:
        InputError: for negative eigenvalues or a level that is not positive.

    Source: 001 Lemma D.1.
    """
    return torch.fft.ifftn(1 - _share(spectrum, sigma)).real


@dataclass(frozen=True)
class Locality:
    """Sensitivities by wrap-around distance along one axis, and bounds on them.

    Args:
        distance: r = 1..n/2.
        jacobian: the largest |J| at this distance along the axis, whatever the displacement along the others.
        bound: V / (2 n sin(pi r / n)).
        simple: C / r with C = V / 4.
        variation: V, the sum of |g_{k+1} - g_k| around the cycle, g = sigma^2 / (lambda + sigma^2), averaged over the
            frequencies of the other axes.
    """

    distance: Float[Tensor, " n"]
    jacobian: Float[Tensor, " n"]
    bound: Float[Tensor, " n"]
    simple: Float[Tensor, " n"]
    variation: float


def locality(spectrum: Float[Tensor, "*S"], sigma: float, axis: int = -1, order: int = 1) -> Locality:
    """The decay of sensitivity with distance for a circulant covariance, measured and bounded.

    |J_r| <= V / (2 n sin(pi r / n)) <= V / (4 r); summing by parts p times,
    |J_r| <= sum_k |Delta^p g_k| / (n (2 sin(pi r / n))^p).

    Args:
        spectrum: eigenvalues in the order of the discrete Fourier transform; with several axes, one per direction.
        sigma: the level.
        axis: along which distance is measured.
        order: p, how often the sum is taken by parts; the theorem is p = 1. `variation` is that of p = 1.

    Raises:
        InputError: for negative eigenvalues, a level that is not positive, or fewer than 2 points along the axis.

    Source: 001 Theorem D.4; several axes and higher orders are ours.
    """
    g = _share(spectrum, sigma).movedim(axis, -1)
    n = g.shape[-1]
    if n < 2 or order < 1:
        raise InputError(
            f"Distance along an axis of {n} points, summed by parts {order} times; both are too few."
        )
    r = torch.arange(1, n // 2 + 1, dtype=torch.float64)
    change = g
    for _ in range(order):
        change = change.roll(-1, -1) - change
    chord = 2 * torch.sin(math.pi * r / n)
    others = g.reshape(-1, n)
    variation = float((others.roll(-1, -1) - others).abs().sum(-1).mean())
    jacobian = torch.fft.ifftn(1 - g).real.abs().reshape(-1, n).amax(0)
    return Locality(
        r,
        torch.maximum(jacobian[1 : n // 2 + 1], jacobian.flip(0)[: n // 2]),
        change.reshape(-1, n).abs().sum(-1).mean() / (n * chord**order),
        variation / (4 * r),
        variation,
    )


def image_spectrum(x: Float[Tensor, "N C H W"]) -> Float[Tensor, "H W"]:
    """The spectrum of the stationary covariance nearest to that of some images, averaged over channels.

    lambda_k = mean |F(x - mu)_k|^2 / (H W): the diagonal of the covariance in the Fourier basis, which is its
    projection on circulant matrices.

    Args:
        x: images (N,C,H,W).

    Source: 001 Appendix D, whose covariance is circulant.
    """
    data = x.double()
    transformed = torch.fft.fft2(data - data.mean(0))
    return transformed.abs().square().mean((0, 1)) / (x.shape[-1] * x.shape[-2])


def reach(jacobian: Float[Tensor, "*S"], share: float = 0.9) -> float:
    """The distance within which a share of the squared sensitivity to other pixels lies.

    Args:
        jacobian: by displacement, in the order of the Fourier transform.
        share: between 0 and 1.

    Returns:
        The smallest wrap-around Euclidean distance r with sum over 0 < |s| <= r of J_s^2 >= share sum over s != 0.

    Raises:
        InputError: for a share outside (0, 1).
    """
    if not 0 < share < 1:
        raise InputError(f"The share of the sensitivity is {share:g}; it must lie between 0 and 1.")
    axes = [torch.arange(n, dtype=torch.float64) for n in jacobian.shape]
    grids = torch.meshgrid([torch.minimum(a, len(a) - a) for a in axes], indexing="ij")
    distance, order = torch.stack(grids).square().sum(0).sqrt().flatten().sort()
    square = jacobian.double().square().flatten()[order][1:]
    total = square.cumsum(0)
    first = int(torch.searchsorted(total, share * total[-1]).clamp_max(len(total) - 1))
    return float(distance[1:][first])


def _share(spectrum: Tensor, sigma: float) -> Tensor:
    """g = sigma^2 / (lambda + sigma^2), checked."""
    wide = spectrum.double()
    if wide.numel() == 0 or not bool((torch.isfinite(wide) & (wide >= 0)).all()):
        raise InputError("A spectrum holds the eigenvalues of a covariance: finite numbers of at least 0.")
    if not 0 < sigma < math.inf:
        raise InputError(f"The noise level is {sigma:g}; it must be a positive number.")
    return sigma**2 / (wide + sigma**2)
