"""What is drawn in the laboratory: clusters, their shapes and weights, and a stream for every purpose."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unrote.contracts import InputError
from unrote.data.mixtures import Full, GaussianMixture, Isotropic, LowRank, draw, sphere_means
from unrote.noise.levels import vp_levels
from unrote.noise.schedule import vp_time

LEVELS = vp_levels()
"""The paper's 26 times t = 0.999, ..., 0.001 (section 4, H.1 corrected) as noise levels t / sqrt(1 - t^2)."""
TIMES = vp_time(LEVELS)
SHOWN = 16
"""The level that Figures 1, 2 and 5 show: t = 0.360, psi = 6.704 (the paper prints 0.3)."""
FRESH = 1000
"""Points of the held-out set."""


def stream(seed: int, purpose: str) -> torch.Generator:
    """A generator that no other purpose shares, so that data, starts, noise and samples are paired."""
    digest = hashlib.sha256(f"{purpose}:{seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


@dataclass(frozen=True)
class Problem:
    """A data set, the law behind it, and points that nobody trains on.

    Args:
        x: training points (N,d), float64.
        fresh: held-out points of the same law (F,d).
        law: the mixture that both are drawn from.
    """

    x: Float[Tensor, "N d"]
    fresh: Float[Tensor, "F d"]
    law: GaussianMixture


def round_clusters(
    means: Float[Tensor, "K d"], variance: float, by: float, generator: torch.Generator
) -> Isotropic:
    """Sigma_k = variance I; `by` has nothing to do here and is 1."""
    if by != 1:
        raise ValueError(f"round clusters have no second number, got by = {by}")
    return Isotropic(torch.full((len(means),), variance, dtype=means.dtype))


def stretched_clusters(
    means: Float[Tensor, "K d"], variance: float, by: float, generator: torch.Generator
) -> Full:
    """Eigenvalues that fall geometrically, largest over smallest = by, mean variance; own axes per cluster."""
    count, d = means.shape
    values = by ** -torch.linspace(0, 1, d, dtype=means.dtype)
    values = variance * values / values.mean()
    axes = torch.linalg.qr(torch.randn(count, d, d, generator=generator, dtype=means.dtype)).Q
    full = (axes * values) @ axes.transpose(1, 2)
    return Full((full + full.transpose(1, 2)) / 2)


def flat_clusters(
    means: Float[Tensor, "K d"], variance: float, by: float, generator: torch.Generator
) -> LowRank:
    """Clusters of rank d / by whose mean variance over all d axes is `variance`; own axes per cluster."""
    count, d = means.shape
    rank = round(d / by)
    axes = torch.linalg.qr(torch.randn(count, d, rank, generator=generator, dtype=means.dtype)).Q
    return LowRank((variance * d / rank) ** 0.5 * axes)


SHAPES: dict[str, Callable[..., Isotropic | Full | LowRank]] = {
    "round": round_clusters,
    "stretched": stretched_clusters,
    "flat": flat_clusters,
}


def setting(
    samples: int,
    dimension: int,
    components: int,
    seed: int,
    variance: float = 1.0,
    shape: str = "round",
    by: float = 1.0,
    decay: float = 0.0,
) -> dict[str, Any]:
    """A JSON description of a problem in the paper's letters.

    Args:
        samples: N.
        dimension: d.
        components: K.
        seed: of everything random.
        variance: sigma*^2, the mean variance over axes.
        shape: round, stretched or flat clusters.
        by: how much they are stretched, or by how much the rank is lower than d.
        decay: weights are proportional to k^-decay, so 0 is equal weights.
    """
    return {
        "N": samples,
        "d": dimension,
        "K": components,
        "seed": seed,
        "variance": variance,
        "shape": shape,
        "by": by,
        "decay": decay,
    }


def problem(configuration: Mapping[str, Any]) -> Problem:
    """Draw the data of a setting: means uniform on the sphere of radius sqrt(d), labels i.i.d. (H.1).

    Raises:
        InputError: for more clusters than points, or fewer than 2 dimensions.
    """
    N, d, K = (int(configuration[letter]) for letter in "NdK")
    if not 1 <= K <= N or d < 2:
        raise InputError(
            f"The laboratory draws N points around K centres in d dimensions, with 1 <= K <= N and d >= 2; got "
            f"N = {N}, K = {K}, d = {d}. Take fewer clusters, more points, or more dimensions."
        )
    law_stream = stream(configuration["seed"], f"law {d} {K}")
    means = sphere_means(K, d, law_stream)
    covariance = SHAPES[configuration["shape"]](
        means, float(configuration["variance"]), float(configuration["by"]), law_stream
    )
    weights = torch.arange(1, K + 1, dtype=torch.float64) ** -float(configuration["decay"])
    law = GaussianMixture(weights / weights.sum(), means, covariance)
    x = draw(law, N, stream(configuration["seed"], f"data {N} {d} {K}")).x
    fresh = draw(law, FRESH, stream(configuration["seed"], f"fresh {d} {K}")).x
    return Problem(x, fresh, law)
