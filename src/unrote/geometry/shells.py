"""Gaussian shells: where a noisy point almost surely lies, how often two shells meet, and what a union covers.

x + sigma Z lies in sigma r_- <= |y - x| <= sigma r_+ with probability at least 1 - 2 exp(-t).  Around the training
points these shells are all that training sees at level sigma; the share of noisy held-out points inside their union is
the coverage.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from unrote import likelihoods
from unrote.contracts import InputError, normal
from unrote.geometry.inputs import ascending, held_out, images
from unrote.geometry.inside import Left, inside_any
from unrote.geometry.overlap import Shell, two_shell
from unrote.geometry.posterior import ROWS, base_rows
from unrote.measure.neighbors import neighbors

__all__ = [
    "Shell",
    "check_shell",
    "coverage",
    "coverage_bounds",
    "coverage_without_test",
    "disjoint_below",
    "nearest_distances",
    "nearest_others",
    "pair_distances",
    "two_shell",
]


def coverage(
    train: Shaped[Tensor, "N ..."],
    test: Shaped[Tensor, "Q ..."],
    levels: Float[Tensor, " T"],
    shell: Shell,
    generator: torch.Generator,
    draws: int = 1,
    *,
    memory: int = likelihoods.DEFAULT_MEMORY,
) -> Float[Tensor, "T Q"]:
    """The share of draws in which each noisy test point lies in the union of the training points' shells.

    Cov(sigma) = Pr(X + sigma Z in union_i S_sigma(x_i)), X a fresh point; its mean over test points estimates it.

    Args:
        train: training events (N,*E).
        test: held-out events (Q,*E).
        levels: ascending, in the units of the data (T,).
        shell: whose dimension is that of the data.
        generator: draws the noise, the same at all levels.
        draws: noises per test point.
        memory: bytes beyond the data.

    Raises:
        InputError: for unusable images or levels, or a test set all of which was trained on.
        ValueError: for a shell of another dimension.

    Source: 001 Definition 4.6.
    """
    data = images(train)
    return _covered(data, held_out(test, data), ascending(levels), shell, generator, draws, None, memory)


def coverage_without_test(
    train: Shaped[Tensor, "N ..."],
    levels: Float[Tensor, " T"],
    shell: Shell,
    generator: torch.Generator,
    base: int | None = 1000,
    draws: int = 1,
    group: Int[Tensor, " M"] | None = None,
    *,
    memory: int = likelihoods.DEFAULT_MEMORY,
) -> Float[Tensor, "T n"]:
    """Coverage of training points by the shells of the others: for those who hold out no data.

    Each base point plays the fresh point of a training set of N - 1, which is exactly the coverage of such a set, if
    the points are independent.  Near-duplicates are not, and raise it at small sigma: give their groups.

    Args:
        train: training events (N,*E).
        levels: ascending, in the units of the data (T,).
        shell: whose dimension is that of the data.
        generator: draws the base points, then their noise.
        base: how many training points are used; None or N and more for all.
        draws: noises per base point.
        group: near-duplicates share a number (N,), see `unrote.measure.duplicates`; a point is not compared with its
            own group.
        memory: bytes beyond the data.

    Raises:
        InputError: for unusable images or levels, or if all points are one group.
        ValueError: for a shell of another dimension, or groups of another number of points.

    Source: 001 Definition 4.6, with the training set in place of a test set.
    """
    data = images(train)
    names = (torch.arange(len(data)) if group is None else group).to(data.device)
    if len(names) != len(data):
        raise ValueError(f"{len(data)} training points need as many group numbers, got {len(names)}")
    if bool((names == names[0]).all()):
        raise InputError(
            f"All {len(data)} training images are near-duplicates of each other, so that none is left to compare with; "
            "lower the duplicate threshold."
        )
    rows = base_rows(len(data), base, draws, generator)
    return _covered(
        data, data[rows], ascending(levels), shell, generator, draws, (names[rows], names), memory
    )


def _covered(
    data: Tensor,
    points: Tensor,
    sigma: Tensor,
    shell: Shell,
    generator: torch.Generator,
    draws: int,
    left_out: Left | None,
    memory: int,
) -> Float[Tensor, "T Q"]:
    check_shell(shell, data)
    base_rows(len(points), None, draws, generator)
    out = torch.zeros(len(sigma), len(points), dtype=torch.float64, device=data.device)
    ends = shell.inner, shell.outer
    for part in torch.arange(len(points)).split(ROWS):
        for some in torch.arange(draws).split(max(1, ROWS // len(part))):
            rows = part.repeat(len(some))
            chosen = points[rows]
            groups = None if left_out is None else (left_out[0][rows], left_out[1])
            z = normal(chosen.shape, generator, dtype=chosen.dtype, device=chosen.device)
            hit = inside_any(data, chosen, z, sigma, ends, groups, memory).double() / draws
            out.index_add_(1, rows.to(out.device), hit)
    return out


def coverage_bounds(
    nearest: Float[Tensor, " Q"],
    pairs: Float[Tensor, " P"],
    size: int,
    levels: Float[Tensor, " T"],
    shell: Shell,
) -> tuple[Float[Tensor, "T Q"], Float[Tensor, " T"]]:
    """Both bounds on the coverage, without noise: E c(D_NN / sigma) <= Cov(sigma) <= min(1, N E c(|X - X'| / sigma)).

    The lower bound is within a few hundredths on images.  The upper one is dominated by rare close pairs and exceeds 1
    soon; many distances are rounded down to a grid of relative width 1e-4, which keeps it an upper bound.

    Args:
        nearest: distance of each test point to its nearest training point (Q,).
        pairs: distances between independent points (P,), as many as possible, see `pair_distances`.
        size: number of training points N.
        levels: ascending, in the units of the data (T,).
        shell: whose dimension is that of the data.

    Returns:
        The lower bound of every test point (T,Q), whose mean bounds the coverage, and the upper bound (T,).

    Raises:
        InputError: for unusable levels.
        ValueError: if there are no distances.

    Source: 001 Theorem 4.8.
    """
    sigma = ascending(levels)
    if len(nearest) == 0 or len(pairs) == 0:
        raise ValueError("the bounds need at least one nearest distance and one pair")
    lower = two_shell(nearest.double() / sigma[:, None].to(nearest.device), shell)
    distance, count = _rounded_down(pairs.double())
    upper = torch.stack([(two_shell(distance / s, shell) * count).sum() for s in sigma.tolist()])
    return lower, (size * upper / len(pairs)).clamp_max(1)


def _rounded_down(pairs: Tensor) -> tuple[Tensor, Tensor]:
    """Distances on a logarithmic grid from below, and how many stand at each."""
    if len(pairs) < 2**15:
        return pairs, torch.ones_like(pairs)
    index = (pairs.clamp_min(torch.finfo(torch.float64).tiny).log() * 1e4).floor()
    value, count = index.unique(return_counts=True)
    # The small factor pays for the rounding of logarithm and exponential.
    return torch.where(value < -7e6, 0.0, (value / 1e4).exp() * (1 - 1e-12)), count.double()


def nearest_distances(
    train: Shaped[Tensor, "N ..."], test: Shaped[Tensor, "Q ..."], *, memory: int = likelihoods.DEFAULT_MEMORY
) -> Float[Tensor, " Q"]:
    """The distance of every test point to its nearest training point (Q,), float64, exact."""
    return neighbors(test, train, 1, memory=memory).distance[:, 0]


def nearest_others(
    train: Shaped[Tensor, "N ..."],
    rows: Int[Tensor, " n"],
    *,
    memory: int = likelihoods.DEFAULT_MEMORY,
) -> Float[Tensor, " n"]:
    """The distance of some training points to their nearest other training point (n,), float64, exact."""
    return neighbors(train[rows], train, 2, memory=memory).distance[:, 1]


def pair_distances(
    x: Shaped[Tensor, "N ..."], generator: torch.Generator, base: int | None = 1000
) -> Float[Tensor, " P"]:
    """Distances of all pairs among some points, P = n (n - 1) / 2, float64.

    Args:
        x: events (N,*E).
        generator: draws the points.
        base: how many points; None or N and more for all.
    """
    data = images(x)
    some = data[base_rows(len(data), base, 1, generator)].double()
    some = some - some.mean(0)
    squared = some.square().sum(1)
    first, second = torch.triu_indices(len(some), len(some), 1)
    # In float64 a product is as good as differences, but for points that are equal up to 1e-7 of their norms.
    return (squared[:, None] + squared - 2 * (some @ some.T))[first, second].clamp_min(0).sqrt()


def disjoint_below(closest: float, shell: Shell) -> float:
    """The level below which no two shells meet: min |x_i - x_j| / (2 r_+), in d >= 2.

    Below it a denoiser that returns x_i on the shell of x_i has no loss, whatever it does elsewhere, so that the loss
    does not determine it.

    Args:
        closest: the smallest distance between two training points.
        shell: whose dimension is that of the data.

    Source: 001 Theorem 4.9.
    """
    return closest / (2 * shell.outer)


def check_shell(shell: Shell, data: Float[Tensor, "N D"]) -> None:
    """Raise ValueError unless the shell has the dimension of the data."""
    if shell.dimension != data.shape[1]:
        raise ValueError(
            f"a shell of dimension {shell.dimension} does not fit data of {data.shape[1]} numbers"
        )
