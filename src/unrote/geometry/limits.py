"""The two calm ends: at large noise the best denoiser is linear, at small noise shells part and leave it undetermined.

The linear denoiser is that of a Gaussian with the mean and covariance of the data; the empirical one differs from it by
order sigma^-2.  Below the level at which shells are disjoint, denoisers that agree on the shells have equal loss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from unrote.contracts import InputError, normal, over
from unrote.denoise.exact import Empirical
from unrote.geometry.inputs import images
from unrote.geometry.overlap import Shell

Map = Callable[[Tensor], Tensor]
"""A denoiser at one level: (B,*E) -> (B,*E)."""


@dataclass(frozen=True)
class LinearLimit:
    """The denoiser of the Gaussian with the mean and covariance of a data set.

    m(x) = mu + Sigma (Sigma + sigma^2 I)^-1 (x - mu), in the directions in which the data vary; mu elsewhere.

    Args:
        mean: mu (D,), float64.
        directions: orthonormal eigenvectors of Sigma with positive eigenvalues (K,D).
        variances: their eigenvalues, descending (K,).
        radius: the largest distance of a data point from mu.
        third: kappa_3[I, .] = mean of |x - mu|^2 (x - mu) (D,).

    Source: 001 eq. 7.
    """

    mean: Float[Tensor, " D"]
    directions: Float[Tensor, "K D"]
    variances: Float[Tensor, " K"]
    radius: float
    third: Float[Tensor, " D"]

    def __call__(self, x: Float[Tensor, "B *E"], sigma: Float[Tensor, " B"]) -> Float[Tensor, "B *E"]:
        """(B,*E), (B,) -> (B,*E), in the type of x."""
        part = (x.double().flatten(1) - self.mean) @ self.directions.T
        square = over(sigma.double(), part).square()
        found = self.mean + (part * (self.variances / (self.variances + square))) @ self.directions
        return found.reshape(x.shape).to(x.dtype)


def linear_limit(x: Shaped[Tensor, "N ..."]) -> LinearLimit:
    """The linear denoiser of a data set, from its singular values.

    Args:
        x: training events (N,*E).

    Raises:
        InputError: as `inputs.images`.

    Source: 001 eq. 7 and Theorem 4.11.
    """
    data = images(x).double()
    mean = data.mean(0)
    centred = data - mean
    _, singular, directions = torch.linalg.svd(centred, full_matrices=False)
    variances = singular.square() / len(data)
    kept = variances > variances[0] * 1e-14
    square = centred.square().sum(1)
    third = (square[:, None] * centred).mean(0)
    return LinearLimit(mean, directions[kept], variances[kept], float(square.max().sqrt()), third)


@dataclass(frozen=True)
class LinearGap:
    """How far the empirical denoiser is from the linear one along y = mu + sigma u, one column per direction u.

    Args:
        levels: sigma (T,).
        gap: |m(y) - m_G(y)| (T,B).
        leading: sigma^-2 |kappa_3[u, u, .] - kappa_3[I, .]| / 2, what it tends to (T,B).
        bound: an upper bound that holds at every level (T,B).
        order: the exponent p of gap ~ sigma^-p between the two highest levels, per direction (B,); 2 in the limit, 3
            where the leading term vanishes.
    """

    levels: Float[Tensor, " T"]
    gap: Float[Tensor, "T B"]
    leading: Float[Tensor, "T B"]
    bound: Float[Tensor, "T B"]
    order: Float[Tensor, " B"]


def linear_gap(
    x: Shaped[Tensor, "N ..."], directions: Float[Tensor, "B *E"], levels: Float[Tensor, " T"]
) -> LinearGap:
    """The measured gap between empirical and linear denoiser beside the order that is predicted.

    sigma^2 |m - m_G| -> |kappa_3[u, u, .] - kappa_3[I, .]| / 2,  and for |u| = K, R = max |x - mu|, every sigma:
    sigma^2 |m - m_G| <= (2 R^3 (K + R / 2 sigma)^2 + R^3 / 2) / 2 + |Sigma| R + |Sigma|^2 K / sigma.

    Args:
        x: training events (N,*E).
        directions: u (B,*E), for example standard normal.
        levels: 2 or more, in the units of the data (T,).

    Raises:
        InputError: as `inputs.images`.
        ValueError: for fewer than 2 levels.

    Source: 001 Theorem 4.11; its constant is made explicit.
    """
    if len(levels) < 2:
        raise ValueError("an order needs 2 or more levels")
    linear, data = linear_limit(x), images(x).double()
    centred, u = data - linear.mean, directions.double().flatten(1)
    empirical = Empirical(centred)
    along = u @ centred.T
    third = (along.square() @ centred) / len(data) - linear.third
    size, r, top = u.norm(dim=1), linear.radius, float(linear.variances[0])
    gap, leading, bound = [], [], []
    for sigma in levels.double().tolist():
        level = torch.full((len(u),), sigma, dtype=torch.float64)
        y = sigma * u
        gap.append((empirical(y, level) - (linear(y + linear.mean, level) - linear.mean)).norm(dim=1))
        leading.append(third.norm(dim=1) / (2 * sigma**2))
        remainder = (2 * r**3 * (size + r / (2 * sigma)) ** 2 + r**3 / 2) / 2
        bound.append((remainder + top * r + top**2 * size / sigma) / sigma**2)
    found = torch.stack(gap)
    high = levels.double().argsort()[-2:]
    order = -(found[high[1]] / found[high[0]]).log() / (levels[high[1]] / levels[high[0]]).double().log()
    return LinearGap(levels.double(), found, torch.stack(leading), torch.stack(bound), order)


def shell_noise(shape: tuple[int, ...], shell: Shell, generator: torch.Generator) -> Float[Tensor, "B ..."]:
    """Noise uniform on the shell {r_- <= |u| <= r_+}, float64.

    |u|^d is uniform between r_-^d and r_+^d and the direction uniform on the sphere.

    Args:
        shape: (B,*E), whose events have the dimension of the shell.
        shell: with dimension and tail.
        generator: draws lengths and directions.
    """
    z = normal(shape, generator, dtype=torch.float64)
    d = shell.dimension
    share = torch.rand(shape[0], generator=generator, dtype=torch.float64)
    # r = r_+ (s + (1 - s) (r_- / r_+)^d)^(1/d), s in (0, 1]: powers of a ratio below 1 cannot overflow.
    small = (shell.inner / shell.outer) ** d
    length = shell.outer * (((1 - share) + share * small).log() / d).exp()
    return z * over(length / z.flatten(1).norm(dim=1), z)


def copying_denoiser(x: Float[Tensor, "N *E"], sigma: float, shell: Shell, elsewhere: Map) -> Map:
    """A denoiser that returns x_i on the shell of x_i, and anything that one likes off all shells.

    D(y) = x_i for sigma r_- <= |y - x_i| <= sigma r_+, elsewhere(y) otherwise.

    Args:
        x: training events (N,*E), all of whose shells are disjoint at this level.
        sigma: the level, below `disjoint_below`.
        shell: whose dimension is that of the data.
        elsewhere: what it returns off the shells.

    Raises:
        InputError: if two shells meet at this level: then no denoiser has zero loss.

    Source: 001 Theorem 4.9 and B.6.
    """
    flat = images(x).double()
    closest = float(torch.nn.functional.pdist(flat).min())
    if sigma * 2 * shell.outer >= closest:
        raise InputError(
            f"At level {sigma:g} two shells meet: the closest training points are {closest:g} apart, and shells are "
            f"disjoint below {closest / (2 * shell.outer):g}."
        )

    def denoise(y: Tensor) -> Tensor:
        distance = torch.cdist(flat, y.double().flatten(1), compute_mode="donot_use_mm_for_euclid_dist")
        inside = (distance >= sigma * shell.inner) & (distance <= sigma * shell.outer)
        covered, which = inside.any(0), inside.to(torch.uint8).argmax(0)
        return torch.where(over(covered, y), x[which].to(y.dtype), elsewhere(y))

    return denoise


def shell_loss(
    denoiser: Map,
    x: Float[Tensor, "N *E"],
    sigma: float,
    shell: Shell,
    generator: torch.Generator,
    draws: int = 1,
) -> Float[Tensor, " n"]:
    """Squared errors of a denoiser at noise uniform on the shells of the training points, one per point and draw.

    |D(x_i + sigma U) - x_i|^2, U uniform on the shell.

    Args:
        denoiser: at this level.
        x: training events (N,*E).
        sigma: the level.
        shell: whose dimension is that of the data.
        generator: draws the noise.
        draws: noises per training point.

    Source: 001 Theorem 4.9 and B.6.
    """
    points = x.double().repeat(draws, *(1,) * (x.ndim - 1))
    u = shell_noise(tuple(points.shape), shell, generator)
    return (denoiser(points + sigma * u) - points).flatten(1).square().sum(1)
